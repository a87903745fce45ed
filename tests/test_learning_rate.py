"""Limits of the learning rate: below them the optimiser itself converges, above them it diverges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from recorded import eigenvalues, everything, record, surface_with
from representative import mostly_slow

from landscape_cli.analysis.learning_rate import NOT_CONVERGED, WORDING, learning_rates
from landscape_cli.analysis.sharpness import measured, sharpness

CURVATURES = torch.tensor([2.0, 0.7, 0.1], dtype=torch.float64)  # λ_max = 2
NUM_STEPS = 3000


def limit(name: str, **options: float) -> float:
    records = {
        "eigenvalues": eigenvalues(0.1, 2.0),
        "adam_lambda_max": record({"value": 2.0, "residual": 0.0, "num_steps": 20, "beta1": 0.9}),
    }
    value = measured(surface_with(records), name, **options).value
    assert value is not None
    return value


def trained_by_sgd(rate: float, **options: object) -> float:
    """‖θ‖ after the steps of torch.optim.SGD on ½ Σ λᵢ θᵢ²."""
    theta = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=rate, **options)  # type: ignore[arg-type]
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        (0.5 * (CURVATURES * theta**2).sum()).backward()
        optimizer.step()
        if theta.norm() > 1e6:
            break
    return float(theta.detach().norm())


def trained_by_adam(rate: float, beta1: float = 0.9) -> float:
    """The same of Adam whose second moments do not change: θ ← θ − η P⁻¹ m, the coordinates scaled so that P = 1."""
    theta, momentum = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for _ in range(NUM_STEPS):
        momentum = beta1 * momentum + (1 - beta1) * CURVATURES * theta
        theta = theta - rate * momentum
        if theta.norm() > 1e6:
            break
    return float(theta.norm())


@pytest.mark.parametrize(
    ("name", "train"),
    [
        ("lr_limit", trained_by_sgd),
        pytest.param("lr_limit_momentum", lambda rate: trained_by_sgd(rate, momentum=0.9), marks=pytest.mark.slow),
        pytest.param(
            "lr_limit_nesterov", lambda rate: trained_by_sgd(rate, momentum=0.9, nesterov=True), marks=pytest.mark.slow
        ),
        ("lr_limit_adam", trained_by_adam),
    ],
)
def test_an_optimiser_converges_below_its_limit_and_diverges_above(name: str, train: Callable[[float], float]) -> None:
    assert train(0.98 * limit(name)) < 1e-6
    assert train(1.02 * limit(name)) > 1e6


@pytest.mark.parametrize("momentum", mostly_slow([0.0, 0.5, 0.99], 0.5))
@pytest.mark.parametrize("nesterov", mostly_slow([False, True], False))
def test_the_momentum_is_that_of_the_optimiser(momentum: float, nesterov: bool) -> None:
    name = "lr_limit_nesterov" if nesterov else "lr_limit_momentum"
    rate, options = limit(name, momentum=momentum), {"momentum": momentum, "nesterov": nesterov and momentum > 0}
    assert trained_by_sgd(0.98 * rate, **options) < 1e-3
    assert trained_by_sgd(1.02 * rate, **options) > 1e6


def test_the_limits_for_a_curvature_of_one_are_the_known_numbers() -> None:
    found = [2 * limit(f"lr_limit{each}") for each in ("", "_momentum", "_nesterov", "_adam")]
    assert found == pytest.approx([2, 3.8, 1.357143, 38.0], rel=1e-6)


def test_the_error_of_the_curvature_is_that_of_the_limit() -> None:
    surface = surface_with({"eigenvalues": eigenvalues(0, 4.0, residual=0.04)})
    found = measured(surface, "lr_limit")
    assert (found.value, found.method_error, found.method_error_from) == (0.5, pytest.approx(0.005), "residual")


def test_every_limit_says_what_it_is_not() -> None:
    surface = surface_with(everything())
    for name in ("lr_limit", "lr_limit_momentum", "lr_limit_nesterov", "lr_limit_adam"):
        assert WORDING in measured(surface, name).note
    assert WORDING == "local full-batch stability limit at this checkpoint, not a recommendation"


def test_the_limits_are_put_together_with_their_caveats() -> None:
    surface = surface_with(everything(batchnorm="frozen"))
    found = learning_rates(surface, sharpness(surface, momentum=0.5), momentum=0.5)
    assert found.limits == {
        name: measured(surface, name, momentum=0.5).value
        for name in ("lr_limit", "lr_limit_momentum", "lr_limit_nesterov", "lr_limit_adam")
    }
    assert found.sentence.startswith("at most 1 for gradient descent, 1.5 with momentum 0.5, ")
    assert WORDING in found.sentence
    words = " ".join(found.caveats)
    assert all(each in words for each in ("edge of stability", "minibatch noise", "pessimistic", "BatchNorm"))
    without = surface_with(everything())
    assert "BatchNorm" not in " ".join(learning_rates(without, sharpness(without)).caveats)


def test_the_curvature_of_some_parameters_gives_no_limit() -> None:
    """λ_max of a block is at most that of the whole Hessian: the limit would be too large."""
    surface = surface_with(everything(parameters={"include": ["fc.*"], "exclude": []}))
    for name in ("lr_limit", "lr_limit_momentum", "lr_limit_nesterov", "lr_limit_adam"):
        found = measured(surface, name)
        assert (found.value, found.note) == (None, "needs λ_max of all parameters")
    found = learning_rates(surface, sharpness(surface))
    assert (found.limits, found.sentence, found.caveats) == ({}, "", ())


@pytest.mark.parametrize(("residual", "said"), [(0.0999, False), (0.1001, True)])  # 5 % of λ_max
def test_a_limit_from_a_curvature_that_has_not_converged_may_be_smaller(residual: float, said: bool) -> None:
    surface = surface_with({"eigenvalues": eigenvalues(0, 2.0, residual=residual)})
    assert (NOT_CONVERGED in learning_rates(surface, sharpness(surface)).caveats) == said
    assert (NOT_CONVERGED in measured(surface, "lr_limit").note) == said


def test_without_curvature_there_are_no_limits() -> None:
    surface = surface_with({})
    found = learning_rates(surface, sharpness(surface))
    assert (found.limits, found.sentence, found.caveats) == ({}, "", ())


@pytest.mark.parametrize("beta1", [1.0, -0.1, float("nan")])
def test_a_beta_that_is_none_gives_no_limit(beta1: float) -> None:
    values = {"value": 2.0, "residual": 0.0, "num_steps": 20, "beta1": beta1}
    assert measured(surface_with({"adam_lambda_max": record(values)}), "lr_limit_adam").value is None
