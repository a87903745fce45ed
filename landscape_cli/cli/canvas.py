"""A rectangle of dots in the terminal: eight to a character in braille, or one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style

from landscape_cli.surface import FloatArray

Line = list[Segment]

_BRAILLE = 0x2800
# Unicode 15.0, 21.1: the dots of a pattern, from the top, left and right
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_NO_STYLE = Style()


class Canvas:
    """Curves are drawn one over the other: a character has one colour, that of the last curve in it.

    Args:
        width: In characters.
        height: In characters.
        braille: Whether a character holds 2 × 4 dots, or is a dot itself.
    """

    def __init__(self, width: int, height: int, *, braille: bool) -> None:
        self._characters = np.full((height, width), " ")
        self._bits = np.zeros((height, width), dtype=np.int64)
        self._owner = np.zeros((height, width), dtype=np.int64)
        self._styles = [_NO_STYLE]
        self._dots = (2, 4) if braille else (1, 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Dots across and dots down."""
        return self._bits.shape[1] * self._dots[0], self._bits.shape[0] * self._dots[1]

    def at(self, across: FloatArray, up: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The dots, column and row from the top, of shares of width and height from 0 to 1."""
        width, height = self.shape
        column = np.rint(across * (width - 1)).astype(np.int64)
        return column, np.rint((1 - up) * (height - 1)).astype(np.int64)

    def draw(self, column: NDArray[np.int64], row: NDArray[np.int64], style: Style, character: str) -> None:
        """Draw dots over what is there.

        Args:
            column: (P,) from the left.
            row: (P,) from the top.
            style: Their colour.
            character: What stands for a dot without braille.
        """
        self._styles.append(style)
        owner = len(self._styles) - 1
        x, y = column // self._dots[0], row // self._dots[1]
        covered = self._owner[y, x] != owner
        self._bits[y[covered], x[covered]] = 0
        self._owner[y, x] = owner
        if self._dots == (1, 1):
            self._characters[y, x] = character
            return
        np.bitwise_or.at(self._bits, (y, x), _BITS[row % 4, column % 2])
        self._characters[y, x] = [chr(_BRAILLE + bits) for bits in self._bits[y, x].tolist()]

    def write(self, column: NDArray[np.int64], row: int, style: Style, character: str) -> None:
        """Write a character over what is there, at the dots of these columns in a line of characters."""
        self._styles.append(style)
        self._owner[row, column // self._dots[0]] = len(self._styles) - 1
        self._characters[row, column // self._dots[0]] = character

    def lines(self) -> list[Line]:
        """What has been drawn."""
        return [
            _joined(characters, [self._styles[owner] for owner in owners])
            for characters, owners in zip(self._characters.tolist(), self._owner.tolist(), strict=True)
        ]


def _joined(characters: Sequence[str], styles: Sequence[Style]) -> Line:
    line: Line = []
    for character, style in zip(characters, styles, strict=True):
        if line and line[-1].style == style:
            line[-1] = Segment(line[-1].text + character, style)
        else:
            line.append(Segment(character, style))
    return line


def polyline(column: NDArray[np.int64], row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The dots of the straight lines between dots."""
    columns, rows = [column[:1]], [row[:1]]
    for x, y, next_x, next_y in zip(column, row, column[1:], row[1:], strict=False):
        num = int(max(abs(next_x - x), abs(next_y - y))) + 1
        columns.append(np.rint(np.linspace(x, next_x, num)).astype(np.int64))
        rows.append(np.rint(np.linspace(y, next_y, num)).astype(np.int64))
    return np.concatenate(columns), np.concatenate(rows)
