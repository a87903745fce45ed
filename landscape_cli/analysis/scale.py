"""From values to heights and colours: linear or logarithmic, and where a scale ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray

# Loss surfaces span decades: below this ratio a linear scale shows more, above it only the highest walls.
_LOG_RATIO = 50.0
_SPACED_BY_FACTORS = 50.0  # coordinates that span more than this


@dataclass(frozen=True)
class Scale:
    """A range of values, both ends included, and whether it is divided by factors.

    Attributes:
        low: Its lower end; above 0 where it is logarithmic.
        high: Its upper end; above ``low``, but for a surface that is constant.
        log: Whether it is logarithmic.
        below: Whether there are values below ``low``.
        above: Whether there are values above ``high``.
    """

    low: float
    high: float
    log: bool = False
    below: bool = False
    above: bool = False

    def share(self, values: FloatArray) -> FloatArray:
        """Where values lie between ``low`` (0) and ``high`` (1), those outside at the end; NaN stays NaN.

        A constant surface lies at ½.
        """
        low, high = (math.log10(end) if self.log else end for end in (self.low, self.high))
        if not high - low > 0:
            return np.where(np.isnan(values), np.nan, 0.5)
        inside = np.clip(values, self.low, self.high)
        # halves, for the difference of two large numbers may not be finite
        return np.asarray(((np.log10(inside) if self.log else inside) / 2 - low / 2) / (high / 2 - low / 2))


def scale_of(
    values: FloatArray, *, log: bool | None = None, vmin: float | None = None, vmax: float | None = None
) -> Scale:
    """The scale on which values are shown.

    Args:
        values: Of any shape; those that are not finite do not count.
        log: Whether it is logarithmic; None for where all values in it are positive and span more than a factor of 50.
        vmin: Its lower end; by default the least value.
        vmax: Its upper end; by default the largest value.

    Raises:
        UsageError: The ends are not finite and rising, or a scale is to be logarithmic where values are not positive.
    """
    for name, end in (("vmin", vmin), ("vmax", vmax)):
        if end is not None and not math.isfinite(end):
            raise UsageError(f"{name}: found {end}; expected a finite number")
    finite = values[np.isfinite(values)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low, high = least if vmin is None else vmin, most if vmax is None else vmax
    if vmin is not None and vmax is not None and vmin >= vmax:
        raise UsageError(f"vmin, vmax: found {vmin:g} and {vmax:g}; expected vmin below vmax")
    if low > high:  # everything lies on one side of the end that was asked for
        low, high = (low, low) if vmax is None else (high, high)
    if log and not low > 0 and finite.size:
        what = f"vmin: found {vmin:g}" if vmin is not None else f"log: the lowest value is {least:.4g}"
        raise UsageError(f"{what}; a logarithmic scale needs positive values", hint="Set vmin above 0, or use linear.")
    is_log = bool(finite.size) and _spans_decades(low, high) if log is None else log and low > 0
    return Scale(low, high, is_log, below=bool(finite.size) and least < low, above=bool(finite.size) and most > high)


def spans_decades(values: FloatArray) -> bool:
    """Whether the finite values are positive and differ by more than a factor of 50."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and _spans_decades(float(finite.min()), float(finite.max()))


def is_spaced_by_factors(coordinates: Sequence[float] | FloatArray) -> bool:
    """Whether an axis is shown by factors: its rising coordinates are positive and span more than a factor of 50.

    >>> is_spaced_by_factors([0.01, 0.1, 1.0]), is_spaced_by_factors([0.0, 1.0, 100.0]), is_spaced_by_factors([1.0])
    (True, False, False)
    """
    first, last = float(coordinates[0]), float(coordinates[-1])
    return first > 0 and math.log10(last) - math.log10(first) > math.log10(_SPACED_BY_FACTORS)


def _spans_decades(low: float, high: float) -> bool:
    return low > 0 and math.log10(high) - math.log10(low) > math.log10(_LOG_RATIO)


def parse_levels(text: str) -> int | Sequence[float]:
    """``"12"`` for about as many levels, ``"0.1,0.5,1"`` for these.

    Raises:
        UsageError: It is neither.
    """
    try:
        if "," not in text:
            return int(text)
        return [float(each) for each in text.split(",") if each.strip()]
    except ValueError as error:
        raise UsageError(
            f"levels: found {text!r}; expected a number of levels such as 12, or values such as 0.1,1"
        ) from error
