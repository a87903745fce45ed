"""Directions that the loss itself gives: its gradient and the eigenvectors of its Hessian."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.lanczos import eigenpair
from landscape_cli.compute.normalization import NORMALIZATIONS
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.subspace import Params, flatten, norm, unflatten

_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


def gradient(
    context: Context,
    *,
    normalization: Literal["filter", "layer", "weight", "unit", "none"] = "filter",
    ignore: Literal["biasbn", "none"] | None = None,
    split: str | None = None,
    num_examples: PositiveInt | None = None,
) -> Params:
    """The gradient of the mean loss at θ*, BatchNorm frozen: the direction in which the loss rises fastest.

    Args:
        context: θ* and the data.
        normalization: See `landscape_cli.compute.normalization`; ``"none"`` is the gradient itself, ``"unit"`` is of
            Euclidean length 1.
        ignore: As for ``random``; by default ``"biasbn"`` for filter and layer, ``"none"`` for the others, which keep
            the direction of the gradient.
        split: Of the data; by default train, or the first split where there is none.
        num_examples: The first ones of the split; by default all.
    """
    found = {name: tensor.cpu() for name, tensor in _objective(context, split, num_examples).gradient().items()}
    context.tell("gradient_norm", norm(found))
    if (ignore or ("biasbn" if normalization in ("filter", "layer") else "none")) == "biasbn":
        found = {name: torch.zeros_like(tensor) if tensor.ndim < 2 else tensor for name, tensor in found.items()}
    return NORMALIZATIONS[normalization](found, context.params, context.layout)


def hessian(
    context: Context,
    *,
    index: PositiveInt = 1,
    which: Literal["largest", "smallest"] = "largest",
    split: str | None = None,
    num_examples: PositiveInt | None = None,
    tolerance: PositiveFloat | None = None,
    max_products: PositiveInt = 300,
) -> Params:
    """An eigenvector of the Hessian of the mean loss at θ*, BatchNorm frozen, by Lanczos' method.

    The eigenvector itself, of Euclidean length 1, not rescaled per tensor: the second derivative of the loss along it
    is the eigenvalue, which stands in the file with its residual.

    Args:
        context: θ* and the data.
        index: 1 for the extreme one, 2 for the next.
        which: Largest or smallest, with the sign: the smallest one may be negative.
        split: Of the data; by default train, or the first split where there is none.
        num_examples: The first ones of the split; by default all.
        tolerance: Of the residual ‖Hv − λv‖, relative to the largest eigenvalue in size; by default 1e-8 in float64 and
            1e-4 in float32, whose products are no better. The error of λ is of the order of its square.
        max_products: Hessian-vector products after which the best that is there is taken, and said so.
    """
    objective = _objective(context, split, num_examples)
    like = context.params
    device, dtype = objective.device, next(iter(like.values())).dtype

    def product(flat: Tensor) -> Tensor:
        return flatten(objective.hvp(unflatten(flat.to(dtype), like)), tuple(like))

    pair = eigenpair(
        product,
        sum(tensor.numel() for tensor in like.values()),
        index=index,
        which=which,
        tolerance=_TOLERANCE[dtype] if tolerance is None else tolerance,
        max_products=max_products,
        device=device,
        dtype=dtype,
        symmetric_to=objective.symmetric_to,
    )
    context.tell("eigenvalue", pair.value)
    context.tell("residual", pair.residual)
    context.tell("num_products", pair.num_products)
    if not pair.converged and context.sources is not None:
        context.sources.note(
            f"warning: the eigenvector of the {context.axis} axis has not converged: λ = {pair.value:.4g} ± "
            f"{pair.residual:.2g} after {pair.num_products} products; raise max_products or tolerance"
        )
    vector = pair.vector.double()
    found = unflatten((vector / math.sqrt(float(vector @ vector))).cpu(), like)
    return {name: tensor.to(dtype) for name, tensor in found.items()}


def _objective(context: Context, split: str | None, num_examples: int | None) -> Objective:
    assert context.sources is not None  # a scan has them
    return context.sources.objective(tuple(context.params), split, num_examples)
