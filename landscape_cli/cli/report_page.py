"""Surface files as one page: what there is to say of them, put together from what the other commands say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from landscape_cli.analysis.captions import readable
from landscape_cli.analysis.illustrations import illustrations
from landscape_cli.analysis.pages.html import render, resource
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.slices import name_of_loss
from landscape_cli.cli import comparison
from landscape_cli.cli.comparison_tables import equal_in_words, split_equal, table, without_empty
from landscape_cli.cli.console import printable
from landscape_cli.cli.from_model import COLUMNS as MODEL_COLUMNS
from landscape_cli.cli.from_model import model_rows
from landscape_cli.cli.from_model import title as title_of_model
from landscape_cli.cli.naming import labels_of
from landscape_cli.cli.picture_facts import centre_in_words, span_in_words
from landscape_cli.cli.report_origin import origin
from landscape_cli.cli.reports import InfoReport, info_report
from landscape_cli.cli.sharpness_tables import COLUMNS, measured_all, rows
from landscape_cli.errors import SurfaceError, UsageError
from landscape_cli.surface import Surface

_UNKNOWN = "not known"


@dataclass(frozen=True)
class Asked:
    """What the page is to show.

    Attributes:
        title: Its heading; None for one that names the files.
        loss: That is measured and drawn; None for the first.
        tau: The rise of the loss that ends a radius; None for 0.1, or as scanned.
    """

    title: str | None
    loss: str | None
    tau: float | None


def page_of(files: Sequence[Path], surfaces: Sequence[Surface], asked: Asked) -> bytes:
    """A page about one or several surface files; the same files give the same page.

    Args:
        files: Where they are.
        surfaces: Of each what it holds.
        asked: What the page is to show.

    Returns:
        HTML that needs nothing but itself.

    Raises:
        UsageError: A file does not have the loss that was asked for.
    """
    named = [Named(label, surface) for label, surface in zip(labels_of(files), surfaces, strict=True)]
    _check_loss(named, asked.loss)
    pictures = [*illustrations({each.name: each.surface for each in named}, loss=asked.loss)]
    values: dict[str, object] = {
        "title": asked.title or f"Loss landscape: {', '.join(each.name for each in named)}",
        "summaries": [_summary(each, file) for each, file in zip(named, files, strict=True)],
        "pictures": [vars(each) for each in pictures],
        "sharpness": [_sharpness(each, asked) for each in named],
        "comparison": _comparison(named, asked) if len(named) > 1 else None,
        "origins": [origin(each, file) for each, file in zip(named, files, strict=True)],
    }
    style = {"style": resource("page.css") + resource("report.css")}
    return render("report.html.j2", {key: _as_text(value) for key, value in values.items()} | style)


def _check_loss(named: Sequence[Named], loss: str | None) -> None:
    """Refuse a loss that a file does not have; a file without any is told of as far as that goes."""
    for each in named if loss is not None else ():
        try:
            name_of_loss(each.surface, loss)
        except UsageError as error:
            raise UsageError(f"{each.name}: {error}") from error


def _as_text(value: object) -> object:
    """The same with every text as it can be shown: nothing in a file turns the page around or rings a bell."""
    if isinstance(value, str):
        return value if value.isprintable() else "\t".join(map(printable, value.split("\t")))
    if isinstance(value, Mapping):
        return {key: _as_text(item) for key, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------- summary


def _summary(named: Named, file: Path) -> dict[str, object]:
    surface = named.surface
    return {
        "name": named.name,
        "partial": [words for is_whole, words in _states(surface) if not is_whole],
        "sentences": [*_sentences(info_report(surface, file), surface)],
        "columns": ("measured", "at the checkpoint ± SE", "n", "on the grid"),
        "rows": [(readable(name), *_metric_cells(surface, name)) for name in surface.metrics],
    }


def _metric_cells(surface: Surface, name: str) -> tuple[str, str, str]:
    metric, values = surface.metrics[name], surface[name][surface.evaluated]
    num = f"{metric.num_examples:,}" if metric.num_examples else "unknown"
    return centre_in_words(metric), num, span_in_words(values[np.isfinite(values)])


def _states(surface: Surface) -> Iterator[tuple[bool, str]]:
    """How much of each part there is."""
    parts = {"points": surface, "points of the radius": surface.radius, "points of the map": surface.curvature_map}
    for what, part in parts.items():
        if part is not None:
            words = f"{part.num_evaluated:,} of {part.grid.num_points:,} {what}"
            yield part.complete, words if part.complete else f"PARTIAL: {words}"
    if surface.curvature is not None and surface.curvature.pending:
        yield False, f"PARTIAL: not measured from the model yet: {', '.join(surface.curvature.pending)}"


def _sentences(report: InfoReport, surface: Surface) -> Iterator[str]:
    """What was measured, when, and what of it is complete."""
    checkpoint = f" with the weights of {report.checkpoint}" if report.checkpoint else ""
    batchnorm = f"BatchNorm {report.batchnorm}" if report.batchnorm else None
    how = [each for each in (report.loss, report.precision, batchnorm) if each]
    yield f"Model: {', '.join([f'{report.model or _UNKNOWN}{checkpoint}', *how])}"
    if report.dialect:
        yield f"Converted from {report.converted_from} ({report.dialect})"
    whole = [words for is_whole, words in _states(surface) if is_whole]
    if whole:
        yield f"Complete: {', '.join(whole)}"
    if report.created:
        yield f"Created {_moment(report.created)}, last changed {_moment(report.updated)}"


def _moment(text: str) -> str:
    """``2026-11-28 08:59 UTC``; what is no moment as it is."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if found.tzinfo else text


# ---------------------------------------------------------------- sharpness


def _sharpness(named: Named, asked: Asked) -> dict[str, object]:
    try:
        found = measured_all(named.surface, Path(named.name), loss=asked.loss, tau=asked.tau)
    except UsageError as error:
        return {"name": named.name, "title": f"not measured: {error}", "tables": [], "words": [], "not_measured": []}
    tables = [_table("from the surface", COLUMNS, [*rows(found.on_grid)])]
    if found.from_model:
        tables.append(_table(title_of_model(found.from_model), MODEL_COLUMNS, [*model_rows(found.from_model)]))
    return {
        "name": named.name,
        "title": found.title,
        "tables": [each for each in tables if each["rows"]],
        "words": [(sentence, list(lines)) for sentence, lines in found.words],
        "not_measured": found.not_measured,
    }


def _table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> dict[str, object]:
    kept, rows_of_it = without_empty(columns, cells)
    return {"title": title, "columns": kept, "rows": rows_of_it}


# ---------------------------------------------------------------- comparison


def _comparison(named: Sequence[Named], asked: Asked) -> dict[str, object]:
    try:
        found, distances = comparison.compared(named, comparison.Asked(asked.loss, asked.tau, None, "words", False))
    except (UsageError, SurfaceError) as error:
        return {"title": f"not compared: {error}", "tables": [], "equal": "", "words": []}
    differing, equal = split_equal(found.rows)
    columns, cells = table(named, differing)
    return {
        "title": f"Measured on {found.loss}; {named[0].name} is what the others are compared with.",
        "tables": [_table("", columns, cells)] if cells else [],
        "equal": equal_in_words(equal),
        "words": [*comparison.sentences(named, found, distances)],
    }
