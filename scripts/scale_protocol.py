"""Joint scans as a discrete-event simulation: shares, saves, sweeping, stragglers and failures.

Every process is a generator that asks for time, for changes and stats of the file system, and for bytes. What it
assumes where the protocol leaves a choice is in docs/scale.md.
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
from scripts.scale_files import CHANGES_PER_SAVE, Filesystem, Layout, Merge, Shared, merge, stored

# Saving, and looking at the parts of others, take at most a sixth of the time.
PAUSE_PER_COST = 5.0
# Seconds between saves where they cost less.
SAVE_EVERY = 1.0
# Units at the head of the list of a live process that are left to it, and heartbeats without which it counts as dead.
HEAD, PATIENCE = 2, 5
# With more processes than these a heartbeat is as many times slower, so that there are no more of them.
HEARTBEATS_PER_SECOND = 100.0
TIME, CHANGES, STATS, BYTES = range(4)
Request = tuple[int, float]
# A pause that is as long as so many units shall not be one unit longer by rounding.
_ROUNDING = 1 - 1e-9


@dataclass(frozen=True)
class Scenario:
    """A scan, who does it, and what happens to them.

    Attributes:
        num_points, points_per_unit: Of the grid; evaluated together.
        num_workers: W.
        seconds_per_point: On a worker that is not slow; the mean.
        spread: Standard deviation of the logarithm of the time of a unit, lognormal; 0 for equal times.
        order: Unit u belongs to worker u mod W (``"strides"``), or each worker has one block of them.
        sweep: Whether a worker that is done takes what others have not done.
        group: Workers that see each other's parts; None for all.
        layout: Of the parts, see `scale_files.stored`.
        fan_in: Of the merge; None for one process.
        save_every: Least seconds between saves while at the own list. What is swept is saved every second, if that was
            longer: others wait for it.
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
class _UnderWay:
    """Units that a worker computes, or has computed and is saving."""

    start: float
    units: NDArray[np.int64]
    ends: NDArray[np.float64]  # of each, in seconds after the start
    is_own: bool
    points: int


class _Worker:
    """What the others, and the disk, know of a worker, and what it is doing."""

    def __init__(self, number: int, units: NDArray[np.int64], cumulative: NDArray[np.float64], factor: float) -> None:
        self.number, self.units, self.cumulative, self.factor = number, units, cumulative, factor
        self.life = 0
        self.alive = False
        self.process: Iterator[Request] | None = None
        self.under_way: _UnderWay | None = None
        self.saved_own = 0  # units of the own list, from its head
        self.share = 0  # points of the own list
        self.own, self.swept = 0, 0  # points in the part
        self.save_cost = 0.0
        self.seen_at = -math.inf
        self.has_part = False


class _Simulation:
    """The state of everything; the methods that yield are what one process does."""

    def __init__(self, scenario: Scenario, costs: Costs, files: Filesystem, *, trace: bool) -> None:
        self.scenario, self.costs, self.files = scenario, costs, files
        self.image = costs.image
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
        self.group = scenario.group or scenario.num_workers
        num_groups = -(-scenario.num_workers // self.group)
        self.group_left = np.bincount(np.arange(scenario.num_workers) // self.group, self.left, num_groups)
        self.groups_seen: set[int] = set()
        self.points_left = scenario.num_points
        self.computed = 0
        self.part_times: list[float] = []
        self.leftover: list[float] = []
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
        owner, place = self._owners(num, workers)
        self.owner, self.place = owner, place
        counts = np.bincount(owner, minlength=workers)
        # HEAD columns more, so that the head of every list lies inside; what is no unit counts as saved
        self.saved = np.arange(counts.max() + HEAD)[None] >= counts[:, None]
        self.left = counts.astype(np.int64)
        self.first_unsaved = np.zeros(workers, dtype=np.int64)
        self.last_saved = np.full(workers, -math.inf)
        self.size = np.zeros(workers)  # of the parts, as points of a dense file; what is not there has none
        self.sign_of_life = np.zeros(workers)  # inf while alive
        self.workers = []
        by_owner = np.argsort(owner, kind="stable")
        ends = np.cumsum(counts)
        for number, (end, count, factor) in enumerate(
            zip(ends.tolist(), counts.tolist(), factors.tolist(), strict=True)
        ):
            units = by_owner[end - count : end]
            cumulative = np.concatenate([[0.0], np.cumsum(seconds[units] * factor)])
            worker = _Worker(number, units, cumulative, factor)
            worker.share = self._points_of(units)
            self.workers.append(worker)

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
        events, (changes, stats, data), num_groups = self.events, self.servers, len(self.group_left)
        while len(self.groups_seen) < num_groups:  # or until nobody has anything to do
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
        self.sign_of_life[worker.number] = math.inf
        worker.seen_at = -math.inf
        worker.process = self._live(worker)
        if not math.isinf(self.scenario.hours_between_failures):
            self._at(
                self.now + self.rng.exponential(3600 * self.scenario.hours_between_failures),
                "fail",
                worker.number,
                worker.life,
            )
        self._resume(worker)

    def _resume(self, worker: _Worker) -> None:
        """Go on until the worker has to wait for something."""
        assert worker.process is not None
        for what, amount in worker.process:
            if amount <= 0 or (what != TIME and self.servers[what - 1].is_free):
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
        self.sign_of_life[worker.number] = self.last_left = self.now
        self.life_seconds += self.now - float(self.born[worker.number])

    def _end(self, worker: _Worker, *, back_after: float) -> None:
        """Kill a worker, with all that is not saved."""
        under_way = worker.under_way
        if under_way is not None:
            passed = min(self.now - under_way.start, float(under_way.ends[-1]))
            done = int((under_way.ends <= passed).sum())
            lost = self._points_of(under_way.units[:done])
            self.computed += lost
            self.outcome.lost += lost
            self.outcome.lost_seconds += passed
            self._note(worker, under_way, done, math.inf)
            worker.under_way = None
        self._leave(worker)
        self._return(worker, back_after)

    def _return(self, worker: _Worker, after: float) -> None:
        if not math.isinf(after):
            self._at(self.now + after, "begin", worker.number, worker.life)

    def _preempt(self, worker: _Worker) -> None:
        """SIGTERM: what is finished is saved; whoever has not done so after the time of grace is killed."""
        if not worker.alive:
            return
        under_way = worker.under_way
        worker.life += 1
        if under_way is not None:
            passed = self.now - under_way.start
            done = int((under_way.ends <= passed).sum())
            begun = float(under_way.ends[done - 1]) if done else 0.0
            self.outcome.lost_seconds += min(passed, float(under_way.ends[-1])) - begun
            units = under_way.units[:done]
            kept = _UnderWay(under_way.start, units, under_way.ends[:done], under_way.is_own, self._points_of(units))
            worker.under_way = kept if done else None
        worker.process = self._farewell(worker)
        self._at(self.now + self.scenario.grace, "kill", worker.number, worker.life)
        self._resume(worker)

    # ---------------------------------------------------------------- what a process does

    def _live(self, worker: _Worker) -> Iterator[Request]:
        yield from self._start(worker)
        yield from self._do_own(worker)
        if self.scenario.sweep:
            yield from self._sweep(worker)

    def _start(self, worker: _Worker) -> Iterator[Request]:
        """Read the file with the plan, and the part of one's own that an earlier process has left; make a part."""
        scenario, costs = self.scenario, self.costs
        sizes = [float(scenario.num_points) if scenario.layout == "dense" else 0.0]
        if worker.has_part:
            sizes.append(float(self.size[worker.number]))
            self.leftover.append(sizes[-1])
            worker.has_part = False
        read = sum(map(costs.size, sizes))
        yield STATS, 1.0
        yield BYTES, read
        self.outcome.bytes_read += read
        yield TIME, sum(map(costs.load, sizes)) + costs.order(scenario.num_points)
        yield from self._save(worker)

    def _do_own(self, worker: _Worker) -> Iterator[Request]:
        """What is left of the own list, from its head."""
        done = worker.saved_own
        ends = worker.cumulative[done + 1 :] - worker.cumulative[done]
        yield from self._do(worker, worker.units[done:], ends, is_own=True)

    def _do(
        self, worker: _Worker, units: NDArray[np.int64], ends: NDArray[np.float64], *, is_own: bool
    ) -> Iterator[Request]:
        """Compute units, and save whenever it is time to.

        Args:
            worker: Who does it.
            units: In this order.
            ends: Of each, in seconds of work.
            is_own: Whether they are those of the own list.
        """
        begin, worked = 0, 0.0
        while begin < len(units):
            least = self.scenario.save_every if is_own else min(self.scenario.save_every, SAVE_EVERY)
            pause = max(least, PAUSE_PER_COST * worker.save_cost) * _ROUNDING
            end = min(max(int(ends.searchsorted(worked + pause)) + 1, begin + 1), len(units))
            done = ends[begin:end] - worked
            worker.under_way = _UnderWay(self.now, units[begin:end], done, is_own, self._points_of(units[begin:end]))
            yield from self._save(worker, after=float(done[-1]))
            begin, worked = end, float(ends[end - 1])

    def _sweep(self, worker: _Worker) -> Iterator[Request]:
        """What others have not done, in a random order, until nothing is missing."""
        scenario, group = self.scenario, worker.number // self.group
        while True:
            begin = self.now
            yield from self._look(worker)
            cost = self.now - begin
            if not self.group_left[group]:
                self.groups_seen.add(group)
                self.outcome.seen = self.now
                return
            pause = max(SAVE_EVERY, PAUSE_PER_COST * (cost + worker.save_cost))
            of_one = worker.factor * scenario.points_per_unit * scenario.seconds_per_point
            units = self._choose(worker, max(1, math.ceil(pause / of_one)))
            if not len(units):
                yield TIME, max(scenario.heartbeat, PAUSE_PER_COST * cost)
                continue
            yield from self._do(worker, units, np.cumsum(self.seconds[units] * worker.factor), is_own=False)

    def _look(self, worker: _Worker) -> Iterator[Request]:
        """Ask for the status of all parts, and read those that are new since the last look.

        What it then knows is what is in them when all are read: with long looks that favours the protocol.
        """
        first = worker.number // self.group * self.group
        members = slice(first, first + self.group)
        self.outcome.looks += 1
        changed = self.last_saved[members] > worker.seen_at
        changed[worker.number - first] = False
        num, points = int(changed.sum()), float(self.size[members][changed].sum())
        worker.seen_at = self.now
        yield STATS, 1.0 + len(changed) + num  # the folder, the status of each part, opening those that are new
        read = num * self.costs.size.fixed + self.costs.size.per_point * points
        yield BYTES, read
        self.outcome.bytes_read += read
        load = num * self.costs.load.fixed + self.costs.load.per_point * points
        yield TIME, load + self.costs.unite.per_point * points

    def _save(self, worker: _Worker, after: float = 0.0) -> Iterator[Request]:
        """Replace the part with one that has what is under way, too, when that is done."""
        scenario, costs, begin, under_way = self.scenario, self.costs, self.now + after, worker.under_way
        own, swept = worker.own, worker.swept
        if under_way is not None:
            if under_way.is_own:
                own += under_way.points
            else:
                swept += under_way.points
        size = stored(scenario.layout, scenario.num_points, worker.share, own, swept)
        yield TIME, after + self.image(size) + costs.fsync
        yield CHANGES, float(CHANGES_PER_SAVE)
        yield BYTES, costs.size(size)
        self.outcome.saves += 1
        self.outcome.bytes_written += costs.size(size)
        if not worker.has_part:
            worker.has_part = True
            self.part_times.append(self.now)
        worker.own, worker.swept = own, swept
        worker.save_cost = self.now - begin
        self.size[worker.number] = size
        self.last_saved[worker.number] = self.now
        if under_way is not None:
            worker.under_way = None
            self._enter(worker, under_way)

    def _farewell(self, worker: _Worker) -> Iterator[Request]:
        if worker.under_way is not None:
            yield from self._save(worker)
        self._leave(worker)
        self._return(worker, self.scenario.back_after)

    # ---------------------------------------------------------------- points

    def _enter(self, worker: _Worker, under_way: _UnderWay) -> None:
        """What was under way is in a part."""
        units = under_way.units
        if under_way.is_own:
            row = self.saved[worker.number, worker.saved_own : worker.saved_own + len(units)]
            new = ~row
            row[...] = True
            num = int(np.count_nonzero(new))
            self.left[worker.number] -= num
            self.group_left[worker.number // self.group] -= num
        else:
            owners, places = self.owner[units], self.place[units]
            new = ~self.saved[owners, places]
            self.saved[owners, places] = True
            num = int(np.count_nonzero(new))
            np.subtract.at(self.left, owners[new], 1)
            np.subtract.at(self.group_left, owners[new] // self.group, 1)
        self.computed += under_way.points
        self.points_left -= under_way.points if num == len(units) else self._points_of(units[new])
        if under_way.is_own:
            worker.saved_own += len(units)
            self.first_unsaved[worker.number] = worker.saved_own
        self._note(worker, under_way, len(units), self.now)
        if math.isnan(self.outcome.head_at_half) and 2 * self.points_left <= self.scenario.num_points:
            self.outcome.head_at_half = self._head()
        if not self.points_left and math.isinf(self.outcome.filled):
            self.outcome.filled = self.now

    def _choose(self, worker: _Worker, most: int) -> NDArray[np.int64]:
        """Some units of the group that are in no part and are not left to their owners, at random."""
        first = worker.number // self.group * self.group
        numbers = np.arange(first, min(first + self.group, len(self.workers)))
        heads = self.first_unsaved[numbers, None] + np.arange(HEAD)
        in_head = ~self.saved[numbers[:, None], np.minimum(heads, self.saved.shape[1] - 1)]
        is_fresh = self.sign_of_life[numbers] + PATIENCE * self.scenario.heartbeat > self.now
        free = self.left[numbers] - np.where(is_fresh, in_head.sum(axis=1), 0)
        ends = np.cumsum(free)
        total = int(ends[-1])
        drawn = self.rng.choice(total, min(most, total), replace=False) if total else np.arange(0)
        found = []
        for each in drawn.tolist():
            index = int(np.searchsorted(ends, each, side="right"))
            number = first + index
            start = int(self.first_unsaved[number]) + (HEAD if is_fresh[index] else 0)
            place = start + int(np.flatnonzero(~self.saved[number, start:])[each - int(ends[index] - free[index])])
            found.append(int(self.workers[number].units[place]))
        return np.array(found, dtype=np.int64)

    def _points_of(self, units: NDArray[np.int64]) -> int:
        num = len(units) * self.scenario.points_per_unit
        return num - self.short_of if self.short_of and self.last_unit in units else num

    def _head(self) -> float:
        """Share of the scan order that is saved from its beginning on, without a gap."""
        gaps = ~self.saved[self.owner, self.place]
        return float(np.argmax(gaps)) / len(gaps) if gaps.any() else 1.0

    def _note(self, worker: _Worker, under_way: _UnderWay, done: int, saved: float) -> None:
        if self.keeps_trace:
            ends = (under_way.start + under_way.ends[:done]).tolist()
            starts = [under_way.start, *ends]
            for unit, start, end in zip(under_way.units[:done].tolist(), starts, ends, strict=False):
                self.outcome.trace.append(Computed(worker.number, unit, start, end, saved))

    # ---------------------------------------------------------------- the end

    def _conclude(self) -> Outcome:
        scenario, outcome = self.scenario, self.outcome
        for worker in self.workers:
            if worker.under_way is not None:  # what was begun before all was there, and was there before it was saved
                passed = min(self.now, outcome.filled) - worker.under_way.start
                done = int((worker.under_way.ends <= passed).sum())
                self.computed += self._points_of(worker.under_way.units[:done])
                self._note(worker, worker.under_way, done, math.inf)
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
        free = changes.is_free
        outcome.changes = beats + (CHANGES_PER_SAVE * outcome.saves if free else changes.served)
        outcome.stats = stats.served
        outcome.peak_changes, outcome.peak_stats, outcome.peak_bytes = changes.peak + per_second, stats.peak, data.peak
        sizes = [float(self.size[worker.number]) for worker in self.workers if worker.has_part] + self.leftover
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
