"""The HDF5 files of tomgoldstein/loss-landscape (Li et al. 2018, arXiv:1712.09913), and LightZero's dialect of them.

A surface file holds ``xcoordinates`` (nx,), in 2-D ``ycoordinates`` (ny,), and datasets such as ``train_loss``. The
flat index k of a dataset in 2-D is the point (xcoordinates[k % nx], ycoordinates[k // nx]), although its shape is
declared (nx, ny). A point that is not computed holds -1, accuracy is in percent. In LightZero's files index [i, j] is
the point (xcoordinates[i], ycoordinates[j]), and every point is computed. A direction file holds groups of tensors that
are numbered from 0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import h5py
import numpy as np
from numpy.typing import NDArray

from landscape_cli.errors import DirectionError, SurfaceError, UsageError, did_you_mean
from landscape_cli.formats.columns import beside, chosen_slices, notes_left_out, notes_one_slice
from landscape_cli.formats.imported import UNKNOWN_DIRECTION, Recipe, imported_axis, imported_surface
from landscape_cli.formats.source import opened, read_content, text
from landscape_cli.grid import Axis
from landscape_cli.storage import FORMAT, replace_file
from landscape_cli.surface import BoolArray, FloatArray, Surface

# theirs → ours
_METRICS = {
    "train_loss": "train_loss",
    "train_acc": "train_accuracy",
    "test_loss": "test_loss",
    "test_acc": "test_accuracy",
    "min_eig": "min_eig",
    "max_eig": "max_eig",
}
_PERCENT = ("train_acc", "test_acc")
_CUSTOM = "train_loss_"  # of LightZero, before the name of a metric of the user's own
_AXES = {"x": "xcoordinates", "y": "ycoordinates"}
_SURFACE = "a surface file of tomgoldstein/loss-landscape"
_DIRECTIONS = "a direction file of tomgoldstein/loss-landscape"

Arrange = Callable[[FloatArray], FloatArray]


def _not_computed(name: str) -> float:
    return 1.0 if name == "min_eig" else -1.0


# ---------------------------------------------------------------- surfaces


def read_tomgoldstein(path: str | os.PathLike[str]) -> Surface:
    """Read a surface file as the original program writes it.

    A point is evaluated where no metric holds its sentinel; NaN and infinite values are values.

    Raises:
        SurfaceError: The file is missing, foreign or not self-contained.
    """
    path = Path(path)
    content = read_content(path, SurfaceError)
    with opened(content, path, SurfaceError, expected=_SURFACE) as file:
        axes = _axes(file, path)
        shape = tuple(len(axis) for axis in axes)
        shapes = (shape, shape[::-1])  # forks that draw planes with nx != ny declare (ny, nx), in the same flat order
        stored = {name: _values(file, name, shapes, path) for name in _METRICS if name in file}
        if not stored:
            raise SurfaceError(f"{path}: no values; found {_listed(file)}", hint=_hint_custom(file))
        recipes, notes = _recipes(file, axes, content), _notes_left_out(file, {*_AXES.values(), *_METRICS, "dir_file"})
        if "dir_file" not in file and len(axes) == 2:
            notes.append("no dir_file: if this is a file of LightZero, x and y are swapped; use --from lightzero")
    arranged = {name: values.reshape(shape[::-1]).T for name, values in stored.items()}  # (ny, nx) → (nx, ny)
    arranged, evaluated, more = _without_sentinels(arranged)
    return imported_surface(
        path,
        content,
        dialect="tomgoldstein",
        axes=axes,
        values=_fractions(arranged),
        evaluated=evaluated,
        recipes=recipes,
        notes=[*notes, *more, *_notes_percent(arranged, evaluated)],
    )


def read_lightzero(path: str | os.PathLike[str]) -> Surface:
    """Read a surface file of LightZero; its own metrics keep their names (``train_loss_<name>``) and units.

    Raises:
        SurfaceError: The file is missing, foreign or not self-contained.
    """
    path = Path(path)
    content = read_content(path, SurfaceError)
    with opened(content, path, SurfaceError, expected="a surface file of LightZero") as file:
        axes = _axes(file, path)
        shape = tuple(len(axis) for axis in axes)
        names = [name for name in file if name in _METRICS or _is_custom(file, name)]
        stored = {name: _values(file, name, [shape], path) for name in sorted(names, key=_rank)}
        if not stored:
            raise SurfaceError(f"{path}: no values; found {_listed(file)}", hint="Expected train_loss, train_loss_….")
        recipes, notes = _recipes(file, axes, content), _notes_left_out(file, {*_AXES.values(), *names, "dir_file"})
        if "dir_file" in file:
            notes.append("it has a dir_file, as files of the original do: if it is one, use --from tomgoldstein")
    evaluated = np.ones(shape, dtype=np.bool_)  # it saves when all is computed; -1 is a value
    return imported_surface(
        path,
        content,
        dialect="lightzero",
        axes=axes,
        values=_fractions(stored),
        evaluated=evaluated,
        recipes=recipes,
        notes=[*notes, *_notes_percent(stored, evaluated)],
    )


def _axes(file: h5py.File, path: Path) -> list[Axis]:
    if file.attrs.get("format") == FORMAT:
        raise SurfaceError(
            f"{path}: is a surface file of landscape already; expected {_SURFACE}", hint=f"See: landscape info {path}"
        )
    if "xcoordinates" not in file and any(name in file for name in ("xdirection", "ydirection")):
        raise SurfaceError(
            f"{path}: holds directions, not a surface; expected {_SURFACE}",
            hint="Follow them in a scan: direction: {_target_: file, path: …}",
        )
    if "xcoordinates" not in file:
        raise SurfaceError(f"{path}: no xcoordinates; found {_listed(file)}; expected {_SURFACE}")
    return [
        imported_axis(name, _numbers(file, label, path)[()], path=path, label=label)
        for name, label in _AXES.items()
        if label in file
    ]


def _values(file: h5py.File, name: str, shapes: Sequence[tuple[int, ...]], path: Path) -> FloatArray:
    dataset = _numbers(file, name, path)
    if dataset.shape not in shapes:
        raise SurfaceError(f"{path}: {name}: found the shape {dataset.shape}; the coordinates say {shapes[0]}")
    return cast(FloatArray, dataset[()].astype(np.float64))


def _numbers(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise SurfaceError(f"{path}: {name} is a group; expected a dataset")
    if dataset.dtype.kind not in "iuf" or not dataset.shape:
        raise SurfaceError(f"{path}: {name}: found {dataset.dtype} of shape {dataset.shape}; expected real numbers")
    return dataset


def _recipes(file: h5py.File, axes: Sequence[Axis], content: bytes) -> dict[str, Recipe]:
    directions = text(file["dir_file"], content) if "dir_file" in file else ""
    if not directions:
        return {axis.name: UNKNOWN_DIRECTION for axis in axes}
    return {axis.name: {"_target_": "file", "path": directions, "name": f"{axis.name}direction"} for axis in axes}


def _without_sentinels(values: Mapping[str, FloatArray]) -> tuple[dict[str, FloatArray], BoolArray, list[str]]:
    """The metrics that were begun, the points where all of them are computed, and what is lost thereby."""
    computed = {name: each != _not_computed(name) for name, each in values.items()}
    begun = [name for name, mask in computed.items() if mask.any()] or list(values)
    notes = [f"left out: {name} (not computed at any point)" for name in values if name not in begun]
    evaluated: BoolArray = np.all([computed[name] for name in begun], axis=0)
    partly = int(np.any([computed[name] for name in begun], axis=0).sum() - evaluated.sum())
    if partly:
        notes.append(f"{partly:,} points count as not evaluated: some of {', '.join(begun)} are not computed there")
    return {name: values[name] for name in begun}, evaluated, notes


def _fractions(values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {_METRICS.get(name, name): each / 100 if name in _PERCENT else each for name, each in values.items()}


def _notes_percent(values: Mapping[str, FloatArray], evaluated: BoolArray) -> list[str]:
    shares = {name: values[name][evaluated] for name in _PERCENT if name in values}
    return [
        f"{name} is at most {each.max():g}: read as percent; if these are fractions, they are now 100 times too small"
        for name, each in shares.items()
        if each.size and 0 < each.max() <= 1
    ]


def _notes_left_out(file: h5py.File, known: set[str]) -> list[str]:
    unknown = [name for name in file if name not in known]
    return [f"left out: {', '.join(unknown)}"] if unknown else []


def _is_custom(file: h5py.File, name: str) -> bool:
    # a name that ends in _std would be the standard deviation of another metric in our file
    return name.startswith(_CUSTOM) and not name.endswith("_std") and isinstance(file[name], h5py.Dataset)


def _hint_custom(file: h5py.File) -> str:
    if any(name.startswith(_CUSTOM) for name in file):
        return "train_loss_… are written by LightZero: use --from lightzero"
    return f"Expected at least one of {', '.join(_METRICS)}: has anything been computed?"


def _rank(name: str) -> int:
    return list(_METRICS).index(name) if name in _METRICS else len(_METRICS)


def _listed(file: h5py.File) -> str:
    return ", ".join(file) or "nothing"


# ---------------------------------------------------------------- export


def write_tomgoldstein(surface: Surface, path: str | os.PathLike[str], *, slice_index: int | None = None) -> list[str]:
    """Replace the file at ``path`` by one slice of a surface, as the original program would have written it.

    Args:
        surface: Whole or partial, of one or two axes.
        path: Where to.
        slice_index: Which slice; by default the first.

    Returns:
        What to know about the file, in sentences.

    Raises:
        UsageError: The surface has three axes, no such slice, or nothing that the format has a place for.
        OutputError: The file cannot be written; an older file is untouched.
    """
    path, axes = Path(path), surface.grid.axes
    if len(axes) > len(_AXES):
        raise UsageError(f"{path}: files of tomgoldstein/loss-landscape have one or two axes; this surface has three")
    index = chosen_slices(surface, slice_index)[0]
    left_out = [name for name in surface.metrics if name not in _METRICS.values()]
    if len(left_out) == len(surface.metrics):
        expected = ", ".join(_METRICS.values())
        raise UsageError(f"{path}: nothing to write; found {', '.join(surface.metrics)}; expected one of {expected}")
    with h5py.File("surface.h5", "w", driver="core", backing_store=False) as file:
        file["dir_file"] = _direction_file(surface)
        for axis in axes:
            file[_AXES[axis.name]] = np.asarray(axis.coordinates)
        for theirs, ours in _METRICS.items():
            if ours in surface.metrics:
                file[theirs] = _stored(theirs, surface[ours][index], surface.evaluated[index])
        file.flush()
        content = cast(bytes, file.id.get_file_image())
    replace_file(path, content)
    return [
        *notes_one_slice(surface, slice_index),
        *notes_left_out("tomgoldstein", [*left_out, *beside(surface)]),
    ]


def _stored(name: str, values: FloatArray, evaluated: BoolArray) -> FloatArray:
    """(nx,) or (nx, ny) in their order and units, with their sentinel."""
    sentinel = _not_computed(name)
    values = values * 100 if name in _PERCENT else values
    values = np.where(values == sentinel, math.nextafter(sentinel, 0.0), values)  # or it would be lost
    return np.where(evaluated, values, sentinel).T.reshape(values.shape)


def _direction_file(surface: Surface) -> str:
    recipe = surface.directions["x"].recipe
    return str(recipe.get("path", "")) if recipe.get("_target_") == "file" else ""


# ---------------------------------------------------------------- directions


def read_directions(path: str | os.PathLike[str], name: str) -> list[NDArray[np.generic]]:
    """Read the tensors of one direction, in the order of their numbers, in the types in which they are stored.

    Args:
        path: A direction file.
        name: ``xdirection`` or ``ydirection``.

    Raises:
        DirectionError: The file is missing, foreign or not self-contained, or has no such direction.
    """
    path = Path(path)
    content = read_content(path, DirectionError)
    with opened(content, path, DirectionError, expected=_DIRECTIONS) as file:
        groups = [key for key in file if isinstance(file[key], h5py.Group)]
        if not groups:
            raise DirectionError(f"{path}: no directions; found {_listed(file)}; expected {_DIRECTIONS}")
        if name not in groups:
            raise DirectionError(f"{path}: no direction {name!r}{did_you_mean(name, groups)}")
        group = file[name]
        numbers = [str(i) for i in range(len(group))]
        missing = [number for number in numbers if number not in group]
        if missing or not numbers:
            found = f"{len(group)} entries" if numbers else "nothing"
            first = f", but no {missing[0]!r}" if missing else ""
            raise DirectionError(f"{path}: {name}: found {found}{first}; expected tensors numbered from 0")
        return [_tensor(group[number], path) for number in numbers]


def _tensor(dataset: h5py.Dataset | h5py.Group, path: Path) -> NDArray[np.generic]:
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.dtype.kind not in "iuf":
        kind = dataset.dtype if isinstance(dataset, h5py.Dataset) else "a group"
        raise DirectionError(f"{path}: {dataset.name}: found {kind}; expected a tensor of real numbers")
    native = dataset.dtype.newbyteorder("=")  # torch takes no other
    return np.asarray(dataset[()], dtype=native)
