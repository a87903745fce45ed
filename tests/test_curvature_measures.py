"""Every measure of the curvature against dense Hessians, brute force over the examples, and closed forms."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from oracles import (
    case,
    context_of,
    dense_hessian,
    objective_of,
    on_cpu,
    operator_of,
    plain_loss,
    random_like,
)
from representative import mostly_slow
from torch import Tensor, nn
from torch.func import functional_call

from landscape_cli.compute.ascent import ascend
from landscape_cli.compute.curvature.context import Context
from landscape_cli.compute.curvature.density import spectral_density
from landscape_cli.compute.curvature.eigenvalues import adam_lambda_max, adaptive_lambda_max, eigenvalues
from landscape_cli.compute.curvature.flatness import fisher_rao, relative_flatness
from landscape_cli.compute.curvature.gradients import gradient
from landscape_cli.compute.curvature.hessian_trace import adaptive_trace, trace
from landscape_cli.compute.curvature.operator import magnitude
from landscape_cli.compute.curvature.slice_curvature import slice_curvature
from landscape_cli.compute.curvature.worst_case import adaptive_worst, asam, keskar, sam
from landscape_cli.compute.data import Batches
from landscape_cli.compute.metrics import cross_entropy, mse
from landscape_cli.compute.subspace import Params, flatten, parameters_of, unflatten
from landscape_cli.errors import CheckpointError, EvaluationError

NETWORKS = ("perceptron", "convolutional", "attentive")


def both(name: str, num_examples: int = 24, **options: object) -> tuple[Context, Tensor]:
    """The loss of a network for measures, and its dense Hessian."""
    model, data = case(name, num_examples)
    objective = objective_of(model, data, **options)  # type: ignore[arg-type]
    return context_of(objective), dense_hessian(model, data, objective.names)


def per_example_gradients(model: nn.Module, data: Batches, names: tuple[str, ...]) -> Tensor:
    """(n, size), one by one."""
    assert isinstance(data.inputs, Tensor)
    rows = []
    for i in range(len(data.targets)):
        one = Batches(data.inputs[i : i + 1], data.targets[i : i + 1], None, "")
        flat = flatten(parameters_of(model), names).requires_grad_()
        rows.append(torch.autograd.grad(plain_loss(model, one, names)(flat), flat)[0])
    return torch.stack(rows)


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_norms_and_the_adaptive_one_are_those_of_the_examples(name: str, device: str) -> None:
    model, data = case(name, 24)
    objective = objective_of(model, data, device=device)
    found = gradient(context_of(objective))
    rows = per_example_gradients(model, data, objective.names)
    mean, theta = rows.mean(dim=0), flatten(parameters_of(model), objective.names)
    assert found["grad_norm"] == pytest.approx(float(mean.norm()), rel=1e-10)
    assert found["adaptive_grad_norm"] == pytest.approx(float((theta * mean).norm()), rel=1e-10)
    assert found["param_norm"] == pytest.approx(float(theta.norm()), rel=1e-12)
    assert found["loss"] == pytest.approx(float(plain_loss(model, data, objective.names)(theta)), rel=1e-12)


def test_the_noise_floor_of_single_examples_is_that_of_their_covariance() -> None:
    model, data = case("perceptron", 24)  # 24 parts of one example each: then it is exact
    objective = objective_of(model, data)
    found = gradient(context_of(objective))
    rows = per_example_gradients(model, data, objective.names)
    theta = flatten(parameters_of(model), objective.names)
    for key, scaled in (("noise_floor", rows), ("adaptive_noise_floor", rows * theta.abs())):
        exact = math.sqrt(float(torch.cov(scaled.T).trace()) / 24)
        assert found[key] == pytest.approx(exact, rel=1e-9)


@pytest.mark.slow
def test_the_noise_floor_from_parts_estimates_that_of_single_examples() -> None:
    model, _ = case("perceptron")
    ratios = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(400, 4, generator=generator, dtype=torch.float64)
        data = Batches(inputs, torch.randint(3, (400,), generator=generator), None, "")
        objective = objective_of(model, data)
        found = gradient(context_of(objective))
        rows = per_example_gradients(model, data, objective.names) if seed < 1 else None
        if rows is not None:
            exact = math.sqrt(float(torch.cov(rows.T).trace()) / 400)
        ratios.append(float(found["noise_floor"]) ** 2 / exact**2)
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)
    assert np.std(ratios) < 0.4


class Trains(nn.Module):
    """Ignores eval()."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.body, self.what, self.norm = nn.Linear(4, 6), what, nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.body(inputs)
        if self.what == "batchnorm":
            hidden = F.batch_norm(hidden, None, None, self.norm.weight, self.norm.bias, training=True)
        if self.what == "dropout":
            hidden = F.dropout(hidden, 0.5, training=True)
        out: Tensor = self.head(hidden.tanh())
        return out


@pytest.mark.parametrize("dtype", mostly_slow([torch.float32, torch.float64], torch.float64))
@pytest.mark.parametrize("what", ["batchnorm", "dropout", "loss"])
def test_a_loss_that_does_not_repeat_itself_is_refused(what: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    _, data = case("perceptron", 100, dtype)

    def noisy(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs + 0.1 * torch.randn_like(outputs), targets)

    objective = objective_of(Trains(what).to(dtype), data, noisy if what == "loss" else cross_entropy)
    with pytest.raises(EvaluationError, match="two passes over the same 100 examples in other batches") as error:
        gradient(context_of(objective))
    assert "BatchNorm or dropout that ignores eval()" in str(error.value.hint)
    assert gradient(context_of(objective_of(Trains("nothing").to(dtype), data)))["grad_norm"] > 0


def test_statistics_estimated_anew_give_the_other_loss() -> None:
    model, data = case("convolutional", 24)
    objective = objective_of(model, data)

    def recalibrate(model: nn.Module) -> None:
        model[1].running_var.fill_(4.0)  # type: ignore[index, operator, union-attr]

    found = gradient(context_of(objective, recalibrate=recalibrate))
    other = copy.deepcopy(model)
    other[1].running_var.fill_(4.0)  # type: ignore[index, operator, union-attr]
    assert found["batchnorm_loss"] == pytest.approx(objective_of(other, data).loss(), rel=1e-12)
    assert found["loss"] == pytest.approx(objective.loss(), rel=1e-14)


# ---------------------------------------------------------------- eigenvalues and traces


@pytest.mark.parametrize("name", NETWORKS)
def test_eigenvalues_are_those_of_the_dense_hessian(name: str, device: str) -> None:
    context, hessian = both(name, device=device)
    exact = np.linalg.eigvalsh(hessian.numpy())
    found = eigenvalues(context, count=2, steps=len(hessian))
    assert found["lambda_max"] == pytest.approx(exact[-1], rel=1e-9)
    assert found["lambda_min"] == pytest.approx(exact[0], rel=1e-9)
    assert found["largest"][1] == pytest.approx(exact[-2], rel=1e-8)  # type: ignore[index]
    few = eigenvalues(context, steps=8)
    assert few["num_steps"] == 8
    for key in ("lambda_max", "lambda_min"):
        assert np.abs(exact - few[key]).min() <= few[f"{key}_residual"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_adaptive_measures_are_those_of_the_scaled_dense_hessian(name: str, device: str) -> None:
    context, hessian = both(name, device=device)
    scale = on_cpu(context.objective.params).abs()
    scaled = scale[:, None] * hessian * scale
    exact = float(torch.linalg.eigvalsh(scaled)[-1])
    assert adaptive_lambda_max(context, steps=len(hessian))["value"] == pytest.approx(exact, rel=1e-9)
    # "attentive" has fewer eigenvalues than probes: without orthogonality of what is rounding it was 9 times too large
    size = len(hessian)
    assert adaptive_trace(context, products=2 * size, tolerance=0.0)["value"] == pytest.approx(
        float(scaled.trace()), rel=1e-8
    )
    assert trace(context, products=2 * size, tolerance=0.0)["value"] == pytest.approx(float(hessian.trace()), rel=1e-8)
    for measure, matrix in ((trace, hessian), (adaptive_trace, scaled)):
        for estimator in ("xtrace", "hutchinson"):
            found = measure(context, products=30, estimator=estimator)
            error = abs(float(found["value"]) - float(matrix.trace()))
            assert error < 4 * float(found["standard_error"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perceptron", "convolutional"])
def test_the_spectral_density_has_the_moments_and_the_negative_sum_of_the_hessian(name: str) -> None:
    context, hessian = both(name)
    exact = np.linalg.eigvalsh(hessian.numpy())
    size, probes = len(exact), 40
    found = spectral_density(context, probes=probes, steps=40)
    nodes, weights = np.nan_to_num(found["nodes"]), found["weights"]
    assert weights.sum(axis=1) == pytest.approx(np.ones(probes), rel=1e-10)  # type: ignore[union-attr]
    for power in (1, 2):
        moments = (weights * nodes**power).sum(axis=1)
        error = moments.std(ddof=1) / math.sqrt(probes)
        assert abs(moments.mean() - (exact**power).mean()) < 3 * error
        if power == 2:
            assert error < 0.5 * moments.mean()
    negative = -exact[exact < 0].sum()
    error = found["negative_sum_standard_error"]
    assert abs(float(found["negative_sum"]) - negative) < 3 * float(error) + float(found["negative_sum_change"])
    assert size > 40 or not np.isnan(found["nodes"]).any()


def test_a_density_of_all_steps_is_the_spectrum_itself() -> None:
    context, hessian = both("perceptron")
    exact = np.linalg.eigvalsh(hessian.numpy())
    found = spectral_density(context, probes=2, steps=300)
    nodes, weights = found["nodes"], found["weights"]
    assert nodes.shape == weights.shape == (2, 300)  # type: ignore[union-attr]
    known = ~np.isnan(nodes)
    assert (weights[~known] == 0).all()  # type: ignore[index]
    for node in nodes[known]:  # type: ignore[index]
        assert np.abs(exact - node).min() < 1e-10
    assert found["negative_sum_change"] == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------- curvlinops


@pytest.mark.slow
def test_curvature_equals_that_of_curvlinops() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curvlinops = pytest.importorskip("curvlinops", reason="a second opinion, from pip install -e .[dev]")
    model, data = case("perceptron", 24)
    model.eval()
    assert isinstance(data.inputs, Tensor)
    objective = objective_of(model, data)
    context = context_of(objective)
    batches = [(data.inputs[:16], data.targets[:16]), (data.inputs[16:], data.targets[16:])]
    theirs = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), [p for p in model.parameters() if p.requires_grad], batches
    )
    vector = on_cpu(random_like(objective.params))
    torch.testing.assert_close(operator_of(objective)(vector), theirs @ vector, rtol=1e-10, atol=1e-12)
    scipy_operator = theirs.to_scipy()
    (largest,) = scipy.sparse.linalg.eigsh(scipy_operator, k=1, which="LA", tol=1e-12, return_eigenvectors=False)
    assert eigenvalues(context)["lambda_max"] == pytest.approx(largest, rel=1e-9)
    size = objective.size
    theirs_dense = theirs @ torch.eye(size, dtype=torch.float64)
    assert trace(context, products=2 * size, tolerance=0.0)["value"] == pytest.approx(
        float(theirs_dense.trace()), rel=1e-8
    )
    found = spectral_density(context, probes=30, steps=30)
    second = (found["weights"] * np.nan_to_num(found["nodes"]) ** 2).sum(axis=1)
    exact = float((theirs_dense @ theirs_dense).trace()) / size
    assert abs(second.mean() - exact) < 3 * second.std(ddof=1) / math.sqrt(30)


# ---------------------------------------------------------------- flatness


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        pytest.param("perceptron", "0.weight", marks=pytest.mark.slow),
        ("perceptron", "3.weight"),
        pytest.param("convolutional", "0.weight", marks=pytest.mark.slow),
    ],
)
def test_relative_flatness_estimates_the_sum_over_the_blocks_of_the_hessian(name: str, layer: str, device: str) -> None:
    model, data = case(name, 24)
    hessian = dense_hessian(model, data, (layer,))
    weight = parameters_of(model)[layer].flatten(1)  # rows w_s
    rows, fan_in = weight.shape
    blocks = hessian.view(rows, fan_in, rows, fan_in)
    exact = float(torch.einsum("si,ti,sjtj->", weight, weight, blocks))
    found = relative_flatness(context_of(objective_of(model, data, device=device)), layers=[layer], products=400)
    assert abs(float(found["value"]) - exact) < 3 * float(found["standard_error"])
    assert float(found["standard_error"]) < abs(exact)
    assert found["per_layer"].shape == (1,)  # type: ignore[union-attr]


def test_relative_flatness_of_several_layers_is_their_sum_and_by_default_the_last_one() -> None:
    context, _ = both("perceptron")
    every = relative_flatness(context, layers=["*"])
    assert every["per_layer"].shape == (2,)  # type: ignore[union-attr]
    assert every["value"] == pytest.approx(np.sum(every["per_layer"]))
    last, named = relative_flatness(context), relative_flatness(context, layers=["3"])
    assert last["value"] == named["value"]


@pytest.mark.parametrize("name", NETWORKS)
def test_fisher_rao_norms_equal_brute_force_over_the_examples(name: str, device: str) -> None:
    model, data = case(name, 24)
    objective = objective_of(model, data, device=device, chunk_size=5)
    found = fisher_rao(context_of(objective))
    names = objective.names
    theta = flatten(parameters_of(model), names)
    empirical = (per_example_gradients(model, data, names) @ theta).square().mean()
    assert found["empirical"] == pytest.approx(float(empirical), rel=1e-9)
    plain = copy.deepcopy(model).eval()
    like = parameters_of(plain)
    total = 0.0
    for i in range(24):

        def logits(flat: Tensor, i: int = i) -> Tensor:
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                out: Tensor = functional_call(plain, unflatten(flat, like), (data.inputs[i : i + 1],))[0]  # type: ignore[index]
            return out

        jacobian = torch.autograd.functional.jacobian(logits, theta)
        p = logits(theta).softmax(dim=0)
        fisher = jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian  # type: ignore[union-attr]
        total += float(theta @ fisher @ theta) / 24
    assert found["model"] == pytest.approx(total, rel=1e-9)


def test_fisher_rao_of_another_loss_is_empirical_only() -> None:
    model, data = case("perceptron")
    objective = objective_of(model, Batches(data.inputs, F.one_hot(data.targets, 3).double(), None, ""), mse)
    assert set(fisher_rao(context_of(objective))) == {"empirical"}


# ---------------------------------------------------------------- slices


def filter_normalised(params: Params, generator: torch.Generator) -> Params:
    """Gaussian numbers with the norm of each row of the weights; no biases (Li et al. 2018)."""
    direction = {}
    for name, tensor in params.items():
        drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        if tensor.ndim < 2:
            direction[name] = torch.zeros_like(tensor)
            continue
        rows = drawn.flatten(1)
        scaled = rows * (tensor.flatten(1).norm(dim=1) / rows.norm(dim=1))[:, None]
        direction[name] = scaled.view(tensor.shape)
    return direction


def drawn_from(params: Params) -> Callable[[int], tuple[Params, ...]]:
    def draw(index: int) -> tuple[Params, ...]:
        generator = torch.Generator().manual_seed(index)
        return tuple(filter_normalised(params, generator) for _ in range(2))

    return draw


@pytest.mark.parametrize("name", mostly_slow(["perceptron", "convolutional"], "perceptron"))
def test_slice_curvature_is_that_of_the_dense_hessian_and_its_mean_the_weighted_trace(name: str, device: str) -> None:
    model, data = case(name, 24)
    objective = objective_of(model, data, device=device)
    hessian = dense_hessian(model, data, objective.names)
    params = parameters_of(model)
    draw = drawn_from(params)
    found = slice_curvature(context_of(objective, draw=draw, num_slices=300), slices=300)["per_slice"]
    assert isinstance(found, np.ndarray)
    assert found.shape == (300, 2)
    for index in (0, 7, 299):
        for axis, direction in enumerate(draw(index)):
            flat = flatten(direction, objective.names)
            assert found[index, axis] == pytest.approx(float(flat @ hessian @ flat), rel=1e-9)
    exact, start = 0.0, 0
    for tensor in params.values():
        diagonal = hessian.diagonal()[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
        if tensor.ndim > 1:
            rows = tensor.flatten(1)
            exact += float((rows.square().sum(dim=1) / rows.shape[1] * diagonal.flatten(1).sum(dim=1)).sum())
    values = found.ravel()
    assert abs(values.mean() - exact) < 3 * values.std(ddof=1) / math.sqrt(len(values))


def test_slice_curvature_by_some_parameters_is_that_of_the_part_of_the_direction() -> None:
    model, data = case("perceptron", 24)
    objective = objective_of(model, data, names=["3.weight"])
    hessian = dense_hessian(model, data, ("3.weight",))
    draw = drawn_from(parameters_of(model))
    found = slice_curvature(context_of(objective, draw=draw, num_slices=2))["per_slice"]
    flat = draw(1)[0]["3.weight"].flatten()
    assert found.shape == (2, 2)  # type: ignore[union-attr]
    assert found[1, 0] == pytest.approx(float(flat @ hessian @ flat), rel=1e-9)  # type: ignore[index]
    absent = context_of(objective, draw=lambda _: ({"0.weight": draw(0)[0]["0.weight"]},), num_slices=1)
    assert slice_curvature(absent)["per_slice"].tolist() == [[0.0]]  # type: ignore[union-attr]


# ---------------------------------------------------------------- worst case


class Quadratic:
    """L = mean (Xθ − y)², whose largest value over an ellipsoid is known."""

    def __init__(self, seed: int, size: int = 6) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(40, size, generator=generator, dtype=torch.float64)
        self.model = nn.Linear(size, 1, bias=False).double()
        self.theta = torch.randn(size, generator=generator, dtype=torch.float64)
        self.model.weight.data.copy_(self.theta)
        self.targets = torch.randn(40, 1, generator=generator, dtype=torch.float64)
        self.objective = objective_of(self.model, Batches(self.inputs, self.targets, None, ""), mse)

    def rise(self, offset: Tensor) -> float:
        def loss(theta: Tensor) -> Tensor:
            return (self.inputs @ theta - self.targets[:, 0]).square().mean()

        return float(loss(self.theta + offset) - loss(self.theta))

    def highest(self, scale: Tensor, radius: float) -> float:
        """The trust-region problem max gᵀu + uᵀAu/2 over ‖u‖ = r by its secular equation."""
        g = scale * (2 * self.inputs.T @ (self.inputs @ self.theta - self.targets[:, 0]) / 40)
        a = scale[:, None] * (2 * self.inputs.T @ self.inputs / 40) * scale
        values, vectors = torch.linalg.eigh(a)
        along = vectors.T @ g
        low = float(values[-1])
        high = low + 10 * float(g.norm()) / radius
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if float((along / (middle - values)).norm()) > radius else (low, middle)
        return self.rise(scale * (vectors @ (along / (high - values))))


@pytest.mark.parametrize("seed", mostly_slow(range(5), 0, 1))
@pytest.mark.parametrize("rho", [0.05, 0.5, 2.0])
def test_the_adaptive_worst_case_of_a_quadratic_is_its_known_maximum(seed: int, rho: float) -> None:
    problem = Quadratic(seed)
    found = adaptive_worst(context_of(problem.objective), rho=rho)
    exact = problem.highest(problem.theta.abs(), rho)
    assert found["value"] <= exact * (1 + 1e-9)
    assert found["value"] >= 0.99 * exact
    assert found["rho"] == rho


@pytest.mark.parametrize("seed", mostly_slow(range(5), 0, 1))
def test_worst_cases_in_a_cube_stay_below_that_of_its_corners_and_near_it(seed: int) -> None:
    problem = Quadratic(seed, size=6)
    theta, context = problem.theta, context_of(problem.objective)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6)
    for rho in (0.01, 0.3):
        highest = max(problem.rise(rho * theta.abs() * corner) for corner in corners)  # a convex function's is there
        found = adaptive_worst(context, rho=rho, norm="linf")["value"]
        assert 0.8 * highest <= found <= highest * (1 + 1e-9)
    box = 1e-3 * (theta.abs() + 1)
    loss = problem.objective.loss()
    highest = 100 * max(problem.rise(box * corner) for corner in corners) / (1 + loss)
    assert 0.99 * highest <= keskar(context)["value"] <= highest * (1 + 1e-9)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_no_step_leaves_the_neighbourhood_and_one_step_goes_to_its_edge(norm: str, steps: int) -> None:
    problem = Quadratic(0)
    visited: list[Tensor] = []
    move = problem.objective.move

    def watched(offset: Params | None) -> None:
        if offset is not None:
            visited.append(on_cpu(offset))
        move(offset)

    problem.objective.move = watched  # type: ignore[method-assign]
    scale = magnitude(problem.objective)
    ascend(problem.objective, scale, radius=0.3, norm=norm, num_steps=steps)  # type: ignore[arg-type]
    order = 2.0 if norm == "l2" else math.inf
    lengths = [float(torch.linalg.vector_norm(offset / scale, order)) for offset in visited]
    assert len(lengths) == steps
    assert lengths[0] == pytest.approx(0.3)
    assert max(lengths) <= 0.3 * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_sam_and_asam_are_one_step_up_the_gradient(seed: int) -> None:
    problem = Quadratic(seed)
    g = 2 * problem.inputs.T @ (problem.inputs @ problem.theta - problem.targets[:, 0]) / 40
    t = problem.theta.abs()
    context = context_of(problem.objective)
    assert sam(context)["value"] == pytest.approx(problem.rise(0.05 * g / g.norm()), rel=1e-9)
    assert asam(context)["value"] == pytest.approx(problem.rise(0.5 * t * t * g / (t * g).norm()), rel=1e-9)
    assert sam(context)["value"] <= problem.highest(torch.ones_like(t), 0.05) * (1 + 1e-9)
    assert asam(context)["value"] <= problem.highest(t, 0.5) * (1 + 1e-9)


def test_a_worst_case_from_a_stationary_point_is_found_and_leaves_the_objective_where_it_was() -> None:
    problem = Quadratic(1)
    solution = torch.linalg.lstsq(problem.inputs, problem.targets).solution[:, 0]
    problem.model.weight.data.copy_(solution)
    objective = objective_of(problem.model, Batches(problem.inputs, problem.targets, None, ""), mse)
    before = objective.loss()
    scale = solution.abs()
    hessian = 2 * problem.inputs.T @ problem.inputs / 40
    exact = 0.5 * 0.25 * float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
    found = adaptive_worst(context_of(objective))["value"]
    assert 0.99 * exact <= found <= exact * (1 + 1e-9)
    assert objective.loss() == before


def test_a_loss_that_diverges_is_infinite_and_no_error() -> None:
    problem = Quadratic(0)

    def cliff(outputs: Tensor, targets: Tensor) -> Tensor:
        value = mse(outputs, targets)
        return value if value.mean() < start + 1e-6 else value * math.inf

    start = math.inf
    data = Batches(problem.inputs, problem.targets, None, "")
    objective = objective_of(problem.model, data, cliff, chunk_size=40)
    start = objective.loss()
    for measure in (sam, asam, adaptive_worst, keskar):
        assert measure(context_of(objective))["value"] == math.inf
        assert objective.loss() == start


# ---------------------------------------------------------------- Adam


def trained(*, amsgrad: bool = False, named: bool = False) -> tuple[nn.Module, Batches, torch.optim.Optimizer]:
    model, data = case("perceptron", 24)
    model.eval()
    params: object = model.parameters()
    if named:  # in an order of its own, and with constants of its own
        (w0, b0), (w1, b1) = [list(layer.named_parameters(prefix=n)) for n, layer in (("0", model[0]), ("3", model[3]))]  # type: ignore[index]
        params = [{"params": [b1, w0], "eps": 1e-2}, {"params": [w1, b0], "betas": (0.8, 0.9)}]
    optimizer = torch.optim.AdamW(params, lr=1e-2, betas=(0.8, 0.95), eps=1e-3, amsgrad=amsgrad)  # type: ignore[arg-type]
    for step in range(7):
        optimizer.zero_grad()
        (F.cross_entropy(model(data.inputs), data.targets) / (1 + step)).backward()
        optimizer.step()
    return model, data, optimizer


def with_state(objective: object, state: object) -> Context:
    return context_of(objective, read={"optimizer": state}.__getitem__)  # type: ignore[arg-type]


def second_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> Params:
    """What AdamW divides by, of every parameter."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            moment = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
            found[names[parameter]] = (moment / (1 - group["betas"][1] ** 7)).sqrt() + group["eps"]
    return found


@pytest.mark.parametrize("names", [None, ["3.weight", "0.bias"]])
@pytest.mark.parametrize("kind", mostly_slow(["plain", "amsgrad", "named"], "plain"))
def test_the_preconditioned_eigenvalue_of_adam_is_that_of_the_dense_matrix(kind: str, names: list[str] | None) -> None:
    model, data, optimizer = trained(amsgrad=kind == "amsgrad", named=kind == "named")
    objective = objective_of(model, data, names=names)
    hessian = dense_hessian(model, data, objective.names)
    scale = flatten(second_moments(model, optimizer), objective.names).rsqrt()
    exact = float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
    found = adam_lambda_max(with_state(objective, optimizer.state_dict()), steps=60)
    assert found["value"] == pytest.approx(exact, rel=1e-9)
    assert found["beta1"] == 0.8


def test_what_is_no_state_of_adam_says_so() -> None:
    model, data, optimizer = trained()
    objective = objective_of(model, data)
    state = optimizer.state_dict()
    wrong: list[tuple[object, str]] = [
        ({}, "found no state of an optimizer"),
        ([1, 2], "found no state of an optimizer"),
        ({**state, "param_groups": [3]}, "no second moment"),
        (torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).state_dict(), "no second moment"),
        (torch.optim.Adam(model.parameters()).state_dict(), r"\(exp_avg_sq\) of 0.weight in the shape \(5, 4\)"),
        ({**state, "state": {k: v for k, v in state["state"].items() if k != 2}}, "of 3.weight"),
        ({**state, "state": {**state["state"], 0: state["state"][2]}}, r"of 0.weight in the shape \(5, 4\)"),
        ({**state, "param_groups": [{**state["param_groups"][0], "betas": "no"}]}, "a group without betas and eps"),
        ({**state, "param_groups": state["param_groups"] * 2}, "several groups of parameters without names"),
    ]
    for value, message in wrong:
        with pytest.raises(CheckpointError, match=message):
            adam_lambda_max(with_state(objective, value))
    with pytest.raises(CheckpointError, match="needs a checkpoint with the state of the optimizer"):
        adam_lambda_max(context_of(objective))


# ---------------------------------------------------------------- all of them


ALL: Mapping[str, Callable[[Context], Mapping[str, object]]] = {
    "gradient": gradient,
    "eigenvalues": eigenvalues,
    "adaptive_lambda_max": adaptive_lambda_max,
    "trace": trace,
    "adaptive_trace": adaptive_trace,
    "spectral_density": lambda context: spectral_density(context, probes=2, steps=20),
    "relative_flatness": relative_flatness,
    "fisher_rao": fisher_rao,
    "sam": sam,
    "asam": asam,
    "adaptive_worst": adaptive_worst,
    "keskar": keskar,
}


@pytest.mark.parametrize("name", mostly_slow(ALL, "gradient", "trace", "asam"))
def test_every_measure_repeats_itself_to_the_bit_and_leaves_no_trace(name: str) -> None:
    model, data = case("convolutional", 24)
    objective = objective_of(model, data, keeps_graphs=True)
    before = objective.loss()
    first, again = ALL[name](context_of(objective)), ALL[name](context_of(objective))
    fresh = ALL[name](context_of(objective_of(model, data)))
    for key, value in first.items():
        assert np.array_equal(np.asarray(value), np.asarray(again[key]), equal_nan=True), key
        assert np.array_equal(np.asarray(value), np.asarray(fresh[key]), equal_nan=True), key
    assert objective.loss() == before


@pytest.mark.parametrize("name", ALL)
def test_every_measure_of_a_network_of_one_parameter_is_finite(name: str) -> None:
    model = nn.Linear(1, 1, bias=False).double()
    inputs = torch.randn(8, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    objective = objective_of(model, Batches(inputs, torch.ones(8, 1).double(), None, ""), mse)
    for key, value in ALL[name](context_of(objective)).items():
        if "nodes" not in key:
            assert np.isfinite(np.asarray(value)).all(), key
