"""The largest loss in a neighbourhood of the weights, by projected gradient ascent: a lower bound of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape_cli.compute.objective import Objective
from landscape_cli.compute.subspace import unflatten
from landscape_cli.errors import NonFiniteError

_HALVED_AT = (0.5, 0.75)  # shares of the steps


@dataclass(frozen=True)
class Highest:
    """The loss at θ*, and the highest that was found; infinite where the loss has diverged."""

    start: float
    highest: float


def ascend(
    objective: Objective, scale: Tensor, *, radius: float, norm: Literal["l2", "linf"], num_steps: int, seed: int = 0
) -> Highest:
    """The highest loss at θ* + scale ⊙ u with ‖u‖ ≤ radius, along ``num_steps`` projected gradient steps from u = 0.

    Steps of the length of the radius along the normalised gradient by u (its signs for linf), halved after 50 and 75 %
    of the steps; the best of all iterates counts (Croce & Hein 2020, arXiv:2003.01690, without its momentum;
    Andriushchenko et al. 2023, arXiv:2302.07011, for the neighbourhood).

    Args:
        objective: The loss; comes back at θ*.
        scale: (size,) how far one unit of u moves each weight.
        radius: Of the ball, or half the edge of the cube.
        norm: l2 for a ball, linf for a cube.
        num_steps: Gradients; then one more loss.
        seed: Of the first direction where the gradient is zero.
    """
    position = torch.zeros(objective.size, dtype=torch.float64, device=objective.device)
    step, losses = radius, list[float]()
    try:
        for number in range(num_steps):
            if number in [max(1, round(share * num_steps)) for share in _HALVED_AT]:
                step /= 2
            _go(objective, scale * position)
            found = objective.derivative()
            losses.append(found.loss)
            slope = scale * objective.flat(found.gradient).double()
            if not slope.any():
                generator = torch.Generator().manual_seed(seed)
                slope = torch.randn(len(slope), generator=generator, dtype=torch.float64).to(slope)
            if norm == "l2":
                position += step * slope / torch.linalg.vector_norm(slope)
                length = torch.linalg.vector_norm(position)
                position *= torch.clamp(radius / length, max=1.0)
            else:
                position = (position + step * slope.sign()).clamp(-radius, radius)
        _go(objective, scale * position)
        losses.append(objective.loss())
    except NonFiniteError:
        if not losses:
            raise
        losses.append(_loss_or_infinity(objective))  # the gradient alone may be what is not finite
    finally:
        objective.move(None)
    return Highest(losses[0], max(losses))


def one_step(objective: Objective, scale: Tensor | None, *, radius: float) -> Highest:
    """The loss after one step of length ``radius`` up the gradient: δ = ρ s ⊙ (s ⊙ g) / ‖s ⊙ g‖.

    Args:
        objective: The loss; comes back at θ*.
        scale: s, (size,); None for ones.
        radius: ρ.
    """
    found = objective.derivative()
    slope = objective.flat(found.gradient).double()
    slope = slope if scale is None else scale * slope
    length = torch.linalg.vector_norm(slope)
    step = radius * slope / length if length > 0 else torch.zeros_like(slope)
    try:
        _go(objective, step if scale is None else scale * step)
        return Highest(found.loss, _loss_or_infinity(objective))
    finally:
        objective.move(None)


def _loss_or_infinity(objective: Objective) -> float:
    """The loss; infinite where it has diverged."""
    try:
        return objective.loss()
    except NonFiniteError:
        return math.inf


def _go(objective: Objective, offset: Tensor) -> None:
    objective.move(unflatten(offset, objective.params) if bool(offset.any()) else None)
