"""Verdicts in the JSON documents of compare and sharpness."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, Field

from landscape_cli.analysis.verdict import Outcome, Verdict
from landscape_cli.cli.number_field import Number


class VerdictReport(BaseModel):
    """What was decided about one measure."""

    measure: str
    outcome: Outcome
    sentence: str = Field(description="What was compared, by how much, how sure")
    advice: str = Field(description="What to do next; empty where there is nothing to do")
    limit: str = Field(description="What is allowed, as given, such as 15% or: at most 30")
    base: Number = Field(description="The value to compare with, of several baselines their mean; null without one")
    new: Number = Field(description="The value in question; null where nothing was decided")
    change: Number = Field(description="A share of base where the limit is in percent, else new − base")
    bounds: list[Number] | None = Field(
        description="One-sided limits of the change, or without a base of the value; null: nothing was decided, and "
        "a null inside stands for infinity"
    )
    confidence: float = Field(description="Of each of the two, one-sided")
    pairing: str = Field(description="paired over random directions, unpaired, or exact")
    num_slices: int = Field(description="Random directions that were used; 0 where there are none")
    notes: list[str]


def verdict_report(verdict: Verdict) -> VerdictReport:
    """Summarise a verdict."""
    return VerdictReport(**asdict(verdict))
