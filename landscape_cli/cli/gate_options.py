"""The options of a gate and of thresholds, as given on the command line and in the YAML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from landscape_cli.analysis.compare import CONFIDENCE
from landscape_cli.analysis.gate import DEFAULT
from landscape_cli.analysis.threshold import Threshold
from landscape_cli.analysis.tolerance import Tolerance
from landscape_cli.cli.arguments import NO_VALUE
from landscape_cli.config import load_gate
from landscape_cli.errors import UsageError
from landscape_cli.gating import MOST_LOOKS, GateConfig
from landscape_cli.quantities import parse_amount

_EXAMPLE = "Such as: --gate adaptive_radius:15% --gate test_loss:0.03"


@dataclass(frozen=True)
class GateOptions:
    """How a gate decides.

    Attributes:
        tolerances: At least one.
        confidence: One-sided, of this look.
        inconclusive_fails: Whether an open question ends with exit code 6.
    """

    tolerances: tuple[Tolerance, ...]
    confidence: float
    inconclusive_fails: bool


def gate_options(
    given: Sequence[str], config: Path | None, looks: int | None, on_inconclusive: str | None
) -> GateOptions | None:
    """What the command line says, else the section ``gate`` of the config; None where there is no gate.

    Raises:
        UsageError: A tolerance is none.
        ConfigError: The config has no section ``gate``, or it is wrong.
    """
    if not given and config is None:
        return None
    section = load_gate(config) if config is not None else None
    named = [tolerance_of(text) for text in given if text != NO_VALUE]
    twice = [each.measure for each in named if sum(each.measure == other.measure for other in named) > 1]
    if twice:
        raise UsageError(f"--gate: {twice[0]} is given twice; expected one tolerance for each measure")
    if section is not None:
        usual = [Tolerance(name, *parse_amount(amount)) for name, amount in section.tolerances.items()]
    else:
        usual = [DEFAULT] if NO_VALUE in given else []
    by_name = {each.measure: each for each in (*usual, *named)}  # what is named here replaces that measure alone
    tolerances = list(by_name.values())
    section = section or GateConfig()
    looks = section.looks if looks is None else looks
    if not 1 <= looks <= MOST_LOOKS:
        raise UsageError(f"--looks: found {looks}; expected 1 to {MOST_LOOKS}")
    fails = parse_on_inconclusive(on_inconclusive, section.on_inconclusive)
    return GateOptions(tuple(tolerances), confidence_of_look(looks), fails)


def confidence_of_look(num_looks: int | None = None) -> float:
    """One-sided, where files are looked at so often at most: all looks together have 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / (GateConfig().looks if num_looks is None else num_looks)


def parse_on_inconclusive(given: str | None, default: str) -> bool:
    """Whether an open question fails.

    Raises:
        UsageError: It is neither pass nor fail.
    """
    if given not in (None, "pass", "fail"):
        raise UsageError(f"--on-inconclusive: found {given!r}; expected pass or fail")
    return (given or default) == "fail"


def tolerance_of(text: str) -> Tolerance:
    """``adaptive_radius:15%``, ``test_loss:0.03`` or ``test_accuracy:0.01``.

    Raises:
        UsageError: It is none.
    """
    measure, colon, amount = text.partition(":")
    if not colon:
        raise UsageError(f"--gate {text}: expected a measure and an amount with a colon between them", hint=_EXAMPLE)
    try:
        return Tolerance(measure.strip(), *parse_amount(amount))
    except ValueError as error:
        raise UsageError(f"--gate {text}: {error}", hint=_EXAMPLE) from error


def threshold_of(side: str, text: str) -> Threshold:
    """``eps_sharpness=30`` of ``--max`` or ``--min``.

    Raises:
        UsageError: It is none.
    """
    measure, equals, value = text.partition("=")
    try:
        number = float(value) if equals else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(
            f"--{side} {text}: expected a measure and a number", hint=f"Such as: --{side} adaptive_radius=0.2"
        )
    return Threshold(measure.strip(), "max" if side == "max" else "min", number)
