"""Flatness relative to the weights of a layer, and the Fisher–Rao norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from landscape_cli.axes import Selection
from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.normalization import Units
from landscape_cli.compute.passes import Piece
from landscape_cli.compute.selection import select
from landscape_cli.errors import EvaluationError

_NUMBERS_AT_ONCE = 1 << 24


def relative_flatness(
    context: Context,
    *,
    layers: list[str] | None = None,
    products: Annotated[int, Field(ge=2)] = 30,
    seed: int = 0,
) -> Found:
    """κ = Σ_{s,s'} ⟨w_s, w_s'⟩ tr H_{s,s'} of a layer with the rows w_s, one for each neuron or filter (Petzka et al.
    2021, arXiv:2001.00939); of a grouped convolution the sum over pairs that see the same inputs.

    Estimated without bias as the mean of (WA)ᵀH(WA) over matrices A of random signs (fan_in × fan_in), because
    E A_ij A_kl = δ_ik δ_jl. Of several layers the sum. Not invariant to rescaling single neurons of the layer before.

    Cost: ``products`` products for each layer, with the Hessian by that layer alone.

    Args:
        context: The loss.
        layers: Globs of weight names; by default the last weight matrix.
        products: With the Hessian, for each layer.
        seed: Of the signs.
    """
    params = context.objective.params
    matrices = [name for name, tensor in params.items() if tensor.ndim > 1]
    if not matrices:
        raise EvaluationError("curvature: relative_flatness needs a weight matrix among the parameters")
    where = "curvature.measures: relative_flatness.layers"
    chosen = select(matrices, Selection(include=tuple(layers)), where) if layers else matrices[-1:]
    generator = np.random.Generator(np.random.Philox(key=seed))
    means, errors = [], []
    context.note(f"of {', '.join(chosen)}")
    for name in chosen:
        with context.part([name]) as (objective, operator):
            weight, units = objective.params[name].double(), context.layers.get(name, Units())
            values = []
            for _ in range(products):
                direction = _mixed(weight, units, generator).reshape(-1).to(operator.device)
                values.append(float(direction @ operator(direction.to(operator.dtype)).double()))
        means.append(float(np.mean(values)))
        errors.append(float(np.std(values, ddof=1)) / math.sqrt(products))
    return {
        "value": math.fsum(means),
        "standard_error": math.sqrt(math.fsum(error**2 for error in errors)),
        "per_layer": np.asarray(means),
        "per_layer_standard_error": np.asarray(errors),
    }


def _mixed(weight: Tensor, units: Units, generator: np.random.Generator) -> Tensor:
    """W A with random signs A for the rows W of each group of output units, in the shape of the weight."""
    grouped = units.grouped(weight)  # (groups, d₀ / groups, …), the units along dimension units.dim + 1
    order = (0, units.dim + 1, *(d for d in range(1, grouped.ndim) if d != units.dim + 1))
    rows = grouped.permute(order).flatten(2)  # (groups, units, fan-in)
    mixed = torch.stack([_times_signs(each, generator) for each in rows])
    back = [order.index(d) for d in range(grouped.ndim)]
    return mixed.view(grouped.permute(order).shape).permute(back).reshape(weight.shape)


def _times_signs(rows: Tensor, generator: np.random.Generator) -> Tensor:
    """(units, fan-in) times random signs (fan-in, fan-in), made in blocks of columns."""
    fan_in = rows.shape[1]
    step = max(1, _NUMBERS_AT_ONCE // fan_in)
    parts = []
    for start in range(0, fan_in, step):
        signs = generator.integers(0, 2, (fan_in, min(step, fan_in - start)), dtype=np.int8) * 2 - 1
        parts.append(rows @ torch.from_numpy(signs).to(rows))
    return torch.cat(parts, dim=1)


def fisher_rao(context: Context) -> Found:
    """The Fisher–Rao norm θᵀFθ (Liang et al. 2019, arXiv:1711.01530): empirical, mean_i ⟨θ, ∇ℓ_i⟩², and for the cross
    entropy of logits that of the model, mean_i Var_{c ~ p_i} (J_i θ)_c.

    Cost: 2 gradients (forward and backward passes, of the losses and of the logits).
    """
    objective = context.objective
    along = [objective.params[name] for name in objective.names]
    like = [torch.zeros((), device=objective.device)]

    def empirical(piece: Piece) -> Sequence[Tensor]:
        losses = objective.losses(piece, objective.outputs(piece))
        return [_pushed(piece, losses, along).double().square().sum()]

    def of_model(piece: Piece) -> Sequence[Tensor]:
        logits = objective.outputs(piece)
        if logits.ndim != 2:
            raise EvaluationError(
                f"curvature: fisher_rao: the model gives {tuple(logits.shape)}; expected (B, C) logits"
            )
        slopes, shares = _pushed(piece, logits, along).double(), torch.softmax(logits.detach().double(), dim=1)
        mean = (shares * slopes).sum(dim=1)
        return [((shares * slopes.square()).sum(dim=1) - mean.square()).sum()]

    found = {"empirical": float(objective.sums("the Fisher–Rao norm", like, empirical)[0]) / objective.num_examples}
    if context.is_cross_entropy:
        total = float(objective.sums("the Fisher–Rao norm", like, of_model)[0])
        found["model"] = total / objective.num_examples
    return found


def _pushed(piece: Piece, values: Tensor, along: Sequence[Tensor]) -> Tensor:
    """The derivative of (k, …) values along a direction in weight space, by differentiating uᵀJ by u."""
    dummy = torch.zeros_like(values, requires_grad=True)
    pulled = torch.autograd.grad(values, piece.replica.live, dummy, create_graph=True, materialize_grads=True)
    device = values.device
    total = torch.stack([(g * v).sum().to(device) for g, v in zip(pulled, along, strict=True)]).sum()
    return torch.autograd.grad(total, dummy)[0]
