"""The pictures of a report: every kind that the files have something for, each with what it shows in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from landscape_cli.analysis.captions import axes_by_label, readable
from landscape_cli.analysis.layer import chosen_metric
from landscape_cli.analysis.pages.embedded import embedded
from landscape_cli.analysis.pictures.panels import shape_of
from landscape_cli.analysis.pictures.styles import style_of
from landscape_cli.analysis.pictures.table import BESIDE_THE_GRID, IN_SPACE, usual_kind, values_shown
from landscape_cli.analysis.plot import drawing, plot
from landscape_cli.analysis.recorded import recorded
from landscape_cli.analysis.relative_noise import slices_of_noise
from landscape_cli.analysis.scale import scale_of
from landscape_cli.analysis.slices import slices_of
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_MOST_POINTS = 20_000  # of all panels, from there on as dots
_DIFFERENCE = "difference"
_OF_A_LAYER = ("filled", "trajectory", "surface3d", "convexity", _DIFFERENCE)
_OF_CURVES = ("line", "rays")
_HEADINGS = {
    "line": "Along the line",
    "filled": "The plane",
    "trajectory": "The path of training",
    _DIFFERENCE: "The difference",
    "surface3d": "The plane in space",
    "rays": "On the way out",
    "radius": "Noise on the weights",
    "spectrum": "Curvature in all directions",
    "convexity": "How far from convex",
}
_CAPTIONS = {
    "line": "Losses and accuracies along the line; the checkpoint is at 0.",
    "filled": "Lines of equal {metric} in the plane; + is the checkpoint.",
    "trajectory": "The checkpoints of a training in the plane, over lines of equal {metric}; + is the checkpoint that "
    "was scanned. The redder a step, the farther from the plane that checkpoint lies.",
    _DIFFERENCE: "Where the {metric} of the second file is above that of the first (red), and where below (blue).",
    "surface3d": "The same plane: height and colour are the {metric}.",
    "rays": "The {metric} against the distance from the checkpoint, along each ray of the grid, and their median.",
    "radius": "How much the loss rises when noise is put on all weights, in each random direction and on average. The "
    "adaptive radius is the noise at which the average passes τ. 1.0 = 100 % relative noise on every weight.",
    "spectrum": "How the eigenvalues of the Hessian at the checkpoint are distributed: each is the curvature of the "
    "loss in one direction; where it is negative the loss curves downwards.",
    "convexity": "|λ_min / λ_max| of the Hessian at each point of the plane: 0 where the loss is convex.",
}
_SHOWN = {
    "line": "Curves of losses and accuracies",
    "filled": "Filled contours of the {metric}",
    "trajectory": "A path of checkpoints over filled contours of the {metric}",
    _DIFFERENCE: "Filled contours of the difference in {metric}",
    "surface3d": "A surface in space, as high as the {metric}",
    "rays": "Curves of the {metric} against the distance from the checkpoint",
    "radius": "Curves of the rise of the loss against relative noise on the weights",
    "spectrum": "The density of the eigenvalues of the Hessian",
    "convexity": "A map of |λ_min / λ_max| of the Hessian",
}


@dataclass(frozen=True)
class Illustration:
    """A picture of one or several files.

    Attributes:
        kind: A name in ``PLOTS``, or ``"difference"``.
        names: Of the files.
        heading: In a few words.
        source: The address of the image, which holds all of it.
        shown: What is seen, for those who do not see it.
        caption: How to read it, a sentence each.
        num_columns: Panels side by side.
        width: In inches.
        height: In inches.
    """

    kind: str
    names: tuple[str, ...]
    heading: str
    source: str
    shown: str
    caption: tuple[str, ...]
    num_columns: int
    width: float
    height: float


def illustrations(surfaces: Mapping[str, Surface], *, loss: str | None = None) -> Iterator[Illustration]:
    """All pictures; several files that have the same are side by side, on one scale.

    Args:
        surfaces: One or several, by name.
        loss: What is drawn of a plane and measured; by default the first loss.

    Raises:
        UsageError: A surface does not have that loss.
    """
    for kind in _HEADINGS:
        if kind == _DIFFERENCE and len(surfaces) != 2:
            continue
        having = {name: surface for name, surface in surfaces.items() if _has(surface, kind, loss)}
        for alike in _alike(having, kind, loss):
            for each in _drawn(alike, kind, loss):
                # of only some of the files: of which
                yield each if len(each.names) == len(surfaces) else replace(each, heading=_of(each))


def _alike(surfaces: Mapping[str, Surface], kind: str, loss: str | None) -> list[dict[str, Surface]]:
    """Those that can stand side by side: of one metric, and curves of as many slices, so that one legend explains
    them.
    """
    found: dict[tuple[object, ...], dict[str, Surface]] = {}
    for name, surface in surfaces.items():
        shape = (len(surface.grid.axes), surface.grid.num_slices) if kind in _OF_CURVES else ()
        found.setdefault((chosen_metric(surface, loss), *shape), {})[name] = surface
    return list(found.values())


def _of(illustration: Illustration) -> str:
    return f"{illustration.heading}: {', '.join(illustration.names)}"


def _drawn(surfaces: Mapping[str, Surface], kind: str, loss: str | None) -> Iterator[Illustration]:
    """One picture, or one of each file; where one cannot be drawn none."""
    if kind in IN_SPACE and len(surfaces) > 1:  # there panels are too small to be read
        yield from _drawn_apart(surfaces, kind, loss)
        return
    try:
        yield _illustration(surfaces, kind, loss)
    except UsageError:
        if len(surfaces) > 1 and kind != _DIFFERENCE:
            for name, surface in surfaces.items():
                yield from _drawn({name: surface}, kind, loss)


def _drawn_apart(surfaces: Mapping[str, Surface], kind: str, loss: str | None) -> Iterator[Illustration]:
    """A picture of each file, all on one scale."""
    scale = scale_of(np.concatenate([values_shown(kind, surface, loss, None) for surface in surfaces.values()]))
    options = {"vmin": scale.low, "vmax": scale.high, "log": scale.log} if scale.high > scale.low else {}
    for name, surface in surfaces.items():
        yield _illustration({name: surface}, kind, loss, title=name, **options)


def _illustration(surfaces: Mapping[str, Surface], kind: str, loss: str | None, **options: Any) -> Illustration:
    is_difference = kind == _DIFFERENCE
    usual = "line" if len(next(iter(surfaces.values())).grid.axes) == 1 else "filled"
    with drawing(style_of("paper")):
        figure = plot(
            surfaces if len(surfaces) > 1 else next(iter(surfaces.values())),
            kind=usual if is_difference else kind,
            metric=_metric_of(kind, loss),
            difference=is_difference,
            **options,
        )
        source = embedded(figure, as_dots=_num_points(surfaces, kind) > _MOST_POINTS)
    num_columns = 1 if is_difference else shape_of(len(surfaces))[1]
    return Illustration(
        kind,
        tuple(surfaces),
        _HEADINGS[kind],
        source,
        _shown_in_words(surfaces, kind, loss),
        tuple(_caption(surfaces, kind, loss)),
        num_columns,
        *_size(figure),
    )


def _metric_of(kind: str, loss: str | None) -> str | None:
    """A line shows all losses and accuracies, and a map of eigenvalues has no metric."""
    return None if kind in ("line", "convexity") else loss


def _size(figure: Figure) -> tuple[float, float]:
    return float(figure.get_figwidth()), float(figure.get_figheight())


def _num_points(surfaces: Mapping[str, Surface], kind: str) -> int:
    """That a picture is made of; of a plane those of one slice."""
    if kind in BESIDE_THE_GRID:
        return 0
    sizes = [surface.grid.num_points // surface.grid.num_slices for surface in surfaces.values()]
    return sum(sizes) if kind in _OF_A_LAYER else sum(surface.grid.num_points for surface in surfaces.values())


# ---------------------------------------------------------------- what a file has


def _has(surface: Surface, kind: str, loss: str | None) -> bool:
    try:
        return _NEEDS[kind](surface, loss)
    except UsageError:
        return False


def _is_of_usual_kind(kind: str) -> Callable[[Surface, str | None], bool]:
    return lambda surface, _loss: usual_kind(surface) == kind


def _is_plane(surface: Surface, loss: str | None) -> bool:  # noqa: ARG001  # one signature for all
    return len(surface.grid.axes) > 1 and min(len(axis) for axis in surface.grid.axes[:2]) > 1


_NEEDS: Mapping[str, Callable[[Surface, str | None], bool]] = {
    "line": _is_of_usual_kind("line"),
    "filled": _is_of_usual_kind("filled"),
    "trajectory": _is_of_usual_kind("trajectory"),
    _DIFFERENCE: lambda _surface, _loss: True,
    "surface3d": _is_plane,
    "rays": lambda surface, loss: not slices_of(surface, loss, None).lacking,
    "radius": lambda surface, loss: not slices_of_noise(surface, loss, None)[1],
    "spectrum": lambda surface, loss: not recorded(surface, "spectral_density", loss, None).lacking,
    "convexity": lambda surface, _loss: surface.curvature_map is not None,
}


# ---------------------------------------------------------------- words


def _caption(surfaces: Mapping[str, Surface], kind: str, loss: str | None) -> Iterator[str]:
    yield _CAPTIONS[kind].format(metric=_metrics(surfaces, loss))
    if kind in BESIDE_THE_GRID:
        return
    yield from _axes(surfaces)
    if kind in _OF_A_LAYER and any(surface.grid.num_slices > 1 for surface in surfaces.values()):
        yield "Of several slices the first is shown."
    if not all(surface.complete for surface in surfaces.values()):
        yield "Points that were not evaluated are left blank."


def _axes(surfaces: Mapping[str, Surface]) -> Iterator[str]:
    """What 1.0 means on each axis, and of which files."""
    files: dict[str, list[str]] = {}
    for name, surface in surfaces.items():
        words = "; ".join(f"{', '.join(axes)}: {label}" for label, axes in axes_by_label(surface).items())
        files.setdefault(words, []).append(name)
    for words, names in files.items():
        yield f"{words}." if len(files) == 1 else f"{', '.join(names)}: {words}."


def _metrics(surfaces: Mapping[str, Surface], loss: str | None) -> str:
    names = dict.fromkeys(readable(chosen_metric(surface, loss)) for surface in surfaces.values())
    return " or ".join(names)


def _shown_in_words(surfaces: Mapping[str, Surface], kind: str, loss: str | None) -> str:
    parts = [f"{name}{_span(values)}" for name, values in _values(surfaces, kind, loss)]
    between = " and " if kind == _DIFFERENCE else "; "
    return f"{_SHOWN[kind].format(metric=_metrics(surfaces, loss))} of {between.join(parts)}"


def _values(surfaces: Mapping[str, Surface], kind: str, loss: str | None) -> Iterator[tuple[str, FloatArray]]:
    for name, surface in surfaces.items():
        is_known = kind in _OF_A_LAYER and kind != _DIFFERENCE
        yield (
            name,
            values_shown(kind, surface, _metric_of(kind, loss), None) if is_known else np.empty(0),
        )


def _span(values: FloatArray) -> str:
    finite = values[np.isfinite(values)]
    return f", from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
