"""What a gate allows: the section gate of the YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from landscape_cli.components import Section
from landscape_cli.quantities import Amount

LOOKS = (20, 40, 80)  # numbers of random directions at which it pays to look
MOST_LOOKS = 20


class GateConfig(Section):
    """How much worse a checkpoint may be than a baseline: for ``landscape compare``; a scan does not look at it."""

    tolerances: Annotated[dict[str, Amount], Field(min_length=1)] = Field(
        default_factory=lambda: {"adaptive_radius": "15%"},
        description="Measure, or metric such as test_loss → a share of the baseline such as 15%, or a number",
    )
    looks: int = Field(
        len(LOOKS),
        gt=0,
        le=MOST_LOOKS,
        description="How often the same files are compared at most, with directions added in between: at 20, 40, 80. "
        "Every look gets its share of the 5 % probability of an error, so that each has 98.33 % confidence",
    )
    on_inconclusive: Literal["pass", "fail"] = Field(
        "pass", description="What it means where the error bars do not allow a decision: exit code 0, or 6"
    )


class GateFile(Section):
    """A YAML of which only the section gate counts."""

    gate: GateConfig
