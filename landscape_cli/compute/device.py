"""Which device to use, and what its failures mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from landscape_cli.errors import ConfigError, EvaluationError

OUT_OF_MEMORY = "Set a smaller data.<split>.batch_size or num_examples, or --set runtime.device=cpu"


def choose_device(name: str, where: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device that exists.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ConfigError(f"{where}: found {name!r}; expected auto, cpu, cuda or cuda:0, cuda:1, …")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise ConfigError(
            f"{where}: found {name!r}, but this machine has {count} CUDA devices; use device: auto or cpu"
        )
    return torch.device("cuda", int(index or torch.cuda.current_device()))


@contextlib.contextmanager
def device_errors(what: str) -> Iterator[None]:
    """Turn what a device raises while doing ``what`` into an EvaluationError.

    Kernels run asynchronously: an error of one may only appear at the next transfer.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EvaluationError(f"{what}: out of memory on the device", hint=OUT_OF_MEMORY) from error
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "For the exact place run it with CUDA_LAUNCH_BLOCKING=1, or with --set runtime.device=cpu"
        raise EvaluationError(f"{what}: the device failed: {reason}", hint=hint) from error
