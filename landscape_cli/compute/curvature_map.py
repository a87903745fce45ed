"""The extreme eigenvalues of the Hessian at every point of the grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from landscape_cli.beside import MapConfig
from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.lanczos import ends
from landscape_cli.compute.measure import CurvatureStage
from landscape_cli.compute.passes import StoppedError
from landscape_cli.compute.subspace import Coordinates, parameters_of, statistics_of
from landscape_cli.errors import NonFiniteError
from landscape_cli.identity import fingerprint
from landscape_cli.records import Cost, Curvature, Record
from landscape_cli.surface import Metric, Surface

_METRICS = ("lambda_max", "lambda_max_residual", "lambda_min", "lambda_min_residual")


def fingerprint_of_map(settings: Mapping[str, JsonValue], scan: str) -> str:
    """Of the map with these settings beside the grid of the scan with that fingerprint."""
    return fingerprint({**settings, "scan": scan})


@dataclass
class MapStage:
    """λ_min and λ_max at every point of the grid (Li et al. 2018, arXiv:1712.09913, fig. 7).

    Args:
        section: The section of the config.
        curvature: Has the loss, and the options that hold for both.
    """

    section: MapConfig
    curvature: CurvatureStage

    def begin(self, surface: Surface) -> None:
        """Enter an empty map, unless there is this one."""
        own, existing = fingerprint_of_map(self._settings, surface.fingerprint), surface.curvature_map
        if existing is not None and existing.fingerprint == own:
            return
        if existing is not None:
            self.curvature.observer.note("note: the map was measured with other settings before, and now anew")
        self._enter(surface, Cost(), "")
        shape, count = surface.grid.shape, int(str(self.curvature.asked.common["num_examples"]))
        metrics = {
            name: Metric(np.full(shape, np.nan), np.full(shape, np.nan), math.nan, math.nan, count) for name in _METRICS
        }
        mask = np.zeros(shape, dtype=np.bool_)
        surface.curvature_map = Surface(surface.grid, metrics, surface.directions, own, mask, surface.provenance)

    @property
    def _settings(self) -> dict[str, JsonValue]:
        options: JsonValue = self.section.model_dump(mode="json")
        return {**self.curvature.asked.common, "measure": "map", "options": options}

    def _enter(self, surface: Surface, cost: Cost, method: str) -> None:
        """The record of the map: how it was made, and what it has cost so far."""
        before = surface.curvature or Curvature({})
        records = {**before.records, "map": Record({}, self._settings, cost, method)}
        surface.curvature = Curvature(records, before.pending)

    def run(self, surface: Surface, saver: Saver, should_stop: Callable[[], bool]) -> None:
        """Fill what is missing; a point where the loss or a product is not finite has NaN."""
        target, stage = surface.curvature_map, self.curvature
        assert target is not None  # begun
        objective, spent = stage.objective, Cost()
        if surface.curvature is not None and "map" in surface.curvature.records:
            spent = surface.curvature.records["map"].cost
        start = objective.cost
        operator = HessianOperator(objective, Journal(None, b"", objective.dtype, objective.device))
        try:
            for point in target.pending().tolist():
                if should_stop():
                    break
                slice_index, coordinates = target.grid.location(point)
                self._go(slice_index, coordinates)
                target.update(point, {name: (value, math.nan) for name, value in self._values(operator).items()})
                self._enter(surface, spent + (objective.cost - start), objective.method)
                saver.after_points()
                stage.observer.progress("map", target.num_evaluated, target.grid.num_points)
        except StoppedError:
            pass
        finally:
            saver.save()

    def _go(self, slice_index: int, coordinates: Coordinates) -> None:
        worker = self.curvature.asked.worker
        worker.network.move_to(worker.plane(slice_index), coordinates)
        model = worker.network.model
        self.curvature.objective.place(parameters_of(model), statistics_of(model))

    def _values(self, operator: HessianOperator) -> dict[str, float]:
        try:
            found = ends(
                operator,
                operator.size,
                max_products=self.section.max_products,
                tolerance=self.section.tolerance,
                device=operator.device,
                dtype=operator.dtype,
                symmetric_to=operator.symmetric_to,
            )
        except NonFiniteError:
            return dict.fromkeys(_METRICS, math.nan)
        return {
            "lambda_max": float(found.largest[0]),
            "lambda_max_residual": float(found.largest_residuals[0]),
            "lambda_min": float(found.smallest[0]),
            "lambda_min_residual": float(found.smallest_residuals[0]),
        }
