"""1-D surfaces: losses and accuracies along a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape_cli.analysis.captions import axis_label, default_metrics, is_share, readable, split_of, title
from landscape_cli.analysis.captions_of_path import path_in_words
from landscape_cli.analysis.curve import Band, Curve, curve_of
from landscape_cli.analysis.layer import chosen_metric
from landscape_cli.analysis.pictures.bands import draw_band
from landscape_cli.analysis.pictures.styles import series_color, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.analysis.scale import is_spaced_by_factors, scale_of
from landscape_cli.analysis.splits import splits_of
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface, Trajectory


def line(
    surface: Surface,
    ax: Axes,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> None:
    """Draw losses (left, solid) and accuracies (right, dashed) along the x direction.

    Over several slices the line is their mean, the light band their range and the dark one the standard error of the
    mean over the slices. Points that are not finite break the line and are marked at the upper edge.

    Args:
        surface: 1-D.
        ax: Receives the drawing; a second y axis is added where both losses and accuracies are drawn.
        metric: One metric only.
        slice_index: One slice only.
        log: Whether the left axis is logarithmic; by default where the values are positive and span more than a factor
            of 50.
        vmin: Where the left axis begins.
        vmax: Where it ends.
    """
    left, right = _names(surface, metric)
    scale = scale_of(values_of_line(surface, metric, slice_index), log=log, vmin=vmin, vmax=vmax)
    right_ax = ax.twinx() if right else None
    colors = _split_colors(surface, [*left, *right])
    curves = {name: curve_of(surface, name, slice_index) for name in [*left, *right]}
    for name in left:
        draw_curve(ax, curves[name], colors[name], "-", is_complete=surface.complete)
    if right_ax is not None:
        for name in right:
            draw_curve(right_ax, curves[name], colors[name], "--", is_complete=surface.complete)
        right_ax.set_ylabel(_kinds(surface, right), parse_math=False)
        if _are_shares(surface, right, slice_index):
            right_ax.set_ylim(-0.03, 1.03)
    if scale.log:
        ax.set_yscale("log")
    ax.set_ylim(vmin, vmax)
    _write(surface, ax, [*left, *right], left, slice_index)
    for each in filter(None, (ax, right_ax)):
        each.spines["top"].set_visible(False)
    ax.spines["right"].set_visible(False)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colors[name], linestyle="-" if name in left else "--", label=readable(name))
        for name in [*left, *right]
    ]
    handles += explain_curves([*curves.values()])
    if surface.trajectory is not None and surface.trajectory.is_known_in(slice_index or 0):
        handles.append(_draw_path(ax, surface.trajectory, slice_index or 0))
    legend_below(ax, handles)


def values_of_line(surface: Surface, metric: str | None, slice_index: int | None) -> FloatArray:
    """Everything that the left axis shows, flat; NaN where there is nothing.

    Raises:
        UsageError: The surface is not 1-D, or has no such metric.
    """
    left, _ = _names(surface, metric)
    return np.concatenate([_slices(surface, name, slice_index).ravel() for name in left])


def _names(surface: Surface, metric: str | None) -> tuple[list[str], list[str]]:
    """The metrics on the left axis, and those on the right."""
    if len(surface.grid.axes) != 1:
        raise UsageError(f"kind: 'line' draws 1-D surfaces; this one has {len(surface.grid.axes)} axes: use 'filled'")
    names = default_metrics(surface) if metric is None else [chosen_metric(surface, metric)]
    shares = [name for name in names if is_share(name)]
    left = [name for name in names if name not in shares] or shares
    return left, [name for name in shares if name not in left]


def _are_shares(surface: Surface, names: list[str], slice_index: int | None) -> bool:
    """Whether all values lie from 0 to 1, as they do unless they are percentages of somebody's own."""
    values = np.concatenate([_slices(surface, name, slice_index).ravel() for name in names])
    finite = values[np.isfinite(values)]
    return bool(((finite >= 0) & (finite <= 1)).all())


def _write(surface: Surface, ax: Axes, names: list[str], left: list[str], slice_index: int | None) -> None:
    """Title, axes and the place of the checkpoint."""
    write_labels(ax, axis_label(surface, "x"), _kinds(surface, left))
    write_title(ax, title(surface, f"{_kinds(surface, names)} along a line", slice_index))
    ax.axvline(0.0, color=shade(0.25), linewidth=0.8, zorder=0)
    ax.margins(x=0.02)
    if is_spaced_by_factors(surface.grid.axes[0].coordinates):
        ax.set_xscale("log")


def _draw_path(ax: Axes, path: Trajectory, index: int) -> Line2D:
    """Mark where the checkpoints of a path lie along the line; returns what stands for it in the legend."""
    low = np.full(len(path.names), 0.03)
    style: dict[str, Any] = {"color": shade(0.7), "marker": "|", "linestyle": "", "markersize": 9}
    ax.plot(path.coordinates[index, :, 0], low, transform=ax.get_xaxis_transform(), **style)
    return Line2D([], [], label=path_in_words(path, index), **style)


def draw_curve(ax: Axes, curve: Curve, color: str, style: str, *, is_complete: bool) -> None:
    """Draw a metric along a line; points that have diverged are marked at the upper edge.

    Args:
        ax: Receives it.
        curve: What is drawn.
        color: Of line and bands.
        style: Of the line.
        is_complete: Whether there is a point at every coordinate; else the points are marked.
    """
    marker = None if is_complete and len(curve.x) > 1 else "o"
    hidden = curve.diverged | ~curve.known  # also the range, where a slice has left it
    parts = (curve.mean, curve.low, curve.high, curve.standard_error)
    known = Band(*(np.where(hidden, np.nan, each)[curve.known] for each in parts))
    draw_band(ax, curve.x[curve.known], known, color, linestyle=style, marker=marker, markersize=3)
    if curve.diverged.any():
        top, above = np.full(curve.diverged.sum(), 0.98), ax.get_xaxis_transform()
        ax.plot(curve.x[curve.diverged], top, "x", color=shade(0.7), markersize=4, transform=above, clip_on=False)


def explain_curves(curves: Sequence[Curve]) -> list[Line2D | Patch]:
    """What explains the bands and the marks of these."""
    handles: list[Line2D | Patch] = []
    num_slices = max(curve.num_slices for curve in curves)
    if num_slices > 1:
        handles.append(Patch(color=shade(0.2), label=f"mean of {num_slices} slices with standard error and range"))
    if any(curve.diverged.any() for curve in curves):
        handles.append(Line2D([], [], color=shade(0.7), marker="x", linestyle="", label="diverged (NaN or inf)"))
    return handles


def _split_colors(surface: Surface, names: list[str]) -> dict[str, str]:
    splits = list(dict.fromkeys(["train", "test", *splits_of(surface)]))  # the same colours in every picture
    return {name: series_color(splits.index(split_of(surface, name))) for name in names}


def _kinds(surface: Surface, names: list[str]) -> str:
    """The metrics without their splits: ``loss and accuracy``."""
    kinds = [readable(name.removeprefix(f"{split_of(surface, name)}_")) for name in names]
    return " and ".join(dict.fromkeys(kinds))


def _slices(surface: Surface, name: str, slice_index: int | None) -> FloatArray:
    """(S, N) values, NaN where not evaluated whatever stands there."""
    values = np.where(surface.evaluated, surface[name], np.nan)
    return values if slice_index is None else values[[slice_index]]
