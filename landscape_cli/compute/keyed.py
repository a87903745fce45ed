"""Random generators that are keyed by what they draw: the same on every device, whatever else is drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def keyed_generator(what: str) -> np.random.Generator:
    """A generator of its own for every text, such as ``"0/3/x/fc.weight"``.

    Philox with a 128-bit key: torch's CPU generator keeps 32 bits of its seed, so that streams of many tensors would
    collide.
    """
    key = hashlib.sha256(what.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
