"""Metrics of a model over whole splits: sums in float64, the BatchNorm policy, precision, and the self-check."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape_cli.compute.data import Batches, Inputs, tensors_of
from landscape_cli.compute.metrics import PerExample
from landscape_cli.errors import EvaluationError

# metric name ("train_loss") → mean and sample standard deviation over the examples
Values = dict[str, tuple[float, float]]
Splits = Mapping[str, Batches]
Metrics = Mapping[str, PerExample]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# GPU kernels that are not deterministic differ by rounding; anything larger is a model that does not repeat itself
_REPEAT_RTOL = 1e-6


def never() -> bool:
    """Return False: the stop condition of an evaluation nobody can stop."""
    return False


def evaluate(
    model: nn.Module, splits: Splits, metrics: Metrics, should_stop: Callable[[], bool] = never
) -> Values | None:
    """Evaluate every metric on every split, exactly, with one transfer to the host.

    Args:
        model: In eval mode; its parameters are as the caller set them.
        splits: On the device and in the precision of the model.
        metrics: Per-example functions by name; ``"train"`` and ``"loss"`` make ``"train_loss"``.
        should_stop: Asked before each batch.

    Returns:
        Mean and sample standard deviation of each; None when stopped.

    Raises:
        EvaluationError: The model or a metric fails, or returns something else than expected.
    """
    totals: dict[str, Tensor] = {}
    with torch.inference_mode(), _exact_arithmetic():
        for split, batches in splits.items():
            sums = _accumulate(model, split, batches, metrics, should_stop)
            if sums is None:
                return None
            totals[split] = sums
        host = torch.stack(list(totals.values())).cpu()  # (splits, metrics, 2)
    return {
        f"{split}_{name}": _mean_and_std(float(total), float(squares), len(splits[split]))
        for split, rows in zip(totals, host.tolist(), strict=True)
        for name, (total, squares) in zip(metrics, rows, strict=True)
    }


def _accumulate(
    model: nn.Module, split: str, batches: Batches, metrics: Metrics, should_stop: Callable[[], bool]
) -> Tensor | None:
    sums = torch.zeros(len(metrics), 2, dtype=torch.float64, device=batches.targets.device)
    for inputs, targets in batches:
        if should_stop():
            return None
        outputs = _forward(model, inputs, split)
        for row, (name, metric) in zip(sums, metrics.items(), strict=True):
            values = _measure(metric, name, outputs, targets, split).double()  # (B,)
            row[0] += values.sum()
            row[1] += values.square().sum()
    return sums


def _forward(model: nn.Module, inputs: Inputs, split: str) -> Tensor:
    try:
        outputs = call(model, inputs)
    except Exception as error:  # the user's model may raise anything
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_of(inputs))
        raise EvaluationError(
            f"data.{split}: the model raised {type(error).__name__} on inputs of shape {shapes}: {error}",
            hint=_OUT_OF_MEMORY
            if isinstance(error, torch.OutOfMemoryError)
            else "Check that model and data fit together.",
        ) from error
    if not isinstance(outputs, Tensor):
        keys = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
        raise EvaluationError(
            f"data.{split}: the model returned a {type(outputs).__name__}{keys}; expected one tensor",
            hint="Wrap the model in a function of yours that returns the logits, and name that function in `model:`.",
        )
    return outputs


_OUT_OF_MEMORY = "Set a smaller data.<split>.batch_size, or num_examples."


def call(model: nn.Module, inputs: Inputs) -> object:
    """Call the model: ``model(x)``, ``model(*xs)`` or ``model(**xs)``."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _measure(metric: PerExample, name: str, outputs: Tensor, targets: Tensor, split: str) -> Tensor:
    try:
        values: object = metric(outputs, targets)
    except Exception as error:  # the user's metric may raise anything
        raise EvaluationError(
            f"data.{split}: {name} raised {type(error).__name__} on outputs {_shape(outputs)} "
            f"and targets {_shape(targets)} ({targets.dtype}): {error}"
        ) from error
    if not isinstance(values, Tensor) or values.shape != targets.shape[:1]:
        found = f"a tensor of shape {_shape(values)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise EvaluationError(
            f"data.{split}: {name} returned {found}; expected one value per example, shape ({len(targets)},)",
            hint="Losses of torch need reduction='none'.",
        )
    return values


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _mean_and_std(total: float, squares: float, count: int) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof = 1) from sums; rounding below zero is zero, NaN stays NaN."""
    mean = total / count
    if count == 1:
        return mean, 0.0
    variance = (squares - total * mean) / (count - 1)
    return mean, math.sqrt(variance) if not variance < 0 else 0.0


@contextlib.contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """True float32 and deterministic convolutions on GPUs, whose default for convolutions is TF32 (errors of 1e-3)."""
    cudnn = torch.backends.cudnn
    wanted = [*_true_float32(), (cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    before = [getattr(owner, name) for owner, name, _ in wanted]
    for owner, name, value in wanted:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(wanted, before, strict=True):
            setattr(owner, name, value)


def _true_float32() -> list[tuple[object, str, object]]:
    """The settings that turn TF32 off, in that of torch's two interfaces which the caller has used: they do not mix."""
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    old: list[tuple[object, str, object]] = [(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
    try:
        for owner, name, _ in old:
            getattr(owner, name)
    except RuntimeError:  # torch 2.9 or later, and the caller has set fp32_precision
        return [(owner, "fp32_precision", "ieee") for owner in (matmul, cudnn.conv, cudnn.rnn)]
    return old


# ---------------------------------------------------------------- self-check


def check_labels(model: nn.Module, splits: Splits, class_index_metrics: list[str]) -> None:
    """Look for class indices that the model has no output for, before a GPU dies of one.

    Args:
        model: In eval mode.
        splits: As for `evaluate`.
        class_index_metrics: Names of the configured metrics that use a target as an index.

    Raises:
        EvaluationError: Naming the label and its position.
    """
    if not class_index_metrics:
        return
    for split, batches in splits.items():
        inputs, _ = next(iter(batches))
        with torch.inference_mode(), _exact_arithmetic():
            outputs = _forward(model, inputs, split)
        labels = batches.targets
        if labels.is_floating_point() or outputs.ndim < 2 or outputs.shape[1] == 1:
            continue
        num_classes = outputs.shape[1]
        wrong = (
            ((labels < 0) | (labels >= num_classes)).flatten(1).any(1)
            if labels.ndim > 1
            else (labels < 0) | (labels >= num_classes)
        )
        if bool(wrong.any()):
            example = int(wrong.nonzero()[0])
            raise EvaluationError(
                f"data.{split}: example {example} has the label {labels[example].tolist()}; "
                f"the model has {num_classes} outputs, so {class_index_metrics[0]} expects 0 … {num_classes - 1}",
                hint="Check num_classes of the model and the labels of the dataset.",
            )


def check_repeats(model: nn.Module, splits: Splits, metrics: Metrics, first: Values) -> float:
    """Evaluate the centre a second time and compare.

    Returns:
        The largest relative difference: 0 on a CPU, rounding on a GPU with non-deterministic kernels.

    Raises:
        EvaluationError: The model does not repeat itself; the message names the likely cause.
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    second = evaluate(model, splits, metrics)
    assert second is not None  # nobody can stop it
    changed = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    if changed:  # such a model may repeat itself and still be wrong: BatchNorm on batch statistics
        raise EvaluationError(
            f"the model does not stay itself: evaluating it changes the buffer {changed[0]}",
            hint="A BatchNorm or a counter stays in training mode although the model is in eval mode.",
        )
    difference = _largest_difference(first, second)
    if difference <= _REPEAT_RTOL:
        return difference
    name = max(first, key=lambda name: _largest_difference({name: first[name]}, {name: second[name]}))
    raise EvaluationError(
        f"the model does not repeat itself: {name} at the checkpoint is {first[name][0]!r}, then {second[name][0]!r}",
        hint=f"{_cause(model, splits, metrics)} A surface of such a model would be noise.",
    )


def _largest_difference(first: Values, second: Values) -> float:
    def difference(a: float, b: float) -> float:
        if a == b or (math.isnan(a) and math.isnan(b)):
            return 0.0
        relative = abs(a - b) / max(abs(a), abs(b))
        return relative if math.isfinite(relative) else math.inf

    return max(difference(first[name][0], second[name][0]) for name in first)


def _cause(model: nn.Module, splits: Splits, metrics: Metrics) -> str:
    training = [name for name, module in model.named_modules() if name and module.training]
    if training:
        return f"The module {training[0]} switches itself back to training mode."
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        first = evaluate(model, splits, metrics)
        torch.manual_seed(0)
        second = evaluate(model, splits, metrics)
    if first == second:
        return (
            "It draws random numbers in the forward pass: sampling, or dropout called as a function "
            "without training=self.training."
        )
    return "It depends on something else than weights and inputs: a counter, the time, another random source."
