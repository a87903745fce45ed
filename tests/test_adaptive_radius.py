"""The adaptive radius is the relative weight noise at which the mean loss has risen by τ, and its error bar holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from analytic import FILTER, WEIGHT, line, surface_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from landscape_cli import scan_model
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.sharpness import measured
from landscape_cli.surface import Surface

DEFAULT = np.geomspace(0.01, 3, 25).tolist()
FINE = np.geomspace(0.01, 3, 400).tolist()


def scan_of(curvatures: np.ndarray, radii: list[float] = DEFAULT, **options: object) -> Surface:
    """Rises c·s²/2, one c for every direction."""
    return surface_of(
        lambda s, x: 1 + curvatures[s] * x**2 / 2,
        radii,
        num_slices=len(curvatures),
        recipe=WEIGHT,
        **options,  # type: ignore[arg-type]
    )


def radius_of(surface: Surface, tau: float = 0.1, slice_index: int | None = None) -> Measurement:
    return measured(surface, "adaptive_radius", tau=tau, slice_index=slice_index)


def test_on_a_quadratic_it_is_the_root_of_two_tau_over_the_adaptive_trace() -> None:
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((12, 12))
    hessian, theta = factor @ factor.T, rng.standard_normal(12)
    noise = theta * rng.standard_normal((500, 12))
    found = radius_of(scan_of(np.einsum("si,ij,sj->s", noise, hessian, noise), FINE))
    expected = math.sqrt(2 * 0.1 / float(theta**2 @ np.diag(hessian)))  # tr THT
    assert found.value is not None
    assert found.standard_error is not None
    assert abs(found.value - expected) < 3 * found.standard_error
    assert found.standard_error < 0.04 * expected


def test_between_two_points_the_rise_is_linear_in_s() -> None:
    surface = surface_of(lambda s, x: (1 + s) * x, [0.5, 1.0, 2.0], num_slices=3, recipe=WEIGHT)
    found = radius_of(surface, tau=2.5)
    assert found.value == pytest.approx(1.25)
    assert found.per_slice == pytest.approx([math.nan, 1.25, 2.5 / 3], nan_ok=True)  # x alone ends at 2
    assert "1/r² = 0.64" in found.note


def test_the_default_grid_costs_less_than_a_percent() -> None:
    for curvature in np.geomspace(0.1, 100, 50):
        expected = math.sqrt(0.2 / curvature)
        found = radius_of(scan_of(np.full(2, curvature))).value
        assert found == pytest.approx(expected, rel=0.008)


def test_both_signs_count_where_the_line_goes_to_both_sides() -> None:
    one_sided = surface_of(lambda _, x: x**2 + 0.3 * x, FINE, num_slices=2, recipe=WEIGHT)
    both = [-x for x in reversed(FINE)] + FINE
    two_sided = surface_of(lambda _, x: x**2 + 0.3 * x, both, num_slices=2, recipe=WEIGHT)
    assert radius_of(two_sided).value == pytest.approx(math.sqrt(0.1), rel=1e-3)
    assert radius_of(one_sided).value == pytest.approx((math.sqrt(0.09 + 0.4) - 0.3) / 2, rel=1e-3)


CURVATURES = st.lists(st.floats(0.5, 20.0), min_size=2, max_size=12).map(np.array)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(CURVATURES)
def test_the_error_is_the_jackknife_of_log_r_done_by_hand(curvatures: np.ndarray) -> None:
    found, num_slices = radius_of(scan_of(curvatures)), len(curvatures)
    left_out = [radius_of(scan_of(np.delete(curvatures, i))).value for i in range(num_slices)]
    logs = np.log(np.array(left_out, dtype=float))
    expected = math.sqrt((num_slices - 1) / num_slices * float(((logs - logs.mean()) ** 2).sum()))
    assert found.value is not None
    assert found.standard_error == pytest.approx(found.value * expected, rel=1e-9, abs=1e-15)
    if num_slices > 2:
        assert found.interval is not None
        assert math.sqrt(found.interval[0] * found.interval[1]) == pytest.approx(found.value)


@pytest.mark.slow
def test_the_interval_holds_the_truth_in_90_to_98_of_100_cases() -> None:
    """Curvatures εᵀTHTε of a spectrum with a few large eigenvalues, 20 directions, 200 seeds."""
    spectrum = 1.0 / np.arange(1, 40)
    expected, hits = math.sqrt(0.2 / spectrum.sum()), 0
    radii = np.geomspace(0.1, 1.0, 120).tolist()
    for seed in range(200):
        noise = np.random.default_rng(seed).standard_normal((20, len(spectrum)))
        found = radius_of(scan_of(noise**2 @ spectrum, radii)).interval
        assert found is not None
        hits += found[0] <= expected <= found[1]
    assert 0.90 <= hits / 200 <= 0.98


@pytest.mark.parametrize(
    ("curvature", "value", "bound", "words"),
    [(1e-3, 3.0, "lower", "does not rise by τ"), (1e4, 0.01, "upper", "at the first point already")],
)
def test_a_radius_beyond_the_line_is_a_bound_without_an_error(
    curvature: float, value: float, bound: str, words: str
) -> None:
    found = radius_of(scan_of(np.full(5, curvature)))
    assert (found.value, found.bound, found.standard_error, found.interval) == (value, bound, None, None)
    assert words in found.note


def test_no_error_bar_where_it_hangs_on_one_slice() -> None:
    found = radius_of(scan_of(np.array([40.0, 1e-9, 1e-9, 1e-9]), [0.1, 0.2, 0.4]))
    assert (found.bound, found.standard_error) == (None, None)
    assert "without one of the slices the radius lies beyond the line" in found.note


def test_one_direction_gives_a_radius_and_no_error_bar() -> None:
    surface = scan_of(np.array([1.0, 4.0, 9.0]))
    found = radius_of(surface, slice_index=1)
    assert found.value == pytest.approx(math.sqrt(0.2 / 4), rel=0.01)
    assert (found.standard_error, found.interval, found.spread) == (None, None, None)


def test_a_diverged_direction_ends_the_radius_at_the_point_before() -> None:
    surface = surface_of(
        lambda s, x: math.nan if s == 1 and x > 0.3 else 0.0, [0.1, 0.2, 0.4], num_slices=3, recipe=WEIGHT
    )
    assert radius_of(surface).value == 0.2


def test_a_partial_line_is_measured_where_it_is_filled_around_the_radius() -> None:
    """√0.1 lies between the points 14 and 15 of 25."""
    mask = np.ones((3, 25), dtype=np.bool_)
    mask[:, 1:13:2] = mask[2, 4] = mask[:, 20] = False
    found = radius_of(scan_of(np.full(3, 2.0), evaluated=mask))
    assert found.value == radius_of(scan_of(np.full(3, 2.0))).value
    assert "partial: 17 of 25 points per slice used" in found.note


NOT_FILLED = "partial: the line is not filled around the radius yet; the same scan goes on"


@pytest.mark.parametrize("there", [[0, 12, 24], list(range(0, 25, 2)), [*range(14), *range(15, 25)], [20, 24]])
@pytest.mark.parametrize("signs", [(1,), (-1, 1)])
def test_a_partial_line_gives_no_radius_where_it_would_be_interpolated_over_a_gap(
    there: list[int], signs: tuple[int, ...]
) -> None:
    """Three of 25 points put it 18 standard errors off: linear between 0.17 and 3."""
    radii = sorted(sign * radius for sign in signs for radius in DEFAULT)
    kept = {sign * DEFAULT[index] for sign in signs for index in there}
    mask = np.array([radius in kept for radius in radii])
    curvatures = np.linspace(1.5, 2.5, 20)
    found = radius_of(scan_of(curvatures, radii, evaluated=mask))
    assert (found.value, found.note) == (None, NOT_FILLED)
    average = measured(scan_of(curvatures, radii, evaluated=mask), "adaptive_avg")
    assert (average.value, average.note) == (None, NOT_FILLED)


def test_that_a_partial_line_does_not_rise_by_tau_can_only_be_said_of_all_of_it() -> None:
    mask = np.ones(25, dtype=np.bool_)
    mask[3] = False
    assert radius_of(scan_of(np.full(3, 1e-3), evaluated=mask)).note == NOT_FILLED


def test_no_error_bar_where_a_radius_without_one_slice_lies_in_a_gap() -> None:
    curvatures, mask = np.array([2.0, 2.0, 40.0]), np.ones(25, dtype=np.bool_)
    mask[14] = False  # where that of the first two lies
    found = radius_of(scan_of(curvatures, evaluated=mask))
    assert found.value == radius_of(scan_of(curvatures)).value
    assert (found.standard_error, found.per_slice[:2]) == (None, pytest.approx([math.nan] * 2, nan_ok=True))


def test_radii_of_single_slices_beyond_an_upper_bound_are_said_to_be_of_some() -> None:
    found = radius_of(scan_of(np.array([1e9, 200.0, 300.0])))
    assert (found.value, found.bound) == (0.01, "upper")
    assert found.range is not None
    assert found.range[0] > found.value
    assert "the range is of the 2 of 3 slices that rise by τ later" in found.note


def test_too_few_directions_or_examples_are_said() -> None:
    assert "fewer than" not in radius_of(scan_of(np.full(20, 1.0), num_examples=1024)).note
    few = radius_of(scan_of(np.full(19, 1.0), num_examples=1023)).note
    assert "fewer than 20 slices" in few
    assert "fewer than 1,024 examples" in few


@pytest.mark.parametrize(
    "surface",
    [
        surface_of(lambda _, x: x**2, line(-1, 1, 9), recipe=FILTER),
        surface_of(lambda _, x, y: x**2 + y**2, line(-1, 1, 9), line(-1, 1, 9), recipe=WEIGHT),
    ],
)
def test_it_needs_a_line_of_relative_noise(surface: Surface) -> None:
    found = radius_of(surface)
    assert found.value is None
    assert "normalization: weight" in found.note


@pytest.mark.slow
def test_rescaled_neurons_leave_it_alone_and_move_filter_normalised_measures() -> None:
    """Filter normalization survives the rescaling of a layer, not that of single neurons."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 6, generator=generator, dtype=torch.float64)
    data = torch.utils.data.TensorDataset(inputs, torch.arange(64) % 3)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    base = {normalization: radii(model, data, normalization) for normalization in ("weight", "filter")}
    for scale, filter_moves in ((torch.full((8,), 10.0), False), (torch.logspace(-1, 1, 8), True)):
        changed = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        with torch.no_grad():
            changed[0].weight.copy_(model[0].weight * scale[:, None])
            changed[0].bias.copy_(model[0].bias * scale)
            changed[2].weight.copy_(model[2].weight / scale)
            changed[2].bias.copy_(model[2].bias)
        assert radii(changed, data, "weight") == pytest.approx(base["weight"], rel=1e-8)
        assert (radii(changed, data, "filter") != pytest.approx(base["filter"], rel=1e-2)) is filter_moves


def radii(model: nn.Module, data: object, normalization: str) -> list[float]:
    """The adaptive radius where there is one, and the flat radius."""
    axis = {"start": 0.01, "stop": 3, "num": 25, "spacing": "log"}
    surface = scan_model(
        model,
        {"train": data},
        axes={"x": {**axis, "direction": {"_target_": "random", "normalization": normalization}}},
        slices={"num": 4},
        evaluation={"precision": "float64"},
        runtime={"processes": 1, "engine": "sequential"},
    )
    names = ("adaptive_radius", "flat_radius") if normalization == "weight" else ("flat_radius",)
    found = [measured(surface, name).value for name in names]
    assert None not in found
    return found  # type: ignore[return-value]
