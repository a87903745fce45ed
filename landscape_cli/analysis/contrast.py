"""Contrast: by how much a measure differs between two surfaces, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from landscape_cli.analysis.measurement import Bound, Measurement, jackknife
from landscape_cli.analysis.student import t_quantile
from landscape_cli.surface import FloatArray

Pairing = Literal["paired", "unpaired", "exact", "none"]
Limits = tuple[float, float]

_FEWEST_PAIRED = 3


@dataclass(frozen=True)
class Contrast:
    """NEW against BASE.

    Attributes:
        base, new: The two values; where some slices have none, over those that have one in both.
        pairing: ``"paired"``: over slices with the same random directions, which the jackknife leaves out in both at
            once; ``"unpaired"``: from the two standard errors; ``"exact"``: both are exact up to ``method_errors``;
            ``"none"``: there is no error bar.
        num_slices: That are paired; 0 where none are.
        degrees: Of freedom of Student's t; infinite for a normal distribution.
        error: Standard error of new − base; NaN where there is none.
        error_of_log: Standard error of log (new / base); NaN where there is none.
        method_errors: How far base and new may be off besides.
        bound: ``"lower"`` where the true change is at least this, because a radius lies beyond its line.
    """

    base: float
    new: float
    pairing: Pairing
    num_slices: int = 0
    degrees: float = math.inf
    error: float = math.nan
    error_of_log: float = math.nan
    method_errors: tuple[float, float] = (0.0, 0.0)
    bound: Bound | None = None

    @property
    def difference(self) -> float:
        """New − base."""
        return self.new - self.base

    @property
    def has_ratio(self) -> bool:
        """Whether both are above 0, so that one can be said in percent of the other."""
        return self.base > 0 and self.new > 0 and math.isfinite(self.base)

    @property
    def log_ratio(self) -> float:
        """The logarithm of new / base; NaN where one of them is not above 0."""
        return math.log(self.new) - math.log(self.base) if self.has_ratio else math.nan

    @property
    def ratio(self) -> float:
        """New / base; NaN where one of them is not above 0."""
        return self.new / self.base if self.has_ratio else math.nan

    def limits_of_difference(self, confidence: float) -> Limits | None:
        """Between which new − base lies with this probability; None without an error bar."""
        half = sum(self.method_errors)
        return self._limits(self.difference, self.error, half, confidence)

    def limits_of_log(self, confidence: float) -> Limits | None:
        """Between which log (new / base) lies with this probability; None without an error bar, or a ratio."""
        if not self.has_ratio:
            return None
        relative = [error / value for error, value in zip(self.method_errors, (self.base, self.new), strict=True)]
        return self._limits(self.log_ratio, self.error_of_log, sum(relative), confidence)

    def limits_of_ratio(self, confidence: float) -> Limits | None:
        """Between which new / base lies with this probability; None without an error bar, or a ratio."""
        limits = self.limits_of_log(confidence)
        return None if limits is None else (_exp(limits[0]), _exp(limits[1]))

    def _limits(self, value: float, error: float, half: float, confidence: float) -> Limits | None:
        if self.pairing != "exact":
            if math.isnan(error):
                return None
            half += t_quantile(self.degrees, confidence=confidence) * error
        low, high = value - half, value + half
        if self.bound is not None:
            return (low, math.inf) if self.bound == "lower" else (-math.inf, high)
        return low, high


def contrast(base: Measurement, new: Measurement, *, is_paired: bool) -> Contrast | None:
    """Put two measurements of the same measure side by side.

    Args:
        base: What is compared with.
        new: What is compared.
        is_paired: Whether slice i of both is along the same random direction, before normalization. Where the value is
            no mean over the slices, both must have the same slices; else it is over the first ones, that both have.

    Returns:
        None where one of them is not measured. Of two bounds on the same side there is no error bar.
    """
    if base.value is None or new.value is None:
        return None
    if base.bound is not None and base.bound == new.bound:
        return Contrast(base.value, new.value, "none")
    bound = new.bound or _OPPOSITE[base.bound]
    num_common = min(len(base.per_slice), len(new.per_slice))
    if is_paired and num_common >= _FEWEST_PAIRED and len(base.left_out) == len(new.left_out):
        return _paired(base, new, num_common, bound)
    if base.standard_error is not None and new.standard_error is not None:
        return _unpaired(base, new, bound)
    is_exact = not any(each.per_slice or each.standard_error is not None for each in (base, new))
    methods = (base.method_error or 0.0, new.method_error or 0.0)
    return Contrast(base.value, new.value, "exact" if is_exact else "none", method_errors=methods, bound=bound)


def _paired(base: Measurement, new: Measurement, num_common: int, bound: Bound | None) -> Contrast:
    """Delete-one jackknife over the slices, each left out on both sides at once (Tukey 1958); a mean of slices has the
    error of the paired t test then.
    """
    values, left_out = (_value(base), _value(new)), (_without_each(base), _without_each(new))
    if not (base.left_out or new.left_out):  # means over the slices: of those that both have
        slices = np.asarray([base.per_slice[:num_common], new.per_slice[:num_common]])  # (2, S)
        common = slices[:, ~np.isnan(slices).any(axis=0)]
        if common.shape[1] < _FEWEST_PAIRED or not np.isfinite(common).all():
            return Contrast(*values, "none", bound=bound)
        values = (float(common[0].mean()), float(common[1].mean()))
        without = (common.sum(axis=1, keepdims=True) - common) / (common.shape[1] - 1)
        left_out = (without[0], without[1])
    num = len(left_out[0])
    return Contrast(
        *values,
        pairing="paired",
        num_slices=num,
        degrees=num - 1,
        error=_jackknife(left_out[1] - left_out[0]),
        error_of_log=_jackknife(_log(left_out[1]) - _log(left_out[0])),
        bound=bound,
    )


def _without_each(measurement: Measurement) -> FloatArray:
    """(S,) the value without each slice; the end of a line stays what it is."""
    if measurement.left_out and measurement.bound is not None:
        return np.full(len(measurement.left_out), _value(measurement))
    return np.asarray(measurement.left_out)


def _unpaired(base: Measurement, new: Measurement, bound: Bound | None) -> Contrast:
    """From both standard errors, with the degrees of freedom of Welch (1947)."""
    values, errors = (_value(base), _value(new)), np.asarray([base.standard_error, new.standard_error])
    relative = errors / np.abs(np.where(values, values, np.nan))
    return Contrast(
        *values,
        pairing="unpaired",
        degrees=_welch(errors, [len(each.per_slice) for each in (base, new)]),
        error=float(np.hypot(*errors)),
        error_of_log=float(np.hypot(*relative)),
        method_errors=(base.method_error or 0.0, new.method_error or 0.0),
        bound=bound,
    )


def _value(measurement: Measurement) -> float:
    assert measurement.value is not None  # nothing else is put side by side
    return measurement.value


def _welch(errors: FloatArray, sizes: list[int]) -> float:
    """Degrees of freedom of a difference; infinite where the errors are not over slices."""
    if min(sizes) < 2 or not errors.any():
        return math.inf
    variances = errors**2
    return float(variances.sum() ** 2 / sum(v**2 / (s - 1) for v, s in zip(variances, sizes, strict=True)))


def _exp(value: float) -> float:
    """Infinite where it would overflow."""
    return math.exp(value) if value < 700 else math.inf


def _jackknife(left_out: FloatArray) -> float:
    return jackknife(left_out) if np.isfinite(left_out).all() else math.nan


def _log(values: FloatArray) -> FloatArray:
    return np.log(np.where(values > 0, values, np.nan))


_OPPOSITE: dict[Bound | None, Bound | None] = {"lower": "upper", "upper": "lower", None: None}
