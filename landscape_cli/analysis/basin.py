"""The low region around the checkpoint: how large it is, and where its lowest point lies."""

from __future__ import annotations

import numpy as np

from landscape_cli.analysis.coarseness import too_coarse
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.slices import Slices, measure, slices_of
from landscape_cli.surface import BoolArray, FloatArray, Surface

_PARTS = {1: 64, 2: 5, 3: 2}  # per interval of the grid, along each axis


def low_area(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, tau: float = 0.1
) -> Measurement:
    """Share of the grid's area (length, volume) with f ≤ f₀ + τ, f interpolated. It depends on the range scanned.

    Args:
        surface: Of any dimension.
        loss: By default the first.
        slice_index: One slice only.
        tau: The rise τ, in units of the loss.
    """
    slices = slices_of(surface, loss, slice_index)
    return measure(
        slices,
        "low_area",
        lambda values: _area(slices, _low(slices, values, tau)),
        unit="share",
        note=_note(slices, tau),
        settings={"tau": tau},
    )


def low_area_connected(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, tau: float = 0.1
) -> Measurement:
    """The same for the connected part of that region that holds the checkpoint; see `low_area`."""
    slices = slices_of(surface, loss, slice_index)
    return measure(
        slices,
        "low_area_connected",
        lambda values: _area(slices, _flooded(_low(slices, values, tau), _at_centre(slices))),
        unit="share",
        note=_note(slices, tau),
        settings={"tau": tau},
    )


def offset_of_minimum(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Distance from the checkpoint to the lowest point of the grid."""
    slices = slices_of(surface, loss, slice_index)
    return measure(slices, "offset_of_minimum", lambda values: _lowest(slices, values)[1], unit="axis unit")


def depth_below_centre(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """How much lower than the checkpoint the lowest point of the grid is: f₀ − min f; 0 where nothing is lower."""
    slices = slices_of(surface, loss, slice_index)
    return measure(
        slices,
        "depth_below_centre",
        lambda values: max(0.0, slices.centre - _lowest(slices, values)[0]),
        unit=slices.unit,
    )


def _lowest(slices: Slices, values: FloatArray) -> tuple[float, float]:
    """The lowest loss and its distance from the checkpoint, the nearest of equals; the checkpoint itself counts."""
    distance = np.sqrt(sum(c**2 for c in np.meshgrid(*slices.axes, indexing="ij")))
    lowest = min(float(values.min()), slices.centre)
    return lowest, 0.0 if slices.centre <= lowest else float(distance[values == lowest].min())


def _low(slices: Slices, values: FloatArray, tau: float) -> BoolArray:
    """Which cells of a lattice finer than the grid are low, by their midpoints."""
    midpoints = [_split(axis, _PARTS[len(slices.axes)])[0] for axis in slices.axes]
    points = np.stack(np.meshgrid(*midpoints, indexing="ij"), axis=-1)
    found = slices.interpolate(values, points.reshape(-1, len(midpoints)))
    return np.asarray(found <= slices.centre + tau).reshape(points.shape[:-1])


def _area(slices: Slices, mask: BoolArray) -> float:
    share = mask.astype(np.float64)
    for axis in slices.axes:  # the first one each time
        widths = _split(axis, _PARTS[len(slices.axes)])[1]
        share = np.tensordot(widths / widths.sum(), share, axes=1)
    return float(share)


def _split(axis: FloatArray, parts: int) -> tuple[FloatArray, FloatArray]:
    """Midpoints and widths of the parts of every interval."""
    ends = np.interp(np.arange((len(axis) - 1) * parts + 1) / parts, np.arange(len(axis)), axis)
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


def _at_centre(slices: Slices) -> BoolArray:
    """The cells of that lattice that touch the checkpoint."""
    touching: BoolArray = np.ones((), dtype=np.bool_)
    for axis in slices.axes:
        midpoints, widths = _split(axis, _PARTS[len(slices.axes)])
        touching = touching[..., None] & (np.abs(midpoints) <= widths * (0.5 + 1e-9))
    return touching


def _flooded(mask: BoolArray, seed: BoolArray) -> BoolArray:
    """The part of the mask that is connected to the seed, along the axes."""
    reached, grown = np.zeros_like(mask), mask & seed
    while (grown != reached).any():
        reached = grown
        for axis in range(mask.ndim):
            moved = np.moveaxis(grown, axis, 0)
            wider = moved.copy()
            wider[1:] |= moved[:-1]
            wider[:-1] |= moved[1:]
            grown = np.moveaxis(wider, 0, axis) & mask
    return reached


def _note(slices: Slices, tau: float) -> str:
    if slices.lacking:
        return ""
    ranges = " × ".join(f"[{axis[0]:g}, {axis[-1]:g}]" for axis in slices.axes)
    is_coarse = any(_is_between_points(slices, values, tau) for values in slices.values)
    return joined(f"τ = {tau:g}; of {ranges}", too_coarse(slices, "the low region", 1) if is_coarse else "")


def _is_between_points(slices: Slices, values: FloatArray, tau: float) -> bool:
    """Whether no point of the grid but the checkpoint is low, so that what is low is interpolated."""
    is_centre = np.logical_and.reduce(np.meshgrid(*(axis == 0.0 for axis in slices.axes), indexing="ij"))
    return not bool((~is_centre & (values <= slices.centre + tau)).any())
