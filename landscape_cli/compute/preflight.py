"""Look at the centre from all sides before anything long begins."""

from __future__ import annotations

import math
import time

import numpy as np

from landscape_cli.compute.evaluate import Values, check_labels, check_repeats
from landscape_cli.compute.problem import Problem
from landscape_cli.config import Expect, Settings
from landscape_cli.errors import CheckpointError, EvaluationError


def check_centre(problem: Problem, settings: Settings, expect: Expect | None = None) -> tuple[Values, float]:
    """Evaluate the centre twice.

    Returns:
        The values, and the largest relative difference between the two evaluations (0 on a CPU).

    Raises:
        EvaluationError: The model or a metric fails, a label is out of range, the centre is not finite or does not
            repeat itself.
        CheckpointError: The centre is not what `checkpoint.expect` says.
    """
    check_labels(problem.model, problem.splits, problem.class_index_metrics)
    centre = problem.measure_centre()
    assert centre is not None  # nobody can stop it
    _check_finite(centre, problem)
    difference = check_repeats(problem.model, problem.splits, problem.metrics, centre)
    if expect is not None:
        _check_expected(centre, expect, settings.where("checkpoint", "expect"))
    return centre, difference


def measure_corner(problem: Problem, centre: Values) -> tuple[float, str | None]:
    """Evaluate the far corner of the first slice.

    Returns:
        The seconds it took; and a warning where not a bit of any metric has changed, as with a model that evaluates a
        copy of its weights.
    """
    corner = int(np.ravel_multi_index((0, *(len(axis) - 1 for axis in problem.grid.axes)), problem.grid.shape))
    _, coordinates = problem.grid.location(corner)
    start = time.perf_counter()
    values = problem.measure(corner)
    seconds = time.perf_counter() - start
    if values != centre or not any(coordinates):
        return seconds, None
    return seconds, (
        f"warning: moving the weights to {coordinates} changes nothing at all. Does the model cache or merge its "
        "weights, or not use those that the directions move?"
    )


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


def _check_expected(centre: Values, expect: Expect, where: str) -> None:
    for name, wanted in expect.values.items():
        found = centre[name][0]
        if not math.isclose(found, wanted, rel_tol=1e-9, abs_tol=expect.tolerance * (1 + 1e-9)):
            raise CheckpointError(
                f"{where}: {name} at the checkpoint is {found:.6g}; expected {wanted:g} ± {expect.tolerance:g}",
                hint="Shares are fractions: 0.92, not 92."
                if wanted > 1 and not name.endswith("_loss")
                else "This is not the model that was trained: check checkpoint, transform and model arguments.",
            )
