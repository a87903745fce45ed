"""Tolerance: how much worse a measure may become, and whether a contrast is within it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from landscape_cli.analysis.contrast import Contrast, Limits
from landscape_cli.analysis.orientation import Better

Decided = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Tolerance:
    """How much worse NEW may be than BASE.

    Attributes:
        measure: Its name.
        amount: 0.15 for 15 %, or in units of the measure.
        is_relative: Whether it is a share of BASE.
    """

    measure: str
    amount: float
    is_relative: bool = True

    def __str__(self) -> str:
        return f"{self.measure}:{self.amount_as_given}"

    @property
    def amount_as_given(self) -> str:
        """``15%``, or ``0.02`` in units of the measure."""
        return f"{100 * self.amount:g}%" if self.is_relative else f"{self.amount:g}"

    def limit(self, better: Better) -> float:
        """The worst change that is within the tolerance: log (new / base), or new − base; 15 % less of a radius is
        log 0.85, 15 % more of a loss log 1.15.
        """
        sign = -1 if better == "higher" else 1
        return math.log1p(sign * self.amount) if self.is_relative else sign * self.amount


def limits_of(contrast: Contrast, tolerance: Tolerance, confidence: float) -> Limits | None:
    """The two one-sided limits of the change, each with this confidence; None without an error bar, or a ratio."""
    both = 2 * confidence - 1
    return contrast.limits_of_log(both) if tolerance.is_relative else contrast.limits_of_difference(both)


def outcome(contrast: Contrast, tolerance: Tolerance, better: Better, confidence: float) -> Decided | None:
    """Fail where the change is surely worse than the tolerance, pass where it surely is not, each with this confidence.

    Args:
        contrast: NEW against BASE.
        tolerance: How much worse NEW may be.
        better: Which way the measure is better.
        confidence: One-sided, from 0.5 to 1.

    Returns:
        None where nothing is known of the error.
    """
    limits = limits_of(contrast, tolerance, confidence)
    if limits is None:
        return None
    sign = 1 if better == "higher" else -1  # from here on, less is worse
    worst, best = sorted(sign * limit for limit in limits)
    limit = sign * tolerance.limit(better)
    if best < limit:
        return "fail"
    return "pass" if worst >= limit else "inconclusive"
