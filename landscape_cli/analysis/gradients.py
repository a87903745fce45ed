"""The gradient at the checkpoint: its length, and what one step along it must gain."""

from __future__ import annotations

import math

from landscape_cli.analysis.invariance import BATCHNORM, LAYER, NEURON
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.recorded import Recorded, measurement, recorded
from landscape_cli.surface import Surface

_OF_FLOOR = 2.0


def grad_norm(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """‖g‖, g = ∇L; the note has its sampling floor √(tr Σ / n), with Σ the covariance of the gradients of examples.

    Args:
        surface: With the record gradient.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    found = recorded(surface, "gradient", loss, slice_index)
    floor = found.record.number("noise_floor")
    return _norm(found, "grad_norm", floor, f"{found.unit} / weight", ())


def adaptive_grad_norm(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """‖θ ⊙ g‖: the slope for relative changes of the weights; see `grad_norm`."""
    found = recorded(surface, "gradient", loss, slice_index)
    floor = found.record.number("adaptive_noise_floor")
    return _norm(found, "adaptive_grad_norm", floor, found.unit, (LAYER, NEURON, BATCHNORM))


def guaranteed_decrease(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """‖g‖² / (2 λ_max): what one step of gradient descent with the learning rate 1/λ_max lowers the loss by, at least,
    where the curvature stays what it is (descent lemma; Nesterov 2004, Introductory Lectures on Convex Optimization,
    (1.2.13)).
    """
    found = recorded(surface, "gradient", loss, slice_index)
    eigenvalues = recorded(surface, "eigenvalues", loss, slice_index)
    norm, top, value = (found.record.number("grad_norm"), eigenvalues.record.number("lambda_max"), math.nan)
    unlike = found.conditions.unlike(eigenvalues.conditions)
    if eigenvalues.lacking:
        lacking = eigenvalues.lacking
    elif unlike:
        lacking = f"gradient and eigenvalues were measured with another {unlike}"
    else:
        lacking = "λ_max is not above 0" if not 0 < top < math.inf else ""
    if not lacking:
        value = norm**2 / (2 * top)
    share = value / found.record.number("loss") if found.record.number("loss") > 0 else math.nan
    note = f"{100 * share:.2g} % of the loss" if math.isfinite(share) else ""
    return measurement(
        found,
        "guaranteed_decrease",
        value,
        unit=found.unit,
        invariant_to=(),
        is_estimate=True,  # as λ_max is
        note=note,
        lacking=lacking,
    )


def indistinguishable(norm: float, floor: float, num_examples: int) -> str:
    """Where a gradient is no longer than that of a sample from a flat place; ``""`` where it is, or may be.

    >>> indistinguishable(0.1, 0.06, 500)
    'indistinguishable from 0 on 500 samples'
    """
    if not (norm <= _OF_FLOOR * floor):  # also where the floor is NaN
        return ""
    return f"indistinguishable from 0 on {num_examples:,} samples"


def _norm(found: Recorded, name: str, floor: float, unit: str, invariant_to: tuple[str, ...]) -> Measurement:
    value = found.record.number(name)
    note = joined(
        f"sampling floor {floor:.2g}" if math.isfinite(floor) else "",
        indistinguishable(value, floor, found.conditions.num_examples),
    )
    return measurement(found, name, value, unit=unit, invariant_to=invariant_to, note=note)
