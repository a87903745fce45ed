"""The state of Adam in a checkpoint, and what it makes of the curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from landscape_cli.compute.curvature.context import Context
from landscape_cli.compute.subspace import Params, flatten
from landscape_cli.errors import CheckpointError


@dataclass(frozen=True)
class Adam:
    """P^-1/2 on the selected parameters, (size,) float64, and β₁."""

    scale: Tensor
    beta1: float


def preconditioner(context: Context, entry: str, group: int) -> Adam:
    """P^-1/2 with P = √v̂ + ε and v̂ = v / (1 − β₂^t), from the state dict of torch.optim.Adam or AdamW.

    Raises:
        CheckpointError: There is no such state, or it is not that of these parameters.
    """
    if context.read is None:
        raise CheckpointError("curvature: adam_lambda_max needs a checkpoint with the state of the optimizer")
    where = f"checkpoint: {entry}"
    moments, options = _parts(context.read(entry), where, group)
    params = context.objective.params
    second: Params = {}
    for number, name in enumerate(context.parameter_names):
        if name not in params:
            continue
        own = moments.get(number)
        value = own.get("exp_avg_sq") if isinstance(own, Mapping) else None
        if not isinstance(value, Tensor) or not isinstance(own, Mapping) or value.shape != params[name].shape:
            raise CheckpointError(
                f"{where}: no second moment (exp_avg_sq) of {name} in the shape {tuple(params[name].shape)}",
                hint="Adam and AdamW have one, in the order of model.parameters(); name other parameters under "
                "curvature.parameters.",
            )
        correction = 1 - options.beta2 ** float(own.get("step", 0))
        second[name] = (value.double() / correction).sqrt().to(context.objective.device)
    diagonal = flatten(second, context.objective.names) + options.epsilon
    return Adam(diagonal.rsqrt(), options.beta1)


@dataclass(frozen=True)
class _Options:
    beta1: float
    beta2: float
    epsilon: float


def _parts(state: object, where: str, group: int) -> tuple[Mapping[object, object], _Options]:
    if isinstance(state, Mapping):
        moments, groups = state.get("state"), state.get("param_groups")
        if isinstance(moments, Mapping) and isinstance(groups, list) and 0 <= group < len(groups):
            options = groups[group]
            betas = options.get("betas") if isinstance(options, Mapping) else None
            if isinstance(betas, list | tuple) and len(betas) == 2 and all(0 <= float(b) < 1 for b in betas):
                epsilon = float(options.get("eps", 1e-8))
                if math.isfinite(epsilon):
                    return moments, _Options(float(betas[0]), float(betas[1]), epsilon)
    raise CheckpointError(
        f"{where}: found no state of Adam; expected the state_dict of torch.optim.Adam or AdamW",
        hint="Name its entry: measures: [{_target_: adam_lambda_max, state: optimizer}]",
    )
