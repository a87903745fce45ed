"""How much the loss rises around the checkpoint."""

from __future__ import annotations

import itertools
import math

import numpy as np

from landscape_cli.analysis.coarseness import FEW_STEPS, is_on_grid, is_within, too_coarse
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.rays import unit_vectors
from landscape_cli.analysis.slices import Slices, measure, slices_of
from landscape_cli.surface import FloatArray, Surface

_PER_AXIS = {1: 1024, 2: 96, 3: 32}  # midpoints of the quadrature over a ball


def eps_sharpness(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, radius: float = 0.25
) -> Measurement:
    """ε-sharpness on the slice: 100 (max_{|c_i| ≤ ε} f − f₀) / (1 + f₀) (Keskar et al. 2017,
    arXiv:1609.04836, Metric 2.1).

    The maximum is that of the multilinear interpolation. The true one, over all directions, is at least as large where
    ε lies on the grid; between the first points, interpolation can be above it.

    Args:
        surface: Of any dimension.
        loss: By default the first.
        slice_index: One slice only.
        radius: ε, in units of the axes.

    Returns:
        Percent.
    """
    slices = slices_of(surface, loss, slice_index)
    too_low = "1 + f₀ must be above 0" if slices.centre <= -1 else ""

    def of_slice(values: FloatArray) -> float:
        highest = float(slices.interpolate(values, _box(slices, radius)).max())
        return 100 * (highest - slices.centre) / (1 + slices.centre)

    return measure(
        slices,
        "eps_sharpness",
        of_slice,
        unit="%",
        lacking=slices.short_of(radius) or too_low,
        note=joined(f"radius {radius:g}", _of_the_maximum(slices, radius), slices.sides(radius)),
        settings={"radius": radius},
    )


def mean_rise(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, radius: float = 0.25
) -> Measurement:
    """Mean of f − f₀ over the ball of this radius: on a line the segment, on a plane the disc.

    The quadrature takes the midpoints of a fine lattice, where the loss is interpolated.

    Args:
        surface: Of any dimension.
        loss: By default the first.
        slice_index: One slice only.
        radius: In units of the axes.
    """
    slices = slices_of(surface, loss, slice_index)
    return measure(
        slices,
        "mean_rise",
        lambda values: float(slices.interpolate(values, _ball(slices, radius)).mean()) - slices.centre,
        unit=slices.unit,
        lacking=slices.short_of(radius),
        note=joined(f"radius {radius:g}", _of_steps(slices, radius), slices.sides(radius)),
        settings={"radius": radius},
    )


def asymmetry(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, radius: float = 0.5
) -> Measurement:
    """|f(t) − f(−t)| / (f(t) + f(−t) − 2f₀), the mean over opposite rays (after He, Huang & Yuan 2019,
    arXiv:1902.00744).

    0 for a valley that is the same on both sides, 1 for one that is flat on one side. The sign is left out, because
    the sign of a direction means nothing.

    Args:
        surface: Of any dimension.
        loss: By default the first.
        slice_index: One slice only.
        radius: t, in units of the axes.
    """
    slices = slices_of(surface, loss, slice_index)
    one_sided = "the grid does not go that far on both sides" if slices.sides(radius) else ""

    def of_slice(values: FloatArray) -> float:
        points = radius * unit_vectors(len(slices.axes))  # (R, A)
        there, opposite = slices.interpolate(values, points), slices.interpolate(values, -points)
        pairs = [
            _asymmetry(a - slices.centre, b - slices.centre, slices.noise(values))
            for a, b in zip(there, opposite, strict=True)
        ]
        known = [pair for pair in pairs if not math.isnan(pair)]
        return float(np.mean(known)) if known else math.nan

    return measure(
        slices,
        "asymmetry",
        of_slice,
        lacking=slices.short_of(radius) or one_sided,
        note=f"radius {radius:g}",
        settings={"radius": radius},
    )


def _of_steps(slices: Slices, radius: float) -> str:
    """A note where ε is a step or so."""
    is_coarse = not slices.lacking and is_within(slices, radius, FEW_STEPS)
    return too_coarse(slices, "ε", FEW_STEPS) if is_coarse else ""


def _of_the_maximum(slices: Slices, radius: float) -> str:
    """On the grid the maximum is the loss at one of its points, and so not above that over all directions."""
    is_exact = slices.lacking or is_on_grid(slices, radius)
    return ("" if is_exact else _of_steps(slices, radius)) or "not above that over all directions"


def _asymmetry(there: float, opposite: float, noise: float) -> float:
    if math.isinf(there) or math.isinf(opposite):
        return math.nan if there == opposite else 1.0
    if abs(there - opposite) <= noise:
        return 0.0
    return abs(there - opposite) / (there + opposite) if there + opposite > 0 else math.nan


def _box(slices: Slices, radius: float) -> FloatArray:
    """(P, A) the grid points with |c_i| ≤ ε and the points where the grid lines leave that box: a multilinear function
    has its maximum at one of them.
    """
    inside = []
    for axis in slices.axes:
        low, high = max(float(axis[0]), -radius), min(float(axis[-1]), radius)
        inside.append(np.unique([low, *axis[(axis > low) & (axis < high)], high]))
    return np.asarray(list(itertools.product(*inside)))


def _ball(slices: Slices, radius: float) -> FloatArray:
    """(P, A) midpoints of a lattice, those within the ball and the grid."""
    num = _PER_AXIS[len(slices.axes)]
    midpoints = radius * (2 * np.arange(num) + 1 - num) / num
    sides = [midpoints[(midpoints >= axis[0]) & (midpoints <= axis[-1])] for axis in slices.axes]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, len(sides))
    return np.asarray(points[np.linalg.norm(points, axis=1) <= radius])
