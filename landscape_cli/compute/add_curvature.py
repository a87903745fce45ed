"""Curvature added to the file of a scan."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from landscape_cli.compute.after_points import begin_curvature, curvature_of, measure_curvature, reader_of
from landscape_cli.compute.assemble import Surroundings, problem_from_config
from landscape_cli.compute.device import choose_devices
from landscape_cli.compute.evaluate import never
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.fresh import draw_first, fresh_surface
from landscape_cli.compute.observer import Observer, Silent
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.preflight import check_centre
from landscape_cli.compute.prepare import make_worker, one_thread_per_process
from landscape_cli.compute.resume import check_identity, resume
from landscape_cli.compute.saved import saved_directions
from landscape_cli.compute.selfcheck import check_labels
from landscape_cli.compute.slice_numbers import SliceNumbers
from landscape_cli.config import Config
from landscape_cli.errors import UsageError
from landscape_cli.locks import exclusive
from landscape_cli.storage import load_surface
from landscape_cli.surface import Surface

_HINT = "Give the config, and the overrides, that the file was scanned with; only curvature may differ."


def add_curvature(
    config: Config,
    output: str | os.PathLike[str],
    *,
    unsafe_load: bool = False,
    time_budget: float | None = None,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
) -> Surface:
    """Measure what the section ``curvature`` of a config asks for, and add it to the file of a scan of that config.

    Nothing else of the file changes; its grid need not be complete. Without that section it is the default measures.

    Args:
        config: That of the scan, with or without the section.
        output: The surface file.
        unsafe_load: As for `scan`.
        time_budget: As for `scan`.
        observer: As for `scan`.
        should_stop: As for `scan`.

    Returns:
        The surface; what is missing stands in ``surface.curvature.pending``.

    Raises:
        LandscapeError: There is no such file, or it is of another scan; otherwise as `scan`.
    """
    deadline = math.inf if time_budget is None else time.perf_counter() + time_budget
    observer, path, runtime = observer or Silent(), Path(output), config.runtime
    if config.curvature is None and "curvature" in config.model_fields_set:
        raise UsageError(
            f"{config.where('curvature')}: is switched off; nothing to measure",
            hint="Leave the key out for the default measures, or name some: --set 'curvature.measures=[eigenvalues]'",
        )
    config = config if config.curvature is not None else config.with_curvature()
    device = choose_devices(runtime.device, config.where("runtime", "device"), runtime.devices)[0]
    with exclusive(path), one_thread_per_process(runtime, device) as cores:
        existing = load_surface(path)
        numbers = SliceNumbers(config, existing)
        config = numbers.settle()
        surroundings = Surroundings(
            device, unsafe_load, observer.note, observer.decoding, saved_directions(existing, path)
        )
        problem = problem_from_config(config, surroundings)
        check_identity(existing, problem.identity, path, hint=_HINT)
        for note in numbers.notes():
            observer.note(note)
        draw_first(problem, config, 1, cores)
        problem.release()
        problem.grid = existing.grid  # its range may have been found
        worker = make_worker(problem, device, runtime, observer.note)
        check_labels(worker)
        plan = Plan.from_json(existing.provenance.engine)
        is_known = plan is not None and plan.engine == worker.reference_plan.engine
        if plan is not None and is_known and plan.fits({name: len(split) for name, split in worker.splits.items()}):
            worker.use(plan)
        centre, _ = check_centre(worker, config, config.checkpoint.expect)
        fresh = fresh_surface(problem, config, device)
        surface = resume(existing, fresh, worker, centre, observer, is_same_plan=worker.plan == plan)

        def is_over() -> bool:
            return should_stop() or time.perf_counter() >= deadline

        curvature = curvature_of(
            worker, config, path, {}, reader_of(config, problem, unsafe=unsafe_load), observer, is_over
        )
        assert curvature is not None  # the config has the section
        begin_curvature(surface, config, curvature)
        observer.curvature(curvature.asked.in_words(surface))
        saver = Saver(lambda: surface, path, runtime.save_every, is_saved=True)
        saver.save(always=True)
        measure_curvature(surface, curvature, saver, cores, is_over)
        return surface
