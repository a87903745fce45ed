"""Verdicts where people look: a terminal, a pull request, a report of tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import typer

from landscape_cli.analysis.verdict import Outcome, Verdict, exit_code, overall
from landscape_cli.cli.comparison_tables import range_in_words, share_in_words, without_empty
from landscape_cli.cli.console import TALK, markdown_table, markdown_text, number, one_line, print_words, printable
from landscape_cli.errors import OutputError
from landscape_cli.storage import replace_file

FOLD, END_OF_FOLD = "<details><summary>All measures</summary>\n\n", "\n</details>\n"
_SYMBOLS: dict[Outcome, str] = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "not comparable": "⛔"}
_COLUMNS = ("", "measure", "base", "new", "change", "lies between", "allowed")
_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class Delivery:
    """Where verdicts go besides stdout, and what an open question means.

    Attributes:
        junit: File for a JUnit report.
        to_github: Whether the summary of the step gets them.
        inconclusive_fails: Whether an open question ends with exit code 6.
    """

    junit: Path | None
    to_github: bool
    inconclusive_fails: bool

    def deliver(self, title: str, verdicts: Sequence[Verdict], markdown: Callable[[], str]) -> None:
        """Write the reports, say where an open question counts as a pass, and leave with the exit code of the gravest
        verdict.

        Args:
            title: Of the reports.
            verdicts: At least one.
            markdown: Makes the page for GitHub.

        Raises:
            OutputError: A report cannot be written, and the verdict is a pass.
            typer.Exit: With 3, 5 or 6; nothing where the verdict is a pass.
        """
        failure: OutputError | None = None
        try:
            if self.junit is not None:
                write_junit(self.junit, title, verdicts, inconclusive_fails=self.inconclusive_fails)
            if self.to_github:
                write_github_summary(markdown())
        except OutputError as error:
            failure = error
        outcome = overall(verdicts)
        if outcome == "inconclusive" and not self.inconclusive_fails:
            TALK.note("warning: inconclusive counts as a pass; --on-inconclusive fail makes it exit code 6")
        code = exit_code(outcome, inconclusive_fails=self.inconclusive_fails)
        if failure is not None and not code:
            raise failure
        if failure is not None:  # the verdict outweighs it
            TALK.error(failure)
        if code:
            raise typer.Exit(code)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print each as a sentence, with what it rests on and what to do."""
    for verdict in verdicts:
        print_words(verdict.headline, filter(None, (*verdict.notes, verdict.advice)))


def markdown_of(title: str, verdicts: Sequence[Verdict]) -> str:
    """For a pull request: a heading, a sentence for each verdict, a table."""
    outcome = overall(verdicts)
    lines = [f"### {_SYMBOLS[outcome]} {markdown_text(title)}: {outcome}", ""]
    for verdict in verdicts:
        lines += [f"**{verdict.outcome.upper()}** {markdown_text(verdict.sentence)}.", ""]
        listed = [f"- {markdown_text(each)}" for each in (*verdict.notes, verdict.advice) if each]
        lines += [*listed, ""] if listed else []
    rows = [_row(verdict) for verdict in verdicts if verdict.new is not None]
    if rows:
        lines += [markdown_table(*without_empty(_COLUMNS, rows))]
    return "\n".join(lines).rstrip() + "\n"


def _row(verdict: Verdict) -> tuple[str, ...]:
    is_share = verdict.limit.endswith("%")
    low, high = verdict.bounds or (0.0, 0.0)
    if low == high:
        between = "exact"
    else:
        between = range_in_words((1 + low, 1 + high)) if is_share else f"{_bound(low)} … {_bound(high)}"
    change = "" if verdict.change is None else number(verdict.change)
    return (
        _SYMBOLS[verdict.outcome],
        verdict.measure,
        "" if verdict.base is None else number(verdict.base),
        "" if verdict.new is None else number(verdict.new),
        share_in_words(1 + verdict.change) if verdict.change is not None and is_share else change,
        between,
        verdict.limit,
    )


def _bound(value: float) -> str:
    return number(value).replace("-inf", "−∞").replace("inf", "∞")


def write_github_summary(markdown: str) -> None:
    """Append to the summary of the step, where GitHub Actions has named a file for it.

    Raises:
        OutputError: It cannot be written.
    """
    path = os.environ.get(_STEP_SUMMARY, "")
    if not path:
        TALK.note(f"note: --github-summary: {_STEP_SUMMARY} is not set, so nothing was written")
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:  # others write there, too
            file.write(f"\n{markdown}\n")
    except OSError as error:
        raise OutputError(f"--github-summary: {path}: {error.strerror}", hint="The verdict stands.") from error


def write_junit(path: Path, name: str, verdicts: Sequence[Verdict], *, inconclusive_fails: bool) -> None:
    """Write the verdicts as a JUnit report: a test case each, for the test pages of GitLab, Jenkins and others.

    Args:
        path: Of the report; replaced as a whole.
        name: Of the test suite.
        verdicts: A fail is a failure, not comparable an error, inconclusive is skipped unless it counts as a failure.
        inconclusive_fails: Whether it does.

    Raises:
        OutputError: It cannot be written.
    """
    kinds = [_kind(verdict.outcome, inconclusive_fails=inconclusive_fails) for verdict in verdicts]
    counts = {
        f"{kind}s" if kind != "skipped" else kind: str(kinds.count(kind)) for kind in ("failure", "error", "skipped")
    }
    head = {"name": one_line(name), "tests": str(len(verdicts)), **counts}
    root = ET.Element("testsuites", head)
    suite = ET.SubElement(root, "testsuite", head)
    for verdict, kind in zip(verdicts, kinds, strict=True):
        case = ET.SubElement(
            suite,
            "testcase",
            {"classname": "landscape", "name": f"{verdict.measure} of {one_line(name)} ({verdict.limit})"},
        )
        # printable: XML 1.0 has no way to write what is not
        details = printable("\n".join(filter(None, (verdict.headline, *verdict.notes, verdict.advice))))
        if kind:
            told = ET.SubElement(case, kind, {"message": printable(verdict.headline)})
            if kind != "skipped":
                told.set("type", verdict.outcome)
                told.text = details
        ET.SubElement(case, "system-out").text = details
    ET.indent(root)
    try:
        replace_file(path, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
    except OutputError as error:
        raise OutputError(f"--junit {error}", hint="The verdict stands; choose another file for the report.") from error


def _kind(outcome: Outcome, *, inconclusive_fails: bool) -> str:
    """The element of JUnit; ``""`` for a test that has passed."""
    if outcome == "inconclusive":
        return "failure" if exit_code(outcome, inconclusive_fails=inconclusive_fails) else "skipped"
    return {"fail": "failure", "not comparable": "error"}.get(outcome, "")
