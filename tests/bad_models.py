"""Models, data sets and metrics that cannot be scanned, for configs of the tests to name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset


def dataset(*, length: int = 20, num_classes: int = 4) -> TensorDataset:
    """Random inputs (n, 3) and labels."""
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(length, 3, generator=generator), torch.randint(num_classes, (length,), generator=generator)
    )


class Linear(nn.Linear):
    """A good model."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__(3, num_classes)


class ReturnsTuple(Linear):
    """The logits and something else."""

    def forward(self, input: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # noqa: A002
        return super().forward(input), None


class ReturnsDict(Linear):
    """The logits in a mapping, as in transformers."""

    def forward(self, input: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # noqa: A002
        return {"logits": super().forward(input)}


class Talkative(Linear):
    """Prints in the forward pass."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        print("hello")  # noqa: T201
        return super().forward(input)


class Noisy(Linear):
    """Draws random numbers in the forward pass."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        out = super().forward(input)
        return out + torch.rand_like(out)


def not_a_module() -> int:
    """Return something that is no module."""
    return 3


def nan_dataset() -> TensorDataset:
    """One input is NaN."""
    inputs, labels = dataset().tensors
    inputs[3, 1] = torch.nan
    return TensorDataset(inputs, labels)


class Augmented(TensorDataset):
    """Another example at each reading."""

    def __init__(self) -> None:
        super().__init__(*dataset().tensors)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, label = super().__getitem__(index)
        return inputs + torch.randn(3), label
