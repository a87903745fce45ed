"""Who may write a surface file: one process alone, or several together that take turns where it matters.

Readers need no lock, and the lock of a killed process is free.
"""

from __future__ import annotations

import errno
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from landscape_cli.errors import LandscapeError, OutputError, UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ELSEWHERE = "Choose another output with -o."
_SECONDS_BETWEEN_TRIES, _MOST_SECONDS_BETWEEN_TRIES = 0.1, 1.0  # many may wait: ever less often
# The last of several has the file alone while it cleans up; whoever comes at that moment waits for it.
_TRIES_TO_JOIN = 50
# Newer versions of filelock fall back to a mere marker where there are no locks, which a kill leaves behind.
_STRICTLY: dict[str, Any] = (
    {"fallback_to_soft": False} if "fallback_to_soft" in inspect.signature(FileLock).parameters else {}
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Be the only writer of ``path``.

    Raises:
        UsageError: Another process writes it, or several do together; its folder does not exist or cannot be written.
    """
    with _lock(path, "lock", lambda: True) as is_mine:
        if not is_mine:
            busy = f"{path}: another process is writing this file"
            raise UsageError(busy, hint="Wait until it is done, or choose another output with -o.")
        yield


@contextmanager
def together(path: Path) -> Iterator[Callable[[], bool]]:
    """Be one of several writers of ``path``; each writes parts of its own, and the file itself only in `turn`.

    Yields:
        To be asked at the end, whether the others have left.

    Raises:
        UsageError: Another process writes it alone, or as for `exclusive`.
    """
    handle = _join(path)
    try:
        yield partial(_is_last, handle)
    finally:
        os.close(handle)


def _join(path: Path) -> int:
    _check_place(path)
    if fcntl is None:
        raise UsageError("several processes can fill one file on Linux and macOS only")
    for _ in range(_TRIES_TO_JOIN):
        try:
            handle = os.open(_lock_file(path, "lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _no_lock(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return handle
        except BlockingIOError:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError as error:
            os.close(handle)
            raise _no_lock(path, error) from error
        os.close(handle)  # whoever held it may have removed it
    raise UsageError(
        f"{path}: another process is writing this file alone",
        hint="Wait until it is done, or stop it; all that share the work need --shard or a launcher.",
    )


def _is_last(handle: int) -> bool:
    assert fcntl is not None  # else there is no handle
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what was held is lost where it fails
        return True
    return False


@contextmanager
def turn(path: Path, should_stop: Callable[[], bool]) -> Iterator[bool]:
    """Wait until none of those who write ``path`` together writes the file itself.

    Args:
        path: The file.
        should_stop: Asked while waiting; once true, there is no turn.

    Yields:
        Whether it is this process's turn.
    """
    with _lock(path, "merge.lock", should_stop) as is_mine:
        yield is_mine


@contextmanager
def _lock(path: Path, what: str, give_up: Callable[[], bool]) -> Iterator[bool]:
    _check_place(path)
    lock = FileLock(_lock_file(path, what), timeout=0, **_STRICTLY)
    is_mine = _acquire(lock, path, timeout=0.0)
    pause = _SECONDS_BETWEEN_TRIES
    while not is_mine and not give_up():
        is_mine = _acquire(lock, path, timeout=pause)
        pause = min(1.2 * pause, _MOST_SECONDS_BETWEEN_TRIES)
    try:
        yield is_mine
    finally:
        if is_mine:
            lock.release()


def _acquire(lock: FileLock, path: Path, *, timeout: float) -> bool:
    try:
        lock.acquire(timeout=timeout, poll_interval=max(timeout, _SECONDS_BETWEEN_TRIES))
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        raise _no_lock(path, error) from error
    return True


def has_begun(path: Path) -> bool:
    """Whether somebody has come to write ``path``, now or before."""
    try:
        return _lock_file(path, "lock").exists()
    except OSError:  # such as a name that is too long
        return False


def _lock_file(path: Path, what: str) -> Path:
    real = real_path(path)  # a file and a link to it have one lock
    return real.parent / f".{real.name}.{what}"


def _check_place(path: Path) -> None:
    real = real_path(path)
    try:
        if real.is_dir():
            raise UsageError(f"{path}: is a folder; expected the name of a surface file", hint="Such as: -o surface.h5")
        if real.exists() and not real.is_file():
            raise UsageError(f"{path}: is a device or a pipe; expected the name of a surface file", hint=ELSEWHERE)
        if not real.parent.exists():
            what = f"the folder {path.parent} does not exist"
            raise UsageError(f"{path}: {what}", hint=f"Make it with: mkdir -p {path.parent}")
        if not real.parent.is_dir():
            raise UsageError(f"{path}: {path.parent} is not a folder", hint=ELSEWHERE)
    except OSError as error:
        raise UsageError(f"{path}: cannot write in {path.parent}: {error.strerror}", hint=ELSEWHERE) from error


def _no_lock(path: Path, error: Exception) -> LandscapeError:
    if isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _NO_LOCKS):
        return UsageError(
            f"{path}: the file system of {path.parent} has no locks, so nothing keeps two scans apart",
            hint="Choose an output on another file system, or have this one mounted with locks (Lustre: -o flock).",
        )
    assert isinstance(error, OSError)
    if error.errno in _NO_ROOM:
        hint = "Nothing is lost. Run the same command when that is mended, or choose another output with -o."
        return OutputError(f"{path}: cannot write in {path.parent}: {error.strerror}", hint=hint)
    return UsageError(f"{path}: cannot write in {path.parent}: {error.strerror}", hint=ELSEWHERE)


def real_path(path: Path) -> Path:
    """The file that a path leads to through symbolic links."""
    return Path(os.path.realpath(path))
