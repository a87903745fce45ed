"""The curvature at the checkpoint that a config asks for: measured one after the other, into the file."""

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
from torch import nn

from landscape_cli.components import NAME_PATTERN
from landscape_cli.compute.asked import Asked
from landscape_cli.compute.curvature.context import Context, Measure
from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.curvature.table import CURVATURE, options_of
from landscape_cli.compute.device import device_errors
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.instantiate import Target, bind
from landscape_cli.compute.memory import budget, free_bytes
from landscape_cli.compute.normalization import Units, layout_of
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.observer import Observer
from landscape_cli.compute.passes import StoppedError
from landscape_cli.compute.recalibration import Recalibration
from landscape_cli.compute.residency import Split, place
from landscape_cli.errors import AsymmetryError, EvaluationError, LandscapeError
from landscape_cli.records import Cost, Curvature, FloatArray, Record
from landscape_cli.surface import Surface

_CROSS_ENTROPY = ("cross_entropy", "torch.nn.functional.cross_entropy", "torch.nn.CrossEntropyLoss")
_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass
class CurvatureStage:
    """Measures what the section ``curvature`` of a config asks for.

    Args:
        asked: What is asked for.
        output: The surface file; None where there is none.
        own: Functions of the caller by name, besides the built-in measures.
        read: From a dotted key to that entry of the checkpoint; None for a model in hand.
        observer: Is told how many passes are done.
        should_stop: Asked between chunks of data.
    """

    asked: Asked
    output: Path | None
    own: Mapping[str, Target]
    read: Callable[[str], object] | None
    observer: Observer
    should_stop: Callable[[], bool]
    # a factory: a function as the default would be a method
    _tell: Callable[[], None] = field(default_factory=lambda: lambda: None, init=False)
    _parts: list[Objective] = field(default_factory=list, init=False)
    _written: Journal = field(init=False)  # of the last measure; not needed any more once that is saved
    _spent: Cost = field(default=Cost(), init=False)  # by parts that are done

    def check(self) -> None:
        """Refuse what cannot be measured, before anything is: unknown names and options, parameters, splits, entries.

        Raises:
            ConfigError: Of the config.
            CheckpointError: A measure needs an entry of the checkpoint that is not there.
        """
        _ = self.asked.decayed, self.asked.budget(tuple(self.asked.measures))
        for name, component in self.asked.measures.items():
            self._function(name)
            state = options_of(component).get("state") if component.target in CURVATURE else None
            if isinstance(state, str) and self.read is not None:
                self.read(state)

    def begin(self, surface: Surface) -> None:
        """Enter what is missing, which a surface says of itself until it is there."""
        records = dict(surface.curvature.records) if surface.curvature else {}
        pending = self.asked.pending(surface)
        short = [name for name in pending if self.asked.is_short(name, surface)]
        anew = [name for name in pending if name in records and name not in short]
        for names, how in ((anew, "with other settings"), (short, "in fewer slices")):
            if names:
                self.observer.note(f"note: measured {how} before, and now anew: {', '.join(names)}")
        surface.curvature = Curvature(records, pending)

    def close(self) -> None:
        """Give back graphs and threads, where anything was measured."""
        if "objective" in vars(self):
            self.objective.close()

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
                record = self._record(name, sum(records[n].cost.passes for n in self.asked.measures if n in records))
            except StoppedError:
                return
            except LandscapeError as error:
                failures.append(error)
                continue
            records[name] = record
            left = tuple(each for each in surface.curvature.pending if each != name)
            surface.curvature = Curvature(dict(records), left)
            saver.save(always=True)
            self._written.remove()
        if self.output is not None:  # of a measure that is not asked for any more
            with contextlib.suppress(OSError):
                _path_of_journal(self.output).unlink(missing_ok=True)
        if failures:
            raise failures[0]

    def _record(self, name: str, num_passes_before: int) -> Record:
        objective = self.objective
        total = self.asked.budget(tuple(self.asked.measures)).passes
        start, notes = objective.cost, list[str]()

        def tell() -> None:
            passes = (objective.cost - start + self._spent).passes + sum(part.cost.passes for part in self._parts)
            self.observer.progress("curvature", min(total, num_passes_before + passes), total)

        self._tell = tell
        self._spent = Cost()
        try:
            values = self._values(name, notes.append)
        except AsymmetryError:
            if self.asked.section.hvp != "auto" or not objective.is_exact:
                raise
            objective.use_differences()
            notes.append("products by double backward contradict each other: a second derivative of torch is wrong")
            values = self._values(name, notes.append)
        cost = objective.cost - start + self._spent
        return Record(
            values=values,
            settings=self.asked.settings_of(name),
            cost=cost,
            method=objective.method if cost.products else "",
            notes=tuple(notes),
        )

    def _values(self, name: str, note: Callable[[str], None]) -> dict[str, FloatArray]:
        function, target = self._function(name), self.asked.measures[name].target
        journal = self._written = self._journal(name)
        context = self._context(HessianOperator(self.objective, journal), note)
        failures = device_errors if target in CURVATURE else _failures_of_users
        try:
            with failures(f"curvature.measures.{name}"):
                found: object = function(context)
        except LandscapeError:
            journal.remove()
            raise
        finally:
            journal.close()
            self.objective.move(None)
            self.objective.release()
        if not isinstance(found, Mapping):
            raise EvaluationError(
                f"curvature.measures.{name}: {target} returned a {type(found).__name__}; expected a mapping from names "
                "to numbers or arrays"
            )
        return {_checked(name, key): _as_array(name, key, value) for key, value in found.items()}

    def _function(self, name: str) -> Measure:
        where = partial(self.asked.settings.where, "curvature", "measures", name)
        return cast(Measure, bind(self.asked.measures[name], where, {**CURVATURE, **self.own}, num_positional=1))

    def _journal(self, name: str) -> Journal:
        if self.output is None:
            return Journal(None, b"", self.objective.dtype, self.objective.device)
        identity = {"scan": self.asked.worker.problem.identity, "measure": self.asked.settings_of(name)}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()
        return Journal(_path_of_journal(self.output), key, self.objective.dtype, self.objective.device)

    def _context(self, operator: HessianOperator, note: Callable[[str], None]) -> Context:
        problem = self.asked.worker.problem
        model = self.asked.worker.network.model
        estimates = problem.has_batchnorm and problem.recalibration is None
        return Context(
            objective=self.objective,
            operator=operator,
            part=self._part,
            draw=problem.draw,
            num_slices=problem.grid.num_slices,
            layers=_layers_of(model),
            is_cross_entropy=self.asked.settings.loss.target in _CROSS_ENTROPY,
            recalibrate=self._recalibrate if estimates else None,
            read=self.read,
            parameter_names=tuple(name for name, _ in model.named_parameters()),
            note=note,
        )

    def _recalibrate(self, model: nn.Module) -> None:
        Recalibration(model, self._split, self.asked.settings.evaluation.recalibration.num_examples)(model)

    # ------------------------------------------------------------ the loss

    @cached_property
    def _split(self) -> Split:
        """The data in the precision of the curvature."""
        own, dtype = self.asked.worker.splits[self.asked.split], _DTYPES[self.asked.precision]
        if own.dtype == dtype:
            return own
        memory = self.asked.settings.runtime.memory.device
        with device_errors("moving the data to the device"):
            limit = budget(None if memory == "auto" else memory, free_bytes(self.asked.worker.device))
            return place(own.batches, self.asked.worker.device, dtype, limit)

    @cached_property
    def _model(self) -> nn.Module:
        """At the checkpoint, in the precision of the curvature."""
        network = self.asked.worker.network
        network.use(torch.contiguous_format)
        network.move_to(self.asked.worker.centre, ())
        with torch.inference_mode(mode=False):
            return copy.deepcopy(network.model).to(_DTYPES[self.asked.precision])

    @cached_property
    def objective(self) -> Objective:
        """The loss around the checkpoint, by the selected parameters."""
        return self._make(self.asked.names)

    def _make(self, names: Sequence[str]) -> Objective:
        return Objective(
            self._model,
            self.asked.worker.problem.metrics["loss"],
            self._split,
            names=names,
            num_examples=self.asked.section.num_examples,
            way=self.asked.section.hvp,
            weight_decay=self.asked.section.objective.weight_decay,
            decayed=self.asked.decayed,
            keeps_graphs=True,
            should_stop=self.should_stop,
            on_pass=self._after_pass,
        )

    @contextlib.contextmanager
    def _part(self, names: Sequence[str]) -> Iterator[tuple[Objective, HessianOperator]]:
        objective = self._make(names)
        if not self.objective.is_exact:
            objective.use_differences()
        self._parts.append(objective)
        journal = Journal(None, b"", objective.dtype, objective.device)
        try:
            yield objective, HessianOperator(objective, journal)
        finally:
            objective.close()
            self._spent += objective.cost
            self._parts.remove(objective)

    def _after_pass(self) -> None:
        self._tell()


def _layers_of(model: nn.Module) -> dict[str, Units]:
    """Name of a weight → its output units, in groups where those of a convolution see different inputs."""
    layout = dict(layout_of(model))
    for prefix, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            layout[f"{prefix}.weight".lstrip(".")] = Units(0, module.groups)
    return layout


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
