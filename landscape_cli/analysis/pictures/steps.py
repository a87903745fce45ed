"""A path of checkpoints over the plane, step by step: trajectory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from landscape_cli.analysis.captions import quantity
from landscape_cli.analysis.captions_of_path import path_in_words
from landscape_cli.analysis.layer import Layer, layer_of
from landscape_cli.analysis.pictures.levels import color_bar, color_map, colors_of
from landscape_cli.analysis.pictures.maps import draw_contours
from landscape_cli.analysis.pictures.sheet import begin, finish, outside
from landscape_cli.analysis.pictures.styles import shade
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface, Trajectory

_MISSED = "Reds"  # how much of the way to a checkpoint the plane misses: white for nothing
_APART = 0.055  # of two labels, as a share of the sides of the plane


def trajectory(
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
    """Draw a path of checkpoints over filled contours, with the numbers of its steps.

    The colour of a step says how much of the way from the centre to that checkpoint lies outside the plane, from 0
    (white) to all of it (dark red): there the contours are not the loss of the checkpoint. See `contour`.
    """
    layer = layer_of(surface, metric, slice_index)
    path = surface.trajectory
    if path is None or not path.is_known_in(layer.slice_index):
        what = "the file" if path is None else f"slice {layer.slice_index}"
        hint = "Scan with a section trajectory: {checkpoints: 'runs/*.pt'}; the kind 'filled' draws the plane."
        raise UsageError(f"kind: 'trajectory' cannot be drawn: {what} has no path of checkpoints", hint=hint)
    colors = colors_of(layer.shown, log=log, vmin=vmin, vmax=vmax, levels=levels, cmap=cmap)
    begin(surface, layer, ax)
    draw_contours(ax, layer, colors, filled=True, is_labelled=False)  # numbers are those of steps
    handles = _draw_steps(ax, path, layer)
    if colorbar and layer.finite.any():
        color_bar(ax, colors, quantity(surface, layer.metric))
    finish(surface, layer, ax, with_path=False, is_dotted=True, handles=handles)


def step_labels(names: Sequence[str]) -> list[str]:
    """What tells the checkpoints apart: the last number in their names where all have one and it rises, else their
    place in the path, from 0.

    >>> step_labels(["epoch_0.pt", "epoch_5.pt"]), step_labels(["first.pt", "last.pt"])
    (['0', '5'], ['0', '1'])
    """
    found = [re.findall(r"\d+", PurePath(name).stem) for name in names]
    numbers = [int(each[-1]) for each in found if each]
    rising = len(numbers) == len(names) and all(a < b for a, b in pairwise(numbers))
    return [str(number) for number in numbers] if rising else [str(index) for index in range(len(names))]


def _draw_steps(ax: Axes, path: Trajectory, layer: Layer) -> list[Artist]:
    x, y = path.coordinates[layer.slice_index, :, 0], path.coordinates[layer.slice_index, :, 1]
    missed = path.missed[layer.slice_index]
    ax.plot(x, y, color="white", linewidth=1.4, path_effects=[withStroke(linewidth=2.8, foreground="0.15")], zorder=3)
    ax.scatter(x, y, c=missed, cmap=_MISSED, vmin=0, vmax=1, s=22, edgecolors="0.15", linewidths=0.7, zorder=4)
    labels = step_labels(path.names)
    for step in _apart(x, y, layer):
        text = ax.annotate(labels[step], (x[step], y[step]), xytext=(4, 4), textcoords="offset points")
        text.set(fontsize="x-small", color="white", zorder=5)
        text.set_path_effects([withStroke(linewidth=1.8, foreground="0.15")])
    words = f"{path_in_words(path, layer.slice_index)}{outside(x, y, ax)}"
    line = Line2D([], [], color="white", linewidth=1.6, label=words)
    line.set_path_effects([withStroke(linewidth=2.8, foreground="0.4")])
    shades = color_map(_MISSED)
    look: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 5, "markeredgecolor": shade(0.85)}
    dots = [
        Line2D([], [], color=shades(share), label=f"{100 * share:g} % of the way to it is outside", **look)
        for share in (0.0, 0.5, 1.0)
    ]
    return [line, *dots]


def _apart(x: FloatArray, y: FloatArray, layer: Layer) -> list[int]:
    """Steps whose labels do not run together: the first, the last, and between them as many as there is room for."""
    place = np.stack([x / (np.ptp(layer.x) or 1.0), y / (np.ptp(layer.y) or 1.0)], axis=1)
    inside = (x >= layer.x[0]) & (x <= layer.x[-1]) & (y >= layer.y[0]) & (y <= layer.y[-1])
    order = [0, len(x) - 1, *range(1, len(x) - 1)]
    chosen: list[int] = []
    for step in order:
        if inside[step] and all(np.hypot(*(place[step] - place[other])) > _APART for other in chosen):
            chosen.append(step)
    return sorted(chosen)
