"""Models whose loss along a direction is known in closed form, for configs of the tests of found ranges to name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

LENGTH, INPUTS = 12, 3


def regression(*, exact: bool = False) -> TensorDataset:
    """Inputs (12, 3), whole numbers where exact; targets (12, 1) that the weights (1, 2, 3) meet, exactly or nearly."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(LENGTH, INPUTS, generator=generator)
    inputs = (3 * inputs).round() if exact else inputs
    noise = 0.0 if exact else 0.5 * torch.randn(LENGTH, 1, generator=generator)
    return TensorDataset(inputs, inputs @ torch.tensor([[1.0], [2.0], [3.0]]) + noise)


def classes() -> TensorDataset:
    """Inputs (12, 3) and labels, of three classes that can be told apart."""
    inputs, _ = regression().tensors
    return TensorDataset(inputs, inputs.argmax(dim=1))


def bad_labels() -> TensorDataset:
    """One label that the model has no output for."""
    inputs, labels = classes().tensors
    labels[5] = 7
    return TensorDataset(inputs, labels)


class Line(nn.Linear):
    """One output, without bias: with squared errors, the loss is a quadratic of the weights."""

    def __init__(self) -> None:
        super().__init__(INPUTS, 1, bias=False)


class Classifier(nn.Linear):
    """Three outputs, without bias."""

    def __init__(self) -> None:
        super().__init__(INPUTS, 3, bias=False)


class Bounded(Line):
    """Its outputs, and so the squared errors, never leave a small range."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return torch.tanh(super().forward(input))


class Breaking(Line):
    """NaN where a weight is farther than 2.5 from those of the data."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        far = (self.weight - torch.tensor([[1.0, 2.0, 3.0]]).to(self.weight)).abs().max() > 2.5
        return super().forward(input) + torch.where(far, torch.nan, 0.0)


def unit(context: object, *, index: int = 0, length: float = 1.0) -> dict[str, Tensor]:
    """A direction along one weight of the first output."""
    params: dict[str, Tensor] = context.params  # type: ignore[attr-defined]
    direction = torch.zeros_like(params["weight"])
    direction[0, index] = length
    return {"weight": direction}
