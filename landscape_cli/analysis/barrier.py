"""Barriers on the straight path between two checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from landscape_cli.analysis.captions import split_of
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.slices import Slices, slices_of
from landscape_cli.surface import FloatArray, Metric, Surface

_ON_PATH = "on this path"
_CONNECTED = 0.02  # of error: Frankle et al. 2020
_END = 1e-9


def barrier(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """max_α [L(α) − ((1−α) L(0) + α L(1))] over the points of the grid from one checkpoint (0) to the other (1)
    (Entezari et al. 2022, arXiv:2110.06296, Definition 2.1).

    The standard error is that over the examples, as if the three losses were of different ones: they are of the
    same, so it is rather too large.

    Args:
        surface: A line with the direction ``between``.
        loss: By default the first.
        slice_index: The slices are all the same; by default the first.
    """
    return _barrier(surface, loss, slice_index, "barrier")


def error_barrier(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """max_α E(α) − (E(0) + E(1)) / 2 with the share E of wrong answers; below 2 % the ends count as connected
    (Frankle et al. 2020, arXiv:1912.05671, section 2).

    From the accuracy or the error on the same data as the loss; see `barrier`.
    """
    return _barrier(surface, loss, slice_index, "error_barrier")


@dataclass(frozen=True)
class _Path:
    """Mean and standard error at the points from 0 to 1, both included."""

    alpha: FloatArray
    mean: FloatArray
    standard_error: FloatArray


def _barrier(surface: Surface, loss: str | None, slice_index: int | None, name: str) -> Measurement:
    slices = slices_of(surface, loss, slice_index)
    found = slices.loss if name == "barrier" else _error_metric(surface, slices.loss)
    unit = slices.unit if name == "barrier" else "share"
    lacking = _lacking(surface, slices) or (f"no accuracy beside {slices.loss}" if found is None else "")
    if lacking or found is None:
        return Measurement(name, unit=unit, scope=_ON_PATH, note=lacking)
    metric = surface.metrics[found]
    is_error = name == "error_barrier"
    at_start = metric.centre if is_error else slices.centre
    path = _path_of(surface, metric, slice_index or 0, at_start, is_accuracy=found.endswith("accuracy"))
    if not np.isfinite(path.mean[[0, -1]]).all():
        return Measurement(name, unit=unit, scope=_ON_PATH, note=f"{found} is not finite at both checkpoints")
    heights = path.mean - _without_barrier(path, is_error=is_error)
    top = int(np.nanargmax(heights))
    verdict = (
        ("connected: below 2 %" if heights[top] < _CONNECTED else "not connected: 2 % or more") if is_error else ""
    )
    at_end = not is_error and top in (0, len(heights) - 1)
    place = (
        "nowhere higher than the line between the ends"
        if at_end
        else f"highest at {path.alpha[top]:.3g} of {len(heights)} points"
    )
    error = _standard_error(path, top, is_error=is_error)
    return Measurement(
        name=name,
        value=float(heights[top]),
        standard_error=error if math.isfinite(error) else None,
        unit=unit,
        per_slice=(float(heights[top]),),
        invariant_to=slices.invariant_to,
        num_examples=metric.num_examples,
        scope=_ON_PATH,
        note=joined(verdict, place, "± is over the examples", _batchnorm(surface), slices.note),
    )


def _lacking(surface: Surface, slices: Slices) -> str:
    if surface.directions["x"].recipe.get("_target_") != "between" or len(surface.grid.axes) > 1:
        return "needs a line between two checkpoints (direction between)"
    if slices.lacking:
        return slices.lacking
    inside = slices.axes[0][(slices.axes[0] >= 0) & (slices.axes[0] <= 1 + _END)]
    if not abs(inside[-1] - 1) <= _END:
        return "the other checkpoint, at 1, is not on the grid"
    return "" if len(inside) > 2 else "no points between the two checkpoints"


def _path_of(surface: Surface, metric: Metric, index: int, at_start: float, *, is_accuracy: bool) -> _Path:
    x = np.asarray(surface.grid.axes[0].coordinates)
    kept = surface.evaluated[index] & (x > _END) & (x <= 1 + _END)
    alpha = np.concatenate([[0.0], x[kept]])
    mean = np.concatenate([[at_start], metric.values[index, kept]])
    error = np.concatenate([[metric.centre_standard_error], metric.standard_error[index, kept]])
    return _Path(alpha, 1 - mean if is_accuracy else np.where(np.isnan(mean), np.inf, mean), error)


def _without_barrier(path: _Path, *, is_error: bool) -> FloatArray:
    """What one would expect from the ends."""
    first, last = path.mean[[0, -1]]
    return np.full(len(path.mean), (first + last) / 2) if is_error else (1 - path.alpha) * first + path.alpha * last


def _standard_error(path: _Path, top: int, *, is_error: bool) -> float:
    """Of the height at one point above what the ends give there."""
    if top in (0, len(path.alpha) - 1) and not is_error:
        return 0.0  # the barrier is 0 there by definition
    share = 0.5 if is_error else float(path.alpha[top])
    first, last = path.standard_error[[0, -1]]
    return math.hypot(path.standard_error[top], (1 - share) * first, share * last)


def _error_metric(surface: Surface, loss: str) -> str | None:
    split = split_of(surface, loss)
    return next((name for kind in ("error", "accuracy") if (name := f"{split}_{kind}") in surface.metrics), None)


def _batchnorm(surface: Surface) -> str:
    evaluation, found = (surface.provenance.resolved.get(key) for key in ("evaluation", "found"))
    has_batchnorm = not (isinstance(found, dict) and found.get("has_batchnorm") is False)
    mode: JsonValue = evaluation.get("batchnorm") if isinstance(evaluation, dict) else None
    return "BatchNorm frozen: makes barriers that are none" if mode == "frozen" and has_batchnorm else ""
