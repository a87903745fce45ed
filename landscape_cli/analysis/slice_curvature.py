"""The exact curvature along the directions of the scan, which ties the picture to the Hessian."""

from __future__ import annotations

import numpy as np

from landscape_cli.analysis.invariance import invariances
from landscape_cli.analysis.measurement import IN_SLICE, Measurement, advice, joined, over_slices
from landscape_cli.analysis.recorded import FINITE_DIFFERENCES, measurement, recorded, with_slices
from landscape_cli.analysis.slices import chosen_slices
from landscape_cli.surface import FloatArray, Surface

EXACT = "exact"


def slice_curvature(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """dᵀHd at the checkpoint, exact, the mean over the axes of each slice. Of filter-normalised random directions (Li
    et al. 2018, arXiv:1712.09913) it is an unbiased estimate of Σ_f ‖θ_f‖² / n_f · tr H_ff over the filters f.

    Args:
        surface: With the record slice_curvature, of all slices or the first ones.
        loss: Of the split that was measured.
        slice_index: One slice only, and no error bar.
    """
    found = recorded(surface, "slice_curvature", loss, slice_index)
    values = found.record.values.get("per_slice")
    unit = f"{found.unit} / axis unit²"
    chosen = chosen_slices(surface, slice_index)
    lacking = ""
    if values is None or not _fits(values, surface.grid.num_slices, len(surface.grid.axes)):
        lacking = f"the record {found.name} has no numbers for each slice and axis"
    elif slice_index is not None and slice_index >= len(values):
        lacking = f"the record {found.name} has the first {len(values)} slices only"
    elif not np.isfinite(values).all():
        lacking = f"the record {found.name} is not finite"
    if found.lacking or lacking or values is None:
        return measurement(found, "slice_curvature", 0.0, unit=unit, invariant_to=(), lacking=lacking)
    used = [index for index in chosen if index < len(values)]  # by default ten slices are measured
    per_slice = values[used].mean(axis=1).tolist()  # (S, A) -> (S,)
    spread = over_slices(per_slice)
    scope = "mean over the slices" if len(per_slice) > 1 else IN_SLICE
    plain = measurement(
        found,
        "slice_curvature",
        spread.value,
        unit=unit,
        invariant_to=invariances([surface.directions[axis.name].recipe for axis in surface.grid.axes]),
        note=joined(
            EXACT if found.record.method != FINITE_DIFFERENCES else "",
            f"the first {len(used)} of {len(chosen)} slices" if len(used) < len(chosen) else "",
            advice(spread),
        ),
    )
    return with_slices(plain, per_slice, spread, scope)


def _fits(values: FloatArray, num_slices: int, num_axes: int) -> bool:
    return values.ndim == 2 and 1 <= values.shape[0] <= num_slices and values.shape[1] == num_axes
