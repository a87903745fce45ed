"""`landscape scan --live`: whoever watches sees the surface appear, and nothing else changes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from analytic import line, surface_of
from conftest import ROOT, Outcome, Run
from rich.console import Console
from screen import Screen
from test_terminal import dots_of, in_terminal, map_of, nearest, parabola, pixels_of, share_of

from landscape_cli import load_surface, scan_model
from landscape_cli.cli.live_picture import LivePicture
from landscape_cli.compute.observer import Preflight, Silent, Stage
from landscape_cli.surface import FloatArray, Surface

CONFIG = ROOT / "configs" / "digits.yaml"
SMALL = (
    *("--set", "axes.x.num=9", "--set", "axes.y.num=7", "--set", "data.train.num_examples=30"),
    *("--set", "data.test.num_examples=30", "--set", f"checkpoint.path={ROOT / 'configs' / 'digits.pt'}"),
)
COLORS = {"COLORTERM": "truecolor"}


def frame(picture: LivePicture, width: int = 100, height: int = 40) -> Screen:
    """What stands above the bars now."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=width, height=height, _environ={})
    console.print(picture, end="")
    return Screen(width, height).feed(file.getvalue())


def below(screen: Screen) -> Screen:
    """The same from the first line of the picture on."""
    first = next(
        row for row, cells in enumerate(screen.lines) if any(cell.text in "▀▄" and cell.color for cell in cells)
    )
    return Screen(screen.width, screen.height, lines=screen.lines[first:])


def check_map(screen: Screen, values: FloatArray) -> None:
    """Every cell has the colour of its point.

    Args:
        screen: With the picture at its top.
        values: (9, 7) of the file, all positive and over decades.
    """
    pixels = pixels_of(map_of(screen), 1000)
    expected = (np.log(values) - np.log(values.min())) / np.ptp(np.log(values))
    pixels = pixels[: len(pixels) - (pixels[-1][0] is None)]
    num_y, num_x = len(pixels), len(pixels[0])
    for row, cells in enumerate(pixels):
        for column, pixel in enumerate(cells):
            i, j = nearest(line(-1, 1, 9), num_x, column), nearest(line(-1, 1, 7), num_y, num_y - 1 - row)
            if pixel != "+":
                assert isinstance(pixel, tuple)
                assert share_of(pixel) == pytest.approx(expected[i, j], abs=0.02)


def test_points_appear_as_they_come_coarse_to_fine() -> None:
    surface = surface_of(parabola, line(-1, 1, 9), line(-1, 1, 7), evaluated=False)
    whole = surface_of(parabola, line(-1, 1, 9), line(-1, 1, 7))
    picture = LivePicture(surface)
    assert frame(picture).text() == ""  # nothing was told yet
    picture.update()
    assert "PARTIAL: 0 of 63 points" in frame(picture).text()
    before = 0
    for point in surface.pending():
        surface.update(int(point), {"train_loss": (float(whole["train_loss"].flat[point]), 0.5)})
        picture.update(always=True)
        coloured = sum(pixel is not None for each in pixels_of(map_of(frame(picture)), 1000) for pixel in each)
        assert coloured > before or surface.num_evaluated == 1  # the first is the centre, under its mark
        before = coloured
    assert "63, complete" in frame(picture).text()


def test_a_picture_is_of_the_moment_it_was_told_of() -> None:
    """Another thread draws it, while points go on coming."""
    surface = surface_of(parabola, line(-1, 1, 9), line(-1, 1, 7), evaluated=False)
    picture = LivePicture(surface)
    picture.update(always=True)
    for point in range(30):
        surface.update(point, {"train_loss": (1.0, 0.5)})
    text = frame(picture).text()
    assert "PARTIAL: 0 of 63" in text
    assert "diverged" not in text
    assert "not evaluated: 63" in text


@pytest.mark.parametrize("axes", [(line(-1, 1, 9),), (line(-1, 1, 9), line(-1, 1, 7))])
def test_what_comes_after_that_moment_changes_no_word(axes: tuple[list[float], ...]) -> None:
    surface = surface_of(lambda *_: 1.0, *axes, evaluated=False)
    picture = LivePicture(surface)
    picture.update(always=True)
    for point in range(surface.grid.num_points):
        surface.update(point, {"train_loss": (1.0, 0.5)})
    text = frame(picture).text()
    assert f"PARTIAL: 0 of {surface.grid.num_points}" in text
    assert f"not evaluated: {surface.grid.num_points}" in text
    assert "complete" not in text


def test_the_picture_leaves_room_for_the_bars() -> None:
    surface = surface_of(parabola, line(-1, 1, 9), line(-1, 1, 7))
    picture = LivePicture(surface)
    picture.update()
    for height in (4, 8, 9, 12, 24, 80):
        num_lines = len(frame(picture, 80, height).lines) - 1
        assert num_lines <= max(0, height - 5)
        assert (num_lines == 0) == (height < 9)


def test_an_observer_sees_the_surface_before_its_first_point() -> None:
    told: list[tuple[str, int]] = []

    class Watching(Silent):
        surface: Surface

        def preflight(self, preflight: Preflight) -> None:
            told.append(("preflight", 0))

        def filling(self, surface: Surface) -> None:
            self.surface = surface
            told.append(("filling", surface.num_evaluated))

        def progress(self, stage: Stage, num_done: int, num_total: int) -> None:
            assert self.surface.num_evaluated == num_done
            told.append(("progress", num_done))

    observer = Watching()
    data = {"train": torch.utils.data.TensorDataset(torch.randn(8, 3), torch.arange(8) % 4)}
    surface = scan_model(torch.nn.Linear(3, 4), data, axes={"x": {"num": 5}, "y": {"num": 3}}, observer=observer)
    assert told[:2] == [("preflight", 0), ("filling", 0)]
    assert told[-1] == ("progress", 15)
    assert observer.surface is surface


@pytest.mark.slow
def test_a_terminal_shows_the_surface_of_a_scan_in_two_processes(tmp_path: Path) -> None:
    output = tmp_path / "s.h5"
    screen = in_terminal(
        "scan", CONFIG, "-o", output, *SMALL, "--set", "runtime.processes=2", "--live", width=110, height=40, **COLORS
    )
    check_map(below(screen), load_surface(output)["train_loss"][0])
    text = screen.text()
    assert text.count("SmallResNet: train loss") == 1  # drawn over, not below one another
    assert "63/63" in text
    assert "complete; 63 points computed" in text


@pytest.mark.slow
def test_a_series_of_lines_in_a_terminal(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).symlink_to(ROOT / "configs" / "digits.pt")
    line_of_digits = ("--set", "axes.x.num=11", "--set", "axes.y=null", *SMALL[4:])
    checkpoints = ("--checkpoint", tmp_path / "a.pt", tmp_path / "b.pt")
    output = tmp_path / "{stem}.h5"
    screen = in_terminal("scan", CONFIG, "-o", output, *line_of_digits, "--live", *checkpoints, height=40, **COLORS)
    text = screen.text()
    assert text.count("losses and accuracies") == 2
    assert text.count("11/11") == 2
    assert len(dots_of(screen, (58, 135, 216))) > 40
    assert load_surface(tmp_path / "a.h5").complete
    assert load_surface(tmp_path / "b.h5").complete


@pytest.mark.slow
def test_without_a_terminal_it_is_said_once_and_the_result_is_the_same(tmp_path: Path, landscape_process: Run) -> None:
    done = landscape_process("scan", CONFIG, "-o", tmp_path / "s.h5", *SMALL, "--live", "--json")
    assert done.returncode == 0
    assert done.stderr.count("--live needs a terminal") == 1
    assert "\x1b" not in done.stderr + done.stdout
    assert "▀" not in done.stderr
    assert json.loads(done.stdout)["num_computed"] == 63


def test_quiet_says_nothing_of_it(tmp_path: Path, landscape: Callable[..., Outcome]) -> None:
    tiny = ("--set", "axes.x.num=3", "--set", "axes.y=null", *SMALL[4:])
    outcome = landscape("scan", CONFIG, "-o", tmp_path / "s.h5", *tiny, "--live", "--quiet")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")
