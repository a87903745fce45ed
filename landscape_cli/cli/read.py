"""What a surface file is, without torch: info."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from json import dumps as dump_json
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.analysis.recorded import MAP
from landscape_cli.cli.console import (
    TALK,
    cosine_in_words,
    differences_in_words,
    number,
    print_json,
    print_table,
    with_error,
)
from landscape_cli.cli.curvature_reports import CurvatureReport, MapReport
from landscape_cli.cli.options import Json, Quiet, SurfaceFile, Verbose
from landscape_cli.cli.reports import AxisReport, InfoReport, MetricReport, RadiusReport, TrajectoryReport, info_report


def info(file: SurfaceFile, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Say what FILE is, where it comes from and how complete it is."""
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.union import load_union, parts_of, whole_of

    whole = whole_of(file)
    parts = parts_of(whole)
    report = info_report(load_union(file), whole if parts else file, [path.name for path in parts])
    if json:
        print_json(report)
    elif not quiet:
        print_table(report.file, info_rows(report))


def info_rows(report: InfoReport) -> Iterator[tuple[str, str]]:
    """What a file is, by name; a name is empty where the line before goes on."""
    why = "as in the original" if report.dialect else "still running, or stopped (then the same command completes it)"
    yield "points", _state(report, why)
    if report.parts:
        yield "parts", f"{len(report.parts)} beside this file, of processes that fill it or that were killed; included"
    for name, axis in report.axes.items():
        yield f"axis {name}", _axis_row(axis)
    for pair, cosines in report.cosines.items():
        yield f"cosine {pair}", cosine_in_words(cosines)
    yield "slices", f"{report.num_slices}"
    if report.trajectory is not None:
        yield "trajectory", _trajectory_row(report.trajectory)
    if report.radius is not None:
        line, tau = report.radius, report.radius.tau
        ends = f"noise from {line.start:g} to {line.stop:g}" + (f", τ = {tau:g}" if tau is not None else "")
        ends += f", {line.parts} parts of the data" if line.parts > 1 else ""
        yield "radius", f"{line.num_slices} directions, {ends}, {_state(line, why)}"
    for name, metric in report.metrics.items():
        yield name, _metric_row(metric)
    if report.curvature is not None:
        yield "curvature", _curvature_row(report.curvature)
    if report.curvature_map is not None:
        yield "curvature map", f"λ_min and λ_max at {_state(report.curvature_map, why)}{_products_of_map(report)}"
    yield from _origin_rows(report)


def _curvature_row(curvature: CurvatureReport) -> str:
    records = {name: each for name, each in curvature.records.items() if name != MAP}
    num, products = len(records), sum(each.cost.products for each in records.values())
    names = f": {', '.join(records)} ({products:,} products)" if num else ""
    pending = f"; not there yet: {', '.join(curvature.pending)}" if curvature.pending else ""
    return f"{num} measure{'s' * (num != 1)}{names}{pending}"


def _products_of_map(report: InfoReport) -> str:
    record = report.curvature.records.get(MAP) if report.curvature is not None else None
    return f", {record.cost.products:,} products" if record is not None else ""


def _state(part: InfoReport | RadiusReport | MapReport, why_partial: str) -> str:
    percent = 100 * part.num_evaluated // part.num_points
    share = "<1%" if part.num_evaluated and not percent else f"{percent}%"
    state = "complete" if part.num_evaluated == part.num_points else f"partial: {why_partial}"
    return f"{part.num_evaluated:,} of {part.num_points:,} ({share}), {state}"


def _origin_rows(report: InfoReport) -> Iterator[tuple[str, str]]:
    yield "model", report.model or "unknown"
    if report.checkpoint:
        yield "checkpoint", f"{report.checkpoint} (sha256 {(report.checkpoint_sha256 or '')[:12]}…)"
    if report.dialect:
        yield "converted from", f"{report.converted_from} ({report.dialect})"
    for note in report.checkpoint_notes:
        yield "", note
    if report.directions:
        yield "directions", f"{report.directions}, beside this file"
    batchnorm = f"BatchNorm {report.batchnorm}" if report.batchnorm else None
    measured = ", ".join(filter(None, (report.loss, report.precision, batchnorm)))
    if measured:
        yield "measured", measured
    if report.engine:
        yield "evaluated by", _engine_row(report.engine)
        of_radius = report.engine.get("radius")
        if isinstance(of_radius, dict) and of_radius.get("engine") != report.engine.get("engine"):
            yield "radius by", _engine_row(of_radius)
        earlier = report.engine.get("earlier")
        for each in earlier if isinstance(earlier, list) else []:
            if isinstance(each, dict):
                yield "before that", f"{_engine_row(each)} (the first {each.get('num_evaluated')} points)"
    yield "fingerprint", f"{report.fingerprint[:12]}…" if report.fingerprint else "none"
    yield "created", f"{report.created} by {report.writer}"
    yield "updated", report.updated
    for environment in report.environment:
        if isinstance(environment, dict):
            keys = ("host", "device", "torch", "command")
            yield "made on", ", ".join(f"{key} {environment[key]}" for key in keys if environment.get(key))


def _engine_row(engine: Mapping[str, JsonValue]) -> str:
    from landscape_cli.compute.plan import Plan  # without torch

    plan, difference = Plan.from_json(engine), engine.get("difference")
    words = plan.describe() if plan else str(engine.get("engine"))
    if isinstance(difference, dict) and difference:
        words += f"; agrees with {engine.get('reference')} to {differences_in_words(difference)}"
    return words


def _axis_row(axis: AxisReport) -> str:
    arguments = ", ".join(f"{key}: {_plain(value)}" for key, value in axis.direction.items() if key != "_target_")
    direction = f"{axis.direction.get('_target_')}{f' ({arguments})' if arguments else ''}"
    points = f"{axis.num} points from {axis.start:g} to {axis.stop:g}"
    found = "".join(f", {key.replace('_', ' ')} {_plain(value)}" for key, value in axis.found.items())
    return f"{points}, direction {direction}, length {_length(axis.norm[0])}{found}"


def _plain(value: JsonValue) -> str:
    """A value from a file, as in YAML."""
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else dump_json(value)


def _trajectory_row(path: TrajectoryReport) -> str:
    first, last = Path(path.names[0]).name, Path(path.names[-1]).name
    farthest = max(range(len(path.names)), key=lambda step: path.distance[step] or 0.0)
    distance, missed = path.distance[farthest] or 0.0, path.missed[0][farthest] or 0.0
    words = f"at most {number(distance)} away, of which the projection misses {100 * missed:.3g} %"
    return f"{len(path.names)} checkpoints, from {first} to {last}, {words}"


def _length(norm: float | None) -> str:
    return "unknown" if norm is None else number(norm)


def _metric_row(metric: MetricReport) -> str:
    unknown = "not finite" if metric.num_examples else "unknown"
    centre = unknown if metric.centre is None else with_error(metric.centre, metric.centre_standard_error)
    span = [f"{number(metric.min)} … {number(metric.max)}"] if metric.min is not None and metric.max is not None else []
    diverged = [f"{metric.num_not_finite:,} points not finite"] if metric.num_not_finite else []
    grid = ", ".join(span + diverged) or "nothing evaluated"
    size = f"n = {metric.num_examples:,}" if metric.num_examples else "n unknown"
    return f"centre {centre} ({size}), on the grid {grid}"
