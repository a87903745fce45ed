"""What an engine is: (points, chunk of data) → sums per point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates, Subspace


class Engine(Protocol):
    """Evaluates a fixed number K of points at a time.

    An engine is made by a function ``f(network, points_per_call) -> Engine`` that raises `UnsupportedError` for a model
    it cannot run. Its sums agree with those of ``sequential`` to rounding, and depend on nothing but the K points, in
    their order, and the chunk; so a resumed scan repeats itself bit for bit. Nothing it does waits for the device.
    """

    def move_to(self, subspace: Subspace, coordinates: Sequence[Coordinates]) -> None:
        """Prepare the weights of K points of one subspace; costs nothing where they are prepared already."""

    def sums(self, split: str, chunk: Chunk) -> Tensor:
        """Sum and sum of squares over the examples of the chunk, of every metric at every point.

        Returns:
            (K, M, 2) float64 on the device.
        """


class UnsupportedError(Exception):
    """An engine cannot run this model, or not on this machine; the message says why."""
