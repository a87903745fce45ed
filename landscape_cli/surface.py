"""Surface: named arrays over slices × grid, and a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from landscape_cli.grid import Grid

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass
class Metric:
    """One measured quantity on the grid, the mean over ``num_examples`` examples at each point.

    Attributes:
        values: (S, N[, M]) means; NaN where not evaluated, and where the value itself is NaN.
        std: (S, N[, M]) sample standard deviations over the examples (ddof = 1; 0 for one example).
        centre, centre_std: The same two at the checkpoint itself, also when 0 is not on the grid.
        num_examples: n; the standard error of a value is std / √n.
    """

    values: FloatArray
    std: FloatArray
    centre: float
    centre_std: float
    num_examples: int

    @property
    def standard_error(self) -> FloatArray:
        """(S, N[, M]) standard error of the mean: std / √n."""
        return np.divide(self.std, np.sqrt(self.num_examples))

    @property
    def centre_standard_error(self) -> float:
        """Standard error of the mean at the checkpoint."""
        return self.centre_std / float(np.sqrt(self.num_examples))


@dataclass(frozen=True)
class Direction:
    """What one axis stands for: the recipe as configured and, per slice, the Euclidean length of the direction."""

    recipe: Mapping[str, JsonValue]
    norm: tuple[float, ...]


@dataclass(frozen=True)
class Provenance:
    """Where a surface comes from, for people; nothing in it is ever imported or instantiated.

    Attributes:
        config: The YAML as given, as text.
        resolved: The config with defaults and overrides filled in.
        identity: What the fingerprint is the hash of: everything that decides the numbers.
        environment: Versions, git, device and command of each distinct environment that contributed.
        engine: How the points were evaluated: the plan, which is kept on resume, and how far its values differ from
            plain evaluation at the centre and at a corner.
    """

    config: str = ""
    resolved: Mapping[str, JsonValue] = field(default_factory=dict)
    identity: Mapping[str, JsonValue] = field(default_factory=dict)
    environment: Sequence[JsonValue] = ()
    engine: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass
class Surface:
    """Metrics over slices × grid. ``evaluated`` alone says which values are final; NaN may be a true value.

    ``created``, ``updated`` and ``writer`` are those of the file it was read from; saving sets them anew, ``created``
    only where it is empty.
    """

    grid: Grid
    metrics: dict[str, Metric]
    directions: dict[str, Direction]
    fingerprint: str
    evaluated: BoolArray
    provenance: Provenance = field(default_factory=Provenance)
    created: str = ""
    updated: str = ""
    writer: str = ""

    @classmethod
    def empty(
        cls,
        grid: Grid,
        centre: Mapping[str, tuple[float, float]],
        num_examples: Mapping[str, int],
        *,
        directions: Mapping[str, Direction],
        fingerprint: str,
        provenance: Provenance | None = None,
        created: str = "",
    ) -> Surface:
        """A surface with nothing evaluated yet; ``centre`` maps each metric to its mean and std at the checkpoint."""
        metrics = {
            name: Metric(np.full(grid.shape, np.nan), np.full(grid.shape, np.nan), mean, std, num_examples[name])
            for name, (mean, std) in centre.items()
        }
        mask = np.zeros(grid.shape, dtype=np.bool_)
        return cls(grid, metrics, dict(directions), fingerprint, mask, provenance or Provenance(), created)

    def update(self, point: int, values: Mapping[str, tuple[float, float]]) -> None:
        """Enter the mean and std of every metric at one point and mark it as evaluated."""
        for name, metric in self.metrics.items():
            metric.values.flat[point], metric.std.flat[point] = values[name]
        self.evaluated.flat[point] = True

    def pending(self) -> NDArray[np.int64]:
        """Points not yet evaluated, in scan order."""
        order = self.grid.scan_order()
        return order[~self.evaluated.ravel()[order]]

    @property
    def num_evaluated(self) -> int:
        """How many points are final."""
        return int(self.evaluated.sum())

    @property
    def complete(self) -> bool:
        """Whether every point is final."""
        return bool(self.evaluated.all())

    def __getitem__(self, name: str) -> FloatArray:
        """(S, N[, M]) values of a metric, such as ``surface["train_loss"]``."""
        return self.metrics[name].values
