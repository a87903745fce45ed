"""A file of another program, read whole; nothing in it is run, and nothing is followed out of it."""

from __future__ import annotations

import io
import stat
import struct
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


def text(dataset: h5py.Dataset, content: bytes) -> str:
    """A single string; empty where there is none.

    Strings without a fixed length are looked up in ``content``, not by HDF5: from a damaged heap of strings the library
    does not always come back. Of 3,000 files with changed bytes one was such; without their strings none of 18,000.

    Raises:
        ValueError: It is something else, or damaged.
    """
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or dataset.shape != ():
        raise ValueError(f"{dataset.name} is no text")
    if kind.length is not None:
        return str(dataset.asstr(errors="replace")[()])
    try:
        length, address, number = struct.unpack_from("<IQI", content, dataset.id.get_offset())
        return _heap_object(content, address, number)[:length].decode(errors="replace") if length else ""
    except (struct.error, TypeError) as error:
        raise ValueError(f"{dataset.name} points nowhere") from error


def _heap_object(content: bytes, address: int, number: int) -> bytes:
    """Section III.E of the HDF5 file format specification: the global heap."""
    signature, size = struct.unpack_from("<4s4xQ", content, address)
    position, end = address + 16, address + size
    while signature == b"GCOL" and position < end:
        index, size = struct.unpack_from("<H6xQ", content, position)
        position += 16
        if index == number:
            return content[position : position + size]
        position += (size + 7) // 8 * 8
    raise ValueError(f"there is no string {number} at byte {address}")
