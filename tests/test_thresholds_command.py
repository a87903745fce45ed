"""`landscape sharpness --max --min`: a bound on one file, with the exit codes of a gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from conftest import Outcome, Run
from documents import validate
from gate_models import environment
from test_compare_command import bowl, no_constant, page, saved

Landscape = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bowl with a radius of about 0.32 and an error bar, and a single slice of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    saved("s.h5", bowl(1.0))
    saved("one.h5", bowl(1.0, num_slices=1))


def measured(landscape: Landscape) -> float:
    return float(landscape("sharpness", "s.h5", "--metric", "adaptive_radius").stdout)


@pytest.mark.parametrize(
    ("options", "code", "outcomes"),
    [
        ("--min adaptive_radius=0.2", 0, ["PASS"]),
        ("--min=adaptive_radius=0.2 --max=adaptive_radius=0.5", 0, ["PASS", "PASS"]),
        ("--max adaptive_radius=0.2", 5, ["FAIL"]),
        ("--min adaptive_radius=0.9", 5, ["FAIL"]),
        ("--max adaptive_radius=0.1 --min adaptive_radius=0.05", 5, ["FAIL", "PASS"]),
        ("--max train_loss=0.1", 5, ["FAIL"]),
        ("--max train_loss=0.2", 0, ["PASS"]),
        ("--max lambda_max=3", 3, ["NOT COMPARABLE"]),
        ("--max lambda_max=3 --max train_loss=0.1", 5, ["NOT COMPARABLE", "FAIL"]),
    ],
)
def test_bounds_are_kept_or_not(landscape: Landscape, options: str, code: int, outcomes: list[str]) -> None:
    found = landscape("sharpness", "s.h5", *options.split())
    assert found.exit_code == code, found.stderr
    told = [line.partition(":")[0] for line in found.stdout.splitlines() if not line.startswith(" ")]
    assert told == outcomes
    quiet = landscape("sharpness", "s.h5", *options.split(), "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (code, "", "")


def test_a_bound_within_the_error_is_an_open_question(landscape: Landscape) -> None:
    bound = ("--min", f"adaptive_radius={measured(landscape):.4f}")
    passed = landscape("sharpness", "s.h5", *bound)
    assert passed.exit_code == 0
    assert passed.stdout.startswith("INCONCLUSIVE: adaptive_radius of s.h5 is ")
    assert passed.stderr.startswith("warning: inconclusive counts as a pass")
    failed = landscape("sharpness", "s.h5", *bound, "--on-inconclusive", "fail")
    assert (failed.exit_code, failed.stderr) == (6, "")


def test_one_slice_decides_nothing(landscape: Landscape) -> None:
    found = landscape("sharpness", "one.h5", "--min", "adaptive_radius=0.2")
    assert found.exit_code == 3
    assert "one.h5" in found.stdout
    assert "1 slice" in found.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--max adaptiv_radius=1", "did you mean 'adaptive_radius'?"),
        ("--max adaptive_radius", "--max adaptive_radius: expected a measure and a number"),
        ("--max adaptive_radius:1", "expected a measure and a number"),
        ("--min adaptive_radius=nan", "expected a measure and a number"),
        ("--min adaptive_radius=inf", "expected a measure and a number"),
        ("--min =3", "unknown measure"),
        ("--max sam=1", "no decision may rest on sam"),
        ("--max train_loss=1 --metric adaptive_radius", "leave out --metric and --slice"),
        ("--max train_loss=1 --slice 0", "leave out --metric and --slice"),
        ("--junit r.xml", "belong to thresholds"),
        ("--on-inconclusive fail", "belong to thresholds"),
        ("--max train_loss=1 --on-inconclusive no", "expected pass or fail"),
    ],
)
def test_what_is_not_clear_is_refused(landscape: Landscape, options: str, words: str) -> None:
    found = landscape("sharpness", "s.h5", *options.split())
    assert (found.exit_code, found.stdout) == (2, "")
    assert words in found.stderr


def test_json_holds_measures_and_verdicts(landscape: Landscape) -> None:
    for options, outcome, code in ((["--max", "train_loss=0.1"], "fail", 5), ([], None, 0)):
        found = landscape("sharpness", "s.h5", *options, "--json")
        assert found.exit_code == code
        report = json.loads(found.stdout, parse_constant=no_constant)
        validate(report, "SharpnessReport")
        assert report["outcome"] == outcome
        assert [each["measure"] for each in report["verdicts"]] == ["train_loss"][: len(options)]
        assert report["measures"]["adaptive_radius"]["value"] == measured(landscape)


def test_markdown_has_the_verdict_first_and_the_measures_folded_up(landscape: Landscape) -> None:
    found = landscape("sharpness", "s.h5", "--min", "adaptive_radius=0.2", "--max", "train_loss=0.1", "--markdown")
    assert found.exit_code == 5
    shown = page(found.stdout)
    assert shown.heading == "❌ s.h5: fail"
    assert shown.texts["strong"][:2] == ["FAIL", "PASS"]
    assert [tag for tag in shown.tags if tag in ("h1", "h3", "table", "details")] == [
        "h3",
        "table",
        "details",
        "h1",
        "table",
    ]
    assert shown.texts["th"][:4] == ["measure", "new", "lies between", "allowed"]


@pytest.mark.slow
def test_a_real_process_writes_the_reports(landscape_process: Run) -> None:
    environ = environment(GITHUB_STEP_SUMMARY="summary.md")
    options = ("--max", "train_loss=0.1", "--min", "adaptive_radius=0.2", "--junit", "r.xml", "--github-summary")
    found = landscape_process("sharpness", "s.h5", *options, env=environ)
    assert found.returncode == 5, found.stderr
    suite = ET.parse("r.xml").getroot()[0]
    assert suite.attrib == {"name": "s.h5", "tests": "2", "failures": "1", "errors": "0", "skipped": "0"}
    names = ["train_loss of s.h5 (at most 0.1)", "adaptive_radius of s.h5 (at least 0.2)"]
    assert [case.attrib["name"] for case in suite] == names
    assert page(Path("summary.md").read_text()).heading == "❌ s.h5: fail"
