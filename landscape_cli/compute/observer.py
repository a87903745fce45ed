"""What a scan tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from landscape_cli.share import ALONE, Share
from landscape_cli.surface import Surface

Stage = Literal["points", "radius", "curvature", "map"]


@dataclass(frozen=True)
class RadiusAhead:
    """The line of the radius before its first point.

    Attributes:
        num_slices: Its random directions.
        num_points: Its points over all of them.
        num_pending: How many of them are still to be evaluated.
        seconds_per_point: Measured at one point, in one process; the time of a point of the grid where none is to do.
    """

    num_slices: int
    num_points: int
    num_pending: int
    seconds_per_point: float


@dataclass(frozen=True)
class Preflight:
    """What is known before the first point.

    Attributes:
        centre: Metric → value at the checkpoint and its standard error.
        num_examples: Split → n.
        num_parameters: Of the model, tied tensors counted once.
        axes: What each axis is, in words.
        cosines: Pair of axes → cosine between them in each slice.
        checkpoint: What was matched and repaired; empty for a model in hand.
        device: Name of the device.
        precision: As configured.
        engine: How points are evaluated, in words.
        processes: In how many processes.
        data: Where the decoded data are, in words.
        memory_bytes: Predicted peak, of the device or of all processes on the host; None where unknown.
        num_points: Points of the grid over all slices.
        num_pending: How many of them are still to be evaluated.
        radius: What there is to do beside the grid; None where no radius is asked for.
        seconds: Predicted for the pending points, those of the radius included.
        seconds_per_point: Measured at one point, in one process.
        num_passes: Forward passes of one example per point: n summed over the splits.
        differences: Where → largest relative difference of the engine from plain float32 evaluation; empty where the
            engine is that.
        curvature: What is measured from the model afterwards, in words; empty for nothing.
        repeat_difference: Largest relative difference between two evaluations of the centre; 0 on a CPU.
        share: Which of the processes that fill the file together tells this.
    """

    centre: Mapping[str, tuple[float, float]]
    num_examples: Mapping[str, int]
    num_parameters: int
    axes: Sequence[str]
    cosines: Mapping[str, Sequence[float]]
    checkpoint: Sequence[str]
    device: str
    precision: str
    engine: str
    processes: int
    data: str
    memory_bytes: int | None
    num_points: int
    num_pending: int
    radius: RadiusAhead | None
    seconds: float
    seconds_per_point: float
    num_passes: int
    differences: Mapping[str, float]
    repeat_difference: float
    curvature: str = ""
    share: Share = ALONE


class Observer(Protocol):
    """Whoever wants to see a scan work."""

    def note(self, message: str) -> None:
        """Hear something worth telling."""

    def decoding(self, split: str, num_done: int, num_examples: int) -> None:
        """See how many examples of a split are decoded."""

    def preflight(self, preflight: Preflight) -> None:
        """See what is about to be scanned."""

    def filling(self, surface: Surface) -> None:
        """See the surface that gets its points from here on, in place: it has them when `progress` tells of them."""

    def curvature(self, words: str) -> None:
        """See what is about to be measured from the model, where nothing is scanned before."""

    def progress(self, stage: Stage, num_done: int, num_total: int) -> None:
        """See that more is done, earlier runs included: points, or for the curvature passes over the data."""


class Silent:
    """An observer that looks away."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def decoding(self, split: str, num_done: int, num_examples: int) -> None:
        """Do nothing."""

    def preflight(self, preflight: Preflight) -> None:
        """Do nothing."""

    def filling(self, surface: Surface) -> None:
        """Do nothing."""

    def curvature(self, words: str) -> None:
        """Do nothing."""

    def progress(self, stage: Stage, num_done: int, num_total: int) -> None:
        """Do nothing."""
