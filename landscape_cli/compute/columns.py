"""Room for the columns of a split: memory up to a budget, beyond it memory-mapped files without a name."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from landscape_cli.compute.palette import Column, Encoder, Palette
from landscape_cli.errors import OutputError

_EXPANDED_AT_ONCE = 1 << 24  # bytes


class Room:
    """Where columns go.

    Args:
        memory: Bytes that all columns together may take in memory; None for no limit.
        folder: Of the memory-mapped files; None for the system's temporary folder.
    """

    def __init__(self, memory: int | None, folder: Path | None) -> None:
        self._left = memory
        self._folder = folder or Path(tempfile.gettempdir())

    def take(self, dtype: torch.dtype, shape: Sequence[int]) -> tuple[Tensor, bool]:
        """An uninitialised tensor, and whether it lies in a file.

        Raises:
            OutputError: The file cannot be made, or the disk is too small.
        """
        nbytes = prod(shape) * dtype.itemsize
        if self._left is None or nbytes <= self._left:
            with contextlib.suppress(RuntimeError):  # the system has less than the budget says
                tensor = torch.empty(tuple(shape), dtype=dtype)
                if self._left is not None:
                    self._left -= nbytes
                return tensor, False
        return self._map(nbytes).view(dtype).reshape(tuple(shape)), True

    def give_back(self, tensor: Tensor) -> None:
        """A tensor that was taken in memory is needed no more."""
        if self._left is not None:
            self._left += tensor.nbytes

    def _map(self, nbytes: int) -> Tensor:
        try:
            # it has no name, so nothing is left behind however the process ends
            with tempfile.TemporaryFile(dir=self._folder) as file:
                # a file with holes would end the process with SIGBUS once the disk is full
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, nbytes)
                else:
                    file.truncate(nbytes)
                # shared, not private: its pages can be written back to the file, so they need no memory
                return torch.frombuffer(mmap.mmap(file.fileno(), nbytes), dtype=torch.uint8)
        except OSError as error:
            needed = f"{nbytes / 1e9:.4g} GB of decoded examples or checkpoints"
            free = f"; {shutil.disk_usage(self._folder).free / 1e9:.4g} GB are free" if self._folder.is_dir() else ""
            raise OutputError(
                f"{self._folder}: {needed} cannot be kept here: {error.strerror}{free}",
                hint="Set runtime.cache to a folder with more space, or a smaller data.<split>.num_examples.",
            ) from error


class Writer:
    """One column, filled from its beginning.

    Args:
        dtype: As the dataset gave it.
        shape: (n, …).
        room: Where it goes.
        compress: Hold it as a palette as long as that is possible.
    """

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...], room: Room, *, compress: bool) -> None:
        self.dtype, self.shape, self._room = dtype, shape, room
        self._encoder = Encoder(dtype, shape) if compress else None
        self._held, self.on_disk = room.take(torch.uint8 if compress else dtype, shape)

    def put(self, start: int, values: Tensor) -> None:
        """Write (k, …) values from ``start`` on, where the last ones ended."""
        if self._encoder is not None and not self._encoder.encode(values, self._held[start : start + len(values)]):
            self._expand(start)
        if self._encoder is None:
            self._held[start : start + len(values)] = values

    def column(self) -> Column:
        """(n, …) what was written."""
        return self._held if self._encoder is None else Palette(self._held, self._encoder.table())

    def _expand(self, stop: int) -> None:
        palette = self.column()[:stop]
        assert isinstance(palette, Palette)
        if not self.on_disk:
            self._room.give_back(self._held)
        self._encoder = None
        self._held, self.on_disk = self._room.take(self.dtype, self.shape)
        step = max(1, _EXPANDED_AT_ONCE // max(1, prod(self.shape[1:]) * self.dtype.itemsize))
        for start in range(0, stop, step):
            self._held[start : min(start + step, stop)] = palette[start : start + step].decode()


def writers(examples: Sequence[Tensor], length: int, room: Room, compress_above: int) -> list[Writer]:
    """A writer for each column; in memory the small ones come first.

    Args:
        examples: (k, …) some values of each column; the last column is of targets, which are never a palette.
        length: n.
        room: Where they go.
        compress_above: Bytes above which a palette is tried.
    """
    shapes = [(length, *tensor.shape[1:]) for tensor in examples]
    compress = [
        Encoder.accepts(tensor.dtype) and prod(shape) * tensor.itemsize > compress_above
        for tensor, shape in zip(examples[:-1], shapes[:-1], strict=True)
    ] + [False]
    itemsizes = [1 if codes else tensor.itemsize for tensor, codes in zip(examples, compress, strict=True)]
    smallest_first = sorted(range(len(examples)), key=lambda index: prod(shapes[index]) * itemsizes[index])
    made = {
        index: Writer(examples[index].dtype, shapes[index], room, compress=compress[index]) for index in smallest_first
    }
    return [made[index] for index in range(len(examples))]
