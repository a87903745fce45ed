"""The adaptive average is the mean rise of the loss at a given relative noise, and its error bar that of a mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from analytic import FILTER, WEIGHT, line, surface_of
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.sharpness import MEASURES, measured
from landscape_cli.surface import Surface

DEFAULT = np.geomspace(0.01, 3, 25).tolist()
FINE = np.geomspace(0.01, 3, 400).tolist()


def average_of(surface: Surface, name: str = "adaptive_avg", slice_index: int | None = None) -> Measurement:
    return measured(surface, name, slice_index=slice_index)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.1, 50.0), min_size=2, max_size=12).map(np.array))
def test_on_a_quadratic_it_is_half_the_mean_curvature_times_s_squared(curvatures: np.ndarray) -> None:
    surface = surface_of(
        lambda s, x: 1 + curvatures[s] * x**2 / 2, FINE, num_slices=len(curvatures), recipe=WEIGHT
    )  # fmt: skip
    for name, s in (("adaptive_avg", 0.3), ("adaptive_avg(0.1)", 0.1)):
        found, exact = average_of(surface, name), curvatures * s**2 / 2
        assert found.value == pytest.approx(exact.mean(), rel=1e-3)
        error = exact.std(ddof=1) / math.sqrt(len(exact))
        assert found.standard_error == pytest.approx(error, rel=1e-3, abs=1e-12)
        assert found.per_slice == pytest.approx(exact, rel=1e-3)
        assert (found.name, found.settings, found.unit) == (name, {"radius": s}, "nat")
        assert found.invariant_to == ("layer", "neuron", "conv→BN")


def test_between_two_points_it_is_linear_in_s_also_below_the_first() -> None:
    surface = surface_of(lambda s, x: (1 + s) * x**2, [0.2, 0.4], num_slices=2, recipe=WEIGHT)
    assert average_of(surface).value == pytest.approx(1.5 * (0.04 + 0.16) / 2)
    assert average_of(surface, "adaptive_avg(0.1)").value == pytest.approx(1.5 * 0.04 / 2)
    assert average_of(surface, slice_index=1).value == pytest.approx(0.04 + 0.16)


def test_both_signs_count_where_the_line_goes_that_far_to_both_sides() -> None:
    for start, expected in ((-0.5, 0.09), (-0.2, 0.09 + 0.3)):
        surface = surface_of(lambda _, x: x**2 + x, line(start, 0.5, 701), num_slices=2, recipe=WEIGHT)
        assert average_of(surface).value == pytest.approx(expected, rel=1e-3)


def test_a_line_that_ends_before_and_one_of_another_kind_give_no_number() -> None:
    short = average_of(surface_of(lambda _, x: x**2, [0.01, 0.2], recipe=WEIGHT))
    assert (short.value, short.note) == (None, "the line ends at 0.2, before 0.3")
    for other in (
        surface_of(lambda _, x: x**2, line(-1, 1, 9), recipe=FILTER),
        surface_of(lambda _, x, y: x**2 + y**2, line(-1, 1, 9), line(-1, 1, 9), recipe=WEIGHT),
        surface_of(lambda _, x: x**2, [-0.5, -0.1], recipe=WEIGHT),
    ):
        assert average_of(other).value is None


def test_a_diverged_direction_makes_it_infinite() -> None:
    surface = surface_of(lambda s, x: math.nan if s == 1 and x > 0.25 else x, FINE, num_slices=3, recipe=WEIGHT)
    assert average_of(surface).value == math.inf
    assert average_of(surface).standard_error is None
    assert average_of(surface, "adaptive_avg(0.1)").value == pytest.approx(0.1)


def test_too_few_directions_or_examples_are_said_as_for_the_radius() -> None:
    few = surface_of(lambda _, x: x, DEFAULT, num_slices=19, recipe=WEIGHT, num_examples=100)
    assert "fewer than 20 slices; fewer than 1,024 examples" in average_of(few).note
    enough = surface_of(lambda _, x: x, DEFAULT, num_slices=20, recipe=WEIGHT)
    assert average_of(enough).note == "s = 0.3"


def test_any_noise_can_be_asked_for_from_python() -> None:
    surface = surface_of(lambda _, x: x, DEFAULT, num_slices=2, recipe=WEIGHT)
    assert MEASURES["adaptive_avg"](surface, radius=3.0).value == pytest.approx(3.0)
