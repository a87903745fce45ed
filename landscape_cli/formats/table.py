"""Files of and for other programs by name: IMPORTERS, EXPORTERS, SUFFIXES."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

from landscape_cli.errors import SurfaceError, UsageError, did_you_mean
from landscape_cli.formats.csv_rows import write_csv
from landscape_cli.formats.json_document import write_json
from landscape_cli.formats.landscaper import read_landscaper
from landscape_cli.formats.netcdf import write_netcdf
from landscape_cli.formats.npz_arrays import write_npz
from landscape_cli.formats.tomgoldstein import read_lightzero, read_tomgoldstein, write_tomgoldstein
from landscape_cli.formats.vtp_surface import write_vtp
from landscape_cli.formats.vts_grid import write_vts
from landscape_cli.storage import SIGNATURE
from landscape_cli.surface import Surface

Importer = Callable[[Path], Surface]
Exporter = Callable[..., list[str]]  # f(surface, path, *, options of the user) -> what to know about the file

IMPORTERS: dict[str, Importer] = {
    "tomgoldstein": read_tomgoldstein,
    "lightzero": read_lightzero,
    "landscaper": read_landscaper,
}
EXPORTERS: dict[str, Exporter] = {
    "csv": write_csv,
    "json": write_json,
    "nc": write_netcdf,
    "npz": write_npz,
    "vts": write_vts,
    "vtp": write_vtp,
    "tomgoldstein": write_tomgoldstein,
}
# .h5 says too little: those files are of another program, whose format has to be asked for
SUFFIXES = {f".{name}": name for name in ("csv", "json", "npz", "nc", "vts", "vtp")}

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


def exporter_name(path: Path, name: str | None = None) -> str:
    """The name of the exporter for a file: as asked for, else by its suffix.

    Raises:
        UsageError: There is no such exporter, or none for this suffix.
    """
    if name is not None and name not in EXPORTERS:
        raise UsageError(f"--format: found {name!r}{did_you_mean(name, EXPORTERS)}")
    suffix = path.suffix.lower()
    if name is None and suffix not in SUFFIXES:
        found = f"found {suffix!r}" if suffix else "found no suffix"
        raise UsageError(f"{path}: {found}; expected {', '.join(SUFFIXES)}, or --format NAME", hint=_HINTS.get(suffix))
    return name or SUFFIXES[suffix]


_TOMGOLDSTEIN = "An .h5 file for tomgoldstein/loss-landscape is written with: --format tomgoldstein"
_HINTS = {".h5": _TOMGOLDSTEIN, ".hdf5": _TOMGOLDSTEIN}


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Refuse options that an exporter does not have.

    Args:
        name: In ``EXPORTERS``.
        options: Those that the user has given.

    Raises:
        UsageError: The exporter lacks one of them.
    """
    for option in options:
        if option not in _options(name):
            others = " and ".join(each for each in EXPORTERS if option in _options(each))
            raise UsageError(f"{option}: {name} has no such option; {others} has", hint=f"Leave out --{option}.")


def _options(name: str) -> set[str]:
    parameters = inspect.signature(EXPORTERS[name]).parameters.values()
    return {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
