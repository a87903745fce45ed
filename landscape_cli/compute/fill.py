"""The loop: hand out → evaluate → fill → save."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.observer import Observer, Stage
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.team import Task, Team
from landscape_cli.compute.worker import Worker
from landscape_cli.errors import OutputError
from landscape_cli.grid import Grid
from landscape_cli.storage import remove_leftovers, save_surface
from landscape_cli.surface import BoolArray, Surface

# A save takes about 10 ms, 1 % of the default cadence of 1 s. Where it takes over 200 ms (a very large surface, a slow
# disk), it is done less often, so that saving never takes more than a sixth of the time.
_MIN_SECONDS_PER_SAVE_SECOND = 5.0
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
) -> None:
    """Evaluate the pending points of a surface, here and by the helpers, and save what is finished.

    Args:
        surface: Gets the points, and its provenance the plan where that is halved.
        worker: Has the grid of the stage.
        team: Idle.
        saver: Of the whole surface.
        observer: Is told how many points are done.
        should_stop: Asked between batches.
        seconds_per_point: As measured.
        stage: Which points: those of the grid, or those of ``surface.radius``.
    """
    whole, surface = surface, _part(surface, stage)
    points_per_block = worker.plan.points_per_call * _groups_per_block(worker, seconds_per_point)
    blocks = pending_blocks(surface.grid, surface.evaluated, points_per_block)
    size = int(_SECONDS_PER_TASK / max(seconds_per_point * points_per_block, 1e-6))
    size = min(max(1, size), _MAX_BLOCKS_PER_TASK)
    tasks: deque[Task] = deque(blocks[start : start + size] for start in range(0, len(blocks), size))
    follow = partial(_follow, whole, stage, worker)
    told = surface.num_evaluated
    team.start()
    saver.save()
    try:
        while (tasks or team.is_busy) and not should_stop():
            team.hand_out(tasks, worker.plan, stage)
            if tasks and not _work(tasks, surface, worker, follow, should_stop):
                break
            _collect(team, tasks, surface, follow, timeout=0.0 if tasks else _SECONDS_PER_TASK)
            saver.after_points()
            told = _tell(observer, surface, stage, told)
        team.stop()
        deadline = time.perf_counter() + _SECONDS_TO_STOP
        while team.is_busy and time.perf_counter() < deadline:
            _collect(team, tasks, surface, follow, timeout=_SECONDS_PER_TASK)
        _tell(observer, surface, stage, told)
    except BaseException:  # whatever ends the scan, what is finished stays
        with suppress(OutputError):  # the first error says more
            saver.save()
        raise
    saver.save()


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


def pending_blocks(grid: Grid, evaluated: BoolArray, size: int) -> list[list[int]]:
    """The scan order, cut into blocks of at most ``size`` points of one slice; those with anything left to do.

    Where the cuts are depends on grid and size alone: a point has the same neighbours in its block, and so the same
    bits, however often the scan was interrupted.
    """
    order = grid.scan_order()
    points_per_slice = grid.num_points // grid.num_slices
    slices = order // points_per_slice
    ends = [*(np.flatnonzero(np.diff(slices)) + 1).tolist(), len(order)]
    blocks, begin = [], 0
    for end in ends:
        blocks += [order[start : min(start + size, end)] for start in range(begin, end, size)]
        begin = end
    is_done = evaluated.ravel()
    return [block.tolist() for block in blocks if not is_done[block].all()]


def _work(
    tasks: deque[Task],
    surface: Surface,
    worker: Worker,
    follow: Callable[[Plan], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Do the first task here; False when stopped."""
    for block in tasks.popleft():
        values = worker.measure(block, should_stop)
        if values is None:
            return False
        _enter(surface, zip(block, values, strict=True))
        follow(worker.plan)
    return True


def _collect(
    team: Team, tasks: deque[Task], surface: Surface, follow: Callable[[Plan], None], *, timeout: float
) -> None:
    for done in team.collect(tasks, timeout):
        _enter(surface, done.values)
        follow(done.plan)


def _tell(observer: Observer, surface: Surface, stage: Stage, before: int) -> int:
    """Tell how many points are done if there are more than before; returns how many."""
    now = surface.num_evaluated
    if now > before:
        observer.progress(stage, now, surface.grid.num_points)
    return now


def _enter(surface: Surface, values: Iterable[tuple[int, Values]]) -> None:
    for point, found in values:
        if not surface.evaluated.flat[point]:  # a block may hold points that an earlier run has finished
            surface.update(point, found)


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
    """Saves so often that a killed process loses at most ``save_every`` seconds of finished work, or one point."""

    def __init__(self, surface: Surface, output: Path | None, save_every: float, *, is_saved: bool) -> None:
        self._surface, self._output, self._save_every = surface, output, save_every
        self._last = self._cost = 0.0
        self._saved = _num_finished(surface) if is_saved else None  # a complete file stays untouched
        if output is not None:
            remove_leftovers(output)

    def after_points(self) -> None:
        """Save if it is time to."""
        if time.perf_counter() - self._last >= max(self._save_every, self._cost * _MIN_SECONDS_PER_SAVE_SECOND):
            self.save()

    def save(self, *, always: bool = False) -> None:
        """Save what is not saved yet: more points, or where ``always`` is set whatever else has changed."""
        if self._output is None or (self._saved == _num_finished(self._surface) and not always):
            return
        start = time.perf_counter()
        save_surface(self._surface, self._output)
        self._last = time.perf_counter()
        self._cost = self._last - start
        self._saved = _num_finished(self._surface)


def _num_finished(surface: Surface) -> int:
    """How much of a surface is final, on the grid and beside it."""
    beside = [each for each in (surface.radius, surface.curvature_map) if each is not None]
    records = len(surface.curvature.records) if surface.curvature is not None else 0
    return surface.num_evaluated + sum(each.num_evaluated for each in beside) + records
