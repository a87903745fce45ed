"""The exact curvature along the directions of the scan, which ties the picture to the Hessian."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape_cli.analysis.invariance import invariances
from landscape_cli.analysis.measurement import IN_SLICE, Measurement, advice, joined, over_slices
from landscape_cli.analysis.recorded import WHOLE, measurement, recorded
from landscape_cli.analysis.slices import chosen_slices
from landscape_cli.surface import Surface


def slice_curvature(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """dᵀHd at the checkpoint, exact, the mean over the axes of each slice. Of filter-normalised random directions (Li
    et al. 2018, arXiv:1712.09913) it is an unbiased estimate of Σ_f ‖θ_f‖² / n_f · tr H_ff over the filters f.

    Args:
        surface: With the record slice_curvature.
        loss: Of the split that was measured.
        slice_index: One slice only, and no error bar.
    """
    found = recorded(surface, "slice_curvature", loss, slice_index)
    values, shape = found.record.values.get("per_slice"), (surface.grid.num_slices, len(surface.grid.axes))
    unit = f"{found.unit} / axis unit²"
    lacking = ""
    if values is None or values.shape != shape:
        lacking = f"the record {found.name} has no per_slice of the shape {shape}"
    elif not np.isfinite(values).all():
        lacking = f"the record {found.name} is not finite"
    if found.lacking or lacking or values is None:
        return measurement(found, "slice_curvature", 0.0, unit=unit, invariant_to=(), lacking=lacking)
    per_slice = values[chosen_slices(surface, slice_index)].mean(axis=1).tolist()  # (S, A) -> (S,)
    spread = over_slices(per_slice)
    scope = "mean over the slices" if len(per_slice) > 1 else IN_SLICE
    plain = measurement(
        found,
        "slice_curvature",
        spread.value,
        unit=unit,
        invariant_to=(),
        note=joined("exact", advice(spread)),
    )
    return replace(
        plain,
        standard_error=spread.standard_error,
        per_slice=tuple(per_slice),
        range=spread.range,
        spread=spread.spread,
        interval=spread.interval,
        invariant_to=invariances([surface.directions[axis.name].recipe for axis in surface.grid.axes]),
        scope=scope if found.conditions.scope == WHOLE else f"{scope}, {found.conditions.scope}",
    )
