"""Joint scans as a discrete-event simulation: shares, saves, looks, sweeping, stragglers and failures.

Every process is a generator that asks for time, for changes and stats of the file system, and for bytes. The numbers of
the protocol are those of `landscape_cli.compute.crew` and `fill`; what is simplified is in docs/scale.md.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.scale_costs import Costs
from scripts.scale_files import CHANGES_PER_MERGED, CHANGES_PER_SAVE, Filesystem, Layout, Merge, Shared, merge, stored

SAVE_EVERY = 1.0
# Times its own cost, from one save to the next, and from a look at the parts of others to the next.
SAVE_COST_FACTOR, LOOK_COST_FACTOR = 6.0, 20.0
# All together look at so many parts a second at most, while they have work of their own.
SECONDS_BETWEEN_LOOKS, LOOKS_PER_SECOND = 1.0, 1000.0
# Units that are missing, at the head of the list of a live process, that are left to it; who is dead has missed so many
# heartbeats. With more than a hundred processes the heart beats so much slower that there are no more of them.
HEAD, PATIENCE, HEARTBEATS_PER_SECOND = 2, 8, 100.0
# Heartbeats until somebody who finds nothing to do looks again, and how many times as long as it should take the work
# of a live process is waited for.
BEATS_TO_WAIT, MAX_SLOWNESS = 0.1, 4.0
# Operations of a process that starts, while the others wait for their turn.
OPERATIONS_PER_TURN = 6
_SECONDS_PER_TASK = 0.1
_SECONDS_AT_ONCE = 5.0
# A pause that is as long as so many units shall not be one unit longer by rounding.
_ROUNDING = 1e-9
TIME, CHANGES, STATS, BYTES = range(4)
Request = tuple[int, float]


@dataclass(frozen=True)
class Scenario:
    """A scan, who does it, and what happens to them.

    Attributes:
        num_points, points_per_unit: Of the grid; evaluated together.
        num_workers: W.
        seconds_per_point: On a worker that is not slow; the mean.
        spread: Standard deviation of the logarithm of the time of a unit, lognormal; 0 for equal times.
        order: Unit u belongs to worker u mod W (``"strides"``), or each worker has one block of them.
        sweep: Whether a worker that is done takes what others have not done. If not, each has a file of its own, and
            nobody looks at those of others.
        reads: Which parts of others a worker reads while it has something of its own to do: all, or only those of
            workers that sweep, which may have taken something from its list.
        group: Workers that see each other's parts; None for all.
        layout: Of the parts, see `scale_files.stored`.
        fan_in: Of the merge; None for one process.
        save_every: Seconds between saves.
        slow_share, slow_factor: Stragglers.
        hours_between_failures: Of one worker, exponential; inf for none.
        restart_after: Seconds until a worker that failed is back; inf for never.
        preempted_share, preempted_at: Workers that get SIGTERM at once, and when, as a share of the ideal time.
        grace: Seconds from there until they are killed.
        back_after: Seconds until they are back; inf for never.
    """

    num_points: int
    num_workers: int
    points_per_unit: int = 16
    seconds_per_point: float = 1.0
    spread: float = 0.25
    order: Literal["strides", "blocks"] = "strides"
    sweep: bool = True
    reads: Literal["all", "sweepers"] = "all"
    group: int | None = None
    layout: Layout = "dense"
    fan_in: int | None = None
    save_every: float = SAVE_EVERY
    slow_share: float = 0.0
    slow_factor: float = 5.0
    hours_between_failures: float = math.inf
    restart_after: float = 300.0
    preempted_share: float = 0.0
    preempted_at: float = 0.5
    grace: float = 30.0
    back_after: float = 600.0
    seed: int = 0

    @property
    def ideal(self) -> float:
        """Seconds if all of the time of all workers went into points, and none were slow."""
        return self.num_points * self.seconds_per_point / self.num_workers

    @property
    def num_units(self) -> int:
        """Units of the grid."""
        return -(-self.num_points // self.points_per_unit)

    @property
    def heartbeat(self) -> float:
        """Seconds between two signs of life of one process."""
        return max(1.0, self.num_workers / HEARTBEATS_PER_SECOND)


@dataclass
class Computed:
    """A unit that was computed: by whom, from when to when, and when a part with it was in place; inf for never."""

    worker: int
    unit: int
    start: float
    end: float
    saved: float = math.inf


@dataclass
class Outcome:
    """What came of a scenario. Seconds count from the start.

    Attributes:
        filled: When every point was in some part; inf for never.
        seen: When somebody had seen that.
        merge: What uniting them took; None where points are missing.
        missing: Points in no part.
        twice: Points computed again though they were, or came to be, in a part of another worker.
        lost: Finished points that died with their worker before they were saved.
        lost_seconds: Of work on points, finished or not, that died with their worker.
        failures: Workers that died.
        saves, looks: How often a part was written; how often the parts of others were looked at.
        bytes_written, bytes_read: Before the merge.
        changes, stats: Operations of the file system before the merge; heartbeats are changes.
        peak_changes, peak_stats, peak_bytes: Per second, in the busiest minute.
        parts: Number of parts at each tenth of ``filled``.
        part_bytes: Of all parts at the end.
        part_sizes: Of each, as points of a dense file.
        head_at_half: Share of the scan order, from its beginning, without a gap when half of the points were saved.
        trace: Every unit computed, where asked for.
    """

    filled: float = math.inf
    seen: float = math.inf
    merge: Merge | None = None
    missing: int = 0
    twice: int = 0
    lost: int = 0
    lost_seconds: float = 0.0
    failures: int = 0
    saves: int = 0
    looks: int = 0
    bytes_written: float = 0.0
    bytes_read: float = 0.0
    changes: float = 0.0
    stats: float = 0.0
    peak_changes: float = 0.0
    peak_stats: float = 0.0
    peak_bytes: float = 0.0
    parts: list[int] = field(default_factory=list)
    part_bytes: float = 0.0
    part_sizes: list[float] = field(default_factory=list)
    head_at_half: float = math.nan
    trace: list[Computed] = field(default_factory=list)

    @property
    def makespan(self) -> float:
        """Seconds until the one file is complete; inf for never."""
        return self.seen + self.merge.seconds if self.merge is not None else math.inf


def simulate(scenario: Scenario, costs: Costs, files: Filesystem, *, trace: bool = False) -> Outcome:
    """Run a scenario to its end: until all is seen to be there, or nobody is left."""
    return _Simulation(scenario, costs, files, trace=trace).run()


@dataclass
class _Segment:
    """Units that a worker computes one after another, or has computed."""

    start: float
    units: NDArray[np.int64]
    ends: NDArray[np.float64]  # of each, in seconds after the start
    is_own: bool
    points: int


class _Worker:
    """What the disk knows of a worker, and what it is doing."""

    def __init__(self, number: int, units: NDArray[np.int64], factor: float, share: int) -> None:
        self.number, self.units, self.factor, self.share = number, units, factor, share
        self.life = 0
        self.alive = False
        self.process: Iterator[Request] | None = None
        self.current: _Segment | None = None
        self.unsaved: list[_Segment] = []
        self.part = -1  # number of the part in its group; -1 for none yet
        self.own, self.swept = 0, 0  # points in the part
        self.last_save = self.save_cost = 0.0
        self.next_look, self.num_new = 0.0, 0  # parts that were new to it
        self.seen_at = -math.inf  # when the last look began that read all
        self.seen_swept_at = self.seen_before = -math.inf  # and the last two of any kind


class _Group:
    """Workers that see each other's parts, and these."""

    def __init__(self, numbers: NDArray[np.int64], left: int) -> None:
        self.numbers, self.left = numbers, left
        self.num_parts = 0
        self.sizes = np.zeros(len(numbers))  # as points of a dense file
        self.saved_at = np.full(len(numbers), -math.inf)
        self.swept_at = np.full(len(numbers), -math.inf)  # when points of others were added

    def new_part(self) -> int:
        """The number of one more."""
        if self.num_parts == len(self.sizes):
            self.sizes = np.concatenate([self.sizes, np.zeros(self.num_parts)])
            never = np.full(self.num_parts, -math.inf)
            self.saved_at, self.swept_at = (np.concatenate([each, never]) for each in (self.saved_at, self.swept_at))
        self.num_parts += 1
        return self.num_parts - 1


class _Simulation:
    """The state of everything; the methods that yield are what one process does."""

    def __init__(self, scenario: Scenario, costs: Costs, files: Filesystem, *, trace: bool) -> None:
        self.scenario, self.costs, self.files = scenario, costs, files
        self.keeps_trace = trace
        self.now = 0.0
        self.outcome = Outcome()
        self.rng = np.random.default_rng(scenario.seed)
        heartbeats = scenario.num_workers / scenario.heartbeat
        left = files.changes if math.isinf(files.changes) else max(files.changes - heartbeats, 0.05 * files.changes)
        self.servers = [
            Shared(left, files.operations_of_one),
            Shared(files.stats, files.operations_of_one),
            Shared(files.bandwidth, files.bandwidth_of_one),
        ]
        self.events: list[tuple[float, int, str, int, int]] = []
        self.num_events = 0
        self._make_workers()
        self.size_of_group = scenario.group or scenario.num_workers
        self.groups = [
            _Group(numbers, int(self.left[numbers].sum()))
            for first in range(0, scenario.num_workers, self.size_of_group)
            for numbers in [np.arange(first, min(first + self.size_of_group, scenario.num_workers))]
        ]
        self.num_seen = 0
        self.points_left = scenario.num_points
        self.computed = 0
        self.part_times: list[float] = []
        self.life_seconds = self.last_left = 0.0
        self.born = np.zeros(scenario.num_workers)

    def _make_workers(self) -> None:
        """Who computes what, and how long each unit takes."""
        scenario, num, workers = self.scenario, self.scenario.num_units, self.scenario.num_workers
        spread = scenario.spread
        seconds = self.rng.lognormal(-(spread**2) / 2, spread, num) if spread else np.ones(num)
        seconds *= scenario.points_per_unit * scenario.seconds_per_point
        self.last_unit, self.short_of = num - 1, num * scenario.points_per_unit - scenario.num_points
        seconds[-1] *= 1 - self.short_of / scenario.points_per_unit
        self.seconds = seconds
        slow = self.rng.permutation(workers)[: round(scenario.slow_share * workers)]
        factors = np.ones(workers)
        factors[slow] = scenario.slow_factor
        self.owner, self.place = self._owners(num, workers)
        counts = np.bincount(self.owner, minlength=workers)
        self.saved = np.arange(counts.max())[None] >= counts[:, None]  # what is no unit counts as saved
        self.left = counts.astype(np.int64)
        self.last_beat = np.full(workers, -math.inf)  # inf for who computes now
        by_owner, ends = np.argsort(self.owner, kind="stable"), np.cumsum(counts)
        self.workers = []
        for number in range(workers):
            units = by_owner[ends[number] - counts[number] : ends[number]]
            self.workers.append(_Worker(number, units, float(factors[number]), self._points_of(units)))

    def _owners(self, num: int, workers: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Owner of every unit, and its place in the owner's list."""
        units = np.arange(num)
        if self.scenario.order == "strides":
            return units % workers, units // workers
        sizes = np.full(workers, num // workers) + (np.arange(workers) < num % workers)
        owner = np.repeat(np.arange(workers), sizes)
        return owner, units - np.repeat(np.cumsum(sizes) - sizes, sizes)

    # ---------------------------------------------------------------- events

    def run(self) -> Outcome:
        """To the end."""
        scenario = self.scenario
        for worker in self.workers:
            self._begin(worker)
        if scenario.preempted_share:
            self._at(scenario.preempted_at * scenario.ideal, "preempt")
        events, (changes, stats, data), num_groups = self.events, self.servers, len(self.groups)
        while self.num_seen < num_groups:  # or until nobody has anything to do
            server = changes if changes.due < stats.due else stats
            server = data if data.due < server.due else server
            if events and events[0][0] <= server.due:
                self.now, _, kind, number, life = heapq.heappop(events)
                self._happen(kind, number, life)
            elif server.due < math.inf:
                self.now = server.due
                number, life = server.pop()
                if self.workers[number].life == life:
                    self._resume(self.workers[number])
            else:
                break
        return self._conclude()

    def _at(self, time: float, kind: str, number: int = -1, life: int = -1) -> None:
        self.num_events += 1
        heapq.heappush(self.events, (time, self.num_events, kind, number, life))

    def _happen(self, kind: str, number: int, life: int) -> None:
        if kind == "preempt":
            share = round(self.scenario.preempted_share * self.scenario.num_workers)
            for chosen in self.rng.permutation(self.scenario.num_workers)[:share].tolist():
                self._preempt(self.workers[chosen])
            return
        worker = self.workers[number]
        if worker.life != life:
            return
        if kind == "resume":
            self._resume(worker)
        elif kind == "fail":
            self.outcome.failures += 1
            self._end(worker, back_after=self.scenario.restart_after)
        elif kind == "kill":
            self._end(worker, back_after=self.scenario.back_after)
        else:
            self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
        worker.life += 1
        worker.alive = True
        self.born[worker.number] = self.now
        worker.part, worker.own, worker.swept = -1, 0, 0
        worker.seen_at = worker.seen_swept_at = worker.seen_before = -math.inf
        worker.next_look = 0.0
        worker.process = self._live(worker)
        if not math.isinf(self.scenario.hours_between_failures):
            life = self.rng.exponential(3600 * self.scenario.hours_between_failures)
            self._at(self.now + life, "fail", worker.number, worker.life)
        self._resume(worker)

    def _resume(self, worker: _Worker) -> None:
        """Go on until the worker has to wait for something."""
        assert worker.process is not None
        for what, amount in worker.process:
            if amount <= 0:
                continue
            if what != TIME and self.servers[what - 1].is_free:
                self.servers[what - 1].served += amount
                continue
            if what == TIME:
                self._at(self.now + amount, "resume", worker.number, worker.life)
            else:
                self.servers[what - 1].add(self.now, amount, worker.number, worker.life)
            return
        if worker.process is not None:  # it is done, and nothing has ended it meanwhile
            self._leave(worker)

    def _leave(self, worker: _Worker) -> None:
        """What is under way for this life will find another one."""
        worker.life += 1
        worker.alive = False
        worker.process = None
        self._stop_beating(worker)
        self.last_left = self.now
        self.life_seconds += self.now - float(self.born[worker.number])

    def _stop_beating(self, worker: _Worker) -> None:
        self.last_beat[worker.number] = min(self.last_beat[worker.number], self.now)

    def _end(self, worker: _Worker, *, back_after: float) -> None:
        """Kill a worker, with all that is not saved."""
        for segment in self._under_way(worker):
            passed = min(self.now - segment.start, float(segment.ends[-1]))
            done = int((segment.ends <= passed).sum())
            lost = self._points_of(segment.units[:done])
            self.computed += lost
            self.outcome.lost += lost
            self.outcome.lost_seconds += passed
            self._note(worker, segment, done, math.inf)
        worker.unsaved, worker.current = [], None
        self._leave(worker)
        self._return(worker, back_after)

    def _return(self, worker: _Worker, after: float) -> None:
        if not math.isinf(after):
            self._at(self.now + after, "begin", worker.number, worker.life)

    def _preempt(self, worker: _Worker) -> None:
        """SIGTERM: what is finished is saved; whoever has not done so after the time of grace is killed."""
        if not worker.alive:
            return
        worker.life += 1
        current = worker.current
        if current is not None:
            passed = self.now - current.start
            done = int((current.ends <= passed).sum())
            begun = float(current.ends[done - 1]) if done else 0.0
            self.outcome.lost_seconds += min(passed, float(current.ends[-1])) - begun
            units = current.units[:done]
            if done:
                points = self._points_of(units)
                worker.unsaved.append(_Segment(current.start, units, current.ends[:done], current.is_own, points))
            worker.current = None
        worker.process = self._farewell(worker)
        self._at(self.now + self.scenario.grace, "kill", worker.number, worker.life)
        self._resume(worker)

    @staticmethod
    def _under_way(worker: _Worker) -> list[_Segment]:
        """What is not saved."""
        return worker.unsaved + ([worker.current] if worker.current is not None else [])

    # ---------------------------------------------------------------- what a process does

    def _live(self, worker: _Worker) -> Iterator[Request]:
        yield from self._start(worker)
        missing = ~self.saved[worker.number, : len(worker.units)]
        yield from self._do(worker, worker.units[missing], is_own=True)
        if worker.unsaved:
            yield from self._save(worker)
        if self.scenario.sweep:
            yield from self._sweep(worker)
        else:
            yield from self._merge_own(worker)

    def _merge_own(self, worker: _Worker) -> Iterator[Request]:
        """Put the part into a file of one's own, and read that back."""
        costs = self.costs
        size = float(self.groups[worker.number // self.size_of_group].sizes[worker.part])
        yield BYTES, 3 * costs.size(size)
        yield TIME, 2 * costs.load(size) + 2 * costs.unite(size) + costs.image(size) + costs.fsync
        yield CHANGES, float(CHANGES_PER_SAVE + CHANGES_PER_MERGED)
        self.outcome.bytes_read += 2 * costs.size(size)
        self.outcome.bytes_written += costs.size(size)

    def _start(self, worker: _Worker) -> Iterator[Request]:
        """In turns, look what there is; read it; begin a part. Of those who start together nobody has one yet."""
        scenario, costs = self.scenario, self.costs
        turn = OPERATIONS_PER_TURN / self.files.operations_of_one
        yield TIME, turn * (worker.number + 1 if self.now == 0 else 1)
        yield STATS, float(OPERATIONS_PER_TURN)
        plan = float(scenario.num_points) if scenario.layout == "dense" else 0.0
        yield BYTES, costs.size(plan)
        self.outcome.bytes_read += costs.size(plan)
        yield TIME, costs.load(plan) + costs.order(scenario.num_points)
        if scenario.sweep and worker.life > 1:
            yield from self._look(worker)
            worker.next_look = 0.0
        yield from self._save(worker)

    def _do(self, worker: _Worker, units: NDArray[np.int64], *, is_own: bool) -> Iterator[Request]:
        """Compute units; save, and look at the parts of others, whenever it is time to."""
        scenario = self.scenario
        looks = scenario.sweep
        ends, begin, worked = np.cumsum(self.seconds[units] * worker.factor), 0, 0.0
        while begin < len(units):
            save_due = worker.last_save + self._seconds_between_saves(worker)
            due = min(save_due, worker.next_look) if looks else save_due
            tolerance = _ROUNDING * self.now
            end = int(ends.searchsorted(worked + due - self.now - tolerance)) + 1
            end = min(max(end, begin + 1), len(units))
            done, chosen = ends[begin:end] - worked, units[begin:end]
            worker.current = _Segment(self.now, chosen, done, is_own, self._points_of(chosen))
            self.last_beat[worker.number] = math.inf
            begin, worked, seconds = end, float(ends[end - 1]), float(done[-1])
            if self.now + seconds >= save_due - tolerance:
                yield from self._save(worker, after=seconds)
            else:
                yield TIME, seconds
                worker.unsaved.append(worker.current)
                worker.current = None
            if looks and self.now >= worker.next_look - tolerance:
                yield from self._look(worker, sweepers_only=is_own and scenario.reads == "sweepers")
                left = units[begin:]
                is_done = self.saved[self.owner[left], self.place[left]]
                if is_done.any():
                    units = left[~is_done]
                    ends, begin, worked = np.cumsum(self.seconds[units] * worker.factor), 0, 0.0

    def _seconds_between_saves(self, worker: _Worker) -> float:
        """From the beginning of one to the beginning of the next: early enough to be over in time."""
        every, cost = self.scenario.save_every, worker.save_cost
        return max(every - min(every / 2, _SECONDS_PER_TASK + cost), SAVE_COST_FACTOR * cost)

    def _sweep(self, worker: _Worker) -> Iterator[Request]:
        """What others have not done, until nothing is missing."""
        scenario, group = self.scenario, self.groups[worker.number // self.size_of_group]
        of_one = worker.factor * scenario.points_per_unit * scenario.seconds_per_point
        patience = max(PATIENCE * scenario.heartbeat, MAX_SLOWNESS * HEAD * of_one)
        turns, waiting_since = 1, math.inf
        while True:
            begin, looked = self.now, worker.num_new
            yield from self._look(worker, turns)
            cost = (self.now - begin) / turns
            yield TIME, turns * self.costs.missing(scenario.num_points)
            if group.left <= 0:
                self._see(group)
                return
            if worker.num_new > looked:
                waiting_since = math.inf
            num_wanted = int(max(1, int(1.0 / of_one)) * max(1.0, LOOK_COST_FACTOR * cost))
            units = self._choose(worker, group, num_wanted)
            if not len(units):
                waiting_since = min(waiting_since, self.now)
                if self.now - waiting_since < patience:
                    turns = self._turns_at_once(group)
                    yield TIME, turns * BEATS_TO_WAIT * scenario.heartbeat
                    continue
                units = self._choose(worker, group, num_wanted, head=0)
            turns = 1
            yield from self._do(worker, units, is_own=False)
            if worker.unsaved:
                yield from self._save(worker)

    def _see(self, group: _Group) -> None:
        """Somebody sees that nothing is missing; the first one counts."""
        if group.left == 0:
            group.left = -1
            self.num_seen += 1
            self.outcome.seen = self.now

    def _turns_at_once(self, group: _Group) -> int:
        """How often somebody looks within seconds who finds nothing to do: so many looks are simulated as one."""
        if math.isinf(self.files.operations_of_one):
            return 1
        look = (2.0 + group.num_parts) / self.files.operations_of_one + self.costs.missing(self.scenario.num_points)
        return max(1, int(_SECONDS_AT_ONCE / (BEATS_TO_WAIT * self.scenario.heartbeat + look)))

    def _look(self, worker: _Worker, turns: int = 1, *, sweepers_only: bool = False) -> Iterator[Request]:
        """List the folder, ask for the status of all parts, and read those that are new since the last look.

        What it then knows is what is in them when all are read: with long looks that favours the protocol.

        Args:
            worker: Who looks.
            turns: How often, if there is nothing new.
            sweepers_only: Whether it reads only the parts of workers that sweep, which their names could say.
        """
        group, begin = self.groups[worker.number // self.size_of_group], self.now
        self._stop_beating(worker)
        self.outcome.looks += turns
        if sweepers_only:
            changed = group.swept_at[: group.num_parts] > worker.seen_swept_at
        else:
            changed = group.saved_at[: group.num_parts] > worker.seen_at
            worker.seen_at = begin
        worker.seen_before, worker.seen_swept_at = worker.seen_swept_at, begin
        if worker.part >= 0:
            changed[worker.part] = False
        num, points = int(np.count_nonzero(changed)), float(group.sizes[: group.num_parts][changed].sum())
        yield STATS, turns * (2.0 + len(changed)) + num  # the folder, the file, each part; opening those that are new
        costs = self.costs
        if num:
            worker.num_new += num
            mean = points / num
            read = num * costs.size(mean)
            yield BYTES, read
            self.outcome.bytes_read += read
            yield TIME, num * (costs.load(mean) + costs.unite(mean))
        pause = max(SECONDS_BETWEEN_LOOKS, self.scenario.num_workers * len(group.numbers) / LOOKS_PER_SECOND)
        pause = pause if worker.number else self.scenario.heartbeat  # it shows how far all are
        worker.next_look = self.now + max(pause, LOOK_COST_FACTOR * (self.now - begin))

    def _save(self, worker: _Worker, after: float = 0.0) -> Iterator[Request]:
        """Replace the part with one that has all that is computed, when that is done."""
        scenario, costs, begin = self.scenario, self.costs, self.now + after
        group, segments = self.groups[worker.number // self.size_of_group], self._under_way(worker)
        own = worker.own + sum(each.points for each in segments if each.is_own)
        swept = worker.swept + sum(each.points for each in segments if not each.is_own)
        size = stored(scenario.layout, scenario.num_points, worker.share, own, swept)
        yield TIME, after + costs.image(size) + costs.fsync
        self._stop_beating(worker)
        yield CHANGES, float(CHANGES_PER_SAVE)
        yield BYTES, costs.size(size)
        self.outcome.saves += 1
        self.outcome.bytes_written += costs.size(size)
        if worker.part < 0:
            worker.part = group.new_part()
            self.part_times.append(self.now)
        worker.last_save, worker.save_cost = begin, self.now - begin
        group.sizes[worker.part], group.saved_at[worker.part] = size, self.now
        if swept > worker.swept:
            group.swept_at[worker.part] = self.now
        worker.own, worker.swept = own, swept
        worker.unsaved, worker.current = [], None
        for segment in segments:
            self._enter(worker, group, segment)

    def _farewell(self, worker: _Worker) -> Iterator[Request]:
        if worker.unsaved:
            yield from self._save(worker)
        self._leave(worker)
        self._return(worker, self.scenario.back_after)

    # ---------------------------------------------------------------- points

    def _enter(self, worker: _Worker, group: _Group, segment: _Segment) -> None:
        """Units are in a part."""
        units = segment.units
        places = self.place[units]
        if segment.is_own:
            row = self.saved[worker.number]
            new = ~row[places]
            row[places] = True
            num = int(np.count_nonzero(new))
            self.left[worker.number] -= num
        else:
            owners = self.owner[units]
            new = ~self.saved[owners, places]
            self.saved[owners, places] = True
            num = int(np.count_nonzero(new))
            np.subtract.at(self.left, owners[new], 1)
        group.left -= num
        self.computed += segment.points
        self.points_left -= segment.points if num == len(units) else self._points_of(units[new])
        self._note(worker, segment, len(units), self.now)
        if math.isnan(self.outcome.head_at_half) and 2 * self.points_left <= self.scenario.num_points:
            self.outcome.head_at_half = self._head()
        if not self.points_left and math.isinf(self.outcome.filled):
            self.outcome.filled = self.now

    def _choose(self, worker: _Worker, group: _Group, num_wanted: int, head: int = HEAD) -> NDArray[np.int64]:
        """Units of the group that are in no part and are not left to their owners.

        Some at random, at most a fair share of them; with one other process alive the last ones.
        """
        numbers, since = group.numbers, self.now - PATIENCE * self.scenario.heartbeat
        beats = self.last_beat[numbers]
        is_alive = (beats > since) | (beats > worker.seen_before)
        is_alive[worker.number - numbers[0]] = False
        left = self.left[numbers]
        free = np.where(is_alive, np.maximum(left - head, 0), left)
        ends = np.cumsum(free)
        total, others = int(ends[-1]), int(np.count_nonzero(is_alive))
        if not total:
            return np.empty(0, dtype=np.int64)
        most = max(1, min(num_wanted, total // (others + 1)))
        drawn = self.rng.choice(total, most, replace=False) if others >= 2 else np.arange(total)
        found = []
        for each in drawn.tolist():
            index = int(np.searchsorted(ends, each, side="right"))
            number, skipped = int(numbers[index]), head if is_alive[index] else 0
            place = int(np.flatnonzero(~self.saved[number])[skipped + each - int(ends[index] - free[index])])
            found.append(int(self.workers[number].units[place]))
        return np.sort(found)[-most:]

    def _points_of(self, units: NDArray[np.int64]) -> int:
        num = len(units) * self.scenario.points_per_unit
        return num - self.short_of if self.short_of and self.last_unit in units else num

    def _head(self) -> float:
        """Share of the scan order that is saved from its beginning on, without a gap."""
        gaps = ~self.saved[self.owner, self.place]
        return float(np.argmax(gaps)) / len(gaps) if gaps.any() else 1.0

    def _note(self, worker: _Worker, segment: _Segment, done: int, saved: float) -> None:
        if self.keeps_trace:
            ends = (segment.start + segment.ends[:done]).tolist()
            starts = [segment.start, *ends]
            for unit, start, end in zip(segment.units[:done].tolist(), starts, ends, strict=False):
                self.outcome.trace.append(Computed(worker.number, unit, start, end, saved))

    # ---------------------------------------------------------------- the end

    def _conclude(self) -> Outcome:
        scenario, outcome = self.scenario, self.outcome
        for worker in self.workers:
            for segment in self._under_way(worker):  # it was computed, and came to be in the part of somebody else
                passed = min(self.now, outcome.filled) - segment.start
                done = int((segment.ends <= passed).sum())
                self.computed += self._points_of(segment.units[:done])
                self._note(worker, segment, done, math.inf)
            if worker.alive:
                self.life_seconds += self.now - float(self.born[worker.number])
        outcome.missing = self.points_left
        outcome.twice = self.computed - outcome.lost - (scenario.num_points - self.points_left)
        changes, stats, data = self.servers
        end = outcome.seen if math.isfinite(outcome.seen) else self.last_left
        for server in self.servers:
            server.close(max(end, self.now))
        beats = self.life_seconds / scenario.heartbeat
        per_second = scenario.num_workers / scenario.heartbeat
        outcome.changes = beats + changes.served
        outcome.stats = stats.served
        outcome.peak_changes, outcome.peak_stats, outcome.peak_bytes = changes.peak + per_second, stats.peak, data.peak
        sizes = [float(each) for group in self.groups for each in group.sizes[: group.num_parts]]
        outcome.part_sizes = sizes
        outcome.part_bytes = sum(map(self.costs.size, sizes))
        until = outcome.filled if math.isfinite(outcome.filled) else self.now
        times = np.sort(self.part_times)
        outcome.parts = [int(np.searchsorted(times, tenth * until / 10, side="right")) for tenth in range(11)]
        if not outcome.missing:
            if not scenario.sweep:
                outcome.seen = self.last_left
            outcome.merge = merge(
                sizes,
                scenario.num_points,
                scenario.layout,
                self.costs,
                self.files,
                fan_in=scenario.fan_in,
                processes=scenario.num_workers,
            )
        return outcome
