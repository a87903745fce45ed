"""The adaptive flatness radius: how much relative noise the weights bear."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from landscape_cli.analysis.measurement import Bound, Measurement, interval, jackknife, joined
from landscape_cli.analysis.relative_noise import (
    NOT_FILLED,
    SCOPE,
    is_filled,
    line_of,
    remarks,
    rises_at,
    signs_of,
    slices_of_noise,
    tau_of,
)
from landscape_cli.analysis.slices import Slices
from landscape_cli.surface import BoolArray, FloatArray, Surface


@dataclass(frozen=True)
class Crossing:
    """Where a mean rise passes τ.

    Attributes:
        radius: The place; the end of the grid where ``censored``.
        censored: ``"lower"`` where it does not pass on the grid, ``"upper"`` where it has at the first point already.
        end: Index of the first point that is above τ; N where none is.
    """

    radius: float
    censored: Literal["lower", "upper"] | None = None
    end: int = field(default=0, repr=False)


def crossing(radii: FloatArray, rise: FloatArray, tau: float) -> Crossing:
    """The first radius with rise > τ, between two points linear in the radius.

    Args:
        radii: (N,) positive and rising.
        rise: (N,) mean of L(θ + s|θ|⊙ε) − L(θ) over directions; +inf where one has diverged.
        tau: τ.

    >>> crossing(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.5, 1.5]), 1.0)
    Crossing(radius=2.5, censored=None)
    """
    above = np.flatnonzero(rise > tau)
    if not above.size:
        return Crossing(float(radii[-1]), "lower", len(radii))
    k = int(above[0])
    if k == 0:
        return Crossing(float(radii[0]), "upper")
    if math.isinf(rise[k]):  # somewhere between the two: the limit of the interpolation
        return Crossing(float(radii[k - 1]), end=k)
    share = (tau - rise[k - 1]) / (rise[k] - rise[k - 1])
    return Crossing(float(radii[k - 1] + share * (radii[k] - radii[k - 1])), end=k)


def adaptive_radius(
    surface: Surface, *, loss: str | None = None, slice_index: int | None = None, tau: float | None = None
) -> Measurement:
    """The first s with E L(θ + s|θ|⊙ε) − L(θ) > τ, ε standard Gaussian: the relative weight noise r at which the
    mean loss has risen by τ (1/r² is 1/σ'² of Jiang et al. 2019, arXiv:1912.02178, with a loss in place of an error).

    The mean is over the slices and, where the line goes to both sides, over both signs. Between two points of the line
    it is linear in s. The standard error is r times that of log r, by the delete-one jackknife over the slices.

    Args:
        surface: A line along ``random`` with ``normalization: weight``, or a surface with one as its radius.
        loss: By default the first.
        slice_index: One slice only, and no error bar; of a line beside the grid always all.
        tau: τ, in units of the loss; by default that of the config, else 0.1.

    Returns:
        r, invariant to every rescaling of weights that leaves the network as it is. ``per_slice`` is of single slices.
    """
    tau = tau_of(surface) if tau is None else tau
    slices, lacking = slices_of_noise(surface, loss, slice_index)
    settings = {"tau": tau}
    if lacking:
        return Measurement("adaptive_radius", settings=settings, scope=SCOPE, note=lacking)
    radii, rises = _rises(slices)  # (N,), (S, N)
    filled = _filled(line_of(surface), slices, radii)
    found = crossing(radii, rises.mean(axis=0), tau)
    if not _is_known(found, filled):
        return Measurement("adaptive_radius", settings=settings, scope=SCOPE, note=NOT_FILLED)
    left_out = _left_out(radii, rises, tau, filled)
    error = _jackknife_of_log(left_out) if found.censored is None else None
    singly = [crossing(radii, rise, tau) for rise in rises]
    per_slice = [math.nan if each.censored or not _is_known(each, filled) else each.radius for each in singly]
    known = np.asarray([each for each in per_slice if not math.isnan(each)])
    limits = interval(math.log(found.radius), error, len(rises)) if error is not None else None
    return Measurement(
        name="adaptive_radius",
        value=found.radius,
        standard_error=found.radius * error if error is not None else None,
        unit="relative noise",
        per_slice=tuple(per_slice),
        left_out=left_out,
        range=(float(known.min()), float(known.max())) if known.size else None,
        spread=float(known.std(ddof=1) / known.mean()) if known.size > 1 else None,
        interval=(math.exp(limits[0]), math.exp(limits[1])) if limits else None,
        bound=found.censored,
        invariant_to=slices.invariant_to,
        num_examples=slices.num_examples,
        scope=SCOPE,
        settings=settings,
        note=_note(line_of(surface), slices, found.censored, error, found.radius, tau, known.size),
    )


def _rises(slices: Slices) -> tuple[FloatArray, FloatArray]:
    """(N,) radii and (S, N) rises, the mean of both signs where there are both."""
    axis = slices.axes[0]
    above = axis[axis > 0]
    signs = signs_of(slices, float(above[0]))
    radii = above[above <= -axis[0] * (1 + 1e-9)] if len(signs) > 1 else above
    return radii, rises_at(slices, radii, signs)


def _filled(line: Surface, slices: Slices, radii: FloatArray) -> BoolArray:
    """(N,) whether the line is filled from the radius before, or 0, to this one."""
    signs = signs_of(slices, float(radii[0]))
    stretches = zip([0.0, *radii[:-1]], radii, strict=True)
    return np.asarray([is_filled(line, slices, float(low), float(high), signs) for low, high in stretches])


def _is_known(found: Crossing, filled: BoolArray) -> bool:
    """Whether its two points are neighbours; that there is none on the line can only be said of all of it."""
    return bool(filled.all() if found.end == len(filled) else filled[found.end])


def _left_out(radii: FloatArray, rises: FloatArray, tau: float, filled: BoolArray) -> tuple[float, ...]:
    """The radius without each slice in turn; NaN where it lies beyond the grid, or between points that are no
    neighbours. None of them for a single slice.
    """
    num_slices = len(rises)
    if num_slices < 2:
        return ()
    found = [crossing(radii, np.delete(rises, i, axis=0).mean(axis=0), tau) for i in range(num_slices)]
    return tuple(math.nan if each.censored or not _is_known(each, filled) else each.radius for each in found)


def _jackknife_of_log(left_out: tuple[float, ...]) -> float | None:
    """Standard error of log r; None where one of these radii is not known."""
    if not left_out or any(map(math.isnan, left_out)):
        return None
    return jackknife(np.log(left_out))


def _note(
    line: Surface,
    slices: Slices,
    censored: Bound | None,
    error: float | None,
    radius: float,
    tau: float,
    num_known: int,
) -> str:
    num_slices = len(slices.values)
    state = {
        "lower": "the mean does not rise by τ on this line",
        "upper": "the mean has risen by τ at the first point already: scan smaller coordinates",
        None: f"1/r² = {1 / radius**2:.4g}",
    }[censored]
    of_error = ""
    if error is not None:
        of_error = f"± {100 * error:.2g} % of r, jackknife over {num_slices} slices"
    elif num_slices > 1 and censored is None:
        of_error = "no error bar: without one of the slices the radius lies beyond the line"
    which = "that rise by τ later" if censored == "upper" else "whose own radius lies on the line"
    return joined(
        f"τ = {tau:g}",
        state,
        of_error,
        f"the range is of the {num_known} of {num_slices} slices {which}" if 0 < num_known < num_slices else "",
        remarks(line, slices),
        slices.note,
    )
