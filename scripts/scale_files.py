"""A file system that many processes share, the parts that they leave in it, and what uniting these takes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scripts.scale_costs import BYTES_PER_POINT, Costs

# save_surface makes a file, sets its mode, renames it and syncs the folder; a part is renamed and removed by its merge
CHANGES_PER_SAVE, CHANGES_PER_MERGED = 4, 2
# A part with only the points that it has: the number of a point beside its values, and no mask
BYTES_PER_SPARSE_POINT = BYTES_PER_POINT - 1 + 8
_SECONDS_PER_MARK = 60.0
Layout = Literal["dense", "own", "sparse"]


@dataclass(frozen=True)
class Filesystem:
    """What it can do for all processes together, and for one of them.

    Attributes:
        name: For the tables.
        bandwidth, bandwidth_of_one: Bytes per second, read and written together.
        changes: Per second: files made, renamed, removed or touched, folders synced.
        stats: Per second: status of files asked for.
        operations_of_one: Changes, and stats, per second.
    """

    name: str
    bandwidth: float
    bandwidth_of_one: float
    changes: float
    stats: float
    operations_of_one: float

    @classmethod
    def nothing(cls) -> Filesystem:
        """One that takes no time, for what can be said exactly."""
        return cls("none", *(math.inf,) * 5)

    def seconds(self, num_bytes: float, at_once: int = 1) -> float:
        """For one of several processes that all read or write as many bytes."""
        return num_bytes / min(self.bandwidth_of_one, self.bandwidth / at_once)


class Shared:
    """A server that divides its rate equally among those who wait for it.

    Served in virtual time: what each of those who wait has got so far is one number, so an arrival or a departure costs
    the logarithm of how many there are.

    Args:
        rate: Units per second for all.
        rate_of_one: For one alone.

    Attributes:
        due: When the next one is served; inf for nobody.
        served: Units so far.
        peak: Units per second, the mean over the busiest minute.
    """

    def __init__(self, rate: float, rate_of_one: float) -> None:
        self.is_free = math.isinf(rate) and math.isinf(rate_of_one)
        self.due = math.inf
        self.served = self.peak = 0.0
        self._rate, self._rate_of_one = rate, rate_of_one
        self._now = self._got = 0.0
        self._mark = (0.0, 0.0)
        self._waiting: list[tuple[float, int, int, int]] = []
        self._arrivals = 0

    def add(self, now: float, amount: float, who: int, life: int) -> None:
        """Someone wants this many units."""
        self._advance(now)
        self._arrivals += 1
        heapq.heappush(self._waiting, (self._got + amount, self._arrivals, who, life))
        self._set_due()

    def pop(self) -> tuple[int, int]:
        """Who is served at `due`."""
        self._advance(self.due)
        got, _, who, life = heapq.heappop(self._waiting)
        self._got = got  # not a rounding error less
        self._set_due()
        return who, life

    def close(self, now: float) -> None:
        """Count what has been served until now, also in a minute that has not passed."""
        self._advance(now)
        if not self._mark[0] and now:
            self.peak = max(self.peak, self.served / now)

    def _advance(self, now: float) -> None:
        waiting, passed = len(self._waiting), now - self._now
        if waiting and passed > 0:
            each = min(self._rate_of_one, self._rate / waiting)
            self._got += each * passed
            self.served += each * passed * waiting
            if passed >= _SECONDS_PER_MARK:
                self.peak = max(self.peak, each * waiting)
        self._now = now
        since, before = self._mark
        if now - since >= _SECONDS_PER_MARK:
            self.peak = max(self.peak, (self.served - before) / (now - since))
            self._mark = now, self.served

    def _set_due(self) -> None:
        waiting = len(self._waiting)
        if not waiting:
            self._got, self.due = 0.0, math.inf  # so that it does not grow until it is coarse
            return
        left = max(self._waiting[0][0] - self._got, 0.0)
        self.due = self._now + left / min(self._rate_of_one, self._rate / waiting)


# ---------------------------------------------------------------- parts


def stored(layout: Layout, num_points: int, share: int, own: int, swept: int) -> float:
    """How large a part is, as the number of points of a dense file with as many bytes.

    Args:
        layout: ``"dense"``, an ordinary surface file of the whole grid; ``"own"``, one of the rows that are the
            process's own, and the points of others one by one; ``"sparse"``, all points one by one.
        num_points: Of the grid.
        share: That are the process's own.
        own: Of these finished.
        swept: Of others finished.
    """
    if layout == "dense":
        return float(num_points)
    dense, single = (share, swept) if layout == "own" else (0, own + swept)
    return dense + single * BYTES_PER_SPARSE_POINT / BYTES_PER_POINT


# ---------------------------------------------------------------- merge


@dataclass(frozen=True)
class Merge:
    """Uniting parts into one file, by one process or by many in a tree.

    Attributes:
        seconds: From the first byte read to the last part removed.
        levels: Of the tree; 1 for one process.
        num_bytes: Read and written.
        memory: Bytes that one process holds at its peak: while it saves what is united, or beside that loads a part.
    """

    seconds: float
    levels: int
    num_bytes: float
    memory: float


def merge(
    parts: Sequence[float],
    num_points: int,
    layout: Layout,
    costs: Costs,
    files: Filesystem,
    *,
    fan_in: int | None,
    processes: int,
) -> Merge:
    """Time to unite parts into one dense file, read it back, and see that it has all of them, before they are removed.

    Args:
        parts: Their sizes, see `stored`.
        num_points: Of the grid.
        layout: Of what the tree writes on the way; the file at the end is dense.
        costs: Of files.
        files: Where they lie.
        fan_in: How many files one process unites; None for all of them.
        processes: That take part in a tree at once.
    """
    seconds = num_bytes = memory = 0.0
    num, mean, levels = len(parts), sum(parts) / max(len(parts), 1), 0
    while levels == 0 or num > 1:
        inputs = num if fan_in is None else min(fan_in, num)
        groups = math.ceil(num / inputs)
        at_once = min(groups, processes)
        output = num_points if groups == 1 or layout == "dense" else min(inputs * mean, num_points)
        reading = inputs * (files.seconds(costs.size(mean), at_once) + costs.load(mean) + costs.unite(mean))
        writing = costs.image(output) + costs.fsync + files.seconds(costs.size(output), at_once)
        reading_back = files.seconds(costs.size(output), at_once) + costs.load(output) + costs.unite(output)
        changes = inputs * CHANGES_PER_MERGED + CHANGES_PER_SAVE
        renaming = changes / min(files.operations_of_one, files.changes / at_once)
        seconds += math.ceil(groups / at_once) * (reading + writing + reading_back + renaming)
        num_bytes += num * costs.size(mean) + 2 * groups * costs.size(output)
        saving, loading = (costs.memory.get(key, 0.0) for key in ("save", "load"))
        memory = max(memory, saving * output, BYTES_PER_POINT * output + loading * mean)
        num, mean, levels = groups, output, levels + 1
    return Merge(seconds, levels, num_bytes, memory)
