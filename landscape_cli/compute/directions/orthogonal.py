"""Directions that stand at right angles to those before them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from landscape_cli.compute.subspace import FloatArray, Params, gram, inner, norm

_MAX_STEPS = 50
_MAX_FAILURES = 8
_EXACT = 1e-14
_PARALLEL = 1e-6


def orthogonalize(
    direction: Params, earlier: Sequence[Params], names: set[str], renormalize: Callable[[Params], Params] | None = None
) -> Params | None:
    """Take out of a direction what lies along those before it, without touching tensors that it does not move.

    Without a normalization this is one projection. With one, the direction is v(λ) / ‖v(λ)‖ · ‖θ‖ unit by unit, where
    v = d − Σ λᵢ·dᵢ, and λ is found by Broyden's method (1965), from the projection on, until the cosines vanish or do
    not fall any more: with filters of a single weight, which cannot turn, both conditions may be impossible.

    Args:
        direction: To be changed; returned as a new one.
        earlier: The directions before it.
        names: The parameters: angles are between these. Other tensors (BatchNorm statistics) follow along.
        renormalize: Gives a direction its normalization back.

    Returns:
        The direction in float64, or None where nothing of it is left.
    """
    best = {name: tensor.double() for name, tensor in direction.items()}
    support = {name for name in best if name in names and bool(best[name].any())}
    moving = support | (set(best) - names)
    others = [{name: tensor.double() for name, tensor in each.items()} for each in earlier]
    within = [_only(each, support) for each in others]
    before, smallest, num_failures = norm(_only(best, support)), np.inf, 0
    jacobian, products = -gram(within), _inners(best, within)
    step = _solve(jacobian, -products)
    for _ in range(_MAX_STEPS):
        found = _subtract(best, step, others, moving)
        if norm(_only(found, support)) <= _PARALLEL * before:
            return None
        if renormalize is not None:
            found |= renormalize(_only(found, names))
        changed, largest = _inners(found, within), float(np.abs(_cosines(_only(found, names), others)).max())
        if step.any():
            jacobian = jacobian + np.outer(changed - products - jacobian @ step, step) / (step @ step)
        if largest < smallest:
            best, smallest, products = found, largest, changed
            step = _solve(jacobian, -products)
        else:  # again from the best one, nearer to it
            num_failures += 1
            longest = 0.5 * math.hypot(*step)
            step = _solve(jacobian, -products)
            step = step * min(1.0, longest / (math.hypot(*step) or 1.0))
        if smallest <= _EXACT or num_failures > _MAX_FAILURES or not step.any():
            break
    return best


def _subtract(direction: Params, coefficients: FloatArray, others: Sequence[Params], moving: set[str]) -> Params:
    found = dict(direction)
    for coefficient, each in zip(coefficients.tolist(), others, strict=True):
        found |= {name: found[name] - coefficient * tensor for name, tensor in each.items() if name in moving}
    return found


def _solve(matrix: FloatArray, wanted: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.lstsq(matrix, wanted, rcond=None)[0], dtype=np.float64)


def _inners(direction: Params, others: Sequence[Params]) -> FloatArray:
    return np.array([inner(direction, each) for each in others])


def _cosines(direction: Params, earlier: Sequence[Params]) -> FloatArray:
    return np.array([inner(direction, each) / (norm(direction) * norm(each)) for each in earlier])


def _only(params: Params, names: set[str]) -> Params:
    return {name: tensor for name, tensor in params.items() if name in names}
