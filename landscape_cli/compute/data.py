"""Dataset → fixed, decoded-once, device-resident Batches and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from landscape_cli.errors import ConfigError

# One tensor, several (model(*inputs)) or several by name (model(**inputs)), each with the examples along dimension 0.
Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
_NUM_REPEATED = 16


@dataclass(frozen=True)
class Batches:
    """A whole split as tensors, in a fixed order.

    Attributes:
        inputs: Tensors of shape (n, …).
        targets: (n, …).
        batch_size: Examples per forward pass; the last batch may be smaller.
        fingerprint: SHA-256 of the types, shapes and bytes of the tensors as the dataset gave them.
    """

    inputs: Inputs
    targets: Tensor
    batch_size: int
    fingerprint: str

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor]]:
        for start in range(0, len(self), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield _map(self.inputs, itemgetter(part)), self.targets[part]

    def num_not_finite(self) -> int:
        """How many values of inputs and targets are NaN or infinite."""
        return sum(int((~torch.isfinite(tensor)).sum()) for tensor in [*tensors_of(self.inputs), self.targets])

    def to(self, device: torch.device, dtype: torch.dtype) -> Batches:
        """The same batches on a device, floating-point tensors in ``dtype``; integers stay integers."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)

        return replace(self, inputs=_map(self.inputs, move), targets=move(self.targets))


def load_batches(
    dataset: object, *, where: str, batch_size: int, num_examples: int | None = None, seed: int = 0
) -> Batches:
    """Decode a map-style dataset once.

    Args:
        dataset: Anything with ``len(dataset)`` and ``dataset[i] -> (input, target)``; an input is a tensor, or a tuple
            or dict of tensors.
        where: ``file:line: key``, for messages.
        batch_size: Examples per forward pass.
        num_examples: Size of a fixed random subset, in the order of the dataset; None for all.
        seed: Of the subset.

    Raises:
        ConfigError: The dataset is not map-style, empty or too small, an example cannot be read or stacked, or two
            reads of the same example differ.
    """
    indices = _choose(_length(dataset, where), num_examples, seed, where)
    subset: Subset[object] = Subset(cast("Dataset[object]", dataset), indices)
    # its own generator: a DataLoader otherwise advances the caller's global random state
    loader = DataLoader(subset, batch_size=batch_size, shuffle=False, generator=torch.Generator())
    try:
        batches = [_split(batch, where) for batch in loader]
        inputs = _concatenate([inputs for inputs, _ in batches])
        targets = torch.cat([targets for _, targets in batches])
        _check_repeats(subset, inputs, targets, where)
    except ConfigError:
        raise
    except Exception as error:  # the user's dataset may raise anything
        raise ConfigError(
            f"{where}: reading the examples failed: {type(error).__name__}: {error}",
            hint="Each example must be (input, target), as tensors, arrays or numbers of one shape; "
            "images need a transform to tensors.",
        ) from error
    return Batches(inputs, targets, batch_size, _fingerprint([*tensors_of(inputs), targets]))


def tensors_of(inputs: Inputs) -> Sequence[Tensor]:
    """The tensors of an input, in a fixed order."""
    if isinstance(inputs, Tensor):
        return (inputs,)
    return tuple(inputs.values()) if isinstance(inputs, dict) else inputs


def _length(dataset: object, where: str) -> int:
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise ConfigError(
            f"{where}: {type(dataset).__name__} is not a map-style dataset; expected len(dataset) and dataset[i]"
        )
    length = len(dataset)
    if length == 0:
        raise ConfigError(f"{where}: the dataset is empty")
    return length


def _choose(length: int, num_examples: int | None, seed: int, where: str) -> list[int]:
    if num_examples is None:
        return list(range(length))
    if num_examples > length:
        raise ConfigError(f"{where}: num_examples is {num_examples}, but the dataset has {length} examples")
    generator = np.random.Generator(np.random.Philox(seed))
    return sorted(generator.choice(length, size=num_examples, replace=False).tolist())


def _split(batch: object, where: str) -> tuple[Inputs, Tensor]:
    if not (isinstance(batch, list | tuple) and len(batch) == 2):
        what = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, list | tuple | dict) else "")
        raise ConfigError(f"{where}: each example is {what}; expected (input, target)")
    inputs, targets = batch
    if isinstance(inputs, list):  # default_collate turns tuples into lists
        inputs = tuple(inputs)
    flat = [*inputs.values()] if isinstance(inputs, Mapping) else [*inputs] if isinstance(inputs, tuple) else [inputs]
    if not all(isinstance(tensor, Tensor) for tensor in [*flat, targets]):
        raise ConfigError(f"{where}: each example must hold tensors, arrays or numbers, and only those")
    return (dict(inputs) if isinstance(inputs, Mapping) else inputs), targets


def _concatenate(parts: Sequence[Inputs]) -> Inputs:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([cast(Tensor, part) for part in parts])
    if isinstance(first, dict):
        return {key: torch.cat([cast("dict[str, Tensor]", part)[key] for part in parts]) for key in first}
    return tuple(torch.cat(column) for column in zip(*cast("Sequence[tuple[Tensor, ...]]", parts), strict=True))


def _check_repeats(subset: Subset[object], inputs: Inputs, targets: Tensor, where: str) -> None:
    """Read some examples again: augmentation and noise would make every scan, and every resume, another one."""
    for index in np.linspace(0, len(targets) - 1, min(_NUM_REPEATED, len(targets)), dtype=int).tolist():
        again, target = _split(default_collate([subset[index]]), where)
        pairs = zip([*tensors_of(again), target], [*tensors_of(inputs), targets], strict=True)
        if not all(_sametensor_bytes(new[0], old[index]) for new, old in pairs):
            raise ConfigError(
                f"{where}: example {index} differs when it is read twice; expected a dataset that repeats itself",
                hint="Remove random augmentation (crops, flips, noise) from the transform; use the one for evaluation.",
            )


def _sametensor_bytes(a: Tensor, b: Tensor) -> bool:
    return torch.equal(tensor_bytes(a), tensor_bytes(b))  # bytes, so that NaN equals itself


def tensor_bytes(tensor: Tensor) -> Tensor:
    """(nbytes,) the bytes of a tensor of any type, on the CPU: what fingerprints are made of."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _fingerprint(tensors: Sequence[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor).numpy().data)
    return digest.hexdigest()


def _map(inputs: Inputs, apply: Callable[[Tensor], Tensor]) -> Inputs:
    if isinstance(inputs, Tensor):
        return apply(inputs)
    if isinstance(inputs, dict):
        return {key: apply(tensor) for key, tensor in inputs.items()}
    return tuple(apply(tensor) for tensor in inputs)
