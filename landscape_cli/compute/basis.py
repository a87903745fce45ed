"""Orthonormal vectors in one tensor that grows, on the device or in main memory."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape_cli.compute.memory import budget, free_bytes, free_host_bytes
from landscape_cli.compute.subspace import FloatArray
from landscape_cli.errors import AsymmetryError

# elements of the basis; on a CPU 1 << 24 takes 3 times as long, on a GPU each block is a dozen kernels
_FLOAT64_AT_ONCE = {"cpu": 1 << 20}
_FLOAT64_AT_ONCE_ELSEWHERE = 1 << 24
_MOST_PASSES = 5


def place_for(nbytes: int, device: torch.device, memory: int | None) -> torch.device | None:
    """Where a basis of so many bytes fits; None for nowhere."""
    for place, free in ((device, free_bytes(device)), (torch.device("cpu"), free_host_bytes())):
        limit = budget(memory, free)
        if limit is None or nbytes <= limit:
            return place
    return None


def check_symmetry(projected: FloatArray, largest: float, symmetric_to: float) -> None:
    """Refuse an operator whose products contradict each other.

    Args:
        projected: (m, m) QᵀHQ, every column from a product of its own.
        largest: The largest |λ|.
        symmetric_to: By how much they may, relative to that.

    Raises:
        AsymmetryError: They do by more.
    """
    asymmetry = float(np.abs(projected - projected.T).max(initial=0.0))
    if asymmetry > symmetric_to * largest:
        raise AsymmetryError(asymmetry, largest)


class Basis:
    """Up to ``capacity`` orthonormal vectors q_i, the rows of one tensor that grows; sums over them are float64."""

    def __init__(self, capacity: int, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.size, self.device, self.dtype, self._capacity = size, device, dtype, capacity
        self._rows = torch.empty((0, size), dtype=dtype, device=device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:
        return self._rows[index]

    def append(self, vector: Tensor) -> None:
        """Add a unit vector that is orthogonal to all others."""
        if self._count == len(self._rows):
            grown = self._rows.new_empty((min(max(8, 2 * self._count), self._capacity), self.size))
            grown[: self._count] = self._rows
            self._rows = grown
        self._rows[self._count] = vector
        self._count += 1

    def drop_first(self) -> None:
        """Forget the oldest vector."""
        self._rows = self._rows.roll(-1, dims=0)
        self._count -= 1

    def include(self, vector: Tensor) -> Tensor:
        """Add the direction of a vector that the others lack, if there is one beyond rounding.

        Returns:
            Its coefficients in the basis, (m,) with the new vector.
        """
        vector = vector.to(self.device).double()
        coefficients, rest = self.split(vector)
        length = torch.linalg.vector_norm(rest)
        if length > torch.finfo(self.dtype).eps * torch.linalg.vector_norm(vector):
            self.append(rest / length)
            coefficients = torch.cat([coefficients, length.view(1)])
        return coefficients

    def products(self, vector: Tensor) -> Tensor:
        """The (m,) inner products qᵢᵀv, float64."""
        vector = vector.to(self.device).double()
        part = torch.zeros(self._count, dtype=torch.float64, device=self.device)
        for span in self._spans(self._count):
            part += self._rows[: self._count, span].double() @ vector[span]
        return part

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients qᵢᵀv, (m,), and the rest of v, which is orthogonal to every q_i."""
        coefficients = torch.zeros(self._count, dtype=torch.float64, device=self.device)
        # Once loses orthogonality where little is left, and twice is enough (Parlett 1998, section 6.9) unless what is
        # left is rounding, most of it inside the basis: then each vector is less orthogonal than the one before.
        before = math.inf
        for number in range(_MOST_PASSES):
            part = self.products(vector)
            coefficients += part
            vector = vector - self.combine(part)
            length = float(torch.linalg.vector_norm(vector))
            if number and not length < before / 2:
                break
            before = length
        return coefficients, vector

    def combine(self, weights: Tensor) -> Tensor:
        """Σ wᵢ·qᵢ over the first (m,) vectors, (size,)."""
        spans = self._spans(len(weights))
        return torch.cat([weights @ self._rows[: len(weights), span].double() for span in spans])

    def _spans(self, num_rows: int) -> list[slice]:
        step = max(1, _FLOAT64_AT_ONCE.get(self.device.type, _FLOAT64_AT_ONCE_ELSEWHERE) // max(1, num_rows))
        return [slice(start, start + step) for start in range(0, self.size, step)]
