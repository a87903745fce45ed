"""Random directions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.keyed import keyed_generator
from landscape_cli.compute.normalization import NORMALIZATIONS
from landscape_cli.compute.subspace import Params


def random(
    context: Context,
    *,
    normalization: Literal["filter", "layer", "weight", "unit", "none"] = "filter",
    ignore: Literal["biasbn", "none"] | None = None,
) -> Params:
    """Gaussian direction, scaled to the weights (Li et al. 2018, arXiv:1712.09913).

    Every tensor is drawn on the CPU in float64 by a counter-based generator keyed by (seed, slice, axis, parameter
    name): the same on every device and for every checkpoint of the same architecture, whatever else is drawn.

    Args:
        context: The parameters and the seed.
        normalization: See `landscape_cli.compute.normalization`.
        ignore: ``"biasbn"`` zeroes every tensor with fewer than two dimensions (biases, norm scales and shifts),
            ``"none"`` nothing. By default ``"none"`` for weight normalization, ``"biasbn"`` for the others.

    Returns:
        A direction with the names, shapes and types of ``context.params``.
    """
    ignore = ignore or ("none" if normalization == "weight" else "biasbn")
    drawn = {
        name: torch.zeros_like(tensor) if ignore == "biasbn" and tensor.ndim < 2 else _gaussian(context, name, tensor)
        for name, tensor in context.params.items()
    }
    return NORMALIZATIONS[normalization](drawn, context.params, context.layout)


def _gaussian(context: Context, name: str, like: Tensor) -> Tensor:
    generator = keyed_generator(f"{context.seed}/{context.slice_index}/{context.axis}/{name}")
    return torch.from_numpy(generator.standard_normal(tuple(like.shape))).to(like.dtype)
