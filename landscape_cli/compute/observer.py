"""What a scan tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Preflight:
    """What is known before the first point.

    Attributes:
        centre: Metric → value at the checkpoint and its standard error.
        num_examples: Split → n.
        num_parameters: Of the model, tied tensors counted once.
        checkpoint: What was matched and repaired; empty for a model in hand.
        device: Name of the device.
        precision: ``"float32"`` or ``"float64"``.
        num_points: Points of the grid over all slices.
        num_pending: How many of them are still to be evaluated.
        seconds_per_point: Measured at one point.
        repeat_difference: Largest relative difference between two evaluations of the centre; 0 on a CPU.
    """

    centre: Mapping[str, tuple[float, float]]
    num_examples: Mapping[str, int]
    num_parameters: int
    checkpoint: Sequence[str]
    device: str
    precision: str
    num_points: int
    num_pending: int
    seconds_per_point: float
    repeat_difference: float


class Observer(Protocol):
    """Whoever wants to see a scan work."""

    def note(self, message: str) -> None:
        """Hear something worth telling."""

    def preflight(self, preflight: Preflight) -> None:
        """See what is about to be scanned."""

    def progress(self, num_evaluated: int) -> None:
        """See that another point is done; ``num_evaluated`` counts those of earlier runs too."""


class Silent:
    """An observer that looks away."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def preflight(self, preflight: Preflight) -> None:
        """Do nothing."""

    def progress(self, num_evaluated: int) -> None:
        """Do nothing."""
