"""Convolutions with the BatchNorm behind them folded in: one pass over the activations less.

In eval mode BatchNorm is a scale and a shift per channel, s = γ/√(σ² + ε): BN(W·x + b) = (s·W)·x + s·(b − μ) + β. The
folded weights are made anew at every point.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.engines.sequential import Sequential
from landscape_cli.compute.engines.tracing import calls, trace
from landscape_cli.compute.network import Network
from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates, Subspace

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_Pair = tuple[nn.Module, _BatchNorm, nn.Module]


class Folded:
    """One point at a time, channels_last, through a twin of the model without BatchNorm behind convolutions.

    Args:
        network: The model and its metrics.
    """

    def __init__(self, network: Network) -> None:
        self._pairs, twin = _without_norms(network.model)
        self._inner = Sequential(network, torch.channels_last, twin)
        self._at: tuple[Subspace, list[Coordinates]] | None = None

    def move_to(self, subspace: Subspace, coordinates: Sequence[Coordinates]) -> None:
        """Overwrite the parameters of the model, and fold."""
        self._inner.move_to(subspace, coordinates)
        if self._at is None or self._at[0] is not subspace or self._at[1] != coordinates:
            self._at = (subspace, list(coordinates))
            for convolution, norm, folded in self._pairs:
                _fold(convolution, norm, folded)

    def sums(self, split: str, chunk: Chunk) -> Tensor:  # (1, M, 2)
        """See `Engine.sums`."""
        return self._inner.sums(split, chunk)


def _without_norms(model: nn.Module) -> tuple[list[_Pair], fx.GraphModule]:
    """The pairs of convolution and BatchNorm with the convolution that replaces both, and the model that has those.

    Raises:
        UnsupportedError: There are none, or the model cannot be read.
    """
    graph, modules = trace(model)
    pairs: list[_Pair] = []
    replaced: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        if not calls(node, modules, _NORMS) or len(node.all_input_nodes) != 1:
            continue
        before, norm = node.all_input_nodes[0], cast(_BatchNorm, modules[str(node.target)])
        if not calls(before, modules, _CONVOLUTIONS) or len(before.users) != 1:
            continue
        if not norm.track_running_stats:
            continue  # it normalises by the batch
        convolution = modules[str(before.target)]
        folded = copy.deepcopy(convolution)
        if isinstance(folded, nn.Conv2d):
            folded.to(memory_format=torch.channels_last)
        if cast("Tensor | None", convolution.bias) is None:
            folded.bias = nn.Parameter(cast(Tensor, norm.running_var).clone(), requires_grad=False)
        # a name per call: a convolution that is called twice has two BatchNorms to fold
        name = f"folded_{len(pairs)}"
        replaced[name] = folded
        before.target = name
        node.replace_all_uses_with(before)
        graph.erase_node(node)
        pairs.append((convolution, norm, folded))
    if not pairs:
        raise UnsupportedError("no convolution is followed by a BatchNorm")
    return pairs, fx.GraphModule({**modules, **replaced}, graph)


def _fold(convolution: nn.Module, norm: _BatchNorm, folded: nn.Module) -> None:
    weight, bias = cast(Tensor, convolution.weight), cast("Tensor | None", convolution.bias)
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -mean * scale if bias is None else (bias - mean) * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    cast(Tensor, folded.weight).data.copy_(weight * scale.view(-1, *[1] * (weight.ndim - 1)))
    cast(Tensor, folded.bias).data.copy_(shift)


def folded(network: Network, points_per_call: int) -> Folded:
    """The model without BatchNorm behind convolutions, channels_last."""
    if points_per_call != 1:
        raise UnsupportedError(f"it evaluates one point at a time, not {points_per_call}")
    return Folded(network)
