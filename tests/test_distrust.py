"""Models, metrics and directions that would give a wrong surface without a word."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from workers import worker_of

from landscape_cli import load_surface, scan_model
from landscape_cli.compute.data import Batches
from landscape_cli.compute.device import device_errors
from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.metrics import accuracy, mse, top_k
from landscape_cli.compute.normalization import NORMALIZATIONS, layout_of
from landscape_cli.compute.observer import Silent
from landscape_cli.compute.selfcheck import check_labels, disagreement
from landscape_cli.compute.subspace import parameters_of
from landscape_cli.errors import ConfigError, EvaluationError, ResumeMismatchError

LINE = {"x": {"start": -1.0, "stop": 1.0, "num": 5}}


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(12, 3, generator=generator), torch.randint(4, (12,), generator=generator))


class Listening(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


# ---------------------------------------------------------------- surfaces that would be constant


class Caches(nn.Linear):
    """Uses a copy of its weights from the first call on, as merged adapters do."""

    copied: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.copied = self.weight.clone() if self.copied is None else self.copied
        return x @ self.copied.T


def test_a_model_that_ignores_its_weights_is_warned_about() -> None:
    for model, warned in ((Caches(3, 4), True), (nn.Linear(3, 4), False)):
        observer = Listening()
        scan_model(model, {"a": data()}, axes=LINE, observer=observer)
        assert any("changes nothing at all" in note for note in observer.notes) is warned


def test_a_model_that_changes_its_inputs_is_refused_with_the_cause() -> None:
    class InPlace(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5))

    with pytest.raises(EvaluationError, match="does not repeat itself") as raised:
        scan_model(InPlace(3, 4), {"a": data()}, axes=LINE)
    assert "changes its inputs in place (data.a)" in str(raised.value.hint)


def test_complex_weights_are_refused_by_name() -> None:
    model = nn.Linear(3, 4)
    model.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(EvaluationError, match="complex tensors, which cannot be scanned: phase"):
        scan_model(model, {"a": data()}, axes=LINE)


# ---------------------------------------------------------------- metrics that would broadcast


def test_class_metrics_refuse_targets_of_another_shape_instead_of_broadcasting() -> None:
    logits = torch.randn(6, 4)
    for metric in (accuracy, top_k):
        for targets in (torch.zeros(6, 1, dtype=torch.long), torch.rand(6, 4), torch.zeros(6)):
            with pytest.raises(ValueError, match=r"expected class indices of shape \(6,\)"):
                metric(logits, targets, **({"k": 2} if metric is top_k else {}))


def test_regression_metrics_refuse_a_permuted_shape() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        mse(torch.zeros(4, 2, 3), torch.zeros(4, 3, 2))
    assert mse(torch.zeros(4, 1, 3), torch.ones(4, 3)).tolist() == [1.0] * 4


@pytest.mark.parametrize("target", ["cross_entropy", "torch.nn.functional.cross_entropy"])
def test_labels_are_checked_for_single_outputs_and_for_the_losses_of_torch(target: str) -> None:
    inputs = torch.zeros(3, 3)
    for labels, model in ((torch.tensor([0, 1, 0]), nn.Linear(3, 1)), (torch.tensor([0, 4, 0]), nn.Linear(3, 4))):
        with pytest.raises(EvaluationError, match="example 1 has the label"):
            check_labels(worker_of(model, {"a": Batches(inputs, labels, 3, "")}, class_index_metrics={"loss": target}))
    ignored = Batches(inputs, torch.tensor([0, -100, 0]), 3, "")
    if "." in target:
        check_labels(worker_of(nn.Linear(3, 4), {"a": ignored}, class_index_metrics={"loss": target}))
    else:
        with pytest.raises(EvaluationError, match="example 1 has the label -100"):
            check_labels(worker_of(nn.Linear(3, 4), {"a": ignored}, class_index_metrics={"loss": target}))


# ---------------------------------------------------------------- directions that would differ


def unseeded(context: Context) -> dict[str, Tensor]:
    """Another direction at each call."""
    return {name: torch.randn(tensor.shape) for name, tensor in context.params.items()}


class Scale:
    factor = 1.0


def adjustable(context: Context) -> dict[str, Tensor]:
    """A direction whose code changes between two runs."""
    return {
        name: Scale.factor * torch.cos(torch.arange(tensor.numel())).reshape(tensor.shape)
        for name, tensor in context.params.items()
    }


def test_a_direction_that_differs_from_call_to_call_is_refused() -> None:
    axes = {"x": {**LINE["x"], "direction": f"{__name__}.unseeded"}}
    with pytest.raises(
        ConfigError, match=re.escape("axes.x.direction: the direction differs from one call to the next")
    ):
        scan_model(nn.Linear(3, 4), {"a": data()}, axes=axes)


def test_a_scan_is_not_resumed_along_another_direction(tmp_path: Path) -> None:
    axes = {"x": {**LINE["x"], "direction": f"{__name__}.adjustable"}}
    torch.manual_seed(0)
    model, output = nn.Linear(3, 4), tmp_path / "s.h5"
    Scale.factor = 1.0
    left = iter([False] * 3 + [True] * 100)
    partial = scan_model(model, {"a": data()}, axes=axes, output=output, should_stop=lambda: next(left))
    assert 1 < partial.num_evaluated < 5
    Scale.factor = 2.0
    with pytest.raises(
        ResumeMismatchError, match=r"a_loss at the point \(-1.0,\) is now .* or of a direction has changed"
    ):
        scan_model(model, {"a": data()}, axes=axes, output=output)
    Scale.factor = 1.0
    assert scan_model(model, {"a": data()}, axes=axes, output=output).complete


def test_rounding_between_machines_is_told_from_a_change() -> None:
    n = {"a_loss": 1000, "a_accuracy": 1000}
    first = {"a_loss": (1e-7, 0.0), "a_accuracy": (0.9, 0.0)}
    assert disagreement(first, {"a_loss": (1.3e-7, 0.0), "a_accuracy": (0.902, 0.0)}, n, 1e-5) is None
    assert disagreement(first, {"a_loss": (1e-5, 0.0), "a_accuracy": (0.9, 0.0)}, n, 1e-5) == "a_loss"
    assert disagreement(first, {"a_loss": (1e-7, 0.0), "a_accuracy": (0.91, 0.0)}, n, 1e-5) == "a_accuracy"
    assert disagreement(first, {**first, "a_loss": (np.nextafter(1e-7, 1), 0.0)}, n, 0.0) == "a_loss"
    nan = {"a_loss": (np.nan, 0.0), "a_accuracy": (np.inf, 0.0)}
    assert disagreement(nan, nan, n, 1e-5) is None
    assert disagreement(nan, first, n, 1e-5) == "a_loss"


# ---------------------------------------------------------------- reparametrised layers


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_the_direction_of_a_reparametrised_transposed_convolution_has_its_output_units(
    wrap: object, groups: int
) -> None:
    model = nn.Sequential(wrap(nn.ConvTranspose2d(4, 6, 3, groups=groups))).double()  # type: ignore[operator]
    params = parameters_of(model)
    drawn = {name: torch.randn_like(tensor) for name, tensor in params.items()}
    scaled = NORMALIZATIONS["filter"](drawn, params, layout_of(model))
    name = next(name for name, tensor in params.items() if tensor.shape == (4, 6 // groups, 3, 3))
    for tensors in (scaled[name], params[name]):
        assert tensors.shape[0] == 4
    per_unit = [
        t[name].reshape(groups, 4 // groups, 6 // groups, 9).pow(2).sum((1, 3)).sqrt() for t in (scaled, params)
    ]
    torch.testing.assert_close(*per_unit)


# ---------------------------------------------------------------- failures in the middle


def test_what_was_finished_before_an_error_is_saved(tmp_path: Path) -> None:
    output = tmp_path / "s.h5"
    calls = iter(range(1000))

    def fails_late(outputs: Tensor, targets: Tensor) -> Tensor:
        if next(calls) > 7:
            raise ZeroDivisionError("late")
        return torch.ones(len(targets))

    with (
        patch.dict("landscape_cli.compute.metrics.METRICS", {"late": fails_late}),
        pytest.raises(EvaluationError, match="late"),
    ):
        scan_model(
            nn.Linear(3, 4), {"a": data()}, axes=LINE, metrics=["late"], output=output, runtime={"save_every": "10m"}
        )
    assert load_surface(output).num_evaluated == 3  # after two of calibration, the centre twice and the corner


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA"), "out of memory"),
        (RuntimeError("CUDA error: device-side assert\nmore"), "device-side assert"),
    ],
)
def test_what_a_device_raises_is_an_evaluation_error(error: Exception, words: str) -> None:
    with pytest.raises(EvaluationError, match=f"moving it: .*{words}") as raised, device_errors("moving it"):
        raise error
    assert "runtime.device=cpu" in str(raised.value.hint)
    with pytest.raises(ZeroDivisionError), device_errors("moving it"):
        raise ZeroDivisionError


# ---------------------------------------------------------------- what a reader in a hurry would do


def doubling(context: Context) -> dict[str, Tensor]:
    """A direction that works in place."""
    return {name: tensor.mul_(2) for name, tensor in context.params.items()}


def test_a_direction_that_works_in_place_does_not_change_the_checkpoint() -> None:
    model = nn.Linear(3, 4)
    axes = {"x": {**LINE["x"], "direction": doubling}}
    surface = scan_model(model, {"a": data()}, axes=axes, slices={"num": 3})
    inputs, labels = data().tensors
    plain = torch.nn.functional.cross_entropy(model(inputs), labels).item()
    assert surface.metrics["a_loss"].centre == pytest.approx(plain, rel=1e-6)
    assert surface.directions["x"].norm == pytest.approx([surface.directions["x"].norm[0]] * 3)


def test_scan_model_takes_functions_and_modules_as_they_are() -> None:
    options = {"axes": LINE, "metrics": {"right": accuracy}}
    by_function = scan_model(nn.Linear(3, 4), {"a": data()}, loss=nn.CrossEntropyLoss(reduction="none"), **options)  # type: ignore[arg-type]
    assert list(by_function.metrics) == ["a_loss", "a_right"]
    assert by_function.provenance.resolved["loss"] == {"_target_": "torch.nn.modules.loss.CrossEntropyLoss"}
    with pytest.raises(ConfigError, match="data: found a TensorDataset; expected a mapping"):
        scan_model(nn.Linear(3, 4), data(), axes=LINE)  # type: ignore[arg-type]


def test_a_finished_file_is_not_touched_by_running_the_command_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, output = nn.Linear(3, 4), tmp_path / "s.h5"
    scan_model(model, {"a": data()}, axes=LINE, output=output)
    before = (output.stat().st_mtime_ns, output.read_bytes())
    assert scan_model(model, {"a": data()}, axes=LINE, output=output).complete
    assert (output.stat().st_mtime_ns, output.read_bytes()) == before


def test_an_axis_without_zero_is_told() -> None:
    observer = Listening()
    scan_model(nn.Linear(3, 4), {"a": data()}, axes={"x": {"num": 4}}, observer=observer)
    assert any("0 is not on the x axis" in note for note in observer.notes)
