"""A surface knows its values only where the mask says so, and its errors are those of a mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from landscape_cli.grid import Axis, Grid
from landscape_cli.surface import Direction, Metric, Surface

NAMES = ("train_loss", "test_accuracy")


def empty(num_x: int = 4, num_y: int | None = 3, num_slices: int = 2) -> Surface:
    axes = [Axis.linspace("x", -1.0, 1.0, num_x)]
    if num_y is not None:
        axes.append(Axis.linspace("y", -2.0, 1.0, num_y))
    return Surface.empty(
        Grid(tuple(axes), num_slices),
        centre={"train_loss": (0.5, 0.1), "test_accuracy": (0.9, 0.3)},
        num_examples={"train_loss": 100, "test_accuracy": 25},
        directions={axis.name: Direction({"_target_": "random"}, (1.0,) * num_slices) for axis in axes},
        fingerprint="f" * 64,
        created="then",
    )


def test_empty_surface_knows_nothing_but_the_centre() -> None:
    surface = empty()
    assert (surface.num_evaluated, surface.complete) == (0, False)
    assert not surface.evaluated.any()
    assert list(surface.metrics) == list(NAMES)
    for name, centre, std, num_examples in (("train_loss", 0.5, 0.1, 100), ("test_accuracy", 0.9, 0.3, 25)):
        metric = surface.metrics[name]
        assert (metric.centre, metric.centre_std, metric.num_examples) == (centre, std, num_examples)
        assert metric.values.shape == metric.std.shape == surface.grid.shape == (2, 4, 3)
        assert np.isnan(metric.values).all()
        assert np.isnan(metric.std).all()
    assert (surface.created, surface.updated, surface.writer) == ("then", "", "")
    assert dict(surface.provenance.resolved) == {}


def test_empty_surface_has_everything_pending_in_scan_order() -> None:
    surface = empty()
    assert surface.pending().tolist() == surface.grid.scan_order().tolist()


@settings(deadline=None, max_examples=50)
@given(points=st.lists(st.integers(0, 23), unique=True), data=st.data())
def test_update_enters_exactly_the_points_it_is_given(points: list[int], data: st.DataObject) -> None:
    surface = empty()
    known: dict[int, float] = {}
    for point in points:
        known[point] = data.draw(st.floats())
        surface.update(point, {"train_loss": (known[point], 1.0), "test_accuracy": (-known[point], 2.0)})
    expected = np.array([known.get(point, math.nan) for point in range(24)]).reshape(2, 4, 3)
    np.testing.assert_array_equal(surface["train_loss"], expected)
    np.testing.assert_array_equal(surface["test_accuracy"], -expected)
    evaluated = np.isin(np.arange(24), points).reshape(2, 4, 3)
    np.testing.assert_array_equal(surface.evaluated, evaluated)
    np.testing.assert_array_equal(surface.metrics["train_loss"].std, np.where(evaluated, 1.0, math.nan))
    np.testing.assert_array_equal(surface.metrics["test_accuracy"].std, np.where(evaluated, 2.0, math.nan))
    assert surface.num_evaluated == len(points)
    assert surface.pending().tolist() == [point for point in surface.grid.scan_order() if point not in known]


def test_a_diverged_value_is_evaluated() -> None:
    surface = empty(num_x=1, num_y=None, num_slices=1)
    surface.update(0, dict.fromkeys(NAMES, (math.nan, math.inf)))
    assert surface.complete
    assert surface.num_evaluated == 1
    assert surface.pending().size == 0


def test_a_surface_is_complete_after_its_last_point_and_not_before() -> None:
    surface = empty(num_x=2, num_y=None, num_slices=1)
    for point, complete in ((0, False), (1, True)):
        surface.update(point, dict.fromkeys(NAMES, (1.0, 0.0)))
        assert surface.complete is complete


def test_metrics_share_no_memory() -> None:
    surface = empty()
    arrays = [array for metric in surface.metrics.values() for array in (metric.values, metric.std)]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_item_is_the_values_themselves() -> None:
    surface = empty()
    assert surface["train_loss"] is surface.metrics["train_loss"].values
    with pytest.raises(KeyError, match="no_such_metric"):
        surface["no_such_metric"]


def test_standard_error_is_that_of_the_mean_over_examples() -> None:
    samples = np.random.default_rng(0).normal(size=(50, 2, 3))
    std = samples.std(axis=0, ddof=1)
    metric = Metric(samples.mean(axis=0), std, float(samples[:, 0, 0].mean()), float(std[0, 0]), len(samples))
    np.testing.assert_allclose(metric.standard_error, stats.sem(samples, axis=0), rtol=1e-14)
    assert metric.centre_standard_error == pytest.approx(stats.sem(samples[:, 0, 0]), rel=1e-14)


def test_a_surface_says_what_it_is_in_a_line() -> None:
    surface = empty()
    surface.update(0, {"train_loss": (1.0, 0.0), "test_accuracy": (1.0, 0.0)})
    assert repr(surface) == "Surface(2 × 4 × 3: 1 of 24 points, train_loss, test_accuracy)"
