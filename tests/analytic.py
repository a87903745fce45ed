"""Surfaces of functions that one can work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from landscape_cli.grid import Axis, Grid
from landscape_cli.surface import Direction, Metric, Provenance, Surface

FILTER = {"_target_": "random", "normalization": "filter"}
WEIGHT = {"_target_": "random", "normalization": "weight"}


def surface_of(
    function: Callable[..., float],
    *axes: Sequence[float],
    num_slices: int = 1,
    recipe: dict[str, object] | None = None,
    evaluated: object = True,
    names: Sequence[str] = ("train_loss",),
    num_examples: int = 2000,
    precision: str = "float64",
) -> Surface:
    """f(slice, x[, y[, z]]) with the loss at the checkpoint f(0, 0, …); NaN where ``evaluated`` is False."""
    grid = Grid(tuple(Axis(name, tuple(each)) for name, each in zip("xyz", axes, strict=False)), num_slices)
    places = product(range(num_slices), *(axis.coordinates for axis in grid.axes))
    values = np.array([float(function(*place)) for place in places]).reshape(grid.shape)
    mask = np.array(np.broadcast_to(evaluated, grid.shape), dtype=np.bool_)
    centre = float(function(0, *(0.0 for _ in axes)))
    std = np.full(grid.shape, 0.5)
    return Surface(
        grid=grid,
        metrics={name: Metric(np.where(mask, values, np.nan), std, centre, 0.5, num_examples) for name in names},
        directions={axis.name: Direction(recipe or FILTER, (1.0,) * num_slices) for axis in grid.axes},
        fingerprint="",
        evaluated=mask,
        provenance=Provenance(
            resolved={"evaluation": {"precision": precision}, "loss": {"_target_": "cross_entropy"}},
        ),
    )


def line(start: float, stop: float, num: int) -> list[float]:
    """Evenly spaced, with an exact 0 in the middle."""
    return list(Axis.linspace("x", start, stop, num).coordinates)
