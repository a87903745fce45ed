"""The bottleneck distance is that of the best of all matchings, and at most the largest difference of two surfaces."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import gudhi
import numpy as np
import pytest
from analytic import line, surface_of
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from identified import identified
from scipy.optimize import linear_sum_assignment

from landscape_cli.analysis.bottleneck import Bottleneck, bottleneck
from landscape_cli.analysis.compare import View
from landscape_cli.surface import Surface

SHAPE = (2, 5, 5)
VALUES = arrays(np.float64, SHAPE, elements=st.floats(0, 4))


def plane(values: np.ndarray, evaluated: object = True, **told: object) -> Surface:
    grid = [line(-1, 1, values.shape[1])] * 2
    surface = surface_of(lambda *_: 0.0, *grid, num_slices=len(values), evaluated=evaluated)
    metric = surface.metrics["train_loss"]
    metric.values[:] = np.where(surface.evaluated, values, np.nan)
    metric.centre = float(values[0, values.shape[1] // 2, values.shape[2] // 2])
    return identified(surface, **told)


def distance(base: Surface, new: Surface) -> Bottleneck:
    return bottleneck(base, new, View.of([base, new]))


def diagram(values: np.ndarray) -> np.ndarray:
    found = gudhi.CubicalComplex(vertices=values)
    found.persistence(homology_coeff_field=2, min_persistence=0.0)
    return np.asarray(found.persistence_intervals_in_dimension(0))


def best_matching(one: np.ndarray, other: np.ndarray) -> float:
    """The least cost at which every basin is matched with one of the other diagram, or with the diagonal."""
    (last,), (last_of_other,) = one[np.isinf(one[:, 1]), 0], other[np.isinf(other[:, 1]), 0]
    one, other = one[np.isfinite(one[:, 1])], other[np.isfinite(other[:, 1])]
    cost = np.zeros((len(one) + len(other),) * 2)
    cost[: len(one), : len(other)] = np.abs(one[:, None] - other[None]).max(axis=2)
    cost[: len(one), len(other) :] = (one[:, 1] - one[:, 0])[:, None] / 2
    cost[len(one) :, : len(other)] = (other[:, 1] - other[:, 0])[None] / 2

    def is_enough(most: float) -> bool:
        return bool((cost <= most)[linear_sum_assignment(cost > most)].all())

    finite = next((most for most in np.unique(cost) if is_enough(most)), 0.0)
    return max(float(finite), abs(last - last_of_other))


# where a greedy matching is not the best: three basins of depth 3, and two of depth 4 with three of depth 3
TIED = np.full((2, *SHAPE), [[[[3.0]]], [[[4.0]]]])
TIED[0, :, 0, ::2] = 0
TIED[1, :, [0, 2, 2], [1, 1, 3]], TIED[1, :, [1, 1, 3], [0, 2, 0]] = 0, 1


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(VALUES, VALUES)
@example(*TIED)
def test_distance_is_that_of_the_cubical_complexes(one: np.ndarray, other: np.ndarray) -> None:
    found = distance(plane(one), plane(other))
    expected = [best_matching(diagram(a), diagram(b)) for a, b in zip(one, other, strict=True)]
    assert found.per_slice == pytest.approx(expected)
    assert found.spread is not None
    assert found.spread.value == pytest.approx(np.mean(expected))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(VALUES, arrays(np.float64, SHAPE, elements=st.floats(-0.5, 0.5)))
def test_distance_is_at_most_the_largest_difference(values: np.ndarray, change: np.ndarray) -> None:
    """Cohen-Steiner, Edelsbrunner & Harer 2007, the stability theorem; and it is 0 from itself, and symmetric."""
    base, new = plane(values), plane(values + change)
    there, back = distance(base, new).per_slice, distance(new, base).per_slice
    assert there == pytest.approx(back)
    for each, largest in zip(there, np.abs(change).max(axis=(1, 2)), strict=True):
        assert each <= largest + 1e-9
    assert distance(base, base).per_slice == (0.0, 0.0)


def test_ties_are_matched_as_well_as_can_be() -> None:
    assert distance(plane(TIED[0]), plane(TIED[1])).per_slice == (1.5, 1.5)
    assert distance(plane(TIED[1]), plane(TIED[0])).per_slice == (1.5, 1.5)


def test_a_basin_that_is_filled_up_costs_half_of_its_depth() -> None:
    values = np.tile(np.array([3.0, 0.0, 3.0, 1.0, 3.0])[None, None], (1, 5, 1))
    filled = np.where(values == 1.0, 3.0, values)
    assert distance(plane(values), plane(filled)).per_slice == (1.0,)


def test_first_slices_of_both_are_compared() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (4, 5, 5))
    assert distance(plane(values), plane(values[:2])).per_slice == (0.0, 0.0)


@pytest.mark.parametrize(
    ("told", "words"),
    [({"data": "e" * 64}, "data train: "), ({"seed": 1}, "seed: 0 → 1"), ({"network": "m" * 64}, "network")],
)
def test_what_may_not_be_compared_has_no_distance(told: dict[str, object], words: str) -> None:
    values = np.random.default_rng(0).uniform(0, 1, SHAPE)
    found = distance(plane(values), plane(values, **told))
    assert found.spread is None
    assert words in found.note


def test_what_is_not_known_or_not_there_is_said() -> None:
    values = np.random.default_rng(0).uniform(0, 1, SHAPE)
    unknown = distance(plane(values, seed=None), plane(values))
    assert unknown.per_slice == (0.0, 0.0)
    assert "not known to be the same: seed" in unknown.note
    mask = np.ones(SHAPE, dtype=np.bool_)
    mask[:, 1::2] = mask[:, :, 1::2] = False
    partial = distance(plane(values), plane(values, mask))
    assert "partial" in partial.note
    assert "different points" in partial.note
    nowhere = plane(values)
    nowhere = replace(nowhere, evaluated=np.zeros(SHAPE, dtype=np.bool_))
    assert distance(nowhere, plane(values)).spread is None


WITHOUT_GUDHI = """
import sys
sys.modules["gudhi"] = None
sys.path.insert(0, "tests")
from identified import bowl
from landscape_cli.analysis.bottleneck import bottleneck
from landscape_cli.analysis.compare import View
surface = bowl([1.0, 2.0])
print(bottleneck(surface, surface, View.of([surface])).note)
"""


def test_without_gudhi_it_says_how_to_get_it() -> None:
    """In a process of its own, where the import fails."""
    ended = subprocess.run([sys.executable, "-c", WITHOUT_GUDHI], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "needs gudhi: pip install 'landscape-cli[topology]'"
