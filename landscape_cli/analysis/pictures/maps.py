"""2-D surfaces from above: contour, filled, heatmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.contour import ContourSet
from matplotlib.patheffects import withStroke

from landscape_cli.analysis.captions import distinct, quantity
from landscape_cli.analysis.layer import Layer, layer_of
from landscape_cli.analysis.pictures.levels import Colors, color_bar, colors_of
from landscape_cli.analysis.pictures.regions import has_cells, hatch_plane, hatch_triangles, mesh_of
from landscape_cli.analysis.pictures.sheet import begin, dot_points, finish
from landscape_cli.analysis.pictures.styles import shade
from landscape_cli.surface import BoolArray, FloatArray, Surface

_MIN_LABELLED_WIDTH = 0.2
_MOST_CELLS = 10_000  # as vectors; a page with more of them is slow to show


def contour(
    surface: Surface,
    ax: Axes,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    levels: int | Sequence[float] | None = None,
    cmap: str | None = None,
    colorbar: bool = True,
) -> None:
    """Draw labelled contour lines over the plane, x to the right and y upwards.

    Of a volume it is the layer whose z is nearest to 0. A trajectory is drawn over it.

    A partial surface is interpolated between its evaluated points, which are dotted in; beyond them the paper stays
    white. Regions next to a diverged point (NaN or inf) are hatched.

    Args:
        surface: 2-D or 3-D.
        ax: Receives the drawing and, beside it, a colour bar.
        metric: What to draw; by default the first loss.
        slice_index: Which slice; by default the first.
        log: Whether levels rise by factors; by default where the values are positive and span more than a factor of 50.
        vmin: Where the scale begins; values below have the colour of its end.
        vmax: Where it ends.
        levels: About how many contours, or which.
        cmap: A colour map of matplotlib.
        colorbar: Whether there is one.
    """
    layer = layer_of(surface, metric, slice_index)
    colors = colors_of(layer.shown, log=log, vmin=vmin, vmax=vmax, levels=levels, cmap=cmap)
    _contoured(surface, ax, layer, colors, filled=False, colorbar=colorbar)


def filled(
    surface: Surface,
    ax: Axes,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    levels: int | Sequence[float] | None = None,
    cmap: str | None = None,
    colorbar: bool = True,
) -> None:
    """Draw filled contours with labelled lines over the plane; see `contour`."""
    layer = layer_of(surface, metric, slice_index)
    colors = colors_of(layer.shown, log=log, vmin=vmin, vmax=vmax, levels=levels, cmap=cmap)
    _contoured(surface, ax, layer, colors, filled=True, colorbar=colorbar)


def _contoured(surface: Surface, ax: Axes, layer: Layer, colors: Colors, *, filled: bool, colorbar: bool) -> None:
    begin(surface, layer, ax)
    draw_contours(ax, layer, colors, filled=filled)
    if colorbar and layer.finite.any():
        color_bar(ax, colors, quantity(surface, layer.metric))
    finish(surface, layer, ax, is_dotted=True)


def heatmap(
    surface: Surface,
    ax: Axes,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | None = None,
    colorbar: bool = True,
) -> None:
    """Draw a cell of one colour for every evaluated point, nothing between them; see `contour`.

    A cell ends half way to the next coordinate. Cells of points that are not evaluated stay empty, those of diverged
    points (NaN or inf) are hatched.
    """
    layer = layer_of(surface, metric, slice_index)
    colors = colors_of(layer.shown, log=log, vmin=vmin, vmax=vmax, cmap=cmap)
    begin(surface, layer, ax)
    draw_cells(ax, layer, colors)
    if colorbar and layer.finite.any():
        color_bar(ax, colors, quantity(surface, layer.metric))
    finish(surface, layer, ax)


def draw_contours(ax: Axes, layer: Layer, colors: Colors, *, filled: bool, is_labelled: bool = True) -> None:
    """Draw contours of a layer: filled ones with thin lines, or coloured lines.

    Args:
        ax: Receives them.
        layer: What is drawn.
        colors: And how.
        filled: Whether the areas are coloured, or the lines.
        is_labelled: Whether the lines carry their levels.
    """
    fitting = _on_grid(ax, layer) if layer.evaluated.all() else _on_triangles(ax, layer, colors)
    if fitting is not None:
        lines = _lines(fitting, colors, filled)
        if is_labelled:
            _label_lines(ax, lines, on_color=filled)
    elif layer.finite.any():
        _scatter(ax, layer, colors)
    dot_points(layer, ax)


@dataclass(frozen=True)
class _Fitting:
    """The functions of matplotlib that draw a layer, and what they want of it."""

    fill: Callable[..., ContourSet]
    draw: Callable[..., ContourSet]
    what: tuple[Any, ...]


def _on_grid(ax: Axes, layer: Layer) -> _Fitting | None:
    if layer.diverged.any() and len(layer.x) > 1 and len(layer.y) > 1:
        hatch_plane(ax, layer.x, layer.y)
    # (M, N): matplotlib wants rows of y
    what = (layer.x, layer.y, np.ma.masked_invalid(layer.values.T))
    return _Fitting(ax.contourf, ax.contour, what) if has_cells(layer) else None


def _on_triangles(ax: Axes, layer: Layer, colors: Colors) -> _Fitting | None:
    mesh = mesh_of(layer)
    if mesh is None:
        return None
    hatch_triangles(ax, mesh)
    i, j = np.nonzero(layer.evaluated)
    # masked, but matplotlib refuses to see NaN
    heights = np.where(layer.finite[i, j], layer.values[i, j], colors.levels[0])
    return None if mesh.is_empty else _Fitting(ax.tricontourf, ax.tricontour, (mesh.triangles, heights))


def _scatter(ax: Axes, layer: Layer, colors: Colors) -> None:
    i, j = np.nonzero(layer.finite)
    ax.scatter(layer.x[i], layer.y[j], c=layer.shown, s=60, **colors.drawing)


def _lines(fitting: _Fitting, colors: Colors, filled: bool) -> ContourSet:
    levels = colors.levels
    if filled:
        fitting.fill(*fitting.what, levels=levels, zorder=1, extend=colors.extend, **colors.drawing)
        return fitting.draw(*fitting.what, levels=levels, colors="white", linewidths=0.5, alpha=0.8, norm=colors.norm)
    return fitting.draw(*fitting.what, levels=levels, linewidths=1.1, **colors.drawing)


def _label_lines(ax: Axes, lines: ContourSet, *, on_color: bool) -> None:
    """Write the level on each line that is wide enough to carry it."""
    width = np.ptp(ax.get_xlim()) * _MIN_LABELLED_WIDTH
    labelled = [
        level
        for level, path in zip(lines.levels, lines.get_paths(), strict=True)
        if len(np.asarray(path.vertices)) and path.get_extents().width > width
    ]
    texts = dict(zip(labelled, distinct(labelled), strict=True))
    outline = (
        withStroke(linewidth=1.2, foreground="0.3") if on_color else withStroke(linewidth=1.6, foreground=shade(0))
    )
    for text in ax.clabel(lines, levels=labelled, fmt=texts, fontsize="x-small"):
        text.set_path_effects([outline])  # legible on yellow, too


def draw_cells(ax: Axes, layer: Layer, colors: Colors) -> None:
    """Draw a cell of one colour for every point that has a value, and hatch those that have diverged."""
    x, y = edges(layer.x), edges(layer.y)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    if layer.diverged.any():
        hatch_plane(ax, x, y)
        _cells(ax, x, y, np.zeros(layer.values.shape), layer.evaluated, zorder=0.6, cmap=ListedColormap([shade(0)]))
    if layer.finite.any():
        _cells(ax, x, y, layer.values, ~layer.finite, zorder=1, **colors.drawing)


def _cells(ax: Axes, x: FloatArray, y: FloatArray, values: FloatArray, hidden: BoolArray, **how: Any) -> None:
    cells = np.ma.masked_array(values, hidden).T  # (M, N): matplotlib wants rows of y
    ax.pcolormesh(x, y, cells, rasterized=cells.size > _MOST_CELLS, **how)


def edges(coordinates: FloatArray) -> FloatArray:
    """(N + 1,) where the cells around (N,) coordinates end: half way to the next one, at the ends as far outwards.

    >>> edges(np.array([0.0, 1.0, 4.0])).tolist(), edges(np.array([2.0])).tolist()
    ([-0.5, 0.5, 2.5, 5.5], [1.5, 2.5])
    """
    if len(coordinates) == 1:
        return np.asarray([coordinates[0] - 0.5, coordinates[0] + 0.5])
    middles = coordinates[:-1] + np.diff(coordinates) / 2
    first, last = 2 * coordinates[0] - middles[0], 2 * coordinates[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])
