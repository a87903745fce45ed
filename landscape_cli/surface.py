"""Surface: named arrays over slices × grid, and a mask."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from landscape_cli.grid import Grid
from landscape_cli.records import Curvature

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass
class Metric:
    """One measured quantity on the grid, the mean over ``num_examples`` examples at each point.

    Attributes:
        values: (S, N[, M[, L]]) means; NaN where not evaluated, and where the value itself is NaN.
        std: (S, N[, M[, L]]) sample standard deviations over the examples (ddof = 1; 0 for one example).
        centre, centre_std: The same two at the checkpoint itself, also when 0 is not on the grid.
        num_examples: n; the standard error of a value is std / √n. 0 where it is not known.
    """

    values: FloatArray
    std: FloatArray
    centre: float
    centre_std: float
    num_examples: int

    @property
    def standard_error(self) -> FloatArray:
        """(S, N[, M[, L]]) standard error of the mean: std / √n; NaN where n is not known."""
        return self.std / self._root

    @property
    def centre_standard_error(self) -> float:
        """Standard error of the mean at the checkpoint."""
        return self.centre_std / self._root

    @property
    def _root(self) -> float:
        return math.sqrt(self.num_examples) if self.num_examples else math.nan


@dataclass(frozen=True)
class Direction:
    """What one axis stands for.

    Attributes:
        recipe: As configured.
        norm: Euclidean length of the direction in each slice; NaN where it is not known.
        found: What making it has brought to light, such as an eigenvalue.
    """

    recipe: Mapping[str, JsonValue]
    norm: tuple[float, ...]
    found: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """A path of T checkpoints, projected into the line, plane or volume of every slice.

    Attributes:
        names: Of the T checkpoint files, in the order of the path.
        coordinates: (S, T, A) where the projection lies on the A axes; NaN, as ``missed``, where it is not known.
        missed: (S, T) how much of the displacement from the centre the projection misses: ‖r‖ / ‖θ_t − θ*‖ with r
            what is left over, from 0 (it lies in the plane) to 1; 0 for the centre itself.
        distance: (T,) ‖θ_t − θ*‖, Euclidean.
        explained_variance_ratio: (A,) share of the sum of squared distances along each axis that is a principal
            direction of the path; NaN for others.
    """

    names: tuple[str, ...]
    coordinates: FloatArray
    missed: FloatArray
    distance: FloatArray
    explained_variance_ratio: FloatArray

    def is_known_in(self, slice_index: int) -> bool:
        """Whether it was projected into a slice, and not left out when that was added."""
        return bool(np.isfinite(self.coordinates[slice_index]).all())


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


@dataclass(repr=False)
class Surface:
    """Metrics over slices × grid. ``evaluated`` alone says which values are final; NaN may be a true value.

    ``cosine`` (S, A, A) holds the cosines of the angles between the directions of the axes; None where they are not
    known. ``radius`` is a line of relative noise on the weights in directions of its own, ``curvature`` what was
    measured from the model, ``curvature_map`` the extreme eigenvalues of the Hessian at the points of the grid; each
    None where it was not asked for, the two surfaces with masks of their own. ``created``, ``updated`` and ``writer``
    are those of the file it was read from; saving sets them anew,
    ``created`` only where it is empty.
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
    cosine: FloatArray | None = None
    trajectory: Trajectory | None = None
    radius: Surface | None = None
    curvature: Curvature | None = None
    curvature_map: Surface | None = None

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

    def of_slices(self, slices: Sequence[int]) -> Surface:
        """The grid in these slices alone, with the path of checkpoints; what lies beside the grid is left as it is.

        Args:
            slices: From 0, in any order.
        """
        chosen = list(slices)
        metrics = {
            name: replace(metric, values=metric.values[chosen], std=metric.std[chosen])
            for name, metric in self.metrics.items()
        }
        directions = {
            name: replace(direction, norm=tuple(direction.norm[index] for index in chosen))
            for name, direction in self.directions.items()
        }
        path = self.trajectory
        if path is not None:
            path = replace(path, coordinates=path.coordinates[chosen], missed=path.missed[chosen])
        return replace(
            self,
            grid=Grid(self.grid.axes, len(chosen)),
            metrics=metrics,
            directions=directions,
            evaluated=self.evaluated[chosen],
            cosine=None if self.cosine is None else self.cosine[chosen],
            trajectory=path,
            curvature_map=None if self.curvature_map is None else self.curvature_map.of_slices(chosen),
        )

    def __repr__(self) -> str:
        """What it is, in a line."""
        shape = " × ".join(map(str, self.grid.shape))
        return f"Surface({shape}: {self.num_evaluated:,} of {self.grid.num_points:,} points, {', '.join(self.metrics)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: a picture, and what it is; needs no torch."""
        # analysis lies above this module, and is imported only where somebody looks
        shown: str = import_module("landscape_cli.analysis.notebook").html_of(self)
        return shown

    def cosines(self) -> dict[str, list[float]]:
        """The cosine between each pair of axes, such as ``"x, y"``, per slice; empty where there are none."""
        names = [axis.name for axis in self.grid.axes]
        pairs = list(itertools.combinations(range(len(names)), 2)) if self.cosine is not None else []
        cosine = np.empty(0) if self.cosine is None else self.cosine
        return {f"{names[i]}, {names[j]}": cosine[:, i, j].tolist() for i, j in pairs}

    @property
    def num_evaluated(self) -> int:
        """How many points are final."""
        return int(self.evaluated.sum())

    @property
    def complete(self) -> bool:
        """Whether every point of the grid is final."""
        return bool(self.evaluated.all())

    @property
    def finished(self) -> bool:
        """Whether everything that was asked for is there: the grid, and what was measured beside it."""
        beside = [each.complete for each in (self.radius, self.curvature_map) if each is not None]
        return self.complete and all(beside) and not (self.curvature is not None and self.curvature.pending)

    def __getitem__(self, name: str) -> FloatArray:
        """(S, N[, M[, L]]) values of a metric, such as ``surface["train_loss"]``."""
        return self.metrics[name].values
