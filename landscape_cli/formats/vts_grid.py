"""The grid of a surface for ParaView, .vts: a point of VTK for every point, with all metrics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from landscape_cli.formats.columns import (
    beside,
    chosen_column,
    chosen_slices,
    columns,
    notes_left_out,
    notes_one_slice,
    notes_renamed,
)
from landscape_cli.formats.vtk_xml import Document
from landscape_cli.grid import AXES, Grid
from landscape_cli.storage import replace_file
from landscape_cli.surface import FloatArray, Surface

_T = TypeVar("_T", bound=np.generic)

_HIDDEN = 2  # vtkDataSetAttributes::HIDDENPOINT


def write_vts(surface: Surface, path: str | os.PathLike[str], *, slice_index: int | None = None) -> list[str]:
    """Replace the file at ``path`` by one slice of a surface as a structured grid of VTK, x fastest.

    The points lie at (x, y, z), 0 for an axis that there is not; "Warp By Scalar" makes a surface of them. Point data
    are every metric, its standard error, and ``evaluated``. Points that are not evaluated hold NaN and are hidden by
    ``vtkGhostType``; diverged ones hold NaN or infinity and are not.

    Args:
        surface: Whole or partial.
        path: Where to.
        slice_index: Which slice; by default the first.

    Returns:
        What to know about the file, in sentences.

    Raises:
        UsageError: There is no such slice.
        OutputError: The file cannot be written; an older file is untouched.
    """
    part = surface.of_slices(chosen_slices(surface, slice_index)[:1])
    found = columns(part)
    data: dict[str, NDArray[np.generic]] = {"evaluated": _flat(part.evaluated.astype(np.uint8))}
    for column in found:
        data[column.name] = _flat(column.values)
        data[f"{column.name}_standard_error"] = _flat(column.standard_error)
    if not part.complete:
        data["vtkGhostType"] = _flat(np.where(part.evaluated, 0, _HIDDEN).astype(np.uint8))
    lengths = [*part.grid.shape[1:], 1, 1][: len(AXES)]
    extent = " ".join(f"0 {length - 1}" for length in lengths)
    document = Document("StructuredGrid", WholeExtent=extent)
    document.piece(Extent=extent)
    document.section("PointData", data, Scalars=chosen_column(found, None).name)
    document.section("CellData", {})
    document.section("Points", {"Points": _points(part.grid)})
    replace_file(Path(path), document.content())
    return [
        *notes_one_slice(surface, slice_index),
        *notes_left_out("vts", beside(surface)),
        *notes_renamed(found),
    ]


def _flat(array: NDArray[_T]) -> NDArray[_T]:
    """(1, N[, M[, L]]) → (N·M·L,), the first index fastest."""
    return array.reshape(array.shape[1:]).ravel(order="F")


def _points(grid: Grid) -> FloatArray:
    """(N·M·L, 3), in the order of `_flat`."""
    coordinates = [np.asarray(axis.coordinates) for axis in grid.axes]
    placed = np.zeros((grid.num_points // grid.num_slices, len(AXES)))
    for index, each in enumerate(np.meshgrid(*coordinates, indexing="ij")):
        placed[:, index] = each.ravel(order="F")
    return placed
