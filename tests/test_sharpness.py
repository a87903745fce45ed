"""Measures of a surface are what one works out by hand: on bowls, saddles, egg crates and plateaus."""

from __future__ import annotations

import math

import numpy as np
import pytest
from analytic import FILTER, WEIGHT, line, surface_of
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from scipy import stats

from landscape_cli.analysis.coarseness import first_step
from landscape_cli.analysis.invariance import invariances
from landscape_cli.analysis.measurement import over_slices
from landscape_cli.analysis.sharpness import FROM_MODEL, MEASURES, NAMES, measured, sharpness
from landscape_cli.analysis.slices import slices_of
from landscape_cli.analysis.student import t_quantile, two_sided
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

A, B, F0 = 2.0, 6.0, 1.0
X51 = line(-1, 1, 51)
SYMMETRIC = ("curvature", "curvature_max", "curvature_min")


def bowl(_slice: int, x: float, y: float = 0.0, z: float = 0.0) -> float:
    return F0 + (A * x**2 + B * y**2 + 4 * z**2) / 2


def saddle(_slice: int, x: float, y: float) -> float:
    return x**2 - y**2


def plateau(_slice: int, *_: float) -> float:
    return 0.25


def value(surface: Surface, name: str, **options: float) -> float:
    found = measured(surface, name, **options)  # type: ignore[arg-type]
    assert found.value is not None, found.note
    return found.value


# ---------------------------------------------------------------- bowls


@pytest.mark.parametrize("radius", [0.1, 0.25, 0.5])
def test_eps_sharpness_of_a_bowl_is_the_rise_at_the_corner_of_the_box(radius: float) -> None:
    surface = surface_of(bowl, line(-1, 1, 41), line(-1, 1, 41))
    expected = 100 * (A + B) * radius**2 / 2 / (1 + F0)
    found = MEASURES["eps_sharpness"](surface, radius=radius)
    assert found.value == pytest.approx(expected)
    assert found.unit == "%"


def test_eps_sharpness_between_grid_points_is_interpolated_not_cut_off() -> None:
    surface = surface_of(lambda _, x: 1 + abs(x), line(-1, 1, 9))  # h = 0.25
    assert MEASURES["eps_sharpness"](surface, radius=0.1).value == pytest.approx(5.0)


COARSE = "grid too coarse: h = 0.25, {} lies within {}; interpolation overestimates the loss"


def test_epsilon_between_the_first_points_is_said_to_be_interpolated() -> None:
    """On a bowl the chord lies above the loss: 100 · 0.1 · 0.25 / 2 instead of 100 · 0.1² / 2."""
    surface = surface_of(lambda _, x, y: (x**2 + y**2) / 2, *[line(-1, 1, 9)] * 2)  # h = 0.25
    bound, coarse = "not above that over all directions", COARSE.format("ε", "2 steps")
    between = measured(surface, "eps_sharpness(0.1)")
    assert between.value == pytest.approx(2 * 100 * 0.1 * 0.25 / 2)
    assert (coarse in between.note, bound in between.note) == (True, False)
    for name in ("eps_sharpness", "eps_sharpness(0.5)"):  # one and two steps, on the grid
        note = measured(surface, name).note
        assert (coarse in note, bound in note) == (False, True)
    far = MEASURES["eps_sharpness"](surface, radius=0.6)
    assert ("too coarse" in far.note, bound in far.note) == (False, True)
    told = [coarse in measured(surface, name).note for name in ("mean_rise(0.1)", "mean_rise", "mean_rise(0.5)")]
    assert told == [True, True, False]


@pytest.mark.parametrize("name", ["flat_radius", "flat_radius_min"])
def test_a_radius_within_the_first_step_is_a_lower_bound(name: str) -> None:
    surface = surface_of(lambda _, x, y: 2 * (x**2 + y**2), *[line(-1, 1, 9)] * 2, num_slices=3)
    found, exact = measured(surface, name, tau=0.1), math.sqrt(0.1 / 2)
    assert found.value is not None
    assert found.value < exact < 0.25
    assert (found.bound, found.standard_error) == ("lower", None)
    assert COARSE.format("the radius", "1 step") in found.note
    far = measured(surface, name, tau=0.5)
    assert (far.bound, "too coarse" in far.note) == (None, False)


@pytest.mark.parametrize("name", ["low_area", "low_area_connected"])
def test_a_low_region_without_a_point_but_the_centre_is_interpolated(name: str) -> None:
    surface = surface_of(lambda _, x, y: 2 * (x**2 + y**2), *[line(-1, 1, 9)] * 2)
    found = measured(surface, name, tau=0.1)
    assert found.value is not None
    assert found.value < 0.8 * math.pi * (0.1 / 2) / 4
    assert COARSE.format("the low region", "1 step") in found.note
    assert "too coarse" not in measured(surface, name, tau=0.13).note


def test_the_first_step_is_that_around_the_checkpoint() -> None:
    def step(*axes: list[float]) -> float:
        return first_step(slices_of(surface_of(bowl, *axes), None, None))

    assert step([-1.0, -0.1, 0.0, 0.2, 3.0]) == 0.2
    assert step([0.01, 0.02, 3.0]) == 0.01  # a line gets the checkpoint
    assert step(line(-1, 1, 4), line(-1, 1, 9)) == pytest.approx(2 / 3)  # a plane without it: the points around


@pytest.mark.parametrize(
    ("axes", "second_moment", "total"),
    [((X51,), 1 / 3, A), ((X51, X51), 1 / 4, A + B), ((line(-1, 1, 21),) * 3, 1 / 5, A + B + 4)],
)
def test_mean_rise_of_a_bowl_is_the_integral_over_the_ball(
    axes: tuple[list[float], ...], second_moment: float, total: float
) -> None:
    """Interpolation between points with the spacing h adds h²/12 of the second derivative, on average."""
    h = axes[0][1] - axes[0][0]
    expected = total / 2 * second_moment * 0.25 + total * h**2 / 12
    assert value(surface_of(bowl, *axes), "mean_rise(0.5)") == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("num_axes", [1, 2, 3])
def test_flat_radius_of_a_round_bowl_is_the_same_on_every_ray(num_axes: int) -> None:
    axes = [line(-1, 1, 41)] * num_axes
    surface = surface_of(lambda _, *c: sum(each**2 for each in c), *axes)
    for name in ("flat_radius", "flat_radius_min"):
        assert value(surface, name, tau=0.25) == pytest.approx(0.5, rel=0.01)


def test_flat_radii_of_an_oval_bowl() -> None:
    surface = surface_of(bowl, line(-1, 1, 201), line(-1, 1, 201))
    angles = 2 * np.pi * np.arange(16) / 16
    on_rays = np.sqrt(0.2 / (A * np.cos(angles) ** 2 + B * np.sin(angles) ** 2))
    assert value(surface, "flat_radius") == pytest.approx(float(np.median(on_rays)), rel=2e-3)
    assert value(surface, "flat_radius_min") == pytest.approx(math.sqrt(0.2 / B), rel=2e-3)


def test_low_area_of_a_bowl_is_that_of_the_ellipse() -> None:
    surface = surface_of(bowl, X51, X51)
    ellipse = math.pi * 2 * 0.1 / math.sqrt(A * B)
    for name in ("low_area", "low_area_connected"):
        assert value(surface, name) == pytest.approx(ellipse / 4, rel=0.02)


def test_low_area_weighs_uneven_grids_by_length() -> None:
    surface = surface_of(lambda _, x: x, [-1.0, 0.0, 0.1, 0.3, 1.0, 3.0])
    assert value(surface, "low_area", tau=1.0) == pytest.approx(0.5, rel=0.01)


def test_curvature_of_a_turned_bowl_is_exact_and_says_so() -> None:
    hessian = np.array([[3.0, 1.0], [1.0, 2.0]])
    surface = surface_of(lambda _, x, y: 1 + 0.5 * float(np.array([x, y]) @ hessian @ [x, y]), X51, line(-2, 2, 21))
    low, high = np.linalg.eigvalsh(hessian)
    expected = {"curvature": 2.5, "curvature_max": high, "curvature_min": low}
    for name, each in expected.items():
        found = measured(surface, name)
        assert found.value == pytest.approx(each, rel=1e-9)
        assert found.method_error == pytest.approx(0.0, abs=1e-9)
        assert "too coarse" not in found.note


@pytest.mark.parametrize(("num", "is_coarse"), [(51, False), (5, True)])
def test_richardson_removes_the_quartic_term_and_names_its_error(num: int, is_coarse: bool) -> None:
    surface = surface_of(lambda _, x: x**2 / 2 + x**4, line(-1, 1, num))
    found, h = measured(surface, "curvature"), 2 / (num - 1)
    assert found.value == pytest.approx(1.0, rel=1e-9)
    assert found.method_error == pytest.approx(2 * h**2)  # D_h = 1 + 2h², D_2h = 1 + 8h²
    assert (f"grid too coarse for curvature (h={h:g})" in found.note) is is_coarse


def test_curvature_in_a_volume() -> None:
    surface = surface_of(bowl, *[line(-1, 1, 5)] * 3)
    assert [value(surface, name) for name in SYMMETRIC] == pytest.approx([4.0, 6.0, 2.0])


def test_curvature_needs_zero_and_even_spacing_around_it() -> None:
    for x in (line(-1, 1, 4), [-1.0, -0.1, 0.0, 0.1, 1.0], [0.0, 0.1, 0.2, 0.3], line(-1, 1, 3)):
        found = measured(surface_of(bowl, x), "curvature")
        assert found.value is None
        assert "evenly spaced" in found.note


def test_asymmetry_is_the_odd_part_over_the_even_one() -> None:
    surface = surface_of(lambda _, x: x**2 * (1 + 0.5 * x), line(-1, 1, 9))
    assert value(surface, "asymmetry") == pytest.approx(0.25)  # c·t
    assert value(surface_of(bowl, X51, X51), "asymmetry") == 0.0
    one_sided = surface_of(lambda _, x: max(x, 0.0), line(-1, 1, 9))
    assert value(one_sided, "asymmetry") == 1.0


def test_the_minimum_is_found_where_it_is() -> None:
    surface = surface_of(lambda _, x, y: (x - 0.2) ** 2 + (y + 0.4) ** 2, line(-1, 1, 11), line(-1, 1, 11))
    assert value(surface, "offset_of_minimum") == pytest.approx(math.hypot(0.2, 0.4))
    assert value(surface, "depth_below_centre") == pytest.approx(0.2)
    flat = surface_of(plateau, X51, X51)
    assert value(flat, "offset_of_minimum") == value(flat, "depth_below_centre") == 0.0


# ---------------------------------------------------------------- saddles, egg crates, plateaus


def test_a_bowl_is_all_uphill_and_a_saddle_half() -> None:
    hill, pass_ = surface_of(bowl, X51, X51), surface_of(saddle, X51, X51)
    assert (value(hill, "monotone_rays"), value(hill, "descent_share")) == (1.0, 0.0)
    # up or level: 10 of the 16 rays have cos 2θ ≥ 0
    assert value(pass_, "monotone_rays") == 10 / 16
    assert value(pass_, "descent_share") == pytest.approx(0.5)


def test_negative_curvature_is_counted_where_it_is() -> None:
    assert value(surface_of(bowl, X51, X51), "neg_curv_frac") == 0.0
    assert value(surface_of(saddle, X51, X51), "neg_curv_frac") == 1.0
    crate = surface_of(lambda _, x, y: 2 - math.cos(7 * x) - math.cos(7 * y), X51, X51)
    inner = np.cos(7 * np.array(X51[1:-1]))  # a second difference of cos kx is a multiple of it
    lowest = np.minimum(inner[:, None], inner[None, :])
    assert value(crate, "neg_curv_frac") == pytest.approx(float((lowest < -1e-3 * np.abs(inner).max()).mean()))


def test_an_egg_crate_has_its_basins_and_those_at_the_border_are_marked() -> None:
    surface = surface_of(lambda _, x: 1 - math.cos(4 * math.pi * x), line(-1, 1, 81))  # lowest at -1, -½, 0, ½, 1
    found = measured(surface, "n_basins")
    assert (found.value, found.note.split(" lowest")[0]) == (5.0, "2 of 5")
    assert value(surface, "total_persistence") == pytest.approx(4 * 2.0)
    assert value(surface, "saddle_minimum_distance") == pytest.approx(2.0)
    assert measured(surface_of(saddle, X51, X51), "n_basins").note.startswith("2 of 2 lowest at the border")


def test_only_the_connected_part_of_the_low_region_holds_the_checkpoint() -> None:
    crate = surface_of(lambda _, x: 1 - math.cos(4 * math.pi * x), line(-1, 1, 401))
    half = math.acos(1 - 0.1) / (4 * math.pi)
    assert value(crate, "low_area_connected") == pytest.approx(2 * half / 2, rel=0.02)
    assert value(crate, "low_area") == pytest.approx(4 * 2 * half / 2, rel=0.02)  # three whole ones and two halves


@pytest.mark.parametrize(("num_axes", "end"), [(1, 1.0), (2, 1 / math.cos(math.pi / 8))])
def test_on_a_plateau_nothing_rises_and_the_radius_is_a_lower_bound(num_axes: int, end: float) -> None:
    surface = surface_of(plateau, *[X51] * num_axes, num_slices=3)
    radius = measured(surface, "flat_radius")
    assert (radius.value, radius.bound, radius.standard_error, radius.interval) == (
        pytest.approx(end),
        "lower",
        None,
        None,
    )
    assert "no rise by τ within the grid in 3 of 3 slices" in radius.note
    expected = {"low_area": 1.0, "monotone_rays": 1.0, "n_basins": 1.0}
    for name in ("mean_rise", "eps_sharpness", "descent_share", "neg_curv_frac", "curvature", "total_persistence"):
        expected[name] = 0.0
    assert {name: value(surface, name) for name in expected} == pytest.approx(expected)


def test_rounding_noise_on_a_plateau_is_no_ruggedness() -> None:
    rng = np.random.default_rng(0)
    surface = surface_of(lambda *_: 1 + 1e-8 * rng.standard_normal(), X51, X51, precision="float32")
    assert value(surface, "descent_share") == 0.0
    assert value(surface, "monotone_rays") == 1.0
    assert value(surface, "n_basins") == 1.0
    assert value(surface, "neg_curv_frac") == 0.0


# ---------------------------------------------------------------- slices and their error bars


def test_slices_give_mean_standard_error_range_spread_and_interval() -> None:
    slopes = np.array([1.0, 2.0, 4.0, 5.0])
    found = measured(surface_of(lambda s, x: slopes[s] * abs(x), line(-1, 1, 9), num_slices=4), "mean_rise(0.5)")
    each, deviation = slopes / 4, slopes.std(ddof=1) / 4
    assert found.per_slice == pytest.approx(each, rel=1e-6)
    assert found.value == pytest.approx(each.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(deviation / 2, rel=1e-6)
    assert found.range == pytest.approx((0.25, 1.25), rel=1e-6)
    assert found.spread == pytest.approx(deviation / each.mean(), rel=1e-6)
    assert found.interval == pytest.approx(stats.t.interval(0.95, 3, each.mean(), deviation / 2), rel=1e-6)
    assert found.note.endswith("slices differ by 61 %: a single one misleads")


@pytest.mark.parametrize(
    ("num_slices", "has_error", "has_interval"), [(1, False, False), (2, True, False), (3, True, True)]
)
def test_few_slices_get_no_interval_and_one_no_error_bar(num_slices: int, has_error: bool, has_interval: bool) -> None:
    for found in sharpness(surface_of(lambda s, x, y: (1 + s) * (x**2 + y**2), X51, X51, num_slices=num_slices)):
        if found.value is not None:
            assert (found.standard_error is not None) is has_error, found.name
            assert (found.interval is not None) is has_interval, found.name


def test_a_single_slice_can_be_chosen() -> None:
    surface = surface_of(lambda s, x, y: (1 + s) * (x**2 + y**2), X51, X51, num_slices=3)
    found = measured(surface, "curvature", slice_index=2)
    assert found.value == pytest.approx(6.0)
    assert len(found.per_slice) == 1
    with pytest.raises(UsageError, match=r"slice: found 3; the surface has slices 0 … 2"):
        measured(surface, "curvature", slice_index=3)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 19, 99])
def test_the_t_quantile_is_that_of_scipy(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)
    assert two_sided(1.3, degrees) == pytest.approx(1 - 2 * stats.t.sf(1.3, degrees), rel=1e-9)


def test_the_interval_over_slices_holds_the_truth_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        curvatures = rng.chisquare(8, size=10)
        surface = surface_of(lambda s, x: curvatures[s] * x**2 / 2, line(-1, 1, 9), num_slices=10)  # noqa: B023
        found = measured(surface, "curvature").interval
        assert found is not None
        hits += found[0] <= 8.0 <= found[1]
    assert 0.90 <= hits / 200 <= 0.98


# ---------------------------------------------------------------- invariances


RUGGED = st.lists(st.floats(0.0, 4.0, width=32), min_size=25, max_size=25)


def rugged(heights: list[float], scale: float = 1.0, shift: float = 0.0) -> Surface:
    """One slice on a grid of 5 × 5."""
    table = np.array(heights).reshape(5, 5) * scale + shift
    return surface_of(lambda _, x, y: table[round(2 * x) + 2, round(2 * y) + 2], line(-1, 1, 5), line(-1, 1, 5))


def close(expected: float | None) -> object:
    """Up to rounding; what is not measured is not measured."""
    return None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9)


IN_NATS = ("mean_rise", "curvature", "curvature_max", "curvature_min", "total_persistence", "saddle_minimum_distance")
IN_NATS = (*IN_NATS, "depth_below_centre")
PLAIN = ("low_area", "low_area_connected", "flat_radius", "flat_radius_min", "n_basins", "descent_share", "asymmetry")


@settings(max_examples=10, deadline=None)
@given(heights=RUGGED, power=st.integers(-3, 3))
def test_scaling_the_loss_scales_what_is_in_nats_and_nothing_else(heights: list[float], power: int) -> None:
    scale = 2.0**power  # exact in floating point
    one, other = rugged(heights), rugged(heights, scale=scale)
    for name in IN_NATS:
        assert value(other, name) == pytest.approx(scale * value(one, name), rel=1e-12)
    for name in PLAIN:
        a, b = measured(one, name, tau=0.5), measured(other, name, tau=0.5 * scale)
        assert (a.value, a.bound) == (close(b.value), b.bound)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(heights=st.lists(st.integers(0, 64), min_size=25, max_size=25), shift=st.integers(-8, 8))
def test_adding_a_constant_changes_only_what_divides_by_the_loss(heights: list[int], shift: int) -> None:
    exact = [height / 16 for height in heights]  # sums of these are exact
    one, other = rugged(exact), rugged(exact, shift=float(shift))
    for name in (*IN_NATS, *PLAIN, "monotone_rays", "neg_curv_frac", "offset_of_minimum"):
        a, b = (measured(surface, name, tau=0.1234567) for surface in (one, other))  # no tie with τ
        assert a.value == close(b.value), name


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_slices_does_not_matter(order: list[int]) -> None:
    curvatures = [1.0, 2.5, 3.0, 7.0]
    x = [*np.geomspace(0.01, 3, 9)]
    one = surface_of(lambda s, x: curvatures[s] * x**2, x, num_slices=4, recipe=WEIGHT)
    other = surface_of(lambda s, x: curvatures[order[s]] * x**2, x, num_slices=4, recipe=WEIGHT)
    for a, b in zip(sharpness(one), sharpness(other), strict=True):
        assert (a.value, a.standard_error) == (pytest.approx(b.value), pytest.approx(b.standard_error)), a.name
        assert sorted(a.per_slice) == pytest.approx(sorted(b.per_slice))


def test_what_a_measure_is_invariant_to_follows_from_the_directions() -> None:
    layer, neuron, batchnorm = "layer", "neuron", "conv→BN"
    assert invariances([WEIGHT]) == (layer, neuron, batchnorm)
    assert invariances([FILTER, WEIGHT]) == (layer, batchnorm)
    assert invariances([{"_target_": "random"}]) == (layer, batchnorm)  # filter is the default
    assert invariances([FILTER, {"_target_": "random", "normalization": "unit"}]) == ()
    assert invariances([{"_target_": "gradient", "normalization": "weight"}]) == ()
    assert invariances([{"_target_": "hessian"}]) == ()
    assert invariances([{"_target_": "unknown"}]) is None


# ---------------------------------------------------------------- surfaces that are not as they should be


def test_diverged_points_are_infinitely_high_and_counted() -> None:
    surface = surface_of(lambda _, x: x**2 if abs(x) < 0.6 else math.nan, line(-1, 1, 11))
    assert value(surface, "eps_sharpness") == pytest.approx(100 * 0.07)  # between 0.2 and 0.4
    assert value(surface, "mean_rise(0.5)") == math.inf
    assert value(surface, "flat_radius", tau=1.0) == pytest.approx(0.4)  # the last point before
    assert value(surface, "curvature") == pytest.approx(2.0)
    assert measured(surface, "curvature").note.endswith("6 points diverged")
    assert value(surface, "n_basins") == 1.0
    assert value(surface, "neg_curv_frac") == 0.0


def test_one_diverged_slice_does_not_hide_behind_the_mean() -> None:
    surface = surface_of(lambda s, x: math.inf if s == 1 and x == 0.5 else x**2, line(-1, 1, 5), num_slices=3)
    found = measured(surface, "eps_sharpness(0.5)")
    assert (found.value, found.standard_error, found.interval) == (math.inf, None, None)
    assert found.per_slice[0] == pytest.approx(25.0)


def test_basins_behind_a_diverged_wall_are_counted_but_not_summed() -> None:
    surface = surface_of(lambda _, x: math.nan if abs(x - 0.5) < 1e-9 else x**2, line(-1, 1, 9))
    assert value(surface, "n_basins") == 2.0
    assert value(surface, "total_persistence") == 0.0


@pytest.mark.parametrize("rows", [range(0, 9, 2), range(0, 9, 4)])
def test_of_a_partial_plane_the_finest_complete_grid_is_used(rows: range) -> None:
    """As a stopped scan leaves it; another point of the next level does not count."""
    mask = np.zeros((1, 9, 9), dtype=np.bool_)
    mask[np.ix_([0], list(rows), list(rows))] = True
    mask[0, 1, 1] = True
    whole = surface_of(bowl, line(-1, 1, 9)[:: rows.step], line(-1, 1, 9)[:: rows.step])
    partial = surface_of(bowl, line(-1, 1, 9), line(-1, 1, 9), evaluated=mask)
    for expected, found in zip(sharpness(whole), sharpness(partial), strict=True):
        assert (found.name, found.value) == (expected.name, expected.value)
        if found.value is not None:
            assert f"partial: {len(rows) ** 2} of 81 points per slice used" in found.note


def test_of_a_partial_line_all_points_that_every_slice_has_are_used() -> None:
    mask = np.ones((2, 9), dtype=np.bool_)
    mask[0, 1] = mask[1, 7] = False
    found = measured(surface_of(bowl, line(-1, 1, 9), num_slices=2, evaluated=mask), "mean_rise")
    assert found.value == pytest.approx(MEASURES["mean_rise"](surface_of(bowl, line(-1, 1, 9))).value)
    assert "partial: 7 of 9 points per slice used" in found.note


@pytest.mark.parametrize(
    ("surface", "reason"),
    [
        (surface_of(bowl, X51, X51, evaluated=False), "too few points are evaluated"),
        (surface_of(bowl, [0.0]), "a single point"),
        (surface_of(bowl, [0.0], line(-1, 1, 5)), "an axis of a single point"),
        (surface_of(bowl, line(0.5, 1, 5), X51), "the checkpoint lies outside the grid"),
        (surface_of(lambda *_: math.nan, line(-1, 1, 5)), "the loss at the checkpoint is not known, or not finite"),
    ],
)
def test_what_cannot_be_measured_says_why(surface: Surface, reason: str) -> None:
    for found in sharpness(surface):
        assert found.value is None
        assert reason in found.note or found.name in ("barrier", "error_barrier", "adaptive_radius", *FROM_MODEL)


def test_a_grid_that_ends_too_early_is_not_extrapolated() -> None:
    found = measured(surface_of(bowl, line(-0.2, 0.2, 5)), "eps_sharpness")
    assert (found.value, found.note) == (None, "the grid ends at 0.2, before 0.25")


def test_a_line_whose_points_miss_zero_gets_the_checkpoint_from_the_file() -> None:
    surface = surface_of(lambda _, x: 1 + abs(x), line(-1, 1, 4))
    assert value(surface, "flat_radius", tau=0.1) == pytest.approx(0.1)


def test_names_are_known_and_guessed() -> None:
    surface = surface_of(bowl, X51)
    with pytest.raises(UsageError, match=r"did you mean flat_radius, flat_radius_min or adaptive_radius\?"):
        measured(surface, "flat_radios")
    with pytest.raises(UsageError, match="did you mean 'train_loss'"):
        measured(surface, "flat_radius", loss="trian_loss")
    with_accuracy = surface_of(bowl, X51, names=("train_loss", "train_accuracy"))
    with pytest.raises(UsageError, match="'train_accuracy' is a share, not a loss"):
        measured(with_accuracy, "flat_radius", loss="train_accuracy")
    with pytest.raises(UsageError, match="has no loss"):
        measured(surface_of(bowl, X51, names=("test_accuracy",)), "flat_radius")


def test_every_measure_has_a_name_of_its_own() -> None:
    surface = surface_of(bowl, X51, X51)
    assert tuple(found.name for found in sharpness(surface)) == NAMES
    assert len(set(NAMES)) == len(NAMES)


def test_a_mean_over_slices_leaves_out_what_is_not_defined() -> None:
    assert over_slices([1.0, math.nan, 3.0]).value == 2.0


RECIPES = (FILTER, WEIGHT, {"_target_": "between"}, {"_target_": "unknown"}, {"_target_": "hessian"})


@pytest.mark.parametrize("seed", mostly_slow(range(60), *range(8)))
def test_whatever_the_surface_every_measure_is_a_number_or_says_why(seed: int) -> None:
    """Uneven, one-sided, partial and diverged ones of all dimensions; warnings are errors."""
    rng = np.random.default_rng(seed)
    even = [line(-1, 1, 2 * int(rng.integers(1, 4)) + 1) for _ in range(rng.integers(1, 4))]
    uneven = [np.unique(rng.uniform(-1, 1.3, rng.integers(1, 7)).round(1)).tolist() for _ in even]
    axes, num_slices = (uneven if rng.random() < 0.4 else even), int(rng.integers(1, 4))
    names, recipe = ("train_loss", "train_accuracy"), RECIPES[rng.integers(5)]
    surface = surface_of(lambda *_: 0.0, *axes, num_slices=num_slices, recipe=recipe, names=names)  # type: ignore[arg-type]
    for name in names:
        metric = surface.metrics[name]
        metric.values[:] = rng.standard_normal(metric.values.shape)
        diverged = rng.random(metric.values.shape) < rng.choice([0, 0.1, 0.9])
        metric.values[diverged] = rng.choice([math.nan, math.inf, -math.inf], diverged.sum())
        metric.centre = float(rng.choice([0.5, -1.0, math.nan, math.inf], p=[0.7, 0.1, 0.1, 0.1]))
        metric.num_examples = int(rng.choice([0, 100]))
    surface.evaluated[:] = rng.random(surface.evaluated.shape) < rng.choice([1, 1, 0.9, 0.3])
    for found in sharpness(surface):
        assert found.note if found.value is None else not math.isnan(found.value), found.name
