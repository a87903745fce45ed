"""Pictures of a surface; PLOTS. A plot is ``f(surface, ax, *, …)``."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from landscape_cli.analysis.captions import footer
from landscape_cli.analysis.contours import contour
from landscape_cli.analysis.lines import line
from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.storage import replace_file
from landscape_cli.surface import Surface

__all__ = ["PLOTS", "SUFFIXES", "contour", "line", "plot"]

Plot = Callable[..., None]
PLOTS: dict[str, Plot] = {"line": line, "contour": contour}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType; many publishers refuse Type 3
    "svg.hashsalt": "landscape",
}
# Without dates, so that equal surfaces are equal files.
_METADATA: dict[str, dict[str, Any]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
SUFFIXES = tuple(_METADATA)


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
        path: Where to save: .png, .pdf or .svg; None only returns the figure. An older file is replaced whole.
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
    suffix = _suffix(Path(path)) if path is not None else None
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a name in a script without font
        figure = Figure(figsize=(6.4, 5.2) if kind == "contour" else (6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        ax: Axes = figure.add_subplot()
        ax.locator_params(nbins=5)
        PLOTS[kind](surface, ax, metric=metric, slice_index=slice_index)
        figure.supxlabel(footer(surface), fontsize=6.5, color="0.45", parse_math=False)
        if path is not None and suffix is not None:
            content = io.BytesIO()
            figure.savefig(content, format=suffix.removeprefix("."), dpi=dpi, metadata=_METADATA[suffix])
            replace_file(Path(path), content.getvalue())
    return figure


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        what = repr(suffix) if suffix else "a file without a suffix"
        raise UsageError(f"{path}: cannot draw {what}; expected {', '.join(SUFFIXES)}")
    return suffix
