"""What was measured from the model itself: numbers and arrays, what they hold for, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """How often the loss was evaluated over the whole measurement set.

    Attributes:
        losses: Forward passes.
        gradients: Gradients, each a forward and a backward pass.
        products: Products of the Hessian with a vector.
    """

    losses: int = 0
    gradients: int = 0
    products: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Both."""
        return Cost(self.losses + other.losses, self.gradients + other.gradients, self.products + other.products)

    @property
    def passes(self) -> int:
        """All of them together."""
        return self.losses + self.gradients + self.products

    def __sub__(self, other: Cost) -> Cost:
        """What has been spent since ``other``."""
        return Cost(self.losses - other.losses, self.gradients - other.gradients, self.products - other.products)


@dataclass(frozen=True, eq=False)
class Record:
    """One measure of the loss at the checkpoint, from the model and the data.

    Attributes:
        values: Name → float64 array; a number has the shape ().
        settings: Everything that decides the values, beside the identity of the scan: the split, the number of
            examples, the parameters, the options of the measure.
        cost: Passes over the measurement set.
        method: How products with the Hessian were made, such as ``"double backward"``; ``""`` where none was.
        notes: What to know before the values are compared.
    """

    values: Mapping[str, FloatArray]
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    cost: Cost = Cost()
    method: str = ""
    notes: tuple[str, ...] = ()

    def number(self, name: str) -> float:
        """A value of shape (); NaN where there is none of that name."""
        value = self.values.get(name)
        return float(value) if value is not None and value.shape == () else float("nan")


@dataclass(frozen=True, eq=False)
class Curvature:
    """The records of a surface by the name of their measure.

    Attributes:
        records: What has been measured.
        pending: Names that the config asks for and that are not there yet.
    """

    records: Mapping[str, Record]
    pending: tuple[str, ...] = ()
