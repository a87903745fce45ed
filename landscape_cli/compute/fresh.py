"""What a scan starts from: the first directions, and a surface without a point."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch
from pydantic import JsonValue

from landscape_cli.compute.apart import run_apart
from landscape_cli.compute.directions.table import COMPUTED
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.provenance import environment
from landscape_cli.config import Settings
from landscape_cli.identity import fingerprint
from landscape_cli.storage import timestamp
from landscape_cli.surface import Direction, Provenance, Surface


def draw_first(problem: Problem, settings: Settings, num_devices: int, cores: int) -> None:
    """Draw the first slice, before there are helpers: what takes gradients is done once, on all cores."""
    if problem.radius is not None:
        problem.radius.drawing.check_repeats()
    if not any(axis.direction.target in COMPUTED for _, axis in settings.axes.items()):
        problem.drawing.check_repeats()
        return
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        if num_devices > 1:  # gradients would start CUDA in this process, which the helpers are forked from
            problem.drawing.adopt(*run_apart(problem.drawing.fixed))
        else:  # also where the first slice is read from a file, and only those that are added need them
            problem.drawing.fixed()
        problem.drawing.check_repeats()
    finally:
        torch.set_num_threads(before)


def fresh_surface(problem: Problem, settings: Settings, device: torch.device) -> Surface:
    """The surface that a config makes, with nothing evaluated yet."""
    found = {
        "has_batchnorm": problem.has_batchnorm,
        # with equal names and shapes the random directions are the same, up to scale
        "parameters": {"num": problem.num_parameters, "sha256": fingerprint(_shapes(problem))},
        **(asdict(problem.loaded) if problem.loaded else {}),
    }
    provenance = Provenance(
        settings.text, {**settings.resolved(), "found": found}, problem.identity, [environment(device)]
    )
    surface = _empty(problem, provenance)
    surface.created = timestamp()
    surface.radius = None if problem.radius is None else _empty(problem.radius, provenance)
    return surface


def _shapes(problem: Problem) -> dict[str, JsonValue]:
    """Of the parameters, by name."""
    return {name: [*tensor.shape] for name, tensor in problem.drawing.params.items()}


def _empty(problem: Problem, provenance: Provenance) -> Surface:
    """The surface of a problem before its first point."""
    names = [(split, metric) for split in problem.splits for metric in problem.metrics]
    norms, cosine = problem.drawing.norms_and_cosines(problem.grid.num_slices)
    recipes, told = problem.drawing.recipes(), problem.drawing.found
    surface = Surface.empty(
        problem.grid,
        centre={f"{split}_{metric}": (math.nan, math.nan) for split, metric in names},
        num_examples={f"{split}_{metric}": len(problem.splits[split]) for split, metric in names},
        directions={name: Direction(recipes[name], lengths, told[name]) for name, lengths in norms.items()},
        fingerprint=fingerprint(problem.identity),
        provenance=provenance,
    )
    surface.cosine = cosine
    return surface
