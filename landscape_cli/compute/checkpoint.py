"""File → state dict (weights_only, safetensors), prefixes, sha256; the only torch.load."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from landscape_cli.config import CheckpointConfig
from landscape_cli.errors import CheckpointError

StateDict = Mapping[str, Tensor]
_MAX_DEPTH = 3
_COMPILED = "_orig_mod."
# Written by wrappers beside the weights; without meaning for them.
_BOOKKEEPING = re.compile(r"(^|\.)n_averaged$")
# Counts training batches; eval-mode BatchNorm never reads it, and checkpoints of before torch 0.4.1 lack it.
_OPTIONAL = re.compile(r"(^|\.)num_batches_tracked$")
_MAX_ROWS = 20


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
    model: nn.Module, config: CheckpointConfig, *, where: str = "checkpoint", unsafe: bool = False
) -> Loaded:
    """Load a checkpoint into ``model``, in place.

    Finds the state dict inside the file and repairs the prefixes that DataParallel, torch.compile, Lightning and the
    like add.

    Args:
        model: Receives the weights, cast to the types of its own tensors.
        config: Path, and how to choose and match.
        where: ``file:line: key`` of the config, for messages.
        unsafe: Unpickle arbitrary objects, which runs whatever code the file contains.

    Raises:
        CheckpointError: The file is missing, unsafe or unreadable, its weights are ambiguous, do not fit the model,
            or are not finite.
    """
    path = config.path
    candidates = _choose_key(dict(_state_dicts(_read(path, where, unsafe=unsafe))), config, where)
    fits = {key: _fit(state, model, config) for key, state in candidates.items()}
    complete = [key for key, fit in fits.items() if fit.complete]
    if len(complete) > 1:
        raise CheckpointError(
            f"{path}: several entries fit the model: {', '.join(map(_name, complete))}",
            hint=f"Choose one, for example: --set checkpoint.key={complete[0] or next(filter(None, complete))}",
        )
    key = complete[0] if complete else max(fits, key=lambda key: len(fits[key].matched))
    fit = fits[key]
    if not fit.complete and (config.strict or not fit.matched):
        raise CheckpointError(f"{path}: {_name(key)} does not fit the model\n{fit.table()}", hint=_mismatch_hint(fit))
    notes = ([f"weights found under {key!r}"] if key else []) + [*fit.notes()]
    model.load_state_dict(dict(fit.matched), strict=False)
    _check_finite(model, path)
    return Loaded(_sha256(path), len(fit.matched), len(model.state_dict()), tuple(notes))


# ---------------------------------------------------------------- reading


def _read(path: Path, where: str, *, unsafe: bool) -> object:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}; named by {where}", hint="Paths are relative to the working directory.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; expected a torch or safetensors checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=not unsafe)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_refusal(error)}", hint=_UNSAFE_HINT) from error
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises many types for damaged files, and an unsafe pickle any
        raise CheckpointError(
            f"{path}: not a readable checkpoint: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            hint="Expected a file written by torch.save or safetensors; it may be truncated or of another kind.",
        ) from error


_UNSAFE_HINT = (
    "Save the weights alone: torch.save(model.state_dict(), path). If you made this file yourself, --unsafe-load "
    "loads it all the same, which runs whatever code it contains."
)


def _refusal(error: pickle.UnpicklingError) -> str:
    found = re.search(r"(?:GLOBAL|[Uu]nsupported (?:global|class))[:\s]+(?:GLOBAL\s+)?([\w.]+)", str(error))
    if found is None:
        return "not loaded: it is not a plain archive of tensors"
    return f"not loaded: it holds a pickled {found[1]}, and unpickling that can run code; expected tensors only"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ---------------------------------------------------------------- finding the state dict


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


def _choose_key(candidates: dict[str, StateDict], config: CheckpointConfig, where: str) -> dict[str, StateDict]:
    if not candidates:
        raise CheckpointError(f"{config.path}: no tensors in it; expected a state dict")
    if config.key is None:
        return candidates
    if config.key not in candidates:
        raise CheckpointError(
            f"{config.path}: no state dict under {config.key!r}, asked for by {where}.key; "
            f"found {', '.join(map(_name, candidates))}"
        )
    return {config.key: candidates[config.key]}


def _name(key: str) -> str:
    return repr(key) if key else "the file itself"


# ---------------------------------------------------------------- matching names and shapes


@dataclass(frozen=True)
class _Fit:
    """How a state dict fits a model; names are the model's, except in ``unexpected``."""

    matched: StateDict
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]  # name, in the file, in the model
    stripped: str
    added: str
    compiled: bool
    ignored: tuple[str, ...]
    without_counters: int
    casts: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return bool(self.matched) and not (self.missing or self.unexpected or self.misshaped)

    def table(self) -> str:
        rows = [(name, "wrong shape", f"file {found}, model {wanted}") for name, found, wanted in self.misshaped]
        rows += [(name, "missing", "in the model, not in the file") for name in self.missing]
        rows += [(name, "unexpected", "in the file, not in the model") for name in self.unexpected]
        width = max(len(name) for name, _, _ in rows) if rows else 0
        lines = [f"  {name:<{width}}  {problem:<11}  {detail}" for name, problem, detail in rows[:_MAX_ROWS]]
        if len(rows) > _MAX_ROWS:
            lines.append(f"  … and {len(rows) - _MAX_ROWS} more")
        counts = (
            f"{len(self.matched)} matched, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.misshaped)} of another shape"
        )
        return "\n".join([f"  {counts}", *lines])

    def notes(self) -> Iterator[str]:
        if self.stripped:
            yield f"prefix {self.stripped!r} stripped"
        if self.added:
            yield f"prefix {self.added!r} added"
        if self.compiled:
            yield f"{_COMPILED!r} of torch.compile stripped"
        if self.ignored:
            yield f"ignored: {', '.join(self.ignored[:3])}{' …' if len(self.ignored) > 3 else ''}"
        if self.without_counters:
            yield f"{self.without_counters} num_batches_tracked not in the file; not needed for evaluation"
        if self.casts:
            yield f"cast from {', '.join(self.casts)}"
        if not self.complete:
            yield f"partial match allowed by strict: false\n{self.table()}"


def _fit(state: StateDict, model: nn.Module, config: CheckpointConfig) -> _Fit:
    plain = {name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}
    compiled = any(_COMPILED in name for name in state)
    target = model.state_dict()
    names = {name: name.replace(_COMPILED, "") for name in target}
    prefix, added = (
        (config.prefix, "") if config.prefix is not None else _find_prefix(plain, list(names.values()), config.path)
    )
    found = {name: f"{prefix}{plain_name.removeprefix(added)}" for name, plain_name in names.items()}
    _resolve_tied(found, model, plain)

    present = {name: plain[key] for name, key in found.items() if key in plain}
    misshaped = tuple(
        (name, tuple(tensor.shape), tuple(target[name].shape))
        for name, tensor in present.items()
        if tensor.shape != target[name].shape
    )
    wrong = {name for name, _, _ in misshaped}
    matched = {name: tensor for name, tensor in present.items() if name not in wrong}
    absent = [name for name, key in found.items() if key not in plain]
    leftover = [key for key in plain if key not in set(found.values())]
    if config.prefix is not None:  # the user chose a part of the file: the rest is not meant
        ignored = [key for key in leftover if not key.startswith(config.prefix)]
    else:
        ignored = [key for key in leftover if _BOOKKEEPING.search(key)]
    floating = {str(t.dtype) for n, t in matched.items() if t.is_floating_point() and t.dtype != target[n].dtype}
    return _Fit(
        matched=matched,
        missing=tuple(name for name in absent if not _OPTIONAL.search(name)),
        unexpected=tuple(key for key in leftover if key not in set(ignored)),
        misshaped=misshaped,
        stripped=prefix,
        added=added,
        compiled=compiled,
        ignored=tuple(ignored),
        without_counters=sum(bool(_OPTIONAL.search(name)) for name in absent),
        casts=tuple(sorted(floating)),
    )


def _find_prefix(state: StateDict, names: list[str], path: Path) -> tuple[str, str]:
    """The prefix that most names of the model carry in the file, and the one that only the model has ('' for none)."""
    shared = {name.partition(".")[0] + "." for name in names}
    wrappers = ["", *(shared if len(shared) == 1 and all("." in name for name in names) else [])]
    hits: dict[tuple[str, str], int] = {}
    for added in wrappers:
        bare = [name.removeprefix(added) for name in names]
        prefixes = {
            key.removesuffix(bare[i]) for i in {0, len(bare) // 2, -1} for key in state if key.endswith(bare[i])
        }
        for prefix in prefixes | {""}:
            if not prefix or prefix.endswith("."):
                hits[prefix, added] = sum(f"{prefix}{name}" in state for name in bare)
    best = max(hits.values(), default=0)
    tied = sorted(
        (pair for pair, count in hits.items() if count == best), key=lambda pair: (len(pair[1]), len(pair[0]))
    )
    if best == len(names) > 0 and len(tied) > 1 and tied[0][0]:
        several = [prefix for prefix, _ in tied]
        raise CheckpointError(
            f"{path}: several prefixes fit the model: {', '.join(map(repr, several))}",
            hint=f"Choose one, for example: --set checkpoint.prefix={several[0]}",
        )
    return tied[0] if best else ("", "")


def _resolve_tied(found: dict[str, str], model: nn.Module, state: StateDict) -> None:
    """Let the one name under which the file holds a tied tensor serve the others (safetensors stores it once)."""
    by_tensor: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        by_tensor.setdefault(id(tensor), []).append(name)
    for names in by_tensor.values():
        present = [found[name] for name in names if found[name] in state]
        for name in names:
            if present and found[name] not in state:
                found[name] = present[0]


def _mismatch_hint(fit: _Fit) -> str:
    if not fit.matched:
        return "Nothing matches: this is the checkpoint of another model. Check `model:` and its arguments."
    return "Check the arguments of `model:`; a partial match is allowed by --set checkpoint.strict=false."


def _check_finite(model: nn.Module, path: Path) -> None:
    bad = [name for name, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    # buffers may hold -inf on purpose (attention masks), NaN never
    bad += [name for name, tensor in model.named_buffers() if tensor.is_floating_point() and bool(tensor.isnan().any())]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise CheckpointError(
            f"{path}: NaN or infinite values in {', '.join(bad[:5])}{more}",
            hint="The training had diverged when this checkpoint was saved; take an earlier one.",
        )
