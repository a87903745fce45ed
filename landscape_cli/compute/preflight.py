"""Look at the centre from all sides before anything long begins, and choose how the points are evaluated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.evaluate import Evaluator, Values
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.precision import ENGINE_RTOL, REDUCED
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.selfcheck import check_repeats, disagreement, largest_difference
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Expect, Settings
from landscape_cli.errors import CheckpointError, EvaluationError


@dataclass(frozen=True)
class Trial:
    """What a plan gives at the centre and at the far corner of the first slice.

    Attributes:
        centre: Values at the checkpoint.
        corner: Values at the corner.
        seconds: Measured at the corner.
        differences: Where → largest relative difference from the reference; empty for the reference itself.
        reference: What the differences refer to, in words.
        reference_centre: Values of the reference at the checkpoint.
    """

    centre: Values
    corner: Values
    seconds: float
    differences: dict[str, float]
    reference: str
    reference_centre: Values

    def to_json(self, plan: Plan) -> dict[str, JsonValue]:
        """For the surface file."""
        return {
            **plan.to_json(),
            "reference": self.reference,
            "centre": {name: mean for name, (mean, _) in self.centre.items()},
            "reference_centre": {name: mean for name, (mean, _) in self.reference_centre.items()},
            "difference": dict(self.differences),
        }


def check_centre(worker: Worker, settings: Settings, expect: Expect | None = None) -> tuple[Values, float]:
    """Evaluate the centre twice with the plan of the worker.

    Returns:
        The values, and the largest relative difference between the two evaluations (0 on a CPU).

    Raises:
        EvaluationError: The model or a metric fails, the centre is not finite or does not
            repeat itself.
        CheckpointError: The centre is not what `checkpoint.expect` says.
    """
    centre = _centre(worker)
    _check_finite(centre, worker.problem)
    difference = check_repeats(worker, centre)
    if expect is not None:
        is_plain = worker.network.recalibrate is None
        _check_expected(centre, expect, settings.where("checkpoint", "expect"), is_plain=is_plain)
    return centre, difference


def reference_of(plan: Plan) -> Plan:
    """`sequential` in the same chunks and on as many threads."""
    return Plan("sequential", plan.chunk_sizes, num_threads=plan.num_threads)


def choose_plan(worker: Worker, plans: Sequence[Plan], centre: Values, note: Callable[[str], None]) -> Trial:
    """Take the first plan whose values agree with the reference at the centre and at one far corner.

    The reference is `sequential` in the same chunks, in float32 where the precision is a reduced one.

    Args:
        worker: Is left with the plan.
        plans: In the order of preference.
        centre: Values at the checkpoint with the present plan of the worker.
        note: Told what is refused.

    Raises:
        EvaluationError: None of them agrees.
    """
    corner = far_corner(worker.problem)
    precision = worker.problem.precision
    is_reduced = precision in REDUCED
    reasons: list[str] = []
    known = {worker.plan: centre}
    for plan in plans:
        baseline = reference_of(plan)
        if plan == baseline and not is_reduced:
            worker.use(plan)
            at_centre = known.get(plan) or _centre(worker)
            values, seconds = _corner(worker, corner)
            return Trial(at_centre, values, seconds, {}, "itself", at_centre)
        # the reference of the differences is exact; an engine must agree with sequential in the same precision
        expected = _both(worker.evaluator(baseline), worker, corner, known.get(baseline))
        exact = _both(worker.evaluator(baseline, "float32"), worker, corner) if is_reduced else expected
        try:
            worker.use(plan)
            found = [_centre(worker)]
            # the parameters of the model are elsewhere now: an engine that secretly reads them cannot be right
            worker.network.move_to(worker.centre, ())
            values, seconds = _corner(worker, corner)
        except UnsupportedError as error:
            reasons.append(f"{plan.engine} cannot evaluate this model: {error}")
            continue
        found.append(values)
        sizes, rtol = num_examples_by_metric(worker), ENGINE_RTOL[precision]
        if not any(disagreement(a, b, sizes, rtol) for a, b in zip(expected, found, strict=True)):
            words = "sequential in float32" if is_reduced else "sequential"
            return Trial(found[0], values, seconds, _differences(exact, found), words, exact[0])
        told = ", ".join(f"{value:.1g} at the {where}" for where, value in _differences(expected, found).items())
        reasons.append(f"{plan.engine} differs from sequential by {told}")
        note(f"an engine is not used: {reasons[-1]}")
    raise EvaluationError(f"runtime.engine: {reasons[-1]}", hint="Use engine: auto, or another one.")


def reason_against(worker: Worker, point: int) -> str | None:
    """Why the plan of a worker must not be used at a point of its grid; None where it agrees with the reference."""
    plan, baseline = worker.plan, reference_of(worker.plan)
    if plan == baseline:
        return None
    expected = _evaluate(worker.evaluator(baseline), worker, point)
    if plan.engine == "graphs":  # the weights lie elsewhere now than when its graphs were captured
        worker.use(baseline)
        worker.use(plan)
    try:
        worker.network.move_to(worker.centre, ())  # an engine that secretly reads these weights cannot be right
        values = worker.measure([point] * plan.points_per_call)
    except UnsupportedError as error:
        return f"{plan.engine} cannot evaluate this model: {error}"
    assert values is not None  # nobody can stop it
    sizes, rtol = num_examples_by_metric(worker), ENGINE_RTOL[worker.problem.precision]
    if disagreement(expected, values[0], sizes, rtol) is None:
        return None
    _, coordinates = worker.problem.grid.location(point)
    where = ", ".join(f"{each:.3g}" for each in coordinates)
    return f"{plan.engine} differs from sequential by {largest_difference(expected, values[0]):.1g} at {where}"


def measure_kept(worker: Worker, centre: Values) -> Trial:
    """The trial of a plan that has been chosen before; only the time is new."""
    values, seconds = _corner(worker, far_corner(worker.problem))
    return Trial(centre, values, seconds, {}, "", {})


def far_corner(problem: Problem) -> int:
    """The point of the first slice that is farthest from the checkpoint along every axis."""
    indices = [int(np.argmax(np.abs(axis.coordinates))) for axis in problem.grid.axes]
    return int(np.ravel_multi_index((0, *indices), problem.grid.shape))


def warn_if_nothing_moves(problem: Problem, trial: Trial) -> str | None:
    """A warning where not a bit of any metric has changed, as with a model that evaluates a copy of its weights."""
    _, coordinates = problem.grid.location(far_corner(problem))
    if trial.corner != trial.centre or not any(coordinates):
        return None
    return (
        f"warning: moving the weights to {coordinates} changes nothing at all. Does the model cache or merge its "
        "weights, or not use those that the directions move?"
    )


def num_examples_by_metric(worker: Worker) -> dict[str, int]:
    """Metric → n."""
    return {
        f"{split}_{metric}": len(data) for split, data in worker.splits.items() for metric in worker.network.metrics
    }


def _centre(worker: Worker) -> Values:
    values = worker.measure_centre()
    assert values is not None  # nobody can stop it
    return values


def _corner(worker: Worker, corner: int) -> tuple[Values, float]:
    """The values, and the seconds that one point takes."""
    size = worker.plan.points_per_call
    if size > 1:  # what the points of a plane share is made once, and not for each of them
        worker.measure([corner] * size)
    start = time.perf_counter()
    values = worker.measure([corner] * size)
    assert values is not None  # nobody can stop it
    return values[0], (time.perf_counter() - start) / size


def _differences(expected: Sequence[Values], found: Sequence[Values]) -> dict[str, float]:
    places = zip(("centre", "corner"), expected, found, strict=True)
    return {where: largest_difference(a, b) for where, a, b in places}


def _both(evaluator: Evaluator, worker: Worker, corner: int, centre: Values | None = None) -> list[Values]:
    """The values at the centre, unless they are known, and at the corner."""
    return [centre or _evaluate(evaluator, worker, None), _evaluate(evaluator, worker, corner)]


def _evaluate(evaluator: Evaluator, worker: Worker, point: int | None) -> Values:
    """Evaluate a point of the grid, or the checkpoint."""
    if point is None:
        values = evaluator.evaluate(worker.centre, [()])
    else:
        slice_index, coordinates = worker.problem.grid.location(point)
        values = evaluator.evaluate(worker.place(slice_index), [coordinates])
    assert values is not None  # nobody can stop it
    return values[0]


def _check_finite(centre: Values, problem: Problem) -> None:
    for name, (mean, _) in centre.items():
        if not math.isfinite(mean):
            bad = [split for split, batches in problem.splits.items() if batches.num_not_finite()]
            cause = "the data are finite, so the model or the metric overflows"
            if bad:
                cause = f"the data of {', '.join(bad)} hold NaN or infinite values"
            raise EvaluationError(
                f"{name} at the checkpoint is {mean}: {cause}",
                hint="Check the transform of the data and that checkpoint and model belong together.",
            )


def _check_expected(centre: Values, expect: Expect, where: str, *, is_plain: bool) -> None:
    for name, wanted in expect.values.items():
        found = centre[name][0]
        if not math.isclose(found, wanted, rel_tol=1e-9, abs_tol=expect.tolerance * (1 + 1e-9)):
            raise CheckpointError(
                f"{where}: {name} at the checkpoint is {found:.6g}; expected {wanted:g} ± {expect.tolerance:g}",
                hint="Shares are fractions: 0.92, not 92."
                if wanted > 1 and not name.endswith("_loss")
                else "batchnorm: recalibrate does not keep the statistics of the training: expect what a scan gives."
                if not is_plain
                else "This is not the model that was trained: check checkpoint, transform and model arguments.",
            )
