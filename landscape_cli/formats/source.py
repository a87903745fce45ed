"""A file of another program, read whole; nothing in it is run, and nothing is followed out of it."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from landscape_cli.errors import LandscapeError
from landscape_cli.storage import MALFORMED, SIGNATURE, outside

# links, foreign storage, and (as contiguous data never does) more bytes than the file has
_NOT_ITSELF = "Copy what it refers to into the file; compressed data are unpacked by: h5repack -f NONE FILE NEW"


def read_content(path: Path, error: type[LandscapeError]) -> bytes:
    """The bytes of a regular file.

    Raises:
        error: It is missing, empty or not a regular file.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would wait for ever
            raise error(f"{path}: is a device or a pipe; expected a file")
        content = path.read_bytes()
    except FileNotFoundError as cause:
        raise error(f"{path}: no such file", hint="Paths are relative to the working directory.") from cause
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from cause
    if not content:
        raise error(f"{path}: the file is empty")
    return content


@contextmanager
def opened(content: bytes, path: Path, error: type[LandscapeError], *, expected: str) -> Iterator[h5py.File]:
    """The HDF5 file that ``content`` is; ``expected`` says in words what should be in it.

    Raises:
        error: It is not HDF5, not self-contained, or holds something that cannot be read.
    """
    if not content.startswith(SIGNATURE):
        raise error(f"{path}: not an HDF5 file; expected {expected}")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            found = outside(file, len(content))
            if found:
                raise error(f"{path}: {found}; expected {expected}", hint=_NOT_ITSELF)
            yield file
    except MALFORMED as cause:
        raise error(f"{path}: not readable as {expected}: {cause}") from cause
