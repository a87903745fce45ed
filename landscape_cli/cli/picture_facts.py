"""The key numbers beside a picture in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.segment import Segment

from landscape_cli.analysis.captions import axes_by_label, distinct, footer, is_share, quantity, readable, title
from landscape_cli.analysis.curve import Curve
from landscape_cli.analysis.layer import Layer
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.scale import Scale
from landscape_cli.cli.console import number, with_error
from landscape_cli.surface import BoolArray, FloatArray, Metric, Surface

# what is quick to measure and tells most, where a file has it
HEADLINES = ("adaptive_radius", "barrier", "flat_radius", "lambda_max", "adaptive_lambda_max", "trace")
_OF_RAYS = "flat_radius"
_MOST_SLICES = 20  # for it: each takes 10 ms
_SIGNS = {"lower": "≥ ", "upper": "≤ ", None: ""}


@dataclass(frozen=True)
class Fact:
    """A line beside a picture.

    Attributes:
        name: What it is; ``""`` where that is said in the line before.
        value: In words.
        key: What stands before them, such as a piece of a curve.
    """

    name: str
    value: str
    key: Sequence[Segment] = ()


@dataclass(frozen=True)
class Key:
    """What stands in a picture for what.

    Attributes:
        diverged: For a point that is not finite.
        missing: For a point that is not evaluated.
        name_of_ramp: What rises with the value.
        ramp: That, from the lower to the upper end of the scale.
    """

    diverged: Segment
    missing: str
    name_of_ramp: str = ""
    ramp: Sequence[Segment] = ()


def title_of_plane(surface: Surface, layer: Layer) -> str:
    """What is shown of which model."""
    shown = layer.slice_index if surface.grid.num_slices > 1 else None
    return title(surface, f"{quantity(surface, layer.metric)}{layer.at_height}", shown)


def facts_of_plane(surface: Surface, layer: Layer, scale: Scale, key: Key, *, has_centre: bool) -> Iterator[Fact]:
    """What a picture of a plane is read with, the most important first.

    Args:
        surface: The whole of it.
        layer: What is shown.
        scale: Of the colours.
        key: What they and the marks look like.
        has_centre: Whether the checkpoint is in the picture.
    """
    metric = surface.metrics[layer.metric]
    size = f" (n = {metric.num_examples:,})" if metric.num_examples else ""
    yield Fact("centre", f"{centre_in_words(metric)}{size}")
    yield Fact("grid", span_in_words(layer.shown))
    if layer.shown.size:
        low, high = distinct([scale.low, scale.high]) if scale.high > scale.low else (f"{scale.low:.3g}",) * 2
        yield Fact(key.name_of_ramp, scale_in_words(scale), [Segment(f"{low} "), *key.ramp, Segment(f" {high}")])
    yield from marks("+" if has_centre else "", layer.diverged, layer.evaluated, key)
    yield from points(surface)
    yield from axes(surface)


def title_of_line(surface: Surface, curves: Sequence[Curve], slice_index: int | None) -> str:
    """What is shown of which model."""
    names = " and ".join(readable(curve.metric) for curve in curves) if len(curves) < 3 else "losses and accuracies"
    return title(surface, f"{names} along a line", slice_index)


def facts_of_line(
    surface: Surface, curves: Sequence[tuple[Curve, Segment]], scale: Scale, slice_index: int | None, key: Key
) -> Iterator[Fact]:
    """What curves are read with, the most important first.

    Args:
        surface: The whole of it.
        curves: Each with a piece of it.
        scale: Of the first panel.
        slice_index: One slice only.
        key: What the marks look like.
    """
    for curve, piece in curves:
        yield Fact(readable(curve.metric), f"centre {centre_in_words(surface.metrics[curve.metric])}", [piece])
        yield Fact("", f"line {span_in_words(curve.shown)}")
    yield Fact("scale", scale_in_words(scale))
    if surface.grid.num_slices > 1 and slice_index is None:
        yield Fact("curve", _slices_in_words(curves[0][0].num_slices))
    chosen = slice(None) if slice_index is None else [slice_index]
    x = curves[0][0].x
    diverged = np.any([curve.diverged for curve, _ in curves], axis=0)
    yield from marks("┊" if x[0] < 0 < x[-1] else "", diverged, surface.evaluated[chosen], key)
    yield from points(surface)
    yield from axes(surface)


def _slices_in_words(num: int) -> str:
    """Over what a curve is a mean; slices that are not begun do not count."""
    return "the one slice that is begun" if num == 1 else f"mean of {num:,} slices, between the least and the largest"


def centre_in_words(metric: Metric) -> str:
    """The value at the checkpoint with its standard error."""
    if not np.isfinite(metric.centre):
        return "not finite" if metric.num_examples else "unknown"
    error = metric.centre_standard_error
    return with_error(metric.centre, error if np.isfinite(error) else None)


def span_in_words(values: FloatArray) -> str:
    """The least and the largest of finite values."""
    return f"{number(values.min())} … {number(values.max())}" if values.size else "no finite value"


def scale_in_words(scale: Scale) -> str:
    """Whether a scale is divided by factors."""
    return "logarithmic" if scale.log else "linear"


def marks(centre: str, diverged: BoolArray, evaluated: BoolArray, key: Key) -> Iterator[Fact]:
    """What the marks in the picture mean, where there are any."""
    facts = [Fact("", f"{centre} the checkpoint")] if centre else []
    if diverged.any():
        facts.append(Fact("", f"diverged (NaN or inf): {diverged.sum():,}", [key.diverged]))
    if not evaluated.all():
        facts.append(Fact("", f"{key.missing} not evaluated: {(~evaluated).sum():,}".strip()))
    for number_of_it, fact in enumerate(facts):
        yield fact if number_of_it else replace(fact, name="marks")


def axes(surface: Surface) -> Iterator[Fact]:
    """The direction of each axis and what 1.0 means; those that read the same together."""
    for label, names in axes_by_label(surface).items():
        yield Fact(", ".join(names), label)


def points(surface: Surface) -> Iterator[Fact]:
    """How many there are; how much of a partial surface there is, the title says."""
    if surface.complete:
        yield Fact("points", f"{surface.grid.num_points:,}, complete")


def headlines(surface: Surface, metric: str, slice_index: int | None) -> Iterator[Fact]:
    """Measures of a loss that the file holds what is needed for, with their standard errors."""
    if is_share(metric) or not surface.num_evaluated:
        return
    from landscape_cli.analysis.sharpness import measured

    num_slices = surface.grid.num_slices if slice_index is None else 1
    for name in HEADLINES:
        if name == _OF_RAYS and num_slices > _MOST_SLICES:
            continue
        measurement = measured(surface, name, loss=metric, slice_index=slice_index)
        if measurement.value is not None:
            yield Fact(readable(name), _measurement_in_words(measurement))


def _measurement_in_words(measurement: Measurement) -> str:
    error = "" if measurement.standard_error is None else f" ± {measurement.standard_error:.2g}"
    return f"{_SIGNS[measurement.bound]}{number(measurement.value or 0.0)}{error}"


def conditions(surface: Surface) -> Fact:
    """What was measured on what."""
    return Fact("from", " ".join(footer(surface).split()))
