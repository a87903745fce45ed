"""A surface as a table, .csv: one row for each point (RFC 4180)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from landscape_cli.formats.columns import Column, beside, chosen_slices, columns, notes_left_out, notes_renamed
from landscape_cli.storage import replace_file
from landscape_cli.surface import BoolArray, FloatArray, Surface


def write_csv(surface: Surface, path: str | os.PathLike[str], *, slice_index: int | None = None) -> list[str]:
    """Replace the file at ``path`` by a table with the columns slice, x[, y[, z]], evaluated, then two for each metric.

    Rows go through the slices, then x, then y, then z, the last one fastest. Numbers have as many digits as bring back
    the same 64 bits. A cell is empty where the point is not evaluated or the standard error is not known; ``nan``,
    ``inf`` and ``-inf`` are values.

    Args:
        surface: Whole or partial.
        path: Where to.
        slice_index: One slice alone; by default all.

    Returns:
        What to know about the file, in sentences.

    Raises:
        UsageError: There is no such slice.
        OutputError: The file cannot be written; an older file is untouched.
    """
    slices = chosen_slices(surface, slice_index)
    part = surface.of_slices(slices)
    found = columns(part)
    content = io.StringIO(newline="")
    table = csv.writer(content)  # lines end with \r\n, as RFC 4180 has it
    table.writerow(["slice", *(axis.name for axis in part.grid.axes), "evaluated", *_header(found)])
    table.writerows(zip(*_places(part, slices), *_cells(part, found), strict=True))
    replace_file(Path(path), content.getvalue().encode())
    return [*notes_left_out("csv", beside(surface)), *notes_renamed(found)]


def _header(found: Iterable[Column]) -> Iterator[str]:
    for column in found:
        yield from (column.name, f"{column.name}_standard_error")


def _places(part: Surface, slices: list[int]) -> Iterator[list[object]]:
    """The slice and the coordinates of every point, a list for each column."""
    labels = [list(map(str, slices)), *([repr(each) for each in axis.coordinates] for axis in part.grid.axes)]
    for position, label in enumerate(labels):
        indices = np.arange(len(label)).reshape(-1, *[1] * (len(labels) - position - 1))
        yield np.array(label, dtype=object)[np.broadcast_to(indices, part.grid.shape).ravel()].tolist()


def _cells(part: Surface, found: Iterable[Column]) -> Iterator[list[object]]:
    yield part.evaluated.ravel().astype(int).tolist()
    for column in found:
        yield _or_empty(column.values, part.evaluated)
        yield _or_empty(column.standard_error, part.evaluated & (column.num_examples > 0))


def _or_empty(values: FloatArray, known: BoolArray) -> list[object]:
    """Numbers, and None, an empty cell, where they are not known."""
    return np.where(known, values.astype(object), None).ravel().tolist()
