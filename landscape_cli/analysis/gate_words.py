"""A decision of the gate in words: what was compared, by how much, how sure, what to do."""

from __future__ import annotations

import math

from landscape_cli.analysis.comparability import family_of, sha256_of_checkpoint
from landscape_cli.analysis.compare import CONFIDENCE
from landscape_cli.analysis.decision import Decision
from landscape_cli.analysis.question import Named, Question
from landscape_cli.analysis.relative_noise import line_of
from landscape_cli.gating import LOOKS

_NO_CHANGE, _ROUNDING = "no change", 1e-12
_MUCH_WORSE = 0.1  # nat
_LARGE = 2.0  # a share: from three times as much on, a factor reads better


def sentence(question: Question, decision: Decision) -> str:
    """``adaptive_radius of new.h5 is 0.116, of base.h5 0.164: 29 % less, with 95 % confidence at least 26 % less; …``,
    and what is tolerated.
    """
    found, tolerance = decision.contrast, question.tolerance
    base = question.bases[0].name if len(question.bases) == 1 else f"{len(question.bases)} baselines in the mean"
    of_new, of_base = (_at_least(question, each, decision) for each in (question.new, question.bases[0]))
    sides = f"{question.measure} of {question.new.name} is {of_new}{found.new:.4g}, of {base} {of_base}{found.base:.4g}"
    change = _words(question, found.log_ratio if tolerance.is_relative else found.difference)
    if found.base == 0 < found.new:  # of which there is no share
        change = f"{found.new:.3g} more"
    way = "more" if question.better == "lower" else "less"
    allowed = f"{100 * tolerance.amount:g} %" if tolerance.is_relative else f"{tolerance.amount:g}"
    tolerated = f"{allowed} {way}" if tolerance.amount else _NO_CHANGE
    return f"{sides}: {change}{_how_sure(question, decision)}; tolerated: {tolerated}"


def _at_least(question: Question, named: Named, decision: Decision) -> str:
    """What comes before a value that is a bound."""
    is_bound = decision.contrast.bound is not None
    bound = question.view.measurement(named.surface, question.measure).bound if is_bound else None
    return {"lower": "at least ", "upper": "at most ", None: ""}[bound]


def _how_sure(question: Question, decision: Decision) -> str:
    """What the limits say for this outcome."""
    if decision.limits is None:
        return ""
    if decision.contrast.pairing == "exact" and not any(decision.contrast.method_errors):
        return f", exactly, on these {num:,} examples" if (num := _num_examples(question)) else ", exactly"
    low, high = decision.limits
    if low == high == 0 and decision.contrast.num_slices:
        return f", the same in all of these {decision.contrast.num_slices} directions"
    if decision.outcome == "inconclusive":
        both = 2 * question.confidence - 1
        ends = _words(question, low), _words(question, high)
        between = f"between {ends[0]} and {ends[1]}" if ends[0] != ends[1] else "about that"
        return f", with {confidence_in_words(both)} {between}"
    worst, best = (low, high) if question.better == "higher" else (high, low)
    limit = best if decision.outcome == "fail" else worst
    if _words(question, limit) == _NO_CHANGE:
        return f", with {confidence_in_words(question.confidence)} no worse"
    is_worse = limit < 0 if question.better == "higher" else limit > 0
    most = "at most" if decision.outcome == "pass" and is_worse else "at least"
    return f", with {confidence_in_words(question.confidence)} {most} {_words(question, limit)}"


def notes(question: Question, decision: Decision) -> tuple[str, ...]:
    """How it was compared, and what training again changes."""
    found, told = decision.contrast, list[str]()
    of_new = sha256_of_checkpoint(question.new.surface)
    same = [each.name for each in question.bases if of_new and sha256_of_checkpoint(each.surface) == of_new]
    if same:
        told.append(f"warning: {question.new.name} and {', '.join(same)} are of the same checkpoint")
    told += _of_fit(question)
    if found.pairing == "paired":
        told.append(f"paired over {found.num_slices} random directions")
    elif found.pairing == "unpaired":
        told.append("from the two standard errors")
    if found.bound is not None:
        most = "least" if found.bound == "lower" else "most"
        told.append(f"one of them lies beyond its line: {question.new.name} against the baseline is at {most} this")
    if question.view.measurement(question.new.surface, question.measure).invariant_to == ():
        told.append(f"{question.measure} can change when weights are rescaled and the network is the same")
    if decision.prediction is not None:
        sign = -1 if question.better == "higher" else 1
        told.append(
            f"a further training may have {_words(question, sign * decision.prediction)} (one-sided "
            f"{_number_in_percent(CONFIDENCE)} prediction interval of {len(question.bases)} baselines)"
        )
    return tuple(told)


def _of_fit(question: Question) -> list[str]:
    """A warning where NEW fits its data so much worse that its flatness says nothing."""
    if family_of(question.measure) != "noise":
        return []
    loss = question.view.loss
    before, after = (each.surface.metrics[loss].centre for each in (question.bases[0], question.new))
    if not after - before > _MUCH_WORSE:
        return []
    return [
        f"warning: {loss} of {question.new.name} is {after:.4g}, of {question.bases[0].name} {before:.4g}: a network "
        f"that fits so much worse is flat for other reasons; decide on the loss, too: --gate {loss}:{_MUCH_WORSE}"
    ]


def advice(question: Question, decision: Decision) -> str:
    """What to do next; nothing where it has passed."""
    if decision.outcome == "pass":
        return ""
    if decision.outcome == "fail":
        return (
            f"See what else differs with landscape compare. If {question.new.name} is meant to be so, make it the new "
            f"baseline{_wide_enough(question, decision)}"
        )
    if decision.is_within_training:
        return "Training again changes that much: give more baselines, the same network trained with other seeds."
    if decision.contrast.bound is not None:
        return _farther(question)
    family, num = family_of(question.measure), decision.contrast.num_slices
    more = next((look for look in LOOKS if look > num), None)
    if num and more is not None and family in ("noise", "grid"):
        files = ", ".join(each.name for each in (*question.bases, question.new) if _num_slices(question, each) < more)
        command = more_directions(question.measure, str(more))
        return f"Add random directions ({files}), then compare again: {command}"
    return "The change is about as large as the tolerance: look at other measures, or move the tolerance."


def _num_slices(question: Question, named: Named) -> int:
    line = line_of(named.surface) if family_of(question.measure) == "noise" else named.surface
    return line.grid.num_slices


def more_directions(measure: str, total: str) -> str:
    """The command that adds random directions to a file; without a radius they are those of the grid."""
    of_grid = " --set radius=null" if family_of(measure) == "grid" else ""
    return f"landscape scan CONFIG -o FILE --checkpoint ITS_CHECKPOINT --more-slices {total}{of_grid}"


def advice_to_compare(question: Question) -> str:
    """What to do where nothing could be decided."""
    if family_of(question.measure) == "noise":
        return (
            "Scan all checkpoints with one config that has radius: true, to the end: landscape scan CONFIG "
            "--checkpoint A.pt B.pt -o '{stem}.h5'"
        )
    if family_of(question.measure) == "model":
        return "Measure all of them with one config: landscape curvature CONFIG FILE"
    slices = ", with slices: {num: 20}" if family_of(question.measure) == "grid" else ""
    return (
        f"Scan all checkpoints with one config{slices}, to the end: landscape scan CONFIG --checkpoint A.pt B.pt -o "
        "'{stem}.h5'"
    )


def why_undecided(question: Question, decision: Decision | None) -> list[str]:
    """Why there are no limits, where nothing else was in the way."""
    found = None if decision is None else decision.contrast
    named = (*question.bases, question.new)
    values = {each.name: question.view.measurement(each.surface, question.measure).value for each in named}
    if math.inf in values.values():
        diverged = ", ".join(name for name, value in values.items() if value == math.inf)
        return [f"the loss diverges within what is measured of {diverged}"]
    if _is_beyond(question):
        return [f"radii lie beyond their lines. {_farther(question)}"]
    if question.tolerance.is_relative and (found is None or min(found.base, found.new) <= 0):
        amount = question.tolerance.amount_as_given
        return [f"found a value that is not above 0, of which {amount} says nothing; give a tolerance in its own units"]
    if family_of(question.measure) == "model":
        is_bound = question.view.measurement(question.new.surface, question.measure).bound is not None
        reason = "is known from one side only, of both" if is_bound else "has no error bar"
        return [f"{question.measure} {reason}"]
    return [f"{question.measure} has no error bar: without one of the directions there is no such value"]


def _is_beyond(question: Question) -> bool:
    surfaces = [each.surface for each in (*question.bases, question.new)]
    is_radius = "radius" in question.measure
    return is_radius and any(question.view.measurement(each, question.measure).bound for each in surfaces)


def _farther(question: Question) -> str:
    """What to scan where a radius lies beyond its line."""
    if family_of(question.measure) != "noise":
        return "Scan a larger grid, or a finer one where the loss rises within its first step."
    section = "axes.x" if question.new.surface.radius is None else "radius"
    return (
        f"Scan longer lines, such as --set {section}.stop=10, or from nearer on where the loss has risen at the first "
        f"point already, such as --set {section}.start=0.001"
    )


def share_of(log_ratio: float) -> float:
    """The change as a share: −0.15 for 15 % less; infinite where it would overflow."""
    return math.expm1(log_ratio) if log_ratio < 700 else math.inf


def confidence_in_words(confidence: float) -> str:
    """``95 % confidence``; never more than there is.

    >>> confidence_in_words(0.975), confidence_in_words(1 - 0.05 / 3)
    ('97.5 % confidence', '98.33 % confidence')
    """
    return f"{_number_in_percent(confidence)} confidence"


def _number_in_percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _words(question: Question, change: float) -> str:
    """A change, log (new / base) or new − base, as ``15 % less`` or ``0.02 more``."""
    return _amount(question, share_of(change) if question.tolerance.is_relative else change)


def _amount(question: Question, change: float) -> str:
    if math.isinf(change):
        return "any amount less" if change < 0 else "any amount more"
    if change == 0 or (question.tolerance.is_relative and abs(change) < _ROUNDING):
        return _NO_CHANGE
    if question.tolerance.is_relative and change >= _LARGE:
        return f"{1 + change:.3g} times as much"
    size = percent(abs(change)) if question.tolerance.is_relative else f"{abs(change):.3g}"
    return f"{size} {'less' if change < 0 else 'more'}"


def percent(share: float) -> str:
    """At least two digits, and none behind the point from 10 % on.

    >>> percent(0.153), percent(0.0153), percent(0.00012), percent(4.5)
    ('15 %', '1.5 %', '0.012 %', '450 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _wide_enough(question: Question, decision: Decision) -> str:
    """The tolerance that would have let it pass, a little rounded up; nothing where there is none."""
    assert decision.limits is not None  # it has failed by them
    worst = -decision.limits[0] if question.better == "higher" else decision.limits[1]
    if question.tolerance.is_relative:
        worst = 100 * (-math.expm1(-worst) if question.better == "higher" else share_of(worst))
    if not math.isfinite(worst) or worst <= 0:
        return ""
    amount = _rounded_up(worst)
    if question.tolerance.is_relative and question.better == "higher" and amount >= 100:
        return ""
    unit = "%" if question.tolerance.is_relative else ""
    return f", or allow for it: --gate {question.measure}:{amount:.6g}{unit}"


def _rounded_up(value: float) -> float:
    """To two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step * (1 + 1e-9)) * step


def _num_examples(question: Question) -> int:
    return question.view.measurement(question.new.surface, question.measure).num_examples
