"""A worker for a model and tensors in hand, without a config: what the tests of evaluation and engines measure with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from landscape_cli.axes import DirectionConfig
from landscape_cli.compute.data import Batches
from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.directions.drawing import AxisDirection, Drawing
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.metrics import PerExample, accuracy, cross_entropy
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.precision import Precision
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.subspace import Params, parameters_of
from landscape_cli.compute.worker import Worker
from landscape_cli.grid import Axis, Grid

CLASSIFICATION = {"loss": cross_entropy, "accuracy": accuracy}


def worker_of(
    model: nn.Module,
    splits: Mapping[str, Batches],
    metrics: Mapping[str, PerExample] = CLASSIFICATION,
    *,
    precision: Precision = "float32",
    device: str = "cpu",
    class_index_metrics: Mapping[str, str] | None = None,
    data_bytes: int | None = None,
) -> Worker:
    """A worker around ``model`` in two random planes of 5 × 5 points."""
    if not parameters_of(model):
        model.register_parameter("unused", nn.Parameter(torch.ones(1)))
    params = {name: tensor.detach().cpu().clone() for name, tensor in parameters_of(model).items()}
    axes = tuple(Axis.linspace(name, -1.0, 1.0, 5) for name in "xy")
    problem = Problem(
        model=model.eval().requires_grad_(requires_grad=False),
        splits=splits,
        metrics=metrics,
        grid=Grid(axes, 2),
        drawing=Drawing(params, layout_of(model), 0, [direction_of(name, random_everywhere) for name in "xy"]),
        precision=precision,
        identity={},
        class_index_metrics=dict(class_index_metrics or {}),
    )
    return Worker(problem, torch.device(device), data_bytes)


def direction_of(name: str, function: Callable[[Context], Params]) -> AxisDirection:
    """The direction of an axis without a config."""
    return AxisDirection(name, function, "here", DirectionConfig.model_validate("my.own"))


def random_everywhere(context: Context) -> dict[str, torch.Tensor]:
    """A tenth of a layer-normalised direction that moves biases and norms too."""
    drawn = random(context, normalization="layer", ignore="none")
    return {name: 0.1 * tensor for name, tensor in drawn.items()}


def evaluate(
    model: nn.Module, splits: Mapping[str, Batches], metrics: Mapping[str, PerExample] = CLASSIFICATION
) -> Values:
    """Every metric on every split, at the weights that the model has."""
    values = worker_of(model, splits, metrics).measure_centre()
    assert values is not None
    return values
