"""What is measured from the model beside the grid: the curvature at the checkpoint, and the map of it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic import JsonValue
from torch import nn

from landscape_cli.axes import Selection
from landscape_cli.beside import CurvatureConfig
from landscape_cli.components import NAME_PATTERN, Component
from landscape_cli.compute.curvature.context import Context, Measure
from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.curvature.table import CURVATURE, expanded, options_of, planned
from landscape_cli.compute.device import device_errors
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.instantiate import Target, bind
from landscape_cli.compute.memory import budget, free_bytes
from landscape_cli.compute.objective import Objective, StoppedError
from landscape_cli.compute.observer import Observer
from landscape_cli.compute.recalibration import Recalibration
from landscape_cli.compute.residency import Split, place
from landscape_cli.compute.selection import select
from landscape_cli.compute.sources import split_or_default
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Settings
from landscape_cli.errors import EvaluationError, LandscapeError
from landscape_cli.records import Cost, Curvature, FloatArray, Record
from landscape_cli.surface import Surface

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass
class CurvatureStage:
    """Measures what the section ``curvature`` of a config asks for.

    Args:
        section: The section of the config.
        worker: Has the model and the data.
        settings: The config.
        output: The surface file; None where there is none.
        own: Functions of the caller by name, besides the built-in measures.
        read: From a dotted key to that entry of the checkpoint; None for a model in hand.
        observer: Is told how many passes are done.
        should_stop: Asked between chunks of data.
    """

    section: CurvatureConfig
    worker: Worker
    settings: Settings
    output: Path | None
    own: Mapping[str, Target]
    read: Callable[[str], object] | None
    observer: Observer
    should_stop: Callable[[], bool]
    # a factory: a function as the default would be a method
    _tell: Callable[[], None] = field(default_factory=lambda: lambda: None, init=False)
    _parts: list[Objective] = field(default_factory=list, init=False)

    # ------------------------------------------------------------ what is asked for

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
            "precision": self._precision,
            "batchnorm": self.settings.evaluation.batchnorm if problem.has_batchnorm else None,
            "hvp": section.hvp,
        }

    @property
    def _precision(self) -> str:
        default = "float64" if self.worker.problem.precision == "float64" else "float32"
        return self.section.precision or default

    def settings_of(self, name: str) -> dict[str, JsonValue]:
        """What decides the numbers of one measure."""
        component = self.measures[name]
        return {**self.common, "measure": component.target, "options": options_of(component)}

    def pending(self, surface: Surface) -> tuple[str, ...]:
        """The measures that a surface lacks, or has with other settings."""
        known = surface.curvature.records if surface.curvature else {}
        return tuple(n for n in self.measures if n not in known or dict(known[n].settings) != self.settings_of(n))

    def check(self) -> None:
        """Refuse what names no parameters or no split, before anything is measured.

        Raises:
            ConfigError: There is no such parameter or split.
        """
        self._decayed()
        self.budget(tuple(self.measures))

    def begin(self, surface: Surface) -> None:
        """Enter what is missing, which a surface says of itself until it is there."""
        records = dict(surface.curvature.records) if surface.curvature else {}
        pending = self.pending(surface)
        anew = ", ".join(name for name in pending if name in records)
        if anew:
            self.observer.note(f"note: measured with other settings before, and now anew: {anew}")
        surface.curvature = Curvature(records, pending)

    def in_words(self) -> str:
        """``6 measures, 133 passes over 1,437 examples of train``."""
        examples = f"{self.common['num_examples']:,} examples of {self.split}"
        passes = self.budget(tuple(self.measures)).passes
        where = "" if self.section.parameters is None else f", by {self.common['num_parameters']:,} parameters"
        count = len(self.measures)
        return f"{count} measure{'' if count == 1 else 's'}, {passes:,} passes over {examples}{where}"

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

    # ------------------------------------------------------------ measuring

    def run(self, surface: Surface, saver: Saver) -> None:
        """Measure what is missing, saving after each measure; what fails does not keep the others from being measured.

        Raises:
            LandscapeError: The first of what failed.
        """
        assert surface.curvature is not None  # begun
        records = dict(surface.curvature.records)
        failures: list[LandscapeError] = []
        for name in surface.curvature.pending:
            try:
                record = self._record(name, sum(records[n].cost.passes for n in self.measures if n in records))
            except StoppedError:
                return
            except LandscapeError as error:
                failures.append(error)
                continue
            records[name] = record
            left = tuple(each for each in surface.curvature.pending if each != name)
            surface.curvature = Curvature(dict(records), left)
            saver.save(always=True)
        if self.output is not None:  # of a measure that is not asked for any more
            _path_of_journal(self.output).unlink(missing_ok=True)
        if failures:
            raise failures[0]

    def _record(self, name: str, num_passes_before: int) -> Record:
        objective = self.objective
        total = self.budget(tuple(self.measures)).passes
        start, notes = objective.cost, list[str]()

        def tell() -> None:
            passes = (objective.cost - start).passes + sum(part.cost.passes for part in self._parts)
            self.observer.progress("curvature", min(total, num_passes_before + passes), total)

        self._tell = tell
        journal = self._journal(name)
        context = self._context(HessianOperator(objective, journal), notes.append)
        self._parts.clear()  # those of a measure that has failed
        try:
            values = self._values(name, context)
        except LandscapeError:
            journal.remove()
            raise
        finally:
            journal.close()
            objective.move(None)
            objective.release()
        journal.remove()
        cost = objective.cost - start
        for part in self._parts:
            cost += part.cost
        self._parts.clear()
        return Record(
            values=values,
            settings=self.settings_of(name),
            cost=cost,
            method=objective.method if cost.products else "",
            notes=tuple(notes),
        )

    def _values(self, name: str, context: Context) -> dict[str, FloatArray]:
        function, target = self._function(name), self.measures[name].target
        failures = device_errors if target in CURVATURE else _failures_of_users
        with failures(f"curvature.measures.{name}"):
            found: object = function(context)
        if not isinstance(found, Mapping):
            raise EvaluationError(
                f"curvature.measures.{name}: {target} returned a {type(found).__name__}; expected a mapping from names "
                "to numbers or arrays"
            )
        return {_checked(name, key): _as_array(name, key, value) for key, value in found.items()}

    def _function(self, name: str) -> Measure:
        where = partial(self.settings.where, "curvature", "measures", name)
        return cast(Measure, bind(self.measures[name], where, {**CURVATURE, **self.own}, num_positional=1))

    def _journal(self, name: str) -> Journal:
        if self.output is None:
            return Journal(None, b"", self.objective.dtype, self.objective.device)
        identity = {"scan": self.worker.problem.identity, "measure": self.settings_of(name)}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()
        return Journal(_path_of_journal(self.output), key, self.objective.dtype, self.objective.device)

    def _context(self, operator: HessianOperator, note: Callable[[str], None]) -> Context:
        problem = self.worker.problem
        model = self.worker.network.model
        estimates = problem.has_batchnorm and problem.recalibration is None
        return Context(
            objective=self.objective,
            operator=operator,
            part=self._part,
            draw=problem.draw,
            num_slices=problem.grid.num_slices,
            is_cross_entropy=self.settings.loss.name in ("cross_entropy", "CrossEntropyLoss"),
            recalibrate=self._recalibrate if estimates else None,
            read=self.read,
            parameter_names=tuple(name for name, _ in model.named_parameters()),
            note=note,
        )

    def _recalibrate(self, model: nn.Module) -> None:
        Recalibration(model, self._split, self.settings.evaluation.recalibration.num_examples)(model)

    # ------------------------------------------------------------ the loss

    @cached_property
    def _split(self) -> Split:
        """The data in the precision of the curvature."""
        own, dtype = self.worker.splits[self.split], _DTYPES[self._precision]
        if own.dtype == dtype:
            return own
        memory = self.settings.runtime.memory.device
        with device_errors("moving the data to the device"):
            limit = budget(None if memory == "auto" else memory, free_bytes(self.worker.device))
            return place(own.batches, self.worker.device, dtype, limit)

    @cached_property
    def _model(self) -> nn.Module:
        """At the checkpoint, in the precision of the curvature."""
        network = self.worker.network
        network.use(torch.contiguous_format)
        network.move_to(self.worker.centre, ())
        with torch.inference_mode(mode=False):
            return copy.deepcopy(network.model).to(_DTYPES[self._precision])

    @cached_property
    def objective(self) -> Objective:
        """The loss around the checkpoint, by the selected parameters."""
        return self._make(self.names)

    def _make(self, names: Sequence[str]) -> Objective:
        return Objective(
            self._model,
            self.worker.problem.metrics["loss"],
            self._split,
            names=names,
            num_examples=self.section.num_examples,
            way=self.section.hvp,
            weight_decay=self.section.objective.weight_decay,
            decayed=self._decayed(),
            keeps_graphs=True,
            should_stop=self.should_stop,
            on_pass=self._after_pass,
        )

    def _decayed(self) -> list[str]:
        where = self.settings.where("curvature", "objective", "parameters")
        return select(self.worker.problem.drawing.params, self.section.objective.parameters, where)

    def _part(self, names: Sequence[str]) -> tuple[Objective, HessianOperator]:
        objective = self._make(names)
        self._parts.append(objective)
        journal = Journal(None, b"", objective.dtype, objective.device)
        return objective, HessianOperator(objective, journal)

    def _after_pass(self) -> None:
        self._tell()


@contextlib.contextmanager
def _failures_of_users(what: str) -> Iterator[None]:
    try:
        yield
    except (LandscapeError, StoppedError):
        raise
    except Exception as error:  # the user's function may raise anything
        raise EvaluationError(f"{what} raised {type(error).__name__}: {error}") from error


def _path_of_journal(output: Path) -> Path:
    path = output.resolve()
    return path.with_name(f".{path.name}.products")


def _checked(measure: str, key: object) -> str:
    if isinstance(key, str) and re.match(NAME_PATTERN, key):
        return key
    raise EvaluationError(
        f"curvature.measures.{measure}: found the name {key!r} of a number; expected letters, digits and _"
    )


def _as_array(measure: str, name: str, value: object) -> FloatArray:
    if isinstance(value, int | float | np.ndarray | np.number):
        with contextlib.suppress(TypeError, ValueError):  # an array of something else than numbers
            return np.asarray(value, dtype=np.float64)
    raise EvaluationError(
        f"curvature.measures.{measure}: {name} is a {type(value).__name__}; expected a number or an array"
    )
