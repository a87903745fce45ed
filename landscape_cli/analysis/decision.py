"""Decision: how a gate has judged a contrast."""

from __future__ import annotations

from dataclasses import dataclass

from landscape_cli.analysis.contrast import Contrast, Limits
from landscape_cli.analysis.tolerance import Decided


@dataclass(frozen=True)
class Decision:
    """What follows from a contrast and a tolerance.

    Attributes:
        outcome: Pass, fail or inconclusive.
        contrast: NEW against BASE, or against the mean of several baselines.
        limits: One-sided limits of the change, log (new / base) or new − base; None where there is no error bar.
        prediction: How much worse a further training of the baseline may turn out, in the same units; None for one
            baseline.
        is_within_training: Whether that alone keeps it from failing.
    """

    outcome: Decided
    contrast: Contrast
    limits: Limits | None
    prediction: float | None = None
    is_within_training: bool = False
