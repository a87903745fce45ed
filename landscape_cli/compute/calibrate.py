"""A short calibration: which engine, how many examples and how many points at a time are fastest here."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from landscape_cli.compute.device import is_out_of_memory
from landscape_cli.compute.engines.contract import Engine, UnsupportedError
from landscape_cli.compute.engines.sequential import has_convolutions
from landscape_cli.compute.engines.table import ENGINES
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.precision import arithmetic
from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates
from landscape_cli.compute.worker import Worker
from landscape_cli.config import RuntimeConfig
from landscape_cli.errors import EvaluationError

# Of the predicted time of the scan; short scans get up to 2 s, but never more than a quarter of it.
_SHARE, _SECONDS, _SHORT_SHARE = 0.02, 2.0, 0.25
# Shorter scans are not calibrated: the same command gives the same bits there.
_MIN_SECONDS = 1.0
# torch.compile takes about this long (10 to 70 s measured) and makes convolutions with BatchNorm up to twice as fast:
# it is tried, outside the budget of the others, where it takes at most a tenth of the scan.
_COMPILE_SECONDS, _COMPILE_SECONDS_PER_LAYER, _COMPILE_SHARE = 10.0, 0.2, 0.1
# Every engine is tried with this chunk; with the two best ones the size is doubled or halved as long as that helps.
_FIRST_CHUNK = {"cpu": 128, "cuda": 2048}
_SMALLEST_CHUNK, _LARGEST_CHUNK = 16, 1 << 16
_HELPS = 0.97
_POINTS_PER_CALL = {"stacked": (8, 32), "mlp": (8, 16), "graphs": (1, 16)}
# Measured on a CPU: vmap is slower than one point after the other for all but the smallest data sets.
_MAX_EXAMPLES_STACKED = {"cpu": 64, "cuda": 8192}
_MAX_EXAMPLES_GRAPHS = 65536
_ROUNDS = 3
_CLOSE = 1.3


def calibrate(
    worker: Worker, runtime: RuntimeConfig, num_points: int, num_processes: int, seconds_left: float = math.inf
) -> list[Plan]:
    """Measure candidates, interleaved, on the first chunk of the largest split.

    Args:
        worker: Whose network and data are used.
        runtime: What the user pins.
        num_points: Points to be evaluated.
        num_processes: That share them.
        seconds_left: After which the scan will be stopped: nothing is tried that does not pay until then.

    Returns:
        Plans from the fastest to the slowest. Where the engine is not pinned, the last one is the reference.

    Raises:
        EvaluationError: The model fails.
    """
    pinned = runtime.engine != "auto"
    engine = runtime.engine if pinned else "sequential"
    default = replace(worker.reference_plan, engine=engine, points_per_call=_points_per_call(runtime, engine)[0])
    stopwatch = _Stopwatch(worker)
    size = _FIRST_CHUNK[worker.device.type]
    reference = stopwatch.candidate(replace(default, engine="sequential", points_per_call=1), size)
    stopwatch.measure(reference)
    predicted = num_points * reference.median / num_processes if reference.seconds else math.inf
    predicted = min(predicted, seconds_left)
    if predicted < _MIN_SECONDS or not reference.seconds:  # no seconds: not even that fits into memory
        return [default]
    stopwatch.budget = max(_SHARE * predicted, min(_SECONDS, _SHORT_SHARE * predicted))
    stopwatch.seconds_per_example = reference.median / worker.num_examples
    kinds = [
        stopwatch.candidate(replace(default, engine=engine, points_per_call=num_points_per_call), size)
        for engine in ([runtime.engine] if pinned else _engines(worker))
        for num_points_per_call in _points_per_call(runtime, engine)
    ]
    reference.seconds.clear()  # it was the first of all, and cold
    stopwatch.compete([reference, *kinds])
    ranked = _ranked(kinds if pinned else [reference, *kinds])
    best = [_climb(stopwatch, each) for each in ranked[:2] if each.is_close_to(ranked[0])]
    stopwatch.compete(best)
    candidates = [*best, *ranked]
    if not pinned and _is_worth_compiling(worker, predicted) and best:
        compiled = stopwatch.candidate(replace(default, engine="compiled", points_per_call=1), _ranked(best)[0].size)
        stopwatch.budget = math.inf  # once, and not at every size: it takes much longer than all others together
        stopwatch.compete([compiled], num_rounds=2)
        candidates.append(compiled)
    return [*(each.plan for each in _ranked(candidates)), default]


def _climb(stopwatch: _Stopwatch, start: _Candidate) -> _Candidate:
    """Double the chunk as long as that helps; if it does not help at all, halve it as long as that does."""
    if start.plan.engine == "compiled":  # every size would be compiled anew
        return start
    for factor in (2.0, 0.5):
        best = start
        while True:
            other = stopwatch.candidate(best.plan, int(best.size * factor))
            if other.plan == best.plan or not _SMALLEST_CHUNK <= other.size <= _LARGEST_CHUNK:
                break
            stopwatch.compete([best, other], num_rounds=2)
            if not other.seconds or other.median > _HELPS * best.median:
                break
            best = other
        if best is not start:
            return best
    return start


def _engines(worker: Worker) -> list[str]:
    """The engines worth trying, besides `sequential` and `compiled`."""
    kind, largest = worker.device.type, max(len(split) for split in worker.splits.values())
    worth = {
        "channels_last": True,
        "folded": True,
        "mlp": True,
        "stacked": largest <= _MAX_EXAMPLES_STACKED[kind],
        "graphs": kind == "cuda" and largest <= _MAX_EXAMPLES_GRAPHS,
    }
    return [engine for engine, is_worth in worth.items() if is_worth]


def _is_worth_compiling(worker: Worker, predicted: float) -> bool:
    if worker.device.type == "cpu" and not has_convolutions(worker.network.model):
        return False  # there is hardly anything to fuse: a ViT gained 3 % for 30 s of compiling
    num_layers = sum(not any(True for _ in module.children()) for module in worker.network.model.modules())
    return _COMPILE_SECONDS + _COMPILE_SECONDS_PER_LAYER * num_layers <= _COMPILE_SHARE * predicted


def _points_per_call(runtime: RuntimeConfig, engine: str) -> Sequence[int]:
    choices = _POINTS_PER_CALL.get(engine, (1,))
    return (runtime.points_per_call,) if runtime.points_per_call != "auto" and choices != (1,) else choices


@dataclass
class _Candidate:
    """A plan in chunks of ``size`` examples, and the seconds that one point takes with it, in each round."""

    plan: Plan
    size: int
    engine: Engine | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def is_close_to(self, best: _Candidate) -> bool:
        return self.median <= _CLOSE * best.median


def _ranked(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    return sorted((each for each in candidates if each.seconds), key=lambda each: each.median)


class _Stopwatch:
    """Times candidates on one chunk, within a budget."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        # a split whose batch_size is pinned says nothing about other sizes
        free = {name: split for name, split in worker.splits.items() if split.batches.batch_size is None}
        self._split, self._data = max((free or worker.splits).items(), key=lambda item: len(item[1]))
        self._chunks: dict[int, Chunk] = {}
        self._num_measured = 0
        self.budget = 0.0
        self.seconds_per_example = 0.0

    def candidate(self, plan: Plan, size: int) -> _Candidate:
        """The plan with chunks of ``size`` examples in every split whose ``batch_size`` is not pinned."""
        splits = self._worker.splits.items()
        sizes = {name: min(split.batches.batch_size or size, len(split)) for name, split in splits}
        return _Candidate(replace(plan, chunk_sizes=sizes), size)

    def compete(self, candidates: Sequence[_Candidate], *, num_rounds: int = _ROUNDS) -> None:
        """Measure all candidates in turn until the budget is spent; those that fall behind drop out."""
        order = random.Random(0)  # noqa: S311  # in turn, but not always in the same order
        for each in candidates:
            self._try(each)
        for _ in range(num_rounds - 1):
            ranked = _ranked(candidates)
            alive = [each for each in ranked if each.is_close_to(ranked[0])]
            order.shuffle(alive)
            for each in alive if len(alive) > 1 else ():
                self._try(each)

    def _try(self, candidate: _Candidate) -> None:
        plan = candidate.plan
        num_examples = plan.chunk_sizes[self._split] * plan.points_per_call
        # the first time it runs twice: what is allocated and looked up at the first call does not come again
        expected = num_examples * self.seconds_per_example * (1 if candidate.seconds else 2)
        if expected > self.budget:
            return
        start = time.perf_counter()
        with contextlib.suppress(UnsupportedError, EvaluationError):  # it gets no time, and so is not chosen
            self.measure(candidate)
        self.budget -= time.perf_counter() - start

    def measure(self, candidate: _Candidate) -> None:
        """Time a candidate once; one whose memory does not suffice gets no time."""
        plan, worker = candidate.plan, self._worker
        size = plan.chunk_sizes[self._split]
        try:
            if size not in self._chunks:
                self._chunks[size] = self._data.first(size)
            with torch.inference_mode(), arithmetic(worker.problem.precision, worker.device):
                if candidate.engine is None:
                    candidate.engine = ENGINES[plan.engine](worker.network, plan.points_per_call)
                    self._run(candidate.engine, plan, self._chunks[size])
                moving, working = self._run(candidate.engine, plan, self._chunks[size])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            candidate.engine = None
            torch.cuda.empty_cache()
            return
        num_chunks = worker.num_examples / len(self._chunks[size].targets)
        candidate.seconds.append((moving + working * num_chunks) / plan.points_per_call)

    def _run(self, engine: Engine, plan: Plan, chunk: Chunk) -> tuple[float, float]:
        """Seconds for moving to K points, and for one chunk there."""
        engine.move_to(self._worker.plane(0), [self._somewhere() for _ in range(plan.points_per_call)])
        plane = self._worker.plane(0)  # now in the layout that this engine wants
        start = time.perf_counter()
        engine.move_to(plane, [self._somewhere() for _ in range(plan.points_per_call)])
        if self._worker.device.type == "cuda":
            torch.cuda.synchronize(self._worker.device)
        between = time.perf_counter()
        engine.sums(self._split, chunk).cpu()
        return between - start, time.perf_counter() - between

    def _somewhere(self) -> Coordinates:
        """A point between centre and corner, never the same twice in a row."""
        self._num_measured += 1
        share = (self._num_measured % 16 + 1) / 16
        return tuple(share * max(axis.coordinates, key=abs) for axis in self._worker.problem.grid.axes)
