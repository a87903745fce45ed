"""Basins: 0-dimensional persistence of the sublevel sets, by union-find.

Grid points are joined to their neighbours along the axes (2 on a line, 4 on a plane, 6 in a volume). From the lowest
point upwards every local minimum is born as a component; where two meet at a saddle, the one born later dies
(Edelsbrunner, Letscher & Zomorodian 2002, Discrete Comput. Geom. 28). Diverged points are +inf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.slices import Slices, measure, slices_of
from landscape_cli.surface import FloatArray, Surface

_SHALLOW = 0.01  # of the range of the slice


@dataclass(frozen=True)
class Basin:
    """A local minimum with the component that grows from it.

    Attributes:
        point: Flat index of the minimum.
        birth: f there.
        death: f at the saddle where it joins an older one; inf for the lowest, and for those behind diverged points.
        saddle: f at the first saddle where it meets another one, its parent in the merge tree; inf where there is none.
    """

    point: int
    birth: float
    death: float
    saddle: float

    @property
    def persistence(self) -> float:
        """Death − birth."""
        return self.death - self.birth


def basins(values: FloatArray, *, shallowest: float = 0.0) -> list[Basin]:
    """The basins of a function on a grid, those that are deeper than ``shallowest`` (persistence), lowest first.

    >>> [(b.birth, b.death) for b in basins(np.array([1.0, 3.0, 0.0, 2.0, 2.0]))]
    [(0.0, inf), (1.0, 3.0)]
    """
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    heights, neighbours = flat.tolist(), _neighbours(values.shape)
    parent = [-1] * len(heights)  # -1: not reached yet; a root is its own parent and the minimum of its component
    age = [0] * len(heights)
    deaths: dict[int, float] = {}
    saddles: dict[int, float] = {}
    for rank, point in enumerate(order.tolist()):
        height = heights[point]
        if math.isinf(height):
            break
        age[point], parent[point] = rank, point
        for other in neighbours[point]:
            if parent[other] < 0:
                continue
            older, younger = sorted((_root(parent, point), _root(parent, other)), key=age.__getitem__)
            if older == younger:
                continue
            parent[younger] = older
            if height - heights[younger] > shallowest:
                deaths[younger] = height
                saddles.setdefault(younger, height)
                saddles.setdefault(older, height)
    lowest = [root for root in range(len(parent)) if parent[root] == root]
    found = sorted([*lowest, *deaths], key=age.__getitem__)
    return [Basin(p, heights[p], deaths.get(p, math.inf), saddles.get(p, math.inf)) for p in found]


def n_basins(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Number of basins with a persistence of more than max(4 noise, 1 % of the range).

    The note says how many have their minimum at the border, where it may be one of the grid only.
    """
    slices = slices_of(surface, loss, slice_index)
    counted = measure(slices, "n_basins", lambda values: float(len(_deep(slices, values))))
    if counted.value is None:
        return counted
    border = sum(_at_border(_deep(slices, values), values) for values in slices.values)
    words = f"{border} of {sum(counted.per_slice):g} lowest at the border of the grid" if border else ""
    return replace(counted, note=joined(words, counted.note))


def total_persistence(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Σ (death − birth) over all basins but the lowest, and those behind diverged points: how rugged the slice is."""
    slices = slices_of(surface, loss, slice_index)

    def of_slice(values: FloatArray) -> float:
        return math.fsum(basin.persistence for basin in basins(values) if math.isfinite(basin.death))

    return measure(slices, "total_persistence", of_slice, unit=slices.unit)


def saddle_minimum_distance(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None
) -> Measurement:
    """Mean of f(saddle) − f(minimum) over the minima of the merge tree and the saddles that they hang from (SMAD of
    Landscaper, arXiv:2602.07135).

    Of the basins that `n_basins` counts; 0 where there is one only. Unlike there, no noise is added to the surface,
    and what has diverged is not replaced.
    """
    slices = slices_of(surface, loss, slice_index)

    def of_slice(values: FloatArray) -> float:
        heights = [each.saddle - each.birth for each in _deep(slices, values) if math.isfinite(each.saddle)]
        return float(np.mean(heights)) if heights else 0.0

    return measure(slices, "saddle_minimum_distance", of_slice, unit=slices.unit)


def shallowest(slices: Slices, values: FloatArray) -> float:
    """The persistence up to which basins do not count: max(4 noise, 1 % of the range of the finite values)."""
    return max(4 * slices.noise(values), _SHALLOW * float(np.ptp(values[np.isfinite(values)])))


def _deep(slices: Slices, values: FloatArray) -> list[Basin]:
    """Without what is no deeper than rounding, or than a hundredth of the range."""
    return basins(values, shallowest=shallowest(slices, values)) if np.isfinite(values).any() else []


def _at_border(found: list[Basin], values: FloatArray) -> int:
    where = [np.unravel_index(basin.point, values.shape) for basin in found]
    return sum(any(i in (0, num - 1) for i, num in zip(index, values.shape, strict=True)) for index in where)


def _root(parent: list[int], point: int) -> int:
    while parent[point] != point:
        parent[point] = parent[parent[point]]
        point = parent[point]
    return point


def _neighbours(shape: tuple[int, ...]) -> list[list[int]]:
    """Of every point, by flat index: the next ones along each axis."""
    index = np.pad(np.arange(math.prod(shape)).reshape(shape), 1, constant_values=-1)
    inner = (slice(1, -1),) * len(shape)
    moved = [np.roll(index, step, axis)[inner].ravel() for axis in range(len(shape)) for step in (1, -1)]
    return [[each for each in row if each >= 0] for row in np.stack(moved, axis=1).tolist()]
