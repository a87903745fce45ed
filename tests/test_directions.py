"""Random directions: reproducible, independent, Gaussian; and what a user's direction may be."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.directions.drawing import check_direction
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.subspace import Params, parameters_of
from landscape_cli.errors import ConfigError


def context(model: nn.Module, *, seed: int = 0, slice_index: int = 0, axis: str = "x") -> Context:
    return Context(parameters_of(model), layout_of(model), seed, slice_index, axis)


def flat(params: Params) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in params.values()]).double()


def same(a: Params, b: Params) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_random_directions_repeat_themselves_and_leave_the_global_random_state_alone() -> None:
    model = nn.Linear(20, 10)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = random(context(model), normalization="none")
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.manual_seed(99)
    assert same(first, random(context(model), normalization="none"))


def test_random_directions_do_not_depend_on_the_weights_or_on_other_parameters() -> None:
    small, large = nn.Sequential(nn.Linear(5, 4)), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    a, b = (random(context(model), normalization="none") for model in (small, large))
    assert torch.equal(a["0.weight"], b["0.weight"])


def test_float32_and_float64_models_get_the_same_gaussians() -> None:
    single, double = nn.Linear(50, 20), nn.Linear(50, 20).double()
    a, b = (random(context(model), normalization="none")["weight"] for model in (single, double))
    assert torch.equal(a, b.float())


def test_every_seed_slice_axis_and_name_draws_independently() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    draws = [
        random(context(model, seed=seed, slice_index=index, axis=axis), normalization="none")[name].reshape(-1)
        for seed in (0, 1)
        for index in (0, 1)
        for axis in ("x", "y")
        for name in ("0.weight", "1.weight")
    ]
    cosines = np.corrcoef(torch.stack(draws).numpy()) - np.eye(len(draws))
    assert np.abs(cosines).max() < 5 / np.sqrt(10_000)  # 5 sigma of independent Gaussians
    shifted = (1 << 32, (1 << 32) + 1)  # torch's own generator keeps 32 bits of the seed
    far = [random(context(model, seed=seed), normalization="none")["0.weight"] for seed in shifted]
    near = [random(context(model, seed=seed), normalization="none")["0.weight"] for seed in (0, 1)]
    assert not any(torch.equal(a, b) for a, b in zip(far, near, strict=True))


def test_raw_draws_are_standard_normal() -> None:
    drawn = random(context(nn.Linear(300, 300, bias=False)), normalization="none")["weight"].double().numpy().ravel()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3


@pytest.mark.parametrize("normalization", ["filter", "layer", "none"])
def test_biases_and_norms_stay_by_default(normalization: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    direction = random(context(model), normalization=normalization)  # type: ignore[arg-type]
    assert direction["0.weight"].any()
    assert not any(direction[name].any() for name in ("0.bias", "1.weight", "1.bias"))
    moved = random(context(model), normalization=normalization, ignore="none")  # type: ignore[arg-type]
    assert moved["0.bias"].any()


def test_weight_normalization_moves_every_parameter_by_default() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    direction = random(context(model), normalization="weight")
    assert direction["0.bias"].any()
    assert direction["1.weight"].any()
    assert not direction["1.bias"].any()  # θ = 0, and d = θ ⊙ ε
    fixed = random(context(model), normalization="weight", ignore="biasbn")
    assert not fixed["0.bias"].any()


def test_a_tied_weight_has_one_direction() -> None:
    embedding = nn.Embedding(10, 4)
    head = nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    assert list(random(context(nn.Sequential(embedding, head)))) == ["0.weight"]


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        ([1, 2], "found list"),
        ({"weight": torch.ones(3, 4)}, "a tensor for every parameter; found weight"),
        ({"weight": torch.ones(4, 3), "bias": torch.ones(3)}, "direction of weight must be a tensor of shape (3, 4)"),
        ({"weight": 1.0, "bias": torch.ones(3)}, "direction of weight must be a tensor"),
        ({"weight": torch.full((3, 4), torch.nan), "bias": torch.ones(3)}, "weight holds NaN"),
        ({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, "zero everywhere"),
    ],
)
def test_a_direction_that_cannot_be_is_refused(direction: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_direction(direction, parameters_of(nn.Linear(4, 3)), "here")


def test_a_direction_gets_the_order_and_type_of_the_parameters() -> None:
    given = {"bias": torch.ones(3, dtype=torch.float64), "weight": torch.ones(3, 4)}
    checked = check_direction(given, parameters_of(nn.Linear(4, 3)), "here")
    assert list(checked) == ["weight", "bias"]
    assert checked["bias"].dtype == torch.float32
