"""Estimates of the trace: exact where they claim it, unbiased, and honest about their errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats
import torch
from oracles import with_spectrum
from torch import Tensor

from landscape_cli.compute.traces import Estimate, hutchinson, xtrace
from landscape_cli.errors import EvaluationError

CPU = torch.device("cpu")
Estimator = Callable[..., Estimate]


def products_with(matrix: Tensor, calls: list[int] | None = None) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    def products(vectors: Sequence[Tensor]) -> list[Tensor]:
        if calls is not None:
            calls.append(len(vectors))
        return [matrix @ vector for vector in vectors]

    return products


def estimate_of(estimator: Estimator, matrix: Tensor, num_products: int, **options: object) -> Estimate:
    arguments = {"device": matrix.device, "dtype": matrix.dtype} | options
    return estimator(products_with(matrix), len(matrix), num_products=num_products, **arguments)


SPECTRA = {
    "positive": 1 / np.arange(1, 61) ** 1.5,
    "indefinite": np.r_[np.linspace(-1, 1.2, 50), 5.0, 9.0, -4.0],
    "flat": np.linspace(0.9, 1.1, 40),
    "bulk and outliers": np.r_[np.linspace(-0.05, 0.1, 80), 3.0, 10.0],
}


@pytest.mark.parametrize("values", [[5.0], [5.0, -2.0], [3.0, 2.0, 1.0, -7.0]])
def test_xtrace_is_exact_where_the_rank_is_below_the_number_of_probes(values: list[float], device: str) -> None:
    matrix = with_spectrum([*values, *[0.0] * 50], device)
    for seed in range(5):
        found = estimate_of(xtrace, matrix, 2 * len(values) + 2, seed=seed)
        assert found.value == pytest.approx(sum(values), abs=1e-10)
        assert found.standard_error == pytest.approx(0, abs=1e-10)
        assert found.num_probes == len(values) + 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 15])
@pytest.mark.parametrize("num_products", [2, 3, 14, 30, 100])
def test_xtrace_of_a_matrix_smaller_than_its_probes_is_exact_and_says_so(size: int, num_products: int) -> None:
    matrix = with_spectrum(np.linspace(-1, 3, size).tolist())
    calls: list[int] = []
    found = xtrace(products_with(matrix, calls), size, num_products=num_products, device=CPU, dtype=torch.float64)
    assert sum(calls) <= num_products
    if num_products // 2 >= size:
        assert found.value == pytest.approx(float(matrix.trace()), abs=1e-10)
        assert found.standard_error == 0.0
        assert found.num_probes == size


@pytest.mark.parametrize("estimator", [xtrace, hutchinson])
def test_the_trace_of_zero_is_zero_without_error(estimator: Estimator) -> None:
    found = estimate_of(estimator, torch.zeros(20, 20, dtype=torch.float64), 10)
    assert (found.value, found.standard_error) == (0.0, 0.0)


@pytest.mark.parametrize("estimator", [xtrace, hutchinson])
def test_the_trace_of_the_identity_is_its_size(estimator: Estimator) -> None:
    found = estimate_of(estimator, torch.eye(50, dtype=torch.float64), 20)
    assert found.value == pytest.approx(50, rel=1e-12)
    assert found.standard_error == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("num_missing", [1, 3, 20])
def test_xtrace_stays_exact_where_only_rounding_is_left_of_the_products(num_missing: int) -> None:
    values = [*np.geomspace(1e-9, 1, 60).tolist(), *[0.0] * num_missing]
    matrix = with_spectrum(values)
    found = estimate_of(xtrace, matrix, 2 * len(values))
    assert found.value == pytest.approx(sum(values), rel=1e-9)
    assert found.standard_error < 1e-9


def scores(estimator: Estimator, matrix: Tensor, num_products: int) -> tuple[np.ndarray, np.ndarray, int]:
    found = [estimate_of(estimator, matrix, num_products, seed=seed) for seed in range(200)]
    return np.array([f.value for f in found]), np.array([f.standard_error for f in found]), found[0].num_probes


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_hutchinson_is_unbiased_and_covers_the_trace_as_its_error_says(spectrum: str) -> None:
    matrix = with_spectrum(SPECTRA[spectrum].tolist())
    values, errors, num_probes = scores(hutchinson, matrix, 30)
    exact = float(matrix.trace())
    z = (values - exact) / errors
    assert num_probes == 30
    assert abs(values.mean() - exact) < 3 * values.std(ddof=1) / np.sqrt(len(values))
    covered = (np.abs(z) <= scipy.stats.t.ppf(0.975, num_probes - 1)).mean()
    assert 0.90 <= covered <= 0.99
    # the variance of signs: 2 (‖A‖² − Σ aᵢᵢ²)
    variance = 2 * float(matrix.square().sum() - matrix.diagonal().square().sum()) / num_probes
    assert values.var(ddof=1) == pytest.approx(variance, rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_xtrace_is_unbiased_and_its_error_is_of_the_size_of_its_deviations(spectrum: str) -> None:
    matrix = with_spectrum(SPECTRA[spectrum].tolist())
    values, errors, _ = scores(xtrace, matrix, 20)
    exact, deviation = float(matrix.trace()), values.std(ddof=1)
    assert abs(values.mean() - exact) < 3 * deviation / np.sqrt(len(values))
    assert 0.5 < np.sqrt((errors**2).mean()) / deviation < 2


@pytest.mark.slow
def test_xtrace_has_a_smaller_error_than_hutchinson_where_a_few_values_dominate() -> None:
    matrix = with_spectrum(SPECTRA["bulk and outliers"].tolist())
    exact = float(matrix.trace())
    root_mean_square = [
        np.sqrt(((scores(estimator, matrix, 20)[0] - exact) ** 2).mean()) for estimator in (xtrace, hutchinson)
    ]
    assert root_mean_square[0] < root_mean_square[1] / 5


def test_float32_products_give_the_trace_to_their_precision(device: str) -> None:
    matrix = with_spectrum([7.0, 3.0, -1.0, *[0.0] * 100], device).float()
    found = estimate_of(xtrace, matrix, 20)
    assert found.value == pytest.approx(9, rel=1e-5)


def test_xtrace_that_does_not_fit_in_memory_says_what_to_do() -> None:
    with pytest.raises(EvaluationError, match="XTrace needs 5 vectors of 20 numbers, more than fit in memory") as error:
        estimate_of(xtrace, torch.eye(20, dtype=torch.float64), 10, memory=100)
    assert "hutchinson" in str(error.value.hint)


@pytest.mark.parametrize("estimator", [xtrace, hutchinson])
def test_a_seed_repeats_itself(estimator: Estimator) -> None:
    matrix = with_spectrum(SPECTRA["indefinite"].tolist())
    first, again, other = (estimate_of(estimator, matrix, 10, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.value != other.value


def test_xtrace_stops_early_only_where_its_error_is_small_and_a_longer_one_goes_on_from_there() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(80, 80, dtype=torch.float64))[0]
    steep, flat = (
        basis * 0.5 ** torch.arange(80.0).double() @ basis.T,
        basis @ torch.diag(torch.randn(80).double()) @ basis.T,
    )
    counts = []
    for matrix in (steep, flat):
        asked: list[int] = []

        def products(vectors: Sequence[Tensor], matrix: Tensor = matrix, asked: list[int] = asked) -> list[Tensor]:
            asked.append(len(vectors))
            return [matrix @ vector for vector in vectors]

        device = torch.device("cpu")
        options = {"num_products": 30, "device": device, "dtype": torch.float64}
        found = xtrace(products, 80, tolerance=0.03, **options)  # type: ignore[arg-type]
        counts.append((found.num_probes, sum(asked)))
        if found.num_probes == 15:  # all of them: as if nobody had looked in between
            whole = xtrace(products, 80, **options)  # type: ignore[arg-type]
            assert found.value == pytest.approx(whole.value, rel=1e-9)
            assert found.standard_error == pytest.approx(whole.standard_error, rel=1e-6)
        else:
            assert found.standard_error <= 0.03 * abs(found.value)
            assert found.value == pytest.approx(float(matrix.trace()), rel=0.1)
    assert counts == [(8, 16), (15, 30)]
