"""The splits of a file in the order in which pictures give them colours."""

from __future__ import annotations

from landscape_cli.analysis.captions import split_of
from landscape_cli.surface import Surface


def splits_of(surface: Surface) -> list[str]:
    """``train`` and ``test``, whether there are metrics of them or not, then the others in the order of the file.

    Whatever is drawn of a file, and of whichever file, these two have the same colours.
    """
    return list(dict.fromkeys(["train", "test", *(split_of(surface, name) for name in surface.metrics)]))
