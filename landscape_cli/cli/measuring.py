"""The command that measures a surface file, without torch: sharpness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landscape_cli.analysis.measurement import Measurement
from landscape_cli.cli.console import (
    TALK,
    one_line,
    print_columns,
    print_json,
    print_line,
    print_markdown,
    print_markdown_title,
    print_markdown_words,
    print_text,
    print_words,
)
from landscape_cli.cli.from_model import COLUMNS, errors_in_words, model_rows, title
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
from landscape_cli.cli.sharpness_tables import COLUMNS as GRID_COLUMNS
from landscape_cli.cli.sharpness_tables import Measured, addressed, measured_all, rows
from landscape_cli.errors import UsageError

if TYPE_CHECKING:
    from landscape_cli.analysis.question import Named
    from landscape_cli.analysis.threshold import Threshold
    from landscape_cli.analysis.verdict import Verdict
    from landscape_cli.surface import Surface


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
    from landscape_cli.union import load_union

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
    surface = load_union(file)
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

    def measured_all(self, surface: Surface, file: Path, judged: Sequence[Verdict]) -> Measured:
        return measured_all(
            surface,
            file,
            loss=self.loss,
            slice_index=self.slice_index,
            tau=self.tau,
            momentum=self.momentum,
            curv_tol=self.curv_tol,
            judged=judged,
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
    from landscape_cli.cli.verdicts import END_OF_FOLD, FOLD, markdown_of

    found = asked.measured_all(surface, file, judged)
    if form == "json":
        print_json(found.report)
    elif form == "markdown":
        if judged:
            print_text(f"{markdown_of(one_line(file.name), judged)}\n{FOLD}")
        _print_in_markdown(found)
        if judged:
            print_text(END_OF_FOLD)
    elif not quiet:
        _print_for_people(found)
        for each in found.not_measured:
            TALK.paragraph(each)


def _print_in_markdown(found: Measured) -> None:
    print_markdown_title(found.title)
    print_markdown(GRID_COLUMNS, rows(found.on_grid), title="from the surface" if found.from_model else "")
    if found.from_model:
        print_line("")
        print_markdown(COLUMNS, model_rows(found.from_model), title=title(found.from_model))
    for sentence, lines in found.words:
        print_markdown_words(sentence, lines)


def _print_for_people(found: Measured) -> None:
    print_columns(found.title, GRID_COLUMNS, rows(found.on_grid))
    if found.from_model:
        print_columns(title(found.from_model), COLUMNS, model_rows(found.from_model))
    for sentence, lines in found.words:
        print_words(sentence, lines)


def _print_number(measurement: Measurement, file: Path) -> None:
    """The number first, for scripts; what limits it goes to stderr."""
    if measurement.value is None:
        raise UsageError(
            f"--metric {measurement.name}: not measured: {addressed(measurement.note, file)}",
            hint="landscape sharpness FILE lists what can be measured on this file.",
        )
    if measurement.bound is not None:
        TALK.note(f"note: the true value is {'at least' if measurement.bound == 'lower' else 'at most'} this")
    of_error = errors_in_words(measurement) or "no error bar"
    TALK.note(f"note: {'; '.join(filter(None, (measurement.scope, of_error, measurement.note)))}")
    print_line(repr(measurement.value))
