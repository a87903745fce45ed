"""The words on a path of checkpoints: how many there are, and how much of the way to them a picture leaves out."""

from __future__ import annotations

import numpy as np

from landscape_cli.surface import Trajectory

_KINDS = {1: "line", 2: "plane", 3: "volume"}


def path_in_words(path: Trajectory, slice_index: int) -> str:
    """What a path is, and of the displacement of the farthest checkpoint the share that is outside; of the others the
    largest such share where it is larger: a checkpoint that is near may well lie beside the plane.

    Args:
        path: Of any number of checkpoints.
        slice_index: Of which line, plane or volume.

    Returns:
        Such as ``path of 21 checkpoints; of the way to the farthest 8.11 % lies outside the plane, to others up to
        99 %``; the first part alone where nothing is known, or no checkpoint is away from the centre.
    """
    num = len(path.names)
    words = f"path of {num:,} checkpoint{'' if num == 1 else 's'}"
    missed, distance = path.missed[slice_index], path.distance
    steps = np.flatnonzero(np.isfinite(missed) & np.isfinite(distance) & (distance > 0))
    if not steps.size:
        return words
    farthest = float(missed[steps[np.argmax(distance[steps])]])
    kind = _KINDS.get(path.coordinates.shape[-1], "plane")
    words += f"; of the way to the farthest {_percent(farthest)} lies outside the {kind}"
    largest = _percent(float(missed[steps].max()))
    return words if largest == _percent(farthest) else f"{words}, to others up to {largest}"


def _percent(share: float) -> str:
    """Three digits, and none for what is only rounding.

    >>> _percent(0.0811), _percent(1e-9)
    ('8.11 %', '0 %')
    """
    return f"{round(100 * share, 3):.3g} %"
