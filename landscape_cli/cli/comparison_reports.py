"""The JSON document of compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from landscape_cli.analysis.bottleneck import Bottleneck
from landscape_cli.analysis.comparability import Aspect, sha256_of_checkpoint
from landscape_cli.analysis.compare import CONFIDENCE, Against, Comparison, Row
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.verdict import Outcome, Verdict, overall
from landscape_cli.cli.number_field import Number
from landscape_cli.cli.sharpness_reports import MeasurementReport, measurement_report
from landscape_cli.cli.verdict_reports import VerdictReport, verdict_report


class FileReport(BaseModel):
    """One of the files."""

    label: str
    file: str
    checkpoint: str | None = Field(description="Path as configured")
    checkpoint_sha256: str | None
    complete: bool
    fingerprint: str


class AspectReport(BaseModel):
    """Something that the files have in common or not."""

    same: bool | None = Field(description="null where a file does not say")
    values: list[str] = Field(description="Of each file, in words; empty where it does not say")


class AgainstReport(BaseModel):
    """One file against the first, in one measure."""

    difference: Number = Field(description="Value − that of the first file, over the slices that both have")
    difference_interval: list[Number] | None = Field(description="95 % confidence; null: no error bar")
    ratio: Number = Field(description="Value / that of the first file; null where one of them is not above 0")
    ratio_interval: list[Number] | None = Field(description="95 % confidence; null: no error bar, or no ratio")
    pairing: Literal["paired", "unpaired", "exact", "none"] | None = Field(description="null: not compared")
    num_slices: int = Field(description="Random directions that are paired; 0 where none are")
    note: str = Field(description="Why it is not compared, or what differs besides")


class RowReport(BaseModel):
    """One measure of all files."""

    better: Literal["higher", "lower"] | None = Field(description="Which way it is better; null where neither is")
    values: list[MeasurementReport] = Field(description="Of each file")
    against_first: list[AgainstReport] = Field(description="Of each file but the first")


class PlaceReport(BaseModel):
    """A place in the ranking."""

    label: str
    value: Number
    worse_than_previous: bool | None = Field(description="Surely, with 95 % confidence; null: first, or no error bar")


class RankingReport(BaseModel):
    """The files in the order of one measure, the best first."""

    measure: str
    places: list[PlaceReport]


class BottleneckReport(BaseModel):
    """How far the basins of a file are from those of the first."""

    label: str
    distance: Number = Field(description="In units of the loss, the mean over the slices; null: note says why")
    per_slice: list[Number]
    note: str


class ComparisonReport(BaseModel):
    """What ``landscape compare --json`` prints."""

    files: list[FileReport]
    loss: str = Field(description="The metric that was measured, unless a measure has one of its own")
    aspects: dict[str, AspectReport]
    measures: dict[str, RowReport] = Field(description="By name; those that at least one file has")
    lacking: list[str] = Field(description="Measures that no file has")
    ranking: RankingReport | None
    bottleneck: list[BottleneckReport] = Field(description="Of each file but the first; empty with --metric")
    outcome: Outcome | None = Field(description="Of the gate; null without one")
    verdicts: list[VerdictReport] = Field(description="Of the gate, one for each tolerance; empty without one")


def comparison_report(
    named: Sequence[Named],
    files: Sequence[str],
    comparison: Comparison,
    distances: Sequence[Bottleneck],
    verdicts: Sequence[Verdict],
) -> ComparisonReport:
    """Summarise a comparison.

    Args:
        named: The surfaces and what they are called.
        files: Their paths.
        comparison: Of them.
        distances: Of each but the first from it.
        verdicts: Of the gate.
    """
    ranking = comparison.ranking
    return ComparisonReport(
        files=[_file_report(each, file) for each, file in zip(named, files, strict=True)],
        loss=comparison.loss,
        aspects={aspect.name: _aspect_report(aspect) for aspect in comparison.aspects},
        measures={row.name: _row_report(row) for row in comparison.rows},
        lacking=list(comparison.lacking),
        ranking=None
        if ranking is None
        else RankingReport(
            measure=ranking.measure,
            places=[
                PlaceReport(
                    label=named[place.index].name, value=place.value, worse_than_previous=place.worse_than_previous
                )
                for place in ranking.places
            ],
        ),
        bottleneck=[
            BottleneckReport(
                label=each.name,
                distance=found.spread.value if found.spread else None,
                per_slice=list(found.per_slice),
                note=found.note,
            )
            for each, found in zip(named[1:], distances, strict=bool(distances))
        ],
        outcome=overall(verdicts) if verdicts else None,
        verdicts=[verdict_report(verdict) for verdict in verdicts],
    )


def _file_report(named: Named, file: str) -> FileReport:
    surface = named.surface
    checkpoint = surface.provenance.resolved.get("checkpoint")
    path = checkpoint.get("path") if isinstance(checkpoint, dict) else None
    return FileReport(
        label=named.name,
        file=file,
        checkpoint=path if isinstance(path, str) else None,
        checkpoint_sha256=sha256_of_checkpoint(surface),
        complete=surface.finished,
        fingerprint=surface.fingerprint,
    )


def _aspect_report(aspect: Aspect) -> AspectReport:
    return AspectReport(
        same=aspect.is_same if aspect.is_known or not aspect.is_same else None, values=list(aspect.words)
    )


def _row_report(row: Row) -> RowReport:
    return RowReport(
        better=row.better,
        values=[measurement_report(each) for each in row.measurements],
        against_first=[_against_report(each) for each in row.against_first],
    )


def _against_report(against: Against) -> AgainstReport:
    found = against.contrast
    if found is None:
        return AgainstReport(
            difference=None,
            difference_interval=None,
            ratio=None,
            ratio_interval=None,
            pairing=None,
            num_slices=0,
            note=against.note,
        )
    difference, ratio = found.limits_of_difference(CONFIDENCE), found.limits_of_ratio(CONFIDENCE)
    return AgainstReport(
        difference=found.difference,
        difference_interval=list(difference) if difference else None,
        ratio=found.ratio,
        ratio_interval=list(ratio) if ratio else None,
        pairing=found.pairing,
        num_slices=found.num_slices,
        note=against.note,
    )
