"""How far from convex the loss is at the points of the grid, by the eigenvalues of the whole Hessian."""

from __future__ import annotations

import math

import numpy as np

from landscape_cli.analysis.eigenvalues import noise, tolerance
from landscape_cli.analysis.measurement import IN_SLICE, Measurement, advice, joined, over_slices
from landscape_cli.analysis.recorded import MAP, how_to_add, measurement, recorded, with_slices
from landscape_cli.analysis.slices import chosen_slices
from landscape_cli.surface import BoolArray, FloatArray, Surface

_NAME = "nonconvexity"
_METRICS = ("lambda_min", "lambda_max", "lambda_min_residual")


def nonconvexity(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, curv_tol: float = 0.01
) -> Measurement:
    """Mean of |λ_min / λ_max| over the points of the grid (Li et al. 2018, arXiv:1712.09913, fig. 7); the note counts
    the points with λ_min < −tol, tol as for `critical_point`.

    Args:
        surface: With a map of the extreme eigenvalues, finished or not, and the record of it.
        loss: Of the split that was measured.
        slice_index: One slice only.
        curv_tol: See `critical_point`.
    """
    found, chosen = recorded(surface, MAP, loss, slice_index), chosen_slices(surface, slice_index)
    points, lacking = surface.curvature_map, _lacking(surface)
    if points is None or lacking or found.lacking:
        return measurement(found, _NAME, math.nan, unit="", invariant_to=(), lacking=lacking)
    masks = [points.evaluated[index] for index in chosen]
    least, largest, residual = (
        [points[name][index][mask] for index, mask in zip(chosen, masks, strict=True)] for name in _METRICS
    )
    per_slice = [_ratio(*pair) for pair in zip(least, largest, strict=True)]
    if np.isnan(per_slice).all():
        lacking = "no point of the map has both eigenvalues"
        return measurement(found, _NAME, math.nan, unit="", invariant_to=(), lacking=lacking)
    negative = sum(
        _num_negative(*each, found.conditions.precision, found.record.method, curv_tol)
        for each in zip(least, largest, residual, strict=True)
    )
    known = sum(int(_known(*pair).sum()) for pair in zip(least, largest, strict=True))
    total = sum(mask.size for mask in masks)
    spread = over_slices(per_slice)
    plain = measurement(
        found,
        _NAME,
        spread.value,
        unit="",
        invariant_to=(),
        settings={"curv_tol": curv_tol},
        note=joined(
            f"λ_min < −tol at {negative:,} of {known:,} points",
            f"{total - known:,} points left out: not there, or not finite" if known < total else "",
            advice(spread),
        ),
    )
    return with_slices(plain, per_slice, spread, IN_SLICE)


def _lacking(surface: Surface) -> str:
    points = surface.curvature_map
    if points is None:
        return how_to_add(surface, MAP)
    absent = [name for name in _METRICS if name not in points.metrics]
    if absent:
        return f"the map has no {' and '.join(absent)}"
    return "the map has other axes or slices than the grid" if points.grid != surface.grid else ""


def _known(least: FloatArray, largest: FloatArray) -> BoolArray:
    known: BoolArray = np.isfinite(least) & np.isfinite(largest) & (largest != 0)
    return known


def _ratio(least: FloatArray, largest: FloatArray) -> float:
    known = _known(least, largest)
    return float(np.abs(least[known] / largest[known]).mean()) if known.any() else float("nan")


def _num_negative(
    least: FloatArray, largest: FloatArray, residual: FloatArray, precision: str, method: str, curv_tol: float
) -> int:
    known = _known(least, largest)
    return sum(
        low < -tolerance(noise(low, high, error, precision, method), high, curv_tol)
        for low, high, error in zip(least[known], largest[known], np.nan_to_num(residual[known]), strict=True)
    )
