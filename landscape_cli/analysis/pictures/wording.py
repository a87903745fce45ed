"""Words that fit: broken between words where there is no room for them, and legends below a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import ScaledTranslation

from landscape_cli.analysis.unchecked import visible

_SMALL = 0.8  # of the size of the text
_CHARACTER = 0.55  # width of one, beside its size
_HANDLE = 6  # characters that the sample before a label takes
_HEADING = 1.05  # beside the axes is a title wide
_WIDER = 1.25  # than the axes may a legend be
_ACROSS = 0.95  # of what subplots get, by a label that may be wider than the axes
_FILLED = 0.8  # by what remains to the axes beside a colour bar and numbers
_LINE = 1.25  # height of one, beside the size of the text
_BOLD = 1.35  # width of a title, beside other words
_LEAST = 14  # characters in a line


def write_labels(ax: Axes, x: str, y: str) -> None:
    """Label both axes, in as many lines as they need."""
    width, height = _inches(ax)
    size = mpl.rcParams["font.size"]
    ax.set_xlabel(_fitted(x, _ACROSS * width, size), parse_math=False)
    ax.set_ylabel(_fitted(y, _FILLED * height, size), parse_math=False)


def write_title(ax: Axes, words: str) -> None:
    """Head a picture, each line broken where it is too long."""
    width, _ = _inches(ax)
    size = _BOLD * mpl.rcParams["font.size"]
    lines = [_fitted(line, _HEADING * width, size) for line in words.split("\n")]
    ax.set_title("\n".join(lines), loc="left", parse_math=False)


def legend_below(ax: Axes, handles: Sequence[Artist]) -> None:
    """A legend under the label of the x axis, in as many columns as there is room for."""
    figure: Any = ax.get_figure(root=True)
    width, _ = _inches(ax)
    lines = 1.0 if ax.axison and ax.get_xlabel() else 0.0
    lines += len(ax.get_xlabel().split("\n")) + 1.4
    below = ScaledTranslation(0, -lines * _LINE * mpl.rcParams["font.size"] / 72, figure.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": ax.transAxes + below}
    _plain(ax.legend(handles=list(handles), **_rows(handles, _WIDER * width), **place))


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend for all axes of a figure."""
    rows = _rows(handles, 0.95 * figure.get_figwidth())
    _plain(figure.legend(handles=list(handles), loc="outside upper center", **rows))


def _rows(handles: Sequence[Artist], inches: float) -> dict[str, Any]:
    """Labels broken where they are too long, and how many columns there is room for."""
    size = mpl.rcParams["font.size"] * _SMALL
    room = inches * 72 / (size * _CHARACTER)
    for handle in handles:
        words = visible(str(handle.get_label()).replace("\n", " "))
        handle.set_label(textwrap.fill(words, max(_LEAST, int(room) - _HANDLE)))
    widest = max(len(line) for handle in handles for line in str(handle.get_label()).split("\n"))
    columns = max(1, min(len(handles), int(room / (widest + _HANDLE))))
    return {"fontsize": size, "ncols": columns, "columnspacing": 1.2}


def _plain(legend: Legend) -> None:
    """Words of a file are no mathematics."""
    for each in legend.get_texts():
        each.set_parse_math(False)


def _fitted(words: str, inches: float, size: float) -> str:
    return textwrap.fill(visible(words), max(_LEAST, int(inches * 72 / (size * _CHARACTER))))


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of what subplots get before anything is drawn."""
    figure: Any = ax.get_figure(root=True)
    place = ax.get_position(original=True)
    return place.width * figure.get_figwidth(), place.height * figure.get_figheight()
