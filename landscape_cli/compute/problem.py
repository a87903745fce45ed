"""What a scan measures: a model, splits, metrics and directions on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from torch import nn

from landscape_cli.compute.checkpoint import Loaded
from landscape_cli.compute.data import Batches
from landscape_cli.compute.directions.drawing import Drawing
from landscape_cli.compute.network import Metrics
from landscape_cli.compute.precision import Precision
from landscape_cli.compute.sources import ModelSources
from landscape_cli.compute.subspace import Params, statistics_of
from landscape_cli.grid import Grid


@dataclass
class Problem:
    """A model, data and directions on the host; a `Worker` measures it on a device.

    Attributes:
        model: In eval mode, in the type of the configured precision; its parameters will be overwritten.
        splits: Name → data.
        metrics: Per-example functions by name, the loss first.
        grid: The points; where a range is found it is set anew, before the first point.
        drawing: Draws the directions of each slice.
        precision: Of the arithmetic.
        identity: Everything that decides the numbers.
        class_index_metrics: Name → target of the metrics that use a label as an index.
        loaded: How the checkpoint fitted; None for a model that came with its weights.
        recalibration: The split and how many of its examples BatchNorm is estimated on anew at every point, if it is.
        sources: Of the directions; None where they need none.
        num_parts: Of the data, each with signs of the noise of its own; see `landscape_cli.compute.parts`.
        radius: The same model and data on a line of relative noise, in directions of its own; None for none.
    """

    model: nn.Module
    splits: Mapping[str, Batches]
    metrics: Metrics
    grid: Grid
    drawing: Drawing
    precision: Precision
    identity: dict[str, JsonValue]
    class_index_metrics: dict[str, str]
    loaded: Loaded | None = None
    recalibration: tuple[str, int] | None = None
    sources: ModelSources | None = None
    num_parts: int = 1
    radius: Problem | None = None

    @property
    def origin(self) -> Params:
        """What moves, at the checkpoint, on the CPU."""
        return self.drawing.origin

    @property
    def num_parameters(self) -> int:
        """Of the model."""
        return sum(tensor.numel() for tensor in self.drawing.params.values())

    def draw(self, slice_index: int) -> tuple[Params, ...]:
        """The direction of every axis in one slice, on the CPU."""
        return self.drawing.draw(slice_index)

    def release(self) -> None:
        """Give back the memory that only other checkpoints needed."""
        if self.sources is not None:
            self.sources.release()

    @property
    def moves_statistics(self) -> bool:
        """Whether BatchNorm statistics move along with the weights."""
        return self.sources is not None and self.sources.moves_statistics

    @property
    def has_batchnorm(self) -> bool:
        """Whether any layer has running statistics."""
        return bool(statistics_of(self.model))
