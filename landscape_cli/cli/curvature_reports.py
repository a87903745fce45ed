"""What was measured from the model, for programs: records, the kind of point, limits of the learning rate."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from landscape_cli.analysis.critical_point import CriticalPoint
from landscape_cli.analysis.learning_rate import LearningRates
from landscape_cli.analysis.recorded import DEFAULT_RECORDS
from landscape_cli.cli.number_field import Number
from landscape_cli.records import Curvature, Record
from landscape_cli.surface import Surface


class CostReport(BaseModel):
    """Passes over the whole measurement set."""

    losses: int = Field(description="Forward passes")
    gradients: int = Field(description="Forward and backward passes")
    products: int = Field(description="Products of the Hessian with a vector")


class RecordReport(BaseModel):
    """What decides the values of one measure from the model, and what they have cost."""

    settings: dict[str, JsonValue] = Field(description="Split, number of examples, parameters, options, …")
    cost: CostReport
    method: str = Field(description="How products with the Hessian were made; empty where none was")
    notes: list[str]


class CurvatureReport(BaseModel):
    """What a surface file holds that was measured from the model."""

    records: dict[str, RecordReport]
    pending: list[str] = Field(description="Asked for and not there yet")


class MapReport(BaseModel):
    """The extreme eigenvalues of the Hessian at the points of the grid."""

    num_points: int
    num_evaluated: int


class CriticalPointReport(BaseModel):
    """What kind of point the checkpoint is."""

    verdict: Literal[
        "not_critical",
        "borderline",
        "saddle",
        "not_minimum",
        "weak_negative",
        "looks_like_minimum",
        "strict_minimum",
        "maximum",
        "unknown",
    ] = Field(description="unknown: what it takes was not measured; sentence says why")
    shape: (
        Literal["saddle", "not_minimum", "weak_negative", "looks_like_minimum", "strict_minimum", "maximum"] | None
    ) = Field(description="What the extreme eigenvalues say, whatever the gradient")
    sentence: str = Field(description="The verdict in words")
    details: list[str]
    guaranteed_decrease: Number = Field(description="‖g‖² / (2 λ_max); null where it is not known or not bounded")
    lambda_min: Number
    lambda_max: Number
    noise: Number = Field(description="How far the sign of λ_min can be wrong")
    tolerance: Number = Field(description="Below −tolerance curvature is called negative")
    missed_share: Number = Field(
        description="With 99 % probability no eigenvalue lies more than this share of λ_max − λ_min below λ_min"
    )
    scope: str = Field(description="Of what it holds, such as: of the whole network")


class LearningRatesReport(BaseModel):
    """Local full-batch stability limits at this checkpoint, not recommendations."""

    limits: dict[str, Number] = Field(description="Those that were measured, by the name of the measure")
    momentum: float = Field(description="Of lr_limit_momentum and lr_limit_nesterov")
    sentence: str
    caveats: list[str]


def record_reports(curvature: Curvature | None) -> dict[str, RecordReport]:
    """Describe the records, without their values; those that are measured by default first."""
    records = curvature.records if curvature is not None else {}
    names = [
        *(name for name in DEFAULT_RECORDS if name in records),
        *(name for name in records if name not in DEFAULT_RECORDS),
    ]
    return {name: _record_report(records[name]) for name in names}


def curvature_report(surface: Surface) -> CurvatureReport | None:
    """Describe what was measured from the model at the checkpoint."""
    curvature = surface.curvature
    if curvature is None:
        return None
    return CurvatureReport(records=record_reports(curvature), pending=list(curvature.pending))


def map_report(surface: Surface) -> MapReport | None:
    """Describe the map of the extreme eigenvalues."""
    found = surface.curvature_map
    return MapReport(num_points=found.grid.num_points, num_evaluated=found.num_evaluated) if found is not None else None


def critical_point_report(point: CriticalPoint) -> CriticalPointReport:
    """Describe what kind of point the checkpoint is."""
    return CriticalPointReport(
        verdict=point.verdict,
        shape=point.shape,
        sentence=point.sentence,
        details=list(point.details),
        guaranteed_decrease=point.decrease,
        lambda_min=point.lambda_min,
        lambda_max=point.lambda_max,
        noise=point.noise,
        tolerance=point.tolerance,
        missed_share=point.missed,
        scope=point.scope,
    )


def learning_rates_report(rates: LearningRates) -> LearningRatesReport:
    """Describe the limits of the learning rate."""
    return LearningRatesReport(
        limits=dict(rates.limits), momentum=rates.momentum, sentence=rates.sentence, caveats=list(rates.caveats)
    )


def _record_report(record: Record) -> RecordReport:
    cost = CostReport(losses=record.cost.losses, gradients=record.cost.gradients, products=record.cost.products)
    return RecordReport(settings=dict(record.settings), cost=cost, method=record.method, notes=list(record.notes))
