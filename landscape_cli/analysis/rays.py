"""Along rays from the checkpoint: how far it is flat, and how rugged the way is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from landscape_cli.analysis.coarseness import is_within, too_coarse
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.slices import Slices, measure, slices_of
from landscape_cli.surface import FloatArray, Surface

_NUM_IN_PLANE = 16
_SAME = 1e-9  # of two places along a ray, relative to its length


@dataclass(frozen=True)
class Ray:
    """The loss along a ray, linear between its knots; where it has diverged it is +inf.

    Attributes:
        distance: (K,) from the checkpoint, rising from 0; the last one is where the grid ends.
        loss: (K,).
    """

    distance: FloatArray
    loss: FloatArray

    @property
    def steps(self) -> FloatArray:
        """(K - 1,) changes from knot to knot, up to where it diverges."""
        finite = np.isfinite(self.loss)
        return np.diff(self.loss if finite.all() else self.loss[: int(np.argmin(finite))])

    def first_above(self, threshold: float) -> float:
        """Where the loss first reaches a threshold; inf where it does not. Before a diverged knot it is the
        knot before.
        """
        above = np.flatnonzero(self.loss >= threshold)
        if not above.size:
            return math.inf
        k = int(above[0])
        if k == 0 or math.isinf(self.loss[k]):
            return float(self.distance[max(k - 1, 0)])
        share = (threshold - self.loss[k - 1]) / (self.loss[k] - self.loss[k - 1])
        return float(self.distance[k - 1] + share * (self.distance[k] - self.distance[k - 1]))


def unit_vectors(num_axes: int) -> FloatArray:
    """(R, A) directions of the rays: both on a line, 16 on a plane, the 26 to the neighbours of a cube in a volume."""
    if num_axes == 2:
        angles = 2 * np.pi * np.arange(_NUM_IN_PLANE) / _NUM_IN_PLANE
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.where(np.abs(vectors) < 1e-12, 0.0, vectors)
    steps = np.asarray([step for step in itertools.product((-1.0, 0.0, 1.0), repeat=num_axes) if any(step)])
    return np.asarray(steps / np.linalg.norm(steps, axis=1, keepdims=True))


def rays_of(slices: Slices, values: FloatArray) -> list[Ray]:
    """The rays of one slice that do not leave the grid at once; the knots are where they cross its lines or planes."""
    rays = []
    for vector in unit_vectors(len(slices.axes)):
        moving = [(axis, step) for axis, step in zip(slices.axes, vector, strict=True) if step]
        end = min(float(axis[-1] / step if step > 0 else axis[0] / step) for axis, step in moving)
        if end <= 0:
            continue
        crossings = np.unique(np.concatenate([axis / step for axis, step in moving]))
        inner = crossings[(crossings > _SAME * end) & (crossings < end * (1 - _SAME))]
        apart = inner[np.diff(inner, prepend=0.0) > _SAME * end]
        distance = np.concatenate([[0.0], apart, [end]])
        loss = slices.interpolate(values, distance[:, None] * vector)
        loss[0] = slices.centre
        rays.append(Ray(distance, loss))
    return rays


def flat_radius(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, tau: float = 0.1
) -> Measurement:
    """Distance at which f reaches f₀ + τ, the median over the rays.

    Where it does not on so many rays that the median is not known, the value is a lower bound; also where that is
    within the first step of the grid: linear interpolation of a convex loss crosses f₀ + τ too early.

    Args:
        surface: Of any dimension.
        loss: By default the first.
        slice_index: One slice only.
        tau: The rise τ, in units of the loss.

    Returns:
        In units of the axes.
    """
    return _flat_radius(surface, loss, slice_index, tau, "flat_radius", np.median)


def flat_radius_min(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, tau: float = 0.1
) -> Measurement:
    """Distance at which f first reaches f₀ + τ on any of the rays; see `flat_radius`."""
    return _flat_radius(surface, loss, slice_index, tau, "flat_radius_min", np.min)


def _flat_radius(
    surface: Surface,
    loss: str | None,
    slice_index: int | None,
    tau: float,
    name: str,
    statistic: Callable[[list[float]], float],
) -> Measurement:
    slices = slices_of(surface, loss, slice_index)

    def reached(values: FloatArray, *, beyond: bool) -> float:
        """With ``beyond``, rays that end before the rise count as infinite, else as their length."""
        found = [(ray.first_above(slices.centre + tau), float(ray.distance[-1])) for ray in rays_of(slices, values)]
        return float(statistic([first if beyond else min(first, end) for first, end in found]))

    found = [] if slices.lacking else [reached(each, beyond=True) for each in slices.values]
    open_slices = sum(map(math.isinf, found))
    is_coarse = any(is_within(slices, each, 1) for each in found)
    return measure(
        slices,
        name,
        partial(reached, beyond=False),
        unit="axis unit",
        note=joined(
            f"τ = {tau:g}",
            f"no rise by τ within the grid in {open_slices} of {len(slices.values)} slices" if open_slices else "",
            too_coarse(slices, "the radius", 1) if is_coarse else "",
        ),
        bound="lower" if open_slices or is_coarse else None,
        settings={"tau": tau},
    )


def monotone_rays(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Share of the rays along which the loss never falls, by more than rounding, on the way out."""
    slices = slices_of(surface, loss, slice_index)

    def of_slice(values: FloatArray) -> float:
        noise = slices.noise(values)
        return float(np.mean([(ray.steps >= -noise).all() for ray in rays_of(slices, values)]))

    return measure(slices, "monotone_rays", of_slice, unit="share")


def descent_share(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Sum of the falls divided by the total variation, along all rays on the way out.

    0 in a bowl, ½ at a saddle or where the loss wanders. Steps within rounding do not count.
    """
    slices = slices_of(surface, loss, slice_index)

    def of_slice(values: FloatArray) -> float:
        steps = np.concatenate([ray.steps for ray in rays_of(slices, values)])
        steps = steps[np.abs(steps) > slices.noise(values)]
        return float(np.abs(steps[steps < 0]).sum() / np.abs(steps).sum()) if steps.size else 0.0

    return measure(slices, "descent_share", of_slice, unit="share")
