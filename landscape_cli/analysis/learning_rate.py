"""Up to which learning rate an optimiser is stable at the checkpoint, by the largest curvature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.recorded import OF_CHECKPOINT, conditions_of, measurement, recorded
from landscape_cli.surface import Surface

WORDING = "local full-batch stability limit at this checkpoint, not a recommendation"
NOT_CONVERGED = "λ_max has not converged: the limit may be smaller"
_CONVERGED = 0.05  # residual / λ_max
_LABELS = {
    "lr_limit": "for gradient descent",
    "lr_limit_momentum": "with momentum {:g}",
    "lr_limit_nesterov": "with Nesterov's momentum {:g}",
    "lr_limit_adam": "for Adam",
}


def lr_limit(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Of gradient descent: 2 / λ_max; above it the steps along the top eigenvector grow.

    Args:
        surface: With the record eigenvalues.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    return _limit(surface, "lr_limit", "eigenvalues", 2.0, loss, slice_index)


def lr_limit_momentum(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, momentum: float = 0.9
) -> Measurement:
    """Of gradient descent with momentum b (Polyak; as torch.optim.SGD): 2 (1 + b) / λ_max."""
    at = 2 * (1 + momentum)
    return _limit(surface, "lr_limit_momentum", "eigenvalues", at, loss, slice_index, momentum)


def lr_limit_nesterov(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, momentum: float = 0.9
) -> Measurement:
    """Of Nesterov's momentum b: (2 + 2b) / ((1 + 2b) λ_max) (Cohen et al. 2021, arXiv:2103.00065, appendix B)."""
    at = (2 + 2 * momentum) / (1 + 2 * momentum)
    return _limit(surface, "lr_limit_nesterov", "eigenvalues", at, loss, slice_index, momentum)


def lr_limit_adam(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Of Adam with its second moments v̂ as they are: (2 + 2β₁) / ((1 − β₁) λ_max(P^-½ H P^-½)), P = √v̂ + ε (Cohen et
    al. 2022, arXiv:2207.14484).

    Args:
        surface: With the record adam_lambda_max, which takes the state of the optimiser.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    found = recorded(surface, "adam_lambda_max", loss, slice_index)
    beta = found.record.number("beta1")
    at = (2 + 2 * beta) / (1 - beta) if 0 <= beta < 1 else math.nan
    return _limit(surface, "lr_limit_adam", "adam_lambda_max", at, loss, slice_index)


def _limit(
    surface: Surface,
    name: str,
    record: str,
    at: float,
    loss: str | None,
    slice_index: int | None,
    momentum: float | None = None,
) -> Measurement:
    """``at`` / λ: the learning rate times the curvature at which the steps neither grow nor shrink, and its error."""
    found = recorded(surface, record, loss, slice_index)
    key, of_residual = ("value", "residual") if name == "lr_limit_adam" else ("lambda_max", "lambda_max_residual")
    top, residual = found.record.number(key), found.record.number(of_residual)
    value = at / top if 0 < top < math.inf else math.nan
    lacking = "λ_max is not above 0: no rate is too large for it" if top <= 0 else ""
    if found.conditions.parameters:  # that of a block of H is at most that of H
        lacking = "needs λ_max of all parameters"
    return measurement(
        found,
        name,
        value,
        unit="learning rate",
        invariant_to=(),
        method_error=value * residual / top if top > 0 else math.nan,
        method_error_from="residual",
        is_estimate=True,
        settings={"momentum": momentum} if momentum is not None else {},
        note=joined(
            WORDING,
            f"momentum {momentum:g}" if momentum is not None else "",
            f"from {found.examples}: pessimistic",
            NOT_CONVERGED if residual > _CONVERGED * top else "",
        ),
        lacking=lacking,
    )


@dataclass(frozen=True)
class LearningRates:
    """The limits of a checkpoint and what to know of all of them.

    Attributes:
        limits: Name of the measure → the limit; those that were measured.
        momentum: b of the two that have one.
        sentence: The limits in words; ``""`` where there are none.
        caveats: A line each.
    """

    limits: dict[str, float]
    momentum: float
    sentence: str = ""
    caveats: tuple[str, ...] = ()


def learning_rates(surface: Surface, measurements: Sequence[Measurement], *, momentum: float = 0.9) -> LearningRates:
    """Put together what the measures of this module have found.

    Args:
        surface: That was measured.
        measurements: These measures and any others.
        momentum: b.
    """
    limits = {each.name: each.value for each in measurements if each.name in _LABELS and each.value is not None}
    is_open = any(NOT_CONVERGED in each.note for each in measurements if each.name in limits)
    if not limits:
        return LearningRates({}, momentum)
    words = ", ".join(f"{limit:.3g} {_LABELS[name].format(momentum)}" for name, limit in limits.items())
    records = surface.curvature.records if surface.curvature is not None else {}
    conditions = [conditions_of(records[name]) for name in ("eigenvalues", "adam_lambda_max") if name in records]
    frozen = any(each.batchnorm in OF_CHECKPOINT for each in conditions)
    caveats = (
        "progressive sharpening: full-batch training drives λ_max up to 2/η (edge of stability), so at its end this "
        "reports the η that was used",
        "minibatch noise lowers the usable learning rate",
        "λ_max of n samples is larger than that of all data, so the limit is pessimistic",
        NOT_CONVERGED if is_open else "",
        "BatchNorm: λ_max with the statistics of the checkpoint is not that of training" if frozen else "",
    )
    return LearningRates(limits, momentum, f"at most {words} ({WORDING})", tuple(filter(None, caveats)))
