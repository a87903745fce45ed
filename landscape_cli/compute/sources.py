"""What directions reach for beyond the weights at hand: other checkpoints of the model, and the loss on the data."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from landscape_cli.compute.checkpoint import load_weights, sha256_of
from landscape_cli.compute.columns import Room
from landscape_cli.compute.data import Batches
from landscape_cli.compute.device import device_errors
from landscape_cli.compute.directions.context import Weights
from landscape_cli.compute.memory import budget, free_bytes, free_host_bytes
from landscape_cli.compute.metrics import PerExample
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.residency import place
from landscape_cli.compute.subspace import copy_to_cpu, parameters_of, statistics_of
from landscape_cli.config import CheckpointConfig, RuntimeConfig
from landscape_cli.errors import CheckpointError, ConfigError, DirectionError, did_you_mean


class ModelSources:
    """The sources of a model on the CPU, before anything moves its weights.

    Args:
        model: At θ*; it is copied.
        splits: Name → data.
        loss: Per example.
        device: Where gradients are computed.
        checkpoint: How the checkpoint of the scan was read; others are read the same way.
        unsafe_load: As for `load_weights`.
        moves_statistics: Whether BatchNorm statistics move along with the weights.
        files: Path → SHA-256 of the files that the identity of the scan names.
        runtime: How much memory the data and the checkpoints may take, and where the rest goes.
        note: Told what the user should know.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Mapping[str, Batches],
        loss: PerExample,
        device: torch.device,
        *,
        checkpoint: CheckpointConfig | None = None,
        unsafe_load: bool = False,
        moves_statistics: bool = False,
        files: Mapping[Path, str] | None = None,
        runtime: RuntimeConfig | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._model, self._splits, self._loss, self._device = model, splits, loss, device
        self._checkpoint, self._unsafe_load, self._note = checkpoint, unsafe_load, note
        self.moves_statistics = moves_statistics
        self.statistics = copy_to_cpu(statistics_of(model))
        self.state_names = tuple(name for name, each in model.state_dict().items() if isinstance(each, Tensor))
        self.parameter_names = tuple(name for name, _ in model.named_parameters())
        first: dict[int, str] = {}
        tensors = itertools.chain(
            model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
        )
        self.first_names: Mapping[str, str] = {name: first.setdefault(id(each), name) for name, each in tensors}
        self._noted: set[str] = set()
        self.files, self._runtime = files or {}, runtime or RuntimeConfig()
        self._skeleton: nn.Module | None = None
        self.kept: dict[object, object] = {}

    def release(self) -> None:
        """Give back the memory that only making directions took."""
        self._skeleton = None
        self.kept.clear()

    def room(self) -> Room:
        """Where many checkpoints can be put: in memory as far as the config allows, else on disk."""
        memory = self._runtime.memory.host
        return Room(budget(None if memory == "auto" else memory, free_host_bytes()), self._runtime.cache)

    def load(self, path: Path, key: str | None = None, prefix: str | None = None, where: str = "direction") -> Weights:
        """Another checkpoint of the same model, read like that of the scan.

        Raises:
            CheckpointError: It cannot be read, does not fit the model, or holds NaN.
        """
        if self._skeleton is None:
            self._skeleton = copy.deepcopy(self._model)
        own = self._checkpoint
        config = CheckpointConfig(
            path=path,
            key=key if key is not None or own is None else own.key,
            prefix=prefix if prefix is not None or own is None else own.prefix,
        )
        loaded = load_weights(self._skeleton, config, where=where, unsafe=self._unsafe_load, is_other=True)
        if self.files.get(path, loaded.sha256) != loaded.sha256:
            raise CheckpointError(f"{path}: was replaced while the scan began", hint="Run the same command again.")
        return Weights(copy_to_cpu(parameters_of(self._skeleton)), copy_to_cpu(statistics_of(self._skeleton)))

    def objective(self, names: tuple[str, ...], split: str | None, num_examples: int | None) -> Objective:
        """The mean loss on a split as a function of some parameters.

        Raises:
            ConfigError: There is no such split.
        """
        name = split_or_default(split, self._splits, "split")
        dtype = next(iter(parameters_of(self._model).values())).dtype
        with device_errors("moving the data to the device"):
            memory = self._runtime.memory.device
            limit = budget(None if memory == "auto" else memory, free_bytes(self._device))
            placed = place(self._splits[name], self._device, dtype, limit)
        return Objective(self._model, self._loss, placed, names=names, num_examples=num_examples)

    def note(self, message: str) -> None:
        """Tell the user something, once: a direction is drawn for every slice."""
        if message not in self._noted:
            self._noted.add(message)
            self._note(message)


def split_or_default(split: str | None, splits: Mapping[str, object], where: str) -> str:
    """A split by name; train, or the first one, where none is named.

    Raises:
        ConfigError: There is no such split.
    """
    if split is None:
        return "train" if "train" in splits else next(iter(splits))
    if split not in splits:
        raise ConfigError(f"{where}: found {split!r}{did_you_mean(split, splits)}")
    return split


def sha256_of_input(path: Path) -> str:
    """SHA-256 of the content of a file that a direction needs.

    Raises:
        DirectionError: It cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise DirectionError(f"{path}: {what}", hint="Paths are relative to the working directory.") from error
