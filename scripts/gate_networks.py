"""Networks of the gate study: trained in seconds on 300 digits, each with its line of relative noise, as scanned."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from landscape_cli import Surface, scan_model
from landscape_cli.examples import digits

NUM_EXAMPLES, LOSS, MOST_EPOCHS = 300, 0.01, 400  # training stops at this loss
_POINTS_PER_CALL = 25  # the whole line
_OPTIMIZERS: dict[tuple[str, int], Callable[..., torch.optim.Optimizer]] = {  # by name and batch size
    ("sgd", 10): partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    ("sgd", 300): partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    ("adam", 10): partial(torch.optim.Adam, lr=1e-3),
    ("adam", 300): partial(torch.optim.Adam, lr=1e-2),
}
_DECAYS = (0.0, 1e-3)


@dataclass(frozen=True)
class Architecture:
    """A network to be trained with every configuration.

    Attributes:
        build: Makes it, with random weights.
        engine: Of the scan; fixed, so that the same machine gives the same figures each time.
        num_seeds: Trainings with each configuration.
        num_directions: Of the line; half of them for trials, half for the truth.
        seed: Of the directions: each architecture has its own.
    """

    build: Callable[[], nn.Module]
    engine: str
    num_seeds: int
    num_directions: int
    seed: int


def perceptron(width: int) -> nn.Module:
    """One hidden layer, 64-width-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def convolutional(width: int) -> nn.Module:
    """Two 3×3 convolutions with BatchNorm, and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, 10)),
    )


ARCHITECTURES = {
    "perceptron 64-32-10": Architecture(partial(perceptron, 32), "mlp", 6, 160, seed=0),
    "perceptron 64-64-10": Architecture(partial(perceptron, 64), "mlp", 4, 160, seed=1),
    "convolutional": Architecture(partial(convolutional, 4), "channels_last", 3, 160, seed=2),
}
QUICK = {"perceptron 64-32-10": Architecture(partial(perceptron, 32), "mlp", 4, 160, seed=0)}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; without the seed it is a configuration."""

    architecture: str
    optimizer: str
    batch_size: int
    weight_decay: float
    seed: int

    @property
    def configuration(self) -> str:
        """All but the seed."""
        return f"{self.architecture}, {self.optimizer}, batch {self.batch_size}, weight decay {self.weight_decay:g}"


@dataclass(frozen=True)
class Line:
    """A line of relative noise.

    Attributes:
        surface: What ``radius`` of a scan has measured.
        seconds: Of the processor, for each direction.
    """

    surface: Surface
    seconds: float


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        recipe: Of its training.
        num_parameters: Of the network.
        loss: Cross-entropy on the examples it was trained on, in nats.
        line: The line of relative noise.
        in_one_part: The same with the same noise on all of the data, of the first seed; else None.
    """

    recipe: Recipe
    num_parameters: int
    loss: float
    line: Line
    in_one_part: Line | None


def recipes(architectures: dict[str, Architecture]) -> list[Recipe]:
    """Every configuration with every seed, the first seed of all of them first."""
    return [
        Recipe(name, optimizer, batch_size, decay, seed)
        for seed in range(max(each.num_seeds for each in architectures.values()))
        for name, architecture in architectures.items()
        for (optimizer, batch_size), decay in itertools.product(_OPTIMIZERS, _DECAYS)
        if seed < architecture.num_seeds
    ]


def networks(architectures: dict[str, Architecture], num_parts: int, pool: Executor) -> Iterator[Network]:
    """Train and scan all of them."""
    asked = recipes(architectures)
    return pool.map(partial(network, num_parts=num_parts), asked, [architectures[each.architecture] for each in asked])


def network(recipe: Recipe, architecture: Architecture, num_parts: int) -> Network:
    """Train one network and scan its line."""
    images, labels = (each[:NUM_EXAMPLES] for each in digits(train=True).tensors)
    torch.manual_seed(recipe.seed)
    model = architecture.build()
    loss = train(model, recipe, images, labels)
    line, *plain = [
        scanned(model, TensorDataset(images, labels), architecture, each)
        for each in ((num_parts, 1) if recipe.seed == 0 and num_parts > 1 else (num_parts,))
    ]
    return Network(recipe, sum(map(torch.numel, model.parameters())), loss, line, plain[0] if plain else None)


def scanned(model: nn.Module, dataset: TensorDataset, architecture: Architecture, num_parts: int) -> Line:
    """The line of relative noise, with this number of parts of the data."""
    start = time.process_time()
    surface = scan_model(
        model,
        {"train": dataset},
        axes={"x": {"num": 2}},
        radius={"slices": architecture.num_directions, "seed": architecture.seed, "parts": num_parts},
        runtime={"processes": 1, "engine": architecture.engine, "points_per_call": _POINTS_PER_CALL},
        batch_size=NUM_EXAMPLES,
    )
    assert surface.radius is not None
    return Line(surface.radius, (time.process_time() - start) / architecture.num_directions)


def train(model: nn.Module, recipe: Recipe, images: Tensor, labels: Tensor) -> float:
    """Train until the loss on all examples is small, or for the most epochs; returns it."""
    make = _OPTIMIZERS[recipe.optimizer, recipe.batch_size]
    optimizer = make(model.parameters(), weight_decay=recipe.weight_decay)
    order, loss = torch.Generator().manual_seed(recipe.seed), float("inf")
    for _ in range(MOST_EPOCHS):
        model.train()
        for batch in torch.split(torch.randperm(len(images), generator=order), recipe.batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(images[batch]), labels[batch]))
            optimizer.step()
        loss = loss_of(model, images, labels)
        if loss < LOSS:
            break
    return loss


@torch.no_grad()
def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Cross-entropy of the network as it is used, with the averages of BatchNorm; in nats."""
    return float(F.cross_entropy(model.eval()(images), labels))
