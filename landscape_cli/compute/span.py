"""Ranges of axes that are found: where the loss has risen by so much, or where the trajectory lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Context

import numpy as np

from landscape_cli.axes import AxisConfig, Span
from landscape_cli.compute.sources import split_or_default
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Settings
from landscape_cli.errors import ConfigError, EvaluationError
from landscape_cli.surface import Trajectory

Range = tuple[float, float]

_RISE, _FACTOR = 1.0, 10.0
# Losses whose unit is the nat: for them a rise means the same in every network.
_IN_NATS = ("cross_entropy", "nll", "bce", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
_MOST_DOUBLINGS = 40
_BISECTIONS = 4  # from a factor of 2 down to one of 1.04
_MARGIN = 0.2


def find_ranges(worker: Worker, settings: Settings, trajectory: Trajectory | None) -> dict[str, Range]:
    """The range of every axis that asks for one.

    Args:
        worker: Measures the first slice, one point at a time.
        settings: The config.
        trajectory: In the coordinates of the axes.

    Raises:
        ConfigError: There is no trajectory to hold.
        EvaluationError: The loss does not rise that far.
    """
    found: dict[str, Range] = {}
    for number, (name, axis) in enumerate(settings.axes.items()):
        if axis.search is None:
            continue
        where = settings.where("axes", name, "span")
        if axis.search.trajectory:
            if trajectory is None:
                raise ConfigError(f"{where}: there is no trajectory", hint="Name its checkpoints under trajectory.")
            found[name] = _around(trajectory.coordinates[:, :, number].ravel(), axis.num)
        else:
            found[name] = _rising(worker, settings, axis, number, where)
    return found


def _around(coordinates: Sequence[float] | np.ndarray, num: int) -> Range:
    """A range around coordinates and 0, with a margin, and such that 0 is one of ``num`` evenly spaced values."""
    low, high = min(0.0, *coordinates), max(0.0, *coordinates)
    margin = _MARGIN * (high - low) or 1.0
    low, high = low - margin, high + margin
    if num < 3:
        return low, high
    step = (high - low) / (num - 2)
    first = -math.ceil(-low / step)
    return first * step, (first + num - 1) * step


def _rising(worker: Worker, settings: Settings, axis: AxisConfig, number: int, where: str) -> Range:
    """From the checkpoint in both directions, or in one, to where the loss is first as high as asked for."""
    given = axis.model_fields_set
    signs = [sign for sign, end in ((-1.0, "start"), (1.0, "stop")) if end not in given]
    metric = f"{split_or_default(None, worker.splits, where)}_loss"
    num_axes = len(worker.problem.grid.axes)

    def loss(reach: float) -> float:
        points = [tuple(sign * reach * (i == number) for i in range(num_axes)) for sign in signs]
        values = [worker.measure_at(0, point)[metric][0] for point in points]
        return max(value if math.isfinite(value) else math.inf for value in values)

    assert axis.search is not None
    start = worker.measure_at(0, (0.0,) * num_axes)[metric][0]
    target = _target(axis.search, start, settings, where)
    reach = _reach(loss, target, where, metric)
    return -reach, reach


def _target(span: Span, loss: float, settings: Settings, where: str) -> float:
    if span.rise is not None:
        return loss + span.rise
    if span.factor is None and settings.loss.name in _IN_NATS:
        return loss + _RISE
    if loss <= 0:
        raise ConfigError(
            f"{where}: the loss at the checkpoint is {loss:.4g}, which no factor makes larger",
            hint="Give the rise instead, such as span: {rise: 1.0}.",
        )
    return loss * (span.factor or _FACTOR)


def _reach(loss: Callable[[float], float], target: float, where: str, metric: str) -> float:
    low = high = 1.0
    for _ in range(_MOST_DOUBLINGS):
        if loss(high) >= target:
            break
        low, high = high, 2 * high
    else:
        raise EvaluationError(
            f"{where}: {metric} does not rise to {target:.4g} up to the coordinate {high:.4g}",
            hint="Give start and stop, or a smaller rise.",
        )
    if low == high:  # the first step was too long
        for _ in range(_MOST_DOUBLINGS):
            low = high / 2
            if loss(low) < target:
                break
            high = low
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if loss(middle) >= target else (middle, high)
    return float(Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(high))  # up: the target is inside
