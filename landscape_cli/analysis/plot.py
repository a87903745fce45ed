"""Pictures of one or several surfaces, and their files."""

from __future__ import annotations

import inspect
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from landscape_cli.analysis.captions import axis_label, footer, footer_of_several
from landscape_cli.analysis.layer import chosen_slice
from landscape_cli.analysis.pictures.differences import draw_difference
from landscape_cli.analysis.pictures.panels import draw_panels, shape_of
from landscape_cli.analysis.pictures.styles import Style, shade, style_of
from landscape_cli.analysis.pictures.table import BESIDE_THE_GRID, IN_SPACE, OF_ONE_SLICE, PLOTS, usual_kind, usual_size
from landscape_cli.analysis.pictures.wording import write_title
from landscape_cli.analysis.unchecked import visible
from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.storage import replace_file
from landscape_cli.surface import Surface

# Without dates, so that equal surfaces are equal files.
_METADATA: dict[str, dict[str, Any]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
SUFFIXES = tuple(_METADATA)
_OF_KINDS = ("metric", "slice_index", "log", "vmin", "vmax", "levels", "cmap", "colorbar", "view")
_STAYING = ("PARTIAL", "NOT MEASURED ALIKE")  # lines of a title that one of the user's does not replace
_PANEL = 0.62  # of the size of a single picture
_SMALLEST = 0.68  # words at the foot, beside the others
_CHARACTER = 0.52  # width of one, beside its size
_LEAST = (2.5, 2.0)  # inches; below it words are wider than the picture
_SHRINK = (0.7, 1.5)  # words never become smaller or larger than this


def plot(
    surface: Surface | Mapping[str, Surface],
    path: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    ax: Axes | None = None,
    metric: str | None = None,
    slice_index: int | None = None,
    difference: bool = False,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    levels: int | Sequence[float] | None = None,
    cmap: str | None = None,
    colorbar: bool = True,
    view: tuple[float, float] | None = None,
    title: str | None = None,
    style: str = "paper",
    size: tuple[float, float] | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw one or several surfaces, whole or partial; partial ones are marked as such.

    Args:
        surface: From `landscape_cli.load_surface`; several by name are drawn side by side on one scale.
        path: Where to save: .png, .pdf or .svg; None only returns the figure. An older file is replaced whole.
        kind: A name in ``PLOTS``; by default ``"line"`` in 1-D, and in 2-D ``"filled"``, or ``"trajectory"`` where the
            file has a path of checkpoints.
        ax: Axes of your own to draw one surface into, in your style and without a footer; of the projection ``"3d"``
            for ``"surface3d"``.
        metric: What to draw; by default all losses and accuracies on a line, the first loss on a plane.
        slice_index: Which slice, from 0; by default all on a line, the first on a plane.
        difference: Draw the second of two surfaces minus the first; where they span decades, divided by it.
        log: Whether the scale is logarithmic; by default where values are positive and span more than a factor of 50.
        vmin: Where the scale begins.
        vmax: Where it ends.
        levels: About how many contours, or which.
        cmap: A colour map of matplotlib.
        colorbar: Whether there is one.
        view: Of ``"surface3d"``: elevation and azimuth, in degrees.
        title: In place of the one that says what is drawn.
        style: ``"paper"``, ``"slide"`` or ``"dark"``.
        size: Width and height in inches.
        dpi: Resolution of .png.

    Returns:
        The figure.

    Raises:
        UsageError: Unknown kind, metric, slice, style or suffix; an option that the kind does not have; a file without
            what the kind draws.
        OutputError: The file cannot be written.
    """
    surfaces = {"": surface} if isinstance(surface, Surface) else dict(surface)
    if not surfaces:
        raise UsageError("plot: found no surface; expected at least one")
    suffix = _suffix(Path(path)) if path is not None else None
    for each in surfaces.values():
        chosen_slice(each, slice_index)
    usual = {usual_kind(each, slice_index) for each in surfaces.values()}
    kind = kind or (usual.pop() if len(usual) == 1 and (not difference or usual != {"trajectory"}) else "filled")
    if kind not in PLOTS:
        raise UsageError(f"kind: found {kind!r}{did_you_mean(kind, PLOTS)}")
    given = {"metric": metric, "slice_index": slice_index, "log": log, "vmin": vmin, "vmax": vmax, "levels": levels}
    options = options_of(kind, given | {"cmap": cmap, "colorbar": colorbar, "view": view})
    title = None if title is None else "\n".join(map(visible, title.split("\n")))
    if ax is not None:
        others = {
            "path": path is not None,
            "size": size is not None,
            "difference": difference,
            "style": style != "paper",
        }
        return _draw_into(ax, surfaces, kind, options, title, [name for name, is_given in others.items() if is_given])
    with drawing(style_of(style), _shrink(kind, style, size)) as chosen:
        figure = Figure(figsize=size or _size(kind, 1 if difference else len(surfaces), chosen), layout="compressed")
        FigureCanvasAgg(figure)
        _draw(figure, surfaces, kind, options, difference=difference)
        if title is not None:
            _entitle(figure, title, is_single=difference or len(surfaces) == 1)
        small = _SMALLEST * mpl.rcParams["font.size"]
        words = _footer(surfaces, kind, slice_index, int(figure.get_figwidth() * 72 / (small * _CHARACTER)))
        if figure.axes[0].get_xlabel() == "x":  # there was no room for more
            first = next(iter(surfaces.values()))
            words = "\n".join([*(axis_label(first, name) for name in "xy"), words])
        figure.supxlabel(words, fontsize=small, color=shade(0.55), parse_math=False)
        figure.draw_without_rendering()  # what stands around axes of one shape is known only behind a first layout
        if path is not None and suffix is not None:
            if not dpi > 0:
                raise UsageError(f"dpi: found {dpi:g}; expected more than 0")
            content = io.BytesIO()
            figure.savefig(content, format=suffix.removeprefix("."), dpi=dpi, metadata=_METADATA[suffix])
            replace_file(Path(path), content.getvalue())
    return figure


def _shrink(kind: str, style: str, size: tuple[float, float] | None) -> float:
    """How much smaller words are on a picture that is smaller than usual, and larger on a larger one."""
    if size is None:
        return 1.0
    if not (_LEAST[0] <= size[0] < np.inf and _LEAST[1] <= size[1] < np.inf):
        found = f"{size[0]:g} × {size[1]:g}"
        raise UsageError(f"size: found {found} inches; expected at least {_LEAST[0]:g} × {_LEAST[1]:g} for the words")
    width, height = (style_of(style).scale * side for side in usual_size(kind))
    return float(np.clip(np.sqrt(min(size[0] / width, size[1] / height)), *_SHRINK))


def options_of(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options of `plot` that a kind has, with None for those that were not given.

    Raises:
        UsageError: One was given that it does not have.
    """
    accepted = inspect.signature(PLOTS[kind]).parameters
    named = {name: given.get(name) for name in _OF_KINDS}
    for name, value in named.items():
        if value is not None and not (name == "colorbar" and value) and name not in accepted:
            have = [each for each in PLOTS if name in inspect.signature(PLOTS[each]).parameters]
            words = {"slice_index": "slice", "colorbar": "no-colorbar"}.get(name, name)
            raise UsageError(
                f"{words}: the kind {kind!r} has no such option", hint=f"These have it: {', '.join(have)}."
            )
    options = {name: value for name, value in named.items() if name in accepted}
    if "colorbar" in options:
        options["colorbar"] = options["colorbar"] is not False
    return options


def _footer(surfaces: Mapping[str, Surface], kind: str, slice_index: int | None, width: int) -> str:
    """From what the picture was made."""
    index = 0 if slice_index is None and kind in OF_ONE_SLICE else slice_index
    facts: dict[str, Any] = {"with_slices": kind not in BESIDE_THE_GRID, "slice_index": index}
    if len(surfaces) == 1:
        return footer(next(iter(surfaces.values())), width, **facts)
    return footer_of_several(surfaces, width, **facts)


@contextmanager
def drawing(style: Style, factor: float = 1.0) -> Iterator[Style]:
    """The settings of a style, for a while, with words larger by a factor."""
    settings: Any = dict(style.settings)
    settings["font.size"] *= factor
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a name in a script without font
        yield style


def _size(kind: str, num: int, style: Style) -> tuple[float, float]:
    width, height = (style.scale * side for side in usual_size(kind))
    rows, columns = shape_of(num)
    return (width, height) if num == 1 else (_PANEL * columns * width + 0.6, _PANEL * rows * height + 0.5)


def _draw(
    figure: Figure, surfaces: Mapping[str, Surface], kind: str, options: dict[str, Any], *, difference: bool
) -> None:
    if difference:
        draw_difference(figure, surfaces, kind, options)
    elif len(surfaces) > 1:
        draw_panels(figure, surfaces, kind, options)
    else:
        (surface,) = surfaces.values()
        ax: Axes = figure.add_subplot(projection="3d" if kind in IN_SPACE else None)
        ax.locator_params(nbins=5)
        PLOTS[kind](surface, ax, **options)


def _draw_into(
    ax: Axes,
    surfaces: Mapping[str, Surface],
    kind: str,
    options: dict[str, Any],
    title: str | None,
    others: Sequence[str],
) -> Figure:
    if len(surfaces) > 1:
        raise UsageError(f"ax: found {len(surfaces)} surfaces; expected one", hint="Call plot once for each.")
    if others:
        raise UsageError(f"{others[0]}: found beside ax; the figure is yours", hint="Save it with its own savefig.")
    PLOTS[kind](next(iter(surfaces.values())), ax, **options)
    if title is not None:
        ax.set_title(title, loc="left", parse_math=False)
    figure = ax.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return figure


def _entitle(figure: Figure, title: str, *, is_single: bool) -> None:
    """Put a title in place of ours; what says that a picture is partial stays."""
    if not is_single:
        figure.suptitle(title, fontweight="bold", x=0.01, ha="left", parse_math=False)
        return
    ax = figure.axes[0]
    rest = [each for each in ax.get_title(loc="left").split("\n")[1:] if each.startswith(_STAYING)]
    write_title(ax, "\n".join([title, *rest]))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        what = repr(suffix) if suffix else "a file without a suffix"
        others = "landscape plot also writes .html, .gif and .mp4."
        raise UsageError(f"{path}: cannot draw {what}; expected {', '.join(SUFFIXES)}", hint=others)
    return suffix
