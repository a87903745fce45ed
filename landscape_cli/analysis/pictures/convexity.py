"""How far from convex the loss is over the plane: convexity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from landscape_cli.analysis.layer import Layer, layer_of
from landscape_cli.analysis.nonconvexity import nonconvexity
from landscape_cli.analysis.pictures.levels import color_bar, colors_of
from landscape_cli.analysis.pictures.maps import draw_cells
from landscape_cli.analysis.pictures.sheet import begin, finish
from landscape_cli.analysis.pictures.wording import write_title
from landscape_cli.analysis.recorded import COMMAND
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

COLORS = "magma"
QUANTITY = "|λ_min / λ_max|, 0 = convex"


def convexity(
    surface: Surface,
    ax: Axes,
    *,
    slice_index: int | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | None = None,
    colorbar: bool = True,
) -> None:
    """Draw |λ_min / λ_max| of the Hessian at the points of the plane: 0 where the loss is convex (Li et al. 2018,
    arXiv:1712.09913, section 6 and fig. 7).

    Args:
        surface: 2-D or 3-D, with a map of the extreme eigenvalues: ``curvature: {map: true}``.
        ax: Receives the drawing and, beside it, a colour bar.
        slice_index: Which slice; by default the first.
        vmin: Where the scale begins; by default at 0.
        vmax: Where it ends; by default at the largest value.
        cmap: A colour map of matplotlib.
        colorbar: Whether there is one.
    """
    layer = layer_of_convexity(surface, slice_index)
    ends = scale_for(layer.shown, vmin, vmax)
    colors = colors_of(layer.shown, log=False, vmin=ends["vmin"], vmax=ends["vmax"], cmap=cmap or COLORS)
    begin(surface, layer, ax, "how far from convex")
    points = surface.curvature_map
    if surface.complete and points is not None and not points.complete:
        part = f"PARTIAL: {points.num_evaluated:,} of {points.grid.num_points:,} points"
        write_title(ax, f"{ax.get_title(loc='left')}\n{part}")
    draw_cells(ax, layer, colors)
    if colorbar and layer.finite.any():
        color_bar(ax, colors, QUANTITY)
    finish(surface, layer, ax)


def scale_for(shown: FloatArray, vmin: float | None, vmax: float | None) -> dict[str, float]:
    """From 0 to the largest value, where no other ends are asked for."""
    high = float(shown.max(initial=0.0)) or 1.0
    return {"vmin": 0.0 if vmin is None else vmin, "vmax": high if vmax is None else vmax}


def layer_of_convexity(surface: Surface, slice_index: int | None) -> Layer:
    """|λ_min / λ_max| over the plane; NaN where an eigenvalue is not finite or λ_max is 0, and 0 where λ_min is not
    negative.

    Raises:
        UsageError: The surface has no map of eigenvalues, or one axis.
    """
    points = surface.curvature_map
    if points is None:
        hint = f"It is made with: {COMMAND} --set curvature.map=true"
        raise UsageError("kind: 'convexity' cannot be drawn: the file has no map of eigenvalues", hint=hint)
    measured = nonconvexity(surface, slice_index=slice_index)
    if measured.value is None:
        raise UsageError(f"kind: 'convexity' cannot be drawn: {measured.note}")
    least, largest = (layer_of(points, name, slice_index) for name in ("lambda_min", "lambda_max"))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.abs(least.values / largest.values)
    values = np.where(np.isfinite(share), np.where(least.values < 0, share, 0.0), np.nan)
    return replace(least, values=values)
