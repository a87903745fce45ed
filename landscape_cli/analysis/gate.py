"""The gate: whether a checkpoint is surely not much worse than one, or several, that are known to be good.

The change of a measure from BASE to NEW is compared with a tolerance. It fails where its one-sided confidence limit is
beyond the tolerance, passes where it surely is within, and is inconclusive in between: an unlucky draw of random
directions stops nothing. Where there are several baselines, the same network trained again and again, NEW has to be
beyond what training changes, too: outside of the one-sided prediction interval t_{k−1} s √(1 + 1/k) of their values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from landscape_cli.analysis.comparability import family_of
from landscape_cli.analysis.compare import CONFIDENCE, View, with_common_noise
from landscape_cli.analysis.contrast import Contrast, contrast
from landscape_cli.analysis.decision import Decision
from landscape_cli.analysis.gate_words import (
    advice,
    advice_to_compare,
    notes,
    sentence,
    share_of,
    why_undecided,
)
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.question import Named, Question, check_amount, confidence_of_each, obstacles, way_of
from landscape_cli.analysis.student import t_quantile
from landscape_cli.analysis.tolerance import Tolerance, limits_of, outcome
from landscape_cli.analysis.verdict import Verdict
from landscape_cli.surface import FloatArray

DEFAULT = Tolerance("adaptive_radius", 0.15)


def gate(
    bases: Sequence[Named],
    new: Named,
    tolerances: Sequence[Tolerance] = (DEFAULT,),
    *,
    loss: str | None = None,
    tau: float | None = None,
    confidence: float = 0.95,
) -> list[Verdict]:
    """Decide whether NEW is within the tolerances, one verdict for each.

    Args:
        bases: What is known to be good: one, or several trainings of the same network.
        new: What is in question.
        tolerances: How much worse it may be.
        loss: As for `landscape_cli.analysis.compare.compare`.
        tau: As for `landscape_cli.analysis.sharpness.sharpness`.
        confidence: One-sided, of all tolerances together: they share the probability of an error (Bonferroni).

    Raises:
        UsageError: A tolerance is impossible, or no decision may rest on its measure.
        SurfaceError: The surfaces have no loss in common.
    """
    view = View.of([each.surface for each in (*bases, new)], loss=loss, tau=tau)
    ways = [way_of(tolerance, view) for tolerance in tolerances]
    shared = confidence_of_each(confidence, [tolerance.measure for tolerance in tolerances])
    questions = [
        Question(view, bases, new, tolerance, way, shared) for tolerance, way in zip(tolerances, ways, strict=True)
    ]
    for question in questions:
        check_amount(question)
    return [_verdict(question) for question in questions]


def _verdict(question: Question) -> Verdict:
    reasons = obstacles(question)
    decision = None if reasons else _decide(question)
    if decision is None or decision.limits is None:
        reasons = reasons or why_undecided(question, decision)
        return Verdict(
            measure=question.measure,
            outcome="not comparable",
            sentence=f"{question.measure}: {'; '.join(reasons)}",
            advice=advice_to_compare(question),
            limit=question.tolerance.amount_as_given,
        )
    found, (low, high) = decision.contrast, decision.limits
    is_relative = question.tolerance.is_relative
    return Verdict(
        measure=question.measure,
        outcome=decision.outcome,
        sentence=sentence(question, decision),
        advice=advice(question, decision),
        limit=question.tolerance.amount_as_given,
        base=found.base,
        new=found.new,
        change=share_of(found.log_ratio) if is_relative else found.difference,
        bounds=(share_of(low), share_of(high)) if is_relative else decision.limits,
        confidence=question.confidence,
        pairing=found.pairing,
        num_slices=found.num_slices,
        notes=notes(question, decision),
    )


def _decide(question: Question) -> Decision | None:
    """None where a mean of the baselines, or a contrast with it, does not exist."""
    surfaces = [each.surface for each in (*question.bases, question.new)]
    if family_of(question.measure) == "noise":
        surfaces = with_common_noise(*surfaces)
    *bases, new = (question.view.measurement(surface, question.measure) for surface in surfaces)
    if len(bases) == 1:
        return _decision(question, contrast(bases[0], new, is_paired=True), None)
    *bases, new = _over_common_slices([*bases, new])
    is_relative, values = question.tolerance.is_relative, np.asarray([each.value for each in bases], dtype=np.float64)
    if any(each.bound for each in bases) or not np.isfinite(values).all() or (is_relative and values.min() <= 0):
        return None
    scaled = np.log(values) if is_relative else values
    half = t_quantile(len(bases) - 1, confidence=2 * CONFIDENCE - 1) * float(scaled.std(ddof=1))
    return _decision(
        question, contrast(_mean(bases, is_relative), new, is_paired=True), half * math.sqrt(1 + 1 / len(bases))
    )


def _decision(question: Question, found: Contrast | None, prediction: float | None) -> Decision | None:
    if found is None:
        return None
    tolerance, better = question.tolerance, question.better
    limits = limits_of(found, tolerance, question.confidence)
    decided = outcome(found, tolerance, better, question.confidence)
    change = found.log_ratio if tolerance.is_relative else found.difference
    worse = -change if better == "higher" else change
    is_within_training = decided == "fail" and prediction is not None and worse <= prediction
    decided = "inconclusive" if is_within_training or decided is None else decided
    return Decision(decided, found, limits, prediction, is_within_training)


def _over_common_slices(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same; means over slices those over the slices that all of them have, with the value without each slice."""
    num_common = min(len(each.per_slice) for each in measurements)
    if num_common < 2 or any(each.left_out for each in measurements):
        return list(measurements)
    slices = np.asarray([each.per_slice[:num_common] for each in measurements])  # (k + 1, S)
    common = slices[:, ~np.isnan(slices).any(axis=0)]
    if common.shape[1] < 2 or not np.isfinite(common).all():
        return list(measurements)
    without = (common.sum(axis=1, keepdims=True) - common) / (common.shape[1] - 1)
    return [
        replace(each, value=float(own.mean()), per_slice=tuple(own.tolist()), left_out=tuple(rest.tolist()))
        for each, own, rest in zip(measurements, common, without, strict=True)
    ]


def _mean(bases: Sequence[Measurement], is_relative: bool) -> Measurement:
    """The mean of several baselines, geometric where shares count; each slice is left out of all of them at once.

    Its error is at most the mean of theirs, whatever these have in common.
    """

    def of(values: FloatArray) -> FloatArray:
        logs = np.log(np.where(values > 0, values, np.nan))
        mean: FloatArray = np.exp(logs.mean(axis=0)) if is_relative else values.mean(axis=0)
        return mean

    values = np.asarray([each.value for each in bases], dtype=np.float64)  # (k,)
    left_out, mean = of(np.asarray([each.left_out for each in bases])), float(of(values))  # (S,), ()
    errors, scale = [each.standard_error for each in bases], mean / values if is_relative else np.ones(len(bases))
    known = [error * factor for error, factor in zip(errors, scale, strict=True) if error is not None]
    return replace(
        bases[0],
        value=mean,
        left_out=tuple(left_out.tolist()),
        standard_error=float(np.mean(known)) if len(known) == len(bases) else None,
        method_error=max((each.method_error or 0.0 for each in bases), default=0.0),
    )
