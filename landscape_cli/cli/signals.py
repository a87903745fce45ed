"""Signals that ask a scan to stop, and the exit codes they lead to."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

STOPPED = 75  # EX_TEMPFAIL: saved; run the same command again
INTERRUPTED = 130
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class StopRequested(BaseException):
    """A signal arrived while there was nothing to save yet. Not an Exception: no user code may swallow it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class StopSignals:
    """Turns SIGTERM, SIGUSR1, SIGUSR2 and SIGINT into a polite end.

    Before `defer` a signal ends the command at once, because nothing is there to be saved; after it, the scan asks
    `requested` between batches. A repeated SIGTERM is ignored (Slurm with torchrun sends two); a second SIGINT ends
    the process on the spot.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._deferred = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            if self._received is not None:  # the process is about to end with its exit code: nothing may kill it before
                signal.signal(number, signal.SIG_IGN)
            else:
                signal.signal(number, handler)  # type: ignore[arg-type]  # it came from signal.signal

    def defer(self) -> None:
        """From now on there is something to save: note signals instead of acting on them."""
        self._deferred = True

    def act_at_once(self) -> None:
        """From now on a signal ends what is done at once, until there is something to save again."""
        self._deferred = False
        if self._received is not None:  # it came a moment ago
            raise StopRequested(self.exit_code)

    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._received is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 75 after the others."""
        return INTERRUPTED if self._received is signal.SIGINT else STOPPED

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            if number == signal.SIGINT:
                os._exit(INTERRUPTED)
            return
        self._received = signal.Signals(number)
        if not self._deferred:
            raise StopRequested(self.exit_code)
