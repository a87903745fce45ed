"""Surface files: atomic save, load, checksum, versions. Normative page: docs/file-format.md."""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import mmap
import os
import re
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import h5py
import numpy as np

from landscape_cli import __version__
from landscape_cli.errors import OutputError, SurfaceError, SurfaceVersionError, UsageError
from landscape_cli.file_layout import read_surface, write_surface
from landscape_cli.locks import ELSEWHERE, has_begun, real_path
from landscape_cli.surface import Surface

FORMAT = "landscape-surface"
FORMAT_VERSION = "1.3"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CHECKSUM = "content_sha256"
_UNSEALED = b"0" * 64
_SEAL = re.compile(_CHECKSUM.encode() + rb"\0.{0,64}?([0-9a-f]{64})", re.DOTALL)


# ---------------------------------------------------------------- save


def save_surface(surface: Surface, path: str | os.PathLike[str]) -> None:
    """Replace the file at ``path`` with ``surface``, whole or not at all.

    The new file is written beside the old one, flushed to disk and renamed over it, so whoever opens ``path`` at any
    moment, even after a power cut, finds one complete version. Measured alternatives lose data: in-place gzip left 20
    of 300 files unreadable after SIGKILL, and in-place HDF5 segfaults on a full disk.

    Raises:
        OutputError: When the file cannot be written; an older file at ``path`` is untouched.
    """
    replace_file(Path(path), _image(surface))


def timestamp() -> str:
    """The time in UTC; SOURCE_DATE_EPOCH pins it, so that equal scans can be equal files, byte for byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH: found {epoch!r}; expected seconds since 1970") from error
    return moment.isoformat(timespec="seconds")


def _image(surface: Surface) -> bytes:
    """The bytes of the file. Built in memory: HDF5 itself crashes when the disk is full, a plain write does not."""
    with h5py.File("surface.h5", "w", driver="core", backing_store=False) as file:
        file.attrs.update(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            created=surface.created or timestamp(),
            updated=timestamp(),
            writer=f"landscape-cli {__version__}",
        )
        write_surface(surface, file)
        file.attrs[_CHECKSUM] = np.bytes_(_UNSEALED)  # fixed length, so that it lies in one piece in the file
        file.flush()
        return _seal(cast(bytes, file.id.get_file_image()))


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file, or what a symbolic link leads to, whole or not at all.

    Raises:
        OutputError: It cannot be written; an older file is untouched.
    """
    path = real_path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=_temporary_prefix(path), dir=path.parent)
    except OSError as error:
        hint = f"Make the folder first: mkdir -p {path.parent}" if isinstance(error, FileNotFoundError) else _KEPT
        raise OutputError(f"{path}: cannot write in {path.parent}: {error.strerror}", hint=hint) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes the file private; a result keeps the mode it had, or what the umask says
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}", hint=_KEPT) from error
    finally:
        temporary.unlink(missing_ok=True)


_KEPT = (
    "What was saved before is untouched; make room or choose another place with -o, then run the same command again."
)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}.tmp-"


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete temporary files that a killed writer of ``path`` left; call it only while holding its lock."""
    path = real_path(Path(path))
    for leftover in path.parent.glob(f"{glob.escape(_temporary_prefix(path))}*"):
        leftover.unlink(missing_ok=True)


# ---------------------------------------------------------------- what is there


def check_overwritable(path: Path) -> None:
    """Refuse to replace a file that is no surface file: --overwrite is for surfaces, not for a slip in -o.

    Raises:
        SurfaceError: The file is something else.
    """
    if not is_surface_file(path) and path.stat().st_size:
        raise SurfaceError(
            f"{path}: not a surface file; --overwrite replaces only those",
            hint="Choose another output with -o, or remove the file yourself.",
        )


def is_surface_file(path: Path) -> bool:
    """Whether a file looks like one of our surface files, whole or damaged.

    Raises:
        SurfaceError: It cannot be read.
    """
    try:
        if not path.stat().st_size:
            return False
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as image:
            return image[: len(SIGNATURE)] == SIGNATURE and image.find(FORMAT.encode()) >= 0
    except OSError as error:
        raise SurfaceError(f"{path}: cannot be read: {error.strerror}", hint=ELSEWHERE) from error


# ---------------------------------------------------------------- load


def load_surface(path: str | os.PathLike[str]) -> Surface:
    """Read a surface file and check that it is whole.

    Nothing in the file is imported, instantiated or unpickled, and nothing outside it is followed.

    Raises:
        SurfaceVersionError: The file needs a newer version of this package.
        SurfaceError: The file is missing, foreign, truncated or damaged.
    """
    path = Path(path)
    image = _read_bytes(path)
    _check_whole(image, path)
    try:
        with h5py.File(io.BytesIO(image), "r") as file:
            _check_version(file, path)
            _check_storage(file, path, len(image))
            return read_surface(file)
    except MALFORMED as error:
        raise SurfaceError(f"{path}: not a readable surface file: {error}", hint=_DAMAGED) from error


_HOW_TO_MAKE = "Surface files are made by: landscape scan CONFIG -o FILE"
_MAYBE_SOON = "; one was begun here: if it is still under way, the file comes when it has calibrated and saved"
_HOW_TO_CONVERT = f"{_HOW_TO_MAKE}; that of another program may be read by: landscape convert FILE -o s.h5"
_DAMAGED = "Restore it from a backup, or scan again with --overwrite."
# What h5py, json and numpy raise on files that are whole but hold something else than the format says.
MALFORMED = (OSError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, MemoryError)


def _read_bytes(path: Path, num_tries: int = 3) -> bytes:
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would wait for ever
            raise SurfaceError(f"{path}: is a device or a pipe; expected a surface file", hint=_HOW_TO_MAKE)
        with path.open("rb") as stream:
            head = stream.read(len(SIGNATURE))
            if head and head != SIGNATURE:  # before a terabyte of something else is read
                raise SurfaceError(f"{path}: not an HDF5 file; expected a landscape surface file", hint=_HOW_TO_MAKE)
            image = head + stream.read()
    except FileNotFoundError as error:
        raise SurfaceError(
            f"{path}: no such file", hint=_HOW_TO_MAKE + (_MAYBE_SOON if has_begun(path) else "")
        ) from error
    except OSError as error:
        if (
            error.errno == errno.ESTALE and num_tries > 1
        ):  # NFS: replaced on another machine between opening and reading
            return _read_bytes(path, num_tries - 1)
        raise SurfaceError(f"{path}: cannot be read: {error.strerror}") from error
    if not image:
        raise SurfaceError(f"{path}: the file is empty; expected a surface file", hint=_DAMAGED)
    return image


def _check_whole(image: bytes, path: Path) -> None:
    """Verify the checksum before HDF5 sees a byte: on damaged files HDF5 itself can crash or never come back."""
    seal = _SEAL.search(image)
    if seal is None and FORMAT.encode() not in image:
        raise SurfaceError(f"{path}: an HDF5 file, but not a whole landscape surface file", hint=_HOW_TO_CONVERT)
    if seal is None or seal[1].decode() != _checksum(image, seal):
        raise SurfaceError(
            f"{path}: its content does not match its checksum: the file is damaged, cut short or edited", hint=_DAMAGED
        )


def _check_version(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise SurfaceError(f"{path}: an HDF5 file, but not a whole landscape surface file", hint=_HOW_TO_CONVERT)
    found, known = str(file.attrs["format_version"]), FORMAT_VERSION
    if int(found.partition(".")[0]) < int(known.partition(".")[0]):
        raise SurfaceError(f"{path}: format version {found}; this landscape-cli reads {known}", hint=_HOW_TO_MAKE)
    if int(found.partition(".")[0]) > int(known.partition(".")[0]):
        raise SurfaceVersionError(
            f"{path}: format version {found}; this landscape-cli reads up to {known}",
            hint=f"Upgrade landscape-cli; the file was written by {file.attrs.get('writer', 'a newer version')}.",
        )


def _check_storage(file: h5py.File, path: Path, size: int) -> None:
    found = outside(file, size)
    if found:
        raise SurfaceError(f"{path}: {found}", hint=_DAMAGED)


def outside(file: h5py.File, size: int) -> str | None:
    """What in a file of ``size`` bytes is a link, lies elsewhere or claims more bytes than that; None for nothing."""
    groups, seen, left = [file["/"]], {_address(file["/"])}, size
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"{name} is a link, not data"
            item = group[name]
            if _address(item) in seen:  # hard links can form circles, and webs in which a megabyte is gigabytes
                return f"{item.name} is a second link to the same data"
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                left -= item.nbytes  # several can claim the same bytes
                if item.external or item.is_virtual or left < 0:
                    return f"{item.name} does not lie in the file itself"
    return None


def _address(item: h5py.HLObject) -> int:
    # not the number of links that the file says it has: that can be a lie
    return int(h5py.h5o.get_info(item.id).addr)


# ---------------------------------------------------------------- checksum


def _seal(image: bytes) -> bytes:
    """Put the checksum into its place."""
    seal = _SEAL.search(image)
    assert seal is not None  # _image has just written it
    return image[: seal.start(1)] + _checksum(image, seal).encode() + image[seal.end(1) :]


def _checksum(image: bytes, seal: re.Match[bytes]) -> str:
    """SHA-256 of all bytes of the file, with zeros (the digit) in place of the checksum itself."""
    digest = hashlib.sha256(image[: seal.start(1)])
    digest.update(_UNSEALED)
    digest.update(memoryview(image)[seal.end(1) :])
    return digest.hexdigest()
