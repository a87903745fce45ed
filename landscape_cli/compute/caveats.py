"""What the user should know about a plane before it is evaluated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from landscape_cli.compute.problem import Problem
from landscape_cli.compute.subspace import STATISTICS, Subspace
from landscape_cli.config import Settings
from landscape_cli.surface import FloatArray, Trajectory

# Of the distance between the ends of a path: a checkpoint that is farther from all of it is not on it.
_FAR = 0.5
_MOSTLY_MISSED = 0.5
_PARALLEL_COSINE = 0.999


def notes_on(
    problem: Problem, settings: Settings, cosine: FloatArray | None, trajectory: Trajectory | None
) -> Iterator[str]:
    """Notes and warnings, a sentence each."""
    for axis in problem.grid.axes:
        if 0.0 not in axis.coordinates:
            yield f"note: 0 is not on the {axis.name} axis, so the checkpoint itself is no point of the grid"
    if _are_parallel(cosine):
        yield "warning: two axes are parallel, so the plane is a line; orthogonal: true makes them independent"
    targets = {axis.direction.target for _, axis in settings.axes.items()}
    batchnorm = settings.evaluation.batchnorm
    leads_elsewhere = targets & {"between", "pca"} or settings.trajectory is not None
    if leads_elsewhere and batchnorm == "frozen" and problem.has_batchnorm:
        yield (
            "warning: BatchNorm keeps the statistics of the checkpoint of the scan along the way to others, so the "
            "loss there is not that of the other networks, and a barrier on the way may be none: set "
            "evaluation.batchnorm: recalibrate (or interpolate)"
        )
    if problem.moves_statistics and not any(
        name.endswith(STATISTICS) for each in problem.draw(0) for name in each if name not in problem.drawing.params
    ):
        yield "note: batchnorm: interpolate changes nothing: only between, pca and file move statistics along"
    if problem.recalibration is not None and settings.evaluation.recalibration.split is None:
        split, num_examples = problem.recalibration
        if split != "train":
            yield (
                f"warning: there is no split train: BatchNorm is estimated anew on data.{split}, which is also "
                f"measured (its first {min(num_examples, len(problem.splits[split])):,} examples)"
            )
    if trajectory is not None:
        yield from _notes_on_path(trajectory)
    if batchnorm != "frozen" and not problem.has_batchnorm:
        yield f"note: evaluation.batchnorm: {batchnorm} changes nothing: the model has no BatchNorm statistics"
    corner = _negative_variance(problem)
    if corner is not None:
        where = ", ".join(f"{coordinate:g}" for coordinate in corner)
        yield (
            f"warning: at ({where}) an interpolated BatchNorm variance is negative, and the loss NaN. Stay between the "
            "checkpoints, or set evaluation.batchnorm: recalibrate"
        )


def _are_parallel(cosine: FloatArray | None) -> bool:
    """Whether two axes of a slice are so nearly one that a plane shows a line."""
    if cosine is None:
        return False
    beside = ~np.eye(cosine.shape[-1], dtype=bool)
    return bool((np.abs(cosine[:, beside]) > _PARALLEL_COSINE).any())


def _notes_on_path(path: Trajectory) -> Iterator[str]:
    nearest, farthest = float(path.distance.min()), float(path.distance.max())
    if nearest > _FAR * farthest:
        yield (
            f"warning: the checkpoint of the scan is not on the path: {path.names[int(path.distance.argmin())]} is the "
            f"nearest, {nearest:.4g} away, and the farthest {farthest:.4g}; is it from another run?"
        )
    missed = float(path.missed[:, path.distance.argmax()].max())
    if missed > _MOSTLY_MISSED:
        yield (
            f"note: the projection misses {100 * missed:.3g} % of the way to the farthest checkpoint of the path: it "
            "looks nearer than it is"
        )


def _negative_variance(problem: Problem) -> tuple[float, ...] | None:
    """A corner of the grid at which a variance that moves is below zero; linear, so no other point can be before it."""
    if not problem.moves_statistics:
        return None
    variances = {name: tensor for name, tensor in problem.origin.items() if name.endswith("running_var")}
    directions = tuple({n: t for n, t in each.items() if n in variances} for each in problem.draw(0))
    plane = Subspace(variances, directions)
    ends = [(axis.coordinates[0], axis.coordinates[-1]) for axis in problem.grid.axes]
    for corner in itertools.product(*ends):
        if any(bool((tensor < 0).any()) for tensor in plane.point(corner).values()):
            return corner
    return None
