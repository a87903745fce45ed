"""Files of other programs by name: IMPORTERS, EXPORTERS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from landscape_cli.errors import SurfaceError
from landscape_cli.formats.landscaper import read_landscaper
from landscape_cli.formats.tomgoldstein import left_out, read_lightzero, read_tomgoldstein, write_tomgoldstein
from landscape_cli.storage import SIGNATURE
from landscape_cli.surface import Surface

Importer = Callable[[Path], Surface]


class Exporter(Protocol):
    """Writes one slice of a surface as a file of another program."""

    def __call__(self, surface: Surface, path: Path, *, slice_index: int) -> None:
        """Replace the file at ``path``, whole or not at all."""


IMPORTERS: dict[str, Importer] = {
    "tomgoldstein": read_tomgoldstein,
    "lightzero": read_lightzero,
    "landscaper": read_landscaper,
}
EXPORTERS: dict[str, Exporter] = {"tomgoldstein": write_tomgoldstein}
LEFT_OUT: dict[str, Callable[[Surface], list[str]]] = {"tomgoldstein": left_out}

_ZIP = b"PK\x03\x04"


def guess_importer(path: Path) -> str:
    """The name of the importer for a file, by its first bytes. LightZero's files look like those of the original.

    Raises:
        SurfaceError: The file is missing, or of no format that is known.
    """
    if not path.is_file():
        return "tomgoldstein"  # which says what is wrong
    try:
        with path.open("rb") as stream:
            head = stream.read(len(SIGNATURE))
    except OSError as error:
        raise SurfaceError(f"{path}: cannot be read: {error.strerror}") from error
    if head.startswith(_ZIP):
        return "landscaper"
    if head and head != SIGNATURE:
        raise SurfaceError(
            f"{path}: neither HDF5 nor .npz; expected a surface file of another program",
            hint="Such as those of tomgoldstein/loss-landscape, LightZero or Landscaper.",
        )
    return "tomgoldstein"
