"""Where the second of two surfaces differs from the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape_cli.analysis.captions import axis_label, quantity, readable, shortened
from landscape_cli.analysis.comparability import aspects
from landscape_cli.analysis.curve import curve_of
from landscape_cli.analysis.difference import Difference, difference_of, difference_of_lines
from landscape_cli.analysis.layer import chosen_metric
from landscape_cli.analysis.pictures.levels import Colors, Extend, checked_levels, color_bar, color_map
from landscape_cli.analysis.pictures.lines import draw_curve, explain_curves
from landscape_cli.analysis.pictures.maps import draw_cells, draw_contours
from landscape_cli.analysis.pictures.sheet import begin, finish
from landscape_cli.analysis.pictures.styles import DIVERGING, series_color, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_OF_PLANES = ("filled", "contour", "heatmap")
_DECIDING = ("loss", "BatchNorm", "axes", "network", "seed")  # beside the data: whether the points are the same
_NUM_BANDS = 13  # odd: the middle one is no difference


def draw_difference(figure: Figure, surfaces: Mapping[str, Surface], kind: str, options: dict[str, Any]) -> None:
    """Draw where the second of two surfaces differs from the first; what was not measured alike is named.

    Args:
        figure: Receives the picture.
        surfaces: Two, by name.
        kind: ``filled``, ``contour`` or ``heatmap``; of lines ``line``.
        options: Of that kind; ``vmin`` and ``vmax`` say how far its symmetric scale reaches.

    Raises:
        UsageError: These are not two, or not on one grid; another kind.
    """
    if len(surfaces) != 2:
        raise UsageError(f"difference: found {len(surfaces)} files; expected two, A and B, for B − A")
    is_line = len(next(iter(surfaces.values())).grid.axes) == 1
    expected = ("line",) if is_line else _OF_PLANES
    if kind not in expected:
        raise UsageError(f"kind: found {kind!r}; this difference is drawn as {', '.join(expected)}")
    ax: Axes = figure.add_subplot()
    ax.locator_params(nbins=5)
    if is_line:
        _draw_lines(ax, surfaces, options)
    else:
        _draw_planes(ax, surfaces, kind, options)


def _draw_planes(ax: Axes, surfaces: Mapping[str, Surface], kind: str, options: dict[str, Any]) -> None:
    first, second = surfaces.values()
    found = difference_of(first, second, **{key: options[key] for key in ("metric", "slice_index", "log")})
    layer, colors = found.layer, _diverging(found, options)
    begin(first, layer, ax)
    rest = [line for line in ax.get_title(loc="left").split("\n") if line.startswith("slice ")]
    part = [] if layer.evaluated.all() else [f"PARTIAL: {int(layer.evaluated.sum()):,} points in both"]
    what = f"{readable(layer.metric)}{layer.at_height}"
    write_title(ax, "\n".join([_heading(what, surfaces, found.is_ratio), *rest, *part, *_unlike(surfaces)]))
    if kind == "heatmap":
        draw_cells(ax, layer, colors)
    else:
        draw_contours(ax, layer, colors, filled=kind == "filled", is_labelled=False)
    if options.get("colorbar", True) and layer.finite.any():
        a, b = (shortened(name) for name in surfaces)
        words = f"{quantity(first, layer.metric)}, {b} {'/' if found.is_ratio else '−'} {a}"
        color_bar(ax, colors, words, ticks=_ticks(colors))
    finish(first, layer, ax, with_path=False, is_dotted=kind != "heatmap")


def _draw_lines(ax: Axes, surfaces: Mapping[str, Surface], options: Mapping[str, Any]) -> None:
    """B − A along a line, slice by slice: along the same random directions what they share drops out."""
    first, second = surfaces.values()
    if options.get("log"):
        raise UsageError("log: a difference along a line is not drawn on a logarithmic scale", hint="Leave it out.")
    name, index = chosen_metric(first, options.get("metric")), options.get("slice_index")
    if index is not None:
        first, second = (each.of_slices([index]) for each in (first, second))
    found = difference_of_lines(first, second, name)
    curve = curve_of(found, name)
    ax.axhline(0, color=shade(0.4), linewidth=0.8)
    ax.axvline(0, color=shade(0.25), linewidth=0.8, zorder=0)
    draw_curve(ax, curve, series_color(0), "-", is_complete=found.complete)
    ax.set_ylim(options.get("vmin"), options.get("vmax"))
    a, b = (shortened(each) for each in surfaces)
    write_labels(ax, axis_label(first, "x"), f"{quantity(first, name)}, {b} − {a}")
    which = [] if index is None else [f"slice {index}, counting from 0"]
    part = [] if found.complete else [f"PARTIAL: {found.num_evaluated:,} points in both"]
    write_title(ax, "\n".join([_heading(readable(name), surfaces, is_ratio=False), *which, *part, *_unlike(surfaces)]))
    if handles := explain_curves([curve]):
        legend_below(ax, handles)


def _heading(what: str, surfaces: Mapping[str, Surface], is_ratio: bool) -> str:
    a, b = (shortened(name) for name in surfaces)
    return f"{what} of {b} {'over' if is_ratio else 'minus'} {a}"


def _unlike(surfaces: Mapping[str, Surface]) -> list[str]:
    """What is known to differ and decides whether a point of one is that of the other."""
    found = aspects(list(surfaces.values()))
    names = [name for name in found if name in _DECIDING or name.startswith("data ")]
    differing = [name for name in names if not found[name].is_same]
    return [f"NOT MEASURED ALIKE: {', '.join(differing)}"] if differing else []


def _diverging(found: Difference, options: Mapping[str, Any]) -> Colors:
    """Colours with no difference in their middle, as far to both sides."""
    to_height = np.log if found.is_ratio else np.asarray
    given = [float(to_height(each)) for each in (options.get("vmin"), options.get("vmax")) if each is not None]
    levels = options.get("levels")
    named = None if levels is None or isinstance(levels, int) else checked_levels(levels)
    if named is not None:
        given = [float(to_height(end)) for end in (named[0], named[-1])]
    if not all(map(np.isfinite, given)):
        raise UsageError("vmin, vmax, levels: a ratio needs numbers above 0", hint="Or use --linear.")
    own = float(to_height(found.reach))
    reach = max(map(abs, given), default=own) or 1.0
    around = _symmetric(reach, levels if isinstance(levels, int) else _NUM_BANDS, not found.is_ratio and not given)
    chosen = named if named is not None else np.exp(around) if found.is_ratio else around
    norm = LogNorm(np.exp(-reach), np.exp(reach)) if found.is_ratio else Normalize(-reach, reach)
    if not given and not found.is_ratio:
        norm = Normalize(chosen[0], chosen[-1])
    extend: Extend = "both" if given and own > reach else "neither"
    return Colors(chosen, norm, color_map(options.get("cmap") or DIVERGING), extend)


def _ticks(colors: Colors) -> list[float]:
    """No difference, and steps away from it to both sides, within the levels."""
    to_height, back = (np.log, np.exp) if colors.is_log else (np.asarray, np.asarray)
    low, high = (float(to_height(float(end or 0.0))) for end in (colors.norm.vmin, colors.norm.vmax))
    if colors.is_log:
        return [float(back(each)) for each in np.linspace(low, high, 7)]
    ticks = MaxNLocator(8, symmetric=True).tick_values(low, high)
    return [float(each) for each in ticks if low <= each <= high]


def _symmetric(reach: float, num: int, is_round: bool) -> FloatArray:
    """Levels around 0 that are none at 0, so that what lies next to it has one colour."""
    half = max(1, num // 2)
    if not is_round:
        return np.asarray(np.linspace(-reach, reach, 2 * half + 2), dtype=np.float64)
    ticks = MaxNLocator(2 * half).tick_values(-reach, reach)
    step = float(ticks[1] - ticks[0])
    bands = int(np.ceil(reach / step - 0.5))
    return np.asarray(step * (np.arange(-bands - 1, bands + 1) + 0.5))
