"""Every kind of picture shows the values where they are, whatever the surface."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from analytic import WEIGHT, line, surface_of
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from recorded import everything, map_of, record, surface_with
from representative import mostly_slow

from landscape_cli.analysis.pictures.spectrum import density
from landscape_cli.analysis.pictures.steps import step_labels
from landscape_cli.analysis.pictures.table import PLOTS
from landscape_cli.analysis.plot import plot
from landscape_cli.errors import UsageError
from landscape_cli.grid import Axis, Grid
from landscape_cli.surface import Direction, Metric, Surface, Trajectory

X, Y = [-1.0, -0.2, 0.0, 0.5, 1.0], [-0.6, 0.0, 0.3]  # not square, not even
PLANES = ("contour", "filled", "heatmap", "surface3d", "trajectory")


def slope(_slice: int, x: float, y: float) -> float:
    """Along x and y as different as can be: swapped axes cannot pass for it."""
    return x + 10 * y**2


def with_path(surface: Surface, *places: tuple[float, float], missed: tuple[float, ...] | None = None) -> Surface:
    num, slices = len(places), surface.grid.num_slices
    surface.trajectory = Trajectory(
        tuple(f"epoch_{5 * step}.pt" for step in range(num)),
        np.tile(np.asarray(places), (slices, 1, 1)),
        np.tile(np.asarray(missed or (0.25,) * num), (slices, 1)),
        np.arange(num, 0.0, -1.0),
        np.ones(2),
    )
    return surface


def of_kind(kind: str) -> Surface:
    """A surface that has what this kind draws."""
    if kind == "line":
        return surface_of(lambda s, x: 1 + s + x**2, X, num_slices=3)
    if kind == "radius":
        return surface_of(lambda s, x: 0.5 + x**2, [0.0, 0.1, 0.3, 1.0], num_slices=3, recipe=WEIGHT)
    if kind == "spectrum":
        return spectral()
    surface = surface_of(slope, X, Y, num_slices=2)
    if kind == "convexity":
        surface = surface_of(slope, line(-1, 1, 9), line(-1, 1, 9), num_slices=3)
        surface.curvature = surface_with(everything()).curvature
        surface.curvature_map = map_of(-1.0, 4.0)
    return with_path(surface, (0.5, -0.5), (0.1, 0.2), (0.0, 0.0)) if kind == "trajectory" else surface


def spectral() -> Surface:
    nodes = np.array([[-0.5, 0.0, 3.0], [-0.5, 0.0, 3.0]])
    values = {"nodes": nodes, "weights": np.array([[0.1, 0.7, 0.2]] * 2), "negative_sum": 1.0}
    errors = {"negative_sum_standard_error": 0.1, "negative_sum_change": 0.1}
    return surface_with({"spectral_density": record({**values, **errors})})


def texts(figure: Figure) -> list[str]:
    return [each.get_text() for ax in figure.axes if ax.get_legend() for each in ax.get_legend().get_texts()]


def corners_of(body: Poly3DCollection) -> np.ndarray:
    """(P, 3) the corners of all faces; matplotlib has no public way to read them."""
    faces = getattr(body, "_faces", None)
    return np.asarray(body._vec.T[:, :3] if faces is None else np.concatenate(list(faces)))


def draw(figure: Figure) -> np.ndarray:
    """(height, width, 3) as shown, the first row at the bottom."""
    canvas = cast(FigureCanvasAgg, figure.canvas)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int)


# ---------------------------------------------------------------- x is not y


@pytest.mark.parametrize("kind", ["contour", "filled", "trajectory"])
def test_contours_run_where_the_function_has_their_level(kind: str) -> None:
    fine = surface_of(slope, line(-1, 1, 9), line(-0.6, 0.6, 61))
    figure = plot(with_path(fine, (0.5, 0.1), (0.0, 0.0)), kind=kind)
    ax = figure.axes[0]
    (drawn,) = [each for each in ax.collections if isinstance(each, ContourSet) and not each.filled]
    points = [
        (level, *point)
        for level, path in zip(drawn.levels, drawn.get_paths(), strict=True)
        for point in np.asarray(path.vertices)
    ]
    assert len(points) > 100
    for level, x, y in points:
        assert slope(0, x, y) == pytest.approx(level, abs=10 * 0.02**2 / 4 + 1e-9)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-0.6, 0.6))
    assert (ax.get_xlabel()[:2], ax.get_ylabel()[:2]) == ("x:", "y:")


def test_cells_of_a_heat_map_lie_around_their_points() -> None:
    figure = plot(surface_of(slope, X, Y), kind="heatmap", log=False)
    image, ax = draw(figure), figure.axes[0]
    low, high = figure.axes[1].get_ylim()
    for x, y in itertools.product(X, Y):
        if (x, y) == (0.0, 0.0):
            continue  # under the mark of the checkpoint
        column, row = ax.transData.transform((x, y)).astype(int)
        share = (slope(0, x, y) - low) / (high - low)
        assert np.abs(image[row, column] - 255 * np.array(colormaps["viridis"](share)[:3])).max() < 4
    (mesh,) = [each for each in ax.collections if isinstance(each, QuadMesh)]
    corners = np.asarray(mesh.get_coordinates())
    np.testing.assert_allclose(corners[0, :, 0], [-1.4, -0.6, -0.1, 0.25, 0.75, 1.25])
    np.testing.assert_allclose(corners[:, 0, 1], [-0.9, -0.3, 0.15, 0.45])


@pytest.mark.parametrize("partial", [False, True])
def test_corners_of_a_body_are_the_points_at_the_height_of_their_values(partial: bool) -> None:
    evaluated = np.ones((1, 5, 3), dtype=bool)
    evaluated[0, 4, 2] = not partial
    figure = plot(surface_of(slope, X, Y, evaluated=evaluated), kind="surface3d", log=False, vmin=-1.0, vmax=5.0)
    (body,) = [each for each in figure.axes[0].collections if type(each) is Poly3DCollection]
    corners = corners_of(body)
    heights = np.array([(slope(0, x, y) + 1) / 6 for x, y in corners[:, :2]])
    np.testing.assert_allclose(corners[:, 2], heights, atol=1e-12)
    expected = {(x, y) for x in X for y in Y} - ({(1.0, 0.3)} if partial else set())
    assert {(x, y) for x, y in corners[:, :2].tolist()} == expected


def test_the_map_of_convexity_has_its_values_where_they_are() -> None:
    surface = of_kind("convexity")
    least = np.zeros((3, 9, 9))
    least[0, 7, 1] = -2.0  # at x = 0.75, y = -0.75
    surface.curvature_map = map_of(least, 4.0)
    figure = plot(surface, kind="convexity")
    image, ax = draw(figure), figure.axes[0]
    for (x, y), share in {(0.75, -0.75): 1.0, (-0.75, 0.75): 0.0, (0.5, 0.5): 0.0}.items():
        column, row = ax.transData.transform((x, y)).astype(int)
        assert np.abs(image[row, column] - 255 * np.array(colormaps["magma"](share)[:3])).max() < 4
    assert figure.axes[1].get_ylim() == (0.0, 0.5)


def test_steps_of_a_path_lie_where_they_are_and_say_how_much_the_plane_misses() -> None:
    places = ((0.9, -0.5), (0.1, 0.2), (0.0, 0.0))
    surface = with_path(surface_of(slope, X, Y), *places, missed=(0.5, 0.75, 0.0))
    figure = plot(surface)  # the usual kind of a file with a path
    ax = figure.axes[0]
    (dots,) = [each for each in ax.collections if isinstance(each, PathCollection)]
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), places)
    np.testing.assert_allclose(np.asarray(dots.get_array()), [0.5, 0.75, 0.0])
    assert [(each.get_text(), each.xy) for each in ax.texts if hasattr(each, "xy")] == [
        ("0", places[0]),
        ("5", places[1]),
        ("10", places[2]),
    ]
    words = "path of 3 checkpoints; of the way to the farthest 50 % lies outside the plane, to others up to 75 %"
    assert texts(figure)[0].replace("\n", " ") == words


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("e_1.pt", "e_3.pt", "e_10.pt"), ["1", "3", "10"]),
        (("lr0.1_e3.pt", "lr0.1_e4.pt"), ["3", "4"]),
        (("e_3.pt", "e_1.pt"), ["0", "1"]),
        (("e_1.pt", "last.pt"), ["0", "1"]),
        (("runs/7/a.pt", "runs/8/a.pt"), ["0", "1"]),
    ],
)
def test_steps_have_the_numbers_of_their_files_where_these_rise(names: tuple[str, ...], labels: list[str]) -> None:
    assert step_labels(names) == labels


@pytest.mark.slow
def test_labels_of_a_long_path_do_not_run_together() -> None:
    places = [(math.cos(t) * t / 20, math.sin(t) * t / 40) for t in np.linspace(20, 0, 300)]
    surface = with_path(surface_of(slope, line(-1, 1, 5), line(-1, 1, 5)), *places)
    figure = plot(surface, kind="trajectory")
    draw(figure)
    boxes = [each.get_window_extent() for each in figure.axes[0].texts if hasattr(each, "xy")]
    assert 10 < len(boxes) < 300
    overlaps = [a.overlaps(b) for a, b in itertools.combinations(boxes, 2)]
    assert np.mean(overlaps) < 0.01


# ---------------------------------------------------------------- curves


def test_rays_are_straight_ways_through_the_values_from_the_checkpoint() -> None:
    surface = surface_of(lambda s, x, y: 2 * math.hypot(x, y) + s, line(-1, 1, 41), line(-1, 1, 41), num_slices=2)
    for metric in surface.metrics.values():
        metric.centre = 0.0
    figure = plot(surface, kind="rays", slice_index=0)
    curves = [
        np.asarray(path.vertices)
        for each in figure.axes[0].collections
        if isinstance(each, LineCollection)
        for path in each.get_paths()
    ]
    assert len(curves) == 16
    for curve in curves:
        np.testing.assert_allclose(curve[:, 1], 2 * curve[:, 0], atol=0.02)
        assert curve[-1, 0] >= 1
    (median,) = [each for each in figure.axes[0].lines if each.get_linewidth() == 2]
    np.testing.assert_allclose(np.asarray(median.get_ydata()), 2 * np.asarray(median.get_xdata()), atol=0.02)


def test_a_ray_ends_with_a_cross_before_a_point_that_has_diverged() -> None:
    surface = surface_of(lambda s, x: math.inf if x > 0.6 else 1 + x**2, [-1.0, -0.5, 0.0, 0.5, 1.0])
    figure = plot(surface, kind="rays")
    crosses = [tuple(each.get_xydata()[0]) for each in figure.axes[0].lines if each.get_marker() == "x"]
    assert crosses == [(0.5, 1.25)]
    assert texts(figure)[-1] == "next point diverged (NaN or inf)"


def test_the_density_of_eigenvalues_has_integral_one_and_the_moments_of_the_nodes() -> None:
    rng = np.random.default_rng(0)
    nodes, weights = rng.normal(size=(4, 6)), rng.random((4, 6))
    weights /= weights.sum(axis=1, keepdims=True)
    at = np.linspace(-8, 8, 20001)
    height = density(nodes, weights, at, 0.05)
    assert np.trapezoid(height, at) == pytest.approx(1, rel=1e-9)
    assert np.trapezoid(height * at, at) == pytest.approx((nodes * weights).sum() / 4, rel=1e-9)
    squares = (weights * nodes**2).sum() / 4 + 0.05**2
    assert np.trapezoid(height * at**2, at) == pytest.approx(squares, rel=1e-9)


def test_the_spectrum_has_peaks_at_its_eigenvalues_of_the_height_of_their_weights() -> None:
    (curve,) = [each for each in plot(spectral(), kind="spectrum").axes[0].lines if len(each.get_xdata()) > 100]
    x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    peak = 1 / (0.035 * math.sqrt(2 * math.pi))
    for eigenvalue, weight in ((-0.5, 0.1), (0.0, 0.7), (3.0, 0.2)):
        assert y[np.argmin(np.abs(x - eigenvalue))] == pytest.approx(weight * peak, rel=0.01)
    assert y[np.argmin(np.abs(x - 1.5))] < 1e-6 * peak


def test_bars_of_a_profile_run_from_minimum_to_saddle() -> None:
    values = {-2.0: 0.5, -1.0: 3.0, 0.0: 0.0, 1.0: 2.0, 2.0: 1.0}
    figure = plot(surface_of(lambda s, x: values[x], list(values)), kind="profile", log=False)
    bars = [tuple(each.get_xdata()) for each in figure.axes[0].lines if len(each.get_xdata()) == 2]
    assert bars == [(0.0, 3.0), (0.5, 3.0), (1.0, 2.0)]  # the lowest has no saddle: to the highest value
    assert [each.get_text() for each in figure.axes[0].texts] == ["(0)", "(-2)", "(2)"]
    assert texts(figure) == ["3 basins deeper than 0.03"]


def test_the_radius_is_where_the_mean_rise_passes_tau() -> None:
    figure = plot(of_kind("radius"), kind="radius")
    lines = [each for each in figure.axes[0].lines if len(each.get_xdata()) == 2]
    horizontal, vertical = lines
    assert horizontal.get_ydata()[0] == 0.1
    # between 0.3 and 1.0, where the loss has risen by 0.09 and by 1, linear
    assert vertical.get_xdata()[0] == pytest.approx(0.3 + 0.7 * 0.01 / 0.91)
    assert any("radius 0.3077 ± " in text for text in texts(figure))


# ---------------------------------------------------------------- scales


@pytest.mark.parametrize("kind", mostly_slow(["contour", "filled", "heatmap", "surface3d"], "filled", "heatmap"))
def test_the_scale_ends_where_it_is_told_to_and_says_that_there_is_more(kind: str) -> None:
    surface = surface_of(lambda s, x, y: 10.0 ** (3 * x), X, Y)
    figure = plot(surface, kind=kind, vmin=0.01, vmax=100.0)
    assert figure.axes[1].get_ylim() == pytest.approx((0.01, 100.0))
    assert figure.axes[1].get_yscale() == "log"
    assert plot(surface, kind=kind, vmax=100.0, log=False).axes[1].get_yscale() == "linear"


def test_levels_can_be_counted_or_named() -> None:
    surface = surface_of(slope, X, Y)
    (named,) = [
        e for e in plot(surface, kind="contour", levels=[-1, 0.5, 2]).axes[0].collections if isinstance(e, ContourSet)
    ]
    assert named.levels.tolist() == [-1, 0.5, 2]
    for wanted in (4, 30):
        (counted,) = [
            e for e in plot(surface, kind="contour", levels=wanted).axes[0].collections if isinstance(e, ContourSet)
        ]
        assert 0.5 * wanted <= len(counted.levels) <= 1.5 * wanted + 2


@pytest.mark.parametrize("kind", ["filled", "heatmap", "surface3d"])
def test_the_scale_of_an_accuracy_ends_at_one(kind: str) -> None:
    surface = surface_of(lambda s, x, y: 0.98 - 0.45 * abs(x) - 0.4 * abs(y), X, Y, names=("test_accuracy",))
    low, high = plot(surface, kind=kind).axes[1].get_ylim()
    assert 0 <= low < 0.29
    assert high == 1.0


@pytest.mark.parametrize("high", mostly_slow([1.5, 3.0, 19.0, 21.0, 1e5], 1.5, 21.0))
def test_a_logarithmic_scale_that_is_asked_for_has_levels_whatever_its_range(high: float) -> None:
    surface = surface_of(lambda s, x, y: high ** ((1 + x) / 2), X, Y)
    (drawn,) = [
        each for each in plot(surface, kind="contour", log=True).axes[0].collections if isinstance(each, ContourSet)
    ]
    assert 5 <= len(drawn.levels) <= 18
    assert drawn.levels[0] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vmin": 2.0, "vmax": 1.0}, "vmin, vmax: found 2 and 1; expected vmin below vmax"),
        ({"vmin": math.nan}, "vmin: found nan; expected a finite number"),
        ({"log": True}, "log: the lowest value is -1; a logarithmic scale needs positive values"),
        ({"log": True, "vmin": -1.0}, "vmin: found -1; a logarithmic scale needs positive values"),
        ({"levels": 1}, "levels: found 1; expected 2 to 200, or a list of values"),
        ({"levels": [1.0, 1.0]}, "levels: found 1, 1; expected two or more, rising"),
        ({"cmap": "viridid"}, "cmap: found 'viridid'; did you mean 'viridis'?"),
        ({"cmap": "zzz"}, "cmap: found 'zzz'; such as viridis"),
        ({"style": "papr"}, "style: found 'papr'; did you mean 'paper'?"),
        ({"kind": "heatmap", "levels": 5}, "levels: the kind 'heatmap' has no such option"),
        ({"kind": "rays", "colorbar": False}, "no-colorbar: the kind 'rays' has no such option"),
        ({"kind": "trajectory"}, "'trajectory' cannot be drawn: the file has no path of checkpoints"),
        ({"kind": "spectrum"}, "'spectrum' cannot be drawn: "),
        ({"kind": "convexity"}, "'convexity' cannot be drawn: "),
        ({"kind": "radius"}, "'radius' cannot be drawn: needs a line"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_what_can(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        plot(surface_of(slope, X, Y), **options)
    assert words in str(error.value)


# ---------------------------------------------------------------- axes of the caller, styles


@pytest.mark.parametrize("kind", mostly_slow(PLOTS, "filled", "surface3d", "profile", "trajectory"))
def test_every_kind_draws_into_axes_of_the_caller(kind: str) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, subplot_kw={"projection": "3d" if kind == "surface3d" else None})
    assert plot(of_kind(kind), kind=kind, ax=axes[1], title="mine") is figure
    assert axes[1].has_data()
    assert not axes[0].has_data()
    assert axes[1].get_title(loc="left") == "mine"
    assert figure.get_supxlabel() == ""
    draw(figure)


def test_a_body_needs_axes_in_space() -> None:
    ax = Figure().add_subplot()
    with pytest.raises(UsageError, match="needs axes in space") as error:
        plot(surface_of(slope, X, Y), kind="surface3d", ax=ax)
    assert 'projection="3d"' in str(error.value.hint)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("style", ["paper", pytest.param("slide", marks=SLOW), pytest.param("dark", marks=SLOW)])
@pytest.mark.parametrize("kind", mostly_slow(PLOTS, "filled", "surface3d"))
def test_no_word_is_cut_off_in_any_style(kind: str, style: str) -> None:
    figure = plot(of_kind(kind), kind=kind, style=style)
    draw(figure)
    drawn, paper = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= -0.02
    assert drawn.y0 >= -0.02
    assert drawn.x1 <= paper.x1 + 0.02
    assert drawn.y1 <= paper.y1 + 0.02
    red, green, blue = draw(figure)[2, 2]
    assert (red + green + blue < 100) == (style == "dark")


def test_a_picture_leaves_the_settings_of_the_caller_as_they_are() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot(surface_of(slope, X, Y), style="dark")
    assert dict(mpl.rcParams) == before


# ---------------------------------------------------------------- never a crash, never a warning


def partial(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.random.default_rng(1).random(shape) < 0.6
    mask[:, len(X) // 2] = True
    return mask


HARD: dict[str, Callable[[], Surface]] = {
    "partial": lambda: surface_of(slope, X, Y, evaluated=partial((1, 5, 3))),
    "nothing evaluated": lambda: surface_of(slope, X, Y, evaluated=False),
    "one column": lambda: surface_of(slope, [0.0], Y),
    "one row": lambda: surface_of(slope, X, [0.0]),
    "one point": lambda: surface_of(slope, [0.0], [0.0]),
    "constant": lambda: surface_of(lambda s, x, y: 3.0, X, Y),
    "zero": lambda: surface_of(lambda s, x, y: 0.0, X, Y),
    "all NaN": lambda: surface_of(lambda s, x, y: math.nan, X, Y),
    "all infinite": lambda: surface_of(lambda s, x, y: math.inf, X, Y),
    "some diverged": lambda: surface_of(lambda s, x, y: math.nan if x > 0.2 else 1 + y, X, Y),
    "partial and diverged": lambda: surface_of(
        lambda s, x, y: math.inf if x > 0.2 else 1 + y, X, Y, evaluated=partial((1, 5, 3))
    ),
    "tiny": lambda: surface_of(lambda s, x, y: 1e-12 * slope(s, x, y), X, Y),
    "tiny beside one": lambda: surface_of(lambda s, x, y: 1 + 1e-12 * slope(s, x, y), X, Y),
    "huge": lambda: surface_of(lambda s, x, y: 1e12 * slope(s, x, y), X, Y),
    "1e-12 to 1e12": lambda: surface_of(lambda s, x, y: 10.0 ** (12 * x), X, Y),
    "1e190": lambda: surface_of(lambda s, x, y: 1e190 * x, X, Y),
    "off the checkpoint": lambda: surface_of(slope, [1.0, 2.0, 3.0], [2.0, 3.0]),
    "a volume": lambda: surface_of(lambda s, x, y, z: slope(s, x, y) + z, X, Y, [-1.0, 0.0, 2.0]),
}


def drawn_or_refused(surface: Surface, kind: str) -> str:
    """Why it cannot be drawn; nothing where it was."""
    try:
        draw(plot(surface, kind=kind))
    except UsageError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize(
    "what",
    mostly_slow(HARD, "partial and diverged", "nothing evaluated", "one column", "constant", "1e190", "a volume"),
)
@pytest.mark.parametrize(
    "kind", ["filled", *(pytest.param(kind, marks=SLOW) for kind in ("contour", *PLANES[2:], "rays", "profile"))]
)
def test_any_plane_is_a_picture_or_a_clear_refusal(kind: str, what: str) -> None:
    surface = HARD[what]()
    if kind == "trajectory":
        with_path(surface, (0.5, -0.5), (0.1, 0.2), (0.0, 0.0)) if len(surface.grid.axes) == 2 else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal = drawn_or_refused(surface, kind)
    assert not refusal or (kind in ("rays", "profile", "trajectory") and f"'{kind}' cannot be drawn: " in refusal)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["partial", "nothing evaluated", "all NaN", "some"])
def test_any_map_of_convexity_is_a_picture_or_a_clear_refusal(what: str) -> None:
    surface = of_kind("convexity")
    points = map_of(math.nan if what == "all NaN" else np.random.default_rng(0).normal(size=(3, 9, 9)), 0.0)
    points.metrics["lambda_max"].values[:, :5] = 2.0
    points.evaluated[:] = {"partial": np.random.default_rng(0).random((3, 9, 9)) < 0.5, "nothing evaluated": False}.get(
        what, True
    )
    surface.curvature_map = points
    refusal = drawn_or_refused(surface, "convexity")
    assert bool(refusal) == (what in ("all NaN", "nothing evaluated"))
    assert not refusal or "'convexity' cannot be drawn: " in refusal


RUGGED = "kind: 'profile' cannot be drawn: too few points are evaluated"  # no rectangle of them is whole


@pytest.mark.parametrize("kind", ["filled", "heatmap", "surface3d", "profile"])
@pytest.mark.parametrize("is_partial", [False, True])
@pytest.mark.slow
def test_a_large_grid_is_a_picture(kind: str, is_partial: bool) -> None:
    axis = line(-1, 1, 501)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    evaluated = np.random.default_rng(0).random((1, 501, 501)) < 0.5 if is_partial else np.ones((1, 501, 501), bool)
    grid = Grid((Axis("x", tuple(axis)), Axis("y", tuple(axis))))
    values = np.where(evaluated, (x + 10 * y**2 + 2)[None], np.nan)
    large = Surface(
        grid,
        {"train_loss": Metric(values, np.zeros(grid.shape), 2.0, 0.1, 10)},
        {name: Direction({"_target_": "random"}, (1.0,)) for name in "xy"},
        "",
        evaluated,
    )
    refusal = drawn_or_refused(large, kind)
    assert refusal == (RUGGED if is_partial and kind == "profile" else "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["filled", "rays", "profile"])
def test_a_thousand_planes_are_a_picture(kind: str) -> None:
    draw(
        plot(
            surface_of(lambda s, x, y: 1 + x**2 + s * y**2, [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], num_slices=1000),
            kind=kind,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["line", "rays", "radius"])
def test_a_thousand_slices_are_a_picture(kind: str) -> None:
    recipe = {"recipe": WEIGHT} if kind == "radius" else {}
    start = 0.0 if kind == "radius" else -1.0
    surface = surface_of(lambda s, x: 1 + x**2 + s * x**2 / 1000, line(start, 1, 5), num_slices=1000, **recipe)
    draw(plot(surface, kind=kind))
