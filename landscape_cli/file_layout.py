"""What lies where in a surface file: surfaces ↔ HDF5 groups. Normative page: docs/file-format.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import cast

import h5py
import numpy as np
from pydantic import JsonValue

from landscape_cli.grid import AXES, Axis, Grid
from landscape_cli.records import Cost, Curvature, Record
from landscape_cli.surface import Direction, FloatArray, Metric, Provenance, Surface, Trajectory

# ---------------------------------------------------------------- write


def write_surface(surface: Surface, file: h5py.File) -> None:
    """Put a surface into an empty file, all but the attributes that say what kind of file it is."""
    _write_grid(surface, file)
    if surface.trajectory is not None:
        _write_trajectory(surface.trajectory, file.create_group("trajectory"))
    if surface.radius is not None:
        _write_grid(surface.radius, file.create_group("radius"))
    if surface.curvature is not None:
        _write_curvature(surface.curvature, file.create_group("curvature"))
    if surface.curvature_map is not None:
        _write_grid(surface.curvature_map, file.create_group("curvature_map"))
    group = file.create_group("provenance")
    group["config"] = surface.provenance.config
    group["resolved"] = _dump(surface.provenance.resolved)
    group["identity"] = _dump(surface.provenance.identity)
    group["environment"] = _dump(list(surface.provenance.environment))
    group["engine"] = _dump(surface.provenance.engine)


def _write_grid(surface: Surface, group: h5py.Group) -> None:
    group.attrs["fingerprint"] = surface.fingerprint
    group.attrs["metrics"] = _dump(list(surface.metrics))
    scales = [group.create_dataset("slice", data=np.arange(surface.grid.num_slices, dtype=np.int64))]
    scales[0].make_scale("slice")
    for axis in surface.grid.axes:
        scale = group.create_dataset(axis.name, data=np.asarray(axis.coordinates, dtype=np.float64))
        direction = surface.directions[axis.name]
        scale.attrs["direction"] = _dump(direction.recipe)
        scale.attrs["norm"] = np.asarray(direction.norm, dtype=np.float64)
        if direction.found:
            scale.attrs["found"] = _dump(direction.found)
        scale.make_scale(axis.name)
        scales.append(scale)
    # contiguous, no compression: chunked and gzipped files were the ones that broke when a writer was killed
    for name, metric in surface.metrics.items():
        values = group.create_dataset(name, data=metric.values)
        values.attrs.update(centre=metric.centre, centre_std=metric.centre_std, num_examples=metric.num_examples)
        std = group.create_dataset(f"{name}_std", data=metric.std)
        _attach(scales, values, std)
    evaluated = group.create_dataset("evaluated", data=surface.evaluated.astype(np.uint8))
    _attach(scales, evaluated)
    if surface.cosine is not None:
        group["cosine"] = np.asarray(surface.cosine, dtype=np.float64)


def _write_trajectory(trajectory: Trajectory, group: h5py.Group) -> None:
    group["names"] = _dump(list(trajectory.names))
    for name in ("coordinates", "missed", "distance", "explained_variance_ratio"):
        group[name] = np.asarray(getattr(trajectory, name), dtype=np.float64)


def _write_curvature(curvature: Curvature, group: h5py.Group) -> None:
    group.attrs["pending"] = _dump(list(curvature.pending))
    for name, record in curvature.records.items():
        part = group.create_group(name)
        part.attrs["settings"] = _dump(record.settings)
        part.attrs["cost"] = _dump(asdict(record.cost))
        part.attrs["method"] = record.method
        part.attrs["notes"] = _dump(list(record.notes))
        for key, value in record.values.items():
            part.create_dataset(key, data=np.asarray(value, dtype=np.float64))


def _attach(scales: list[h5py.Dataset], *datasets: h5py.Dataset) -> None:
    for dataset in datasets:
        for dimension, scale in zip(dataset.dims, scales, strict=True):
            dimension.attach_scale(scale)


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True)  # ASCII: file names may hold bytes that are not UTF-8


# ---------------------------------------------------------------- read


def read_surface(file: h5py.File) -> Surface:
    """Read what `write_surface` has written, or another program by the same page.

    Raises:
        ValueError: Something is not what the page says; also other errors of h5py, json and numpy.
    """
    group = file["provenance"]
    environment = json.loads(_text(group["environment"]))
    if not isinstance(environment, list):
        raise ValueError("environment is not a list")  # noqa: TRY004  # a malformed file, not a bug
    provenance = Provenance(
        config=_text(group["config"]),
        resolved=_load(_text(group["resolved"])),
        identity=_load(_text(group["identity"])),
        environment=environment,
        engine=_load(_text(group["engine"])) if "engine" in group else {},
    )
    surface = _read_grid(file, provenance)
    surface.created, surface.updated = str(file.attrs["created"]), str(file.attrs["updated"])
    surface.writer = str(file.attrs["writer"])
    surface.trajectory = _read_trajectory(file["trajectory"], surface.grid) if "trajectory" in file else None
    surface.radius = _read_grid(file["radius"], provenance) if "radius" in file else None
    surface.curvature = _read_curvature(file["curvature"]) if "curvature" in file else None
    surface.curvature_map = _read_map(file["curvature_map"], surface) if "curvature_map" in file else None
    return surface


def _read_grid(group: h5py.Group, provenance: Provenance) -> Surface:
    axes = tuple(Axis(name, tuple(group[name][()].tolist())) for name in AXES if name in group)
    grid = Grid(axes, len(group["slice"]))
    directions = {
        axis.name: Direction(
            _load(group[axis.name].attrs["direction"]),
            _norm(group[axis.name], grid),
            _load(group[axis.name].attrs.get("found", "{}")),
        )
        for axis in axes
    }
    metrics = {name: _read_metric(group, name, grid) for name in json.loads(group.attrs["metrics"])}
    if not metrics:
        raise ValueError("it holds no metrics")
    return Surface(
        grid=grid,
        metrics=metrics,
        directions=directions,
        fingerprint=str(group.attrs["fingerprint"]),
        evaluated=_shaped(group["evaluated"], grid.shape).astype(np.bool_),
        provenance=provenance,
        cosine=_shaped(group["cosine"], (grid.num_slices, len(axes), len(axes))) if "cosine" in group else None,
    )


def _read_map(group: h5py.Group, surface: Surface) -> Surface:
    found = _read_grid(group, surface.provenance)
    if found.grid != surface.grid:
        raise ValueError(f"{group.name} has other axes or slices than the grid")
    return found


def _read_trajectory(group: h5py.Group, grid: Grid) -> Trajectory:
    names = json.loads(_text(group["names"]))
    if not isinstance(names, list):
        raise ValueError("the names of the trajectory are not a list")  # noqa: TRY004  # a malformed file, not a bug
    slices, num, axes = grid.num_slices, len(names), len(grid.axes)
    return Trajectory(
        names=tuple(map(str, names)),
        coordinates=_shaped(group["coordinates"], (slices, num, axes)),
        missed=_shaped(group["missed"], (slices, num)),
        distance=_shaped(group["distance"], (num,)),
        explained_variance_ratio=_shaped(group["explained_variance_ratio"], (axes,)),
    )


def _read_curvature(group: h5py.Group) -> Curvature:
    records = {}
    for name, part in group.items():
        cost = _load(part.attrs["cost"])
        records[name] = Record(
            values={key: _real(dataset) for key, dataset in part.items()},
            settings=_load(part.attrs["settings"]),
            cost=Cost(*(int(str(cost[each])) for each in ("losses", "gradients", "products"))),
            method=str(part.attrs["method"]),
            notes=tuple(map(str, json.loads(part.attrs["notes"]))),
        )
    return Curvature(records, tuple(map(str, json.loads(group.attrs["pending"]))))


def _read_metric(group: h5py.Group, name: str, grid: Grid) -> Metric:
    values, std = (_shaped(group[each], grid.shape) for each in (name, f"{name}_std"))
    attributes = group[name].attrs
    num_examples = int(attributes["num_examples"])
    if num_examples < 0:
        raise ValueError(f"{name} is a mean over {num_examples} examples")
    return Metric(
        values=values,
        std=std,
        centre=float(attributes["centre"]),
        centre_std=float(attributes["centre_std"]),
        num_examples=num_examples,
    )


def _norm(scale: h5py.Dataset, grid: Grid) -> tuple[float, ...]:
    norm = tuple(scale.attrs["norm"].tolist())
    if len(norm) != grid.num_slices:
        raise ValueError(f"{scale.name} has the norm of {len(norm)} slices; the file has {grid.num_slices}")
    return norm


def _shaped(dataset: h5py.Dataset, shape: tuple[int, ...]) -> FloatArray:
    if dataset.shape != shape:
        raise ValueError(f"{dataset.name} has shape {dataset.shape}; expected {shape}")
    return _real(dataset)


def _real(dataset: h5py.Dataset) -> FloatArray:
    if dataset.dtype.kind not in "biuf":
        raise ValueError(f"{dataset.name} is of type {dataset.dtype}; expected real numbers")
    return cast(FloatArray, np.asarray(dataset[()], dtype=np.float64))


def _text(dataset: h5py.Dataset) -> str:
    if dataset.shape != ():  # many that stand in one place of the file would be gigabytes
        raise ValueError(f"{dataset.name} has shape {dataset.shape}; expected one text")
    return str(dataset.asstr()[()])


def _load(text: str) -> Mapping[str, JsonValue]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {text[:40]}")  # noqa: TRY004  # a damaged file, not a bug
    return value
