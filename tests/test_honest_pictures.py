"""What a picture does not know, it does not show; what it says in words is so."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from analytic import line, surface_of
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from representative import mostly_slow
from test_panels import draw, panels
from test_pictures import X, Y, drawn_or_refused, of_kind, slope, texts, with_path

from landscape_cli.analysis.plot import plot
from landscape_cli.cli.naming import labels_of
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface


def pixel(figure: Figure, ax: Axes, x: float, y: float) -> np.ndarray:
    draw(figure)
    image = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3].astype(int)  # type: ignore[attr-defined]
    column, row = ax.transData.transform((x, y)).astype(int)
    return np.asarray(image[row, column])


# ---------------------------------------------------------------- holes


@pytest.mark.parametrize("kind", mostly_slow(["filled", "heatmap"], "filled"))
def test_a_hole_in_a_plane_stays_empty(kind: str) -> None:
    evaluated = np.ones((1, 41, 41), dtype=bool)
    evaluated[0, 8:33, 8:33] = False
    figure = plot(surface_of(slope, line(-1, 1, 41), line(-1, 1, 41), evaluated=evaluated), kind=kind)
    assert (pixel(figure, figure.axes[0], 0.2, 0.1) == 255).all()
    assert max(np.ptp(pixel(figure, figure.axes[0], 0.92, y)) for y in (0.71, 0.82, 0.91)) > 50  # beside it, colours
    assert ("not evaluated" in texts(figure)) == (kind == "heatmap")


@pytest.mark.parametrize("num_x", [41, 37, 101, 401])
def test_a_scan_from_coarse_to_fine_has_no_holes_at_any_moment(num_x: int) -> None:
    from landscape_cli.analysis.layer import layer_of
    from landscape_cli.analysis.pictures.regions import mesh_of

    surface = surface_of(lambda *_: 1.0, line(-1, 1, num_x), line(-1, 1, 9), evaluated=False)
    surface["train_loss"][:] = 1.0
    order = surface.grid.scan_order()
    for num in (9, 20, 33, 60, 120, 300):
        surface.evaluated[:] = False
        surface.evaluated.flat[order[:num]] = True
        mesh = mesh_of(layer_of(surface))
        assert mesh is not None
        assert mesh.triangles.mask is None or not mesh.triangles.mask.any()


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize("kind", mostly_slow(["filled", "heatmap"], "filled"))
@pytest.mark.parametrize("is_ratio", mostly_slow([False, True], True))
def test_no_difference_is_white(kind: str, is_ratio: bool) -> None:
    a = surface_of(lambda s, x, y: 10.0 ** (3 * x) if is_ratio else 2 + x, X, line(-1, 1, 5))
    b = surface_of(
        lambda s, x, y: (10.0 ** (3 * x) if is_ratio else 2 + x) * (1 + (0.8 * y if y > 0 else 0)), X, line(-1, 1, 5)
    )
    for options in ({}, {"vmax": 2.0}, {"vmin": 0.6 if is_ratio else -1.5}):
        figure = plot({"a": a, "b": b}, difference=True, kind=kind, **options)  # type: ignore[arg-type]
        assert pixel(figure, figure.axes[0], 0.31, -0.7).min() > 235
        red = pixel(figure, figure.axes[0], 0.31, 0.9)
        assert red[0] > red[2] + 40  # B is larger there
        low, high = figure.axes[1].get_ylim()
        assert (low * high == pytest.approx(1)) if is_ratio else (low == pytest.approx(-high))


def test_a_difference_says_which_slice_it_is_of_and_what_is_not_alike() -> None:
    a, b = (surface_of(slope, X, Y, num_slices=3) for _ in range(2))
    assert "slice 2 of 3" in plot({"a": a, "b": b}, difference=True, slice_index=2).axes[0].get_title(loc="left")
    other = surface_of(slope, X, Y, num_slices=3, recipe={"_target_": "random", "normalization": "layer"})
    assert "NOT MEASURED ALIKE: axes" in plot({"a": a, "b": other}, difference=True).axes[0].get_title(loc="left")


def test_a_difference_of_partial_lines_shows_the_points_that_both_have() -> None:
    mask = np.zeros((1, 9), dtype=bool)
    mask[0, ::2] = True
    a = surface_of(lambda s, x: 1 + x, line(-1, 1, 9), evaluated=mask)
    b = surface_of(lambda s, x: 2 + x, line(-1, 1, 9))
    ax = plot({"a": a, "b": b}, difference=True).axes[0]
    (curve,) = [each for each in ax.lines if each.get_marker() == "o"]
    np.testing.assert_allclose(curve.get_xydata(), [(x, 1.0) for x in line(-1, 1, 9)[::2]])


# ---------------------------------------------------------------- curves


def test_a_ray_does_not_go_on_behind_a_point_that_has_diverged() -> None:
    surface = surface_of(lambda s, x: math.inf if 0.45 < x < 0.75 else 1 + x**2, line(-1, 1, 11))
    figure = plot(surface, kind="rays")
    ends = [
        float(np.asarray(path.vertices)[-1, 0])
        for each in figure.axes[0].collections
        if isinstance(each, LineCollection)
        for path in each.get_paths()
    ]
    assert sorted(ends) == pytest.approx([0.4, 1.0])


def test_accuracies_in_percent_are_seen() -> None:
    surface = surface_of(lambda s, x: 1 + x**2, X, names=("train_loss", "train_accuracy"))
    surface.metrics["train_accuracy"].values = 70 + 20 * np.asarray([X])
    low, high = plot(surface).axes[1].get_ylim()
    assert low < 50
    assert high > 90


def test_a_split_has_its_colour_whatever_else_is_drawn() -> None:
    surface = surface_of(lambda s, x: 1 + x**2, X, names=("train_loss", "test_loss", "val_loss"))
    together = [each.get_color() for each in plot(surface).axes[0].lines if len(each.get_xdata()) == 5]
    alone = [plot(surface, metric=name).axes[0].lines[0].get_color() for name in surface.metrics]
    assert together == alone
    assert len(set(alone)) == 3


def test_the_median_of_rays_lies_within_them_as_they_are_drawn() -> None:
    """On a logarithmic axis it is straight between knots, as the rays are, and ends where the first of them does."""
    surface = surface_of(
        lambda s, x, y: 1e-3 + 10 * (1 + s) * (x**2 + y**2), line(-1, 1, 5), line(-1, 1, 5), num_slices=3
    )
    for metric in surface.metrics.values():
        metric.centre = 1e-3
    ax = plot(surface, kind="rays").axes[0]
    (median,) = [each for each in ax.lines if each.get_linewidth() == 2]
    where, found = np.asarray(median.get_xdata()), np.asarray(median.get_ydata())
    assert where[-1] == 1.0
    curves = [
        np.asarray(path.vertices)
        for each in ax.collections
        if isinstance(each, LineCollection)
        for path in each.get_paths()
    ]
    drawn = [np.exp(np.interp(where, curve[:, 0], np.log(curve[:, 1]))) for curve in curves]
    np.testing.assert_allclose(found, np.median(drawn, axis=0))


def test_what_is_no_more_than_rounding_is_no_difference() -> None:
    a = surface_of(lambda s, x, y: 2 + x, X, line(-1, 1, 5))
    b = surface_of(lambda s, x, y: (2 + x) * (1 + 3e-7 * y), X, line(-1, 1, 5))
    for is_log in (False, True):
        figure = plot({"a": a, "b": b}, difference=True, log=is_log)
        assert pixel(figure, figure.axes[0], 0.31, 0.9).min() > 235
        middle = 1.0 if is_log else 0.0
        assert middle in [pytest.approx(each) for each in figure.axes[1].get_yticks()]


@pytest.mark.parametrize("kind", ["filled", "contour", "line"])
def test_a_part_that_is_not_there_is_no_divergence(kind: str) -> None:
    axes = [line(-1, 1, 9)] * (1 if kind == "line" else 2)
    evaluated = np.random.default_rng(0).random((1, *map(len, axes))) < 0.7
    figure = plot(surface_of(lambda s, *c: sum(c), *axes, evaluated=evaluated), kind=kind)
    assert not any("diverged" in text for text in texts(figure))


@pytest.mark.parametrize(
    "options",
    mostly_slow([{"levels": 8, "kind": "contour"}, {"levels": 16}, {"levels": 20}, {"vmax": 3.0}], {"levels": 20}),
)
def test_labels_are_not_cut_off_whatever_the_numbers_beside_them(options: dict[str, object]) -> None:
    surface = surface_of(lambda s, x, y: 10.0 ** (2 * x + y - 3), line(-1, 1, 9), line(-1, 1, 9))
    for figure in (plot(surface, **options), plot({"one": surface, "two": surface}, **options)):  # type: ignore[arg-type]
        drawn, paper = figure.get_tightbbox(), figure.bbox_inches
        assert drawn.x0 >= 0
        assert drawn.x1 <= paper.x1
        assert drawn.y0 >= 0
        assert drawn.y1 <= paper.y1


def test_of_several_files_the_one_that_cannot_be_drawn_is_named() -> None:
    path = with_path(surface_of(slope, X, Y), (0.5, -0.5), (0.0, 0.0))
    draw(plot({"a.h5": path, "b.h5": surface_of(slope, X, Y)}))  # nobody has asked for the steps
    with pytest.raises(UsageError, match=r"b\.h5: kind: 'trajectory' cannot be drawn"):
        plot({"a.h5": path, "b.h5": surface_of(slope, X, Y)}, kind="trajectory")


# ---------------------------------------------------------------- words


@pytest.mark.slow
def test_a_path_beyond_the_edges_is_counted_and_not_drawn_there() -> None:
    surface = with_path(surface_of(slope, X, Y), (3.0, 0.1), (0.1, 0.2), (0.0, 0.0))
    for kind in ("trajectory", "filled", "surface3d"):
        figure = plot(surface, kind=kind)
        draw(figure)
        assert "1 of them beyond the edges" in texts(figure)[-4 if kind == "trajectory" else -1].replace("\n", " ")
    drawn, paper = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x1 <= paper.x1 + 0.02


def test_the_cosine_is_that_of_the_slice_that_is_drawn() -> None:
    surface = surface_of(slope, X, Y, num_slices=2)
    surface.cosine = np.asarray([[[1, 0.1], [0.1, 1]], [[1, 0.9], [0.9, 1]]])
    assert "cos(x, y) = 0.1" in plot(surface).get_supxlabel()
    assert "cos(x, y) = 0.9" in plot(surface, slice_index=1).get_supxlabel()
    for metric in surface.metrics.values():
        metric.centre = 0.0
    assert "cos(x, y) = 0.1 … 0.9" in plot(surface, kind="rays").get_supxlabel()


@pytest.mark.parametrize(
    "name", mostly_slow(["$\\foo{$_loss", "a\x1b[31m_loss", "a\x00_loss", "<b>&_loss"], "a\x1b[31m_loss")
)
@pytest.mark.parametrize("num_axes", mostly_slow([1, 2], 2))
def test_names_of_metrics_are_words(tmp_path: Path, name: str, num_axes: int) -> None:
    surface = surface_of(lambda s, *c: math.nan if c[0] == 1 else sum(c), *[X, Y][:num_axes], names=(name,))
    plot(surface, tmp_path / "o.svg")
    plot({name: surface, "b": surface}, tmp_path / "p.svg")
    for each in ("o.svg", "p.svg"):
        ET.parse(tmp_path / each)  # raises where it is no XML


# ---------------------------------------------------------------- sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["filled", "trajectory", "heatmap", "surface3d", "line", "rays", "convexity", "spectrum"]
)
def test_in_a_column_of_a_paper_nothing_is_cut_off_or_overlaps(kind: str) -> None:
    figure = plot(of_kind(kind), kind=kind, size=(3.3, 2.9))
    draw(figure)
    drawn, paper = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= -0.02
    assert drawn.x1 <= paper.x1 + 0.02
    ax = figure.axes[0]
    ticks = [each.get_window_extent() for each in figure.axes[-1].get_yticklabels() if each.get_text()]
    if len(figure.axes) > 1:
        assert not any(a.overlaps(b) for i, a in enumerate(ticks) for b in ticks[i + 1 :])
    if kind != "surface3d" and ax.get_legend() is not None:
        assert not ax.get_legend().get_window_extent().overlaps(ax.xaxis.label.get_window_extent())


def test_panels_of_convexity_have_the_colours_of_their_bar() -> None:
    surface = of_kind("convexity")
    figure = plot({"a": surface, "b": surface}, kind="convexity")
    draw(figure)
    (bar,) = [ax for ax in figure.axes if ax not in panels(figure)]
    assert bar.get_ylim()[0] == 0.0
    shown = panels(figure)[0].collections[0]
    assert any(each.cmap.name == shown.cmap.name == "magma" for each in bar.collections)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "o.png"}, "path: found beside ax"),
        ({"size": (3.0, 2.0)}, "size: found beside ax"),
        ({"style": "dark"}, "style: found beside ax"),
        ({"difference": True}, "difference: found beside ax"),
    ],
)
def test_what_makes_no_sense_beside_axes_of_the_caller_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plot(surface_of(slope, X, Y), ax=Figure().add_subplot(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": [1.0, 2.0], "vmin": 0.5}, "levels: found beside vmin or vmax"),
        ({"levels": [-1.0, 2.0], "log": True}, "levels: found -1; a logarithmic scale needs levels above 0"),
        ({"size": (0.0, 1.0)}, "size: found 0 × 1 inches; expected at least 2.5 × 2 for the words"),
    ],
)
def test_contradictions_are_said(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plot(surface_of(slope, X, Y), **options)  # type: ignore[arg-type]


def test_the_radius_of_a_file_has_no_slices_of_its_grid() -> None:
    surface = surface_of(slope, X, Y, num_slices=2)
    surface.radius = of_kind("radius")
    with pytest.raises(UsageError, match="the line of noise beside the grid has directions of its own"):
        plot(surface, kind="radius", slice_index=0)


@pytest.mark.parametrize(("option", "expected"), [({"vmin": 50.0}, 0), ({"vmax": -50.0}, 1)])
def test_an_end_that_was_asked_for_is_kept_where_everything_lies_beyond_it(
    option: dict[str, float], expected: int
) -> None:
    figure = plot(surface_of(slope, X, Y), kind="heatmap", **option)  # type: ignore[arg-type]
    assert figure.axes[1].get_ylim()[expected] == next(iter(option.values()))


def test_labels_of_files_are_never_the_same() -> None:
    paths = [Path("d.h5"), Path("d.h5"), Path("d.h5 (1)"), Path("x/d.h5")]
    assert len(set(labels_of(paths))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("value", [5e-324, 1e-310, 1e308, -1e308])
@pytest.mark.parametrize("kind", ["contour", "filled", "heatmap", "surface3d"])
def test_the_ends_of_the_floats_are_a_picture(kind: str, value: float) -> None:
    surface: Surface = surface_of(
        lambda s, x, y: value * (1 if x > 0 else 0.5) * (-1 if y > 0 and abs(value) > 1 else 1), X, Y
    )
    assert drawn_or_refused(surface, kind) == (
        "" if abs(value) < 1 else "values reach beyond 1e+200, where pictures of planes end"
    )
