"""Small networks, data, and dense oracles of their gradients and Hessians, for the tests of the curvature."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.compute.curvature.context import Context
from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.data import Batches
from landscape_cli.compute.measure import _layers_of
from landscape_cli.compute.metrics import PerExample, cross_entropy
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.residency import place
from landscape_cli.compute.subspace import Params, flatten, parameters_of, unflatten


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 3, batch_first=True)
        self.head = nn.Linear(3, 3)

    def forward(self, sequences: Tensor) -> Tensor:  # (B, 4, 3)
        out: Tensor = self.head(self.lstm(sequences)[0][:, -1])
        return out


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.3, activation="gelu", batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, sequences: Tensor) -> Tensor:  # (B, 3, 4)
        out: Tensor = self.head(self.block(sequences).mean(dim=1))
        return out


class Tied(nn.Module):
    """The weight of the first layer is that of the second one too, and one parameter is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Parameter(torch.ones(2))
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(inputs).tanh())
        return out


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))


def convolutional() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    )
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron": (perceptron, (4,)),
    "convolutional": (convolutional, (1, 4, 4)),
    "recurrent": (Recurrent, (4, 3)),
    "attentive": (Attentive, (3, 4)),
    "tied": (Tied, (4,)),
}


def case(name: str, num_examples: int = 11, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Batches]:
    make, shape = CASES[name]
    torch.manual_seed(0)
    model = make().to(dtype)
    inputs = torch.randn(num_examples, *shape, dtype=dtype)
    return model, Batches(inputs, torch.randint(3, (num_examples,)), None, "")


def objective_of(
    model: nn.Module, data: Batches, loss: PerExample = cross_entropy, device: str = "cpu", **options: object
) -> Objective:
    dtype = next(model.parameters()).dtype
    return Objective(model, loss, place(data, torch.device(device), dtype), **options)  # type: ignore[arg-type]


def plain_loss(model: nn.Module, data: Batches, names: tuple[str, ...]) -> Callable[[Tensor], Tensor]:
    """The mean loss on the CPU as a function of the flat weights of these names."""
    model = copy.deepcopy(model).eval()
    origin = parameters_of(model)

    def loss(flat: Tensor) -> Tensor:
        moved = unflatten(flat, {name: origin[name] for name in names})
        with sdpa_kernel(SDPBackend.MATH):
            return F.cross_entropy(functional_call(model, moved, (data.inputs,)), data.targets)

    return loss


def dense_hessian(model: nn.Module, data: Batches, names: tuple[str, ...]) -> Tensor:
    flat = flatten(parameters_of(model), names)
    hessian = torch.autograd.functional.hessian(plain_loss(model, data, names), flat)
    assert isinstance(hessian, Tensor)
    return hessian


def product_of(objective: Objective) -> Callable[[Tensor], Tensor]:
    return lambda flat: flatten(objective.hvp(unflatten(flat, objective.params)), objective.names)


def context_of(objective: Objective, **options: object) -> Context:
    """What measures get, of an objective alone."""

    @contextlib.contextmanager
    def part(names: Sequence[str]) -> Iterator[tuple[Objective, HessianOperator]]:
        mine = objective_of(objective._model, _data_of(objective), objective._loss, names=names)
        yield mine, operator_of(mine)

    arguments: dict[str, object] = {
        "draw": lambda _: (),
        "num_slices": 0,
        "is_cross_entropy": objective._loss is cross_entropy,
        "parameter_names": tuple(name for name, _ in objective._model.named_parameters()),
    }
    return Context(objective, operator_of(objective), part, _layers_of(objective._model), **{**arguments, **options})  # type: ignore[arg-type]


def _data_of(objective: Objective) -> Batches:
    return objective._passes._split.batches


def operator_of(objective: Objective) -> HessianOperator:
    """Its Hessian, with nothing written down."""
    return HessianOperator(objective, Journal(None, b"", objective.dtype, objective.device))


def random_like(params: Params, seed: int = 1) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
        for name, tensor in params.items()
    }


def on_cpu(params: Params) -> Tensor:
    return flatten(params, tuple(params)).cpu()


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def with_spectrum(values: list[float], device: str = "cpu", seed: int = 0) -> Tensor:
    """A dense symmetric float64 matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    size = len(values)
    rotation, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return ((rotation * torch.tensor(values, dtype=torch.float64)) @ rotation.T).to(device)
