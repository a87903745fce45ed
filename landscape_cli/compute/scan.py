"""The loop: resume → evaluate → fill → save."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from landscape_cli.compute.directions import recipe
from landscape_cli.compute.evaluate import Values, never
from landscape_cli.compute.instantiate import Target
from landscape_cli.compute.observer import Observer, Preflight, Silent
from landscape_cli.compute.preflight import check_centre, measure_corner
from landscape_cli.compute.problem import Problem, problem_from_config, problem_from_model
from landscape_cli.compute.provenance import describe_device, environment
from landscape_cli.compute.resume import check_identity, existing_surface, resume
from landscape_cli.config import Config, Expect, Settings, fingerprint, parse_settings
from landscape_cli.errors import OutputError
from landscape_cli.storage import exclusive, remove_leftovers, save_surface, timestamp
from landscape_cli.surface import Direction, Provenance, Surface

# A save takes about 10 ms, 1 % of the default cadence of 1 s. Where it takes over 200 ms (a very large surface, a slow
# disk), it is done less often, so that saving never takes more than a sixth of the time.
_MIN_SECONDS_PER_SAVE_SECOND = 5.0


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

    Run again, it computes the missing points only. On one machine the finished values are the same, bit for bit,
    whether or not it was interrupted.

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
        loss: As in the YAML, or a function of (outputs, targets) that gives one value per example.
        metrics: As in the YAML: a list or a mapping, of names or of such functions.
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
    own: dict[str, Target] = {}
    sections = {
        "axes": _by_name(axes, own),
        "loss": _by_name(loss, own),
        "metrics": _by_name(metrics, own),
        "slices": slices or {},
        "evaluation": evaluation or {},
        "runtime": runtime or {},
    }
    settings = parse_settings(sections)
    return _scan(
        lambda: problem_from_model(model, data, settings, own, batch_size=batch_size),
        settings,
        Path(output) if output is not None else None,
        expect=None,
        overwrite=overwrite,
        observer=observer or Silent(),
        should_stop=should_stop,
    )


def _by_name(value: object, own: dict[str, Target]) -> object:
    """Replace functions by their dotted names, as the YAML would give them, and collect them in ``own``."""
    if isinstance(value, Mapping):
        return {key: _by_name(item, own) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_by_name(item, own) for item in value]
    if not callable(value):
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    name = f"{named.__module__}.{named.__qualname__}"
    own[name] = value
    return name


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
        existing = existing_surface(output, overwrite=overwrite)
        problem = make_problem()
        surface = _fresh_surface(problem, settings)
        if existing is not None:
            assert output is not None  # where it was read from
            check_identity(existing, surface, output)
        centre, difference = check_centre(problem, settings, expect)
        seconds, warning = measure_corner(problem, centre)
        if warning is not None:
            observer.note(warning)
        for axis in problem.grid.axes:
            if 0.0 not in axis.coordinates:
                observer.note(
                    f"note: 0 is not on the {axis.name} axis, so the checkpoint itself is no point of the grid"
                )
        precision = settings.evaluation.precision
        if existing is None:
            surface = _with_centre(surface, centre)
        else:
            surface = resume(existing, surface, problem, centre, precision, observer)
        observer.preflight(_preflight(problem, surface, seconds, difference, precision))
        saver = _Saver(surface, output, settings.runtime.save_every, is_saved=existing is not None)
        _fill(surface, problem, saver, observer, should_stop)
        return surface


def _fresh_surface(problem: Problem, settings: Settings) -> Surface:
    names = [(split, metric) for split in problem.splits for metric in problem.metrics]
    norms = problem.norms()
    recipes = {name: recipe(axis.direction) for name, axis in settings.axes.items()}
    found = {"has_batchnorm": problem.has_batchnorm, **(asdict(problem.loaded) if problem.loaded else {})}
    return Surface.empty(
        problem.grid,
        centre={f"{split}_{metric}": (math.nan, math.nan) for split, metric in names},
        num_examples={f"{split}_{metric}": len(problem.splits[split]) for split, metric in names},
        directions={name: Direction(recipes[name], lengths) for name, lengths in norms.items()},
        fingerprint=fingerprint(problem.identity),
        provenance=Provenance(
            settings.text, {**settings.resolved(), "found": found}, problem.identity, [environment(problem.device)]
        ),
        created=timestamp(),
    )


def _with_centre(surface: Surface, centre: Values) -> Surface:
    metrics = {
        name: replace(metric, centre=centre[name][0], centre_std=centre[name][1])
        for name, metric in surface.metrics.items()
    }
    return replace(surface, metrics=metrics)


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


# ---------------------------------------------------------------- fill and save


def _fill(
    surface: Surface, problem: Problem, saver: _Saver, observer: Observer, should_stop: Callable[[], bool]
) -> None:
    saver.save()
    try:
        for point in surface.pending().tolist():
            values = problem.measure(point, should_stop)
            if values is None:
                break
            surface.update(point, values)
            saver.after_point()
            observer.progress(surface.num_evaluated)
    except BaseException:  # whatever ends the scan, what is finished stays
        with suppress(OutputError):  # the first error says more
            saver.save()
        raise
    saver.save()


class _Saver:
    """Saves so often that a killed process loses at most ``save_every`` seconds of finished work, or one point."""

    def __init__(self, surface: Surface, output: Path | None, save_every: float, *, is_saved: bool) -> None:
        self._surface, self._output, self._save_every = surface, output, save_every
        self._last = self._cost = 0.0
        self._saved = surface.num_evaluated if is_saved else None  # a complete file stays untouched
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
