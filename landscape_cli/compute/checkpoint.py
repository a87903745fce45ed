"""File → weights in a model (weights_only, safetensors), sha256; the only torch.load."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from landscape_cli.compute.matching import Fit, StateDict, match
from landscape_cli.config import CheckpointConfig
from landscape_cli.errors import CheckpointError, did_you_mean

_MAX_DEPTH = 3


@dataclass(frozen=True)
class Loaded:
    """What was put into the model.

    Attributes:
        sha256: Of the checkpoint file.
        num_matched: Tensors of the model that came from the file.
        num_tensors: Tensors the model has.
        notes: What was found and repaired, one sentence each.
    """

    sha256: str
    num_matched: int
    num_tensors: int
    notes: tuple[str, ...]


def load_weights(
    model: nn.Module,
    config: CheckpointConfig,
    *,
    where: str = "checkpoint",
    unsafe: bool = False,
    is_other: bool = False,
) -> Loaded:
    """Load a checkpoint into ``model``, in place.

    Finds the state dict inside the file and repairs the prefixes that DataParallel, torch.compile, Lightning and the
    like add.

    Args:
        model: Receives the weights, cast to the types of its own tensors.
        config: Path, and how to choose and match.
        where: ``file:line: key`` of the config, for messages.
        unsafe: Unpickle arbitrary objects, which runs whatever code the file contains.
        is_other: It is not the checkpoint of the scan, but one that a direction or a trajectory names.

    Raises:
        CheckpointError: The file is missing, unsafe or unreadable, its weights are ambiguous, do not fit the model,
            or are not finite.
    """
    path = config.path.expanduser()
    before = _stamp(path)
    content = _read(path, where, unsafe=unsafe)
    candidates = _choose_key(content, config, where)
    fits = {
        key: match(state, model, config.prefix, strict=config.strict, where=str(path))
        for key, state in candidates.items()
    }
    key, fit = _best(fits, config)
    if not fit.complete and (config.strict or not fit.matched):
        hint = _OTHER if is_other else _mismatch_hint(fit, config.prefix)
        raise CheckpointError(f"{path}: {_name(key)} does not fit the model\n{fit.table()}", hint=hint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of casts, which our notes name
        model.load_state_dict(dict(fit.matched), strict=False)
    _check_finite(model, path)
    sha256 = sha256_of(path)
    if _stamp(path) != before:
        raise CheckpointError(f"{path}: was replaced while it was read", hint="Run the same command again.")
    notes = ([f"weights found under {key!r}"] if key else []) + [*fit.notes()]
    return Loaded(sha256, len(fit.matched), len(model.state_dict()), tuple(notes))


def _best(fits: Mapping[str, Fit], config: CheckpointConfig) -> tuple[str, Fit]:
    """The entry that fits completely, else the one that fits best; several equally good ones are refused."""
    best = [key for key, fit in fits.items() if fit.complete]
    if not best:
        most = max(len(fit.matched) for fit in fits.values())
        best = [key for key, fit in fits.items() if len(fit.matched) == most]
        if config.strict or not most:  # it will be refused: any of them can be shown
            best = best[:1]
    if len(best) > 1:
        raise CheckpointError(
            f"{config.path}: several entries fit the model: {', '.join(map(_name, best))}",
            hint=f"Choose one, for example: --set checkpoint.key={next(filter(None, best))}",
        )
    return best[0], fits[best[0]]


_OTHER = "It must be of the same model as the checkpoint of the scan, and whole; key and prefix choose what is read."


def _mismatch_hint(fit: Fit, prefix: str | None) -> str:
    if prefix is not None and not fit.matched:
        return f"No tensor of the model stands below checkpoint.prefix {prefix!r} (a prefix ends with a dot)."
    if fit.stripped and fit.matched and not (fit.missing or fit.misshaped):
        return f"To use only what is below {fit.stripped!r}: --set checkpoint.prefix={fit.stripped}"
    if not fit.matched:
        return "Nothing matches: this is the checkpoint of another model. Check `model:` and its arguments."
    return "Check the arguments of `model:`. To allow a partial match: --set checkpoint.strict=false"


def _check_finite(model: nn.Module, path: Path) -> None:
    bad = [name for name, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    # buffers may hold -inf on purpose (attention masks), NaN never
    bad += [name for name, tensor in model.named_buffers() if tensor.is_floating_point() and bool(tensor.isnan().any())]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise CheckpointError(
            f"{path}: NaN or infinite values in {', '.join(bad[:5])}{more}",
            hint="The training had diverged when it was saved: take an earlier one. Or its values overflow float32: "
            "--set evaluation.precision=float64",
        )


# ---------------------------------------------------------------- reading


_KINDS = "Expected a file written by torch.save or safetensors; it may be truncated or of another kind."


def read_entry(path: Path, key: str, where: str, *, unsafe: bool = False) -> object:
    """What a checkpoint holds under a dotted key, such as ``optimizer``.

    Raises:
        CheckpointError: It cannot be read, or has no such entry.
    """
    value = _read(path.expanduser(), where, unsafe=unsafe)
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            names = [str(name) for name in value] if isinstance(value, Mapping) else []
            raise CheckpointError(f"{path}: no entry {key!r}, asked for by {where}{did_you_mean(part, names)}")
        value = value[part]
    return value


_UNSAFE = (
    "Save the weights alone: torch.save(model.state_dict(), path). If you made this file yourself, --unsafe-load "
    "loads it all the same, which runs whatever code it contains."
)


def _read(path: Path, where: str, *, unsafe: bool) -> object:
    head = _head(path, where)
    try:
        if path.suffix == ".safetensors" or _is_safetensors(head, path):
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols
            return torch.load(path, map_location="cpu", weights_only=not unsafe)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}", hint=_KINDS) from error
    except pickle.UnpicklingError as error:
        name = _refused_global(error) if _is_torch(head) else None
        if name is None:
            raise CheckpointError(f"{path}: not a readable checkpoint", hint=_KINDS) from error
        what = f"it holds a pickled {name}, and unpickling that can run code; expected tensors only"
        raise CheckpointError(f"{path}: not loaded: {what}", hint=_UNSAFE) from error
    except Exception as error:  # torch raises many types for damaged files, and an unsafe pickle any
        detail = f": {type(error).__name__}: {(str(error).splitlines() or [''])[0]}" if _is_torch(head) else ""
        raise CheckpointError(f"{path}: not a readable checkpoint{detail}", hint=_KINDS) from error


def _head(path: Path, where: str) -> bytes:
    """The first bytes of the file, once it is clear that there is one."""
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        what = {FileNotFoundError: "no such file", IsADirectoryError: "is a folder"}.get(type(error))
        message = f"{path}: {what or f'cannot be read: {error.strerror}'}; named by {where}"
        raise CheckpointError(message, hint="Paths are relative to the working directory.") from error
    if not head:
        raise CheckpointError(f"{path}: the file is empty; expected a torch or safetensors checkpoint")
    return head


def _is_torch(head: bytes) -> bool:
    """Whether it begins as a zip archive or a pickle."""
    return head.startswith(b"PK\x03\x04") or head[:1] in (b"\x80", b"(", b"c", b"}", b"]")


def _is_safetensors(head: bytes, path: Path) -> bool:
    """Whether it begins with a length that fits into the file and then JSON."""
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size


def _refused_global(error: pickle.UnpicklingError) -> str | None:
    found = re.search(r"(?:GLOBAL|[Uu]nsupported (?:global|class))[:\s]+(?:GLOBAL\s+)?([\w.]+)", str(error))
    return found[1] if found else None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a training run saves a newer checkpoint under the same name."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def sha256_of(path: Path) -> str:
    """SHA-256 of the content of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ---------------------------------------------------------------- finding the state dict


def _choose_key(content: object, config: CheckpointConfig, where: str) -> dict[str, StateDict]:
    candidates = dict(_state_dicts(content))
    if not candidates:
        what = f"no state dict within {_MAX_DEPTH} levels" if _holds_tensors(content) else "no tensors in it"
        raise CheckpointError(f"{config.path}: {what}; expected a state dict")
    if config.key is None:
        return candidates
    if config.key not in candidates:
        raise CheckpointError(
            f"{config.path}: no state dict under {config.key!r}, asked for by {where}.key; "
            f"found {', '.join(map(_name, candidates))}"
        )
    return {config.key: candidates[config.key]}


def _state_dicts(value: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, StateDict]]:
    """Every mapping of names to tensors inside a checkpoint, by its dotted key ('' for the file itself)."""
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if not isinstance(value, Mapping) or depth > _MAX_DEPTH:
        return
    tensors = {name: item for name, item in value.items() if isinstance(name, str) and isinstance(item, Tensor)}
    if tensors:
        yield key, tensors
    for name, item in value.items():
        yield from _state_dicts(item, f"{key}.{name}".lstrip("."), depth + 1)


def _holds_tensors(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value))
    return isinstance(value, Tensor)


def _name(key: str) -> str:
    return repr(key) if key else "the file itself"
