"""How high the loss can be in a neighbourhood of the weights."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt

from landscape_cli.compute.ascent import ascend, one_step
from landscape_cli.compute.curvature.context import Context, Found

_RADII = {"l2": 0.5, "linf": 0.01}


def sam(context: Context, *, rho: PositiveFloat = 0.05) -> Found:
    """L(θ + ρ g/‖g‖) − L(θ): the rise that SAM takes for the worst one (Foret et al. 2021, arXiv:2010.01412).

    Cost: 1 gradient and 1 loss. Noisy: it differs by 30 to 80 % between equal trainings.
    """
    found = one_step(context.objective, None, radius=rho)
    return {"value": found.highest - found.start}


def asam(context: Context, *, rho: PositiveFloat = 0.5) -> Found:
    """L(θ + ρ T²g/‖Tg‖) − L(θ) with T = diag |θ| (Kwon et al. 2021, arXiv:2102.11600, with η = 0, because any other
    value makes it depend on how the weights are scaled).

    Cost: 1 gradient and 1 loss. Noisy as sam.
    """
    found = one_step(context.objective, context.magnitude(), radius=rho)
    return {"value": found.highest - found.start}


def adaptive_worst(
    context: Context,
    *,
    rho: PositiveFloat | None = None,
    norm: Literal["l2", "linf"] = "l2",
    steps: PositiveInt = 20,
) -> Found:
    """The largest rise L(θ + δ) − L(θ) over ‖δ/|θ|‖ ≤ ρ that projected gradient ascent finds (Andriushchenko et al.
    2023, arXiv:2302.07011; Kwon et al. 2021): a lower bound, invariant to rescaled weights.

    Cost: ``steps`` gradients and 1 loss.

    Args:
        context: The loss.
        rho: By default 0.5 for l2 and 0.01 for linf.
        norm: Over all weights.
        steps: Of the ascent.
    """
    radius = _RADII[norm] if rho is None else rho
    found = ascend(context.objective, context.magnitude(), radius=radius, norm=norm, num_steps=steps)
    return {"value": found.highest - found.start, "rho": radius}


def keskar(context: Context, *, epsilon: PositiveFloat = 1e-3, steps: PositiveInt = 20) -> Found:
    """100 · (max L − L(θ)) / (1 + L(θ)) over the box |δ_i| ≤ ε (|θ_i| + 1) (Keskar et al. 2017, arXiv:1609.04836), the
    maximum by projected gradient ascent: a lower bound. The 1 makes it depend on how the weights are scaled.

    Cost: ``steps`` gradients and 1 loss.
    """
    box = epsilon * (context.magnitude() + torch.ones((), dtype=torch.float64, device=context.objective.device))
    found = ascend(context.objective, box, radius=1.0, norm="linf", num_steps=steps)
    return {"value": 100 * (found.highest - found.start) / (1 + found.start)}
