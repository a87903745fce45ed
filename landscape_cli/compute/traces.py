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

    Raises:
        EvaluationError: Q does not fit in memory.
    """
    num_probes = max(1, min(num_products // 2, size))
    place = place_for(num_probes * size * dtype.itemsize, device, memory)
    if place is None:
        raise EvaluationError(
            f"curvature: XTrace needs {num_probes} vectors of {size:,} numbers, more than fit in memory",
            hint="Use {_target_: trace, estimator: hutchinson}, which needs one at a time, or fewer products.",
        )
    basis = Basis(num_probes, size, place, dtype)
    own: list[float] = []  # ωᵢᵀAωᵢ
    lengths: list[float] = []
    columns: list[FloatArray] = []
    for group in _groups(num_probes, size):
        probes = [gaussian(seed, i, size).to(device) for i in group]
        for probe, product in zip(probes, products([probe.to(dtype) for probe in probes]), strict=True):
            own.append(float(probe @ product.double()))
            lengths.append(float(probe @ probe))
            columns.append(basis.include(product).cpu().numpy())
    rank = len(basis)
    r = np.zeros((rank, num_probes))  # QᵀAΩ
    for i, column in enumerate(columns):
        r[: len(column), i] = column
    w = np.stack([basis.products(gaussian(seed, i, size)).cpu().numpy() for i in range(num_probes)], axis=1)  # QᵀΩ
    h = np.zeros((rank, rank))  # QᵀAQ
    for group in _groups(rank, size):
        found = products([basis[i].to(device) for i in group])
        for i, product in zip(group, found, strict=True):
            h[:, i] = basis.products(product).cpu().numpy()
    check_symmetry(h, float(np.abs(np.linalg.eigvalsh((h + h.T) / 2)).max(initial=0.0)), symmetric_to)
    h = (h + h.T) / 2
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
    for group in _groups(num_products, size):
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


def _groups(count: int, size: int) -> list[range]:
    step = max(1, min(16, _NUMBERS_AT_ONCE // size))
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def _estimate(values: Sequence[float], *, is_exact: bool = False) -> Estimate:
    count = len(values)
    mean = math.fsum(values) / count
    if is_exact:
        return Estimate(mean, 0.0, count)
    return Estimate(mean, float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else math.nan, count)
