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

from landscape_cli import load_surface
from landscape_cli.cli.console import duration, number, with_error

SCHEMA = json.loads((ROOT / "docs" / "output.schema.json").read_text(encoding="utf-8"))
SMALL = (
    *("--set", "axes.x.num=3", "--set", "axes.y.num=3", "--set", "data.train.num_examples=50"),
    *("--set", f"checkpoint.path={ROOT / 'configs' / 'digits.pt'}"),
)
CONFIG = ROOT / "configs" / "digits.yaml"


def check_document(text: str, name: str) -> dict[str, object]:
    document = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    jsonschema.validate(document, {"$ref": f"#/$defs/{name}", **SCHEMA})
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
