"""Traces of the Hessian: curvature in the mean over all directions."""

from __future__ import annotations

import math

from landscape_cli.analysis.invariance import BATCHNORM, LAYER, NEURON
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import Recorded, measurement, recorded
from landscape_cli.surface import Surface

_ESTIMATORS = {"xtrace": "XTrace", "hutchinson": "Hutchinson"}


def trace(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Tr H, by XTrace (Epperly, Tropp & Webber 2024, arXiv:2301.07825) or Hutchinson's estimator.

    Args:
        surface: With the record trace.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    found = recorded(surface, "trace", loss, slice_index)
    return _trace(found, "trace", f"{found.unit} / weight²", ())


def adaptive_trace(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """tr(T H T), T = diag |θ|: E L(θ + s|θ|⊙ε) − L(θ) ≈ s²/2 · tr(T H T), the adaptive radius to second order."""
    found = recorded(surface, "adaptive_trace", loss, slice_index)
    return _trace(found, "adaptive_trace", found.unit, (LAYER, NEURON, BATCHNORM))


def _trace(found: Recorded, name: str, unit: str, invariant_to: tuple[str, ...]) -> Measurement:
    estimator, probes = str(found.conditions.options.get("estimator")), found.record.number("num_probes")
    if estimator == "xtrace" and probes > found.conditions.numbers.get("products", math.nan) // 2:
        estimator = "hutchinson"  # for want of memory: XTrace takes two products for each probe
    words = [_ESTIMATORS.get(estimator, ""), f"{probes:.0f} probes" if probes > 0 else ""]
    return measurement(
        found,
        name,
        found.record.number("value"),
        unit=unit,
        invariant_to=invariant_to,
        standard_error=found.record.number("standard_error"),
        is_estimate=True,
        num_probes=probes,
        note=", ".join(filter(None, words)),
    )
