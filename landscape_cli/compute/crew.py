"""Several processes that fill one file: who founds it, who does what, and how each sees what the others have done.

There is no process group, no server and no queue. Each process writes a part of its own, reads those of the others and
goes by what is missing. A unit of work belongs to one of them, so that nothing is done twice while all of them live;
what a dead or slow one leaves is swept up by those who are done with their own.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.observer import Stage
from landscape_cli.compute.units import Units
from landscape_cli.errors import OutputError, StoppedError, SurfaceError
from landscape_cli.locks import turn
from landscape_cli.share import Share
from landscape_cli.storage import load_surface, remove_leftovers, save_surface
from landscape_cli.surface import Surface
from landscape_cli.union import (
    load_part,
    load_union,
    merge,
    new_part,
    parts_of,
    remove_leftovers_of_parts,
    share_in_name,
    unite,
)

# A look at the parts of the others takes at most a twentieth of the time, and all together read at most a thousand
# parts a second while everybody has work of their own.
_SECONDS_BETWEEN_LOOKS, _LOOK_COST_FACTOR, _LOOKS_PER_SECOND = 1.0, 20.0, 1000.0
# Every process touches its part so often that all together touch a hundred a second at most.
_SECONDS_BETWEEN_BEATS, _BEATS_PER_SECOND = 1.0, 100.0
_BEATS_UNTIL_DEAD = 8
_BEATS_TO_WAIT = 0.1
# Who lives but brings nothing for this many times as long as its work should take is not waited for any more.
_MAX_SLOWNESS = 4.0

_Stamp = tuple[int, int, int]


class OvertakenError(Exception):
    """Another process has changed the file meanwhile: look at it again."""


@dataclass
class _Seen:
    """What is known of the part of another process: its content, its pulse, and since when neither has changed."""

    stamp: _Stamp
    pulse: int
    since: float


class Crew:
    """This process among those that fill ``output`` together.

    Args:
        share: Who this process is.
        output: The file.
        sweeps: Whether it does what others leave undone.
        should_stop: Asked while waiting for others.

    Attributes:
        part: The file of this process.
    """

    def __init__(self, share: Share, output: Path, *, sweeps: bool, should_stop: Callable[[], bool]) -> None:
        self.share, self.output, self.sweeps, self._should_stop = share, output, sweeps, should_stop
        self.part = new_part(output, share)
        self._view: Surface | None = None
        self._own: Surface | None = None
        self._stamp: _Stamp | None = None
        self._founding = ExitStack()
        self._seen: dict[Path, _Seen] = {}
        self._next_look = self._next_beat = self._look_cost = 0.0
        self._waiting_since: float | None = None
        self._is_concluding = False
        self._random = random.Random(str(self.part))  # noqa: S311  # so that not all sweep the same corner

    # ------------------------------------------------------------ the file

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._founding.close()
        if self._own is not None and not _num_evaluated(self._own):
            self.part.unlink(missing_ok=True)  # it says nothing

    def existing(self) -> Surface | None:
        """What there is, the parts included. Where there is no file yet, the others wait until this process makes it.

        Raises:
            SurfaceError: The file or a part is damaged, or of another scan.
            StoppedError: This process is to stop while it waits.
        """
        self._founding.close()
        self._founding = ExitStack()
        if not self.output.exists():
            self._take_turn(self._founding)
            parts = parts_of(self.output)  # before the file is asked for: NFS then looks at the folder again
            if not parts and not self.output.exists():
                return None
            if not self.output.exists():
                merge(parts, self.output)
            self._founding.close()
        elif self.share.rank == 0:
            with turn(self.output, lambda: True) as is_mine:  # who has it now merges, and may measure for hours
                if is_mine:
                    merge(parts_of(self.output), self.output)  # those that died would become ever more
        self._stamp = _stamp(self.output)
        return load_union(self.output)

    def found(self, surface: Surface, *, before: object) -> None:
        """Write the file, where it is not there or says something else besides its points, and begin a part.

        Args:
            surface: As it is to be.
            before: What the file said `beside_points` when it was read; None where there was none.

        Raises:
            OvertakenError: Another process has written it meanwhile.
            OutputError: It cannot be written.
            StoppedError: This process is to stop while it waits.
        """
        is_changed = before != beside_points(surface)
        with self._founding:
            if self._stamp is None and self.output.exists():  # seen late, on NFS
                raise OvertakenError
            if self._stamp is not None and is_changed:
                self._take_turn(self._founding)
                if parts_of(self.output):  # which would not fit any more
                    merge(parts_of(self.output), self.output)
                if _stamp(self.output) != self._stamp:
                    self._take_in(surface, before)
            if self._stamp is None or is_changed:
                save_surface(surface, self.output)
                self._stamp = _stamp(self.output)  # what comes later is not in ``surface``
        self._view, self._own = surface, _without_points(surface)

    def _take_in(self, surface: Surface, before: object) -> None:
        """Take the points that others have finished since the file was read, where it says the same besides them."""
        file = load_surface(self.output)
        if beside_points(file) != before or file.grid != surface.grid:
            raise OvertakenError
        unite(surface, file, self.output)

    def _take_turn(self, stack: ExitStack) -> None:
        if not stack.enter_context(turn(self.output, self._should_stop)):
            raise StoppedError(f"{self.output}: stopped while waiting for another process", hint="Run it again.")

    @contextmanager
    def concluding(self, is_over: Callable[[], bool]) -> Iterator[Surface | None]:
        """Merge all parts into the file, and be the only one that writes it for a while.

        Yields:
            The file; None where another process has it, and this one need not wait for it, or should stop.
        """
        merged, self._is_concluding = False, True
        self._stamp = None  # also a file that was looked at may have all points of this process

        def give_up() -> bool:
            nonlocal merged
            merged = self.share.rank != 0 and self._is_merged()
            return merged or is_over()

        with turn(self.output, give_up) as is_mine:
            if is_mine:
                yield merge(parts_of(self.output), self.output)
            else:
                if merged:
                    self.part.unlink(missing_ok=True)
                yield None

    def _is_merged(self) -> bool:
        """Whether every point of this process is in the file; that its part is gone does not say so."""
        if _stamp(self.output) == self._stamp:
            return False
        self._stamp = _stamp(self.output)
        return not unite(load_surface(self.output), self.own, self.part)

    def clean(self) -> None:
        """Remove what killed processes have left in the middle of a save; only when nobody else is there any more."""
        remove_leftovers(self.output)
        remove_leftovers_of_parts(self.output)

    # ------------------------------------------------------------ points

    @property
    def own(self) -> Surface:
        """What this process has computed: its part."""
        assert self._own is not None  # the file is founded first
        assert self._view is not None
        return replace(self._own, provenance=self._view.provenance)

    def enter(self, stage: Stage, point: int, values: Values) -> None:
        """Note a point that this process has computed."""
        assert self._own is not None
        own = self._own.radius if stage == "radius" else self._own
        assert own is not None
        own.update(point, values)

    def beat(self) -> None:
        """Show the others that this process lives; to be called all the time."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + self._seconds_between_beats
            try:
                # the time of the last access: that of the last change says that there is something new to read
                os.utime(self.part, ns=(time.time_ns(), self.part.stat().st_mtime_ns))
            except FileNotFoundError:  # it has been merged, and without a part this process would count as dead
                if self._own is not None and not self._is_concluding:
                    with suppress(OutputError):
                        save_surface(self.own, self.part)
            except OSError:
                pass

    @property
    def _seconds_between_beats(self) -> float:
        return max(_SECONDS_BETWEEN_BEATS, self.share.world_size / _BEATS_PER_SECOND)

    def look(self, *, always: bool = False) -> bool:
        """Take in what the others have saved, if it is time to; whether there was anything new.

        Raises:
            SurfaceError: A part is damaged or of another scan.
        """
        start = time.monotonic()
        if start < self._next_look and not always:
            return False
        assert self._view is not None
        num_new = 0
        for path in parts_of(self.output):
            if path == self.part:
                continue
            num_new += self._look_at(path, self._view, start)
        found = _stamp(self.output)
        if found is not None and found != self._stamp:
            self._stamp = found
            num_new += self._unite_file(self._view)
        end = time.monotonic()
        self._look_cost = end - start
        self._next_look = end + max(self._seconds_between_looks, _LOOK_COST_FACTOR * self._look_cost)
        return num_new > 0

    def _look_at(self, path: Path, view: Surface, now: float) -> int:
        state, seen = _state(path), self._seen.get(path)
        if state is None:
            return 0
        stamp, pulse, num_new = _stamp_of(state), state.st_atime_ns, 0
        if seen is None or stamp != seen.stamp:
            part = load_part(path)
            if part is None:  # it is being merged; if that fails, the same comes back
                return 0
            num_new = unite(view, part, path)
        if seen is None or (stamp, pulse) != (seen.stamp, seen.pulse):
            self._seen[path] = _Seen(stamp, pulse, now)
        return num_new

    def _unite_file(self, view: Surface) -> int:
        file = load_surface(self.output)
        try:
            return unite(view, file, self.output)
        except SurfaceError as error:
            again = "Nothing is lost. Run the command again; with the options of the others, if it says the same."
            raise type(error)(f"{error}\nAnother process has changed it meanwhile.", hint=again) from error

    @property
    def _seconds_between_looks(self) -> float:
        if self.share.rank == 0:  # it shows how far all are
            return self._seconds_between_beats
        return max(_SECONDS_BETWEEN_LOOKS, self.share.world_size**2 / _LOOKS_PER_SECOND)

    def shares_alive(self) -> list[tuple[int, int]]:
        """Rank and world size of the others whose parts have changed not long ago."""
        oldest = time.monotonic() - _BEATS_UNTIL_DEAD * self._seconds_between_beats
        known = [(path, share_in_name(path)) for path, seen in self._seen.items() if seen.since >= oldest]
        return [share for path, share in known if share is not None and path.exists()]

    def own_units(self, units: Units) -> NDArray[np.int64]:
        """Which of the units belong to this process."""
        return np.arange(self.share.rank, len(units), self.share.world_size)

    def sweep(self, units: Units, num_ahead: int, num_wanted: int, seconds_ahead: float = 0.0) -> Sequence[int] | None:
        """What to do when the own units are done.

        Args:
            units: Of the whole grid.
            num_ahead: How many units a process may have under way.
            num_wanted: How many this process can do in a second.
            seconds_ahead: What these units ahead take.

        Returns:
            Units that are missing and that probably nobody has under way; none of them where it is better to wait a
            moment; None where nothing is missing.
        """
        if self.look(always=True):
            self._waiting_since = None
        missing = units.missing()
        if not len(missing) or not self.sweeps:
            return None
        alive = self.shares_alive()
        under_way = [missing[missing % world_size == rank][:num_ahead] for rank, world_size in alive]
        free = np.setdiff1d(missing, np.concatenate(under_way)) if under_way else missing
        if not len(free):
            now = time.monotonic()
            self._waiting_since = self._waiting_since or now
            patience = max(_BEATS_UNTIL_DEAD * self._seconds_between_beats, _MAX_SLOWNESS * seconds_ahead)
            if now - self._waiting_since < patience:
                time.sleep(_BEATS_TO_WAIT * self._seconds_between_beats)
                return []
            free = missing  # who has them lives, but does not get on: nobody waits for ever
        # the last ones first: who owns them comes from the other end
        num_wanted = int(num_wanted * max(1.0, _LOOK_COST_FACTOR * self._look_cost))
        share = max(1, min(num_wanted, len(free) // (len(alive) + 1)))
        start = len(free) - share if len(alive) < 2 else self._random.randrange(len(free) - share + 1)
        return [int(unit) for unit in free[start : start + share]]


def beside_points(surface: Surface) -> tuple[object, ...]:
    """What a file says besides its points: where that changes, it must be written before the others read it."""
    beside = [each and (each.fingerprint, each.grid) for each in (surface.radius, surface.curvature_map)]
    path, curvature, origin = surface.trajectory, surface.curvature, surface.provenance
    steps = path and (path.names, path.coordinates.tobytes())
    pending = curvature and (curvature.pending, sorted(curvature.records))
    return surface.fingerprint, surface.grid, *beside, steps, pending, origin.resolved, origin.engine


def _without_points(surface: Surface) -> Surface:
    metrics = {
        name: replace(metric, values=np.full_like(metric.values, np.nan), std=np.full_like(metric.std, np.nan))
        for name, metric in surface.metrics.items()
    }
    return replace(
        surface,
        metrics=metrics,
        evaluated=np.zeros_like(surface.evaluated),
        radius=None if surface.radius is None else _without_points(surface.radius),
        trajectory=None,
        curvature=None,
        curvature_map=None,
    )


def _num_evaluated(surface: Surface) -> int:
    return surface.num_evaluated + (surface.radius.num_evaluated if surface.radius is not None else 0)


def _stamp(path: Path) -> _Stamp | None:
    """What changes whenever a file is replaced; None where it is not there."""
    state = _state(path)
    return None if state is None else _stamp_of(state)


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # the latter of NFS: replaced on another machine
            return None
        raise


def _stamp_of(state: os.stat_result) -> _Stamp:
    return state.st_mtime_ns, state.st_ino, state.st_size
