"""Directions from files: those of tomgoldstein/loss-landscape, and those that a scan has saved."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from landscape_cli.compute.directions.context import Context, Sources
from landscape_cli.compute.subspace import Params
from landscape_cli.errors import DirectionError, did_you_mean
from landscape_cli.formats.tomgoldstein import read_directions

_COUNTER = "num_batches_tracked"


def from_file(context: Context, *, path: str, name: str | None = None) -> Params:
    """A direction as it stands in a file; nothing is normalised.

    Args:
        context: Names and shapes that it must have.
        path: A file of ``directions: save`` (.safetensors), or a direction file of tomgoldstein/loss-landscape (HDF5):
            of ``weights`` or of ``states``, with or without the counters of BatchNorm.
        name: Which one; by default ``x``, ``y``, ``z`` or ``xdirection``, ``ydirection``, as the axis.

    Raises:
        DirectionError: The file is missing, foreign or of another model.
    """
    assert context.sources is not None  # a scan has them
    file = Path(path).expanduser()
    if file.suffix == ".safetensors":
        return _saved(file, name or context.axis, context, context.sources)
    return _of_tomgoldstein(file, name or f"{context.axis}direction", context, context.sources)


def _of_tomgoldstein(path: Path, name: str, context: Context, sources: Sources) -> Params:
    """The file holds tensors without names, in the order of the parameters or of the state dict."""
    arrays = read_directions(path, name)
    without_counters = tuple(each for each in sources.state_names if not each.endswith(_COUNTER))
    orders = {len(names): names for names in (sources.state_names, without_counters, sources.parameter_names)}
    if len(arrays) not in orders:
        raise DirectionError(
            f"{path}: {name} has {len(arrays)} tensors; this model has {len(sources.parameter_names)} parameters, and "
            f"{len(without_counters)} or {len(sources.state_names)} entries in its state dict",
            hint="It is a direction file of another model.",
        )
    tensors: Params = {}
    expected = {**context.params, **sources.statistics}
    for i, (entry, array) in enumerate(zip(orders[len(arrays)], arrays, strict=True)):
        if entry in expected:
            tensor = torch.from_numpy(array)
            if tensor.shape != expected[entry].shape:
                raise DirectionError(
                    f"{path}: tensor {i} of {name} has the shape {tuple(tensor.shape)}; {entry} of this model has "
                    f"{tuple(expected[entry].shape)}",
                    hint="It is a direction file of another model.",
                )
            tensors[entry] = tensor
    return _movable(tensors, context, sources)


def _movable(tensors: Params, context: Context, sources: Sources) -> Params:
    """The part of a direction that can move, in the types of the parameters."""
    found = {name: tensors[name].to(tensor.dtype) for name, tensor in context.params.items()}
    moved = {name: tensors[name].to(like.dtype) for name, like in sources.statistics.items() if name in tensors}
    if sources.moves_statistics:
        return found | moved
    if any(bool(tensor.any()) for tensor in moved.values()):
        sources.note(
            f"note: the direction of the {context.axis} axis moves BatchNorm statistics too, which are frozen here; to "
            "follow it: evaluation.batchnorm: interpolate"
        )
    return found


def _saved(path: Path, name: str, context: Context, sources: Sources) -> Params:
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            axes = sorted({key.split("/")[1] for key in names if key.count("/") >= 2})
            if name not in axes:
                raise DirectionError(f"{path}: there is no direction {name!r}{did_you_mean(name, axes)}")
            number = context.slice_index if any(key.startswith(f"{context.slice_index}/") for key in names) else 0
            prefix = f"{number}/{name}/"
            tensors = {key.removeprefix(prefix): file.get_tensor(key) for key in names if key.startswith(prefix)}
    except FileNotFoundError as error:
        raise DirectionError(f"{path}: no such file", hint="Paths are relative to the working directory.") from error
    except (SafetensorError, OSError) as error:
        raise DirectionError(
            f"{path}: not a readable safetensors file: {error}", hint="Expected one that directions: save has written."
        ) from error
    known = {**context.params, **sources.statistics}
    known_names = {*sources.parameter_names, *known}
    foreign = sorted(set(tensors) - known_names)
    if foreign:
        raise DirectionError(
            f"{path}: it moves {foreign[0]}, which this model does not have", hint="It was saved for another model."
        )
    for entry, tensor in tensors.items():
        if entry in known and tensor.shape != known[entry].shape:
            raise DirectionError(
                f"{path}: {entry} has the shape {tuple(tensor.shape)}; in this model {tuple(known[entry].shape)}",
                hint="It was saved for another model.",
            )
    whole = {entry: tensors.get(entry, torch.zeros_like(tensor)) for entry, tensor in known.items()}
    return _movable(whole, context, sources)


def image_of(directions: dict[tuple[int, str], Params]) -> bytes:
    """The directions of slices and axes as a safetensors file, each tensor under ``slice/axis/parameter``."""
    tensors: dict[str, Tensor] = {
        f"{slice_index}/{axis}/{name}": tensor.contiguous().clone()
        for (slice_index, axis), direction in directions.items()
        for name, tensor in direction.items()
    }
    return save(tensors, metadata={"format": "landscape-directions"})
