"""Several surfaces side by side, on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape_cli.analysis.captions import quantity, shortened
from landscape_cli.analysis.layer import chosen_metric
from landscape_cli.analysis.pictures import convexity
from landscape_cli.analysis.pictures.levels import color_bar, colors_of
from landscape_cli.analysis.pictures.table import IN_SPACE, PLOTS, values_shown
from landscape_cli.analysis.pictures.wording import legend_above, write_title
from landscape_cli.errors import located
from landscape_cli.surface import FloatArray, Surface

_OF_SCALE = ("log", "vmin", "vmax", "levels", "cmap")
_STAYING = ("slice ", "PARTIAL", "one point of")  # lines of a title that the name of a file does not replace
_SHARED = {"line": "y", "rays": "xy", "radius": "xy", "spectrum": "xy", "profile": "x"}  # axes with one range in all


def shape_of(num: int) -> tuple[int, int]:
    """Rows and columns for so many panels, wider than high.

    >>> [shape_of(num) for num in (1, 2, 3, 4, 5, 8, 10)]
    [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (2, 4), (3, 4)]
    """
    columns = num if num <= 3 else math.ceil(math.sqrt(num))
    columns = max(columns, math.ceil(num / max(1, math.floor(math.sqrt(num)))))
    return math.ceil(num / columns), columns


def draw_panels(figure: Figure, surfaces: Mapping[str, Surface], kind: str, options: dict[str, Any]) -> None:
    """Draw several surfaces side by side, with common levels and colours.

    Args:
        figure: Receives a panel for each of them.
        surfaces: By name.
        kind: Of all panels.
        options: Of the kind; the ends of the scale are found over all of them.
    """
    rows, columns = shape_of(len(surfaces))
    common = options | common_scale(surfaces, kind, options)
    with_bar = bool(common.get("colorbar"))
    alone = {"colorbar": False} if "colorbar" in common else {}
    drawn: list[Axes] = []
    for index, (name, surface) in enumerate(surfaces.items()):
        ax: Axes = figure.add_subplot(rows, columns, index + 1, projection="3d" if kind in IN_SPACE else None)
        ax.locator_params(nbins=4)
        with mpl.rc_context({"font.size": 0.85 * mpl.rcParams["font.size"]}):
            with located(name):
                PLOTS[kind](surface, ax, **common | alone)
            _rename(ax, name)
        drawn.append(ax)
    _share_ranges(drawn, kind)
    _share_legend(figure, drawn)
    values = _pooled(surfaces, kind, options)
    if with_bar and values.size:
        how = {key: common[key] for key in _OF_SCALE if key in common}
        if kind == "convexity":
            how |= {"log": False, "cmap": how["cmap"] or convexity.COLORS}
        label = convexity.QUANTITY if kind == "convexity" else _quantity(surfaces, options)
        color_bar(drawn, colors_of(values, **how), label)


def common_scale(surfaces: Mapping[str, Surface], kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the scale of several pictures one: its ends, its levels, and whether it is logarithmic.

    Args:
        surfaces: By name.
        kind: Of the pictures.
        options: That the kind has, with None for those that were not given.
    """
    values = _pooled(surfaces, kind, options)
    if not values.size:
        return {}
    if "levels" in options:
        colors = colors_of(values, **{key: options[key] for key in _OF_SCALE})
        return {"levels": colors.levels.tolist(), "log": colors.is_log, "vmin": None, "vmax": None}
    low, high = options.get("vmin"), options.get("vmax")
    if kind == "convexity":
        return convexity.scale_for(values, low, high)
    found = {"vmin": float(values.min()) if low is None else low, "vmax": float(values.max()) if high is None else high}
    return {key: value for key, value in found.items() if key in options} if found["vmin"] < found["vmax"] else {}


def _pooled(surfaces: Mapping[str, Surface], kind: str, options: Mapping[str, Any]) -> FloatArray:
    chosen = options.get("metric"), options.get("slice_index")
    shown = []
    for name, each in surfaces.items():
        with located(name):
            shown.append(values_shown(kind, each, *chosen))
    values = np.concatenate(shown)
    return np.asarray(values[np.isfinite(values)])


def _quantity(surfaces: Mapping[str, Surface], options: Mapping[str, Any]) -> str:
    words = {quantity(each, chosen_metric(each, options.get("metric"))) for each in surfaces.values()}
    return ", ".join(sorted(words))


def _rename(ax: Axes, name: str) -> None:
    """Head a panel by the name of its file."""
    rest = [line for line in ax.get_title(loc="left").split("\n")[1:] if line.startswith(_STAYING)]
    write_title(ax, "\n".join([shortened(name), *rest]))


def _share_legend(figure: Figure, drawn: list[Axes]) -> None:
    """One legend for all panels, where it says the same in all of them."""
    legends = [legend for ax in drawn if (legend := ax.get_legend()) is not None]
    labels = {tuple(text.get_text() for text in legend.get_texts()) for legend in legends}
    if len(legends) == len(drawn) and len(labels) == 1:
        handles = [handle for handle in legends[0].legend_handles if handle is not None]
        for handle, words in zip(handles, labels.pop(), strict=True):
            handle.set_label(words)
        for legend in legends:
            legend.remove()
        legend_above(figure, handles)


def _share_ranges(drawn: list[Axes], kind: str) -> None:
    """Of curves the same range in all panels."""
    for name in _SHARED.get(kind, ""):
        scales = {getattr(ax, f"get_{name}scale")() for ax in drawn}
        limits = np.asarray([getattr(ax, f"get_{name}lim")() for ax in drawn])
        if len(scales) > 1 and limits.min() > 0:
            for ax in drawn:
                getattr(ax, f"set_{name}scale")("log")
        for ax in drawn:
            getattr(ax, f"set_{name}lim")(float(limits.min()), float(limits.max()))
