"""Curves in the terminal: braille, or characters where there are no colours to tell curves apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from landscape_cli.analysis.curve import Curve
from landscape_cli.analysis.scale import Scale, is_spaced_by_factors
from landscape_cli.cli.canvas import Canvas, Line, polyline
from landscape_cli.cli.picture_facts import Key
from landscape_cli.cli.terminal_form import Form
from landscape_cli.surface import BoolArray, FloatArray

_COLORS = ((58, 135, 216), (224, 122, 31), (46, 160, 90), (160, 100, 210), (200, 60, 110), (128, 140, 150))
_CHARACTERS = "*o#%&@"
_RANGE = "."
_DIM = Style(dim=True)
_RED = (205, 0, 0)
_SHARE_OF_FIRST = 0.6  # of the lines, where there are two panels
_MIN_LINES = 8  # for two panels


@dataclass(frozen=True)
class Pen:
    """How a curve is drawn.

    Attributes:
        color: Red, green and blue from 0 to 255.
        character: Where there is no braille.
    """

    color: tuple[int, int, int]
    character: str

    @property
    def style(self) -> Style:
        """Its colour."""
        return Style(color=Color.from_rgb(*self.color))

    @property
    def faint(self) -> Style:
        """That of the range over slices."""
        return Style(color=Color.from_rgb(*self.color), dim=True)

    def key(self, form: Form) -> Segment:
        """A piece of the curve."""
        return Segment("⠒⠒" if is_braille(form) else self.character, self.style)


def pen(number: int) -> Pen:
    """The pen of a split, by its number among those of the file."""
    return Pen(_COLORS[number % len(_COLORS)], _CHARACTERS[number % len(_CHARACTERS)])


def is_braille(form: Form) -> bool:
    """Whether curves are drawn in braille."""
    return form.colors and form.blocks


@dataclass(frozen=True)
class Panel:
    """Curves on one scale.

    Attributes:
        curves: With their pens.
        scale: Of the heights.
    """

    curves: Sequence[tuple[Curve, Pen]]
    scale: Scale

    @property
    def ends(self) -> tuple[str, str]:
        """The upper and the lower end of the scale."""
        return f"{self.scale.high:.3g}", f"{self.scale.low:.3g}"

    def lines(self, form: Form, width: int, height: int) -> list[Line]:
        """The curves alone, without the ends of the scale."""
        canvas = Canvas(width, height, braille=is_braille(form))
        _draw_zero(canvas, self.curves[0][0].x, "┊" if form.blocks else "|")
        for draw in (_draw_range, _draw_mean):  # no range hides a mean
            for curve, pen_of_it in self.curves:
                draw(canvas, curve, self.scale, pen_of_it)
        for curve, _ in self.curves:
            column, _ = canvas.at(_across(curve.x)[curve.diverged], np.zeros(int(curve.diverged.sum())))
            canvas.write(column, 0, Style(color=Color.from_rgb(*_RED)), "×" if form.blocks else "x")
        return canvas.lines()


@dataclass(frozen=True)
class TerminalLine:
    """Losses, and below them what is a share."""

    panels: Sequence[Panel]

    def lines(self, form: Form, width: int, height: int) -> list[Line]:
        """The picture with the ends of its axes.

        Args:
            form: What can be shown.
            width: The characters in a line.
            height: The lines.
        """
        has_ends = height > 3
        rows = max(1, height - has_ends)
        panels = self.panels[:1] if rows < _MIN_LINES else self.panels
        gutter = max(len(end) for panel in panels for end in panel.ends) + 1
        gutter = gutter if gutter * 2 < width else 0
        heights = [rows] if len(panels) == 1 else [round(rows * _SHARE_OF_FIRST)]
        heights += [rows - 1 - heights[0]] * (len(panels) - 1)  # an empty line between them
        lines: list[Line] = []
        for panel, height_of_it in zip(panels, heights, strict=True):
            lines += [[]] if lines else []
            lines += _labelled(panel.lines(form, width - gutter, height_of_it), panel.ends, gutter)
        x = panels[0].curves[0][0].x
        return [*lines, [Segment(" " * gutter + _ends_of_x(x, width - gutter), _DIM)]] if has_ends else lines


def _labelled(lines: Sequence[Line], ends: tuple[str, str], gutter: int) -> Iterator[Line]:
    names = [ends[0], *[""] * (len(lines) - 2), ends[1]] if len(lines) > 1 else [""]
    for name, line in zip(names, lines, strict=True):
        yield [Segment(f"{name:>{gutter - 1}} ", _DIM), *line] if gutter else line


def _ends_of_x(x: FloatArray, width: int) -> str:
    """The ends of the axis under the picture, and 0 where the checkpoint is."""
    first, last = f"{x[0]:.3g}", f"{x[-1]:.3g}"
    if len(x) == 1:
        return first.center(width)[:width]
    if len(first) + len(last) + 1 > width:
        return "x"
    text = list(first + last.rjust(width - len(first)))
    if x[0] < 0 < x[-1]:
        column = round(float(-x[0] / (x[-1] - x[0])) * (width - 1))
        if len(first) < column < width - len(last) - 1:
            text[column] = "0"
    return "".join(text)


def _across(x: FloatArray) -> FloatArray:
    """Where coordinates lie, from 0 to 1; by factors where they were spaced so."""
    if len(x) == 1:
        return np.array([0.5])
    at = np.log(x) if is_spaced_by_factors(x) else x
    return np.asarray((at / 2 - at[0] / 2) / (at[-1] / 2 - at[0] / 2))


def _draw_zero(canvas: Canvas, x: FloatArray, character: str) -> None:
    """A line where the checkpoint is."""
    if x[0] < 0 < x[-1]:
        across = np.full(canvas.shape[1] // 2, -x[0] / (x[-1] - x[0]))
        column, _ = canvas.at(across, across)
        canvas.draw(column, np.arange(len(column)) * 2, _DIM, character)


def _draw_range(canvas: Canvas, curve: Curve, scale: Scale, pen_of_it: Pen) -> None:
    if np.any(curve.high > curve.low):
        for values in (curve.low, curve.high):
            _draw(canvas, curve, values, scale, pen_of_it.faint, _RANGE)


def _draw_mean(canvas: Canvas, curve: Curve, scale: Scale, pen_of_it: Pen) -> None:
    _draw(canvas, curve, curve.mean, scale, pen_of_it.style, pen_of_it.character)


def _draw(canvas: Canvas, curve: Curve, values: FloatArray, scale: Scale, style: Style, character: str) -> None:
    """Straight lines between neighbours; of a partial surface the points alone."""
    across, up = _across(curve.x), scale.share(values)
    is_there: BoolArray = ~np.isnan(up)
    runs = _runs(is_there) if curve.known.all() else np.flatnonzero(is_there)[:, None]
    dots = [polyline(*canvas.at(across[run], up[run])) for run in runs]
    if dots:
        columns, rows = zip(*dots, strict=True)
        canvas.draw(np.concatenate(columns), np.concatenate(rows), style, character)


def _runs(is_there: BoolArray) -> list[NDArray[np.int64]]:
    """The indices of neighbours without a gap."""
    indices = np.flatnonzero(is_there)
    runs = np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)
    return [np.asarray(run, dtype=np.int64) for run in runs if len(run)]


def key_of_marks(form: Form) -> Key:
    """What the marks look like."""
    return Key(Segment("×" if form.blocks else "x", Style(color=Color.from_rgb(*_RED))), "")
