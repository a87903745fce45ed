"""Directions in weight space; DIRECTIONS. A direction is ``f(context, *, …) -> Params``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from landscape_cli.components import Component
from landscape_cli.compute.normalization import NORMALIZATIONS, Layout
from landscape_cli.compute.subspace import Params
from landscape_cli.errors import ConfigError


@dataclass(frozen=True)
class Context:
    """What a direction may depend on.

    Attributes:
        params: θ* on the CPU.
        layout: The output units of every parameter.
        seed: ``slices.seed``.
        slice_index: Which draw.
        axis: ``"x"`` or ``"y"``.
    """

    params: Params
    layout: Layout
    seed: int
    slice_index: int
    axis: str


def random(
    context: Context,
    *,
    normalization: Literal["filter", "layer", "weight", "none"] = "filter",
    ignore: Literal["biasbn", "none"] | None = None,
) -> Params:
    """Gaussian direction, scaled to the weights (Li et al. 2018, arXiv:1712.09913).

    Every tensor is drawn on the CPU in float64 by a counter-based generator keyed by (seed, slice, axis, parameter
    name): the same on every device and for every checkpoint of the same architecture, whatever else is drawn.

    Args:
        context: The parameters and the seed.
        normalization: See `landscape_cli.compute.normalization`.
        ignore: ``"biasbn"`` zeroes every tensor with fewer than two dimensions (biases, norm scales and shifts),
            ``"none"`` nothing. By default ``"none"`` for weight normalization, ``"biasbn"`` for the others.

    Returns:
        A direction with the names, shapes and types of ``context.params``.
    """
    ignore = ignore or ("none" if normalization == "weight" else "biasbn")
    drawn = {
        name: torch.zeros_like(tensor) if ignore == "biasbn" and tensor.ndim < 2 else _gaussian(context, name, tensor)
        for name, tensor in context.params.items()
    }
    return NORMALIZATIONS[normalization](drawn, context.params, context.layout)


DIRECTIONS: dict[str, Callable[..., Params]] = {"random": random}


def recipe(component: Component) -> dict[str, JsonValue]:
    """A direction as configured, with the defaults of a built-in one filled in, for people who look at the file."""
    given = component.model_dump(mode="json")
    function = DIRECTIONS.get(component.target)
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()} if function else {}
    filled: dict[str, JsonValue] = {name: value for name, value in defaults.items() if isinstance(value, str)}
    return {**filled, **given}


def _gaussian(context: Context, name: str, like: Tensor) -> Tensor:
    # Philox with a 128-bit key: torch's CPU generator keeps 32 bits of its seed, so that streams of many tensors
    # would collide
    key = hashlib.sha256(f"{context.seed}/{context.slice_index}/{context.axis}/{name}".encode()).digest()[:16]
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return torch.from_numpy(generator.standard_normal(tuple(like.shape))).to(like.dtype)


def check_direction(direction: object, context: Context, where: str) -> Params:
    """Check what a direction returned and give it the order and types of the parameters.

    Raises:
        ConfigError: It is not a mapping of tensors with the names and shapes of the parameters, not finite, or zero
            everywhere.
    """
    if not isinstance(direction, dict) or set(direction) != set(context.params):
        found = ", ".join(sorted(direction)[:4]) if isinstance(direction, dict) else type(direction).__name__
        raise ConfigError(f"{where}: the direction must have a tensor for every parameter; found {found}")
    for name, tensor in context.params.items():
        if not isinstance(direction[name], Tensor) or direction[name].shape != tensor.shape:
            raise ConfigError(f"{where}: the direction of {name} must be a tensor of shape {tuple(tensor.shape)}")
        if not bool(torch.isfinite(direction[name]).all()):
            raise ConfigError(f"{where}: the direction of {name} holds NaN or infinite values")
    if not any(bool(tensor.any()) for tensor in direction.values()):
        raise ConfigError(
            f"{where}: the direction is zero everywhere, so nothing would move",
            hint="With ignore: biasbn a model needs at least one tensor with two dimensions; use ignore: none.",
        )
    return {name: direction[name].to(tensor.dtype) for name, tensor in context.params.items()}
