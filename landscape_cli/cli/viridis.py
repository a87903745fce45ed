"""From a share of a scale to a colour: viridis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape_cli.surface import FloatArray

# Every 15th of its 256 colours. Between them it is straight to within 5 of 255: importing matplotlib for the others
# takes longer than all the rest of a picture in the terminal.
_STOPS = np.frombuffer(
    bytes.fromhex(
        "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e 1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 "
        "b0dd2f d8e219 fde725"
    ),
    dtype=np.uint8,
).reshape(-1, 3)


def viridis(shares: FloatArray) -> NDArray[np.uint8]:
    """The colours of shares of a scale.

    A map whose lightness rises evenly, also for the colour-blind: S. van der Walt and N. Smith, 2015, for matplotlib.

    Args:
        shares: From 0 to 1, of any shape; what is NaN gets the lowest colour.

    Returns:
        Red, green and blue from 0 to 255 along a last axis of their own.
    """
    at = np.nan_to_num(np.clip(shares, 0.0, 1.0)) * (len(_STOPS) - 1)
    channels = [np.interp(at, np.arange(len(_STOPS)), _STOPS[:, channel]) for channel in range(3)]
    return np.asarray(np.stack(channels, axis=-1).round(), dtype=np.uint8)


def is_light(color: NDArray[np.uint8]) -> bool:
    """Whether black stands out from a colour better than white does, by its luma (Rec. 601)."""
    return float(color @ np.array([0.299, 0.587, 0.114])) > 140
