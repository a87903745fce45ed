"""K points at once, as one forward pass: for small networks and little data, where launching kernels dominates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from landscape_cli.compute.data import Inputs
from landscape_cli.compute.device import is_out_of_memory
from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.network import Network, at_least_float32
from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates, Params, Subspace


class Stacked:
    """`torch.func.vmap` over stacked weights.

    Args:
        network: The model and its metrics.
        points_per_call: K.
    """

    def __init__(self, network: Network, points_per_call: int) -> None:
        if network.recalibrate is not None:
            raise UnsupportedError("BatchNorm is estimated anew at one point after the other")
        self._network = network
        self._stack: Params = {
            name: tensor.new_empty(points_per_call, *tensor.shape) for name, tensor in network.moved_tensors().items()
        }
        self._subspace: Subspace | None = None
        self._coordinates: list[Coordinates] = []
        self._rows = [{name: tensor[i] for name, tensor in self._stack.items()} for i in range(points_per_call)]

    def move_to(self, subspace: Subspace, coordinates: Sequence[Coordinates]) -> None:
        """Write θ(c) of every point into its row, unless it is there already."""
        if subspace is self._subspace and coordinates == self._coordinates:
            return
        self._subspace, self._coordinates = subspace, list(coordinates)
        for row, point in zip(self._rows, coordinates, strict=True):
            subspace.write(point, row)

    def sums(self, split: str, chunk: Chunk) -> Tensor:  # (K, M, 2)
        """See `Engine.sums`."""
        if torch.is_autocast_enabled(chunk.targets.device.type):
            raise UnsupportedError("vmap does not run in bfloat16")  # autocast has no effect inside of it
        self._network.use(torch.contiguous_format)
        outputs = self._forward(chunk.inputs)  # (K, B, …)
        return self._network.sums_of_points(outputs, chunk.targets, split)

    def _forward(self, inputs: Inputs) -> Tensor:
        kwargs = inputs if isinstance(inputs, dict) else {}
        args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, dict) else (inputs,)

        def forward(params: Params) -> Tensor:
            outputs: Tensor = functional_call(self._network.model, params, args, kwargs)
            return at_least_float32(outputs)

        with warnings.catch_warnings():
            # an operator without a batching rule is slow, not wrong: calibration finds out by itself
            warnings.filterwarnings("ignore", message="There is a performance drop")
            try:
                return vmap(forward, randomness="error")(self._stack)
            except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
                if is_out_of_memory(error):
                    raise
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise UnsupportedError(f"vmap cannot run this model: {reason}") from error


def stacked(network: Network, points_per_call: int) -> Stacked:
    """K forward passes as one."""
    return Stacked(network, points_per_call)
