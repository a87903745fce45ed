"""An axis is by factors in all pictures, or in none."""

from __future__ import annotations

import pytest

from landscape_cli.analysis.scale import is_spaced_by_factors


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [
        ([1.0, 50.0], False),
        ([1.0, 51.0], True),
        ([0.0, 51.0], False),
        ([-1.0, 51.0], False),
        ([3.0], False),
        ([1e-320, 1e300], True),  # the ratio itself is not finite
    ],
)
def test_coordinates_are_spaced_by_factors_above_a_ratio_of_50(coordinates: list[float], expected: bool) -> None:
    assert is_spaced_by_factors(coordinates) is expected
