"""One metric along a line: its mean over the slices, and their range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.surface import BoolArray, FloatArray, Surface


@dataclass(frozen=True)
class Curve:
    """The values of a metric over x.

    Attributes:
        metric: Its name.
        x: (N,) coordinates.
        mean: (N,) over the slices; NaN where not known, and where any slice diverged.
        low: (N,) least finite value of the slices; NaN where there is none.
        high: (N,) largest.
        known: (N,) evaluated in all slices; in any of them where no point is in all.
        diverged: (N,) NaN or infinite in a slice where it is evaluated.
    """

    metric: str
    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    known: BoolArray
    diverged: BoolArray

    @property
    def shown(self) -> FloatArray:
        """Every finite value that is drawn, flat."""
        values = np.concatenate([self.mean, self.low, self.high])
        return np.asarray(values[np.isfinite(values)])


def curve_of(surface: Surface, metric: str, slice_index: int | None = None) -> Curve:
    """What is drawn of a metric along a line.

    Args:
        surface: 1-D.
        metric: Its name.
        slice_index: One slice only; None for the mean and the range over all of them.
    """
    chosen = slice(None) if slice_index is None else [slice_index]
    evaluated: BoolArray = surface.evaluated[chosen]  # (S, N)
    values = surface[metric][chosen]
    finite = evaluated & np.isfinite(values)
    in_all, in_any = np.logical_and.reduce(evaluated), np.logical_or.reduce(evaluated)
    known = in_all if in_all.any() else in_any  # a mean over other slices at every coordinate would zigzag
    diverged = np.logical_or.reduce(evaluated & ~finite)
    counts = finite.sum(axis=0)
    mean = np.where(finite, values / np.maximum(counts, 1), 0.0).sum(axis=0)  # the sum alone may not be finite
    is_there = known & (counts > 0)
    low = np.where(is_there, np.min(np.where(finite, values, np.inf), axis=0), np.nan)
    high = np.where(is_there, np.max(np.where(finite, values, -np.inf), axis=0), np.nan)
    x = np.asarray(surface.grid.axes[0].coordinates)
    return Curve(metric, x, np.where(is_there & ~diverged, mean, np.nan), low, high, known, diverged)
