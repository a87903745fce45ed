"""Directions that stand at right angles to those before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from landscape_cli.compute.subspace import FloatArray, Params, gram, inner, norm

# Each step leaves about the square of the cosine behind; where single units stand in the way it is slower.
_MAX_STEPS = 50
_EXACT = 1e-14
_PARALLEL = 1e-6


def orthogonalize(
    direction: Params, earlier: Sequence[Params], names: set[str], renormalize: Callable[[Params], Params] | None = None
) -> Params | None:
    """Take out of a direction what lies along those before it, without touching tensors that it does not move.

    With a normalization the two conditions are met in turns, by alternating projections, until the cosines vanish or
    stop falling: with filters of a single weight both may be impossible, and the cosine that is left is the smallest.

    Args:
        direction: To be changed; returned as a new one.
        earlier: The directions before it.
        names: The parameters: angles are between these. Other tensors (BatchNorm statistics) follow along.
        renormalize: Gives a direction its normalization back.

    Returns:
        The direction in float64, or None where nothing of it is left.
    """
    found = {name: tensor.double() for name, tensor in direction.items()}
    before = norm(_only(found, names))
    support = {name for name in found if name in names and bool(found[name].any())}
    others = [{name: tensor.double() for name, tensor in each.items()} for each in earlier]
    within = [_only(each, support) for each in others]
    best, smallest = found, np.inf
    for _ in range(_MAX_STEPS):
        products = np.array([inner(_only(found, support), each) for each in within])
        coefficients = np.linalg.lstsq(gram(within), products, rcond=None)[0]
        for coefficient, each in zip(coefficients.tolist(), others, strict=True):
            for name, tensor in each.items():
                if name in found and (name in support or name not in names):
                    found = {**found, name: found[name] - coefficient * tensor}
        if norm(_only(found, support)) <= _PARALLEL * before:
            return None
        if renormalize is not None:
            found = {**found, **renormalize(_only(found, names))}
        largest = float(np.abs(_cosines(_only(found, names), others)).max())
        if largest < smallest:
            best, smallest = found, largest
        elif renormalize is None or largest > 0.9 * smallest:
            break
        if smallest <= _EXACT:
            break
    return best


def _cosines(direction: Params, earlier: Sequence[Params]) -> FloatArray:
    return np.array([inner(direction, each) / (norm(direction) * norm(each)) for each in earlier])


def _only(params: Params, names: set[str]) -> Params:
    return {name: tensor for name, tensor in params.items() if name in names}
