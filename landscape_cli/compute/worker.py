"""A problem on one device: the model that is moved, the data, and the planes of the slices."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from landscape_cli.compute.device import device_errors, settle
from landscape_cli.compute.evaluate import Evaluator, Values, never
from landscape_cli.compute.memory import budget, free_bytes
from landscape_cli.compute.network import Network
from landscape_cli.compute.parts import Parted
from landscape_cli.compute.plan import DEFAULT_CHUNK, Plan
from landscape_cli.compute.precision import DTYPES, Precision
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.recalibration import Recalibration
from landscape_cli.compute.residency import Split, place
from landscape_cli.compute.subspace import Coordinates, Params, Subspace
from landscape_cli.errors import EvaluationError

# Planes are drawn and moved again when the scan comes back to a slice, unless they fit in here.
_PLANE_CACHE_BYTES = 1 << 30


class Worker:
    """Measures a problem on a device. Takes over the problem's model.

    Args:
        problem: What to measure.
        device: Where.
        data_bytes: What the data may take of the device; None for 40 % of what is free.
        note: Told what the user should know.
    """

    def __init__(
        self,
        problem: Problem,
        device: torch.device,
        data_bytes: int | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.problem, self.device, self.say = problem, device, note
        dtype = DTYPES[problem.precision]
        with device_errors("moving the model and the data to the device"):
            model = settle(problem.model, device)
            self.network = Network(model, problem.metrics, moves_statistics=problem.moves_statistics)
            live = self.network.moved_tensors()  # on several devices where the model is
            self._weights = {name: tensor.to(live[name].device) for name, tensor in problem.origin.items()}
            left = budget(data_bytes, free_bytes(device))
            self.splits: dict[str, Split] = {}
            for name, batches in problem.splits.items():
                split = place(batches, device, dtype, left)
                left = None if left is None else max(0, left - split.nbytes_on_device)
                self.splits[name] = split
            if problem.recalibration is not None:
                name, num_examples = problem.recalibration
                self.network.recalibrate = Recalibration(model, self.splits[name], num_examples)
        self._centre = Subspace(self._weights, ())
        self._planes: dict[int, Subspace] = {}
        self._bits: dict[int, Params] = {}
        self._memory_format = self.network.memory_format
        self._evaluator = self.evaluator(self.reference_plan)

    @cached_property
    def radius(self) -> Worker:
        """The same network, data and plan on the line of the radius."""
        assert self.problem.radius is not None  # who asks has one
        beside = copy.copy(self)
        beside.problem, beside._planes, beside._bits = self.problem.radius, {}, {}
        return beside

    @property
    def num_examples(self) -> int:
        """Of all splits together."""
        return sum(map(len, self.splits.values()))

    @property
    def num_parameter_bytes(self) -> int:
        """Of one set of weights."""
        return sum(tensor.nbytes for tensor in self._weights.values())

    @property
    def reference_plan(self) -> Plan:
        """`sequential` in chunks as configured, or of 256 examples."""
        sizes = {
            name: min(split.batches.batch_size or DEFAULT_CHUNK, len(split)) for name, split in self.splits.items()
        }
        return Plan("sequential", sizes, num_threads=torch.get_num_threads() if self.device.type == "cpu" else 1)

    def _say(self, message: str) -> None:
        self.say(message)  # a helper process replaces it

    def evaluator(self, plan: Plan, precision: Precision | None = None) -> Evaluator:
        """An evaluator of its own for the network and the data of this worker."""
        return Evaluator(self.network, self.splits, precision or self.problem.precision, plan, self._say)

    @property
    def plan(self) -> Plan:
        """How points are evaluated; it is halved when memory does not suffice."""
        return self._evaluator.plan

    def use(self, plan: Plan) -> None:
        """Go on with another plan, on as many threads as it says."""
        self._evaluator.use(plan)
        if self.device.type == "cpu" and torch.get_num_threads() != plan.num_threads:
            torch.set_num_threads(plan.num_threads)

    def measure(self, points: Sequence[int], should_stop: Callable[[], bool] = never) -> list[Values] | None:
        """Evaluate every metric at points of one slice of the grid; None when stopped."""
        slices, coordinates = zip(*map(self.problem.grid.location, points), strict=True)
        assert len(set(slices)) == 1
        return self._evaluator.evaluate(self.place(slices[0]), coordinates, should_stop)

    def measure_at(self, slice_index: int, coordinates: Coordinates) -> Values:
        """Evaluate every metric anywhere in the line or plane of a slice, one point at a time."""
        values = self._evaluator.evaluate(self.place(slice_index), [coordinates])
        assert values is not None  # nobody can stop it
        return values[0]

    def measure_centre(self, should_stop: Callable[[], bool] = never) -> Values | None:
        """Evaluate every metric at the checkpoint itself; None when stopped."""
        values = self._evaluator.evaluate(self.centre, [()], should_stop)
        return None if values is None else values[0]

    @property
    def centre(self) -> Subspace:
        """The checkpoint alone: a subspace without directions, whose one point has the coordinates ()."""
        self._lay_out()
        return self._centre

    def place(self, slice_index: int) -> Subspace | Parted:
        """Where the points of one slice lie: its line or plane, or a line for every part of the data."""
        plane = self.plane(slice_index)
        if self.problem.num_parts == 1:
            return plane
        if slice_index not in self._bits:
            drawn = self.problem.drawing.bits(slice_index)
            size = sum(tensor.nbytes for tensor in drawn.values())
            if size * (len(self._bits) + 1) > _PLANE_CACHE_BYTES:
                self._bits.clear()
            self._bits[slice_index] = self._move(drawn)
        return Parted(plane, self._bits[slice_index], self.problem.num_parts)

    def plane(self, slice_index: int) -> Subspace:
        """The line or plane of one slice, on the device."""
        self._lay_out()
        if slice_index not in self._planes:
            size = sum(tensor.nbytes for tensor in self._weights.values()) * len(self.problem.grid.axes)
            if size * (len(self._planes) + 1) > _PLANE_CACHE_BYTES:
                self._planes.clear()
            drawn = self.problem.draw(slice_index)
            try:
                moved = [self._move(direction) for direction in drawn]
            except EvaluationError:  # other slices may take the memory
                self._planes.clear()
                torch.cuda.empty_cache()
                moved = [self._move(direction) for direction in drawn]
            self._planes[slice_index] = Subspace(self._weights, tuple(map(self.network.laid_out, moved)))
        return self._planes[slice_index]

    def _move(self, direction: Params) -> Params:
        with device_errors("moving the directions to the device"):
            return {name: tensor.to(self._weights[name].device) for name, tensor in direction.items()}

    def _lay_out(self) -> None:
        """Follow the engine in how weights lie in memory, so that moving them is a plain copy."""
        if self._memory_format != self.network.memory_format:
            self._memory_format = self.network.memory_format
            self._weights = self.network.laid_out(self._weights)
            self._centre = Subspace(self._weights, ())
            self._planes.clear()
