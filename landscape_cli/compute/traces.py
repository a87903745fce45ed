"""The trace of a symmetric operator that is never formed, with its error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape_cli.compute.basis import Basis, check_symmetry, place_for
from landscape_cli.compute.device import device_errors
from landscape_cli.compute.subspace import FloatArray
from landscape_cli.errors import EvaluationError

# several vectors → their products with the operator
Products = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Estimate:
    """An estimate and its standard error over the random probes; NaN for a single probe, 0 where it is exact."""

    value: float
    standard_error: float
    num_probes: int


@device_errors("curvature: the trace")
def xtrace(
    products: Products,
    size: int,
    *,
    num_products: int,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
    memory: int | None = None,
    symmetric_to: float = 0.05,
    tolerance: float = 0.0,
) -> Estimate:
    """Tr A by XTrace (Epperly, Tropp & Webber 2024, SIAM J. Matrix Anal. Appl. 45(1), arXiv:2301.07825, section 2.2).

    Of k = num_products / 2 Gaussian probes ω_i all products y_i = Aω_i span a space with the orthonormal basis Q. For
    each i, what all probes but ω_i span is projected out exactly, tr(Q_iᵀAQ_i), and ω_i estimates the rest,
    μᵀAμ · (n − dim Q_i) / ‖μ‖² with μ = (I − Q_iQ_iᵀ)ω_i (the normalization of section 2.3). The mean over i is the
    estimate, sd / √k its error; both are exact where A has a rank below k.

    Args:
        products: With A.
        size: n, rows of A.
        num_products: Products with A at most, half of them with probes.
        device: Of the vectors.
        dtype: Of the vectors; sums are float64.
        seed: Of the probes.
        memory: Bytes that Q may take; None for 40 % of what is free.
        symmetric_to: By how much products may contradict each other, relative to the largest |λ|.

        tolerance: Stops before, after half or three quarters of the products, where the standard error is at most this
            share of the value; 0 for never.

    Raises:
        EvaluationError: Q does not fit in memory.
    """
    most = max(1, min(num_products // 2, size))
    place = place_for(most * size * dtype.itemsize, device, memory)
    if place is None:
        raise EvaluationError(
            f"curvature: XTrace needs {most} vectors of {size:,} numbers, more than fit in memory",
            hint="Use {_target_: trace, estimator: hutchinson}, which needs one at a time, or fewer products.",
        )
    basis = Basis(most, size, place, dtype)
    own: list[float] = []  # ωᵢᵀAωᵢ
    lengths: list[float] = []
    columns: list[FloatArray] = []  # of QᵀAΩ
    h = np.zeros((0, 0))  # QᵀAQ
    found = Estimate(math.nan, math.nan, 0)
    for count in _counts(most, at_once=not tolerance):
        for group in _groups(len(own), count, size):
            probes = [gaussian(seed, i, size).to(device) for i in group]
            for probe, product in zip(probes, products([probe.to(dtype) for probe in probes]), strict=True):
                own.append(float(probe @ product.double()))
                lengths.append(float(probe @ probe))
                columns.append(basis.include(product).cpu().numpy())
        h = _projected(products, basis, h, device)
        largest = float(np.abs(np.linalg.eigvalsh((h + h.T) / 2)).max(initial=0.0))
        check_symmetry(h, largest, symmetric_to)
        found = _combined(size, seed, basis, columns, (h + h.T) / 2, own, lengths)
        if found.standard_error <= tolerance * abs(found.value):
            break
    return found


def _counts(most: int, *, at_once: bool) -> list[int]:
    """Numbers of probes after which the error is looked at: about half, three quarters and all of them."""
    return [most] if at_once else sorted({max(1, math.ceil(most * share)) for share in (0.5, 0.75, 1.0)})


def _projected(products: Products, basis: Basis, known: FloatArray, device: torch.device) -> FloatArray:
    """QᵀAQ, of which the first rows and columns are known: the basis grows, but does not change."""
    old, rank = len(known), len(basis)
    h = np.zeros((rank, rank))
    h[:old, :old] = known
    for group in _groups(old, rank, basis.size):
        for i, product in zip(group, products([basis[i].to(device) for i in group]), strict=True):
            h[:, i] = basis.products(product).cpu().numpy()
    h[old:, :old] = h[:old, old:].T
    return h


def _combined(
    size: int,
    seed: int,
    basis: Basis,
    columns: Sequence[FloatArray],
    h: FloatArray,
    own: Sequence[float],
    lengths: Sequence[float],
) -> Estimate:
    num_probes, rank = len(own), len(basis)
    r = np.zeros((rank, num_probes))  # QᵀAΩ
    for i, column in enumerate(columns):
        r[: len(column), i] = column
    w = np.stack([basis.products(gaussian(seed, i, size)).cpu().numpy() for i in range(num_probes)], axis=1)  # QᵀΩ
    estimates = [_without(i, size, r, w, h, own[i], lengths[i]) for i in range(num_probes)]
    return _estimate(estimates, is_exact=rank == size)


def _without(i: int, size: int, r: FloatArray, w: FloatArray, h: FloatArray, own: float, length: float) -> float:
    """The estimate that leaves probe i out of the basis."""
    others = np.delete(r, i, axis=1)
    u, s, _ = np.linalg.svd(others, full_matrices=False) if others.size else (np.zeros((len(r), 0)), np.zeros(0), None)
    u = u[:, s > s.max(initial=0.0) * max(r.shape) * np.finfo(np.float64).eps]  # Q_i = Q u
    known = u @ (u.T @ w[:, i])  # Qᵀ Q_iQ_iᵀ ωᵢ
    rest = length - float(known @ known)  # ‖μ‖²
    dimension = size - u.shape[1]
    exact = float(np.trace(u.T @ h @ u))
    if dimension == 0 or rest <= 0:
        return exact
    quadratic = own - 2 * float(known @ r[:, i]) + float(known @ h @ known)  # μᵀAμ
    return float(exact + dimension / rest * quadratic)


@device_errors("curvature: the trace")
def hutchinson(
    products: Products, size: int, *, num_products: int, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> Estimate:
    """Tr A = E zᵀAz with random signs z (Hutchinson 1990, Commun. Stat. Simul. Comput. 19(2)).

    Args:
        products: With A.
        size: Rows of A.
        num_products: Probes, each a product.
        device: Of the vectors.
        dtype: Of the vectors.
        seed: Of the probes.
    """
    found: list[float] = []
    for group in _groups(0, num_products, size):
        probes = [torch.sign(gaussian(seed, i, size)).to(device) for i in group]
        for probe, product in zip(probes, products([probe.to(dtype) for probe in probes]), strict=True):
            found.append(float(probe @ product.double()))
    return _estimate(found)


def gaussian(seed: int, number: int, size: int) -> Tensor:
    """A standard Gaussian vector, (size,) float64 on the CPU; the same on every machine."""
    generator = np.random.Generator(np.random.Philox(key=[seed, number]))
    return torch.from_numpy(generator.standard_normal(size))


# float64 numbers of the probes that are made at once
_NUMBERS_AT_ONCE = 1 << 27


def _groups(first: int, count: int, size: int) -> list[range]:
    step = max(1, min(16, _NUMBERS_AT_ONCE // size))
    return [range(start, min(start + step, count)) for start in range(first, count, step)]


def _estimate(values: Sequence[float], *, is_exact: bool = False) -> Estimate:
    count = len(values)
    mean = math.fsum(values) / count
    if is_exact:
        return Estimate(mean, 0.0, count)
    return Estimate(mean, float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else math.nan, count)
