"""A data set that counts how often it is read, for configs of the tests of series to name."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from bad_models import dataset
from torch import Tensor, nn
from torch.utils.data import Dataset


class Counted(Dataset[tuple[Tensor, ...]]):
    """Writes a byte into a file for every example that is read."""

    def __init__(self, counter: str, length: int = 20) -> None:
        self._data, self._counter = dataset(length=length), Path(counter)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        with self._counter.open("ab") as file:
            file.write(b".")
        return self._data[index]


class Network(nn.Sequential):
    """A convolution and a linear layer, so that filters have several weights each."""

    def __init__(self) -> None:
        super().__init__(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 4))


class Slow(Network):
    """Takes its time for every batch."""

    def __init__(self, seconds: float = 0.002) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(self.seconds)
        outputs: Tensor = super().forward(inputs)
        return outputs


def network(seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Weights of a network at some point of its training."""
    torch.manual_seed(seed)
    return {name: scale * tensor for name, tensor in Network().state_dict().items()}
