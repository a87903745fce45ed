# ruff: noqa: E501  # one line a case reads best
"""Curvature through the real command line: the same numbers beside a scan and added later, resumed, and in a map."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bad_models import dataset
from conftest import Outcome
from curvature_models import Logged, weights
from representative import mostly_slow
from torch import Tensor
from torch.func import functional_call

from landscape_cli import load_config, load_surface, scan, scan_model
from landscape_cli.components import Component
from landscape_cli.compute.add_curvature import add_curvature
from landscape_cli.compute.assemble import Surroundings, problem_from_config
from landscape_cli.compute.curvature.context import Context
from landscape_cli.compute.curvature.table import ALL, CURVATURE, planned
from landscape_cli.compute.subspace import Subspace, flatten, unflatten
from landscape_cli.errors import ConfigError, EvaluationError, LandscapeError
from landscape_cli.records import Cost, Record
from landscape_cli.surface import Surface

BASE = """\
model: {_target_: MODEL, log: log, seconds: SECONDS}
checkpoint: {path: a.pt}
data:
  train: {dataset: {_target_: bad_models.dataset}, batch_size: 8}
axes:
  x: {num: 3}
  y: {num: 3}
slices: {num: 2}
runtime: {processes: 1, workers: 0, engine: sequential}
"""
Landscape = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.save(weights(), "a.pt")
    return tmp_path


def config(
    curvature: str = "", *, model: str = "curvature_models.Logged", seconds: float = 0.0, name: str = "c.yaml"
) -> Path:
    text = BASE.replace("MODEL", model).replace("SECONDS", str(seconds))
    Path(name).write_text(f"{text}{curvature}")
    return Path(name)


def num_products() -> int:
    """Products of the Hessian of a chunk so far."""
    return Path("log").stat().st_size if Path("log").exists() else 0


def records_of(surface: Surface) -> Mapping[str, Record]:
    assert surface.curvature is not None
    assert not surface.curvature.pending
    return surface.curvature.records


def assert_same(found: Mapping[str, Record], expected: Mapping[str, Record]) -> None:
    """To the bit, and what stands beside the numbers."""
    assert set(found) == set(expected)
    for name, record in expected.items():
        assert set(found[name].values) == set(record.values)
        for key, value in record.values.items():
            assert found[name].values[key].tobytes() == value.tobytes(), (name, key)
        assert (found[name].cost, found[name].method, found[name].notes) == (record.cost, record.method, record.notes)
        assert dict(found[name].settings) == dict(record.settings)


def dense(params: dict[str, Tensor], num_examples: int | None = None) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the cross entropy at these weights, float64."""
    inputs, targets = (tensor[:num_examples] for tensor in dataset().tensors)
    like = {name: tensor.double() for name, tensor in params.items()}
    plain = Logged().double()

    def loss(flat: Tensor) -> Tensor:
        hidden = functional_call(
            plain.body, {n[5:]: t for n, t in unflatten(flat, like).items() if n[:5] == "body."}, (inputs.double(),)
        )
        moved = unflatten(flat, like)
        return F.cross_entropy(hidden @ moved["head.weight"].T + moved["head.bias"], targets)

    flat = flatten(like, tuple(like))
    gradient, hessian = torch.func.grad(loss)(flat), torch.func.hessian(loss)(flat)
    assert isinstance(hessian, Tensor)
    return gradient, hessian


# ---------------------------------------------------------------- numbers


def test_a_scan_fills_the_curvature_with_the_numbers_of_the_dense_hessian(folder: Path, landscape: Landscape) -> None:
    outcome = landscape("scan", config("curvature: {precision: float64}\n"), "-o", "s.h5")
    assert outcome.exit_code == 0, outcome.stderr
    assert "6 measures" in outcome.stderr
    found = records_of(load_surface("s.h5"))
    assert set(found) == {
        "gradient",
        "eigenvalues",
        "adaptive_lambda_max",
        "trace",
        "adaptive_trace",
        "slice_curvature",
    }
    gradient, hessian = dense(weights())
    theta = flatten(weights(), tuple(weights())).double()
    scaled = theta.abs()[:, None] * hessian * theta.abs()
    values = torch.linalg.eigvalsh(hessian)
    assert found["gradient"].number("grad_norm") == pytest.approx(float(gradient.norm()), rel=1e-9)
    assert found["gradient"].number("adaptive_grad_norm") == pytest.approx(float((theta * gradient).norm()), rel=1e-9)
    assert found["eigenvalues"].number("lambda_max") == pytest.approx(float(values[-1]), rel=1e-8)
    assert found["eigenvalues"].number("lambda_min") == pytest.approx(float(values[0]), abs=1e-8)
    assert found["adaptive_lambda_max"].number("value") == pytest.approx(
        float(torch.linalg.eigvalsh(scaled)[-1]), rel=1e-6
    )
    for name, matrix in (("trace", hessian), ("adaptive_trace", scaled)):
        error = found[name].number("standard_error")
        assert abs(found[name].number("value") - float(matrix.trace())) < 4 * error + 1e-9
    assert found["slice_curvature"].values["per_slice"].shape == (2, 2)
    assert {record.settings["precision"] for record in found.values()} == {"float64"}


def test_slice_curvature_is_that_along_the_directions_of_the_scan(folder: Path) -> None:
    path = config("curvature: {precision: float64, measures: [slice_curvature]}\n")
    found = records_of(scan(load_config(path)))["slice_curvature"].values["per_slice"]
    problem = problem_from_config(load_config(path), Surroundings(torch.device("cpu")))
    _, hessian = dense(weights())
    for index in range(2):
        for axis, direction in enumerate(problem.draw(index)):
            full = {n: direction.get(n, torch.zeros_like(t)) for n, t in weights().items()}
            flat = flatten(full, tuple(full)).double()
            assert found[index, axis] == pytest.approx(float(flat @ hessian @ flat), rel=1e-9)


@pytest.mark.slow
def test_curvature_added_later_is_the_same_to_the_bit(folder: Path, landscape: Landscape) -> None:
    with_it = config("curvature: {measures: [all]}\n")
    assert landscape("scan", with_it, "-o", "both.h5").exit_code == 0
    assert landscape("scan", config(name="without.yaml"), "-o", "later.h5").exit_code == 0
    plain = load_surface("later.h5")
    assert plain.curvature is None
    outcome = landscape("curvature", with_it, "later.h5", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert set(json.loads(outcome.stdout)["measured"]) == set(ALL)
    both, later = load_surface("both.h5"), load_surface("later.h5")
    assert_same(records_of(later), records_of(both))
    assert later.metrics["train_loss"].values.tobytes() == plain.metrics["train_loss"].values.tobytes()
    assert later.fingerprint == plain.fingerprint
    before = Path("later.h5").read_bytes(), num_products()
    assert landscape("curvature", with_it, "later.h5").exit_code == 0  # there is nothing left to do
    assert num_products() == before[1]
    assert_same(records_of(load_surface("later.h5")), records_of(both))


@pytest.mark.slow
def test_a_config_without_the_section_adds_the_default_measures(folder: Path, landscape: Landscape) -> None:
    path = config()
    assert landscape("scan", path, "-o", "s.h5").exit_code == 0
    assert landscape("curvature", path, "s.h5").exit_code == 0
    assert len(records_of(load_surface("s.h5"))) == 6
    assert landscape("scan", path, "-o", "s.h5").exit_code == 0  # and a scan again loses nothing
    assert len(records_of(load_surface("s.h5"))) == 6


@pytest.mark.slow
def test_every_measure_costs_what_it_says(folder: Path) -> None:
    surface = scan(load_config(config("curvature: {measures: [all], precision: float64}\n")))
    found = records_of(surface)
    assert set(found) == set(ALL)
    size = sum(tensor.numel() for tensor in weights().values())
    for name, record in found.items():
        budget = planned(Component.model_validate(name), size, 2, 2, has_batchnorm=False)
        if name in ("spectral_density", "eigenvalues", "trace", "adaptive_trace"):  # they may end before
            assert 0 < record.cost.products <= budget.products
            assert record.cost == Cost(products=record.cost.products)
        else:
            assert record.cost == budget, name
        assert record.method == ("double backward" if budget.products else "")
    total = sum((record.cost for record in found.values()), Cost())
    # 20 examples are 3 chunks; the Hessian by the last layer alone does not log; Fisher–Rao differentiates twice, too
    assert num_products() == 3 * (total.products - found["relative_flatness"].cost.products + 2)


# ---------------------------------------------------------------- what decides the numbers


@pytest.mark.slow
def test_changed_settings_measure_anew_only_what_they_change(folder: Path, landscape: Landscape) -> None:
    measures = "curvature: {measures: [{_target_: eigenvalues, steps: STEPS}, trace, gradient]}\n"
    assert landscape("scan", config(measures.replace("STEPS", "8")), "-o", "s.h5").exit_code == 0
    before, products = records_of(load_surface("s.h5")), num_products()
    changed = config(measures.replace("STEPS", "9"))
    outcome = landscape("curvature", changed, "s.h5")
    assert outcome.exit_code == 0
    assert "note: measured with other settings before, and now anew: eigenvalues\n" in outcome.stderr
    after = records_of(load_surface("s.h5"))
    assert num_products() - products == 9 * 3
    assert after["eigenvalues"].number("num_steps") == 9
    assert_same({n: after[n] for n in ("trace", "gradient")}, {n: before[n] for n in ("trace", "gradient")})
    products = num_products()
    everything = config(measures.replace("STEPS", "9").replace("curvature: {", "curvature: {num_examples: 10, "))
    assert landscape("curvature", everything, "s.h5").exit_code == 0
    assert num_products() - products == 39 * 2  # 10 examples are 2 chunks
    assert {r.settings["num_examples"] for r in records_of(load_surface("s.h5")).values()} == {10}


def test_measures_that_are_not_asked_for_any_more_stay(folder: Path, landscape: Landscape) -> None:
    assert landscape("scan", config("curvature: {measures: [gradient, sam]}\n"), "-o", "s.h5").exit_code == 0
    assert landscape("curvature", config("curvature: {measures: [asam]}\n"), "s.h5").exit_code == 0
    assert set(records_of(load_surface("s.h5"))) == {"gradient", "sam", "asam"}


def test_some_parameters_some_examples_and_weight_decay_are_those_of_the_dense_hessian(folder: Path) -> None:
    section = (
        "curvature: {precision: float64, num_examples: 12, parameters: {include: [head, body.0.*], exclude: ['*.bias']}, "
        "objective: {weight_decay: 0.1, parameters: {include: [head.weight]}}, measures: [gradient, eigenvalues]}\n"
    )
    found = records_of(scan(load_config(config(section))))
    gradient, hessian = dense(weights(), 12)
    sizes = {name: tensor.numel() for name, tensor in weights().items()}
    numbers = unflatten(torch.arange(sum(sizes.values())), weights())
    chosen = torch.cat([numbers["body.0.weight"].flatten(), numbers["head.weight"].flatten()])
    decay = torch.zeros(len(gradient), dtype=torch.float64)
    decay[numbers["head.weight"].flatten()] = 0.1
    theta = flatten(weights(), tuple(weights())).double()
    block = (hessian + torch.diag(decay))[chosen][:, chosen]
    values = torch.linalg.eigvalsh(block)
    assert found["eigenvalues"].number("lambda_max") == pytest.approx(float(values[-1]), rel=1e-8)
    assert found["gradient"].number("grad_norm") == pytest.approx(
        float((gradient + decay * theta)[chosen].norm()), rel=1e-9
    )
    assert found["eigenvalues"].settings["num_parameters"] == len(chosen)
    assert found["eigenvalues"].settings["num_examples"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("hvp", ["double_backward", "forward_over_reverse", "finite_difference"])
def test_every_way_of_products_can_be_asked_for_and_agrees(folder: Path, hvp: str) -> None:
    # forward mode needs functions that torch.func knows
    section = f"curvature: {{precision: float64, hvp: {hvp}, measures: [eigenvalues]}}\n"
    path = config(section, model="landscape_cli.examples.SmallResNet")
    text = path.read_text().replace(
        "{_target_: landscape_cli.examples.SmallResNet, log: log, seconds: 0.0}", "series_models.Network"
    )
    path.write_text(text)
    from series_models import network

    torch.save(network(0), "a.pt")
    found = records_of(scan(load_config(path)))["eigenvalues"]
    other = records_of(scan(load_config(path, ["curvature.hvp=auto"])))["eigenvalues"]
    assert found.number("lambda_max") == pytest.approx(other.number("lambda_max"), rel=1e-6)
    assert found.method == {"finite_difference": "finite differences"}.get(hvp, hvp.replace("_", " "))
    assert found.cost == other.cost


def test_a_checkpoint_of_half_precision_is_measured_in_float32(folder: Path) -> None:
    torch.save({name: tensor.bfloat16() for name, tensor in weights().items()}, "a.pt")
    path = config("curvature: {measures: [gradient, eigenvalues]}\nevaluation: {precision: bfloat16}\n")
    found = records_of(scan(load_config(path)))
    assert {record.settings["precision"] for record in found.values()} == {"float32"}
    gradient, hessian = dense({name: tensor.bfloat16() for name, tensor in weights().items()})
    assert found["gradient"].number("grad_norm") == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert found["eigenvalues"].number("lambda_max") == pytest.approx(
        float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-5
    )
    double = records_of(scan(load_config(path, ["curvature.precision=float64"])))
    assert double["eigenvalues"].number("lambda_max") == pytest.approx(
        float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-10
    )


@pytest.mark.slow
def test_a_surface_in_half_precision_has_the_curvature_of_the_weights_that_are_in_the_checkpoint(folder: Path) -> None:
    path = config("curvature: {measures: [gradient, eigenvalues]}\n")
    exact = records_of(scan(load_config(path)))
    half = records_of(scan(load_config(path, ["evaluation.precision=bfloat16"])))
    for name, key in (("gradient", "grad_norm"), ("gradient", "param_norm"), ("eigenvalues", "lambda_max")):
        assert half[name].number(key) == pytest.approx(exact[name].number(key), rel=1e-5)


def test_a_loss_with_weights_of_classes_is_measured_in_float64(folder: Path) -> None:
    weighted = "loss: {_target_: curvature_models.Weighted}\n"
    path = config(f"{weighted}curvature: {{precision: float64, measures: [gradient]}}\n")
    found = records_of(scan(load_config(path)))["gradient"].number("loss")
    single = records_of(scan(load_config(path, ["curvature.precision=float32"])))["gradient"].number("loss")
    assert found == pytest.approx(single, rel=1e-6)


def test_float64_of_the_scan_is_that_of_the_curvature(folder: Path) -> None:
    path = config("curvature: {measures: [eigenvalues]}\nevaluation: {precision: float64}\n")
    found = records_of(scan(load_config(path)))["eigenvalues"]
    _, hessian = dense(weights())
    assert found.settings["precision"] == "float64"
    assert found.number("lambda_max") == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-10)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{measures: [eigenvalue]}", "c.yaml:10: curvature.measures.eigenvalue: unknown name 'eigenvalue'; did you mean 'eigenvalues'?"),
        ("{measures: [{_target_: eigenvalues, stepz: 3}]}", "eigenvalues has no argument 'stepz'; did you mean 'steps'?"),
        pytest.param("{measures: [{_target_: eigenvalues, steps: 0}]}", "curvature.measures.eigenvalues.steps: found 0; input should be greater than 0", marks=pytest.mark.slow),
        pytest.param("{measures: [{_target_: trace, estimator: best}]}", "found 'best'; input should be 'xtrace' or 'hutchinson'", marks=pytest.mark.slow),
        pytest.param("{measures: [trace, trace]}", "'trace' is listed twice", marks=pytest.mark.slow),
        pytest.param("{split: validation}", "c.yaml:10: curvature.split: ", marks=pytest.mark.slow),
        ("{parameters: {include: [haed.*]}}", "c.yaml:10: curvature.parameters: 'haed.*' matches no parameter; did you mean 'head'?"),
        pytest.param("{parameters: {exclude: ['*']}}", "everything that is included is excluded", marks=pytest.mark.slow),
        ("{objective: {weight_decay: 1.0, parameters: {include: [nothing]}}}", "c.yaml:10: curvature.objective.parameters: 'nothing' matches no parameter"),
        pytest.param("{objective: {weight_decay: -1.0}}", "curvature.objective.weight_decay", marks=pytest.mark.slow),
        ("{hvp: magic}", "curvature.hvp"),
        ("{measures: [{_target_: relative_flatness, layers: [haed]}]}", "curvature.measures.relative_flatness.layers: 'haed' matches no parameter; did you mean 'head'?"),
        pytest.param("{maps: true}", "curvature.maps", marks=pytest.mark.slow),
        pytest.param("{precision: bfloat16}", "curvature.precision", marks=pytest.mark.slow),
        pytest.param("{num_examples: 0}", "curvature.num_examples", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said_before_a_file_is_touched(
    folder: Path, landscape: Landscape, section: str, message: str
) -> None:
    assert landscape("scan", config(), "-o", "s.h5", "--quiet").exit_code == 0
    before = Path("s.h5").read_bytes()
    path = config(f"curvature: {section}\n")
    for command in (("scan", path, "-o", "new.h5"), ("scan", path, "-o", "s.h5"), ("curvature", path, "s.h5")):
        outcome = landscape(*command)
        assert outcome.exit_code == 2, outcome.stderr
        assert message in " ".join(outcome.stderr.split())
    assert not Path("new.h5").exists()
    assert Path("s.h5").read_bytes() == before


def test_curvature_of_another_scan_or_of_no_file_is_refused(folder: Path, landscape: Landscape) -> None:
    assert landscape("curvature", config(), "absent.h5").exit_code == 3
    assert not Path("absent.h5").exists()
    assert landscape("scan", config(), "-o", "s.h5").exit_code == 0
    before = Path("s.h5").read_bytes()
    torch.save(weights(1), "a.pt")
    outcome = landscape("curvature", config(), "s.h5")
    assert outcome.exit_code == 3
    assert "checkpoint" in outcome.stderr
    assert Path("s.h5").read_bytes() == before


def test_one_measure_that_fails_does_not_keep_the_others_from_being_measured(
    folder: Path, landscape: Landscape
) -> None:
    path = config("curvature: {measures: [gradient, curvature_models.fails, sam]}\n")
    outcome = landscape("scan", path, "-o", "s.h5")
    assert outcome.exit_code == 4
    assert "curvature.measures.fails raised ZeroDivisionError: nothing to divide by" in " ".join(outcome.stderr.split())
    surface = load_surface("s.h5")
    assert surface.complete
    assert surface.curvature is not None
    assert set(surface.curvature.records) == {"gradient", "sam"}
    assert set(surface.curvature.pending) == {"fails"}
    assert landscape("curvature", path, "s.h5").exit_code == 4
    without = config("curvature: {measures: [gradient, sam]}\n")
    assert landscape("curvature", without, "s.h5").exit_code == 0
    assert set(records_of(load_surface("s.h5"))) == {"gradient", "sam"}
    assert sorted(p.name for p in folder.iterdir() if "products" in p.name) == []


def test_the_cost_of_a_measure_that_failed_is_not_that_of_the_next(folder: Path) -> None:
    def fails_late(context: Context) -> Mapping[str, float]:
        with context.part(["head.weight"]) as (objective, _):
            objective.gradient()
        raise ValueError

    with pytest.raises(EvaluationError, match="bad raised ValueError"):
        scan_model(
            Logged(), {"train": dataset()}, axes={"x": {"num": 3}},
            curvature={"measures": {"bad": fails_late, "sam": "sam"}}, output="s.h5",
        )  # fmt: skip
    found = load_surface("s.h5").curvature
    assert found is not None
    assert found.records["sam"].cost == Cost(losses=1, gradients=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("name", "found the name 'a/b' of a number"),
        ("text", "a is a str; expected a number or an array"),
        ("texts", "a is a list; expected a number or an array"),
        ("number", "returned a float; expected a mapping"),
    ],
)
def test_a_measure_that_returns_something_else_says_so(
    folder: Path, landscape: Landscape, what: str, message: str
) -> None:
    path = config(f"curvature: {{measures: [{{_target_: curvature_models.wrong, what: {what}}}, sam]}}\n")
    outcome = landscape("scan", path, "-o", "s.h5")
    assert outcome.exit_code == 4
    assert message in " ".join(outcome.stderr.split())
    found = load_surface("s.h5").curvature
    assert found is not None
    assert set(found.records) == {"sam"}


def test_flatness_of_layers_by_globs_costs_what_it_says(folder: Path, landscape: Landscape) -> None:
    path = config("curvature: {measures: [{_target_: relative_flatness, layers: ['*'], products: 4}]}\n")
    outcome = landscape("scan", path, "-o", "s.h5")
    assert "8 passes" in " ".join(outcome.stderr.split())
    found = records_of(load_surface("s.h5"))["relative_flatness"]
    assert found.cost == Cost(products=8)
    assert found.values["per_layer"].shape == (2,)


def test_adam_is_read_from_the_checkpoint(folder: Path, landscape: Landscape) -> None:
    torch.manual_seed(0)
    model = Logged()
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
    inputs, targets = dataset().tensors
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optim": optimizer.state_dict()}, "a.pt")
    section = "curvature: {precision: float64, measures: [{_target_: adam_lambda_max, state: optim, steps: 40}]}\n"
    path = config(section)
    path.write_text(path.read_text().replace("{path: a.pt}", "{path: a.pt, key: model}"))
    outcome = landscape("scan", path, "-o", "s.h5")
    assert outcome.exit_code == 0, outcome.stderr
    _, hessian = dense(model.state_dict())
    second = torch.cat([optimizer.state[p]["exp_avg_sq"].double().flatten() for p in model.parameters()])
    scale = ((second / (1 - 0.99**3)).sqrt() + 1e-8).rsqrt()
    exact = float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
    found = records_of(load_surface("s.h5"))["adam_lambda_max"]
    assert found.number("value") == pytest.approx(exact, rel=1e-6)
    assert found.number("beta1") == pytest.approx(0.9)


# ---------------------------------------------------------------- stopped and resumed


SLOW = "curvature: {num_examples: 8, measures: [gradient, {_target_: eigenvalues, steps: 30}, {_target_: trace, products: 10}]}\n"


@pytest.fixture
def always_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also products that take no time are written down."""
    monkeypatch.setattr("landscape_cli.compute.curvature.journal._WORTH_KEEPING_SECONDS", 0.0)


def stopped_after(number: int) -> Callable[[], bool]:
    start = num_products()
    return lambda: num_products() - start >= number


def uninterrupted(path: Path) -> Mapping[str, Record]:
    found = records_of(scan(load_config(path), "reference.h5"))
    assert not list(Path().glob(".reference.h5.products"))
    return found


@pytest.mark.usefixtures("always_kept")
@pytest.mark.parametrize("cuts", mostly_slow([[1], [29], [30], [31], [35], [7, 8, 9]], [7, 8, 9]))
@pytest.mark.parametrize("model", ["curvature_models.Logged", "curvature_models.OnceOnly"])
def test_a_stopped_measure_continues_without_a_product_again_and_to_the_bit(
    folder: Path, cuts: list[int], model: str
) -> None:
    path = config(SLOW, model=model)
    expected = uninterrupted(path)
    if model.endswith("OnceOnly"):
        assert expected["eigenvalues"].method == "finite differences"
        return_after_gradients(path, expected)
        return
    start = num_products()
    assert start == 40
    scan(load_config(config(name="plain.yaml")), "s.h5")
    for cut in cuts:
        surface = add_curvature(load_config(path), "s.h5", should_stop=stopped_after(cut))
        assert surface.curvature is not None
        assert surface.curvature.pending
        assert load_surface("s.h5").curvature.pending == surface.curvature.pending  # type: ignore[union-attr]
    add_curvature(load_config(path), "s.h5")
    assert num_products() - start == 40
    assert_same(records_of(load_surface("s.h5")), expected)
    assert not Path(".s.h5.products").exists()


def return_after_gradients(path: Path, expected: Mapping[str, Record]) -> None:
    """Differences of gradients: stopped by the number of questions, because nothing is logged."""
    scan(load_config(config(name="plain.yaml", model="curvature_models.OnceOnly")), "s.h5")
    for limit in (20, 40, 60):
        asked = iter(range(10_000))
        add_curvature(load_config(path), "s.h5", should_stop=lambda asked=asked, limit=limit: next(asked) > limit)
    add_curvature(load_config(path), "s.h5")
    assert_same(records_of(load_surface("s.h5")), expected)
    assert not Path(".s.h5.products").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("always_kept")
def test_a_journal_that_is_complete_though_its_measure_is_not_in_the_file_gives_the_same(folder: Path) -> None:
    """Killed between the last product and the save: every product is replayed, also how it was made."""
    for model in ("curvature_models.Logged", "curvature_models.OnceOnly"):
        path = config(SLOW, model=model)
        Path("reference.h5").unlink(missing_ok=True)
        expected = uninterrupted(path)
        Path("s.h5").unlink(missing_ok=True)
        scan(load_config(config(name="plain.yaml", model=model)), "s.h5")
        kept = b""

        def copies(path: Path = Path(".s.h5.products")) -> bool:
            nonlocal kept
            if path.exists() and len(path.read_bytes()) > len(kept):
                kept = path.read_bytes()
            return False

        add_curvature(load_config(path, ["curvature.measures=[gradient]"]), "s.h5")
        only = load_config(path, ["curvature.measures=[{_target_: eigenvalues, steps: 30}]"])
        add_curvature(only, "s.h5", should_stop=copies)
        # the last one is written after the last question
        surface = load_surface("s.h5")
        assert surface.curvature is not None
        assert_same({"eigenvalues": surface.curvature.records["eigenvalues"]}, {"eigenvalues": expected["eigenvalues"]})
        Path("s.h5").unlink()
        scan(load_config(config(name="plain.yaml", model=model)), "s.h5")
        Path(".s.h5.products").write_bytes(kept)
        before = num_products()
        add_curvature(load_config(path), "s.h5")
        if model.endswith("Logged"):
            assert num_products() - before == 1 + 10
        assert_same(records_of(load_surface("s.h5")), expected)


@pytest.mark.slow
@pytest.mark.usefixtures("always_kept")
@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "garbage", "empty", "longer"])
def test_a_damaged_or_foreign_journal_is_not_believed(folder: Path, damage: str) -> None:
    path, journal = config(SLOW), Path(".s.h5.products")
    expected = uninterrupted(path)
    scan(load_config(config(name="plain.yaml")), "s.h5")
    add_curvature(load_config(path), "s.h5", should_stop=stopped_after(5))
    content = journal.read_bytes()
    surface_before = Path("s.h5").read_bytes()
    length = (len(content) - 32) // 5
    variants = {
        "cut": [content[: 32 + 2 * length + extra] for extra in (0, 1, 3, 4, 7, 8, 9, 12, 50)],
        "flipped": [
            content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in (0, 32, 36, 41, 60, 32 + length)
        ],
        "foreign": [bytes(32) + content[32:]],
        "garbage": [b"\xff" * 1000, b"abc"],
        "empty": [b""],
        "longer": [content + b"\x00" * 5, content + content[32:]],
    }
    for variant in variants[damage]:
        Path("s.h5").write_bytes(surface_before)
        journal.write_bytes(variant)
        add_curvature(load_config(path), "s.h5")
        assert_same(records_of(load_surface("s.h5")), expected)
        assert not journal.exists()


@pytest.mark.usefixtures("always_kept")
def test_a_failing_measure_leaves_the_journal_of_another_one_alone(folder: Path) -> None:
    measures = "curvature: {num_examples: 8, measures: [curvature_models.fails, {_target_: eigenvalues, steps: 30}]}\n"
    path = config(measures)
    scan(load_config(config(name="plain.yaml")), "s.h5")
    start = num_products()
    add_curvature(load_config(path), "s.h5", should_stop=stopped_after(10))
    assert Path(".s.h5.products").exists()
    with pytest.raises(EvaluationError, match="ZeroDivisionError"):
        add_curvature(load_config(path), "s.h5")
    assert num_products() - start == 30
    assert not Path(".s.h5.products").exists()


def test_products_that_take_no_time_are_not_written_down(folder: Path) -> None:
    scan(load_config(config(SLOW)), "s.h5", should_stop=lambda: num_products() >= 20)
    assert num_products() >= 20
    assert not Path(".s.h5.products").exists()


@contextlib.contextmanager
def measuring(path: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has made so many products more."""
    command = [sys.executable, "-m", "landscape_cli", "curvature", str(path), "s.h5"]
    start, pause = num_products(), threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=None) as process:
        while num_products() - start < number:
            assert process.poll() is None, process.communicate()
            pause.wait(0.005)
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
def test_kills_in_the_middle_cost_a_product_each_and_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    path = config(SLOW, seconds=0.05)
    expected = uninterrupted(path)
    scan(load_config(config(name="plain.yaml", seconds=0.05)), "s.h5")
    start = num_products()
    with measuring(path, 8) as process:
        process.kill()
    with measuring(path, 8) as process:
        process.terminate()
        _, talk = process.communicate(timeout=60)
        assert process.returncode == 75, talk
        assert "run the same command again to go on" in " ".join(talk.split())
    with measuring(path, 8) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    with measuring(path, 3) as process:
        process.kill()
    finished = subprocess.run(
        [sys.executable, "-m", "landscape_cli", "curvature", str(path), "s.h5"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert num_products() - start <= 40 + 4
    assert_same(records_of(load_surface("s.h5")), expected)
    assert not Path(".s.h5.products").exists()


# ---------------------------------------------------------------- the map


MAP = "curvature: {precision: float64, num_examples: 8, measures: [gradient], map: {max_products: 60, tolerance: 1.0e-8}}\n"


def test_the_map_holds_the_eigenvalues_of_the_dense_hessian_at_every_point(folder: Path, landscape: Landscape) -> None:
    path = config(MAP)
    assert landscape("scan", path, "-o", "s.h5").exit_code == 0
    surface = load_surface("s.h5")
    found = surface.curvature_map
    assert found is not None
    assert found.complete
    assert found.grid == surface.grid
    problem = problem_from_config(load_config(path), Surroundings(torch.device("cpu")))
    for point in range(found.grid.num_points):
        index, coordinates = found.grid.location(point)
        moved = Subspace(problem.origin, problem.draw(index)).point(coordinates)
        values = torch.linalg.eigvalsh(dense(moved, 8)[1])
        scale = float(values.abs().max())
        for name, exact in (("lambda_max", values[-1]), ("lambda_min", values[0])):
            residual = found.metrics[f"{name}_residual"].values.flat[point]
            assert residual <= 1e-8 * scale * 1.01
            assert found.metrics[name].values.flat[point] == pytest.approx(float(exact), abs=1e-6 * scale)
    assert found.metrics["lambda_max"].num_examples == 8
    products = num_products()
    assert landscape("curvature", path, "s.h5").exit_code == 0
    assert num_products() == products


@pytest.mark.slow
def test_a_stopped_map_continues_and_is_the_same_to_the_bit(folder: Path) -> None:
    path = config(MAP)
    expected = scan(load_config(path), "reference.h5").curvature_map
    assert expected is not None
    total = num_products()
    scan(load_config(config(name="plain.yaml")), "s.h5")
    products = [num_products()]
    for _ in range(4):
        stopped = add_curvature(load_config(path), "s.h5", should_stop=stopped_after(total // 5)).curvature_map
        assert stopped is not None
        assert not stopped.complete
        products.append(num_products())
    found = add_curvature(load_config(path), "s.h5").curvature_map
    assert found is not None
    assert found.complete
    assert num_products() - total <= total + 4 * 61  # a point that was begun is begun anew
    for name, metric in expected.metrics.items():
        assert found.metrics[name].values.tobytes() == metric.values.tobytes()
    again = load_surface("s.h5").curvature_map
    assert again is not None
    assert again.fingerprint == found.fingerprint


@pytest.mark.slow
def test_a_map_with_other_settings_is_measured_anew(folder: Path, landscape: Landscape) -> None:
    assert landscape("scan", config(MAP), "-o", "s.h5").exit_code == 0
    before = load_surface("s.h5").curvature_map
    outcome = landscape("curvature", config(MAP), "s.h5", "--set", "curvature.map.max_products=3")
    assert outcome.exit_code == 0
    assert "the map was measured with other settings before, and now anew" in " ".join(outcome.stderr.split())
    after = load_surface("s.h5").curvature_map
    assert before is not None
    assert after is not None
    assert after.fingerprint != before.fingerprint
    assert after.metrics["lambda_max_residual"].values.max() > before.metrics["lambda_max_residual"].values.max()


def test_points_where_nothing_is_finite_are_holes_in_the_map(folder: Path) -> None:
    path = config("curvature: {num_examples: 8, measures: [gradient], map: true}\n")
    path.write_text(path.read_text().replace("x: {num: 3}", "x: {num: 3, start: -3.0e+38, stop: 3.0e+38}"))
    surface = scan(load_config(path))
    found = surface.curvature_map
    assert found is not None
    assert found.complete
    values = found.metrics["lambda_max"].values
    assert np.isnan(values).any()
    assert np.isfinite(values[:, 1, :]).all() or np.isfinite(values[..., 1]).all()


# ---------------------------------------------------------------- a model in hand


def test_a_model_in_hand_is_measured_also_by_functions_and_comes_back_as_it_was(folder: Path) -> None:
    def rayleigh(context: Context, *, scale: float = 2.0) -> Mapping[str, float | np.ndarray]:
        vector = torch.ones(context.operator.size, dtype=context.operator.dtype)
        return {"quotient": scale * float(vector @ context.operator(vector)) / len(vector), "array": np.arange(3)}

    model = Logged().double()
    model.load_state_dict(weights())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    surface = scan_model(
        model, {"train": dataset()}, axes={"x": {"num": 3}},
        curvature={"precision": "float64", "measures": {"mine": rayleigh, "eigenvalues": {"_target_": "eigenvalues", "count": 2}}},
    )  # fmt: skip
    found = records_of(surface)
    _, hessian = dense(weights())
    assert found["mine"].number("quotient") == pytest.approx(2 * float(hessian.mean() * len(hessian)), rel=1e-9)
    assert found["mine"].values["array"].tolist() == [0.0, 1.0, 2.0]
    assert found["mine"].cost == Cost(products=1)
    exact = torch.linalg.eigvalsh(hessian)
    assert found["eigenvalues"].values["largest"] == pytest.approx(exact.flip(0)[:2].numpy(), rel=1e-7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_adam_without_a_checkpoint_says_what_is_missing(folder: Path) -> None:
    with pytest.raises(LandscapeError, match="needs a checkpoint with the state of the optimizer"):
        scan_model(Logged(), {"train": dataset()}, axes={"x": {"num": 3}}, curvature={"measures": ["adam_lambda_max"]})


def test_true_stands_for_the_default_measures_and_false_for_none(folder: Path) -> None:
    for value, number in ((True, 6), (False, 0), (None, 0)):
        found = scan_model(Logged(), {"train": dataset()}, axes={"x": {"num": 3}}, curvature=value).curvature
        assert (len(found.records) if found else 0) == number


def test_every_name_of_the_table_is_measured(folder: Path) -> None:
    assert set(ALL) == set(CURVATURE) - {"adam_lambda_max"}
    with pytest.raises(ConfigError):
        scan_model(Logged(), {"train": dataset()}, axes={"x": {"num": 3}}, curvature={"measures": ["nothing"]})
    assert math.isfinite(replace(Cost(), losses=1).passes)


# ---------------------------------------------------------------- what was asked, and when it is looked at


@pytest.mark.slow
def test_only_what_is_asked_for_decides_whether_a_command_is_done(folder: Path, landscape: Landscape) -> None:
    assert landscape("scan", config(), "-o", "s.h5").exit_code == 0
    assert not StopsAt(3, "map").stop_in(config(MAP), "s.h5").complete
    sam = ("--set", "curvature.map=null", "--set", "curvature.measures=[sam]")
    assert landscape("curvature", config(MAP), "s.h5", *sam).exit_code == 0
    assert landscape("scan", config(), "-o", "s.h5").exit_code == 0
    points = load_surface("s.h5").curvature_map
    assert points is not None
    assert points.num_evaluated == 3  # it stays as it is
    assert landscape("curvature", config(MAP), "s.h5").exit_code == 0
    points = load_surface("s.h5").curvature_map
    assert points is not None
    assert points.complete


class StopsAt:
    """An observer that stops a run once so many are done of a stage."""

    def __init__(self, count: int, stage: str) -> None:
        self.count, self.stage, self.is_over = count, stage, False

    def note(self, message: str) -> None: ...

    def decoding(self, split: str, num_done: int, num_examples: int) -> None: ...

    def preflight(self, preflight: object) -> None: ...

    def curvature(self, words: str) -> None: ...

    def progress(self, stage: str, num_done: int, num_total: int) -> None:
        self.is_over |= stage == self.stage and num_done >= self.count

    def stop_in(self, path: Path, output: str) -> Surface:
        surface = add_curvature(load_config(path), output, observer=self, should_stop=lambda: self.is_over)
        assert surface.curvature_map is not None
        return surface.curvature_map


@pytest.mark.slow
def test_the_record_of_a_map_says_how_it_was_made_and_what_it_has_cost(folder: Path) -> None:
    scan(load_config(config()), "s.h5")
    StopsAt(3, "map").stop_in(config(MAP), "s.h5")
    first = load_surface("s.h5").curvature
    assert first is not None
    surface = add_curvature(load_config(config(MAP)), "s.h5")
    assert surface.curvature is not None
    record, whole = surface.curvature.records["map"], scan(load_config(config(MAP))).curvature
    assert whole is not None
    assert record.cost == whole.records["map"].cost
    assert first.records["map"].cost.products < record.cost.products
    assert (record.method, record.settings["measure"], record.settings["split"]) == ("double backward", "map", "train")


def test_a_section_that_is_true_can_be_changed_key_by_key(folder: Path, landscape: Landscape) -> None:
    path = config("curvature: true\nradius: true\n")
    changes = ("--set", "curvature.measures=[gradient]", "--set", "radius.slices=2", "--set", "radius.num=2")
    assert landscape("scan", path, "-o", "s.h5", *changes).exit_code == 0
    surface = load_surface("s.h5")
    assert set(records_of(surface)) == {"gradient"}
    assert surface.radius is not None
    assert surface.radius.grid.shape == (2, 2)
    outcome = landscape("scan", config("curvature: all\n"), "-o", "t.h5")
    assert outcome.exit_code == 2
    assert "curvature: found 'all'; expected true, false or a mapping" in " ".join(outcome.stderr.split())


def test_curvature_that_is_switched_off_is_not_measured(folder: Path, landscape: Landscape) -> None:
    assert landscape("scan", config(), "-o", "s.h5").exit_code == 0
    outcome = landscape("curvature", config(), "s.h5", "--set", "curvature=false")
    assert outcome.exit_code == 2
    assert "is switched off; nothing to measure" in " ".join(outcome.stderr.split())


@pytest.mark.parametrize("command", ["scan", "validate"])
def test_a_missing_state_of_the_optimizer_is_said_before_anything_is_computed(
    folder: Path, landscape: Landscape, command: str
) -> None:
    path = config("curvature: {measures: [adam_lambda_max]}\n")
    outcome = landscape(command, path, *(["-o", "s.h5"] if command == "scan" else []))
    assert outcome.exit_code == 3
    words = " ".join(outcome.stderr.split())
    assert "a.pt: no entry 'optimizer'" in words
    assert "{_target_: adam_lambda_max, state: optimizer}" in words
    assert not Path("s.h5").exists()


def test_a_state_of_the_optimizer_that_is_replaced_meanwhile_is_refused(folder: Path) -> None:
    model = Logged()
    model.load_state_dict(weights())
    optimizer = torch.optim.Adam(model.parameters())
    inputs, targets = dataset().tensors

    def save() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        torch.save({"model": weights(), "optimizer": optimizer.state_dict()}, "a.pt")

    save()
    from landscape_cli.compute.after_points import reader_of

    loaded = load_config(config("curvature: {measures: [adam_lambda_max]}\n"), ["checkpoint.key=model"])
    problem = problem_from_config(loaded, Surroundings(torch.device("cpu")))
    assert reader_of(loaded, problem, unsafe=False)("optimizer")
    save()
    with pytest.raises(LandscapeError, match="was replaced while the scan began"):
        reader_of(loaded, problem, unsafe=False)("optimizer")


@pytest.mark.usefixtures("always_kept")
def test_a_journal_stays_until_its_record_is_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(load_config(config()), "s.h5")
    path = load_config(config("curvature: {measures: [eigenvalues]}\n"))
    from landscape_cli.compute import fill
    from landscape_cli.errors import OutputError
    from landscape_cli.storage import save_surface

    def full(surface: Surface, output: Path) -> None:
        if surface.curvature is not None and "eigenvalues" in surface.curvature.records:
            raise OutputError("the disk is full")
        save_surface(surface, output)

    with monkeypatch.context() as patch:
        patch.setattr(fill, "save_surface", full)
        with pytest.raises(OutputError):
            add_curvature(path, "s.h5")
    assert Path(".s.h5.products").exists()
    before = num_products()
    add_curvature(path, "s.h5")
    assert num_products() == before  # all of them were there
    assert not Path(".s.h5.products").exists()
