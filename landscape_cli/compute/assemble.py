"""Putting a problem together, from a config or a model in hand, with the identity that its fingerprint hashes."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from landscape_cli.axes import DirectionConfig
from landscape_cli.beside import RadiusConfig
from landscape_cli.components import NAME_PATTERN
from landscape_cli.compute.checkpoint import Loaded, load_weights
from landscape_cli.compute.curvature.table import CURVATURE, expanded
from landscape_cli.compute.data import Batches, tensor_bytes
from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.directions.drawing import AxisDirection, DirectionFunction, Drawing
from landscape_cli.compute.directions.files import from_file, num_saved_slices
from landscape_cli.compute.directions.table import COMPUTED, DIRECTIONS, FILES, files_of
from landscape_cli.compute.instantiate import Target, bind, check, instantiate
from landscape_cli.compute.metrics import CLASS_INDEX_METRICS, METRICS, PerExample
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.precision import DTYPES
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.sources import ModelSources, sha256_of_input, split_or_default
from landscape_cli.compute.splits import Decoder, Progress, SharedData, unseen
from landscape_cli.compute.subspace import Params, copy_to_cpu, parameters_of, statistics_of
from landscape_cli.config import Config, Settings
from landscape_cli.errors import ConfigError, EvaluationError, did_you_mean, located
from landscape_cli.grid import Grid
from landscape_cli.share import ALONE, Share


@dataclass(frozen=True)
class Surroundings:
    """What making a problem needs besides its config.

    Attributes:
        device: Where the gradients that directions need are computed.
        unsafe_load: As for `load_weights`.
        note: Told what the user should know.
        progress: Told the split and how many of how many of its examples are decoded.
        saved: File with the directions of the scan that is resumed: those that take gradients are read from it, because
            another machine would round them otherwise.
        share: Which process this is; those on one machine share its memory.
    """

    device: torch.device
    unsafe_load: bool = False
    note: Callable[[str], None] = lambda _: None
    progress: Progress = unseen
    saved: Path | None = None
    share: Share = ALONE


# ---------------------------------------------------------------- from a config


def problem_from_config(config: Config, surroundings: Surroundings, shared: SharedData | None = None) -> Problem:
    """Build the model, load the checkpoint and decode the data.

    Args:
        config: What to measure.
        surroundings: What else is needed.
        shared: The data, where they have been decoded before.

    Raises:
        ConfigError: A target or its arguments are wrong; all such problems are reported together.
        CheckpointError: See `landscape_cli.compute.checkpoint.load_weights`.
    """
    problems = check_components(config)
    if problems:
        raise ConfigError(problems)
    model = build_model(config)
    where = config.where("checkpoint")
    loaded = load_weights(model, config.checkpoint, where=where, unsafe=surroundings.unsafe_load)
    shared = shared or SharedData()
    if shared.batches is None:
        decoder = Decoder(config.runtime, surroundings.progress, surroundings.share)
        shared.batches = {name: decoder.decode_split(config, name) for name in config.data}
    return assemble_problem(config, model, loaded, shared.batches, surroundings)


def assemble_problem(
    config: Config, model: nn.Module, loaded: Loaded, batches: Mapping[str, Batches], surroundings: Surroundings
) -> Problem:
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
    return _assemble(model, batches, bind_metrics(config, {}), config, identity, loaded, {}, surroundings)


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
    for name, measure in expanded(config.curvature.measures).items() if config.curvature else ():
        problems += check(measure, partial(config.where, "curvature", "measures", name), CURVATURE, num_positional=1)
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
    surroundings: Surroundings,
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> Problem:
    """Measure a model in hand; it is copied, so the caller's stays as it is.

    Args:
        model: A trained module.
        datasets: Split name → map-style dataset.
        settings: What to measure; its targets may be names in ``own``.
        own: Functions of the caller by name.
        surroundings: What else is needed.
        batch_size: Examples per forward pass.
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
    decoder = Decoder(settings.runtime, surroundings.progress)
    batches = {name: decoder.decode(name, dataset, f"data[{name!r}]", batch_size) for name, dataset in datasets.items()}
    _refuse_complex(copied)
    copied = copied.to(DTYPES[settings.evaluation.precision])
    return _assemble(copied, batches, bind_metrics(settings, own), settings, identity, None, own, surroundings)


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
    surroundings: Surroundings,
) -> Problem:
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
    files = _name_by_content(identity, settings)
    model = model.eval().requires_grad_(requires_grad=False)
    batchnorm, recalibration = settings.evaluation.batchnorm, settings.evaluation.recalibration
    sources = ModelSources(
        model,
        batches,
        metrics["loss"],
        surroundings.device,
        checkpoint=settings.checkpoint if isinstance(settings, Config) else None,
        unsafe_load=surroundings.unsafe_load,
        moves_statistics=batchnorm == "interpolate",
        files=files,
        runtime=settings.runtime,
        note=surroundings.note,
    )
    where_split = settings.where("evaluation", "recalibration", "split")
    recalibrated = split_or_default(recalibration.split, batches, where_split)
    problem = Problem(
        model=model,
        splits=batches,
        metrics=metrics,
        grid=settings.grid(),
        drawing=Drawing(
            copy_to_cpu(parameters_of(model)),
            layout_of(model),
            settings.slices.seed,
            [
                _axis_direction(settings, name, axis.direction, own, surroundings)
                for name, axis in settings.axes.items()
            ],
            sources,
        ),
        precision=settings.evaluation.precision,
        identity=identity,
        class_index_metrics={
            name: component.target
            for name, component in {"loss": settings.loss, **settings.metrics}.items()
            if component.target in CLASS_INDEX_METRICS
        },
        loaded=loaded,
        recalibration=(recalibrated, recalibration.num_examples)
        if batchnorm == "recalibrate" and statistics_of(model)
        else None,
        sources=sources,
    )
    return problem if settings.radius is None else replace(problem, radius=_on_line(problem, settings, settings.radius))


def _on_line(problem: Problem, settings: Settings, section: RadiusConfig) -> Problem:
    """The same model and data on the line of the section radius: what a scan with this axis would measure."""
    axis, where = section.axes().x, partial(settings.where, "radius")
    seed = settings.slices.seed if section.seed is None else section.seed
    function = cast(DirectionFunction, bind(axis.direction, where, DIRECTIONS, num_positional=1))
    direction = AxisDirection("x", function, where(), axis.direction)
    num_parts = section.num_parts(settings.evaluation.batchnorm)
    slices: dict[str, JsonValue] = {"num": section.slices, "seed": seed}
    drawing = Drawing(problem.drawing.params, layout_of(problem.model), seed, [direction], problem.sources)
    if num_parts > 1:
        slices["parts"] = num_parts
        drawing.found["x"]["parts"] = num_parts
    axes: dict[str, JsonValue] = {"x": axis.model_dump(mode="json", by_alias=True)}
    return replace(
        problem,
        grid=Grid((axis.axis("x"),), section.slices),
        drawing=drawing,
        num_parts=num_parts,
        identity={**problem.identity, "axes": axes, "slices": slices},
    )


def _axis_direction(
    settings: Settings, name: str, config: DirectionConfig, own: Mapping[str, Target], surroundings: Surroundings
) -> AxisDirection:
    where = partial(settings.where, "axes", name, "direction")
    function = cast(DirectionFunction, bind(config, where, {**DIRECTIONS, **own}, num_positional=1))
    drawn = AxisDirection(name, function, where(), config)
    if surroundings.saved is None or config.target not in COMPUTED:
        return drawn
    again = partial(_from_saved, path=surroundings.saved, name=name, is_fixed=not config.orthogonal)
    # as target file: made orthogonal to other axes, it is another one in every slice
    saved = AxisDirection(name, again, where(), config.model_copy(update={"target": "file", "orthogonal": False}))
    num_saved = num_saved_slices(surroundings.saved)
    if not config.orthogonal or num_saved >= settings.slices.num:
        return saved
    return replace(drawn, saved=saved, num_saved=num_saved)


def _from_saved(context: Context, *, path: Path, name: str, is_fixed: bool) -> Params:
    """A direction that the scan has saved; one that is the same in every slice also in those that were added since."""
    return from_file(replace(context, slice_index=0) if is_fixed else context, path=str(path), name=name)


def _name_by_content(identity: dict[str, JsonValue], settings: Settings) -> dict[Path, str]:
    """In an identity, put the SHA-256 of the files that built-in directions read in place of their paths.

    Returns:
        Path → SHA-256.
    """
    found: dict[Path, str] = {}
    axes: dict[str, JsonValue] = {}
    for name, axis in settings.axes.items():
        plain = axis.model_dump(mode="json", by_alias=True)
        argument = FILES.get(axis.direction.target)
        if argument in axis.direction.kwargs:
            with located(settings.where("axes", name, "direction", argument)):
                paths = files_of(axis.direction)
                found |= {path: sha256_of_input(path) for path in paths if path not in found}
            plain["direction"] = {**plain["direction"], argument: [found[path] for path in paths]}
        axes[name] = plain
    identity["axes"] = axes
    return found
