"""What a config asks of the curvature: which measures, of which parameters, on which data, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import JsonValue

from landscape_cli.axes import Selection
from landscape_cli.beside import CurvatureConfig
from landscape_cli.components import Component
from landscape_cli.compute.curvature.table import CURVATURE, expanded, options_of, planned
from landscape_cli.compute.selection import select
from landscape_cli.compute.sources import split_or_default
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Settings
from landscape_cli.records import Cost
from landscape_cli.surface import Surface


@dataclass
class Asked:
    """What the section ``curvature`` of a config asks for.

    Args:
        section: The section.
        worker: Has the model and the data.
        settings: The config.

    Raises:
        ConfigError: From any of these: there is no such parameter or split.
    """

    section: CurvatureConfig
    worker: Worker
    settings: Settings

    @cached_property
    def measures(self) -> dict[str, Component]:
        """The measures by name."""
        return expanded(self.section.measures)

    @cached_property
    def names(self) -> list[str]:
        """Of the parameters to differentiate by."""
        where = self.settings.where("curvature", "parameters")
        return select(self.worker.problem.drawing.params, self.section.parameters, where)

    @cached_property
    def split(self) -> str:
        """Of the data."""
        where = self.settings.where("curvature", "split")
        return split_or_default(self.section.split, self.worker.splits, where)

    @cached_property
    def common(self) -> dict[str, JsonValue]:
        """What decides every number, beside the identity of the scan."""
        section, problem = self.section, self.worker.problem
        num_examples = len(self.worker.splits[self.split])
        decayed = section.objective.parameters
        return {
            "split": self.split,
            "num_examples": min(section.num_examples or num_examples, num_examples),
            "num_parameters": sum(problem.drawing.params[name].numel() for name in self.names),
            "parameters": None if section.parameters is None else section.parameters.model_dump(mode="json"),
            "weight_decay": section.objective.weight_decay,
            "decayed": None if decayed is None else decayed.model_dump(mode="json"),
            "precision": self.precision,
            "batchnorm": self.settings.evaluation.batchnorm if problem.has_batchnorm else None,
            "hvp": section.hvp,
        }

    @property
    def precision(self) -> str:
        """Of the curvature."""
        default = "float64" if self.worker.problem.precision == "float64" else "float32"
        return self.section.precision or default

    def settings_of(self, name: str) -> dict[str, JsonValue]:
        """What decides the numbers of one measure."""
        component = self.measures[name]
        return {**self.common, "measure": component.target, "options": options_of(component)}

    def pending(self, surface: Surface) -> tuple[str, ...]:
        """The measures that a surface lacks, or has with other settings or of fewer slices than it would now."""
        known = surface.curvature.records if surface.curvature else {}
        return tuple(
            n
            for n in self.measures
            if n not in known or dict(known[n].settings) != self.settings_of(n) or self.is_short(n, surface)
        )

    def is_short(self, name: str, surface: Surface) -> bool:
        """Whether the record of a measure has fewer slices than it would have now: the grid has grown since."""
        record = surface.curvature.records.get(name) if surface.curvature else None
        slices = options_of(self.measures[name]).get("slices")
        if record is None or self.measures[name].target != "slice_curvature" or not isinstance(slices, int):
            return False
        return len(np.atleast_1d(record.values.get("per_slice", ()))) < min(slices, surface.grid.num_slices)

    @cached_property
    def decayed(self) -> list[str]:
        """The parameters that weight decay is added for."""
        where = self.settings.where("curvature", "objective", "parameters")
        return select(self.worker.problem.drawing.params, self.section.objective.parameters, where)

    def in_words(self, surface: Surface) -> str:
        """``6 measures, 133 passes over 1,437 examples of train``: what a surface lacks of it."""
        examples = f"{self.common['num_examples']:,} examples of {self.split}"
        pending = self.pending(surface)
        passes = self.budget(pending).passes
        where = "" if self.section.parameters is None else f", by {self.common['num_parameters']:,} parameters"
        done = len(self.measures) - len(pending)
        before = f" ({done} done before)" if done else ""
        count = f"{len(pending)} measure{'' if len(pending) == 1 else 's'}{before}"
        words = f"{count}, {passes:,} passes over {examples}{where}" if pending else f"nothing to do{before}"
        if self.section.map is None:
            return words
        points, known = self.worker.problem.grid.num_points, surface.curvature_map
        left = points - (known.num_evaluated if known is not None else 0)
        return f"{words}; a map of {left:,} points to do, at most {self.section.map.max_products} products each"

    def budget(self, names: Sequence[str]) -> Cost:
        """The passes that measures take at most."""
        size, grid = int(str(self.common["num_parameters"])), self.worker.problem.grid
        total = Cost()
        for name in names:
            total += planned(
                self.measures[name],
                size,
                grid.num_slices,
                len(grid.axes),
                has_batchnorm=self.worker.problem.has_batchnorm and self.worker.problem.recalibration is None,
                num_layers=self._num_layers(name),
            )
        return total

    def _num_layers(self, name: str) -> int:
        """Weight matrices that the option ``layers`` of a measure names; 1 without one."""
        layers, params = options_of(self.measures[name]).get("layers"), self.worker.problem.drawing.params
        if self.measures[name].target not in CURVATURE or not isinstance(layers, list):
            return 1
        matrices = [each for each in self.names if params[each].ndim > 1]
        where = self.settings.where("curvature", "measures", name, "layers")
        return len(select(matrices, Selection(include=tuple(map(str, layers))), where))
