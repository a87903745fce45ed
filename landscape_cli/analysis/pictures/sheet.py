"""What stands around and upon every picture of a plane: words, limits, the checkpoint, the path, the legend."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from landscape_cli.analysis.captions import axis_label, readable, title
from landscape_cli.analysis.captions_of_path import path_in_words
from landscape_cli.analysis.layer import Layer
from landscape_cli.analysis.pictures.styles import hatched, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.surface import FloatArray, Surface, Trajectory

# more of them would run together and hide the picture
_MOST_DOTS = 4000


def begin(surface: Surface, layer: Layer, ax: Axes, what: str | None = None) -> None:
    """Write title and axis labels, and set the limits to the grid.

    Args:
        surface: What is drawn.
        layer: Of it.
        ax: Receives them.
        what: What is shown, where it is not the metric.
    """
    shown = layer.slice_index if surface.grid.num_slices > 1 else None
    words = title(surface, f"{what or readable(layer.metric)}{layer.at_height}", shown)
    write_title(ax, words)
    write_labels(ax, axis_label(surface, "x"), axis_label(surface, "y"))
    if len(layer.x) > 1 and len(layer.y) > 1:
        ax.set_xlim(layer.x[0], layer.x[-1])
        ax.set_ylim(layer.y[0], layer.y[-1])
        ax.set_aspect("equal" if np.isclose(np.ptp(layer.x), np.ptp(layer.y)) else "auto")


def finish(
    surface: Surface,
    layer: Layer,
    ax: Axes,
    *,
    with_path: bool = True,
    is_dotted: bool = False,
    handles: list[Artist] | None = None,
) -> None:
    """Mark the checkpoint and what is not there, draw the path, and explain all of it.

    Args:
        surface: What is drawn.
        layer: Of it.
        ax: Receives them.
        with_path: Whether the path of checkpoints is drawn, where there is one.
        is_dotted: Whether it is interpolated between dots, where it is not complete.
        handles: What else the legend explains.
    """
    explained = [*missing(layer, is_dotted=is_dotted and not layer.evaluated.all()), *(handles or [])]
    path = surface.trajectory
    if with_path and path is not None and path.is_known_in(layer.slice_index):
        explained.append(_draw_path(ax, path, layer.slice_index))
    mark_checkpoint(layer, ax)
    if explained:
        legend_below(ax, explained)


def missing(layer: Layer, *, is_dotted: bool = False) -> list[Artist]:
    """What explains where there is no value.

    Args:
        layer: What is drawn.
        is_dotted: Whether it is interpolated between dots.
    """
    if is_dotted and layer.evaluated.any():
        empty: Artist = Line2D([], [], color=shade(1), marker=".", linestyle="", label="evaluated; linear between")
    else:
        empty = Patch(facecolor=shade(0), edgecolor=shade(0.5), linewidth=0.6, label="not evaluated")
    diverged = Patch(**hatched(), label="diverged (NaN or inf)")
    return [*([] if layer.evaluated.all() else [empty]), *([diverged] if layer.diverged.any() else [])]


def dot_points(layer: Layer, ax: Axes) -> None:
    """Of a layer that is not complete, dot in what is evaluated."""
    if not layer.evaluated.all() and layer.evaluated.sum() <= _MOST_DOTS:
        i, j = np.nonzero(layer.evaluated)
        ax.plot(layer.x[i], layer.y[j], ".", color="black", markeredgecolor="black", markersize=1.5, alpha=0.6)


def mark_checkpoint(layer: Layer, ax: Axes) -> None:
    """Mark (0, 0), where it is on the plane."""
    if layer.x[0] <= 0 <= layer.x[-1] and layer.y[0] <= 0 <= layer.y[-1]:
        ax.plot(0, 0, marker="+", markersize=9, markeredgewidth=1.6, color="white", zorder=5)
        ax.plot(0, 0, marker="+", markersize=7, markeredgewidth=0.8, color="black", zorder=5)


def _draw_path(ax: Axes, path: Trajectory, index: int) -> Line2D:
    """Draw a path of checkpoints over the plane; returns what stands for it in the legend."""
    x, y = path.coordinates[index, :, 0], path.coordinates[index, :, 1]
    style: dict[str, Any] = {"color": "white", "linewidth": 1.3, "marker": "o", "markersize": 3.5}
    outline = [withStroke(linewidth=2.6, foreground="0.15")]
    ax.plot(x, y, path_effects=outline, markeredgecolor="0.15", markeredgewidth=0.6, **style)
    ax.plot(x[:1], y[:1], marker="s", markersize=6, color="white", markeredgecolor="0.15")
    label = f"{path_in_words(path, index)}, from □{outside(x, y, ax)}"
    return Line2D([], [], label=label, markeredgecolor=shade(0.85), **{**style, "color": shade(0.6)})


def outside(x: FloatArray, y: FloatArray, ax: Axes) -> str:
    """How many points of a path the picture does not show, in words."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    num = int((~((x >= left) & (x <= right) & (y >= bottom) & (y <= top))).sum())
    return f"; {num} of them beyond the edges" if num else ""
