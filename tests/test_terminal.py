"""`landscape show`: every cell of a picture in the terminal is a point of the grid, in its place and in its colour."""

from __future__ import annotations

import io
import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from analytic import line, surface_of
from conftest import ROOT, Outcome, Run
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from rich.console import Console
from screen import Cell, Screen

from landscape_cli.analysis.layer import layer_of
from landscape_cli.cli.surface_page import page_of
from landscape_cli.cli.terminal_map import RAMP
from landscape_cli.grid import Axis, Grid
from landscape_cli.storage import save_surface
from landscape_cli.surface import Surface

Landscape = Callable[..., Outcome]
VIRIDIS = np.round(np.array(mpl.colormaps["viridis"].colors) * 255)  # type: ignore[attr-defined]
RED = (205, 0, 0)
X, Y = line(-1, 1, 41), [0.05 * step for step in range(-8, 25)]  # 41 × 33; y is not symmetric


def parabola(_: int, x: float, y: float) -> float:
    return x + 10 * y**2


def steep(_: int, x: float, y: float) -> float:
    return math.exp(3 * (x + 2 * y))


def shown(
    surface: Surface, width: int, height: int | None, colors: str | None, encoding: str = "utf-8", **options: object
) -> Screen:
    """The page as it is seen."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace", newline="")
    console = Console(
        file=file,
        force_terminal=colors is not None,
        color_system=colors,  # type: ignore[arg-type]
        width=width,
        height=height or 25,
        _environ={},
    )
    console.print(page_of(surface, height=height, **options), end="")  # type: ignore[arg-type]
    file.flush()
    return Screen(width, 1000).feed(file.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]


Pixels = list[list[Cell]]


def map_of(screen: Screen, marks: str = "▀▄×+·") -> list[list[Cell]]:
    """The cells of the picture: what stands in the columns of the second line up to the gap before the words."""
    first = screen.lines[1]  # without the end of an axis
    start = next(column for column, cell in enumerate(first) if is_cell(cell, marks))
    end = next((column for column in range(start, len(first)) if not is_cell(first[column], marks)), len(first))
    rows = []
    for each in screen.lines:
        if len(each) < end or not all(is_cell(cell, marks) for cell in each[start:end]):
            break
        rows.append(each[start:end])
    return rows


def is_cell(cell: Cell, marks: str) -> bool:
    return cell.text in marks or cell.background is not None


def pixels_of(rows: list[list[Cell]], height: int) -> list[list[tuple[int, int, int] | str | None]]:
    """The colours of the upper and the lower halves; None where nothing is; "+" where the mark hides it."""
    pixels: list[list[tuple[int, int, int] | str | None]] = []
    for row in rows:
        pixels += [[halves(cell)[0] for cell in row], [halves(cell)[1] for cell in row]]
    return pixels[:height]


def halves(cell: Cell) -> tuple[object, object]:
    match cell.text:
        case "▀":
            return cell.color, cell.background
        case "▄":
            return cell.background, cell.color
        case "+":
            return "+", "+"
        case "×":
            return cell.background, cell.background
    assert cell.text == "·"
    return None, None


def share_of(color: tuple[int, int, int]) -> float:
    """Where on the scale a colour lies, by matplotlib's own table."""
    distances = np.abs(VIRIDIS - np.array(color)).sum(axis=1)
    assert distances.min() < 16, color
    return float(np.argmin(distances)) / 255


def nearest(coordinates: list[float], num: int, at: int) -> int:
    """Which point is the nearest to the middle of a cell, where the first and the last reach beyond their points."""
    low, high = (1.5 * coordinates[0] - 0.5 * coordinates[1], 1.5 * coordinates[-1] - 0.5 * coordinates[-2])
    middle = low + (at + 0.5) / num * (high - low)
    return min(range(len(coordinates)), key=lambda index: abs(coordinates[index] - middle))


def shares(function: Callable[..., float], *, log: bool) -> np.ndarray:
    """(N, M) the oracle: 0 at the least value, 1 at the largest."""
    values = np.array([[function(0, x, y) for y in Y] for x in X])
    values = np.log(values) if log else values
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize(("function", "log"), [(parabola, False), (steep, True)])
@pytest.mark.parametrize(("width", "height"), [(120, 40), (60, 30), (40, 16)])
def test_every_cell_has_the_colour_of_its_point(
    function: Callable[..., float], log: bool, width: int, height: int
) -> None:
    rows = map_of(shown(surface_of(function, X, Y), width, height, "truecolor"))
    expected = shares(function, log=log)
    pixels = pixels_of(rows, 2 * len(rows))
    if all(pixel is None for pixel in pixels[-1]):
        pixels.pop()
    num_y, num_x = len(pixels), len(pixels[0])
    assert num_x > 10
    assert num_y > 5
    for row, line_of_pixels in enumerate(pixels):
        for column, pixel in enumerate(line_of_pixels):
            i, j = nearest(X, num_x, column), nearest(Y, num_y, num_y - 1 - row)
            if pixel == "+":
                assert abs(X[i]) <= 0.1
                assert abs(Y[j]) <= 0.2
            else:
                assert isinstance(pixel, tuple)
                assert share_of(pixel) == pytest.approx(expected[i, j], abs=0.02)
    assert sum(pixel == "+" for each in pixels for pixel in each) == 2  # both halves of one cell


def test_small_grids_are_magnified_by_whole_factors() -> None:
    rows = map_of(shown(surface_of(parabola, line(-1, 1, 3), line(-1, 1, 3)), 120, 30, "truecolor"))
    columns = [halves(cell)[0] for cell in rows[0]]
    sizes = [columns.count(color) for color in dict.fromkeys(columns)]
    assert len(sizes) == 3
    assert len(set(sizes)) == 1
    assert abs(len(columns) - 2 * len(rows)) <= 3  # a half block is a square


def test_without_colours_the_density_rises_with_the_value() -> None:
    screen = shown(surface_of(parabola, X, Y), 100, 40, None)
    rows = map_of(screen, RAMP + "+")
    expected = shares(parabola, log=False)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            i, j = nearest(X, len(cells), column), nearest(Y, len(rows), len(rows) - 1 - row)
            if cell.text != "+":
                levels = [int((expected[i, j] + rounding) * len(RAMP)) for rounding in (-1e-9, 1e-9)]
                assert cell.text in {RAMP[min(max(level, 0), len(RAMP) - 1)] for level in levels}
    assert RAMP in screen.text()


def test_256_colours_are_those_that_lie_nearest() -> None:
    rows = map_of(shown(surface_of(parabola, X, Y), 120, 60, "256"))
    expected = shares(parabola, log=False)
    num_y = len(Y)
    assert len(rows) == 17  # a row for each point, two in a line
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            if cell.text != "+":
                number = cell.color
                assert isinstance(number, int)
                i, j = nearest(X, len(cells), column), nearest(Y, num_y, num_y - 1 - 2 * row)
                wanted = VIRIDIS[round(expected[i, j] * 255)]
                assert np.abs(palette(number) - wanted).max() <= 52


def palette(number: int) -> np.ndarray:
    """A colour of the cube of xterm."""
    assert number >= 16
    if number >= 232:
        return np.full(3, 8 + 10 * (number - 232))
    levels = [0, 95, 135, 175, 215, 255]
    return np.array([levels[(number - 16) // 36], levels[(number - 16) // 6 % 6], levels[(number - 16) % 6]])


def test_what_is_not_evaluated_is_blank_and_what_diverged_is_red() -> None:
    x, y = line(-1, 1, 20), line(-1, 1, 20)
    evaluated = np.fromfunction(lambda s, i, j: (i >= 10) | (j < 5), (1, 20, 20))

    def diverging(_: int, x: float, y: float) -> float:
        return math.nan if x > 0.5 else x + 10 * y**2

    screen = shown(surface_of(diverging, x, y, evaluated=evaluated), 100, 21, "truecolor")
    pixels = pixels_of(map_of(screen), 40)
    num_y, num_x = len(pixels), len(pixels[0])
    for row, line_of_pixels in enumerate(pixels):
        for column, pixel in enumerate(line_of_pixels):
            i, j = nearest(x, num_x, column), nearest(y, num_y, num_y - 1 - row)
            if pixel != "+":
                assert (pixel is None) == (not evaluated[0, i, j])
                assert (pixel == RED) == (bool(evaluated[0, i, j]) and x[i] > 0.5)
    assert f"× diverged (NaN or inf): {int((np.array(x) > 0.5).sum()) * 20}" in screen.text()
    assert "· not evaluated: 150" in screen.text()
    assert "PARTIAL: 250 of 400 points" in screen.text()


def test_a_coarse_part_of_a_large_grid_is_seen_as_a_whole() -> None:
    """A stopped scan leaves every eighth point; the cells of a small window hold several points each."""
    axis = line(-1, 1, 161)
    coarse = np.fromfunction(lambda s, i, j: (i % 8 == 0) & (j % 8 == 0), (1, 161, 161))
    surface = surface_of(parabola, axis, axis, evaluated=coarse)
    pixels = [pixel for each in pixels_of(map_of(shown(surface, 72, 11, "truecolor")), 20) for pixel in each]
    assert len(pixels) > 300
    assert pixels.count(None) == 0
    none = surface_of(parabola, axis, axis, evaluated=False)
    assert all(
        cell.text in "·+" and cell.background is None for row in map_of(shown(none, 72, 11, "256")) for cell in row
    )


def test_a_cell_shows_only_what_was_evaluated_within_it() -> None:
    axis = line(-1, 1, 161)
    evaluated = np.random.default_rng(0).random((1, 161, 161)) < 0.02
    surface = surface_of(parabola, axis, axis, evaluated=evaluated)
    pixels = pixels_of(map_of(shown(surface, 72, 11, "truecolor")), 20)
    num_y, num_x = len(pixels), len(pixels[0])
    values = layer_of(surface).values
    low, high = np.nanmin(values), np.nanmax(values)
    cells = [np.clip(np.floor((np.arange(161) + 0.5) / 161 * num), 0, num - 1) for num in (num_x, num_y)]
    for row, line_of_pixels in enumerate(pixels):
        for column, pixel in enumerate(line_of_pixels):
            within = values[np.ix_(cells[0] == column, cells[1] == num_y - 1 - row)]
            within = within[np.isfinite(within)]
            if pixel is None:
                assert not within.size
            elif pixel != "+":
                assert isinstance(pixel, tuple)
                assert np.abs((within - low) / (high - low) - share_of(pixel)).min() < 0.02


HARD: dict[str, Callable[[], Surface]] = {
    "all NaN": lambda: surface_of(lambda *_: math.nan, X, Y),
    "infinite": lambda: surface_of(lambda s, x, y: math.inf if x > 0 else -x, X, Y),
    "nothing evaluated": lambda: surface_of(parabola, X, Y, evaluated=False),
    "one point on x": lambda: surface_of(parabola, [0.0], Y),
    "one point on y": lambda: surface_of(parabola, X, [0.5]),
    "one point": lambda: surface_of(parabola, [0.0], [0.0]),
    "constant": lambda: surface_of(lambda *_: 2.0, X, Y),
    "tiny": lambda: surface_of(lambda s, x, y: 1e-12 * parabola(s, x, y), X, Y),
    "huge": lambda: surface_of(lambda s, x, y: 1e12 * parabola(s, x, y), X, Y),
    "from the least to the largest": lambda: surface_of(lambda s, x, y: 1.7e308 * x, X, Y),
    "coordinates of all sizes": lambda: surface_of(parabola, [1e-9, 1e-3, 1.0, 1e6], [-1e12, 0.0, 1e-12]),
    "volume": lambda: surface_of(lambda s, x, y, z: x + 10 * y**2 + 100 * z, line(-1, 1, 5), line(-1, 1, 4), [-1, 2]),
    "slices": lambda: surface_of(parabola, line(-1, 1, 3), line(-1, 1, 3), num_slices=1000),
    "line": lambda: surface_of(lambda s, x: x**2 + s, X, num_slices=3, names=("train_loss", "train_accuracy")),
    "line, nothing evaluated": lambda: surface_of(lambda s, x: x, X, evaluated=False),
    "line, all NaN": lambda: surface_of(lambda s, x: math.nan, X),
    "line, one point": lambda: surface_of(lambda s, x: 2.0, [0.0]),
    "line, constant": lambda: surface_of(lambda s, x: 2.0, X),
    "line, huge": lambda: surface_of(lambda s, x: 1.7e308 * x, X, num_slices=2),
    "line, by factors": lambda: surface_of(lambda s, x: x**2, [0.001, 0.01, 0.1, 1.0]),
    "line, diverging": lambda: surface_of(lambda s, x: math.nan if x > 0.5 else x, X, num_slices=2),
    "line, slices": lambda: surface_of(lambda s, x: x**2 + s, line(-1, 1, 3), num_slices=1000),
}


@pytest.mark.parametrize(
    "name",
    mostly_slow(
        HARD, "all NaN", "nothing evaluated", "one point", "constant", "huge", "coordinates of all sizes", "volume"
    ),
)
def test_no_surface_is_too_hard_to_show(name: str) -> None:
    surface = HARD[name]()
    for colors, encoding in (
        ("truecolor", "utf-8"),
        ("256", "ascii"),
        ("standard", "utf-8"),
        (None, "utf-8"),
        (None, "ascii"),
    ):
        for width, height in ((20, 8), (90, 24)):
            screen = shown(surface, width, height, colors, encoding)
            assert (screen.wrapped, len(screen.lines) <= height + 1) == (0, True)
            assert encoding == "utf-8" or screen.text().isascii()


def test_501_by_501_points_fit_into_the_smallest_window() -> None:
    axis = np.linspace(-1, 1, 501)
    values = (axis[:, None] + 10 * axis[None, :] ** 2)[None]
    grid = Grid((Axis("x", tuple(axis.tolist())), Axis("y", tuple(axis.tolist()))))
    large = Surface.empty(grid, {"train_loss": (0.0, 1.0)}, {"train_loss": 9}, directions={}, fingerprint="")
    large.metrics["train_loss"] = replace(large.metrics["train_loss"], values=values, std=values)
    large.evaluated[:] = True
    large.directions = surface_of(parabola, [0.0], [0.0]).directions
    pixels = pixels_of(map_of(shown(large, 20, 12, "truecolor")), 1000)
    num_x, num_y = len(pixels[0]), len(pixels) - (pixels[-1][0] is None)
    for row in range(num_y):
        for column, pixel in enumerate(pixels[row]):
            i, j = nearest(axis.tolist(), num_x, column), nearest(axis.tolist(), num_y, num_y - 1 - row)
            if pixel != "+":
                assert isinstance(pixel, tuple)
                assert share_of(pixel) == pytest.approx((values[0, i, j] - values.min()) / np.ptp(values), abs=0.02)


def test_of_a_volume_the_layer_nearest_to_0_is_shown() -> None:
    volume = surface_of(lambda s, x, y, z: x + 10 * y**2 + 100 * z, X, Y, [-1.0, 0.25, 2.0])
    flat = surface_of(parabola, X, Y)
    screens = [shown(each, 140, 30, "truecolor") for each in (volume, flat)]
    assert map_of(screens[0]) == map_of(screens[1])
    assert "at z = 0.25" in screens[0].text()
    assert "24 … 40.4" in screens[0].text()


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    width=st.integers(20, 200),
    height=st.integers(8, 60),
    name=st.sampled_from(sorted(HARD)),
    colors=st.sampled_from(["truecolor", None]),
)
def test_no_picture_is_larger_than_the_window(width: int, height: int, name: str, colors: str | None) -> None:
    screen = shown(HARD[name](), width, height, colors)
    assert screen.wrapped == 0
    assert len(screen.lines) - 1 <= height  # behind the last line there is another, empty one


def test_the_numbers_beside_the_picture_are_those_of_the_file() -> None:
    text = " ".join(shown(surface_of(steep, X, Y, num_slices=2), 160, None, "truecolor", slice_index=1).text().split())
    assert "train loss (cross_entropy)" in text
    assert "slice 1 of 2, counting from 0" in text
    assert f"1 ± {0.5 / math.sqrt(2000):.2g} (n = 2,000)" in text
    values = [steep(0, x, y) for x in X for y in Y]
    assert f"{min(values):.4g} … {max(values):.4g}" in text
    assert "logarithmic" in text
    assert "every filter moved by its own norm" in text
    assert "linear" in shown(surface_of(steep, X, Y), 160, None, "truecolor", log=False).text()


@pytest.mark.parametrize(("first", "is_there"), [(1.0, False), (-1.0, True), (0.0, True)])
def test_the_mark_of_the_checkpoint_is_named_where_it_is_drawn(first: float, is_there: bool) -> None:
    for colors in (None, "truecolor"):
        screen = shown(surface_of(steep, line(first, 3, 5), Y), 140, 30, colors)
        drawn = any(cell.text == "+" for cells in screen.lines for cell in cells[:90])
        assert (drawn, "+ the checkpoint" in screen.text()) == (is_there, is_there)


# ---------------------------------------------------------------- lines


def dots_of(screen: Screen, color: object) -> dict[int, set[int]]:
    """Column of dots → rows from the top, of the curve of a colour."""
    found: dict[int, set[int]] = {}
    bits = {
        0x01: (0, 0),
        0x02: (0, 1),
        0x04: (0, 2),
        0x40: (0, 3),
        0x08: (1, 0),
        0x10: (1, 1),
        0x20: (1, 2),
        0x80: (1, 3),
    }
    for row, cells in enumerate(screen.lines):
        for column, cell in enumerate(cells[:98]):
            if cell.color == color and 0x2800 < ord(cell.text) <= 0x28FF:
                for bit, (across, down) in bits.items():
                    if (ord(cell.text) - 0x2800) & bit:
                        found.setdefault(2 * column + across, set()).add(4 * row + down)
    return found


BLUE = (58, 135, 216)


def cubic(_: int, x: float) -> float:
    return x**3 + x**2


def test_a_curve_goes_through_its_points() -> None:
    dots = dots_of(shown(surface_of(cubic, line(-1, 2, 301)), 140, 30, "truecolor"), BLUE)
    columns, rows = sorted(dots), [row for each in dots.values() for row in each]
    assert columns == list(range(columns[0], columns[-1] + 1))  # x to the right, without a gap
    assert (min(rows), max(rows)) == (0, 4 * 29 - 1)
    for column in columns:
        x = -1 + 3 * (column - columns[0]) / (columns[-1] - columns[0])
        expected = (1 - (cubic(0, x) - 0.0) / 12.0) * max(rows)
        assert min(abs(row - expected) for row in dots[column]) <= 1.5


def test_a_partial_curve_is_its_points_alone() -> None:
    evaluated = np.zeros((1, 31), dtype=np.bool_)
    evaluated[0, ::10] = True
    surface = surface_of(cubic, line(-1, 2, 31), evaluated=evaluated)
    dots = dots_of(shown(surface, 140, 30, "truecolor"), BLUE)
    assert sum(map(len, dots.values())) == 4
    assert "PARTIAL: 4 of 31 points" in shown(surface, 140, 30, None).text()


def test_a_diverged_point_breaks_a_curve_and_is_marked() -> None:
    surface = surface_of(lambda _, x: math.nan if abs(x - 0.5) < 0.01 else x, line(-1, 1, 41))
    screen = shown(surface, 140, 30, "truecolor")
    dots = dots_of(screen, BLUE)
    marks = [column for column, cell in enumerate(screen.lines[0][:98]) if cell.text == "×" and cell.color == RED]
    assert len(marks) == 1
    first, last = min(dots), max(dots)
    assert abs((2 * marks[0] - first) / (last - first) - 0.75) < 0.02
    assert not any(column in dots for column in range(2 * marks[0], 2 * marks[0] + 2))
    assert "× diverged (NaN or inf): 1" in screen.text()


def test_over_slices_the_curve_is_the_mean_within_the_range() -> None:
    surface = surface_of(lambda s, x: [0.0, 0.25, 1.0][s], line(-1, 1, 11), num_slices=3)
    text = shown(surface, 120, 24, None)
    rows = [row for row, cells in enumerate(text.lines) if sum(cell.text == "*" for cell in cells[:70]) > 20]
    assert [round((1 - row / 22) * 22) for row in rows] == [round(1.25 / 3 * 22)]
    edges = [row for row, cells in enumerate(text.lines) if sum(cell.text == "." for cell in cells[:70]) > 20]
    assert edges == [0, 22]
    one = shown(surface, 120, 24, None, slice_index=2).text()
    assert "slice 2 of 3" in one


@pytest.mark.parametrize(("begun", "words"), [(3, "mean of 3 slices"), (1, "the one slice that is begun")])
def test_slices_that_are_not_begun_do_not_count(begun: int, words: str) -> None:
    evaluated = np.arange(4)[:, None] < begun
    surface = surface_of(lambda s, x: s + x, line(-1, 1, 11), num_slices=4, evaluated=evaluated)
    assert words in " ".join(shown(surface, 200, 24, None).text().split())


def test_what_is_a_share_has_a_panel_from_0_to_1() -> None:
    surface = surface_of(lambda _, x: x**2, X, names=("train_loss", "test_loss", "train_accuracy"))
    text = shown(surface, 120, 40, "truecolor").text()
    labels = re.findall(r"^ *([\d.e-]+) ", text, flags=re.MULTILINE)
    assert labels == ["1", "0", "1", "0", "-1"]
    assert "train loss" in text
    assert "test loss" in text
    alone = shown(surface, 120, 40, "truecolor", metric="train_accuracy").text()
    assert "train accuracy along a line" in " ".join(alone.split())
    assert "train loss" not in alone


def test_a_split_has_its_colour_whatever_is_drawn() -> None:
    surface = surface_of(cubic, line(-1, 2, 31), names=("val_loss", "test_loss", "train_loss", "test_accuracy"))
    orange, green = (224, 122, 31), (46, 160, 90)
    for metric, color in (("train_loss", BLUE), ("test_loss", orange), ("test_accuracy", orange), ("val_loss", green)):
        screen = shown(surface, 140, 30, "truecolor", metric=metric)
        assert dots_of(screen, color)
        assert not any(dots_of(screen, other) for other in {BLUE, orange, green} - {color})


def test_the_test_split_alone_has_not_the_colour_of_train() -> None:
    screen = shown(surface_of(cubic, line(-1, 2, 31), names=("test_loss",)), 140, 30, "truecolor")
    assert dots_of(screen, (224, 122, 31))
    assert not dots_of(screen, BLUE)


def test_two_metrics_of_a_split_have_two_colours() -> None:
    surface = surface_of(
        lambda s, x: x, line(-1, 2, 31), names=("test_margin", "train_margin", "test_norm", "test_gap")
    )
    colors = [cell.color for cells in shown(surface, 140, 30, "truecolor").lines for cell in cells if cell.text == "⠒"]
    assert len(set(colors)) == 4


# ---------------------------------------------------------------- the command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_surface(surface_of(parabola, X, Y), tmp_path / "s.h5")
    return tmp_path / "s.h5"


def in_terminal(*args: object, width: int = 100, height: int = 30, **environment: str) -> Screen:
    """The command in a pseudo-terminal, and what a user sees there."""
    ours, theirs = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    names = ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "landscape_cli", *map(str, args)]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**kept, "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(theirs)
        content = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            content += piece
    os.close(ours)
    assert process.returncode == 0, content
    return Screen(width, height).feed(content.decode())


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"COLORTERM": "truecolor"}, tuple),
        pytest.param({}, int, marks=pytest.mark.slow),
        pytest.param({"NO_COLOR": "1"}, type(None), marks=pytest.mark.slow),
        pytest.param({"TERM": "dumb"}, type(None), marks=pytest.mark.slow),
    ],
)
def test_a_terminal_gets_the_colours_that_it_can_show(file: Path, environment: dict[str, str], kind: type) -> None:
    screen = in_terminal("show", file, **environment)
    marks = "▀+" if kind is not type(None) else RAMP + "+"
    assert {type(cell.color) for row in map_of(screen, marks) for cell in row if cell.text != "+"} == {kind}
    assert screen.wrapped == 0
    assert len(screen.lines) <= 30  # with the line of the prompt
    assert "train loss" in screen.text()


@pytest.mark.slow
def test_a_pipe_gets_characters(file: Path, landscape_process: Run) -> None:
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    done = landscape_process("show", file, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "@" in done.stdout
    ascii_only = landscape_process("show", file, env={**environment, "PYTHONIOENCODING": "ascii"})
    assert ascii_only.returncode == 0
    assert ascii_only.stdout.isascii()
    assert "+/-" in ascii_only.stdout
    assert "?" not in ascii_only.stdout


@pytest.mark.slow
def test_show_needs_no_torch(file: Path) -> None:
    code = f"""
import sys
from landscape_cli.cli.app import main
try:
    main(["show", {str(file)!r}])
except SystemExit as stop:
    assert not stop.code
assert not {{"torch", "matplotlib"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_in_a_file_do_not_steer_the_terminal(tmp_path: Path) -> None:
    surface = surface_of(parabola, X, Y, names=("train_loss", "a\x1b[2J\n\x07[red]b_loss"))
    model = {"_target_": "x.\x1b]0;title\x07\x1b[31m" + "y" * 5000}
    surface.provenance = replace(surface.provenance, resolved={"model": model, "checkpoint": {"path": "\x1b[H.pt"}})
    for metric in (None, "a\x1b[2J\n\x07[red]b_loss"):
        screen = shown(surface, 100, 30, "truecolor", metric=metric)  # it refuses unknown sequences
        assert screen.wrapped == 0
        assert "\\x1b" in screen.text()


def test_what_is_asked_for_wrongly_is_named(file: Path, landscape: Landscape) -> None:
    for args, words in {
        ("-m", "train_los"): "did you mean 'train_loss'",
        ("--slice", "3"): "slices 0 … 0",
        ("--log",): "a logarithmic scale needs positive values",
    }.items():
        outcome = landscape("show", file, *args)
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert words in outcome.stderr
    assert landscape("show", file, "--width", "3").exit_code == 2


def test_quiet_says_nothing_but_errors(file: Path, landscape: Landscape) -> None:
    for command in ("show", "info"):
        outcome = landscape(command, file, "-q")
        assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")
    outcome = landscape("show", file, "-q", "-m", "train_los")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "did you mean 'train_loss'" in outcome.stderr


def test_the_window_can_be_chosen(file: Path, landscape: Landscape) -> None:
    lines = landscape("show", file, "--width", "50", "--height", "14").stdout.splitlines()
    assert len(lines) <= 14
    assert max(map(len, lines)) <= 50
    assert landscape("show", file, "--linear", "-m", "train_loss", "--slice", "0").exit_code == 0
