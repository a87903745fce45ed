"""A grid holds the coordinates that were asked for and visits every point once, coarse to fine."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_cli.grid import Axis, Grid

FINITE = st.floats(-1e6, 1e6)
COORDINATES = st.lists(FINITE, min_size=1, max_size=12, unique=True).map(lambda values: tuple(sorted(values)))


def axes(name: str) -> st.SearchStrategy[Axis]:
    return COORDINATES.map(lambda coordinates: Axis(name, coordinates))


GRIDS = st.builds(
    Grid,
    st.one_of(st.tuples(axes("x")), st.tuples(axes("x"), axes("y"))),
    st.integers(1, 4),
)


def halved(low: int, high: int, level: int) -> dict[int, int]:
    """Index → level of everything strictly between two known indices, by the definition: halve, then go on inside."""
    if high - low < 2:
        return {}
    middle = (low + high) // 2
    return {middle: level, **halved(low, middle, level + 1), **halved(middle, high, level + 1)}


def levels_by_definition(axis: Axis) -> list[int]:
    last = len(axis) - 1
    centre = min(range(len(axis)), key=lambda i: abs(axis.coordinates[i]))
    levels = {0: 0, centre: 0, last: 0, **halved(0, centre, 1), **halved(centre, last, 1)}
    return [levels[i] for i in range(len(axis))]


# ---------------------------------------------------------------- axes


@settings(deadline=None)
@given(start=st.floats(-1e3, 1e3), length=st.floats(1e-3, 1e3), num=st.integers(2, 60))
def test_linspace_is_evenly_spaced_and_holds_both_ends(start: float, length: float, num: int) -> None:
    stop = start + length
    axis = Axis.linspace("x", start, stop, num)
    step = (Fraction(stop) - Fraction(start)) / (num - 1)
    exact = [float(Fraction(start) + i * step) for i in range(num)]
    assert len(axis) == num
    assert axis.coordinates == pytest.approx(exact, rel=1e-12, abs=2e-12 * length)
    assert axis.coordinates[-1] == stop or abs(stop) < 1e-12 * length
    assert axis.coordinates[0] == start or abs(start) < 1e-12 * length


@settings(deadline=None)
@given(below=st.integers(0, 60), above=st.integers(0, 60), step=st.floats(1e-9, 1e9))
def test_linspace_zero_is_exact_wherever_it_is_on_the_grid(below: int, above: int, step: float) -> None:
    num = below + above + 1
    if num == 1:
        return
    axis = Axis.linspace("x", -below * step, above * step, num)
    assert axis.coordinates[below] == 0.0
    assert axis.centre == below
    assert axis.coordinates.count(0.0) == 1


@settings(deadline=None)
@given(half=st.integers(1, 50), reach=st.floats(1e-9, 1e9))
def test_linspace_never_invents_a_zero_between_two_points(half: int, reach: float) -> None:
    axis = Axis.linspace("x", -reach, reach, 2 * half)  # even: zero lies between two points
    assert 0.0 not in axis.coordinates
    assert np.min(np.abs(axis.coordinates)) == pytest.approx(reach / (2 * half - 1))


def test_linspace_with_one_point_is_its_start() -> None:
    assert Axis.linspace("x", 0.25, 1.0, 1).coordinates == (0.25,)


@settings(deadline=None)
@given(axis=axes("x"))
def test_centre_is_the_coordinate_nearest_to_zero(axis: Axis) -> None:
    assert abs(axis.coordinates[axis.centre]) == min(map(abs, axis.coordinates))


@pytest.mark.parametrize(
    ("coordinates", "reason"),
    [
        ((), "axis x: no coordinates"),
        ((0.0, math.nan), "axis x: coordinates must be finite"),
        ((-math.inf, 0.0), "axis x: coordinates must be finite"),
        ((0.0, 0.0), "axis x: coordinates must be strictly increasing"),
        ((1.0, 0.0), "axis x: coordinates must be strictly increasing"),
    ],
)
def test_axis_refuses_what_is_no_axis(coordinates: tuple[float, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Axis("x", coordinates)


def test_linspace_refuses_a_range_that_does_not_grow() -> None:
    for start, stop in ((1.0, -1.0), (0.5, 0.5)):
        with pytest.raises(ValueError, match="strictly increasing"):
            Axis.linspace("x", start, stop, 3)


# ---------------------------------------------------------------- levels


@settings(deadline=None)
@given(axis=axes("x"))
def test_levels_halve_every_gap_between_centre_and_ends(axis: Axis) -> None:
    assert axis.levels.tolist() == levels_by_definition(axis)


@settings(deadline=None, max_examples=50)
@given(num=st.integers(2, 400), start=st.floats(-5, 5))
def test_each_level_at_least_halves_the_widest_gap(num: int, start: float) -> None:
    axis = Axis.linspace("x", start, start + 4.0, num)
    gaps = [int(np.diff(np.flatnonzero(axis.levels <= level)).max()) for level in range(int(axis.levels.max()) + 1)]
    assert all(after <= (before + 1) // 2 for before, after in pairwise(gaps))
    assert gaps[-1] == 1


# ---------------------------------------------------------------- grids


@pytest.mark.parametrize("number", [0, 4])
def test_grid_refuses_other_than_one_to_three_axes(number: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 3 axes, not {number}"):
        Grid(tuple(Axis(name, (0.0,)) for name in "xyzw"[:number]))


def test_grid_refuses_to_have_no_slices() -> None:
    with pytest.raises(ValueError, match="at least one slice, not 0"):
        Grid((Axis("x", (0.0,)),), num_slices=0)


@settings(deadline=None)
@given(grid=GRIDS)
def test_shape_is_slices_then_axes(grid: Grid) -> None:
    assert grid.shape == (grid.num_slices, *map(len, grid.axes))
    assert grid.num_points == np.zeros(grid.shape).size


@settings(deadline=None)
@given(grid=GRIDS)
def test_location_counts_points_in_c_order(grid: Grid) -> None:
    everywhere = product(range(grid.num_slices), *(axis.coordinates for axis in grid.axes))
    expected = [(slice_index, tuple(coordinates)) for slice_index, *coordinates in everywhere]
    assert [grid.location(point) for point in range(grid.num_points)] == expected


@settings(deadline=None)
@given(grid=GRIDS)
def test_scan_order_visits_every_point_once(grid: Grid) -> None:
    assert sorted(grid.scan_order().tolist()) == list(range(grid.num_points))


@settings(deadline=None)
@given(grid=GRIDS)
def test_scan_order_begins_at_the_point_nearest_to_the_checkpoint(grid: Grid) -> None:
    slice_index, coordinates = grid.location(int(grid.scan_order()[0]))
    assert slice_index == 0
    assert [abs(c) for c in coordinates] == [min(map(abs, axis.coordinates)) for axis in grid.axes]


@settings(deadline=None)
@given(grid=GRIDS)
def test_scan_order_up_to_any_level_is_a_rectangular_subgrid_with_ends_and_centre(grid: Grid) -> None:
    order = grid.scan_order().tolist()
    levels = [levels_by_definition(axis) for axis in grid.axes]
    for level in range(max(map(max, levels)) + 1):
        kept = [[i for i, own in enumerate(own_levels) if own <= level] for own_levels in levels]
        subgrid = {int(np.ravel_multi_index(index, grid.shape)) for index in product(range(grid.num_slices), *kept)}
        assert set(order[: len(subgrid)]) == subgrid
        for indices, axis in zip(kept, grid.axes, strict=True):
            assert {0, axis.centre, len(axis) - 1} <= set(indices)


def test_scan_order_of_a_small_line_is_centre_ends_middles() -> None:
    assert Grid((Axis.linspace("x", -1.0, 1.0, 5),)).scan_order().tolist() == [2, 0, 4, 1, 3]


def test_scan_order_gives_every_slice_its_coarse_picture_first() -> None:
    order = Grid((Axis.linspace("x", -1.0, 1.0, 5),), num_slices=2).scan_order()
    assert order.tolist() == [2, 0, 4, 7, 5, 9, 1, 3, 6, 8]


def test_scan_order_of_a_single_point_is_that_point() -> None:
    grid = Grid((Axis("x", (0.5,)), Axis("y", (-2.0,))))
    assert grid.scan_order().tolist() == [0]
    assert grid.location(0) == (0, (0.5, -2.0))
