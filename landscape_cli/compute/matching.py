"""State dict ↔ model: prefixes, names, shapes and types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from landscape_cli.errors import CheckpointError

StateDict: TypeAlias = Mapping[str, Tensor]

_MAX_ROWS = 20
_COMPILED = "_orig_mod."
# Written by wrappers beside the weights; without meaning for them.
_BOOKKEEPING = re.compile(r"(^|\.)n_averaged$")
# Counts training batches; eval-mode BatchNorm never reads it, and checkpoints of before torch 0.4.1 lack it.
_OPTIONAL = re.compile(r"(^|\.)num_batches_tracked$")


@dataclass(frozen=True)
class Fit:
    """How a state dict fits a model.

    Attributes:
        matched: Tensors by the names of the model.
        missing: Names of the model that the state dict lacks.
        unexpected: Names of the state dict that the model lacks.
        misshaped: Name in the model, shape in the state dict, shape in the model.
        stripped: Prefix that only the state dict has.
        added: Prefix that only the model has.
        compiled: Whether ``_orig_mod.`` of torch.compile was taken out.
        ignored: Names of the state dict that are not weights, or not below the prefix that was asked for.
        without_counters: How many ``num_batches_tracked`` the state dict lacks.
        casts: Types of the state dict that the model does not have.
    """

    matched: StateDict
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    stripped: str
    added: str
    compiled: bool
    ignored: tuple[str, ...]
    without_counters: int
    casts: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything matches, both ways."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.misshaped)

    def table(self) -> str:
        """What does not match, a line each."""
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
        """What was repaired, a sentence each."""
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


def match(state: StateDict, model: nn.Module, prefix: str | None, *, strict: bool, where: str) -> Fit:
    """Find out which tensor of a state dict belongs to which tensor of a model.

    Args:
        state: Names to tensors.
        model: Its tensors are compared by name, shape and type, not changed.
        prefix: Prefix to strip, everything beside it being ignored; None finds it.
        strict: Whether a partial match will be refused; if not, ties between partial matches are.
        where: Path of the checkpoint, for messages.

    Raises:
        CheckpointError: Several prefixes fit, or tensors that are one in the model differ in the state dict.
    """
    plain = {name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}
    target = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    names = {name: name.replace(_COMPILED, "") for name in target}
    stripped, added = (
        (prefix, "") if prefix is not None else _find_prefix(plain, list(names.values()), where, strict=strict)
    )
    found = {name: f"{stripped}{plain_name.removeprefix(added)}" for name, plain_name in names.items()}
    _resolve_tied(found, model, plain, where)

    present = {name: plain[key] for name, key in found.items() if key in plain}
    misshaped = {
        name: (tuple(tensor.shape), _shape(target[name]))
        for name, tensor in present.items()
        if tuple(tensor.shape) != _shape(target[name])
    }
    matched = {name: tensor for name, tensor in present.items() if name not in misshaped}
    absent = [name for name, key in found.items() if key not in plain]
    leftover = plain.keys() - set(found.values())
    if prefix is not None:  # the user chose a part of the file: the rest is not meant
        ignored = {key for key in leftover if not key.startswith(prefix)}
    else:
        ignored = {key for key in leftover if _BOOKKEEPING.search(key)}
    return Fit(
        matched=matched,
        missing=tuple(name for name in absent if not _OPTIONAL.search(name)),
        unexpected=tuple(key for key in plain if key in leftover - ignored),
        misshaped=tuple((name, *shapes) for name, shapes in misshaped.items()),
        stripped=stripped,
        added=added,
        compiled=any(_COMPILED in name for name in state),
        ignored=tuple(sorted(ignored)),
        without_counters=sum(bool(_OPTIONAL.search(name)) for name in absent),
        casts=tuple(sorted({str(t.dtype) for name, t in matched.items() if t.dtype != target[name].dtype})),
    )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape, and of a lazy tensor that has none yet one that nothing can match."""
    return (-1,) if isinstance(tensor, UninitializedParameter | UninitializedBuffer) else tuple(tensor.shape)


def _find_prefix(state: StateDict, names: list[str], where: str, *, strict: bool) -> tuple[str, str]:
    """The prefix that most names of the model carry in the file, and the one that only the model has ('' for none)."""
    if not names:
        return "", ""
    hits: dict[tuple[str, str], int] = {}
    for added in _own_prefixes(names):
        bare = [name.removeprefix(added) for name in names]
        probes = {bare[0], bare[len(bare) // 2], bare[-1]}
        prefixes = {key.removesuffix(probe) for probe in probes for key in state if key.endswith(probe)}
        for prefix in {"", *(prefix for prefix in prefixes if prefix.endswith("."))}:
            hits[prefix, added] = sum(f"{prefix}{name}" in state for name in bare)
    best = max(hits.values())
    tied = sorted(
        (pair for pair, count in hits.items() if count == best), key=lambda pair: (len(pair[1]), len(pair[0]))
    )
    # two pairs may say the same: `module.` stripped and added again
    different = {f"{prefix}{names[0].removeprefix(added)}": prefix for prefix, added in reversed(tied)}
    worth_choosing = best == len(names) or (best > 0 and not strict)
    if worth_choosing and len(different) > 1 and tied[0][0]:
        several = sorted(different.values(), key=len)
        raise CheckpointError(
            f"{where}: several prefixes fit the model: {', '.join(map(repr, several))}",
            hint=f"Choose one, for example: --set checkpoint.prefix={several[0]}",
        )
    return tied[0] if best else ("", "")


def _own_prefixes(names: list[str]) -> list[str]:
    """'' and, where all names of the model begin with one wrapper, that."""
    first = names[0].partition(".")[0] + "."
    return ["", first] if all(name.startswith(first) for name in names) else [""]


def _resolve_tied(found: dict[str, str], model: nn.Module, state: StateDict, where: str) -> None:
    """Let the one name under which the file holds a tied tensor serve the others (safetensors stores it once)."""
    by_tensor: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        by_tensor.setdefault(id(tensor), []).append(name)
    for names in by_tensor.values():
        present = [found[name] for name in names if found[name] in state]
        for name in names:
            if present and found[name] not in state:
                found[name] = present[0]
        if any(not torch.equal(state[present[0]], state[other]) for other in present[1:]):
            raise CheckpointError(f"{where}: {' and '.join(names)} are one tensor in the model, but differ in the file")
