"""Levels of contours, round where that is possible, and the colours between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from landscape_cli.analysis.captions import distinct
from landscape_cli.analysis.pictures.styles import COLORS
from landscape_cli.analysis.scale import Scale, scale_of
from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.surface import FloatArray

_MAX_LEVELS = 18
_USUAL = 12
_ROUND = [1, 2, 2.5, 5, 10]
_MOST = 200
_HUGE = 1e200  # matplotlib fills no further than 1e250
_TINY = 1e-290  # below it differences of floats are lost
_ABOUT = 0.35  # how far a number of levels may be off for the sake of round ones
_NARROW = 20.0  # the ratio up to which evenly spaced levels are rounder, also on a logarithmic scale
_MOST_TICKS = 18
_SHARE, _LINE = 0.6, 2.0  # of the height of a figure is a colour bar; of a number, beside its size
_APART = 0.03  # of two numbers beside the scale, as a share of it

Extend = Literal["neither", "min", "max", "both"]


@dataclass(frozen=True)
class Colors:
    """From values to colours.

    Attributes:
        levels: (L,) rising, L at least 2; the outermost are the ends of the scale.
        norm: From values to the share of the way through the colours.
        cmap: The colours.
        extend: At which ends there are values beyond, in the colour of the end.
    """

    levels: FloatArray
    norm: Normalize
    cmap: Colormap
    extend: Extend

    @property
    def is_log(self) -> bool:
        """Whether the scale is divided by factors."""
        return isinstance(self.norm, LogNorm)

    @property
    def drawing(self) -> dict[str, Any]:
        """What matplotlib wants to know."""
        return {"norm": self.norm, "cmap": self.cmap}


def colors_of(
    values: FloatArray,
    *,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    levels: int | Sequence[float] | None = None,
    cmap: str | None = None,
) -> Colors:
    """The colours in which values are shown.

    Args:
        values: Those that are not finite do not count.
        log: See `scale_of`.
        vmin: See `scale_of`.
        vmax: See `scale_of`.
        levels: About how many, or which; they then are the ends of the scale, too.
        cmap: The name of a colour map of matplotlib.

    Raises:
        UsageError: See `scale_of`; no such colour map; levels that do not rise.
    """
    if (np.abs(values[np.isfinite(values)]) > _HUGE).any():
        raise UsageError(f"values reach beyond {_HUGE:g}, where pictures of planes end", hint="Draw another metric.")
    if isinstance(levels, int) or levels is None:
        scale = scale_of(values, log=log, vmin=vmin, vmax=vmax)
        chosen = _levels(scale, _checked_number(levels), exact=(vmin is not None, vmax is not None))
    else:
        chosen = checked_levels(levels)
        if vmin is not None or vmax is not None:
            raise UsageError("levels: found beside vmin or vmax; the outermost levels are the ends of the scale")
        if log and chosen[0] <= 0:
            raise UsageError(f"levels: found {chosen[0]:g}; a logarithmic scale needs levels above 0")
        scale = scale_of(values, log=log, vmin=float(chosen[0]), vmax=float(chosen[-1]))
    norm = (LogNorm if scale.log else Normalize)(chosen[0], chosen[-1])
    return Colors(chosen, norm, color_map(cmap or COLORS), _extend(scale))


def color_map(name: str) -> Colormap:
    """A colour map of matplotlib.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in mpl.colormaps:
        close = did_you_mean(name, mpl.colormaps)
        known = "; such as viridis, cividis, magma, RdBu_r or gray" if close.startswith("; known") else close
        raise UsageError(f"cmap: found {name!r}{known}")
    return mpl.colormaps[name]


def color_bar(axes: Axes | Sequence[Axes], colors: Colors, label: str, *, ticks: Sequence[float] | None = None) -> None:
    """Draw the scale beside one or several axes, with numbers that can be told apart.

    Args:
        axes: Which lose the room for it.
        colors: What it shows.
        label: What the numbers are.
        ticks: Where there are numbers; by default at levels.
    """
    first = axes if isinstance(axes, Axes) else axes[0]
    figure: Any = first.get_figure(root=True)
    most = int(figure.get_figheight() * _SHARE * 72 / (_LINE * mpl.rcParams["font.size"]))
    places = _ticks(colors, most) if ticks is None else list(ticks)
    mappable = mpl.cm.ScalarMappable(colors.norm, colors.cmap)
    bar = first.figure.colorbar(mappable, ax=axes, shrink=0.9, extend=colors.extend)
    bar.set_ticks(places, labels=distinct(places))
    bar.ax.minorticks_off()
    bar.ax.set_ylabel(label, parse_math=False)


def _ticks(colors: Colors, most: int) -> list[float]:
    """Of the levels, as many as there is room for."""
    levels: list[float] = colors.levels.tolist()
    places = np.asarray(colors.norm(colors.levels)).tolist()
    inner = [each for each, place in zip(levels, places, strict=True) if _APART < place < 1 - _APART]
    ticks = [levels[0], *inner, levels[-1]]
    return ticks[:: max(1, math.ceil(len(ticks) / max(2, min(most, _MOST_TICKS))))]


def _extend(scale: Scale) -> Extend:
    if scale.below:
        return "both" if scale.above else "min"
    return "max" if scale.above else "neither"


def _checked_number(levels: int | None) -> int | None:
    if levels is not None and not 2 <= levels <= _MOST:
        raise UsageError(f"levels: found {levels}; expected 2 to {_MOST}, or a list of values")
    return levels


def checked_levels(levels: Sequence[float]) -> FloatArray:
    """Levels that were named.

    Raises:
        UsageError: They are fewer than two, or do not rise.
    """
    found = np.asarray(levels, dtype=np.float64)
    if len(found) < 2 or not np.isfinite(found).all() or (np.diff(found) <= 0).any():
        raise UsageError(f"levels: found {', '.join(f'{x:g}' for x in levels)}; expected two or more, rising")
    return found


def _levels(scale: Scale, wanted: int | None, *, exact: tuple[bool, bool]) -> FloatArray:
    """Rising levels that cover the scale; they end where it does at the ends that are to be exact."""
    low, high = scale.low, scale.high
    if not high - low > _TINY:
        pad = abs(low) * 1e-3 if abs(low) > _TINY else 1e-3
        return np.array([low if exact[0] and not exact[1] else low - pad, high if exact[1] else low + pad])
    if scale.log and (wanted is not None or high > _NARROW * low):
        levels = _log_levels(low, high, wanted)
    else:
        ticks = np.asarray(MaxNLocator(wanted or _USUAL, steps=_ROUND).tick_values(low, high), dtype=np.float64)
        if low >= 0 and high <= 1:
            ticks = np.clip(ticks, 0, 1)  # shares end there
        levels = _cover(ticks[ticks > 0] if scale.log else ticks, low, high)
    inner = levels[1:-1]
    ends = [low if exact[0] else float(levels[0]), high if exact[1] else float(levels[-1])]
    return np.concatenate([[ends[0]], inner[(inner > ends[0]) & (inner < ends[1])], [ends[1]]])


def _log_levels(low: float, high: float, wanted: int | None) -> FloatArray:
    exponents = np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 2)
    for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        levels = np.outer(10.0 ** np.clip(exponents, -307, 307), steps).ravel()
        levels = np.unique(levels)
        first = max(int(np.searchsorted(levels, low, "right")) - 1, 0)
        levels = levels[first : int(np.searchsorted(levels, high, "left")) + 1]
        if wanted is None and len(levels) <= _MAX_LEVELS:
            return _cover(levels, low, high)
        if wanted is not None and abs(len(levels) - wanted) <= _ABOUT * wanted:
            return _cover(levels, low, high)
    return _cover(np.geomspace(low, high, wanted or _MAX_LEVELS), low, high)


def _cover(levels: FloatArray, low: float, high: float) -> FloatArray:
    """Make the outermost levels cover the values: ticks are rounded, 0.3 to 0.30000000000000004."""
    tolerance = 1e-6 * (high - low) if levels[1] - levels[0] > 1e-5 * (high - low) else 0.0
    inner = levels[(levels > low + tolerance) & (levels < high - tolerance)]
    return np.concatenate([[min(levels[0], low)], inner, [max(levels[-1], high)]])
