"""Batches → chunks on a device in one precision: resident where they fit, else streamed, one ahead."""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from landscape_cli.compute.data import Batches, Inputs, tensor_bytes
from landscape_cli.compute.palette import Column, Palette, dense

Span: TypeAlias = tuple[int, int]
# a part of every column, and what the stream that uses it has to wait for
Fetched: TypeAlias = tuple[list[Column], torch.cuda.Event | None]
_T = TypeVar("_T")
_ALIGNMENT = 64  # bytes, as torch allocates
_LOADED_AT_ONCE = 1 << 26  # bytes


@dataclass(frozen=True)
class Chunk:
    """Consecutive examples on a device. Nobody may write to them: they can be views of the split.

    Attributes:
        start: Index of the first.
        inputs: Tensors of shape (k, …).
        targets: (k, …).
    """

    start: int
    inputs: Inputs
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


class Split:
    """One split on one device in one precision, made by `place`.

    Attributes:
        batches: What was placed.
        device: Where the chunks are.
        dtype: Of their floating-point tensors; integers stay as they are.
        resident: It is whole in the memory of the device, if only as palettes, so nothing has to be fetched.
        nbytes_on_device: Bytes that it takes there; on a CPU, beside the batches.
    """

    def __init__(
        self,
        batches: Batches,
        device: torch.device,
        dtype: torch.dtype,
        columns: Sequence[Column],
        *,
        resident: bool,
        nbytes_on_device: int,
    ) -> None:
        self.batches, self.device, self.dtype = batches, device, dtype
        self.resident, self.nbytes_on_device = resident, nbytes_on_device
        self._columns = columns

    def __len__(self) -> int:
        return len(self.batches)

    @cached_property
    def targets(self) -> Tensor:
        """(n, …) all targets: on the device where the split is resident, else on the host."""
        with torch.inference_mode(mode=False):
            return dense(_cast(self._columns[-1], self.dtype))

    def chunks(self, size: int, num_parts: int = 1) -> Generator[Chunk]:
        """Yield all examples in order, ``size`` at a time; the last chunk of every part may be smaller.

        Args:
            size: Of a chunk, at most.
            num_parts: The data are cut into, see `part_size`; no chunk belongs to two of them.
        """
        step = self.part_size(num_parts)
        ends = [(start, min(start + step, len(self))) for start in range(0, len(self), step)]
        return self._chunks([(i, min(i + size, stop)) for start, stop in ends for i in range(start, stop, size)])

    def part_size(self, num_parts: int) -> int:
        """How many examples each part has; the last one may be smaller, or missing where there are few examples."""
        return math.ceil(len(self) / num_parts)

    def first(self, size: int) -> Chunk:
        """The first ``size`` examples."""
        with contextlib.closing(self._chunks([(0, min(size, len(self)))])) as chunks:
            return next(chunks)

    def _chunks(self, spans: Sequence[Span]) -> Generator[Chunk]:
        if self.resident:
            for span in spans:
                yield self._chunk(span[0], [column[slice(*span)] for column in self._columns])
            return
        fetch = self._fetch
        if self.device.type != "cpu":
            fetch = Staging(self._columns, max(stop - start for start, stop in spans), self.device, self.dtype).send
        with contextlib.closing(prefetch(fetch, spans)) as fetched:
            for (start, _), part in zip(spans, fetched, strict=True):
                yield self._chunk(start, _received(part, self.device))

    # tensors of inference mode could not be used outside of it, nor in autograd
    @torch.inference_mode(mode=False)
    def _chunk(self, start: int, columns: Sequence[Column]) -> Chunk:
        return Chunk(start, *self.batches.like([_aligned(dense(_cast(column, self.dtype))) for column in columns]))

    def _fetch(self, span: Span) -> Fetched:
        parts = [column[slice(*span)] for column in self._columns]
        for index in self.batches.on_disk:
            _read(parts[index])
        return parts, None


@torch.inference_mode(mode=False)
def place(batches: Batches, device: torch.device, dtype: torch.dtype, budget: int | None = None) -> Split:
    """Put a split on a device as far as it fits: whole, else with its palettes as they are, else in chunks on demand.

    On a CPU columns in memory are used as they are; another precision, and the values of a palette, are made once where
    they fit. Memory-mapped columns are read ahead chunk by chunk.

    Args:
        batches: The split on the host.
        device: A CPU or CUDA device.
        dtype: float32 or float64, for the floating-point tensors.
        budget: Bytes that it may take there, on a CPU beside the batches; None for no limit.

    Raises:
        RuntimeError: The device failed, or has less memory than the budget says.
    """
    if device.type == "cpu":
        return _place_in_memory(batches, device, dtype, budget)
    for with_palettes in (False, True):
        nbytes = sum(_nbytes(column, dtype, with_palettes=with_palettes) for column in batches.columns)
        if budget is None or nbytes <= budget:
            columns = _load(batches, device, dtype, with_palettes=with_palettes)
            return Split(batches, device, dtype, columns, resident=True, nbytes_on_device=nbytes)
    return Split(batches, device, dtype, batches.columns, resident=False, nbytes_on_device=0)


def prefetch(fetch: Callable[[Span], _T], spans: Sequence[Span]) -> Generator[_T]:
    """Yield ``fetch(span)`` of each span in order, made in a thread that is one ahead; closing it ends the thread."""
    with ThreadPoolExecutor(1, "prefetch") as thread:
        ahead = thread.submit(fetch, spans[0])
        for span in spans[1:]:
            fetched = ahead.result()
            ahead = thread.submit(fetch, span)
            yield fetched
        yield ahead.result()


class Staging:
    """Sends parts of columns to a device through two buffers: one is filled while the other is on its way.

    Args:
        columns: On the host.
        size: Most examples of a part.
        device: Where they go; for CUDA the buffers are pinned, and the copies have a stream of their own.
        dtype: Of the floating-point tensors; the host casts them, so that resident and streamed values are the same.
    """

    @torch.inference_mode(mode=False)  # the buffers are written in another thread, which is not in inference mode
    def __init__(self, columns: Sequence[Column], size: int, device: torch.device, dtype: torch.dtype) -> None:
        cuda = device.type == "cuda"
        self._sources = [_values(column) for column in columns]
        self._tables = [
            column.table.to(dtype).to(device) if isinstance(column, Palette) else None for column in columns
        ]
        self._buffers = [
            [
                torch.empty((size, *source.shape[1:]), dtype=_cast_dtype(source, dtype), pin_memory=cuda)
                for source in self._sources
            ]
            for _ in range(2)
        ]
        self._stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._sent: list[torch.cuda.Event | None] = [None, None]
        self._device = device
        self._turn = 0

    def send(self, span: Span) -> Fetched:
        """The examples of a span on the device; `torch.cuda.Event` says when they are there."""
        turn, self._turn = self._turn, 1 - self._turn
        last = self._sent[turn]
        if last is not None:
            last.synchronize()
        start, stop = span
        staged = [
            buffer[: stop - start].copy_(source[start:stop])
            for buffer, source in zip(self._buffers[turn], self._sources, strict=True)
        ]
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            there = [part.to(self._device, non_blocking=True, copy=True) for part in staged]
            sent = None if self._stream is None else self._stream.record_event(_event())
        self._sent[turn] = sent
        columns = [
            part if table is None else Palette(part, table) for part, table in zip(there, self._tables, strict=True)
        ]
        return columns, sent


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor, copied where it does not lie as a new one would: some kernels round differently then.

    Chunks of a multiple of 16 examples always lie so.
    """
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone()


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]


def _received(fetched: Fetched, device: torch.device) -> list[Column]:
    columns, sent = fetched
    if sent is not None:
        stream = torch.cuda.current_stream(device)
        stream.wait_event(sent)
        for column in columns:  # they came from the memory of another stream, which may not have it back before
            _values(column).record_stream(stream)
    return columns


def _place_in_memory(batches: Batches, device: torch.device, dtype: torch.dtype, budget: int | None) -> Split:
    columns: list[Column] = []
    taken = 0
    for index, column in enumerate(batches.columns):
        nbytes = _nbytes(column, dtype, with_palettes=False)
        as_it_is = index in batches.on_disk or (
            isinstance(column, Tensor) and _cast_dtype(column, dtype) == column.dtype
        )
        if as_it_is or (budget is not None and taken + nbytes > budget):
            columns.append(column)
        else:
            columns.append(dense(_cast(column, dtype)))
            taken += nbytes
    return Split(batches, device, dtype, columns, resident=not batches.on_disk, nbytes_on_device=taken)


def _load(batches: Batches, device: torch.device, dtype: torch.dtype, *, with_palettes: bool) -> list[Column]:
    """The columns on the device, filled part by part: by the same way as chunks come, and with little memory beside."""
    size = max(1, _LOADED_AT_ONCE // max(1, batches.nbytes // len(batches)))
    spans = [(start, min(start + size, len(batches))) for start in range(0, len(batches), size)]
    staging = Staging(batches.columns, min(size, len(batches)), device, dtype)
    loaded: list[Column] = []
    with contextlib.closing(prefetch(staging.send, spans)) as fetched:
        for (start, stop), part in zip(spans, fetched, strict=True):
            columns = [column if with_palettes else dense(column) for column in _received(part, device)]
            loaded = loaded or [_room_for(column, len(batches)) for column in columns]
            for whole, column in zip(loaded, columns, strict=True):
                _values(whole)[start:stop] = _values(column)
    return loaded


def _room_for(part: Column, length: int) -> Column:
    values = _values(part)
    room = values.new_empty((length, *values.shape[1:]))
    return Palette(room, part.table) if isinstance(part, Palette) else room


def _values(column: Column) -> Tensor:
    return column.codes if isinstance(column, Palette) else column


def _read(mapped: Column) -> None:
    """Bring pages into memory. Not a copy: new memory costs more than the pages that are there (1.2 : 27 GB/s)."""
    tensor_bytes(_values(mapped))[:: mmap.PAGESIZE].sum()


def _cast(column: Column, dtype: torch.dtype) -> Column:
    return column.to(_cast_dtype(column, dtype))


def _cast_dtype(column: Column, dtype: torch.dtype) -> torch.dtype:
    return dtype if column.dtype.is_floating_point else column.dtype


def _nbytes(column: Column, dtype: torch.dtype, *, with_palettes: bool) -> int:
    """Bytes of a column in a precision."""
    if with_palettes and isinstance(column, Palette):
        return column.to(dtype).nbytes_held
    return prod(column.shape) * _cast_dtype(column, dtype).itemsize
