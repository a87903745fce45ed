"""The loop: hand out → evaluate → fill → save."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from landscape_cli.compute.crew import Crew
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.observer import Observer, Stage
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.team import Block, Task, Team
from landscape_cli.compute.units import Units
from landscape_cli.compute.worker import Worker
from landscape_cli.errors import OutputError
from landscape_cli.storage import remove_leftovers, save_surface
from landscape_cli.surface import Surface

# A save takes about 10 ms, 1 % of the default cadence of 1 s. Where it takes over 170 ms (a very large surface, a slow
# disk), it is done less often, so that saving never takes more than a sixth of the time.
_MIN_SECONDS_PER_SAVE_SECOND = 6.0
# A round, and a save, may take as long as the longest one lately; at every round a twentieth of that is forgotten.
_MEMORY = 0.95
# Work is handed out in pieces that take about this long: handing out costs 0.2 ms, and what is under way can be lost.
_SECONDS_PER_TASK = 0.1
_MAX_BLOCKS_PER_TASK = 256
_SECONDS_TO_STOP = 10.0
# Data that are streamed come once for several points; a block that is under way when the process dies is lost.
_GROUPS_PER_PASS = 8
_MAX_SECONDS_PER_PASS = 20.0


def fill(
    surface: Surface,
    worker: Worker,
    team: Team,
    saver: Saver,
    observer: Observer,
    should_stop: Callable[[], bool],
    seconds_per_point: float,
    stage: Stage = "points",
    crew: Crew | None = None,
) -> None:
    """Evaluate the pending points of a surface, here, by the helpers and by other processes, and save what is finished.

    Args:
        surface: Gets the points, and its provenance the plan where that is halved.
        worker: Has the grid of the stage.
        team: Idle.
        saver: Of what this process has computed.
        observer: Is told how many points are done.
        should_stop: Asked between batches.
        seconds_per_point: As measured.
        stage: Which points: those of the grid, or those of ``surface.radius``.
        crew: The other processes; None where there are none.
    """
    whole, surface = surface, _part(surface, stage)
    supply = _Supply(Units(surface, worker.plan.points_per_call), crew, seconds_per_point, worker, len(team) + 1)
    tasks = supply.first()
    enter = partial(_enter, surface, crew, stage)
    follow = partial(_follow, whole, stage, worker)
    told = surface.num_evaluated
    team.start()
    saver.save()
    try:
        while not should_stop():
            if not tasks and not team.is_busy:
                more = supply.more(saver)
                if more is None:
                    break
                tasks.extend(more)
            team.hand_out(tasks, worker.plan, stage)
            if tasks and not _work(tasks, worker, enter, follow, should_stop):
                break
            _collect(team, tasks, enter, follow, timeout=0.0 if tasks else _SECONDS_PER_TASK)
            saver.after_points()
            if crew is not None and crew.look():
                supply.prune(tasks)
            told = _tell(observer, surface, stage, told)
        team.stop()
        deadline = time.perf_counter() + _SECONDS_TO_STOP
        while team.is_busy and time.perf_counter() < deadline:
            _collect(team, tasks, enter, follow, timeout=_SECONDS_PER_TASK)
        _tell(observer, surface, stage, told)
    except BaseException:  # whatever ends the scan, what is finished stays
        with suppress(OutputError):  # the first error says more
            saver.save()
        raise
    saver.save()


class _Supply:
    """What there is to do, in tasks that take about as long as it costs little to hand them out.

    Args:
        units: Of the grid.
        crew: The other processes, if there are any.
        seconds_per_point: As measured.
        worker: Whose plan and data decide how many units are done in one go.
        num_workers: This process and its helpers.
    """

    def __init__(
        self, units: Units, crew: Crew | None, seconds_per_point: float, worker: Worker, num_workers: int
    ) -> None:
        self._units, self._crew, self._num_workers = units, crew, num_workers
        self._units_per_block = _groups_per_block(worker, seconds_per_point)
        seconds = max(seconds_per_point * worker.plan.points_per_call, 1e-6)
        self._units_per_second = max(1, int(1.0 / seconds))
        self._seconds_per_unit = seconds
        self._size = min(max(1, int(_SECONDS_PER_TASK / (seconds * self._units_per_block))), _MAX_BLOCKS_PER_TASK)

    def first(self) -> deque[Task]:
        """What is missing; of several processes this one's share of it."""
        missing = self._units.missing()
        if self._crew is not None:
            missing = np.intersect1d(missing, self._crew.own_units(self._units))
        return deque(self._tasks(missing))

    def more(self, saver: Saver) -> list[Task] | None:
        """What to do besides; nothing where it is better to wait a moment, None where there is nothing."""
        if self._crew is None:
            return None
        saver.save()  # so that the others know
        num_ahead = 2 * self._num_workers * self._size * self._units_per_block
        seconds = num_ahead * self._seconds_per_unit / self._num_workers
        found = self._crew.sweep(self._units, num_ahead, self._units_per_second * self._num_workers, seconds)
        return None if found is None else self._tasks(found)

    def prune(self, tasks: deque[Task]) -> None:
        """Leave out what others have done meanwhile."""
        done = self._units.is_done
        kept = [[block for block in task if not done(block)] for task in tasks]
        tasks.clear()
        tasks.extend(task for task in kept if task)

    def _tasks(self, units: Iterable[int]) -> list[Task]:
        blocks: list[Block] = []
        for _, group in groupby(units, key=self._units.slices.__getitem__):
            of_slice = list(group)
            for start in range(0, len(of_slice), self._units_per_block):
                several = of_slice[start : start + self._units_per_block]
                blocks.append([point for unit in several for point in self._units.points(unit)])
        return [blocks[start : start + self._size] for start in range(0, len(blocks), self._size)]


def _part(surface: Surface, stage: Stage) -> Surface:
    """The surface that a stage fills."""
    found = surface.radius if stage == "radius" else surface
    assert found is not None  # who fills it has made it
    return found


def _groups_per_block(worker: Worker, seconds_per_point: float) -> int:
    """How many points share one pass over the data: several where the data have to be fetched for it."""
    if worker.plan.points_per_call > 1 or all(split.resident for split in worker.splits.values()):
        return 1
    if worker.network.recalibrate is not None:  # for every move, which is dearer than to fetch the data again
        return 1
    affordable = _MAX_SECONDS_PER_PASS / max(seconds_per_point, 1e-6)
    return max(1, min(_GROUPS_PER_PASS, int(affordable)))


def _work(
    tasks: deque[Task],
    worker: Worker,
    enter: Callable[[Iterable[tuple[int, Values]]], None],
    follow: Callable[[Plan], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Do the first task here; False when stopped."""
    for block in tasks.popleft():
        values = worker.measure(block, should_stop)
        if values is None:
            return False
        enter(zip(block, values, strict=True))
        follow(worker.plan)
    return True


def _collect(
    team: Team,
    tasks: deque[Task],
    enter: Callable[[Iterable[tuple[int, Values]]], None],
    follow: Callable[[Plan], None],
    *,
    timeout: float,
) -> None:
    for done in team.collect(tasks, timeout):
        enter(done.values)
        follow(done.plan)


def _tell(observer: Observer, surface: Surface, stage: Stage, before: int) -> int:
    """Tell how many points are done if there are more than before; returns how many."""
    now = surface.num_evaluated
    if now > before:
        observer.progress(stage, now, surface.grid.num_points)
    return now


def _enter(surface: Surface, crew: Crew | None, stage: Stage, values: Iterable[tuple[int, Values]]) -> None:
    for point, found in values:
        if not surface.evaluated.flat[point]:  # a unit may hold points that were finished before
            surface.update(point, found)
            if crew is not None:
                crew.enter(stage, point, found)


def _follow(surface: Surface, stage: Stage, worker: Worker, plan: Plan) -> None:
    """Go on with a plan that was halved, here or by a helper, and write it down for the next run."""
    if plan.is_smaller_than(worker.plan):
        worker.use(plan)
    engine = surface.provenance.engine
    stored = engine if stage == "points" else engine.get(stage)
    stored = stored if isinstance(stored, Mapping) else {}
    now = worker.plan.to_json()
    if any(stored.get(key) != value for key, value in now.items()):
        halved: dict[str, JsonValue] = {**stored, **now, "halved": True}
        engine = halved if stage == "points" else {**engine, stage: halved}
        surface.provenance = replace(surface.provenance, engine=engine)


# ---------------------------------------------------------------- save


class Saver:
    """Saves so often that a killed process loses at most ``save_every`` seconds of finished work, or one point.

    Args:
        surface: Gives what is to be saved, at any time.
        output: Where; None for nowhere.
        save_every: Seconds.
        is_saved: Whether the file has all of it; it then stays untouched.
    """

    def __init__(
        self, surface: Callable[[], Surface], output: Path | None, save_every: float, *, is_saved: bool
    ) -> None:
        self._surface, self._output, self._save_every = surface, output, save_every
        self._last = self._cost = 0.0
        self._longest_round, self._longest_save, self._round_began = _SECONDS_PER_TASK, 0.0, math.inf
        self._saved = _num_finished(surface()) if is_saved else None
        if output is not None:
            remove_leftovers(output)

    def after_points(self) -> None:
        """Save if it is time to: where after the next round the save would be over too late for what came first."""
        now = time.perf_counter()
        self._longest_round = max(now - self._round_began, _MEMORY * self._longest_round)
        self._longest_save = max(self._cost, _MEMORY * self._longest_save)
        self._round_began = now
        early = min(self._save_every / 2, self._longest_round + self._longest_save)
        if now - self._last >= max(self._save_every - early, self._cost * _MIN_SECONDS_PER_SAVE_SECOND):
            self.save()

    def save(self, *, always: bool = False) -> None:
        """Save what is not saved yet: more points, or where ``always`` is set whatever else has changed."""
        surface = self._surface()
        if self._output is None or (self._saved == _num_finished(surface) and not always):
            return
        start = time.perf_counter()
        save_surface(surface, self._output)
        self._last = start
        self._cost = time.perf_counter() - start
        self._saved = _num_finished(surface)


def _num_finished(surface: Surface) -> int:
    """How much of a surface is final, on the grid and beside it."""
    beside = [each for each in (surface.radius, surface.curvature_map) if each is not None]
    records = len(surface.curvature.records) if surface.curvature is not None else 0
    return surface.num_evaluated + sum(each.num_evaluated for each in beside) + records
