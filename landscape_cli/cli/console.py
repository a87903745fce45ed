"""Every Rich object: tables, errors, JSON. Results go to stdout, talk to stderr."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, JsonValue
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from landscape_cli.analysis.unchecked import visible
from landscape_cli.errors import ConfigError, LandscapeError, UsageError

_MAX_VERBOSITY = 2
_WIDTH_OF_FILES = 160
_WIDTH_OF_GAPS = 3  # between two columns
_WIDTH_OF_NOTES = 30  # the least that a column of sentences needs
_ZERO_COSINE = 1e-6  # of vectors in float32


class Talk:
    """How much is said: 0 errors only, 1 the usual, 2 also the causes of errors."""

    def __init__(self) -> None:
        self.verbosity = 1
        self._rank: int | None = None
        self._log: TextIO | None = None

    def configure(self, *, quiet: bool, verbose: bool) -> None:
        """Set the verbosity from the flags of a command."""
        self.verbosity = 0 if quiet else _MAX_VERBOSITY if verbose else 1
        if self._log is not None:
            self._log.close()
        self._rank = self._log = None

    def leave_it_to_rank_0(self, rank: int, log_folder: Path | None) -> None:
        """From now on talk goes into a file of this rank, or nowhere; errors go to stderr besides.

        Args:
            rank: Of this process, not 0.
            log_folder: Made where it is not there; None for no log.

        Raises:
            UsageError: Nothing can be written there.
        """
        self._rank = rank
        if log_folder is None:
            return
        try:
            log_folder.mkdir(parents=True, exist_ok=True)
            path = log_folder / f"rank-{rank:04d}.log"
            self._log = path.open("a", encoding="utf-8", buffering=1, errors="replace")
        except OSError as error:
            raise UsageError(f"--log-dir {log_folder}: cannot write there: {error.strerror}") from error

    @property
    def is_left_to_rank_0(self) -> bool:
        """Whether this process has nothing to say on stdout and stderr but errors."""
        return self._rank is not None

    @property
    def stream(self) -> TextIO:
        """Where what user code prints belongs."""
        if self._rank is None:
            return sys.stderr
        if self._log is None:
            self._log = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for as long as this process lives
        return self._log

    @property
    def stderr(self) -> Console:
        """For talk. Made anew each time: tests and notebooks replace sys.stderr."""
        if self._rank is not None:
            return Console(file=self.stream, highlight=False, quiet=self.verbosity == 0, width=_WIDTH_OF_FILES)
        return Console(stderr=True, highlight=False, quiet=self.verbosity == 0)

    def note(self, message: str) -> None:
        """Say something on stderr."""
        self.stderr.print(Text(printable(message)), soft_wrap=True)

    def paragraph(self, message: str) -> None:
        """Say something long on stderr: on a terminal it is broken between words, in a file it is a line."""
        console = self.stderr
        console.print(Text(printable(message)), soft_wrap=not console.is_terminal)

    def error(self, error: LandscapeError) -> None:
        """Say what went wrong and what to do next; with --verbose also what caused it."""
        self._say_error(error, Console(stderr=True, highlight=False))
        if self._log is not None:
            self._say_error(error, Console(file=self._log, highlight=False, width=_WIDTH_OF_FILES))

    def _say_error(self, error: LandscapeError, console: Console) -> None:
        rank = "" if self._rank is None else f"rank {self._rank}: "
        message = str(error)
        if isinstance(error, ConfigError) and len(error.problems) > 1:
            message = "\n  ".join([f"{len(error.problems)} problems", *error.problems])
        console.print(Text.assemble(rank, ("error: ", "bold red"), printable(message)), soft_wrap=True)
        if error.hint:
            console.print(Text.assemble(rank, ("hint: ", "bold cyan"), printable(error.hint)), soft_wrap=True)
        if " raised " in message and self.verbosity < _MAX_VERBOSITY:
            console.print(Text("--verbose shows the traceback", style="dim"))
        if self.verbosity == _MAX_VERBOSITY:
            console.print(Text("".join(traceback.format_exception(error)), style="dim"), soft_wrap=True)


TALK = Talk()


def print_json(report: BaseModel) -> None:
    """Print a report as JSON on stdout; values that are not finite are null."""
    # ASCII, so that it can be printed in every encoding and hold file names that are not UTF-8
    _write(json.dumps(_finite(report.model_dump(mode="json")), indent=2, allow_nan=False) + "\n")


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def print_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values on stdout, nothing cut off."""
    content = io.StringIO()
    console = Console(file=content, highlight=False, soft_wrap=True, force_terminal=sys.stdout.isatty())
    console.print(Text(printable(title), style="bold"))
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        for i, text in enumerate(printable(value).splitlines() or [""]):
            console.print(Text.assemble(("  " + (name if i == 0 else "").ljust(width + 2), "cyan"), text))
    _write(content.getvalue())


def print_columns(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, num_first: int = 3) -> None:
    """Print a table with a heading on stdout, nothing cut off; the last column takes what room is left.

    Where a terminal leaves it next to none, it is a list: the first columns in a line, the others below it.

    Args:
        title: The heading.
        columns: Of each a name; what stands in one called note needs no name in a list.
        rows: A cell for each column.
        num_first: Columns in the first line of a list, which are not named there.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    content = io.StringIO()
    is_terminal = sys.stdout.isatty()
    console = Console(
        file=content, highlight=False, force_terminal=is_terminal, width=None if is_terminal else _WIDTH_OF_FILES
    )
    heading = Text(printable(title), style="bold")
    room = console.width - sum(widths[:-1]) - _WIDTH_OF_GAPS * len(columns)
    if is_terminal and room < _WIDTH_OF_NOTES:
        _print_list(console, heading, columns, cells, num_first)
    else:
        table = Table(box=box.SIMPLE_HEAD, title=heading, title_justify="left", padding=(0, 1))
        for name in columns[:-1]:
            table.add_column(name, overflow="fold")
        table.add_column(columns[-1], overflow="fold", ratio=1)
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
    _write(content.getvalue())


def _print_list(
    console: Console, title: Text, columns: Sequence[str], rows: Sequence[Sequence[str]], num_first: int
) -> None:
    console.print(title)
    width = max((cell_len(row[0]) for row in rows), default=0) if num_first > 1 else 0
    for row in rows:
        if any(row[:num_first]):
            console.print(Text.assemble((row[0].ljust(width), "cyan"), *(f"  {cell}" for cell in row[1:num_first])))
        named = [
            cell if heading == "note" else f"{heading}: {cell}"
            for heading, cell in zip(columns[num_first:], row[num_first:], strict=True)
            if cell
        ]
        if named:
            console.print(Padding(Text("; ".join(named)), (0, 0, 0, 4)))
    console.print()


def print_words(heading: str, lines: Iterable[str]) -> None:
    """Print a sentence on stdout and what it rests on below it, a point each, broken between words."""
    content = io.StringIO()
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    console = Console(file=content, highlight=False, force_terminal=sys.stdout.isatty(), width=width)
    console.print(Text(printable(heading), style="bold"))
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(" -", Text(printable(line)))
    console.print(table)
    _write(content.getvalue())


def print_markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table in Markdown on stdout, below a heading where there is a title."""
    heading = f"## {markdown_text(title)}\n\n" if title else ""
    _write(heading + markdown_table(columns, rows))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[markdown_text(cell).replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def markdown_text(text: str) -> str:
    """Text for a page in Markdown, so that it reads there as it is: no emphasis, code, link, tag, mathematics or end of
    a cell.
    """
    shown = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKS.sub(r"\\\g<0>", shown)


_MARKS = re.compile(r"[\\`*|~$]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word is none


def print_markdown_title(title: str) -> None:
    """Print the heading of the page in Markdown on stdout."""
    _write(f"# {markdown_text(title)}\n\n")


def print_markdown_words(heading: str, lines: Iterable[str]) -> None:
    """Print a sentence in Markdown on stdout and what it rests on below it."""
    listed = "".join(f"- {markdown_text(line)}\n" for line in lines)
    _write(f"\n**{markdown_text(heading)}**\n" + (f"\n{listed}" if listed else ""))


def print_text(text: str) -> None:
    """Print several lines on stdout, as they are."""
    _write(text)


def print_line(text: str) -> None:
    """Print one line on stdout."""
    _write(text + "\n")


def _write(text: str) -> None:
    """Write to stdout; a reader that has gone away (``| head``) ends the command with 128 + SIGPIPE, as others."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def printable(text: str) -> str:
    """Text from files without what a terminal would obey: control characters are shown, not sent."""
    return "\n".join(map(visible, text.split("\n")))


def one_line(text: str) -> str:
    """The same of a name that might hold line breaks."""
    return printable(text).replace("\n", "\\n")


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def with_error(value: float, standard_error: float | None) -> str:
    """``value ± standard error``, four and two significant digits."""
    if standard_error is None:
        return f"{value:.4g} ± unknown"
    return f"{value:.4g} ± {standard_error:.2g}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(num_bytes: int) -> str:
    """``36 MB``, ``1.2 GB``."""
    return scaled(num_bytes, (" B", " kB", " MB", " GB", " TB"))


def scaled(value: float, units: Sequence[str]) -> str:
    """Two significant digits, or all digits before the point, in the unit of thousands that fits."""
    power = min(len(units) - 1, max(0, math.floor(math.log10(value) / 3))) if value > 0 else 0
    value /= 1000**power
    return f"{value:.2g}{units[power]}" if value < 10 else f"{value:.0f}{units[power]}"


def cosine_in_words(cosines: Sequence[float | None]) -> str:
    """``0.0012``, and over several slices ``-0.0011 … 0.0014``; what is zero up to rounding is 0."""
    known = [0.0 if abs(each) < _ZERO_COSINE else each for each in cosines if each is not None]
    if not known:
        return "unknown"
    low, high = f"{min(known):.2g}", f"{max(known):.2g}"
    return low if low == high else f"{low} … {high}"


def differences_in_words(differences: Mapping[str, object]) -> str:
    """``2e-08 at the centre, 1e-07 at the corner``."""
    return ", ".join(f"{value:.1g} at the {where}" for where, value in differences.items() if isinstance(value, float))
