"""The extreme eigenvalues of the Hessian of the network, and which of their signs can be told from 0."""

from __future__ import annotations

from landscape_cli.analysis.invariance import BATCHNORM, LAYER, NEURON
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.recorded import FINITE_DIFFERENCES, Recorded, measurement, recorded
from landscape_cli.records import Record
from landscape_cli.surface import Surface

# of the largest eigenvalue in size: in float32, 4e-9 … 1e-6 were measured; 1e-4 leaves room for larger networks
_ROUNDING = {"float64": 1e-6}
_ROUNDING_OF_OTHERS = 1e-4
_NOT_CONVERGED = 0.01  # residual / value


def lambda_max(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Largest eigenvalue of the Hessian, by Lanczos: the largest Ritz value (the sharpness of Cohen et al. 2021,
    arXiv:2103.00065). There is an eigenvalue within the residual of it.

    Args:
        surface: With the record eigenvalues.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    found = recorded(surface, "eigenvalues", loss, slice_index)
    return _eigenvalue(found, "lambda_max", "lambda_max", found.biased("upwards"), f"{found.unit} / weight²")


def lambda_min(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Smallest eigenvalue of the Hessian, by Lanczos: the smallest Ritz value vᵀHv, so that a negative one proves
    negative curvature. That there is none below it is only likely; see `critical_point`.
    """
    found = recorded(surface, "eigenvalues", loss, slice_index)
    return _eigenvalue(found, "lambda_min", "lambda_min", found.biased("downwards"), f"{found.unit} / weight²")


def adaptive_lambda_max(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """λ_max(T H T) with T = diag |θ|: the curvature for relative changes of the weights, ASAM to second order (Kwon et
    al. 2021, arXiv:2102.11600).
    """
    found = recorded(surface, "adaptive_lambda_max", loss, slice_index)
    return _eigenvalue(
        found, "adaptive_lambda_max", "value", found.biased("upwards"), found.unit, (LAYER, NEURON, BATCHNORM)
    )


def noise(least: float, largest: float, residual: float, precision: str, method: str) -> float:
    """How far the sign of an eigenvalue can be wrong: max(residual, 1e-6 ‖H‖), in float32 1e-4 ‖H‖.

    ‖H‖ is λ_max, but for the rare Hessians whose most negative eigenvalue is larger in size.

    Args:
        least: λ_min.
        largest: λ_max.
        residual: Of the eigenvalue in question.
        precision: Of the products; other than float64 counts as float32.
        method: Of the products; finite differences count as float32.

    >>> noise(-0.1, 2.0, 1e-9, "float32", "double backward")
    0.0002
    """
    rounding = _ROUNDING_OF_OTHERS if method == FINITE_DIFFERENCES else _ROUNDING.get(precision, _ROUNDING_OF_OTHERS)
    return max(residual, rounding * max(abs(largest), abs(least)))


def tolerance(noise: float, largest: float, curv_tol: float) -> float:
    """Below −tol curvature is called negative: max(2 noise, 0.01 |λ_max|).

    >>> tolerance(0.1, 1.0, 0.01)
    0.2
    """
    return max(2 * noise, curv_tol * abs(largest))


def _eigenvalue(
    found: Recorded, name: str, key: str, note: str, unit: str, invariant_to: tuple[str, ...] = ()
) -> Measurement:
    value, residual = found.record.number(key), _residual(found.record, key)
    steps = found.record.number("num_steps")
    words = f"in {steps:.0f} Lanczos steps" if steps > 0 else ""
    open_ = f"not converged {words}".rstrip() if residual > _NOT_CONVERGED * abs(value) else words
    return measurement(
        found,
        name,
        value,
        unit=unit,
        invariant_to=invariant_to,
        method_error=residual,
        method_error_from="residual",
        is_estimate=True,
        note=joined(note, open_),
    )


def _residual(record: Record, key: str) -> float:
    return record.number("residual" if key == "value" else f"{key}_residual")
