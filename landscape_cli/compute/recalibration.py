"""BatchNorm statistics estimated anew, from fixed examples, at the weights that a model has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape_cli.compute.data import Inputs
from landscape_cli.compute.network import call
from landscape_cli.compute.residency import Split

# Of the batches; fixed, so that values do not depend on how the points are evaluated.
BATCH_SIZE = 256


class Recalibration:
    """Sets running means and variances to the averages over fixed batches, each normalised by its own statistics.

    As `torch.optim.swa_utils.update_bn` does (Izmailov et al. 2018, arXiv:1803.05407, section 3.2). Only BatchNorm is
    in training mode meanwhile; dropout stays off.

    Args:
        split: Whose examples are used.
        num_examples: The first ones.
    """

    def __init__(self, split: Split, num_examples: int) -> None:
        self._batches = _batches(split, num_examples)

    def __call__(self, model: nn.Module) -> None:
        """Overwrite the statistics of a model."""
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        momenta = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum, norm.training = None, True  # the plain average over the batches
            for inputs in self._batches:
                call(model, inputs)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum, norm.training = momentum, False


def _batches(split: Split, num_examples: int) -> Sequence[Inputs]:
    found: list[Inputs] = []
    for chunk in split.chunks(BATCH_SIZE):
        if chunk.start >= num_examples:
            break
        size = min(len(chunk), num_examples - chunk.start)
        found.append(_first(chunk.inputs, size))
    return found


def _first(inputs: Inputs, size: int) -> Inputs:
    if isinstance(inputs, dict):
        return {name: tensor[:size].clone() for name, tensor in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(tensor[:size].clone() for tensor in inputs)
    return inputs[:size].clone()
