"""Which function-preserving changes of a network leave a measure as it is, by the directions it was measured along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

LAYER, NEURON, BATCHNORM = "layer", "neuron", "conv→BN"

# layer: one layer × 10 and the next / 10; neuron: the same for single neurons or channels; conv→BN: a convolution
# before a BatchNorm × 10
_RANDOM: dict[str, tuple[str, ...]] = {
    "weight": (LAYER, NEURON, BATCHNORM),
    "filter": (LAYER, BATCHNORM),
    "layer": (LAYER, BATCHNORM),
}
# the difference of two checkpoints changes as they do; gradients change inversely to the weights
_OTHERS: dict[str, tuple[str, ...]] = {"between": (LAYER, NEURON, BATCHNORM), "pca": (), "hessian": ()}


def invariances(recipes: Sequence[Mapping[str, JsonValue]]) -> tuple[str, ...] | None:
    """What all axes are invariant to; None where the direction of one of them is not known to us.

    >>> invariances([{"_target_": "random", "normalization": "filter"}])
    ('layer', 'conv→BN')
    """
    found = [_of(recipe) for recipe in recipes]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return tuple(name for name in (LAYER, NEURON, BATCHNORM) if all(name in each for each in known))


def is_relative_noise(recipe: Mapping[str, JsonValue]) -> bool:
    """Whether a direction is θ ⊙ ε with Gaussian ε."""
    return recipe.get("_target_") == "random" and recipe.get("normalization") == "weight"


def _of(recipe: Mapping[str, JsonValue]) -> tuple[str, ...] | None:
    scaled = str(recipe.get("normalization") or "filter")
    match recipe.get("_target_"):
        case "random":
            return _RANDOM.get(scaled, ())
        case "gradient":
            return _RANDOM[scaled] if scaled in ("filter", "layer") else ()
        case target:
            return _OTHERS.get(str(target))
