"""Basins of a function on a grid are those of gudhi, and of the definition by brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from landscape_cli.analysis.topology import basins

FUNCTIONS = arrays(np.float64, array_shapes(max_dims=3, max_side=6), elements=st.integers(0, 12).map(float))


def pairs_of_gudhi(values: np.ndarray) -> list[tuple[float, float]]:
    found = gudhi.CubicalComplex(vertices=values)
    found.persistence(homology_coeff_field=2, min_persistence=0.0)  # without pairs of persistence 0
    return sorted((float(birth), float(death)) for birth, death in found.persistence_intervals_in_dimension(0))


def pairs(values: np.ndarray) -> list[tuple[float, float]]:
    return sorted((basin.birth, basin.death) for basin in basins(values))


@settings(max_examples=150, deadline=None)
@given(FUNCTIONS)
def test_persistence_is_that_of_gudhi(values: np.ndarray) -> None:
    assert pairs(values) == pairs_of_gudhi(values)


@pytest.mark.parametrize("shape", [(401,), (51, 51), (9, 10, 11)])
def test_persistence_of_noise_is_that_of_gudhi(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    found = pairs(values)
    assert found == pairs_of_gudhi(values)
    assert len(found) > 20


def components(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    left, found = set(map(tuple, np.argwhere(mask).tolist())), []
    while left:
        reached, edge = set(), [left.pop()]
        while edge:
            point = edge.pop()
            reached.add(point)
            near = [p for p in neighbours(point) if p in left]
            left.difference_update(near)
            edge += near
        found.append(reached)
    return found


def neighbours(point: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axis in range(len(point)):
        for step in (-1, 1):
            yield (*point[:axis], point[axis] + step, *point[axis + 1 :])


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(16)))
def test_the_saddle_of_a_minimum_is_where_its_valley_first_meets_another(order: list[int]) -> None:
    """Brute force: raise the water until the component of the minimum holds a second local minimum."""
    values = np.array(order, dtype=float).reshape(4, 4)
    inside = {tuple(point) for point in np.ndindex(4, 4)}
    minima = [p for p in inside if all(values[q] > values[p] for q in neighbours(p) if q in inside)]
    expected = {}
    for minimum in minima:
        for level in range(16):
            held = [part for part in components(values <= level) if minimum in part]
            if held and any(other in held[0] for other in minima if other != minimum):
                expected[values[minimum]] = float(level)
                break
        else:
            expected[values[minimum]] = math.inf
    assert {basin.birth: basin.saddle for basin in basins(values)} == expected


def test_shallow_basins_are_left_out_with_their_saddles() -> None:
    values = np.array([0.0, 5.0, 4.9, 9.0, 1.0])
    deep = basins(values, shallowest=0.5)
    assert [(basin.birth, basin.death, basin.saddle) for basin in deep] == [(0.0, math.inf, 9.0), (1.0, 9.0, 9.0)]
    assert [basin.saddle for basin in basins(values)] == [5.0, 9.0, 5.0]


def test_diverged_points_separate_for_ever() -> None:
    values = np.array([1.0, math.inf, 0.0, 2.0, 1.5])
    assert pairs(values) == [(0.0, math.inf), (1.0, math.inf), (1.5, 2.0)]
    assert basins(np.full(3, math.inf)) == []
