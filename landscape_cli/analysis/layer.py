"""One metric of one slice on the plane: what a picture of it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.analysis.captions import default_metrics
from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.surface import BoolArray, FloatArray, Surface


@dataclass(frozen=True)
class Layer:
    """The values of a metric over x and y.

    Attributes:
        metric: Its name.
        slice_index: From 0.
        x: (N,) coordinates.
        y: (M,) coordinates.
        values: (N, M), the first index x and the second y; NaN where not evaluated, and where the value is NaN.
        evaluated: (N, M).
        z: Of a volume, where on its third axis this layer lies.
    """

    metric: str
    slice_index: int
    x: FloatArray
    y: FloatArray
    values: FloatArray
    evaluated: BoolArray
    z: float | None = None

    @property
    def finite(self) -> BoolArray:
        """(N, M) where there is a finite value."""
        return self.evaluated & np.isfinite(self.values)

    @property
    def diverged(self) -> BoolArray:
        """(N, M) where the value is NaN or infinite."""
        return self.evaluated & ~np.isfinite(self.values)

    @property
    def at_height(self) -> str:
        """Where on the third axis of a volume it lies, to be said behind the metric; nothing of a plane."""
        return "" if self.z is None else f" at z = {self.z:g}"

    @property
    def shown(self) -> FloatArray:
        """The finite values, flat."""
        return self.values[self.finite]


def layer_of(surface: Surface, metric: str | None = None, slice_index: int | None = None) -> Layer:
    """What is drawn of a plane; of a volume the layer whose z is nearest to 0.

    Args:
        surface: 2-D or 3-D.
        metric: By default the first loss.
        slice_index: By default the first.

    Raises:
        UsageError: The surface has one axis, or no such metric or slice.
    """
    if len(surface.grid.axes) == 1:
        raise UsageError("the surface has one axis; expected two", hint="The kind 'line' draws it.")
    name, index = chosen_metric(surface, metric), chosen_slice(surface, slice_index)
    x, y = (np.asarray(axis.coordinates) for axis in surface.grid.axes[:2])
    third = surface.grid.axes[2] if len(surface.grid.axes) > 2 else None
    at = (index, slice(None), slice(None)) + (() if third is None else (third.centre,))
    evaluated = surface.evaluated[at].copy()  # that of a surface that is being filled changes
    values = np.where(evaluated, surface[name][at], np.nan)
    return Layer(name, index, x, y, values, evaluated, None if third is None else third.coordinates[third.centre])


def chosen_metric(surface: Surface, metric: str | None) -> str:
    """The name of a metric; by default the first loss.

    Raises:
        UsageError: There is no such metric.
    """
    if metric is not None and metric not in surface.metrics:
        raise UsageError(f"metric: found {metric!r}{did_you_mean(metric, surface.metrics)}")
    return default_metrics(surface)[0] if metric is None else metric


def chosen_slice(surface: Surface, slice_index: int | None) -> int:
    """The number of a slice; by default the first.

    Raises:
        UsageError: There is no such slice.
    """
    if slice_index is not None and not 0 <= slice_index < surface.grid.num_slices:
        raise UsageError(f"slice: found {slice_index}; the surface has slices 0 … {surface.grid.num_slices - 1}")
    return slice_index or 0
