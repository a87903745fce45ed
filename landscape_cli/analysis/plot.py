"""Pictures of a surface: line, contour; PLOTS. A plot is ``f(surface, ax, *, …)``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.tri import Triangulation

from landscape_cli.errors import OutputError, UsageError, did_you_mean
from landscape_cli.surface import BoolArray, FloatArray, Surface

SUFFIXES = (".png", ".pdf", ".svg")
# Loss surfaces span decades: below this ratio a linear scale shows more, above it only the highest walls.
_LOG_RATIO = 50.0
_MAX_LEVELS = 18
_MIN_LABELLED_WIDTH = 0.2
_COLORS = ("#1f5fa8", "#d1670c", "#2e8b57", "#8a4fbf")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "svg.hashsalt": "landscape",
}
_NO_DATES = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


def plot(
    surface: Surface,
    path: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    metric: str | None = None,
    slice_index: int | None = None,
    dpi: int = 150,
) -> Figure:
    """Draw a surface, whole or partial; partial ones are marked as such.

    Args:
        surface: From `landscape_cli.load_surface`.
        path: Where to save: .png, .pdf or .svg; None only returns the figure.
        kind: A name in ``PLOTS``; by default ``"line"`` in 1-D and ``"contour"`` in 2-D.
        metric: What to draw; by default all losses and accuracies on a line, the first loss on a plane.
        slice_index: Which slice, from 0; by default all on a line, the first on a plane.
        dpi: Resolution of .png.

    Returns:
        The figure.

    Raises:
        UsageError: Unknown kind, metric, slice or suffix.
        OutputError: The file cannot be written.
    """
    kind = kind or ("line" if len(surface.grid.axes) == 1 else "contour")
    if kind not in PLOTS:
        raise UsageError(f"kind: found {kind!r}{did_you_mean(kind, PLOTS)}")
    if metric is not None and metric not in surface.metrics:
        raise UsageError(f"metric: found {metric!r}{did_you_mean(metric, surface.metrics)}")
    if slice_index is not None and not 0 <= slice_index < surface.grid.num_slices:
        raise UsageError(f"slice: found {slice_index}; the surface has slices 0 … {surface.grid.num_slices - 1}")
    suffix = Path(path).suffix.lower() if path is not None else None
    if suffix is not None and suffix not in SUFFIXES:
        raise UsageError(f"{path}: cannot draw {suffix or 'a file without a suffix'!r}; expected {', '.join(SUFFIXES)}")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 5.2) if kind == "contour" else (6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        PLOTS[kind](surface, figure.add_subplot(), metric=metric, slice_index=slice_index)
        figure.supxlabel(_footer(surface), fontsize=6.5, color="0.45")
        if path is not None and suffix is not None:
            _save(figure, Path(path), suffix, dpi)
    return figure


def _save(figure: Figure, path: Path, suffix: str, dpi: int) -> None:
    try:
        figure.savefig(path, dpi=dpi, metadata=_NO_DATES[suffix])
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}", hint="Choose another place with -o."
        ) from error


# ---------------------------------------------------------------- line


def line(surface: Surface, ax: Axes, *, metric: str | None = None, slice_index: int | None = None) -> None:
    """Draw losses (left, solid) and accuracies (right, dashed) along the x direction.

    Over several slices the line is their mean and the band their range. Points that are not finite break the line and
    are marked at the upper edge.

    Args:
        surface: 1-D.
        ax: Receives the drawing; a second y axis is added where both losses and accuracies are drawn.
        metric: One metric only.
        slice_index: One slice only.
    """
    if len(surface.grid.axes) != 1:
        raise UsageError("kind: 'line' draws 1-D surfaces; this one has two axes: use 'contour'")
    names = [metric] if metric else _default_metrics(surface)
    shares = [name for name in names if _is_share(name)]
    left = [name for name in names if name not in shares] or shares
    right = [name for name in shares if name not in left]
    right_ax = ax.twinx() if right else None
    colors = _split_colors(names)
    for name in left:
        _draw_line(surface, ax, name, slice_index, colors[name], "-")
    if right_ax is not None:
        for name in right:
            _draw_line(surface, right_ax, name, slice_index, colors[name], "--")
        right_ax.set_ylabel(_kinds(right))
        right_ax.set_ylim(-0.03, 1.03)
        right_ax.spines["right"].set_visible(True)
    values = np.concatenate([_slices(surface, name, slice_index).ravel() for name in left])
    if _spans_decades(values):
        ax.set_yscale("log")
    ax.set_ylabel(_kinds(left))
    ax.set_xlabel(_axis_label(surface, "x"))
    ax.axvline(0.0, color="0.75", linewidth=0.8, zorder=0)
    ax.margins(x=0.02)
    for each in filter(None, (ax, right_ax)):
        each.spines["top"].set_visible(False)
    ax.spines["right"].set_visible(False)
    handles = [
        Line2D([], [], color=colors[name], linestyle="-" if name in left else "--", label=name.replace("_", " "))
        for name in names
    ]
    if surface.grid.num_slices > 1 and slice_index is None:
        handles.append(Patch(color="0.85", label=f"band: range over {surface.grid.num_slices} slices, line: mean"))  # type: ignore[arg-type]
    if any(_not_finite(surface, name, slice_index).any() for name in names):
        handles.append(Line2D([], [], color="0.3", marker="x", linestyle="", label="diverged (NaN or inf)"))
    ax.set_title(_title(surface, f"{_kinds([*left, *right])} along a line", slice_index), loc="left")
    ax.legend(
        handles=handles,
        fontsize=7.5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=len(handles) if len(handles) <= 5 else 3,
        columnspacing=1.2,
    )


def _draw_line(surface: Surface, ax: Axes, name: str, slice_index: int | None, color: str, style: str) -> None:
    x = np.asarray(surface.grid.axes[0].coordinates)
    values = _slices(surface, name, slice_index)  # (S, N), NaN where not evaluated
    evaluated = surface.evaluated if slice_index is None else surface.evaluated[[slice_index]]
    # a mean over other slices at every coordinate would zigzag
    known = evaluated.all(axis=0) if evaluated.all(axis=0).any() else evaluated.any(axis=0)
    diverged: BoolArray = np.any(_not_finite(surface, name, slice_index), axis=0)
    shown = np.where(diverged | ~evaluated, np.nan, values)[:, known]
    marker = None if evaluated.all() and len(x) > 1 else "o"
    counts = np.maximum(np.isfinite(shown).sum(axis=0), 1)
    mean = np.where(diverged[known], np.nan, np.nansum(shown, axis=0) / counts)
    ax.plot(x[known], mean, style, color=color, linewidth=1.6, marker=marker, markersize=3)
    if len(values) > 1:
        low, high = np.fmin.reduce(shown, axis=0), np.fmax.reduce(shown, axis=0)
        ax.fill_between(x[known], low, high, where=~np.isnan(low), color=color, alpha=0.15, linewidth=0)
    if diverged.any():
        ax.plot(
            x[diverged],
            np.full(diverged.sum(), 0.98),
            "x",
            color="0.3",
            markersize=4,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )


# ---------------------------------------------------------------- contour


def contour(surface: Surface, ax: Axes, *, metric: str | None = None, slice_index: int | None = None) -> None:
    """Draw filled contours with labelled lines over the plane, x to the right and y upwards.

    A partial surface is interpolated between its evaluated points, which are dotted in. Regions next to a diverged
    point (NaN or inf) are hatched, never filled.

    Args:
        surface: 2-D.
        ax: Receives the drawing and, beside it, a colour bar.
        metric: What to draw; by default the first loss.
        slice_index: Which slice; by default the first.
    """
    if len(surface.grid.axes) != 2:
        raise UsageError("kind: 'contour' draws 2-D surfaces; this one has one axis: use 'line'")
    name = metric or next(iter(_default_metrics(surface)))
    index = slice_index or 0
    x, y = (np.asarray(axis.coordinates) for axis in surface.grid.axes)
    values, evaluated = surface[name][index], surface.evaluated[index]  # (N, M): first index x, second y
    finite = values[evaluated & np.isfinite(values)]
    ax.set_xlabel(_axis_label(surface, "x"))
    ax.set_ylabel(_axis_label(surface, "y"))
    ax.set_title(_title(surface, name.replace("_", " "), index if surface.grid.num_slices > 1 else None), loc="left")
    if len(x) > 1 and len(y) > 1:
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        ax.set_aspect("equal" if np.isclose(np.ptp(x), np.ptp(y)) else "auto")
    if evaluated.any() and not np.isfinite(values[evaluated]).all():
        _hatch(ax)
    if finite.size:
        levels, norm = _levels(finite)
        _draw_contour(ax, x, y, values, evaluated, levels, norm)
        colorbar = ax.figure.colorbar(
            mpl.cm.ScalarMappable(norm, "viridis"),
            ax=ax,
            label=_quantity(surface, name),
            ticks=_colorbar_ticks(levels),
            shrink=0.9,
        )
        colorbar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        colorbar.ax.minorticks_off()
    if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
        ax.plot(0, 0, marker="+", markersize=9, markeredgewidth=1.6, color="white")
        ax.plot(0, 0, marker="+", markersize=7, markeredgewidth=0.8, color="black")


def _draw_contour(
    ax: Axes,
    x: FloatArray,
    y: FloatArray,
    values: FloatArray,
    evaluated: BoolArray,
    levels: FloatArray,
    norm: Normalize,
) -> None:
    i, j = np.nonzero(evaluated)
    if len(np.unique(i)) < 2 or len(np.unique(j)) < 2:
        finite = np.isfinite(values[i, j])
        ax.scatter(x[i][finite], y[j][finite], c=values[i, j][finite], norm=norm, cmap="viridis", s=60)
        return
    options: dict[str, Any] = {"levels": levels, "norm": norm}
    if evaluated.all():
        z = np.ma.masked_invalid(values.T)  # (M, N): matplotlib wants rows of y
        if not (~z.mask if np.ma.is_masked(z) else np.ones_like(z, bool)).any():
            return
        ax.contourf(x, y, z, cmap="viridis", **options)
        lines: ContourSet = ax.contour(x, y, z, colors="white", linewidths=0.5, alpha=0.8, **options)
    else:
        triangles = Triangulation(x[i], y[j])
        heights = values[i, j]
        triangles.set_mask(~np.isfinite(heights)[triangles.triangles].all(axis=1))
        heights = np.where(np.isfinite(heights), heights, levels[0])  # masked, but tricontour refuses to see them
        ax.tricontourf(triangles, heights, cmap="viridis", **options)
        lines = ax.tricontour(triangles, heights, colors="white", linewidths=0.5, alpha=0.8, **options)
        ax.plot(x[i], y[j], ".", color="black", markersize=1.5, alpha=0.6)
    _label_lines(ax, lines)


def _label_lines(ax: Axes, lines: ContourSet) -> None:
    """Write the level on each line that is wide enough to carry it."""
    width = np.ptp(ax.get_xlim()) * _MIN_LABELLED_WIDTH
    labelled = [
        level
        for level, path in zip(lines.levels, lines.get_paths(), strict=True)
        if len(np.asarray(path.vertices)) and path.get_extents().width > width
    ]
    ax.clabel(lines, levels=labelled, fmt=lambda value: f"{value:.3g}", fontsize=6.5)


def _hatch(ax: Axes) -> None:
    """Hatch the background; filled contours cover it wherever the values are finite."""
    ax.add_patch(
        Rectangle(
            (0, 0), 1, 1, transform=ax.transAxes, facecolor="0.93", edgecolor="0.6", hatch="////", linewidth=0, zorder=0
        )
    )
    ax.legend(
        handles=[Patch(facecolor="0.93", edgecolor="0.6", hatch="////", label="diverged (NaN or inf)")],
        fontsize=7,
        loc="upper right",
    )


def _levels(finite: FloatArray) -> tuple[FloatArray, Normalize]:
    """At most 18 round levels from the lowest to the highest value, and the matching colour scale."""
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        pad = abs(low) * 1e-3 or 1e-3
        return np.array([low - pad, low + pad]), Normalize(low - pad, low + pad)
    if not _spans_decades(finite):
        levels: FloatArray = np.asarray(MaxNLocator(12).tick_values(low, high))
        return levels, Normalize(levels[0], levels[-1])
    for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        levels = np.outer(decades, steps).ravel()
        levels = levels[np.searchsorted(levels, low, "right") - 1 : np.searchsorted(levels, high, "left") + 1]
        if len(levels) <= _MAX_LEVELS:
            break
    else:
        levels = np.geomspace(low, high, _MAX_LEVELS)
    return levels, LogNorm(levels[0], levels[-1])


def _colorbar_ticks(levels: FloatArray) -> FloatArray:
    return levels[:: max(1, len(levels) // 9)]


# ---------------------------------------------------------------- words


def _default_metrics(surface: Surface) -> list[str]:
    losses = [name for name in surface.metrics if name.endswith("_loss")]
    return losses + [name for name in surface.metrics if name.endswith("_accuracy")] or list(surface.metrics)


def _is_share(name: str) -> bool:
    return name.endswith(("_accuracy", "_error", "_top_k")) and not name.endswith("_loss")


def _split_colors(names: list[str]) -> dict[str, str]:
    splits = list(dict.fromkeys(name.split("_")[0] for name in names))
    return {name: _COLORS[splits.index(name.split("_")[0]) % len(_COLORS)] for name in names}


def _kinds(names: list[str]) -> str:
    return " and ".join(dict.fromkeys(name.partition("_")[2].replace("_", " ") for name in names))


def _slices(surface: Surface, name: str, slice_index: int | None) -> FloatArray:
    return surface[name] if slice_index is None else surface[name][[slice_index]]


def _not_finite(surface: Surface, name: str, slice_index: int | None) -> BoolArray:
    evaluated = surface.evaluated if slice_index is None else surface.evaluated[[slice_index]]
    return evaluated & ~np.isfinite(_slices(surface, name, slice_index))


def _spans_decades(values: FloatArray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > _LOG_RATIO)


def _axis_label(surface: Surface, axis: str) -> str:
    recipe = surface.directions[axis].recipe
    target = str(recipe.get("_target_", "direction")).rpartition(".")[2]
    unit = {
        "filter": "1.0 = every filter moved by its own norm",
        "layer": "1.0 = every tensor moved by its own norm",
        "weight": "1.0 = 100 % relative noise on every weight",
    }.get(str(recipe.get("normalization", "filter" if target == "random" else "")), "multiples of the direction")
    return f"{axis}: {target} direction ({unit})"


def _quantity(surface: Surface, name: str) -> str:
    loss = surface.provenance.resolved.get("loss")
    kind = f" ({loss['_target_']})" if isinstance(loss, dict) and name.endswith("_loss") else ""
    return f"{name.replace('_', ' ')}{kind}"


def _title(surface: Surface, what: str, slice_index: int | None) -> str:
    model = surface.provenance.resolved.get("model")
    if isinstance(model, dict):
        what = f"{str(model['_target_']).rpartition('.')[2]}: {what}"
    title = what if slice_index is None else f"{what}, slice {slice_index} of {surface.grid.num_slices}"
    if not surface.complete:
        title += f"\nPARTIAL: {surface.num_evaluated:,} of {surface.grid.num_points:,} points"
    return title


def _footer(surface: Surface) -> str:
    checkpoint = surface.provenance.resolved.get("checkpoint")
    parts = [Path(str(checkpoint["path"])).name] if isinstance(checkpoint, dict) and "path" in checkpoint else []
    sizes = {name.split("_")[0]: metric.num_examples for name, metric in surface.metrics.items()}
    parts.append(", ".join(f"n({split}) = {size:,}" for split, size in sizes.items()))
    evaluation = surface.provenance.resolved.get("evaluation")
    if isinstance(evaluation, dict):
        parts.append(f"BatchNorm {evaluation['batchnorm']}, {evaluation['precision']}")
    num_slices = surface.grid.num_slices
    parts.append("one slice: no error bar over directions" if num_slices == 1 else f"{num_slices} slices")
    return "  ·  ".join(parts)


PLOTS: dict[str, Callable[..., None]] = {"line": line, "contour": contour}
