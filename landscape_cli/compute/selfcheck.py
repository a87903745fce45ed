"""Before anything long begins: labels in range, and a model that repeats itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from landscape_cli.compute.data import tensors_of
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.metrics import BINARY_METRICS, IGNORED_LABEL
from landscape_cli.compute.precision import arithmetic
from landscape_cli.compute.worker import Worker
from landscape_cli.errors import EvaluationError

# GPU kernels that are not deterministic differ by rounding; anything larger is a model that does not repeat itself
_REPEAT_RTOL = 1e-6
_FEW = 2  # examples, enough to look at inputs and outputs


def check_labels(worker: Worker) -> None:
    """Look for class indices that the model has no output for, before a GPU dies of one.

    Raises:
        EvaluationError: Naming the label and its position.
    """
    class_index_metrics = worker.problem.class_index_metrics
    if not class_index_metrics:
        return
    for name, split in worker.splits.items():
        chunk = split.first(_FEW)
        with torch.inference_mode(), arithmetic(worker.problem.precision, worker.device):
            outputs = worker.network.outputs(chunk.inputs, name)
        labels = split.targets
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
                f"data.{name}: example {example} has the label {labels[example].tolist()}; "
                f"the model has {num_classes} outputs, so {next(iter(class_index_metrics))} expects "
                f"0 … {num_classes - 1}",
                hint="Check num_classes of the model and the labels of the dataset.",
            )


def check_repeats(worker: Worker, first: Values) -> float:
    """Evaluate the centre a second time and compare.

    Returns:
        The largest relative difference: 0 on a CPU, rounding on a GPU with non-deterministic kernels.

    Raises:
        EvaluationError: The model does not repeat itself; the message names the likely cause.
    """
    model = worker.network.model
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    second = worker.measure_centre()
    assert second is not None  # nobody can stop it
    changed = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    if changed:  # such a model may repeat itself and still be wrong: BatchNorm on batch statistics
        raise EvaluationError(
            f"the model does not stay itself: evaluating it changes the buffer {changed[0]}",
            hint="A BatchNorm or a counter stays in training mode although the model is in eval mode.",
        )
    sizes = {
        f"{split}_{metric}": len(data) for split, data in worker.splits.items() for metric in worker.network.metrics
    }
    name = disagreement(first, second, sizes, 0.0 if worker.device.type == "cpu" else _REPEAT_RTOL)
    if name is None:
        return largest_difference(first, second)
    raise EvaluationError(
        f"the model does not repeat itself: {name} at the checkpoint is {first[name][0]!r}, then {second[name][0]!r}",
        hint=f"{_cause(worker)} A surface of such a model would be noise.",
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


def largest_difference(first: Values, second: Values) -> float:
    """The largest difference between means, relative to the first (absolute where that is 0); NaN equals NaN."""
    return max((_difference(first[name][0], second[name][0]) for name in first), default=0.0)


def _difference(a: float, b: float) -> float:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    difference = abs(a - b) / (abs(a) or 1.0)
    return difference if math.isfinite(difference) else math.inf


def _cause(worker: Worker) -> str:
    changed = _inputs_changed_by(worker)
    if changed is not None:
        return f"Its forward pass changes its inputs in place (data.{changed}): write x = x - mean, not x -= mean."
    training = [name for name, module in worker.network.model.named_modules() if name and module.training]
    if training:
        return f"The module {training[0]} switches itself back to training mode."
    with torch.random.fork_rng(devices=[worker.device] if worker.device.type == "cuda" else []):
        torch.manual_seed(0)
        first = worker.measure_centre()
        torch.manual_seed(0)
        second = worker.measure_centre()
    if first == second:
        return (
            "It draws random numbers in the forward pass: sampling, or dropout called as a function "
            "without training=self.training."
        )
    return "It depends on something else than weights and inputs: a counter, the time, another random source."


def _inputs_changed_by(worker: Worker) -> str | None:
    for name, split in worker.splits.items():
        chunk = split.first(_FEW)
        before = [tensor.clone() for tensor in tensors_of(chunk.inputs)]
        with torch.inference_mode():
            worker.network.outputs(chunk.inputs, name)
        if not all(torch.equal(old, new) for old, new in zip(before, tensors_of(chunk.inputs), strict=True)):
            return name
    return None
