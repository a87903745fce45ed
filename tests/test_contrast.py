"""A contrast has the error of the t tests, of the jackknife done by brute force, and of what a method may be off by."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identified import beside_a_plane, bowl, chi_squares, noise_line
from recorded import eigenvalues, gradient, record, surface_with
from scipy import stats

from landscape_cli.analysis.compare import with_common_noise
from landscape_cli.analysis.contrast import Contrast, contrast
from landscape_cli.analysis.measurement import Measurement, jackknife, over_slices
from landscape_cli.analysis.sharpness import measured
from landscape_cli.analysis.student import t_quantile
from landscape_cli.records import Record
from landscape_cli.surface import Surface, Trajectory


def mean_of(values: list[float], **options: object) -> Measurement:
    """A mean over slices."""
    found = over_slices(values)
    return Measurement("mean_rise", found.value, found.standard_error, per_slice=tuple(values), **options)  # type: ignore[arg-type]


def put(base: Measurement, new: Measurement, *, is_paired: bool = True) -> Contrast:
    found = contrast(base, new, is_paired=is_paired)
    assert found is not None
    return found


def radius_of(surface: Surface) -> Measurement:
    return measured(surface, "adaptive_radius")


# ---------------------------------------------------------------- Student's t


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.983, 0.9975])
def test_quantiles_are_those_of_scipy(confidence: float) -> None:
    for degrees in (1, 2, 3, 4, 7, 19, 38, 79, 500):
        expected = stats.t.ppf((1 + confidence) / 2, degrees)
        assert t_quantile(degrees, confidence=confidence) == pytest.approx(expected, rel=1e-9)
    assert t_quantile(math.inf, confidence=confidence) == pytest.approx(stats.norm.ppf((1 + confidence) / 2))


@given(st.floats(1.0, 200.0), st.floats(0.01, 0.999))
def test_quantiles_of_a_fraction_are_on_the_safe_side(degrees: float, confidence: float) -> None:
    found = t_quantile(degrees, confidence=confidence)
    assert found == pytest.approx(stats.t.ppf((1 + confidence) / 2, math.floor(degrees)), rel=1e-7)
    assert found >= stats.t.ppf((1 + confidence) / 2, degrees) * (1 - 1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_jackknife_of_a_mean_is_its_standard_error(values: list[float]) -> None:
    array = np.asarray(values)
    without = np.asarray([np.delete(array, i).mean() for i in range(len(array))])
    assert jackknife(without) == pytest.approx(stats.sem(array), rel=1e-6, abs=1e-9)


# ---------------------------------------------------------------- means over slices

SLICES = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=3, max_size=25)


@settings(deadline=None)
@given(SLICES)
def test_paired_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    base, new = map(list, zip(*pairs, strict=True))
    found = put(mean_of(base), mean_of(new))
    differences = np.subtract(new, base)
    if np.ptp(differences) > 1e-9:  # else scipy warns
        expected = stats.ttest_rel(new, base).confidence_interval(0.9)
        assert found.limits_of_difference(0.9) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-9)
    assert (found.pairing, found.num_slices, found.degrees) == ("paired", len(pairs), len(pairs) - 1)
    assert found.difference == pytest.approx(differences.mean(), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=20), st.lists(st.floats(0.1, 10), min_size=2, max_size=20))
def test_unpaired_is_the_t_test_of_welch(base: list[float], new: list[float]) -> None:
    found = put(mean_of(base), mean_of(new), is_paired=False)
    assert found.pairing == "unpaired"
    if min(np.std(base), np.std(new)) < 1e-6:
        return
    expected = stats.ttest_ind(new, base, equal_var=False)
    assert found.degrees == pytest.approx(expected.df, rel=1e-6)
    assert found.difference / found.error == pytest.approx(expected.statistic, rel=1e-6, abs=1e-9)
    low, high = expected.confidence_interval(0.95)
    ours = found.limits_of_difference(0.95)
    assert ours is not None
    assert ours[0] <= low + 1e-9
    assert ours[1] >= high - 1e-9  # the degrees are rounded down


def test_unpaired_logarithm_has_degrees_of_its_own() -> None:
    """By the relative errors: that of the small value decides, however large the other one is."""
    base, new = mean_of([1000.0, 1010.0, 990.0, 1000.0] * 5), mean_of([1.0, 2.0, 3.0])
    found = put(base, new, is_paired=False)
    assert base.standard_error is not None
    assert new.standard_error is not None
    relative = [stats.sem(base.per_slice) / 1000.0, stats.sem(new.per_slice) / 2.0]
    assert found.error_of_log == pytest.approx(math.hypot(*relative))
    assert found.degrees_of_log == pytest.approx(2.0, rel=1e-3)
    assert found.degrees == pytest.approx(stats.ttest_ind(new.per_slice, base.per_slice, equal_var=False).df)
    assert found.degrees > 10


def test_errors_that_are_tiny_or_zero_have_degrees() -> None:
    tiny = replace(mean_of([1.0, 2.0, 3.0]), standard_error=1e-200)
    assert put(tiny, tiny, is_paired=False).degrees == pytest.approx(4)
    assert put(mean_of([2.0] * 4), mean_of([2.0] * 4), is_paired=False).limits_of_difference(0.95) == (0.0, 0.0)


def test_slices_without_a_value_count_on_neither_side() -> None:
    nan = math.nan
    base, new = [1.0, nan, 3.0, 4.0, 2.5, 3.5], [2.0, 9.0, 3.5, nan, 2.0, 5.0]
    found = put(mean_of(base), mean_of(new))
    expected = stats.ttest_rel([2.0, 3.5, 2.0, 5.0], [1.0, 3.0, 2.5, 3.5]).confidence_interval(0.95)
    assert found.limits_of_difference(0.95) == pytest.approx(tuple(expected))
    assert (found.num_slices, found.base, found.new) == (4, 2.5, 3.125)
    unpaired = put(mean_of(base), mean_of(new), is_paired=False)
    welch = stats.ttest_ind(new, base, equal_var=False, nan_policy="omit")
    assert unpaired.degrees == pytest.approx(welch.df)


def test_first_slices_that_both_have_are_paired() -> None:
    rng = np.random.default_rng(3)
    base, new = rng.uniform(1, 2, 20), rng.uniform(1, 3, 12)
    assert put(mean_of(base.tolist()), mean_of(new.tolist())) == put(mean_of(base[:12].tolist()), mean_of(new.tolist()))


@pytest.mark.parametrize("values", [[1.0, math.inf, 2.0, 3.0], [math.nan, math.nan, 1.0, 2.0], [1.0, 2.0]])
def test_no_pairs_where_there_are_too_few_finite_ones(values: list[float]) -> None:
    found = put(mean_of(values), mean_of([1.0, 2.0, 3.0, 4.0]))
    assert found.pairing != "paired"
    assert (found.limits_of_difference(0.95) is None) is (found.pairing == "none")


# ---------------------------------------------------------------- radii


def test_paired_radii_have_the_jackknife_by_brute_force() -> None:
    """Each direction left out of both surfaces, and all measured again."""
    base, new = noise_line(chi_squares(9, 0)), noise_line(1.4 * chi_squares(9, 0) + 0.3 * chi_squares(9, 1))
    found = put(radius_of(base), radius_of(new))
    logs, plain = [], []
    for i in range(9):
        kept = [index for index in range(9) if index != i]
        before, after = (radius_of(each.of_slices(kept)).value or math.nan for each in (base, new))
        logs.append(math.log(after / before))
        plain.append(after - before)
    expected = [math.sqrt(8 / 9 * sum((np.asarray(each) - np.mean(each)) ** 2)) for each in (logs, plain)]
    assert (found.error_of_log, found.error) == pytest.approx(expected)
    half = stats.t.ppf(0.975, 8) * expected[0]
    value = math.log((radius_of(new).value or 0) / (radius_of(base).value or 1))
    assert found.limits_of_log(0.95) == pytest.approx((value - half, value + half))
    assert found.limits_of_ratio(0.95) == pytest.approx((math.exp(value - half), math.exp(value + half)))


def test_on_quadratics_the_ratio_is_the_root_of_that_of_the_curvatures() -> None:
    curvatures = chi_squares(20, 4)
    fine = np.geomspace(0.05, 5, 800).tolist()
    found = put(radius_of(noise_line(curvatures, radii=fine)), radius_of(noise_line(curvatures / 0.85**2, radii=fine)))
    assert found.ratio == pytest.approx(0.85, rel=1e-3)
    assert found.error_of_log < 2e-3  # what is left of it is interpolation: scaling all directions is no noise


def test_pairing_takes_the_luck_of_the_directions_out() -> None:
    rng = np.random.default_rng(5)
    curvatures = chi_squares(20, 5)
    base, new = radius_of(noise_line(curvatures)), radius_of(noise_line(curvatures * rng.uniform(0.9, 1.1, 20)))
    paired, unpaired = put(base, new), put(base, new, is_paired=False)
    assert paired.error_of_log < 0.2 * unpaired.error_of_log
    assert unpaired.error_of_log == pytest.approx(
        math.hypot((base.standard_error or 0) / (base.value or 1), (new.standard_error or 0) / (new.value or 1))
    )


@pytest.mark.slow
@pytest.mark.parametrize("num", [5, 15])
def test_interval_of_paired_radii_holds_the_truth_in_91_to_98_of_100_cases(num: int) -> None:
    """The curvatures share their directions, but not their eigenvalues; 200 draws."""
    one, other = 1 / np.arange(1, 40), 1.5 / np.arange(1, 40)[::-1]
    truth, hits = 0.5 * math.log(one.sum() / other.sum()), 0
    radii = np.geomspace(0.1, 1.2, 25).tolist()
    for seed in range(200):
        squares = np.random.default_rng(seed).standard_normal((num, 39)) ** 2
        found = put(
            radius_of(noise_line(squares @ one, radii=radii)), radius_of(noise_line(squares @ other, radii=radii))
        )
        limits = found.limits_of_log(0.95)
        assert limits is not None
        hits += limits[0] <= truth <= limits[1]
    assert 0.91 <= hits / 200 <= 0.98


def test_interval_of_the_ratio_of_means_holds_the_truth_in_91_to_98_of_100_cases() -> None:
    """Five slices with a spread of 50 %, in common; 2,000 draws."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        common = rng.gamma(4.0, 0.25, 5)
        limits = put(
            mean_of((common * rng.gamma(16, 1 / 16, 5)).tolist()), mean_of((1.3 * common).tolist())
        ).limits_of_log(0.95)
        assert limits is not None
        hits += limits[0] <= math.log(1.3) <= limits[1]
    assert 0.91 <= hits / 2000 <= 0.98


def test_common_directions_are_those_of_files_cut_to_the_same_length() -> None:
    short, long = noise_line(chi_squares(7, 0)), noise_line(chi_squares(12, 1))
    for surface in (long, beside_a_plane(long)):
        cut = [radius_of(each) for each in with_common_noise(surface, short)]
        expected = put(radius_of(long.of_slices(range(7))), radius_of(short))
        assert put(*cut) == expected
        assert expected.num_slices == 7


# ---------------------------------------------------------------- order, bounds


@settings(deadline=None, max_examples=60)
@given(SLICES, st.booleans(), st.sampled_from([0.5, 0.9, 0.99]))
def test_swapped_order_changes_the_signs(pairs: list[tuple[float, float]], is_paired: bool, confidence: float) -> None:
    base, new = (mean_of(list(each)) for each in zip(*pairs, strict=True))
    there, back = put(base, new, is_paired=is_paired), put(new, base, is_paired=is_paired)
    assert there.log_ratio == pytest.approx(-back.log_ratio)
    for one, other in (
        (there.limits_of_log(confidence), back.limits_of_log(confidence)),
        (there.limits_of_difference(confidence), back.limits_of_difference(confidence)),
    ):
        assert one is not None
        assert other is not None
        assert one == pytest.approx((-other[1], -other[0]), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.5, 8), min_size=3, max_size=12))
def test_a_against_itself_is_exactly_nothing(curvatures: list[float]) -> None:
    found = radius_of(noise_line(curvatures))
    same = put(found, found)
    assert (same.difference, same.log_ratio) == (0.0, 0.0)
    if not math.isnan(same.error_of_log):
        assert same.limits_of_log(0.95) == same.limits_of_difference(0.95) == (0.0, 0.0)


FLAT, SHARP, USUAL = [1e-4] * 6, [1e4] * 6, [1.0, 1.5, 2.0, 1.2, 0.8, 1.1]


@pytest.mark.parametrize(
    ("base", "new", "bound", "is_open"),
    [
        (FLAT, USUAL, "upper", (True, False)),
        (USUAL, FLAT, "lower", (False, True)),
        (SHARP, USUAL, "lower", (False, True)),
        (USUAL, SHARP, "upper", (True, False)),
        (FLAT, SHARP, "upper", (True, False)),
    ],
)
def test_radius_beyond_its_line_leaves_one_side_open(
    base: list[float], new: list[float], bound: str, is_open: tuple[bool, bool]
) -> None:
    found = put(radius_of(noise_line(base)), radius_of(noise_line(new)))
    assert (found.pairing, found.bound) == ("paired", bound)
    limits = found.limits_of_log(0.9)
    assert limits is not None
    assert tuple(map(math.isinf, limits)) == is_open
    assert found.limits_of_difference(0.9) != limits


@pytest.mark.parametrize("both", [FLAT, SHARP])
def test_two_radii_beyond_the_same_end_tell_nothing(both: list[float]) -> None:
    found = put(radius_of(noise_line(both)), radius_of(noise_line(both)))
    assert found.pairing == "none"
    assert found.limits_of_log(0.9) is found.limits_of_difference(0.9) is None


def test_radius_just_beyond_its_line_keeps_the_error_of_the_directions_that_end_before() -> None:
    """The mean radius is past 5; without the flattest direction it is 4.6."""
    base = noise_line([0.0004, 0.009, 0.009, 0.009, 0.009, 0.009])
    measured_base, new = radius_of(base), radius_of(noise_line([0.02] * 6))
    assert measured_base.bound == "lower"
    assert sum(map(math.isnan, measured_base.left_out)) == 5
    left_out = np.minimum([5.0 if math.isnan(each) else each for each in measured_base.left_out], 5.0)
    found = put(measured_base, new)
    assert found.error_of_log == pytest.approx(jackknife(np.log(left_out)), rel=1e-6)
    assert found.error_of_log > 0.01


# ---------------------------------------------------------------- without slices


def curved(**records: object) -> Surface:
    return surface_with(records)  # type: ignore[arg-type]


def of(name: str, **records: object) -> Measurement:
    return measured(curved(**records), name)


def spectrum_of(num_probes: int, error: float, change: float) -> Record:
    values = {"negative_sum": 1.0, "negative_sum_standard_error": error, "negative_sum_change": change}
    return record({"nodes": np.zeros((num_probes, 80)), **values})


def test_eigenvalues_are_exact_up_to_their_residuals() -> None:
    base, new = (of("lambda_max", eigenvalues=eigenvalues(-0.1, top, 0.5)) for top in (2.0, 4.0))
    found = put(base, new)
    assert found.pairing == "exact"
    assert found.limits_of_difference(0.95) == (1.0, 3.0)
    assert found.limits_of_ratio(0.95) == pytest.approx((3.5 / 2.5, 4.5 / 1.5))  # not 2 e^∓0.375
    all_of_it = put(of("lambda_max", eigenvalues=eigenvalues(-0.1, 2.0, 2.5)), new).limits_of_ratio(0.95)
    assert all_of_it == pytest.approx((3.5 / 4.5, math.inf))


def test_estimates_without_an_error_bar_are_not_called_exact() -> None:
    nan, probes = math.nan, {"options": {"estimator": "hutchinson"}}
    one = record({"value": 6.0, "standard_error": nan, "num_probes": 1}, **probes)  # type: ignore[arg-type]
    density = spectrum_of(1, nan, 0.1)
    cases = {
        "trace": {"trace": one},
        "relative_flatness": {"relative_flatness": one},
        "negative_curvature": {"spectral_density": density},
        "lambda_max": {"eigenvalues": eigenvalues(-0.1, 2.0, nan)},
        "lr_limit": {"eigenvalues": eigenvalues(-0.1, 2.0, nan)},
        "guaranteed_decrease": {"gradient": gradient(0.1), "eigenvalues": eigenvalues(-0.1, 2.0, 0.0)},
    }
    for name, records in cases.items():
        found = put(of(name, **records), of(name, **records))
        assert (name, found.pairing) == (name, "none")
        assert found.limits_of_difference(0.95) is None


def test_what_ascent_has_found_is_a_bound_on_both_sides() -> None:
    """Also where the loss of one has diverged: how far the other may rise nobody knows."""
    options = {"options": {"rho": 0.5, "norm": "l2", "steps": 20}}
    values = [record({"value": value}, **options) for value in (0.2, 0.4, math.inf)]  # type: ignore[arg-type]
    low, high, diverged = (of("adaptive_worst", adaptive_worst=each) for each in values)
    for base, new in ((low, high), (low, diverged), (diverged, low), (diverged, diverged)):
        assert put(base, new).limits_of_difference(0.95) is None


def test_error_of_few_probes_is_students() -> None:
    probes = {"options": {"estimator": "hutchinson"}}
    few = of("trace", trace=record({"value": 6.0, "standard_error": 0.1, "num_probes": 4}, **probes))  # type: ignore[arg-type]
    found = put(few, few)
    assert found.degrees == pytest.approx(6.0)  # Welch, of 3 and 3
    assert found.limits_of_difference(0.95) == pytest.approx(
        (-stats.t.ppf(0.975, 6) * math.hypot(0.1, 0.1), stats.t.ppf(0.975, 6) * math.hypot(0.1, 0.1))
    )
    spectrum = of("negative_curvature", spectral_density=spectrum_of(4, 0.1, 0.25))
    half = stats.t.ppf(0.975, 6) * math.hypot(0.1, 0.1) + 0.5
    assert put(spectrum, spectrum).limits_of_difference(0.95) == pytest.approx((-half, half))


VALUE = st.sampled_from([0.0, 0.5, 2.0, -1.0, math.inf])


@given(VALUE, VALUE)
def test_exact_values_of_any_size_have_limits_or_say_that_they_have_none(base: float, new: float) -> None:
    found = put(Measurement("sam", base), Measurement("sam", new))
    assert found.pairing == "exact"
    limits, logs = found.limits_of_difference(0.95), found.limits_of_log(0.95)
    if base == new == math.inf:
        assert limits is logs is None
        return
    assert limits == (new - base, new - base)
    if min(base, new) < 0:
        assert logs is None
    elif base == new:
        assert logs == (0.0, 0.0)
    else:
        assert logs is not None
        expected = (
            math.inf
            if base == 0 or new == math.inf
            else -math.inf
            if new == 0 or base == math.inf
            else math.log(new / base)
        )
        assert logs == pytest.approx((expected, expected))


def test_nothing_is_put_beside_what_is_not_measured() -> None:
    assert contrast(Measurement("sam"), Measurement("sam", 1.0), is_paired=True) is None
    assert contrast(Measurement("sam", 1.0), Measurement("sam"), is_paired=True) is None


def test_average_of_a_line_is_that_of_its_slices() -> None:
    """So that a paired contrast is of the numbers that are shown."""
    found = measured(noise_line(chi_squares(8, 2)), "adaptive_avg")
    assert found.value == pytest.approx(np.mean(found.per_slice))
    both = put(found, measured(noise_line(chi_squares(8, 3)), "adaptive_avg"))
    assert both.base == pytest.approx(found.value)


# ---------------------------------------------------------------- surfaces cut to some slices


def test_slices_of_a_surface_are_its_own() -> None:
    surface = bowl([1.0, 2.0, 3.0, 4.0])
    surface.trajectory = Trajectory(
        ("a", "b"), np.arange(8.0).reshape(4, 2, 1), np.zeros((4, 2)), np.array([0.0, 1.0]), np.array([math.nan])
    )
    surface.cosine = np.arange(4.0).reshape(4, 1, 1)
    surface.evaluated[3, 0] = False
    found = surface.of_slices([3, 1])
    assert found.grid.shape == (2, 11)
    assert found["train_loss"].tolist() == surface["train_loss"][[3, 1]].tolist()
    assert found.metrics["train_loss"].std.shape == (2, 11)
    assert (found.num_evaluated, found.directions["x"].norm) == (21, (1.0, 1.0))
    assert found.trajectory is not None
    assert found.trajectory.coordinates[:, 0, 0].tolist() == [6.0, 2.0]
    assert found.cosine is not None
    assert found.cosine.ravel().tolist() == [3.0, 1.0]
    assert surface.grid.num_slices == 4  # as it was
