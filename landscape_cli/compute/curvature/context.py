"""What a measure of the curvature may depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from torch import Tensor, nn

from landscape_cli.compute.curvature.operator import HessianOperator, magnitude
from landscape_cli.compute.normalization import Layout
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.subspace import Params
from landscape_cli.records import FloatArray

# name → number or array, as a measure returns them
Found = Mapping[str, "float | FloatArray"]
Measure = Callable[..., Found]


@dataclass(frozen=True)
class Context:
    """What a measure of the curvature may depend on.

    Attributes:
        objective: The mean loss around θ*, by the parameters that were selected.
        operator: Its Hessian on flat vectors, in the order of ``objective.names``.
        part: The same loss by some of these parameters only, with an operator of its own, for a while.
        layers: The output units of every weight matrix.
        draw: From a slice to the directions of the axes.
        num_slices: Of the scan.
        is_cross_entropy: Whether the loss is the cross entropy of logits.
        recalibrate: Gives a model the BatchNorm statistics that its weights have on the data; None for a model without.
        read: From a dotted key to that entry of the checkpoint; None for a model in hand.
        parameter_names: Of all parameters of the model, in its order.
        note: Told what the user should know about the measure; goes into the file.
    """

    objective: Objective
    operator: HessianOperator
    part: Callable[[Sequence[str]], AbstractContextManager[tuple[Objective, HessianOperator]]]
    layers: Layout
    draw: Callable[[int], tuple[Params, ...]]
    num_slices: int
    is_cross_entropy: bool
    recalibrate: Callable[[nn.Module], None] | None = None
    read: Callable[[str], object] | None = None
    parameter_names: tuple[str, ...] = ()
    note: Callable[[str], None] = field(default=lambda _: None)

    def magnitude(self) -> Tensor:
        """|θ| of the selected parameters, (size,) float64."""
        return magnitude(self.objective)
