"""A surface as one document that describes itself, .json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from pydantic import JsonValue

from landscape_cli.errors import SurfaceError
from landscape_cli.formats.columns import chosen_slices
from landscape_cli.grid import AXES
from landscape_cli.records import Curvature
from landscape_cli.storage import replace_file
from landscape_cli.surface import Direction, Metric, Surface, Trajectory

_Object = dict[str, JsonValue]
_FINITE = (
    "null where a point is not evaluated or a number is not known; "
    'the texts "NaN", "Infinity" and "-Infinity" where that is the value'
)


def write_json(surface: Surface, path: str | os.PathLike[str], *, slice_index: int | None = None) -> list[str]:
    """Replace the file at ``path`` by all that is in a surface file, as strict JSON (RFC 8259).

    Numbers have as many digits as bring back the same 64 bits. There are no NaN and no infinite numbers in JSON:
    ``null`` stands where a point is not evaluated or a number is not known, the texts ``"NaN"``, ``"Infinity"`` and
    ``"-Infinity"`` where that is the value; no standard error is ``"NaN"``.

    Args:
        surface: Whole or partial.
        path: Where to.
        slice_index: One slice of the grid alone; by default all.

    Returns:
        What to know about the file, in sentences: nothing.

    Raises:
        UsageError: There is no such slice.
        OutputError: The file cannot be written; an older file is untouched.
    """
    slices = chosen_slices(surface, slice_index)
    part = surface.of_slices(slices)
    document = {"about": _about(part), "not_finite": _FINITE, **description(part), **_grid(part, slices)}
    if part.trajectory is not None:
        document["trajectory"] = _trajectory(part.trajectory)
    if part.radius is not None:
        document["radius"] = _beside(part.radius, range(part.radius.grid.num_slices))
    if part.curvature is not None:
        document["curvature"] = _curvature(part.curvature)
    if part.curvature_map is not None:
        document["curvature_map"] = _beside(part.curvature_map, slices)
    replace_file(Path(path), dumped(document).encode())
    return []


def description(surface: Surface) -> _Object:
    """What a surface is and where it comes from: everything but the arrays over the grid.

    Args:
        surface: The slices that are meant.
    """
    return {
        "fingerprint": surface.fingerprint,
        "created": surface.created,
        "updated": surface.updated,
        "writer": surface.writer,
        "axes": {
            axis.name: {"coordinates": list(axis.coordinates), **_direction(surface.directions[axis.name])}
            for axis in surface.grid.axes
        },
        "cosine": None if surface.cosine is None else known(surface.cosine),
        "metrics": {name: _centre(metric) for name, metric in surface.metrics.items()},
        "provenance": {
            "config": surface.provenance.config,
            "resolved": strict(surface.provenance.resolved),
            "identity": strict(surface.provenance.identity),
            "environment": strict(list(surface.provenance.environment)),
            "engine": strict(surface.provenance.engine),
        },
    }


def dumped(value: object) -> str:
    """Strict JSON, in ASCII.

    Raises:
        SurfaceError: What a surface file holds is nested too deeply.
    """
    with _not_too_deep():
        return json.dumps(value, allow_nan=False)


def strict(value: object) -> JsonValue:
    """JSON as it is in a file, with the texts ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` in place of such numbers.

    Raises:
        SurfaceError: It is nested too deeply.
    """
    with _not_too_deep():
        found: JsonValue = json.loads(json.dumps(value), parse_constant=str)
        return found


@contextmanager
def _not_too_deep() -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        deep = "what the surface file says of its origin is nested too deeply to be written"
        raise SurfaceError(deep, hint="Export it as .csv, .vts or .vtp.") from error


def known(values: ArrayLike) -> JsonValue:
    """Numbers of any shape, nested; ``null`` for NaN, which means here that a number is not known."""
    return _numbers(values, ~np.isnan(values))


def _about(surface: Surface) -> str:
    names = [axis.name for axis in surface.grid.axes]
    index = "".join(f"[{each}]" for each in ("slice", *"ijk"[: len(names)]))
    place = ", ".join(f"axes.{name}.coordinates[{each}]" for name, each in zip(names, "ijk", strict=False))
    return f"Loss landscape: metrics.<name>.values{index} is the mean at ({place}); 0 is the checkpoint."


def _direction(direction: Direction) -> _Object:
    return {"direction": strict(direction.recipe), "norm": known(direction.norm), "found": strict(direction.found)}


def _centre(metric: Metric) -> _Object:
    is_known = metric.num_examples > 0 or not np.isnan(metric.centre)
    return {
        "num_examples": metric.num_examples or None,
        "centre": _numbers(metric.centre, is_known),
        "centre_standard_error": known(metric.centre_standard_error),
    }


def _grid(surface: Surface, slices: Sequence[int]) -> _Object:
    """What `description` has of the metrics, and the arrays."""
    metrics: _Object = {
        name: {
            **_centre(metric),
            "values": _numbers(metric.values, surface.evaluated),
            "standard_error": _numbers(metric.standard_error, surface.evaluated & ~np.isnan(metric.standard_error)),
        }
        for name, metric in surface.metrics.items()
    }
    return {"slices": list(slices), "metrics": metrics, "evaluated": surface.evaluated.tolist()}


def _beside(surface: Surface, slices: Sequence[int]) -> _Object:
    found = {"about": _about(surface), **description(surface), **_grid(surface, slices)}
    return {key: value for key, value in found.items() if key not in ("created", "updated", "writer", "provenance")}


def _trajectory(path: Trajectory) -> _Object:
    numbers = ("coordinates", "missed", "distance", "explained_variance_ratio")
    return {
        "about": f"coordinates[slice][step][axis], the axes in the order {', '.join(AXES)}",
        "names": list(path.names),
        **{name: known(getattr(path, name)) for name in numbers},
    }


def _curvature(curvature: Curvature) -> _Object:
    records: _Object = {
        name: {
            "values": {key: known(value) for key, value in record.values.items()},
            "settings": strict(record.settings),
            "cost": strict(asdict(record.cost)),
            "method": record.method,
            "notes": list(record.notes),
        }
        for name, record in curvature.records.items()
    }
    return {"records": records, "pending": list(curvature.pending)}


def _numbers(values: ArrayLike, is_known: ArrayLike) -> JsonValue:
    array, mask = np.asarray(values, dtype=np.float64), np.asarray(is_known, dtype=np.bool_)
    finite = np.isfinite(array)
    if (finite & mask).all():
        return array.tolist()  # type: ignore[no-any-return]
    found = array.astype(object)
    for text, where in (("NaN", np.isnan(array)), ("Infinity", array == np.inf), ("-Infinity", array == -np.inf)):
        found[where] = text
    found[~mask] = None
    return found.tolist()  # type: ignore[no-any-return]
