"""The command that writes a page about surface files for people who were not there, without torch: report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.console import TALK, size
from landscape_cli.cli.naming import check_no_input, load_named
from landscape_cli.cli.options import Loss, Quiet, Tau, Verbose, check_tau
from landscape_cli.errors import UsageError

_SUFFIXES = (".html", ".htm")


def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Surface files, finished or not; of several the others are compared with the first."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.html", help="The page.")],
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Its heading, in place of ours.")] = None,
    loss: Loss = None,
    tau: Tau = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one page about surface files, to send or to print: pictures, sharpness, comparison, how to reproduce.

    It needs no network and no JavaScript, and the same files give the same page. An example: docs/pictures.md.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    check_tau(tau)
    _check_suffix(output, files)
    surfaces = load_named(files)
    check_no_input(output, files)
    from landscape_cli.cli.report_page import Asked, page_of
    from landscape_cli.storage import replace_file

    content = page_of(files, list(surfaces.values()), Asked(title, loss, tau))
    replace_file(output, content)
    TALK.note(f"written: {output} ({size(len(content))})")


def _check_suffix(output: Path, files: Sequence[Path]) -> None:
    if output.suffix.lower() in _SUFFIXES:
        return
    found = repr(output.suffix) if output.suffix else "a file without a suffix"
    raise UsageError(
        f"{output}: a report is a page; found {found}, expected .html",
        hint=f"Such as: landscape report {files[0]} -o report.html",
    )
