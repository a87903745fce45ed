"""Filter, layer, weight and unit normalization of directions; NORMALIZATIONS.

The random directions of Li et al. 2018 (arXiv:1712.09913, section 4): scaled to the weights, so that networks whose
filters differ in scale can be compared. A normalization is ``f(direction, params, layout) -> Params``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from landscape_cli.compute.subspace import Params, norm

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Units:
    """Which elements of a weight tensor belong to one output unit (filter, neuron, embedding row).

    Attributes:
        dim: The dimension that counts the units.
        groups: Number of blocks along dimension 0 that have units of their own (grouped ConvTranspose).
    """

    dim: int = 0
    groups: int = 1

    def norms(self, tensor: Tensor) -> Tensor:
        """Euclidean norm of each unit in float64, shaped to broadcast over the result of `grouped`."""
        grouped = self.grouped(tensor).double()
        others = tuple(d for d in range(grouped.ndim) if d not in (0, self.dim + 1))
        return grouped.square().sum(dim=others, keepdim=True).sqrt()

    def grouped(self, tensor: Tensor) -> Tensor:
        """View (d₀, …) as (groups, d₀ / groups, …)."""
        return tensor.reshape(self.groups, -1, *tensor.shape[1:])


Layout: TypeAlias = Mapping[str, Units]


def layout_of(model: nn.Module) -> Layout:
    """The units of every parameter.

    Dimension 0 for Conv, Linear, Embedding rows, recurrent and attention projections; dimension 1 per group for
    ConvTranspose, whose weight is (in, out / groups, …). A vector (bias, BatchNorm scale) is one unit as a whole.
    """
    layout: dict[str, Units] = {}
    modules = dict(model.named_modules())
    for prefix, module in modules.items():
        # weight_norm and the like keep the tensors that make up the weight in a module below
        owner = (
            modules[prefix.partition("parametrizations.")[0].rstrip(".")] if "parametrizations." in prefix else module
        )
        for name, parameter in module.named_parameters(recurse=False):
            transposed = isinstance(owner, _TRANSPOSED) and parameter.ndim == len(owner.kernel_size) + 2
            layout[f"{prefix}.{name}".lstrip(".")] = Units(1, owner.groups) if transposed else Units()
    return layout


def filter_normalize(direction: Params, params: Params, layout: Layout) -> Params:
    """Scale each unit of the direction to the norm of the same unit of the weights: d ← d · ‖θ‖ / ‖d‖ (Li et al.
    2018, section 4).

    A unit of zeros gets a zero direction.
    """
    return {name: _rescale(d, params[name], layout[name] if d.ndim > 1 else None) for name, d in direction.items()}


def layer_normalize(direction: Params, params: Params, layout: Layout) -> Params:  # noqa: ARG001  # one signature for all
    """Scale each tensor of the direction to the norm of the same tensor of the weights."""
    return {name: _rescale(d, params[name], None) for name, d in direction.items()}


def weight_normalize(direction: Params, params: Params, layout: Layout) -> Params:  # noqa: ARG001
    """Scale each element by the weight it moves: d = θ ⊙ ε, relative noise (magnitude-aware, Jiang et al. 2019,
    arXiv:1912.02178).
    """
    return {name: d * params[name] for name, d in direction.items()}


def unit_normalize(direction: Params, params: Params, layout: Layout) -> Params:  # noqa: ARG001
    """Scale the direction as a whole to the Euclidean length 1: coordinates are distances."""
    length = norm(direction)
    return {name: d / length if length else d for name, d in direction.items()}


def unnormalized(direction: Params, params: Params, layout: Layout) -> Params:  # noqa: ARG001
    """Leave the direction as drawn."""
    return direction


NORMALIZATIONS: dict[str, Callable[[Params, Params, Layout], Params]] = {
    "filter": filter_normalize,
    "layer": layer_normalize,
    "weight": weight_normalize,
    "unit": unit_normalize,
    "none": unnormalized,
}


def _rescale(direction: Tensor, weight: Tensor, units: Units | None) -> Tensor:
    if units is None:
        return direction * _ratio(weight.double().norm(), direction.double().norm()).to(direction.dtype)
    scale = _ratio(units.norms(weight), units.norms(direction)).to(direction.dtype)
    return (units.grouped(direction) * scale).reshape(direction.shape)


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    """Return wanted / found, and 0 where found is 0: never NaN."""
    return torch.where(found > 0, wanted / torch.where(found > 0, found, 1.0), 0.0)
