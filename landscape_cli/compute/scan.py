"""The loop: resume → evaluate → fill → save."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue, ValidationError
from torch import nn

from landscape_cli.compute.evaluate import Values, check_labels, check_repeats, never
from landscape_cli.compute.problem import Problem, problem_from_config, problem_from_model
from landscape_cli.compute.provenance import describe_device, environment
from landscape_cli.config import Config, Expect, Settings, differing_keys, fingerprint
from landscape_cli.errors import CheckpointError, ConfigError, EvaluationError, ResumeMismatchError
from landscape_cli.storage import check_overwritable, exclusive, load_surface, remove_leftovers, save_surface, timestamp
from landscape_cli.surface import Direction, Provenance, Surface

# Between machines the centre differs by rounding (at most 4e-7 measured); more means that the model's code has changed.
_RESUME_RTOL = 1e-5
# A save takes about 10 ms, 1 % of the default cadence of 1 s. Where it takes over 200 ms (a very large surface, a slow
# disk), it is done less often, so that saving never takes more than a sixth of the time.
_MIN_SECONDS_PER_SAVE_SECOND = 5.0


@dataclass(frozen=True)
class Preflight:
    """What is known before the first point.

    Attributes:
        centre: Metric → value at the checkpoint and its standard error.
        num_examples: Split → n.
        num_parameters: Of the model, tied tensors counted once.
        checkpoint: What was matched and repaired; empty for a model in hand.
        num_points, num_pending: Points of the grid, and how many of them are still to be evaluated.
        seconds_per_point: Measured at the centre.
        repeat_difference: Largest relative difference between two evaluations of the centre; 0 on a CPU.
    """

    centre: Mapping[str, tuple[float, float]]
    num_examples: Mapping[str, int]
    num_parameters: int
    checkpoint: Sequence[str]
    device: str
    precision: str
    num_points: int
    num_pending: int
    seconds_per_point: float
    repeat_difference: float


class Observer(Protocol):
    """Whoever wants to see a scan work."""

    def note(self, message: str) -> None:
        """Hear something worth telling."""

    def preflight(self, preflight: Preflight) -> None:
        """See what is about to be scanned."""

    def progress(self, num_evaluated: int) -> None:
        """See that another point is done; ``num_evaluated`` counts those of earlier runs too."""


class Silent:
    """An observer that looks away."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def preflight(self, preflight: Preflight) -> None:
        """Do nothing."""

    def progress(self, num_evaluated: int) -> None:
        """Do nothing."""


def scan(
    config: Config,
    output: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    unsafe_load: bool = False,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
) -> Surface:
    """Evaluate the surface that a config describes, and keep the file ``output`` up to date while doing so.

    Run again, it computes the missing points only. The finished file is the same, bit for bit, whether or not it was
    interrupted.

    Args:
        config: From `landscape_cli.load_config`.
        output: Surface file to fill; None keeps the surface in memory.
        overwrite: Start anew instead of resuming; an existing surface file is replaced at the first save.
        unsafe_load: Unpickle a checkpoint that is not a plain archive of tensors, which runs whatever code it contains.
        observer: Is told what happens.
        should_stop: Asked between batches; once true, what is finished is saved and returned.

    Returns:
        The surface; ``surface.complete`` is False when it was stopped.

    Raises:
        LandscapeError: See `landscape_cli.errors`; an existing file is never damaged.
    """
    return _scan(
        lambda: problem_from_config(config, unsafe_load=unsafe_load),
        config,
        Path(output) if output is not None else None,
        expect=config.checkpoint.expect,
        overwrite=overwrite,
        observer=observer or Silent(),
        should_stop=should_stop,
    )


def scan_model(
    model: nn.Module,
    data: Mapping[str, object],
    *,
    axes: Mapping[str, object],
    loss: object = "cross_entropy",
    metrics: object = (),
    slices: object = None,
    evaluation: object = None,
    runtime: object = None,
    batch_size: int = 256,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
) -> Surface:
    """Evaluate the surface around a model in hand. The model is copied and comes back bit for bit as it was.

    Args:
        model: A trained module.
        data: Split name → map-style dataset of (input, target).
        axes: As in the YAML, such as ``{"x": {"num": 21}, "y": {"num": 21}}``.
        loss: As in the YAML.
        metrics: As in the YAML: a list or a mapping.
        slices: As in the YAML, such as ``{"num": 5}``.
        evaluation: As in the YAML, such as ``{"precision": "float64"}``.
        runtime: As in the YAML.
        batch_size: Examples per forward pass.
        output: As for `scan`.
        overwrite: As for `scan`.
        observer: As for `scan`.
        should_stop: As for `scan`.

    Returns:
        The surface, as `scan`.

    Raises:
        LandscapeError: As `scan`.
    """
    sections = {
        "axes": axes,
        "loss": loss,
        "metrics": list(metrics) if isinstance(metrics, tuple) else metrics,
        "slices": slices or {},
        "evaluation": evaluation or {},
        "runtime": runtime or {},
    }
    try:
        settings = Settings.model_validate(sections)
    except ValidationError as error:
        raise ConfigError([f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]) from error
    return _scan(
        lambda: problem_from_model(model, data, settings, batch_size=batch_size),
        settings,
        Path(output) if output is not None else None,
        expect=None,
        overwrite=overwrite,
        observer=observer or Silent(),
        should_stop=should_stop,
    )


def _scan(
    make_problem: Callable[[], Problem],
    settings: Settings,
    output: Path | None,
    *,
    expect: Expect | None,
    overwrite: bool,
    observer: Observer,
    should_stop: Callable[[], bool],
) -> Surface:
    with exclusive(output) if output else nullcontext():
        existing = _existing(output, overwrite=overwrite)
        problem = make_problem()
        surface = _fresh_surface(problem, settings)
        if existing is not None:
            _check_identity(existing, surface)
        centre, seconds, difference = check_centre(problem, settings, expect)
        surface = _with_centre(surface, centre) if existing is None else _resume(existing, surface, centre, observer)
        observer.preflight(_preflight(problem, surface, seconds, difference, settings.evaluation.precision))
        _fill(surface, problem, _Saver(surface, output, settings.runtime.save_every), observer, should_stop)
        return surface


# ---------------------------------------------------------------- resume


def _existing(output: Path | None, *, overwrite: bool) -> Surface | None:
    if output is None or not output.exists():
        return None
    if overwrite:
        check_overwritable(output)
        return None
    return load_surface(output)


def _fresh_surface(problem: Problem, settings: Settings) -> Surface:
    names = [(split, metric) for split in problem.splits for metric in problem.metrics]
    axes = settings.resolved()["axes"]
    assert isinstance(axes, dict)
    norms = problem.norms()
    return Surface.empty(
        problem.grid,
        centre={f"{split}_{metric}": (math.nan, math.nan) for split, metric in names},
        num_examples={f"{split}_{metric}": len(problem.splits[split]) for split, metric in names},
        directions={name: Direction(_recipe(axes[name]), lengths) for name, lengths in norms.items()},
        fingerprint=fingerprint(problem.identity),
        provenance=Provenance(settings.text, settings.resolved(), problem.identity, [environment(problem.device)]),
        created=timestamp(),
    )


def _recipe(axis: JsonValue) -> Mapping[str, JsonValue]:
    assert isinstance(axis, dict)
    recipe = axis["direction"]
    assert isinstance(recipe, dict)
    return recipe


def _with_centre(surface: Surface, centre: Values) -> Surface:
    metrics = {
        name: replace(metric, centre=centre[name][0], centre_std=centre[name][1])
        for name, metric in surface.metrics.items()
    }
    return replace(surface, metrics=metrics)


def _check_identity(existing: Surface, wanted: Surface) -> None:
    if existing.fingerprint == wanted.fingerprint:
        return
    differences = differing_keys(dict(existing.provenance.identity), dict(wanted.provenance.identity))
    raise ResumeMismatchError(
        "the output file was made by another config, checkpoint or data (file → now):\n"
        + "\n".join(f"  {line}" for line in differences),
        hint="Choose another output with -o, or start anew with --overwrite.",
    )


def _resume(existing: Surface, wanted: Surface, centre: Values, observer: Observer) -> Surface:
    """Continue ``existing``, provided that the model still gives the centre values in it."""
    for name, metric in existing.metrics.items():
        mean, _ = centre[name]
        if not math.isclose(mean, metric.centre, rel_tol=_RESUME_RTOL, abs_tol=1e-12):
            raise ResumeMismatchError(
                f"{name} at the checkpoint is now {mean!r}, in the file {metric.centre!r}: "
                "the code of the model or of a metric has changed",
                hint="Choose another output with -o, or start anew with --overwrite.",
            )
        if mean != metric.centre:
            observer.note(
                f"{name} at the checkpoint differs by rounding from the file, which another machine may have made"
            )
    here = wanted.provenance.environment
    seen = list(existing.provenance.environment)
    environments = seen + [item for item in here if item not in seen]
    existing.provenance = replace(existing.provenance, environment=environments)
    return existing


# ---------------------------------------------------------------- preflight


def check_centre(problem: Problem, settings: Settings, expect: Expect | None = None) -> tuple[Values, float, float]:
    """Evaluate the centre twice and look at it from all sides before anything long begins.

    Returns:
        The values; the seconds one evaluation takes; the largest relative difference between the two (0 on a CPU).

    Raises:
        EvaluationError: The model or a metric fails, a label is out of range, the centre is not finite or does not
            repeat itself.
        CheckpointError: The centre is not what `checkpoint.expect` says.
    """
    check_labels(problem.model, problem.splits, problem.class_index_metrics)
    centre = problem.measure_centre()
    assert centre is not None  # nobody can stop it
    _check_finite(centre, problem)
    start = time.perf_counter()
    difference = check_repeats(problem.model, problem.splits, problem.metrics, centre)
    seconds = time.perf_counter() - start
    if expect is not None:
        _check_expected(centre, expect, settings.where("checkpoint", "expect"))
    return centre, seconds, difference


def _preflight(problem: Problem, surface: Surface, seconds: float, difference: float, precision: str) -> Preflight:
    loaded = problem.loaded
    matched = [f"{loaded.num_matched} of {loaded.num_tensors} tensors matched", *loaded.notes] if loaded else []
    return Preflight(
        centre={name: (metric.centre, metric.centre_standard_error) for name, metric in surface.metrics.items()},
        num_examples={name: len(split) for name, split in problem.splits.items()},
        num_parameters=sum(tensor.numel() for tensor in problem.context.params.values()),
        checkpoint=matched,
        device=describe_device(problem.device),
        precision=precision,
        num_points=problem.grid.num_points,
        num_pending=problem.grid.num_points - surface.num_evaluated,
        seconds_per_point=seconds,
        repeat_difference=difference,
    )


def _check_finite(centre: Values, problem: Problem) -> None:
    for name, (mean, _) in centre.items():
        if not math.isfinite(mean):
            bad = [split for split, batches in problem.splits.items() if batches.num_not_finite()]
            cause = (
                f"the inputs of {', '.join(bad)} hold NaN or infinite values"
                if bad
                else "the inputs are finite, so the model overflows"
            )
            raise EvaluationError(
                f"{name} at the checkpoint is {mean}: {cause}",
                hint="Check the transform of the data and that checkpoint and model belong together.",
            )


def _check_expected(centre: Values, expect: Expect, where: str) -> None:
    for name, wanted in expect.values.items():
        found = centre[name][0]
        if not math.isclose(found, wanted, rel_tol=1e-9, abs_tol=expect.tolerance * (1 + 1e-9)):
            raise CheckpointError(
                f"{where}: {name} at the checkpoint is {found:.6g}; expected {wanted:g} ± {expect.tolerance:g}",
                hint="This is not the model that was trained: check checkpoint, transform and model arguments.",
            )


# ---------------------------------------------------------------- fill and save


def _fill(
    surface: Surface, problem: Problem, saver: _Saver, observer: Observer, should_stop: Callable[[], bool]
) -> None:
    saver.save()
    for point in surface.pending().tolist():
        values = problem.measure(point, should_stop)
        if values is None:
            break
        surface.update(point, values)
        saver.after_point()
        observer.progress(surface.num_evaluated)
    saver.save()


class _Saver:
    """Saves so often that a killed process loses at most ``save_every`` seconds of finished work, or one point."""

    def __init__(self, surface: Surface, output: Path | None, save_every: float) -> None:
        self._surface, self._output, self._save_every = surface, output, save_every
        self._last = self._cost = 0.0
        self._saved: int | None = None
        if output is not None:
            remove_leftovers(output)

    def after_point(self) -> None:
        if time.perf_counter() - self._last >= max(self._save_every, self._cost * _MIN_SECONDS_PER_SAVE_SECOND):
            self.save()

    def save(self) -> None:
        if self._output is None or self._saved == self._surface.num_evaluated:
            return
        start = time.perf_counter()
        save_surface(self._surface, self._output)
        self._last = time.perf_counter()
        self._cost = self._last - start
        self._saved = self._surface.num_evaluated
