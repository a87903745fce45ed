"""What kind of point the checkpoint is: each verdict, and where one ends and the next begins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from recorded import eigenvalues, gradient, surface_with

from landscape_cli.analysis.critical_point import CriticalPoint, critical_point, missed_share
from landscape_cli.errors import UsageError

UP, DOWN = 1 + 1e-9, 1 - 1e-9


def point(
    least: float,
    largest: float,
    *,
    norm: float = 0.0,
    loss: float = 1.0,
    residual: float = 0.0,
    curv_tol: float = 0.01,
    floor: float = 0.0,
    **settings: object,
) -> CriticalPoint:
    records = {
        "gradient": gradient(norm, loss, floor, **settings),
        "eigenvalues": eigenvalues(least, largest, residual, **settings),
    }
    return critical_point(surface_with(records), curv_tol=curv_tol)


def norm_for(decrease: float, largest: float) -> float:
    """‖g‖ with ‖g‖² / (2 λ_max) = D."""
    return math.sqrt(2 * largest * decrease)


# ---------------------------------------------------------------- the gradient


@pytest.mark.parametrize(
    ("decrease", "loss", "verdict"),
    [
        (1e-3 * DOWN, 1.0, "looks_like_minimum"),  # D ≤ 0.001 L
        (1e-3 * UP, 1.0, "borderline"),
        (0.05 * DOWN, 1.0, "borderline"),  # D ≤ 0.05 L
        (0.05 * UP, 1.0, "not_critical"),
        (1e-4 * DOWN, 1e-5, "looks_like_minimum"),  # D ≤ 0.0001 nat, where the loss is tiny
        (1e-4 * UP, 1e-5, "not_critical"),
        (1e-4 * UP, 0.02, "borderline"),
        (1e-4 * UP, -3.0, "not_critical"),  # of a loss below 0 there is no share
        (1e-4 * DOWN, -3.0, "looks_like_minimum"),
    ],
)
def test_the_guaranteed_decrease_tells_a_slope_from_a_critical_point(
    decrease: float, loss: float, verdict: str
) -> None:
    found = point(0.0, 4.0, norm=norm_for(decrease, 4.0), loss=loss)
    assert (found.verdict, found.shape) == (verdict, "looks_like_minimum")
    assert found.decrease == pytest.approx(decrease)


def test_a_slope_is_described_as_one() -> None:
    found = point(-0.5, 2.0, norm=norm_for(0.25, 2.0))
    assert found.sentence == (
        "not at a critical point: one gradient step can still lower the loss by >= 0.25 (25 %); "
        "curvature signs are local shape only"
    )
    assert "negative curvature is certified: direction with v'Hv = -0.5 found; |lmin|/lmax=0.25" in found.details


def test_a_borderline_point_has_both_the_step_and_the_shape() -> None:
    found = point(-0.5, 2.0, norm=norm_for(0.02, 2.0))
    assert (found.verdict, found.shape) == ("borderline", "saddle")
    assert found.sentence == (
        "borderline, because one gradient step can still lower the loss by >= 0.02 (2 %); "
        "taken as critical, it is a saddle (certified): direction with v'Hv = -0.5 found; |lmin|/lmax=0.25"
    )


@pytest.mark.parametrize(
    ("least", "largest", "words"),
    [
        (0.0, 2.0, "it looks like a minimum: gradient small, no curvature below -tol in 80 Lanczos steps"),
        (-0.005, 2.0, "it is minimum-like, weak negative curvature"),
        (1.0, 2.0, "it is a strict minimum (lmin > tol)"),
        (-2.0, -1.0, "it is a maximum"),
        (-2.0, 0.0, "it is no minimum (certified): direction with v'Hv = -2 found; no curvature above tol seen"),
    ],
)
def test_a_borderline_point_is_described_in_a_sentence(least: float, largest: float, words: str) -> None:
    sentence = point(least, largest, norm=norm_for(0.02, 2.0)).sentence
    step = "one gradient step can still lower the loss by >= 0.02 (2 %)"
    assert sentence == f"borderline, because {step}; taken as critical, {words}"


def test_a_gradient_within_its_sampling_floor_is_said_to_be() -> None:
    assert any(
        "indistinguishable from 0 on 512 samples" in each for each in point(0, 1, norm=0.01, floor=0.005).details
    )
    assert not any("indistinguishable" in each for each in point(0, 1, norm=0.01, floor=0.0049).details)


# ---------------------------------------------------------------- the curvature


@pytest.mark.parametrize(
    ("least", "verdict"),
    [
        (-0.01 * UP, "saddle"),  # λ_min < −tol, tol = 0.01 λ_max
        (-0.01 * DOWN, "weak_negative"),
        (-2e-6 * UP, "weak_negative"),  # λ_min < −2 noise, noise = 1e-6 λ_max in float64
        (-2e-6 * DOWN, "looks_like_minimum"),
        (0.0, "looks_like_minimum"),
        (0.01 * DOWN, "looks_like_minimum"),
        (0.01 * UP, "strict_minimum"),  # λ_min > tol
    ],
)
def test_the_sign_of_the_least_eigenvalue_tells_the_shape(least: float, verdict: str) -> None:
    assert point(least, 1.0).verdict == verdict
    assert point(5 * least, 5.0).verdict == verdict


def test_noise_is_larger_in_float32_and_by_differences() -> None:
    for settings in ({"precision": "float32"}, {"precision": ""}):
        assert point(-2e-4 * DOWN, 1.0, **settings).verdict == "looks_like_minimum"
        assert point(-2e-4 * UP, 1.0, **settings).verdict == "weak_negative"


def test_a_residual_larger_than_rounding_is_the_noise() -> None:
    assert point(-0.1 * UP, 1.0, residual=0.05).verdict == "saddle"  # tol = 2 noise > 0.01 λ_max
    assert point(-0.1 * DOWN, 1.0, residual=0.05).verdict == "looks_like_minimum"
    assert point(0.1 * DOWN, 1.0, residual=0.05).verdict == "looks_like_minimum"


def test_the_tolerance_can_be_chosen() -> None:
    assert point(-0.05, 1.0, curv_tol=0.1).verdict == "weak_negative"
    assert point(-1e-3, 1.0, curv_tol=0.0).verdict == "saddle"


def test_the_words_are_those_of_the_shapes() -> None:
    assert point(-0.5, 2.0).sentence == "saddle (certified): direction with v'Hv = -0.5 found; |lmin|/lmax=0.25"
    assert point(-0.005, 1.0).sentence == "minimum-like, weak negative curvature"
    assert point(0.0, 1.0).sentence == (
        "looks like a minimum: gradient small, no curvature below -tol in 80 Lanczos steps"
    )
    assert point(0.5, 1.0).sentence == "strict minimum (lmin > tol)"
    assert point(-1.0, -0.5).sentence == "maximum"


# ---------------------------------------------------------------- spectra that are not those of trained networks


def test_negative_curvature_without_positive_is_no_minimum_and_no_saddle() -> None:
    """H = diag(−1, 0): L = −x² has a ridge there, not a saddle; what the flat direction does is not known."""
    found = point(-1.0, 0.0)
    assert (found.verdict, found.shape) == ("not_minimum", "not_minimum")
    assert found.sentence == "no minimum (certified): direction with v'Hv = -1 found; no curvature above tol seen"
    assert point(-1.0, 2e-6 * DOWN).verdict == "not_minimum"
    assert point(-1.0, 2e-6 * UP).verdict == "saddle"  # twice the rounding of float64
    steep = point(-1.0, 0.0, norm=1.0)
    assert (steep.verdict, steep.shape) == ("not_critical", "not_minimum")
    assert "negative curvature is certified: direction with v'Hv = -1 found" in steep.details


def test_a_top_eigenvalue_that_is_rounding_makes_no_maximum() -> None:
    assert point(-1.0, -1e-9).verdict == "not_minimum"
    assert point(-1.0, 1e-9).verdict == "not_minimum"
    assert point(-1.0, -0.009, residual=0.01).verdict == "not_minimum"  # the sign of λ_max is not known


def test_a_slope_where_nothing_curves_upwards_is_no_maximum() -> None:
    assert point(-1.0, -0.5, norm=0.5).verdict == "not_critical"  # ‖g‖² / (2 ‖H‖) = 0.125
    assert point(-1.0, -0.5, norm=1e-3).verdict == "maximum"


def test_a_hessian_of_zeros_is_flat_or_a_slope() -> None:
    assert point(0.0, 0.0).verdict == "looks_like_minimum"
    found = point(0.0, 0.0, norm=0.1)
    assert found.verdict == "not_critical"
    assert "no curvature limits a step" in found.sentence


# ---------------------------------------------------------------- of what it holds


def test_products_by_differences_certify_nothing() -> None:
    records = {"gradient": gradient(), "eigenvalues": eigenvalues(-0.5, 2.0)}
    object.__setattr__(records["eigenvalues"], "method", "finite differences")
    found = critical_point(surface_with(records))
    assert found.verdict == "saddle"
    assert "(certified)" not in found.sentence
    assert "not certified: products by finite differences" in found.sentence
    assert found.noise == pytest.approx(2e-4)  # as in float32, also in float64


def test_some_parameters_only_are_named() -> None:
    found = point(0.0, 1.0, parameters={"include": ["layer3.*"], "exclude": []})
    assert found.sentence.startswith("in the parameters layer3.*: looks like a minimum")
    assert found.scope == "of the parameters layer3.*"


def test_weight_decay_is_part_of_the_loss() -> None:
    assert any("weight decay 0.0005" in each for each in point(0.0, 1.0, weight_decay=5e-4).details)
    hint = "curvature.objective.weight_decay"
    assert any(hint in each for each in point(0.0, 1.0, norm=1.0).details)
    assert not any(hint in each for each in point(0.0, 1.0, norm=1.0, weight_decay=5e-4).details)
    assert not any(hint in each for each in point(0.0, 1.0).details)


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ({}, "gradient: add it with: landscape curvature CONFIG FILE"),
        ({"gradient": gradient()}, "eigenvalues: add it with"),
        ({"eigenvalues": eigenvalues(0, 1)}, "gradient: add it with"),
        ({"gradient": gradient(math.nan), "eigenvalues": eigenvalues(0, 1)}, "gradient has no number grad_norm"),
        ({"gradient": gradient(0, math.inf), "eigenvalues": eigenvalues(0, 1)}, "gradient has no number loss"),
        ({"gradient": gradient(), "eigenvalues": eigenvalues(math.nan, 1)}, "eigenvalues has no number lambda_min"),
        ({"gradient": gradient(num_examples=9), "eigenvalues": eigenvalues(0, 1)}, "with another num_examples"),
        ({"gradient": gradient(weight_decay=9), "eigenvalues": eigenvalues(0, 1)}, "with another weight_decay"),
    ],
)
def test_what_is_not_known_is_not_classified(records: dict[str, object], why: str) -> None:
    found = critical_point(surface_with(records))  # type: ignore[arg-type]
    assert (found.verdict, found.shape, found.details) == ("unknown", None, ())
    assert found.sentence.startswith("not classified: ")
    assert why in found.sentence


def test_a_residual_that_is_not_known_is_rounding() -> None:
    assert point(-0.02, 1.0, residual=math.nan).verdict == "saddle"


def test_another_loss_is_not_classified() -> None:
    surface = surface_with({"gradient": gradient(), "eigenvalues": eigenvalues(0, 1)})
    surface.metrics["test_loss"] = surface.metrics["train_loss"]
    assert "not on test_loss" in critical_point(surface, loss="test_loss").sentence
    with pytest.raises(UsageError):
        critical_point(surface, loss="loss")


# ---------------------------------------------------------------- what Lanczos may have missed


def test_the_bound_is_that_of_kuczynski_and_wozniakowski() -> None:
    e = missed_share(80, 10_000_000)
    assert e == pytest.approx(0.007, abs=5e-4)  # 0.7 %
    assert 1.648 * math.sqrt(1e7) * math.exp(-math.sqrt(e) * 159) == pytest.approx(0.01)
    assert any("no eigenvalue lies more than 0.0069 (0.69 % of λ_max − λ_min)" in each for each in point(0, 1).details)


def test_lanczos_misses_no_more_than_the_bound_says() -> None:
    """In 300 draws of a spectrum with a single negative eigenvalue, by a dense Krylov space in float64."""
    rng, size, steps = np.random.default_rng(0), 400, 12
    spectrum = np.concatenate([[-0.05], rng.uniform(0, 1, size - 2), [1.0]])
    bound, missed = missed_share(steps, size), 0
    for _ in range(300):
        basis = [rng.standard_normal(size)]
        basis[0] /= np.linalg.norm(basis[0])
        for _ in range(steps - 1):
            new = spectrum * basis[-1]
            for _ in range(2):
                new -= np.array(basis).T @ (np.array(basis) @ new)
            basis.append(new / np.linalg.norm(new))
        q = np.array(basis)
        missed += np.linalg.eigvalsh((q * spectrum) @ q.T)[0] + 0.05 > bound * 1.05
    assert missed <= 0.01 * 300


@pytest.mark.parametrize(("steps", "parameters"), [(math.nan, 100), (0, 100), (80, 0)])
def test_a_bound_that_is_not_known_is_not_said(steps: float, parameters: int) -> None:
    assert math.isnan(missed_share(steps, parameters))


def few_steps(least: float, norm: float = 0.0, steps: int = 4, num_parameters: int = 10_000_000) -> CriticalPoint:
    records = {"gradient": gradient(norm), "eigenvalues": eigenvalues(least, 1, steps=steps)}
    for name, each in records.items():
        records[name] = replace(each, settings={**each.settings, "num_parameters": num_parameters})
    return critical_point(surface_with(records))


@pytest.mark.parametrize("least", [0.0, -0.005, 0.5])
def test_too_few_steps_bound_nothing_and_so_see_no_minimum(least: float) -> None:
    found = few_steps(least)
    assert any("too few to bound" in each for each in found.details)
    assert (found.verdict, found.shape) == ("unknown", None)
    assert found.sentence == "not classified: 4 Lanczos steps are too few"
    borderline = few_steps(least, norm_for(0.02, 1.0))
    assert (borderline.verdict, borderline.shape) == ("borderline", None)
    assert borderline.sentence.endswith("(2 %); not classified: 4 Lanczos steps are too few")


def test_a_direction_that_was_found_needs_no_bound() -> None:
    assert few_steps(-0.5).sentence == "saddle (certified): direction with v'Hv = -0.5 found; |lmin|/lmax=0.5"


def test_as_many_steps_as_there_are_parameters_are_enough() -> None:
    found = few_steps(0.0, steps=2, num_parameters=2)
    assert found.verdict == "looks_like_minimum"
    assert not any("too few" in each for each in found.details)
    assert few_steps(0.0, steps=2, num_parameters=3).verdict == "unknown"
