"""The command that puts the parts of several processes together: merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.console import TALK, print_json
from landscape_cli.cli.options import Json, Quiet, Verbose
from landscape_cli.cli.reports import info_report
from landscape_cli.errors import UsageError


def merge(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Surface file; what it has already stays.")
    ],
    parts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PARTS...]", help="Parts, or surface files of one scan; by default those of FILE."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put the points of PARTS together in FILE.

    The parts of FILE itself (FILE.part-…) are removed once FILE has been read back; other files stay as they are.
    Processes that fill FILE together do this by themselves when nothing is missing.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.locks import together, turn
    from landscape_cli.union import merge as run_merge
    from landscape_cli.union import parts_of

    said: list[str] = []

    def wait() -> bool:
        if not said:
            said.append(f"{output}: waiting for the process that merges, or measures the curvature")
            TALK.note(said[0])
        return False

    with together(output), turn(output, wait):
        sources = parts or parts_of(output)
        if not sources:
            hint = f"Name them: landscape merge A.h5 B.h5 -o {output}" if not output.exists() else "It needs no merge."
            raise UsageError(f"{output}: no parts beside it", hint=hint)
        surface = run_merge(sources, output)
    report = info_report(surface, output)
    num = f"{len(sources)} file{'s' * (len(sources) > 1)}"
    TALK.note(f"{output}: {report.num_evaluated:,} of {report.num_points:,} points, from {num}")
    if json:
        print_json(report)
