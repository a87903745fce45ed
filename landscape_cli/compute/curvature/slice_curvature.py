"""The second derivative of the loss along the directions of the scan."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.subspace import Params, flatten

_NUMBERS_AT_ONCE = 1 << 25  # of the slices whose products are made together


def slice_curvature(context: Context, *, slices: PositiveInt = 10) -> Found:
    """dᵀHd along every axis of the first ``slices`` slices, exact, in units of the loss per axis unit squared.

    Of random filter-normalised directions the mean over slices estimates Σ_f ‖θ_f‖²/n_f · tr H_ff over the filters f of
    n_f weights. Where only some parameters are selected, of the part of the direction in them.

    Cost: a product for each slice and axis.
    """
    objective, operator = context.objective, context.operator
    count = min(slices, context.num_slices)
    step = max(1, _NUMBERS_AT_ONCE // operator.size)
    values: list[list[float]] = []
    for start in range(0, count, step):
        group = [
            [_flat(direction, objective.params).to(operator.device) for direction in context.draw(index)]
            for index in range(start, min(start + step, count))
        ]
        products = iter(operator.many([each for axes in group for each in axes if bool(each.any())]))
        values += [
            [float(each.double() @ next(products).double()) if bool(each.any()) else 0.0 for each in axes]
            for axes in group
        ]
    return {"per_slice": np.asarray(values)}


def _flat(direction: Params, params: Params) -> Tensor:
    """On the CPU; zeros where the direction moves nothing, and nothing of what was not selected."""
    parts = {name: direction.get(name, torch.zeros_like(tensor, device="cpu")) for name, tensor in params.items()}
    return flatten(parts, tuple(params)).to(next(iter(params.values())).dtype)
