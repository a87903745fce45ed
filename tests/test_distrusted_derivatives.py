"""Derivatives that are not what they seem, data in an unlucky order, and models that are hard to copy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import case, context_of, dense_hessian, objective_of, on_cpu, operator_of, random_like
from representative import mostly_slow
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from landscape_cli import scan_model
from landscape_cli.compute.curvature.eigenvalues import eigenvalues
from landscape_cli.compute.curvature.flatness import relative_flatness
from landscape_cli.compute.curvature.gradients import gradient
from landscape_cli.compute.curvature.hessian_trace import trace
from landscape_cli.compute.data import Batches
from landscape_cli.compute.metrics import cross_entropy
from landscape_cli.errors import AsymmetryError, EvaluationError


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# ---------------------------------------------------------------- wrong second derivatives


class WrongTwice(torch.autograd.Function):
    """x ↦ x², whose second derivative is off by a factor that depends on the place."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.square()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return WrongOnce.apply(values, gradient)  # type: ignore[no-any-return]


class WrongOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(values, gradient)
        return 2 * values * gradient

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, outer: Tensor) -> tuple[Tensor, Tensor]:
        values, gradient = ctx.saved_tensors  # type: ignore[attr-defined]
        return 2 * gradient * outer, 2.5 * values * outer  # 2 would be right


class Squares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.second(WrongTwice.apply(self.first(inputs)))
        return out


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_that_contradict_each_other_are_refused_by_every_measure_that_can_see_it(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    _, data = case("perceptron", 20, dtype)
    for measure in (eigenvalues, trace):
        with pytest.raises(
            AsymmetryError, match=r"contradict each other by .*; expected a symmetric matrix"
        ) as refused:
            measure(context_of(objective_of(Squares().to(dtype), data)))
        assert refused.value.hint is not None
        assert "hvp: finite_difference" in refused.value.hint


def test_a_scan_goes_on_with_differences_where_double_backward_is_wrong() -> None:
    torch.manual_seed(0)
    model = Squares().double()
    _, data = case("perceptron", 20)
    assert isinstance(data.inputs, Tensor)
    dataset = torch.utils.data.TensorDataset(data.inputs, data.targets)
    surface = scan_model(
        model,
        {"train": dataset},
        axes={"x": {"num": 3}},
        evaluation={"precision": "float64"},
        curvature={"measures": ["eigenvalues", "trace"]},
    )
    assert surface.curvature is not None
    names = tuple(name for name, _ in model.named_parameters())

    def right(flat: Tensor) -> Tensor:
        parts = torch.split(flat, [p.numel() for p in model.parameters()])
        w1, b1, w2, b2 = (part.view_as(p) for part, p in zip(parts, model.parameters(), strict=True))
        return F.cross_entropy(F.linear(F.linear(data.inputs, w1, b1).square(), w2, b2), data.targets)  # type: ignore[arg-type]

    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(right, flat))  # type: ignore[arg-type]
    record = surface.curvature.records["eigenvalues"]
    assert len(names) == 4
    assert record.method == "finite differences"
    assert any("contradict each other" in note for note in record.notes)
    assert record.number("lambda_max") == pytest.approx(float(exact[-1]), rel=1e-4)
    assert surface.curvature.records["trace"].number("value") == pytest.approx(float(exact.sum()), rel=0.2)


def test_networks_with_weight_norm_are_measured_right_or_refused() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(weight_norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        model[0].parametrizations.weight.original0.mul_(1.7)
    _, data = case("perceptron", 30)
    objective = objective_of(model, data)
    try:
        found = eigenvalues(context_of(objective), steps=200)
    except AsymmetryError:
        return  # torch's own second derivative of weight_norm is wrong
    exact = torch.linalg.eigvalsh(dense_hessian(model, data, objective.names))
    assert float(found["lambda_min"]) == pytest.approx(float(exact[0]), abs=1e-6)


# ---------------------------------------------------------------- gradients of something else


class StraightThrough(nn.Module):
    def __init__(self, *, detaches: bool) -> None:
        super().__init__()
        self.first, self.second, self.detaches = nn.Linear(4, 8), nn.Linear(8, 3), detaches

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).tanh()
        out: Tensor = self.second(3 * (hidden - 0.5 * (hidden.detach() if self.detaches else hidden)))
        return out


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("detaches", [True, False])
def test_a_gradient_that_is_not_that_of_the_loss_is_noted(*, detaches: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = StraightThrough(detaches=detaches).to(dtype)
    _, data = case("perceptron", 40, dtype)
    notes: list[str] = []
    gradient(context_of(objective_of(model, data), note=notes.append))
    assert any("not that of the loss" in note for note in notes) == detaches


# ---------------------------------------------------------------- the order of the data


def test_the_sampling_error_does_not_depend_on_the_order_of_the_examples() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    targets = torch.arange(3).repeat_interleave(320)
    inputs = torch.randn(960, 4, dtype=torch.float64) + 2.0 * F.one_hot(targets, 4)
    order = torch.randperm(960)
    rows = []
    for one, label in zip(inputs, targets, strict=True):
        loss = F.cross_entropy(model(one[None]), label[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    exact = math.sqrt(float(torch.cov(torch.stack(rows).T).trace()) / 960)
    for index in (torch.arange(960), order):
        found = gradient(context_of(objective_of(model, Batches(inputs[index], targets[index], None, ""))))
        assert float(found["noise_floor"]) == pytest.approx(exact, rel=0.3)


# ---------------------------------------------------------------- models that are hard to copy


class Keeping(nn.Module):
    """Keeps activations, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.features = nn.Linear(4, 3), torch.zeros(())

    def forward(self, inputs: Tensor) -> Tensor:
        self.features = self.body(inputs)
        return self.features


def test_models_that_keep_their_activations_can_be_differentiated_in_threads(threads: int) -> None:
    torch.manual_seed(0)
    model = Keeping().double()
    _, data = case("perceptron", 40)
    plain = nn.Sequential(model.body)
    objective, expected = objective_of(model, data, chunk_size=5), objective_of(plain, data)
    vector = random_like(expected.params)
    named = dict(zip(objective.names, vector.values(), strict=True))
    for _ in range(2):
        torch.testing.assert_close(on_cpu(objective.gradient()), on_cpu(expected.gradient()), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(on_cpu(objective.hvp(named)), on_cpu(expected.hvp(vector)), rtol=1e-12, atol=1e-14)


def test_what_autograd_keeps_of_an_example_does_not_count_the_weights() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(20_000, 16), nn.Linear(16, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = self.head(self.words(inputs).tanh().mean(dim=1))
            return out

    data = Batches(torch.randint(20_000, (32, 50)), torch.randint(3, (32,)), None, "")
    kept = objective_of(Words(), data)._passes.bytes_per_example
    activations = 50 * 16 * 4
    assert activations < kept < 20 * activations


# ---------------------------------------------------------------- relative flatness by output units


@pytest.mark.parametrize("kind", mostly_slow(["transposed", "grouped", "grouped and transposed"], "grouped"))
def test_relative_flatness_pairs_filters_that_see_the_same_inputs(kind: str) -> None:
    torch.manual_seed(1)
    groups = 2 if "grouped" in kind else 1
    convolution = nn.ConvTranspose2d if "transposed" in kind else nn.Conv2d
    layer = convolution(2, 4, 2, groups=groups, bias=False)
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
    inputs = torch.randn(12, 2, 3, 3, dtype=torch.float64)
    model(inputs)
    data = Batches(inputs, torch.randint(3, (12,)), None, "")
    hessian = dense_hessian(model, data, ("0.weight",))
    weight = layer.weight.detach()
    rows, places = [], []  # by group and unit: the weights of a filter, and where they are in the flat weight
    numbers = torch.arange(weight.numel()).view_as(weight)
    for tensor, into in ((weight, rows), (numbers, places)):
        if "transposed" in kind:
            parts = tensor.reshape(groups, -1, *tensor.shape[1:]).transpose(1, 2)
        else:
            parts = tensor.reshape(groups, -1, *tensor.shape[1:])
        into += [[unit.reshape(-1) for unit in group] for group in parts]
    expected = sum(
        float(a @ b) * float(hessian[i][:, j].trace())
        for group, where in zip(rows, places, strict=True)
        for a, i in zip(group, where, strict=True)
        for b, j in zip(group, where, strict=True)
    )
    notes: list[str] = []
    context = context_of(objective_of(model, data), note=notes.append)
    found = relative_flatness(context, layers=["0.weight"], products=400)
    assert abs(float(found["value"]) - expected) < 3.5 * float(found["standard_error"])
    assert notes == ["of 0.weight"]


def test_more_pairs_than_steps_are_refused() -> None:
    model, data = case("perceptron", 20)
    with pytest.raises(EvaluationError, match="count: 8 and steps: 5; expected at least twice as many"):
        eigenvalues(context_of(objective_of(model, data)), count=8, steps=5)


def test_a_loss_that_diverges_next_door_is_infinite_and_one_with_a_broken_gradient_is_not() -> None:
    from landscape_cli.compute.ascent import ascend

    class Root(nn.Module):
        """√|w|: finite at 0, where its gradient is not."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([inputs[:, 0] * self.weight[0].log(), inputs[:, 0] * 0], dim=1)

    data = Batches(torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, dtype=torch.int64), None, "")
    objective = objective_of(Root(), data, cross_entropy)
    scale = torch.ones(2, dtype=torch.float64)
    assert ascend(objective, scale, radius=2.0, norm="l2", num_steps=5).highest == math.inf  # log of a negative weight
    assert np.isfinite(ascend(objective, scale, radius=0.5, norm="l2", num_steps=5).highest)
    assert operator_of(objective).size == 2
