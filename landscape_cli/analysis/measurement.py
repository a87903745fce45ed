"""Measurement: one number about a minimum, with its error bar and what it may be compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from landscape_cli.analysis.student import t_quantile
from landscape_cli.surface import FloatArray

Bound = Literal["lower", "upper"]
IN_SLICE = "in this slice"
ErrorSource = Literal["grid", "residual", "quadrature"]

_FEWEST_FOR_INTERVAL = 3
_LARGE_SPREAD = 0.25


@dataclass(frozen=True)
class Measurement:
    """A measured value, aggregated over the slices.

    Attributes:
        name: The key, such as ``"flat_radius"``.
        value: Mean over the slices; infinite where the loss diverges. None where it is not measured; ``note`` says why.
        standard_error: Of the value, over slices: sd / √S, or as the measure says. None where there is no error bar.
        unit: Of the value; ``""`` for a plain number.
        per_slice: What each slice gives; NaN where it gives nothing.
        left_out: (S,) the value without each slice in turn, where it is no mean over the slices; NaN where there is
            none.
        range: Lowest and highest of ``per_slice``.
        spread: sd / |mean| over slices.
        interval: 95 % confidence interval, Student's t with S - 1 degrees of freedom; None for fewer than 3 slices.
        bound: ``"lower"`` where the true value is at least this, because the grid ends before; ``"upper"`` where at
            most.
        method_error: What the method adds to the error, where that can be told; not a standard error.
        method_error_from: Where that comes from: the spacing of the grid, the residual of an eigenvalue (there is one
            within this distance), or the quadrature.
        invariant_to: Which function-preserving changes of the network leave it as it is; None where that is not known.
        num_examples: n; 0 where it is not known.
        scope: Of what it holds.
        split: Of the data, of a measure from the model; ``""`` where it does not say, and of others.
        holds_for: Of a measure from the model, in words: which parameters, split, n, weight decay and precision, one
            each; ``""`` where it does not say.
        settings: The options it was measured with, such as τ.
        kind: Those of a measure from the model that are words, such as the norm or the layers; ``""`` where none are.
        is_estimate: Whether it comes from random probes, or a search: without an error bar its error is not known.
        num_probes: That the standard error is over; 0 where it is not over probes, or their number is not known.
        note: What to know before comparing it.
    """

    name: str
    value: float | None = None
    standard_error: float | None = None
    unit: str = ""
    per_slice: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()
    range: tuple[float, float] | None = None
    spread: float | None = None
    interval: tuple[float, float] | None = None
    bound: Bound | None = None
    method_error: float | None = None
    method_error_from: ErrorSource | None = None
    invariant_to: tuple[str, ...] | None = None
    num_examples: int = 0
    scope: str = IN_SLICE
    split: str = ""
    holds_for: tuple[str, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    kind: str = ""
    is_estimate: bool = False
    num_probes: int = 0
    note: str = ""

    @property
    def num_known(self) -> int:
        """Slices that the value is over."""
        return len(self.left_out) or sum(not math.isnan(each) for each in self.per_slice)

    @property
    def degrees(self) -> float:
        """Of freedom of the standard error; infinite where it is not over slices or probes."""
        num = self.num_known or self.num_probes
        return num - 1 if num > 1 else math.inf

    @property
    def is_exact(self) -> bool:
        """Whether it is off by ``method_error`` at most: no mean over random directions or probes, no search."""
        is_bounded = not self.is_estimate or self.method_error_from == "residual"
        return is_bounded and not self.per_slice and self.standard_error is None


@dataclass(frozen=True)
class Spread:
    """Mean, error bar and range of one number per slice; see `Measurement`."""

    value: float
    standard_error: float | None
    range: tuple[float, float]
    spread: float | None
    interval: tuple[float, float] | None


def over_slices(per_slice: Sequence[float]) -> Spread:
    """Summarise one number per slice; NaN is left out.

    Args:
        per_slice: (S,), at least one of them not NaN.
    """
    known = np.asarray([value for value in per_slice if not math.isnan(value)])
    mean, bounds = float(known.mean()), (float(known.min()), float(known.max()))
    if len(known) < 2 or not np.isfinite(known).all():
        return Spread(mean, None, bounds, None, None)
    deviation = float(known.std(ddof=1))
    error = deviation / math.sqrt(len(known))
    return Spread(mean, error, bounds, deviation / abs(mean) if mean else None, interval(mean, error, len(known)))


def interval(mean: float, standard_error: float, num_slices: int) -> tuple[float, float] | None:
    """95 % confidence interval; None for fewer slices than three, where it would say next to nothing."""
    if num_slices < _FEWEST_FOR_INTERVAL:
        return None
    half = t_quantile(num_slices - 1) * standard_error
    return mean - half, mean + half


def jackknife(left_out: FloatArray) -> float:
    """Delete-one jackknife: the standard error of a statistic, √((S − 1)/S Σ (x₍ᵢ₎ − x̄)²) (Tukey 1958).

    Args:
        left_out: (S,) the statistic without each slice in turn, S ≥ 2.
    """
    num = len(left_out)
    return float(np.sqrt((num - 1) / num * ((left_out - left_out.mean()) ** 2).sum()))


def advice(spread: Spread) -> str:
    """A warning where the slices differ so much that a single one would mislead."""
    if spread.spread is None or not spread.spread > _LARGE_SPREAD:
        return ""
    return f"slices differ by {100 * spread.spread:.0f} %: a single one misleads"


def joined(*notes: str) -> str:
    """Notes in one line; empty ones are left out."""
    return "; ".join(filter(None, notes))
