"""Everything before the first point: how the points are evaluated, in how many processes, and what it will take."""

from __future__ import annotations

import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from pydantic import JsonValue

from landscape_cli.compute.calibrate import calibrate
from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.engines.table import ENGINES
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.memory import free_host_bytes, num_cores, peak_bytes, resident_bytes
from landscape_cli.compute.observer import Observer, Preflight, RadiusAhead
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.preflight import (
    Trial,
    check_centre,
    choose_plan,
    far_corner,
    measure_kept,
    reference_of,
    warn_if_nothing_moves,
)
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.provenance import describe_device
from landscape_cli.compute.resume import resume
from landscape_cli.compute.selfcheck import check_labels
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Expect, RuntimeConfig, Settings
from landscape_cli.grid import Axis
from landscape_cli.share import ALONE, Share
from landscape_cli.surface import Surface

# Below, starting helpers and their devices costs more than they bring.
_SECONDS_WORTH_HELPERS = {"cpu": 1.0, "cuda": 60.0}
_SHARE_OF_FREE_MEMORY = 0.8


def make_worker(
    problem: Problem, device: torch.device, runtime: RuntimeConfig, note: Callable[[str], None] = lambda _: None
) -> Worker:
    """A worker within the memory that the config allows."""
    return Worker(problem, device, None if runtime.memory.device == "auto" else runtime.memory.device, note)


def make_worker_of_helper(problem: Problem, device: torch.device, runtime: RuntimeConfig) -> Worker:
    """The same in a process of its own, where that GPU is the current one."""
    torch.cuda.set_device(device)
    return make_worker(problem, device, runtime)


@contextmanager
def one_thread_per_process(runtime: RuntimeConfig, device: torch.device, share: Share = ALONE) -> Iterator[int]:
    """Use one thread on a CPU, unless there is to be one process only; yields the number of cores for processes.

    Several processes that a launcher has started on one machine divide its cores.

    Two processes of one thread do 1.0 to 4 times the work of one process of two, and one thread gives the same bits
    on every machine of the same kind.
    """
    before = torch.get_num_threads()
    # a launcher may bind each process to its cores, or leave all of them to all
    here = min(share.num_cores, num_cores()) if share.num_cores else num_cores() // share.local_world_size
    cores = max(1, min(before, here))  # OMP_NUM_THREADS is respected
    if device.type == "cpu":
        torch.set_num_threads(cores if runtime.processes == 1 else 1)
    try:
        yield cores
    finally:
        torch.set_num_threads(before)


def prepare(
    worker: Worker,
    surface: Surface,
    existing: Surface | None,
    settings: Settings,
    expect: Expect | None,
    observer: Observer,
    cores: int,
    num_devices: int,
    deadline: float = math.inf,
    world_size: int = 1,
) -> tuple[Surface, Preflight, tuple[int, Values]]:
    """Choose how points are evaluated, or keep the choice of the file, and look at the centre from all sides.

    Args:
        worker: Is left with the plan.
        surface: The one that this config makes, empty, with the radius that it asks for.
        existing: The one in the file.
        settings: The config.
        expect: Values that the checkpoint must reproduce.
        observer: Is told what the user should know.
        cores: For processes on a CPU.
        num_devices: GPUs, each of which can have a process.
        deadline: On the clock of `time.perf_counter`: what does not pay before is not tried.
        world_size: Processes that fill the file together, each with that many cores or devices; they keep the plan of
            the file also where it has no point yet.

    Returns:
        The surface to fill, what to tell before, and the values at one point.
    """
    if worker.problem.precision == "tf32" and worker.device.type == "cpu":
        observer.note("note: a CPU has no TF32: evaluated in float32")
    num_points = surface.grid.num_points
    num_pending_on_grid = num_points - (existing.num_evaluated if existing else 0)
    asked, num_pending_of_radius = surface.radius, _num_pending_of_radius(surface, existing)
    num_pending = num_pending_on_grid + num_pending_of_radius
    before = resident_bytes()
    check_labels(worker)
    num_workers = world_size * (cores if worker.device.type == "cpu" else num_devices)
    # a file without points has no bits to keep, unless others are about to add some
    begun = existing if existing is not None and (existing.num_evaluated or world_size > 1) else None
    trial, repeats_to, is_kept = _try_plans(
        worker, begun, settings, expect, observer, num_pending, num_workers, deadline
    )
    warning = warn_if_nothing_moves(worker.problem, trial)
    if warning is not None:
        observer.note(warning)
    stored = existing.provenance.engine if existing and existing.num_evaluated else {}
    if existing is None:
        surface = _with_centre(surface, trial.centre)
    else:
        wanted, surface = surface, resume(existing, surface, worker, trial.centre, observer, is_same_plan=is_kept)
        if surface.radius is None and wanted.radius is not None:
            centre = {name: (metric.centre, metric.centre_std) for name, metric in surface.metrics.items()}
            surface.radius = _with_centre(wanted.radius, centre)
    if not is_kept:
        earlier: dict[str, JsonValue] = {}
        if stored:
            before_that = {**_without(stored, "earlier"), "num_evaluated": surface.num_evaluated}
            earlier = {"earlier": [*_as_list(stored.get("earlier")), before_that]}
        engine = {**trial.to_json(worker.plan), **earlier}
        surface.provenance = replace(surface.provenance, engine=engine)
    private = max(0, peak_bytes(torch.device("cpu")) - before) + worker.num_parameter_bytes
    of_radius = trial.seconds
    if num_pending_of_radius and time.perf_counter() < deadline:
        of_radius = _seconds_of_radius(worker, trial.seconds)
    seconds = num_pending_on_grid * trial.seconds + num_pending_of_radius * of_radius
    mean_seconds = seconds / max(1, num_pending)
    num_here = -(-num_pending // world_size)
    processes = _num_processes(worker, settings.runtime, num_here, mean_seconds, cores, num_devices, private)
    preflight = Preflight(
        centre={name: (metric.centre, metric.centre_standard_error) for name, metric in surface.metrics.items()},
        num_examples={name: len(split) for name, split in worker.splits.items()},
        num_parameters=worker.problem.num_parameters,
        axes=[_axis_in_words(axis, surface) for axis in surface.grid.axes],
        cosines=surface.cosines(),
        checkpoint=_checkpoint(worker.problem),
        device=describe_device(worker.device),
        precision=worker.problem.precision,
        engine=worker.plan.describe(),
        processes=processes,
        data=_where_data_are(worker),
        memory_bytes=_peak(worker, processes, private),
        num_points=num_points,
        num_pending=num_pending_on_grid,
        radius=None
        if asked is None
        else RadiusAhead(asked.grid.num_slices, asked.grid.num_points, num_pending_of_radius, of_radius),
        seconds=seconds / min(processes * world_size, num_workers),
        seconds_per_point=trial.seconds,
        num_passes=worker.num_examples,
        differences=_differences(surface.provenance.engine.get("difference")),
        repeat_difference=repeats_to,
    )
    return surface, preflight, (far_corner(worker.problem), trial.corner)


def _num_pending_of_radius(wanted: Surface, existing: Surface | None) -> int:
    """Points that there are to do beside the grid."""
    if wanted.radius is None:
        return 0
    begun = existing.radius if existing else None
    return wanted.radius.grid.num_points - (begun.num_evaluated if begun else 0)


def _seconds_of_radius(worker: Worker, of_grid: float) -> float:
    """What a point of the radius takes: more than one of the grid where the data are cut into parts."""
    if worker.radius.problem.num_parts == 1:
        return of_grid
    start = time.perf_counter()
    worker.radius.measure([len(worker.radius.problem.grid.axes[0]) // 2])
    return max(of_grid, time.perf_counter() - start)


def _axis_in_words(axis: Axis, surface: Surface) -> str:
    direction = surface.directions[axis.name]
    found = "".join(
        f", {name.replace('_', ' ')} {value:.4g}" for name, value in direction.found.items() if isinstance(value, float)
    )
    ends = f"{axis.coordinates[0]:g} … {axis.coordinates[-1]:g}"
    return f"{axis.name}: {direction.recipe['_target_']}, {ends}{found}"


def _try_plans(
    worker: Worker,
    begun: Surface | None,
    settings: Settings,
    expect: Expect | None,
    observer: Observer,
    num_pending: int,
    num_workers: int,
    deadline: float,
) -> tuple[Trial, float, bool]:
    """Keep the plan of a file that is begun or choose one, and check the centre with it.

    Returns:
        What the plan gives, how well the centre repeats itself, and whether the plan is that of the file.
    """
    runtime = settings.runtime if num_pending else RuntimeConfig()  # a complete file is not changed
    plan = _plan_of(begun, worker, runtime, observer, num_workers) if begun else None
    if plan is not None:
        worker.use(plan)
        try:
            centre, repeats_to = check_centre(worker, settings, expect)
            return measure_kept(worker, centre), repeats_to, True
        except UnsupportedError as error:
            observer.note(f"the engine {plan.engine} of the file does not run here: {error}")
    seconds_left = max(0.0, deadline - time.perf_counter())
    plans = calibrate(worker, settings.runtime, num_pending, num_workers, seconds_left)
    worker.use(reference_of(plans[0]))
    centre, repeats_to = check_centre(worker, settings, expect)
    return choose_plan(worker, plans, centre, observer.note), repeats_to, False


def _plan_of(existing: Surface, worker: Worker, runtime: RuntimeConfig, observer: Observer, cores: int) -> Plan | None:
    """The plan of the file, unless the user wants another one, or it is none for this machine."""
    plan = Plan.from_json(existing.provenance.engine)
    if plan is None or not plan.fits({name: len(split) for name, split in worker.splits.items()}):
        return None
    if plan.engine not in ENGINES or (worker.device.type == "cpu" and plan.num_threads > cores):
        observer.note("the file names an engine, or a number of threads, that is not available here: choosing anew")
        return None
    pinned = {name: split.batches.batch_size for name, split in worker.splits.items() if split.batches.batch_size}
    wanted = replace(
        plan, chunk_sizes={**plan.chunk_sizes, **{n: min(s, len(worker.splits[n])) for n, s in pinned.items()}}
    )
    if runtime.engine != "auto":
        wanted = replace(wanted, engine=runtime.engine)
    if runtime.points_per_call != "auto" and plan.points_per_call > 1:
        wanted = replace(wanted, points_per_call=runtime.points_per_call)
    if runtime.processes not in ("auto", 1) and worker.device.type == "cpu":
        wanted = replace(wanted, num_threads=1)
    if wanted != plan:
        observer.note(
            f"the points so far were evaluated by {plan.describe()}; this changes now, and values by rounding"
        )
        return None
    return plan


def _num_processes(
    worker: Worker,
    runtime: RuntimeConfig,
    num_pending: int,
    seconds_per_point: float,
    cores: int,
    num_devices: int,
    private: int,
) -> int:
    """How many processes share the points; ``private`` are the bytes that each of them needs for itself."""
    kind = worker.device.type
    is_short = num_pending * seconds_per_point < _SECONDS_WORTH_HELPERS[kind]
    if kind == "cuda":
        return 1 if is_short and runtime.devices == "auto" else num_devices
    is_daemon = multiprocessing.current_process().daemon  # it may have no children
    if worker.plan.num_threads > 1 or is_daemon or "fork" not in multiprocessing.get_all_start_methods():
        return 1
    if runtime.processes != "auto":
        return max(1, min(runtime.processes, num_pending))
    free = free_host_bytes()
    if is_short or sys.platform != "linux":
        return 1
    fitting = cores if free is None else 1 + int(_SHARE_OF_FREE_MEMORY * free / max(private, 1))
    return max(1, min(cores, fitting, num_pending))


def _peak(worker: Worker, processes: int, private: int) -> int:
    """Predicted bytes: on one device, or of all processes in main memory."""
    peak = peak_bytes(worker.device)
    return peak if worker.device.type == "cuda" else peak + (processes - 1) * private


def _where_data_are(worker: Worker) -> str:
    compressed = "as bytes, exactly, " if any(split.batches.compressed for split in worker.splits.values()) else ""
    if all(split.resident for split in worker.splits.values()):
        return f"{compressed}in memory" if worker.device.type == "cpu" else f"{compressed}on the device"
    on_disk = any(split.batches.where_held == "disk" for split in worker.splits.values())
    return f"{compressed}streamed from {'disk' if on_disk else 'main memory'}"


def _checkpoint(problem: Problem) -> list[str]:
    loaded = problem.loaded
    return [f"{loaded.num_matched} of {loaded.num_tensors} tensors matched", *loaded.notes] if loaded else []


def _with_centre(surface: Surface, centre: Values) -> Surface:
    metrics = {
        name: replace(metric, centre=centre[name][0], centre_std=centre[name][1])
        for name, metric in surface.metrics.items()
    }
    radius = None if surface.radius is None else _with_centre(surface.radius, centre)
    return replace(surface, metrics=metrics, radius=radius)


def _as_list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _without(mapping: Mapping[str, JsonValue], key: str) -> dict[str, JsonValue]:
    return {name: value for name, value in mapping.items() if name != key}


def _differences(value: JsonValue) -> dict[str, float]:
    """The differences that a surface file tells; it is not trusted."""
    items = value.items() if isinstance(value, dict) else ()
    return {name: number for name, number in items if name in ("centre", "corner") and isinstance(number, float)}
