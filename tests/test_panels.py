"""Several surfaces in one picture are on one scale, and a difference is B − A where both are known."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from analytic import line, surface_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from representative import mostly_slow

from landscape_cli.analysis.difference import difference_of
from landscape_cli.analysis.pictures.panels import shape_of
from landscape_cli.analysis.plot import plot
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

X, Y = line(-1, 1, 5), [-0.6, 0.0, 0.3]


def slope(factor: float, *, evaluated: object = True) -> Surface:
    return surface_of(lambda s, x, y: factor * (x + 10 * y**2 + 2), X, Y, evaluated=evaluated)


def draw(figure: Figure) -> None:
    cast(FigureCanvasAgg, figure.canvas).draw()


def panels(figure: Figure) -> list[Any]:
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


@pytest.mark.parametrize("kind", mostly_slow(["contour", "filled", "heatmap", "surface3d"], "filled"))
def test_panels_have_one_scale_that_holds_all_of_them(kind: str) -> None:
    surfaces = {"small": slope(1.0), "large": slope(3.0)}
    figure = plot(surfaces, kind=kind)
    draw(figure)
    first, second = panels(figure)
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["small", "large"]
    (bar,) = [ax for ax in figure.axes if ax not in (first, second)]
    low, high = bar.get_ylim()
    assert low <= 1.0
    assert high >= 3 * (1 + 3.6 + 2)
    drawn = [[each for each in ax.collections if isinstance(each, ContourSet | QuadMesh)][-1] for ax in (first, second)]
    assert drawn[0].norm.vmin == drawn[1].norm.vmin == pytest.approx(low)
    assert drawn[0].norm.vmax == drawn[1].norm.vmax == pytest.approx(high)
    if isinstance(drawn[0], ContourSet):
        assert drawn[0].levels.tolist() == drawn[1].levels.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["line", "rays"])
def test_curves_side_by_side_have_one_height(kind: str) -> None:
    surfaces = {str(factor): surface_of(lambda s, x, f=factor: f * (1 + x**2), X) for factor in (1, 100, 3)}
    figure = plot(surfaces, kind=kind)
    draw(figure)
    assert len({ax.get_ylim() for ax in panels(figure)}) == 1
    assert len({ax.get_yscale() for ax in panels(figure)}) == 1


def test_a_scale_that_is_asked_for_is_that_of_all_panels() -> None:
    figure = plot({"a": slope(1.0), "b": slope(3.0)}, vmin=2.0, vmax=5.0)
    (bar,) = [ax for ax in figure.axes if ax not in panels(figure)]
    assert bar.get_ylim() == (2.0, 5.0)


@pytest.mark.slow
def test_the_footer_says_what_is_common_and_what_is_not() -> None:
    surfaces = {"a": slope(1.0), "b": slope(3.0)}
    surfaces["b"].metrics["train_loss"].num_examples = 77
    footer = plot(surfaces).get_supxlabel()
    assert footer.startswith("filter normalization  ·  float64")
    assert "a: n(train) = 2,000" in footer
    assert "b: n(train) = 77" in footer
    many = {str(i): slope(1.0 + i) for i in range(6)}
    for i, each in enumerate(many.values()):
        each.metrics["train_loss"].num_examples = 10 + i
    assert "6 files that differ in the rest" in plot(many).get_supxlabel()


@pytest.mark.parametrize("num", range(1, 40))
def test_panels_fill_their_page(num: int) -> None:
    rows, columns = shape_of(num)
    assert (rows - 1) * columns < num <= rows * columns
    assert rows <= columns <= 2 * rows + 1


# ---------------------------------------------------------------- differences


def test_a_difference_is_the_second_minus_the_first_point_by_point() -> None:
    a, b = slope(1.0), slope(1.0)
    b["train_loss"][0, 3, 0] += 0.5
    found = difference_of(a, b, log=False)
    expected = np.zeros((5, 3))
    expected[3, 0] = 0.5  # x = 0.5, y = -0.6
    np.testing.assert_allclose(found.layer.values, expected, atol=1e-15)
    figure = plot({"a": a, "b": b}, difference=True, kind="heatmap", log=False)
    (mesh,) = [each for each in figure.axes[0].collections if isinstance(each, QuadMesh)]
    np.testing.assert_allclose(np.asarray(mesh.get_array()), expected.T, atol=1e-15)
    low, high = figure.axes[1].get_ylim()
    assert low == pytest.approx(-high)  # no difference is the middle of the colours
    assert 0.5 <= high < 0.6
    assert figure.axes[0].get_title(loc="left") == "train loss of b minus a"


def test_where_losses_span_decades_a_difference_is_a_ratio() -> None:
    a = surface_of(lambda s, x, y: 10.0 ** (4 * x), X, Y)
    b = surface_of(lambda s, x, y: 2 * 10.0 ** (4 * x), X, Y)
    found = difference_of(a, b)
    assert found.is_ratio
    np.testing.assert_allclose(found.layer.values, 2.0)
    figure = plot({"a": a, "b": b}, difference=True)
    assert figure.axes[1].get_ylim() == pytest.approx((0.5, 2.0))
    assert figure.axes[0].get_title(loc="left") == "train loss of b over a"
    assert not difference_of(a, b, log=False).is_ratio


def test_a_difference_is_only_where_both_are_known() -> None:
    mask = np.ones((1, 5, 3), dtype=bool)
    mask[0, 1, 2] = False
    a, b = slope(1.0, evaluated=mask), slope(2.0)
    b["train_loss"][0, 2, 0] = math.inf
    found = difference_of(a, b).layer
    assert found.evaluated.tolist() == mask[0].tolist()
    assert np.argwhere(found.diverged).tolist() == [[2, 0]]
    figure = plot({"a": a, "b": b}, difference=True)
    draw(figure)
    assert figure.axes[0].get_title(loc="left").endswith("\nPARTIAL: 14 points in both")


def test_a_difference_along_a_line_is_taken_slice_by_slice() -> None:
    a = surface_of(lambda s, x: 1 + s + x**2, X, num_slices=3)
    b = surface_of(lambda s, x: 1 + s + x**2 + 0.1 * s + x, X, num_slices=3)
    ax = plot({"a": a, "b": b}, difference=True).axes[0]
    (mean,) = [each for each in ax.lines if len(each.get_xdata()) == 5]
    np.testing.assert_allclose(np.asarray(mean.get_ydata(), dtype=float), 0.1 + np.asarray(X))
    assert ax.get_ylabel().endswith("b − a")


@pytest.mark.slow
@pytest.mark.parametrize("num_axes", [1, 2])
def test_equal_surfaces_have_a_difference_too(num_axes: int) -> None:
    surface = surface_of(lambda s, *c: 1 + sum(c) ** 2, *([X, Y][:num_axes]))
    for log in (None, False):
        draw(plot({"a": surface, "b": surface}, difference=True, log=log))


@pytest.mark.parametrize(
    ("surfaces", "options", "words"),
    [
        (lambda: {"a": slope(1)}, {}, "difference: found 1 files; expected two"),
        (lambda: {"a": slope(1), "b": slope(2), "c": slope(3)}, {}, "difference: found 3 files; expected two"),
        (
            lambda: {"a": slope(1), "b": slope(2)},
            {"kind": "surface3d"},
            "this difference is drawn as filled, contour, heatmap",
        ),
        (
            lambda: {"a": slope(1), "b": surface_of(lambda s, x, y: 1.0, [0.0, 1.0], Y)},
            {},
            "the axes x differ: 5 points from -1 to 1 and 2 points from 0 to 1",
        ),
        (lambda: {"a": slope(1), "b": surface_of(lambda s, x: 1.0, X)}, {}, "found 2 and 1 axes; expected as many"),
        (
            lambda: {"a": slope(1), "b": surface_of(lambda s, x, y: 1.0, X, Y, names=("test_loss",))},
            {},
            "metric: found 'train_loss'",
        ),
        (lambda: {"a": slope(-1), "b": slope(1)}, {"log": True}, "log: train_loss has values that are not positive"),
        (
            lambda: {"a": surface_of(lambda s, x: 1.0, X), "b": surface_of(lambda s, x: 1.0, X, num_slices=2)},
            {},
            "the numbers of slices differ: 1 and 2",
        ),
    ],
)
def test_what_has_no_difference_is_said(surfaces: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        plot(surfaces(), difference=True, **options)
    assert words in str(error.value)


def test_no_surface_and_several_in_axes_of_the_caller_are_refused() -> None:
    with pytest.raises(UsageError, match="found no surface"):
        plot({})
    with pytest.raises(UsageError, match="ax: found 2 surfaces; expected one"):
        plot({"a": slope(1), "b": slope(2)}, ax=Figure().add_subplot())
