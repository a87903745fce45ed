"""A surface of which only coordinates and values are known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from landscape_cli.errors import SurfaceError
from landscape_cli.grid import Axis, Grid
from landscape_cli.surface import BoolArray, Direction, FloatArray, Metric, Provenance, Surface

Recipe = Mapping[str, JsonValue]
UNKNOWN_DIRECTION: Recipe = {"_target_": "unknown"}

# linspace does not always hit 0; relative to the length of the axis
_ZERO = 1e-12


def imported_axis(name: str, coordinates: NDArray[np.generic], *, path: Path, label: str) -> Axis:
    """An axis from the coordinates that a file calls ``label``.

    Raises:
        SurfaceError: They are not a list of finite numbers, each larger than the one before.
    """
    if coordinates.ndim != 1 or not coordinates.size or coordinates.dtype.kind not in "iuf":
        found = f"{coordinates.dtype} of shape {coordinates.shape}"
        raise SurfaceError(f"{path}: {label}: found {found}; expected a list of real numbers")
    numbers = coordinates.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise SurfaceError(f"{path}: {label}: found a coordinate that is not finite")
    falls = np.flatnonzero(np.diff(numbers) <= 0)
    if falls.size:
        before, after = numbers[falls[0]], numbers[falls[0] + 1]
        raise SurfaceError(
            f"{path}: {label}: found {after:g} after {before:g}; expected coordinates that strictly increase",
            hint="Sort the coordinates, and the values with them, in a copy of the file.",
        )
    return Axis(name, tuple(numbers.tolist()))


def imported_surface(
    path: Path,
    content: bytes,
    *,
    dialect: str,
    axes: Sequence[Axis],
    values: Mapping[str, FloatArray],
    evaluated: BoolArray,
    recipes: Mapping[str, Recipe],
    notes: Sequence[str],
) -> Surface:
    """A surface with everything that the file does not say left open.

    Args:
        path: The file.
        content: Its bytes.
        dialect: Whose file it is.
        axes: One to three.
        values: (N[, M[, L]]) of every metric.
        evaluated: (N[, M[, L]]) which of them are there.
        recipes: What is known about the direction of each axis.
        notes: What a reader of the surface should know.
    """
    grid = Grid(tuple(axes))
    metrics = {}
    for name, each in values.items():
        known = np.where(evaluated, each, np.nan)
        metrics[name] = Metric(known[None], np.full(grid.shape, np.nan), _at_zero(known, axes), math.nan, 0)
    found: dict[str, JsonValue] = {
        "dialect": dialect,
        "converted_from": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "notes": list(notes),
    }
    return Surface(
        grid=grid,
        metrics=metrics,
        directions={axis.name: Direction(recipes[axis.name], (math.nan,)) for axis in axes},
        fingerprint="",
        evaluated=evaluated[None],
        provenance=Provenance(resolved={"found": found}),
    )


def _at_zero(values: FloatArray, axes: Sequence[Axis]) -> float:
    """The value at the checkpoint; NaN where 0 is not on the grid."""
    for axis in axes:
        length = axis.coordinates[-1] - axis.coordinates[0]
        if abs(axis.coordinates[axis.centre]) > _ZERO * length:
            return math.nan
    return float(values[tuple(axis.centre for axis in axes)])
