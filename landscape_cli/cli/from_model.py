"""What was measured from the model, for people: a table, the kind of point, limits of the learning rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from landscape_cli.analysis.critical_point import CriticalPoint
from landscape_cli.analysis.learning_rate import NOT_CONVERGED, WORDING, LearningRates
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.cli.console import number

COLUMNS = ("measure", "value ± SE", "unit", "invariant to", "n", "note")
_SIGNS = {"lower": "≥ ", "upper": "≤ ", None: ""}
Words = tuple[str, Sequence[str]]  # a sentence, and what it rests on


def model_rows(measurements: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
    """One row per measure; what the notes of all have in common is left to `shared_notes`, and to the `title` what most
    rows hold for.
    """
    most, differing = _of_most(measurements)
    said = {*shared_notes(measurements), *differing, WORDING, NOT_CONVERGED}
    for each in measurements:
        spread = f"{number(each.range[0])} … {number(each.range[1])}" if each.range and len(each.per_slice) > 1 else ""
        is_spread_said = each.spread is None or "slices differ by" in each.note
        share = "" if is_spread_said else f"spread {100 * (each.spread or 0.0):.0f} %"
        own = [word for word, usual in zip(each.holds_for, most, strict=False) if word != usual]
        rest = [part for part in each.note.split("; ") if part not in said and not _is_said(part, own, differing)]
        yield (
            each.name,
            f"{_SIGNS[each.bound]}{number(each.value or 0.0)} {errors_in_words(each)}".rstrip(),
            each.unit,
            ", ".join(each.invariant_to or ()) or ("unknown" if each.invariant_to is None else "nothing"),
            f"{each.num_examples:,}" if each.num_examples else "unknown",
            "; ".join(filter(None, dict.fromkeys((spread, share, *own, *rest)))),
        )


def title(measurements: Sequence[Measurement]) -> str:
    """What most of the numbers hold for: always of which parameters, the rest where rows differ in it."""
    most, differing = _of_most(measurements)
    return ", ".join(["from the model", *dict.fromkeys(filter(None, (*most[:1], *differing)))])


def _of_most(measurements: Sequence[Measurement]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What most rows hold for, and that part of it in which others differ."""
    columns = list(zip(*(each.holds_for for each in measurements if each.holds_for), strict=True))
    most = tuple(Counter(words).most_common(1)[0][0] for words in columns)
    return most, tuple(usual for usual, words in zip(most, columns, strict=True) if len(set(words)) > 1)


def _is_said(part: str, own: Sequence[str], differing: Sequence[str]) -> bool:
    """Whether part of a note says again how large the weight decay is."""
    decay = part.removesuffix(" included")
    return decay != part and any(words.startswith(f"with {decay}") for words in (*own, *differing))


def shared_notes(measurements: Sequence[Measurement]) -> list[str]:
    """The parts of a note that all measures have in common."""
    notes = [each.note.split("; ") for each in measurements]
    return [part for part in notes[0] if all(part in each for each in notes)] if len(notes) > 1 else []


def errors_in_words(measurement: Measurement) -> str:
    """``± 0.11``, ``± 3e-07 (residual)``: what is no standard error is said to be another; ``""`` without any.

    What the spacing of a grid adds is in the note.
    """
    words = []
    if measurement.standard_error is not None:
        words.append(f"± {measurement.standard_error:.2g}")
    if measurement.method_error is not None and measurement.method_error_from != "grid":
        words.append(f"± {measurement.method_error:.2g} ({measurement.method_error_from})")
    return " ".join(words)


def verdicts(point: CriticalPoint, rates: LearningRates, notes: Sequence[str]) -> Iterator[Words]:
    """What holds for all measures from the model, the kind of point, the limits; each with what it rests on."""
    if notes:
        yield "all of these:", notes
    yield f"critical point: {point.sentence}", point.details
    if rates.sentence:
        yield f"learning rate: {rates.sentence}", rates.caveats
