"""A path laid on a surface: it follows the triangles between its steps, and is nowhere but on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landscape_cli.formats.mesh import height_on_line, height_on_plane
from landscape_cli.surface import FloatArray

_LEAST = 2.0**-20  # of the way, so that only the steps themselves have whole numbers


def draped(axes: Sequence[FloatArray], height: FloatArray, steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points along the straight way from step to step: at the steps, on every edge on the way, and between those.

    Args:
        axes: One or two, of N and M coordinates.
        height: (N[, M]); NaN where there is no value.
        steps: (T, A) places, anywhere.

    Returns:
        numbers: (K,) rising from 0 to T − 1: that of the step, with the share of the way to the next one.
        points: (K, A + 1) places and heights; the height is NaN where there is no surface.
    """
    rows = [np.array([[0.0, *steps[0]]])]
    for number in range(len(steps) - 1):
        found = _between(axes, steps[number], steps[number + 1])[1:]  # its first is the last one before
        rows.append(found + np.array([number, *[0.0] * len(axes)]))
    way = np.concatenate(rows)
    heights = np.array([_height_at(axes, height, place) for place in way[:, 1:]])
    return way[:, 0], np.column_stack([way[:, 1:], heights])


def _between(axes: Sequence[FloatArray], start: FloatArray, stop: FloatArray) -> FloatArray:
    """(K, 1 + A) shares of the way from 0 to 1, and places."""
    way = np.array([[0.0, *start], [1.0, *stop]])
    for position, axis in enumerate(axes):
        ends = sorted((start[position], stop[position]))
        crossed = axis[(axis > ends[0]) & (axis < ends[1])]
        shares = (crossed - start[position]) / (stop[position] - start[position])
        places = start + shares[:, None] * (stop - start)
        places[:, position] = crossed  # exactly, or it might be in a cell without triangles
        way = _merged(way, np.column_stack([shares, places]))
    if min(map(len, axes)) > 1 < len(axes):
        way = _merged(way, _on_diagonals(axes, way))
    return _merged(way, (way[:-1] + way[1:]) / 2)


def _on_diagonals(axes: Sequence[FloatArray], way: FloatArray) -> FloatArray:
    """Where the parts of a way, each in one cell, cross the diagonals of that cell."""
    inside = []  # of the cell: (2, K) from 0 to 1, at both ends, along each axis
    for position, axis in enumerate(axes, start=1):
        ends = np.stack([way[:-1, position], way[1:, position]])
        cell = np.clip(np.searchsorted(axis, ends.mean(axis=0)) - 1, 0, len(axis) - 2)
        inside.append((ends - axis[cell]) / (axis[cell + 1] - axis[cell]))
    found = []
    for first, last in (inside[0] - inside[1], inside[0] + inside[1] - 1):
        crossing = first * last < 0
        shares = (first[crossing] / (first[crossing] - last[crossing]))[:, None]
        found.append(way[:-1][crossing] * (1 - shares) + way[1:][crossing] * shares)
    return np.concatenate(found)


def _merged(way: FloatArray, more: FloatArray) -> FloatArray:
    more[:, 0] = np.clip(more[:, 0], _LEAST, 1 - _LEAST)
    found = np.concatenate([way, more])
    return found[np.argsort(found[:, 0], kind="stable")]


def _height_at(axes: Sequence[FloatArray], height: FloatArray, place: FloatArray) -> float:
    if len(axes) == 1:
        return height_on_line(axes[0], height, float(place[0]))
    for position in range(2):
        if len(axes[position]) == 1:  # a line across the plane
            on_line = bool(place[position] == axes[position][0])
            other = 1 - position
            return height_on_line(axes[other], height.ravel(), float(place[other])) if on_line else np.nan
    return height_on_plane(axes[0], axes[1], height, (float(place[0]), float(place[1])))
