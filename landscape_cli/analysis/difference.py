"""Where two surfaces differ: B − A, or B / A where they span decades, point by point."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from landscape_cli.analysis.layer import Layer, chosen_metric, layer_of
from landscape_cli.analysis.scale import spans_decades
from landscape_cli.errors import UsageError
from landscape_cli.surface import FloatArray, Surface

_ROUNDING = 1e-5  # of values in float32, between engines


@dataclass(frozen=True)
class Difference:
    """How a metric of one surface differs from that of another, over the plane that both have.

    Attributes:
        layer: B − A, or B / A; evaluated where both are, not finite where either is not.
        is_ratio: Whether it is B / A.
        rounding: What is no more than rounding between engines and machines: 1e-5 of the largest value, or a factor of
            1 + 1e-5.
    """

    layer: Layer
    is_ratio: bool
    rounding: float

    @property
    def reach(self) -> float:
        """The largest |B − A|, or the largest of B / A and A / B; no less than `rounding`."""
        shown = self.layer.shown
        largest = np.exp(np.abs(np.log(shown)).max(initial=0.0)) if self.is_ratio else np.abs(shown).max(initial=0.0)
        return max(float(largest), self.rounding)


def difference_of(
    first: Surface,
    second: Surface,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
) -> Difference:
    """The second surface minus the first.

    Args:
        first: A, 2-D or 3-D.
        second: B, on the same grid.
        metric: By default the first loss of A.
        slice_index: By default the first.
        log: Whether it is the ratio B / A; by default where the values of both are positive and span more than a factor
            of 50.

    Raises:
        UsageError: They are not on one grid, or have no common metric; a ratio of values that are not positive.
    """
    name = chosen_metric(first, metric)
    chosen_metric(second, name)
    _check_grids(first, second)
    a, b = (layer_of(each, name, slice_index) for each in (first, second))
    both = a.evaluated & b.evaluated
    finite = both & np.isfinite(a.values) & np.isfinite(b.values)
    pooled = np.concatenate([a.values[finite], b.values[finite]])
    is_ratio = spans_decades(pooled) if log is None else log
    if is_ratio and (pooled <= 0).any():
        raise UsageError(f"log: {name} has values that are not positive, and no ratio", hint="Use linear.")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        values = b.values / a.values if is_ratio else b.values - a.values
    layer = replace(a, values=np.where(finite, values, np.nan), evaluated=both)
    largest = float(np.abs(pooled).max(initial=0.0)) or 1.0
    return Difference(layer, is_ratio, 1 + _ROUNDING if is_ratio else _ROUNDING * largest)


def difference_of_lines(first: Surface, second: Surface, name: str) -> Surface:
    """B − A along a line as a surface with that metric; evaluated where both are, NaN where either is not finite.

    Args:
        first: A, 1-D.
        second: B, on the same grid with as many slices.
        name: Of the metric.

    Raises:
        UsageError: They are not on one grid, or have no such metric.
    """
    for each in (first, second):
        chosen_metric(each, name)
    _check_grids(first, second)
    if first.grid.num_slices != second.grid.num_slices:
        found = f"{first.grid.num_slices} and {second.grid.num_slices}"
        raise UsageError(f"difference: the numbers of slices differ: {found}", hint="Choose one with --slice.")
    both = first.evaluated & second.evaluated
    finite = both & np.isfinite(first[name]) & np.isfinite(second[name])
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.where(finite, second[name] - first[name], np.nan)
    metric = replace(first.metrics[name], values=values, std=np.full_like(values, np.nan))
    return replace(first, metrics={name: metric}, evaluated=both, trajectory=None)


def _check_grids(first: Surface, second: Surface) -> None:
    if len(first.grid.axes) != len(second.grid.axes):
        raise UsageError(f"difference: found {len(first.grid.axes)} and {len(second.grid.axes)} axes; expected as many")
    for a, b in zip(first.grid.axes, second.grid.axes, strict=True):
        u, v = np.asarray(a.coordinates), np.asarray(b.coordinates)
        if len(u) != len(v) or not np.allclose(u, v, rtol=1e-9, atol=1e-12):
            raise UsageError(
                f"difference: the axes {a.name} differ: {_words(u)} and {_words(v)}",
                hint="Scan both with the same axes; without --difference they are drawn side by side.",
            )


def _words(coordinates: FloatArray) -> str:
    return f"{len(coordinates)} points from {coordinates[0]:g} to {coordinates[-1]:g}"
