"""Products with the Hessian on disk, until the measure that needs them is done: what was computed outlives a kill."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

# Faster products are not worth it: all of a measure takes a few seconds then.
_WORTH_KEEPING_SECONDS = 0.02
_MOST_BYTES = 2 << 30
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class Journal:
    """The products of one measure, in the order in which it asks for them.

    A measure is a deterministic sequence of products, so that replaying those that are known brings it to where it was
    stopped, bit for bit. A product counts only where its vector is the same, to the last bit, as when it was written.
    What cannot be written is not kept: it can be computed again.

    Args:
        path: The file, beside the surface; None keeps nothing.
        key: 32 bytes that say of what the products are; a file with another key is replaced.
        dtype: Of the vectors.
        device: Where products are returned.
    """

    def __init__(self, path: Path | None, key: bytes, dtype: torch.dtype, device: torch.device) -> None:
        self._path, self._key, self._device = path, key, device
        self._dtype = np.dtype(_NUMPY[dtype])
        self._known = self._open()
        self._appending: BinaryIO | None = None
        self._is_kept: bool | None = None
        self.num_replayed = 0

    def find(self, vector: Tensor) -> Tensor | None:
        """The product with a vector, if it is the next one in the file."""
        if self._known is None:
            return None
        expected = vector.numel() * self._dtype.itemsize
        start = self._known.tell()
        head = np.frombuffer(self._known.read(8), dtype="<u4")
        if len(head) == 2 and int(head[0]) == _checksum(vector):
            body = self._known.read(expected)
            if len(body) == expected and zlib.crc32(body) == int(head[1]):
                self.num_replayed += 1
                return torch.from_numpy(np.frombuffer(body, dtype=self._dtype).copy()).to(self._device)
        self._go_on_from(start)
        return None

    def keep(self, vector: Tensor, product: Tensor, seconds: float) -> None:
        """Write a product down that took so many seconds."""
        if self._is_kept is None:
            self._is_kept = self._path is not None and seconds >= _WORTH_KEEPING_SECONDS
        if not self._is_kept:
            return
        body = product.cpu().numpy().astype(self._dtype, copy=False).tobytes()
        head = np.array([_checksum(vector), zlib.crc32(body)], dtype="<u4").tobytes()
        try:
            stream = self._appending = self._appending or self._begin()
            if stream.tell() + len(head) + len(body) > _MOST_BYTES:
                self._is_kept = False
                return
            stream.write(head + body)
            stream.flush()
        except OSError:  # a full disk: the surface needs the room
            self._is_kept = False
            self.remove()

    def close(self) -> None:
        """Leave the file to the next run."""
        for stream in (self._known, self._appending):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._known = self._appending = None

    def remove(self) -> None:
        """The measure is done, or was begun anew."""
        self.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO | None:
        """The file of an earlier run, behind its key."""
        if self._path is None:
            return None
        with contextlib.suppress(OSError):
            stream = self._path.open("rb")
            if stream.read(len(self._key)) == self._key:
                return stream
            stream.close()
        return None

    def _begin(self) -> BinaryIO:
        assert self._path is not None
        stream = self._path.open("wb")
        stream.write(self._key)
        return stream

    def _go_on_from(self, position: int) -> None:
        """What stands behind is not what is asked for now: write over it."""
        assert self._path is not None
        assert self._known is not None
        self._known.close()
        self._known = None
        with contextlib.suppress(OSError):
            stream = self._path.open("r+b")
            stream.seek(position)
            stream.truncate()
            stream.seek(0, os.SEEK_END)
            self._appending, self._is_kept = stream, True


def _checksum(vector: Tensor) -> int:
    return zlib.crc32(vector.contiguous().cpu().numpy().data)
