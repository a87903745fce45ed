"""The second derivative of the loss along the directions of the scan."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.subspace import Params, flatten


def slice_curvature(context: Context, *, slices: PositiveInt = 10) -> Found:
    """dᵀHd along every axis of the first ``slices`` slices, exact, in units of the loss per axis unit squared.

    Of random filter-normalised directions the mean over slices estimates Σ_f ‖θ_f‖²/n_f · tr H_ff over the filters f of
    n_f weights. Where only some parameters are selected, of the part of the direction in them.

    Cost: a product for each slice and axis.
    """
    objective, operator = context.objective, context.operator
    count = min(slices, context.num_slices)
    directions = [_flat(direction, objective.params) for index in range(count) for direction in context.draw(index)]
    moved = [number for number, direction in enumerate(directions) if bool(direction.any())]
    values = np.zeros(len(directions))
    products = operator.many([directions[number].to(operator.device) for number in moved])
    for number, product in zip(moved, products, strict=True):
        values[number] = float(directions[number].to(operator.device).double() @ product.double())
    return {"per_slice": values.reshape(count, -1)}


def _flat(direction: Params, params: Params) -> Tensor:
    """On the CPU; zeros where the direction moves nothing, and nothing of what was not selected."""
    parts = {name: direction.get(name, torch.zeros_like(tensor, device="cpu")) for name, tensor in params.items()}
    return flatten(parts, tuple(params)).to(next(iter(params.values())).dtype)
