"""A surface as a NetCDF file, .nc, for xarray and everything else that reads the classic format."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.io import netcdf_file

from landscape_cli.errors import UsageError
from landscape_cli.formats.columns import Column, beside, chosen_slices, columns, notes_left_out, notes_renamed
from landscape_cli.formats.json_document import description, dumped, strict
from landscape_cli.storage import replace_file
from landscape_cli.surface import Surface, Trajectory

_Variable = tuple[str, tuple[str, ...], NDArray[np.generic], dict[str, object]]
_MAX_BYTES = 1 << 32  # of one variable, with 64-bit offsets
_NATS = ("cross_entropy", "nll", "bce")


def write_netcdf(surface: Surface, path: str | os.PathLike[str], *, slice_index: int | None = None) -> list[str]:
    """Replace the file at ``path`` by a NetCDF-3 file with 64-bit offsets and the dimensions slice, x[, y[, z]].

    A variable for each metric, ``<metric>_standard_error`` and ``evaluated`` (0 or 1) on the grid, NaN where not
    evaluated; of a path of checkpoints ``trajectory_x`` … and ``trajectory_missed`` over (slice, step). Variables have
    the attributes units and long_name; provenance is JSON in an attribute of the file.

    Args:
        surface: Whole or partial.
        path: Where to.
        slice_index: One slice alone, which is then a dimension of length 1; by default all.

    Returns:
        What to know about the file, in sentences.

    Raises:
        UsageError: There is no such slice, or a metric is larger than the format allows.
        OutputError: The file cannot be written; an older file is untouched.
    """
    slices = chosen_slices(surface, slice_index)
    part = surface.of_slices(slices)
    found = columns(part)
    if found[0].values.nbytes >= _MAX_BYTES:
        raise UsageError(f"{path}: NetCDF-3 has no place for more than 4 GiB a metric", hint="Export one --slice.")
    variables = [*_places(part, slices), *_on_grid(part, found)]
    if part.trajectory is not None:
        variables += _path(part.trajectory, [axis.name for axis in part.grid.axes])
    replace_file(Path(path), _file(variables, _attributes(part)))
    return [*notes_left_out("nc", beside(surface, trajectory=False)), *notes_renamed(found)]


def _places(part: Surface, slices: Sequence[int]) -> Iterator[_Variable]:
    draw = _about("independent draw of the random directions")
    yield "slice", ("slice",), np.array(slices, dtype=np.int32), draw
    for axis in part.grid.axes:
        direction = part.directions[axis.name]
        about = _about(f"multiples of the direction of axis {axis.name}") | {"norm": np.array(direction.norm)}
        about |= {"direction": dumped(strict(direction.recipe)), "found": dumped(strict(direction.found))}
        yield axis.name, (axis.name,), np.array(axis.coordinates), about


def _on_grid(part: Surface, found: Sequence[Column]) -> Iterator[_Variable]:
    dims = ("slice", *(axis.name for axis in part.grid.axes))
    flags = {"flag_values": np.array([0, 1], dtype=np.int8), "flag_meanings": "not_evaluated evaluated"}
    yield "evaluated", dims, part.evaluated.astype(np.int8), _about("1 where the values are final") | flags
    for column in found:
        units, error = _units(column.metric, part.provenance.resolved), f"{column.name}_standard_error"
        mean = _about(column.metric, units) | {"_FillValue": np.float64(np.nan), "ancillary_variables": error}
        metric = part.metrics[column.metric]
        mean |= {"centre": metric.centre, "centre_standard_error": metric.centre_standard_error}
        examples = {"num_examples": np.float64(metric.num_examples)} if metric.num_examples else {}
        yield column.name, dims, column.values, mean | examples
        about = _about(f"standard error of {column.metric}", units) | {"_FillValue": np.float64(np.nan)}
        yield error, dims, column.standard_error, about


def _path(path: Trajectory, axes: Sequence[str]) -> Iterator[_Variable]:
    names = {"names": dumped(path.names)}
    yield "step", ("step",), np.arange(len(path.names), dtype=np.int32), _about("checkpoints of the path") | names
    over = ("slice", "step")
    for index, name in enumerate(axes):
        about = _about(f"{name} of the projection of a checkpoint")
        yield f"trajectory_{name}", over, path.coordinates[:, :, index], about
    missed = _about("share of the displacement from the centre that the projection misses")
    yield "trajectory_missed", over, path.missed, missed
    yield "trajectory_distance", ("step",), path.distance, _about("Euclidean length of that displacement")


def _about(long_name: str, units: str = "1") -> dict[str, object]:
    return {"long_name": long_name, "units": units}


def _units(metric: str, resolved: Mapping[str, JsonValue]) -> str:
    """Nats where the loss is known to be in nats; shares and everything else are plain numbers."""
    loss = resolved.get("loss")
    target = loss.get("_target_") if isinstance(loss, dict) else loss
    return "nat" if metric.endswith("_loss") and target in _NATS else "1"


def _attributes(part: Surface) -> dict[str, object]:
    facts = description(part)
    texts = {name: str(facts[name]) for name in ("writer", "created", "updated", "fingerprint")}
    return {"title": "loss landscape", **texts, "attributes": dumped(facts)}


def _file(variables: Sequence[_Variable], attributes: Mapping[str, object]) -> bytes:
    content = io.BytesIO()
    with netcdf_file(content, "w", version=2) as file:
        for name, value in attributes.items():
            _set(file, name, value)
        for name, dims, values, about in variables:
            for dim, length in zip(dims, values.shape, strict=True):
                if dim not in file.dimensions:
                    file.createDimension(dim, length)
            variable = file.createVariable(name, values.dtype.newbyteorder("="), dims)
            variable[:] = values
            for key, value in about.items():
                _set(variable, key, value)
        file.flush()
        return content.getvalue()  # closing the file closes it, too


def _set(target: object, name: str, value: object) -> None:
    """An attribute; texts as UTF-8, for scipy takes no other, and empty ones not at all."""
    encoded = value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value
    if not isinstance(encoded, bytes) or encoded:
        setattr(target, name, encoded)
