"""A function in a process of its own: what it starts, such as CUDA, is not started here."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar, cast

from landscape_cli.errors import EvaluationError, LandscapeError

_T = TypeVar("_T")


def run_apart(function: Callable[[], _T]) -> _T:
    """Call a function in a forked process and return what it returns, which must be possible to pickle.

    A process that has used CUDA cannot share the GPUs of a machine with forked helpers any more.

    Raises:
        LandscapeError: What the function raised; `EvaluationError` for other errors, and where the process dies.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(function, theirs), daemon=True)
    with warnings.catch_warnings():
        # Python warns of forking while there are threads; what runs there uses no lock of theirs
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    try:
        succeeded, value = pickle.loads(ours.recv_bytes())  # noqa: S301  # from our own child
    except EOFError as error:
        process.join()
        raise EvaluationError(f"the process that makes a direction ended with exit code {process.exitcode}") from error
    finally:
        ours.close()
        process.join()
    if succeeded:
        return cast(_T, value)
    raise value


def _serve(function: Callable[[], object], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answer: tuple[bool, object]
    try:
        answer = True, function()
    except Exception as error:  # noqa: BLE001  # the parent raises it
        answer = False, sendable(error, "a direction raised")
    # by value: torch would send tensors as handles of shared memory, which end with this process
    connection.send_bytes(pickle.dumps(answer))


def sendable(error: Exception, doing: str) -> Exception:
    """The error itself where it is ours; others may hold what cannot be pickled."""
    if isinstance(error, LandscapeError):
        error.__cause__ = None
        return error
    return EvaluationError(f"{doing} {type(error).__name__}: {error}")
