"""Barriers between two checkpoints: how much higher the path is than the line between its ends."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch
from analytic import FILTER, line, surface_of
from torch import nn
from torch.utils.data import TensorDataset

from landscape_cli import scan_model
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.sharpness import measured
from landscape_cli.surface import Metric, Provenance, Surface

BETWEEN = {"_target_": "between", "checkpoint": "b.pt"}
X25 = line(0, 1, 25)


def path_of(losses: object, *, x: list[float] = X25, accuracy: object = None, **resolved: object) -> Surface:
    """A path with given losses, and accuracies on the same split."""
    surface = surface_of(lambda _, _x: 0.0, x, recipe=BETWEEN, names=("test_loss",), num_examples=100)
    for name, values in (("test_loss", losses), ("test_accuracy", accuracy)):
        if values is not None:
            array = np.array(values, dtype=float)[None]
            at_zero = float(array[0, x.index(0.0)])
            surface.metrics[name] = Metric(array, np.full(array.shape, 0.5), at_zero, 0.5, 100)
    surface.provenance = Provenance(resolved={"loss": {"_target_": "cross_entropy"}, **resolved})  # type: ignore[dict-item]
    return surface


def barrier_of(surface: Surface, name: str = "barrier") -> Measurement:
    return measured(surface, name)


def test_a_hump_over_a_slope_is_as_high_as_the_hump() -> None:
    alpha = np.array(X25)
    found = barrier_of(path_of(1 + 2 * alpha + 0.6 * 4 * alpha * (1 - alpha)))
    assert found.value == pytest.approx(0.6)
    assert found.unit == "nat"
    assert found.scope == "on this path"
    assert "highest at 0.5 of 25 points" in found.note


def test_a_straight_or_sagging_path_has_no_barrier() -> None:
    alpha = np.array(X25)
    for losses in (1 - alpha, alpha**2):
        found = barrier_of(path_of(losses))
        assert (found.value, found.standard_error) == (0.0, 0.0)
        assert found.note.startswith("nowhere higher than the line between the ends")


def test_the_error_is_that_over_the_examples_at_the_top_and_both_ends() -> None:
    found = barrier_of(path_of([0.0, 0.0, 1.0, 0.0, 0.0], x=line(0, 1, 5)))
    assert found.standard_error == pytest.approx(0.05 * math.sqrt(1 + 0.25 + 0.25))  # std / √100 = 0.05


@pytest.mark.parametrize(("lowest", "verdict"), [(0.935, "connected: below 2 %"), (0.90, "not connected")])
def test_the_error_barrier_is_measured_from_the_mean_of_the_ends(lowest: float, verdict: str) -> None:
    found = barrier_of(path_of([0.0] * 5, x=line(0, 1, 5), accuracy=[0.96, 0.95, lowest, 0.95, 0.94]), "error_barrier")
    assert found.value == pytest.approx(0.95 - lowest)
    assert found.note.startswith(verdict)
    assert found.num_examples == 100


def test_points_beyond_the_two_checkpoints_do_not_count() -> None:
    x = [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert barrier_of(path_of([9.0, 1.0, 1.5, 1.0, 9.0], x=x)).value == pytest.approx(0.5)


def test_a_diverged_point_is_an_infinite_barrier() -> None:
    found = barrier_of(path_of([1.0, math.nan, 1.0, 1.0, 1.0], x=line(0, 1, 5)))
    assert (found.value, found.note.split(";")[0]) == (math.inf, "highest at 0.25 of 5 points")


def test_frozen_batchnorm_is_warned_of() -> None:
    flat = [1.0] * 25
    frozen = {"evaluation": {"batchnorm": "frozen"}}
    assert "BatchNorm frozen" in barrier_of(path_of(flat, **frozen)).note
    assert "BatchNorm" not in barrier_of(path_of(flat, **frozen, found={"has_batchnorm": False})).note
    assert "BatchNorm" not in barrier_of(path_of(flat, evaluation={"batchnorm": "recalibrate"})).note


def test_what_is_no_path_has_no_barrier() -> None:
    for found, reason in (
        (barrier_of(surface_of(lambda _, x: x**2, X25, recipe=FILTER)), "needs a line between two checkpoints"),
        (barrier_of(path_of([1.0] * 5, x=line(0, 0.8, 5))), "the other checkpoint, at 1, is not on the grid"),
        (barrier_of(path_of([1.0, 1.0], x=[0.0, 1.0])), "no points between"),
        (barrier_of(path_of([1.0, 1.0, math.nan], x=line(0, 1, 3))), "test_loss is not finite at both checkpoints"),
        (barrier_of(path_of([1.0] * 25), "error_barrier"), "no accuracy beside test_loss"),
    ):
        assert found.value is None
        assert reason in found.note


def test_a_partial_path_uses_what_is_there_and_needs_both_ends() -> None:
    surface = path_of([0.0, 5.0, 1.0, 5.0, 0.0], x=line(0, 1, 5))
    surface.evaluated[0, [1, 3]] = False
    assert barrier_of(surface).value == pytest.approx(1.0)
    surface.evaluated[0, 4] = False
    assert barrier_of(surface).value is None


def permuted(state: dict[str, torch.Tensor], hidden: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The perceptron with the neurons of each hidden layer in another order: the same function."""
    found = dict(state)
    for layer, order in zip((0, 2), hidden, strict=True):
        found[f"{layer}.weight"], found[f"{layer}.bias"] = (
            found[f"{layer}.weight"][order],
            found[f"{layer}.bias"][order],
        )
        found[f"{layer + 2}.weight"] = found[f"{layer + 2}.weight"][:, order]
    return found


def matched(b: dict[str, torch.Tensor], a: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """B with its neurons in the order of those of A, by weight matching (Ainsworth et al. 2022, arXiv:2209.04836)."""
    keep = torch.arange(16)
    for _ in range(10):
        for number, layer in enumerate((0, 2)):
            likeness = (
                a[f"{layer}.weight"] @ b[f"{layer}.weight"].T
                + a[f"{layer}.bias"].outer(b[f"{layer}.bias"])
                + a[f"{layer + 2}.weight"].T @ b[f"{layer + 2}.weight"]
            )
            order = torch.from_numpy(scipy.optimize.linear_sum_assignment(likeness.numpy(), maximize=True)[1])
            b = permuted(b, [order, keep] if number == 0 else [keep, order])
    return b


def test_the_barrier_to_a_permuted_copy_is_gone_once_its_neurons_are_matched(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    inputs = torch.randn(60, 8, dtype=torch.float64)
    targets = model(inputs).detach().argmax(dim=1)  # it is right, and surer with larger weights
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    own = model.state_dict()
    other = permuted(own, [torch.randperm(16), torch.randperm(16)])
    other = {name: tensor + 1e-9 * torch.randn_like(tensor) for name, tensor in other.items()}  # not quite itself
    found = {}
    for name, state in (("as it is", other), ("matched", matched(other, own))):
        torch.save(state, tmp_path / "b.pt")
        axis = {
            "start": 0,
            "stop": 1,
            "num": 25,
            "direction": {"_target_": "between", "checkpoint": str(tmp_path / "b.pt")},
        }
        dataset = TensorDataset(inputs, targets)
        evaluation = {"precision": "float64"}
        surface = scan_model(model, {"train": dataset}, axes={"x": axis}, evaluation=evaluation)
        assert surface["train_loss"][0, -1] == pytest.approx(surface["train_loss"][0, 0], abs=1e-7)
        found[name] = barrier_of(surface).value
    assert found["as it is"] is not None
    assert found["as it is"] > 0.1
    assert found["matched"] == pytest.approx(0, abs=1e-10)
