"""What function-preserving changes of the weights do to the measures; and critical points that are known exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import context_of, dense_hessian, objective_of, on_cpu, operator_of, plain_loss
from torch import Tensor, nn

from landscape_cli.compute.curvature.context import Context
from landscape_cli.compute.curvature.eigenvalues import adaptive_lambda_max, eigenvalues
from landscape_cli.compute.curvature.flatness import fisher_rao, relative_flatness
from landscape_cli.compute.curvature.gradients import gradient
from landscape_cli.compute.curvature.hessian_trace import adaptive_trace, trace
from landscape_cli.compute.curvature.slice_curvature import slice_curvature
from landscape_cli.compute.curvature.worst_case import adaptive_worst, asam, keskar, sam
from landscape_cli.compute.data import Batches
from landscape_cli.compute.lanczos import ends
from landscape_cli.compute.metrics import mse
from landscape_cli.compute.subspace import Params, parameters_of

# ---------------------------------------------------------------- networks and changes that they do not notice


def relu_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)).double()


def convolutional_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-30), nn.ReLU(),
        nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3, eps=1e-30), nn.ReLU(),
        nn.Flatten(), nn.Linear(12, 3),
    ).double()  # fmt: skip


def trained(net: nn.Sequential, shape: tuple[int, ...]) -> tuple[nn.Sequential, Batches]:
    """Far enough that the Hessian is not that of the initialisation, at statistics of its own."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(40, *shape, generator=generator, dtype=torch.float64)
    targets = inputs.flatten(1)[:, :3].argmax(dim=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    net.train()
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    return net.eval(), Batches(inputs, targets, None, "")


def scale_layer(net: nn.Sequential) -> None:
    """One layer × 10, the next ÷ 10."""
    for tensor in (net[0].weight, net[0].bias):
        tensor.mul_(10)  # type: ignore[operator, union-attr]
    net[2].weight.div_(10)  # type: ignore[operator, union-attr]


def scale_neurons(net: nn.Sequential) -> None:
    """Each hidden neuron by a factor of its own, 0.1 … 10."""
    generator = torch.Generator().manual_seed(2)
    for layer, following in ((net[0], net[2]), (net[2], net[4])):
        factors = 10 ** (2 * torch.rand(len(layer.weight), generator=generator, dtype=torch.float64) - 1)  # type: ignore[arg-type]
        layer.weight.mul_(factors[:, None])  # type: ignore[operator, union-attr]
        layer.bias.mul_(factors)  # type: ignore[operator, union-attr]
        following.weight.div_(factors)  # type: ignore[operator, union-attr]


def scale_before_batchnorm(net: nn.Sequential) -> None:
    """A convolution × 10, with the running statistics that it then has."""
    net[0].weight.mul_(10)  # type: ignore[operator, union-attr]
    net[1].running_mean.mul_(10)  # type: ignore[operator, union-attr]
    net[1].running_var.mul_(100)  # type: ignore[operator, union-attr]


def scale_gamma(net: nn.Sequential) -> None:
    """A BatchNorm × 10, the next convolution ÷ 10."""
    net[1].weight.mul_(10)  # type: ignore[operator, union-attr]
    net[1].bias.mul_(10)  # type: ignore[operator, union-attr]
    net[3].weight.div_(10)  # type: ignore[operator, union-attr]


def scale_channels(net: nn.Sequential) -> None:
    """Each channel of a BatchNorm by a factor of its own."""
    factors = torch.tensor([0.1, 10.0, 3.0, 0.5], dtype=torch.float64)
    net[1].weight.mul_(factors)  # type: ignore[operator, union-attr]
    net[1].bias.mul_(factors)  # type: ignore[operator, union-attr]
    net[3].weight.div_(factors[:, None, None])  # type: ignore[operator, union-attr]


Change = Callable[[nn.Sequential], None]
CHANGES: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], Change]] = {
    "layer": (relu_network, (6,), scale_layer),
    "neurons": (relu_network, (6,), scale_neurons),
    "before batchnorm": (convolutional_network, (1, 6, 6), scale_before_batchnorm),
    "gamma": (convolutional_network, (1, 6, 6), scale_gamma),
    "channels": (convolutional_network, (1, 6, 6), scale_channels),
}


def context_at(net: nn.Sequential, data: Batches) -> Context:
    objective = objective_of(net, data)
    params = parameters_of(net)

    def draw(index: int) -> tuple[Params, ...]:
        """Rows of the length of those of the weights, from the same numbers whatever these are (Li et al. 2018)."""
        generator = torch.Generator().manual_seed(index)
        direction = {}
        for name, tensor in params.items():
            rows = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).flatten(
                1 if tensor.ndim > 1 else 0
            )
            if tensor.ndim > 1:
                rows *= (tensor.flatten(1).norm(dim=1) / rows.norm(dim=1))[:, None]
                direction[name] = rows.view(tensor.shape)
        return (direction,)

    return context_of(objective, draw=draw, num_slices=10)


def measured(net: nn.Sequential, data: Batches) -> dict[str, float]:
    context = context_at(net, data)
    derivative, fisher = gradient(context), fisher_rao(context)
    found = {
        "grad_norm": derivative["grad_norm"],
        "adaptive_grad_norm": derivative["adaptive_grad_norm"],
        "adaptive_noise_floor": derivative["adaptive_noise_floor"],
        "lambda_max": eigenvalues(context)["lambda_max"],
        "adaptive_lambda_max": adaptive_lambda_max(context)["value"],
        "trace": trace(context)["value"],
        "adaptive_trace": adaptive_trace(context)["value"],
        "sam": sam(context)["value"],
        "asam": asam(context, rho=0.1)["value"],
        "adaptive_worst": adaptive_worst(context, rho=0.1)["value"],
        "adaptive_worst_linf": adaptive_worst(context, norm="linf")["value"],
        "keskar": keskar(context)["value"],
        "fisher_rao": fisher["empirical"],
        "fisher_rao_model": fisher["model"],
        "slice_curvature": float(np.mean(slice_curvature(context)["per_slice"])),
        "relative_flatness": relative_flatness(context, layers=[next(iter(parameters_of(net)))])["value"],
    }
    return {name: float(value) for name, value in found.items()}


INVARIANT = (
    "adaptive_grad_norm", "adaptive_noise_floor", "adaptive_lambda_max", "adaptive_trace", "asam", "adaptive_worst",
    "adaptive_worst_linf", "fisher_rao", "fisher_rao_model",
)  # fmt: skip


@pytest.fixture(scope="module")
def ratios() -> dict[str, dict[str, float]]:
    """Change → measure → what it is after the change, relative to before."""
    found = {}
    for name, (make, shape, change) in CHANGES.items():
        net, data = trained(make(), shape)
        changed = copy.deepcopy(net)
        with torch.no_grad():
            change(changed)
            torch.testing.assert_close(changed(data.inputs), net(data.inputs), rtol=0, atol=1e-12)
        before, after = measured(net, data), measured(changed, data)
        found[name] = {measure: after[measure] / before[measure] for measure in before}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("measure", INVARIANT)
@pytest.mark.parametrize("change", CHANGES)
def test_adaptive_measures_do_not_notice_what_the_network_does_not_notice(
    change: str, measure: str, ratios: dict[str, dict[str, float]]
) -> None:
    assert ratios[change][measure] == pytest.approx(1, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["grad_norm", "lambda_max", "trace", "sam", "keskar"])
@pytest.mark.parametrize("change", CHANGES)
def test_naive_measures_change_a_lot_though_the_network_is_the_same(
    change: str, measure: str, ratios: dict[str, dict[str, float]]
) -> None:
    ratio = ratios[change][measure]
    assert ratio > 0
    assert abs(math.log(ratio)) > math.log(1.15), ratio
    if change == "before batchnorm":  # less of the weights can be reached
        assert ratio < 1
    if change == "gamma":
        assert ratio > 2


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["slice_curvature", "relative_flatness"])
@pytest.mark.parametrize("change", ["layer", "before batchnorm"])
def test_filter_normalised_measures_do_not_notice_scaled_layers(
    change: str, measure: str, ratios: dict[str, dict[str, float]]
) -> None:
    assert ratios[change][measure] == pytest.approx(1, abs=1e-8)


@pytest.mark.slow
def test_filter_normalised_measures_notice_scaled_neurons(ratios: dict[str, dict[str, float]]) -> None:
    assert abs(math.log(ratios["neurons"]["slice_curvature"])) > math.log(2)
    assert abs(math.log(ratios["channels"]["slice_curvature"])) > math.log(2)


@pytest.mark.slow
def test_relative_flatness_notices_scaled_neurons_of_the_layer_before() -> None:
    make, shape, change = CHANGES["neurons"]
    net, data = trained(make(), shape)
    changed = copy.deepcopy(net)
    with torch.no_grad():
        change(changed)
    before, after = (
        float(relative_flatness(context_at(each, data), layers=["2.weight"], products=100)["value"])
        for each in (net, changed)
    )
    assert abs(math.log(after / before)) > math.log(1.5)


# ---------------------------------------------------------------- critical points


def test_a_linear_network_of_zeros_is_a_saddle_with_the_singular_values_of_the_data() -> None:
    """L = ½·mean ‖W₂W₁x − y‖²: at zero the Hessian pairs W₂ and W₁ by Σ_yx, eigenvalues ±σ."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    targets -= targets.mean(dim=0)
    net = nn.Sequential(nn.Linear(5, 3, bias=False), nn.Linear(3, 4, bias=False)).double()
    for parameter in net.parameters():
        parameter.data.zero_()

    def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets).square().sum(dim=1)

    context = context_of(objective_of(net, Batches(inputs, targets, None, ""), half_square))
    sigma = torch.linalg.svdvals(targets.T @ inputs / 50)
    assert gradient(context)["grad_norm"] == 0
    found = eigenvalues(context, count=4, steps=30)
    assert found["lambda_max"] == pytest.approx(float(sigma[0]), abs=1e-12)
    assert found["lambda_min"] == pytest.approx(-float(sigma[0]), abs=1e-12)
    for sign, values in ((1, found["largest"]), (-1, found["smallest"])):  # each σ occurs three times
        assert np.abs(sign * np.asarray(values)[:, None] - sigma.numpy()).min(axis=1) == pytest.approx(0, abs=1e-10)
    assert trace(context)["value"] == pytest.approx(0, abs=3 * float(trace(context)["standard_error"]))


def minimised(net: nn.Module, loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.LBFGS(
        net.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(closure)  # type: ignore[no-untyped-call]


class Tanh(nn.Module):
    """v·tanh(W x), without biases."""

    def __init__(self, incoming: Tensor, outgoing: Tensor) -> None:
        super().__init__()
        self.incoming, self.outgoing = nn.Parameter(incoming), nn.Parameter(outgoing)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.incoming.T).tanh() @ self.outgoing.T


def test_a_duplicated_neuron_at_a_critical_point_makes_a_saddle() -> None:
    """Fukumizu & Amari 2000: the minimum of a smaller network is a line of critical points in a larger one."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    teacher = Tanh(
        2 * torch.randn(3, 3, generator=generator, dtype=torch.float64),
        torch.randn(1, 3, generator=generator, dtype=torch.float64),
    )
    data = Batches(inputs, teacher(inputs).detach(), None, "")
    small = Tanh(
        torch.randn(1, 3, generator=generator, dtype=torch.float64),
        torch.randn(1, 1, generator=generator, dtype=torch.float64),
    )
    minimised(small, lambda: mse(small(inputs), data.targets).mean())
    shares = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    doubled = Tanh(small.incoming.detach().repeat(2, 1), small.outgoing.detach() * shares)
    torch.testing.assert_close(doubled(inputs), small(inputs), rtol=0, atol=1e-14)
    context = context_of(objective_of(doubled, data, mse))
    assert gradient(context)["grad_norm"] < 1e-7
    assert eigenvalues(context_of(objective_of(small, data, mse)))["lambda_min"] > 0  # it was a minimum
    found = eigenvalues(context, tolerance=0.0)
    exact = np.linalg.eigvalsh(dense_hessian_of(doubled, data))
    assert found["lambda_min"] == pytest.approx(exact[0], abs=1e-9)
    assert found["lambda_min"] < -1e-3
    assert found["lambda_min"] + found["lambda_min_residual"] < 0  # a proof


def dense_hessian_of(net: nn.Module, data: Batches) -> np.ndarray:
    operator = operator_of(objective_of(net, data, mse))
    names = tuple(parameters_of(net))

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, [p.numel() for p in parameters_of(net).values()])
        moved = {n: part.view(parameters_of(net)[n].shape) for n, part in zip(names, parts, strict=True)}
        outputs: Tensor = torch.func.functional_call(net, moved, (data.inputs,))
        return (outputs - data.targets).square().mean()

    flat = torch.cat([p.flatten() for p in parameters_of(net).values()])
    assert operator.size == len(flat)
    hessian = torch.func.hessian(loss)(flat)
    assert isinstance(hessian, Tensor)
    return hessian.numpy()


def test_a_minimum_with_weight_decay_is_strict_and_only_with_it_critical() -> None:
    _, data = trained(relu_network(), (6,))
    smooth = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    decay = 0.01

    def loss() -> Tensor:
        squares = sum((p.square().sum() for p in smooth.parameters()), torch.zeros((), dtype=torch.float64))
        return F.cross_entropy(smooth(data.inputs), data.targets) + decay / 2 * squares

    minimised(smooth, loss)
    regularised = context_of(objective_of(smooth, data, weight_decay=decay))
    plain = context_of(objective_of(smooth, data))
    names = regularised.objective.names
    exact = torch.linalg.eigvalsh(dense_hessian(smooth, data, names) + decay * torch.eye(regularised.operator.size))
    found = eigenvalues(regularised, steps=60, tolerance=0.0)
    assert found["lambda_min"] == pytest.approx(float(exact[0]), abs=1e-9)
    assert found["lambda_min"] - found["lambda_min_residual"] > 0
    assert gradient(regularised)["grad_norm"] < 1e-7
    length = float(on_cpu(parameters_of(smooth)).norm())
    assert gradient(plain)["grad_norm"] == pytest.approx(decay * length, rel=1e-5)  # ∇L = −λθ there
    assert float(plain_loss(smooth, data, names)(on_cpu(parameters_of(smooth)))) == pytest.approx(
        plain.objective.loss()
    )


def test_a_step_below_the_limit_of_the_learning_rate_converges_and_one_above_diverges() -> None:
    """Gradient descent on a quadratic: the limit is 2/λ_max, that of the measured λ_max."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    net = nn.Linear(5, 1, bias=False).double()
    data = Batches(inputs, torch.zeros(30, 1, dtype=torch.float64), None, "")
    objective = objective_of(net, data, mse)
    limit = 2 / float(eigenvalues(context_of(objective))["lambda_max"])
    for factor, converges in ((0.98, True), (1.02, False)):
        theta = torch.ones(5, dtype=torch.float64)
        for _ in range(1000):
            theta = theta - factor * limit * 2 * inputs.T @ (inputs @ theta) / 30
        assert (float(theta.norm()) < 1e-6) is converges


def test_a_loss_with_no_curvature_has_eigenvalues_of_zero() -> None:
    def linear(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum(dim=1)

    net = nn.Linear(3, 2).double()
    objective = objective_of(net, Batches(torch.randn(6, 3).double(), torch.zeros(6).long(), None, ""), linear)
    found = ends(operator_of(objective), objective.size, max_products=5, device=objective.device, dtype=objective.dtype)
    assert (found.largest[0], found.smallest[0], found.num_products) == (0.0, 0.0, 1)
