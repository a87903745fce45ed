"""A plane in the terminal: a heat map of half blocks, or of characters where there are no colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from landscape_cli.analysis.layer import Layer
from landscape_cli.analysis.scale import Scale
from landscape_cli.cli.picture_facts import Key
from landscape_cli.cli.raster import Raster, Side
from landscape_cli.cli.terminal_form import Form
from landscape_cli.cli.viridis import is_light, viridis
from landscape_cli.surface import BoolArray, FloatArray

Line = list[Segment]
Rgb = tuple[int, int, int]

RAMP = ".:-=*#%@"  # rising density; neither the mark of the centre nor that of a diverged point
_DIVERGED: Rgb = (205, 0, 0)
_WHITE: Rgb = (255, 255, 255)
_BLACK: Rgb = (0, 0, 0)
_DIM = Style(dim=True)
_NO_STYLE = Style()
_MAX_GUTTER = 0.3  # of the width


@dataclass(frozen=True)
class Pixels:
    """What each cell of a raster shows.

    Attributes:
        shares: (H, W) of the scale; NaN where there is no finite value.
        evaluated: (H, W).
        centre: Row and column of the checkpoint; None where it is not in the picture.
    """

    shares: FloatArray
    evaluated: BoolArray
    centre: tuple[int, int] | None

    @property
    def diverged(self) -> BoolArray:
        """(H, W) evaluated, but without a finite value."""
        return self.evaluated & np.isnan(self.shares)


@dataclass(frozen=True)
class TerminalMap:
    """A plane and the scale of its colours."""

    layer: Layer
    scale: Scale

    @property
    def has_centre(self) -> bool:
        """Whether the checkpoint is in the picture."""
        return all(Side(each, 1).centre is not None for each in (self.layer.x, self.layer.y))

    def lines(self, form: Form, width: int, height: int) -> list[Line]:
        """The picture with the ends of its axes, in as many lines as the plane needs.

        Args:
            form: What can be shown.
            width: The most characters in a line.
            height: The most lines.
        """
        labels = [f"{end:.3g}" for end in (self.layer.y[-1], self.layer.y[0])]
        gutter = max(map(len, labels)) + 1
        gutter = gutter if gutter <= _MAX_GUTTER * width else 0
        has_ends = height > 3
        rows = max(1, height - has_ends)
        is_half = form.colors and form.blocks
        raster = Raster.fitting(self.layer, width - gutter, rows * (2 if is_half else 1), 1.0 if is_half else 2.0)
        cells = list(_cells(self._pixels(raster), form))
        names = [labels[0], *[""] * (len(cells) - 2), labels[1]] if len(cells) > 1 else labels[:1]
        if len(cells) > 2:
            names[len(cells) // 2] = "y"
        lines = [
            [Segment(f"{name:>{gutter - 1}} ", _DIM), *line] if gutter else line
            for name, line in zip(names, cells, strict=True)
        ]
        return [*lines, [Segment(" " * gutter + _ends_of_x(self.layer.x, raster.x.num), _DIM)]] if has_ends else lines

    def _pixels(self, raster: Raster) -> Pixels:
        i, j = raster.points(self.layer.evaluated)
        shares = self.scale.share(np.where(self.layer.finite, self.layer.values, np.nan))[i, j]
        at = raster.x.centre, raster.y.centre
        centre = None if at[0] is None or at[1] is None else (raster.y.num - 1 - at[1], at[0])
        return Pixels(shares, self.layer.evaluated[i, j], centre)


def _ends_of_x(x: FloatArray, width: int) -> str:
    """The ends of an axis and its name, under the picture; what there is no room for is left out."""
    first, last = f"{x[0]:.3g}", f"{x[-1]:.3g}"
    if len(x) == 1 or len(first) + len(last) + 1 > width:
        return (first if len(x) == 1 else "x")[:width]
    room = width - len(first) - len(last)
    return first + ("x" if room > 2 else "").center(room) + last


def _cells(pixels: Pixels, form: Form) -> Iterator[Line]:
    if not form.colors:
        yield from _characters(pixels, form)
    elif form.blocks:
        yield from _half_blocks(pixels)
    else:
        yield from _backgrounds(pixels)


def _characters(pixels: Pixels, form: Form) -> Iterator[Line]:
    """A character for each pixel, the denser the larger the value."""
    levels = np.nan_to_num(np.floor(pixels.shares * len(RAMP))).clip(0, len(RAMP) - 1).astype(int)
    shown = np.array(list(RAMP))[levels]
    shown[~pixels.evaluated] = " "
    shown[pixels.diverged] = "×" if form.blocks else "x"
    if pixels.centre is not None:
        shown[pixels.centre] = "+"
    for row in shown:
        yield [Segment("".join(row))]


def _backgrounds(pixels: Pixels) -> Iterator[Line]:
    """A space on a colour for each pixel."""
    colors = _colors(pixels)
    for row, line in enumerate(colors):
        cells = []
        for column, color in enumerate(line):
            if (row, column) == pixels.centre:
                cells.append(_mark(color))
            elif color is None:
                cells.append((".", _DIM))
            else:
                cells.append(("x", _style(_WHITE, color)) if color == _DIVERGED else (" ", _style(None, color)))
        yield _joined(cells)


def _half_blocks(pixels: Pixels) -> Iterator[Line]:
    """A character for each two pixels, one above the other."""
    colors = _colors(pixels)
    if len(colors) % 2:
        colors.append([None] * len(colors[0]))
    for row in range(0, len(colors), 2):
        cells = [_half_block(top, bottom) for top, bottom in zip(colors[row], colors[row + 1], strict=True)]
        if pixels.centre is not None and pixels.centre[0] // 2 == row // 2:
            column = pixels.centre[1]
            cells[column] = _mark(colors[pixels.centre[0]][column])
        yield _joined(cells)


def _half_block(top: Rgb | None, bottom: Rgb | None) -> tuple[str, Style]:
    if top is None and bottom is None:
        return "·", _DIM
    if top == bottom == _DIVERGED:
        return "×", _style(_WHITE, _DIVERGED)
    return ("▄", _style(bottom, None)) if top is None else ("▀", _style(top, bottom))


def _mark(color: Rgb | None) -> tuple[str, Style]:
    """The mark of the centre, on its colour."""
    if color is None:
        return "+", _NO_STYLE
    return "+", _style(_BLACK if is_light(np.array(color, dtype=np.uint8)) else _WHITE, color)


def _colors(pixels: Pixels) -> list[list[Rgb | None]]:
    """Of each pixel; None where it is not evaluated."""
    colors: NDArray[np.uint8] = viridis(pixels.shares)
    colors[pixels.diverged] = _DIVERGED
    return [
        [(red, green, blue) if is_there else None for (red, green, blue), is_there in zip(line, there, strict=True)]
        for line, there in zip(colors.tolist(), pixels.evaluated.tolist(), strict=True)
    ]


def _joined(cells: Sequence[tuple[str, Style]]) -> Line:
    """A line, in which neighbours of one style are one segment."""
    groups = groupby(cells, key=lambda cell: cell[1])
    return [Segment("".join(character for character, _ in group), style) for style, group in groups]


def _style(color: Rgb | None, background: Rgb | None) -> Style:
    return Style(
        color=None if color is None else Color.from_rgb(*color),
        bgcolor=None if background is None else Color.from_rgb(*background),
    )


def key_of(form: Form, width: int) -> Key:
    """What stands for what in a form.

    Args:
        form: What can be shown.
        width: Characters of the ramp of colours.
    """
    if not form.colors:
        return Key(Segment("×" if form.blocks else "x"), "(blank)", "density", [Segment(RAMP)])
    colors = viridis(np.linspace(0.0, 1.0, width)).tolist()
    styles = [_style(None, (red, green, blue)) for red, green, blue in colors]
    mark = Segment("×" if form.blocks else "x", _style(_WHITE, _DIVERGED))
    return Key(mark, "·", "colours", [Segment(" ", style) for style in styles])
