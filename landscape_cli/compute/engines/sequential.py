"""One point at a time with the model as it is: the reference, and its variant with channels_last convolutions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.network import Network
from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates, Subspace


class Sequential:
    """The plain forward pass of the model, or of a compiled twin that shares its parameters.

    Args:
        network: The model and its metrics.
        memory_format: Of the weights of convolutions.
        twin: Called instead of the model.
    """

    def __init__(
        self,
        network: Network,
        memory_format: torch.memory_format = torch.contiguous_format,
        twin: nn.Module | None = None,
    ) -> None:
        self._network, self._memory_format, self._twin = network, memory_format, twin

    def move_to(self, subspace: Subspace, coordinates: Sequence[Coordinates]) -> None:
        """Overwrite the parameters of the model with those of the one point."""
        (point,) = coordinates
        self._network.use(self._memory_format)
        self._network.move_to(subspace, point)

    def sums(self, split: str, chunk: Chunk) -> Tensor:  # (1, M, 2)
        """See `Engine.sums`."""
        outputs = self._network.outputs(chunk.inputs, split, self._twin)
        return self._network.sums(outputs, chunk.targets, split).unsqueeze(0)


def sequential(network: Network, points_per_call: int) -> Sequential:
    """The reference: at the centre it is the plain evaluation of the checkpoint, bit for bit."""
    _one_point(points_per_call)
    return Sequential(network)


def channels_last(network: Network, points_per_call: int) -> Sequential:
    """The same with the channels of images innermost: 1.2 to 2.5 times as fast for convolutions on CPUs."""
    _one_point(points_per_call)
    if not has_convolutions(network.model):
        raise UnsupportedError("the model has no 2-D convolution")
    return Sequential(network, torch.channels_last)


def compiled(network: Network, points_per_call: int) -> Sequential:
    """The same through ``torch.compile``, which takes seconds to minutes before the first point."""
    _one_point(points_per_call)
    memory_format = torch.channels_last if has_convolutions(network.model) else torch.contiguous_format
    network.use(memory_format)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns that there is no CUDA on a CPU
    torch._dynamo.reset()  # shapes that were compiled before count towards the limit beyond which nothing is compiled
    # shapes are fixed: one graph per size of a chunk, without the cost of symbolic shapes
    twin = torch.compile(network.model, dynamic=False)
    return Sequential(network, memory_format, cast(nn.Module, twin))


def has_convolutions(model: nn.Module) -> bool:
    """Whether the model has 2-D convolutions, whose weights have a memory format."""
    return any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in model.modules())


def _one_point(points_per_call: int) -> None:
    if points_per_call != 1:
        raise UnsupportedError(f"it evaluates one point at a time, not {points_per_call}")
