"""The examples of a dataset, read once and in order, by worker processes where that pays."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import stat
import sys
import time
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from landscape_cli.compute.memory import num_cores
from landscape_cli.errors import ConfigError

Span = tuple[int, int]

_MAX_WORKERS = 16
_WORTH_WORKERS = 3.0  # seconds
_MEASURED_FOR = 0.25  # seconds
_MEASURED_EXAMPLES = 32
# what is read at once: little enough for a timely progress, an end without a wait, and several parts per worker
_PART_SECONDS = 1.0
_PART_EXAMPLES = 256
_PART_BYTES = 1 << 23
_PARTS_PER_WORKER = 4
_PREFETCHED = 2  # per worker
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where workers put what they have read; containers often give it 64 MB


def read(subset: Subset[object], *, where: str, workers: int | None) -> Generator[tuple[int, object]]:
    """Yield (index of the first example, collated examples), each example once and in order.

    Args:
        subset: What to read.
        where: ``file:line: key``, for messages.
        workers: How many processes; 0 for this one, None to choose. Whatever it says, this process reads the first
            examples, and all of them where processes would move the position of an open file under each other.

    Raises:
        ConfigError: A worker process failed, or what the dataset raised in it.
    """
    length, before = len(subset), _file_positions()
    parts = _Parts(subset)
    first, seconds = _timed(parts, (0, 1))
    parts.expected = _shapes(first)
    yield 0, first
    stop = min(length, 2 if workers is not None else 1 + _num_measured(seconds, _nbytes(first)))
    if stop > 1:
        second, seconds = _timed(parts, (1, stop))  # again: the first example may have opened files and filled caches
        yield 1, second
    if workers is None:
        workers = _choose_workers(seconds * (length - stop))
    now = _file_positions()
    if any(now[file] != before.get(file, 0) for file in now):
        workers = 0
    size = min(_PART_EXAMPLES, int(_PART_SECONDS / seconds), _part_bytes(workers) // _nbytes(first))
    if workers:
        size = min(size, -(-(length - stop) // (workers * _PARTS_PER_WORKER)))
    size = max(1, size)
    parts.spans = [(start, min(start + size, length)) for start in range(stop, length, size)]
    if workers and parts.spans:
        yield from _read_in_workers(parts, min(workers, len(parts.spans)), where)
    else:
        for span in parts.spans:
            yield span[0], parts.read(span)


def reading_failed(where: str, what: str) -> ConfigError:
    """The error that says what the dataset raised, ``what`` being the type and the text."""
    if "DataLoader worker" in what:  # raised wherever this process is when a worker dies
        return _worker_failed(where, what.removeprefix("RuntimeError: "))
    return ConfigError(
        f"{where}: reading the examples failed: {what}",
        hint="Each example must be (input, target), as tensors, arrays or numbers of one shape; "
        "images need a transform to tensors.",
    )


def describe(error: BaseException) -> str:
    """Type and text of what a dataset raised."""
    return f"{type(error).__name__}: {error}"


def _worker_failed(where: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{where}: a worker process that read the examples failed: {(reason.splitlines() or ['no reason given'])[0]}",
        hint="Too little memory, or shared memory (/dev/shm), for several? Set runtime.workers: 0 or a smaller number",
    )


class _WorkerTraceback(Exception):  # noqa: N818  not raised, but shown as the cause
    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class _Failure:
    """What a worker raised: as a value, because a DataLoader would raise it with another text, or another type."""

    what: str
    trace: str
    of_worker: bool = False


class _Parts(Dataset[object]):
    """Spans of examples, each read and collated at once."""

    def __init__(self, subset: Subset[object]) -> None:
        self.subset = subset
        self.spans: Sequence[Span] = ()
        self.expected = ""

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> object:
        """In a worker."""
        try:
            part = self.read(self.spans[index])
        except Exception as error:  # noqa: BLE001  the user's dataset may raise anything
            return _Failure(describe(error), traceback.format_exc(), _is_shared_memory(error))
        try:
            return _share(part)
        except Exception as error:  # noqa: BLE001  here, because a DataLoader would wait for it for ever
            return _Failure(describe(error), traceback.format_exc(), of_worker=True)

    def read(self, span: Span) -> object:
        examples = self.subset.__getitems__(list(range(*span)))
        try:
            part: object = default_collate(examples)
        except Exception:
            self._check_each(span[0], examples)
            raise
        if self.expected and _shapes(part) != self.expected:
            self._check_each(span[0], examples)
        return part

    def _check_each(self, start: int, examples: Sequence[object]) -> None:
        for index, example in enumerate(examples, start):
            shapes = _shapes(default_collate([example]))
            if self.expected and shapes != self.expected:
                raise ValueError(
                    f"example {self.subset.indices[index]} is {shapes}; expected {self.expected}, as the first"
                )


def _shapes(part: object) -> str:
    """What one of some collated examples looks like."""
    if isinstance(part, Tensor):
        return f"of shape {tuple(part.shape[1:])}"
    if isinstance(part, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shapes(part[key])}" for key in sorted(part, key=str)) + "}"
    if isinstance(part, list | tuple):
        return f"({', '.join(map(_shapes, part))})"
    return type(part).__name__


def _nbytes(part: object) -> int:
    if isinstance(part, Tensor):
        return max(1, part.nbytes)
    values = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
    return max(1, sum(map(_nbytes, values)))


def _share(part: object) -> object:
    if isinstance(part, Tensor):
        return part.detach().cpu().share_memory_()  # type: ignore[no-untyped-call]
    if isinstance(part, Mapping):
        return {key: _share(value) for key, value in part.items()}
    return [_share(value) for value in part] if isinstance(part, list | tuple) else part


def _is_shared_memory(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "shared memory" in str(error)


def _timed(parts: _Parts, span: Span) -> tuple[object, float]:
    """The part, and the seconds per example."""
    began = time.perf_counter()
    part = parts.read(span)
    return part, max(1e-9, (time.perf_counter() - began) / (span[1] - span[0]))


def _num_measured(seconds: float, nbytes: int) -> int:
    return max(1, min(_MEASURED_EXAMPLES, int(_MEASURED_FOR / seconds), _PART_BYTES // nbytes))


def _choose_workers(seconds: float) -> int:
    cores = num_cores()
    if seconds <= _WORTH_WORKERS or cores == 1 or multiprocessing.current_process().daemon:  # it may have no children
        return 0
    return min(cores, _MAX_WORKERS)


def _part_bytes(workers: int) -> int:
    if not (workers and _SHARED_MEMORY.is_dir()):
        return _PART_BYTES
    system = os.statvfs(_SHARED_MEMORY)
    return min(_PART_BYTES, system.f_bavail * system.f_frsize // (2 * workers * (_PREFETCHED + 1)))


def _file_positions() -> dict[int, int]:
    """Descriptor → position of the files that this process reads: forked processes would share it."""
    positions = {}
    folder = Path("/proc/self/fd")
    for name in [int(path.name) for path in folder.iterdir()] if folder.is_dir() else []:
        with contextlib.suppress(OSError):  # of the listing itself
            if stat.S_ISREG(os.fstat(name).st_mode) and fcntl.fcntl(name, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY:
                positions[name] = os.lseek(name, 0, os.SEEK_CUR)
    return positions


def _read_in_workers(parts: _Parts, workers: int, where: str) -> Iterator[tuple[int, object]]:
    with _worker_processes(parts, workers, where) as results:
        for start, _ in parts.spans:
            try:
                part = next(results)
            except Exception as error:  # what the dataset raises comes as a value
                raise _worker_failed(where, str(error)) from error
            if isinstance(part, _Failure):
                made = _worker_failed if part.of_worker else reading_failed
                raise made(where, part.what) from _WorkerTraceback(part.trace)
            yield start, part


@contextlib.contextmanager
def _worker_processes(parts: _Parts, workers: int, where: str) -> Iterator[Iterator[object]]:
    others = set(multiprocessing.active_children())
    results: Iterator[object] | None = None
    try:
        with warnings.catch_warnings():
            # Python's and PyTorch's doubts about threads and about more workers than cores; neither is the user's
            warnings.filterwarnings("ignore", r".*use of fork\(\) may lead to deadlocks", DeprecationWarning)
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            loader = DataLoader(
                parts,
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=workers,
                prefetch_factor=_PREFETCHED,
                worker_init_fn=_leave_signals_to_the_parent,
                generator=torch.Generator(),  # its own: a DataLoader otherwise advances the caller's random state
                # fork: a dataset need not be pickled, and is not copied
                multiprocessing_context="fork" if sys.platform == "linux" else None,
            )
            try:
                results = iter(loader)
            except (OSError, RuntimeError) as error:
                raise _worker_failed(where, str(error)) from error
        yield results
    finally:
        shut_down = getattr(results, "_shutdown_workers", None)  # else they end when the last traceback is gone
        # a DataLoader raises, here too, as soon as the system reports that a worker has died
        if shut_down is not None:
            with contextlib.suppress(RuntimeError):
                shut_down()
        for _ in range(workers + 1):
            with contextlib.suppress(RuntimeError):
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
                    process.join()


def _as_it_is(part: object) -> object:
    return part


def _leave_signals_to_the_parent(_worker: int) -> None:
    # sent to the whole process group; a worker that ended by one would look like a failure
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
