"""Noise with other signs on every part of the data: nearly the mean over many directions, in one pass over the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from landscape_cli.beside import MAX_PARTS
from landscape_cli.compute.keyed import keyed_generator
from landscape_cli.compute.subspace import Params, Subspace


@dataclass(frozen=True, eq=False)
class Parted:
    """A line for each part of the data: on part k along d ⊙ σₖ, with σₖ random signs.

    Where d is symmetric noise, so is every d ⊙ σₖ: the mean of the loss over its parts has the expectation of the loss
    along d, and a smaller variance, because whatever is odd in the noise of some weight has other signs on each part.

    Args:
        line: Along d.
        bits: Name → int16 tensor of the shape of that of d: bit k says whether σₖ is −1.
        num_parts: K, up to `MAX_PARTS`.
    """

    line: Subspace
    bits: Params
    num_parts: int

    def of_part(self, index: int) -> Subspace:
        """The line on one part of the data."""
        (direction,) = self.line.directions
        signed = {name: tensor * (1 - 2 * (self.bits[name] >> index & 1)) for name, tensor in direction.items()}
        return Subspace(self.line.origin, (signed,))


def random_bits(like: Params, seed: int, slice_index: int, axis: str) -> Params:
    """Random bits for every element, int16 on the CPU, keyed as random directions are: the same on every device and
    for every checkpoint of the same architecture.
    """
    return {name: _bits(f"{seed}/{slice_index}/{axis}/{name}/signs", tensor.shape) for name, tensor in like.items()}


def _bits(name: str, shape: torch.Size) -> torch.Tensor:
    return torch.from_numpy(
        keyed_generator(name).integers(0, 1 << MAX_PARTS, tuple(shape), dtype=np.uint16).view(np.int16)
    )
