"""Whole scans: closed forms, the centre, resuming, refusing to mix, and the model in hand."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from landscape_cli import Surface, load_config, load_surface, scan, scan_model
from landscape_cli.compute.device import choose_devices
from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.observer import Preflight, Silent
from landscape_cli.compute.subspace import parameters_of
from landscape_cli.errors import ConfigError, EvaluationError, LandscapeError, ResumeMismatchError, UsageError
from landscape_cli.examples import SmallResNet, digits

LINE = {"x": {"start": -1.0, "stop": 1.0, "num": 5}}


def regression(num_examples: int = 12) -> tuple[nn.Module, TensorDataset]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    return model, TensorDataset(
        torch.randn(num_examples, 3, dtype=torch.float64), torch.randn(num_examples, 2, dtype=torch.float64)
    )


def small_config(tmp_path: Path, **changes: object) -> Path:
    """The digits config in miniature; keys such as ``data.train.num_examples`` change a value."""
    values = {
        "checkpoint.path": str(ROOT / "configs" / "digits.pt"),
        "checkpoint.expect": None,
        "axes.x.num": 5,
        "axes.y.num": 3,
        "data.train.num_examples": 60,
        "data.test.num_examples": 40,
        "runtime.engine": "sequential",  # a pinned plan: two files are equal bit for bit
        **changes,
    }
    path = tmp_path / "config.yaml"
    config = load_config(
        ROOT / "configs" / "digits.yaml", [f"{key}={json.dumps(value)}" for key, value in values.items()]
    )
    path.write_text(json.dumps(config.resolved()))
    return path


class StopAfter:
    """A stop request that arrives before the n-th batch of the loop."""

    def __init__(self, num_batches: int) -> None:
        self.left = num_batches

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("normalization", ["filter", "layer", "weight", "none"])
def test_the_surface_of_a_linear_model_with_squared_error_is_the_closed_form_quadratic(normalization: str) -> None:
    model, dataset = regression()
    direction = {"_target_": "random", "normalization": normalization, "ignore": "none"}
    axes = {
        "x": {"start": -2, "stop": 1, "num": 7, "direction": direction},
        "y": {"start": -1, "stop": 1, "num": 4, "direction": direction},
    }
    surface = scan_model(model, {"train": dataset}, axes=axes, loss="mse", evaluation={"precision": "float64"})
    params, layout = parameters_of(model), layout_of(model)
    d1, d2 = (
        random(Context(params, layout, 0, 0, axis), normalization=normalization, ignore="none")  # type: ignore[arg-type]
        for axis in "xy"
    )
    x, targets = dataset.tensors
    residual = (
        x @ params["weight"].T + params["bias"] - targets
    )  # e(α, β) = e₀ + α·u + β·v is linear in the coordinates
    u, v = (x @ d["weight"].T + d["bias"] for d in (d1, d2))
    for i, a in enumerate(surface.grid.axes[0].coordinates):
        for j, b in enumerate(surface.grid.axes[1].coordinates):
            exact = (
                residual**2 + a**2 * u**2 + b**2 * v**2 + 2 * (a * residual * u + b * residual * v + a * b * u * v)
            ).mean()
            assert surface["train_loss"][0, i, j] == pytest.approx(exact.item(), rel=1e-12)
    for axis, d in (("x", d1), ("y", d2)):
        exact_norm = math.sqrt(sum(tensor.square().sum().item() for tensor in d.values()))
        assert surface.directions[axis].norm == pytest.approx((exact_norm,), rel=1e-12)


def test_the_value_at_zero_is_the_plain_evaluation_of_the_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    surface = scan(load_config(small_config(tmp_path)), tmp_path / "s.h5")
    model = SmallResNet()
    model.load_state_dict(torch.load(ROOT / "configs" / "digits.pt", weights_only=True)["state_dict"])
    model.eval()
    images, labels = digits(train=False).tensors
    chosen = np.sort(np.random.Generator(np.random.Philox(0)).choice(len(labels), 40, replace=False))
    with torch.no_grad():
        losses = F.cross_entropy(model(images[chosen]), labels[chosen], reduction="none").double()
    i, j = (axis.coordinates.index(0.0) for axis in surface.grid.axes)
    assert surface["test_loss"][0, i, j] == losses.sum().item() / 40 == surface.metrics["test_loss"].centre
    assert surface.metrics["test_loss"].std[0, i, j] == pytest.approx(losses.std().item(), rel=1e-9)
    assert surface.metrics["test_loss"].centre_std == surface.metrics["test_loss"].std[0, i, j]


def test_the_centre_is_known_also_when_zero_is_not_on_the_grid() -> None:
    model, dataset = regression()
    options = {"loss": "mse", "evaluation": {"precision": "float64"}}
    off = scan_model(model, {"a": dataset}, axes={"x": {"start": 0.5, "stop": 1, "num": 3}}, **options)  # type: ignore[arg-type]
    on = scan_model(model, {"a": dataset}, axes={"x": {"start": 0, "stop": 1, "num": 3}}, **options)  # type: ignore[arg-type]
    assert 0.0 not in off.grid.axes[0].coordinates
    assert off.metrics["a_loss"].centre == on["a_loss"][0, 0]


def test_the_first_index_is_x_and_the_second_is_y() -> None:
    """One parameter moves along each axis, by directions of our own."""
    model, dataset = nn.Linear(1, 1), TensorDataset(torch.zeros(3, 1), torch.zeros(3, 1))
    with torch.no_grad():
        model.weight.zero_(), model.bias.zero_()
    axes = {
        "x": {"start": 0, "stop": 3, "num": 4, "direction": f"{__name__}.along_bias"},
        "y": {"start": 0, "stop": 2, "num": 3, "direction": {"_target_": f"{__name__}.along_bias", "factor": 10.0}},
    }
    surface = scan_model(model, {"a": dataset}, axes=axes, loss="mse")
    expected = [[(a + 10 * b) ** 2 for b in (0, 1, 2)] for a in (0, 1, 2, 3)]
    assert surface["a_loss"][0].tolist() == expected


def along_bias(context: Context, *, factor: float = 1.0) -> dict[str, Tensor]:
    """A direction in the form a stranger would write it."""
    direction = {name: torch.zeros_like(tensor) for name, tensor in context.params.items()}
    direction["bias"] += factor
    return direction


@pytest.mark.slow
def test_slices_differ_and_the_first_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    one, three = (
        scan(load_config(small_config(tmp_path, **{"slices.num": num})), tmp_path / f"{num}.h5")["train_loss"]
        for num in (1, 3)
    )
    assert three.shape == (3, 5, 3)
    assert np.array_equal(one[0], three[0])
    assert not np.array_equal(three[0], three[1])


def test_nan_and_inf_are_stored_as_such() -> None:
    model, dataset = nn.Linear(1, 1), TensorDataset(torch.ones(2, 1), torch.zeros(2, 1))
    axes = {
        "x": {"start": 0, "stop": 3e38, "num": 3, "direction": {"_target_": f"{__name__}.along_bias", "factor": 1.0}}
    }
    surface = scan_model(model, {"a": dataset}, axes=axes, loss="mse", metrics={"gone": f"{__name__}.nan_when_large"})
    assert surface.complete
    assert np.isinf(surface["a_loss"][0, 1:]).all()
    assert np.isnan(surface["a_gone"][0, 1:]).all()
    assert np.isfinite(surface["a_loss"][0, 0])


def nan_when_large(outputs: Tensor, targets: Tensor) -> Tensor:
    """A metric in the form a stranger would write it."""
    return torch.where(outputs.abs() > 1e9, torch.nan, outputs).squeeze(1)


# ---------------------------------------------------------------- resuming


def contents(surface: Surface) -> dict[str, bytes]:
    arrays = {
        f"{name}.{part}": getattr(metric, part)
        for name, metric in surface.metrics.items()
        for part in ("values", "std")
    }
    return {name: array.tobytes() for name, array in {**arrays, "evaluated": surface.evaluated}.items()}


@pytest.mark.slow
@given(cuts=st.lists(st.integers(0, 40), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_a_resumed_scan_equals_an_uninterrupted_one(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("scan")
    config = load_config(small_config(folder))
    whole = scan(config, folder / "whole.h5")
    for cut in cuts:
        partial = scan(config, folder / "cut.h5", should_stop=StopAfter(cut))
        assert load_surface(folder / "cut.h5").num_evaluated == partial.num_evaluated
        assert partial.evaluated.ravel()[
            partial.grid.scan_order()[: partial.num_evaluated]
        ].all()  # coarse to fine, no holes
    assert contents(scan(config, folder / "cut.h5")) == contents(whole) == contents(load_surface(folder / "cut.h5"))


def test_only_missing_points_are_computed(tmp_path: Path) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            self.counts: list[int] = []
            self.pending = -1

        def preflight(self, preflight: Preflight) -> None:
            self.pending = preflight.num_pending

        def progress(self, stage: str, num_evaluated: int, num_total: int) -> None:
            self.counts.append(num_evaluated)

    config = load_config(small_config(tmp_path))
    stopped = scan(config, tmp_path / "s.h5", should_stop=StopAfter(12))
    assert 0 < stopped.num_evaluated < 15
    for expected in (15 - stopped.num_evaluated, 0):
        observer = Counting()
        scan(config, tmp_path / "s.h5", observer=observer)
        assert observer.pending == expected
        assert observer.counts == sorted(set(observer.counts))
        assert (observer.counts[-1] if observer.counts else 15) == 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"axes.x.num": 7}, "axes.x.num: 5 → 7"),
        ({"slices.seed": 1}, "slices.seed: 0 → 1"),
        ({"data.test.num_examples": 41}, "data.test.num_examples: 40 → 41"),
        ({"data.train.seed": 1}, "data.train.fingerprint: "),
        ({"model.dropout": 0.3}, "model.dropout: absent → 0.3"),
        ({"metrics": ["error"]}, "metrics.error"),
        ({"evaluation.precision": "float64"}, 'evaluation.precision: "float32" → "float64"'),
    ],
)
def test_a_file_made_by_another_config_is_refused_with_the_differing_keys(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    output = tmp_path / "s.h5"
    scan(load_config(small_config(tmp_path)), output)
    before = output.read_bytes()
    with pytest.raises(ResumeMismatchError, match=re.escape(named)) as raised:
        scan(load_config(small_config(tmp_path, **change)), output)
    assert "--overwrite" in str(raised.value.hint)
    assert output.read_bytes() == before
    assert scan(load_config(small_config(tmp_path, **change)), output, overwrite=True).complete


def test_another_checkpoint_at_the_same_path_is_refused(tmp_path: Path) -> None:
    weights = torch.load(ROOT / "configs" / "digits.pt", weights_only=True)["state_dict"]
    torch.save(weights, tmp_path / "w.pt")
    config = load_config(
        small_config(tmp_path, **{"checkpoint.path": str(tmp_path / "w.pt"), "checkpoint.expect": None})
    )
    scan(config, tmp_path / "s.h5")
    torch.save(
        {name: tensor * 1.001 if tensor.is_floating_point() else tensor for name, tensor in weights.items()},
        tmp_path / "w.pt",
    )
    with pytest.raises(ResumeMismatchError, match=r"checkpoint\.sha256"):
        scan(config, tmp_path / "s.h5")


def test_settings_of_the_runtime_may_change_on_resume(tmp_path: Path) -> None:
    scan(load_config(small_config(tmp_path)), tmp_path / "s.h5", should_stop=StopAfter(6))
    changed = load_config(small_config(tmp_path, **{"runtime.save_every": "10s", "runtime.device": "cpu"}))
    assert scan(changed, tmp_path / "s.h5").complete


def test_a_model_whose_code_changed_is_refused_by_its_centre(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, metrics=[f"{__name__}.adjustable"]))
    Adjustable.value = 1.0
    scan(config, tmp_path / "s.h5", should_stop=StopAfter(6))
    Adjustable.value = 1.0 + 1e-9
    notes: list[str] = []

    class Listening(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    scan(config, tmp_path / "s.h5", should_stop=StopAfter(0), observer=Listening())
    assert any("differs by rounding" in note for note in notes)
    Adjustable.value = 2.0
    with pytest.raises(ResumeMismatchError, match="the code of the model, of a metric or of a direction has changed"):
        scan(config, tmp_path / "s.h5")


class Adjustable:
    value = 1.0


def adjustable(outputs: Tensor, targets: Tensor) -> Tensor:
    """A metric whose code changes between two runs."""
    return torch.full((len(targets),), Adjustable.value, dtype=torch.float64)


# ---------------------------------------------------------------- the model in hand


def test_the_model_of_the_caller_comes_back_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = SmallResNet(width=4).train()
    model.stem.eval()
    model.head.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = {name: module.training for name, module in model.named_modules()}
    grads = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    state = torch.get_rng_state()
    surface = scan_model(
        model, {"test": digits(train=False)}, axes=LINE, metrics=["accuracy"], evaluation={"precision": "float64"}
    )
    assert surface.complete
    assert all(
        torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype
        for name, tensor in model.state_dict().items()
    )
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == grads
    assert torch.equal(torch.get_rng_state(), state)


class LSTMClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x))


@pytest.mark.parametrize(
    ("model", "inputs", "num_classes"),
    [
        (LSTMClassifier(), torch.randn(6, 4, 3), 2),
        (Tied(), torch.arange(6), 7),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))), torch.randn(6, 3), 4),
    ],
)
def test_every_point_is_the_model_with_its_parameters_moved_by_hand(
    model: nn.Module, inputs: Tensor, num_classes: int
) -> None:
    """Recurrent layers keep flat copies of their weights, tied ones share them: nothing may stay behind."""
    labels = torch.arange(6) % num_classes
    surface = scan_model(model, {"a": TensorDataset(inputs, labels)}, axes=LINE)
    direction = random(Context(parameters_of(model), layout_of(model), 0, 0, "x"))
    for i, coordinate in enumerate(surface.grid.axes[0].coordinates):
        moved = copy.deepcopy(model).eval()
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter.copy_(parameter + coordinate * direction[name])
            exact = F.cross_entropy(moved(inputs), labels).item()
        assert surface["a_loss"][0, i] == pytest.approx(exact, rel=1e-5)
    assert np.ptp(surface["a_loss"]) > 0


def test_a_scan_in_memory_equals_one_on_disk(tmp_path: Path) -> None:
    model, dataset = regression()
    options = {"axes": LINE, "loss": "mse"}
    in_memory = scan_model(model, {"a": dataset}, **options)  # type: ignore[arg-type]
    scan_model(model, {"a": dataset}, output=tmp_path / "s.h5", **options)  # type: ignore[arg-type]
    on_disk = load_surface(tmp_path / "s.h5")
    assert contents(in_memory) == contents(on_disk)
    assert in_memory.fingerprint == on_disk.fingerprint
    with torch.no_grad():
        model.bias += 1
    with pytest.raises(ResumeMismatchError, match="weights_sha256"):
        scan_model(model, {"a": dataset}, output=tmp_path / "s.h5", **options)  # type: ignore[arg-type]


class NotCopyable(nn.Linear):
    def __deepcopy__(self, memo: object) -> NotCopyable:
        raise TypeError("holds a socket")


def test_what_scan_model_cannot_use_is_refused() -> None:
    model, dataset = regression()
    with pytest.raises(EvaluationError, match="cannot be copied: TypeError: holds a socket"):
        scan_model(NotCopyable(3, 2), {"a": dataset}, axes=LINE, loss="mse")
    with pytest.raises(ConfigError, match="found no split"):
        scan_model(model, {}, axes=LINE)
    with pytest.raises(ConfigError, match=r"axes\.x\.num"):
        scan_model(model, {"a": dataset}, axes={"x": {"num": 0}})
    with pytest.raises(ConfigError, match="zero everywhere"):
        scan_model(nn.BatchNorm1d(3), {"a": dataset}, axes=LINE, loss="mse")


# ---------------------------------------------------------------- devices and collisions


def test_devices_that_are_not_there_are_refused() -> None:
    assert [device.type for device in choose_devices("cpu", "here")] == ["cpu"]
    with pytest.raises(ConfigError, match=r"found 'cuda:99', but this machine has \d+ CUDA devices"):
        choose_devices("cuda:99", "here")
    for name in ("gpu", "mps", "cuda:first", ""):
        with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
            choose_devices(name, "here")


def test_the_same_directions_and_values_on_every_device(device: str) -> None:
    model, dataset = regression()
    options = {"axes": LINE, "loss": "mse", "evaluation": {"precision": "float64"}}
    reference = scan_model(model, {"a": dataset}, runtime={"device": "cpu"}, **options)  # type: ignore[arg-type]
    surface = scan_model(model, {"a": dataset}, runtime={"device": device}, **options)  # type: ignore[arg-type]
    assert surface.directions["x"].norm == pytest.approx(reference.directions["x"].norm, rel=1e-12)
    np.testing.assert_allclose(surface["a_loss"], reference["a_loss"], rtol=1e-12)


def test_two_metrics_of_one_name_are_refused() -> None:
    model, dataset = regression()
    with pytest.raises(ConfigError, match="share a name: a_b_loss"):
        scan_model(model, {"a": dataset, "a_b": dataset}, axes=LINE, loss="mse", metrics={"b_loss": "mse"})


def test_an_output_that_cannot_be_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    def never_built() -> list[tuple[Path, type[LandscapeError]]]:
        return [(tmp_path / "no" / "s.h5", UsageError), (tmp_path, UsageError)]

    model, dataset = regression()
    for output, error in never_built():
        with pytest.raises(error):
            scan_model(model, {"a": dataset}, axes=LINE, output=output)


class Spread(nn.Module):
    """The first layer on one device, the second on another."""

    def __init__(self, *devices: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (nn.Linear(4, 4).to(device) for device in devices)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.first(inputs.to(self.first.weight.device)).relu()
        out: Tensor = self.second(hidden.to(self.second.weight.device))
        return out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device beside the CPU")
def test_a_model_on_several_devices_is_scanned_where_it_lives() -> None:
    dataset = TensorDataset(torch.randn(20, 4), torch.randint(4, (20,)))
    axes, runtime = {"x": {"num": 5}, "y": {"num": 3}}, {"device": "cpu"}
    options = {"curvature": {"measures": ["eigenvalues"]}, "runtime": runtime}
    spread, plain = (
        scan_model(Spread(*devices), {"train": dataset}, axes=axes, **options)  # type: ignore[arg-type]
        for devices in (("cpu", "cuda"), ("cpu", "cpu"))
    )
    np.testing.assert_allclose(spread["train_loss"], plain["train_loss"], rtol=1e-5)
    assert spread.curvature is not None
    assert plain.curvature is not None
    found, expected = (each.curvature.records["eigenvalues"].number("lambda_max") for each in (spread, plain))
    assert found == pytest.approx(expected, rel=1e-4)
