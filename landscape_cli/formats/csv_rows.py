"""A surface as a table, .csv: one row for each point (RFC 4180)."""

from __future__ import annotations

import math
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
    ``inf`` and ``-inf`` are values; no standard error is ``nan``.

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
    header = ["slice", *(axis.name for axis in part.grid.axes), "evaluated", *_header(found)]
    rows = zip(*_places(part, slices), *_cells(part, found), strict=True)
    # no cell needs quotes, and csv.writer takes a few seconds for a grid of 501 × 501
    lines = [",".join(header), *map(",".join, rows), ""]
    replace_file(Path(path), "\r\n".join(lines).encode())
    return [*notes_left_out("csv", beside(surface)), *notes_renamed(found)]


def _header(found: Iterable[Column]) -> Iterator[str]:
    for column in found:
        yield from (column.name, f"{column.name}_standard_error")


def _places(part: Surface, slices: list[int]) -> Iterator[list[str]]:
    """The slice and the coordinates of every point, a list for each column."""
    labels = [list(map(str, slices)), *(list(map(repr, axis.coordinates)) for axis in part.grid.axes)]
    for position, label in enumerate(labels):
        ahead, behind = part.grid.shape[:position], part.grid.shape[position + 1 :]
        yield [each for each in label for _ in range(math.prod(behind))] * math.prod(ahead)


def _cells(part: Surface, found: Iterable[Column]) -> Iterator[list[str]]:
    yield part.evaluated.ravel().astype(int).astype(str).tolist()
    for column in found:
        yield _or_empty(column.values, part.evaluated)
        yield _or_empty(column.standard_error, part.evaluated & ~np.isnan(column.standard_error))


def _or_empty(values: FloatArray, known: BoolArray) -> list[str]:
    """Numbers with all their digits, and empty cells where they are not known."""
    texts = map(repr, values.ravel().tolist())
    return [text if each else "" for text, each in zip(texts, known.ravel().tolist(), strict=True)]
