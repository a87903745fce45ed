"""2-D surfaces: filled contours over the plane."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import ContourSet
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from landscape_cli.analysis.captions import axis_label, default_metrics, distinct, quantity, readable, title
from landscape_cli.errors import UsageError
from landscape_cli.surface import BoolArray, FloatArray, Surface, Trajectory

# Loss surfaces span decades: below this ratio a linear scale shows more, above it only the highest walls.
_LOG_RATIO = 50.0
_MAX_LEVELS = 18
_MIN_LABELLED_WIDTH = 0.2
_COLORS = "viridis"
_HATCHED: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}

# more of them would run together and hide the picture
_MOST_DOTS = 2000


def contour(surface: Surface, ax: Axes, *, metric: str | None = None, slice_index: int | None = None) -> None:
    """Draw filled contours with labelled lines over the plane, x to the right and y upwards.

    Of a volume it is the layer whose z is nearest to 0. A trajectory is drawn over it.

    A partial surface is interpolated between its evaluated points, which are dotted in; beyond them the paper stays
    white. Regions next to a diverged point (NaN or inf) are hatched, never filled.

    Args:
        surface: 2-D or 3-D.
        ax: Receives the drawing and, beside it, a colour bar.
        metric: What to draw; by default the first loss.
        slice_index: Which slice; by default the first.
    """
    if len(surface.grid.axes) == 1:
        raise UsageError("kind: 'contour' draws 2-D surfaces; this one has one axis: use 'line'")
    name = metric or default_metrics(surface)[0]
    index = slice_index or 0
    x, y = (np.asarray(axis.coordinates) for axis in surface.grid.axes[:2])
    layer = surface.grid.axes[2].centre if len(surface.grid.axes) > 2 else ...
    # (N, M): first index x, second y
    values, evaluated = surface[name][index, :, :, layer], surface.evaluated[index, :, :, layer]
    shown = index if surface.grid.num_slices > 1 else None
    heights = [f" at z = {axis.coordinates[axis.centre]:g}" for axis in surface.grid.axes[2:]]
    ax.set_title(title(surface, readable(name) + "".join(heights), shown), loc="left", parse_math=False)
    ax.set_xlabel(axis_label(surface, "x"), parse_math=False)
    ax.set_ylabel(axis_label(surface, "y"), parse_math=False)
    if len(x) > 1 and len(y) > 1:
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        ax.set_aspect("equal" if np.isclose(np.ptp(x), np.ptp(y)) else "auto")
    _draw(ax, x, y, values, evaluated, quantity(surface, name))
    handles: list[Patch | Line2D] = []
    if evaluated.any() and not np.isfinite(values[evaluated]).all():
        handles.append(Patch(**_HATCHED, label="diverged (NaN or inf)"))
    if surface.trajectory is not None and surface.trajectory.is_known_in(index):
        handles.append(_draw_path(ax, surface.trajectory, index))
    if handles:
        ax.legend(handles=handles, fontsize=7, loc="upper right", frameon=True)
    if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
        ax.plot(0, 0, marker="+", markersize=9, markeredgewidth=1.6, color="white")
        ax.plot(0, 0, marker="+", markersize=7, markeredgewidth=0.8, color="black")


def _draw(ax: Axes, x: FloatArray, y: FloatArray, values: FloatArray, evaluated: BoolArray, label: str) -> None:
    finite = evaluated & np.isfinite(values)
    i, j = np.nonzero(evaluated)
    triangles = _triangulate(x[i], y[j])
    if triangles is not None:
        _hatch(ax, triangles, ~finite[i, j])
    if finite.any():
        levels, norm = _levels(values[finite])
        options: dict[str, Any] = {"levels": levels, "norm": norm}
        lines: ContourSet | None = None
        if triangles is None or (triangles.mask is not None and triangles.mask.all()):
            p, q = np.nonzero(finite)
            ax.scatter(x[p], y[q], c=values[finite], norm=norm, cmap=_COLORS, s=60)
        elif evaluated.all():
            z = np.ma.masked_invalid(values.T)  # (M, N): matplotlib wants rows of y
            ax.contourf(x, y, z, cmap=_COLORS, zorder=1, **options)
            lines = ax.contour(x, y, z, colors="white", linewidths=0.5, alpha=0.8, **options)
        else:
            heights = np.where(finite[i, j], values[i, j], levels[0])  # masked, but matplotlib refuses to see NaN
            ax.tricontourf(triangles, heights, cmap=_COLORS, zorder=1, **options)
            lines = ax.tricontour(triangles, heights, colors="white", linewidths=0.5, alpha=0.8, **options)
        if lines is not None:
            _label_lines(ax, lines)
        _color_bar(ax, levels, norm, label)
    if not evaluated.all() and evaluated.sum() <= _MOST_DOTS:
        ax.plot(x[i], y[j], ".", color="black", markersize=1.5, alpha=0.6)


def _draw_path(ax: Axes, path: Trajectory, index: int) -> Line2D:
    """Draw a path of checkpoints over the plane; returns what stands for it in the legend."""
    x, y = path.coordinates[index, :, 0], path.coordinates[index, :, 1]
    style: dict[str, Any] = {"color": "white", "linewidth": 1.3, "marker": "o", "markersize": 3.5}
    outline = [withStroke(linewidth=2.6, foreground="0.15")]
    ax.plot(x, y, path_effects=outline, markeredgecolor="0.15", markeredgewidth=0.6, **style)
    ax.plot(x[:1], y[:1], marker="s", markersize=6, color="white", markeredgecolor="0.15")
    missed = 100 * float(path.missed[index, np.argmax(path.distance)])
    label = f"path of {len(path.names)} checkpoints from □; the plane misses {missed:.3g} % of its length"
    return Line2D([], [], label=label, markeredgecolor="0.15", **{**style, "color": "0.4"})


def _triangulate(x: FloatArray, y: FloatArray) -> Triangulation | None:
    """Triangles between points; None where fewer than three of them span an area."""
    if len(x) < 3:
        return None
    u, v = ((c - c.mean()) / (np.ptp(c) or 1.0) for c in (x, y))  # of one scale, or a very flat plane is degenerate
    if np.linalg.matrix_rank(np.stack([u, v]), tol=1e-9) < 2:
        return None
    return Triangulation(x, y, Triangulation(u, v).triangles)


def _hatch(ax: Axes, triangles: Triangulation, diverged: BoolArray) -> None:
    """Hatch the triangles with a diverged corner, and mask them."""
    lost = diverged[triangles.triangles].any(axis=1)
    if lost.any():
        corners = np.stack([triangles.x, triangles.y], axis=1)[triangles.triangles[lost]]
        ax.add_collection(PolyCollection(corners, zorder=0.5, **_HATCHED), autolim=False)
        triangles.set_mask(lost)


def _label_lines(ax: Axes, lines: ContourSet) -> None:
    """Write the level on each line that is wide enough to carry it."""
    width = np.ptp(ax.get_xlim()) * _MIN_LABELLED_WIDTH
    labelled = [
        level
        for level, path in zip(lines.levels, lines.get_paths(), strict=True)
        if len(np.asarray(path.vertices)) and path.get_extents().width > width
    ]
    texts = dict(zip(labelled, distinct(labelled), strict=True))
    for text in ax.clabel(lines, levels=labelled, fmt=texts, fontsize=6.5):
        text.set_path_effects([withStroke(linewidth=1.2, foreground="0.3")])  # legible on yellow, too


def _color_bar(ax: Axes, levels: FloatArray, norm: Normalize, label: str) -> None:
    ticks = levels[:: max(1, len(levels) // 9)]
    figure = ax.figure
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, _COLORS), ax=ax, shrink=0.9)
    bar.set_ticks(ticks.tolist(), labels=distinct(ticks.tolist()))
    bar.ax.minorticks_off()
    bar.ax.set_ylabel(label, parse_math=False)


def _levels(finite: FloatArray) -> tuple[FloatArray, Normalize]:
    """At most 18 rising levels, round where that is possible, that cover all values, and the matching colour scale."""
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        pad = abs(low) * 1e-3 or 1e-3
        return np.array([low - pad, low + pad]), Normalize(low - pad, low + pad)
    if spans_decades(finite):
        levels = _log_levels(low, high)
        return levels, LogNorm(levels[0], levels[-1])
    levels = np.asarray(MaxNLocator(12).tick_values(low, high), dtype=np.float64)
    levels = _cover(levels, low, high)
    return levels, Normalize(levels[0], levels[-1])


def _log_levels(low: float, high: float) -> FloatArray:
    exponents = np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 2)
    for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        levels = np.outer(10.0 ** np.clip(exponents, -307, 307), steps).ravel()
        levels = np.unique(levels)
        first = max(int(np.searchsorted(levels, low, "right")) - 1, 0)
        levels = levels[first : int(np.searchsorted(levels, high, "left")) + 1]
        if len(levels) <= _MAX_LEVELS:
            return _cover(levels, low, high)
    return _cover(np.geomspace(low, high, _MAX_LEVELS), low, high)


def _cover(levels: FloatArray, low: float, high: float) -> FloatArray:
    """Make the outermost levels cover the values: ticks are rounded, 0.3 to 0.30000000000000004."""
    tolerance = 1e-6 * (high - low) if levels[1] - levels[0] > 1e-5 * (high - low) else 0.0
    inner = levels[(levels > low + tolerance) & (levels < high - tolerance)]
    return np.concatenate([[min(levels[0], low)], inner, [max(levels[-1], high)]])


def spans_decades(values: FloatArray) -> bool:
    """Whether the finite values are positive and differ by more than a factor of 50."""
    finite = values[np.isfinite(values)]
    return bool(
        finite.size and finite.min() > 0 and np.log10(finite.max()) - np.log10(finite.min()) > np.log10(_LOG_RATIO)
    )
