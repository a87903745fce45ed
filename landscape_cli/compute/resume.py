"""Continue a surface file only if it is the same scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.observer import Observer
from landscape_cli.compute.selfcheck import disagreement
from landscape_cli.compute.worker import Worker
from landscape_cli.errors import ResumeMismatchError
from landscape_cli.identity import differing_keys, fingerprint
from landscape_cli.storage import check_overwritable
from landscape_cli.surface import Surface
from landscape_cli.union import POINT_RTOL, load_union

# Between machines float32 values differ by rounding, at most 4e-7 measured; elsewhere it may be amplified: POINT_RTOL.
_CENTRE_RTOL = {"float64": 1e-9, "float32": 1e-5, "tf32": 1e-2, "bfloat16": 2e-2}
_HINT = "Choose another output with -o, or start anew with --overwrite."


def existing_surface(output: Path | None, *, overwrite: bool) -> Surface | None:
    """The surface to continue, if there is one."""
    if output is None or not output.exists():
        return None
    if overwrite:
        check_overwritable(output)
        return None
    return load_union(output)


def check_identity(
    existing: Surface,
    identity: Mapping[str, JsonValue],
    output: Path,
    *,
    may_grow: bool = False,
    how_to_grow: str = "",
    hint: str = _HINT,
) -> None:
    """Refuse a file that was made by another config, checkpoint or data, with the differing keys.

    Args:
        existing: The surface in the file.
        identity: Of the scan.
        output: The file.
        may_grow: Whether it gets the slices that it lacks, so that their number is no difference.
        how_to_grow: Said before the hint where that number is the only one.
        hint: What to do about others.

    Raises:
        ResumeMismatchError: It was.
    """
    at_slices = at_slices_of(existing, identity)
    wanted = at_slices if may_grow else dict(identity)
    if existing.fingerprint == fingerprint(wanted):
        return
    if existing.fingerprint == fingerprint(at_slices):
        hint = f"{how_to_grow}{hint}"
    differences = differing_keys(dict(existing.provenance.identity), wanted)
    if [line.partition(":")[0] for line in differences] == ["checkpoint.sha256"]:
        hint = f"To go on with the checkpoint of the file, name it: --checkpoint. Else: {hint}"
    raise ResumeMismatchError(
        f"{output}: was made by another config, checkpoint or data (file → now):\n"
        + "\n".join(f"  {line}" for line in differences),
        hint=hint,
    )


def at_slices_of(existing: Surface, identity: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """An identity with the number of slices of a surface in place of its own."""
    slices = identity.get("slices")
    return {**identity, "slices": {**(slices if isinstance(slices, dict) else {}), "num": existing.grid.num_slices}}


def resume(
    existing: Surface, wanted: Surface, worker: Worker, centre: Values, observer: Observer, *, is_same_plan: bool
) -> Surface:
    """Continue ``existing``, provided that the centre and one other point come out as in the file.

    The fingerprint does not know the code of the model, of metrics and of directions; these two values do.

    Raises:
        ResumeMismatchError: They differ by more than rounding.
    """
    stored = {name: (metric.centre, metric.centre_std) for name, metric in existing.metrics.items()}
    precision = worker.problem.precision
    _compare("the checkpoint", stored, centre, existing, _CENTRE_RTOL[precision])
    if stored != centre and is_same_plan:
        observer.note(
            "the centre differs by rounding from that of the file: another machine, or another version of torch?"
        )
    _check_point(existing, worker, POINT_RTOL[precision])
    here = wanted.provenance.environment
    seen = list(existing.provenance.environment)
    environments = seen + [item for item in here if item not in seen]
    return replace(existing, provenance=replace(existing.provenance, environment=environments))


def _check_point(existing: Surface, worker: Worker, rtol: float) -> None:
    for point in existing.grid.scan_order().tolist():
        _, coordinates = existing.grid.location(point)
        if any(coordinates) and existing.evaluated.flat[point]:
            stored = {
                name: (float(metric.values.flat[point]), float(metric.std.flat[point]))
                for name, metric in existing.metrics.items()
            }
            values = worker.measure([point])
            assert values is not None  # nobody can stop it
            _compare(f"the point {coordinates}", stored, values[0], existing, rtol)
            return


def _compare(where: str, stored: Values, found: Values, surface: Surface, rtol: float) -> None:
    num_examples = {name: metric.num_examples for name, metric in surface.metrics.items()}
    name = disagreement(stored, found, num_examples, rtol)
    if name is not None:
        raise ResumeMismatchError(
            f"{name} at {where} is now {found[name][0]!r}, in the file {stored[name][0]!r}: more than rounding between "
            "machines, so the code of the model, of a metric or of a direction has changed",
            hint=_HINT,
        )
