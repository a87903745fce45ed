"""The splits of a config, decoded one after another within one budget of main memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from landscape_cli.compute.data import Batches, Decoding, expected_nbytes, load_batches
from landscape_cli.compute.instantiate import instantiate
from landscape_cli.compute.memory import budget, free_host_bytes
from landscape_cli.compute.once_per_node import decode_once_per_node
from landscape_cli.config import Config, RuntimeConfig
from landscape_cli.errors import ConfigError
from landscape_cli.share import ALONE, Share

Progress = Callable[[str, int, int], None]


def unseen(split: str, num_done: int, num_examples: int) -> None:
    """Nobody watches the decoding."""


class Decoder:
    """Decodes splits one after another within one budget of main memory, which the processes of a machine divide."""

    def __init__(self, runtime: RuntimeConfig, progress: Progress = unseen, share: Share = ALONE) -> None:
        if runtime.cache is not None and not runtime.cache.is_dir():
            raise ConfigError(f"runtime.cache: {runtime.cache} is no folder", hint="Make it, or leave the key out.")
        self._runtime, self._progress, self._share = runtime, progress, share
        left = budget(None if runtime.memory.host == "auto" else runtime.memory.host, free_host_bytes())
        self._left = None if left is None else left // share.local_world_size

    def decode_split(self, config: Config, split: str) -> Batches:
        """Build and decode the dataset of one split."""
        section = config.data[split]
        where = partial(config.where, "data", split, "dataset")
        dataset = instantiate(section.dataset, where)
        return self.decode(
            split,
            dataset,
            where(),
            section.batch_size,
            num_examples=section.num_examples,
            seed=section.seed,
            recipe=section.model_dump_json(),
        )

    def decode(
        self,
        split: str,
        dataset: object,
        where: str,
        batch_size: int | Literal["auto"],
        *,
        num_examples: int | None = None,
        seed: int = 0,
        recipe: str = "",
    ) -> Batches:
        """Decode a dataset, in memory as long as the budget lasts.

        Arguments as for `load_batches`; ``recipe`` is what makes the dataset, the same for all processes.
        """
        load = partial(
            load_batches,
            dataset,
            where=where,
            batch_size=None if batch_size == "auto" else batch_size,
            num_examples=num_examples,
            seed=seed,
            decoding=Decoding(
                workers=None if self._runtime.workers == "auto" else self._runtime.workers,
                host_memory=self._left,
                cache=self._runtime.cache,
                progress=partial(self._progress, split),
            ),
        )
        is_large = self._left is not None and expected_nbytes(dataset, num_examples) > self._left
        if self._share.local_world_size > 1 and is_large:
            batches = decode_once_per_node(load, self._share, self._runtime.cache, split, recipe)
        else:
            batches = load()
        if self._left is not None and batches.where_held == "memory":
            self._left = max(0, self._left - batches.nbytes_held)
        return batches


@dataclass
class SharedData:
    """Decoded data that scans of different checkpoints use, one after another.

    Attributes:
        batches: Split name → data, from the first scan on.
    """

    batches: Mapping[str, Batches] | None = None
