"""Metrics of a network at points of weight space, over whole splits: sums in float64, one transfer to the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from landscape_cli.compute.device import OUT_OF_MEMORY, device_errors, is_out_of_memory
from landscape_cli.compute.engines.contract import Engine
from landscape_cli.compute.engines.table import ENGINES
from landscape_cli.compute.network import Network
from landscape_cli.compute.parts import Parted
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.precision import Precision, arithmetic
from landscape_cli.compute.residency import Split
from landscape_cli.compute.subspace import Coordinates, Subspace
from landscape_cli.errors import EvaluationError

# metric name ("train_loss") → mean and sample standard deviation over the examples
Values = dict[str, tuple[float, float]]


def never() -> bool:
    """Return False: the stop condition of an evaluation nobody can stop."""
    return False


class Evaluator:
    """Evaluates points according to a plan.

    Args:
        network: On the device of the splits.
        splits: Name → data; the names and those of the metrics make ``"train_loss"``.
        precision: Of the arithmetic.
        plan: Which engine, and how much at a time.
        note: Told when memory does not suffice and the plan is halved.
    """

    def __init__(
        self,
        network: Network,
        splits: Mapping[str, Split],
        precision: Precision,
        plan: Plan,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._network, self._splits, self._precision, self._note = network, splits, precision, note
        self.plan = plan
        self._engine: Engine | None = None

    def use(self, plan: Plan) -> None:
        """Go on with another plan."""
        if plan != self.plan:
            self.plan = plan
            self._engine = None

    def evaluate(
        self, subspace: Subspace | Parted, coordinates: Sequence[Coordinates], should_stop: Callable[[], bool] = never
    ) -> list[Values] | None:
        """Evaluate every metric on every split, exactly, at some points of one subspace, or on each part of the data of
        its own.

        Where memory does not suffice, the plan is halved for good and the points are evaluated again.

        Args:
            subspace: On the device.
            coordinates: Of each point. The points are taken K at a time; a last group that is smaller is filled up
                with copies of its last point, so that every value comes from the same kernels.
            should_stop: Asked before each piece of work.

        Returns:
            Mean and sample standard deviation of each metric at each point; None when stopped.

        Raises:
            EvaluationError: The model or a metric fails, or returns something else than expected.
            UnsupportedError: The engine of the plan cannot run the network.
        """
        while True:
            try:
                return self._evaluate(subspace, coordinates, should_stop)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self.plan.halved()
                if smaller is None:
                    raise EvaluationError("out of memory with one example at a time", hint=OUT_OF_MEMORY) from error
            # behind the except block: until then the error keeps the tensors of its frames alive
            self._note(f"out of memory: going on with {smaller.describe()}")
            self.use(smaller)
            torch.cuda.empty_cache()

    def _evaluate(
        self, subspace: Subspace | Parted, coordinates: Sequence[Coordinates], should_stop: Callable[[], bool]
    ) -> list[Values] | None:
        engine = self._engine = self._engine or ENGINES[self.plan.engine](self._network, self.plan.points_per_call)
        groups = _groups(coordinates, self.plan.points_per_call)
        device = next(iter(self._splits.values())).device
        shape = (len(groups), self.plan.points_per_call, len(self._network.metrics), 2)
        totals = {name: torch.zeros(shape, dtype=torch.float64, device=device) for name in self._splits}
        with torch.inference_mode(), arithmetic(self._precision, device):
            for name, split in self._splits.items():
                size, here, part = split.part_size(subspace.num_parts), subspace.of_part(0), 0
                for chunk in split.chunks(self.plan.chunk_sizes[name], subspace.num_parts):
                    if chunk.start // size != part:
                        part = chunk.start // size
                        here = subspace.of_part(part)
                    for i, group in enumerate(groups):
                        if should_stop():
                            return None
                        engine.move_to(here, group)
                        totals[name][i] += engine.sums(name, chunk)
            with device_errors("evaluating the model"):
                host = torch.stack(list(totals.values())).cpu()  # (splits, groups, K, metrics, 2)
        rows = host.flatten(1, 2)[:, : len(coordinates)].transpose(0, 1).tolist()
        return [self._values(row) for row in rows]

    def _values(self, sums: Sequence[Sequence[tuple[float, float]]]) -> Values:  # (splits, metrics, 2)
        return {
            f"{split}_{metric}": _mean_and_std(total, squares, len(self._splits[split]))
            for split, rows in zip(self._splits, sums, strict=True)
            for metric, (total, squares) in zip(self._network.metrics, rows, strict=True)
        }


def _groups(coordinates: Sequence[Coordinates], size: int) -> list[list[Coordinates]]:
    """Cut into groups of ``size``, the last one filled up with copies of its last element."""
    groups = [list(coordinates[start : start + size]) for start in range(0, len(coordinates), size)]
    groups[-1] += [groups[-1][-1]] * (size - len(groups[-1]))
    return groups


def _mean_and_std(total: float, squares: float, count: int) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof = 1) from sums; rounding below zero is zero, NaN stays NaN."""
    mean = total / count
    if count == 1:
        return mean, 0.0
    variance = (squares - total * mean) / (count - 1)
    return mean, math.sqrt(variance) if not variance < 0 else 0.0
