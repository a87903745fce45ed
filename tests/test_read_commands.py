"""`landscape info` and `landscape plot` say what is in a file, to people and to machines, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, Outcome, Run
from documents import validate
from representative import mostly_slow

from landscape_cli.grid import Axis, Grid
from landscape_cli.storage import load_surface, save_surface
from landscape_cli.surface import Direction, Metric, Provenance, Surface, Trajectory

Landscape = Callable[..., Outcome]
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}


def surface_of(num_x: int = 5, num_y: int | None = 4, num_slices: int = 1) -> Surface:
    """x + 10y² (x in 1-D), with everything that a scan records about where it comes from."""
    axes = [Axis.linspace("x", -1.0, 1.0, num_x)]
    if num_y is not None:
        axes.append(Axis.linspace("y", -2.0, 1.0, num_y))
    grid = Grid(tuple(axes), num_slices)
    where = [grid.location(point)[1] for point in range(grid.num_points)]
    values = np.array([x + 10 * sum(y) ** 2 for x, *y in where]).reshape(grid.shape)
    recipe = {"_target_": "random", "normalization": "filter"}
    return Surface(
        grid=grid,
        metrics={
            "train_loss": Metric(values, np.ones(grid.shape), 0.123456, 0.5, 100),
            "test_accuracy": Metric(values / 100, np.ones(grid.shape), 0.98, 0.14, 400),
        },
        directions={axis.name: Direction(recipe, (12.345678,) * num_slices) for axis in axes},
        fingerprint="0123456789abcdef" * 4,
        evaluated=np.ones(grid.shape, dtype=np.bool_),
        provenance=Provenance(
            config="model: {_target_: my_models.net}\n",
            resolved={"model": {"_target_": "my_models.net"}, "checkpoint": {"path": "runs/last.pt"}},
            identity={"model": {"_target_": "my_models.net"}, "checkpoint": {"sha256": "ab" * 32}},
            environment=[{"host": "node7", "device": "cuda:0", "torch": "2.6.0", "command": "landscape scan c.yaml"}],
        ),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A complete plane."""
    save_surface(surface_of(), tmp_path / "s.h5")
    return tmp_path / "s.h5"


def no_constant(name: str) -> object:
    raise AssertionError(f"{name} is not JSON")


def read_json(outcome: Outcome) -> dict[str, object]:
    """The report, which must be JSON to the letter and what the schema says."""
    assert outcome.exit_code == 0, outcome.stderr
    report = json.loads(outcome.stdout, parse_constant=no_constant)
    validate(report, "InfoReport")
    assert isinstance(report, dict)
    return report


def rows(outcome: Outcome) -> dict[str, str]:
    """Name → value of each line that `info` prints for people."""
    assert outcome.exit_code == 0, outcome.stderr
    lines = [line.strip().split("  ", 1) for line in outcome.stdout.splitlines()[1:]]
    return {name: value.strip() for name, value in lines}


# ---------------------------------------------------------------- info for people


def test_info_says_what_the_file_is(file: Path, landscape: Landscape) -> None:
    outcome = landscape("info", file)
    assert outcome.stdout.splitlines()[0] == str(file)
    found = rows(outcome)
    assert found["points"] == "20 of 20 (100%), complete"
    assert found["axis x"].startswith("5 points from -1 to 1, direction random (normalization: filter), length 12.35")
    assert found["axis y"].startswith("4 points from -2 to 1")
    assert found["slices"] == "1"
    assert found["train_loss"] == "centre 0.1235 ± 0.05 (n = 100), on the grid -1 … 41"
    assert found["test_accuracy"] == "centre 0.98 ± 0.007 (n = 400), on the grid -0.01 … 0.41"
    assert found["model"] == "my_models.net"
    assert found["checkpoint"] == "runs/last.pt (sha256 abababababab…)"
    assert found["fingerprint"] == "0123456789ab…"
    assert "by landscape-cli" in found["created"]
    assert found["made on"] == "host node7, device cuda:0, torch 2.6.0, command landscape scan c.yaml"
    assert outcome.stderr == ""


def test_info_counts_a_partial_file_and_says_what_to_do(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of()
    surface.evaluated[0, :2] = False
    save_surface(surface, tmp_path / "s.h5")
    assert rows(landscape("info", tmp_path / "s.h5"))["points"] == (
        "12 of 20 (60%), partial: still running, or stopped (then the same command completes it)"
    )


def test_info_never_calls_a_partial_file_full_or_a_begun_one_empty(tmp_path: Path, landscape: Landscape) -> None:
    for missing, wrong in ((1, "100%"), (1999, "(0%")):
        surface = surface_of(50, 40)
        surface.evaluated.flat[:missing] = False
        save_surface(surface, tmp_path / "s.h5")
        assert wrong not in rows(landscape("info", tmp_path / "s.h5"))["points"]


def test_info_ignores_what_stands_at_points_that_are_not_evaluated(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of()
    surface.evaluated[0, 0] = False
    surface["train_loss"][0, 0] = 1e9
    save_surface(surface, tmp_path / "s.h5")
    expected = surface["train_loss"][0, 1:]
    metric = read_json(landscape("info", tmp_path / "s.h5", "--json"))["metrics"]["train_loss"]  # type: ignore[index]
    assert (metric["min"], metric["max"]) == (expected.min(), expected.max())


def test_info_tells_diverged_points_from_missing_ones(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(num_y=None)
    surface["train_loss"][:] = [[math.nan, 1.0, 2.0, math.inf, 3.0]]
    surface["test_accuracy"][:] = math.nan
    save_surface(surface, tmp_path / "s.h5")
    found = rows(landscape("info", tmp_path / "s.h5"))
    assert found["train_loss"].endswith("on the grid 1 … 3, 2 points not finite")
    assert "nothing evaluated" not in found["test_accuracy"]
    assert found["test_accuracy"].endswith("5 points not finite")
    surface.evaluated[:] = False
    save_surface(surface, tmp_path / "s.h5")
    found = rows(landscape("info", tmp_path / "s.h5"))
    assert found["points"].startswith("0 of 5 (0%), partial")
    assert found["train_loss"].endswith("on the grid nothing evaluated")


@pytest.mark.parametrize("std", [math.nan, math.inf])
def test_info_does_not_make_an_unknown_error_a_zero(tmp_path: Path, landscape: Landscape, std: float) -> None:
    surface = surface_of()
    surface.metrics["train_loss"].centre_std = std
    surface.metrics["test_accuracy"].centre = std
    save_surface(surface, tmp_path / "s.h5")
    found = rows(landscape("info", tmp_path / "s.h5"))
    assert "± 0 " not in found["train_loss"]
    assert found["test_accuracy"].startswith("centre not finite")


def test_info_of_a_file_without_provenance_says_unknown(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(num_y=None, num_slices=2)
    surface.provenance = Provenance(environment=["not a mapping", {"host": "a"}])
    save_surface(surface, tmp_path / "s.h5")
    found = rows(landscape("info", tmp_path / "s.h5"))
    assert found["model"] == "unknown"
    assert "checkpoint" not in found
    assert found["slices"] == "2"
    assert found["made on"] == "host a"


# ---------------------------------------------------------------- info for machines


def test_info_json_is_what_is_in_the_file(file: Path, landscape: Landscape) -> None:
    surface = load_surface(file)
    report = read_json(landscape("info", file, "--json"))
    expected = {
        "file": str(file),
        "complete": True,
        "num_points": 20,
        "num_evaluated": 20,
        "num_slices": 1,
        "axes": {
            name: {
                "start": start,
                "stop": 1.0,
                "num": num,
                "direction": {"_target_": "random", "normalization": "filter"},
                "norm": [12.345678],
                "found": {},
            }
            for name, start, num in (("x", -1.0, 5), ("y", -2.0, 4))
        },
        "cosines": {},
        "trajectory": None,
        "metrics": {
            "train_loss": {
                "centre": 0.123456,
                "centre_standard_error": 0.05,
                "min": -1.0,
                "max": 41.0,
                "num_examples": 100,
                "num_not_finite": 0,
            },
            "test_accuracy": {
                "centre": 0.98,
                "centre_standard_error": 0.14 / 20,
                "min": -0.01,
                "max": 0.41,
                "num_examples": 400,
                "num_not_finite": 0,
            },
        },
        "model": "my_models.net",
        "checkpoint": "runs/last.pt",
        "checkpoint_sha256": "ab" * 32,
        "checkpoint_notes": [],
        "fingerprint": "0123456789abcdef" * 4,
        "created": surface.created,
        "updated": surface.updated,
        "writer": surface.writer,
        "environment": [
            {"host": "node7", "device": "cuda:0", "torch": "2.6.0", "command": "landscape scan c.yaml"},
        ],
    }
    assert {key: report[key] for key in expected} == expected


def test_info_json_keeps_the_order_of_the_metrics(file: Path, landscape: Landscape) -> None:
    assert list(read_json(landscape("info", file, "--json"))["metrics"]) == ["train_loss", "test_accuracy"]  # type: ignore[call-overload]


def test_info_json_has_null_where_a_number_is_not_finite(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of()
    surface["train_loss"][:] = math.nan
    surface["train_loss"][0, 0, 0] = -math.inf
    surface.metrics["train_loss"].centre = math.inf
    surface.metrics["train_loss"].centre_std = math.nan
    recipe = {"_target_": "file", "scale": math.inf, "note": math.nan}
    surface.directions["x"] = Direction(recipe, surface.directions["x"].norm)
    surface.provenance = Provenance(environment=[{"seconds": math.nan}])
    save_surface(surface, tmp_path / "s.h5")
    report = read_json(landscape("info", tmp_path / "s.h5", "--json"))
    metric = report["metrics"]["train_loss"]  # type: ignore[index]
    assert [metric[key] for key in ("centre", "centre_standard_error", "min", "max")] == [None] * 4
    assert metric["num_not_finite"] == 20
    assert report["axes"]["x"]["direction"] == {"_target_": "file", "scale": None, "note": None}  # type: ignore[index]
    assert report["environment"] == [{"seconds": None}]


def test_info_json_of_a_direction_without_a_finite_length_is_valid(tmp_path: Path, landscape: Landscape) -> None:
    """As long as NaN weights give a NaN length."""
    surface = surface_of()
    surface.directions["x"] = Direction({}, (math.nan,))
    save_surface(surface, tmp_path / "s.h5")
    assert read_json(landscape("info", tmp_path / "s.h5", "--json"))["axes"]["x"]["norm"] == [None]  # type: ignore[index]


def test_info_json_of_a_partial_line_with_slices(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(num_y=None, num_slices=3)
    surface.evaluated[2] = False
    save_surface(surface, tmp_path / "s.h5")
    report = read_json(landscape("info", tmp_path / "s.h5", "--json"))
    assert (report["complete"], report["num_points"], report["num_evaluated"]) == (False, 15, 10)
    assert list(report["axes"]) == ["x"]  # type: ignore[call-overload]
    assert report["axes"]["x"]["norm"] == [12.345678] * 3  # type: ignore[index]


def with_path(surface: Surface) -> Surface:
    surface.cosine = np.array([[[1.0, 0.25], [0.25, 1.0]]])
    surface.directions["x"] = Direction({"_target_": "pca", "checkpoints": "a_*.pt"}, (1.0,), {"component": 1})
    coordinates = np.array([[[0.5, -1.5], [0.25, 0.5], [0.0, 0.0]]])
    missed, distance = np.array([[0.125, 0.5, 0.0]]), np.array([4.0, 1.0, 0.0])
    names = ("run/a_1.pt", "run/a_2.pt", "run/a_3.pt")
    surface.trajectory = Trajectory(names, coordinates, missed, distance, np.array([0.75, math.nan]))
    return surface


def test_info_tells_angles_findings_and_the_path(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(with_path(surface_of()), tmp_path / "s.h5")
    lines = landscape("info", tmp_path / "s.h5").stdout.splitlines()
    assert any("cosine x, y" in line and line.endswith(" 0.25") for line in lines)
    assert any("axis x" in line and line.endswith("component 1") for line in lines)
    (told,) = [line for line in lines if "trajectory" in line]
    assert told.endswith("3 checkpoints, from a_1.pt to a_3.pt, at most 4 away, of which the projection misses 12.5 %")
    report = read_json(landscape("info", tmp_path / "s.h5", "--json"))
    assert report["cosines"] == {"x, y": [0.25]}
    assert report["trajectory"] == {
        "names": ["run/a_1.pt", "run/a_2.pt", "run/a_3.pt"],
        "coordinates": [[[0.5, -1.5], [0.25, 0.5], [0.0, 0.0]]],
        "missed": [[0.125, 0.5, 0.0]],
        "distance": [4.0, 1.0, 0.0],
        "explained_variance_ratio": [0.75, None],
    }


def test_golden_files_have_valid_reports(landscape: Landscape) -> None:
    files = sorted((ROOT / "tests" / "data" / "surfaces").glob("*/*.h5"))
    assert files
    for path in files:
        read_json(landscape("info", path, "--json"))


# ---------------------------------------------------------------- plot


@pytest.mark.parametrize("suffix", mostly_slow(MAGIC, "png"))
def test_plot_writes_the_picture_and_says_where(file: Path, landscape: Landscape, suffix: str) -> None:
    picture = file.with_suffix(f".{suffix}")
    outcome = landscape("plot", file, "-o", picture)
    assert outcome == Outcome(0, "", f"drawn: {picture}\n")
    assert picture.read_bytes().startswith(MAGIC[suffix])


@pytest.mark.slow
def test_plot_quiet_says_nothing(file: Path, landscape: Landscape) -> None:
    assert landscape("plot", file, "-o", file.with_suffix(".png"), "--quiet") == Outcome(0, "", "")


def test_plot_quiet_still_says_what_is_wrong(file: Path, landscape: Landscape) -> None:
    assert "error: " in landscape("plot", file.with_suffix(".no"), "-o", file.with_suffix(".png"), "-q").stderr


def test_plot_draws_partial_files_and_every_option(tmp_path: Path, landscape: Landscape) -> None:
    for num_y, kind in ((None, "line"), (4, "filled")):
        surface = surface_of(num_y=num_y, num_slices=2)
        surface.evaluated[0, 1] = False
        save_surface(surface, tmp_path / "s.h5")
        options = ["--kind", kind, "--metric", "test_accuracy", "--slice", "1", "--dpi", "50"]
        assert landscape("plot", tmp_path / "s.h5", "-o", tmp_path / "s.svg", *options).exit_code == 0
        drawing = (tmp_path / "s.svg").read_text()
        for words in ("PARTIAL", f"of {surface.grid.num_points} points", "slice 1 of 2"):
            assert words in drawing  # svg keeps each text as a comment


def test_reading_does_not_touch_the_file(file: Path, landscape: Landscape) -> None:
    before, names = file.read_bytes(), {path.name for path in file.parent.iterdir()}
    landscape("info", file)
    landscape("info", file, "--json")
    landscape("plot", file, "-o", file.with_suffix(".png"))
    assert file.read_bytes() == before
    assert {path.name for path in file.parent.iterdir()} == names | {"s.png"}


# ---------------------------------------------------------------- errors


def write_newer_version(path: Path) -> None:
    save_surface(surface_of(), path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "3.0"
        file.attrs.modify("content_sha256", np.bytes_(b"0" * 64))
    image = path.read_bytes()
    assert image.count(b"0" * 64) == 1
    path.write_bytes(image.replace(b"0" * 64, hashlib.sha256(image).hexdigest().encode()))


def write_truncated(path: Path) -> None:
    save_surface(surface_of(), path)
    path.write_bytes(path.read_bytes()[:-1])


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda path: None, "no such file", "landscape scan CONFIG -o FILE"),
    "a folder": (lambda path: path.mkdir(), "Is a directory", ""),
    "empty": (lambda path: path.touch(), "the file is empty", "--overwrite"),
    "a text": (lambda path: path.write_text("model: net\n"), "not an HDF5 file", "landscape scan CONFIG -o FILE"),
    "foreign": (
        lambda path: h5py.File(path, "w").close(),
        "not a whole landscape surface file",
        "landscape convert FILE -o s.h5",
    ),
    "truncated": (write_truncated, "does not match its checksum", "backup"),
    "newer": (write_newer_version, "format version 3.0", "Upgrade"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_clear_message_and_exit_code_3(tmp_path: Path, landscape: Landscape, kind: str) -> None:
    make, words, hint = BROKEN[kind]
    path, picture = tmp_path / "s.h5", tmp_path / "s.png"
    make(path)
    picture.write_bytes(b"an older picture")
    for command in (["info", path], ["info", path, "--json"], ["plot", path, "-o", picture]):
        outcome = landscape(*command)
        assert outcome.exit_code == 3
        assert outcome.stdout == ""
        message, *rest = outcome.stderr.splitlines()
        assert message.startswith(f"error: {path}: ")
        assert words in message
        assert [line[:6] for line in rest] == (["hint: "] if hint else [])
        assert hint in "".join(rest)
    assert picture.read_bytes() == b"an older picture"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "s.webp"], "s.webp: cannot draw '.webp'; expected .png, .pdf, .svg"),
        (["-o", "s.png", "--kind", "lines"], "kind: found 'lines'; did you mean 'line'?"),
        (["-o", "s.png", "--kind", "line"], "'line' draws 1-D surfaces; this one has 2 axes: use 'filled'"),
        (["-o", "s.png", "--metric", "train_acc"], "metric: found 'train_acc'"),
        (["-o", "s.png", "--slice", "1"], "slice: found 1; the surface has slices 0 … 0"),
        (["-o", "s.png", "--slice", "-1"], "slice: found -1"),
        (["-o", "s.png", "--slice", "one"], "'--slice'"),
        (["-o", "s.png", "--dpi", "5"], "'--dpi'"),
        (["-o", "s.png", "--color", "red"], "No such option"),
        ([], "'--output'"),
    ],
)
def test_a_wrong_request_is_exit_code_2_and_no_picture(
    file: Path, landscape: Landscape, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(file.parent)
    outcome = landscape("plot", file, *arguments)
    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert outcome.stdout == ""
    assert [path.name for path in file.parent.iterdir()] == ["s.h5"]


def test_a_picture_that_cannot_be_written_is_exit_code_4(file: Path, landscape: Landscape) -> None:
    outcome = landscape("plot", file, "-o", file.parent / "gone" / "s.png")
    assert outcome.exit_code == 4
    assert "No such file or directory" in outcome.stderr


def test_the_cause_is_shown_on_request_only(tmp_path: Path, landscape: Landscape) -> None:
    for command in (["info", tmp_path / "no.h5"], ["plot", tmp_path / "no.h5", "-o", tmp_path / "s.png"]):
        assert "Traceback" not in landscape(*command).stderr
        assert "Traceback" in landscape(*command, "--verbose").stderr


@pytest.mark.parametrize("command", ["info", "plot"])
def test_help_names_the_arguments(landscape: Landscape, command: str) -> None:
    outcome = landscape(command, "--help")
    assert outcome.exit_code == 0
    assert "FILE" in outcome.stdout


# ---------------------------------------------------------------- as a process of its own


def test_commands_are_the_same_as_a_process(file: Path, landscape: Landscape, landscape_process: Run) -> None:
    for command in (["info", file], ["info", file, "--json"], ["info", file.with_suffix(".no")]):
        expected, found = landscape(*command), landscape_process(*command)
        assert (found.returncode, found.stdout, found.stderr) == (
            expected.exit_code,
            expected.stdout,
            expected.stderr,
        )


@pytest.mark.parametrize("encoding", mostly_slow(["latin-1", "ascii"], "ascii"))
def test_a_terminal_without_unicode_is_no_obstacle(file: Path, landscape_process: Run, encoding: str) -> None:
    options = {"env": {**os.environ, "PYTHONIOENCODING": encoding}, "encoding": encoding}
    result = landscape_process("info", file, **options)
    assert result.returncode == 0, result.stderr
    assert "20 of 20" in result.stdout
    result = landscape_process("info", file, "--json", **options)
    assert json.loads(result.stdout)["num_points"] == 20


@pytest.mark.slow
def test_a_file_name_that_is_not_utf8_is_no_obstacle(file: Path) -> None:
    odd = file.with_name(os.fsdecode(b"caf\xe9.h5"))
    shutil.copy(file, odd)
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    picture = odd.with_suffix(".png")
    for arguments in (["info", odd], ["info", odd, "--json"], ["plot", odd, "-o", picture], ["info", f"{odd}.no"]):
        command = [sys.executable, "-m", "landscape_cli", *arguments]
        result = subprocess.run(command, env=env, capture_output=True, check=False)
        assert b"Traceback" not in result.stderr
        assert result.returncode == (3 if str(arguments[1]).endswith(".no") else 0)
    assert picture.exists()


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(file: Path) -> None:
    command = f"'{sys.executable}' -m landscape_cli info '{file}' | head -n 1"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert result.stdout == f"{file}\n"
    assert result.stderr == ""


def test_text_in_a_file_cannot_steer_the_terminal(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of()
    surface.fingerprint = "\x1b]0;title\x07" + "0" * 60
    surface.provenance = Provenance(
        identity={"model": {"_target_": "net\x1b[2J"}},
        environment=[{"host": "a\x1b[31mred\r\b", "command": "[bold red]markup[/] :smile: \x9b31m"}],
    )
    save_surface(surface, tmp_path / "s.h5")
    outcome = landscape("info", tmp_path / "s.h5")
    assert outcome.exit_code == 0
    assert not {"\x1b", "\x07", "\r", "\b", "\x9b"} & set(outcome.stdout)
    assert "[bold red]markup[/] :smile:" in outcome.stdout


def test_a_picture_never_replaces_the_surface_that_it_shows(file: Path, landscape: Landscape) -> None:
    link = file.with_name("s.png")
    link.symlink_to(file)
    before = file.read_bytes()
    outcome = landscape("plot", file, "-o", link)
    assert outcome.exit_code == 2
    assert "is the surface file itself" in outcome.stderr
    assert file.read_bytes() == before


def test_a_pipe_that_is_closed_is_not_called_a_bug(file: Path) -> None:
    command = f"'{sys.executable}' -m landscape_cli info '{file}' | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.stdout.strip() in ("0", "141")  # 0 where it had written all before the pipe was closed
    assert result.stderr == ""
