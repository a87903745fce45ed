"""The basins of a surface by how deep they are: profile."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from landscape_cli.analysis.captions import quantity, title
from landscape_cli.analysis.pictures.styles import series_color, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.analysis.scale import scale_of
from landscape_cli.analysis.slices import Slices, slices_of
from landscape_cli.analysis.topology import Basin, basins, shallowest
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

_MOST = 40


def profile(
    surface: Surface, ax: Axes, *, metric: str | None = None, slice_index: int | None = None, log: bool | None = None
) -> None:
    """Draw the basins of the surface as bars, from the loss at their minimum to that at the saddle where they join a
    deeper one (0-dimensional persistence of the sublevel sets), the deepest first.

    The lowest basin has no end: its bar runs to the highest loss. Basins that `n_basins` does not count, no deeper than
    rounding or a hundredth of the range, are grey. At most 40 are drawn; the legend counts all.

    Args:
        surface: Of any dimension.
        ax: Receives the drawing.
        metric: A loss; by default the first.
        slice_index: Which slice; by default the first.
        log: Whether the loss is on a logarithmic axis.
    """
    slices = slices_of(surface, metric, slice_index or 0)
    values = slices.values[0]
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise UsageError(f"kind: 'profile' cannot be drawn: {slices.lacking or 'no point has a finite loss'}")
    found = sorted(basins(values), key=lambda basin: -basin.persistence)
    deep = shallowest(slices, values)
    scale = scale_of(finite, log=log)
    _draw(ax, slices, found[:_MOST], deep, float(finite.max()))
    if scale.log:
        ax.set_xscale("log")
    write_labels(ax, quantity(surface, slices.loss), "basins, the deepest on top")
    shown = slice_index or 0 if surface.grid.num_slices > 1 else None
    write_title(ax, title(surface, "basins of the " + quantity(surface, slices.loss), shown))
    _explain(ax, found, deep)


def _draw(ax: Axes, slices: Slices, found: list[Basin], deep: float, top: float) -> None:
    for row, basin in enumerate(found):
        end = basin.death if math.isfinite(basin.death) else top
        color = series_color(0) if basin.persistence > deep else shade(0.35)
        ax.plot(
            [basin.birth, end], [row, row], color=color, linewidth=max(1.5, 6 - len(found) / 8), solid_capstyle="butt"
        )
        if math.isinf(basin.death):
            ax.plot([end], [row], ">", color=color, markersize=6, clip_on=False)
    if len(found) <= 12:
        for row, basin in enumerate(found):
            ax.annotate(
                _place(slices, basin.point),
                (basin.birth, row),
                xytext=(2, 5),
                textcoords="offset points",
                fontsize="x-small",
                color=shade(0.7),
            )
    ax.set_ylim(len(found) - 0.4, -0.8)
    ax.set_yticks([])
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _place(slices: Slices, point: int) -> str:
    """The coordinates of a point."""
    index = np.unravel_index(point, tuple(map(len, slices.axes)))
    return f"({', '.join(f'{axis[i]:.3g}' for axis, i in zip(slices.axes, index, strict=True))})"


def _explain(ax: Axes, found: list[Basin], deep: float) -> None:
    counted = sum(basin.persistence > deep for basin in found)
    rest = len(found) - counted
    handles = [
        Line2D(
            [],
            [],
            color=series_color(0),
            linewidth=4,
            label=f"{counted} basin{'s' * (counted != 1)} deeper than {deep:.3g}",
        )
    ]
    if rest:
        drawn = f", {min(_MOST, len(found)) - min(counted, _MOST)} drawn" if len(found) > _MOST else ""
        handles.append(Line2D([], [], color=shade(0.35), linewidth=4, label=f"{rest:,} shallower{drawn}"))
    legend_below(ax, handles)
