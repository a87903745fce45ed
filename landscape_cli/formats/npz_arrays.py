"""A surface as numpy arrays, .npz."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array
from numpy.typing import NDArray

from landscape_cli.formats.columns import beside, chosen_slices, columns, notes_left_out, notes_renamed
from landscape_cli.formats.json_document import description, dumped
from landscape_cli.storage import replace_file
from landscape_cli.surface import Surface


def write_npz(surface: Surface, path: str | os.PathLike[str], *, slice_index: int | None = None) -> list[str]:
    """Replace the file at ``path`` by the arrays of a surface, which ``numpy.load`` reads without pickles.

    ``slice`` (S,), ``x`` (N,), in 2-D ``y`` (M,), in 3-D ``z`` (L,), ``evaluated`` (S, N[, M[, L]]) and, of the same
    shape, ``train_loss`` and ``train_loss_std`` (over the examples) and so on; NaN where not evaluated. ``attributes``
    is a text, JSON: what the axes are, numbers of examples, provenance.

    Args:
        surface: Whole or partial.
        path: Where to.
        slice_index: One slice alone, which the arrays then still have an index for; by default all.

    Returns:
        What to know about the file, in sentences.

    Raises:
        UsageError: There is no such slice.
        OutputError: The file cannot be written; an older file is untouched.
    """
    slices = chosen_slices(surface, slice_index)
    part = surface.of_slices(slices)
    found = columns(part)
    arrays: dict[str, NDArray[np.generic]] = {"slice": np.array(slices)}
    arrays |= {axis.name: np.array(axis.coordinates) for axis in part.grid.axes}
    arrays["evaluated"] = part.evaluated
    for column in found:
        arrays |= {column.name: column.values, f"{column.name}_std": column.std}
    names = {column.name: column.metric for column in found}
    arrays["attributes"] = np.array(dumped(description(part) | {"names": names}))
    replace_file(Path(path), _archive(arrays))
    return [*notes_left_out("npz", beside(surface)), *notes_renamed(found)]


def _archive(arrays: dict[str, NDArray[np.generic]]) -> bytes:
    """The bytes of the file. By hand: numpy.savez takes no array with the name of one of its arguments."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                write_array(stream, array, allow_pickle=False)
    return content.getvalue()
