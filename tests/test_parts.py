"""Noise with other signs on each part of the data: right by hand, unbiased, and with a smaller error bar."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_parallel import ENGINES, network
from test_scan import contents
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from landscape_cli import Surface, scan_model
from landscape_cli.analysis.sharpness import measured
from landscape_cli.beside import MAX_PARTS
from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.parts import Parted, random_bits
from landscape_cli.compute.subspace import Subspace, parameters_of
from landscape_cli.errors import ResumeMismatchError
from landscape_cli.examples import digits

LINE = {"start": 0.1, "stop": 1.0, "num": 3}


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.hidden(x)))
        return out


def examples(num: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(num, 4, generator=generator), torch.randint(0, 3, (num,), generator=generator))


def radius_of(dataset: TensorDataset, model: nn.Module | None = None, **section: object) -> Surface:
    surface = scan_model(
        model or Perceptron(),
        {"a": dataset},
        axes={"x": {"num": 2}},
        radius={**LINE, **section},
        evaluation={"precision": "float64"},
    )
    assert surface.radius is not None
    return surface.radius


def by_hand(model: nn.Module, dataset: TensorDataset, num_parts: int, slice_index: int, noise: float) -> float:
    """The mean loss of every example, with the weights of the part that it belongs to."""
    model = model.double()
    params = {name: tensor.clone() for name, tensor in parameters_of(model).items()}
    direction = random(Context(dict(params), layout_of(model), 0, slice_index, "x", 0), normalization="weight")
    bits = random_bits(params, 0, slice_index, "x")
    inputs, targets = dataset.tensors
    size, total = math.ceil(len(targets) / num_parts), 0.0
    for index in range(len(targets)):
        part = index // size
        flipped = {name: (bits[name].int() >> part) % 2 == 1 for name in params}
        signs = {name: torch.where(flipped[name] & (num_parts > 1), -1.0, 1.0).double() for name in params}
        moved = {name: params[name] + noise * signs[name] * direction[name] for name in params}
        logits = torch.func.functional_call(model, moved, (inputs[index : index + 1].double(),))
        total += float(F.cross_entropy(logits, targets[index : index + 1]))
    return total / len(targets)


@pytest.mark.parametrize(("num_examples", "num_parts"), [(50, 16), (50, 3), (7, 16), (1, 16), (33, 1)])
def test_every_example_is_evaluated_with_the_noise_of_its_part(num_examples: int, num_parts: int) -> None:
    dataset = examples(num_examples)
    found = radius_of(dataset, slices=2, parts=num_parts)
    for (slice_index, index), value in np.ndenumerate(found["a_loss"]):
        noise = found.grid.axes[0].coordinates[index]
        expected = by_hand(Perceptron(), dataset, num_parts, slice_index, noise)
        assert value == pytest.approx(expected, rel=1e-12)


def test_the_signs_are_balanced_independent_and_keep_the_size_of_the_noise() -> None:
    like = {"weight": torch.randn(300, 400), "bias": torch.randn(7)}
    line = Subspace({name: torch.zeros_like(tensor) for name, tensor in like.items()}, (like,))
    parted = Parted(line, random_bits(like, 3, 1, "x"), MAX_PARTS)
    signed = [parted.of_part(index).directions[0] for index in range(MAX_PARTS)]
    assert all(torch.equal(each[name].abs(), like[name].abs()) for each in signed for name in like)
    signs = torch.stack([(each["weight"] / like["weight"]).flatten() for each in signed])  # (K, P)
    products = signs @ signs.T / signs.shape[1]
    expected_error = 1 / math.sqrt(signs.shape[1])
    assert float(signs.mean(dim=1).abs().max()) < 5 * expected_error
    assert float((products - torch.eye(MAX_PARTS)).abs().max()) < 5 * expected_error


def test_other_seeds_slices_axes_and_names_have_other_signs() -> None:
    like = {"a": torch.zeros(1000), "b": torch.zeros(1000)}
    drawn = [random_bits(like, *key) for key in ((0, 0, "x"), (1, 0, "x"), (0, 1, "x"), (0, 0, "y"))]
    tensors = [tensor for each in drawn for tensor in each.values()]
    assert len({tuple(tensor.tolist()) for tensor in tensors}) == len(tensors)
    assert torch.equal(random_bits({"a": like["a"]}, 0, 0, "x")["a"], drawn[0]["a"])


@pytest.mark.slow
def test_the_mean_is_that_of_plain_noise() -> None:
    dataset = examples(128)
    plain = radius_of(dataset, slices=150, parts=1)["a_loss"]
    parted = radius_of(dataset, slices=150)["a_loss"]
    for index in range(plain.shape[1]):
        a, b = plain[:, index], parted[:, index]
        error = math.hypot(a.std(ddof=1), b.std(ddof=1)) / math.sqrt(150)
        assert abs(a.mean() - b.mean()) < 3.5 * error
        assert b.std(ddof=1) < a.std(ddof=1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_agrees(engine: str) -> None:
    model, dataset = network(engine)
    sizes = {"slices": 2, "num": 3}
    found, expected = (
        scan_model(
            model, {"a": dataset}, axes={"x": {"num": 3}}, radius=sizes, batch_size=16, runtime={"engine": each}
        ).radius
        for each in (engine, "sequential")
    )
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found["a_loss"], expected["a_loss"], rtol=1e-5)
    assert not np.array_equal(expected["a_loss"], radius_of(dataset, model.double(), **sizes, parts=1)["a_loss"])


@pytest.mark.slow
def test_the_sizes_of_chunks_change_nothing_but_rounding() -> None:
    dataset = examples(100)
    found = [
        scan_model(
            Perceptron(),
            {"a": dataset},
            axes={"x": {"num": 2}},
            radius={**LINE, "slices": 2},
            batch_size=size,
            runtime={"engine": "sequential"},
        ).radius
        for size in (1, 5, 7, 100)
    ]
    values = [each["a_loss"] for each in found if each is not None]
    for each in values[1:]:
        np.testing.assert_allclose(each, values[0], rtol=1e-6)


def test_two_processes_give_the_bits_of_one() -> None:
    one, two = (
        scan_model(
            Perceptron(),
            {"a": examples(64)},
            axes={"x": {"num": 3}},
            radius={**LINE, "slices": 4},
            batch_size=16,
            runtime={"engine": "sequential", "processes": processes},
        )
        for processes in (1, 2)
    )
    assert one.radius is not None
    assert two.radius is not None
    assert contents(one.radius) == contents(two.radius)


def test_other_parts_are_another_radius(tmp_path: Path) -> None:
    def run(**section: object) -> Surface:
        axes = {"x": {"num": 2}}
        radius = {**LINE, "slices": 2, **section}
        return scan_model(Perceptron(), {"a": examples(20)}, axes=axes, radius=radius, output=tmp_path / "s.h5")

    first = run()
    assert first.radius is not None
    assert first.radius.directions["x"].found["parts"] == 16
    assert run(parts=16).radius is not None  # the default
    with pytest.raises(ResumeMismatchError, match=r"radius\.parts: (null|16) → 4"):
        run(parts=4)


def test_where_statistics_are_estimated_anew_there_is_one_part() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    surfaces = [
        scan_model(
            model,
            {"train": examples(40)},
            axes={"x": {"num": 2}},
            radius={**LINE, "slices": 2, **section},
            evaluation={"batchnorm": "recalibrate"},
        ).radius
        for section in ({}, {"parts": 1}, {"parts": 2})
    ]
    fingerprints = [each.fingerprint for each in surfaces if each is not None]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.slow
def test_the_radius_of_a_trained_network_has_a_smaller_error_bar() -> None:
    inputs, targets = (tensor[:300] for tensor in digits(train=True).tensors)
    learnt = TensorDataset(inputs.flatten(1), targets)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(learnt.tensors[0]), targets))
        optimizer.step()
    whole = {"start": 0.05, "stop": 1.0, "num": 12, "slices": 20}
    plain, parted = (measured(radius_of(learnt, model, **whole, parts=parts), "adaptive_radius") for parts in (1, 16))
    assert plain.standard_error is not None
    assert parted.standard_error is not None
    assert parted.standard_error < 0.7 * plain.standard_error
    assert plain.value is not None
    assert parted.value is not None
    assert abs(plain.value - parted.value) < 3.5 * math.hypot(plain.standard_error, parted.standard_error)
