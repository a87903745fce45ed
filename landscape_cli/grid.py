"""Axis, Grid: coordinates and the order of points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

AXES = ("x", "y", "z")
MAX_SLICES = 8000


@dataclass(frozen=True)
class Axis:
    """The coordinates along one direction, strictly increasing and finite.

    Args:
        name: ``"x"``, ``"y"`` or ``"z"``.
        coordinates: Multiples of the direction, in units of its length; 0 is the checkpoint.

    Raises:
        ValueError: For no coordinates, or coordinates that are not finite and strictly increasing.
    """

    name: str
    coordinates: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.coordinates:
            raise ValueError(f"axis {self.name}: no coordinates")
        if not all(map(math.isfinite, self.coordinates)):
            raise ValueError(f"axis {self.name}: coordinates must be finite")
        if any(b <= a for a, b in pairwise(self.coordinates)):
            raise ValueError(f"axis {self.name}: coordinates must be strictly increasing")

    @classmethod
    def linspace(cls, name: str, start: float, stop: float, num: int) -> Axis:
        """``num`` evenly spaced coordinates from ``start`` to ``stop``, both included.

        A coordinate that is zero up to rounding is exactly zero, so that the checkpoint itself is on the grid.
        """
        coordinates = np.linspace(start, stop, num)
        coordinates[np.abs(coordinates) < 1e-12 * (stop - start)] = 0.0
        return cls(name, tuple(coordinates.tolist()))

    @classmethod
    def geomspace(cls, name: str, start: float, stop: float, num: int) -> Axis:
        """``num`` coordinates from ``start`` to ``stop``, both included and of one sign, each a fixed multiple of the
        one before.
        """
        coordinates = np.geomspace(start, stop, num)
        coordinates[[0, -1]] = start, stop
        return cls(name, tuple(coordinates.tolist()))

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def centre(self) -> int:
        """Index of the coordinate nearest to 0."""
        return int(np.argmin(np.abs(self.coordinates)))

    @cached_property
    def levels(self) -> NDArray[np.int64]:
        """(N,) coarseness of each index: 0 for the centre and both ends, then 1, 2, … as every gap is halved."""
        levels = np.full(len(self), -1, dtype=np.int64)
        known = sorted({0, self.centre, len(self) - 1})
        level = 0
        while True:
            levels[known] = np.where(levels[known] < 0, level, levels[known])
            middles = [(a + b) // 2 for a, b in pairwise(known) if b - a > 1]
            if not middles:
                return levels
            known = sorted({*known, *middles})
            level += 1


@dataclass(frozen=True)
class Grid:
    """A Cartesian grid over one to three axes, repeated for every slice (one draw of the random directions).

    Arrays over the grid have shape (S, N), (S, N, M) or (S, N, M, L): slices, x, y, z. A *point* is a flat index into
    that shape in C order.
    """

    axes: tuple[Axis, ...]
    num_slices: int = 1

    def __post_init__(self) -> None:
        if not 1 <= len(self.axes) <= len(AXES):
            raise ValueError(f"a grid has 1 to {len(AXES)} axes, not {len(self.axes)}")
        if self.num_slices < 1:
            raise ValueError(f"a grid has at least one slice, not {self.num_slices}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(S, N[, M[, L]])."""
        return (self.num_slices, *(len(axis) for axis in self.axes))

    @property
    def num_points(self) -> int:
        """Number of points over all slices."""
        return math.prod(self.shape)

    def location(self, point: int) -> tuple[int, tuple[float, ...]]:
        """The slice and the coordinates of a point."""
        slice_index, *indices = np.unravel_index(point, self.shape)
        coordinates = tuple(axis.coordinates[int(i)] for axis, i in zip(self.axes, indices, strict=True))
        return int(slice_index), coordinates

    def scan_order(self) -> NDArray[np.int64]:
        """(num_points,) every point once: the centre first, then coarse to fine over all slices.

        All points of one level come before those of the next, and the points up to any level form a rectangular
        subgrid, so a scan that was stopped is a whole picture at a lower resolution.
        """
        indices = np.indices(self.shape).reshape(len(self.shape), -1)
        level = np.zeros(self.num_points, dtype=np.int64)
        distance = np.zeros(self.num_points)
        for axis, index in zip(self.axes, indices[1:], strict=True):
            level = np.maximum(level, axis.levels[index])
            distance += ((index - axis.centre) / len(axis)) ** 2
        return np.lexsort((np.arange(self.num_points), distance, indices[0], level))
