"""Values of several slices along a line: their mean, its standard error, and their range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.surface import BoolArray, FloatArray, Surface


@dataclass(frozen=True)
class Band:
    """Values of several slices, summed up.

    Attributes:
        mean: (N,) over the slices; NaN where not known, and where any slice diverged.
        low: (N,) least finite value of the slices; NaN where there is none.
        high: (N,) largest.
        standard_error: (N,) of the mean: the sample standard deviation over √S; NaN with fewer than two slices, and
            where the mean is.
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray
    standard_error: FloatArray

    @property
    def shown(self) -> FloatArray:
        """Every finite value that is drawn, flat."""
        values = np.concatenate([self.mean, self.low, self.high])
        return np.asarray(values[np.isfinite(values)])


@dataclass(frozen=True)
class Curve(Band):
    """The values of a metric over x.

    Attributes:
        metric: Its name.
        x: (N,) coordinates.
        known: (N,) evaluated in all slices that count; in any of them where no point is in all.
        diverged: (N,) NaN or infinite in a slice where it is evaluated.
        num_slices: How many count: those with any point; of a mean, over how many it is.
    """

    metric: str
    x: FloatArray
    known: BoolArray
    diverged: BoolArray
    num_slices: int


def band_of(values: FloatArray, used: BoolArray, diverged: BoolArray) -> Band:
    """Sum up slices.

    Args:
        values: (S, N).
        used: (S, N) which of them count; these are finite.
        diverged: (N,) where one is not finite, so that there is no mean.
    """
    counts = used.sum(axis=0)
    some = np.maximum(counts, 1)
    mean = np.where(used, values / some, 0.0).sum(axis=0)  # the sum alone may not be finite
    is_there = counts > 0
    low = np.where(is_there, np.min(np.where(used, values, np.inf), axis=0), np.nan)
    high = np.where(is_there, np.max(np.where(used, values, -np.inf), axis=0), np.nan)
    spread = np.sqrt((np.where(used, values - mean, 0.0) ** 2).sum(axis=0))
    error = spread / np.sqrt(np.maximum(counts - 1, 1) * some)
    has_mean = is_there & ~diverged
    return Band(np.where(has_mean, mean, np.nan), low, high, np.where(has_mean & (counts > 1), error, np.nan))


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
    counts = evaluated.any(axis=1)  # a slice that is not begun says nothing
    in_any: BoolArray = np.logical_or.reduce(evaluated)
    in_all: BoolArray = np.logical_and.reduce(evaluated[counts]) & in_any
    known = in_all if in_all.any() else in_any  # a mean over other slices at every coordinate would zigzag
    diverged: BoolArray = np.logical_or.reduce(evaluated & ~finite)
    band = band_of(values, finite & known, diverged)
    x = np.asarray(surface.grid.axes[0].coordinates)
    parts = (band.mean, band.low, band.high, band.standard_error)
    return Curve(*parts, metric, x, known, diverged, int(counts.sum()))
