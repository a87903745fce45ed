"""Where a plane can be interpolated: between evaluated points, and not next to one that has diverged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.tri import Triangulation

from landscape_cli.analysis.layer import Layer
from landscape_cli.analysis.pictures.styles import hatched
from landscape_cli.surface import BoolArray, FloatArray

_FAR = 5.0  # beside the usual gap between points


def has_cells(layer: Layer) -> bool:
    """Whether anything can be filled on a complete grid: three finite corners of a cell."""
    finite = layer.finite.astype(np.int64)
    corners = finite[1:, 1:] + finite[1:, :-1] + finite[:-1, 1:] + finite[:-1, :-1]
    return bool(corners.size and corners.max() >= 3)


@dataclass(frozen=True)
class Mesh:
    """Triangles between the evaluated points of a plane.

    Attributes:
        triangles: Those with a diverged corner, and those that reach over a hole, are masked.
        diverged: (T,) which have a diverged corner, and reach over no hole.
    """

    triangles: Triangulation
    diverged: BoolArray

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be filled."""
        return not len(self.triangles.get_masked_triangles())


def mesh_of(layer: Layer) -> Mesh | None:
    """Triangles between the evaluated points; None where no three span an area."""
    i, j = np.nonzero(layer.evaluated)
    triangles = triangulate(layer.x[i], layer.y[j])
    if triangles is None:
        return None
    corners = triangles.triangles
    # a scan from coarse to fine leaves its points up to twice the usual gap apart, and a little more on uneven grids
    far = np.ptp(i[corners], axis=1) > _FAR * _gap(layer.evaluated)
    far |= np.ptp(j[corners], axis=1) > _FAR * _gap(layer.evaluated.T)
    diverged = np.asarray(layer.diverged[i, j][corners].any(axis=1)) & ~far
    if (far | diverged).any():
        triangles.set_mask(far | diverged)
    return Mesh(triangles, diverged)


def _gap(evaluated: BoolArray) -> float:
    """How far, in steps along the first axis, evaluated points usually are from the next one of their row."""
    rows, places = np.nonzero(evaluated.T)
    gaps = np.diff(places)[np.diff(rows) == 0]
    return float(np.median(gaps)) if gaps.size else np.inf


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


def hatch_triangles(ax: Axes, mesh: Mesh) -> None:
    """Hatch those with a diverged corner."""
    if mesh.diverged.any():
        how, triangles = hatched(), mesh.triangles
        lost = Triangulation(triangles.x, triangles.y, triangles.triangles[mesh.diverged])
        region = ax.tricontourf(
            lost, np.zeros(len(lost.x)), levels=[-1, 1], colors=how["facecolor"], hatches=[how["hatch"]], zorder=0.5
        )
        region.set(edgecolor=how["edgecolor"], linewidth=0)
