"""What `landscape scan` and `landscape validate` print, and where: results on stdout, talk on stderr."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from conftest import ROOT, Outcome
from documents import validate

from landscape_cli import load_config, load_surface, scan
from landscape_cli.cli.console import duration, number, with_error

SMALL = (
    *("--set", "axes.x.num=3", "--set", "axes.y.num=3", "--set", "data.train.num_examples=50"),
    *("--set", f"checkpoint.path={ROOT / 'configs' / 'digits.pt'}"),
)
CONFIG = ROOT / "configs" / "digits.yaml"


def check_document(text: str, name: str) -> dict[str, object]:
    document = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    validate(document, name)
    assert isinstance(document, dict)
    return document


def test_scan_prints_one_json_document_and_nothing_else_on_stdout(
    tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    output = tmp_path / "s.h5"
    first = check_document(landscape("scan", CONFIG, "-o", output, *SMALL, "--json").stdout, "ScanReport")
    assert (first["status"], first["num_computed"], first["num_points"]) == ("complete", 9, 9)
    surface = load_surface(output)
    metrics = first["metrics"]
    assert isinstance(metrics, dict)
    assert list(metrics) == list(surface.metrics)
    for name, metric in surface.metrics.items():
        assert metrics[name]["centre"] == metric.centre
        assert metrics[name]["centre_standard_error"] == pytest.approx(metric.centre_std / metric.num_examples**0.5)
        assert (metrics[name]["min"], metrics[name]["max"]) == (metric.values.min(), metric.values.max())
    again = check_document(landscape("scan", CONFIG, "-o", output, *SMALL, "--json").stdout, "ScanReport")
    assert (again["status"], again["num_computed"]) == ("complete", 0)
    assert again["fingerprint"] == first["fingerprint"] == surface.fingerprint


def test_validate_prints_one_json_document_also_for_a_config_that_is_not_valid(
    landscape: Callable[..., Outcome],
) -> None:
    good = check_document(landscape("validate", CONFIG, *SMALL, "--json").stdout, "ValidateReport")
    assert (good["valid"], good["problems"]) == (True, [])
    outcome = landscape("validate", CONFIG, *SMALL, "--json", "--set", "checkpoint.path=absent.pt")
    bad = check_document(outcome.stdout, "ValidateReport")
    assert outcome.exit_code == 3
    assert bad["valid"] is False
    (problem,) = bad["problems"]  # type: ignore[misc]
    assert (problem["kind"], problem["exit_code"]) == ("CheckpointError", 3)
    assert "absent.pt: no such file" in problem["message"]


def test_validate_collects_problems_of_checkpoint_and_data(landscape: Callable[..., Outcome]) -> None:
    changes = ("--set", "checkpoint.path=absent.pt", "--set", "data.test.num_examples=100000")
    outcome = landscape("validate", CONFIG, *SMALL, *changes)
    assert outcome.exit_code == 3
    assert "absent.pt: no such file" in outcome.stderr
    assert "num_examples is 100000" in outcome.stderr


def test_the_schema_refuses_a_document_without_its_parts() -> None:
    with pytest.raises(jsonschema.ValidationError):
        check_document('{"file": "s.h5"}', "ScanReport")


def test_scan_says_what_it_is_about_to_do_on_stderr(tmp_path: Path, landscape: Callable[..., Outcome]) -> None:
    outcome = landscape("scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL)
    assert outcome.stdout == ""
    for words in (
        "19,642 parameters",
        "33 of 33 tensors matched",
        "test 360 examples",
        "test_accuracy 0.9944 ± 0.0039",
    ):
        assert words in outcome.stderr
    assert "9 to do, about" in outcome.stderr
    assert f"landscape plot {tmp_path / 's.h5'} -o {tmp_path / 's.png'}" in outcome.stderr
    assert "9 done before" in landscape("scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL).stderr


def test_quiet_says_nothing(tmp_path: Path, landscape: Callable[..., Outcome]) -> None:
    outcome = landscape("scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--quiet")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")
    assert landscape("validate", CONFIG, *SMALL, "--quiet").stdout == ""


@pytest.mark.slow
def test_a_terminal_gets_a_progress_bar_and_a_file_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "landscape_cli", "scan", str(CONFIG), *SMALL]
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "a.h5")], stderr=terminal, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(terminal)
    shown = b""
    while process.poll() is None or shown == b"":
        try:
            shown += os.read(controller, 65536)
        except OSError:  # the other end is closed: Linux says EIO
            break
    assert process.wait() == 0
    os.close(controller)
    assert b"9/9" in shown
    assert b"points/s" in shown
    plain = subprocess.run([*command, "-o", str(tmp_path / "b.h5")], capture_output=True, text=True, check=True)
    assert "points/s" not in plain.stderr
    assert "\x1b[" not in plain.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.8, "1 min 0 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_have_four_significant_digits_and_errors_two() -> None:
    assert number(123.456) == "123.5"
    assert with_error(0.0316059, 0.0179902) == "0.03161 ± 0.018"


# ---------------------------------------------------------------- before and while it runs


def test_a_dry_run_says_what_the_scan_takes_and_writes_nothing(
    tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    arguments = ["scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--dry-run"]
    talk = landscape(*arguments)
    assert talk.exit_code == 0
    assert "dry run: nothing was written" in talk.stderr
    assert "9 to do, about" in talk.stderr
    plan = check_document(landscape(*arguments, "--json").stdout, "PlanReport")
    assert (plan["num_points"], plan["num_pending"], plan["precision"]) == (9, 9, "float32")
    assert plan["seconds"] > 0  # type: ignore[operator]
    assert plan["memory_bytes"] > 10_000_000  # type: ignore[operator]  # torch alone takes more
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_file_that_is_there_counts_what_is_missing_and_leaves_it(
    tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    landscape("scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL)
    before = (tmp_path / "s.h5").read_bytes()
    plan = check_document(
        landscape("scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--dry-run", "--json").stdout, "PlanReport"
    )
    assert (plan["num_points"], plan["num_pending"]) == (9, 0)
    assert (tmp_path / "s.h5").read_bytes() == before


def test_a_time_budget_ends_with_a_coarser_picture_and_the_same_command_goes_on(
    tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    # a budget that is over when the first point is about to be evaluated
    arguments = ["scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--json"]
    stopped = landscape(*arguments, "--time-budget", "1ms")
    assert stopped.exit_code == 75
    assert check_document(stopped.stdout, "ScanReport")["status"] == "stopped"
    finished = landscape(*arguments, "--time-budget", "10m")
    assert finished.exit_code == 0
    assert load_surface(tmp_path / "s.h5").complete


@pytest.mark.slow
@pytest.mark.alone
def test_what_a_time_budget_leaves_is_whole_at_a_lower_resolution(tmp_path: Path) -> None:
    overrides = [*SMALL[1::2], "axes.x.num=301", "axes.y.num=301", "runtime.processes=2", "checkpoint.expect=null"]
    surface = scan(load_config(CONFIG, overrides), tmp_path / "s.h5", time_budget=6.0)
    done = surface.evaluated.ravel()[surface.grid.scan_order()]
    assert 0 < surface.num_evaluated < surface.grid.num_points
    # nothing is missing before the last point, but what was under way in another process
    assert (~done[: surface.num_evaluated]).sum() <= 512


@pytest.mark.parametrize("text", ["soon", "10 parsecs", "-5s", "", "0"])
def test_a_time_budget_that_is_none_is_refused(tmp_path: Path, landscape: Callable[..., Outcome], text: str) -> None:
    outcome = landscape("scan", CONFIG, "-o", tmp_path / "s.h5", f"--time-budget={text}")
    assert outcome.exit_code == 2
    assert f"--time-budget: found {text!r}; expected a duration such as 90s, 10m or 2h" in outcome.stderr


@pytest.mark.slow
def test_the_summary_of_a_reduced_precision_says_how_far_it_is_off(
    tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    outcome = landscape(
        "scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--set", "evaluation.precision=bfloat16",
        "--set", "checkpoint.expect=null",
    )  # fmt: skip
    assert outcome.exit_code == 0
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("bfloat16 is off from")]
    assert "sequential in float32 by" in line
    assert "at the centre" in line
    assert "at the corner" in line


def test_info_says_how_the_points_were_evaluated(tmp_path: Path, landscape: Callable[..., Outcome]) -> None:
    landscape(
        "scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--set", "runtime.engine=stacked",
        "--set", "runtime.points_per_call=4",
    )  # fmt: skip
    outcome = landscape("info", tmp_path / "s.h5")
    assert "stacked, 4 points × 50 or 256 examples at a time; agrees with sequential to" in outcome.stdout
