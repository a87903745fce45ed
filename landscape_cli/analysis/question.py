"""What a gate is asked: surfaces, a tolerance, and why that may not be decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from landscape_cli.analysis.comparability import OF_PATHS, aspects, family_of, relation
from landscape_cli.analysis.compare import View
from landscape_cli.analysis.orientation import Better, better_when
from landscape_cli.analysis.relative_noise import line_of
from landscape_cli.analysis.sharpness import NAMES
from landscape_cli.analysis.tolerance import Tolerance
from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.surface import Surface

_FEWEST_SLICES = 5
_ONE_STEP = "a single step of ascent: equal trainings differ by 30 to 80 %"
_OF_GRID = "the curvature of a grid depends on its spacing"
_NEVER = {"sam": _ONE_STEP, "asam": _ONE_STEP, "curvature": _OF_GRID, "curvature_max": _OF_GRID}
_EXTREME = ("lambda_max", "adaptive_lambda_max", "lr_limit", "lr_limit_momentum", "lr_limit_nesterov", "lr_limit_adam")
_INSTEAD = "Decide on the adaptive radius: --gate adaptive_radius:15%"


@dataclass(frozen=True)
class Named:
    """A surface and what to call it."""

    name: str
    surface: Surface


@dataclass(frozen=True)
class Question:
    """Whether NEW is within one tolerance of the baselines.

    Attributes:
        view: What is measured.
        bases: One, or several trainings of the same network.
        new: What is in question.
        tolerance: How much worse it may be.
        better: Which way the measure is better.
        confidence: One-sided.
    """

    view: View
    bases: Sequence[Named]
    new: Named
    tolerance: Tolerance
    better: Better
    confidence: float

    @property
    def measure(self) -> str:
        """The measure of the tolerance."""
        return self.tolerance.measure


def way_of(tolerance: Tolerance, view: View) -> Better:
    """Which way the measure of a tolerance is better.

    Raises:
        UsageError: It is unknown, has no better way, or no decision may rest on it; or the amount is impossible.
    """
    name = tolerance.measure
    check_decidable(name, view, f"gate {tolerance}")
    better = better_when(name)
    if better is None:
        raise UsageError(f"gate {tolerance}: neither more nor less of {name} is better", hint=_INSTEAD)
    if tolerance.is_relative and better == "higher" and tolerance.amount >= 1:
        raise UsageError(f"gate {tolerance}: more of {name} is better; expected less than 100 %")
    return better


def check_decidable(name: str, view: View, where: str, instead: str = _INSTEAD) -> None:
    """Refuse what is no measure, and measures that no decision may rest on.

    Raises:
        UsageError: It is one; ``where`` comes before the message, and what to write instead after it.
    """
    known = [*NAMES, *view.metrics]
    if name not in known:
        raise UsageError(f"{where}: unknown measure{did_you_mean(name, known)}")
    reason = _NEVER.get(name)
    if reason is not None:
        raise UsageError(f"{where}: no decision may rest on {name}: {reason}", hint=instead)


def confidence_of_each(confidence: float, measures: Iterable[str]) -> float:
    """One-sided, of each of several decisions that have this confidence together: those that can err share the
    probability of an error (Bonferroni), and what is compared at the checkpoint itself takes none of it.
    """
    num_uncertain = sum(family_of(measure) != "centre" for measure in measures)
    return 1 - (1 - confidence) / max(1, num_uncertain)


def check_amount(question: Question) -> None:
    """Refuse a tolerance in the units of the measure that next to nothing exceeds: 15 or 0.15 of a radius of 0.2 was
    meant as a share.

    Raises:
        UsageError: It is one.
    """
    tolerance = question.tolerance
    if tolerance.is_relative or question.better == "lower":
        return
    values = [question.view.measurement(base.surface, question.measure).value for base in question.bases]
    least = min((value for value in values if value is not None), default=math.inf)
    if tolerance.amount >= least / 2 > 0:
        amount = tolerance.amount
        share = 100 * amount if amount < 1 else amount
        raise UsageError(
            f"gate {tolerance}: {amount:g} is {100 * amount / least:.0f} % of {least:.4g}; expected less than half",
            hint=f"A share is written with %: {question.measure}:{share:g}%",
        )


def obstacles(question: Question) -> list[str]:
    """Why the question has no answer; empty where it may have one."""
    found: list[str] = []
    for named in (*question.bases, question.new):
        found += [f"{named.name}: {each}" for each in lacks(question.view, named.surface, question.measure)]
    for base in question.bases:
        differences = "; ".join(_between(question, base.surface))
        found += [f"{base.name} → {question.new.name}: {differences}"] if differences else []
    return found


def _between(question: Question, base: Surface) -> tuple[str, ...]:
    """In what a baseline differs from NEW so that a change would not be that of the checkpoint."""
    view, new = question.view, question.new.surface
    before, after = (view.measurement(surface, question.measure) for surface in (base, new))
    if before.value is None or after.value is None:
        return ()  # said of each of them
    metric = question.measure if family_of(question.measure) == "centre" else view.loss
    return relation(aspects((base, new)), before, after, metric).differences


def lacks(view: View, surface: Surface, name: str) -> Iterator[str]:
    """What keeps a measure of a surface from being decided on."""
    found, part = view.measurement(surface, name), _part_of(surface, name)
    if part is not None and not part.complete:
        yield f"partial: {part.num_evaluated:,} of {part.grid.num_points:,} points; the same scan goes on"
    elif found.value is None:
        yield f"{name} is not measured: {found.note}"
    elif found.per_slice and name not in OF_PATHS and found.num_known < _FEWEST_SLICES:
        slices = "1 slice" if found.num_known == 1 else f"{found.num_known} slices"
        yield f"{name} of {slices}; expected at least {_FEWEST_SLICES}, and 20 are better"
    elif name in _EXTREME and found.split and found.num_examples < _num_available(surface, found.split):
        yield f"{name} of {found.num_examples:,} examples, a part of the data: few examples bias it upwards"


def _part_of(surface: Surface, name: str) -> Surface | None:
    """The points that a measure is from; None where it is from none."""
    if name == "nonconvexity":
        return surface.curvature_map
    family = family_of(name)
    return line_of(surface) if family == "noise" else surface if family == "grid" else None


def _num_available(surface: Surface, split: str) -> int:
    metric = surface.metrics.get(f"{split}_loss")
    return metric.num_examples if metric is not None else 0
