"""The loss over the usable part of a surface, slice by slice: what every measure starts from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_cli.analysis.captions import default_metrics, is_share
from landscape_cli.analysis.invariance import invariances
from landscape_cli.analysis.measurement import Bound, Measurement, advice, joined, over_slices
from landscape_cli.analysis.unchecked import section, text
from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.grid import Axis
from landscape_cli.surface import BoolArray, FloatArray, Surface

Indices = NDArray[np.int64]

_NATS = ("cross_entropy", "nll", "bce")
_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7}  # as torch.finfo
_ROUNDING = 1e-9  # of coordinates, relative


@dataclass(frozen=True)
class Slices:
    """One loss on the usable points of a surface; diverged points (NaN or inf) are +inf.

    Attributes:
        loss: Name of the metric.
        axes: Coordinates of the usable points along each of the A axes.
        values: (S, N[, M[, L]]).
        centre: f₀, the loss at the checkpoint; NaN where it is not known or not finite.
        epsilon: Machine epsilon of the precision that the surface was evaluated in.
        unit: Of the loss.
        num_examples: n; 0 where it is not known.
        invariant_to: See `Measurement`.
        lacking: Why nothing can be measured; ``""`` where something can.
        note: What is not as it should be: points left out, points that diverged.
    """

    loss: str
    axes: tuple[FloatArray, ...]
    values: FloatArray
    centre: float
    epsilon: float
    unit: str
    num_examples: int
    invariant_to: tuple[str, ...] | None
    lacking: str
    note: str

    def noise(self, values: FloatArray) -> float:
        """How far rounding may be off: 4 ε max |f| of the finite values."""
        return 4 * self.epsilon * float(np.abs(values[np.isfinite(values)]).max(initial=0.0))

    def reach(self, axis: int) -> tuple[float, float]:
        """How far the grid goes from the checkpoint to both sides of an axis."""
        return max(0.0, -float(self.axes[axis][0])), max(0.0, float(self.axes[axis][-1]))

    def short_of(self, radius: float) -> str:
        """Why the grid cannot tell about points at this distance; ``""`` where it reaches there on all axes."""
        if self.lacking:
            return ""
        reach = min(max(self.reach(axis)) for axis in range(len(self.axes)))
        return "" if reach >= radius * (1 - _ROUNDING) else f"the grid ends at {reach:g}, before {radius:g}"

    def sides(self, radius: float) -> str:
        """A note where the grid goes that far on one side only."""
        if self.lacking:
            return ""
        reach = min(min(self.reach(axis)) for axis in range(len(self.axes)))
        return "" if reach >= radius * (1 - _ROUNDING) else "one side only"

    def interpolate(self, values: FloatArray, points: FloatArray) -> FloatArray:
        """Multilinear interpolation, next to a diverged point +inf.

        Args:
            values: (N[, M[, L]]) of one slice.
            points: (P, A) within the grid.

        Returns:
            (P,).
        """
        cells = [_cell(axis, points[:, i]) for i, axis in enumerate(self.axes)]
        total = np.zeros(len(points))
        for corner in itertools.product((0, 1), repeat=len(self.axes)):
            weight = np.prod([w if up else 1 - w for up, (_, w) in zip(corner, cells, strict=True)], axis=0)
            found = values[tuple(index + (up & (w > 0)) for up, (index, w) in zip(corner, cells, strict=True))]
            total += weight * np.where(weight > 0, found, 0.0)  # a weight of 0 times +inf would be NaN
        return total


def _cell(axis: FloatArray, at: FloatArray) -> tuple[Indices, FloatArray]:
    """The interval that each coordinate lies in, and how far from its lower end, from 0 to 1."""
    if len(axis) == 1:
        return np.zeros(len(at), dtype=np.int64), np.zeros(len(at))
    index = np.clip(np.searchsorted(axis, at, side="right") - 1, 0, len(axis) - 2)
    share = np.clip((at - axis[index]) / (axis[index + 1] - axis[index]), 0.0, 1.0)
    share = np.where(share < _ROUNDING, 0.0, np.where(share > 1 - _ROUNDING, 1.0, share))
    return index, share


def slices_of(surface: Surface, loss: str | None, slice_index: int | None) -> Slices:
    """The loss of a surface, ready to be measured.

    Of a partial surface it is what is evaluated in all slices: on a line these points, on a plane or in a volume the
    finest rectangular subgrid, as a stopped scan leaves one. On a line the checkpoint itself is added where 0 is
    not on the grid, because its value is known.

    Args:
        surface: From a file.
        loss: Which one; by default the first, which is that on the training data where there is one.
        slice_index: One slice only.

    Raises:
        UsageError: No such metric or slice, or not a loss.
    """
    name = name_of_loss(surface, loss)
    metric, chosen = surface.metrics[name], chosen_slices(surface, slice_index)
    evaluated: BoolArray = np.all(surface.evaluated[chosen], axis=0)
    kept = _usable(surface.grid.axes, evaluated)
    axes = tuple(np.asarray(axis.coordinates)[index] for axis, index in zip(surface.grid.axes, kept, strict=True))
    values = metric.values[np.ix_(np.asarray(chosen), *kept)]
    diverged = int((~np.isfinite(values)).sum())
    centre = metric.centre if math.isfinite(metric.centre) else _at_zero(axes, values)
    used, total = math.prod(map(len, axes)), math.prod(map(len, surface.grid.axes))
    if len(axes) == 1 and math.isfinite(centre):
        axes, values = _with_centre(axes[0], values, centre)
    return Slices(
        loss=name,
        axes=axes,
        values=np.where(np.isfinite(values), values, np.inf),
        centre=centre,
        epsilon=_EPSILON.get(_text(surface, "evaluation", "precision"), _EPSILON["float32"]),
        unit=unit_of_loss(surface),
        num_examples=metric.num_examples,
        invariant_to=invariances([surface.directions[axis.name].recipe for axis in surface.grid.axes]),
        lacking=_lacking(axes, used, centre),
        note=joined(
            f"partial: {used:,} of {total:,} points per slice used" if used < total else "",
            f"{diverged:,} points diverged" if diverged else "",
        ),
    )


def chosen_slices(surface: Surface, slice_index: int | None) -> list[int]:
    """One slice, or all of them.

    Raises:
        UsageError: There is no such slice.
    """
    chosen = list(range(surface.grid.num_slices)) if slice_index is None else [slice_index]
    if not 0 <= chosen[0] < surface.grid.num_slices:
        raise UsageError(f"slice: found {slice_index}; the surface has slices 0 … {surface.grid.num_slices - 1}")
    return chosen


def measure(
    slices: Slices,
    name: str,
    of_slice: Callable[[FloatArray], float],
    *,
    unit: str = "",
    lacking: str = "",
    note: str = "",
    bound: Bound | None = None,
    settings: Mapping[str, float] | None = None,
) -> Measurement:
    """One number per slice, aggregated.

    Args:
        slices: What is measured.
        name: The key of the measure.
        of_slice: From (N[, M[, L]]) values of one slice to the number; NaN where it has none.
        unit: Of the number.
        lacking: Why it cannot be measured on this grid; ``""`` where it can.
        note: What to know before comparing it.
        bound: See `Measurement`.
        settings: See `Measurement`.
    """
    settings = settings or {}
    if slices.lacking or lacking:
        return Measurement(name, unit=unit, settings=settings, note=slices.lacking or lacking)
    per_slice = tuple(of_slice(values) for values in slices.values)
    known = sum(not math.isnan(value) for value in per_slice)
    if not known:
        return Measurement(name, unit=unit, settings=settings, note="not defined in any slice")
    found = over_slices(per_slice)
    return Measurement(
        name=name,
        value=found.value,
        standard_error=found.standard_error if bound is None else None,
        unit=unit,
        per_slice=per_slice,
        range=found.range,
        spread=found.spread,
        interval=found.interval if bound is None else None,
        bound=bound,
        invariant_to=slices.invariant_to,
        num_examples=slices.num_examples,
        settings=settings,
        note=joined(
            note,
            f"defined in {known} of {len(per_slice)} slices" if known < len(per_slice) else "",
            advice(found),
            slices.note,
        ),
    )


def name_of_loss(surface: Surface, loss: str | None) -> str:
    """The metric to measure: as asked for, else the first loss.

    Raises:
        UsageError: There is none, or it is a share such as the accuracy.
    """
    losses = [name for name in surface.metrics if not is_share(name)]
    if loss is not None and loss not in losses:
        what = "is a share, not a loss" if loss in surface.metrics else f"found {loss!r}{did_you_mean(loss, losses)}"
        raise UsageError(f"loss: {loss!r} {what}" if loss in surface.metrics else f"loss: {what}")
    found = loss or next((name for name in default_metrics(surface) if name in losses), None)
    if found is None:
        raise UsageError("the surface has no loss; sharpness is measured on one")
    return found


def unit_of_loss(surface: Surface) -> str:
    """``"nat"`` where the loss is a logarithm of a probability, else ``"loss"``."""
    return "nat" if _text(surface, "loss", "_target_").rpartition(".")[2].startswith(_NATS) else "loss"


def _usable(axes: tuple[Axis, ...], evaluated: BoolArray) -> list[Indices]:
    """Indices along each axis of the points to use: of a line all that are evaluated, else the finest level."""
    if len(axes) == 1:
        return [np.flatnonzero(evaluated)]
    for level in range(max(int(axis.levels.max()) for axis in axes), -1, -1):
        kept = [np.flatnonzero(axis.levels <= level) for axis in axes]
        if evaluated[np.ix_(*kept)].all():
            return kept
    return [np.empty(0, dtype=np.int64) for _ in axes]


def _with_centre(axis: FloatArray, values: FloatArray, centre: float) -> tuple[tuple[FloatArray, ...], FloatArray]:
    if 0.0 in axis:
        return (axis,), values
    where = int(np.searchsorted(axis, 0.0))
    return (np.insert(axis, where, 0.0),), np.insert(values, where, centre, axis=1)


def _at_zero(axes: tuple[FloatArray, ...], values: FloatArray) -> float:
    """The loss at the checkpoint from the grid; the same in all slices."""
    if not all(0.0 in axis for axis in axes):
        return math.nan
    found = float(values[(0, *(int(np.argmin(np.abs(axis))) for axis in axes))])
    return found if math.isfinite(found) else math.nan


def _lacking(axes: tuple[FloatArray, ...], num_used: int, centre: float) -> str:
    if not num_used:
        return "too few points are evaluated"
    if not math.isfinite(centre):
        return "the loss at the checkpoint is not known, or not finite"
    if any(not axis[0] <= 0.0 <= axis[-1] for axis in axes):
        return "the checkpoint lies outside the grid"
    if all(len(axis) == 1 for axis in axes):
        return "a single point"
    if any(len(axis) == 1 for axis in axes):
        return "an axis of a single point"
    return ""


def _text(surface: Surface, part: str, key: str) -> str:
    return text(section(surface.provenance.resolved, part).get(key))
