"""Where a number rests on interpolation within the first steps of the grid, which makes the loss too high there."""

from __future__ import annotations

import numpy as np

from landscape_cli.analysis.slices import Slices
from landscape_cli.surface import FloatArray

FEW_STEPS = 2  # of these, interpolation adds an eighth to the mean rise of a bowl on a line: h²/12 f″ to ε²/6 f″
_ROUNDING = 1e-9


def first_step(slices: Slices) -> float:
    """h, the distance from the checkpoint to the next point of the grid, on the axis where it is largest."""
    return max(_step(axis) for axis in slices.axes)


def _step(axis: FloatArray) -> float:
    below, above = axis[axis < 0], axis[axis > 0]
    sides = [*-below[-1:], *above[:1]]
    return float(max(sides) if 0.0 in axis else sum(sides))  # the checkpoint may lie between two points


def is_within(slices: Slices, radius: float, num_steps: int) -> bool:
    """Whether a distance is less than so many steps."""
    return radius < num_steps * first_step(slices) * (1 - _ROUNDING)


def is_on_grid(slices: Slices, radius: float) -> bool:
    """Whether ±radius are points of every axis, or beyond its ends."""
    return all(
        not axis[0] < end < axis[-1] or bool(np.isclose(axis, end, rtol=_ROUNDING, atol=0.0).any())
        for axis in slices.axes
        for end in (-radius, radius)
    )


def too_coarse(slices: Slices, what: str, num_steps: int) -> str:
    """The note on a number that lies within so many steps of the checkpoint.

    Args:
        slices: That are measured.
        what: Lies there, such as ``"the radius"``.
        num_steps: See `is_within`.
    """
    within = f"{what} lies within {num_steps} step{'s' * (num_steps != 1)}"
    return f"grid too coarse: h = {first_step(slices):.4g}, {within}; interpolation overestimates the loss"
