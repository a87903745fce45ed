"""Typer app; main() is the only error boundary; exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from landscape_cli import __version__
from landscape_cli.cli import read, scanning
from landscape_cli.cli.console import TALK
from landscape_cli.cli.signals import StopRequested
from landscape_cli.errors import LandscapeError

app = typer.Typer(
    name="landscape",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done · 1 a bug · 2 usage or config · 3 an input file is wrong · 4 evaluation failed · "
    "75 stopped early and saved: run the same command again · 130 Ctrl-C, saved.",
)
app.command()(scanning.scan)
app.command()(scanning.validate)
app.command()(read.info)
app.command()(read.plot)


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

    scan a checkpoint into a surface file; info and plot read it.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        app(args=args, prog_name="landscape")
    except LandscapeError as error:
        TALK.error(error)
        sys.exit(error.exit_code)
    except StopRequested as stop:
        TALK.note("stopped before the first point; no file was touched")
        sys.exit(stop.exit_code)
