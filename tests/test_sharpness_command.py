"""`landscape sharpness`: a table for people, JSON and Markdown for programs, one number for shell scripts."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from analytic import WEIGHT, line, surface_of
from conftest import ROOT, Outcome, Run
from documents import validate

from landscape_cli import load_surface, scan
from landscape_cli.analysis.sharpness import MEASURES, NAMES, measured, sharpness
from landscape_cli.beside import RadiusConfig
from landscape_cli.config import load_config
from landscape_cli.storage import save_surface

Landscape = Callable[..., Outcome]


@pytest.fixture
def plane(tmp_path: Path) -> Path:
    """Three slices of a bowl."""
    surface = surface_of(lambda s, x, y: 1 + (1 + s / 9) * (x**2 + 2 * y**2), *[line(-1, 1, 21)] * 2, num_slices=3)
    save_surface(surface, tmp_path / "s.h5")
    return tmp_path / "s.h5"


def no_constant(name: str) -> object:
    raise AssertionError(f"{name} is not JSON")


def read_json(outcome: Outcome) -> dict[str, dict[str, dict[str, object]]]:
    assert outcome.exit_code == 0, outcome.stderr
    report = json.loads(outcome.stdout, parse_constant=no_constant)
    validate(report, "SharpnessReport")
    assert isinstance(report, dict)
    return report


# ---------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scan of the digits network, made with the shipped config."""
    path = tmp_path_factory.mktemp("scan") / "radius.h5"
    small = ("radius.slices=4", "radius.num=9", "axes.x.num=3", "data.train.num_examples=200", "runtime.processes=1")
    checkpoint = f"checkpoint.path={ROOT / 'configs' / 'digits.pt'}"
    scan(load_config(ROOT / "configs" / "digits_sharpness.yaml", [*small, checkpoint]), path)
    return path


@pytest.mark.slow
def test_a_scanned_checkpoint_gets_its_radius_with_an_error_bar(scanned: Path, landscape: Landscape) -> None:
    report = read_json(landscape("sharpness", scanned, "--json"))
    radius = report["measures"]["adaptive_radius"]
    surface = load_surface(scanned).radius
    assert surface is not None
    rise = surface["train_loss"].mean(axis=0) - surface.metrics["train_loss"].centre
    x, k = surface.grid.axes[0].coordinates, int(np.argmax(rise > 0.1))
    assert radius["value"] == pytest.approx(np.interp(0.1, rise[k - 1 : k + 1], x[k - 1 : k + 1]))
    assert 0 < radius["standard_error"] < radius["value"]  # type: ignore[operator]
    assert radius["invariant_to"] == ["layer", "neuron", "conv→BN"]
    assert (radius["num_examples"], radius["unit"], radius["settings"]) == (200, "relative noise", {"tau": 0.1})
    assert len(radius["per_slice"]) == 4  # type: ignore[arg-type]
    assert landscape("sharpness", scanned, "--metric", "adaptive_radius").stdout == f"{radius['value']!r}\n"


def test_it_needs_neither_torch_nor_matplotlib_nor_scipy(scanned: Path) -> None:
    code = (
        "import sys; from landscape_cli.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules), 'imported'\n"
    )
    command = [sys.executable, "-c", code, "sharpness", str(scanned)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("name", ["sharpness", "digits_sharpness"])
def test_the_shipped_configs_scan_what_the_radius_needs(name: str) -> None:
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    assert config.radius == RadiusConfig()
    (data,) = config.data.values()
    assert data.num_examples is None or data.num_examples >= 1024


# ---------------------------------------------------------------- what is printed


def test_the_table_shows_every_measure_with_its_error(plane: Path, landscape: Landscape) -> None:
    outcome = landscape("sharpness", plane)
    assert outcome.exit_code == 0
    assert f"{plane}: sharpness of train_loss in these 3 slices" in outcome.stdout
    shown = {line.split()[0]: line for line in outcome.stdout.splitlines() if line.split()}
    for found in sharpness(load_surface(plane)):
        if found.value is None:
            assert found.name not in shown
            assert re.search(rf"not measured: .*\b{re.escape(found.name)}(,|:)", outcome.stderr)
        else:
            assert f"{found.value:.4g} ± {found.standard_error:.2g}" in shown[found.name]
            assert "2,000" in shown[found.name]
            assert "layer, conv→BN" in shown[found.name]


def test_one_slice_has_no_error_bar_and_the_table_says_so(plane: Path, landscape: Landscape) -> None:
    outcome = landscape("sharpness", plane, "--slice", "1")
    assert "in this slice of the grid; one slice: no error bar" in outcome.stdout
    assert "±" not in "".join(line.split("h=")[0] for line in outcome.stdout.splitlines()[3:] if line.strip())
    assert "no error bar" in landscape("sharpness", plane, "--slice", "1", "--metric", "mean_rise").stderr


def test_json_holds_what_the_library_says(plane: Path, landscape: Landscape) -> None:
    report = read_json(landscape("sharpness", plane, "--json", "--tau", "0.2"))
    assert list(report["measures"]) == list(NAMES)
    for found in sharpness(load_surface(plane), tau=0.2):
        shown = report["measures"][found.name]
        assert (shown["value"], shown["standard_error"], shown["note"]) == (
            found.value,
            found.standard_error,
            found.note,
        )
        assert shown["interval"] == (list(found.interval) if found.interval else None)
    assert report["measures"]["flat_radius"]["settings"] == {"tau": 0.2}
    assert report["num_slices"] == 3


def test_json_of_a_diverged_surface_is_json(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(lambda _, x: math.inf if x else 1.0, line(-1, 1, 9))
    save_surface(surface, tmp_path / "s.h5")
    measures = read_json(landscape("sharpness", tmp_path / "s.h5", "--json"))["measures"]
    assert measures["mean_rise"]["value"] is None
    assert "8 points diverged" in str(measures["mean_rise"]["note"])
    assert landscape("sharpness", tmp_path / "s.h5", "--metric", "mean_rise").stdout == "inf\n"
    assert "inf" in landscape("sharpness", tmp_path / "s.h5").stdout


def test_markdown_is_a_table(plane: Path, landscape: Landscape) -> None:
    heading, empty, *lines = landscape("sharpness", plane, "--markdown").stdout.splitlines()
    assert (heading, empty) == (f"# {plane}: sharpness of train_loss in these 3 slices", "")
    num_columns = lines[0].count(" | ")
    assert lines[0].startswith("| measure | value ± SE | unit |")
    assert lines[1] == "|" + " --- |" * (num_columns + 1)
    assert len(lines) > 15
    assert all(each.startswith("| ") and each.endswith(" |") and each.count(" | ") == num_columns for each in lines[2:])


def test_a_metric_is_the_number_alone(plane: Path, landscape: Landscape) -> None:
    for name in ("flat_radius", "eps_sharpness(0.1)", "n_basins"):
        outcome = landscape("sharpness", plane, "--metric", name)
        assert outcome.exit_code == 0
        assert float(outcome.stdout.split()[0]) == measured(load_surface(plane), name).value
        assert len(outcome.stdout.split()) == 1
        assert "in this slice" in outcome.stderr
        assert landscape("sharpness", plane, "--metric", name, "--quiet").stderr == ""


def test_a_bound_is_said_to_be_one(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_of(lambda _, x: 0.0 * x, line(0.1, 3, 9), recipe=WEIGHT, num_slices=3), tmp_path / "s.h5")
    outcome = landscape("sharpness", tmp_path / "s.h5", "--metric", "adaptive_radius")
    assert outcome.stdout == "3.0\n"
    assert "the true value is at least this" in outcome.stderr
    assert re.search(r"adaptive_radius +≥ 3 ", landscape("sharpness", tmp_path / "s.h5").stdout)


def test_another_loss_can_be_measured(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(lambda _, x: x**2, line(-1, 1, 9), names=("train_loss", "test_loss"))
    surface.metrics["test_loss"].values *= 4
    save_surface(surface, tmp_path / "s.h5")
    found = [
        float(landscape("sharpness", tmp_path / "s.h5", "--metric", "curvature", *option).stdout)
        for option in ((), ("--loss", "test_loss"))
    ]
    assert found == pytest.approx([2.0, 8.0])


def test_a_partial_file_says_so(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(lambda _, x: x**2, line(-1, 1, 9))
    surface.evaluated[0, 1] = False
    save_surface(surface, tmp_path / "s.h5")
    outcome = landscape("sharpness", tmp_path / "s.h5")
    assert "partial: 8 of 9 points" in outcome.stdout


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--metric", "flat_radios"),
            "found 'flat_radios'; did you mean flat_radius, flat_radius_min or adaptive_radius?",
        ),
        (("--metric", "flat_radios"), "hint: landscape sharpness FILE lists them"),
        (("--metric", "spectral_density"), "found 'spectral_density', a record; from it are negative_curvature\n"),
        (("--metric", "eigenvalues"), "found 'eigenvalues', a record; from it are lambda_max, lambda_min, lr_limit"),
        (("--loss", "tests_loss"), "loss: found 'tests_loss'"),
        (("--metric", "barrier"), "--metric barrier: not measured: needs a line between two checkpoints"),
        (("--slice", "3"), "slice: found 3; the surface has slices 0 … 2"),
        (("--slice", "-1"), "slice: found -1"),
        (("--tau", "0"), "--tau: found 0; expected a number above 0"),
        (("--tau", "nan"), "--tau: found nan"),
        (("--json", "--markdown"), "choose one"),
        (("--json", "--metric", "flat_radius"), "choose one"),
    ],
)
def test_what_cannot_be_done_is_refused_with_exit_code_2(
    plane: Path, landscape: Landscape, options: tuple[str, ...], message: str
) -> None:
    outcome = landscape("sharpness", plane, *options)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


def test_a_file_that_is_no_surface_has_exit_code_3(tmp_path: Path, landscape_process: Run) -> None:
    (tmp_path / "s.h5").write_text("no")
    finished = landscape_process("sharpness", tmp_path / "s.h5")
    assert (finished.returncode, finished.stdout) == (3, "")


# ---------------------------------------------------------------- documentation


def test_every_measure_is_documented() -> None:
    page = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    assert {name for name in MEASURES if f"`{name}`" not in page} == set()
