"""What lies between the points of a line or a plane that have a value: segments and triangles, and heights on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from landscape_cli.surface import BoolArray, FloatArray

IntArray = NDArray[np.int64]

# the corners of a cell, counterclockwise seen from above: steps along x and y
_CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))
# of four corners two triangles, of three corners one: the corners of each, and the one that is missing then
_TRIANGLES = (((0, 1, 2), None), ((0, 2, 3), None), ((0, 1, 3), 2), ((1, 2, 3), 0))
_ROUNDING = 1e-9  # of a cell


def triangles(usable: BoolArray) -> IntArray:
    """(T, 3) triangles between neighbouring points, counterclockwise, so that their normals point up.

    Args:
        usable: (N, M) where there is a finite value; no triangle touches another point.

    Returns:
        Flat indices, in C order.
    """
    index = np.arange(usable.size).reshape(usable.shape)
    last_x, last_y = usable.shape[0] - 1, usable.shape[1] - 1
    cells = [(slice(i, last_x + i), slice(j, last_y + j)) for i, j in _CORNERS]
    found = []
    for corners, missing in _TRIANGLES:
        mask = np.logical_and.reduce([usable[cells[corner]] for corner in corners])
        if missing is not None:
            mask &= ~usable[cells[missing]]
        found.append(np.stack([index[cells[corner]][mask] for corner in corners], axis=-1))
    return np.concatenate(found)


def runs(usable: BoolArray) -> list[IntArray]:
    """The indices of neighbouring points that have a value, two or more each.

    Args:
        usable: (N,).

    >>> runs(np.array([True, True, False, True, False, True, True]))
    [array([0, 1]), array([5, 6])]
    """
    parts = np.split(np.arange(len(usable)), np.flatnonzero(np.diff(usable)) + 1)
    return [part for part in parts if len(part) > 1 and usable[part[0]]]


def height_on_line(x: FloatArray, height: FloatArray, place: float) -> float:
    """The height of the line at a place; NaN where there is none.

    Args:
        x: (N,) rising.
        height: (N,); NaN where there is no value.
        place: Anywhere.
    """
    if place in x:  # also next to a point without a value
        return float(height[x == place][0])
    i = int(np.searchsorted(x, place)) - 1
    if not 0 <= i < len(x) - 1:
        return np.nan
    share = (place - x[i]) / (x[i + 1] - x[i])
    return float(height[i] * (1 - share) + height[i + 1] * share)


def height_on_plane(x: FloatArray, y: FloatArray, height: FloatArray, place: tuple[float, float]) -> float:
    """The height of the `triangles` at a place, linear on each; NaN where there is none.

    Args:
        x: (N,) rising.
        y: (M,) rising.
        height: (N, M); NaN where there is no value.
        place: Anywhere.
    """
    on_grid = height[np.ix_(x == place[0], y == place[1])]
    if on_grid.size:
        return float(on_grid[0, 0])
    for i in _intervals(x, place[0]):
        for j in _intervals(y, place[1]):
            inside = ((place[0] - x[i]) / (x[i + 1] - x[i]), (place[1] - y[j]) / (y[j + 1] - y[j]))
            found = _in_cell(height[i : i + 2, j : j + 2], inside)
            if not np.isnan(found):
                return found
    return np.nan


def _intervals(x: FloatArray, place: float) -> Iterator[int]:
    """The one or two intervals that hold a place, their ends included."""
    for i in range(int(np.searchsorted(x, place, "left")) - 1, int(np.searchsorted(x, place, "right"))):
        if 0 <= i < len(x) - 1 and x[i] <= place <= x[i + 1]:
            yield i


def _in_cell(height: FloatArray, inside: tuple[float, float]) -> float:
    heights = np.array([height[corner] for corner in _CORNERS])
    usable = ~np.isnan(heights)
    for corners, missing in _TRIANGLES:
        if usable[list(corners)].all() and not (missing is not None and usable[missing]):
            weights = _barycentric(corners, inside)
            if (weights >= -_ROUNDING).all():
                return float(weights @ heights[list(corners)])
    return np.nan


def _barycentric(corners: tuple[int, ...], inside: tuple[float, float]) -> FloatArray:
    """(3,) weights that sum to 1 and give the place as a mean of the corners; all ≥ 0 inside of the triangle."""
    equations = np.array([(*_CORNERS[corner], 1) for corner in corners], dtype=np.float64).T
    return np.linalg.solve(equations, np.array([*inside, 1.0]))
