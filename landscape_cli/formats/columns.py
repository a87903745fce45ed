"""What an export holds of a grid: its slices, and every metric under a name that all programs take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from landscape_cli.errors import UsageError, did_you_mean
from landscape_cli.grid import AXES
from landscape_cli.surface import FloatArray, Surface

_MAX_LENGTH = 200  # NetCDF takes names of 256 bytes, an ending included
_ENDINGS = ("", "_std", "_standard_error")
_RESERVED = {
    *("slice", *AXES, "evaluated", "attributes", "vtkGhostType", "step", "trajectory"),
    *(f"trajectory_{each}" for each in (*AXES, "missed", "distance")),
}


@dataclass(frozen=True, eq=False)
class Column:
    """One metric of the slices that are exported.

    Attributes:
        name: ASCII letters, digits and underscores, from a letter on; no other column has it, nor it with an ending.
        metric: The name in the surface file, which may be any text.
        values: (S, N[, M[, L]]); NaN where not evaluated, and where the value itself is NaN.
        std: (S, N[, M[, L]]) sample standard deviation over the examples; NaN where not evaluated or not known.
        standard_error: (S, N[, M[, L]]) of the values; NaN where not evaluated or not known.
        num_examples: 0 where it is not known; the standard error is not, then.
    """

    name: str
    metric: str
    values: FloatArray
    std: FloatArray
    standard_error: FloatArray
    num_examples: int


def columns(surface: Surface) -> list[Column]:
    """All metrics, in their order."""
    found = []
    for name, (metric, content) in zip(_names(list(surface.metrics)), surface.metrics.items(), strict=True):
        arrays = (content.values, content.std, content.standard_error)
        values, std, error = (np.where(surface.evaluated, array, np.nan) for array in arrays)
        found.append(Column(name, metric, values, std, error, content.num_examples))
    return found


def _names(metrics: Sequence[str]) -> Iterator[str]:
    taken = set(_RESERVED)
    for metric in metrics:
        plain, number = _plain(metric), 1
        name = plain
        while any(name + ending in taken for ending in _ENDINGS):
            number += 1
            name = f"{plain}_{number}"
        taken.update(name + ending for ending in _ENDINGS)
        yield name


def _plain(metric: str) -> str:
    """The metrics of our own scans are like this already; those of other programs need not be.

    >>> _plain("test_loss"), _plain("=1+1, \\n"), _plain("5/..")
    ('test_loss', 'metric__1_1___', 'metric_5___')
    """
    plain = re.sub(r"\W", "_", metric[:_MAX_LENGTH], flags=re.ASCII)
    return plain if re.match("[A-Za-z]", plain) else f"metric_{plain}"


def notes_renamed(found: Sequence[Column]) -> list[str]:
    """Which metrics have another name in the export."""
    return [f"{_short(each.metric)} is called {each.name} there" for each in found if each.name != each.metric]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def chosen_column(found: Sequence[Column], metric: str | None) -> Column:
    """The column of a metric; by default the first loss, or the first metric where there is no loss.

    Raises:
        UsageError: There is no such metric.
    """
    by_metric = {each.metric: each for each in found}
    if metric is not None and metric not in by_metric:
        raise UsageError(f"metric: found {metric!r}{did_you_mean(metric, by_metric)}")
    losses = [each for each in found if each.metric.endswith("_loss")]
    return [*losses, *found][0] if metric is None else by_metric[metric]


def chosen_slices(surface: Surface, slice_index: int | None) -> list[int]:
    """The numbers of the slices that are exported: one, or all of them.

    Raises:
        UsageError: There is no such slice.
    """
    num_slices = surface.grid.num_slices
    if slice_index is not None and not 0 <= slice_index < num_slices:
        raise UsageError(f"slice: found {slice_index}; the surface has slices 0 … {num_slices - 1}")
    return list(range(num_slices)) if slice_index is None else [slice_index]


def notes_one_slice(surface: Surface, slice_index: int | None) -> list[str]:
    """That there are other slices than the first, where none was chosen and one alone is exported."""
    num_slices = surface.grid.num_slices
    return [f"slice 0 of {num_slices}; choose another with --slice"] if slice_index is None and num_slices > 1 else []


def beside(surface: Surface, *, trajectory: bool = True) -> list[str]:
    """What the file holds beside the grid, in words.

    Args:
        surface: Any.
        trajectory: Whether the path of checkpoints counts.
    """
    parts = {
        "the trajectory": surface.trajectory if trajectory else None,
        "the radius": surface.radius,
        "the curvature": surface.curvature,
        "the curvature map": surface.curvature_map,
    }
    return [words for words, part in parts.items() if part is not None]


def notes_left_out(name: str, parts: Sequence[str]) -> list[str]:
    """What a format has no place for."""
    return [f"left out, {name} has no place for them: {', '.join(parts)}"] if parts else []
