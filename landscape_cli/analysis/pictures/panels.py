"""Several surfaces in one picture: side by side on one scale, or where they differ."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from landscape_cli.analysis.captions import axis_label, quantity, readable, shortened
from landscape_cli.analysis.curve import band_of
from landscape_cli.analysis.difference import Difference, difference_of, differences_of_lines
from landscape_cli.analysis.layer import chosen_metric
from landscape_cli.analysis.pictures.bands import draw_band
from landscape_cli.analysis.pictures.levels import Colors, color_bar, colors_of
from landscape_cli.analysis.pictures.maps import draw_cells, draw_contours
from landscape_cli.analysis.pictures.sheet import begin, finish, legend_below
from landscape_cli.analysis.pictures.styles import DIVERGING, series_color, shade
from landscape_cli.analysis.pictures.table import IN_SPACE, PLOTS, values_shown
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_OF_DIFFERENCES = ("filled", "contour", "heatmap")
_CHARACTERS_PER_INCH = 11.0


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
    accepted = set(options)
    common = options | common_scale(surfaces, kind, options)
    colorbar = bool(common.pop("colorbar", False))
    extra = {"colorbar": False} if "colorbar" in accepted else {}
    projection = {"projection": "3d"} if kind in IN_SPACE else {}
    drawn: list[Axes] = []
    for index, (name, surface) in enumerate(surfaces.items()):
        ax: Axes = figure.add_subplot(rows, columns, index + 1, **projection)
        ax.locator_params(nbins=4)
        with mpl.rc_context({"axes.labelsize": "small"}):
            PLOTS[kind](surface, ax, **common, **extra)
        _rename(ax, name, figure.get_figwidth() / columns)
        drawn.append(ax)
    _share_height(drawn, kind)
    _share_legend(figure, drawn)
    if colorbar and (values := _pooled(surfaces, kind, options)).size:
        label = "|λ_min / λ_max|, 0 = convex" if kind == "convexity" else _quantity(surfaces, options)
        keys = ("log", "vmin", "vmax", "levels", "cmap")
        color_bar(drawn, colors_of(values, **{key: common[key] for key in keys if key in common}), label)


def common_scale(surfaces: Mapping[str, Surface], kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the scale of several pictures one: its ends, its levels, and whether it is logarithmic."""
    values = _pooled(surfaces, kind, options)
    if not values.size:
        return {}
    keys = ("log", "vmin", "vmax", "levels", "cmap")
    if "levels" in options:
        colors = colors_of(values, **{key: options[key] for key in keys if key in options})
        return {"levels": colors.levels.tolist(), "log": type(colors.norm).__name__ == "LogNorm"}
    low, high = float(values.min()), float(values.max())
    given = {key: options[key] for key in ("vmin", "vmax") if options.get(key) is not None}
    ends = {"vmin": low, "vmax": high} if high > low else {}
    return {key: value for key, value in (ends | given).items() if key in options}


def draw_difference(figure: Figure, surfaces: Mapping[str, Surface], kind: str, options: dict[str, Any]) -> None:
    """Draw where the second of two surfaces differs from the first.

    Args:
        figure: Receives the picture.
        surfaces: Two, by name.
        kind: ``filled``, ``contour`` or ``heatmap``.
        options: Of that kind.

    Raises:
        UsageError: These are not two, or not on one grid; another kind.
    """
    if len(surfaces) != 2:
        raise UsageError(f"difference: found {len(surfaces)} files; expected two, A and B, for B − A")
    (a, first), (b, second) = surfaces.items()
    if len(first.grid.axes) == 1 and kind == "line":
        _draw_difference_of_lines(figure, surfaces, options)
        return
    if kind not in _OF_DIFFERENCES:
        raise UsageError(f"kind: found {kind!r}; a difference is drawn as line, {', '.join(_OF_DIFFERENCES)}")
    chosen = {key: options[key] for key in ("metric", "slice_index", "log")}
    found = difference_of(first, second, **chosen)
    colors = _diverging(found, options)
    ax: Axes = figure.add_subplot()
    ax.locator_params(nbins=5)
    what = readable(found.layer.metric)
    name_a, name_b = shortened(a), shortened(b)
    begin(first, found.layer, ax)
    words = f"{what} of {name_b} {'over' if found.is_ratio else 'minus'} {name_a}"
    words = textwrap.fill(words, int(figure.get_figwidth() * _CHARACTERS_PER_INCH))
    evaluated = int(found.layer.evaluated.sum())
    part = "" if found.layer.evaluated.all() else f"\nPARTIAL: {evaluated:,} points in both"
    ax.set_title(words + part, loc="left", parse_math=False)
    if kind == "heatmap":
        draw_cells(ax, found.layer, colors)
    else:
        draw_contours(ax, found.layer, colors, filled=kind == "filled")
    if options.get("colorbar", True) and found.layer.finite.any():
        color_bar(ax, colors, f"{quantity(first, found.layer.metric)}, {'ratio B / A' if found.is_ratio else 'B − A'}")
    finish(first, found.layer, ax, with_path=False)


def _draw_difference_of_lines(figure: Figure, surfaces: Mapping[str, Surface], options: Mapping[str, Any]) -> None:
    """B − A along a line, slice by slice; both along the same random directions, what they share drops out."""
    (a, first), (b, second) = surfaces.items()
    index = options.get("slice_index")
    if index is not None:
        first, second = (each.of_slices([index]) for each in (first, second))
    if options.get("log"):
        raise UsageError("log: a difference along a line is not drawn on a logarithmic scale", hint="Leave it out.")
    name = chosen_metric(first, options.get("metric"))
    values = differences_of_lines(first, second, name)
    lost = np.asarray(np.isnan(values).any(axis=0))
    ax: Axes = figure.add_subplot()
    x = np.asarray(first.grid.axes[0].coordinates)
    ax.axhline(0, color=shade(0.4), linewidth=0.8)
    draw_band(ax, x, band_of(values, ~np.isnan(values) & ~lost, lost), series_color(0), linewidth=1.6)
    ax.set_ylim(options.get("vmin"), options.get("vmax"))
    ax.set_xlabel(axis_label(first, "x"), parse_math=False)
    ax.set_ylabel(f"{quantity(first, name)}, B − A", parse_math=False)
    part = "" if not lost.any() else f"\nPARTIAL: {(~lost).sum():,} of {len(x):,} points are finite in both"
    words = f"{readable(name)} of {shortened(b)} minus {shortened(a)}{part}"
    ax.set_title(words, loc="left", parse_math=False)
    if len(values) > 1:
        legend_below(ax, [Patch(color=shade(0.2), label=f"mean of {len(values)} slices with standard error and range")])


def _diverging(found: Difference, options: Mapping[str, Any]) -> Colors:
    """Colours with no difference in their middle, unless other ends are asked for."""
    reach = found.reach
    ends = (1 / reach, reach) if found.is_ratio else (-reach, reach)
    if not ends[1] > ends[0]:
        ends = (0.5, 2.0) if found.is_ratio else (-1.0, 1.0)
    low, high = (options.get(key) for key in ("vmin", "vmax"))
    return colors_of(
        found.layer.shown,
        log=found.is_ratio,
        vmin=ends[0] if low is None else low,
        vmax=ends[1] if high is None else high,
        levels=options.get("levels"),
        cmap=options.get("cmap") or DIVERGING,
    )


def _pooled(surfaces: Mapping[str, Surface], kind: str, options: Mapping[str, Any]) -> FloatArray:
    shown = [values_shown(kind, each, options.get("metric"), options.get("slice_index")) for each in surfaces.values()]
    values = np.concatenate(shown)
    return np.asarray(values[np.isfinite(values)])


def _quantity(surfaces: Mapping[str, Surface], options: Mapping[str, Any]) -> str:
    words = {quantity(each, chosen_metric(each, options.get("metric"))) for each in surfaces.values()}
    return ", ".join(sorted(words))


def _rename(ax: Axes, name: str, width: float) -> None:
    """Head a panel by the name of its file, and break its labels between words."""
    rest = ax.get_title(loc="left").split("\n")[1:]
    ax.set_title("\n".join([shortened(name), *rest]), loc="left", parse_math=False, fontsize="medium")
    num = max(20, int(width * _CHARACTERS_PER_INCH))
    ax.set_xlabel(textwrap.fill(ax.get_xlabel(), num), parse_math=False, fontsize="small")
    ax.set_ylabel(textwrap.fill(ax.get_ylabel(), num), parse_math=False, fontsize="small")


def _share_legend(figure: Figure, drawn: list[Axes]) -> None:
    """One legend for all panels, where it says the same in all of them."""
    legends = [legend for ax in drawn if (legend := ax.get_legend()) is not None]
    labels = {tuple(text.get_text() for text in legend.get_texts()) for legend in legends}
    if len(legends) == len(drawn) and len(labels) == 1:
        handles = [handle for handle in legends[0].legend_handles if handle is not None]
        size = legends[0].get_texts()[0].get_fontsize()
        for legend in legends:
            legend.remove()
        names = [text.replace("\n", " ") for text in labels.pop()]
        columns = min(len(names), 4)
        figure.legend(handles, names, loc="outside upper center", ncols=columns, fontsize=size)


def _share_height(drawn: list[Axes], kind: str) -> None:
    """Of curves the same height in all panels."""
    if kind in ("line", "rays"):
        if any(ax.get_yscale() == "log" for ax in drawn) and all(ax.get_ylim()[0] > 0 for ax in drawn):
            for ax in drawn:
                ax.set_yscale("log")
        limits = np.asarray([ax.get_ylim() for ax in drawn])
        for ax in drawn:
            ax.set_ylim(float(limits[:, 0].min()), float(limits[:, 1].max()))
