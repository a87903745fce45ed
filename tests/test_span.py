"""Ranges that are found: against losses whose rise is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Outcome
from representative import mostly_slow
from span_models import regression

from landscape_cli import Surface, load_config, load_surface, scan
from landscape_cli.errors import CheckpointError, ConfigError, EvaluationError

BASE = """\
model: {_target_: span_models.Line}
checkpoint: {path: w.pt}
loss: mse
data:
  train: {dataset: {_target_: span_models.regression}}
evaluation: {precision: float64}
axes:
"""
UNIT = "direction: {_target_: span_models.unit, index: 0}"
# from a bisection down to a factor of 2^(1/16), and three digits rounded up
CLOSE = 2 ** (1 / 16) * 1.01
Run = Callable[..., Surface]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Scan some axes around the weights (1, 2, 3), in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.tensor([[1.0, 2.0, 3.0]])}, "w.pt")

    def scan_axes(axes: str, *overrides: str, output: str | None = None) -> Surface:
        Path("c.yaml").write_text(BASE + "".join(f"  {line}\n" for line in axes.splitlines()))
        return scan(load_config("c.yaml", overrides), output)

    return scan_axes


def quadratic(index: int = 0, *, length: float = 1.0, exact: bool = False) -> tuple[float, float, float]:
    """The squared error at the checkpoint moved by c along a weight is L0 + b·c + a·c²; in numpy, from the data."""
    inputs, targets = (tensor.double().numpy() for tensor in regression(exact=exact).tensors)
    residuals = inputs @ np.array([[1.0], [2.0], [3.0]]) - targets
    column = length * inputs[:, [index]]
    return float((residuals**2).mean()), float(2 * (residuals * column).mean()), float((column**2).mean())


def reach(a: float, b: float, rise: float) -> float:
    """Where a·c² + b·c is first ``rise``, for c > 0."""
    return (-b + math.sqrt(b * b + 4 * a * rise)) / (2 * a)


def ends(surface: Surface, axis: int = 0) -> tuple[float, float]:
    coordinates = surface.grid.axes[axis].coordinates
    return coordinates[0], coordinates[-1]


# ---------------------------------------------------------------- quadratics


@pytest.mark.parametrize("rise", mostly_slow([1e-6, 0.03, 0.5, 1.0, 7.7, 1e5], 1e-6, 0.5))
@pytest.mark.parametrize("side", ["", "start: 0, ", "stop: 0, "])
def test_range_of_a_quadratic_ends_where_it_has_risen(run: Run, rise: float, side: str) -> None:
    surface = run(f"x: {{span: {{rise: {rise!r}}}, {side}num: 5, {UNIT}}}")
    _, b, a = quadratic()
    right, left = reach(a, b, rise), reach(a, -b, rise)
    expected = {"": min(right, left), "start: 0, ": right, "stop: 0, ": left}[side]
    low, high = ends(surface)
    assert (low == 0.0) == (side == "start: 0, ")
    assert (high == 0.0) == (side == "stop: 0, ")
    found = max(-low, high)
    assert expected * (1 - 1e-9) <= found <= expected * CLOSE
    if not side:
        assert low == -high
    values = surface["train_loss"][0]
    assert max(values[0], values[-1]) >= quadratic()[0] + rise * (1 - 1e-9)


@pytest.mark.parametrize("factor", [1.01, 2.0, 10.0, 1e4])
def test_range_of_a_factor_ends_at_that_multiple_of_the_loss(run: Run, factor: float) -> None:
    l0, b, a = quadratic()
    expected = reach(a, b, (factor - 1) * l0)
    _, high = ends(run(f"x: {{span: {{factor: {factor}}}, start: 0, num: 2, {UNIT}}}"))
    assert expected * (1 - 1e-9) <= high <= expected * CLOSE


def test_auto_is_ten_times_a_loss_that_is_not_in_nats(run: Run) -> None:
    assert ends(run(f"x: {{span: auto, num: 3, {UNIT}}}")) == ends(run(f"x: {{span: {{factor: 10}}, num: 3, {UNIT}}}"))
    l0, b, a = quadratic()
    _, high = ends(run(f"x: {{span: auto, start: 0, num: 3, {UNIT}}}"))
    expected = reach(a, b, 9 * l0)
    assert expected * (1 - 1e-9) <= high <= expected * CLOSE


@pytest.mark.parametrize("exponent", [-9, -3, 0, 3, 9])
def test_range_is_as_much_longer_as_the_direction_is_shorter(run: Run, exponent: int) -> None:
    """The loss decides, not the unit of the coordinates."""
    length = 2.0**exponent
    direction = f"direction: {{_target_: span_models.unit, length: {length!r}}}"
    _, high = ends(run(f"x: {{span: {{rise: 1}}, start: 0, num: 2, {direction}}}"))
    _, b, a = quadratic(length=length)
    expected = reach(a, b, 1.0)
    assert expected * (1 - 1e-9) <= high <= expected * CLOSE


def test_every_axis_has_a_range_of_its_own(run: Run) -> None:
    second = "direction: {_target_: span_models.unit, index: 1, length: 100.0}"
    third = "direction: {_target_: span_models.unit, index: 2, length: 0.01}"
    surface = run(
        f"x: {{span: {{rise: 1}}, start: 0, num: 2, {UNIT}}}\n"
        f"y: {{span: {{rise: 4}}, stop: 0, num: 3, {second}}}\n"
        f"z: {{span: {{factor: 3}}, start: 0, num: 2, {third}}}"
    )
    l0 = quadratic()[0]
    for axis, (length, rise, sign) in enumerate([(1.0, 1.0, 1), (100.0, 4.0, -1), (0.01, 2 * l0, 1)]):
        _, b, a = quadratic(axis, length=length)
        expected = reach(a, sign * b, rise)
        found = max(map(abs, ends(surface, axis)))
        assert expected * (1 - 1e-9) <= found <= expected * CLOSE


def test_an_axis_with_its_own_range_keeps_it_beside_one_that_is_found(run: Run) -> None:
    surface = run(f"x: {{span: auto, num: 3, {UNIT}}}\ny: {{start: -3, stop: 5, num: 5}}")
    assert surface.grid.axes[1].coordinates == (-3.0, -1.0, 1.0, 3.0, 5.0)
    assert surface.grid.axes[0].coordinates[1] == 0.0


# ---------------------------------------------------------------- other losses


def cross_entropy(weight: torch.Tensor) -> float:
    inputs, _ = (tensor.double() for tensor in regression().tensors)
    labels = inputs.argmax(dim=1)
    return float(torch.nn.functional.cross_entropy(inputs @ weight.T, labels))


@pytest.mark.parametrize("loss", ["cross_entropy", "torch.nn.functional.cross_entropy"])
def test_auto_is_a_rise_of_one_nat_of_a_cross_entropy(run: Run, loss: str) -> None:
    weight = 3 * torch.eye(3, dtype=torch.float64)
    torch.save({"weight": weight}, "w.pt")
    target = {"_target_": loss} | ({"reduction": "none"} if "." in loss else {})
    _, high = ends(
        run(
            f"x: {{span: auto, start: 0, num: 2, {UNIT.replace('index: 0', 'index: 0, length: -1.0')}}}",
            "model=span_models.Classifier",
            "data.train.dataset._target_=span_models.classes",
            f"loss={target}",
        )
    )

    def along(c: float) -> float:
        moved = weight.clone()
        moved[0, 0] -= c
        return cross_entropy(moved)

    assert along(high) >= along(0.0) + 1
    assert along(0.9 * high) < along(0.0) + 1


def test_values_that_are_nan_count_as_risen(run: Run) -> None:
    _, high = ends(run(f"x: {{span: {{rise: 1.0e+6}}, start: 0, num: 2, {UNIT}}}", "model=span_models.Breaking"))
    assert 2.5 < high <= 2.5 * CLOSE


def test_a_loss_that_never_rises_so_far_is_an_error_that_names_the_key(run: Run) -> None:
    with pytest.raises(EvaluationError) as caught:
        run(f"x: {{span: {{rise: 1000}}, num: 3, {UNIT}}}", "model=span_models.Bounded", output="s.h5")
    assert "c.yaml:8: axes.x.span: train_loss does not rise to 10" in str(caught.value)
    assert caught.value.hint == "Give start and stop, or a smaller rise."
    assert not Path("s.h5").exists()


@pytest.mark.parametrize("span", ["auto", "{factor: 3}"])
def test_no_factor_makes_a_loss_of_zero_larger(run: Run, span: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(f"x: {{span: {span}, num: 3, {UNIT}}}", "data.train.dataset.exact=true")
    assert str(caught.value) == ("c.yaml:8: axes.x.span: the loss at the checkpoint is 0, which no factor makes larger")
    assert caught.value.hint == "Give the rise instead, such as span: {rise: 1.0}."
    _, _, a = quadratic(exact=True)
    _, high = ends(run(f"x: {{span: {{rise: 1}}, num: 3, {UNIT}}}", "data.train.dataset.exact=true"))
    assert reach(a, 0, 1.0) * (1 - 1e-9) <= high <= reach(a, 0, 1.0) * CLOSE


# ---------------------------------------------------------------- a centre that is wrong, and resuming


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            (
                "model=span_models.Classifier",
                "data.train.dataset._target_=span_models.bad_labels",
                "loss=cross_entropy",
            ),
            "data.train: example 5 has the label 7; the model has 3 outputs",
        ),
        (
            ("model=bad_models.Linear", "data.train.dataset._target_=bad_models.nan_dataset", "loss=cross_entropy"),
            "train_loss at the checkpoint is nan: the data of train hold NaN",
        ),
    ],
)
def test_nothing_is_looked_for_around_a_centre_that_is_wrong(run: Run, overrides: tuple[str, ...], words: str) -> None:
    shape = (4, 3) if "bad_models" in overrides[0] else (3, 3)
    torch.save({"weight": torch.ones(shape), **({"bias": torch.ones(4)} if shape[0] == 4 else {})}, "w.pt")
    with pytest.raises(EvaluationError, match=words):
        run("x: {span: auto, num: 3}", *overrides)


def test_expected_values_are_compared_before_a_range_is_looked_for(run: Run) -> None:
    with pytest.raises(CheckpointError, match=r"train_loss at the checkpoint is .* expected 5 ± 0.01"):
        run(
            f"x: {{span: {{rise: 1000}}, num: 3, {UNIT}}}",
            "model=span_models.Bounded",
            "checkpoint.expect.train_loss=5",
        )


def test_a_resumed_scan_keeps_the_coordinates_of_the_file(run: Run, landscape: Callable[..., Outcome]) -> None:
    whole = run(f"x: {{span: auto, num: 7, {UNIT}}}\ny: {{span: {{rise: 2}}, num: 3}}")
    stopped = landscape("scan", "c.yaml", "-o", "s.h5", "--time-budget", "1ms")
    assert stopped.exit_code == 75
    begun = load_surface("s.h5")
    assert begun.num_evaluated < 21
    assert begun.grid == whole.grid
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    resumed = load_surface("s.h5")
    assert resumed.grid == begun.grid
    assert np.array_equal(resumed["train_loss"], whole["train_loss"])


def test_a_resumed_scan_does_not_look_for_its_range_again(run: Run) -> None:
    """The path, which is no part of what is evaluated, would give another range now; the file decides."""
    axes = f"x: {{span: trajectory, num: 5, {UNIT}}}"
    torch.save({"weight": torch.tensor([[2.0, 2.0, 3.0]])}, "far.pt")
    torch.save({"weight": torch.tensor([[9.0, 2.0, 3.0]])}, "farther.pt")
    first = run(axes, "trajectory.checkpoints=far.pt", output="s.h5")
    assert ends(first) == pytest.approx((-7 / 15, 21 / 15), rel=1e-6)
    again = run(axes, "trajectory.checkpoints=farther.pt", output="s.h5")
    assert again.grid == first.grid
    assert again.trajectory is not None
    assert again.trajectory.coordinates[0, :, 0] == pytest.approx([8.0])
    anew = run(axes, "trajectory.checkpoints=farther.pt")
    assert ends(anew)[1] > 8


def test_a_trajectory_range_needs_a_trajectory(run: Run) -> None:
    with pytest.raises(ConfigError) as caught:
        run(f"x: {{span: trajectory, num: 5, {UNIT}}}")
    assert str(caught.value) == "c.yaml:8: axes.x.span: there is no trajectory"
    assert caught.value.hint == "Name its checkpoints under trajectory."


def test_the_range_of_principal_directions_is_that_of_the_path_unless_it_is_given(run: Run) -> None:
    for number, moved in enumerate(([1.0, 2.0, 3.0], [3.0, 2.0, 3.0], [5.0, 3.0, 3.0])):
        torch.save({"weight": torch.tensor([moved])}, f"epoch_{number}.pt")
    direction = "direction: {_target_: pca, checkpoints: epoch_*.pt}"
    path = run(f"x: {{num: 5, {direction}}}")
    assert path.trajectory is not None
    farthest = path.trajectory.coordinates[0, :, 0].max()
    assert farthest == pytest.approx(math.hypot(4, 1), rel=0.01)
    assert farthest < ends(path)[1] < 2 * farthest
    assert 0.0 in path.grid.axes[0].coordinates
    assert ends(run(f"x: {{start: -1, stop: 1, num: 5, {direction}}}")) == (-1.0, 1.0)
    assert run(f"x: {{values: [0, 4], {direction}}}").grid.axes[0].coordinates == (0.0, 4.0)
    risen = ends(run(f"x: {{span: {{rise: 1}}, num: 5, {direction}}}"))
    assert risen[1] == -risen[0] != ends(path)[1]
