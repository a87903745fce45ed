"""A model that is moved through weight space: forward passes and per-example metrics, summed in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from landscape_cli.compute.data import Inputs, call, tensors_of
from landscape_cli.compute.device import is_out_of_memory
from landscape_cli.compute.metrics import PerExample
from landscape_cli.compute.subspace import Coordinates, Params, Subspace, parameters_of, statistics_of
from landscape_cli.errors import EvaluationError

Metrics = Mapping[str, PerExample]


class Network:
    """Owns the parameters of a model: they are overwritten at every point.

    Args:
        model: In eval mode, on its device; its parameters must not be touched by others.
        metrics: Per-example functions by name, the loss first.
        moves_statistics: Whether the statistics of BatchNorm move as the parameters do.

    Attributes:
        recalibrate: Called with the model after each move: it sets the statistics of BatchNorm anew.
        memory_format: Of the weights of convolutions; see `use`.
        num_layouts: How often that has changed: the parameters then lie elsewhere in memory.
    """

    def __init__(self, model: nn.Module, metrics: Metrics, *, moves_statistics: bool = False) -> None:
        self.model = model
        self.metrics = metrics
        self.recalibrate: Callable[[nn.Module], None] | None = None
        self._moves_statistics = moves_statistics
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.device.type == "cpu" and tensor.is_shared():  # type: ignore[no-untyped-call]  # helper processes would all write into it
                tensor.data = tensor.data.clone()
        self._live = self.moved_tensors()
        self._at: tuple[Subspace, Coordinates] | None = None
        self.memory_format = torch.contiguous_format
        self._originals: Params = {}
        self.num_layouts = 0

    def moved_tensors(self) -> Params:
        """The tensors of the model that move: its parameters, and the statistics of BatchNorm where they do."""
        return {**parameters_of(self.model), **(statistics_of(self.model) if self._moves_statistics else {})}

    def move_to(self, subspace: Subspace, coordinates: Coordinates) -> None:
        """Overwrite the parameters with θ(c), unless they are there already."""
        if self._at is None or self._at[0] is not subspace or self._at[1] != coordinates:
            self._at = None  # an error on the way leaves them anywhere
            subspace.write(coordinates, self._live)
            if self.recalibrate is not None:
                self.recalibrate(self.model)
            self._at = (subspace, coordinates)

    def use(self, memory_format: torch.memory_format) -> None:
        """Lay out the weights of convolutions as ``torch.contiguous_format`` or ``torch.channels_last``."""
        if memory_format == self.memory_format:
            return
        with torch.inference_mode(mode=False):
            for name, parameter in self.model.named_parameters():
                if parameter.ndim != 4:
                    continue
                if memory_format == torch.channels_last:
                    self._originals[name] = parameter.data
                    parameter.data = parameter.data.to(memory_format=memory_format)
                else:  # the very same memory as before: a model may hold views of it
                    parameter.data = self._originals.pop(name)
            self.memory_format = memory_format
            self._live, self._at = self.moved_tensors(), None
        self.num_layouts += 1

    def laid_out(self, params: Params) -> Params:
        """The same values in the memory layout of the parameters, so that writing them is a plain copy."""
        return {
            name: tensor if tensor.stride() == live.stride() else torch.empty_like(live).copy_(tensor)
            for (name, tensor), live in zip(params.items(), map(self._live.__getitem__, params), strict=True)
        }

    def outputs(self, inputs: Inputs, split: str, model: nn.Module | None = None) -> Tensor:
        """The outputs of the model (or of a compiled twin), (B, …), never in less than float32.

        Raises:
            EvaluationError: The model fails or returns something else than a tensor.
        """
        try:
            outputs = call(self.model if model is None else model, inputs)
        except Exception as error:  # the user's model may raise anything
            if is_out_of_memory(error):
                raise
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_of(inputs))
            raise EvaluationError(
                f"data.{split}: the model raised {type(error).__name__} on inputs of shape {shapes}: {error}",
                hint="Check that model and data fit together.",
            ) from error
        if not isinstance(outputs, Tensor):
            keys = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
            raise EvaluationError(
                f"data.{split}: the model returned a {type(outputs).__name__}{keys}; expected one tensor",
                hint="Wrap the model in a function of yours that returns the logits, and name that function in "
                "`model:`.",
            )
        # a model on several devices gives them where it ends; the targets are where it begins
        return at_least_float32(outputs).to(tensors_of(inputs)[0].device)

    def sums(self, outputs: Tensor, targets: Tensor, split: str) -> Tensor:
        """Sum and sum of squares of every metric over the examples, float64.

        Args:
            outputs: (B, …).
            targets: (B, …).
            split: For messages.

        Returns:
            (M, 2) on the device; nothing is transferred to the host.

        Raises:
            EvaluationError: A metric fails or does not give one value per example.
        """
        return self._sums(outputs, targets, split, num_points=1)[0]

    def sums_of_points(self, outputs: Tensor, targets: Tensor, split: str) -> Tensor:
        """The same at K points at once.

        Args:
            outputs: (K, B, …).
            targets: (B, …), the same for every point.
            split: For messages.

        Returns:
            (K, M, 2).
        """
        num_points = len(outputs)
        # metrics are per example, so that K points of B examples look to them like K·B examples
        repeated = targets.repeat(num_points, *[1] * (targets.ndim - 1))
        return self._sums(outputs.flatten(0, 1), repeated, split, num_points)

    def _sums(self, outputs: Tensor, targets: Tensor, split: str, num_points: int) -> Tensor:
        values = [
            _measure(metric, name, outputs, targets, split).double().view(num_points, -1)
            for name, metric in self.metrics.items()
        ]
        return torch.stack([torch.stack([v.sum(dim=1), v.square().sum(dim=1)], dim=1) for v in values], dim=1)


def at_least_float32(outputs: Tensor) -> Tensor:
    """Outputs of half precision in float32, for the metrics; others as they are."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs


def _measure(metric: PerExample, name: str, outputs: Tensor, targets: Tensor, split: str) -> Tensor:
    try:
        values: object = metric(outputs, targets)
    except Exception as error:  # the user's metric may raise anything
        if is_out_of_memory(error):
            raise
        raise EvaluationError(
            f"data.{split}: {name} raised {type(error).__name__} on outputs {_shape(outputs)} "
            f"and targets {_shape(targets)} ({targets.dtype}): {error}"
        ) from error
    if not isinstance(values, Tensor) or values.shape != targets.shape[:1]:
        found = f"a tensor of shape {_shape(values)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise EvaluationError(
            f"data.{split}: {name} returned {found}; expected one value per example, shape ({len(targets)},)",
            hint="Losses of torch need reduction='none'." if isinstance(values, Tensor) and not values.ndim else None,
        )
    return values


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
