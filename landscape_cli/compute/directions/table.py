"""The directions by name; DIRECTIONS."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.axes import DirectionConfig
from landscape_cli.compute.directions.checkpoints import between, pca
from landscape_cli.compute.directions.curved import gradient, hessian
from landscape_cli.compute.directions.files import from_file
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.directions.paths import expand
from landscape_cli.compute.subspace import Params

DIRECTIONS: dict[str, Callable[..., Params]] = {
    "random": random,
    "between": between,
    "pca": pca,
    "gradient": gradient,
    "hessian": hessian,
    "file": from_file,
}
# The same in every slice, and so drawn once.
FIXED = frozenset({"between", "pca", "gradient", "hessian"})
# Those that take gradients.
COMPUTED = frozenset({"gradient", "hessian"})
# Arguments that name files, whose content decides the numbers.
FILES = {"between": "checkpoint", "pca": "checkpoints", "file": "path"}

_MAX_LISTED = 20


def files_of(component: DirectionConfig) -> list[Path]:
    """The files that a built-in direction reads, in the order of its path.

    Raises:
        CheckpointError: A glob matches nothing.
    """
    named = component.kwargs.get(FILES.get(component.target, ""), [])
    return expand([str(each) for each in named] if isinstance(named, list) else str(named))


def recipe(component: DirectionConfig) -> dict[str, JsonValue]:
    """A direction as configured, with the defaults of a built-in one filled in, for people who look at the file."""
    given = {name: _shortened(value) for name, value in component.model_dump(mode="json").items()}
    function = DIRECTIONS.get(component.target)
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()} if function else {}
    filled: dict[str, JsonValue] = {name: value for name, value in defaults.items() if isinstance(value, str | int)}
    return {**filled, **given}


def _shortened(value: JsonValue) -> JsonValue:
    """A list of hundreds of paths does not fit into an attribute; the whole config is in the file besides."""
    if not isinstance(value, list) or len(value) <= _MAX_LISTED:
        return value
    return [*value[: _MAX_LISTED // 2], "…", *value[-_MAX_LISTED // 2 :]]
