"""A threshold fails what surely breaks it and passes what surely keeps it, by the error of the measure."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from analytic import line, surface_of
from hypothesis import given
from hypothesis import strategies as st
from identified import bowl, chi_squares, identified, noise_line, with_metric
from recorded import eigenvalues, everything, record, surface_with
from scipy import stats

from landscape_cli.analysis.measurement import Measurement, over_slices
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.sharpness import measured
from landscape_cli.analysis.threshold import Threshold, check_thresholds, one_sided_limits
from landscape_cli.analysis.verdict import Verdict
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

BASE = chi_squares(20, 0)


def checked(surface: Surface, side: str, measure: str, value: float, **options: float) -> Verdict:
    (found,) = check_thresholds(Named("a.h5", surface), [Threshold(measure, side, value)], **options)  # type: ignore[arg-type]
    return found


def curved(**records: object) -> Surface:
    surface = surface_with(records)  # type: ignore[arg-type]
    return replace(identified(surface), curvature=surface.curvature)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=20), st.floats(0.5, 0.99))
def test_limits_of_a_mean_are_those_of_the_t_test(values: list[float], confidence: float) -> None:
    found = over_slices(values)
    limits = one_sided_limits(
        Measurement("m", found.value, found.standard_error, per_slice=(*values, math.nan)), confidence
    )
    half = stats.t.ppf(confidence, len(values) - 1) * stats.sem(values)
    assert limits == pytest.approx((np.mean(values) - half, np.mean(values) + half), rel=1e-6, abs=1e-9)


def test_limits_of_a_radius_are_those_of_its_logarithm() -> None:
    found = measured(noise_line(BASE), "adaptive_radius")
    logs = np.log(found.left_out)
    half = stats.t.ppf(0.95, 19) * math.sqrt(19 / 20 * ((logs - logs.mean()) ** 2).sum())
    assert found.value is not None
    assert one_sided_limits(found, 0.95) == pytest.approx((found.value * math.exp(-half), found.value * math.exp(half)))


@pytest.mark.parametrize(("side", "sign"), [("min", 1), ("max", -1)])
def test_threshold_is_kept_broken_or_open(side: str, sign: int) -> None:
    surface = noise_line(BASE)
    low, high = one_sided_limits(measured(surface, "adaptive_radius"), 0.95) or (0.0, 0.0)
    cases = {0.99 * low: "pass", 1.01 * low: "inconclusive", 0.99 * high: "inconclusive", 1.01 * high: "fail"}
    for value, expected in cases.items():
        outcome = checked(surface, side, "adaptive_radius", value).outcome
        flipped = {"pass": "fail", "fail": "pass"}.get(expected, expected)
        assert outcome == (expected if sign > 0 else flipped)


@pytest.mark.slow
@given(st.floats(0.05, 0.6), st.floats(0, 0.3))
def test_looser_threshold_is_never_worse(value: float, more: float) -> None:
    order = ["fail", "inconclusive", "pass"]
    surface = bowl([1.0, 1.4, 0.9, 1.2, 1.0])
    strict, loose = (checked(surface, "max", "mean_rise", each).outcome for each in (value, value + more))
    assert order.index(loose) >= order.index(strict)


def test_thresholds_share_the_probability_of_an_error() -> None:
    surface = bowl([1.0, 1.4, 0.9, 1.2, 1.0])
    found = check_thresholds(
        Named("a", surface),
        [Threshold("mean_rise", "max", 1.0), Threshold("low_area", "min", 0.1), Threshold("train_loss", "max", 2.0)],
    )
    assert [each.confidence for each in found] == pytest.approx([0.975] * 3)
    assert "with 97.5 % confidence" in found[0].sentence
    assert found[2].sentence.endswith("is 1, exactly, on these 2,000 examples; allowed: at most 2")


def test_radius_beyond_its_line_is_at_least_its_end() -> None:
    flat = noise_line([1e-4] * 6)
    assert checked(flat, "min", "adaptive_radius", 4.9).outcome == "pass"
    for side, value in (("min", 6.0), ("max", 6.0)):
        found = checked(flat, side, "adaptive_radius", value)
        assert (found.outcome, "at least" in found.sentence) == ("inconclusive", True)
        assert "--more-slices" not in found.advice
    assert checked(flat, "max", "adaptive_radius", 4.0).outcome == "fail"


def test_mean_over_slices_of_which_some_end_at_the_grid_keeps_its_error() -> None:
    """Half of the slices rise soon, half never: that the mean is at least this holds for these slices alone."""
    surface = bowl([5.0, 0.05] * 4)
    found = measured(surface, "flat_radius")
    assert found.bound == "lower"
    assert found.value is not None
    low, high = one_sided_limits(found, 0.95) or (0.0, 0.0)
    assert low == pytest.approx(found.value - stats.t.ppf(0.95, 7) * stats.sem(found.per_slice))
    assert (high, low < found.value - 0.2) == (math.inf, True)


def test_what_ascent_has_found_can_fail_but_never_pass() -> None:
    surface = curved(keskar=record({"value": 12.0}, options={"epsilon": 1e-3, "steps": 20}))
    assert checked(surface, "max", "keskar", 10.0).outcome == "fail"
    found = checked(surface, "max", "keskar", 30.0)
    assert found.outcome == "inconclusive"
    assert "at least 12" in found.sentence


def test_eigenvalue_is_within_its_residual() -> None:
    surface = curved(eigenvalues=eigenvalues(-0.1, 2.0, 0.2, num_examples=2000))
    outcomes = [checked(surface, "max", "lambda_max", value).outcome for value in (1.7, 2.1, 2.3)]
    assert outcomes == ["fail", "inconclusive", "pass"]
    assert "--more-slices" not in checked(surface, "max", "lambda_max", 2.1).advice
    part = curved(eigenvalues=eigenvalues(-0.1, 2.0, 0.2))
    assert "a part of the data" in checked(part, "max", "lambda_max", 9.0).sentence


def test_estimate_without_an_error_bar_decides_nothing() -> None:
    one = record({"value": 6.0, "standard_error": math.nan, "num_probes": 1}, options={"estimator": "hutchinson"})
    found = checked(curved(trace=one), "max", "trace", 100.0)
    assert (found.outcome, "trace has no error bar" in found.sentence) == ("not comparable", True)


def test_error_of_few_probes_is_students() -> None:
    surface = curved(**everything())
    found = measured(surface, "negative_curvature")
    half = stats.t.ppf(0.95, 3) * 0.02 + 0.2  # of 4 probes; and what half of the steps change
    assert one_sided_limits(found, 0.95) == pytest.approx((0.88 - half, 0.88 + half))


def test_barrier_has_the_error_over_the_examples() -> None:
    recipe = {"_target_": "between", "checkpoint": "b.pt"}
    surface = identified(surface_of(lambda _, x: 1 + 0.8 * x * (1 - x), line(0, 1, 11), recipe=recipe))
    assert measured(surface, "barrier").value == pytest.approx(0.2)
    outcomes = [checked(surface, "max", "barrier", value).outcome for value in (0.1, 0.2, 0.3)]
    assert outcomes == ["fail", "inconclusive", "pass"]


def test_metric_without_a_better_way_may_have_a_threshold() -> None:
    surface = with_metric(noise_line(BASE), "train_f1", 0.5)
    assert checked(surface, "min", "train_f1", 0.5).outcome == "pass"
    assert checked(surface, "min", "train_f1", 0.51).outcome == "fail"


@pytest.mark.parametrize(
    ("surface", "measure", "words"),
    [
        (noise_line(BASE), "trace", "trace is not measured: add it with"),
        (noise_line(BASE[:3]), "adaptive_radius", "of 3 slices; expected at least 5"),
        (noise_line(BASE, evaluated=np.arange(60) < 50), "adaptive_radius", "partial: 1,000 of 1,200 points"),
    ],
)
def test_what_cannot_be_decided_says_why(surface: Surface, measure: str, words: str) -> None:
    found = checked(surface, "max", measure, 1.0)
    assert (found.outcome, words in found.sentence) == ("not comparable", True)


@pytest.mark.parametrize(
    ("measure", "words"), [("sam", "no decision may rest on sam"), ("traces", "unknown measure; did you mean 'trace'")]
)
def test_measures_that_decide_nothing_are_refused(measure: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        checked(noise_line(BASE), "max", measure, 1.0)
