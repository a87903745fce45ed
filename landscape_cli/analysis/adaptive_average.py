"""The adaptive average-case sharpness: how much the loss rises by a given relative noise on the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.relative_noise import (
    NOT_FILLED,
    SCOPE,
    is_filled,
    line_of,
    remarks,
    rises_at,
    signs_of,
    slices_of_noise,
)
from landscape_cli.analysis.slices import Slices, measure
from landscape_cli.surface import FloatArray, Surface


def adaptive_avg(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, radius: float = 0.3
) -> Measurement:
    """E L(θ + s|θ|⊙ε) − L(θ), ε standard Gaussian (Andriushchenko et al. 2023, arXiv:2302.07011, average case; the
    noise of Jiang et al. 2019, arXiv:1912.02178).

    The mean is over the slices and, where the line goes to both sides, over both signs. Between two points of the line
    it is linear in s.

    Args:
        surface: A line along ``random`` with ``normalization: weight``, or a surface with one as its radius.
        loss: By default the first.
        slice_index: One slice only, and no error bar; of a line beside the grid always all.
        radius: s.

    Returns:
        In units of the loss, invariant to every rescaling of weights that leaves the network as it is.
    """
    slices, lacking = slices_of_noise(surface, loss, slice_index)
    lacking = lacking or _short_of(line_of(surface), slices, radius)

    def of_slice(values: FloatArray) -> float:
        return float(rises_at(replace(slices, values=values[None]), np.array([radius]), signs_of(slices, radius))[0, 0])

    found = measure(
        slices,
        "adaptive_avg",
        of_slice,
        unit=slices.unit,
        lacking=lacking,
        note=joined(f"s = {radius:g}", remarks(line_of(surface), slices)),
        settings={"radius": radius},
    )
    return replace(found, scope=SCOPE)


def _short_of(line: Surface, slices: Slices, radius: float) -> str:
    """Why the line cannot tell about this noise; ``""`` where it can."""
    reach = slices.reach(0)[1]
    if reach * (1 + 1e-9) < radius:
        return f"the line ends at {reach:g}, before {radius:g}"
    return "" if is_filled(line, slices, radius, radius, signs_of(slices, radius)) else NOT_FILLED
