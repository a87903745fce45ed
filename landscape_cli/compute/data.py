"""Dataset → fixed, decoded-once Batches and their fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, default_collate

from landscape_cli.compute.columns import Room, Writer, writers
from landscape_cli.compute.decode import describe, read, reading_failed
from landscape_cli.compute.palette import Column, Palette, dense
from landscape_cli.errors import ConfigError, LandscapeError

# One tensor, several (model(*inputs)) or several by name (model(**inputs)), each with the examples along dimension 0.
Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
# The same of a whole split, where a tensor may be held as a palette.
Columns: TypeAlias = Column | tuple[Column, ...] | Mapping[str, Column]
_NUM_REPEATED = 16
_DEFAULT_BATCH_SIZE = 256
_CHECKED_AT_ONCE = 1 << 24  # bytes


@dataclass(frozen=True)
class Batches:
    """A whole split, in a fixed order.

    Attributes:
        inputs: Columns of shape (n, …), in memory or memory-mapped.
        targets: (n, …).
        batch_size: Examples per forward pass, the last batch may be smaller; None where it is yet to be chosen.
        fingerprint: SHA-256 of the types, shapes and bytes of the columns as the dataset gave them.
        on_disk: Which of `columns` are memory-mapped.
    """

    inputs: Columns
    targets: Tensor
    batch_size: int | None
    fingerprint: str
    on_disk: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor]]:
        size = self.batch_size or _DEFAULT_BATCH_SIZE
        return (self.part(start, start + size) for start in range(0, len(self), size))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the inputs, in a fixed order, then the targets."""
        return (*_leaves(self.inputs), self.targets)

    def like(self, tensors: Sequence[Tensor]) -> tuple[Inputs, Tensor]:
        """Tensors in the order of `columns`, as (inputs, targets)."""
        return cast(Inputs, _like(self.inputs, tensors[:-1])), tensors[-1]

    def part(self, start: int, stop: int) -> tuple[Inputs, Tensor]:
        """Examples ``start`` to ``stop`` in the types that the dataset gave; views where nothing is to be decoded."""
        return self.like([dense(column[start:stop]) for column in self.columns])

    def num_not_finite(self) -> int:
        """How many values of inputs and targets are NaN or infinite."""
        return sum(map(_num_not_finite, self.columns))

    @property
    def nbytes(self) -> int:
        """Bytes of all columns in the types that the dataset gave."""
        return sum(column.nbytes for column in self.columns)

    @property
    def nbytes_held(self) -> int:
        """Bytes of all columns as they are held."""
        return sum(column.nbytes_held if isinstance(column, Palette) else column.nbytes for column in self.columns)

    @property
    def where_held(self) -> Literal["memory", "disk"]:
        """``disk`` where at least one column is memory-mapped."""
        return "disk" if self.on_disk else "memory"

    @property
    def compressed(self) -> bool:
        """Whether a column is held as a palette."""
        return any(isinstance(column, Palette) for column in self.columns)


def _no_progress(_num_done: int, _num_examples: int) -> None:
    pass


@dataclass(frozen=True)
class Decoding:
    """How a split is read and kept; no choice here changes a value.

    Attributes:
        workers: Processes that read; 0 for none but this one, None to choose by a measurement.
        host_memory: Bytes that the split may take in memory, None for no limit; what exceeds it is memory-mapped.
        cache: Folder of the memory-mapped files; None for the system's temporary folder.
        progress: Called with (examples read, examples).
        compress_above: Bytes of a floating-point column above which a palette is tried, or host_memory if that is less.
    """

    workers: int | None = None
    host_memory: int | None = None
    cache: Path | None = None
    progress: Callable[[int, int], None] = _no_progress
    compress_above: int = 1 << 30


def load_batches(
    dataset: object,
    *,
    where: str,
    batch_size: int | None,
    num_examples: int | None = None,
    seed: int = 0,
    decoding: Decoding = Decoding(),
) -> Batches:
    """Decode a map-style dataset once.

    Args:
        dataset: Anything with ``len(dataset)`` and ``dataset[i] -> (input, target)``; an input is a tensor, or a tuple
            or dict of tensors.
        where: ``file:line: key``, for messages.
        batch_size: Examples per forward pass; None where it is yet to be chosen.
        num_examples: Size of a fixed random subset, in the order of the dataset; None for all.
        seed: Of the subset.
        decoding: How it is read and kept.

    Raises:
        ConfigError: The dataset is not map-style, empty or too small, an example cannot be read or stacked, two
            reads of the same example differ, or a worker process failed.
        OutputError: There is no room for the memory-mapped files.
    """
    indices = _choose(_length(dataset, where), num_examples, seed, where)
    subset: Subset[object] = Subset(cast("Dataset[object]", dataset), indices)
    try:
        batches = _decode(subset, where, batch_size, decoding)
        _check_repeats(subset, batches, where)
    except LandscapeError:
        raise
    except Exception as error:  # the user's dataset may raise anything
        raise reading_failed(where, describe(error)) from error
    return batches


def expected_nbytes(dataset: object, num_examples: int | None) -> int:
    """How many bytes a split will have, as its first example says; 0 where that cannot be read, which is told later."""
    data = cast("Dataset[object]", dataset)
    with contextlib.suppress(Exception):
        inputs, targets = _split(default_collate([data[0]]), "")
        num = len(data) if num_examples is None else num_examples  # type: ignore[arg-type]
        return num * sum(tensor.nbytes for tensor in [*tensors_of(inputs), targets])
    return 0


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


def _decode(subset: Subset[object], where: str, batch_size: int | None, decoding: Decoding) -> Batches:
    room = Room(decoding.host_memory, decoding.cache)
    compress_above = decoding.compress_above
    if decoding.host_memory is not None:
        compress_above = min(compress_above, decoding.host_memory)
    form: Inputs = ()
    columns: list[Writer] = []
    digests = []
    with contextlib.closing(read(subset, where=where, workers=decoding.workers)) as parts:
        for start, part in parts:
            inputs, targets = _split(part, where)
            if start == 0:
                form = inputs
                columns = writers([*tensors_of(form), targets], len(subset), room, compress_above)
                digests = [hashlib.sha256(f"{column.dtype} {column.shape}\n".encode()) for column in columns]
            if isinstance(form, dict) and isinstance(inputs, dict):
                inputs = {key: inputs[key] for key in form}
            for column, digest, tensor in zip(columns, digests, [*tensors_of(inputs), targets], strict=True):
                values = _as_before(tensor, column.dtype, start, where)
                digest.update(tensor_bytes(values).numpy().data)
                column.put(start, values)
            decoding.progress(start + len(targets), len(subset))
    *leaves, labels = [column.column() for column in columns]
    assert isinstance(labels, Tensor)
    fingerprint = hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()
    on_disk = frozenset(index for index, column in enumerate(columns) if column.on_disk)
    return Batches(_like(form, leaves), labels, batch_size, fingerprint, on_disk)


def _as_before(values: Tensor, dtype: torch.dtype, start: int, where: str) -> Tensor:
    if torch.promote_types(values.dtype, dtype) != dtype:
        what = f"among the examples from the {start}th on are some of {values.dtype}; expected {dtype}, as the first"
        raise reading_failed(where, what)
    return values.detach().to("cpu", dtype)


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


def _check_repeats(subset: Subset[object], batches: Batches, where: str) -> None:
    """Read some examples again: augmentation and noise would make every scan, and every resume, another one."""
    for index in np.linspace(0, len(batches) - 1, min(_NUM_REPEATED, len(batches)), dtype=int).tolist():
        again, target = _split(default_collate([subset[index]]), where)
        if isinstance(again, dict) and isinstance(batches.inputs, Mapping):
            again = {key: again[key] for key in batches.inputs}
        inputs, targets = batches.part(index, index + 1)
        pairs = zip([*tensors_of(again), target], [*tensors_of(inputs), targets], strict=True)
        if not all(_same_bytes(new.to(old.dtype), old) for new, old in pairs):
            raise ConfigError(
                f"{where}: example {index} differs when it is read twice; expected a dataset that repeats itself",
                hint="Remove random augmentation (crops, flips, noise) from the transform; use the one for evaluation.",
            )


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    return torch.equal(tensor_bytes(a), tensor_bytes(b))  # bytes, so that NaN equals itself


def tensor_bytes(tensor: Tensor) -> Tensor:
    """(nbytes,) the bytes of a tensor of any type, on the CPU: what fingerprints are made of."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _num_not_finite(column: Column) -> int:
    if not (column.dtype.is_floating_point or column.dtype.is_complex):
        return 0
    if isinstance(column, Palette) and bool(torch.isfinite(column.table).all()):
        return 0
    step = max(1, _CHECKED_AT_ONCE // max(1, column[:1].nbytes))
    parts = (dense(column[start : start + step]) for start in range(0, len(column), step))
    return sum(int((~torch.isfinite(part)).sum()) for part in parts)


def _leaves(columns: Columns) -> tuple[Column, ...]:
    if isinstance(columns, Tensor | Palette):
        return (columns,)
    return tuple(columns.values()) if isinstance(columns, Mapping) else columns


def _like(form: Columns, leaves: Sequence[Column]) -> Columns:
    if isinstance(form, Mapping):
        return dict(zip(form, leaves, strict=True))
    return tuple(leaves) if isinstance(form, tuple) else leaves[0]


def call(model: Callable[..., object], inputs: Inputs) -> object:
    """Call the model: ``model(x)``, ``model(*xs)`` or ``model(**xs)``."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
