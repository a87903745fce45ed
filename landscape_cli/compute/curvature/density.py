"""The spectral density of the Hessian."""

from __future__ import annotations

import math

import numpy as np
from pydantic import PositiveInt

from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.lanczos import Krylov, Ritz


def spectral_density(context: Context, *, probes: PositiveInt = 4, steps: PositiveInt = 80, seed: int = 0) -> Found:
    """Nodes and weights of the density of eigenvalues by stochastic Lanczos quadrature (Golub & Welsch 1969; Ghorbani,
    Krishnan & Xiao 2019, arXiv:1901.10159; Yao et al. 2020, arXiv:1912.07145), and the sum of |negative eigenvalues|.

    Each probe gives a quadrature of ``steps`` nodes, the Ritz values, with the squared first components of their
    vectors as weights. The standard error over the probes does not cover the bias of the quadrature; the change from
    half the steps says how large that may be.

    Cost: ``probes`` · ``steps`` products.
    """
    operator = context.operator
    nodes, weights = np.full((probes, steps), np.nan), np.zeros((probes, steps))
    negative, at_half = np.zeros(probes), np.zeros(probes)
    for probe in range(probes):
        space = Krylov(
            operator,
            operator.size,
            num_starts=1,
            max_products=steps,
            device=operator.device,
            dtype=operator.dtype,
            seed=seed + probe,
        )
        half: Ritz | None = None
        while not (space.is_exhausted or space.num_products == space.max_products):
            space.step()
            if space.num_products == max(1, steps // 2):
                half = space.ritz()
        space.check_symmetry(operator.symmetric_to)
        found = space.ritz()
        count = len(found.values)
        nodes[probe, :count], weights[probe, :count] = found.values, found.vectors[0] ** 2
        negative[probe] = _negative_sum(found, operator.size)
        at_half[probe] = _negative_sum(half or found, operator.size)
        if not space.keeps_basis:
            context.note("the Lanczos vectors did not fit in memory: not reorthogonalized")
    error = float(negative.std(ddof=1)) / math.sqrt(probes) if probes > 1 else math.nan
    return {
        "nodes": nodes,
        "weights": weights,
        "negative_sum": float(negative.mean()),
        "negative_sum_standard_error": error,
        "negative_sum_change": float(abs(negative.mean() - at_half.mean())),
    }


def _negative_sum(ritz: Ritz, size: int) -> float:
    """Of one probe: size · Σ wᵢ |θᵢ| over the negative Ritz values."""
    return size * float((ritz.vectors[0] ** 2 * np.maximum(-ritz.values, 0.0)).sum())
