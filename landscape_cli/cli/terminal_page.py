"""A picture in the terminal with its key numbers: beside it, or below it where the window is narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from landscape_cli.cli.picture_facts import Fact
from landscape_cli.cli.terminal_form import Form

Line = list[Segment]

_MIN_WIDTH_BESIDE = 72
_WIDTH_OF_FACTS = 40
_GAP = 2
_DEFAULT_HEIGHT = 24
_SHARE_OF_FACTS = 0.4  # of the lines, where they stand below the picture
_NAME = Style(color="cyan")


@dataclass(frozen=True)
class Page:
    """A picture, a title and facts, in a window.

    Attributes:
        title: In lines.
        plot: Draws the picture: form, width, height → lines.
        facts: Given the form.
        height: The most lines; None for as many as it takes.
    """

    title: str
    plot: Callable[[Form, int, int], list[Line]]
    facts: Callable[[Form], Iterable[Fact]]
    height: int | None = None

    def within(self, height: int) -> Page:
        """The same in at most so many lines."""
        return replace(self, height=height)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """The page, line by line."""
        form = Form.of(console, options)
        width = options.max_width
        for line in self._lines(console, options, form, width):
            yield from Segment.adjust_line_length(line, width, pad=False)
            yield Segment.line()

    def _lines(self, console: Console, options: ConsoleOptions, form: Form, width: int) -> list[Line]:
        facts = list(self.facts(form))
        height = self.height or _DEFAULT_HEIGHT
        if width >= _MIN_WIDTH_BESIDE:
            plot = self.plot(form, width - _WIDTH_OF_FACTS - _GAP, height)
            left = max(map(_length, plot)) + _GAP
            right = self._words(console, options, form, facts, width - left)
            return _beside(plot, _cut(right, self.height), left)
        words = self._words(console, options, form, facts, width)
        if self.height is None:
            return [*self.plot(form, width, height), *words]
        plot = self.plot(form, width, height - min(len(words), int(height * _SHARE_OF_FACTS)))
        return [*plot, *_cut(words, height - len(plot))]

    def _words(
        self, console: Console, options: ConsoleOptions, form: Form, facts: Sequence[Fact], width: int
    ) -> list[Line]:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, style=_NAME)
        table.add_column(overflow="fold")
        for fact in facts:
            table.add_row(Text(form.text(fact.name)), _value(form, fact))
        heading = Text(form.text(self.title), style="bold", overflow="fold")
        within = options.update(width=width, height=None)
        return [_stripped(line) for each in (heading, table) for line in console.render_lines(each, within, pad=False)]


def _stripped(line: Line) -> Line:
    """A line of words without the blanks at its end."""
    ends = [number for number, segment in enumerate(line, 1) if segment.text.strip()]
    kept = line[: ends[-1]] if ends else []
    return [*kept[:-1], Segment(kept[-1].text.rstrip(), kept[-1].style)] if kept else []


def _value(form: Form, fact: Fact) -> Text:
    key = [(segment.text, segment.style or "") for segment in fact.key]
    return Text.assemble(*key, " " if key else "", form.text(fact.value), overflow="fold")


def _length(line: Line) -> int:
    return sum(segment.cell_length for segment in line)


def _beside(plot: Sequence[Line], words: Sequence[Line], left: int) -> list[Line]:
    lines = []
    for number in range(max(len(plot), len(words))):
        line = list(plot[number]) if number < len(plot) else []
        if number < len(words):
            line = [*line, Segment(" " * (left - _length(line))), *words[number]]
        lines.append(line)
    return lines


def _cut(words: list[Line], height: int | None) -> list[Line]:
    """As many lines as there is room for; where some are left out, that is to be seen."""
    if height is None or len(words) <= height:
        return words
    return [*words[: height - 1], [Segment("...", Style(dim=True))]] if height > 0 else []
