"""Directions from files: those of tomgoldstein/loss-landscape, and those that a scan has saved."""

from __future__ import annotations

from collections.abc import Iterable
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
    expected, left_out = {**context.params, **sources.statistics}, []
    for i, (alias, array) in enumerate(zip(orders[len(arrays)], arrays, strict=True)):
        entry, tensor = sources.first_names.get(alias, alias), torch.from_numpy(array)
        if entry in expected:
            _check(tensor, expected[entry], f"{path}: tensor {i} of {name}", entry)
            if entry in tensors:
                _check_tied(tensors[entry], tensor, f"{path}: tensor {i} of {name}", (entry, alias), sources)
            tensors[entry] = tensor
        elif entry not in sources.parameter_names and not entry.endswith(_COUNTER) and bool(tensor.any()):
            left_out.append(entry)
    if left_out:
        sources.note(
            f"warning: {path}: {name} moves {', '.join(left_out[:5])} too, no parameters and no BatchNorm statistics: "
            "they stay as they are, so this is not the surface that the original program computes"
        )
    return _movable(tensors, context, sources)


def _check(tensor: Tensor, like: Tensor, what: str, entry: str) -> None:
    if tensor.shape != like.shape:
        raise DirectionError(
            f"{what} has the shape {tuple(tensor.shape)}; {entry} of this model has {tuple(like.shape)}",
            hint="It is a direction file of another model.",
        )
    if not bool(torch.isfinite(tensor).all()):
        raise DirectionError(
            f"{what} ({entry}) holds NaN or infinite values", hint="The file is damaged; make it anew."
        )


def _check_tied(first: Tensor, second: Tensor, what: str, names: tuple[str, str], sources: Sources) -> None:
    """A file of states holds a tied tensor once per name, and the original program moves it by the sum of them."""
    if not torch.equal(first, second):
        raise DirectionError(
            f"{what} differs from that of {names[0]}, but {' and '.join(names)} are one tensor of this model",
            hint="Make the direction with dir_type weights, where it stands once.",
        )
    sources.note(
        f"note: {' and '.join(names)} are one tensor, which moves once; the original program moves it once per name"
    )


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
            num_slices = _num_slices(names)
            prefix = f"{context.slice_index if num_slices > 1 else 0}/{name}/"
            if not any(key.startswith(prefix) for key in names):
                raise DirectionError(
                    f"{path}: no direction {prefix[:-1]}; it has {num_slices} slices",
                    hint=f"Its directions are for slices.num: {num_slices} or fewer.",
                )
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
        if entry in known:
            _check(tensor, known[entry], f"{path}: {prefix}{entry}", entry)
    whole = {entry: tensors.get(entry, torch.zeros_like(tensor)) for entry, tensor in known.items()}
    return _movable(whole, context, sources)


def num_saved_slices(path: Path) -> int:
    """How many slices a file of ``directions: save`` has."""
    with safe_open(path, framework="pt") as file:
        return _num_slices(file.keys())


def _num_slices(names: Iterable[str]) -> int:
    return len({name.split("/")[0] for name in names})


def image_of(directions: dict[tuple[int, str], Params]) -> bytes:
    """The directions of slices and axes as a safetensors file, each tensor under ``slice/axis/parameter``."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for (slice_index, axis), direction in directions.items():
        for name, tensor in direction.items():
            whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
            if not whole or tensor.data_ptr() in seen:  # safetensors wants each in memory of its own
                tensor = tensor.contiguous().clone()  # noqa: PLW2901
            seen.add(tensor.data_ptr())
            tensors[f"{slice_index}/{axis}/{name}"] = tensor
    return save(tensors, metadata={"format": "landscape-directions"})
