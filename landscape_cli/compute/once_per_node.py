"""Data decoded by one process of a machine, and mapped by all that a launcher has started there: they share the pages.

The file has its place in a folder that only this user can write. It is removed when all have opened it; what killed
jobs have left is removed by the next one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock

from landscape_cli.compute.data import Batches, Columns
from landscape_cli.compute.palette import Column, Palette
from landscape_cli.errors import OutputError
from landscape_cli.share import Share

_NAME = re.compile(r"(\d+)-(\w+)-([0-9a-f]{8})-")
_ROOM = "Set runtime.cache to a folder of this machine with more space, or a smaller data.<split>.num_examples."


def decode_once_per_node(
    decode: Callable[[], Batches], share: Share, cache: Path | None, split: str, recipe: str
) -> Batches:
    """The data of a split, decoded by whichever process of this machine is the first.

    Args:
        decode: Decodes them.
        share: Of this process.
        cache: Folder of the machine; None for the system's temporary folder.
        split: Its name.
        recipe: What makes the data, so that a launcher can start processes for several data sets.

    Raises:
        OutputError: There is no room, or the folder is another user's.
        LandscapeError: As ``decode``.
    """
    folder = _own_folder(cache or Path(tempfile.gettempdir()))
    _remove_leftovers(folder)
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    path = folder / f"{_job()}-{split}-{digest}.pt"
    opened = path.with_suffix(".opened")
    try:
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _write(decode(), path)
                opened.write_bytes(b"")
            batches = _read(path)
            with opened.open("ab") as count:
                count.write(b"x")
            if opened.stat().st_size >= share.local_world_size:  # who has mapped it keeps it
                path.unlink()
                opened.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: the decoded {split} data cannot be kept here: {error}", hint=_ROOM) from error
    return batches


def _job() -> str:
    """The launcher that started all processes of this machine: its number, when it began, and where that counts."""
    return f"{os.getppid()}-{_began(os.getppid())}-{_machine()}"


def _machine() -> str:
    """Which machine, since when, and in which namespace of processes: elsewhere the same number is another process."""
    try:
        names = str(Path("/proc/self/ns/pid").readlink()), Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        names = ("", "")
    return hashlib.sha256(" ".join((platform.node(), *names)).encode()).hexdigest()[:8]


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine did; ``gone`` for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "gone"


def _own_folder(parent: Path) -> Path:
    folder = parent / f"landscape-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}", hint=_ROOM) from error
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise OutputError(
            f"{folder}: others can write there", hint="Remove it, or set runtime.cache to another folder."
        )
    return folder


def _remove_leftovers(folder: Path) -> None:
    for path in folder.iterdir():
        match = _NAME.match(path.name)
        if match and match[3] == _machine() and _began(int(match[1])) != match[2]:
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------- the file


def _write(batches: Batches, path: Path) -> None:
    inputs: Any = batches.inputs
    names = list(inputs) if isinstance(inputs, Mapping) else None
    columns = [_plain(column) for column in batches.columns]
    content = {
        "names": names,
        "is_one": not isinstance(inputs, Mapping | tuple),
        "columns": columns,
        "batch_size": batches.batch_size,
        "fingerprint": batches.fingerprint,
    }
    temporary = path.with_suffix(".tmp")
    try:
        torch.save(content, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch says that a disk is full by the latter
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path.parent}: the decoded {path.stem} cannot be kept here: {error}", hint=_ROOM) from error


def _plain(column: Column) -> list[torch.Tensor]:
    return [column.codes, column.table] if isinstance(column, Palette) else [column]


def _read(path: Path) -> Batches:
    content = torch.load(path, mmap=True, weights_only=True)
    *leaves, targets = [Palette(*parts) if len(parts) > 1 else parts[0] for parts in content["columns"]]
    if content["names"] is not None:
        inputs: Columns = dict(zip(content["names"], leaves, strict=True))
    else:
        inputs = leaves[0] if content["is_one"] else tuple(leaves)
    on_disk = frozenset(range(len(leaves) + 1))
    return Batches(inputs, cast(torch.Tensor, targets), content["batch_size"], content["fingerprint"], on_disk)
