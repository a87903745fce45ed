"""Figures of the gate study: shares of trials."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from pydantic import JsonValue

from landscape_cli.analysis.measurement import jackknife
from scripts.gate_networks import Network
from scripts.gate_trials import (
    CONFIDENCE,
    LOOKS,
    SIZES,
    STRICT,
    TOLERANCE,
    Case,
    Halves,
    Looks,
    covers,
    measurement,
    radius_of,
    sequential,
)

Facts: TypeAlias = dict[str, JsonValue]
Drawn: TypeAlias = list[tuple[Case, Looks]]
BOUNDARY = 1 / (1 - TOLERANCE.amount)
BINS = {  # true r_base / r_new; above 1 NEW is sharper
    "flatter": (0.0, 0.95),
    "equal": (0.95, 1.05),
    "1-1.1": (1.0, 1.1),
    "1.1-1.176": (1.1, BOUNDARY),
    "1.176-1.3": (BOUNDARY, 1.3),
    "1.3-1.5": (1.3, 1.5),
    "1.5-": (1.5, math.inf),
}
DETECTED = ("1.176-1.3", "1.3-1.5", "1.5-")
TARGETS = (("equal", "at most", 0.01), ("1.3-1.5", "at least", 0.85), ("1.5-", "at least", 0.95))
_EDGES = (BOUNDARY, 1.2, 1.25, 1.3, 1.35, 1.4, 1.45, 1.5, 1.6, 1.8, math.inf)


def shares(outcomes: Sequence[str]) -> Facts:
    """How often each outcome came."""
    return {each: rounded(outcomes.count(each) / len(outcomes)) for each in ("fail", "pass", "inconclusive")}


def rounded(value: float) -> float:
    """To four digits after the point: more is not known."""
    return round(value, 4)


def policies(found: Sequence[Looks]) -> Facts:
    """What the gate says with a fixed number of directions, with either confidence, and with the sequential rule."""
    return {
        "trials": len(found),
        "fixed": {str(size): shares([each[size].at[CONFIDENCE] for each in found]) for size in SIZES},
        "strict": {str(size): shares([each[size].at[STRICT] for each in found]) for size in SIZES},
        "sequential": in_turns(found, STRICT),
        "sequential_uncorrected": in_turns(found, CONFIDENCE),
        "median_error": {
            str(size): rounded(float(np.nanmedian([each[size].error for each in found]))) for size in SIZES
        },
    }


def in_turns(found: Sequence[Looks], confidence: float) -> Facts:
    """How often each outcome came by the sequential rule, and how many directions it took."""
    ends = [sequential(each, confidence) for each in found]
    return {
        **shares([outcome for outcome, _ in ends]),
        "mean_directions": rounded(statistics.fmean(size for _, size in ends)),
    }


def of_bin(drawn: Drawn) -> Facts:
    """The policies on the pairs of a bin, together and for each architecture."""
    architectures = dict.fromkeys(case.architecture for case, _ in drawn)
    return {
        "pairs": num_pairs([case for case, _ in drawn]),
        "median_ratio": rounded(statistics.median(case.sharpening for case, _ in drawn)),
        **policies([found for _, found in drawn]),
        "by_architecture": {
            name: policies([found for case, found in drawn if case.architecture == name]) for name in architectures
        },
    }


def num_pairs(drawn: Sequence[Case]) -> int:
    """Different pairs of networks, whichever is the base."""
    return len({frozenset((id(case.base), id(case.new))) for case in drawn})


def power_by_ratio(drawn: Drawn) -> list[JsonValue]:
    """How often the gate fails pairs, with 20 directions and by the sequential rule, in narrow bins of the ratio."""
    report: list[JsonValue] = []
    for low, high in itertools.pairwise(_EDGES):
        inside = [found for case, found in drawn if low <= case.sharpening < high]
        if inside:
            first = [each[LOOKS[0]].at for each in inside]
            report.append(
                {
                    "ratio": [rounded(low), rounded(high) if math.isfinite(high) else None],
                    "trials": len(inside),
                    "fixed": shares([each[CONFIDENCE] for each in first])["fail"],
                    "strict": shares([each[STRICT] for each in first])["fail"],
                    "sequential": shares([sequential(each)[0] for each in inside])["fail"],
                }
            )
    return report


def coverage(drawn: Drawn) -> Facts:
    """How often the 90 % interval of D holds the truth."""
    hits = {
        str(size): [covers(found[size], case.truth, size, case.base.size) for case, found in drawn] for size in SIZES
    }
    return {"trials": len(drawn), **{size: rounded(statistics.fmean(each)) for size, each in hits.items()}}


def about_networks(found: Sequence[Halves]) -> Facts:
    """What the pairs are made of."""
    report: Facts = {}
    for name in dict.fromkeys(each.network.recipe.architecture for each in found):
        group = [each for each in found if each.network.recipe.architecture == name]
        radii = [math.exp(statistics.fmean(each.log_radius)) for each in group]
        losses = [each.network.loss for each in group]
        by_configuration: dict[str, list[float]] = {}
        for each in group:
            by_configuration.setdefault(each.network.recipe.configuration, []).append(statistics.fmean(each.log_radius))
        spreads = [statistics.stdev(logs) for logs in by_configuration.values() if len(logs) > 1]
        report[name] = {
            "networks": len(group),
            "configurations": len(by_configuration),
            "parameters": group[0].network.num_parameters,
            "directions": 2 * group[0].size,
            "loss": [rounded(min(losses)), rounded(max(losses))],
            "radius": [rounded(min(radii)), rounded(max(radii))],
            "sd_of_log_radius_over_seeds": [rounded(min(spreads)), rounded(max(spreads))] if spreads else None,
        }
    return report


def about_parts(found: Sequence[Network]) -> Facts:
    """Whether the radius is the same as with one part, and what either costs, where both were scanned.

    The error is the delete-one jackknife over the directions, each left out of all networks and both lines at once.
    """
    report: Facts = {}
    for name in dict.fromkeys(each.recipe.architecture for each in found):
        lines = [(each.line, each.in_one_part) for each in found if each.recipe.architecture == name]
        both = [(parted, plain) for parted, plain in lines if plain is not None]
        if both:
            logs = [math.log(radius_of(parted.surface) / radius_of(plain.surface)) for parted, plain in both]
            left_out = [
                np.log(measurement(parted.surface).left_out) - np.log(measurement(plain.surface).left_out)
                for parted, plain in both
            ]
            report[name] = {
                "networks": len(both),
                "directions": both[0][0].surface.grid.num_slices,
                "mean_log_ratio": rounded(statistics.fmean(logs)),
                "error": rounded(jackknife(np.mean(left_out, axis=0))),
                "seconds_per_direction": rounded(statistics.median(parted.seconds for parted, _ in both)),
                "seconds_in_one_part": rounded(statistics.median(plain.seconds for _, plain in both)),
            }
    return report


def targets_by_architecture(bins: Facts) -> Facts:
    """The targets, of the pairs of one architecture alone."""
    parts: dict[str, Facts] = {}
    for name, each in bins.items():
        assert isinstance(each, dict)
        of = each["by_architecture"]
        assert isinstance(of, dict)
        for architecture, found in of.items():
            parts.setdefault(architecture, {})[name] = found
    return {architecture: targets(found) for architecture, found in parts.items()}


def targets(bins: Facts) -> list[JsonValue]:
    """What the gate is to reach, and what it does: a share of FAIL with a fixed number of directions, and in turns."""
    report: list[JsonValue] = []
    for name, kind, limit in TARGETS:
        for policy in ("fixed", "strict", "sequential"):
            found = fails(bins, name, policy)
            if found is not None:
                reached = found <= limit if kind == "at most" else found >= limit
                report.append(
                    {"bin": name, "policy": policy, "kind": kind, "target": limit, "found": found, "reached": reached}
                )
    return report


def fails(bins: Facts, name: str, policy: str) -> float | None:
    """The share of FAIL in a bin, with 20 directions or by the sequential rule; None without pairs."""
    of = bins.get(name)
    if not isinstance(of, dict):
        return None
    found = of[policy]
    if policy != "sequential":
        assert isinstance(found, dict)
        found = found[str(LOOKS[0])]
    assert isinstance(found, dict)
    share = found["fail"]
    assert isinstance(share, float)
    return share
