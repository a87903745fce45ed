"""The command that measures a surface file, without torch: sharpness."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import COMMAND
from landscape_cli.cli.console import (
    TALK,
    number,
    one_line,
    print_columns,
    print_json,
    print_line,
    print_markdown,
    print_markdown_title,
    print_markdown_words,
    print_text,
    print_words,
    with_error,
)
from landscape_cli.cli.from_model import COLUMNS, Words, errors_in_words, model_rows, shared_notes, title, verdicts
from landscape_cli.cli.options import (
    Form,
    GithubSummary,
    Json,
    JUnit,
    Loss,
    OnInconclusive,
    Quiet,
    SurfaceFile,
    Tau,
    Verbose,
    check_tau,
    form_of,
)
from landscape_cli.cli.sharpness_reports import SharpnessReport, sharpness_report
from landscape_cli.errors import UsageError

if TYPE_CHECKING:
    from landscape_cli.analysis.question import Named
    from landscape_cli.analysis.threshold import Threshold
    from landscape_cli.analysis.verdict import Verdict
    from landscape_cli.surface import Surface

_ONE_SLICE = "this slice of the grid; one slice: no error bar"  # that in /radius has slices of its own
_BY_NAME = re.compile(r"(?<=curvature\.measures=\[)\w+(?=\]'$)")
_COLUMNS = ("measure", "value ± SE", "unit", "range", "spread", "invariant to", "n", "note")


def sharpness(
    file: SurfaceFile,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", metavar="NAME", help="Print this number alone: adaptive_radius, …")
    ] = None,
    loss: Loss = None,
    tau: Tau = None,
    momentum: Annotated[
        float, typer.Option("--momentum", metavar="B", help="Of SGD, for lr_limit_momentum and lr_limit_nesterov.")
    ] = 0.9,
    curv_tol: Annotated[
        float, typer.Option("--curv-tol", metavar="C", help="What counts as curvature, as a share of the largest.")
    ] = 0.01,
    slice_index: Annotated[int | None, typer.Option("--slice", metavar="I", help="One slice only, from 0.")] = None,
    most: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="NAME=VALUE", help="Fail where it is surely more: eps_sharpness=30."),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="NAME=VALUE", help="Fail where it is surely less: adaptive_radius=0.2."),
    ] = None,
    on_inconclusive: OnInconclusive = None,
    junit: JUnit = None,
    github_summary: GithubSummary = False,
    markdown: Annotated[bool, typer.Option("--markdown", metavar="", help="Print a table in Markdown.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure FILE: how flat the loss is around the checkpoint, each number with its error bar (docs/measures.md)."""
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.analysis.question import Named
    from landscape_cli.cli.gate_options import parse_on_inconclusive, threshold_of
    from landscape_cli.cli.verdicts import Delivery, markdown_of, print_verdicts
    from landscape_cli.storage import load_surface

    if sum((json, markdown, metric is not None)) > 1:
        raise UsageError("--json, --markdown and --metric print different things; choose one")
    asked = _Asked(loss, slice_index, tau, momentum, curv_tol)
    asked.check()
    thresholds = [threshold_of(side, text) for side, given in (("max", most), ("min", least)) for text in given or ()]
    if not thresholds and (on_inconclusive, junit, github_summary) != (None, None, False):
        raise UsageError(
            "--on-inconclusive, --junit and --github-summary belong to thresholds", hint="Add --max or --min."
        )
    if thresholds and (metric is not None or slice_index is not None):
        raise UsageError("--max and --min decide on all slices of a measure; leave out --metric and --slice")
    delivery = Delivery(junit, github_summary, parse_on_inconclusive(on_inconclusive, "pass"))
    surface = load_surface(file)
    if metric is not None:
        _print_number(asked.measured(surface, metric), file)
        return
    named = Named(one_line(file.name), surface)
    judged = asked.judged(named, thresholds)
    if not judged or json or markdown:
        _print_all(surface, file, asked, judged, form_of(json=json, markdown=markdown), quiet=quiet)
    elif not quiet:
        print_verdicts(judged)
    if judged:
        delivery.deliver(named.name, judged, lambda: markdown_of(named.name, judged))


@dataclass(frozen=True)
class _Asked:
    """What is to be measured, as given."""

    loss: str | None
    slice_index: int | None
    tau: float | None
    momentum: float
    curv_tol: float

    def check(self) -> None:
        check_tau(self.tau)
        if not 0 <= self.momentum < 1:
            raise UsageError(f"--momentum: found {self.momentum:g}; expected a number from 0 to 1, and below it")
        if not (self.curv_tol >= 0 and math.isfinite(self.curv_tol)):
            raise UsageError(f"--curv-tol: found {self.curv_tol:g}; expected a number of at least 0")

    def measured(self, surface: Surface, name: str) -> Measurement:
        from landscape_cli.analysis.sharpness import measured

        return measured(
            surface,
            name,
            loss=self.loss,
            slice_index=self.slice_index,
            tau=self.tau,
            momentum=self.momentum,
            curv_tol=self.curv_tol,
        )

    def judged(self, named: Named, thresholds: Sequence[Threshold]) -> list[Verdict]:
        from landscape_cli.analysis.threshold import check_thresholds

        if not thresholds:
            return []
        from landscape_cli.cli.gate_options import confidence_of_look

        return check_thresholds(
            named,
            thresholds,
            loss=self.loss,
            confidence=confidence_of_look(),
            tau=self.tau,
            momentum=self.momentum,
            curv_tol=self.curv_tol,
        )


def _print_all(
    surface: Surface, file: Path, asked: _Asked, judged: Sequence[Verdict], form: Form, *, quiet: bool
) -> None:
    """Every measure, and in Markdown the verdicts before them."""
    from landscape_cli.analysis.critical_point import critical_point
    from landscape_cli.analysis.learning_rate import learning_rates
    from landscape_cli.analysis.sharpness import FROM_MODEL
    from landscape_cli.analysis.sharpness import sharpness as measure_all
    from landscape_cli.analysis.slices import name_of_loss
    from landscape_cli.cli.verdicts import END_OF_FOLD, FOLD, markdown_of

    found = measure_all(
        surface,
        loss=asked.loss,
        slice_index=asked.slice_index,
        tau=asked.tau,
        momentum=asked.momentum,
        curv_tol=asked.curv_tol,
    )
    num_slices = surface.grid.num_slices if asked.slice_index is None else 1
    point = critical_point(surface, loss=asked.loss, curv_tol=asked.curv_tol)
    rates = learning_rates(surface, found, momentum=asked.momentum)
    loss = name_of_loss(surface, asked.loss)
    report = sharpness_report(surface, file, found, point, rates, loss=loss, num_slices=num_slices, verdicts=judged)
    if form == "json":
        print_json(report)
        return
    on_grid = [each for each in found if each.name not in FROM_MODEL]
    from_model = [each for each in found if each.name in FROM_MODEL and each.value is not None]
    words = list(verdicts(point, rates, shared_notes(from_model))) if from_model else []
    words = [(_addressed(sentence, file), lines) for sentence, lines in words]
    if form == "markdown":
        if judged:
            print_text(f"{markdown_of(one_line(file.name), judged)}\n{FOLD}")
        _print_in_markdown(report, on_grid, from_model, words)
        if judged:
            print_text(END_OF_FOLD)
    elif not quiet:
        _print_for_people(report, on_grid, from_model, words)
        for each in _not_measured(found):
            TALK.paragraph(_addressed(each, file))


def _print_in_markdown(
    report: SharpnessReport,
    on_grid: Sequence[Measurement],
    from_model: Sequence[Measurement],
    words: Sequence[Words],
) -> None:
    print_markdown_title(_title(report))
    print_markdown(_COLUMNS, _rows(on_grid), title="from the surface" if from_model else "")
    if from_model:
        print_line("")
        print_markdown(COLUMNS, model_rows(from_model), title=title(from_model))
    for sentence, lines in words:
        print_markdown_words(sentence, lines)


def _print_for_people(
    report: SharpnessReport,
    on_grid: Sequence[Measurement],
    from_model: Sequence[Measurement],
    words: Sequence[Words],
) -> None:
    print_columns(_title(report), _COLUMNS, _rows(on_grid))
    if from_model:
        print_columns(title(from_model), COLUMNS, model_rows(from_model))
    for sentence, lines in words:
        print_words(sentence, lines)


def _addressed(advice: str, file: Path) -> str:
    """With the file in the command that adds what is missing; which config it was, nobody knows here."""
    return advice.replace(COMMAND, COMMAND.replace("FILE", shlex.quote(str(file))))


def _print_number(measurement: Measurement, file: Path) -> None:
    """The number first, for scripts; what limits it goes to stderr."""
    if measurement.value is None:
        raise UsageError(
            f"--metric {measurement.name}: not measured: {_addressed(measurement.note, file)}",
            hint="landscape sharpness FILE lists what can be measured on this file.",
        )
    if measurement.bound is not None:
        TALK.note(f"note: the true value is {'at least' if measurement.bound == 'lower' else 'at most'} this")
    of_error = errors_in_words(measurement) or "no error bar"
    TALK.note(f"note: {'; '.join(filter(None, (measurement.scope, of_error, measurement.note)))}")
    print_line(repr(measurement.value))


def _title(report: SharpnessReport) -> str:
    slices = f"these {report.num_slices} slices" if report.num_slices > 1 else _ONE_SLICE
    partial = "" if report.complete else f", partial: {report.num_evaluated:,} of {report.num_points:,} points"
    return f"{report.file}: sharpness of {report.loss} in {slices}{partial}"


def _rows(measurements: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
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
