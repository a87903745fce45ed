"""The .npz files of Landscaper: ``loss`` of shape (steps, …, steps) and ``coordinates`` (dims, steps)."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import SurfaceError, did_you_mean
from landscape_cli.formats.imported import UNKNOWN_DIRECTION, imported_axis, imported_surface
from landscape_cli.formats.source import read_content
from landscape_cli.grid import AXES
from landscape_cli.storage import MALFORMED
from landscape_cli.surface import Surface

_EXPECTED = "a .npz file of Landscaper"
# what Landscaper 1.3.1 does; the stored numbers cannot be put right without ‖w‖ and its random generator
_NOTES = (
    "coordinates are as stored; where Landscaper really was: coordinate · ‖w‖ · (steps - 1) / steps",
    "Landscaper adds noise to the highest values and replaces those that are not finite",
)


def read_landscaper(path: str | os.PathLike[str]) -> Surface:
    """Read a landscape of one to three dimensions; ``loss[i, j, k]`` is at the i-th x, j-th y and k-th z.

    Raises:
        SurfaceError: The file is missing, foreign or holds pickles.
    """
    path = Path(path)
    content = read_content(path, SurfaceError)
    try:
        loss, coordinates = _arrays(content, path)
    except (zipfile.BadZipFile, EOFError, *MALFORMED) as error:
        raise SurfaceError(f"{path}: not readable as {_EXPECTED}: {error}") from error
    if coordinates.ndim != 2 or not 1 <= len(coordinates) <= len(AXES):
        found = f"found the shape {coordinates.shape}"
        raise SurfaceError(f"{path}: coordinates: {found}; expected (dims, steps) with 1 to {len(AXES)} dims")
    dims, steps = coordinates.shape
    if loss.shape != (steps,) * dims or loss.dtype.kind not in "iuf":
        raise SurfaceError(
            f"{path}: loss: found {loss.dtype} of shape {loss.shape}; expected real numbers of shape {(steps,) * dims}"
        )
    axes = [
        imported_axis(name, each, path=path, label=f"coordinates[{i}]")
        for i, (name, each) in enumerate(zip(AXES, coordinates, strict=False))
    ]
    even = f"steps is {steps}, which is even: the model is not at coordinate 0 but beside it"
    return imported_surface(
        path,
        content,
        dialect="landscaper",
        axes=axes,
        values={"train_loss": loss.astype(np.float64)},
        evaluated=np.ones(loss.shape, dtype=np.bool_),
        recipes={axis.name: UNKNOWN_DIRECTION for axis in axes},
        notes=_NOTES if steps % 2 else [*_NOTES, even],
    )


def _arrays(content: bytes, path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise SurfaceError(f"{path}: not a .npz file; expected {_EXPECTED}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        for name in ("loss", "coordinates"):
            if name not in members:
                raise SurfaceError(f"{path}: no {name}{did_you_mean(name, members)}; expected {_EXPECTED}")
            if members[name].compress_type != zipfile.ZIP_STORED:  # could unpack to anything
                raise SurfaceError(
                    f"{path}: {name} is compressed; expected what numpy.savez writes",
                    hint="Load it in Python and save it again with numpy.savez.",
                )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return np.asarray(arrays["loss"]), np.asarray(arrays["coordinates"])
