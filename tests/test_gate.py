"""The gate fails what is surely worse, passes what surely is not, and says what, by how much, how sure, what to do."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic import line, surface_of
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from identified import RADII, beside_a_plane, bowl, chi_squares, identified, noise_line, with_metric
from recorded import eigenvalues, everything, map_of, record, surface_with
from representative import mostly_slow
from scipy import stats
from typer.main import get_command

from landscape_cli.analysis.compare import View
from landscape_cli.analysis.gate import gate
from landscape_cli.analysis.gate_words import percent
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.threshold import Threshold, check_thresholds
from landscape_cli.analysis.tolerance import Tolerance
from landscape_cli.analysis.verdict import Verdict, exit_code, overall
from landscape_cli.cli.app import app
from landscape_cli.cli.gate_options import tolerance_of
from landscape_cli.config import load_config
from landscape_cli.errors import SurfaceError, UsageError
from landscape_cli.surface import Surface

SPREAD = np.random.default_rng(0).uniform(0.8, 1.25, 20)
BASE = chi_squares(20, 0)


def judged(base: Surface | list[Surface], new: Surface, *tolerances: str, confidence: float = 0.95) -> Verdict:
    bases = base if isinstance(base, list) else [base]
    named = [Named(f"base{i or ''}.h5", each) for i, each in enumerate(bases)]
    given_ = [tolerance_of(each) for each in tolerances] or [Tolerance("adaptive_radius", 0.15)]
    return gate(named, Named("new.h5", new), given_, confidence=confidence)[0]


def sharper(by: float, spread: np.ndarray = SPREAD, num: int = 20) -> Surface:
    """With a radius that is ``by`` times as large, up to the spread."""
    return noise_line((BASE * spread / by**2)[:num])


# ---------------------------------------------------------------- one baseline


def test_a_against_itself_passes_with_no_change() -> None:
    found = judged(noise_line(BASE), noise_line(BASE))
    assert (found.outcome, found.change, found.bounds, found.advice) == ("pass", 0.0, (0.0, 0.0), "")
    assert "no change, the same in all of these 20 directions; tolerated: 15 % less" in found.sentence


@pytest.mark.parametrize(("by", "expected"), [(0.5, "fail"), (0.85, "inconclusive"), (0.97, "pass"), (2.0, "pass")])
def test_really_sharper_fails_and_flatter_passes(by: float, expected: str) -> None:
    found = judged(noise_line(BASE), sharper(by))
    assert found.outcome == expected
    assert found.change == pytest.approx(by - 1, abs=0.05)
    assert exit_code(found.outcome, inconclusive_fails=True) == {"pass": 0, "fail": 5, "inconclusive": 6}[expected]


def test_limits_are_those_of_the_jackknife_by_brute_force() -> None:
    base, new = noise_line(BASE), sharper(0.8)
    view = View.of([base])
    logs = []
    for i in range(20):
        kept = [index for index in range(20) if index != i]
        before, after = (view.measurement(each.of_slices(kept), "adaptive_radius").value or 0 for each in (base, new))
        logs.append(math.log(after / before))
    whole = [view.measurement(each, "adaptive_radius").value or 0 for each in (base, new)]
    half = stats.t.ppf(0.95, 19) * math.sqrt(19 / 20 * np.sum((np.asarray(logs) - np.mean(logs)) ** 2))
    expected = [math.expm1(math.log(whole[1] / whole[0]) + sign * half) for sign in (-1, 1)]
    found = judged(base, new)
    assert found.bounds == pytest.approx(expected)
    assert (found.base, found.new, found.pairing, found.num_slices) == (*whole, "paired", 20)


@pytest.mark.slow
def test_false_failures_are_rarer_than_one_in_twenty() -> None:
    """With a true radius at the limit of the tolerance, where half of the estimates are beyond it; 150 draws."""
    one, other = 1 / np.arange(1, 30), 1 / np.arange(1, 30)[::-1] / 0.85**2
    outcomes = []
    for seed in range(150):
        squares = np.random.default_rng(seed).standard_normal((10, 29)) ** 2
        outcomes.append(
            judged(noise_line(squares @ one, radii=RADII[::3]), noise_line(squares @ other, radii=RADII[::3])).outcome
        )
    assert outcomes.count("fail") / 150 < 0.09  # 5 % ± 2 standard errors
    assert outcomes.count("pass") / 150 < 0.09


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 1.5), st.integers(0, 100))
def test_larger_tolerance_never_turns_a_pass_into_a_fail(by: float, seed: int) -> None:
    new = noise_line(chi_squares(6, seed) / by**2)
    base = noise_line(chi_squares(6, 0))
    order = ["fail", "inconclusive", "pass"]
    found = [order.index(judged(base, new, f"adaptive_radius:{amount}%").outcome) for amount in (1, 5, 15, 40, 80)]
    assert found == sorted(found)


@pytest.mark.parametrize("looks", [1, 3])
def test_tolerances_share_the_probability_of_an_error(looks: int) -> None:
    base, new = bowl([1.0, 1.2, 0.9, 1.1, 1.3, 1.0]), bowl([1.1, 1.2, 1.0, 1.2, 1.2, 1.2])
    view = View.of([base])
    values = [np.asarray(view.measurement(each, "mean_rise").per_slice) for each in (base, new)]
    confidence = 1 - 0.05 / looks
    named = [
        Tolerance("mean_rise", 0.1, is_relative=False),
        Tolerance("flat_radius", 0.1),
        Tolerance("train_loss", 0.1),
    ]
    found = gate([Named("a", base)], Named("b", new), named, confidence=confidence)
    one_sided = 1 - 0.05 / looks / 2  # the loss is exact, and takes no share
    expected = stats.ttest_rel(values[1], values[0]).confidence_interval(2 * one_sided - 1)
    assert found[0].bounds == pytest.approx(tuple(expected))
    assert found[0].confidence == pytest.approx(one_sided)
    assert found[2].sentence.endswith("no change, exactly, on these 2,000 examples; tolerated: 10 % more")


def test_more_slices_of_one_file_change_nothing() -> None:
    base, new = noise_line(BASE), sharper(0.8, num=12)
    assert judged(base, new) == judged(noise_line(BASE[:12]), new)
    means = bowl([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 9.0]), bowl([2.0, 1.1, 1.2, 2.3, 1.4, 1.5])
    cut = bowl([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]), means[1]
    assert judged(*means, "mean_rise:0.1").bounds == judged(*cut, "mean_rise:0.1").bounds


def test_line_beside_a_plane_is_judged_as_its_own() -> None:
    beside = judged(beside_a_plane(noise_line(BASE)), beside_a_plane(sharper(0.5)))
    assert beside == judged(noise_line(BASE), sharper(0.5))


# ---------------------------------------------------------------- radii beyond their lines


FLAT, SHARP = noise_line([1e-4] * 6), noise_line([1e4] * 6)
USUAL, NEAR_END = noise_line([1.0, 1.5, 2.0, 1.2, 0.8, 1.1]), noise_line([0.009, 0.0085, 0.0087, 0.0091, 0.009, 0.0089])


@pytest.mark.parametrize(
    ("base", "new", "expected", "words"),
    [
        (FLAT, USUAL, "fail", "is at most this"),
        (USUAL, FLAT, "pass", "is at least this"),
        (SHARP, USUAL, "pass", "is at least this"),
        (USUAL, SHARP, "fail", "is at most this"),
        (FLAT, NEAR_END, "inconclusive", "is at most this"),
    ],
)
def test_radius_beyond_its_line_decides_where_it_is_sure(
    base: Surface, new: Surface, expected: str, words: str
) -> None:
    found = judged(base, new)
    assert found.outcome == expected
    assert words in " ".join(found.notes)
    for surface, name in ((base, "of base.h5"), (new, "of new.h5 is")):
        sign = {id(FLAT): "at least 5", id(SHARP): "at most 0.05"}.get(id(surface), "")
        assert f"{name} {sign}" in found.sentence
    assert found.bounds is not None
    assert not any(map(math.isnan, found.bounds))
    if expected == "inconclusive":
        assert "--set axes.x.stop=10" in found.advice
    assert "inf" not in found.headline + found.advice


@pytest.mark.parametrize("base", [FLAT, [FLAT, USUAL, USUAL]])
def test_radii_that_all_lie_beyond_are_not_compared(base: Surface | list[Surface]) -> None:
    found = judged(base, FLAT)
    assert found.outcome == "not comparable"
    assert "beyond their lines" in found.sentence
    assert "above 0" not in found.sentence


def test_longer_line_is_named_where_it_stands() -> None:
    found = judged(*(beside_a_plane(each) for each in (FLAT, NEAR_END)))
    assert "--set radius.stop=10" in found.advice


# ---------------------------------------------------------------- several baselines


def trainings(num: int, spread: float, seed: int = 0, slices: int = 8) -> list[Surface]:
    """The same directions; each training scales all curvatures by a factor of its own."""
    factors = np.exp(2 * spread * np.random.default_rng(seed).standard_normal(num))
    return [noise_line(BASE[:slices] * factor) for factor in factors]


def test_prediction_interval_is_that_done_by_hand() -> None:
    bases, new = trainings(5, 0.1), noise_line(BASE[:8] / 0.7**2)
    values = [View.of([each]).measurement(each, "adaptive_radius").value or 0 for each in (*bases, new)]
    logs = np.log(values[:5])
    expected = stats.t.ppf(0.95, 4) * logs.std(ddof=1) * math.sqrt(1 + 1 / 5)
    found = judged(bases, new)
    assert found.base == pytest.approx(stats.gmean(values[:5]))
    assert found.change == pytest.approx(values[5] / stats.gmean(values[:5]) - 1)
    is_beyond = math.log(values[5]) - logs.mean() < -expected
    assert found.outcome == ("fail" if is_beyond else "inconclusive")
    assert f"may have {percent(-math.expm1(-expected))} less" in " ".join(found.notes)
    assert "5 baselines in the mean" in found.sentence


def test_what_training_changes_is_no_failure() -> None:
    new = noise_line(BASE[:8] / 0.7**2)
    assert judged(noise_line(BASE[:8]), new).outcome == "fail"
    assert judged([noise_line(BASE[:8])] * 3, new).outcome == "fail"  # training changes nothing
    within = judged(trainings(3, 0.3), new)
    assert (within.outcome, "more baselines" in within.advice) == ("inconclusive", True)


@pytest.mark.slow
def test_one_more_training_fails_in_5_of_100_cases() -> None:
    """By the prediction interval alone: the metric is exact, and nothing is tolerated; 1,000 draws."""
    fails, plain = 0, noise_line(BASE[:1], radii=[0.1, 0.2])
    for seed in range(1000):
        errors = np.exp(0.3 * np.random.default_rng(seed).standard_normal(4) - 3)
        *bases, new = (with_metric(plain, "train_error", error) for error in errors)
        fails += judged(bases, new, "train_error:0%").outcome == "fail"
    assert 0.035 <= fails / 1000 <= 0.065


def test_means_over_slices_have_the_paired_t_test_against_the_mean_of_the_baselines() -> None:
    rng = np.random.default_rng(1)
    bases = [bowl(rng.uniform(1, 2, 7 + i).tolist()) for i in range(3)]
    new = bowl(rng.uniform(2, 3, 9).tolist())
    values = [np.asarray(View.of([each]).measurement(each, "mean_rise").per_slice[:7]) for each in (*bases, new)]
    expected = stats.ttest_rel(values[3], np.mean(values[:3], axis=0)).confidence_interval(0.9)
    found = judged(bases, new, "mean_rise:0.01")
    assert found.bounds == pytest.approx(tuple(expected))
    assert found.num_slices == 7


def mapped(ratios: list[float]) -> Surface:
    """A map of |λ_min / λ_max|, one for each slice."""
    surface = surface_with(everything(), num_slices=len(ratios))
    points = map_of(-np.asarray(ratios)[:, None, None], 1.0, num_slices=len(ratios))
    return replace(identified(surface), curvature=surface.curvature, curvature_map=points)


NAN = math.nan
GAPS = [
    [0.1, NAN, 0.3, 0.25, 0.4, 0.35, 0.2],
    [0.2, 0.3, NAN, 0.35, 0.4, 0.45, 0.3],
    [0.3, 0.2, 0.3, 0.45, 0.7, 0.5, 0.25],
]


@pytest.mark.parametrize("num", [1, 2])
def test_slices_without_a_value_are_left_out_of_all(num: int) -> None:
    *bases, new = np.asarray([*GAPS[:num], GAPS[2]])
    common = ~np.isnan([*bases, new]).any(axis=0)
    expected = stats.ttest_rel(new[common], np.mean([each[common] for each in bases], axis=0)).confidence_interval(0.9)
    found = judged([mapped(each.tolist()) for each in bases], mapped(new.tolist()), "nonconvexity:0.1")
    assert found.bounds == pytest.approx(tuple(expected))
    assert found.num_slices == common.sum()


def test_slices_without_a_value_do_not_count_as_slices() -> None:
    found = judged(mapped(GAPS[2]), mapped([0.1, NAN, NAN, NAN, 0.2, 0.3, 0.4]), "nonconvexity:0.1")
    assert "nonconvexity of 4 slices; expected at least 5" in found.sentence


def test_map_that_is_not_finished_is_partial() -> None:
    new = mapped(GAPS[2])
    assert new.curvature_map is not None
    new.curvature_map.evaluated[0, 0, 0] = False
    assert "partial: 566 of 567 points" in judged(mapped(GAPS[2]), new, "nonconvexity:0.1").sentence


def test_error_of_the_mean_of_several_estimates_is_never_smaller_than_it_may_be() -> None:
    def traced(value: float, error: float) -> Surface:
        estimate = record(
            {"value": value, "standard_error": error, "num_probes": 30}, options={"estimator": "hutchinson"}
        )
        surface = surface_with({"trace": estimate})
        return replace(identified(surface), curvature=surface.curvature)

    found = judged([traced(6.0, 0.1), traced(6.2, 0.4)], traced(6.1, 0.1), "trace:1.5")
    assert found.bounds is not None
    error = math.hypot(0.25, 0.1)
    degrees = math.floor(error**4 / ((0.25**4 + 0.1**4) / 29))
    assert found.bounds[1] - found.bounds[0] == pytest.approx(2 * stats.t.ppf(0.95, degrees) * error, rel=1e-6)


def test_baselines_with_an_exact_metric_are_predicted_too() -> None:
    bases = [with_metric(noise_line(BASE[:5]), "train_error", each) for each in (0.05, 0.06, 0.055)]
    expected = stats.t.ppf(0.95, 2) * np.std([0.05, 0.06, 0.055], ddof=1) * math.sqrt(4 / 3)
    for worse, outcome in ((expected * 1.01, "fail"), (expected * 0.99, "inconclusive")):
        new = with_metric(noise_line(BASE[:5]), "train_error", 0.055 + worse)
        assert judged(bases, new, "train_error:0.001").outcome == outcome


# ---------------------------------------------------------------- words


def numbers_of(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"(\d[\d.]*) %", text)]


@pytest.mark.parametrize("by", mostly_slow([0.3, 0.8, 0.86, 0.999, 1.0, 1.001, 1.5, 40.0], 0.3, 0.86, 1.0))
@pytest.mark.parametrize("spread", [SPREAD, np.ones(20), 1 + 1e-5 * SPREAD], ids=["wide", "none", "tiny"])
@pytest.mark.parametrize("amount", [0, 15])
def test_sentence_says_what_by_how_much_how_sure_and_what_is_tolerated(
    by: float, spread: np.ndarray, amount: int
) -> None:
    found = judged(noise_line(BASE), sharper(by, spread), f"adaptive_radius:{amount}%")
    text = found.sentence
    assert text.startswith("adaptive_radius of new.h5 is ")
    assert "of base.h5" in text
    assert "; tolerated: " in text
    for wrong in (" 0.0 %", " 0 %", "more less", "less more", "nan", "inf", "--", "at least no", "at most no"):
        assert wrong not in f" {text} {' '.join(found.notes)}"
    assert bool(found.advice) is (found.outcome != "pass")
    if found.outcome == "fail":
        assert "confidence at least" in text
        assert " less" in text


def test_small_changes_are_said_with_the_digits_that_show_them() -> None:
    base, new = (noise_line(BASE[:5]) for _ in range(2))
    base.metrics["train_loss"].centre, new.metrics["train_loss"].centre = 1.0, 1.0003
    found = judged(base, new, "train_loss:0.01%")
    assert found.outcome == "fail"
    assert "0.03 % more, exactly, on these 2,000 examples; tolerated: 0.01 % more" in found.sentence


@pytest.mark.parametrize("by", [0.3, 0.5, 0.7, 0.83])
@pytest.mark.parametrize("seed", mostly_slow(range(4), 0))
def test_tolerance_that_is_advised_makes_it_pass(by: float, seed: int) -> None:
    spread = np.random.default_rng(seed).uniform(0.9, 1.1, 20)
    base, new = noise_line(BASE), sharper(by, spread)
    found = judged(base, new, "adaptive_radius:1%")
    assert found.outcome == "fail"
    advised = found.advice.rpartition("--gate ")[2]
    assert judged(base, new, advised).outcome == "pass"
    closer = f"adaptive_radius:{float(numbers_of(advised.replace('%', ' %'))[0]) * 0.85}%"
    assert judged(base, new, closer).outcome != "pass"


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e4), st.booleans())
def test_advised_tolerance_of_an_exact_metric_makes_it_pass(centre: float, factor: float, is_relative: bool) -> None:
    base, new = (noise_line(BASE[:5]) for _ in range(2))
    base.metrics["train_loss"].centre, new.metrics["train_loss"].centre = centre, centre * factor
    found = judged(base, new, "train_loss:0.01%" if is_relative else "train_loss:0")
    assert found.outcome == "fail"
    assert judged(base, new, found.advice.rpartition("--gate ")[2]).outcome == "pass"


def test_no_tolerance_is_advised_where_none_would_do() -> None:
    found = judged(FLAT, USUAL)
    assert found.outcome == "fail"
    assert "--gate" not in found.advice
    base, new = (noise_line(BASE[:5]) for _ in range(2))
    base.metrics["train_loss"].centre, new.metrics["train_loss"].centre = 0.0, 0.1
    found = judged(base, new, "train_loss:15%")
    assert (found.outcome, "--gate" in found.advice) == ("fail", False)
    assert "is 0.1, of base.h5 0: 0.1 more, exactly" in found.sentence


def test_more_directions_are_advised_where_they_help() -> None:
    assert "--more-slices 40" in judged(noise_line(BASE), sharper(0.85)).advice
    assert "--more-slices 20" in judged(noise_line(BASE[:12]), sharper(0.85, num=12)).advice
    surface = surface_with(everything())
    surface = replace(identified(surface), curvature=surface.curvature)
    found = judged(surface, surface, "negative_curvature:0.001%")
    assert (found.outcome, "--more-slices" in found.advice) == ("inconclusive", False)


def test_sides_that_read_the_same_are_said_once() -> None:
    found = judged(trainings(3, 0.3), noise_line(BASE[:8] / 0.7**2))
    assert "25 % less, with 90 % confidence about that;" in found.sentence


def test_bounds_from_ascent_are_said_to_be_bounds() -> None:
    surface = surface_with(everything())
    surface = replace(identified(surface), curvature=surface.curvature)
    assert "is known from one side only, of both" in judged(surface, surface, "adaptive_worst:15%").sentence


def advices() -> list[str]:
    grids = bowl([1.0, 1.2, 1.1, 1.3, 1.0]), bowl([1.1, 1.4, 1.1, 1.2, 1.3])
    found = [
        judged(noise_line(BASE), sharper(0.5)),
        judged(noise_line(BASE), sharper(0.85)),
        judged(*grids, "mean_rise:15%"),
        judged(FLAT, NEAR_END),
        judged(*(beside_a_plane(each) for each in (FLAT, NEAR_END))),
        judged(trainings(3, 0.3), noise_line(BASE[:8] / 0.7**2)),
        judged(noise_line(BASE), noise_line(BASE, data="e" * 64)),
        judged(noise_line(BASE), noise_line(BASE, data="e" * 64), "train_loss:1%"),
        judged(noise_line(BASE), noise_line(BASE), "trace:15%"),
        *check_thresholds(Named("a", grids[1]), [Threshold("mean_rise", "max", 0.033)]),
        *check_thresholds(Named("a", grids[1]), [Threshold("mean_rise", "max", 0.001)]),
    ]
    assert all(each.advice for each in found)
    return [each.advice for each in found]


def test_commands_that_are_advised_exist(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text((ROOT / "configs/sharpness.yaml").read_text())
    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = advices()
    for advice in found:
        named = {*re.findall(r"landscape (\w+)", advice), "compare", "scan"}  # compare is the one that advises
        options = {option for name in named for each in commands[name].params for option in each.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", advice)) <= options
        for override in re.findall(r"--set (\S+?)(?:[,.]? |$)", advice):
            load_config(config, [override])
    for each in ("--more-slices", "--set radius=null", "--set radius.stop=10", "landscape curvature"):
        assert each in " ".join(found)


# ---------------------------------------------------------------- not comparable


def test_partial_surface_is_said_to_be_partial() -> None:
    mask = np.ones((20, 60), dtype=np.bool_)
    mask[19, 50:] = False
    found = judged(noise_line(BASE), noise_line(BASE, evaluated=mask))
    assert found.outcome == "not comparable"
    assert "new.h5: partial: 1,190 of 1,200 points" in found.sentence


@pytest.mark.parametrize("num", [1, 4])
def test_few_slices_decide_nothing(num: int) -> None:
    found = judged(noise_line(BASE), noise_line(BASE[:num]))
    assert f"adaptive_radius of {num} slice{'s' if num > 1 else ''}; expected at least 5" in found.sentence


def test_measure_that_only_one_file_has_names_the_other() -> None:
    base, new = noise_line(BASE), bowl([1.0] * 6)
    found = judged(base, new)
    assert found.outcome == "not comparable"
    assert "new.h5: adaptive_radius is not measured: needs a line along random directions" in found.sentence
    assert "--checkpoint A.pt B.pt" in found.advice
    metric = judged(with_metric(base, "train_accuracy", 0.9), noise_line(BASE), "train_accuracy:1%")
    assert "new.h5: train_accuracy is not measured: the file has no train_accuracy" in metric.sentence


def test_centre_that_is_not_a_number_is_named() -> None:
    new = noise_line(BASE)
    new.metrics["train_loss"].centre = math.nan
    assert (
        "new.h5: adaptive_radius is not measured: the loss at the checkpoint" in judged(noise_line(BASE), new).sentence
    )
    assert "new.h5: train_loss is not measured" in judged(noise_line(BASE), new, "train_loss:1%").sentence


def test_value_below_zero_has_no_share_and_the_message_says_so() -> None:
    base, new = (noise_line(BASE) for _ in range(2))
    base.metrics["train_loss"].centre = -1.0
    found = judged(base, new, "train_loss:15%")
    assert "of which 15% says nothing" in found.sentence
    assert judged(base, new, "train_loss:3").outcome == "pass"
    assert judged([base, base, new], new, "train_loss:15%").outcome == "not comparable"


def test_error_rate_of_zero_is_compared() -> None:
    zero, some = (with_metric(noise_line(BASE[:5]), "train_error", each) for each in (0.0, 0.01))
    assert [judged(a, b, "train_error:10%").outcome for a, b in ((zero, zero), (some, zero), (zero, some))] == [
        "pass",
        "pass",
        "fail",
    ]


def test_diverged_slices_are_said_to_diverge() -> None:
    def rising(s: int, x: float) -> float:
        return math.inf if s == 2 and abs(x) > 0.2 else 1 + (s + 1) * x**2

    new = identified(surface_of(rising, line(-1, 1, 11), num_slices=6))
    for bases in ([bowl([1.0] * 6)], [bowl([1.0] * 6)] * 2):
        found = judged(bases, new, "mean_rise:15%")
        assert (found.outcome, "the loss diverges within what is measured of new.h5" in found.sentence) == (
            "not comparable",
            True,
        )


def test_extreme_values_do_not_overflow() -> None:
    base, new = (noise_line(BASE[:5]) for _ in range(2))
    base.metrics["train_loss"].centre, new.metrics["train_loss"].centre = 1e-300, 1e300
    assert judged(base, new, "train_loss:15%").outcome == "fail"
    assert judged(new, base, "train_loss:15%").outcome == "pass"


def test_eigenvalue_of_few_examples_is_refused_and_of_all_is_decided() -> None:
    def curved(num_examples: int, top: float, residual: float = 0.0) -> Surface:
        surface = surface_with({"eigenvalues": eigenvalues(-0.1, top, residual, num_examples=num_examples)})
        return replace(identified(surface), curvature=surface.curvature)

    found = judged(curved(512, 2.0), curved(512, 2.0), "lambda_max:15%")
    assert "a part of the data" in found.sentence
    assert [judged(curved(2000, 2.0), curved(2000, top), "lambda_max:15%").outcome for top in (2.2, 2.4)] == [
        "pass",
        "fail",
    ]
    assert judged(curved(2000, 2.0, 0.2), curved(2000, 2.2, 0.2), "lambda_max:15%").outcome == "inconclusive"


def test_barrier_is_decided_by_its_error_over_the_examples() -> None:
    def path(height: float) -> Surface:
        recipe = {"_target_": "between", "checkpoint": "b.pt"}
        surface = surface_of(lambda _, x: 1 + height * 4 * x * (1 - x), line(0, 1, 11), recipe=recipe)
        surface.metrics["train_loss"].std[:] = surface.metrics["train_loss"].centre_std = 0.5
        return identified(surface)

    assert judged(path(0.2), path(0.2), "barrier:0.1").outcome == "pass"
    assert judged(path(0.2), path(0.5), "barrier:0.1").outcome == "fail"
    assert judged([path(0.2), path(0.21)], path(0.8), "barrier:0.1").outcome == "fail"


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        ("sam:10%", "no decision may rest on sam"),
        ("curvature:10%", "depends on its spacing"),
        ("lambda_min:10%", "neither more nor less"),
        ("adaptive_radius:100%", "expected less than 100 %"),
        ("adaptiv_radius:10%", "did you mean 'adaptive_radius'"),
        ("train_f1:1%", "neither more nor less of train_f1"),
    ],
)
def test_tolerances_that_make_no_sense_are_refused(tolerance: str, words: str) -> None:
    base = with_metric(noise_line(BASE), "train_f1", 0.5)
    with pytest.raises(UsageError, match=re.escape(words)):
        judged(base, base, tolerance)


def test_surfaces_without_a_common_loss_are_refused() -> None:
    other = noise_line(BASE)
    other.metrics["test_loss"] = other.metrics.pop("train_loss")
    with pytest.raises(SurfaceError, match="no loss in common: found train_loss and test_loss"):
        judged(noise_line(BASE), other)


def test_gravest_outcome_counts() -> None:
    outcomes = ["pass", "inconclusive", "not comparable", "fail"]
    found = [overall([Verdict("m", each, "") for each in outcomes[: n + 1]]) for n in range(4)]  # type: ignore[arg-type]
    assert found == outcomes
    assert [exit_code(each, inconclusive_fails=False) for each in found] == [0, 0, 3, 5]
