"""The rise of the loss against relative noise on the weights: radius."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from landscape_cli.analysis.adaptive_radius import adaptive_radius
from landscape_cli.analysis.captions import readable, title
from landscape_cli.analysis.pictures.styles import series_color, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.analysis.relative_noise import line_of, rises_at, signs_of, slices_of_noise, tau_of
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface


def radius(surface: Surface, ax: Axes, *, metric: str | None = None, slice_index: int | None = None) -> None:
    """Draw how much the loss rises with relative noise on all weights, in every random direction and on average, with
    the adaptive radius: where the average passes τ.

    Rises are on a logarithmic axis where there are any above 0; a direction is not drawn where it does not rise.

    Args:
        surface: With a line of noise: ``radius: true`` in the config, or a line along ``normalization: weight``.
        ax: Receives the drawing.
        metric: A loss; by default the first.
        slice_index: One slice only, of a line that is the surface itself.
    """
    if slice_index is not None and surface.radius is not None:
        raise UsageError("slice: the line of noise beside the grid has directions of its own", hint="Leave it out.")
    slices, lacking = slices_of_noise(surface, metric, slice_index)
    if lacking:
        raise UsageError(f"kind: 'radius' cannot be drawn: {lacking}", hint="Scan with --set radius=true.")
    radii = slices.axes[0][slices.axes[0] > 0]
    signs = signs_of(slices, float(radii[0]))
    radii = radii[radii <= -slices.axes[0][0] * (1 + 1e-9)] if len(signs) > 1 else radii
    rises = rises_at(slices, radii, signs)  # (S, N)
    tau = tau_of(surface)
    _draw(ax, radii, rises, tau)
    label = _draw_radius(surface, ax, metric, slice_index)
    line = line_of(surface)
    write_labels(ax, "relative noise on every weight (1.0 = 100 %)", f"rise of the {readable(slices.loss)}")
    part = "" if line.complete else f"\nPARTIAL: {line.num_evaluated:,} of {line.grid.num_points:,} points"
    words = title(surface, "rise of the loss under noise on the weights", None).splitlines()[0]
    write_title(ax, words + part)
    legend_below(
        ax,
        [
            Line2D([], [], color=series_color(0), linewidth=0.8, label=f"{len(rises)} random directions"),
            Line2D([], [], color=shade(1), linewidth=2, label="mean"),
            Line2D([], [], color=series_color(1), linewidth=1, label=f"τ = {tau:g}, {label}"),
        ],
    )


def _draw(ax: Axes, radii: FloatArray, rises: FloatArray, tau: float) -> None:
    shown = np.where(np.isfinite(rises) & (rises > 0), rises, np.nan)
    curves = [np.stack([radii, each], axis=1) for each in shown]
    ax.add_collection(LineCollection(curves, colors=series_color(0), linewidths=0.8, alpha=0.5))
    mean = rises.mean(axis=0)
    ax.plot(radii, np.where(np.isfinite(mean) & (mean > 0), mean, np.nan), color=shade(1), linewidth=2)
    ax.axhline(tau, color=series_color(1), linewidth=1)
    if radii[-1] / radii[0] > 10:
        ax.set_xscale("log")
    if (shown > 0).any():
        ax.set_yscale("log")
        low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
        ax.set_ylim(max(low / 2, min(tau, high) * 1e-4), max(high, tau) * 2)
    ax.set_xlim(radii[0], radii[-1] if radii[-1] > radii[0] else radii[0] + 1)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _draw_radius(surface: Surface, ax: Axes, metric: str | None, slice_index: int | None) -> str:
    """Mark the radius with its interval; returns it in words."""
    found = adaptive_radius(surface, loss=metric, slice_index=slice_index)
    if found.value is None or math.isnan(found.value):
        return "radius not known"
    color = series_color(1)
    if found.interval is not None:
        ax.axvspan(*found.interval, color=color, alpha=0.2, linewidth=0)
    ax.axvline(found.value, color=color, linewidth=1)
    sign = {"lower": "above ", "upper": "below ", None: ""}[found.bound]
    error = f" ± {found.standard_error:.2g}" if found.standard_error is not None else ""
    return f"radius {sign}{found.value:.4g}{error}"
