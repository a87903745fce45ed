"""A plane on a raster of cells: how large it is, and which point of the grid stands where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analysis.layer import Layer
from landscape_cli.surface import BoolArray, FloatArray

Indices = NDArray[np.int64]

_MAX_RATIO = 3.0  # of the sides: a longer strip would show next to nothing
_MAX_DISTORTION = 1.25  # of the shape, so that all points are equally large
_EVEN = 1e-6  # relative


@dataclass(frozen=True)
class Side:
    """One side of a raster, cut into cells of equal length.

    Args:
        coordinates: (N,) of the points along it, rising.
        num: Of cells.
    """

    coordinates: FloatArray
    num: int

    @property
    def ends(self) -> tuple[float, float]:
        """Where the first cell begins and the last one ends: half a step beyond the outermost points."""
        return _ends(self.coordinates)

    @property
    def nearest(self) -> Indices:
        """(num,) which point is the nearest to the middle of each cell."""
        low, high = self.ends
        middles = low + (np.arange(self.num) + 0.5) / self.num * (high - low)
        borders = self.coordinates[1:] / 2 + self.coordinates[:-1] / 2
        return np.asarray(np.searchsorted(borders, middles), dtype=np.int64)

    def position(self, coordinates: FloatArray) -> FloatArray:
        """Where coordinates lie, from 0 to ``num``, in cells."""
        low, high = self.ends
        return np.asarray((coordinates - low) / (high - low) * self.num)

    def cell(self, coordinates: FloatArray) -> Indices:
        """In which cell coordinates lie."""
        return np.clip(np.floor(self.position(coordinates)).astype(np.int64), 0, self.num - 1)

    @property
    def centre(self) -> int | None:
        """The cell of the checkpoint; None where that lies beyond the ends."""
        low, high = self.ends
        return int(self.cell(np.zeros(1))[0]) if low <= 0 <= high else None

    @property
    def has_cell_for_each(self) -> bool:
        """Whether every point is the nearest to some cell."""
        return len(np.unique(self.nearest)) == len(self.coordinates)


def _ends(coordinates: FloatArray) -> tuple[float, float]:
    if len(coordinates) == 1:
        return float(coordinates[0]) - 0.5, float(coordinates[0]) + 0.5
    first, last = coordinates[1] - coordinates[0], coordinates[-1] - coordinates[-2]
    return float(coordinates[0] - first / 2), float(coordinates[-1] + last / 2)


@dataclass(frozen=True)
class Raster:
    """The cells of a plane: x to the right, y upwards."""

    x: Side
    y: Side

    @classmethod
    def fitting(cls, layer: Layer, width: int, height: int, cell_height: float) -> Raster:
        """The largest raster that keeps the shape of the plane; each point is a whole number of cells where it can be.

        Args:
            layer: The plane.
            width: The most cells to the right.
            height: The most cells upwards.
            cell_height: Of a cell, in widths of it.
        """
        ratio = _ratio(layer.x, layer.y)
        across = max(1, min(width, round(height * cell_height * ratio)))
        up = max(1, min(height, round(across / (cell_height * ratio))))
        whole = _whole(layer.x, across), _whole(layer.y, up)
        distortion = abs(math.log(whole[0] / across) - math.log(whole[1] / up))
        if distortion <= math.log(_MAX_DISTORTION) or 1 in (len(layer.x), len(layer.y)):
            across, up = whole
        return cls(Side(layer.x, across), Side(layer.y, up))

    def points(self, evaluated: BoolArray) -> tuple[Indices, Indices]:
        """Which point each cell shows: the nearest to its middle, or where that is not evaluated, the nearest of those
        within it that are.

        Args:
            evaluated: (N, M).

        Returns:
            Indices on x and on y, each (height, width), the topmost row first.
        """
        i, j = (each.copy() for each in np.broadcast_arrays(self.x.nearest[None, :], self.y.nearest[:, None]))
        if not (evaluated.all() or (self.x.has_cell_for_each and self.y.has_cell_for_each)):
            self._fill(i, j, evaluated)
        return i[::-1], j[::-1]

    def _fill(self, i: Indices, j: Indices, evaluated: BoolArray) -> None:
        """Let cells whose own point is not evaluated show another one within them."""
        p, q = np.nonzero(evaluated)
        at = [side.position(side.coordinates[index]) for side, index in ((self.x, p), (self.y, q))]
        cells = [side.cell(side.coordinates[index]) for side, index in ((self.x, p), (self.y, q))]
        distance = sum((position - cell - 0.5) ** 2 for position, cell in zip(at, cells, strict=True))
        order = np.argsort(-np.asarray(distance), kind="stable")  # the nearest is written last
        p, q, column, row = p[order], q[order], cells[0][order], cells[1][order]
        lacking = ~evaluated[i, j][row, column]
        i[row[lacking], column[lacking]] = p[lacking]
        j[row[lacking], column[lacking]] = q[lacking]


def _ratio(x: FloatArray, y: FloatArray) -> float:
    """Width by height of a plane: as its ranges are."""
    if len(x) == len(y) == 1:
        return 1.0
    if 1 in (len(x), len(y)):
        return _MAX_RATIO if len(y) == 1 else 1 / _MAX_RATIO
    spans = [high - low for low, high in map(_ends, (x, y))]
    return float(np.clip(spans[0] / spans[1], 1 / _MAX_RATIO, _MAX_RATIO))


def _whole(coordinates: FloatArray, num: int) -> int:
    """At most ``num`` cells, as many for each point where the points are even and there are enough."""
    steps = np.diff(coordinates)
    is_even = not len(steps) or bool(np.ptp(steps) <= _EVEN * steps.max())
    return num // len(coordinates) * len(coordinates) if is_even and num >= len(coordinates) else num
