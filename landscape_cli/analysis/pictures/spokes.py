"""The loss on the way out from the checkpoint: rays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from landscape_cli.analysis.captions import quantity, title
from landscape_cli.analysis.pictures.styles import series_color, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.analysis.rays import Ray, rays_of
from landscape_cli.analysis.scale import Scale, scale_of
from landscape_cli.analysis.slices import Slices, slices_of
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_TINY = 1e-300
_SHARES = 200  # places along the distance at which the median is taken


def rays(
    surface: Surface,
    ax: Axes,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> None:
    """Draw the loss against the distance from the checkpoint, along every ray of every slice, with their median.

    Two rays on a line, 16 on a plane, 26 in a volume, of each slice. A ray ends where the grid does, or before a point
    that has diverged, where a cross marks its end. The median goes as far as all rays do; a diverged one counts
    as the highest.

    Args:
        surface: Of any dimension, with the checkpoint on or within the grid.
        ax: Receives the drawing.
        metric: A loss; by default the first.
        slice_index: One slice only.
        log: Whether the loss is on a logarithmic axis; by default where it is positive and spans more than a factor of
            50.
        vmin: Where the axis of the loss begins.
        vmax: Where it ends.
    """
    slices = slices_of(surface, metric, slice_index)
    if slices.lacking:
        raise UsageError(f"kind: 'rays' cannot be drawn: {slices.lacking}", hint="Rays start at the checkpoint.")
    found = [rays_of(slices, values) for values in slices.values]
    scale = scale_of(np.concatenate([ray.loss for each in found for ray in each]), log=log, vmin=vmin, vmax=vmax)
    _draw_rays(ax, found)
    _draw_median(ax, [ray for each in found for ray in each], is_log=scale.log)
    if scale.log:
        ax.set_yscale("log")
    _limit(ax, scale, vmin, vmax)
    ax.set_xlim(0, max(float(ray.distance[-1]) for each in found for ray in each))
    write_labels(ax, "distance from the checkpoint, in units of the axes", quantity(surface, slices.loss))
    num = sum(map(len, found))
    words = title(surface, f"{quantity(surface, slices.loss)} along {num:,} rays", slice_index)
    write_title(ax, words)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    legend_below(ax, _handles(found, slices))


def values_of_rays(surface: Surface, metric: str | None, slice_index: int | None) -> FloatArray:
    """Everything that is shown, flat."""
    slices = slices_of(surface, metric, slice_index)
    found = [] if slices.lacking else [ray.loss for values in slices.values for ray in rays_of(slices, values)]
    return np.concatenate(found) if found else np.empty(0)


def _draw_rays(ax: Axes, found: list[list[Ray]]) -> None:
    """Those of one slice have one colour, while there are few slices."""
    num = sum(map(len, found))
    alpha = max(0.08, min(0.7, 12 / math.sqrt(num) / 3))
    for index, each in enumerate(found):
        lines = [np.stack([ray.distance, ray.loss], axis=1)[: _num_finite(ray)] for ray in each]
        color = series_color(index if len(found) <= 6 else 0)
        ax.add_collection(LineCollection(lines, colors=color, linewidths=0.8, alpha=alpha), autolim=True)
        ends = np.asarray([line[-1] for line, ray in zip(lines, each, strict=True) if not np.isfinite(ray.loss).all()])
        if len(ends):
            ax.plot(ends[:, 0], ends[:, 1], "x", color=shade(0.7), markersize=4)
    ax.autoscale_view()


def _num_finite(ray: Ray) -> int:
    """How many knots there are before the first that has diverged."""
    finite = np.isfinite(ray.loss)
    return len(finite) if finite.all() else int(np.argmin(finite))


def _draw_median(ax: Axes, found: list[Ray], *, is_log: bool) -> None:
    """As far as all rays reach, so that it does not jump where some end; straight where they are drawn straight."""
    where = np.linspace(0, min(float(ray.distance[-1]) for ray in found), _SHARES)
    median = np.median([_at(ray, where, is_log) for ray in found], axis=0)
    ax.plot(where, np.where(np.isfinite(median), median, np.nan), color=shade(1), linewidth=2)


def _at(ray: Ray, where: FloatArray, is_log: bool) -> FloatArray:
    """The loss along a ray, straight between its knots as it is drawn; +inf beyond the last finite knot."""
    last = _num_finite(ray)
    loss = ray.loss[:last]
    found = np.interp(where, ray.distance[:last], np.log(np.maximum(loss, _TINY)) if is_log else loss)
    return np.where(where > ray.distance[last - 1], np.inf, np.exp(found) if is_log else found)


def _limit(ax: Axes, scale: Scale, vmin: float | None, vmax: float | None) -> None:
    if vmin is not None or vmax is not None or not scale.high > scale.low:
        ax.set_ylim(vmin, vmax)


def _handles(found: list[list[Ray]], slices: Slices) -> list[Line2D]:
    few = len(found) <= 6
    handles = [
        Line2D([], [], color=series_color(index), linewidth=1, label=f"slice {index}" if len(found) > 1 else "rays")
        for index in range(len(found) if few else 0)
    ]
    if not few:
        handles.append(Line2D([], [], color=series_color(0), linewidth=1, label=f"rays of {len(found):,} slices"))
    handles.append(Line2D([], [], color=shade(1), linewidth=2, label="median"))
    if not np.isfinite(slices.values).all():
        style: dict[str, Any] = {"color": shade(0.7), "marker": "x", "linestyle": ""}
        handles.append(Line2D([], [], label="next point diverged (NaN or inf)", **style))
    return handles
