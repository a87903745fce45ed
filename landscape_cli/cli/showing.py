"""The command that shows a surface file in the terminal, without torch: show."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer
from rich.console import Console

from landscape_cli.cli.console import TALK, print_text
from landscape_cli.cli.options import Quiet, SurfaceFile, Verbose

_WIDTH_OF_FILES = 100
_LINES_BELOW = 1  # for the prompt


def show(
    file: SurfaceFile,
    metric: Annotated[str | None, typer.Option("--metric", "-m", help="Such as test_loss; see landscape info.")] = None,
    slice_index: Annotated[int | None, typer.Option("--slice", metavar="I", help="Which slice, from 0.")] = None,
    log: Annotated[
        bool | None,
        typer.Option("--log/--linear", metavar="", help="The scale; by default logarithmic where values span decades."),
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", metavar="N", min=10, help="Characters in a line; by default the window's.")
    ] = None,
    height: Annotated[
        int | None, typer.Option("--height", metavar="N", min=4, help="Lines at most; by default the window's.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show FILE here in the terminal: a plane as a heat map, a line as a curve, with its key numbers."""
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.cli.surface_page import page_of
    from landscape_cli.union import load_union

    content = io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding, errors="replace", newline="")
    is_terminal = sys.stdout.isatty()
    console = Console(file=content, force_terminal=is_terminal, highlight=False)
    if not is_terminal:
        console.width = _WIDTH_OF_FILES
    else:
        height = height or console.height - _LINES_BELOW
    if width is not None:
        console.width = width if not is_terminal else min(width, console.width)
    page = page_of(load_union(file), metric=metric, slice_index=slice_index, log=log, height=height)
    if quiet:
        return
    console.print(page, end="")
    content.flush()
    print_text(content.buffer.getvalue().decode(content.encoding))
