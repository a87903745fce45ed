"""What kind of point the checkpoint is: a slope, a saddle, or what looks like a minimum.

A saddle can be certified, a minimum cannot: a negative Ritz value is a Rayleigh quotient, and a direction v with
vᵀHv < 0 is proof; that no curvature is more negative is likely only, and how likely is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from landscape_cli.analysis.eigenvalues import noise, tolerance
from landscape_cli.analysis.gradients import indistinguishable
from landscape_cli.analysis.recorded import FINITE_DIFFERENCES, WHOLE, Conditions, Recorded, recorded
from landscape_cli.surface import Surface

Slope = Literal["near_critical", "borderline", "not_critical"]
Shape = Literal["saddle", "not_minimum", "weak_negative", "looks_like_minimum", "strict_minimum", "maximum"]
Verdict = Shape | Literal["not_critical", "borderline", "unknown"]

_NEAR, _NEAR_ABSOLUTELY = 1e-3, 1e-4  # of the loss; nat
_BORDERLINE = 0.05  # of the loss
_CERTAINTY = 0.99
_CERTIFIED = ("saddle", "not_minimum")  # by a direction that was found; the others say that none is there
_IS: dict[Shape, str] = {
    "saddle": "is a ",
    "not_minimum": "is ",
    "weak_negative": "is ",
    "looks_like_minimum": "",
    "strict_minimum": "is a ",
    "maximum": "is a ",
}


@dataclass(frozen=True)
class CriticalPoint:
    """The verdict on a checkpoint.

    Attributes:
        verdict: A key: how steep it is where that decides, else the shape; ``"unknown"`` where it was not measured.
        shape: What the signs of the extreme eigenvalues say, whatever the gradient; None where that is not known.
        sentence: The verdict in words; of an unknown one, why.
        details: What it rests on, a line each.
        decrease: D = ‖g‖² / (2 λ_max); infinite where no curvature limits the step. NaN where not known.
        lambda_min, lambda_max: Of the Hessian.
        noise: How far the sign of λ_min can be wrong.
        tolerance: tol.
        missed: The e of `missed_share` at 99 %.
        scope: Of what it holds.
    """

    verdict: Verdict
    sentence: str
    shape: Shape | None = None
    details: tuple[str, ...] = ()
    decrease: float = math.nan
    lambda_min: float = math.nan
    lambda_max: float = math.nan
    noise: float = math.nan
    tolerance: float = math.nan
    missed: float = math.nan
    scope: str = WHOLE


def critical_point(surface: Surface, *, loss: str | None = None, curv_tol: float = 0.01) -> CriticalPoint:
    """Classify the checkpoint, by the gradient first and then by the signs of λ_min and λ_max.

    Args:
        surface: With the records gradient and eigenvalues of the same loss.
        loss: Of the split that was measured.
        curv_tol: Below −tol curvature is called negative; tol = max(2 noise, ``curv_tol`` · λ_max).

    Raises:
        UsageError: No such loss.
    """
    gradient, eigenvalues = (recorded(surface, name, loss) for name in ("gradient", "eigenvalues"))
    why = _not_known(gradient, eigenvalues)
    if why:
        return CriticalPoint("unknown", f"not classified: {why}", scope=gradient.conditions.scope)
    conditions, record, method = eigenvalues.conditions, eigenvalues.record, eigenvalues.record.method
    norm, value = gradient.record.number("grad_norm"), gradient.record.number("loss")
    least, largest = record.number("lambda_min"), record.number("lambda_max")
    doubt, doubt_above = (
        noise(least, largest, _or_zero(record.number(f"{name}_residual")), conditions.precision, method)
        for name in ("lambda_min", "lambda_max")
    )
    tol, tol_above = (tolerance(each, largest, curv_tol) for each in (doubt, doubt_above))
    # where nothing curves upwards, what limits the step is the curvature in size
    decrease = decrease_of(norm, largest if largest > 2 * doubt_above else max(abs(least), abs(largest)))
    slope, shape = slope_of(decrease, value), shape_of(least, largest, doubt, tol, tol_above)
    steps, missed = record.number("num_steps"), missed_share(record.number("num_steps"), conditions.num_parameters)
    is_seen = shape in _CERTIFIED or not _too_few(steps, missed, conditions.num_parameters)
    words = _shape_in_words(shape, least, largest, steps, method) if is_seen else _too_few_in_words(steps)
    step = _step_in_words(decrease, value)
    sentence = {
        "not_critical": f"not at a critical point: {step}; curvature signs are local shape only",
        "borderline": f"borderline, because {step}; {f'taken as critical, it {_IS[shape]}' if is_seen else ''}{words}",
        "near_critical": words,
    }[slope]
    details = (
        _gradient_in_words(gradient, norm, decrease, value),
        f"λ_min = {least:.4g}, λ_max = {largest:.4g}; noise {doubt:.2g}, tol {tol:.2g}{_in(conditions.precision)}",
        _certified(least, largest, method) if slope == "not_critical" and shape in ("saddle", "not_minimum") else "",
        _missed_in_words(missed, largest - least, steps, conditions.num_parameters),
        _objective(conditions, slope),
        "products by finite differences: approximate" if method == FINITE_DIFFERENCES else "",
    )
    return CriticalPoint(
        verdict=slope if slope != "near_critical" else shape if is_seen else "unknown",
        sentence=f"in the parameters {conditions.parameters}: {sentence}" if conditions.parameters else sentence,
        shape=shape if is_seen else None,
        details=tuple(filter(None, details)),
        decrease=decrease,
        lambda_min=least,
        lambda_max=largest,
        noise=doubt,
        tolerance=tol,
        missed=missed,
        scope=conditions.scope,
    )


def decrease_of(norm: float, curvature: float) -> float:
    """D = ‖g‖² / (2 λ_max), the decrease that a step of gradient descent is sure of.

    >>> decrease_of(0.5, 2.0)
    0.0625
    """
    if curvature > 0:
        return norm**2 / (2 * curvature)
    return math.inf if norm > 0 else 0.0


def slope_of(decrease: float, loss: float) -> Slope:
    """Near-critical if D ≤ max(0.001 L, 0.0001 nat), borderline if D ≤ 0.05 L.

    >>> slope_of(0.01, 1.0)
    'borderline'
    """
    if decrease <= max(_NEAR * loss, _NEAR_ABSOLUTELY):
        return "near_critical"
    return "borderline" if decrease <= _BORDERLINE * loss else "not_critical"


def shape_of(least: float, largest: float, noise: float, tol: float, tol_above: float) -> Shape:
    """What λ_min and λ_max say of a critical point.

    Args:
        least: λ_min.
        largest: λ_max.
        noise: Of the sign of λ_min.
        tol: From `tolerance`, with that noise.
        tol_above: The same with the noise of λ_max.

    >>> shape_of(-0.02, 1.0, 1e-4, 0.01, 0.01)
    'saddle'
    """
    if largest < -tol_above:
        return "maximum"
    if least < -tol:
        return "saddle" if largest > tol_above else "not_minimum"  # diag(−1, 0) is no saddle
    if least < -2 * noise:
        return "weak_negative"
    return "strict_minimum" if least > tol else "looks_like_minimum"


def missed_share(num_steps: float, num_parameters: int) -> float:
    """The e for which, with 99 % probability, Lanczos has missed no eigenvalue by more than e · (λ_max − λ_min): of a
    random start, P[missed by more] ≤ 1.648 √P · exp(−√e (2m − 1)) (Kuczyński & Woźniakowski 1992, SIAM J. Matrix Anal.
    Appl. 13). NaN where m or P is not known.

    Args:
        num_steps: m.
        num_parameters: P.

    >>> round(missed_share(80, 10_000_000), 3)
    0.007
    """
    if not num_steps >= 1 or num_parameters < 1:
        return math.nan
    root = math.log(1.648 * math.sqrt(num_parameters) / (1 - _CERTAINTY)) / (2 * num_steps - 1)
    return root**2


def _too_few(num_steps: float, missed: float, num_parameters: int) -> bool:
    """Whether the steps bound nothing; as many as there are parameters miss nothing."""
    return missed >= 1 and num_steps < num_parameters


def _too_few_in_words(num_steps: float) -> str:
    return f"not classified: {num_steps:.0f} Lanczos steps are too few"


def _not_known(gradient: Recorded, eigenvalues: Recorded) -> str:
    for each, needed in ((gradient, ("grad_norm", "loss")), (eigenvalues, ("lambda_min", "lambda_max"))):
        if each.lacking:
            return f"{each.name}: {each.lacking}"
        absent = [name for name in needed if not math.isfinite(each.record.number(name))]
        if absent:
            return f"the record {each.name} has no number {' and '.join(absent)}"
    unlike = gradient.conditions.unlike(eigenvalues.conditions)
    return f"gradient and eigenvalues were measured with another {unlike}" if unlike else ""


def _step_in_words(decrease: float, loss: float) -> str:
    if math.isinf(decrease):
        return "the gradient is not 0, and no curvature limits a step along it"
    share = f" ({100 * decrease / loss:.2g} %)" if loss > 0 else ""
    return f"one gradient step can still lower the loss by >= {decrease:.3g}{share}"


def _shape_in_words(shape: Shape, least: float, largest: float, num_steps: float, method: str) -> str:
    certified = "certified" if method != FINITE_DIFFERENCES else "not certified: products by finite differences"
    down = f"({certified}): direction with v'Hv = {least:.3g} found"
    steps = f"in {num_steps:.0f} Lanczos steps" if num_steps >= 1 else "found"
    return {
        "saddle": f"saddle {down}{_ratio(least, largest)}",
        "not_minimum": f"no minimum {down}; no curvature above tol seen",
        "weak_negative": "minimum-like, weak negative curvature",
        "looks_like_minimum": f"looks like a minimum: gradient small, no curvature below -tol {steps}",
        "strict_minimum": "strict minimum (lmin > tol)",
        "maximum": "maximum",
    }[shape]


def _gradient_in_words(gradient: Recorded, norm: float, decrease: float, loss: float) -> str:
    floor = gradient.record.number("noise_floor")
    of_floor = f"; sampling floor {floor:.2g}" if math.isfinite(floor) else ""
    hidden = indistinguishable(norm, floor, gradient.conditions.num_examples)
    return f"‖g‖ = {norm:.3g}, ‖g‖²/(2 λ_max) = {decrease:.2g} of a loss of {loss:.4g}{of_floor}" + (
        f": {hidden}" if hidden else ""
    )


def _certified(least: float, largest: float, method: str) -> str:
    if method == FINITE_DIFFERENCES:
        return f"a direction with v'Hv = {least:.3g} was found"
    return f"negative curvature is certified: direction with v'Hv = {least:.3g} found{_ratio(least, largest)}"


def _ratio(least: float, largest: float) -> str:
    return f"; |lmin|/lmax={abs(least) / largest:.2g}" if largest > 0 else ""


def _missed_in_words(missed: float, spread: float, num_steps: float, num_parameters: int) -> str:
    if math.isnan(missed) or not spread > 0:
        return ""
    if missed >= 1:
        if not _too_few(num_steps, missed, num_parameters):
            return ""
        return f"{num_steps:.0f} Lanczos steps are too few to bound what they have missed"
    share = f"{100 * missed:.2g} % of λ_max − λ_min"
    return f"with 99 % probability no eigenvalue lies more than {missed * spread:.2g} ({share}) below λ_min"


def _objective(conditions: Conditions, slope: Slope) -> str:
    if conditions.weight_decay:
        return f"of the loss with the weight decay {conditions.weight_decay:g} of training, λ/2·‖θ‖²"
    if slope == "near_critical":
        return ""
    # where training had it, g is −λθ at the minimum of what was trained on
    return "of the loss alone; weight decay that training had belongs to it: curvature.objective.weight_decay"


def _in(precision: str) -> str:
    return f", in {precision}" if precision else ""


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
