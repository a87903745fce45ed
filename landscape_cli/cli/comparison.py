"""Surface files side by side, and the gate: what is printed of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from landscape_cli.analysis.bottleneck import Bottleneck, bottleneck
from landscape_cli.analysis.compare import Comparison, View
from landscape_cli.analysis.compare import compare as compare_surfaces
from landscape_cli.analysis.gate import gate as judge
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.verdict import Verdict
from landscape_cli.cli.comparison_reports import ComparisonReport, comparison_report
from landscape_cli.cli.comparison_tables import (
    bottleneck_in_words,
    common_in_words,
    equal_in_words,
    ranking_in_words,
    same_checkpoint_in_words,
    split_equal,
    table,
)
from landscape_cli.cli.console import (
    TALK,
    markdown_table,
    markdown_text,
    one_line,
    print_columns,
    print_json,
    print_text,
    print_words,
)
from landscape_cli.cli.gate_options import GateOptions
from landscape_cli.cli.naming import load_named
from landscape_cli.cli.options import Form
from landscape_cli.cli.verdicts import END_OF_FOLD, FOLD, Delivery, markdown_of, print_verdicts
from landscape_cli.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """What is to be measured and printed.

    Attributes:
        loss: As given.
        tau: As given.
        metric: That is shown alone; None for all.
        form: JSON, Markdown, or words.
        quiet: Whether words are left out.
    """

    loss: str | None
    tau: float | None
    metric: str | None
    form: Form
    quiet: bool


def compare(paths: Sequence[Path], asked: Asked) -> None:
    """Print a comparison with the first of these files."""
    named = _load(paths)
    if asked.form == "json":
        print_json(_report(named, paths, asked, ()))
    elif asked.form == "markdown":
        print_text(_in_markdown(named, asked, ()))
    elif not asked.quiet:
        _print_for_people(named, *compared(named, asked))


def gate(paths: Sequence[Path], asked: Asked, options: GateOptions, junit: Path | None, *, to_github: bool) -> None:
    """Decide whether the last of these files may pass, print that, and leave with the exit code."""
    named = _load(paths)
    verdicts = judge(
        named[:-1],
        named[-1],
        options.tolerances,
        loss=asked.loss,
        tau=asked.tau,
        confidence=options.confidence,
    )
    page = cache(partial(_in_markdown, named, asked, verdicts))  # for stdout and for GitHub
    if asked.form == "json":
        print_json(_report(named, paths, asked, verdicts))
    elif asked.form == "markdown":
        print_text(page())
    elif not asked.quiet:
        print_verdicts(verdicts)
    for words in same_checkpoint_in_words(named):
        TALK.note(f"warning: {words}")
    delivery = Delivery(junit, to_github, options.inconclusive_fails)
    delivery.deliver(_title(named), verdicts, page)


def _report(
    named: Sequence[Named], paths: Sequence[Path], asked: Asked, verdicts: Sequence[Verdict]
) -> ComparisonReport:
    comparison, distances = compared(named, asked)
    return comparison_report(named, list(map(str, paths)), comparison, distances, verdicts)


def _load(paths: Sequence[Path]) -> list[Named]:
    """The surfaces, each with what it is called."""
    return [Named(label, surface) for label, surface in load_named(paths).items()]


def compared(named: Sequence[Named], asked: Asked) -> tuple[Comparison, list[Bottleneck]]:
    """All measures, or the one that was asked for; with all of them also the distance of the basins.

    Raises:
        UsageError: No file has the one that was asked for.
    """
    surfaces = [each.surface for each in named]
    view = View.of(surfaces, loss=asked.loss, tau=asked.tau)
    found = compare_surfaces(surfaces, loss=asked.loss, tau=asked.tau, rank_by=asked.metric)
    if asked.metric is None:
        return found, [bottleneck(surfaces[0], other, view) for other in surfaces[1:]]
    rows = tuple(row for row in found.rows if row.name == asked.metric)
    if not rows:
        why = view.measurement(surfaces[0], asked.metric).note
        raise UsageError(f"--metric {asked.metric}: not measured in any of the files: {why}")
    return replace(found, rows=rows, lacking=()), []


def _title(named: Sequence[Named]) -> str:
    """``new.h5 against base.h5``."""
    *others, last = [each.name for each in named]
    return f"{last} against {', '.join(others)}"


def _print_for_people(named: Sequence[Named], comparison: Comparison, distances: Sequence[Bottleneck]) -> None:
    title = f"{', '.join(each.name for each in named)}: measured on {comparison.loss}"
    rows, equal = split_equal(comparison.rows)
    print_columns(title, *table(named, rows), num_first=1)
    if equal:
        print_words(equal_in_words(equal), [])
    for heading, lines in sentences(named, comparison, distances):
        print_words(heading, lines)


def sentences(
    named: Sequence[Named], comparison: Comparison, distances: Sequence[Bottleneck]
) -> Iterator[tuple[str, list[str]]]:
    """What is the same, what is not, and the ranking."""
    yield from ((words, []) for words in same_checkpoint_in_words(named))
    same, different, unknown = common_in_words(comparison)
    if same:
        yield f"the same: {'; '.join(same)}", []
    if unknown:
        yield f"not known of every file: {', '.join(unknown)}", []
    if different:
        yield "not the same:", different
    yield from ((words, []) for words in bottleneck_in_words(named, distances))
    ranking = ranking_in_words(named, comparison)
    yield ranking or "no ranking: there is no measure of flatness that all files have and that may be compared", []


def _in_markdown(named: Sequence[Named], asked: Asked, verdicts: Sequence[Verdict]) -> str:
    """The comparison, or for a gate the verdicts with the comparison folded up below them."""
    comparison, distances = compared(named, asked)
    rows, equal = split_equal(comparison.rows)
    measures = markdown_table(*table(named, rows))
    measures += f"\n{markdown_text(equal_in_words(equal))}\n" if equal else ""
    words = "\n".join(
        f"{markdown_text(heading)}\n" + "".join(f"- {markdown_text(line)}\n" for line in lines)
        for heading, lines in sentences(named, comparison, distances)
    )
    if not verdicts:
        loss = markdown_text(one_line(comparison.loss))
        return f"# {markdown_text(_title(named))}: measured on {loss}\n\n{measures}\n{words}"
    return f"{markdown_of(_title(named), verdicts)}\n{FOLD}{measures}\n{words}{END_OF_FOLD}"
