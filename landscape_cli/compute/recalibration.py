"""BatchNorm statistics estimated anew, from fixed examples, at the weights that a model has."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape_cli.compute.data import Inputs, call
from landscape_cli.compute.device import is_out_of_memory
from landscape_cli.compute.residency import Split
from landscape_cli.compute.subspace import statistics_of
from landscape_cli.errors import EvaluationError

# Most examples of a batch; fixed, so that values do not depend on how the points are evaluated.
BATCH_SIZE = 256


class Recalibration:
    """Sets running means and variances to the averages over fixed batches, each normalised by its own statistics.

    As `torch.optim.swa_utils.update_bn` does (Izmailov et al. 2018, arXiv:1803.05407, section 3.2). The batches are of
    nearly one size: a small one at the end would weigh as much as the others. Only normalization layers are in training
    mode meanwhile; dropout stays off.

    Args:
        model: Whose statistics are set.
        split: Whose examples are used.
        num_examples: The first ones.

    Raises:
        EvaluationError: A layer keeps running statistics in a way of its own.
    """

    def __init__(self, model: nn.Module, split: Split, num_examples: int) -> None:
        self._batches = _batches(split, min(num_examples, len(split)))
        modules = {name: m for name, m in model.named_modules() if isinstance(m, _NormBase) and m.track_running_stats}
        foreign = sorted(name for name in statistics_of(model) if name.rpartition(".")[0] not in modules)
        if foreign:
            raise EvaluationError(
                f"evaluation.batchnorm: recalibrate cannot estimate {foreign[0]}: it is no buffer of a BatchNorm or "
                "InstanceNorm of torch",
                hint="Set evaluation.batchnorm: interpolate or frozen.",
            )
        self._norms = list(modules.values())

    def __call__(self, model: nn.Module) -> None:
        """Overwrite the statistics of the model.

        Raises:
            EvaluationError: The model fails on these batches.
        """
        momenta = [norm.momentum for norm in self._norms]
        try:
            for norm in self._norms:
                norm.reset_running_stats()
                norm.training = True
            for number, inputs in enumerate(self._batches, 1):
                for norm in self._norms:
                    norm.momentum = 1.0 / number  # the plain average over the batches
                call(model, inputs)
        except Exception as error:  # the user's model may raise anything
            if is_out_of_memory(error):
                raise
            raise EvaluationError(
                f"evaluation.batchnorm: recalibrate: the model raised {type(error).__name__} in a forward pass with "
                f"batch statistics: {error}",
                hint="Batches need several examples: set evaluation.recalibration.num_examples.",
            ) from error
        finally:
            for norm, momentum in zip(self._norms, momenta, strict=True):
                norm.momentum, norm.training = momentum, False


def _batches(split: Split, num_examples: int) -> Sequence[Inputs]:
    size = math.ceil(num_examples / math.ceil(num_examples / BATCH_SIZE))
    found: list[Inputs] = []
    with contextlib.closing(split.chunks(size)) as chunks:
        for chunk in chunks:
            if chunk.start >= num_examples:
                break
            found.append(_first(chunk.inputs, num_examples - chunk.start))
    return found


def _first(inputs: Inputs, size: int) -> Inputs:
    def part(tensor: Tensor) -> Tensor:
        return tensor[:size].clone()  # the chunk may be a buffer that is used again

    if isinstance(inputs, dict):
        return {name: part(tensor) for name, tensor in inputs.items()}
    return tuple(map(part, inputs)) if isinstance(inputs, tuple) else part(inputs)
