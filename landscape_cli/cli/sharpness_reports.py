"""The JSON document of sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from landscape_cli.analysis.critical_point import CriticalPoint
from landscape_cli.analysis.learning_rate import LearningRates
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.verdict import Outcome, Verdict, overall
from landscape_cli.cli.curvature_reports import (
    CriticalPointReport,
    LearningRatesReport,
    RecordReport,
    critical_point_report,
    learning_rates_report,
    record_reports,
)
from landscape_cli.cli.number_field import Number
from landscape_cli.cli.verdict_reports import VerdictReport, verdict_report
from landscape_cli.surface import Surface


class MeasurementReport(BaseModel):
    """One measure of a surface."""

    value: Number = Field(description="null where it is not measured (note says why), and where the loss diverges")
    standard_error: Number = Field(description="Over slices, of a barrier over examples; null: no error bar")
    interval: list[float] | None = Field(description="95 % confidence interval; null for fewer than 3 slices")
    bound: Literal["lower", "upper"] | None = Field(description="lower: the true value is at least this")
    unit: str
    per_slice: list[Number]
    range: list[Number] | None = Field(description="Lowest and highest of the slices")
    spread: Number = Field(description="Standard deviation over slices, divided by |mean|")
    method_error: Number = Field(description="What the method adds to the error, where that can be told")
    method_error_from: Literal["grid", "residual", "quadrature"] | None = Field(
        description="Where that comes from: the spacing of the grid, the residual of an eigenvalue, the quadrature"
    )
    invariant_to: list[str] | None = Field(description="layer, neuron, conv→BN rescaling; null where not known")
    num_examples: int = Field(description="0 where it is not known")
    scope: str = Field(description="Of what it holds, such as: in this slice, of the whole network")
    settings: dict[str, float] = Field(description="Options it was measured with, such as tau or radius")
    note: str


class SharpnessReport(BaseModel):
    """What ``landscape sharpness --json`` prints."""

    file: str
    loss: str = Field(description="The metric that was measured")
    complete: bool
    num_points: int
    num_evaluated: int
    num_slices: int = Field(description="Slices that were measured")
    centre: Number = Field(description="The loss at the checkpoint")
    centre_standard_error: Number
    fingerprint: str
    measures: dict[str, MeasurementReport] = Field(description="By name; docs/measures.md says what they are")
    records: dict[str, RecordReport] = Field(description="What was measured from the model, and what it has cost")
    critical_point: CriticalPointReport
    learning_rates: LearningRatesReport
    outcome: Outcome | None = Field(description="Of --max and --min; null without them")
    verdicts: list[VerdictReport] = Field(description="One for each --max and --min")


def sharpness_report(
    surface: Surface,
    path: Path,
    measurements: Sequence[Measurement],
    point: CriticalPoint,
    rates: LearningRates,
    *,
    loss: str,
    num_slices: int,
    verdicts: Sequence[Verdict] = (),
) -> SharpnessReport:
    """Summarise what was measured."""
    return SharpnessReport(
        file=str(path),
        loss=loss,
        complete=surface.complete,
        num_points=surface.grid.num_points,
        num_evaluated=surface.num_evaluated,
        num_slices=num_slices,
        centre=surface.metrics[loss].centre,
        centre_standard_error=surface.metrics[loss].centre_standard_error,
        fingerprint=surface.fingerprint,
        measures={each.name: measurement_report(each) for each in measurements},
        records=record_reports(surface.curvature),
        critical_point=critical_point_report(point),
        learning_rates=learning_rates_report(rates),
        outcome=overall(verdicts) if verdicts else None,
        verdicts=[verdict_report(verdict) for verdict in verdicts],
    )


def measurement_report(measurement: Measurement) -> MeasurementReport:
    """Summarise one measure."""
    return MeasurementReport(
        value=measurement.value,
        standard_error=measurement.standard_error,
        interval=list(measurement.interval) if measurement.interval else None,
        bound=measurement.bound,
        unit=measurement.unit,
        per_slice=list(measurement.per_slice),
        range=list(measurement.range) if measurement.range else None,
        spread=measurement.spread,
        method_error=measurement.method_error,
        method_error_from=measurement.method_error_from,
        invariant_to=list(measurement.invariant_to) if measurement.invariant_to is not None else None,
        num_examples=measurement.num_examples,
        scope=measurement.scope,
        settings=dict(measurement.settings),
        note=measurement.note,
    )
