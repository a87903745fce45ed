"""Krylov spaces against LAPACK, and against the bounds of the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import with_spectrum
from torch import Tensor

from landscape_cli.compute.lanczos import Ends, Krylov, eigenpair, ends
from landscape_cli.errors import EvaluationError

CPU = torch.device("cpu")


def ends_of(matrix: Tensor, **options: object) -> Ends:
    arguments = {"max_products": len(matrix), "device": matrix.device, "dtype": matrix.dtype} | options
    return ends(lambda v: matrix @ v, len(matrix), **arguments)  # type: ignore[arg-type]


def check(found: Ends, matrix: Tensor, tolerance: float) -> None:
    """The ends of LAPACK, and an eigenvalue within the residual of each."""
    exact = np.linalg.eigvalsh(matrix.double().cpu().numpy())
    scale = float(np.abs(exact).max())
    assert found.largest[0] == pytest.approx(exact[-1], abs=tolerance * scale)
    assert found.smallest[0] == pytest.approx(exact[0], abs=tolerance * scale)
    rounding = 4 * len(exact) * np.finfo(np.float64).eps * scale
    for values, residuals in ((found.largest, found.largest_residuals), (found.smallest, found.smallest_residuals)):
        for value, residual in zip(values, residuals, strict=True):
            assert np.abs(exact - value).min() <= residual + rounding
            assert residual >= torch.finfo(matrix.dtype).eps * np.abs(values).max() * 0.99


SPECTRA = {
    "indefinite": np.linspace(-3, 5, 40),
    "a bulk and outliers": np.r_[np.linspace(-0.1, 0.4, 150), 3.0, 3.5, 10.0],
    "clusters": np.r_[np.full(20, 1.0) + 1e-9 * np.arange(20), np.full(20, -1.0) + 1e-9 * np.arange(20)],
    "repeated": np.repeat([-2.0, 0.0, 1.0, 4.0], 10),
    "identity": np.ones(12),
    "zero": np.zeros(12),
    "rank one": np.r_[np.zeros(30), 7.0],
    "rank one below": np.r_[-7.0, np.zeros(30)],
    "one number": np.array([-3.0]),
    "two numbers": np.array([-3.0, 2.0]),
    "tiny": 1e-30 * np.arange(1, 9),
    "huge": 1e30 * np.linspace(-1, 3, 9),
    "geometric": 2.0 ** -np.arange(40),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_both_ends_of_a_spectrum_equal_those_of_lapack(spectrum: str, device: str) -> None:
    matrix = with_spectrum(SPECTRA[spectrum].tolist(), device)
    check(ends_of(matrix), matrix, 1e-8)


@given(data=st.data(), size=st.integers(1, 25), seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_both_ends_of_any_spectrum_equal_those_of_lapack(data: st.DataObject, size: int, seed: int) -> None:
    numbers = st.sampled_from([-3.0, -1.0, -1e-6, 0.0, 1e-6, 0.5, 0.5 + 1e-9, 2.0]) | st.floats(-10, 10).filter(
        lambda x: x == 0 or abs(x) > 1e-100  # squares of others are zero
    )
    values = data.draw(st.lists(numbers, min_size=size, max_size=size))
    matrix = with_spectrum(values, seed=seed % 1000)
    check(ends_of(matrix, seed=seed), matrix, 1e-8)


@given(size=st.integers(3, 60), steps=st.integers(1, 60), count=st.integers(1, 4), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_an_eigenvalue_lies_within_every_residual_also_before_convergence(
    size: int, steps: int, count: int, seed: int
) -> None:
    matrix = with_spectrum(np.random.default_rng(seed).normal(size=size).tolist(), seed=seed)
    found = ends_of(matrix, max_products=steps, count=count, seed=seed)
    exact = np.linalg.eigvalsh(matrix.numpy())
    assert found.num_products == min(steps, size)
    assert len(found.largest) == len(found.smallest) == min(count, steps, size)
    assert (np.diff(found.largest) <= 0).all()
    assert (np.diff(found.smallest) >= 0).all()
    assert exact[0] - 1e-12 <= found.smallest[0] <= found.largest[0] <= exact[-1] + 1e-12  # Rayleigh quotients
    for values, residuals in ((found.largest, found.largest_residuals), (found.smallest, found.smallest_residuals)):
        for value, residual in zip(values, residuals, strict=True):
            assert np.abs(exact - value).min() <= residual + 1e-12


def test_several_pairs_at_each_end_are_those_of_lapack() -> None:
    values = np.r_[np.linspace(-0.1, 0.4, 150), -2.0, -1.0, 3.0, 3.5, 10.0]
    found = ends_of(with_spectrum(values.tolist()), count=3, max_products=60)
    assert found.largest == pytest.approx([10.0, 3.5, 3.0], abs=1e-8)
    assert found.smallest[:2] == pytest.approx([-2.0, -1.0], abs=1e-8)
    assert found.largest_residuals.max() < 1e-6


def test_a_tolerance_ends_the_search_early_and_is_kept() -> None:
    matrix = with_spectrum(SPECTRA["a bulk and outliers"].tolist())
    for tolerance in (0.1, 1e-2, 1e-6):
        found = ends_of(matrix, tolerance=tolerance)
        assert found.num_products < 60
        assert max(found.largest_residuals[0], found.smallest_residuals[0]) <= tolerance * 10
        check(found, matrix, tolerance)


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("max_products", [40, 80, 153, 500])
@pytest.mark.parametrize("spectrum", ["indefinite", "a bulk and outliers", "geometric", "rank one", "one number"])
def test_extreme_values_without_a_basis_are_right(spectrum: str, max_products: int, device: str) -> None:
    matrix = with_spectrum(SPECTRA[spectrum].tolist(), device)
    kept = ends_of(matrix, max_products=max_products)
    found = ends_of(matrix, max_products=max_products, memory=0, count=3)
    assert kept.keeps_basis
    assert not found.keeps_basis
    assert len(found.largest) == 1
    exact = np.linalg.eigvalsh(matrix.cpu().numpy())
    scale = float(np.abs(exact).max())
    assert found.largest[0] == pytest.approx(exact[-1], abs=1e-8 * scale)
    assert abs(found.smallest[0] - exact[0]) <= found.smallest_residuals[0] + 1e-10 * scale
    for value, residual in (
        (found.largest[0], found.largest_residuals[0]),
        (found.smallest[0], found.smallest_residuals[0]),
    ):
        assert np.abs(exact - value).min() <= residual + 1e-12 * scale


def test_a_space_without_a_basis_claims_no_exactness_when_it_has_as_many_steps_as_rows() -> None:
    """Rounding turns the space around many times: it does not span everything then."""
    values = np.r_[np.logspace(-12, 0, 40), 1e3]
    matrix = with_spectrum(values.tolist())
    space = Krylov(lambda v: matrix @ v, 41, num_starts=1, max_products=100, device=CPU, dtype=torch.float64, memory=0)
    while space.num_products < space.max_products and not space.is_exhausted:
        space.step()
    ritz = space.ritz()
    exact = np.linalg.eigvalsh(matrix.numpy())
    wrong = [v for v, r in zip(ritz.values, ritz.residuals, strict=True) if np.abs(exact - v).min() > r + 1e-10]
    assert not wrong


def test_a_basis_in_main_memory_gives_the_same(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    matrix = with_spectrum(SPECTRA["a bulk and outliers"].tolist(), device)
    expected = ends_of(matrix, max_products=30)
    monkeypatch.setattr("landscape_cli.compute.lanczos.place_for", lambda *_: CPU)
    found = ends_of(matrix, max_products=30)
    assert found.largest[0] == pytest.approx(expected.largest[0], rel=1e-12)
    assert found.smallest[0] == pytest.approx(expected.smallest[0], rel=1e-9)


def test_a_basis_that_fits_nowhere_is_refused_where_vectors_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape_cli.compute.lanczos.place_for", lambda *_: None)
    matrix = with_spectrum([1.0, 2.0, 3.0])
    options = {"tolerance": 1e-6, "max_products": 3, "device": CPU, "dtype": torch.float64}
    for index in (1, 2):
        with pytest.raises(EvaluationError, match="out of memory for 3 vectors of 3 numbers"):
            eigenpair(lambda v: matrix @ v, 3, index=index, which="largest", **options)  # type: ignore[arg-type]


def test_float32_finds_both_ends_to_its_precision(device: str) -> None:
    matrix = with_spectrum(np.r_[np.linspace(-0.1, 0.4, 300), -1.0, 3.0, 10.0].tolist(), device).float()
    found = ends_of(matrix, max_products=60)
    assert found.largest[0] == pytest.approx(10, rel=2e-6)
    assert found.smallest[0] == pytest.approx(-1, abs=2e-5)
    assert 1e-6 < found.largest_residuals[0] < 1e-4


# ---------------------------------------------------------------- what is wrong


def test_an_operator_that_is_not_symmetric_is_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(20, 20, generator=generator, dtype=torch.float64)
    with pytest.raises(EvaluationError, match="contradict each other"):
        ends_of(matrix)
    with pytest.raises(EvaluationError, match="contradict each other"):  # noise in the products
        ends(
            lambda v: v + torch.randn(20, generator=generator, dtype=torch.float64),
            20, max_products=10, device=CPU, dtype=torch.float64,
        )  # fmt: skip
    slightly = with_spectrum(np.linspace(-1, 1, 20).tolist()) + 1e-6 * matrix
    assert ends_of(slightly).largest[0] == pytest.approx(1, abs=1e-4)


def test_products_that_are_not_finite_are_refused() -> None:
    for wrong in (math.nan, math.inf):
        with pytest.raises(EvaluationError, match="a product with the Hessian holds NaN"):
            ends_of(torch.eye(4, dtype=torch.float64) * wrong)


# ---------------------------------------------------------------- what can be missed


@pytest.mark.slow
@pytest.mark.parametrize(("num_products", "share"), [(12, 0.1), (20, 0.05)])
def test_an_end_is_missed_at_most_as_often_as_the_bound_says(num_products: int, share: float) -> None:
    """Kuczyński & Woźniakowski 1992: P[missed by ε(λ_max − λ_min)] ≤ 1.648 √n exp(−√ε (2m − 1))."""
    size = 200
    # the hardest: values as dense at the end as those of a Chebyshev polynomial, and one beyond
    values = torch.tensor([-1.0, *np.cos(np.pi * np.arange(size - 1) / size).tolist()], dtype=torch.float64)
    values[0] = values[1:].min() - share * 1.01
    width = float(values.max() - values.min())
    missed = 0
    for seed in range(500):
        found = ends(lambda v: values * v, size, max_products=num_products, device=CPU, dtype=torch.float64, seed=seed)
        missed += found.smallest[0] > float(values.min()) + share * width
    bound = 1.648 * math.sqrt(size) * math.exp(-math.sqrt(share) * (2 * num_products - 1))
    assert missed <= 500 * min(1.0, bound)


def test_seeds_differ_and_repeat() -> None:
    matrix = with_spectrum(np.linspace(-1, 1, 60).tolist())
    first, again, other = (ends_of(matrix, max_products=8, seed=seed) for seed in (1, 1, 2))
    assert first.largest[0] == again.largest[0] != other.largest[0]
