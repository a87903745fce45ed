"""A model that writes products of its Hessian down, and measures, for configs of the tests of curvature to name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from landscape_cli.compute.curvature.context import Context


class _Backward(torch.autograd.Function):
    """The identity, whose own backward pass is a part of a product with the Hessian."""

    @staticmethod
    def forward(ctx: FunctionCtx, gradient: Tensor, log: str, seconds: float) -> Tensor:
        ctx.told = log, seconds  # type: ignore[attr-defined]
        return gradient.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, vector: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        log, seconds = ctx.told  # type: ignore[attr-defined]
        time.sleep(seconds)
        with Path(log).open("ab") as file:
            file.write(b".")
        return vector, None, None


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, log: str, seconds: float) -> Tensor:
        ctx.told = log, seconds  # type: ignore[attr-defined]
        return values.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _Backward.apply(gradient, *ctx.told), None, None  # type: ignore[attr-defined, no-untyped-call]


class Logged(nn.Module):
    """3 inputs, 4 classes; a byte in the log for every product of the Hessian of a chunk."""

    def __init__(self, log: str = "log", seconds: float = 0.0) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds
        self.body, self.head = nn.Sequential(nn.Linear(3, 6), nn.Tanh()), nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(_Forward.apply(self.body(inputs), self.log, self.seconds))  # type: ignore[no-untyped-call]
        return out


class Once(torch.autograd.Function):
    """Has a first derivative only."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient


class OnceOnly(Logged):
    """Its products are differences of gradients."""

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = Once.apply(super().forward(inputs))  # type: ignore[no-untyped-call]
        return out


class Weighted(nn.CrossEntropyLoss):
    """Classes count differently."""

    def __init__(self) -> None:
        super().__init__(torch.tensor([1.0, 2.0, 0.5, 1.0]), reduction="none")


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Of such a model."""
    torch.manual_seed(seed)
    return Logged().state_dict()


def fails(context: Context) -> Mapping[str, float]:
    """A measure that fails."""
    raise ZeroDivisionError("nothing to divide by")


def wrong(context: Context, *, what: str) -> object:
    """A measure that returns something wrong."""
    return {"name": {"a/b": 1.0}, "text": {"a": "one"}, "number": 1.0, "texts": {"a": ["one"]}}[what]


def sum_of_squares(context: Context, *, factor: float = 1.0) -> Mapping[str, float]:
    """A measure of one's own."""
    return {"value": factor * float(context.magnitude().square().sum())}
