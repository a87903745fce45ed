"""The splits of a file in the order in which pictures give them colours."""

from __future__ import annotations

from landscape_cli.analysis.captions import split_of
from landscape_cli.surface import Surface

_FIRST = {"train": 0, "test": 1}


def splits_of(surface: Surface) -> list[str]:
    """Those of all metrics, whatever is drawn: ``train``, ``test``, then the others in the order of the file."""
    splits = dict.fromkeys(split_of(surface, name) for name in surface.metrics)
    return sorted(splits, key=lambda split: _FIRST.get(split, len(_FIRST)))
