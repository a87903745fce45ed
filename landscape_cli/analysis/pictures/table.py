"""Kinds of pictures by name: PLOTS; what belongs to each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from landscape_cli.analysis.layer import chosen_slice, layer_of
from landscape_cli.analysis.pictures.barcode import profile
from landscape_cli.analysis.pictures.convexity import convexity, layer_of_convexity
from landscape_cli.analysis.pictures.lines import line, values_of_line
from landscape_cli.analysis.pictures.maps import contour, filled, heatmap
from landscape_cli.analysis.pictures.noise import radius
from landscape_cli.analysis.pictures.solid import surface3d
from landscape_cli.analysis.pictures.spectrum import spectrum
from landscape_cli.analysis.pictures.spokes import rays, values_of_rays
from landscape_cli.analysis.pictures.steps import trajectory
from landscape_cli.surface import FloatArray, Surface

Plot = Callable[..., None]
PLOTS: dict[str, Plot] = {
    "line": line,
    "rays": rays,
    "contour": contour,
    "filled": filled,
    "heatmap": heatmap,
    "surface3d": surface3d,
    "trajectory": trajectory,
    "convexity": convexity,
    "spectrum": spectrum,
    "profile": profile,
    "radius": radius,
}

IN_SPACE = ("surface3d",)  # on axes of the projection "3d"
BESIDE_THE_GRID = ("radius", "spectrum")  # of which the slices of the grid say nothing
_SQUARE = (6.4, 5.2)
_SIZES: Mapping[str, tuple[float, float]] = {"surface3d": (6.4, 5.6), "trajectory": (6.4, 5.9)}
_MAPS = ("contour", "filled", "heatmap", "surface3d", "trajectory", "convexity")

OF_ONE_SLICE = (*_MAPS, "profile")  # where none is chosen, of the first


def usual_kind(surface: Surface, slice_index: int | None = None) -> str:
    """The picture of a slice, by default the first, where no kind is asked for."""
    if len(surface.grid.axes) == 1:
        return "line"
    path = surface.trajectory
    return "filled" if path is None or not path.is_known_in(chosen_slice(surface, slice_index)) else "trajectory"


def usual_size(kind: str) -> tuple[float, float]:
    """Width and height of a picture, in inches."""
    return _SIZES.get(kind, _SQUARE if kind in _MAPS else (6.4, 4.2))


def values_shown(kind: str, surface: Surface, metric: str | None, slice_index: int | None) -> FloatArray:
    """The values that decide the scale of a picture, flat; none for the kinds that have a scale of their own."""
    if kind == "convexity":
        return layer_of_convexity(surface, slice_index).shown
    if kind in _MAPS:
        return layer_of(surface, metric, slice_index).shown
    of_kind = {"line": values_of_line, "rays": values_of_rays}.get(kind)
    return np.empty(0) if of_kind is None else of_kind(surface, metric, slice_index)
