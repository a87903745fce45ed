"""2-D surfaces as a body in space: surface3d."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from landscape_cli.analysis.captions import axis_label, distinct, quantity, readable, title
from landscape_cli.analysis.captions_of_path import path_in_words
from landscape_cli.analysis.layer import Layer, layer_of
from landscape_cli.analysis.pictures.levels import Colors, color_bar, colors_of
from landscape_cli.analysis.pictures.regions import has_cells, mesh_of
from landscape_cli.analysis.pictures.sheet import outside
from landscape_cli.analysis.pictures.styles import shade
from landscape_cli.analysis.pictures.wording import legend_below, write_title
from landscape_cli.analysis.scale import Scale
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_MOST_STEPS = 120  # along an axis; more of them cannot be told apart, and take minutes
_MOST_MARKS = 2000
_MOST_FACES = 10_000  # as vectors
_VIEW = (30.0, -55.0)
_ROOM = 0.42  # inches for each point of the size of words, without which the foot says what the axes are
_FLOOR = 0.32  # of the height of the body, below it
_LIGHT = np.array([-0.35, -0.5, 0.8])
_DARKEST = 0.45
_STEEP = 0.6  # height of the body beside its sides, for the light

Indices = NDArray[np.int64]


def surface3d(
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
    view: tuple[float, float] | None = None,
) -> None:
    """Draw the plane as a lit body over its contours, x to the right and y to the back; see `contour`.

    There is no face next to a point that has diverged or is not evaluated; those that have diverged are marked on the
    floor. A path of checkpoints is drawn on the floor, for its heights are not those of the plane.

    Args:
        surface: 2-D or 3-D.
        ax: Of the projection ``"3d"``.
        metric: What to draw; by default the first loss.
        slice_index: Which slice; by default the first.
        log: Whether the height is logarithmic.
        vmin: Where the scale begins; what lies below is cut off there.
        vmax: Where it ends; what lies above is cut off there.
        cmap: A colour map of matplotlib.
        colorbar: Whether there is one.
        view: Elevation and azimuth from which it is seen, in degrees.
    """
    if not isinstance(ax, Axes3D):
        raise UsageError("ax: 'surface3d' needs axes in space", hint='Make them with add_subplot(projection="3d").')
    layer = layer_of(surface, metric, slice_index)
    colors = colors_of(layer.shown, log=log, vmin=vmin, vmax=vmax, cmap=cmap)
    scale = _scale(colors)
    steps = _steps(layer)
    _write(surface, layer, ax, steps)
    _frame(ax, layer, scale, colors, view)
    _body(ax, layer, colors, scale, steps)
    _floor(ax, layer, colors)
    if colorbar and layer.finite.any():
        color_bar(ax, colors, quantity(surface, layer.metric))
    _mark(surface, layer, ax, scale, is_seen=view is None)


def _scale(colors: Colors) -> Scale:
    low, high = float(colors.levels[0]), float(colors.levels[-1])
    return Scale(low, high, colors.is_log)


def _steps(layer: Layer) -> tuple[int, int]:
    """One point of so many is drawn along x and along y."""
    return math.ceil(len(layer.x) / _MOST_STEPS), math.ceil(len(layer.y) / _MOST_STEPS)


def _write(surface: Surface, layer: Layer, ax: Axes3D, steps: tuple[int, int]) -> None:
    shown = layer.slice_index if surface.grid.num_slices > 1 else None
    words = title(surface, f"{readable(layer.metric)}{layer.at_height}", shown)
    thinned = [f"one point of {step} along {name}" for name, step in zip("xy", steps, strict=True) if step > 1]
    write_title(ax, "\n".join([words, *thinned]))
    pad, figure = mpl.rcParams["font.size"], ax.get_figure(root=True)
    has_room = ax.get_position(original=True).width * figure.get_figwidth() > _ROOM * pad
    for name, write in (("x", ax.set_xlabel), ("y", ax.set_ylabel)):
        words = axis_label(surface, name).replace(" (", "\n(", 1) if has_room else name
        write(words, parse_math=False, labelpad=pad if has_room else 0, fontsize="small")


def _frame(ax: Axes3D, layer: Layer, scale: Scale, colors: Colors, view: tuple[float, float] | None) -> None:
    """The box: in z the share of the way through the scale, with a floor below."""
    for limit, each in ((ax.set_xlim, layer.x), (ax.set_ylim, layer.y)):
        limit(*((each[0], each[-1]) if len(each) > 1 else (each[0] - 0.5, each[0] + 0.5)))
    ax.set_zlim(-_FLOOR, 1)
    ticks = colors.levels[:: max(1, len(colors.levels) // 5)].tolist()
    ax.set_zticks(scale.share(np.asarray(ticks)).tolist(), labels=distinct(ticks), fontsize="small")
    ax.set_box_aspect((1, 1, 0.72), zoom=0.87)
    elevation, azimuth = view or _VIEW
    ax.view_init(elev=elevation, azim=azimuth)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color(shade(0.03))
        axis._axinfo["grid"].update(color=shade(0.15), linewidth=0.5)  # there is no other way
    ax.tick_params(labelsize="small")


def _body(ax: Axes3D, layer: Layer, colors: Colors, scale: Scale, steps: tuple[int, int]) -> None:
    points, faces = _faces(_thinned(layer, steps))
    if not len(faces):
        i, j = np.nonzero(layer.finite)
        ax.scatter(layer.x[i], layer.y[j], scale.share(layer.shown), c=layer.shown, **colors.drawing)
        return
    x, y, values = points
    height = scale.share(values)
    corners = np.stack([x, y, height], axis=1)[faces]  # (F, 3 or 4, 3)
    rgb = colors.cmap(height[faces].mean(axis=1))[:, :3] * _light(corners, layer)[:, None]
    body = Poly3DCollection(corners.tolist(), facecolors=rgb, edgecolors=rgb, linewidths=0.2)
    body.set_rasterized(len(faces) > _MOST_FACES)
    ax.add_collection3d(body, autolim=False)


def _thinned(layer: Layer, steps: tuple[int, int]) -> Layer:
    """One of so many rows and columns, and the last ones."""
    if steps == (1, 1):
        return layer
    rows, columns = (
        np.unique(np.append(np.arange(0, len(each), step), len(each) - 1))
        for each, step in zip((layer.x, layer.y), steps, strict=True)
    )
    at = np.ix_(rows, columns)
    return replace(layer, x=layer.x[rows], y=layer.y[columns], values=layer.values[at], evaluated=layer.evaluated[at])


def _faces(layer: Layer) -> tuple[tuple[FloatArray, FloatArray, FloatArray], Indices]:
    """Points as (P,) x, y and value, and the (F, 3 or 4) points of each face."""
    if not layer.evaluated.all():
        mesh = mesh_of(layer)
        i, j = np.nonzero(layer.evaluated)
        faces = np.empty((0, 3), dtype=np.int64) if mesh is None else mesh.triangles.get_masked_triangles()
        return (layer.x[i], layer.y[j], layer.values[i, j]), faces
    x, y = np.meshgrid(layer.x, layer.y, indexing="ij")
    index = np.arange(layer.values.size).reshape(layer.values.shape)
    corners = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
    finite = np.isfinite(layer.values.ravel())[corners].all(axis=1)
    return (x.ravel(), y.ravel(), layer.values.ravel()), corners[finite]


def _light(corners: FloatArray, layer: Layer) -> FloatArray:
    """(F,) how bright each face is, from `_DARKEST` to 1 for one that faces the light."""
    size = [np.ptp(layer.x) or 1.0, np.ptp(layer.y) or 1.0, 1 / _STEEP]
    across = (corners[:, 2] - corners[:, 0]) / size
    along = (corners[:, -1] - corners[:, 1]) / size
    normal = np.cross(across, along)
    normal *= np.sign(normal[:, 2:]) / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    towards = np.clip(normal @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    return np.asarray(_DARKEST + (1 - _DARKEST) * towards)


def _floor(ax: Axes3D, layer: Layer, colors: Colors) -> None:
    """Contours below the body."""
    how: dict[str, Any] = {"levels": colors.levels, "extend": colors.extend, "zdir": "z", "offset": -_FLOOR}
    if layer.evaluated.all():
        if has_cells(layer):
            x, y = np.meshgrid(layer.x, layer.y)
            ax.contourf(x, y, np.ma.masked_invalid(layer.values.T), alpha=0.75, **how, **colors.drawing)
        return
    mesh = mesh_of(layer)
    if mesh is not None and not mesh.is_empty:
        i, j = np.nonzero(layer.evaluated)
        heights = np.where(layer.finite[i, j], layer.values[i, j], colors.levels[0])
        ax.tricontourf(mesh.triangles, heights, alpha=0.75, **how, **colors.drawing)


def _mark(surface: Surface, layer: Layer, ax: Axes3D, scale: Scale, *, is_seen: bool) -> None:
    """The checkpoint, the path and what has diverged, with a legend; from elsewhere the body may hide the checkpoint,
    which then is marked on the floor alone.
    """
    handles: list[Artist] = []
    i, j = np.nonzero(layer.diverged)
    if len(i):
        some = slice(None, None, math.ceil(len(i) / _MOST_MARKS))
        style: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 3, "color": shade(0.6)}
        ax.plot(layer.x[i][some], layer.y[j][some], np.full(len(i[some]), -_FLOOR), **style)
        handles.append(Line2D([], [], label="diverged (NaN or inf)", **style))
    path = surface.trajectory
    if path is not None and path.is_known_in(layer.slice_index):
        x, y = path.coordinates[layer.slice_index, :, 0], path.coordinates[layer.slice_index, :, 1]
        look: dict[str, Any] = {"color": shade(0.9), "linewidth": 1.2, "marker": "o", "markersize": 3}
        label = f"{path_in_words(path, layer.slice_index)}{outside(x, y, ax)}"
        inside = (x >= layer.x[0]) & (x <= layer.x[-1]) & (y >= layer.y[0]) & (y <= layer.y[-1])
        x, y = (np.where(inside, each, np.nan) for each in (x, y))
        ax.plot(x, y, np.full(len(x), -_FLOOR), zorder=10, markerfacecolor=shade(0), **look)
        handles.append(Line2D([], [], label=label, markerfacecolor=shade(0), **look))
    centre = surface.metrics[layer.metric].centre
    if layer.x[0] <= 0 <= layer.x[-1] and layer.y[0] <= 0 <= layer.y[-1] and np.isfinite(centre):
        height = float(scale.share(np.asarray(centre)))
        ax.plot([0], [0], [-_FLOOR], "+", color=shade(0.9), markersize=6, zorder=11)
        if is_seen:
            ax.plot([0, 0], [0, 0], [-_FLOOR, height], color=shade(0.9), linewidth=0.8, linestyle=":", zorder=11)
            ax.plot([0], [0], [height], "o", color=shade(0.9), markersize=3.5, markeredgecolor=shade(0), zorder=12)
    if handles:
        legend_below(ax, handles)
