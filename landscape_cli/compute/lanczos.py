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

from landscape_cli.compute.basis import Basis, check_symmetry, place_for
from landscape_cli.compute.device import device_errors
from landscape_cli.compute.subspace import FloatArray
from landscape_cli.errors import EvaluationError, NonFiniteError

Operator = Callable[[Tensor], Tensor]

_NO_MEMORY = "curvature: the Lanczos algorithm: out of memory for {max_products} vectors of {size:,} numbers"
_FEWER = "Set max_products of the direction to a smaller number."


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


@dataclass(frozen=True)
class Ritz:
    """The Ritz pairs of a Krylov space: what the operator is on it.

    Attributes:
        values: (m,) rising.
        residuals: (m,) ‖Hy − θy‖ of each, from the recurrence.
        vectors: (m, m) columns; the weights of the basis that make up each Ritz vector.
    """

    values: FloatArray
    residuals: FloatArray
    vectors: FloatArray

    @property
    def largest_magnitude(self) -> float:
        """The largest |θ|."""
        return float(np.abs(self.values).max(initial=0.0))


class Krylov:
    """The Krylov space of a symmetric operator, which grows by a product a step.

    The Lanczos algorithm (Lanczos 1950, J. Res. NBS 45(4)) with full reorthogonalization (Paige 1972, J. Inst. Maths
    Applics 10; Parlett 1998, The Symmetric Eigenvalue Problem, chapter 13), started with one or several random vectors
    (Ruhe 1979, Math. Comp. 33): from one vector it sees every distinct eigenvalue only once. The basis lies on the
    device where it takes at most 40 % of the free memory, else in main memory; where it does not fit there either it
    is not kept: without reorthogonalization the extreme values stay right, other values are found several times
    (Paige 1972), and there are no vectors.

    Args:
        operator: v ↦ Hv for (size,) tensors of ``dtype`` on ``device``.
        size: Number of rows of H.
        num_starts: Random start vectors.
        max_products: Steps at most.
        device: Of the vectors.
        dtype: Of the vectors; all coefficients are float64.
        seed: Of the start vectors, which are the same on every device.
        memory: Bytes that the basis may take; None for 40 % of what is free.

    Raises:
        EvaluationError: The basis of several start vectors fits nowhere.
    """

    def __init__(
        self,
        operator: Operator,
        size: int,
        *,
        num_starts: int,
        max_products: int,
        device: torch.device,
        dtype: torch.dtype,
        seed: int = 0,
        memory: int | None = None,
    ) -> None:
        self._operator, self.size = operator, size
        self.max_products = min(max_products, size)
        capacity = min(self.max_products + num_starts, size)
        place = place_for(capacity * size * dtype.itemsize, device, memory)
        if place is None and num_starts > 1:
            raise EvaluationError(_NO_MEMORY.format(max_products=self.max_products, size=size), hint=_FEWER)
        self.keeps_basis = place is not None
        self._basis = Basis(capacity if self.keeps_basis else 2, size, place or device, dtype)
        generator = np.random.Generator(np.random.Philox(key=seed))
        for _ in range(num_starts):
            _, outside = self._basis.split(torch.from_numpy(generator.standard_normal(size)).to(self._basis.device))
            self._basis.append(outside / torch.linalg.vector_norm(outside))
        self._device = device
        self._projected = np.zeros((self.max_products + num_starts, self.max_products))  # the columns of QᵀHQ
        self.num_products = 0
        self._num_vectors = num_starts

    @property
    def is_exhausted(self) -> bool:
        """Whether the space holds the products with all its vectors: then the Ritz pairs are exact."""
        return self.num_products == self._num_vectors

    def step(self) -> None:
        """One product, with the next vector of the basis.

        Raises:
            EvaluationError: The product is not finite.
        """
        m = self.num_products
        vector = self._basis[m if self.keeps_basis else len(self._basis) - 1]
        product = self._operator(vector.to(self._device)).double().to(self._basis.device)
        if self.keeps_basis:
            coefficients, rest = self._basis.split(product)
        else:
            coefficients, rest = self._three_terms(vector.double(), product)
        beta = torch.linalg.vector_norm(rest)
        *known, new = column = torch.cat([coefficients, beta.view(1)]).tolist()
        if not all(map(math.isfinite, column)):
            raise NonFiniteError("curvature: a product with the Hessian holds NaN or infinite values")
        first = 0 if self.keeps_basis else max(0, m - 1)
        self._projected[first : first + len(known), m] = known
        self.num_products = m + 1
        # else the basis holds Hq already; when it holds all of them, it spans an invariant subspace, and the Ritz pairs
        # are exact: as many copies of every eigenvalue as there were start vectors
        epsilon = torch.finfo(self._basis.dtype).eps
        # as many vectors as rows span everything, if they are orthogonal
        has_room = self._num_vectors < self.size or not self.keeps_basis
        if has_room and new > epsilon * math.hypot(*column):
            self._projected[self._num_vectors, m] = new
            if not self.keeps_basis and len(self._basis) == 2:
                self._basis.drop_first()
            self._basis.append(rest / beta)
            self._num_vectors += 1

    def _three_terms(self, vector: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients of the last two vectors, and the rest."""
        alpha = vector @ product
        rest = product - alpha * vector
        if self.num_products == 0:
            return alpha.view(1), rest
        before = self._basis[0].double()
        beta = float(self._projected[self.num_products, self.num_products - 1])
        return torch.stack([torch.full_like(alpha, beta), alpha]), rest - beta * before

    def ritz(self) -> Ritz:
        """The Ritz pairs of the space so far."""
        m = self.num_products
        values, vectors = np.linalg.eigh(self._projected[:m, :m])  # reads the lower triangle, which is complete
        residuals = np.linalg.norm(self._projected[m : self._num_vectors, :m] @ vectors, axis=0)
        return Ritz(values, residuals, vectors)

    def vector(self, weights: FloatArray) -> Tensor:
        """Σ wᵢ·qᵢ as a float64 unit vector on the device, its largest component positive.

        Args:
            weights: (m,) of the basis.
        """
        assert self.keeps_basis
        vector = self._basis.combine(torch.from_numpy(np.ascontiguousarray(weights)).to(self._basis.device))
        vector *= torch.sign(vector[vector.abs().argmax()]) / torch.linalg.vector_norm(vector)
        return vector.to(self._device)

    def check_symmetry(self, symmetric_to: float) -> None:
        """Refuse an operator whose products contradict each other.

        Args:
            symmetric_to: By how much they may, relative to the largest |λ|.

        Raises:
            AsymmetryError: They do by more.
        """
        m = self.num_products
        if not self.keeps_basis or not m:
            return
        check_symmetry(self._projected[:m, :m], self.ritz().largest_magnitude, symmetric_to)


@device_errors("curvature: the Lanczos algorithm")
def eigenpair(
    operator: Operator,
    size: int,
    *,
    index: int,
    which: Literal["largest", "smallest"],
    tolerance: float,
    max_products: int,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
    symmetric_to: float = 0.05,
) -> Eigenpair:
    """The ``index``-th largest or smallest eigenvalue of a symmetric operator, counted with multiplicity.

    See `Krylov`, which has ``index`` start vectors. It stops when the residuals of the first ``index`` Ritz pairs are
    at most ``tolerance`` · |λ|_max. That all eigenvalues beyond have been seen is likely, not certain.

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
        symmetric_to: By how much products may contradict each other, relative to the largest |λ|.

    Raises:
        EvaluationError: H has fewer eigenvalues or is not symmetric, a product is not finite, or memory does not
            suffice.
    """
    if not 1 <= index <= size:
        raise EvaluationError(f"curvature: found index {index} of an eigenvalue; expected 1 to {size}, their number")
    space = Krylov(operator, size, num_starts=index, max_products=max_products, device=device, dtype=dtype, seed=seed)
    if not space.keeps_basis:
        raise EvaluationError(_NO_MEMORY.format(max_products=space.max_products, size=size), hint=_FEWER)
    ritz = None
    while ritz is None or not (space.is_exhausted or space.num_products == space.max_products):
        space.step()
        m = space.num_products
        if ritz is None or m % (1 + m // 50) == 0 or space.is_exhausted or m == space.max_products:
            ritz = space.ritz()
            first = _first(ritz, index, which)
            bound = float(ritz.residuals[first].max()) if m >= index else math.inf
            if bound <= tolerance * ritz.largest_magnitude / 2:  # the other half is for the rounding of the products
                break
    space.check_symmetry(symmetric_to)
    unit = space.vector(ritz.vectors[:, _first(ritz, index, which)[-1]]).to(dtype)
    product = operator(unit).double()
    value = float(unit.double() @ product)
    residual = float(torch.linalg.vector_norm(product - value * unit.double()))
    m = space.num_products
    converged = m >= index and residual <= tolerance * ritz.largest_magnitude
    return Eigenpair(value, unit, residual, m + 1, converged)


def _first(ritz: Ritz, index: int, which: Literal["largest", "smallest"]) -> list[int]:
    """The places of the first ``index`` Ritz pairs, from the extreme one on."""
    places = list(range(len(ritz.values)))
    return (places[::-1] if which == "largest" else places)[:index]


@dataclass(frozen=True)
class Ends:
    """Both ends of a spectrum.

    Attributes:
        largest: (k,) the largest Ritz values, falling.
        largest_residuals: (k,) ‖Hy − θy‖: an eigenvalue of H lies within this distance of θ; at least the rounding of
            the products, ε |λ|_max.
        smallest: (k,) the smallest Ritz values, rising. A negative one proves that H has a negative eigenvalue.
        smallest_residuals: (k,)
        num_products: Products with H that it took.
        keeps_basis: Whether the basis was kept orthogonal.
    """

    largest: FloatArray
    largest_residuals: FloatArray
    smallest: FloatArray
    smallest_residuals: FloatArray
    num_products: int
    keeps_basis: bool


@device_errors("curvature: the Lanczos algorithm")
def ends(
    operator: Operator,
    size: int,
    *,
    count: int = 1,
    max_products: int,
    tolerance: float = 0.0,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
    memory: int | None = None,
    symmetric_to: float = 0.05,
) -> Ends:
    """The largest and the smallest eigenvalues of a symmetric operator, by one Krylov space from one random vector.

    Of an eigenvalue that occurs several times one copy is seen. For a random start the probability that an eigenvalue
    more than ε (λ_max − λ_min) below the smallest Ritz value was missed is at most 1.648 √size exp(−√ε (2m − 1)) after
    m products (Kuczyński & Woźniakowski 1992, SIAM J. Matrix Anal. Appl. 13(4), theorem 4.2).

    Args:
        operator: See `Krylov`, as for the following.
        size: Number of rows of H.
        count: k, pairs at each end; with a basis that does not fit in memory it is 1.
        max_products: Products with H.
        tolerance: Ends before, when the residuals of both ends are at most this times |λ|_max; 0 for never.
        device: Of the vectors.
        dtype: Of the vectors.
        seed: Of the start vector.
        memory: Bytes that the basis may take; None for 40 % of what is free.
        symmetric_to: As for `eigenpair`.

    Raises:
        EvaluationError: H is not symmetric, or a product is not finite.
    """
    space = Krylov(
        operator,
        size,
        num_starts=1,
        max_products=max_products,
        device=device,
        dtype=dtype,
        seed=seed,
        memory=memory,
    )
    count = min(count, size) if space.keeps_basis else 1
    while not (space.is_exhausted or space.num_products == space.max_products):
        space.step()
        if tolerance and space.num_products >= 2 * count:
            found = space.ritz()
            both = max(found.residuals[:count].max(), found.residuals[-count:].max())
            if both <= tolerance * found.largest_magnitude:
                break
    space.check_symmetry(symmetric_to)
    ritz = space.ritz()
    # the recurrence goes on falling where the products are no better than their rounding
    residuals = np.maximum(ritz.residuals, torch.finfo(dtype).eps * ritz.largest_magnitude)
    return Ends(
        largest=ritz.values[::-1][:count],
        largest_residuals=residuals[::-1][:count],
        smallest=ritz.values[:count],
        smallest_residuals=residuals[:count],
        num_products=space.num_products,
        keeps_basis=space.keeps_basis,
    )
