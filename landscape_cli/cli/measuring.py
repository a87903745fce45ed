"""The command that measures a surface file, without torch: sharpness."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import COMMAND
from landscape_cli.cli.console import (
    TALK,
    number,
    print_columns,
    print_json,
    print_line,
    print_markdown,
    print_markdown_title,
    print_markdown_words,
    print_words,
    with_error,
)
from landscape_cli.cli.from_model import COLUMNS, Words, errors_in_words, model_rows, shared_notes, title, verdicts
from landscape_cli.cli.options import Json, Quiet, SurfaceFile, Verbose
from landscape_cli.cli.reports import SharpnessReport, sharpness_report
from landscape_cli.errors import UsageError

_ONE_SLICE = "this slice of the grid; one slice: no error bar"  # that in /radius has slices of its own
_BY_NAME = re.compile(r"(?<=curvature\.measures=\[)\w+(?=\]'$)")
_COLUMNS = ("measure", "value ± SE", "unit", "range", "spread", "invariant to", "n", "note")


def sharpness(
    file: SurfaceFile,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", metavar="NAME", help="Print this number alone: adaptive_radius, …")
    ] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", metavar="NAME", help="Such as test_loss; by default the first loss.")
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option("--tau", metavar="T", help="The rise of the loss that ends a radius; default 0.1, or as scanned."),
    ] = None,
    momentum: Annotated[
        float, typer.Option("--momentum", metavar="B", help="Of SGD, for lr_limit_momentum and lr_limit_nesterov.")
    ] = 0.9,
    curv_tol: Annotated[
        float, typer.Option("--curv-tol", metavar="C", help="What counts as curvature, as a share of the largest.")
    ] = 0.01,
    slice_index: Annotated[int | None, typer.Option("--slice", metavar="I", help="One slice only, from 0.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", metavar="", help="Print a table in Markdown.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure FILE: how flat the loss is around the checkpoint, each number with its error bar (docs/measures.md)."""
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.analysis.critical_point import critical_point
    from landscape_cli.analysis.learning_rate import learning_rates
    from landscape_cli.analysis.sharpness import FROM_MODEL, measured
    from landscape_cli.analysis.sharpness import sharpness as measure_all
    from landscape_cli.analysis.slices import name_of_loss
    from landscape_cli.storage import load_surface

    if sum((json, markdown, metric is not None)) > 1:
        raise UsageError("--json, --markdown and --metric print different things; choose one")
    if tau is not None and not (tau > 0 and math.isfinite(tau)):
        raise UsageError(f"--tau: found {tau:g}; expected a number above 0")
    if not 0 <= momentum < 1:
        raise UsageError(f"--momentum: found {momentum:g}; expected a number from 0 to 1, and below it")
    if not (curv_tol >= 0 and math.isfinite(curv_tol)):
        raise UsageError(f"--curv-tol: found {curv_tol:g}; expected a number of at least 0")
    surface = load_surface(file)
    if metric is not None:
        options = {"tau": tau, "momentum": momentum, "curv_tol": curv_tol}
        _print_number(measured(surface, metric, loss=loss, slice_index=slice_index, **options), file)
        return
    found = measure_all(surface, loss=loss, slice_index=slice_index, tau=tau, momentum=momentum, curv_tol=curv_tol)
    num_slices = surface.grid.num_slices if slice_index is None else 1
    point = critical_point(surface, loss=loss, curv_tol=curv_tol)
    rates = learning_rates(surface, found, momentum=momentum)
    report = sharpness_report(
        surface, file, found, point, rates, loss=name_of_loss(surface, loss), num_slices=num_slices
    )
    if json:
        print_json(report)
    elif markdown or not quiet:
        on_grid = [each for each in found if each.name not in FROM_MODEL]
        from_model = [each for each in found if each.name in FROM_MODEL and each.value is not None]
        words = list(verdicts(point, rates, shared_notes(from_model))) if from_model else []
        words = [(_addressed(sentence, file), lines) for sentence, lines in words]
        if markdown:
            _print_in_markdown(report, on_grid, from_model, words)
        else:
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
