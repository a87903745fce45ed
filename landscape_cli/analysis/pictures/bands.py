"""Values of several slices along an axis: mean, standard error and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from landscape_cli.surface import BoolArray, FloatArray


@dataclass(frozen=True)
class Band:
    """Values of several slices along an axis, summed up.

    Attributes:
        mean: (N,) over the slices; NaN where one has diverged.
        low: (N,) the least; NaN where there is none.
        high: (N,) the largest.
        standard_error: (N,) of the mean: the sample standard deviation over √S; NaN with fewer than two slices.
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray
    standard_error: FloatArray


def band_of(shown: FloatArray, diverged: BoolArray) -> Band:
    """Of (S, N) values, NaN where there is none, with (N,) where one has diverged."""
    counts = np.isfinite(shown).sum(axis=0)
    mean = np.nansum(shown / np.maximum(counts, 1), axis=0)
    squares = np.nansum((shown - mean) ** 2, axis=0)
    few = np.where(counts > 1, counts, 2)
    error = np.where((counts > 1) & ~diverged, np.sqrt(squares / (few - 1) / few), np.nan)
    known = np.where(diverged, np.nan, mean)
    return Band(known, np.fmin.reduce(shown, axis=0), np.fmax.reduce(shown, axis=0), error)


def draw_band(ax: Axes, x: FloatArray, band: Band, color: str, **style: Any) -> None:
    """Draw the mean as a line, its standard error and the range as bands."""
    ax.plot(x, band.mean, color=color, **style)
    for low, high, alpha in (
        (band.low, band.high, 0.15),
        (band.mean - band.standard_error, band.mean + band.standard_error, 0.3),
    ):
        if (high > low).any():
            ax.fill_between(x, low, high, where=~np.isnan(low), color=color, alpha=alpha, linewidth=0)
