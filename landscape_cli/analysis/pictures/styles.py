"""How a picture looks, whatever it shows: for paper, for a slide, on a dark page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb

from landscape_cli.errors import UsageError, did_you_mean

_COMMON: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": "large",
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": "small",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.color": "black",
    "pdf.fonttype": 42,  # TrueType; many publishers refuse Type 3
    "svg.hashsalt": "landscape",
}
_PAPER, _INK = "#14171c", "#e8eaed"


@dataclass(frozen=True)
class Style:
    """What a picture is made for.

    Attributes:
        settings: Of matplotlib.
        scale: How much larger than on paper it is.
    """

    settings: Mapping[str, Any]
    scale: float = 1.0


STYLES: dict[str, Style] = {
    "paper": Style(_COMMON),
    "slide": Style(
        _COMMON | {"font.size": 15.0, "lines.linewidth": 2.4, "axes.linewidth": 1.2, "axes.titlesize": "medium"}, 1.4
    ),
    "dark": Style(
        _COMMON
        | dict.fromkeys(("figure.facecolor", "axes.facecolor"), _PAPER)
        | dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
        | {"legend.edgecolor": "0.4"}
    ),
}
SERIES = ("#1f5fa8", "#d1670c", "#2e8b57", "#8a4fbf", "#b03060", "#607080")
_SERIES_ON_DARK = ("#6ea8f0", "#f0a04b", "#63c794", "#bf95ee", "#ee7fa5", "#a5b4c3")
COLORS = "viridis"
DIVERGING = "RdBu_r"


def style_of(name: str) -> Style:
    """A style by name.

    Raises:
        UsageError: There is no such style.
    """
    if name not in STYLES:
        raise UsageError(f"style: found {name!r}{did_you_mean(name, STYLES)}")
    return STYLES[name]


def shade(share: float) -> str:
    """A colour between the paper (0) and the ink (1) of the style in force."""
    paper, ink = (to_rgb(mpl.rcParams[key]) for key in ("axes.facecolor", "text.color"))
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(paper, ink, strict=True))
    return to_hex((red, green, blue))


def series_color(index: int) -> str:
    """Of the index-th curve, legible on the paper of the style in force."""
    colors = SERIES if sum(to_rgb(mpl.rcParams["axes.facecolor"])) > 1.5 else _SERIES_ON_DARK
    return colors[index % len(colors)]


def hatched() -> dict[str, Any]:
    """How a region is drawn where the value is not finite."""
    return {"facecolor": shade(0.07), "edgecolor": shade(0.4), "hatch": "////", "linewidth": 0}
