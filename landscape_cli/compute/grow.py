"""A surface gets more slices: what it has stays as it is, bit for bit, and the new ones are still to be evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape_cli.compute.curvature_map import fingerprint_of_map
from landscape_cli.surface import BoolArray, Direction, FloatArray, Metric, Provenance, Surface, Trajectory


def grow(existing: Surface, wanted: Surface, trajectory: Trajectory | None = None) -> Surface:
    """A surface with as many slices as another one, on the grid and on the line of the radius.

    Args:
        existing: In the file; not changed.
        wanted: What the config makes now: the same axes, with at least as many slices.
        trajectory: The path in the slices of ``wanted``, where there is one.

    Returns:
        ``existing`` itself where nothing is missing.
    """
    radius = existing.radius
    if radius is not None and wanted.radius is not None and _lacks(radius, wanted.radius):
        existing = replace(existing, radius=_lengthened(radius, wanted.radius))
    if not _lacks(existing, wanted):
        return existing
    grown = _lengthened(existing, wanted)
    grown.provenance = _provenance(existing.provenance, wanted.provenance)
    grown.trajectory = existing.trajectory and _path(existing.trajectory, trajectory, wanted.grid.num_slices)
    grown.curvature_map = existing.curvature_map and _map(existing.curvature_map, existing, wanted)
    return grown


def _lacks(existing: Surface, wanted: Surface) -> bool:
    return existing.grid.num_slices < wanted.grid.num_slices


def _lengthened(existing: Surface, wanted: Surface) -> Surface:
    """The arrays of one surface, on the grid and under the fingerprint of the other."""
    num = existing.grid.num_slices
    return replace(
        existing,
        grid=wanted.grid,
        metrics={name: _metric(metric, wanted.grid.num_slices) for name, metric in existing.metrics.items()},
        directions={name: _direction(each, wanted.directions[name], num) for name, each in existing.directions.items()},
        fingerprint=wanted.fingerprint,
        evaluated=_mask(existing.evaluated, wanted.grid.num_slices),
        cosine=_cosine(existing.cosine, wanted.cosine, num),
    )


def _metric(metric: Metric, num_slices: int) -> Metric:
    return replace(metric, values=_padded(metric.values, num_slices), std=_padded(metric.std, num_slices))


def _direction(existing: Direction, wanted: Direction, num: int) -> Direction:
    return replace(existing, norm=(*existing.norm, *wanted.norm[num:]))


def _cosine(existing: FloatArray | None, wanted: FloatArray | None, num: int) -> FloatArray | None:
    return None if existing is None or wanted is None else np.concatenate([existing, wanted[num:]])


def _padded(values: FloatArray, num_slices: int) -> FloatArray:  # (S, …) -> (num_slices, …)
    found = np.full((num_slices, *values.shape[1:]), np.nan)
    found[: len(values)] = values
    return found


def _mask(evaluated: BoolArray, num_slices: int) -> BoolArray:  # (S, …) -> (num_slices, …)
    found = np.zeros((num_slices, *evaluated.shape[1:]), dtype=np.bool_)
    found[: len(evaluated)] = evaluated
    return found


def _provenance(existing: Provenance, wanted: Provenance) -> Provenance:
    resolved = {**existing.resolved, "slices": wanted.resolved["slices"]}
    return replace(existing, resolved=resolved, identity=wanted.identity)


def _path(existing: Trajectory, found: Trajectory | None, num_slices: int) -> Trajectory:
    """A path in more slices; NaN in the new ones where the config does not name it any more."""
    coordinates, missed = _padded(existing.coordinates, num_slices), _padded(existing.missed, num_slices)
    if found is not None and found.names == existing.names:
        num = len(existing.coordinates)
        coordinates[num:], missed[num:] = found.coordinates[num:], found.missed[num:]
    return replace(existing, coordinates=coordinates, missed=missed)


def _map(existing: Surface, before: Surface, wanted: Surface) -> Surface:
    """The map of a surface; its fingerprint is made of that of the surface, and stays that of the same settings."""
    grown = _lengthened(existing, wanted)
    record = before.curvature.records.get("map") if before.curvature else None
    settings = record.settings if record else {}
    is_own = fingerprint_of_map(settings, before.fingerprint) == existing.fingerprint
    grown.fingerprint = fingerprint_of_map(settings, wanted.fingerprint) if is_own else ""
    return grown
