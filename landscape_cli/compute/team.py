"""Helpers: forked processes that measure points beside this one, with the same data in the same memory."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import TracebackType

from landscape_cli.compute.apart import sendable
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.observer import Stage
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.precision import ENGINE_RTOL
from landscape_cli.compute.selfcheck import disagreement
from landscape_cli.compute.worker import Worker
from landscape_cli.errors import EvaluationError
from landscape_cli.grid import Grid

# points of the grid, all of one slice, that are evaluated in one go
Block = Sequence[int]
# blocks that are handed out together
Task = Sequence[Block]

Known = tuple[Grid, int, Values]

_SECONDS_TO_FINISH = 10.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Done:
    """What a helper answers: the values of a whole task, and the plan, which may have been halved meanwhile."""

    values: Sequence[tuple[int, Values]]
    plan: Plan


@dataclass(frozen=True)
class _Unable:
    """What a helper answers that cannot even begin."""

    reason: str


@dataclass
class _Helper:
    process: ForkProcess
    connection: Connection
    tasks: deque[Task] = field(default_factory=deque)


class Team:
    """The helpers of this process. Use it as a context: behind it none of them is left.

    Args:
        note: Told when a helper is lost, or what it has to say.

    Attributes:
        known: The grid, which may have been found after they were forked, a point of it and its values, which helpers
            with a device of their own must reproduce before they begin.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self.known: Known | None = None
        self._stop = mmap.mmap(-1, 1)  # shared with the helpers
        self._helpers: list[_Helper] = []

    def add(self, make_worker: Callable[[], Worker]) -> None:
        """Fork a helper; ``make_worker`` is called in it, before its first task."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        others = [ours, *(helper.connection for helper in self._helpers)]
        process = context.Process(
            target=_serve, args=(make_worker, theirs, others, self._stop, os.getpid()), daemon=True
        )
        with warnings.catch_warnings():
            # Python warns of forking while there are threads. The helpers use one thread, and no lock of others.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        self._helpers.append(_Helper(process, ours))

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dismiss()

    def dismiss(self) -> None:
        """End all helpers."""
        self.stop()
        for helper in self._helpers:
            helper.connection.close()
        for helper in self._helpers:
            helper.process.join(_SECONDS_TO_FINISH)
            if helper.process.is_alive():
                helper.process.kill()
                helper.process.join()
        self._helpers.clear()

    def __len__(self) -> int:
        return len(self._helpers)

    @property
    def is_busy(self) -> bool:
        """Whether any helper has something to do."""
        return any(helper.tasks for helper in self._helpers)

    def start(self) -> None:
        """Let the helpers work, again if they were stopped."""
        self._stop[0] = 0

    def stop(self) -> None:
        """Let the helpers end what they do at the next chunk of data."""
        self._stop[0] = 1

    def hand_out(self, tasks: deque[Task], plan: Plan, stage: Stage = "points") -> None:
        """Give every helper a task to do and, while there are enough, one to go on with.

        Args:
            tasks: Of one stage; the helpers must be done with those of another.
            plan: How to evaluate them.
            stage: Whether these are points of the grid or of the radius.
        """
        for helper in list(self._helpers):
            while tasks and len(helper.tasks) < (2 if len(tasks) > len(self._helpers) else 1):
                task = tasks.popleft()
                helper.tasks.append(task)
                try:
                    helper.connection.send((task, plan, self.known, stage))
                except (BrokenPipeError, ConnectionError):
                    self._lose(helper, tasks)
                    break

    def collect(self, tasks: deque[Task], timeout: float) -> Iterator[Done]:
        """What the helpers have done; tasks of a helper that has died go back to ``tasks``.

        Args:
            tasks: What is still to be done.
            timeout: Seconds to wait for the first answer.

        Raises:
            LandscapeError: What a helper has raised.
        """
        ready = wait([helper.connection for helper in self._helpers if helper.tasks], timeout)
        for helper in [helper for helper in self._helpers if helper.connection in ready]:
            try:
                answer = helper.connection.recv()
            except (EOFError, OSError, pickle.UnpicklingError):  # it may have died in the middle of an answer
                self._lose(helper, tasks)
                continue
            task = helper.tasks.popleft()
            match answer:
                case Done():
                    yield answer
                case None:  # it was stopped
                    tasks.append(task)
                case BaseException():
                    raise answer
                case _Unable():
                    helper.tasks.appendleft(task)
                    self._lose(helper, tasks, f"could not begin: {answer.reason}")
                case str():
                    helper.tasks.appendleft(task)
                    self._note(answer)

    def _lose(self, helper: _Helper, tasks: deque[Task], what: str | None = None) -> None:
        """Go on without a helper; what it had to do goes back to the others."""
        helper.connection.close()
        helper.process.join(_SECONDS_TO_FINISH)
        tasks.extendleft(reversed(helper.tasks))
        self._helpers.remove(helper)
        self._note(f"helper process {helper.process.pid} {what or _end_of(helper.process)}; the others do its points")


def _end_of(process: ForkProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"was ended with exit code {code}"
    hint = ", perhaps for lack of memory" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


def _serve(
    make_worker: Callable[[], Worker],
    connection: Connection,
    others: Iterable[Connection],
    stop: mmap.mmap,
    parent: int,
) -> None:
    """The life of a helper: tasks in, values out, until the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when to stop
    _die_with_parent()
    # what wrapped them may hold a lock that a thread of the parent had when this process was forked
    sys.stdout = sys.stderr = sys.__stderr__
    for other in others:
        other.close()  # else the pipe of another helper would never seem closed

    def should_stop() -> bool:
        return bool(stop[0]) or os.getppid() != parent

    worker: Worker | None = None
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            task, plan, known, stage = connection.recv()
            if worker is None:
                try:
                    worker = make_worker()
                    worker.use(plan)
                    _check(worker, known)
                except Exception as error:  # noqa: BLE001  # a device that is gone or full; the others can go on
                    connection.send(_Unable(f"{type(error).__name__}: {error}"))
                    return
                worker.say = connection.send
            try:
                if not worker.plan.is_smaller_than(plan):  # it may have been halved here since the plan was sent
                    worker.use(plan)
                connection.send(_do(worker.radius if stage == "radius" else worker, task, should_stop))
            except Exception as error:  # noqa: BLE001  # the parent raises it
                connection.send(sendable(error, "a helper process failed:"))


def _check(worker: Worker, known: Known | None) -> None:
    """Refuse a worker whose value at a known point is another one: a device of another kind, or one that is broken."""
    if known is None:
        return
    worker.problem.grid, point, expected = known
    values = worker.measure([point] * worker.plan.points_per_call)
    assert values is not None  # nobody can stop it
    sizes = {
        f"{split}_{metric}": len(data) for split, data in worker.splits.items() for metric in worker.network.metrics
    }
    name = disagreement(expected, values[0], sizes, ENGINE_RTOL[worker.problem.precision])
    if name is not None:
        raise EvaluationError(f"{name} is {values[0][name][0]!r} there and {expected[name][0]!r} here")


def _do(worker: Worker, task: Task, should_stop: Callable[[], bool]) -> Done | None:
    found: list[tuple[int, Values]] = []
    for block in task:
        values = worker.measure(block, should_stop)
        if values is None:
            return None
        found += zip(block, values, strict=True)
    return Done(found, worker.plan)


def _die_with_parent() -> None:
    """Ask Linux to end this process together with the one that forked it, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
