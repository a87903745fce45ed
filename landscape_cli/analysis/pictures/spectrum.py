"""The eigenvalues of the Hessian at the checkpoint: spectrum."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape_cli.analysis.captions import title
from landscape_cli.analysis.pictures.styles import series_color, shade
from landscape_cli.analysis.pictures.wording import legend_below, write_labels, write_title
from landscape_cli.analysis.recorded import COMMAND, recorded
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_NAME = "spectral_density"
_WIDTH = 0.01  # of a peak, beside the range of the eigenvalues
_NUM = 1000
_DECADES = 7


def density(nodes: FloatArray, weights: FloatArray, at: FloatArray, width: float) -> FloatArray:
    """The density of eigenvalues, by stochastic Lanczos quadrature with Gaussian peaks of one width (Ghorbani, Krishnan
    & Xiao 2019, arXiv:1901.10159, section 2).

    Args:
        nodes: (K, m) of K probes.
        weights: (K, m), each row of sum 1.
        at: (P,) eigenvalues.
        width: Standard deviation of a peak.

    Returns:
        (P,) with integral 1: the mean over the probes of Σ_j w_j N(λ; node_j, width²).
    """
    found = np.zeros(len(at))
    for each, weight in zip(nodes.ravel(), weights.ravel() / len(nodes), strict=True):
        found += weight * np.exp(-0.5 * ((at - each) / width) ** 2)
    return np.asarray(found / (width * np.sqrt(2 * np.pi)))


def spectrum(surface: Surface, ax: Axes, *, metric: str | None = None, log: bool | None = None) -> None:
    """Draw the density of the eigenvalues of the Hessian over their values, the negative ones in another colour.

    Peaks are Gaussians with a hundredth of the range as their standard deviation. Extreme eigenvalues are marked where
    the file has them.

    Args:
        surface: With the record ``spectral_density``: ``curvature: {measures: [default, spectral_density]}``.
        ax: Receives the drawing.
        metric: The loss of the split that was measured.
        log: Whether the density is logarithmic, which is the default: most eigenvalues are next to 0.
    """
    nodes, weights = _density_of(surface, metric)
    low, high = float(nodes.min()), float(nodes.max())
    reach = (high - low) or abs(high) or 1.0
    width = _WIDTH * reach
    at = np.linspace(low - 5 * width, high + 5 * width, _NUM)
    height = density(nodes, weights, at, width)
    positive, negative = series_color(0), series_color(4)
    floor = float(height.max()) * 10.0**-_DECADES if log is not False else 0.0
    for where, color in ((at >= 0, positive), (at <= 0, negative)):
        ax.fill_between(
            at, floor, np.maximum(height, floor), where=where.tolist(), color=color, alpha=0.35, linewidth=0
        )
    ax.plot(at, np.maximum(height, floor), color=shade(0.8), linewidth=1)
    if log is not False:
        ax.set_yscale("log")
        ax.set_ylim(floor, float(height.max()) * 3)
    ax.axvline(0, color=shade(0.25), linewidth=0.8, zorder=0)
    _write(surface, ax)
    signs = [
        Patch(color=negative, alpha=0.35, label=f"below 0 (each eigenvalue is a peak {2 * width:.2g} wide)"),
        Patch(color=positive, alpha=0.35, label="above 0"),
    ]
    legend_below(ax, [*signs, *_mark_extremes(surface, ax, metric)])


def _write(surface: Surface, ax: Axes) -> None:
    write_labels(ax, "eigenvalue λ of the Hessian at the checkpoint", "density of eigenvalues")
    words = title(surface, "eigenvalues of the Hessian", None).splitlines()[0]
    write_title(ax, words)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _density_of(surface: Surface, metric: str | None) -> tuple[FloatArray, FloatArray]:
    found = recorded(surface, _NAME, metric, None)
    values = found.record.values if not found.lacking else {}
    nodes, weights = values.get("nodes"), values.get("weights")
    if found.lacking or nodes is None or weights is None:
        is_there = surface.curvature is not None and _NAME in surface.curvature.records
        lacking = found.lacking if is_there and found.lacking else "the file has no spectral density"
        hint = f"It is made with: {COMMAND} --set 'curvature.measures=[default, {_NAME}]'"
        raise UsageError(f"kind: 'spectrum' cannot be drawn: {lacking}", hint=hint)
    if nodes.ndim != 2 or nodes.shape != weights.shape or not nodes.size or not np.isfinite([nodes, weights]).all():
        raise UsageError(
            f"kind: 'spectrum' cannot be drawn: nodes {nodes.shape} and weights {weights.shape} are not finite rows"
        )
    return nodes, weights


def _mark_extremes(surface: Surface, ax: Axes, metric: str | None) -> list[Line2D]:
    found = recorded(surface, "eigenvalues", metric, None)
    if found.lacking:
        return []
    handles = []
    for key, words, style in (("lambda_min", "λ_min", "<"), ("lambda_max", "λ_max", ">")):
        value = found.record.number(key)
        if np.isfinite(value):
            look = {"marker": style, "color": shade(0.9), "linestyle": "", "markersize": 6}
            ax.plot([value], [0.03], transform=ax.get_xaxis_transform(), clip_on=False, **look)  # type: ignore[arg-type]
            handles.append(Line2D([], [], label=f"{words} = {value:.3g}", **look))  # type: ignore[arg-type]
    return handles
