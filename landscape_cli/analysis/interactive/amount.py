"""How much of a surface a page holds: all of it, unless that would be more than a browser likes to load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from landscape_cli.surface import Surface

_T = TypeVar("_T")
_MOST_BYTES = 12_000_000
_PER_NUMBER = (8 + 4 + 1) * 4 / 3  # a value in float64, its error in float32 and the mask, in base 64


@dataclass(frozen=True)
class Amount:
    """What a page holds.

    Attributes:
        metrics: Their names.
        slices: Their numbers, rising.
        notes: In words what is left out; empty where nothing is.
    """

    metrics: tuple[str, ...]
    slices: tuple[int, ...]
    notes: tuple[str, ...] = ()


def amount(surface: Surface, metrics: list[str], metric: str, slice_index: int) -> Amount:
    """As many slices as fit, the first ones and the one that is asked for; of one that does not fit, the first metrics.

    Args:
        surface: Of any size.
        metrics: Those to show, the most important first.
        metric: The one that is shown first: it is never left out.
        slice_index: The same of the slices.
    """
    points = math.prod(len(axis) for axis in surface.grid.axes[:2])  # of a volume one layer is shown
    most = max(int(_MOST_BYTES / (points * _PER_NUMBER)), 1)  # slices of one metric
    kept = _first(metrics, metric, most)
    slices = _first(list(range(surface.grid.num_slices)), slice_index, most // len(kept))
    notes = [
        _left_out(len(kept), len(metrics), "metrics"),
        _left_out(len(slices), surface.grid.num_slices, "slices"),
    ]
    return Amount(tuple(kept), tuple(slices), tuple(filter(None, notes)))


def _first(items: list[_T], asked: _T, most: int) -> list[_T]:
    """The first ``most`` items, at least one; the last is the one that is asked for where it is not among them."""
    first = items[: max(most, 1)]
    return first if asked in first else [*first[:-1], asked]


def _left_out(kept: int, num: int, what: str) -> str:
    return (
        "" if kept == num else f"Of {num:,} {what} this page holds {kept:,}, to keep it small; the file has them all."
    )
