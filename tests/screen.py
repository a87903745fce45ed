"""What a user sees: a terminal that obeys what our programs send, and refuses everything else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Color = tuple[int, int, int] | int | None  # red, green, blue; a number of the palette; the default

_SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|(\x1b)|([\r\n\a])|([^\x00-\x1f\x7f]+)|(.)", re.DOTALL)
# what moves nothing: the cursor hidden and shown
_SILENT = {("?25", "l"), ("?25", "h")}


@dataclass(frozen=True)
class Cell:
    """A character with its colours."""

    text: str = " "
    color: Color = None
    background: Color = None


@dataclass
class Screen:
    """Lines of cells, of which the last ``height`` can still be reached; long lines are wrapped at ``width``."""

    width: int
    height: int
    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    color: Color = None
    background: Color = None
    wrapped: int = 0

    def feed(self, text: str) -> Screen:
        """Obey.

        Raises:
            AssertionError: For what a terminal might obey, but our programs have no reason to send.
        """
        for match in _SEQUENCE.finditer(text):
            numbers, letter, escape, control, plain, other = match.groups()
            assert not escape, f"an unknown escape sequence: {text[match.start() : match.start() + 20]!r}"
            assert not other, f"a control character: {match[0]!r}"
            if letter:
                self._sequence(numbers, letter)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self._down()
                self.column = 0  # as a terminal in its usual mode is sent "\r\n"
            elif plain:
                for character in plain:
                    self._put(character)
        return self

    def _put(self, character: str) -> None:
        if self.column >= self.width:
            self.wrapped += 1
            self._down()
            self.column = 0
        line = self.lines[self.row]
        line += [Cell()] * (self.column + 1 - len(line))
        line[self.column] = Cell(character, self.color, self.background)
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _sequence(self, numbers: str, letter: str) -> None:
        if (numbers, letter) in _SILENT:
            return
        if letter == "A":
            self.row = max(self.row - int(numbers or 1), len(self.lines) - self.height, 0)
        elif letter == "K":
            assert numbers == "2"
            self.lines[self.row] = []
        else:
            assert letter == "m", f"an unknown escape sequence: {numbers}{letter}"
            self._style([int(number or 0) for number in numbers.split(";")])

    def _style(self, codes: list[int]) -> None:
        while codes:
            code = codes.pop(0)
            if code in (38, 48):
                color: Color = tuple(codes[1:4]) if codes[0] == 2 else codes[1]  # type: ignore[assignment]
                del codes[: 4 if codes[0] == 2 else 2]
                self._set(code, color)
            elif 30 <= code % 60 <= 37 or 40 <= code % 60 <= 47:
                self._set(38 if code % 60 < 40 else 48, code % 10 + (8 if code >= 90 else 0))
            else:
                assert code in (0, 1, 2, 3), code
                if code == 0:
                    self.color = self.background = None

    def _set(self, code: int, color: Color) -> None:
        if code == 38:
            self.color = color
        else:
            self.background = color

    def text(self) -> str:
        """What is to be read."""
        return "\n".join("".join(cell.text for cell in line).rstrip() for line in self.lines)
