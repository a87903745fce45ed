"""Relative flatness: the curvature of a layer, weighted by the products of its neurons' weights."""

from __future__ import annotations

from landscape_cli.analysis.invariance import BATCHNORM, LAYER
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import Recorded, measurement, recorded
from landscape_cli.surface import Surface

_FEW = 3


def relative_flatness(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """κ = Σ_{s,s'} ⟨w_s, w_s'⟩ tr H_{s,s'} over the neurons s, s' of a layer (Petzka et al. 2021, arXiv:2001.00939).

    Args:
        surface: With the record relative_flatness.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    found = recorded(surface, "relative_flatness", loss, slice_index)
    return measurement(
        found,
        "relative_flatness",
        found.record.number("value"),
        unit=found.unit,
        invariant_to=(LAYER, BATCHNORM),
        standard_error=found.record.number("standard_error"),
        is_estimate=True,
        num_probes=found.conditions.numbers.get("products", 0),  # for each layer
        note=_layers(found),
    )


def _layers(found: Recorded) -> str:
    """Which layers, where they are named, and of several ones what each of them adds; else the last."""
    layers, values = found.conditions.options.get("layers"), found.record.values.get("per_layer")
    if layers is None:
        return "the last weight matrix"
    names = [str(each) for each in layers] if isinstance(layers, list) else []
    if not names or len(names) > _FEW:
        return f"{len(names)} layers" if names else ""
    if len(names) == 1 or values is None or values.shape != (len(names),):
        return f"layer{'s' * (len(names) > 1)} {', '.join(names)}"
    return "layers " + ", ".join(f"{name}: {value:.3g}" for name, value in zip(names, values.tolist(), strict=True))
