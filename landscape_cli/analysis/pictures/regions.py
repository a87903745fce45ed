"""Where a plane can be interpolated: between evaluated points, and not next to one that has diverged."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.tri import Triangulation

from landscape_cli.analysis.layer import Layer
from landscape_cli.analysis.pictures.styles import hatched
from landscape_cli.surface import BoolArray, FloatArray


def has_cells(layer: Layer) -> bool:
    """Whether anything can be filled on a complete grid: three finite corners of a cell."""
    finite = layer.finite.astype(np.int64)
    corners = finite[1:, 1:] + finite[1:, :-1] + finite[:-1, 1:] + finite[:-1, :-1]
    return bool(corners.size and corners.max() >= 3)


def triangles_of(layer: Layer) -> Triangulation | None:
    """Triangles between the evaluated points, those with a diverged corner masked; None where no three span an area."""
    i, j = np.nonzero(layer.evaluated)
    triangles = triangulate(layer.x[i], layer.y[j])
    if triangles is not None and (lost := _lost(triangles, layer.diverged[i, j])).any():
        triangles.set_mask(lost)
    return triangles


def triangulate(x: FloatArray, y: FloatArray) -> Triangulation | None:
    """Triangles between points; None where fewer than three of them span an area."""
    if len(x) < 3:
        return None
    u, v = ((c - c.mean()) / (np.ptp(c) or 1.0) for c in (x, y))  # of one scale, or a very flat plane is degenerate
    if np.linalg.matrix_rank(np.stack([u, v]), tol=1e-9) < 2:
        return None
    return Triangulation(x, y, Triangulation(u, v).triangles)


def hatch_plane(ax: Axes, x: FloatArray, y: FloatArray) -> None:
    """Hatch all of it from the first to the last coordinate, below everything else."""
    corner, size = (x[0], y[0]), (x[-1] - x[0], y[-1] - y[0])
    ax.add_patch(Rectangle(corner, *size, zorder=0.5, **hatched()))


def hatch_triangles(ax: Axes, triangles: Triangulation) -> None:
    """Hatch those that are masked."""
    if triangles.mask is not None:
        how = hatched()
        lost = Triangulation(triangles.x, triangles.y, triangles.triangles[triangles.mask])
        region = ax.tricontourf(
            lost, np.zeros(len(lost.x)), levels=[-1, 1], colors=how["facecolor"], hatches=[how["hatch"]], zorder=0.5
        )
        region.set(edgecolor=how["edgecolor"], linewidth=0)


def _lost(triangles: Triangulation, diverged: BoolArray) -> BoolArray:
    return np.asarray(diverged[triangles.triangles].any(axis=1))
