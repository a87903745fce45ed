"""The points of a grid in the order of the scan, cut into units that are evaluated together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landscape_cli.surface import Surface


class Units:
    """The scan order, cut into units of at most ``size`` points of one slice.

    Where the cuts are depends on grid and size alone: a point has the same neighbours in its unit, and so the same
    bits, however often the scan was interrupted, and whoever evaluates it.

    Args:
        surface: Whose ``evaluated`` says what is done, at any time.
        size: Points that share a call of the model.
    """

    def __init__(self, surface: Surface, size: int) -> None:
        grid, self._surface = surface.grid, surface
        self._order = grid.scan_order()
        slices = self._order // (grid.num_points // grid.num_slices)
        runs = np.flatnonzero(np.diff(slices, prepend=-1))  # where another slice begins
        ends = np.append(runs[1:], len(self._order))
        lengths = ends - runs
        counts = -(-lengths // size)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self._starts = np.repeat(runs, counts) + size * (np.arange(counts.sum()) - first)
        self._ends = np.minimum(self._starts + size, np.repeat(ends, counts))
        self.slices = slices[self._starts]

    def __len__(self) -> int:
        return len(self._starts)

    def points(self, unit: int) -> list[int]:
        """The points of a unit."""
        found: list[int] = self._order[self._starts[unit] : self._ends[unit]].tolist()
        return found

    def is_done(self, points: Sequence[int]) -> bool:
        """Whether nothing is left to do at these points."""
        return bool(self._surface.evaluated.ravel()[list(points)].all())

    def missing(self) -> NDArray[np.int64]:
        """The units with anything left to do, in scan order."""
        is_done = self._surface.evaluated.ravel()[self._order]
        return np.flatnonzero(~np.logical_and.reduceat(is_done, self._starts))
