"""A picture shows the values where they were measured, and says what it does not know."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from representative import mostly_slow

from landscape_cli.analysis.plot import plot
from landscape_cli.errors import OutputError, UsageError
from landscape_cli.grid import Axis, Grid
from landscape_cli.storage import save_surface
from landscape_cli.surface import Direction, Metric, Provenance, Surface, Trajectory

SUFFIXES = (".png", ".pdf", ".svg")
MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".svg": b"<?xml"}
RESOLVED = {
    "model": {"_target_": "landscape_cli.examples.SmallResNet"},
    "loss": {"_target_": "cross_entropy"},
    "checkpoint": {"path": "configs/digits.pt"},
    "evaluation": {"batchnorm": "frozen", "precision": "float32"},
}
Function = Callable[..., float]

# ---------------------------------------------------------------- surfaces


def surface_of(
    function: Function,
    x: Sequence[float],
    y: Sequence[float] | None = None,
    *,
    num_slices: int = 1,
    names: Sequence[str] = ("train_loss",),
    evaluated: object = True,
    resolved: dict[str, object] | None = None,
    recipe: dict[str, object] | None = None,
) -> Surface:
    """The surface of f(slice, x[, y]); ``evaluated`` is broadcast to the grid, NaN is where it is False."""
    axes = (Axis("x", tuple(x)),) if y is None else (Axis("x", tuple(x)), Axis("y", tuple(y)))
    grid = Grid(axes, num_slices)
    locations = [grid.location(point) for point in range(grid.num_points)]
    values = np.array([float(function(index, *where)) for index, where in locations]).reshape(grid.shape)
    mask = np.array(np.broadcast_to(evaluated, grid.shape), dtype=np.bool_)
    return Surface(
        grid=grid,
        metrics={name: Metric(np.where(mask, values, np.nan), np.zeros(grid.shape), 0.0, 0.0, 10) for name in names},
        directions={
            axis.name: Direction(recipe or {"_target_": "random", "normalization": "filter"}, (1.0,) * num_slices)
            for axis in axes
        },
        fingerprint="",
        evaluated=mask,
        provenance=Provenance("", RESOLVED if resolved is None else resolved),  # type: ignore[arg-type]
    )


def bowl(_slice: int, x: float, y: float) -> float:
    """Steep along y: a picture with swapped axes cannot pass for it."""
    return x + 10 * y**2


def line(start: float, stop: float, num: int) -> list[float]:
    return np.linspace(start, stop, num).tolist()


# ---------------------------------------------------------------- what is drawn


def contours(figure: Figure, *, filled: bool) -> ContourSet:
    (found,) = [
        artist for artist in figure.axes[0].collections if isinstance(artist, ContourSet) and artist.filled is filled
    ]
    return found


def pixels(figure: Figure) -> Callable[[float, float], np.ndarray]:
    """Draw, and return (x, y) → the RGB values of the 5 × 5 pixels around that point of the plane."""
    canvas = cast(FigureCanvasAgg, figure.canvas)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int)

    def around(x: float, y: float) -> np.ndarray:
        column, row = figure.axes[0].transData.transform((x, y)).astype(int)
        return image[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)

    return around


def is_grey(colors: np.ndarray) -> bool:
    return bool((np.ptp(colors, axis=1) <= 8).all())


def legend_texts(figure: Figure) -> list[str]:
    legends = [legend for ax in figure.axes if (legend := ax.get_legend()) is not None]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def title(figure: Figure) -> str:
    return figure.axes[0].get_title(loc="left")


def curves(ax: Axes) -> list[np.ndarray]:
    """(2, N) x and y of each curve, without the vertical line at 0 and the marks of diverged points."""
    drawn = [curve for curve in ax.lines if curve.get_linestyle() != "None" and curve.get_transform() == ax.transData]
    return [np.array(curve.get_data(), dtype=float) for curve in drawn]


# ---------------------------------------------------------------- the plane


@pytest.mark.parametrize("partial", [False, True])
def test_contour_lines_run_where_the_surface_has_their_level(partial: bool) -> None:
    x, y = line(-1.0, 1.0, 9), line(-0.6, 1.0, 33)
    evaluated = np.ones((1, 9, 33), dtype=bool)
    if partial:
        evaluated[:, 1::2, 1::2] = False
    figure = plot(surface_of(bowl, x, y, evaluated=evaluated))
    drawn = contours(figure, filled=False)
    step = (y[1] - y[0]) * (2 if partial else 1)
    vertices = [(level, path.vertices) for level, path in zip(drawn.levels, drawn.get_paths(), strict=True)]
    assert sum(len(points) for _, points in vertices) > 100
    for level, points in vertices:
        found = np.array([bowl(0, a, b) for a, b in points])
        # between two points the lines are straight: off by at most step²/8 · max |f″|
        np.testing.assert_allclose(found, level, atol=20 * step**2 / 8 + 1e-9)


def test_contour_lines_of_a_linear_surface_are_exact() -> None:
    evaluated = np.random.default_rng(0).random((1, 6, 9)) < 0.6
    for mask in (True, evaluated):
        drawn = contours(
            plot(surface_of(lambda s, a, b: 3 * a - b, line(-1, 1, 6), line(0, 2, 9), evaluated=mask)), filled=False
        )
        for level, path in zip(drawn.levels, drawn.get_paths(), strict=True):
            if len(path.vertices):
                np.testing.assert_allclose(path.vertices @ [3, -1], level, atol=1e-9)


@pytest.mark.parametrize("partial", [False, True])
def test_colors_are_those_of_the_colour_bar(partial: bool) -> None:
    x, y = line(-1.0, 1.0, 11), line(-2.0, 1.0, 7)
    evaluated = np.ones((1, 11, 7), dtype=bool)
    evaluated[0, 5, 5] = not partial
    figure = plot(surface_of(lambda s, a, b: 2 * a + b, x, y, evaluated=evaluated))
    filled = contours(figure, filled=True)
    around = pixels(figure)
    matches = []
    for a, b in np.random.default_rng(0).uniform((-0.95, -1.9), (0.95, 0.9), (300, 2)):
        i = np.searchsorted(filled.levels, 2 * a + b)
        low, high = filled.levels[i - 1 : i + 1]
        if 0.3 < (2 * a + b - low) / (high - low) < 0.7:  # away from the lines
            expected = 255 * np.array(colormaps["viridis"](filled.norm((low + high) / 2))[:3])
            matches.append(np.abs(np.median(around(a, b), axis=0) - expected).max() < 6)
    assert len(matches) > 50
    assert np.mean(matches) > 0.8  # the rest lies under labels and dots


@pytest.mark.parametrize("floor", mostly_slow([0.3, 0.6], 0.3))
@pytest.mark.parametrize("partial", [False, True])
def test_a_plateau_at_the_lowest_value_is_filled(floor: float, partial: bool) -> None:
    """Accuracy at the level of chance, over most of the plane."""
    evaluated = np.ones((1, 21, 21), dtype=bool)
    evaluated[0, 1, 1] = not partial
    x = line(-2.0, 2.0, 21)
    surface = surface_of(lambda s, a, b: max(floor, 1 - a**2 - b**2), x, x, evaluated=evaluated)
    around = pixels(plot(surface))
    assert not any(is_grey(around(a, b)) for a in (-1.75, 1.75) for b in (-1.75, 1.75))


@settings(deadline=None, max_examples=8)
@given(values=arrays(np.float64, (3, 3), elements=st.floats(-1e12, 1e12) | st.floats(1e-12, 1e12)))
@example(values=2.3025 + 1e-4 * np.repeat([[-1.0], [0.0], [1.0]], 3, axis=1))
def test_levels_rise_and_cover_all_values(values: np.ndarray) -> None:
    surface = surface_of(lambda s, a, b: values[int(a), int(b)], range(3), range(3))
    filled = contours(plot(surface), filled=True)
    assert (np.diff(filled.levels) > 0).all()
    assert np.diff(filled.norm(filled.levels)).min() > 1e-3  # no two that look like one
    assert len(filled.levels) <= 18
    assert filled.levels[0] <= values.min()
    assert filled.levels[-1] >= values.max()


@pytest.mark.slow
@pytest.mark.parametrize("low", [1e-3, 1e9])
def test_levels_cover_values_next_to_a_power_of_ten(low: float) -> None:
    """log₁₀ rounds: that of the float below 0.001 is −3 exactly."""
    for value in (np.nextafter(low, 0), low, np.nextafter(low, np.inf)):
        for other in (value * 1e3, value * 1e-3):
            surface = surface_of(lambda s, a, b, low=value, high=other: high if a else low, range(3), range(2))
            levels = contours(plot(surface), filled=True).levels
            assert levels[0] <= min(value, other)
            assert levels[-1] >= max(value, other)


@pytest.mark.parametrize("partial", mostly_slow([False, True], True))
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_diverged_points_are_hatched_and_never_filled(partial: bool, value: float) -> None:
    x, y = line(-1.0, 1.0, 9), line(-1.0, 1.0, 7)
    evaluated = np.ones((1, 9, 7), dtype=bool)
    evaluated[0, 7, 1] = not partial
    lost = [(x[2], y[4]), (x[1], y[2]), (x[1], y[3])]
    figure = plot(surface_of(lambda s, a, b: value if (a, b) in lost else a + b, x, y, evaluated=evaluated))
    around = pixels(figure)
    assert all(is_grey(around(a + 0.01, b + 0.01)) for a, b in lost)
    for a, b in ((x[4], y[1]), (x[6], y[5]), (x[2], y[1])):
        assert not is_grey(around(a + 0.03, b + 0.03))
    assert legend_texts(figure) == ["evaluated; linear between"] * partial + ["diverged (NaN or inf)"]
    assert ("PARTIAL" in title(figure)) is partial


def test_what_was_not_evaluated_is_not_hatched_as_diverged() -> None:
    x, y = line(-1.0, 1.0, 9), line(-1.0, 1.0, 9)
    evaluated = np.zeros((1, 9, 9), dtype=bool)
    evaluated[:, :5, :5] = True
    figure = plot(surface_of(lambda s, a, b: math.nan if (a, b) == (-1, -1) else a, x, y, evaluated=evaluated))
    around = pixels(figure)
    assert is_grey(around(-0.98, -0.98))
    assert not (around(-0.98, -0.98) == 255).all()
    assert (around(0.6, 0.55) == 255).all()  # white paper


def test_a_finite_surface_has_no_word_of_divergence() -> None:
    figure = plot(surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4)))
    assert legend_texts(figure) == []
    assert not [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_hatch()]


def test_a_partial_plane_dots_the_evaluated_points_and_counts_them() -> None:
    evaluated = np.random.default_rng(1).random((1, 7, 5)) < 0.5
    x, y = line(-1.0, 1.0, 7), line(-2.0, 1.0, 5)
    figure = plot(surface_of(bowl, x, y, evaluated=evaluated))
    dots = {(a, b) for line2d in figure.axes[0].lines if line2d.get_marker() == "." for a, b in line2d.get_xydata()}
    assert dots == {(x[i], y[j]) for _, i, j in np.argwhere(evaluated)}
    assert title(figure).endswith(f"\nPARTIAL: {evaluated.sum()} of 35 points")


def test_a_complete_surface_is_not_called_partial() -> None:
    for y in (None, line(-1, 1, 3)):
        assert "PARTIAL" not in title(plot(surface_of(lambda s, *c: sum(c), line(-1, 1, 5), y)))


@pytest.mark.parametrize("num_points", mostly_slow([0, 1, 2, 3, 4, 7, 19], 0, 2, 19))
def test_every_moment_of_a_scan_is_a_picture(num_points: int) -> None:
    x, y = line(-1.0, 1.0, 5), line(-1.0, 2.0, 4)
    order = Grid((Axis("x", tuple(x)), Axis("y", tuple(y)))).scan_order()
    evaluated = np.isin(np.arange(20), order[:num_points]).reshape(1, 5, 4)
    figure = plot(surface_of(bowl, x, y, evaluated=evaluated))
    cast(FigureCanvasAgg, figure.canvas).draw()
    assert f"PARTIAL: {num_points} of 20 points" in title(figure)


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    values=arrays(np.float64, (1, 3, 4), elements=st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf])),
    evaluated=arrays(np.bool_, (1, 3, 4)),
)
def test_any_values_at_any_points_are_a_picture(values: np.ndarray, evaluated: np.ndarray) -> None:
    surface = surface_of(lambda s, a, b: values[0, int(a), int(b)], range(3), range(4), evaluated=evaluated)
    cast(FigureCanvasAgg, plot(surface).canvas).draw()


@pytest.mark.slow
def test_points_on_a_diagonal_are_a_picture() -> None:
    """The part of one process of several; no triangle can be drawn through it."""
    for number in (2, 3):
        evaluated = np.zeros((1, 4, 4), dtype=bool)
        evaluated[0, range(number), range(number)] = True
        figure = plot(surface_of(bowl, line(-1, 1, 4), line(-1, 1, 4), evaluated=evaluated))
        cast(FigureCanvasAgg, figure.canvas).draw()


def test_a_triangle_with_a_diverged_corner_is_a_picture() -> None:
    """The third point of a scan that diverges: nothing is left to be filled."""
    evaluated = np.zeros((1, 3, 3), dtype=bool)
    evaluated[0, [1, 0, 1], [1, 1, 0]] = True
    surface = surface_of(lambda s, a, b: math.nan if b < 0 else a, line(-1, 1, 3), line(-1, 1, 3), evaluated=evaluated)
    figure = plot(surface)
    cast(FigureCanvasAgg, figure.canvas).draw()
    assert legend_texts(figure) == ["evaluated; linear between", "diverged (NaN or inf)"]


def test_of_a_volume_the_layer_at_the_checkpoint_is_drawn() -> None:
    axes = tuple(
        Axis(name, coordinates)
        for name, coordinates in zip("xyz", ((-1, 0, 1), (-2, 0, 1, 2), (-3, 0, 5)), strict=True)
    )
    grid = Grid(axes)
    x, y, z = np.meshgrid(*(axis.coordinates for axis in axes), indexing="ij")
    values = (2 + 0.3 * x + 0.1 * y + 10 * z)[None]
    surface = Surface(
        grid,
        {"a_loss": Metric(values, values, 1.0, 1.0, 10)},
        {axis.name: Direction({"_target_": "random"}, (1.0,)) for axis in axes},
        "",
        np.ones(grid.shape, dtype=bool),
    )
    figure = plot(surface)
    assert "at z = 0" in title(figure)
    for level, path in zip(
        contours(figure, filled=False).levels, contours(figure, filled=False).get_paths(), strict=True
    ):
        for u, v in np.asarray(path.vertices):
            assert 2 + 0.3 * u + 0.1 * v == pytest.approx(level, abs=1e-9)
    with pytest.raises(UsageError, match="this one has 3 axes"):
        plot(surface, kind="line")


def test_a_path_is_drawn_through_its_checkpoints_with_what_the_plane_misses() -> None:
    surface = surface_of(bowl, line(-1, 1, 5), line(-1, 1, 5))
    coordinates = np.array([[[0.5, -0.5], [0.25, 0.5], [0.0, 0.0]]])
    surface.trajectory = Trajectory(
        ("a", "b", "c"), coordinates, np.array([[0.125, 0.9, 0.0]]), np.array([4.0, 0.5, 0.0]), np.ones(2)
    )
    figure = plot(surface)
    drawn = [np.asarray(line.get_xydata()) for line in figure.axes[0].lines]
    assert any(each.shape == (3, 2) and np.array_equal(each, coordinates[0]) for each in drawn)
    words = "path of 3 checkpoints; of the way to the farthest 12.5 % lies outside the plane, to others up to 90 %"
    assert any(text.replace("\n", " ").startswith(words) for text in legend_texts(figure))


def test_a_path_is_marked_along_a_line() -> None:
    surface = surface_of(lambda _slice, x: x * x, line(-1, 1, 5))
    coordinates = np.array([[[0.75], [0.25], [0.0]]])
    surface.trajectory = Trajectory(
        ("a", "b", "c"), coordinates, np.array([[0.125, 0.9, 0.0]]), np.array([4.0, 0.5, 0.0]), np.ones(1)
    )
    figure = plot(surface)
    drawn = [np.asarray(each.get_xdata()) for each in figure.axes[0].lines if each.get_marker() == "|"]
    assert [each.tolist() for each in drawn] == [[0.75, 0.25, 0.0]]
    words = "path of 3 checkpoints; of the way to the farthest 12.5 % lies outside the line, to others up to 90 %"
    assert words in [text.replace("\n", " ") for text in legend_texts(figure)]


@pytest.mark.parametrize(("stop", "scale"), [(3.0, "linear"), (60.0, "log")])
def test_coordinates_that_were_spaced_by_factors_get_a_logarithmic_axis(stop: float, scale: str) -> None:
    surface = surface_of(lambda _slice, x: 1 + x, np.geomspace(1.0, stop, 5).tolist())
    assert plot(surface).axes[0].get_xscale() == scale


@pytest.mark.parametrize(
    ("recipe", "found", "label"),
    [
        ({"_target_": "between", "checkpoint": "runs/b.pt"}, {}, "x: from a.pt (0) to b.pt (1)"),
        (
            {"_target_": "pca", "checkpoints": "*"},
            {"component": 2, "explained_variance_ratio": 0.125},
            "x: principal direction 2 of the path (12.5 % of the variance)",
        ),
        pytest.param(
            {"_target_": "between", "checkpoint": "other/a.pt"},
            {},
            "x: from runs/a.pt (0) to other/a.pt (1)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"_target_": "between", "checkpoint": "b.pt", "orthogonal": True},
            {},
            "x: towards b.pt, orthogonal to the axes before",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"_target_": "random", "parameters": {"include": ["conv2.*"], "exclude": ["*.bias"]}},
            {},
            "x: random direction in conv2.* without *.bias (1.0 = every filter moved by its own norm)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"_target_": "gradient", "normalization": "unit"},
            {},
            "x: gradient direction (Euclidean length)",
            marks=pytest.mark.slow,
        ),
        ({"_target_": "hessian"}, {"eigenvalue": 4.0951}, "x: Hessian eigenvector, λ = 4.1 (Euclidean length)"),
        pytest.param(
            {"_target_": "gradient", "normalization": "filter"},
            {},
            "x: gradient direction (1.0 = every filter moved by its own norm)",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_axis_says_what_its_direction_is(recipe: dict[str, str], found: dict[str, float], label: str) -> None:
    surface = surface_of(bowl, line(-1, 1, 3), line(-1, 1, 3))
    surface.directions["x"] = Direction(recipe, (1.0,), found)
    surface.provenance = Provenance(resolved={"checkpoint": {"path": "runs/a.pt"}})
    assert plot(surface).axes[0].get_xlabel().replace("\n", " ") == label


@pytest.mark.parametrize(("num_x", "num_y"), [(1, 5), (5, 1), (1, 1)])
def test_one_point_axes_show_every_point_in_its_place(num_x: int, num_y: int) -> None:
    x, y = line(0.5, 1.0, num_x), line(-1.0, 1.0, num_y)
    figure = plot(surface_of(bowl, x, y))
    (points,) = [artist for artist in figure.axes[0].collections if isinstance(artist, PathCollection)]
    found = dict(zip(map(tuple, np.asarray(points.get_offsets())), np.asarray(points.get_array()), strict=True))
    assert found == {(a, b): bowl(0, a, b) for a in x for b in y}


def test_the_checkpoint_is_marked_where_it_is_on_the_plane() -> None:
    def crosses(figure: Figure) -> list[list[float]]:
        return [
            point for mark in figure.axes[0].lines if mark.get_marker() == "+" for point in mark.get_xydata().tolist()
        ]

    assert crosses(plot(surface_of(bowl, line(-1, 1, 4), line(-1, 1, 4)))) == [[0.0, 0.0]] * 2
    assert crosses(plot(surface_of(bowl, line(1, 2, 4), line(-1, 1, 4)))) == []


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(0.0, 1.0, marks=pytest.mark.slow),
        pytest.param(2.302, 2.303, marks=pytest.mark.slow),
        (2.3024, 2.3026),
        pytest.param(1e6, 1e6 + 1, marks=pytest.mark.slow),
        (1e-12, 2e-12),
        pytest.param(0.1, 3e7, marks=pytest.mark.slow),
        (-5.0, -4.9),
        pytest.param(3.0, 3.0, marks=pytest.mark.slow),
    ],
)
def test_ticks_of_the_colour_bar_can_be_told_apart_and_read(low: float, high: float) -> None:
    figure = plot(surface_of(lambda s, a, b: low + (high - low) * a, line(0, 1, 11), line(0, 1, 4)))
    cast(FigureCanvasAgg, figure.canvas).draw()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels() if label.get_text()]
    assert labels
    assert len(labels) == len(set(labels))
    assert max(map(len, labels)) <= 10  # 2.3026, and not 2.3026000000000004


# ---------------------------------------------------------------- the line


def test_a_line_goes_through_every_value() -> None:
    x = line(-1.0, 2.0, 7)
    surface = surface_of(lambda s, a: 5 - a**2, x, names=("train_loss", "train_accuracy"))
    surface["train_accuracy"][:] /= 10
    left, right = plot(surface).axes
    np.testing.assert_allclose(curves(left)[0], [x, 5 - np.square(x)])
    np.testing.assert_allclose(curves(right)[0], [x, (5 - np.square(x)) / 10])
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy")


@pytest.mark.parametrize("num_slices", [2, 7])
def test_over_slices_the_line_is_the_mean_and_the_bands_are_range_and_error(num_slices: int) -> None:
    x = line(-1.0, 1.0, 9)
    surface = surface_of(lambda s, a: a, x, num_slices=num_slices)
    surface["train_loss"][:] = np.random.default_rng(0).normal(size=surface.grid.shape)
    figure = plot(surface)
    values = surface["train_loss"]
    np.testing.assert_allclose(curves(figure.axes[0])[0], [x, values.mean(axis=0)], rtol=1e-12)
    mean, error = values.mean(axis=0), scipy.stats.sem(values, axis=0)
    bands = [artist for artist in figure.axes[0].collections if isinstance(artist, PolyCollection)]
    for band, low, high in zip(
        bands, (values.min(axis=0), mean - error), (values.max(axis=0), mean + error), strict=True
    ):
        corners = np.concatenate([path.vertices for path in band.get_paths()])
        for i, a in enumerate(x):
            heights = corners[corners[:, 0] == a, 1]
            np.testing.assert_allclose((heights.min(), heights.max()), (low[i], high[i]), rtol=1e-12)
    assert f"mean of {num_slices} slices with standard error and range" in legend_texts(figure)


def test_a_point_that_diverges_in_one_slice_breaks_the_line_and_is_marked() -> None:
    x = line(-1.0, 1.0, 5)
    surface = surface_of(lambda s, a: math.inf if (s, a) == (1, 0.5) else s + a, x, num_slices=3)
    figure = plot(surface)
    (curve,) = curves(figure.axes[0])
    np.testing.assert_allclose(curve[1], [0.0, 0.5, 1.0, math.nan, 2.0])
    marks = [point for mark in figure.axes[0].lines if mark.get_marker() == "x" for point in mark.get_xdata()]
    assert marks == [0.5]
    assert "diverged (NaN or inf)" in legend_texts(figure)


def test_a_partial_line_shows_the_coordinates_that_all_slices_have() -> None:
    x = line(-1.0, 1.0, 5)
    evaluated = np.array([[True, True, True, False, True], [True, False, True, False, True]])
    figure = plot(surface_of(lambda s, a: s + a, x, num_slices=2, evaluated=evaluated))
    (curve,) = curves(figure.axes[0])
    np.testing.assert_allclose(curve, [[-1.0, 0.0, 1.0], [-0.5, 0.5, 1.5]])
    assert title(figure).endswith("\nPARTIAL: 7 of 10 points")


def test_a_partial_line_before_any_coordinate_is_whole_shows_what_there_is() -> None:
    evaluated = np.array([[True, True, True, False, False], [False, False, False, False, False]])
    figure = plot(surface_of(lambda s, a: s + a, line(-1, 1, 5), num_slices=2, evaluated=evaluated))
    np.testing.assert_allclose(curves(figure.axes[0])[0], [[-1.0, -0.5, 0.0]] * 2)


@pytest.mark.parametrize(("ratio", "scale"), [(49.0, "linear"), (51.0, "log")])
def test_a_loss_that_spans_decades_gets_a_logarithmic_axis(ratio: float, scale: str) -> None:
    assert plot(surface_of(lambda s, a: 1 + (ratio - 1) * a, line(0, 1, 5))).axes[0].get_yscale() == scale


def test_a_loss_that_is_not_positive_never_gets_a_logarithmic_axis() -> None:
    for low in (0.0, -1e-9):
        assert plot(surface_of(lambda s, a, low=low: low + 1e6 * a, line(0, 1, 5))).axes[0].get_yscale() == "linear"


def test_a_single_metric_can_be_drawn_alone() -> None:
    surface = surface_of(lambda s, a: a**2, line(-1, 1, 5), names=("train_loss", "test_loss", "train_accuracy"))
    surface["test_loss"][:] += 7
    (ax,) = plot(surface, metric="test_loss").axes
    np.testing.assert_allclose(curves(ax)[0][1], np.square(line(-1, 1, 5)) + 7)
    assert legend_texts(ax.figure) == ["test loss"]
    (ax,) = plot(surface, metric="train_accuracy").axes
    assert ax.get_ylabel() == "accuracy"


def test_splits_are_told_apart_by_colour_and_size() -> None:
    names = ("train_loss", "test_clean_loss", "test_noisy_loss", "train_accuracy", "test_clean_accuracy")
    surface = surface_of(lambda s, a: a**2, line(-1, 1, 5), names=names)
    for name, size in zip(names, (3, 4, 5, 3, 4), strict=True):
        surface.metrics[name].num_examples = size
    figure = plot(surface)
    colors = {handle.get_label(): handle.get_color() for handle in figure.axes[0].get_legend().get_lines()}
    assert len({colors["train loss"], colors["test clean loss"], colors["test noisy loss"]}) == 3
    assert colors["test clean loss"] == colors["test clean accuracy"]
    for words in ("n(train) = 3", "n(test_clean) = 4", "n(test_noisy) = 5"):
        assert words in figure.get_supxlabel()


def test_metrics_that_are_neither_loss_nor_accuracy_are_drawn_too() -> None:
    surface = surface_of(lambda s, a: a**2, line(-1, 1, 5), names=("train_margin",))
    assert legend_texts(plot(surface)) == ["train margin"]
    surface = surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4), names=("train_margin",))
    assert title(plot(surface)) == "SmallResNet: train margin"


# ---------------------------------------------------------------- slices


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 2])
def test_one_slice_is_drawn_as_if_it_were_alone(index: int) -> None:
    x, y = line(-1.0, 1.0, 5), line(-1.0, 1.0, 4)
    figure = plot(surface_of(lambda s, a: (s + 1) * a, x, num_slices=3), slice_index=index)
    np.testing.assert_allclose(curves(figure.axes[0])[0], [x, (index + 1) * np.array(x)])
    assert not [artist for artist in figure.axes[0].collections if isinstance(artist, PolyCollection)]
    assert f"slice {index} of 3" in title(figure)
    figure = plot(surface_of(lambda s, a, b: (s + 1) * (a + b), x, y, num_slices=3), slice_index=index)
    alone = plot(surface_of(lambda s, a, b: (index + 1) * (a + b), x, y))
    for filled in (False, True):
        for found, expected in zip(
            contours(figure, filled=filled).get_paths(), contours(alone, filled=filled).get_paths(), strict=True
        ):
            np.testing.assert_array_equal(found.vertices, expected.vertices)
    assert f"slice {index} of 3" in title(figure)


def test_a_plane_of_several_slices_shows_the_first() -> None:
    figure = plot(surface_of(lambda s, a, b: s + a, line(-1, 1, 5), line(-1, 1, 4), num_slices=2))
    assert "slice 0 of 2" in title(figure)
    assert contours(figure, filled=True).levels[-1] <= 1.0


# ---------------------------------------------------------------- values that were not measured


@pytest.mark.parametrize("dimensions", mostly_slow([1, 2], 1))
def test_what_stands_at_points_that_are_not_evaluated_never_matters(tmp_path: Path, dimensions: int) -> None:
    y = line(-1.0, 1.0, 5) if dimensions == 2 else None
    shape = (2, 7, 5)[: dimensions + 1]
    evaluated = np.random.default_rng(3).random(shape) < 0.6
    evaluated[:, [0, 3, 6]] = True
    images = []
    for filler in (math.nan, -1.0, 1e9):
        surface = surface_of(lambda s, *c: 2 + sum(c), line(-1, 1, 7), y, num_slices=2, evaluated=evaluated)
        surface["train_loss"][~evaluated] = filler
        plot(surface, tmp_path / "s.svg")
        images.append((tmp_path / "s.svg").read_bytes())
    assert len(set(images)) == 1


# ---------------------------------------------------------------- never a warning, never a crash


FUNCTIONS: dict[str, Function] = {
    "constant": lambda s, *c: 3.0,
    "all NaN": lambda s, *c: math.nan,
    "all infinite": lambda s, *c: math.inf,
    "tiny": lambda s, *c: 1e-12 * (2 + sum(c)),
    "huge": lambda s, *c: 1e12 * (2 + sum(c)),
    "from 1e-12 to 1e12": lambda s, *c: 10.0 ** (12 * c[0]),
    "from 1e-200 to 1e200": lambda s, *c: 10.0 ** (200 * c[0]),
    "negative": lambda s, *c: -sum(c) - 5,
    "of both signs": lambda s, *c: c[0] ** 3,
    "one step of a float": lambda s, *c: np.nextafter(1.0, 2.0) if c[0] > 0 else 1.0,
    "a single finite value": lambda s, *c: 1.0 if all(v == -1 for v in c) else math.nan,
    "a single value not finite": lambda s, *c: math.nan if all(v == -1 for v in c) else 1 + c[0],
}


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("kind", mostly_slow(FUNCTIONS, "all NaN", "from 1e-200 to 1e200", "one step of a float"))
def test_any_surface_is_a_picture_without_a_warning(tmp_path: Path, kind: str, dimensions: int) -> None:
    y = line(-1.0, 1.0, 4) if dimensions == 2 else None
    surface = surface_of(FUNCTIONS[kind], line(-1.0, 1.0, 5), y, names=("train_loss", "train_accuracy"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(surface, tmp_path / "s.png", dpi=40)
    assert (tmp_path / "s.png").read_bytes().startswith(MAGIC[".png"])


@pytest.mark.parametrize(
    ("suffix", "dimensions"),
    [
        pytest.param(".png", 1, marks=pytest.mark.slow),
        (".pdf", 1),
        (".svg", 1),
        (".PNG", 2),
        pytest.param(".pdf", 2, marks=pytest.mark.slow),
    ],
)
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str, dimensions: int) -> None:
    y = line(-1.0, 1.0, 4) if dimensions == 2 else None
    evaluated = np.random.default_rng(0).random((30, 5, 4)[: dimensions + 1]) < 0.9
    surface = surface_of(lambda s, *c: s + sum(c), line(-1, 1, 5), y, num_slices=30, evaluated=evaluated)
    plot(surface, tmp_path / f"s{suffix}")
    assert (tmp_path / f"s{suffix}").read_bytes().startswith(MAGIC[suffix.lower()])


@pytest.mark.parametrize(
    "resolved",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"model": {}, "loss": {}, "checkpoint": {}, "evaluation": {}}, marks=pytest.mark.slow),
        {"model": "net", "loss": 3, "checkpoint": None, "evaluation": [1]},
        pytest.param(
            {"model": {"_target_": None}, "checkpoint": {"path": 5}, "evaluation": {"batchnorm": None}},
            marks=pytest.mark.slow,
        ),
        {"checkpoint": {"path": "runs/lr$1e-3$_wd$\\x$.pt"}},
        pytest.param({"checkpoint": {"path": "runs/cost$5_of_$7.pt"}}, marks=pytest.mark.slow),
        pytest.param({"checkpoint": {"path": "runs/模型.pt"}}, marks=pytest.mark.slow),
        {"checkpoint": {"path": "runs/a\nb.pt"}, "model": {"_target_": "пакет.Модель"}},
    ],
)
def test_provenance_of_any_kind_is_text_and_no_markup(tmp_path: Path, resolved: dict[str, object]) -> None:
    for y in (None, line(-1.0, 1.0, 4)):
        surface = surface_of(lambda s, *c: sum(c), line(-1.0, 1.0, 5), y, resolved=resolved)
        plot(surface, tmp_path / "s.png", dpi=40)


# ---------------------------------------------------------------- as a reader sees it


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize(
    ("model", "checkpoint"),
    [
        ("landscape_cli.examples.SmallResNet", "configs/digits.pt"),
        ("my_models.WideResNet28x10WithStochasticDepthAndSqueezeExcitation", "last.pt"),
        ("timm.vit_base_patch16_clip_quickgelu_224", "runs/resnet18_cifar10_lr0.1_wd5e-4_bs128_seed42_300.safetensors"),
    ],
)
def test_no_word_is_cut_off(dimensions: int, model: str, checkpoint: str) -> None:
    y = line(-1.0, 1.0, 4) if dimensions == 2 else None
    names = [f"{split}_{metric}" for split in ("train", "validation", "test") for metric in ("loss", "accuracy")]
    surface = surface_of(
        lambda s, *c: math.nan if c[0] == -1 else 1 + c[0] ** 2,
        line(-1.0, 1.0, 5),
        y,
        num_slices=12,
        names=names,
        resolved={**RESOLVED, "model": {"_target_": model}, "checkpoint": {"path": checkpoint}},
        recipe={"_target_": "random", "normalization": "weight"},  # the longest label
    )
    surface.evaluated[-1, -1] = False
    figure = plot(surface)
    cast(FigureCanvasAgg, figure.canvas).draw()
    drawn, paper = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert drawn.x1 <= paper.x1 + 0.01
    assert drawn.y1 <= paper.y1 + 0.01


def test_axes_say_what_a_unit_is() -> None:
    for normalization, words in (
        ("filter", "every filter moved by its own norm"),
        ("layer", "every tensor moved by its own norm"),
        ("weight", "relative noise on every weight"),
        ("none", "multiples of the direction"),
    ):
        recipe = {"_target_": "random", "normalization": normalization}
        ax = plot(surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4), recipe=recipe)).axes[0]
        assert words in ax.get_xlabel().replace("\n", " ")
        assert words in ax.get_ylabel().replace("\n", " ")
        assert (ax.get_xlabel()[:2], ax.get_ylabel()[:2]) == ("x:", "y:")


def test_the_footer_says_from_what_the_picture_was_made() -> None:
    surface = surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4))
    surface.metrics["train_loss"].num_examples = 60000
    figure = plot(surface)
    footer = figure.get_supxlabel()
    for words in (
        "digits.pt",
        "n(train) = 60,000",
        "BatchNorm frozen",
        "float32",
        "filter normalization",
        "one slice: no error bar",
    ):
        assert words in footer
    assert figure.axes[1].get_ylabel() == "train loss (cross_entropy)"
    assert title(figure) == "SmallResNet: train loss"


# ---------------------------------------------------------------- files


DRAW = """
import sys
from landscape_cli import load_surface, plot
for path in sys.argv[1:]:
    for suffix in (".png", ".pdf", ".svg"):
        plot(load_surface(path), path + suffix)
"""


@pytest.mark.slow
def test_equal_surfaces_give_equal_pictures_byte_for_byte(tmp_path: Path) -> None:
    files = [tmp_path / "line", tmp_path / "plane"]
    surfaces = [
        surface_of(lambda s, *c: math.nan if c[0] == 1 else s + sum(c), line(-1, 1, 5), y, num_slices=2)
        for y in (None, line(-1.0, 1.0, 4))
    ]
    for path, surface in zip(files, surfaces, strict=True):
        save_surface(surface, path)
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", DRAW, *files], env=env, check=True)
    for path, surface in zip(files, surfaces, strict=True):
        for suffix in SUFFIXES:
            plot(surface, tmp_path / f"again{suffix}")
            assert (tmp_path / f"again{suffix}").read_bytes() == path.with_suffix(suffix).read_bytes()


DRAW_KINDS = """
import sys
from landscape_cli import load_surface, plot
from landscape_cli.analysis.animation import animate
surface = load_surface(sys.argv[1])
for kind in ("contour", "heatmap", "surface3d", "rays", "profile"):
    for suffix in (".png", ".svg"):
        plot(surface, sys.argv[2] + kind + suffix, kind=kind)
plot({"a": surface, "b": surface}, sys.argv[2] + "panels.svg")
plot({"a": surface, "b": surface}, sys.argv[2] + "difference.svg", difference=True)
animate({"a": surface, "b": surface}, sys.argv[2] + "film.gif", dpi=40)
"""


@pytest.mark.slow
def test_every_kind_is_the_same_in_every_process(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x, y: math.nan if x == 1 else 1 + x**2 + 10 * y**2, line(-1, 1, 5), line(-1, 1, 5))
    for metric in surface.metrics.values():
        metric.centre = 1.0
    save_surface(surface, tmp_path / "s.h5")
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        command = [sys.executable, "-c", DRAW_KINDS, tmp_path / "s.h5", f"{folder}/"]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
    first, second = (sorted((tmp_path / seed).iterdir()) for seed in ("1", "2"))
    assert len(first) == 13
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(plot(surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4))), Figure)
    assert list(tmp_path.iterdir()) == []


def test_the_surface_is_left_as_it_was() -> None:
    surface = surface_of(lambda s, a, b: math.nan if a == 1 else b, line(-1, 1, 5), line(-1, 1, 4), evaluated=True)
    before = (surface["train_loss"].tobytes(), surface.evaluated.tobytes())
    plot(surface)
    assert (surface["train_loss"].tobytes(), surface.evaluated.tobytes()) == before


def test_dpi_is_the_resolution_of_a_png(tmp_path: Path) -> None:
    surface = surface_of(lambda s, a: a, line(-1, 1, 5))
    widths = []
    for dpi in (50, 100):
        plot(surface, tmp_path / "s.png", dpi=dpi)
        widths.append(int.from_bytes((tmp_path / "s.png").read_bytes()[16:20], "big"))
    assert widths == [320, 640]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mounting a file system is not permitted here: {result.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("suffix", mostly_slow([".png", ".svg"], ".png"))
def test_a_full_disk_keeps_the_old_picture_and_leaves_no_other(small_disk: Path, suffix: str) -> None:
    path = small_disk / f"s{suffix}"
    path.write_bytes(b"an older picture")
    (small_disk / "ballast").write_bytes(bytes(48 * 1024))
    with pytest.raises(OutputError, match="No space left on device") as error:
        plot(surface_of(bowl, line(-1, 1, 41), line(-1, 1, 41)), path)
    assert error.value.exit_code == 4
    assert path.read_bytes() == b"an older picture"
    assert sorted(small_disk.iterdir()) == sorted([path, small_disk / "ballast"])


def test_places_where_no_picture_can_be_written_are_named(tmp_path: Path) -> None:
    surface = surface_of(lambda s, a: a, line(-1, 1, 5))
    (tmp_path / "folder.png").mkdir()
    for path, reason in (
        (tmp_path / "gone" / "s.png", "No such file or directory"),
        (tmp_path / "folder.png", "Is a directory"),
    ):
        with pytest.raises(OutputError, match=f"{path.name}: .*{reason}") as error:
            plot(surface, path)
        assert "-o" in str(error.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


# ---------------------------------------------------------------- what cannot be drawn


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "lien"}, "kind: found 'lien'; did you mean 'line'?"),
        ({"kind": "pie"}, "kind: found 'pie'; known: contour, convexity, filled, heatmap, line"),
        ({"kind": "contour"}, "the surface has one axis; expected two"),
        ({"metric": "train_los"}, "metric: found 'train_los'; did you mean 'train_loss'?"),
        ({"metric": "x"}, "metric: found 'x'; known: train_loss"),
        ({"slice_index": 2}, "slice: found 2; the surface has slices 0 … 1"),
        ({"slice_index": -1}, "slice: found -1; the surface has slices 0 … 1"),
        ({"path": "s.gif"}, "s.gif: cannot draw '.gif'; expected .png, .pdf, .svg"),
        ({"path": "s"}, "s: cannot draw a file without a suffix; expected .png, .pdf, .svg"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_what_can(options: dict[str, object], words: str) -> None:
    surface = surface_of(lambda s, a: a, line(-1, 1, 5), num_slices=2)
    with pytest.raises(UsageError) as error:
        plot(surface, **options)  # type: ignore[arg-type]
    assert words in str(error.value)
    assert error.value.exit_code == 2


def test_a_plane_is_not_drawn_as_a_line() -> None:
    with pytest.raises(UsageError, match="'line' draws 1-D surfaces; this one has 2 axes: use 'filled'"):
        plot(surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4)), kind="line")


# ---------------------------------------------------------------- no torch


WITHOUT_TORCH = """
import sys
from landscape_cli.analysis import plot
from landscape_cli.cli.app import main
for arguments in (["info", sys.argv[1]], ["info", "--json", sys.argv[1]], ["plot", sys.argv[1], "-o", sys.argv[2]]):
    try:
        main(arguments)
    except SystemExit as stop:
        assert not stop.code, stop.code
assert "matplotlib" in sys.modules
assert "h5py" in sys.modules
sys.exit("torch" in sys.modules or "torchvision" in sys.modules)
"""


@pytest.mark.slow
def test_reading_needs_no_torch(tmp_path: Path) -> None:
    save_surface(surface_of(bowl, line(-1, 1, 5), line(-1, 1, 4)), tmp_path / "s.h5")
    command = [sys.executable, "-c", WITHOUT_TORCH, tmp_path / "s.h5", tmp_path / "s.png"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "s.png").exists()
