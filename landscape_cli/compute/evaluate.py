"""Metrics of a model over whole splits: sums in float64, the BatchNorm policy, precision, and the self-check."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape_cli.compute.data import Batches, Inputs, tensors_of
from landscape_cli.compute.device import OUT_OF_MEMORY, device_errors
from landscape_cli.compute.metrics import BINARY_METRICS, IGNORED_LABEL, PerExample
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
        with device_errors("evaluating the model"):
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
            hint=OUT_OF_MEMORY
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
            f"and targets {_shape(targets)} ({targets.dtype}): {error}",
            hint=OUT_OF_MEMORY if isinstance(error, torch.OutOfMemoryError) else None,
        ) from error
    if not isinstance(values, Tensor) or values.shape != targets.shape[:1]:
        found = f"a tensor of shape {_shape(values)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise EvaluationError(
            f"data.{split}: {name} returned {found}; expected one value per example, shape ({len(targets)},)",
            hint="Losses of torch need reduction='none'." if isinstance(values, Tensor) and not values.ndim else None,
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
    restore = [*_set_true_float32(), _set(cudnn, "deterministic", value=True), _set(cudnn, "benchmark", value=False)]
    try:
        yield
    finally:
        for undo in restore:
            undo()


def _set_true_float32() -> list[Callable[[], None]]:
    """Turn TF32 off in that of torch's two interfaces which the caller has used: they do not mix. Returns the undos."""
    cudnn: Any = torch.backends.cudnn
    try:
        precision = torch.get_float32_matmul_precision()
        undo = _set(cudnn, "allow_tf32", value=False)
        torch.set_float32_matmul_precision("highest")
    except RuntimeError:  # torch 2.9 or later, and the caller has set fp32_precision
        owners = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
        return [_set(owner, "fp32_precision", value="ieee") for owner in owners]
    return [undo, partial(torch.set_float32_matmul_precision, precision)]


def _set(owner: object, name: str, *, value: object) -> Callable[[], None]:
    """Set an attribute; return what sets it back."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    return partial(setattr, owner, name, before)


# ---------------------------------------------------------------- self-check


def check_labels(model: nn.Module, splits: Splits, class_index_metrics: Mapping[str, str]) -> None:
    """Look for class indices that the model has no output for, before a GPU dies of one.

    Args:
        model: In eval mode.
        splits: As for `evaluate`.
        class_index_metrics: Name → target of the configured metrics that use a label as an index.

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
        if labels.is_floating_point() or outputs.ndim < 2:
            continue
        if outputs.shape[1] == 1 and set(class_index_metrics.values()) <= BINARY_METRICS:
            continue
        num_classes = outputs.shape[1]
        wrong = (labels < 0) | (labels >= num_classes)
        if any("." in target for target in class_index_metrics.values()):
            wrong &= labels != IGNORED_LABEL
        wrong = wrong.reshape(len(labels), -1).any(dim=1)
        if bool(wrong.any()):
            example = int(wrong.nonzero()[0])
            raise EvaluationError(
                f"data.{split}: example {example} has the label {labels[example].tolist()}; "
                f"the model has {num_classes} outputs, so {next(iter(class_index_metrics))} expects "
                f"0 … {num_classes - 1}",
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
    num_examples = {name: len(splits[split]) for split in splits for name in first if name.startswith(f"{split}_")}
    on_cpu = all(batches.targets.device.type == "cpu" for batches in splits.values())
    name = disagreement(first, second, num_examples, 0.0 if on_cpu else _REPEAT_RTOL)
    if name is None:
        return max(abs(first[name][0] - second[name][0]) / (abs(first[name][0]) or 1.0) for name in first)
    raise EvaluationError(
        f"the model does not repeat itself: {name} at the checkpoint is {first[name][0]!r}, then {second[name][0]!r}",
        hint=f"{_cause(model, splits, metrics)} A surface of such a model would be noise.",
    )


def disagreement(first: Values, second: Values, num_examples: Mapping[str, int], rtol: float) -> str | None:
    """The name of a metric whose means differ by more than rounding; None where there is none.

    Args:
        first: Values at one point.
        second: Values at the same point.
        num_examples: n of each metric.
        rtol: Relative rounding; a tenth of it is allowed in absolute terms, because float32 losses are rounded so, and
            three examples whose class flips for metrics other than the loss. 0 allows nothing.
    """
    for name, (a, _) in first.items():
        b = second[name][0]
        flips = 3 / num_examples[name] if rtol and not name.endswith("_loss") else 0.0
        same = a == b or (math.isnan(a) and math.isnan(b))
        if not same and not abs(a - b) <= rtol * max(abs(a), abs(b)) + rtol / 10 + flips:
            return name
    return None


def _cause(model: nn.Module, splits: Splits, metrics: Metrics) -> str:
    changed = _inputs_changed_by(model, splits)
    if changed is not None:
        return f"Its forward pass changes its inputs in place (data.{changed}): write x = x - mean, not x -= mean."
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


def _inputs_changed_by(model: nn.Module, splits: Splits) -> str | None:
    for split, batches in splits.items():
        inputs, _ = next(iter(batches))
        before = [tensor.clone() for tensor in tensors_of(inputs)]
        with torch.inference_mode():
            _forward(model, inputs, split)
        if not all(torch.equal(old, new) for old, new in zip(before, tensors_of(inputs), strict=True)):
            return split
    return None
