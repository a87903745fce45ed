"""What `landscape sharpness` and `landscape info` print about measures from the model, to people and to programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Outcome
from documents import validate
from recorded import everything, gradient, map_of, surface_with
from representative import mostly_slow

from landscape_cli import load_surface
from landscape_cli.analysis.critical_point import critical_point
from landscape_cli.analysis.sharpness import FROM_MODEL, measured
from landscape_cli.records import Curvature
from landscape_cli.storage import save_surface
from landscape_cli.surface import Provenance

Landscape = Callable[..., Outcome]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Everything that can be measured from a model."""
    surface = surface_with(everything(batchnorm="frozen"))
    surface.curvature_map = map_of(-0.5, 2.0)
    save_surface(surface, tmp_path / "s.h5")
    return tmp_path / "s.h5"


@pytest.fixture
def defaults(tmp_path: Path) -> Path:
    """What is measured by default, one of it still to come."""
    names = ("gradient", "eigenvalues", "adaptive_lambda_max", "trace", "adaptive_trace")
    records = {name: each for name, each in everything().items() if name in names}
    save_surface(surface_with(records, pending=("slice_curvature",)), tmp_path / "d.h5")
    return tmp_path / "d.h5"


def no_constant(name: str) -> object:
    raise AssertionError(f"{name} is not JSON")


def read_json(outcome: Outcome, document: str) -> dict[str, dict[str, object]]:
    assert outcome.exit_code == 0, outcome.stderr
    report = json.loads(outcome.stdout, parse_constant=no_constant)
    validate(report, document)
    assert isinstance(report, dict)
    return report


# ---------------------------------------------------------------- for people


def test_the_second_table_shows_every_measure_from_the_model(file: Path, landscape: Landscape) -> None:
    outcome = landscape("sharpness", file)
    assert outcome.exit_code == 0
    first, second = outcome.stdout.split("from the model, of the whole network")
    shown = {words[0]: line for line in second.splitlines() if (words := line.split())}
    surface = load_surface(file)
    for name in FROM_MODEL:
        found = measured(surface, name)
        assert not re.search(rf"^ *{name} ", first, flags=re.MULTILINE)
        assert f"{found.value:.4g}" in shown[name]
        assert f"{found.num_examples:,}" in shown[name]
        assert (", ".join(found.invariant_to or ()) or "nothing") in shown[name]
    assert "± 0.1 " in shown["trace"]
    assert "± 1e-05 (residual)" in shown["lambda_max"]
    assert "± 0.02 ± 0.2 (quadrature)" in shown["negative_curvature"]
    assert "≥ 0.2" in shown["adaptive_worst"]


def test_the_words_follow_the_tables(file: Path, landscape: Landscape) -> None:
    lines = landscape("sharpness", file).stdout.splitlines()
    point = critical_point(load_surface(file))
    at = [next(i for i, line in enumerate(lines) if line.startswith(each)) for each in ("critical", "learning rate:")]
    details = [f"- {each}" for each in point.details]  # broken between words, as is the sentence
    assert " ".join(" ".join(lines[at[0] : at[1]]).split()) == " ".join([f"critical point: {point.sentence}", *details])
    assert "not a recommendation" in " ".join(lines[at[1] : at[1] + 2])
    assert sum("not a recommendation" in line or line.strip() == "recommendation)" for line in lines) == 1


def test_what_holds_for_all_is_said_once(file: Path, landscape: Landscape) -> None:
    output = landscape("sharpness", file).stdout
    assert output.count("BatchNorm frozen") == 1
    assert "BatchNorm frozen" in landscape("sharpness", file, "--metric", "trace").stderr


def test_what_is_missing_is_said_in_few_lines(defaults: Path, landscape: Landscape) -> None:
    outcome = landscape("sharpness", defaults)
    missing = [line for line in outcome.stderr.splitlines() if "landscape curvature" in line]
    assert missing == [
        f"not measured: slice_curvature: asked for and not there yet: landscape curvature CONFIG {defaults} goes on",
        "not measured: negative_curvature, relative_flatness, fisher_rao, fisher_rao_empirical, sam, asam, "
        f"adaptive_worst, keskar: add it with: landscape curvature CONFIG {defaults} --set "
        "'curvature.measures=[spectral_density, relative_flatness, fisher_rao, sam, asam, adaptive_worst, keskar]'",
        f"not measured: nonconvexity: add it with: landscape curvature CONFIG {defaults} --set curvature.map=true",
        f"not measured: lr_limit_adam: add it with: landscape curvature CONFIG {defaults} --set "
        "'curvature.measures=[adam_lambda_max]' (needs the state of the optimizer in the checkpoint)",
    ]


def test_a_file_without_curvature_has_one_table_and_no_verdict(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_with({}), tmp_path / "s.h5")
    outcome = landscape("sharpness", tmp_path / "s.h5")
    assert "from the model" not in outcome.stdout
    assert "critical point" not in outcome.stdout
    assert "grad_norm, adaptive_grad_norm, guaranteed_decrease, lambda_max" in outcome.stderr


def test_half_of_what_a_verdict_takes_is_no_verdict(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_with({"gradient": gradient(0.1)}), tmp_path / "s.h5")
    outcome = landscape("sharpness", tmp_path / "s.h5")
    words = f"critical point: not classified: eigenvalues: add it with: landscape curvature CONFIG {tmp_path / 's.h5'}"
    assert words in " ".join(outcome.stdout.split())
    assert "learning rate:" not in outcome.stdout


def rows_of(outcome: Outcome) -> dict[str, str]:
    """Name of a measure → its note, from Markdown."""
    cells = [line.split(" | ") for line in outcome.stdout.splitlines() if line.startswith("| ")]
    return {each[0].removeprefix("| "): each[-1] for each in cells}


def test_rows_that_hold_for_something_else_say_so(tmp_path: Path, landscape: Landscape) -> None:
    records = everything()
    other = {
        "trace": {"parameters": {"include": ["head"], "exclude": []}},
        "adaptive_trace": {"weight_decay": 0.05},
        "sam": {"split": "test", "num_examples": 128},
        "asam": {"precision": "float32"},
    }
    for name, settings in other.items():
        records[name] = replace(records[name], settings={**records[name].settings, **settings})
    save_surface(surface_with(records), tmp_path / "s.h5")
    outcome = landscape("sharpness", tmp_path / "s.h5", "--markdown")
    usual = "on the split train, n = 512, without weight decay, in float64"
    assert f"## from the model, of the whole network, {usual}\n" in outcome.stdout
    notes = rows_of(outcome)
    assert notes["trace"].startswith("of the parameters head; XTrace")
    assert notes["adaptive_trace"].count("weight decay 0.05") == 1
    assert notes["adaptive_trace"].startswith("with weight decay 0.05; XTrace")
    assert notes["sam"].startswith("on the split test; n = 128; ")
    assert notes["sam"].count("on the split test") == 1
    assert notes["asam"].startswith("in float32; ")
    words = ("weight decay", "whole network", "parameters", "split", "n = ", "float")
    for name in ("grad_norm", "lambda_max", "slice_curvature", "fisher_rao", "keskar"):
        assert not any(each in notes[name] for each in words), name
    assert "all of these:" not in outcome.stdout


def test_what_most_rows_hold_for_is_in_the_heading(tmp_path: Path, landscape: Landscape) -> None:
    """The Fisher-Rao norms are those of the loss without weight decay."""
    save_surface(surface_with(everything(weight_decay=0.05)), tmp_path / "s.h5")
    outcome = landscape("sharpness", tmp_path / "s.h5", "--markdown")
    assert "## from the model, of the whole network, with weight decay 0.05\n" in outcome.stdout
    notes = rows_of(outcome)
    assert notes["fisher_rao"].startswith("without weight decay")
    assert not any("weight decay" in note for name, note in notes.items() if not name.startswith("fisher_rao"))


def test_what_a_converted_surface_lacks_cannot_be_added(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_with({})
    surface.provenance = Provenance(resolved={**surface.provenance.resolved, "found": {"dialect": "tomgoldstein"}})
    save_surface(surface, tmp_path / "s.h5")
    (line,) = [each for each in landscape("sharpness", tmp_path / "s.h5").stderr.splitlines() if "grad_norm" in each]
    assert line.endswith("lr_limit_adam: needs the model; a converted surface has none")


def test_the_file_in_the_advice_can_be_pasted(tmp_path: Path, landscape: Landscape) -> None:
    path = tmp_path / "my file.h5"
    save_surface(surface_with({}), path)
    assert f"landscape curvature CONFIG '{path}' --set" in landscape("sharpness", path).stderr


def on_terminal(command: list[str], width: int, stream: str) -> list[str]:
    """The lines of stdout or stderr on a terminal of that width."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "dumb"}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: follower}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **streams) as process:  # type: ignore[call-overload]
        os.close(follower)
        parts = []
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            parts.append(part)
        process.wait()
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(parts).decode()).replace("\r", "").splitlines()


@pytest.mark.slow
def test_what_is_missing_is_broken_between_words_on_a_terminal(defaults: Path) -> None:
    lines = on_terminal([sys.executable, "-m", "landscape_cli", "sharpness", str(defaults)], 90, "stderr")
    assert lines
    assert max(len(each) for each in lines if str(defaults) not in each) <= 90
    assert "negative_curvature, relative_flatness, fisher_rao, fisher_rao_empirical, sam," in " ".join(
        " ".join(lines).split()
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 100, 160])
def test_nothing_is_broken_within_words_on_a_terminal(file: Path, width: int) -> None:
    command = [sys.executable, "-m", "landscape_cli", "sharpness", str(file)]
    lines = on_terminal(command, width, "stdout")
    output = "\n".join(lines)
    for name in FROM_MODEL:
        assert any(line.split()[:1] == [name] for line in lines), name
    words = "compare at equal n only" if width == 160 else "biased upwards"
    assert words in output
    title = 1  # holds the path of the file
    assert max(map(len, lines[title:])) <= width or width < 100


# ---------------------------------------------------------------- for scripts and programs


@pytest.mark.parametrize("name", mostly_slow(FROM_MODEL, "lambda_max", "trace", "sam", "lr_limit_adam"))
def test_a_metric_is_the_number_alone(file: Path, landscape: Landscape, name: str) -> None:
    outcome = landscape("sharpness", file, "--metric", name)
    assert outcome.exit_code == 0
    assert outcome.stdout == f"{measured(load_surface(file), name).value!r}\n"
    assert outcome.stderr


def test_options_reach_the_measures(file: Path, landscape: Landscape) -> None:
    found = landscape("sharpness", file, "--metric", "lr_limit_momentum", "--momentum", "0.5")
    assert float(found.stdout) == pytest.approx(2 * 1.5 / 2.0)
    report = read_json(landscape("sharpness", file, "--json", "--curv-tol", "0.5"), "SharpnessReport")
    assert report["critical_point"]["tolerance"] == 1.0
    assert "at 0 of" in report["measures"]["nonconvexity"]["note"]  # type: ignore[index,operator]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--momentum", "1"), "--momentum: found 1"),
        (("--momentum", "nan"), "--momentum: found nan"),
        (("--curv-tol", "-1"), "--curv-tol: found -1"),
        (("--curv-tol", "inf"), "--curv-tol: found inf"),
        (("--metric", "critical_point"), "metric: found 'critical_point'"),
        (("--metric", "slice_curvature"), "--metric slice_curvature: not measured: asked for and not there yet"),
        (("--metric", "sam"), "d.h5 --set 'curvature.measures=[sam]'"),
    ],
)
def test_what_cannot_be_done_is_refused(
    defaults: Path, landscape: Landscape, options: tuple[str, ...], message: str
) -> None:
    outcome = landscape("sharpness", defaults, *options)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


def test_json_holds_the_verdict_the_limits_and_the_costs(file: Path, landscape: Landscape) -> None:
    report = read_json(landscape("sharpness", file, "--json"), "SharpnessReport")
    point = critical_point(load_surface(file))
    assert (report["critical_point"]["verdict"], report["critical_point"]["sentence"]) == (
        point.verdict,
        point.sentence,
    )
    assert report["critical_point"]["guaranteed_decrease"] == 0.1**2 / 4
    assert report["learning_rates"]["limits"]["lr_limit"] == 1.0  # type: ignore[index]
    assert report["learning_rates"]["momentum"] == 0.9
    eigenvalues = report["records"]["eigenvalues"]
    assert eigenvalues["cost"] == {"losses": 0, "gradients": 0, "products": 80}  # type: ignore[index]
    assert eigenvalues["method"] == "double backward"  # type: ignore[index]
    shown = report["measures"]["lambda_max"]
    assert (shown["method_error"], shown["method_error_from"], shown["standard_error"]) == (  # type: ignore[index]
        1e-5,
        "residual",
        None,
    )


@pytest.mark.slow
def test_a_worst_case_that_diverges_is_shown_as_infinite(file: Path, landscape: Landscape) -> None:
    surface = load_surface(file)
    assert surface.curvature is not None
    own = surface.curvature.records["adaptive_worst"]
    records = {**surface.curvature.records, "adaptive_worst": replace(own, values={"value": np.asarray(np.inf)})}
    surface.curvature = Curvature(records)
    save_surface(surface, file)
    assert landscape("sharpness", file, "--metric", "adaptive_worst").stdout == "inf\n"
    shown = read_json(landscape("sharpness", file, "--json"), "SharpnessReport")["measures"]["adaptive_worst"]
    assert shown["value"] is None  # type: ignore[index]
    assert "the loss diverges there" in shown["note"]  # type: ignore[index]
    assert re.search(r"adaptive_worst +inf +nat ", landscape("sharpness", file).stdout)
    assert re.search(r"\| adaptive_worst \| inf \|", landscape("sharpness", file, "--markdown").stdout)


@pytest.mark.slow
def test_json_of_bad_records_is_json(tmp_path: Path, landscape: Landscape) -> None:
    records = everything(weight_decay=float("nan"), num_examples=float("inf"))
    for each in records.values():
        object.__setattr__(each, "values", {key: np.full(v.shape, np.nan) for key, v in each.values.items()})
    surface = surface_with(records)
    surface.curvature_map = map_of(np.nan, np.inf)
    save_surface(surface, tmp_path / "s.h5")
    report = read_json(landscape("sharpness", tmp_path / "s.h5", "--json"), "SharpnessReport")
    assert report["critical_point"]["verdict"] == "unknown"
    assert landscape("sharpness", tmp_path / "s.h5").exit_code == 0
    assert landscape("sharpness", tmp_path / "s.h5", "--markdown").exit_code == 0
    read_json(landscape("info", tmp_path / "s.h5", "--json"), "InfoReport")


def test_markdown_has_both_tables_and_the_words(file: Path, landscape: Landscape) -> None:
    output = landscape("sharpness", file, "--markdown").stdout
    headings = re.findall(r"^## (.*)$", output, flags=re.MULTILINE)
    assert headings == ["from the surface", "from the model, of the whole network"]
    tables = re.findall(r"(?:^\|.*\|\n)+", output, flags=re.MULTILINE)
    assert [len({line.count(" | ") for line in table.splitlines()[2:]}) for table in tables] == [1, 1]
    assert [line.split(" | ")[0] for line in tables[1].splitlines()[2:]] == [f"| {name}" for name in FROM_MODEL]
    assert f"**critical point: {critical_point(load_surface(file)).sentence}**" in output
    assert "**learning rate: at most 1 for gradient descent" in output


# ---------------------------------------------------------------- info


def test_info_counts_measures_and_products(defaults: Path, file: Path, landscape: Landscape) -> None:
    row = "5 measures: gradient, eigenvalues, adaptive_lambda_max, trace, adaptive_trace (80 products)"
    assert f"{row}; not there yet: slice_curvature\n" in landscape("info", defaults).stdout
    surface = load_surface(file)
    assert surface.curvature_map is not None
    surface.curvature_map.evaluated[0, 0] = False
    save_surface(surface, file)
    shown = landscape("info", file).stdout
    assert re.search(r"curvature map +λ_min and λ_max at 234 of 243 \(96%\), partial.*, 9,000 products\n", shown)
    assert re.search(r"curvature +14 measures: (?!.*\bmap\b).*\(120 products\)\n", shown)
    report = read_json(landscape("info", file, "--json"), "InfoReport")
    assert report["curvature"]["records"]["map"]["cost"]["products"] == 9000  # type: ignore[index]


def test_info_json_has_the_records_without_their_values(defaults: Path, landscape: Landscape) -> None:
    report = read_json(landscape("info", defaults, "--json"), "InfoReport")
    assert report["curvature"]["pending"] == ["slice_curvature"]
    assert report["curvature"]["records"]["trace"]["settings"]["num_examples"] == 512  # type: ignore[index]
    assert report["curvature_map"] is None


def test_info_of_nothing_measured_yet(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_with({})
    surface.curvature = Curvature({}, ("gradient", "trace"))
    save_surface(surface, tmp_path / "s.h5")
    assert "0 measures; not there yet: gradient, trace\n" in landscape("info", tmp_path / "s.h5").stdout
