"""The directions of all axes in a slice: selected, drawn, checked, and made orthogonal where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from landscape_cli.axes import DirectionConfig, Selection
from landscape_cli.compute.directions.context import Context, Sources
from landscape_cli.compute.directions.orthogonal import orthogonalize
from landscape_cli.compute.directions.table import DIRECTIONS, FIXED, recipe
from landscape_cli.compute.normalization import NORMALIZATIONS, Layout
from landscape_cli.compute.parts import random_bits
from landscape_cli.compute.selection import is_selected, select
from landscape_cli.compute.subspace import FloatArray, Params, cosines, inner, norm
from landscape_cli.errors import ConfigError, LandscapeError, located

DirectionFunction = Callable[..., Params]
# Directions are drawn again when the scan comes back to a slice, unless they fit in here.
_CACHE_BYTES = 1 << 30
# Normalizations that say how long the parts of a direction are; orthogonalizing must give them back.
_LENGTHS = ("filter", "layer", "unit")
# What is said of these is true of the vector itself, not of its part at right angles to another one.
_UNIT_VECTORS = ("hessian", "pca")
_TRUE_OF_WHOLE = ("eigenvalue", "residual", "explained_variance_ratio")
_UNCHANGED = 1e-9


@dataclass(frozen=True)
class AxisDirection:
    """The direction of one axis, as configured.

    Attributes:
        name: Of the axis.
        function: ``f(context) -> Params``.
        where: ``file:line: key``, for messages.
        config: Which parameters it may move, and whether it is made orthogonal.
        saved: What stands in for it in the first slices: read from a file, as it was when the scan began.
        num_saved: How many these are.
    """

    name: str
    function: DirectionFunction
    where: str
    config: DirectionConfig
    saved: AxisDirection | None = None
    num_saved: int = 0

    def in_slice(self, slice_index: int) -> AxisDirection:
        """What is drawn in one slice."""
        return self.saved if self.saved is not None and slice_index < self.num_saved else self


class Drawing:
    """Draws the directions of all axes; the same slice gives the same directions at any time.

    Args:
        params: θ* on the CPU; taken over.
        layout: The output units of every parameter.
        seed: ``slices.seed``.
        axes: In order; a direction sees those before it.
        sources: Other checkpoints and the data.

    Attributes:
        found: Axis name → what its direction has found, such as an eigenvalue.
    """

    def __init__(
        self, params: Params, layout: Layout, seed: int, axes: Sequence[AxisDirection], sources: Sources | None = None
    ) -> None:
        self.params, self._layout, self._seed, self._sources = params, layout, seed, sources
        self._axes = tuple(axes)
        self._selected = {
            axis.name: select(params, axis.config.parameters, f"{axis.where}.parameters") for axis in axes
        }
        self.found: dict[str, dict[str, JsonValue]] = {axis.name: {} for axis in axes}
        self._fixed: dict[str, Params] = {}
        self._drawn: dict[int, tuple[Params, ...]] = {}

    @property
    def origin(self) -> Params:
        """What moves: the parameters and, where they are interpolated, the BatchNorm statistics, at θ*."""
        return {**self.params, **self._statistics}

    @property
    def _statistics(self) -> Params:
        return self._sources.statistics if self._sources is not None and self._sources.moves_statistics else {}

    def draw(self, slice_index: int) -> tuple[Params, ...]:
        """The direction of every axis in one slice, on the CPU; tensors that do not move are left out.

        Raises:
            ConfigError: A direction is not what it should be.
            LandscapeError: A file that a direction needs is missing or wrong.
        """
        if slice_index not in self._drawn:
            size = sum(tensor.nbytes for tensor in self.params.values()) * len(self._axes)
            if size * (len(self._drawn) + 1) > _CACHE_BYTES:
                self._drawn.clear()
            found: list[Params] = []
            for number, axis in enumerate(self._axes):
                found.append(self._direction(axis, number, slice_index, found))
            self._drawn[slice_index] = tuple(found)
        return self._drawn[slice_index]

    def bits(self, slice_index: int) -> Params:
        """Random bits for every element that moves along the only axis; see `landscape_cli.compute.parts`."""
        (direction,) = self.draw(slice_index)
        (axis,) = self._axes
        return random_bits(direction, self._seed, slice_index, axis.name)

    def fixed(self) -> tuple[dict[str, Params], dict[str, dict[str, JsonValue]]]:
        """The directions that are the same in every slice, by axis, as drawn, and what they have found."""
        for number, axis in enumerate(self._axes):
            if axis.config.target in FIXED:
                self._as_drawn(axis, number, 0)
        return self._fixed, self.found

    def adopt(self, fixed: dict[str, Params], found: dict[str, dict[str, JsonValue]]) -> None:
        """Take over what `fixed` has returned in another process."""
        self._fixed = fixed
        self.found.update(found)

    def norms_and_cosines(self, num_slices: int) -> tuple[dict[str, tuple[float, ...]], FloatArray | None]:
        """Axis name → Euclidean length per slice, and (S, A, A) the cosines between the axes; None for one axis."""
        norms: dict[str, list[float]] = {axis.name: [] for axis in self._axes}
        angles: list[FloatArray] = []
        for slice_index in range(num_slices):
            directions = [self._without_statistics(each) for each in self.draw(slice_index)]
            for name, direction in zip(norms, directions, strict=True):
                norms[name].append(norm(direction))
            angles.append(cosines(directions))
        lengths = {name: tuple(each) for name, each in norms.items()}
        return lengths, np.stack(angles) if len(self._axes) > 1 else None

    def recipes(self) -> dict[str, dict[str, JsonValue]]:
        """Axis name → its direction as configured, with the defaults filled in."""
        return {axis.name: recipe(axis.config) for axis in self._axes}

    def check_repeats(self) -> None:
        """Draw the first slice, and directions of the user's twice: they may be drawn again at any time.

        Raises:
            ConfigError: A direction differs from one call to the next.
        """
        drawn = self.draw(0)
        for number, axis in enumerate(self._axes):
            if axis.config.target in DIRECTIONS:
                continue
            first, second = drawn[number], self._direction(axis, number, 0, drawn[:number])
            if first.keys() != second.keys() or not all(torch.equal(first[name], second[name]) for name in first):
                raise ConfigError(
                    f"{axis.where}: the direction differs from one call to the next",
                    hint="Draw from a generator seeded with context.seed, context.slice_index and context.axis.",
                )

    def _direction(self, axis: AxisDirection, number: int, slice_index: int, earlier: Sequence[Params]) -> Params:
        axis = axis.in_slice(slice_index)
        direction = self._as_drawn(axis, number, slice_index)
        if axis.config.orthogonal:
            direction = self._orthogonal(axis, direction, earlier)
        return {name: tensor for name, tensor in direction.items() if bool(tensor.any())}

    def _as_drawn(self, axis: AxisDirection, number: int, slice_index: int) -> Params:
        """The direction before it is made orthogonal; called once where it is the same in every slice."""
        if axis.config.target not in FIXED:
            return self._call(axis, number, slice_index)
        if axis.name not in self._fixed:
            self._fixed[axis.name] = self._call(axis, number, slice_index)
        return self._fixed[axis.name]

    def _call(self, axis: AxisDirection, number: int, slice_index: int) -> Params:
        # its own copy: a direction that works in place must not change θ*
        params = {name: self.params[name].clone() for name in self._selected[axis.name]}
        tell = self.found[axis.name].__setitem__
        context = Context(
            params, self._layout, self._seed, slice_index, axis.name, number, sources=self._sources, tell=tell
        )
        try:
            with located(axis.where):
                direction = axis.function(context)
        except LandscapeError:
            raise
        except Exception as error:  # the user's direction may raise anything
            raise ConfigError(f"{axis.where}: the direction raised {type(error).__name__}: {error}") from error
        like = {name: self.params[name] for name in params}
        checked = check_direction(direction, like, axis.where, self._statistics)
        selection = axis.config.parameters or Selection()
        return {name: tensor for name, tensor in checked.items() if is_selected(name, selection)}

    def _orthogonal(self, axis: AxisDirection, direction: Params, earlier: Sequence[Params]) -> Params:
        is_unit = axis.config.target in _UNIT_VECTORS
        normalization = "unit" if is_unit else str(recipe(axis.config).get("normalization"))
        renormalize = None
        if normalization in _LENGTHS and axis.config.target in DIRECTIONS:
            params = {name: self.params[name].double() for name in self._selected[axis.name]}

            def renormalize(changed: Params) -> Params:
                return NORMALIZATIONS[normalization](changed, params, self._layout)

        found = orthogonalize(direction, earlier, set(self.params), renormalize)
        if found is None:
            raise ConfigError(
                f"{axis.where}: the direction is parallel to those of the axes before it; nothing of it is orthogonal",
                hint="Choose another direction, or leave out the axis.",
            )
        if is_unit:
            self._tell_how_far(axis, direction, found)
        return {name: tensor.to(direction[name].dtype) for name, tensor in found.items()}

    def _tell_how_far(self, axis: AxisDirection, drawn: Params, found: Params) -> None:
        """Say that an eigenvector or a principal direction is none any more."""
        a, b = self._without_statistics(drawn), self._without_statistics(found)
        cosine = inner(a, b) / (norm(a) * norm(b))
        told = self.found[axis.name]
        if 1.0 - cosine > _UNCHANGED:
            told |= {f"before_orthogonal_{name}": told.pop(name) for name in _TRUE_OF_WHOLE if name in told}
            told["cosine_to_before_orthogonal"] = cosine

    def _without_statistics(self, direction: Params) -> Params:
        return {name: tensor for name, tensor in direction.items() if name in self.params}


def check_direction(direction: object, params: Params, where: str, statistics: Params | None = None) -> Params:
    """Check what a direction returned and give it the order and types of the parameters.

    Args:
        direction: What was returned.
        params: What it may move.
        where: For messages.
        statistics: BatchNorm statistics that it may move besides.

    Raises:
        ConfigError: It is not a mapping of tensors with the names and shapes of the parameters, not finite, or zero
            everywhere.
    """
    beside = statistics or {}
    if not isinstance(direction, dict) or not set(params) <= set(direction) <= {*params, *beside}:
        found = ", ".join(sorted(direction)[:4]) if isinstance(direction, dict) else type(direction).__name__
        raise ConfigError(f"{where}: the direction must have a tensor for every parameter; found {found}")
    expected = {name: tensor for name, tensor in {**params, **beside}.items() if name in direction}
    for name, tensor in expected.items():
        if not isinstance(direction[name], Tensor) or direction[name].shape != tensor.shape:
            raise ConfigError(f"{where}: the direction of {name} must be a tensor of shape {tuple(tensor.shape)}")
        if not bool(torch.isfinite(direction[name]).all()):
            raise ConfigError(f"{where}: the direction of {name} holds NaN or infinite values")
    if not any(bool(direction[name].any()) for name in params):
        raise ConfigError(
            f"{where}: the direction is zero everywhere, so nothing would move",
            hint="With ignore: biasbn a model needs at least one tensor with two dimensions; use ignore: none.",
        )
    return {name: direction[name].to(tensor.dtype) for name, tensor in expected.items()}
