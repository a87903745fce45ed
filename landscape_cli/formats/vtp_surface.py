"""A surface as triangles for ParaView, .vtp: its height is a metric, with the path of checkpoints on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import UsageError
from landscape_cli.formats.columns import (
    Column,
    beside,
    chosen_column,
    chosen_slices,
    columns,
    notes_left_out,
    notes_one_slice,
    notes_renamed,
)
from landscape_cli.formats.draping import draped
from landscape_cli.formats.mesh import IntArray, runs, triangles
from landscape_cli.formats.vtk_xml import Arrays, Document
from landscape_cli.storage import replace_file
from landscape_cli.surface import BoolArray, FloatArray, Surface


def write_vtp(
    surface: Surface,
    path: str | os.PathLike[str],
    *,
    slice_index: int | None = None,
    metric: str | None = None,
    log: bool = False,
) -> list[str]:
    """Replace the file at ``path`` by a surface of VTK: points (x, y, height), y = 0 on a line.

    There is a point for every finite value of the metric, and nothing else is made up: triangles (on a line segments)
    lie between neighbours that all have a value, a point without such neighbours is a vertex. Point data are every
    metric, its standard error and the slice.

    The path of checkpoints is a polyline on the triangles, which it follows from step to step, broken where there are
    none. The array ``trajectory`` is the number of the step on it, with the share of the way to the next one, and −1 on
    the surface; metrics are NaN on it: nobody measured there.

    Args:
        surface: Whole or partial, of one or two axes.
        path: Where to.
        slice_index: Which slice; by default the first of a plane, and all of a line.
        metric: Whose values are the height; by default the first loss.
        log: Whether the height is log10 of them.

    Returns:
        What to know about the file, in sentences.

    Raises:
        UsageError: The surface has three axes, no such slice or metric, or values that have no logarithm.
        OutputError: The file cannot be written; an older file is untouched.
    """
    num_axes = len(surface.grid.axes)
    if num_axes > 2:
        raise UsageError(
            f"{path}: a surface has one or two axes; this one has three", hint="A .vts file holds a volume."
        )
    slices = chosen_slices(surface, slice_index)
    slices = slices if num_axes == 1 else slices[:1]
    part = surface.of_slices(slices)
    found = columns(part)
    height = _height(chosen_column(found, metric), log=log)
    sheets = [_sheet(part, slices, index, height[index]) for index in range(len(slices))]
    paths, lost = _paths(part, slices, height)
    content = _document([*sheets, *paths], found, chosen_column(found, metric).name)
    replace_file(Path(path), content)
    return [
        *([] if num_axes == 1 else notes_one_slice(surface, slice_index)),
        *([f"{lost:,} checkpoints of the trajectory are not on the surface, and left out"] if lost else []),
        *notes_left_out("vtp", beside(surface, trajectory=False)),
        *notes_renamed(found),
    ]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Points and what lies between them.

    Attributes:
        points: (P, 3) x, y, height.
        origin: (P,) flat indices on the grid of the slices; −1 for none.
        slices: (P,) numbers of slices.
        steps: (P,) of the path, with the share of the way to the next one; −1 on the surface.
        lines: Indices of points, two or more each.
        polys: (T, 3) indices of points.
    """

    points: FloatArray
    origin: IntArray
    slices: IntArray
    steps: FloatArray
    lines: Sequence[IntArray]
    polys: IntArray

    @property
    def verts(self) -> IntArray:
        """Points that nothing touches."""
        lone = np.ones(len(self.points), dtype=np.bool_)
        lone[np.concatenate([self.polys.ravel(), *self.lines])] = False
        return np.flatnonzero(lone)


_NOTHING: IntArray = np.empty(0, dtype=np.int64)
_NO_POLYS: IntArray = np.empty((0, 3), dtype=np.int64)


def _height(column: Column, *, log: bool) -> FloatArray:
    """(S, N[, M]) heights; NaN where there is no finite value."""
    values = np.where(np.isfinite(column.values), column.values, np.nan)
    if not log:
        return values
    least = np.min(values, where=~np.isnan(values), initial=np.inf)
    if least <= 0:
        what = f"log: the lowest {column.name} is {least:.4g}; a logarithmic scale needs positive values"
        raise UsageError(what, hint="Leave out --log.")
    return np.log10(values)


def _sheet(part: Surface, slices: Sequence[int], index: int, height: FloatArray) -> _Piece:
    """One slice of the surface: height (N[, M])."""
    usable = ~np.isnan(height)
    number = np.cumsum(usable).reshape(usable.shape) - 1  # of the point, where there is one
    indices = np.nonzero(usable)
    points = np.zeros((int(usable.sum()), 3))
    for position, (axis, each) in enumerate(zip(part.grid.axes, indices, strict=True)):
        points[:, position] = np.asarray(axis.coordinates)[each]
    points[:, 2] = height[usable]
    is_line = 1 in usable.shape or usable.ndim == 1
    return _Piece(
        points=points,
        origin=np.flatnonzero(usable) + index * usable.size,
        slices=np.full(len(points), slices[index]),
        steps=np.full(len(points), -1.0),
        lines=[number.ravel()[run] for run in runs(usable.ravel())] if is_line else [],
        polys=_NO_POLYS if is_line else number.ravel()[triangles(usable)],
    )


def _paths(part: Surface, slices: Sequence[int], height: FloatArray) -> tuple[list[_Piece], int]:
    """The path of checkpoints in every slice that it is known in, and how many steps are not on the surface."""
    if part.trajectory is None:
        return [], 0
    found, lost = [], 0
    axes = [np.asarray(axis.coordinates) for axis in part.grid.axes]
    for index, number in enumerate(slices):
        if part.trajectory.is_known_in(index):
            with np.errstate(all="ignore"):  # of coordinates at the end of what float64 holds
                steps, points = draped(axes, height[index], part.trajectory.coordinates[index])
            found.append(_path(steps, points, number))
            lost += int(np.isnan(points[steps % 1 == 0, -1]).sum())
    return found, lost


def _path(steps: FloatArray, points: FloatArray, number: int) -> _Piece:
    """The part of a path that is on the surface: points (K, A + 1), their height NaN where they are not."""
    usable: BoolArray = ~np.isnan(points[:, -1])
    placed = np.zeros((int(usable.sum()), 3))
    placed[:, : points.shape[1] - 1] = points[usable, :-1]
    placed[:, 2] = points[usable, -1]
    index = np.cumsum(usable) - 1
    nothing = np.full(len(placed), -1)
    lines = [index[run] for run in runs(usable)]
    return _Piece(placed, nothing, np.full(len(placed), number), steps[usable], lines, _NO_POLYS)


def _document(pieces: Sequence[_Piece], found: Sequence[Column], scalars: str) -> bytes:
    firsts = np.cumsum([0, *(len(piece.points) for piece in pieces)])[:-1]
    shifted = list(zip(pieces, firsts, strict=True))
    verts = np.concatenate([piece.verts + first for piece, first in shifted])
    lines = [line + first for piece, first in shifted for line in piece.lines]
    polys = np.concatenate([piece.polys + first for piece, first in shifted])
    points = np.concatenate([piece.points for piece in pieces])
    document = Document("PolyData")
    counts = {"NumberOfVerts": len(verts), "NumberOfLines": len(lines), "NumberOfPolys": len(polys)}
    document.piece(NumberOfPoints=len(points), NumberOfStrips=0, **counts)
    document.section("PointData", _point_data(pieces, found), Scalars=scalars)
    document.section("CellData", {})
    document.section("Points", {"Points": points})
    document.section("Verts", _cells(verts, np.ones(len(verts), dtype=np.int64)))
    document.section("Lines", _cells(np.concatenate([_NOTHING, *lines]), np.array([*map(len, lines)], dtype=np.int64)))
    document.section("Strips", _cells(_NOTHING, _NOTHING))
    document.section("Polys", _cells(polys.ravel(), np.full(len(polys), 3)))
    return document.content()


def _cells(connectivity: IntArray, lengths: IntArray) -> Arrays:
    """Indices of points, cell after cell, and the number of them in every cell."""
    return {"connectivity": connectivity, "offsets": np.cumsum(lengths)}


def _point_data(pieces: Sequence[_Piece], found: Sequence[Column]) -> Arrays:
    origin = np.concatenate([piece.origin for piece in pieces])
    data: dict[str, NDArray[np.generic]] = {
        "slice": np.concatenate([piece.slices for piece in pieces]).astype(np.int32),
        "trajectory": np.concatenate([piece.steps for piece in pieces]),
    }
    for column in found:
        data[column.name] = _at(column.values, origin)
        data[f"{column.name}_standard_error"] = _at(column.standard_error, origin)
    return data


def _at(values: FloatArray, origin: IntArray) -> FloatArray:
    """(P,) values at flat indices; NaN where there is none."""
    found = np.full(len(origin), np.nan)
    found[origin >= 0] = values.ravel()[origin[origin >= 0]]
    return found
