"""Eigenpairs of a symmetric operator that is never formed.

``eigenpair(operator, size, …)`` needs products with vectors only; for a Hessian
``lambda v: flatten(objective.hvp(unflatten(v, objective.params)), objective.names)`` is such an operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape_cli.compute.device import device_errors
from landscape_cli.compute.subspace import FloatArray
from landscape_cli.errors import EvaluationError

_MOST_ASYMMETRY = 0.05  # of the largest |λ|; rounding in float32 gives 1e-7
# elements of the basis; on a CPU 1 << 24 takes 3 times as long, on a GPU each block is a dozen kernels
_FLOAT64_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 24}


@dataclass(frozen=True, eq=False)
class Eigenpair:
    """An approximate eigenvalue λ of a symmetric H, and its vector v.

    Attributes:
        value: λ = vᵀHv. A negative one proves that H has a negative eigenvalue.
        vector: v, (size,), of Euclidean length 1; its largest component in magnitude is positive.
        residual: ‖Hv − λv‖: an eigenvalue of H lies within this distance of λ (Parlett 1998, theorem 4.5.1).
        num_products: Products with H that it took, that for the residual included.
        converged: The residual is within the tolerance.
    """

    value: float
    vector: Tensor
    residual: float
    num_products: int
    converged: bool


@device_errors("curvature: the Lanczos algorithm")
def eigenpair(
    operator: Callable[[Tensor], Tensor],
    size: int,
    *,
    index: int,
    which: Literal["largest", "smallest"],
    tolerance: float,
    max_products: int,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
) -> Eigenpair:
    """The ``index``-th largest or smallest eigenvalue of a symmetric operator, counted with multiplicity.

    The Lanczos algorithm (Lanczos 1950, J. Res. NBS 45(4)) with full reorthogonalization (Paige 1972, J. Inst. Maths
    Applics 10; Parlett 1998, The Symmetric Eigenvalue Problem, chapter 13), started with ``index`` random vectors
    (Ruhe 1979, Math. Comp. 33): from one vector it would see every distinct eigenvalue only once. It stops when the
    residuals of the first ``index`` Ritz pairs, which are |β_m s_mi| for one start vector (Parlett 1998, section 13.2),
    are at most ``tolerance`` · |λ|_max. That all eigenvalues beyond have been seen is likely, not certain.

    Args:
        operator: v ↦ Hv for (size,) tensors of ``dtype`` on ``device``.
        size: Number of rows of H.
        index: 1 for the extreme eigenvalue, 2 for the next, …
        which: Algebraically, so that the smallest is the most negative one.
        tolerance: Of the residual, relative to the largest |λ|.
        max_products: Products with H before it gives up, unconverged. Memory is for ``max_products + index`` vectors.
        device: Of the vectors.
        dtype: Of the vectors; all coefficients are float64.
        seed: Of the start vectors, which are the same on every device.

    Raises:
        EvaluationError: H has fewer eigenvalues or is not symmetric, a product is not finite, or memory does not
            suffice.
    """
    if not 1 <= index <= size:
        raise EvaluationError(f"curvature: found index {index} of an eigenvalue; expected 1 to {size}, their number")
    generator = np.random.Generator(np.random.Philox(key=seed))
    sign = 1.0 if which == "largest" else -1.0
    num_steps = min(max_products, size)
    basis = _Basis(min(num_steps + index, size), size, device, dtype)
    for _ in range(index):
        _, outside = basis.split(torch.from_numpy(generator.standard_normal(size)).to(device))
        basis.append(outside / torch.linalg.vector_norm(outside))
    projected = np.zeros((num_steps + index, num_steps))  # the columns of Qᵀ(±H)Q, one per product
    weights, largest, m = np.ones(1), 0.0, 0
    for m in range(1, num_steps + 1):
        coefficients, rest = basis.split(sign * operator(basis[m - 1]).double())
        beta = torch.linalg.vector_norm(rest)
        *known, new = column = torch.cat([coefficients, beta.view(1)]).tolist()
        if not all(map(math.isfinite, column)):
            raise EvaluationError("curvature: a product with the Hessian holds NaN or infinite values")
        projected[: len(known), m - 1] = known
        # else the basis holds Hq already; when it holds all of them, it spans an invariant subspace, and the Ritz pairs
        # are exact: as many copies of every eigenvalue as there were start vectors
        if len(basis) < size and new > torch.finfo(dtype).eps * math.hypot(*column):
            projected[len(basis), m - 1] = new
            basis.append(rest / beta)
        if m % (1 + m // 50) == 0 or m in (num_steps, len(basis)):
            weights, bound, largest = _ritz_pair(projected[: len(basis), :m], index)
            if bound <= tolerance * largest / 2:  # the other half is for the rounding of the products
                break
    vector = basis.combine(torch.from_numpy(weights.copy()).to(device))
    vector *= torch.sign(vector[vector.abs().argmax()]) / torch.linalg.vector_norm(vector)
    asymmetry = float(np.abs(projected[:m, :m] - projected[:m, :m].T).max())
    if asymmetry > _MOST_ASYMMETRY * largest:
        raise EvaluationError(
            f"curvature: products with the Hessian contradict each other by {asymmetry:.2g}, beside eigenvalues up to "
            f"{largest:.2g}; expected a symmetric matrix",
            hint="Use evaluation.precision: float64; if that is no help, an operation of the model is random or has a "
            "wrong second derivative.",
        )
    unit = vector.to(dtype)
    product = operator(unit).double()
    value = float(unit.double() @ product)
    residual = float(torch.linalg.vector_norm(product - value * unit.double()))
    return Eigenpair(value, unit, residual, m + 1, converged=m >= index and residual <= tolerance * largest)


def _ritz_pair(projected: FloatArray, index: int) -> tuple[FloatArray, float, float]:
    """Of the m known columns of Qᵀ(±H)Q: the Ritz vector of the ``index``-th largest Ritz value, as weights (m,) of the
    basis; the largest residual of the first ``index`` pairs; the largest |Ritz value|.
    """
    m = projected.shape[1]
    values, vectors = np.linalg.eigh(projected[:m])  # reads the lower triangle, which is complete
    first = vectors[:, ::-1][:, :index]
    residuals = np.linalg.norm(projected[m:] @ first, axis=0)
    return first[:, -1], float(residuals.max()) if m >= index else math.inf, float(np.abs(values).max())


class _Basis:
    """Up to ``capacity`` orthonormal vectors q_i, the rows of one tensor that grows; sums over them are float64."""

    def __init__(self, capacity: int, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.size, self.device, self._capacity = size, device, capacity
        self._rows = torch.empty((0, size), dtype=dtype, device=device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:
        return self._rows[index]

    def append(self, vector: Tensor) -> None:
        if self._count == len(self._rows):
            grown = self._rows.new_empty((min(max(8, 2 * self._count), self._capacity), self.size))
            grown[: self._count] = self._rows
            self._rows = grown
        self._rows[self._count] = vector
        self._count += 1

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients qᵢᵀv, (m,), and the rest of v, which is orthogonal to every q_i."""
        coefficients = torch.zeros(self._count, dtype=torch.float64, device=self.device)
        for _ in range(2):  # once loses orthogonality where little is left; twice is enough (Parlett 1998, section 6.9)
            part = torch.zeros_like(coefficients)
            for span in self._spans(self._count):
                part += self._rows[: self._count, span].double() @ vector[span]
            coefficients += part
            vector = vector - self.combine(part)
        return coefficients, vector

    def combine(self, weights: Tensor) -> Tensor:
        """Σ wᵢ·qᵢ over the first (m,) vectors, (size,)."""
        spans = self._spans(len(weights))
        return torch.cat([weights @ self._rows[: len(weights), span].double() for span in spans])

    def _spans(self, num_rows: int) -> list[slice]:
        step = max(1, _FLOAT64_AT_ONCE[self.device.type] // max(1, num_rows))
        return [slice(start, start + step) for start in range(0, self.size, step)]
