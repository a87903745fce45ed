"""A path of checkpoints in the line, plane or volume of every slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from landscape_cli.compute.directions.paths import expand
from landscape_cli.compute.directions.table import files_of
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.subspace import Params, Subspace, norm, subtract
from landscape_cli.config import Settings
from landscape_cli.errors import located
from landscape_cli.surface import FloatArray, Trajectory

# Checkpoints are read again for every slice, unless they fit in here.
_KEPT_BYTES = 1 << 30


def trajectory_of(problem: Problem, settings: Settings) -> Trajectory | None:
    """The path that a config names under ``trajectory``, or whose principal directions its axes are; None for neither.

    Raises:
        CheckpointError: A checkpoint cannot be read, or is of another model.
    """
    if settings.trajectory is not None:
        section = settings.trajectory
        with located(settings.where("trajectory", "checkpoints")):
            return _project(problem, settings, expand(list(section.checkpoints)), section.key, section.prefix)
    for direction in (axis.direction for _, axis in settings.axes.items()):
        if direction.target == "pca":
            arguments = direction.kwargs
            key, prefix = (_text(arguments.get(name)) for name in ("key", "prefix"))
            return _project(problem, settings, files_of(direction), key, prefix)
    return None


def same_path(a: Trajectory, b: Trajectory | None) -> bool:
    """Whether two paths are the same, up to rounding."""
    return (
        b is not None
        and a.names == b.names
        and a.coordinates.shape == b.coordinates.shape
        and np.allclose(a.coordinates, b.coordinates, rtol=1e-6, atol=1e-12)
        and np.allclose(a.missed, b.missed, rtol=1e-6, atol=1e-9)
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _project(
    problem: Problem, settings: Settings, paths: Sequence[Path], key: str | None, prefix: str | None
) -> Trajectory:
    assert problem.sources is not None  # a scan has them
    params, num_slices, num_axes = problem.drawing.params, problem.grid.num_slices, len(problem.grid.axes)
    coordinates = np.zeros((num_slices, len(paths), num_axes))
    missed = np.zeros((num_slices, len(paths)))
    distance = np.zeros(len(paths))
    size = sum(tensor.nbytes for tensor in params.values())
    kept: dict[Path, Params] = {}
    for index in range(num_slices):
        moved = tuple({name: t for name, t in each.items() if name in params} for each in problem.draw(index))
        plane = Subspace(params, moved)
        for step, path in enumerate(paths):
            weights = kept.get(path) or problem.sources.load(path, key, prefix, where="trajectory").params
            if num_slices > 1 and size * (len(kept) + 1) <= _KEPT_BYTES:
                kept[path] = weights
            distance[step] = norm(subtract(weights, params))
            coordinates[index, step], rest = plane.project(weights)
            missed[index, step] = min(rest / distance[step], 1.0) if distance[step] else 0.0
    return Trajectory(tuple(map(str, paths)), coordinates, missed, distance, _explained(problem, settings, paths))


def _explained(problem: Problem, settings: Settings, paths: Sequence[Path]) -> FloatArray:
    """Of the axes that are principal directions of this path, and not of another one."""
    ratios = []
    for name, axis in settings.axes.items():
        ratio = problem.drawing.found[name].get("explained_variance_ratio")
        is_of_path = axis.direction.target == "pca" and files_of(axis.direction) == list(paths)
        ratios.append(ratio if is_of_path and isinstance(ratio, float) else np.nan)
    return np.array(ratios)
