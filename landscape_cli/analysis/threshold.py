"""Threshold: a bound on a measure of one surface, and whether it is surely kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from landscape_cli.analysis.comparability import OF_PATHS, family_of
from landscape_cli.analysis.compare import View
from landscape_cli.analysis.gate_words import confidence_in_words, more_directions
from landscape_cli.analysis.measurement import Measurement, jackknife, joined, over_slices
from landscape_cli.analysis.question import Named, check_decidable, confidence_of_each, lacks
from landscape_cli.analysis.student import t_quantile
from landscape_cli.analysis.verdict import Outcome, Verdict

_INSTEAD = "Decide on the adaptive radius: --min adaptive_radius=0.2"


@dataclass(frozen=True)
class Threshold:
    """The most or the least that a measure may be.

    Attributes:
        measure: Its name.
        side: Whether ``value`` is the most or the least.
        value: In units of the measure.
    """

    measure: str
    side: Literal["max", "min"]
    value: float

    def __str__(self) -> str:
        return f"--{self.side} {self.measure}={self.value:g}"

    @property
    def in_words(self) -> str:
        """``at most 30``."""
        return f"at {'most' if self.side == 'max' else 'least'} {self.value:g}"


def check_thresholds(
    named: Named,
    thresholds: Sequence[Threshold],
    *,
    loss: str | None = None,
    confidence: float = 0.95,
    **options: float | None,
) -> list[Verdict]:
    """Decide whether a surface keeps bounds: it fails where it surely does not, and passes where it surely does.

    Args:
        named: The surface.
        thresholds: They share the probability of an error (Bonferroni).
        loss: As for `landscape_cli.analysis.sharpness.sharpness`.
        confidence: One-sided, of all of them together.
        options: As for `landscape_cli.analysis.sharpness.sharpness`.

    Raises:
        UsageError: An unknown measure, or one that no decision may rest on.
    """
    view = View.of([named.surface], loss=loss, **options)
    for threshold in thresholds:
        check_decidable(threshold.measure, view, str(threshold), _INSTEAD)
    shared = confidence_of_each(confidence, [threshold.measure for threshold in thresholds])
    return [_verdict(view, named, threshold, shared) for threshold in thresholds]


def _verdict(view: View, named: Named, threshold: Threshold, confidence: float) -> Verdict:
    name, found = threshold.measure, view.measurement(named.surface, threshold.measure)
    reasons = list(lacks(view, named.surface, name))
    limits = None if reasons else one_sided_limits(found, confidence)
    if found.value is None or limits is None:
        reasons = reasons or [joined(f"{name} has no error bar", found.note)]
        return Verdict(name, "not comparable", f"{named.name}: {'; '.join(reasons)}", limit=threshold.in_words)
    worst, best = limits if threshold.side == "min" else (limits[1], limits[0])
    outcome: Outcome = "inconclusive"
    if _keeps(threshold, worst):
        outcome = "pass"
    elif not _keeps(threshold, best):
        outcome = "fail"
    return Verdict(
        measure=name,
        outcome=outcome,
        sentence=_sentence(named, threshold, found, limits, outcome, confidence),
        advice=_advice(found, outcome),
        limit=threshold.in_words,
        new=found.value,
        bounds=limits,
        confidence=confidence,
        num_slices=0 if name in OF_PATHS else found.num_known,
    )


def _advice(found: Measurement, outcome: Outcome) -> str:
    if outcome == "inconclusive" and found.bound is not None:
        most = "least" if found.bound == "lower" else "most"
        return f"Only that it is at {most} this is known: see the note of landscape sharpness, or move the bound."
    if outcome == "inconclusive" and family_of(found.name) in ("noise", "grid") and found.name not in OF_PATHS:
        return f"Add random directions, then measure again: {more_directions(found.name, 'TOTAL')}"
    if outcome == "inconclusive":
        return "The bound lies within the error of the measure: look at other measures, or move the bound."
    return (
        ""
        if outcome == "pass"
        else "See the other measures with landscape sharpness, or what it was before with landscape compare."
    )


def _keeps(threshold: Threshold, value: float) -> bool:
    return value >= threshold.value if threshold.side == "min" else value <= threshold.value


def one_sided_limits(found: Measurement, confidence: float) -> tuple[float, float] | None:
    """The value is at least the first and at most the second, each with this confidence; None without an error bar.

    Args:
        found: With a value.
        confidence: One-sided, from 0.5 to 1.
    """
    assert found.value is not None
    error = _error_of_bound(found) if found.bound is not None else found.standard_error
    if error is None and not (found.is_exact or found.bound is not None):
        return None
    half = t_quantile(found.degrees, confidence=2 * confidence - 1) * (error or 0.0)
    if found.left_out:  # its error is that of its logarithm
        factor = math.exp(half / found.value)
        low, high = found.value / factor, found.value * factor
    else:
        half += found.method_error or 0.0
        low, high = found.value - half, found.value + half
    return (-math.inf if found.bound == "upper" else low), (math.inf if found.bound == "lower" else high)


def _error_of_bound(found: Measurement) -> float | None:
    """Standard error of a value that counts what lies beyond the line as its end; None where it is over no slices."""
    value, left_out = found.value or 0.0, np.asarray(found.left_out)
    if found.left_out:
        return value * jackknife(np.log(np.where(np.isnan(left_out), value, left_out)))
    return over_slices(found.per_slice).standard_error if found.per_slice else None


def _sentence(
    named: Named,
    threshold: Threshold,
    found: Measurement,
    limits: tuple[float, float],
    outcome: Outcome,
    confidence: float,
) -> str:
    value, (low, high) = found.value or 0.0, limits
    if low == high:
        sure = f"exactly, on these {found.num_examples:,} examples" if found.num_examples else "exactly"
    elif outcome == "inconclusive":
        sure = f"with {confidence_in_words(2 * confidence - 1)} between {low:.4g} and {high:.4g}"
    else:
        is_upper = (outcome == "pass") == (threshold.side == "max")
        end = f"most {high:.4g}" if is_upper else f"least {low:.4g}"
        sure = f"with {confidence_in_words(confidence)} at {end}"
    sign = {"lower": "at least ", "upper": "at most ", None: ""}[found.bound]
    return f"{threshold.measure} of {named.name} is {sign}{value:.4g}, {sure}; allowed: {threshold.in_words}"
