"""Floats that take at most 256 values, held as bytes: codes and the table of the values, bit for bit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_CODES = 256
_MAX_CHANNELS = 16
_DECODED_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 24}  # values: their indices, four bytes each, stay in the cache
_HASHED_AT_ONCE = 1 << 15  # values: stays in the cache through the passes over it
_HASH_BITS = 16
_HASH_TRIES = 1000  # about every third multiplier puts 256 values into 256 different slots
# the floats whose bits fit an unsigned integer of numpy, and are more than a code
_BITS: dict[int, tuple[torch.dtype, type[np.unsignedinteger]]] = {
    2: (torch.int16, np.uint16),
    4: (torch.int32, np.uint32),
    8: (torch.int64, np.uint64),
}


@dataclass(frozen=True, eq=False)
class Palette:
    """A floating-point column as one byte per value.

    Attributes:
        codes: (n, …) uint8.
        table: (C, L) floats, L ≤ 256: the value of each code, per channel (dimension 1 of codes) where C > 1.
    """

    codes: Tensor
    table: Tensor

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, part: slice) -> Palette:
        return Palette(self.codes[part], self.table)

    @property
    def shape(self) -> torch.Size:
        """(n, …), as decoded."""
        return self.codes.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of the values."""
        return self.table.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the values, as decoded."""
        return self.codes.numel() * self.table.itemsize

    @property
    def nbytes_held(self) -> int:
        """Bytes of codes and table."""
        return self.codes.nbytes + self.table.nbytes

    def to(self, dtype: torch.dtype) -> Palette:
        """The same column in another floating-point type."""
        return Palette(self.codes, self.table.to(dtype))

    def decode(self) -> Tensor:
        """(n, …) the values, on the device of the codes."""
        channels, size = self.table.shape
        device = self.codes.device
        table = self.table.to(device).reshape(-1)
        first = torch.arange(0, channels * size, size, dtype=torch.int32, device=device)  # of each channel's row
        if channels > 1:
            first = first.reshape(channels, *[1] * (self.codes.ndim - 2))
        values = torch.empty(self.codes.shape, dtype=table.dtype, device=device)
        step = max(1, _DECODED_AT_ONCE[device.type] // max(1, math.prod(self.codes.shape[1:])))
        for start in range(0, len(self), step):
            index = self.codes[start : start + step] + first
            torch.index_select(table, 0, index.reshape(-1), out=values[start : start + step].view(-1))
        return values


Column: TypeAlias = Tensor | Palette


def dense(column: Column) -> Tensor:
    """The values of a column, whichever way it is held."""
    return column.decode() if isinstance(column, Palette) else column


class Encoder:
    """Finds the codes of a column part by part, as long as 256 values per channel suffice.

    A value is looked up by a multiplicative hash without collisions among the values so far, and compared bit for bit:
    as fast as SHA-256, and for any function of 8 bits (measured: 1.7 GB/s; by binary search 0.1 GB/s).

    Args:
        dtype: Floating-point type of the column.
        shape: (n, …) of the column.
    """

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        self._dtype = dtype
        self._as_bits, unsigned = _BITS[dtype.itemsize]
        self._per_channel = len(shape) == 4 and 1 < shape[1] <= _MAX_CHANNELS
        self._channels = [_Values(unsigned) for _ in range(shape[1] if self._per_channel else 1)]

    @staticmethod
    def accepts(dtype: torch.dtype) -> bool:
        """Whether a column of this type can be a palette, and would gain by it."""
        return dtype.is_floating_point and dtype.itemsize in _BITS

    def encode(self, values: Tensor, codes: Tensor) -> bool:
        """Write the codes of (k, …) values; False once a channel has a 257th value, and what was written is void."""
        bits = values.detach().contiguous().view(self._as_bits).numpy()
        out = codes.numpy()
        if not self._per_channel:
            return self._channels[0].encode(bits, out)
        return all(channel.encode(bits[:, c], out[:, c]) for c, channel in enumerate(self._channels))

    def table(self) -> Tensor:
        """(C, L) the values so far, by code."""
        size = max(1, *(len(channel.known) for channel in self._channels))
        rows = np.stack([np.resize(channel.known, size) for channel in self._channels])  # the rest repeats
        return torch.from_numpy(rows.view(f"i{rows.itemsize}")).view(self._dtype)


class _Values:
    """The values of one channel by their bits, and the hash that tells them apart."""

    def __init__(self, unsigned: type[np.unsignedinteger]) -> None:
        self._unsigned = unsigned
        self.known: NDArray[np.unsignedinteger] = np.zeros(0, unsigned)
        self._multiplier = unsigned(1)
        self._shift = unsigned(8 * self.known.itemsize - _HASH_BITS)
        self._code_of_hash = np.zeros(1 << _HASH_BITS, np.uint8)
        self._random = np.random.Generator(np.random.Philox(0))

    def encode(self, bits: NDArray[np.signedinteger], out: NDArray[np.uint8]) -> bool:
        flat = np.ascontiguousarray(bits).reshape(-1).view(self._unsigned)
        codes = np.empty(len(flat), np.uint8)
        parts = (slice(start, start + _HASHED_AT_ONCE) for start in range(0, len(flat), _HASHED_AT_ONCE))
        if not all(self._look_up(flat[part], codes[part]) or self._learn(flat[part], codes[part]) for part in parts):
            return False
        out[...] = codes.reshape(bits.shape)
        return True

    def _look_up(self, values: NDArray[np.unsignedinteger], out: NDArray[np.uint8]) -> bool:
        if len(self.known) == 0:
            return False
        np.take(self._code_of_hash, self._hash(values), out=out, mode="clip")  # clip: take checks no bounds
        return bool((np.take(self.known, out, mode="clip") == values).all())

    def _learn(self, values: NDArray[np.unsignedinteger], out: NDArray[np.uint8]) -> bool:
        known = np.concatenate([self.known, np.setdiff1d(values, self.known)])
        if len(known) > NUM_CODES:
            return False
        self.known = known
        for _ in range(_HASH_TRIES):
            hashes = self._hash(self.known)
            if len(np.unique(hashes)) == len(self.known):
                self._code_of_hash[hashes] = np.arange(len(self.known), dtype=np.uint8)
                return self._look_up(values, out)
            odd = np.frombuffer(self._random.bytes(self.known.itemsize), self._unsigned)[0] | self._unsigned(1)
            self._multiplier = odd
        return False

    def _hash(self, values: NDArray[np.unsignedinteger]) -> NDArray[np.intp]:
        hashes: NDArray[np.intp] = ((values * self._multiplier) >> self._shift).astype(np.intp)
        return hashes
