"""How far from convex the loss is at the points of the grid, by the eigenvalues of the whole Hessian."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape_cli.analysis.eigenvalues import noise, tolerance
from landscape_cli.analysis.measurement import IN_SLICE, Measurement, advice, joined, over_slices
from landscape_cli.analysis.recorded import MAP, Conditions, conditions_of, how_to_add
from landscape_cli.analysis.slices import chosen_slices, name_of_loss
from landscape_cli.surface import BoolArray, FloatArray, Surface

_NAME = "nonconvexity"
_METRICS = ("lambda_min", "lambda_max", "lambda_min_residual")


def nonconvexity(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, curv_tol: float = 0.01
) -> Measurement:
    """Mean of |λ_min / λ_max| over the points of the grid (Li et al. 2018, arXiv:1712.09913, fig. 7); the note counts
    the points with λ_min < −tol, tol as for `critical_point`.

    Args:
        surface: With a map of the extreme eigenvalues, finished or not.
        loss: Of the split that was measured.
        slice_index: One slice only.
        curv_tol: See `critical_point`.
    """
    chosen, _ = chosen_slices(surface, slice_index), name_of_loss(surface, loss)
    found, conditions = surface.curvature_map, _conditions(surface)
    lacking = "" if found is not None else how_to_add(surface, MAP)
    if found is not None and not all(name in found.metrics for name in _METRICS):
        lacking = f"the map has no {' and '.join(name for name in _METRICS if name not in found.metrics)}"
    elif found is not None and found.grid.num_slices <= chosen[-1]:
        lacking = "the map has fewer slices than the grid"
    elif found is not None and loss is not None and conditions.split and loss != f"{conditions.split}_loss":
        lacking = f"was measured on {conditions.split}_loss, not on {loss}"
    if found is None or lacking:
        return Measurement(_NAME, invariant_to=(), note=lacking)
    masks = [found.evaluated[index] for index in chosen]
    least, largest, residual = (
        [found[name][index][mask] for index, mask in zip(chosen, masks, strict=True)] for name in _METRICS
    )
    per_slice = [_ratio(*pair) for pair in zip(least, largest, strict=True)]
    if np.isnan(per_slice).all():
        return Measurement(_NAME, invariant_to=(), note="no point of the map has both eigenvalues")
    method = _method(surface)
    negative = sum(
        _num_negative(*each, conditions.precision, method, curv_tol)
        for each in zip(least, largest, residual, strict=True)
    )
    known = sum(int(_known(*pair).sum()) for pair in zip(least, largest, strict=True))
    total = sum(mask.size for mask in masks)
    spread = over_slices(per_slice)
    return replace(
        Measurement(_NAME, value=spread.value, standard_error=spread.standard_error),
        per_slice=tuple(per_slice),
        range=spread.range,
        spread=spread.spread,
        interval=spread.interval,
        invariant_to=(),
        num_examples=found.metrics["lambda_min"].num_examples,
        scope=IN_SLICE,
        settings={"curv_tol": curv_tol},
        note=joined(
            f"λ_min < −tol at {negative:,} of {known:,} points",
            f"{total - known:,} points left out: not there, or not finite" if known < total else "",
            advice(spread),
        ),
    )


def _conditions(surface: Surface) -> Conditions:
    """Of the eigenvalues at the checkpoint: the map is measured as they are."""
    record = surface.curvature.records.get("eigenvalues") if surface.curvature is not None else None
    return conditions_of(record) if record is not None else Conditions()


def _method(surface: Surface) -> str:
    record = surface.curvature.records.get("eigenvalues") if surface.curvature is not None else None
    return record.method if record is not None else ""


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
