"""Which device to use, and what its failures mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from landscape_cli.errors import ConfigError, EvaluationError

OUT_OF_MEMORY = "Take fewer examples (data.<split>.num_examples), free the device, or --set runtime.device=cpu"


def choose_devices(
    name: str, where: str, devices: Literal["auto", "all"] | tuple[int, ...] = "auto"
) -> list[torch.device]:
    """The devices to use, from ``runtime.device`` and ``runtime.devices``. Does not start CUDA.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        where: ``file:line: key`` of the name, for messages.
        devices: Numbers of CUDA devices; ``"all"`` or ``"auto"`` for every one that is visible. A name with a number
            is one device.

    Raises:
        ConfigError: There is no such device here.
    """
    kind, _, index = name.partition(":")
    if name != "auto" and (kind not in ("cpu", "cuda") or (index and not index.isdigit())):
        raise ConfigError(f"{where}: found {name!r}; expected auto, cpu, cuda or cuda:0, cuda:1, …")
    # counts without starting CUDA, which could not be used in forked processes then
    count = 0 if kind == "cpu" else torch.cuda.device_count()
    if kind == "auto" and not count and devices == "auto":
        kind = "cpu"
    if kind == "cpu":
        return [torch.device("cpu")]
    wanted = [int(index)] if index else list(devices) if isinstance(devices, tuple) else list(range(max(count, 1)))
    missing = [number for number in wanted if number >= count]
    if missing:
        found = repr(name) if devices == "auto" else f"devices: {devices if devices == 'all' else list(devices)}"
        raise ConfigError(f"{where}: found {found}, but this machine has {count} CUDA devices; use device: auto or cpu")
    return [torch.device("cuda", number) for number in wanted]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the device or of the host, did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS)


# what the CPU allocator and the CUDA libraries say, which have no exception of their own
_OUT_OF_MEMORY_TEXTS = ("can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED", "out of memory")


@contextlib.contextmanager
def device_errors(what: str) -> Iterator[None]:
    """Turn what a device raises while doing ``what`` into an EvaluationError.

    Kernels run asynchronously: an error of one may only appear at the next transfer.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise EvaluationError(f"{what}: out of memory", hint=OUT_OF_MEMORY) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "For the exact place run it with CUDA_LAUNCH_BLOCKING=1, or with --set runtime.device=cpu"
        raise EvaluationError(f"{what}: the device failed: {reason}", hint=hint) from error


def settle(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device, unless its tensors live on several: then whoever made it wanted them there."""
    places = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    return model if len(places) > 1 else model.to(device)
