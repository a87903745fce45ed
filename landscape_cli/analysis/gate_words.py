"""A decision of the gate in words: what was compared, by how much, how sure, what to do."""

from __future__ import annotations

import math

from landscape_cli.analysis.comparability import family_of
from landscape_cli.analysis.contrast import Limits
from landscape_cli.analysis.decision import Decision
from landscape_cli.analysis.question import Question

LOOKS = (20, 40, 80)  # numbers of random directions at which it pays to look


def sentence(question: Question, decision: Decision) -> str:
    """``adaptive_radius of new.h5 is 0.116, of base.h5 0.164: 29 % less, with 95 % confidence at least 26 % less; …``,
    and what is tolerated.
    """
    found, tolerance = decision.contrast, question.tolerance
    base = question.bases[0].name if len(question.bases) == 1 else f"{len(question.bases)} baselines in the mean"
    sides = f"{question.measure} of {question.new.name} is {found.new:.4g}, of {base} {found.base:.4g}"
    change = found.log_ratio if tolerance.is_relative else found.difference
    allowed = tolerance.amount if question.better == "lower" else -tolerance.amount
    return (
        f"{sides}: {_words(question, change)}{_how_sure(question, decision)}; tolerated: {_amount(question, allowed)}"
    )


def _how_sure(question: Question, decision: Decision) -> str:
    """What the limits say for this outcome."""
    if decision.limits is None:
        return ""
    if decision.contrast.pairing == "exact" and not any(decision.contrast.method_errors):
        return f", exactly, on these {num:,} examples" if (num := _num_examples(question)) else ", exactly"
    low, high = decision.limits
    if decision.outcome == "inconclusive":
        both = 2 * question.confidence - 1
        return f", with {_percent(both)} confidence between {_words(question, low)} and {_words(question, high)}"
    worst, best = (low, high) if question.better == "higher" else (high, low)
    limit = best if decision.outcome == "fail" else worst
    is_worse = limit < 0 if question.better == "higher" else limit > 0
    most = "at most" if decision.outcome == "pass" and is_worse else "at least"
    return f", with {_percent(question.confidence)} confidence {most} {_words(question, limit)}"


def notes(question: Question, decision: Decision) -> tuple[str, ...]:
    """How it was compared, and what training again changes."""
    found, told = decision.contrast, list[str]()
    if found.pairing == "paired":
        told.append(f"paired over {found.num_slices} random directions")
    elif found.pairing == "unpaired":
        told.append("from the two standard errors")
    if found.bound is not None:
        most = "least" if found.bound == "lower" else "most"
        told.append(f"one of them lies beyond its line: new / base is at {most} this")
    if decision.prediction is not None:
        sign = -1 if question.better == "higher" else 1
        told.append(
            f"training again makes it up to {_words(question, sign * decision.prediction)} (one-sided "
            f"{_percent(question.confidence)} prediction interval of {len(question.bases)} baselines)"
        )
    return tuple(told)


def advice(question: Question, decision: Decision) -> str:
    """What to do next; nothing where it has passed."""
    if decision.outcome == "pass":
        return ""
    if decision.outcome == "fail":
        return (
            f"See what else differs with landscape compare. If {question.new.name} is meant to be so, make it the new "
            f"baseline, or allow for it: --gate {question.measure}:{_wide_enough(question, decision)}"
        )
    if decision.is_within_training:
        return "Training again changes that much: give more baselines, the same network trained with other seeds."
    family, num = family_of(question.measure), decision.contrast.num_slices
    more = next((look for look in LOOKS if look > num), None)
    if num and more is not None:
        of_grid = " --set radius=null" if family == "grid" else ""
        return (
            "Add random directions to each file, then compare again: landscape scan CONFIG -o FILE "
            f"--more-slices {more}{of_grid}"
        )
    return "The change is about as large as the tolerance: look at other measures, or move the tolerance."


def advice_to_compare(question: Question) -> str:
    """What to do where nothing could be decided."""
    if family_of(question.measure) == "noise":
        return (
            "Scan all checkpoints with one config that has radius: true, to the end: landscape scan CONFIG "
            "--checkpoint A.pt B.pt -o '{stem}.h5'"
        )
    return (
        "Scan all checkpoints with one config, to the end: landscape scan CONFIG --checkpoint A.pt B.pt -o '{stem}.h5'"
    )


def why_undecided(question: Question, decision: Decision | None) -> list[str]:
    """Why there are no limits, where nothing else was in the way."""
    found = None if decision is None else decision.contrast
    if question.tolerance.is_relative and (found is None or not found.has_ratio):
        amount = question.tolerance.amount_as_given
        return [f"found a value that is not above 0, of which {amount} says nothing; give a tolerance in its own units"]
    if found is None or found.pairing == "none":
        return ["the radii lie beyond their lines; scan longer ones, such as --set radius.stop=10"]
    return ["without one of the directions the radius lies beyond its line; scan a longer one, or more directions"]


def share_of(limits: Limits) -> Limits:
    """Of logarithms of ratios, the changes as shares: −0.15 for 15 % less."""
    return _expm1(limits[0]), _expm1(limits[1])


def _expm1(value: float) -> float:
    """Infinite where it would overflow."""
    return math.expm1(value) if value < 700 else math.inf


def _words(question: Question, change: float) -> str:
    """A change, log (new / base) or new − base, as ``15 % less`` or ``0.02 more``."""
    return _amount(question, _expm1(change) if question.tolerance.is_relative else change)


def _amount(question: Question, change: float) -> str:
    size = _percent(abs(change)) if question.tolerance.is_relative else f"{abs(change):.3g}"
    if math.isinf(change):
        return "any amount less" if change < 0 else "any amount more"
    return "no change" if size in ("0 %", "0") else f"{size} {'less' if change < 0 else 'more'}"


def _percent(share: float) -> str:
    """Three digits at most, and none behind the point from 10 % on."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %".replace(".0 %", " %")


def _wide_enough(question: Question, decision: Decision) -> str:
    """A tolerance that would have let it pass, a little rounded up."""
    assert decision.limits is not None  # it has failed by them
    worst = max(-decision.limits[0], 0.0) if question.better == "higher" else max(decision.limits[1], 0.0)
    if not question.tolerance.is_relative:
        return f"{worst * 1.005:.3g}"
    share = -math.expm1(-worst) if question.better == "higher" else math.expm1(worst)
    return f"{math.ceil(100 * share):g}%"


def _num_examples(question: Question) -> int:
    return question.view.measurement(question.new.surface, question.measure).num_examples
