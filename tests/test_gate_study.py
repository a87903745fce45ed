"""The study of the gate: its rules by hand, a small run in a real process, and what its figures are said to show."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from landscape_cli.analysis.gate import gate
from landscape_cli.analysis.question import Named
from landscape_cli.surface import Provenance, Surface

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from scripts import gate_figures, gate_tables, gate_trials

PAGE, BENCHMARKS = ROOT / "docs" / "gate-study.md", ROOT / "docs" / "benchmarks"
FIGURES, IN_ONE_PART = BENCHMARKS / "gate-study.json", BENCHMARKS / "gate-study-one-part.json"


@pytest.fixture(scope="module")
def report() -> Any:
    return json.loads(FIGURES.read_text())


@pytest.fixture(scope="module")
def one_part() -> Any:
    return json.loads(IN_ONE_PART.read_text())


def test_the_tables_of_the_page_are_those_of_the_figures(report: Any, one_part: Any) -> None:
    text = PAGE.read_text()
    assert gate_tables.with_tables(text, report, one_part) == text
    assert all(f"<!-- table: {name} -->" in text for name in (*gate_tables.TABLES, *gate_tables.COMPARED))


def test_the_targets_are_read_off_the_bins(report: Any, one_part: Any) -> None:
    assert report["targets"] == gate_figures.targets(report["bins"])
    assert report["targets_by_architecture"] == gate_figures.targets_by_architecture(report["bins"])
    assert one_part["targets"] == gate_figures.targets(one_part["bins"])


def test_20_directions_with_16_parts_reach_every_target_with_every_architecture(report: Any, one_part: Any) -> None:
    """What the page says in words; with one part, power needs more directions."""
    assert report["settings"]["parts"] == 16
    goals = [report["targets"], *report["targets_by_architecture"].values()]
    assert all(len(each) == 9 for each in goals)
    assert all(goal["reached"] for each in goals for goal in each)
    missed = {(each["bin"], each["policy"]) for each in one_part["targets"] if not each["reached"]}
    assert missed == {(name, policy) for name in ("1.3-1.5", "1.5-") for policy in ("fixed", "strict")}
    bins = [report["bins"][name] for name in gate_figures.BINS]
    assert all(each["trials"] >= 500 for each in bins)
    assert all(each["pairs"] >= 150 for each in bins)


def test_parts_change_the_error_bar_and_not_the_radius(report: Any, one_part: Any) -> None:
    for name, each in report["parts"].items():
        assert abs(each["mean_log_ratio"]) <= 3 * each["error"]
        assert each["error"] < 0.04
        errors = [of["bins"]["1.3-1.5"]["by_architecture"][name]["median_error"]["20"] for of in (report, one_part)]
        assert errors[0] < 0.6 * errors[1]


def test_the_error_bar_holds_and_the_level_at_the_boundary_is_the_nominal_one(report: Any) -> None:
    found, standard_error = report["quadratics"], math.sqrt(0.05 * 0.95 / report["quadratics"]["trials"])
    for shares in (found["fixed"]["20"], found["sequential"]):
        assert shares["fail"] <= 0.05 + 2 * standard_error
    assert all(0.86 <= report["coverage"][str(size)] <= 0.94 for size in gate_trials.SIZES)


def test_outcomes_of_every_bin_add_up(report: Any) -> None:
    for each in [*report["bins"].values(), report["retrained"], report["quadratics"]]:
        for shares in [*each["fixed"].values(), *each["strict"].values(), each["sequential"]]:
            assert sum(shares[name] for name in ("fail", "pass", "inconclusive")) == pytest.approx(1, abs=2e-4)


def look(outcome: Any) -> gate_trials.Look:
    return gate_trials.Look(0.0, 0.1, {gate_trials.CONFIDENCE: "inconclusive", gate_trials.STRICT: outcome})


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (("fail", "pass", "pass"), ("fail", 20)),
        (("inconclusive", "pass", "fail"), ("pass", 40)),
        (("inconclusive", "inconclusive", "fail"), ("fail", 80)),
        (("inconclusive", "inconclusive", "inconclusive"), ("inconclusive", 80)),
    ],
)
def test_the_sequential_rule_stops_at_the_first_decision(outcomes: tuple[str, ...], expected: tuple[str, int]) -> None:
    found = {size: look(outcome) for size, outcome in zip(gate_trials.LOOKS, outcomes, strict=True)}
    assert gate_trials.sequential(found) == expected


@pytest.mark.slow
def test_quadratic_pairs_have_a_ratio_of_exactly_the_tolerance() -> None:
    found = [gate_trials.looks(pair)[80] for pair in gate_trials.quadratics(40, np.random.default_rng(1))]
    mean = float(np.mean([each.log_ratio for each in found]))
    assert abs(mean - math.log(0.85)) < 3 * float(np.mean([each.error for each in found])) / math.sqrt(40)


def stated(line: Surface) -> Surface:
    """With a provenance: the gate wants to know that the data and the directions are the same."""
    found = {"has_batchnorm": False, "parameters": {"num": 1, "sha256": "a"}}
    identity = {"loss": {"_target_": "cross_entropy"}, "data": {"train": {"fingerprint": "b", "num_examples": 1}}}
    resolved = {"slices": {"seed": 0}, "evaluation": {"precision": "float32"}, "found": found}
    return replace(line, provenance=Provenance(identity=identity, resolved=resolved))


def test_several_baselines_need_a_difference_beyond_their_own_spread() -> None:
    rng = np.random.default_rng(0)
    squared = rng.standard_normal((20, 60)) ** 2
    curvatures = squared @ np.full(60, 0.05)
    new, near, far = (stated(gate_trials.quadratic(curvatures * factor)) for factor in (2.0, 1.0, 0.25))
    assert gate_trials.verdict_beside([new, near, near, near]) == "fail"
    assert gate_trials.verdict_beside([new, near, far, near]) == "inconclusive"
    assert gate_trials.verdict_beside([near, near, near, near]) == "pass"


@pytest.mark.slow
def test_a_look_is_what_the_gate_says() -> None:
    outcomes = set()
    for pair in gate_trials.quadratics(12, np.random.default_rng(2)):
        for size, found in gate_trials.looks(pair).items():
            base, new = (
                Named(name, stated(line.of_slices(range(size)))) for name, line in zip("ab", pair, strict=True)
            )
            for confidence, outcome in found.at.items():
                (verdict,) = gate([base], new, [gate_trials.TOLERANCE], tau=gate_trials.TAU, confidence=confidence)
                assert verdict.outcome == outcome
                outcomes.add(outcome)
    assert {"fail", "inconclusive"} <= outcomes


@pytest.mark.slow
def test_a_quick_study_runs_and_its_rates_are_sane(tmp_path: Path) -> None:
    out = tmp_path / "study.json"
    command = [sys.executable, str(ROOT / "scripts" / "gate_study.py"), "--quick", "--parts", "2", "--out", str(out)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stderr
    quick = json.loads(out.read_text())
    assert set(quick) == set(json.loads(FIGURES.read_text()))
    assert quick["bins"]["equal"]["fixed"]["20"]["fail"] <= 0.1
    assert quick["bins"]["equal"]["sequential"]["fail"] <= 0.1
    assert 0.6 <= quick["coverage"]["20"] <= 1
    assert 20 <= quick["bins"]["equal"]["sequential"]["mean_directions"] <= 80
    assert quick["baselines"]["5"] == {}  # there are four seeds
