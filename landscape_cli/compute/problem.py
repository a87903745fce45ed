"""What a scan measures: model, splits, metrics, directions, and the identity that its fingerprint is the hash of."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from landscape_cli.compute.checkpoint import Loaded, load_weights
from landscape_cli.compute.data import Batches, Decoding, load_batches, tensor_bytes
from landscape_cli.compute.directions import DIRECTIONS, Context, check_direction
from landscape_cli.compute.instantiate import Target, bind, check, instantiate
from landscape_cli.compute.memory import budget, free_host_bytes
from landscape_cli.compute.metrics import CLASS_INDEX_METRICS, METRICS, PerExample
from landscape_cli.compute.network import Metrics
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.precision import DTYPES, Precision
from landscape_cli.compute.subspace import Params, norm, parameters_of
from landscape_cli.config import NAME_PATTERN, Config, RuntimeConfig, Settings
from landscape_cli.errors import ConfigError, EvaluationError, did_you_mean
from landscape_cli.grid import Grid

DirectionFunction = Callable[..., Params]
# Directions are drawn again when the scan comes back to a slice, unless they fit in here.
_DIRECTION_CACHE_BYTES = 1 << 30


@dataclass
class Problem:
    """A model, data and directions on the host; a `Worker` measures it on a device.

    Attributes:
        model: In eval mode, in the type of the configured precision; its parameters will be overwritten.
        splits: Name → data.
        metrics: Per-example functions by name, the loss first.
        grid: The points.
        context: θ* and the seed; the direction functions get it for each slice and axis.
        directions: Axis name → direction function.
        where: Axis name → ``file:line: key``, for messages.
        precision: Of the arithmetic.
        identity: Everything that decides the numbers.
        class_index_metrics: Name → target of the metrics that use a label as an index.
        loaded: How the checkpoint fitted; None for a model that came with its weights.
    """

    model: nn.Module
    splits: Mapping[str, Batches]
    metrics: Metrics
    grid: Grid
    context: Context
    directions: Mapping[str, DirectionFunction]
    where: Mapping[str, str]
    precision: Precision
    identity: dict[str, JsonValue]
    class_index_metrics: dict[str, str]
    loaded: Loaded | None = None
    _drawn: dict[int, tuple[Params, ...]] = field(default_factory=dict)

    def draw(self, slice_index: int) -> tuple[Params, ...]:
        """The direction of every axis in one slice, on the CPU."""
        if slice_index not in self._drawn:
            size = sum(tensor.nbytes for tensor in self.context.params.values()) * len(self.grid.axes)
            if size * (len(self._drawn) + 1) > _DIRECTION_CACHE_BYTES:
                self._drawn.clear()
            self._drawn[slice_index] = tuple(self._draw(axis.name, slice_index) for axis in self.grid.axes)
        return self._drawn[slice_index]

    @property
    def has_batchnorm(self) -> bool:
        """Whether any layer has running statistics, which the points share with the checkpoint."""
        return any("running_mean" in name for name, _ in self.model.named_buffers())

    def norms(self) -> dict[str, tuple[float, ...]]:
        """Axis name → Euclidean length of the direction in each slice."""
        norms: dict[str, list[float]] = {axis.name: [] for axis in self.grid.axes}
        for slice_index in range(self.grid.num_slices):
            for name, direction in zip(norms, self.draw(slice_index), strict=True):
                norms[name].append(norm(direction))
        return {name: tuple(lengths) for name, lengths in norms.items()}

    def _draw(self, axis: str, slice_index: int) -> Params:
        # its own copy: a direction that works in place must not change θ*
        params = {name: tensor.clone() for name, tensor in self.context.params.items()}
        context = Context(params, self.context.layout, self.context.seed, slice_index, axis)
        where = self.where[axis]
        try:
            direction = self.directions[axis](context)
        except Exception as error:  # the user's direction may raise anything
            raise ConfigError(f"{where}: the direction raised {type(error).__name__}: {error}") from error
        return check_direction(direction, context, where)

    def check_directions_repeat(self) -> None:
        """Draw the first slice twice: it may be drawn again at any time, here and when the scan is resumed.

        Raises:
            ConfigError: A direction differs from one call to the next.
        """
        for axis in self.grid.axes:
            first, second = (self._draw(axis.name, 0) for _ in range(2))
            if not all(torch.equal(first[name], second[name]) for name in first):
                raise ConfigError(
                    f"{self.where[axis.name]}: the direction differs from one call to the next",
                    hint="Draw from a generator seeded with context.seed, context.slice_index and context.axis.",
                )


# ---------------------------------------------------------------- data


Progress = Callable[[str, int, int], None]


def _unseen(split: str, num_done: int, num_examples: int) -> None:
    """Nobody watches the decoding."""


class Decoder:
    """Decodes splits one after another within one budget of main memory."""

    def __init__(self, runtime: RuntimeConfig, progress: Progress = _unseen) -> None:
        if runtime.cache is not None and not runtime.cache.is_dir():
            raise ConfigError(f"runtime.cache: {runtime.cache} is no folder", hint="Make it, or leave the key out.")
        self._runtime, self._progress = runtime, progress
        self._left = budget(None if runtime.memory.host == "auto" else runtime.memory.host, free_host_bytes())

    def decode_split(self, config: Config, split: str) -> Batches:
        """Build and decode the dataset of one split."""
        section = config.data[split]
        where = partial(config.where, "data", split, "dataset")
        dataset = instantiate(section.dataset, where)
        return self.decode(
            split, dataset, where(), section.batch_size, num_examples=section.num_examples, seed=section.seed
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
    ) -> Batches:
        """Decode a dataset, in memory as long as the budget lasts; arguments as for `load_batches`."""
        batches = load_batches(
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
        if self._left is not None and batches.where_held == "memory":
            self._left = max(0, self._left - batches.nbytes_held)
        return batches


# ---------------------------------------------------------------- from a config


def problem_from_config(config: Config, *, unsafe_load: bool = False, progress: Progress = _unseen) -> Problem:
    """Build the model, load the checkpoint and decode the data.

    Args:
        config: What to measure.
        unsafe_load: As for `load_weights`.
        progress: Told the split and how many of how many of its examples are decoded.

    Raises:
        ConfigError: A target or its arguments are wrong; all such problems are reported together.
        CheckpointError: See `landscape_cli.compute.checkpoint.load_weights`.
    """
    problems = check_components(config)
    if problems:
        raise ConfigError(problems)
    model = build_model(config)
    loaded = load_weights(model, config.checkpoint, where=config.where("checkpoint"), unsafe=unsafe_load)
    decoder = Decoder(config.runtime, progress)
    return assemble_problem(config, model, loaded, {name: decoder.decode_split(config, name) for name in config.data})


def assemble_problem(config: Config, model: nn.Module, loaded: Loaded, batches: Mapping[str, Batches]) -> Problem:
    """Put together what has been built from a config; takes over the model."""
    identity: dict[str, JsonValue] = {
        "model": config.model.model_dump(mode="json"),
        "checkpoint": {
            "sha256": loaded.sha256,
            "key": config.checkpoint.key,
            "prefix": config.checkpoint.prefix,
            "strict": config.checkpoint.strict,
        },
    }
    return _assemble(model, batches, bind_metrics(config, {}), config, identity, loaded, {})


def check_components(config: Config) -> list[str]:
    """Locate every target of a config and bind its arguments without calling anything; return every problem."""
    problems = check(config.model, partial(config.where, "model"))
    for name, split in config.data.items():
        problems += check(split.dataset, partial(config.where, "data", name, "dataset"))
    problems += check(config.loss, partial(config.where, "loss"), METRICS, num_positional=2)
    for name, metric in config.metrics.items():
        problems += check(metric, partial(config.where, "metrics", name), METRICS, num_positional=2)
    for name, axis in config.axes.items():
        where = partial(config.where, "axes", name, "direction")
        problems += check(axis.direction, where, DIRECTIONS, num_positional=1)
    return problems + _check_expected_names(config)


def _check_expected_names(config: Config) -> list[str]:
    names = [f"{split}_{metric}" for split in config.data for metric in ("loss", *config.metrics)]
    expected = config.checkpoint.expect.values if config.checkpoint.expect else {}
    return [
        f"{config.where('checkpoint', 'expect', name)}: no such metric{did_you_mean(name, [*names, 'tolerance'])}"
        for name in expected
        if name not in names
    ]


def build_model(config: Config) -> nn.Module:
    """Call the target of ``model``; its initial weights do not touch the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # what the checkpoint does not set is the same in every run
        model = instantiate(config.model, partial(config.where, "model"))
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"{config.where('model')}: {config.model.target}(…) is a {type(model).__name__}; expected a torch.nn.Module"
        )
    _refuse_complex(model)
    # before the weights are loaded: a float64 checkpoint must not pass through float32
    return model.to(DTYPES[config.evaluation.precision])


def _refuse_complex(model: nn.Module) -> None:
    found = [name for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor) and tensor.is_complex()]
    if found:
        raise EvaluationError(f"the model has complex tensors, which cannot be scanned: {', '.join(found[:5])}")


def bind_metrics(settings: Settings, own: Mapping[str, Target]) -> dict[str, PerExample]:
    """The loss and the metrics as functions of (outputs, targets), by name."""
    components = {"loss": (settings.loss, partial(settings.where, "loss"))}
    components |= {
        name: (metric, partial(settings.where, "metrics", name)) for name, metric in settings.metrics.items()
    }
    return {
        name: cast(PerExample, bind(component, where, {**METRICS, **own}, num_positional=2))
        for name, (component, where) in components.items()
    }


# ---------------------------------------------------------------- from a model in hand


def problem_from_model(
    model: nn.Module,
    datasets: Mapping[str, object],
    settings: Settings,
    own: Mapping[str, Target],
    *,
    batch_size: int | Literal["auto"] = "auto",
    progress: Progress = _unseen,
) -> Problem:
    """Measure a model in hand; it is copied, so the caller's stays as it is.

    Args:
        model: A trained module.
        datasets: Split name → map-style dataset.
        settings: What to measure; its targets may be names in ``own``.
        own: Functions of the caller by name.
        batch_size: Examples per forward pass.
        progress: As for `problem_from_config`.
    """
    if not isinstance(datasets, Mapping):
        raise ConfigError(f"data: found a {type(datasets).__name__}; expected a mapping such as {{'test': dataset}}")
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # deepcopy raises whatever the model's attributes raise
        raise EvaluationError(
            f"the model cannot be copied: {type(error).__name__}: {error}",
            hint="A scan works on a copy. Save a checkpoint and use scan(), or remove what cannot be copied.",
        ) from error
    identity: dict[str, JsonValue] = {
        "model": {"_target_": f"{type(model).__module__}.{type(model).__qualname__}"},
        "checkpoint": {"weights_sha256": _weights_sha256(copied)},
    }
    if batch_size != "auto" and batch_size < 1:
        raise ConfigError(f"batch_size: found {batch_size}; expected auto or at least 1")
    wrong = [name for name in datasets if not re.fullmatch(NAME_PATTERN, str(name))]
    if wrong or not datasets:
        found = ", ".join(map(repr, wrong)) or "no split"
        raise ConfigError(f"data: found {found}; expected names such as in {{'train': dataset}}")
    decoder = Decoder(settings.runtime, progress)
    batches = {name: decoder.decode(name, dataset, f"data[{name!r}]", batch_size) for name, dataset in datasets.items()}
    _refuse_complex(copied)
    copied = copied.to(DTYPES[settings.evaluation.precision])
    return _assemble(copied, batches, bind_metrics(settings, own), settings, identity, None, own)


def _weights_sha256(model: nn.Module) -> str:
    digest = hashlib.sha256()
    tensors = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor).numpy().data)
    return digest.hexdigest()


# ---------------------------------------------------------------- both


def _assemble(
    model: nn.Module,
    batches: Mapping[str, Batches],
    metrics: dict[str, PerExample],
    settings: Settings,
    identity: dict[str, JsonValue],
    loaded: Loaded | None,
    own: Mapping[str, Target],
) -> Problem:
    context = Context(_copy_to_cpu(parameters_of(model)), layout_of(model), settings.slices.seed, 0, "x")
    where = {name: partial(settings.where, "axes", name, "direction") for name, _ in settings.axes.items()}
    resolved = settings.resolved()
    identity |= {key: resolved[key] for key in ("loss", "metrics", "axes", "slices", "evaluation")}
    names = [f"{split}_{metric}{end}" for split in batches for metric in metrics for end in ("", "_std")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{settings.where('metrics')}: two pairs of split and metric share a name: {', '.join(twice)}"
        )
    identity["data"] = {
        name: {"fingerprint": split.fingerprint, "num_examples": len(split)} for name, split in batches.items()
    }
    problem = Problem(
        model=model.eval().requires_grad_(requires_grad=False),
        splits=batches,
        metrics=metrics,
        grid=settings.grid(),
        context=context,
        directions={
            name: cast(DirectionFunction, bind(axis.direction, where[name], {**DIRECTIONS, **own}, num_positional=1))
            for name, axis in settings.axes.items()
        },
        where={name: locate() for name, locate in where.items()},
        precision=settings.evaluation.precision,
        identity=identity,
        class_index_metrics={
            name: component.target
            for name, component in {"loss": settings.loss, **settings.metrics}.items()
            if component.target in CLASS_INDEX_METRICS
        },
        loaded=loaded,
    )
    if any(axis.direction.target not in DIRECTIONS for _, axis in settings.axes.items()):
        problem.check_directions_repeat()
    return problem


def _copy_to_cpu(params: Params) -> Params:
    return {name: tensor.to("cpu", copy=True) for name, tensor in params.items()}
