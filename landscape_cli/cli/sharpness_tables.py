"""All measures of a surface file for people: tables, sentences, and why there is no more."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import COMMAND
from landscape_cli.cli.console import number, with_error
from landscape_cli.cli.from_model import Words, shared_notes, verdicts
from landscape_cli.cli.sharpness_reports import SharpnessReport, sharpness_report

if TYPE_CHECKING:
    from landscape_cli.analysis.verdict import Verdict
    from landscape_cli.surface import Surface

COLUMNS = ("measure", "value ± SE", "unit", "range", "spread", "invariant to", "n", "note")
_ONE_SLICE = "this slice of the grid; one slice: no error bar"  # that in /radius has slices of its own
_BY_NAME = re.compile(r"(?<=curvature\.measures=\[)\w+(?=\]'$)")


@dataclass(frozen=True)
class Measured:
    """All measures of a file, as they are told.

    Attributes:
        report: For programs.
        on_grid: From the grid and from the line of noise, also those that are not measured.
        from_model: At the checkpoint; those that are measured.
        words: Sentences on the latter, each with what it rests on.
        not_measured: A line for each reason.
    """

    report: SharpnessReport
    on_grid: Sequence[Measurement]
    from_model: Sequence[Measurement]
    words: Sequence[Words]
    not_measured: Sequence[str]

    @property
    def title(self) -> str:
        """Of what it is, and how much of that there is."""
        report = self.report
        slices = f"these {report.num_slices} slices" if report.num_slices > 1 else _ONE_SLICE
        partial = "" if report.complete else f", partial: {report.num_evaluated:,} of {report.num_points:,} points"
        return f"{report.file}: sharpness of {report.loss} in {slices}{partial}"


def measured_all(
    surface: Surface,
    file: Path,
    *,
    loss: str | None = None,
    slice_index: int | None = None,
    tau: float | None = None,
    momentum: float = 0.9,
    curv_tol: float = 0.01,
    judged: Sequence[Verdict] = (),
) -> Measured:
    """Measure everything.

    Args:
        surface: Whole or partial.
        file: Where it is from.
        loss: By default the first.
        slice_index: One slice only.
        tau: The rise of the loss that ends a radius.
        momentum: Of the limits of the learning rate.
        curv_tol: What counts as curvature, as a share of the largest.
        judged: Verdicts on bounds, which the report holds, too.

    Raises:
        UsageError: No such loss, or no loss at all.
    """
    from landscape_cli.analysis.critical_point import critical_point
    from landscape_cli.analysis.learning_rate import learning_rates
    from landscape_cli.analysis.sharpness import FROM_MODEL, sharpness
    from landscape_cli.analysis.slices import name_of_loss

    found = sharpness(surface, loss=loss, slice_index=slice_index, tau=tau, momentum=momentum, curv_tol=curv_tol)
    point = critical_point(surface, loss=loss, curv_tol=curv_tol)
    rates = learning_rates(surface, found, momentum=momentum)
    report = sharpness_report(
        surface,
        file,
        found,
        point,
        rates,
        loss=name_of_loss(surface, loss),
        num_slices=surface.grid.num_slices if slice_index is None else 1,
        verdicts=judged,
    )
    from_model = [each for each in found if each.name in FROM_MODEL and each.value is not None]
    words = list(verdicts(point, rates, shared_notes(from_model))) if from_model else []
    return Measured(
        report,
        [each for each in found if each.name not in FROM_MODEL],
        from_model,
        [(addressed(sentence, file), lines) for sentence, lines in words],
        [addressed(each, file) for each in _not_measured(found)],
    )


def addressed(advice: str, file: Path) -> str:
    """With the file in the command that adds what is missing; which config it was, nobody knows here."""
    return advice.replace(COMMAND, COMMAND.replace("FILE", shlex.quote(str(file))))


def rows(measurements: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
    """A row of cells for each measure that has a value."""
    for each in measurements:
        if each.value is not None:
            yield (
                each.name,
                _value(each),
                each.unit,
                f"{number(each.range[0])} … {number(each.range[1])}" if each.range and len(each.per_slice) > 1 else "",
                f"{100 * each.spread:.0f} %" if each.spread is not None else "",
                "unknown" if each.invariant_to is None else ", ".join(each.invariant_to) or "nothing",
                f"{each.num_examples:,}" if each.num_examples else "unknown",
                each.note,
            )


def _value(measurement: Measurement) -> str:
    value = measurement.value or 0.0
    sign = {"lower": "≥ ", "upper": "≤ ", None: ""}[measurement.bound]
    if measurement.standard_error is None:
        return sign + number(value)
    return sign + with_error(value, measurement.standard_error)


def _not_measured(measurements: Sequence[Measurement]) -> Iterator[str]:
    """A line for each reason; those that differ only in the name of a record are one."""
    reasons: dict[str, list[Measurement]] = {}
    for each in measurements:
        if each.value is None:
            reasons.setdefault(_BY_NAME.sub("…", each.note), []).append(each)
    for reason, lacking in reasons.items():
        records = dict.fromkeys(found[0] for each in lacking if (found := _BY_NAME.search(each.note)))
        words = reason.replace("…", ", ".join(records), 1) if records else reason
        yield f"not measured: {', '.join(each.name for each in lacking)}: {words}"
