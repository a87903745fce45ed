"""The line of relative noise on the weights: beside the grid of a scan, or the surface itself."""

from __future__ import annotations

import numpy as np

from landscape_cli.analysis.invariance import is_relative_noise
from landscape_cli.analysis.measurement import joined
from landscape_cli.analysis.slices import Slices, chosen_slices, slices_of
from landscape_cli.surface import FloatArray, Surface

SCOPE = "mean over the slices"
NOT_FILLED = "partial: the line is not filled around the radius yet; the same scan goes on"
_TAU = 0.1
_ENOUGH_SLICES = 20
_ENOUGH_EXAMPLES = 1024


def line_of(surface: Surface) -> Surface:
    """Where the noise was measured: ``surface.radius`` where there is one, else the surface itself."""
    return surface if surface.radius is None else surface.radius


def num_parts(line: Surface) -> int:
    """Into how many parts the data were cut, each with signs of the noise of its own; 1 where the file does not say."""
    parts = line.directions["x"].found.get("parts")
    return parts if isinstance(parts, int) and not isinstance(parts, bool) and parts > 0 else 1


def slices_of_noise(surface: Surface, loss: str | None, slice_index: int | None) -> tuple[Slices, str]:
    """The loss along the line, and why nothing can be measured on it; ``""`` where something can.

    A slice of the surface is none of a line beside it, which has directions of its own: there all of them count.

    Raises:
        UsageError: No such metric or slice, or not a loss.
    """
    line = line_of(surface)
    chosen_slices(surface, slice_index)  # whether the surface has it
    slices = slices_of(line, loss, slice_index if line is surface else None)
    if len(line.grid.axes) > 1 or not is_relative_noise(line.directions["x"].recipe):
        needed = "a line along random directions with normalization: weight, as in configs/sharpness.yaml"
        return slices, f"needs {needed}, or radius: true"
    return slices, slices.lacking or ("" if slices.axes[0][-1] > 0 else "needs points above 0")


def tau_of(surface: Surface) -> float:
    """τ as configured for the line beside the grid; 0.1 where there is none."""
    section = surface.provenance.resolved.get("radius")
    tau = section.get("tau") if isinstance(section, dict) and surface.radius is not None else None
    return tau if isinstance(tau, float) and 0 < tau < np.inf else _TAU


def signs_of(slices: Slices, radius: float) -> tuple[int, ...]:
    """Both signs where the line goes that far to both sides, else the positive one."""
    return (1, -1) if radius <= slices.reach(0)[0] * (1 + 1e-9) else (1,)


def rises_at(slices: Slices, radii: FloatArray, signs: tuple[int, ...]) -> FloatArray:
    """(S, N) L(θ + s|θ|⊙ε) − L(θ), the mean over the signs; +inf next to a point that has diverged.

    Args:
        slices: Of the line.
        radii: (N,) s, within the line; between its points linear in s.
        signs: Of the noise.
    """
    found = [[slices.interpolate(values, sign * radii[:, None]) for sign in signs] for values in slices.values]
    rises: FloatArray = np.mean(found, axis=1) - slices.centre
    return rises


def is_filled(line: Surface, slices: Slices, low: float, high: float, signs: tuple[int, ...]) -> bool:
    """Whether the points used around this stretch are neighbours on the line, so that what lies between them is not
    more than one step of it interpolated. Three of 25 points put a radius 18 standard errors off.

    Args:
        line: That is scanned.
        slices: The points of it that are there.
        low: Start of the stretch, from 0 on.
        high: Its end; the same for a single place.
        signs: Of the noise.
    """
    used = slices.axes[0]
    missing = np.setdiff1d(line.grid.axes[0].coordinates, used)
    for sign in signs:
        own = np.sort(sign * used)
        start = own[max(int(np.searchsorted(own, low, side="right")) - 1, 0)]
        end = own[min(int(np.searchsorted(own, high)), len(own) - 1)]
        if ((sign * missing > start) & (sign * missing < end)).any():
            return False
    return True


def remarks(line: Surface, slices: Slices) -> str:
    """What makes the error large, and what does not move."""
    recipe = line.directions["x"].recipe
    return joined(
        f"fewer than {_ENOUGH_SLICES} slices" if 1 < len(slices.values) < _ENOUGH_SLICES else "",
        f"fewer than {_ENOUGH_EXAMPLES:,} examples" if 0 < slices.num_examples < _ENOUGH_EXAMPLES else "",
        "of these parameters only" if recipe.get("parameters") else "",
        "biases and norms stay" if recipe.get("ignore") == "biasbn" else "",
    )
