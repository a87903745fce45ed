"""Values of several slices along an axis, drawn: mean, standard error and range."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from landscape_cli.analysis.curve import Band
from landscape_cli.surface import FloatArray


def draw_band(ax: Axes, x: FloatArray, band: Band, color: str, **style: Any) -> None:
    """Draw the mean as a line, its standard error and the range as bands."""
    ax.plot(x, band.mean, color=color, **style)
    low, high = band.mean - band.standard_error, band.mean + band.standard_error
    for lower, upper, alpha in ((band.low, band.high, 0.15), (low, high, 0.3)):
        if (upper > lower).any():
            ax.fill_between(x, lower, upper, where=(upper >= lower).tolist(), color=color, alpha=alpha, linewidth=0)
