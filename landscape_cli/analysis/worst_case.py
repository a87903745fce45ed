"""The rise of the loss where it rises most, within a small distance: what ascent finds of it."""

from __future__ import annotations

import math

from landscape_cli.analysis.invariance import BATCHNORM, LAYER, NEURON
from landscape_cli.analysis.measurement import Bound, Measurement, joined
from landscape_cli.analysis.recorded import measurement, recorded
from landscape_cli.surface import Surface

_ONE_STEP = "one step, not the worst case; training seeds differ by 30 … 80 %"
_DIVERGES = "the loss diverges there"
_ASCENT = "what ascent has found: the worst case is no less"
_SHOWN = {"rho": "ρ", "epsilon": "ε", "steps": "steps", "norm": "norm"}


def sam(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """L(θ + ρ g/‖g‖) − L(θ): the step of SAM (Foret et al. 2021, arXiv:2010.01412).

    Args:
        surface: With the record sam.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    return _rise(surface, "sam", loss, slice_index, (), _ONE_STEP, None)


def asam(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """L(θ + ρ T²g/‖Tg‖) − L(θ), T = diag |θ|: the step of ASAM (Kwon et al. 2021, arXiv:2102.11600) with η = 0, for
    the η of its code breaks the invariance.
    """
    return _rise(surface, "asam", loss, slice_index, (LAYER, NEURON, BATCHNORM), _ONE_STEP, None)


def adaptive_worst(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Max L(θ + δ) − L(θ) over ‖T⁻¹δ‖ ≤ ρ, by projected ascent (Kwon et al. 2021; Andriushchenko et al. 2023,
    arXiv:2302.07011): a lower bound.
    """
    invariant_to = (LAYER, NEURON, BATCHNORM)
    return _rise(surface, "adaptive_worst", loss, slice_index, invariant_to, _ASCENT, "lower")


def keskar(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """100 · (max L(θ + δ) − L(θ)) / (1 + L(θ)) over |δ_i| ≤ ε(|θ_i| + 1), by projected ascent (Keskar et al. 2017,
    arXiv:1609.04836): a lower bound.
    """
    return _rise(surface, "keskar", loss, slice_index, (), _ASCENT, "lower", "%")


def _rise(
    surface: Surface,
    name: str,
    loss: str | None,
    slice_index: int | None,
    invariant_to: tuple[str, ...],
    note: str,
    bound: Bound | None,
    unit: str = "",
) -> Measurement:
    found = recorded(surface, name, loss, slice_index)
    options, rho = dict(found.conditions.options), found.record.number("rho")
    if math.isfinite(rho):  # where the option was left to the measure
        options["rho"] = rho
    shown = ", ".join(f"{sign} = {options[key]}" for key, sign in _SHOWN.items() if options.get(key) is not None)
    settings = found.conditions.numbers | ({"rho": rho} if math.isfinite(rho) else {})
    value = found.record.number("value")
    diverges = value == math.inf
    return measurement(
        found,
        name,
        value,
        unit=unit or found.unit,
        invariant_to=invariant_to,
        bound=None if diverges else bound,
        is_estimate=bound is not None,
        settings=settings,
        note=joined(shown, _DIVERGES if diverges else note),
    )
