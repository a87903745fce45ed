"""The schema of the JSON documents that commands print on stdout: docs/output.schema.json."""

from __future__ import annotations

from pydantic.json_schema import models_json_schema

from landscape_cli.cli.comparison_reports import ComparisonReport
from landscape_cli.cli.reports import (
    CurvatureRunReport,
    InfoReport,
    PlanReport,
    ScanReport,
    SeriesReport,
    ValidateReport,
)
from landscape_cli.cli.sharpness_reports import SharpnessReport

_DOCUMENTS = (
    ComparisonReport,
    CurvatureRunReport,
    InfoReport,
    PlanReport,
    ScanReport,
    SeriesReport,
    SharpnessReport,
    ValidateReport,
)


def output_schema() -> dict[str, object]:
    """JSON Schema of every document that a command prints with --json: docs/output.schema.json."""
    _, schema = models_json_schema(
        [(model, "serialization") for model in _DOCUMENTS],
        title="landscape --json output",
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
