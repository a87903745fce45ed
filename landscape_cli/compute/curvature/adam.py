"""The state of Adam in a checkpoint, and what it makes of the curvature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from landscape_cli.compute.curvature.context import Context
from landscape_cli.compute.subspace import Params
from landscape_cli.errors import CheckpointError

_EXPECTED = (
    "Expected the state_dict of torch.optim.Adam or AdamW: measures: [{_target_: adam_lambda_max, state: optimizer}]"
)


@dataclass(frozen=True)
class Adam:
    """P^-1/2 on the selected parameters, (size,) float64, and β₁."""

    scale: Tensor
    beta1: float


def preconditioner(context: Context, entry: str) -> Adam:
    """P^-1/2 with P = √v̂ + ε and v̂ = v / (1 − β₂^t), from the state dict of torch.optim.Adam or AdamW.

    Raises:
        CheckpointError: There is no such state, or it is not that of these parameters.
    """
    if context.read is None:
        raise CheckpointError("curvature: adam_lambda_max needs a checkpoint with the state of the optimizer")
    where = f"checkpoint: {entry}"
    state = context.read(entry)
    moments = state.get("state") if isinstance(state, Mapping) else None
    if not isinstance(state, Mapping) or not isinstance(moments, Mapping):
        raise CheckpointError(f"{where}: found no state of an optimizer", hint=_EXPECTED)
    places = _places(state.get("param_groups"), context.parameter_names, where)
    diagonal: Params = {}
    momenta: set[float] = set()
    for name, parameter in context.objective.params.items():
        number, options = places.get(name, (None, {}))
        own = moments.get(number)
        moment = "max_exp_avg_sq" if options.get("amsgrad") else "exp_avg_sq"
        second = own.get(moment) if isinstance(own, Mapping) else None
        if not isinstance(own, Mapping) or not isinstance(second, Tensor) or second.shape != parameter.shape:
            raise CheckpointError(
                f"{where}: no second moment ({moment}) of {name} in the shape {tuple(parameter.shape)}",
                hint=f"{_EXPECTED}. Parameters that were not trained can be left out: curvature.parameters.",
            )
        beta1, beta2, epsilon = _constants(options, where)
        momenta.add(beta1)
        unbiased = second.double() / (1 - beta2 ** _num_steps(own.get("step"), where))
        diagonal[name] = unbiased.sqrt() + epsilon
    if len(momenta) > 1:
        raise CheckpointError(f"{where}: its groups have different β₁; expected one, which limits the learning rate")
    return Adam(context.objective.flat(diagonal).rsqrt(), momenta.pop())


def _places(groups: object, names: tuple[str, ...], where: str) -> dict[str, tuple[object, Mapping[str, object]]]:
    """Name of a parameter → its number in the state and the options of its group."""
    found: dict[str, tuple[object, Mapping[str, object]]] = {}
    for group in filter(lambda each: isinstance(each, Mapping), groups if isinstance(groups, list) else []):
        numbers, own = group.get("params"), group.get("param_names")
        if own is None and len(groups) > 1:  # type: ignore[arg-type]  # it is a list here
            raise CheckpointError(
                f"{where}: several groups of parameters without names, so that it is not known which is which",
                hint="Give the optimizer named parameters: [{'params': [(name, parameter), …]}, …].",
            )
        known = names if own is None else own
        if not isinstance(numbers, list) or not isinstance(known, list | tuple) or len(known) != len(numbers):
            raise CheckpointError(
                f"{where}: the optimizer has {len(numbers) if isinstance(numbers, list) else 'no'} parameters, the "
                f"model {len(known) if isinstance(known, list | tuple) else 'no'}; which is which is not known",
                hint="Give the optimizer all parameters in the order of the model, or named parameters.",
            )
        found |= {name: (number, group) for name, number in zip(known, numbers, strict=True)}
    return found


def _num_steps(value: object, where: str) -> float:
    """t, of at least 1."""
    if isinstance(value, int | float | Tensor) and (not isinstance(value, Tensor) or value.numel() == 1):
        steps = float(value)
        if steps >= 1:
            return steps
    raise CheckpointError(f"{where}: found the step {value!r}; expected the number of steps that were made, at least 1")


def _constants(options: Mapping[str, object], where: str) -> tuple[float, float, float]:
    """β₁, β₂ and ε of a group."""
    betas, epsilon = options.get("betas"), options.get("eps")
    if not isinstance(betas, list | tuple) or len(betas) != 2 or not isinstance(epsilon, int | float):
        raise CheckpointError(f"{where}: a group without betas and eps", hint=_EXPECTED)
    return float(betas[0]), float(betas[1]), float(epsilon)
