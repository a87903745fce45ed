"""Verdict: whether a checkpoint may pass, in a sentence and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "inconclusive", "not comparable"]

_GRAVEST_FIRST: tuple[Outcome, ...] = ("fail", "not comparable", "inconclusive", "pass")
_EXIT_CODES: dict[Outcome, int] = {"fail": 5, "not comparable": 3, "inconclusive": 6, "pass": 0}


@dataclass(frozen=True)
class Verdict:
    """What was decided about one measure.

    Attributes:
        measure: Its name.
        outcome: ``"fail"`` where it is surely worse than allowed, ``"pass"`` where it surely is not.
        sentence: What was compared, by how much, how sure.
        advice: What to do next; ``""`` where there is nothing to do.
        limit: What is allowed, as given: ``15%``, ``at most 30``.
        base: The value to compare with; None where there is none.
        new: The value in question; None where it is not measured.
        change: New against base: a share of base where the limit is in percent, else new − base; None without a base.
        bounds: Between which the change, or without a base the new value, lies: one-sided limits of this confidence.
        confidence: One-sided.
        pairing: See `Contrast`; ``""`` without a base.
        num_slices: Random directions that the two have in common; 0 where there are none.
        notes: What to know besides.
    """

    measure: str
    outcome: Outcome
    sentence: str
    advice: str = ""
    limit: str = ""
    base: float | None = None
    new: float | None = None
    change: float | None = None
    bounds: tuple[float, float] | None = None
    confidence: float = 0.0
    pairing: str = ""
    num_slices: int = 0
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The sentence with the outcome before it."""
        return f"{self.outcome.upper()}: {self.sentence}"


def overall(verdicts: Sequence[Verdict]) -> Outcome:
    """The gravest of several: one that surely fails outweighs one that cannot be told."""
    found = {verdict.outcome for verdict in verdicts}
    return next(outcome for outcome in _GRAVEST_FIRST if outcome in found)


def exit_code(outcome: Outcome, *, inconclusive_fails: bool) -> int:
    """0 pass, 5 fail, 3 not comparable, 6 inconclusive where that is not to pass."""
    return 0 if outcome == "inconclusive" and not inconclusive_fails else _EXIT_CODES[outcome]
