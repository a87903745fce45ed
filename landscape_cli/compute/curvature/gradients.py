"""The gradient at the checkpoint: how far that is from a critical point, and whether the loss repeats itself."""

from __future__ import annotations

import math

import torch

from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.subspace import Params, norm, subtract
from landscape_cli.errors import EvaluationError, NonFiniteError

# Parts of the data, for the sampling error; two numbers, so that the second pass cuts the data elsewhere.
_PARTS = (32, 24)
# Of two passes, relative to the length of single gradients; rounding in float32 gives 1e-6.
_REPEATS_TO = {torch.float32: 1e-3, torch.float64: 1e-8}
# Of the loss, and of the length of the weights: how far to look along the gradient.
_REACH = 0.01
_SAME_SLOPE = 0.1


def gradient(context: Context) -> Found:
    """Loss, ‖g‖ and ‖θ ⊙ g‖ with their sampling errors, and the loss with BatchNorm statistics re-estimated.

    The second is invariant to every rescaling of weights that leaves the network as it is. The sampling error
    √(tr Σ/n) is the length that a gradient over n examples has where that over all possible ones is zero. The gradient
    is computed twice, from different parts of the data, and must be the same; and the loss is looked at on both sides
    along it, because a gradient need not be that of the loss.

    Cost: 3 gradients and 3 losses; with BatchNorm statistics of the checkpoint 1 loss more, and their estimate.

    Raises:
        EvaluationError: The two gradients differ.
    """
    objective = context.objective
    scale = {name: tensor.abs() for name, tensor in objective.params.items()}
    first = objective.derivative(_PARTS[0], with_spread=True, scale=scale)
    second = objective.derivative(_PARTS[1])
    loss = objective.loss()
    length, typical = norm(first.gradient), first.spread * math.sqrt(objective.num_examples)
    reference = length + (typical if math.isfinite(typical) else 0.0)
    difference = norm(subtract(first.gradient, second.gradient))
    limit = _REPEATS_TO[objective.dtype]
    if difference > limit * reference or not math.isclose(first.loss, loss, rel_tol=limit, abs_tol=limit * 1e-3):
        raise EvaluationError(
            f"curvature: two passes over the same {objective.num_examples:,} examples in other batches give gradients "
            f"that differ by {difference:.2g}, of {length:.2g}, and the losses {first.loss:.6g} and {loss:.6g}; "
            "expected the same up to rounding",
            hint="Look for BatchNorm or dropout that ignores eval(), for randomness in the model or the loss, and for "
            "losses that are not per example.",
        )
    _note_if_of_another_loss(context, first.gradient, length, loss)
    adaptive = norm({name: scale[name] * tensor for name, tensor in first.gradient.items()})
    found = {
        "loss": loss,
        "grad_norm": length,
        "adaptive_grad_norm": adaptive,
        "noise_floor": first.spread,
        "adaptive_noise_floor": first.scaled_spread,
        "param_norm": norm(objective.params),
    }
    if context.recalibrate is not None:
        with objective.recalibrated(context.recalibrate):
            found["batchnorm_loss"] = objective.loss()
    return found


def _note_if_of_another_loss(context: Context, gradient: Params, length: float, loss: float) -> None:
    """Compare ‖g‖ with the slope of the loss along g: detached tensors and straight-through estimators differ."""
    objective = context.objective
    reach = _REACH * norm(objective.params)
    step = min(_REACH * abs(loss) / length, reach) if length else reach
    unit = {name: tensor * (step / (length or 1.0)) for name, tensor in gradient.items()}
    ends = []
    for sign in (1.0, -1.0):
        with objective.moved({name: sign * tensor for name, tensor in unit.items()}):
            ends.append(_loss_or_nan(objective))
    if not length or not step:
        return
    slope = (ends[0] - ends[1]) / (2 * step)
    rounding = 10 * torch.finfo(objective.dtype).eps * (1 + abs(loss)) / step
    if abs(slope - length) > _SAME_SLOPE * length + rounding:
        context.note(
            f"the gradient is not that of the loss: along it the loss rises by {slope:.3g} per unit, not by "
            f"{length:.3g}; look for detached tensors and straight-through estimators"
        )


def _loss_or_nan(objective: Objective) -> float:
    try:
        return objective.loss()
    except NonFiniteError:
        return math.nan
