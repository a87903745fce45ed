"""Typer app; main() is the only error boundary; exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from landscape_cli import __version__
from landscape_cli.cli import (
    adding,
    comparing,
    convert,
    drawing,
    measuring,
    merging,
    read,
    reporting,
    scanning,
    showing,
)
from landscape_cli.cli.arguments import expanded
from landscape_cli.cli.console import TALK
from landscape_cli.cli.signals import StopRequested
from landscape_cli.errors import LandscapeError, OutputError

app = typer.Typer(
    name="landscape",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, gate passed · 1 a bug · 2 usage or config · 3 an input file is wrong or not "
    "comparable · 4 evaluation failed · 5 gate failed · 6 gate inconclusive, where that is to fail · "
    "75 stopped early and saved: run the same command again · 130 Ctrl-C, saved.",
)
app.command()(scanning.scan)
app.command()(scanning.validate)
app.command()(adding.curvature)
app.command()(merging.merge)
app.command()(read.info)
app.command()(showing.show)
app.command()(drawing.plot)
app.command()(measuring.sharpness)
app.command()(comparing.compare)
app.command()(reporting.report)
app.command()(convert.convert)
app.command()(convert.export)


def _version(show: bool) -> None:  # Typer's callback signature
    if show:
        sys.stdout.write(f"landscape-cli {__version__}\n")
        raise typer.Exit


@app.callback()
def landscape(
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Loss landscapes of trained neural networks.

    scan a checkpoint into a surface file, with one process or many, and add
    its curvature; info, show, plot and sharpness read it, compare decides
    between several, and report puts all of that on a page; convert and export
    exchange it with other programs.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without ± gets a question mark, not a traceback
            stream.reconfigure(errors="replace")
    try:
        try:
            app(args=expanded(sys.argv[1:] if args is None else args), prog_name="landscape")
        finally:
            sys.stdout.flush()
    except LandscapeError as error:
        TALK.error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # what is left cannot be written
        TALK.error(OutputError(f"the result cannot be printed: {error.strerror}"))
        sys.exit(OutputError.exit_code)
    except StopRequested as stop:
        TALK.note("stopped before the first point; no file was touched")
        sys.exit(stop.exit_code)
