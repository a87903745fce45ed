"""The Hessian of the mean loss as an operator on flat vectors."""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor

from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.subspace import unflatten

# What several products may take together.
_BYTES_AT_ONCE = 1 << 30
_MOST_AT_ONCE = 16


class HessianOperator:
    """v ↦ Hv, or v ↦ S H S v with a diagonal S, for (size,) tensors.

    Args:
        objective: At θ*.
        journal: Where products are found and kept.
        scale: The diagonal of S, (size,) float64; None for ones.
    """

    def __init__(self, objective: Objective, journal: Journal, scale: Tensor | None = None) -> None:
        self._objective, self._journal, self._scale = objective, journal, scale
        self.size, self.device, self.dtype = objective.size, objective.device, objective.dtype

    @property
    def symmetric_to(self) -> float:
        """How far products may contradict each other by rounding, relative to the largest eigenvalue."""
        return self._objective.symmetric_to

    def scaled(self, scale: Tensor) -> HessianOperator:
        """S H S."""
        return HessianOperator(self._objective, self._journal, scale)

    def __call__(self, vector: Tensor) -> Tensor:
        """One product."""
        return self.many([vector])[0]

    def many(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Several products, which share forward passes and gradients.

        Returns:
            (size,) each, in the type of the parameters.
        """
        inner = [v if self._scale is None else (self._scale * v.double()).to(self.dtype) for v in vectors]
        found: list[Tensor] = []
        for vector in inner if self._objective.is_at_checkpoint else ():
            known = self._journal.find(vector)
            if known is None:
                break
            self._objective.count_replayed(is_exact=self._journal.is_exact)
            found.append(known)
        left = inner[len(found) :]
        step = max(1, min(_MOST_AT_ONCE, _BYTES_AT_ONCE // self._objective.bytes_per_vector))
        for start in range(0, len(left), step):
            found += self._compute(left[start : start + step])
        return found if self._scale is None else [(self._scale * each.double()).to(self.dtype) for each in found]

    def _compute(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Hv of each."""
        begin = time.perf_counter()
        products = self._objective.hvps([unflatten(v.to(self.device), self._objective.params) for v in vectors])
        found = [self._objective.flat(product) for product in products]
        seconds = (time.perf_counter() - begin) / len(vectors)
        for vector, product in zip(vectors, found, strict=True):
            if self._objective.is_at_checkpoint:
                self._journal.keep(vector, product, seconds, is_exact=self._objective.is_exact)
        return found


def magnitude(objective: Objective) -> Tensor:
    """|θ|, (size,) float64: the scale that makes measures invariant to rescaled weights."""
    return objective.flat(objective.params).double().abs()
