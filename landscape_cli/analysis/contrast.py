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
        error: Standard error of new − base; NaN where there is none.
        degrees: Of freedom of its Student's t; infinite for a normal distribution.
        error_of_log: Standard error of log (new / base); NaN where there is none.
        degrees_of_log: The same for that.
        method_errors: How far base and new may be off besides.
        bound: ``"lower"`` where the true change is at least this, because a radius lies beyond its line.
    """

    base: float
    new: float
    pairing: Pairing
    num_slices: int = 0
    error: float = math.nan
    degrees: float = math.inf
    error_of_log: float = math.nan
    degrees_of_log: float = math.inf
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
        """The logarithm of new / base, infinite where one of them is 0 or infinite; NaN where it says nothing."""
        if self.base == self.new == 0:
            return 0.0
        return _log_of(self.new) - _log_of(self.base)

    @property
    def ratio(self) -> float:
        """New / base; NaN where one of them is not above 0."""
        return self.new / self.base if self.has_ratio else math.nan

    def limits(self, confidence: float) -> Limits | None:
        """Those of the logarithm of the ratio where there is one, else of the difference: what says whether more is
        sure.
        """
        return self.limits_of_log(confidence) if self.has_ratio else self.limits_of_difference(confidence)

    def limits_of_difference(self, confidence: float) -> Limits | None:
        """Between which new − base lies with this probability; None without an error bar."""
        half = sum(self.method_errors)
        ends = self.difference - half, self.difference + half
        return self._limits(ends, self.error, self.degrees, confidence)

    def limits_of_log(self, confidence: float) -> Limits | None:
        """Between which log (new / base) lies with this probability; None without an error bar, or a ratio."""
        base, new = (
            _off_by(error, value) for error, value in zip(self.method_errors, (self.base, self.new), strict=True)
        )
        ends = self.log_ratio + new[0] - base[1], self.log_ratio + new[1] - base[0]
        return self._limits(ends, self.error_of_log, self.degrees_of_log, confidence)

    def limits_of_ratio(self, confidence: float) -> Limits | None:
        """Between which new / base lies with this probability; None without an error bar, or a ratio."""
        limits = self.limits_of_log(confidence) if self.has_ratio else None
        return None if limits is None else (_exp(limits[0]), _exp(limits[1]))

    def _limits(self, ends: Limits, error: float, degrees: float, confidence: float) -> Limits | None:
        """``ends``, which the methods allow, and the error bar beyond them."""
        half = 0.0 if self.pairing == "exact" else t_quantile(degrees, confidence=confidence) * error
        low, high = ends[0] - half, ends[1] + half
        if math.isnan(low) or math.isnan(high):  # no error bar, or no difference
            return None
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
    is_exact = base.is_exact and new.is_exact
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
        error=_jackknife(left_out[1] - left_out[0]),
        degrees=num - 1,
        error_of_log=_jackknife(_log(left_out[1]) - _log(left_out[0])),
        degrees_of_log=num - 1,
        bound=bound,
    )


def _without_each(measurement: Measurement) -> FloatArray:
    """(S,) the value without each slice; of a radius beyond its line the end of that, where it still lies beyond."""
    left_out = np.asarray(measurement.left_out)
    if measurement.bound is not None:
        left_out = np.where(np.isnan(left_out), _value(measurement), left_out)
    return left_out


def _unpaired(base: Measurement, new: Measurement, bound: Bound | None) -> Contrast:
    """From both standard errors, with the degrees of freedom of Welch (1947)."""
    values, errors = (_value(base), _value(new)), np.asarray([base.standard_error, new.standard_error])
    relative = errors / np.abs(np.where(values, values, np.nan))
    degrees = (base.degrees, new.degrees)
    return Contrast(
        *values,
        pairing="unpaired",
        error=float(np.hypot(*errors)),
        degrees=_welch(errors, degrees),
        error_of_log=float(np.hypot(*relative)),
        degrees_of_log=_welch(relative, degrees),
        method_errors=(base.method_error or 0.0, new.method_error or 0.0),
        bound=bound,
    )


def _value(measurement: Measurement) -> float:
    assert measurement.value is not None  # nothing else is put side by side
    return measurement.value


def _welch(errors: FloatArray, degrees: tuple[float, float]) -> float:
    """Degrees of freedom of a difference, from those of both sides."""
    if not errors.max() > 0:
        return math.inf
    shares = (errors / errors.max()) ** 2  # of variances, so that no square of a small one is 0
    denominator = float((shares**2 / np.asarray(degrees)).sum())
    return float(shares.sum() ** 2) / denominator if denominator else math.inf


def _log_of(value: float) -> float:
    """NaN below 0."""
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


def _off_by(error: float, value: float) -> Limits:
    """How much lower and how much higher the logarithm of a value may be; as much as can be where it may be 0."""
    if error == 0:
        return 0.0, 0.0
    share = error / value if value > 0 else math.inf
    return (math.log1p(-share) if share < 1 else -math.inf), math.log1p(share)


def _exp(value: float) -> float:
    """Infinite where it would overflow."""
    return math.exp(value) if value < 700 else math.inf


def _jackknife(left_out: FloatArray) -> float:
    return jackknife(left_out) if np.isfinite(left_out).all() else math.nan


def _log(values: FloatArray) -> FloatArray:
    return np.log(np.where(values > 0, values, np.nan))


_OPPOSITE: dict[Bound | None, Bound | None] = {"lower": "upper", "upper": "lower", None: None}
