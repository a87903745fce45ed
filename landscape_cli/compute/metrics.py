"""Per-example loss, accuracy, …; METRICS.

A metric is ``f(outputs, targets, *, …) -> Tensor (B,)``: one value per example, so that the evaluator can sum and
count, and means and standard errors are exact for any batch size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PerExample = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy −log softmax(outputs)[target].

    Args:
        outputs: (B, C) or (B, C, d₁, …) logits.
        targets: (B,) or (B, d₁, …) class indices, or class probabilities of the shape of ``outputs``.
        label_smoothing: In [0, 1]: share of the uniform distribution in the target (Szegedy et al. 2016,
            arXiv:1512.00567).

    Returns:
        (B,) losses, averaged over d₁, ….
    """
    return _per_example(F.cross_entropy(outputs, targets, reduction="none", label_smoothing=label_smoothing))


def nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log likelihood of class indices (B,) under log probabilities (B, C); returns (B,)."""
    return _per_example(F.nll_loss(outputs, targets, reduction="none"))


def bce(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of logits against targets in [0, 1] of the same shape; returns (B,), means over the rest."""
    outputs, targets = _same_shape("bce", outputs, targets)
    return _per_example(F.binary_cross_entropy_with_logits(outputs, targets, reduction="none"))


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error (outputs − targets)², averaged over all but the first dimension; returns (B,)."""
    outputs, targets = _same_shape("mse", outputs, targets)
    return _per_example((outputs - targets) ** 2)


def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Absolute error |outputs − targets|, averaged over all but the first dimension; returns (B,)."""
    outputs, targets = _same_shape("l1", outputs, targets)
    return _per_example((outputs - targets).abs())


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the class is right, else 0; an output with NaN is wrong.

    Args:
        outputs: (B, C, …) logits, or (B,) or (B, 1) logits of a binary classifier, whose threshold is 0.
        targets: Class indices (B, …).

    Returns:
        (B,) averaged over the remaining dimensions.
    """
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        outputs, targets = _same_shape("accuracy", outputs, targets)
        return _per_example(((outputs > 0) == (targets > 0.5)) & ~outputs.isnan())
    _check_class_indices("accuracy", outputs, targets)
    return _per_example((outputs.argmax(dim=1) == targets) & ~outputs.isnan().any(dim=1))


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 − accuracy, per example; arguments as for `accuracy`."""
    return 1 - accuracy(outputs, targets)


def top_k(outputs: Tensor, targets: Tensor, *, k: int = 5) -> Tensor:
    """1 where the class is among the ``k`` largest of the (B, C) logits, else 0; an output with NaN is wrong; returns
    (B,).

    Ties are broken as ``torch.topk`` does.
    """
    if not 1 <= k <= outputs.shape[1]:
        raise ValueError(f"top_k: k is {k}, but the model has {outputs.shape[1]} outputs")
    _check_class_indices("top_k", outputs, targets)
    right = (outputs.topk(k, dim=1).indices == targets.unsqueeze(1)).any(dim=1)
    return _per_example(right & ~outputs.isnan().any(dim=1))


METRICS: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "nll": nll,
    "bce": bce,
    "mse": mse,
    "l1": l1,
    "accuracy": accuracy,
    "error": error,
    "top_k": top_k,
}
# These index the outputs by the target: an index out of range is a device-side assertion on a GPU, so it is looked
# for before.
CLASS_INDEX_METRICS = frozenset(
    {
        *("cross_entropy", "nll", "accuracy", "error", "top_k"),
        *("torch.nn.functional.cross_entropy", "torch.nn.functional.nll_loss"),
        *("torch.nn.CrossEntropyLoss", "torch.nn.NLLLoss"),
    }
)
# These take a single output as the logit of a binary classifier instead.
BINARY_METRICS = frozenset({"accuracy", "error"})
IGNORED_LABEL = -100  # what torch's own losses leave out by default


def _same_shape(name: str, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Give (B, 1) outputs and (B,) targets one shape: broadcasting would silently compare every pair of examples."""
    meaningful = [[size for size in tensor.shape if size != 1] for tensor in (outputs, targets)]
    if meaningful[0] != meaningful[1] or len(outputs) != len(targets):
        raise ValueError(
            f"{name}: outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must have the same shape"
        )
    return outputs.reshape(targets.shape), targets.to(outputs.dtype)


def _check_class_indices(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets that are no class indices of these outputs: comparing them would broadcast, silently."""
    expected = (*outputs.shape[:1], *outputs.shape[2:])
    if tuple(targets.shape) != expected or targets.is_floating_point():
        found = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise ValueError(f"{name}: targets are {found}; expected class indices of shape {expected}")


def _per_example(values: Tensor) -> Tensor:  # (B, …) -> (B,)
    values = values if values.is_floating_point() else values.to(torch.float64)
    return values.flatten(1).mean(dim=1) if values.ndim > 1 else values
