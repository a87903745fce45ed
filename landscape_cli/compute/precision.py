"""What `evaluation.precision` means: the type of weights and data, and the arithmetic on a device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch

Precision = Literal["float64", "float32", "tf32", "bfloat16"]

# of weights, directions and data; tf32 and bfloat16 round inside the kernels, from float32 weights each time
DTYPES: dict[Precision, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.float32,
}
# What engines may differ by at one point, relative. Measured: 4.5e-7 between float32 engines, 4e-3 with bfloat16.
ENGINE_RTOL: dict[Precision, float] = {"float64": 1e-9, "float32": 1e-5, "tf32": 1e-2, "bfloat16": 2e-2}
REDUCED: frozenset[Precision] = frozenset({"tf32", "bfloat16"})


@contextlib.contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in ``precision``, deterministically, and give the caller's settings back.

    float32 is true float32 on GPUs too, whose default for convolutions is TF32 (errors of 1e-3). tf32 is float32 where
    the device has no TF32. bfloat16 is autocast: matrix products and convolutions in bfloat16, sums in float32.
    """
    cudnn = torch.backends.cudnn
    restore = [
        *_set_tf32(allowed=precision == "tf32"),
        _set(cudnn, "deterministic", value=True),
        _set(cudnn, "benchmark", value=False),
    ]
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
            yield
    finally:
        for undo in restore:
            undo()


def _set_tf32(*, allowed: bool) -> list[Callable[[], None]]:
    """Set TF32 in that of torch's two interfaces which the caller has used: they do not mix. Returns the undos."""
    cudnn: Any = torch.backends.cudnn
    try:
        precision = torch.get_float32_matmul_precision()
        undo = _set(cudnn, "allow_tf32", value=allowed)
        torch.set_float32_matmul_precision("high" if allowed else "highest")
    except RuntimeError:  # torch 2.9 or later, and the caller has set fp32_precision
        owners = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
        return [_set(owner, "fp32_precision", value="tf32" if allowed else "ieee") for owner in owners]
    return [undo, partial(torch.set_float32_matmul_precision, precision)]


def _set(owner: object, name: str, *, value: object) -> Callable[[], None]:
    """Set an attribute; return what sets it back."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    return partial(setattr, owner, name, before)
