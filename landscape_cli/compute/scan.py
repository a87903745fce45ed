"""A whole scan: resume → prepare → fill; of one process, or of several that fill a file together."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from landscape_cli.compute.after_points import begin_curvature, curvature_of, measure_curvature, reader_of
from landscape_cli.compute.assemble import Surroundings, problem_from_config, problem_from_model
from landscape_cli.compute.caveats import notes_on
from landscape_cli.compute.crew import Crew, OvertakenError, beside_points
from landscape_cli.compute.device import choose_devices
from landscape_cli.compute.directions.table import COMPUTED
from landscape_cli.compute.evaluate import Values, never
from landscape_cli.compute.fill import Saver, fill
from landscape_cli.compute.fresh import draw_first, fresh_surface
from landscape_cli.compute.grow import grow
from landscape_cli.compute.instantiate import Target
from landscape_cli.compute.measure import CurvatureStage
from landscape_cli.compute.observer import Observer, Preflight, Silent
from landscape_cli.compute.preflight import check_centre
from landscape_cli.compute.prepare import make_worker, make_worker_of_helper, one_thread_per_process, prepare
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.radius import check_radius, use_plan_of_radius
from landscape_cli.compute.resume import check_identity, existing_surface
from landscape_cli.compute.saved import save_directions, saved_directions
from landscape_cli.compute.selfcheck import check_labels
from landscape_cli.compute.slice_numbers import SliceNumbers
from landscape_cli.compute.span import find_ranges
from landscape_cli.compute.splits import SharedData
from landscape_cli.compute.team import Team
from landscape_cli.compute.trajectory import same_path, trajectory_of
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Config, Expect, RuntimeConfig, Settings, parse_settings
from landscape_cli.errors import UsageError
from landscape_cli.grid import Grid
from landscape_cli.locks import exclusive, together
from landscape_cli.share import ALONE, Share
from landscape_cli.surface import Surface, Trajectory
from landscape_cli.union import merge, parts_of

_SettingsType = TypeVar("_SettingsType", bound=Settings)


def scan(
    config: Config,
    output: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    more_slices: int | None = None,
    unsafe_load: bool = False,
    dry_run: bool = False,
    time_budget: float | None = None,
    share: Share | None = None,
    sweeps: bool = True,
    shared: SharedData | None = None,
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
        more_slices: How many slices there shall be in all, of the radius where the config asks for one, else of the
            grid. A file with fewer gets the others, one with that many stays; never fewer than the config asks for.
        unsafe_load: Unpickle a checkpoint that is not a plain archive of tensors, which runs whatever code it contains.
        dry_run: Do everything up to the first point, tell the observer what the scan would take, and write nothing.
        time_budget: Seconds after which what is finished is saved and returned: a whole surface, but a coarser one.
        share: Which process this is of those that fill ``output`` together, see `landscape_cli.share.share_of`; None
            for a process alone.
        sweeps: Whether a process does what the others have left undone once its own share is done.
        shared: Decoded data to use, or to keep for the next scan; for configs that differ in the checkpoint alone.
        observer: Is told what happens.
        should_stop: Asked between batches; once true, what is finished is saved and returned.

    Returns:
        The surface; ``surface.finished`` is False when it was stopped.

    Raises:
        LandscapeError: See `landscape_cli.errors`; an existing file is never damaged.
    """
    observer, shared = observer or Silent(), shared or SharedData()
    return _scan(
        lambda settings, device, saved: problem_from_config(
            settings,
            Surroundings(device, unsafe_load, observer.note, observer.decoding, saved, share or ALONE),
            shared,
        ),
        config,
        Path(output) if output is not None else None,
        make_reader=lambda problem: reader_of(config, problem, unsafe=unsafe_load),
        expect=config.checkpoint.expect,
        overwrite=overwrite,
        more_slices=more_slices,
        dry_run=dry_run,
        time_budget=time_budget,
        share=share or ALONE,
        sweeps=sweeps,
        observer=observer,
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
    trajectory: object = None,
    directions: Literal["save"] | None = None,
    radius: object = None,
    curvature: object = None,
    runtime: object = None,
    batch_size: int | Literal["auto"] = "auto",
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    more_slices: int | None = None,
    time_budget: float | None = None,
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
        trajectory: As in the YAML, such as ``{"checkpoints": "runs/epoch_*.pt"}``.
        directions: As in the YAML.
        radius: As in the YAML, such as True or ``{"slices": 10}``.
        curvature: As in the YAML, such as True or ``{"measures": ["eigenvalues"]}``; measures can be functions.
        runtime: As in the YAML.
        batch_size: Examples per forward pass; auto measures what is fastest.
        output: As for `scan`.
        overwrite: As for `scan`.
        more_slices: As for `scan`.
        time_budget: As for `scan`.
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
        "trajectory": trajectory,
        "directions": directions,
        "radius": radius,
        "curvature": _by_name(curvature, own),
        "runtime": runtime or {},
    }
    observer = observer or Silent()
    return _scan(
        lambda settings, device, saved: problem_from_model(
            model,
            data,
            settings,
            own,
            Surroundings(device, note=observer.note, progress=observer.decoding, saved=saved),
            batch_size=batch_size,
        ),
        parse_settings(sections),
        Path(output) if output is not None else None,
        own=own,
        expect=None,
        overwrite=overwrite,
        more_slices=more_slices,
        dry_run=False,
        time_budget=time_budget,
        share=ALONE,
        sweeps=True,
        observer=observer,
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


def _scan(*args: Any, **kwargs: Any) -> Surface:
    while True:
        try:
            return _attempt(*args, **kwargs)
        except OvertakenError:  # several processes wanted to change the file: this one was not the first
            continue


def _attempt(
    make_problem: Callable[[_SettingsType, torch.device, Path | None], Problem],
    settings: _SettingsType,
    output: Path | None,
    *,
    own: Mapping[str, Target] | None = None,
    make_reader: Callable[[Problem], Callable[[str], object]] | None = None,
    expect: Expect | None,
    overwrite: bool,
    more_slices: int | None,
    dry_run: bool,
    time_budget: float | None,
    share: Share,
    sweeps: bool,
    observer: Observer,
    should_stop: Callable[[], bool],
) -> Surface:
    deadline = math.inf if time_budget is None else time.perf_counter() + time_budget
    runtime = settings.runtime
    devices = _of_share(choose_devices(runtime.device, settings.where("runtime", "device"), runtime.devices), share)
    with ExitStack() as stack:
        crew = None
        if output and not dry_run:
            crew = _enter_output(
                stack,
                Crew(share, output, sweeps=sweeps, should_stop=partial(_is_over, None, should_stop, deadline)),
                overwrite,
            )
        cores = stack.enter_context(one_thread_per_process(runtime, devices[0], share))
        existing = crew.existing() if crew else existing_surface(output, overwrite=overwrite)
        before = existing and beside_points(existing)
        problem, settings = _problem_beside(existing, make_problem, settings, more_slices, devices[0], output, observer)
        draw_first(problem, settings, len(devices), cores)
        trajectory = trajectory_of(problem, settings)
        problem.release()
        say = _once(observer.note)  # that memory does not suffice, every process finds out by itself
        team = stack.enter_context(Team(say))
        _add_helpers(team, problem, devices, runtime, say)
        worker = make_worker(problem, devices[0], runtime, say)
        is_over = partial(_is_over, crew, should_stop, deadline)
        read = None if make_reader is None else make_reader(problem)
        curvature = curvature_of(worker, settings, output, own or {}, read, observer, is_over)
        if any(axis.search is not None for _, axis in settings.axes.items()):
            found = Grid(existing.grid.axes, settings.slices.num) if existing else None
            problem.grid = found or _found_grid(worker, settings, trajectory, expect)
        surface = fresh_surface(problem, settings, devices[0])
        grown = existing and grow(existing, surface, trajectory)
        is_changed, existing = grown is not existing, grown
        for note in notes_on(problem, settings, surface.cosine, trajectory):
            observer.note(note)
        surface, preflight, corner = prepare(
            worker, surface, existing, settings, expect, observer, cores, len(devices), deadline, share.world_size
        )
        words = curvature.asked.in_words(surface) if curvature is not None else ""
        preflight = replace(preflight, curvature=words, share=share)
        if dry_run:
            observer.preflight(preflight)
            return surface
        is_changed |= _add_beside_points(surface, problem, settings, output, trajectory, observer.note)
        is_changed |= begin_curvature(surface, settings, curvature)
        if crew is not None:
            assert output is not None  # there is a crew only where there is a file
            _save_for_others(surface, problem, settings, output)
            crew.found(surface, before=before)
        _assemble_team(team, worker, preflight, corner)
        observer.preflight(preflight)
        observer.filling(surface)
        if crew is not None:
            saver = Saver(lambda: crew.own, crew.part, runtime.save_every, is_saved=False)
            _fill(surface, worker, team, saver, observer, is_over, preflight, crew)
            return _conclude(surface, crew, problem, curvature, runtime, cores, is_over)
        _remove_parts(output if overwrite else None)
        saver = Saver(lambda: surface, output, runtime.save_every, is_saved=existing is not None and not is_changed)
        _fill(surface, worker, team, saver, observer, is_over, preflight)
        if curvature is not None and not is_over():
            measure_curvature(surface, curvature, saver, cores, is_over)
        return surface


def _fill(
    surface: Surface,
    worker: Worker,
    team: Team,
    saver: Saver,
    observer: Observer,
    is_over: Callable[[], bool],
    preflight: Preflight,
    crew: Crew | None = None,
) -> None:
    """Evaluate the points of the grid, then those of the radius."""
    seconds = preflight.seconds_per_point
    fill(surface, worker, team, saver, observer, is_over, seconds, crew=crew)
    does_share_only = crew is not None and not crew.sweeps
    if worker.problem.radius is not None and (surface.complete or does_share_only) and not is_over():
        use_plan_of_radius(surface, worker.radius, observer.note)
        seconds = preflight.radius.seconds_per_point if preflight.radius is not None else seconds
        fill(surface, worker.radius, team, saver, observer, is_over, seconds, "radius", crew)
    team.dismiss()


def _is_over(crew: Crew | None, should_stop: Callable[[], bool], deadline: float) -> bool:
    """Whether to stop now; asked all the time, so that the others see that this process lives."""
    if crew is not None:
        crew.beat()
    return should_stop() or time.perf_counter() >= deadline


def _add_helpers(
    team: Team, problem: Problem, devices: list[torch.device], runtime: RuntimeConfig, say: Callable[[str], None]
) -> None:
    """One for each further GPU, before CUDA starts in this process: a forked one could not use it any more."""
    if len(devices) > 1 and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        say("CUDA has been started in this process, by the model or the data: only one GPU can be used")
        del devices[1:]
    for device in devices[1:]:
        team.add(partial(make_worker_of_helper, problem, device, runtime))


def _of_share(devices: list[torch.device], share: Share) -> list[torch.device]:
    """One device for each process of a machine; all of them for one that is alone there."""
    return devices if share.local_world_size == 1 else [devices[share.local_rank % len(devices)]]


def _enter_output(stack: ExitStack, crew: Crew, overwrite: bool) -> Crew | None:
    """Become the only writer of the file of a crew, or one of several; None for the only one."""
    output, world_size = crew.output, crew.share.world_size
    if crew.share.is_alone:
        stack.enter_context(exclusive(output))
        crew.clean()
        parts = parts_of(output)
        if parts and not overwrite:
            merge(parts, output)
        return None
    if overwrite:
        raise UsageError(
            f"--overwrite: found beside {world_size} processes; each would start anew what the others do",
            hint=f"Remove the file and its parts before: rm {output} {output}.part-*",
        )
    stack.callback(_clean, crew, stack.enter_context(together(output)))
    return stack.enter_context(crew)


def _remove_parts(output: Path | None) -> None:
    """Start anew with the first save: before, the scan may be refused, and must have changed nothing."""
    for part in parts_of(output) if output is not None else ():
        part.unlink()


def _clean(crew: Crew, is_last: Callable[[], bool]) -> None:
    if is_last():
        crew.clean()


def _save_for_others(surface: Surface, problem: Problem, settings: Settings, output: Path) -> None:
    """Save directions that take gradients, so that they are computed once, and the same for all."""
    computed = [axis.direction for _, axis in settings.axes.items() if axis.direction.target in COMPUTED]
    if computed and saved_directions(surface, output) is None:
        num_slices = problem.grid.num_slices if any(direction.orthogonal for direction in computed) else 1
        surface.provenance = save_directions(problem, surface, output, num_slices=num_slices)


def _conclude(
    surface: Surface,
    crew: Crew,
    problem: Problem,
    curvature: CurvatureStage | None,
    runtime: RuntimeConfig,
    cores: int,
    is_over: Callable[[], bool],
) -> Surface:
    """Merge the parts once nothing is missing, and measure the curvature in one of the processes."""
    radius = surface.radius if problem.radius is not None else None
    is_done = surface.complete and (radius is None or radius.complete)
    if is_over() or (crew.sweeps and not is_done):
        return surface
    with crew.concluding(is_over) as merged:
        if merged is None:
            return surface
        if curvature is not None and is_done and not is_over():
            saver = Saver(lambda: merged, crew.output, runtime.save_every, is_saved=True)
            measure_curvature(merged, curvature, saver, cores, is_over)
        return merged


def _problem_beside(
    existing: Surface | None,
    make_problem: Callable[[_SettingsType, torch.device, Path | None], Problem],
    settings: _SettingsType,
    more_slices: int | None,
    device: torch.device,
    output: Path | None,
    observer: Observer,
) -> tuple[Problem, _SettingsType]:
    """The problem, and the settings with as many slices as there shall be; a file of another scan is refused."""
    numbers = SliceNumbers(settings, existing, more_slices)
    settings = numbers.settle()
    problem = make_problem(settings, device, saved_directions(existing, output))
    if existing is not None:
        assert output is not None  # where it was read from
        may_grow, how = numbers.grid_may_grow, numbers.how_to_grow_grid
        check_identity(existing, problem.identity, output, may_grow=may_grow, how_to_grow=how)
        check_radius(existing, problem, settings, output, may_grow=numbers.radius_may_grow)
    for note in numbers.notes():
        observer.note(note)
    return problem, settings


def _assemble_team(team: Team, worker: Worker, preflight: Preflight, corner: tuple[int, Values]) -> None:
    """As many helpers as the scan is worth."""
    if preflight.processes == 1:
        team.dismiss()
    elif len(team):
        team.known = worker.problem.grid, *corner
    while len(team) < preflight.processes - 1:
        team.add(lambda: worker)


def _add_beside_points(
    surface: Surface,
    problem: Problem,
    settings: Settings,
    output: Path | None,
    trajectory: Trajectory | None,
    note: Callable[[str], None],
) -> bool:
    """Save the directions, enter the path and how the radius is read, as configured now; whether that changes it."""
    resolved = surface.provenance.resolved
    if settings.radius is not None:
        read = {**resolved, "radius": settings.radius.model_dump(mode="json")}
        surface.provenance = replace(surface.provenance, resolved=read)
    if settings.directions == "save" and output is not None:
        surface.provenance = save_directions(problem, surface, output, note)
    is_new_path = trajectory is not None and not same_path(trajectory, surface.trajectory)
    if is_new_path:
        if surface.trajectory is not None:
            note(f"note: the path of {len(surface.trajectory.names)} checkpoints in the file is replaced")
        surface.trajectory = trajectory
    return is_new_path or surface.provenance.resolved != resolved


def _found_grid(worker: Worker, settings: Settings, trajectory: Trajectory | None, expect: Expect | None) -> Grid:
    check_labels(worker)
    check_centre(worker, settings, expect)  # nothing is looked for around a centre that is wrong
    return settings.grid(find_ranges(worker, settings, trajectory))


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Say nothing twice."""
    said: set[str] = set()

    def note(message: str) -> None:
        if message not in said:
            said.add(message)
            say(message)

    return note
