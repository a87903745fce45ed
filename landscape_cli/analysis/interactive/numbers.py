"""The numbers of a surface as page.js reads them."""

from __future__ import annotations

import math

import numpy as np
from pydantic import JsonValue

from landscape_cli.analysis.captions import axis_label, default_metrics, is_share, quantity, readable, split_of
from landscape_cli.analysis.captions_of_path import path_in_words
from landscape_cli.analysis.curve import Curve, curve_of
from landscape_cli.analysis.interactive.amount import Amount
from landscape_cli.analysis.interactive.packed import packed
from landscape_cli.analysis.interactive.subgrid import Subgrid, filled, touched
from landscape_cli.analysis.layer import layer_of
from landscape_cli.analysis.scale import Scale, is_spaced_by_factors, scale_of
from landscape_cli.analysis.splits import splits_of
from landscape_cli.surface import BoolArray, FloatArray, Surface


def numbers(surface: Surface, amount: Amount) -> dict[str, JsonValue]:
    """What there is to draw of a line or a plane; of a volume the layer whose z is nearest to 0.

    S is the number of slices that the page holds. Values are exact, those of points that were not evaluated NaN.

    Args:
        surface: Whole or partial.
        amount: Which metrics and slices.

    Returns:
        What all surfaces have: ``axes``, ``slices``, ``metrics``, ``evaluated`` (S, N[, M]), and ``path``. A plane has
        two subgrids for each slice: ``filled``, over which it is a surface, and ``touched``, where there is anything.
    """
    shown = _shown(surface, surface.evaluated, amount)
    found: dict[str, JsonValue] = {
        "axes": [_axis(surface, index) for index in range(min(len(surface.grid.axes), 2))],
        "slices": [*amount.slices],
        "num_slices": surface.grid.num_slices,
        "default_metrics": [name for name in default_metrics(surface) if name in amount.metrics],
        "splits": [*splits_of(surface)],
        "evaluated": packed(shown, "u1"),
        "metrics": [_metric(surface, name, amount) for name in amount.metrics],
        "path": _path(surface, amount),
    }
    if len(surface.grid.axes) > 1:
        found["filled"] = [_indices(filled(surface.grid.axes, each)) for each in shown]
        found["touched"] = [_indices(touched(each)) for each in shown]
    return found


def _axis(surface: Surface, index: int) -> dict[str, JsonValue]:
    axis = surface.grid.axes[index]
    return {
        "label": axis_label(surface, axis.name),
        "coordinates": packed(axis.coordinates),
        "log": is_spaced_by_factors(axis.coordinates),
    }


def _metric(surface: Surface, name: str, amount: Amount) -> dict[str, JsonValue]:
    metric = surface.metrics[name]
    evaluated = _shown(surface, surface.evaluated, amount)
    values = np.where(evaluated, _shown(surface, metric.values, amount), np.nan)
    errors = np.where(evaluated, _shown(surface, metric.standard_error, amount), np.nan)
    found: dict[str, JsonValue] = {
        "name": name,
        "label": readable(name),
        "quantity": quantity(surface, name),
        "split": split_of(surface, name),
        "is_share": is_share(name),
        "values": packed(values),
        "errors": packed(errors, "f4") if np.isfinite(errors).any() else None,
        "centre": _finite(metric.centre),
        "centre_error": _finite(metric.centre_standard_error),
        "scales": [_scale(scale_of(each), each) for each in values],
    }
    if len(surface.grid.axes) == 1:
        found["over_slices"] = _over_slices(surface, name)
    return found


def _shown(surface: Surface, array: FloatArray | BoolArray, amount: Amount) -> FloatArray | BoolArray:
    """(S, N[, M]) of the slices that the page holds, and of a volume the layer that it shows."""
    layer = array[..., surface.grid.axes[2].centre] if len(surface.grid.axes) > 2 else array
    return layer[list(amount.slices)]


def _scale(scale: Scale, values: FloatArray) -> dict[str, JsonValue]:
    finite = bool(np.isfinite(values).any())
    return {
        "low": scale.low,
        "high": scale.high,
        "log": scale.log,
        "finite": finite,  # whether there is anything between the two
        "positive": finite and scale.low > 0,
    }


def values_at_first(surface: Surface, metric: str | None, slice_index: int | None, held: Amount) -> FloatArray:
    """What stands on the scale of a page before its reader has chosen anything: of a plane one layer, of a line all
    losses, or all accuracies where there are no losses; flat.

    Args:
        surface: Whole or partial.
        metric: One metric only.
        slice_index: One slice; by default the first of a plane, all of a line.
        held: What the page holds.
    """
    if len(surface.grid.axes) > 1:
        return layer_of(surface, metric, slice_index).shown
    names = [metric] if metric is not None else [each for each in default_metrics(surface) if each in held.metrics]
    left = [each for each in names if not is_share(each)] or names
    return np.concatenate([_on_the_scale(curve_of(surface, each, slice_index)) for each in left])


def _on_the_scale(curve: Curve) -> FloatArray:
    """The ends of the range, which no mean leaves; NaN where a slice has diverged."""
    return np.where(curve.diverged, np.nan, np.stack([curve.low, curve.high])).ravel()


def _over_slices(surface: Surface, name: str) -> dict[str, JsonValue]:
    """Mean and range over all slices of the file; NaN where one has diverged."""
    curve = curve_of(surface, name)
    mean, low, high = (np.where(curve.diverged, np.nan, each) for each in (curve.mean, curve.low, curve.high))
    ends = _on_the_scale(curve)
    return {
        "mean": packed(mean),
        "low": packed(low),
        "high": packed(high),
        "known": packed(curve.known, "u1"),
        "diverged": packed(curve.diverged, "u1"),
        "num_slices": curve.num_slices,
        "scale": _scale(scale_of(ends), ends),
    }


def _path(surface: Surface, amount: Amount) -> dict[str, JsonValue] | None:
    """The path of checkpoints in the slices into which it was projected."""
    path = surface.trajectory
    if path is None:
        return None
    chosen = list(amount.slices)
    return {
        "names": [*path.names],
        "coordinates": packed(path.coordinates[chosen]),  # (S, T, A)
        "missed": packed(path.missed[chosen]),
        "distance": packed(path.distance),
        "words": [path_in_words(path, index) for index in chosen],
        "known": [path.is_known_in(index) for index in chosen],
    }


def _indices(subgrid: Subgrid) -> dict[str, JsonValue]:
    return {"x": subgrid.x.tolist(), "y": subgrid.y.tolist()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
