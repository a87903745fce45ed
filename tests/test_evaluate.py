"""Evaluation against plain loops and closed forms, and the self-check against models that do not repeat themselves."""

from __future__ import annotations

import copy
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from workers import evaluate, worker_of

from landscape_cli.compute.data import Batches, load_batches
from landscape_cli.compute.metrics import accuracy, cross_entropy, mse
from landscape_cli.compute.selfcheck import check_labels, check_repeats
from landscape_cli.errors import EvaluationError


def classifier(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)).eval()


def batches(num_examples: int = 23, batch_size: int = 5, seed: int = 0) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_examples, 6, generator=generator)
    labels = torch.randint(4, (num_examples,), generator=generator)
    return load_batches(TensorDataset(inputs, labels), where="here", batch_size=batch_size)


METRICS = {"loss": cross_entropy, "accuracy": accuracy}


def test_values_equal_a_plain_evaluation_bit_for_bit() -> None:
    model, data = classifier(), batches()
    total, right = torch.zeros((), dtype=torch.float64), 0
    with torch.no_grad():
        for inputs, targets in data:
            assert isinstance(inputs, Tensor)
            outputs = model(inputs.clone())  # as a DataLoader gives it: kernels may round views differently
            total += F.cross_entropy(outputs, targets, reduction="none").double().sum()
            right += int((outputs.argmax(1) == targets).sum())
    values = evaluate(model, {"train": data}, METRICS)
    assert values["train_loss"][0] == total.item() / 23
    assert values["train_accuracy"][0] == right / 23


@given(num_examples=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_mean_and_std_over_examples_are_exact_for_any_batch_size(num_examples: int, batch_size: int, seed: int) -> None:
    model, data = classifier(seed), batches(num_examples, batch_size, seed)
    assert isinstance(data.inputs, Tensor)
    with torch.no_grad():
        losses = F.cross_entropy(model(data.inputs), data.targets, reduction="none").double().tolist()
    values = evaluate(model, {"a": data}, METRICS)
    mean, std = values["a_loss"]
    assert mean == pytest.approx(statistics.fmean(losses), rel=1e-6)
    assert std == pytest.approx(statistics.stdev(losses) if num_examples > 1 else 0.0, rel=1e-4, abs=1e-6)


def test_several_splits_are_evaluated_in_one_go() -> None:
    splits = {"train": batches(10), "test": batches(7, seed=1)}
    together = evaluate(classifier(), splits, METRICS)
    for name, split in splits.items():
        alone = evaluate(classifier(), {name: split}, METRICS)
        assert {key: together[key] for key in alone} == alone


def test_constant_losses_have_no_spread_and_infinite_ones_an_unknown_one() -> None:
    data = batches(4)
    values = evaluate(
        classifier(),
        {"a": data},
        {
            "loss": lambda outputs, targets: torch.full((len(targets),), 0.1),
            "inf": lambda o, t: torch.full((len(t),), math.inf),
        },
    )
    assert values["a_loss"][0] == pytest.approx(0.1, rel=1e-7)
    assert values["a_loss"][1] == pytest.approx(0, abs=1e-7)
    assert values["a_inf"][0] == math.inf
    assert math.isnan(values["a_inf"][1])


def test_stopping_between_batches_gives_nothing() -> None:
    calls = iter([False, False, True])
    assert worker_of(classifier(), {"a": batches()}).measure_centre(lambda: next(calls)) is None


PRECISION_FLAGS = """
import torch
from torch import nn
from landscape_cli.compute.data import Batches
from workers import evaluate
matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn

def read():
    found = []
    for owner in (matmul, cudnn, *( [cudnn.conv, cudnn.rnn] if hasattr(cudnn, "conv") else [] )):
        for name in ("allow_tf32", "fp32_precision", "benchmark", "deterministic"):
            try:
                value = getattr(owner, name)
                found.append("ieee" if value == "none" else value)  # none: nothing set, which means ieee
            except (AttributeError, RuntimeError):
                found.append("cannot be read")
    return found

class Spy(nn.Module):
    def forward(self, x):
        try:
            exact = not matmul.allow_tf32 and not cudnn.allow_tf32
        except RuntimeError:
            exact = {matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision} == {"ieee"}
        assert exact and cudnn.deterministic and not cudnn.benchmark
        return x

SETTING
before = read()
evaluate(Spy(), {"a": Batches(torch.zeros(2), torch.zeros(2), 2, "")}, {"loss": lambda o, t: (o - t) ** 2})
assert read() == before, (before, read())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        "pass",
        "matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True",
        "torch.set_float32_matmul_precision('high')",
        "matmul.fp32_precision = 'tf32'",
        "cudnn.conv.fp32_precision = 'ieee'" if hasattr(torch.backends.cudnn, "conv") else "pass",
    ],
)
def test_float32_is_exact_inside_and_the_settings_of_the_caller_come_back(setting: str) -> None:
    """In processes of their own: torch refuses to read settings that were made in both of its interfaces."""
    code = PRECISION_FLAGS.replace("SETTING", setting)
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert finished.returncode == 0, finished.stderr


class TwoInputs(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b


def test_models_take_tuples_and_dicts_of_tensors() -> None:
    a, b, targets = torch.rand(5, 2), torch.rand(5, 2), torch.rand(5, 2)
    for inputs in [(a, b), {"b": b, "a": a}]:
        data = Batches(inputs, targets, 2, "")
        values = evaluate(TwoInputs(), {"s": data}, {"loss": mse})
        assert values["s_loss"][0] == pytest.approx(((a - b - targets) ** 2).mean().item(), rel=1e-6)


# ---------------------------------------------------------------- what goes wrong


class Returns(nn.Module):
    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> object:
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ((torch.zeros(5, 4),), "returned a tuple; expected one tensor"),
        ({"logits": torch.zeros(5, 4)}, "returned a dict with logits; expected one tensor"),
        (ZeroDivisionError("oh"), r"the model raised ZeroDivisionError on inputs of shape \(5, 6\): oh"),
        (torch.zeros(5, 2, 7), "loss raised"),
    ],
)
def test_models_that_do_not_return_a_tensor_are_refused(what: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message) as raised:
        evaluate(Returns(what), {"train": batches()}, METRICS)
    assert str(raised.value).startswith("data.train: ")


def test_a_metric_that_averages_is_refused_with_the_remedy() -> None:
    with pytest.raises(EvaluationError, match=r"shape \(\); expected one value per example, shape \(5,\)") as raised:
        evaluate(classifier(), {"train": batches()}, {"loss": F.cross_entropy})
    assert raised.value.hint is not None
    assert "reduction='none'" in raised.value.hint
    with pytest.raises(EvaluationError, match="returned a float"):
        evaluate(classifier(), {"train": batches()}, {"loss": lambda o, t: 1.0})  # type: ignore[dict-item,return-value]


@pytest.mark.parametrize("wrong", [-1, 4])
def test_labels_out_of_range_are_found_with_their_position(wrong: int) -> None:
    data = batches()
    labels = data.targets.clone()
    labels[17] = wrong
    data = Batches(data.inputs, labels, 5, "")
    with pytest.raises(EvaluationError, match=f"example 17 has the label {wrong}; the model has 4 outputs"):
        check_labels(worker_of(classifier(), {"train": data}, class_index_metrics={"loss": "cross_entropy"}))
    check_labels(worker_of(classifier(), {"train": data}))  # a regression loss does not care


class TrainsForever(nn.BatchNorm1d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        self.training = True
        return super().forward(input)


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


class SwitchesBack(nn.Dropout):
    def train(self, mode: bool = True) -> SwitchesBack:
        return super().train(True)


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (Noisy(), "draws random numbers in the forward pass"),
        (Counts(), "depends on something else"),
        (SwitchesBack(0.5), "module 1 switches itself back to training mode"),
    ],
)
def test_a_model_that_does_not_repeat_itself_is_refused_with_the_cause(layer: nn.Module, cause: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), layer, nn.Linear(6, 4)).eval()
    worker = worker_of(model, {"train": batches()})
    first = worker.measure_centre()
    assert first is not None
    with pytest.raises(EvaluationError, match="does not repeat itself: train_") as raised:
        check_repeats(worker, first)
    assert cause in str(raised.value.hint)


def test_batchnorm_that_keeps_training_is_refused_although_it_repeats_itself() -> None:
    model = nn.Sequential(nn.Linear(6, 6), TrainsForever(6), nn.Linear(6, 4)).eval()
    worker = worker_of(model, {"train": batches()})
    first = worker.measure_centre()
    assert first is not None
    assert first == worker.measure_centre()
    with pytest.raises(EvaluationError, match=r"evaluating it changes the buffer 1\.running_mean") as raised:
        check_repeats(worker, first)
    assert "stays in training mode" in str(raised.value.hint)


def test_a_model_that_repeats_itself_differs_by_nothing() -> None:
    model = classifier()
    worker = worker_of(model, {"train": batches()})
    first = worker.measure_centre()
    assert first is not None
    before = copy.deepcopy(model.state_dict())
    assert check_repeats(worker, first) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
