"""The JSON documents of scan, validate, curvature and info."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, Field, JsonValue

from landscape_cli.analysis.recorded import MAP
from landscape_cli.analysis.relative_noise import num_parts
from landscape_cli.cli.curvature_reports import (
    CurvatureReport,
    MapReport,
    curvature_report,
    map_report,
)
from landscape_cli.cli.number_field import Number
from landscape_cli.errors import LandscapeError
from landscape_cli.surface import Metric, Surface

if TYPE_CHECKING:
    from landscape_cli.compute.observer import Preflight
    from landscape_cli.config import Config


class AxisReport(BaseModel):
    """One axis of a surface."""

    start: float
    stop: float
    num: int
    direction: dict[str, JsonValue] = Field(description="The recipe as configured")
    norm: list[Number] = Field(description="Euclidean length of the direction, per slice; null also where not known")
    found: dict[str, JsonValue] = Field(description="What making the direction has brought to light")


class TrajectoryReport(BaseModel):
    """A path of checkpoints in the line, plane or volume."""

    names: list[str]
    coordinates: list[list[list[Number]]] = Field(description="Per slice and checkpoint, on each axis")
    missed: list[list[Number]] = Field(
        description="Per slice and checkpoint, the share of the displacement's length that the projection misses"
    )
    distance: list[Number] = Field(description="Euclidean length of the displacement of each checkpoint")
    explained_variance_ratio: list[Number] = Field(description="Per axis; null where it is no principal direction")


class MetricReport(BaseModel):
    """One metric of a surface."""

    centre: Number = Field(description="Value at the checkpoint")
    centre_standard_error: Number
    min: Number = Field(description="Lowest finite value on the grid")
    max: Number = Field(description="Highest finite value on the grid")
    num_examples: int = Field(description="0 where it is not known")
    num_not_finite: int = Field(description="Evaluated points whose value is NaN or infinite")


class RadiusReport(BaseModel):
    """A line of relative noise on the weights, measured beside the grid."""

    num_slices: int = Field(description="Random directions")
    num_points: int = Field(description="Over all of them")
    num_evaluated: int
    start: float = Field(description="The least noise, relative to the weights")
    stop: float = Field(description="The most")
    parts: int = Field(description="Of the data, each with signs of the noise of its own")
    tau: Number = Field(description="The rise of the loss at the radius; null where the file does not say")


class InfoReport(BaseModel):
    """What ``landscape info --json`` prints."""

    file: str
    complete: bool = Field(description="Everything that was asked for is there, also what is beside the grid")
    num_points: int
    num_evaluated: int
    parts: list[str] = Field(description="Files beside it with points of other processes; they are counted")
    num_slices: int
    axes: dict[str, AxisReport]
    cosines: dict[str, list[Number]] = Field(description="Between each pair of axes, per slice; empty where not known")
    trajectory: TrajectoryReport | None
    radius: RadiusReport | None
    metrics: dict[str, MetricReport]
    curvature: CurvatureReport | None = Field(description="null where nothing was measured from the model")
    curvature_map: MapReport | None = Field(description="null where there is none")
    model: str | None = Field(description="Target of the model")
    checkpoint: str | None = Field(description="Path of the checkpoint as configured")
    checkpoint_sha256: str | None
    checkpoint_notes: list[str] = Field(description="What was found and repaired when it was loaded or converted")
    converted_from: str | None = Field(description="The file of another program that it was made from")
    dialect: str | None = Field(description="The program whose file that is, such as tomgoldstein")
    loss: str | None = Field(description="Target of the loss")
    precision: str | None
    batchnorm: str | None = Field(description="frozen, interpolate or recalibrate; null for a model without BatchNorm")
    directions: str | None = Field(description="File beside the surface with its directions, where they are saved")
    fingerprint: str = Field(description="SHA-256 of everything that decides the numbers")
    created: str
    updated: str
    writer: str
    environment: list[JsonValue] = Field(description="Each distinct environment that contributed")
    engine: dict[str, JsonValue] = Field(
        description="How the points were evaluated, and how far that is from plain evaluation; empty where unknown"
    )


class RadiusPlanReport(BaseModel):
    """What a scan has to do beside the grid for the radius."""

    num_slices: int = Field(description="Random directions")
    num_points: int = Field(description="Over all of them")
    num_pending: int = Field(description="Points still to be evaluated")
    seconds_per_point: float = Field(description="Measured at one point, in one process")


class PlanReport(BaseModel):
    """How a scan evaluates points and what it will take: what ``landscape scan --dry-run --json`` prints."""

    num_points: int = Field(description="Points of the grid over all slices")
    num_pending: int = Field(description="Points of the grid still to be evaluated")
    radius: RadiusPlanReport | None = Field(description="null where the config asks for no radius")
    seconds: float = Field(description="Predicted for the pending points, those of the radius included")
    seconds_per_point: float = Field(description="Measured at one point, in one process")
    memory_bytes: int | None = Field(description="Predicted peak: of one GPU, or of all processes in main memory")
    device: str
    precision: str
    processes: int
    data: str = Field(description="Where the decoded data are")
    engine: dict[str, JsonValue] = Field(
        description="Engine, chunk sizes, points per call, threads; centre, reference and the relative difference"
    )


class ScanReport(InfoReport):
    """What ``landscape scan --json`` prints."""

    status: Literal["complete", "share", "stopped"] = Field(
        description="stopped: run the same command again; share: this process has done what it had to, others go on"
    )
    num_computed: int = Field(
        description="Points evaluated during this run, of the grid and of the radius, by whatever process"
    )
    seconds: float = Field(description="Wall time of this run")
    points_per_second: Number = Field(description="Without what comes before the first point")
    plan: PlanReport


class CurvatureRunReport(BaseModel):
    """What ``landscape curvature --json`` prints; ``landscape sharpness --json`` prints the numbers."""

    file: str
    status: Literal["complete", "stopped"] = Field(description="stopped: run the same command again")
    measured: list[str] = Field(description="Measures that are in the file")
    pending: list[str] = Field(description="Measures that are not there yet")
    num_points_of_map: int = Field(description="Of the map of extreme eigenvalues; 0 where none is asked for")
    num_evaluated_of_map: int
    seconds: float = Field(description="Wall time of this run")


class SeriesReport(BaseModel):
    """What ``landscape scan --checkpoint A B … --json`` prints."""

    scans: list[ScanReport | PlanReport] = Field(description="One for each checkpoint, in the order given")
    num_failed: int = Field(description="Checkpoints that could not be scanned; what was wrong stands on stderr")
    num_left: int = Field(description="Checkpoints that were not reached: run the same command again")


class ProblemReport(BaseModel):
    """One problem that ``landscape validate`` found."""

    kind: str = Field(description="Class of the error, such as ConfigError")
    exit_code: int
    message: str
    hint: str | None


class ValidateReport(BaseModel):
    """What ``landscape validate --json`` prints."""

    config: str
    valid: bool
    problems: list[ProblemReport]
    notes: list[str]


def info_report(surface: Surface, path: Path, parts: Sequence[str] = ()) -> InfoReport:
    """Summarise a surface file, with what lies in the parts beside it."""
    checkpoint = _section(surface.provenance.resolved, "checkpoint")
    found = _section(surface.provenance.resolved, "found")
    evaluation = _section(surface.provenance.resolved, "evaluation")
    return InfoReport(
        file=str(path),
        complete=surface.finished,
        num_points=surface.grid.num_points,
        num_evaluated=surface.num_evaluated,
        parts=list(parts),
        num_slices=surface.grid.num_slices,
        axes={
            axis.name: AxisReport(
                start=axis.coordinates[0],
                stop=axis.coordinates[-1],
                num=len(axis),
                direction=dict(surface.directions[axis.name].recipe),
                norm=list(surface.directions[axis.name].norm),
                found=dict(surface.directions[axis.name].found),
            )
            for axis in surface.grid.axes
        },
        cosines=dict(surface.cosines()),
        trajectory=_trajectory_report(surface),
        radius=_radius_report(surface),
        metrics={name: _metric_report(metric, surface) for name, metric in surface.metrics.items()},
        curvature=curvature_report(surface),
        curvature_map=map_report(surface),
        model=_text(_section(surface.provenance.identity, "model").get("_target_")),
        checkpoint=_text(checkpoint.get("path")),
        checkpoint_sha256=_text(_section(surface.provenance.identity, "checkpoint").get("sha256")),
        checkpoint_notes=_texts(found.get("notes")),
        converted_from=_text(found.get("converted_from")),
        dialect=_text(found.get("dialect")),
        loss=_text(_section(surface.provenance.resolved, "loss").get("_target_")),
        precision=_text(evaluation.get("precision")),
        batchnorm=_text(evaluation.get("batchnorm")) if found.get("has_batchnorm") else None,
        directions=_text(_section(found, "directions").get("file")),
        fingerprint=surface.fingerprint,
        created=surface.created,
        updated=surface.updated,
        writer=surface.writer,
        environment=list(surface.provenance.environment),
        engine=dict(surface.provenance.engine),
    )


def _trajectory_report(surface: Surface) -> TrajectoryReport | None:
    path = surface.trajectory
    if path is None:
        return None
    return TrajectoryReport(
        names=list(path.names),
        coordinates=path.coordinates.tolist(),
        missed=path.missed.tolist(),
        distance=path.distance.tolist(),
        explained_variance_ratio=path.explained_variance_ratio.tolist(),
    )


def _radius_report(surface: Surface) -> RadiusReport | None:
    line = surface.radius
    if line is None:
        return None
    tau, coordinates = _section(surface.provenance.resolved, "radius").get("tau"), line.grid.axes[0].coordinates
    return RadiusReport(
        num_slices=line.grid.num_slices,
        num_points=line.grid.num_points,
        num_evaluated=line.num_evaluated,
        start=coordinates[0],
        stop=coordinates[-1],
        parts=num_parts(line),
        tau=tau if isinstance(tau, float) else None,
    )


def plan_report(preflight: Preflight, surface: Surface) -> PlanReport:
    """Describe what a scan takes."""
    return PlanReport(
        num_points=preflight.num_points,
        num_pending=preflight.num_pending,
        radius=RadiusPlanReport(**asdict(preflight.radius)) if preflight.radius else None,
        seconds=preflight.seconds,
        seconds_per_point=preflight.seconds_per_point,
        memory_bytes=preflight.memory_bytes,
        device=preflight.device,
        precision=preflight.precision,
        processes=preflight.processes,
        data=preflight.data,
        engine=dict(surface.provenance.engine),
    )


def asked_part(surface: Surface, config: Config) -> Surface:
    """What this config asks for of a surface; what else the file has from before is left as it is."""
    return replace(
        surface,
        radius=surface.radius if config.radius is not None else None,
        curvature_map=surface.curvature_map if config.curvature is not None and config.curvature.map else None,
    )


def scan_report(
    surface: Surface,
    path: Path,
    plan: PlanReport,
    config: Config,
    *,
    may_be_done_before: bool = False,
    is_merged: bool = True,
    num_computed: int,
    seconds: float,
    seconds_filling: float,
) -> ScanReport:
    """Summarise a scan; one of several processes may be done before the file is, or be stopped before it is merged."""
    asked = asked_part(surface, config)
    return ScanReport(
        **info_report(surface, path).model_dump(),
        status="complete" if asked.finished and is_merged else "share" if may_be_done_before else "stopped",
        num_computed=num_computed,
        seconds=seconds,
        points_per_second=num_computed / seconds_filling if seconds_filling > 0 else None,
        plan=plan,
    )


def curvature_run_report(surface: Surface, path: Path, config: Config, *, seconds: float) -> CurvatureRunReport:
    """Summarise what has been added."""
    curvature, points = surface.curvature, asked_part(surface, config).curvature_map
    pending = list(curvature.pending) if curvature else []
    is_complete = not pending and (points is None or points.complete)
    return CurvatureRunReport(
        file=str(path),
        status="complete" if is_complete else "stopped",
        measured=sorted(set(curvature.records) - {MAP}) if curvature else [],
        pending=pending,
        num_points_of_map=points.grid.num_points if points else 0,
        num_evaluated_of_map=points.num_evaluated if points else 0,
        seconds=seconds,
    )


def problem_report(error: LandscapeError) -> ProblemReport:
    """Describe an error."""
    return ProblemReport(kind=type(error).__name__, exit_code=error.exit_code, message=str(error), hint=error.hint)


def _metric_report(metric: Metric, surface: Surface) -> MetricReport:
    values = metric.values[surface.evaluated]
    finite = values[np.isfinite(values)]
    return MetricReport(
        centre=metric.centre,
        centre_standard_error=metric.centre_standard_error,
        min=float(finite.min()) if finite.size else None,
        max=float(finite.max()) if finite.size else None,
        num_examples=metric.num_examples,
        num_not_finite=int(values.size - finite.size),
    )


def _section(mapping: object, key: str) -> dict[str, JsonValue]:
    value = mapping.get(key) if isinstance(mapping, dict) else None
    return value if isinstance(value, dict) else {}


def _texts(value: JsonValue) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
