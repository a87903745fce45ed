"""The radius of a scan, a line of relative noise beside the grid: whether it may go on, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.compute.plan import Plan
from landscape_cli.compute.preflight import reason_against, reference_of
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.resume import at_slices_of
from landscape_cli.compute.slice_numbers import how_to_grow
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Settings
from landscape_cli.errors import ResumeMismatchError
from landscape_cli.identity import differing_keys, fingerprint
from landscape_cli.surface import Surface

_HINT = (
    "Choose another output with -o, set radius: null to leave the radius of the file as it is, or start anew with "
    "--overwrite."
)


def check_radius(
    existing: Surface, problem: Problem, settings: Settings, output: Path, *, may_grow: bool = False
) -> None:
    """Refuse a file whose radius is another one than the config asks for, with the differing keys.

    τ is none of them: it only decides how the line is read.

    Args:
        existing: The surface in the file.
        problem: Of the scan.
        settings: The config.
        output: The file.
        may_grow: Whether the radius gets the slices that it lacks, so that their number is no difference.

    Raises:
        ResumeMismatchError: It is another one.
    """
    if existing.radius is None or problem.radius is None or settings.radius is None:
        return
    at_slices = at_slices_of(existing.radius, problem.radius.identity)
    here = fingerprint(at_slices if may_grow else problem.radius.identity)
    if existing.radius.fingerprint == here:
        return
    has_fewer = existing.radius.fingerprint == fingerprint(at_slices)
    seed = settings.slices.seed  # that of the file too: it is in the identity of the grid
    before = _deciding(existing.provenance.resolved.get("radius"), seed)
    section = settings.radius.model_dump(mode="json")
    now = _deciding({**section, "slices": existing.radius.grid.num_slices} if may_grow else section, seed)
    unknown = [f"fingerprint: {existing.radius.fingerprint[:12]}… → {here[:12]}…"]
    raise ResumeMismatchError(
        f"{output}: its radius was made by another config (file → now):\n"
        + "\n".join(f"  {line}" for line in differing_keys(before, now, "radius") or unknown),
        hint=f"{how_to_grow(settings.radius.slices)}{_HINT}" if has_fewer else _HINT,
    )


def _deciding(section: JsonValue, seed: int) -> dict[str, JsonValue]:
    """What decides the numbers, of a section radius as it stands in a file."""
    given = section if isinstance(section, dict) else {}
    kept = {key: value for key, value in given.items() if key != "tau"}
    return {**kept, "seed": seed if kept.get("seed") is None else kept["seed"]}


def use_plan_of_radius(surface: Surface, worker: Worker, note: Callable[[str], None]) -> None:
    """Set the plan of the radius, and write it down: it decides the last bits.

    That of the points in the file, where there are any; else that of the grid, provided that it agrees with the
    reference in the middle of the line; else the reference.

    Args:
        surface: With a radius; gets the plan as ``provenance.engine["radius"]``.
        worker: Of the radius, with the plan of the grid.
        note: Told where that cannot be used.
    """
    kept = _plan_in(surface, worker)
    if kept is not None:
        worker.use(kept)
        return
    reason = reason_against(worker, len(worker.problem.grid.axes[0]) // 2)
    if reason is not None:
        note(f"the radius is evaluated by sequential: {reason}")
        worker.use(reference_of(worker.plan))
    engine = {**surface.provenance.engine, "radius": worker.plan.to_json()}
    surface.provenance = replace(surface.provenance, engine=engine)


def _plan_in(surface: Surface, worker: Worker) -> Plan | None:
    """The plan of the points of the radius in the file; None where there are none, or it is none for this worker."""
    stored = surface.provenance.engine.get("radius")
    if surface.radius is None or not surface.radius.num_evaluated or not isinstance(stored, Mapping):
        return None
    plan, of_grid = Plan.from_json(stored), worker.plan
    if plan is None or not plan.fits({name: len(split) for name, split in worker.splits.items()}):
        return None
    is_possible = plan.engine in (of_grid.engine, "sequential") and plan.num_threads == of_grid.num_threads
    return plan if is_possible else None
