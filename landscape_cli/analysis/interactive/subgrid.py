"""The part of a partial plane over which it is a surface: the finest rectangular subgrid that is nearly filled.

A scan goes from coarse to fine, so a partial plane is whole at some lower resolution, with finer points strewn over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.grid import Axis
from landscape_cli.surface import BoolArray, FloatArray

_NEARLY = 0.95  # a finer one with a few holes shows more than a coarse one without


@dataclass(frozen=True)
class Subgrid:
    """Some of the coordinates of both axes.

    Attributes:
        x: Rising indices into the first axis.
        y: Into the second.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]


def touched(evaluated: BoolArray) -> Subgrid:
    """The coordinates at which anything is evaluated.

    Args:
        evaluated: (N, M).
    """
    return Subgrid(np.flatnonzero(evaluated.any(axis=1)), np.flatnonzero(evaluated.any(axis=0)))


def filled(axes: Sequence[Axis], evaluated: BoolArray) -> Subgrid:
    """The finest subgrid whose cells with four evaluated corners cover nearly as much as those of any other.

    Args:
        axes: Of the plane, N and M long.
        evaluated: (N, M).
    """
    finest = touched(evaluated)
    x, y = (axis.levels for axis in axes[:2])
    coarser = [
        Subgrid(np.flatnonzero(x <= level), np.flatnonzero(y <= level))
        for level in range(max(int(x.max()), int(y.max())), -1, -1)
    ]
    candidates = [finest, *coarser]
    covered = [_area(axes, evaluated, each) for each in candidates]
    return next(each for each, area in zip(candidates, covered, strict=True) if area >= _NEARLY * max(covered))


def _area(axes: Sequence[Axis], evaluated: BoolArray, subgrid: Subgrid) -> float:
    """Of the cells whose four corners are evaluated, in units of the coordinates."""
    known = evaluated[np.ix_(subgrid.x, subgrid.y)]
    whole = known[1:, 1:] & known[:-1, 1:] & known[1:, :-1] & known[:-1, :-1]
    widths, heights = (_steps(axis, chosen) for axis, chosen in zip(axes, (subgrid.x, subgrid.y), strict=False))
    return float(widths @ whole @ heights)


def _steps(axis: Axis, chosen: NDArray[np.int64]) -> FloatArray:
    coordinates = np.asarray(axis.coordinates)
    return np.diff(coordinates[chosen]) / (np.ptp(coordinates) or 1.0)
