"""A path of checkpoints in the line, plane or volume of every slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from landscape_cli.compute.directions.paths import expand
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.subspace import Subspace, norm, subtract
from landscape_cli.config import Settings
from landscape_cli.errors import located
from landscape_cli.surface import FloatArray, Trajectory


def trajectory_of(problem: Problem, settings: Settings) -> Trajectory | None:
    """The path that a config names under ``trajectory``, or whose principal directions its axes are; None for neither.

    Raises:
        CheckpointError: A checkpoint cannot be read, or is of another model.
    """
    if settings.trajectory is not None:
        section = settings.trajectory
        with located(settings.where("trajectory", "checkpoints")):
            return _project(problem, expand(list(section.checkpoints)), section.key, section.prefix)
    for direction in (axis.direction for _, axis in settings.axes.items()):
        if direction.target == "pca":
            arguments = direction.kwargs
            named = arguments["checkpoints"]
            patterns = [str(each) for each in named] if isinstance(named, list) else str(named)
            key, prefix = (_text(arguments.get(name)) for name in ("key", "prefix"))
            return _project(problem, expand(patterns), key, prefix)
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


def _project(problem: Problem, paths: Sequence[Path], key: str | None, prefix: str | None) -> Trajectory:
    assert problem.sources is not None  # a scan has them
    params, num_slices, num_axes = problem.drawing.params, problem.grid.num_slices, len(problem.grid.axes)
    coordinates = np.zeros((num_slices, len(paths), num_axes))
    missed = np.zeros((num_slices, len(paths)))
    distance = np.zeros(len(paths))
    planes: dict[int, Subspace] = {}
    for step, path in enumerate(paths):
        weights = problem.sources.load(path, key, prefix, where="trajectory")
        distance[step] = norm(subtract(weights.params, params))
        for index in range(num_slices):
            drawn = problem.draw(index)
            if index not in planes or len(planes) > 1:
                moved = tuple({name: t for name, t in each.items() if name in params} for each in drawn)
                planes = {index: Subspace(params, moved)}
            found, rest = planes[index].project(weights.params)
            coordinates[index, step] = found
            missed[index, step] = min(rest / distance[step], 1.0) if distance[step] else 0.0
    return Trajectory(tuple(map(str, paths)), coordinates, missed, distance, _explained(problem))


def _explained(problem: Problem) -> FloatArray:
    found = problem.drawing.found
    ratios = [found[axis.name].get("explained_variance_ratio") for axis in problem.grid.axes]
    return np.array([ratio if isinstance(ratio, float) else np.nan for ratio in ratios])
