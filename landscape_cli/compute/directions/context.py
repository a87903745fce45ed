"""What a direction may depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from landscape_cli.compute.columns import Room
from landscape_cli.compute.normalization import Layout
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.subspace import Params


@dataclass(frozen=True)
class Weights:
    """The tensors of one checkpoint, on the CPU, in the types of the model.

    Attributes:
        params: The parameters; a tied tensor appears once.
        statistics: The running means and variances of BatchNorm.
    """

    params: Params
    statistics: Params


class Sources(Protocol):
    """What reaches beyond the weights at hand: other checkpoints, and the loss on the data."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the whole state dict, in its order."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of all parameters, in their order; a tied tensor appears once."""

    @property
    def first_names(self) -> Mapping[str, str]:
        """Name of a parameter or buffer → the first name of the same tensor; another one where it is tied."""

    @property
    def statistics(self) -> Params:
        """The running means and variances at the checkpoint of the scan."""

    @property
    def moves_statistics(self) -> bool:
        """Whether BatchNorm statistics move along with the weights."""

    @property
    def kept(self) -> dict[object, object]:
        """What one direction has made and another may use, until the directions are made."""

    def room(self) -> Room:
        """Where many checkpoints can be put."""

    def load(self, path: Path, key: str | None = None, prefix: str | None = None) -> Weights:
        """Another checkpoint of the same model.

        Raises:
            CheckpointError: It cannot be read, or does not fit the model.
        """

    def objective(self, names: tuple[str, ...], split: str | None, num_examples: int | None) -> Objective:
        """The mean loss on a split as a function of some parameters."""

    def note(self, message: str) -> None:
        """Tell the user something."""


def _forget(name: str, value: JsonValue) -> None:
    """Nobody asks for what was found."""


@dataclass(frozen=True)
class Context:
    """What a direction may depend on.

    Attributes:
        params: θ* on the CPU: the parameters that the direction may move.
        layout: The output units of every parameter.
        seed: ``slices.seed``.
        slice_index: Which draw.
        axis: ``"x"``, ``"y"`` or ``"z"``.
        number: Of the axis, from 0.
        sources: Other checkpoints and the data; None where there are none, as in a test.
        tell: Called with a name and a value of what the direction has found, which goes into the file.
    """

    params: Params
    layout: Layout
    seed: int
    slice_index: int
    axis: str
    number: int = 0
    sources: Sources | None = None
    tell: Callable[[str, JsonValue], None] = field(default=_forget, compare=False)
