"""The measures of the curvature by name; CURVATURE. A measure is ``f(context, *, …) -> {name: number or array}``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from pydantic import JsonValue

from landscape_cli.components import Component
from landscape_cli.compute.curvature.context import Measure
from landscape_cli.compute.curvature.density import spectral_density
from landscape_cli.compute.curvature.eigenvalues import adam_lambda_max, adaptive_lambda_max, eigenvalues
from landscape_cli.compute.curvature.flatness import fisher_rao, relative_flatness
from landscape_cli.compute.curvature.gradients import gradient
from landscape_cli.compute.curvature.hessian_trace import adaptive_trace, trace
from landscape_cli.compute.curvature.slice_curvature import slice_curvature
from landscape_cli.compute.curvature.worst_case import adaptive_worst, asam, keskar, sam
from landscape_cli.records import Cost

CURVATURE: dict[str, Measure] = {
    "gradient": gradient,
    "eigenvalues": eigenvalues,
    "adaptive_lambda_max": adaptive_lambda_max,
    "trace": trace,
    "adaptive_trace": adaptive_trace,
    "slice_curvature": slice_curvature,
    "spectral_density": spectral_density,
    "relative_flatness": relative_flatness,
    "fisher_rao": fisher_rao,
    "sam": sam,
    "asam": asam,
    "adaptive_worst": adaptive_worst,
    "keskar": keskar,
    "adam_lambda_max": adam_lambda_max,
}
DEFAULT = ("gradient", "eigenvalues", "adaptive_lambda_max", "trace", "adaptive_trace", "slice_curvature")
# adam_lambda_max needs the state of the optimizer, which most checkpoints lack
ALL = tuple(name for name in CURVATURE if name != "adam_lambda_max")


def expanded(measures: Mapping[str, Component]) -> dict[str, Component]:
    """The measures by name, with those that ``default`` and ``all`` stand for; what is named itself counts."""
    several = {"default": DEFAULT, "all": ALL}
    found: dict[str, Component] = {}
    for component in measures.values():
        for name in several.get(component.target, ()):
            found.setdefault(name, Component.model_validate(name))
    own = {name: component for name, component in measures.items() if component.target not in several}
    return {**found, **own}


def options_of(component: Component) -> dict[str, JsonValue]:
    """The options of a measure, with the defaults of a built-in one filled in."""
    function = CURVATURE.get(component.target)
    parameters = inspect.signature(function).parameters.values() if function else ()
    defaults = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    return {**defaults, **component.kwargs}


def planned(
    component: Component, size: int, num_slices: int, num_axes: int, *, has_batchnorm: bool, num_layers: int = 1
) -> Cost:
    """The passes that a built-in measure takes at most: its stated budget; none for others.

    Args:
        component: The measure.
        size: Of the parameters.
        num_slices: Of the scan.
        num_axes: Of the scan.
        has_batchnorm: Whether there are statistics to be estimated anew.
        num_layers: That ``layers`` of the measure names.
    """
    options = options_of(component)

    def number(name: str) -> int:
        value = options.get(name)
        return value if isinstance(value, int) else 0

    steps = min(number("steps"), size)
    probes = 2 * min(number("products") // 2, size) if options.get("estimator") == "xtrace" else number("products")
    budgets = {
        "gradient": Cost(losses=4 if has_batchnorm else 3, gradients=3),
        "eigenvalues": Cost(products=steps),
        "adaptive_lambda_max": Cost(products=steps),
        "adam_lambda_max": Cost(products=steps),
        "trace": Cost(products=probes),
        "adaptive_trace": Cost(products=probes),
        "slice_curvature": Cost(products=min(number("slices"), num_slices) * num_axes),
        "spectral_density": Cost(products=number("probes") * steps),
        "relative_flatness": Cost(products=number("products") * num_layers),
        "fisher_rao": Cost(gradients=2),
        "sam": Cost(losses=1, gradients=1),
        "asam": Cost(losses=1, gradients=1),
        "adaptive_worst": Cost(losses=1, gradients=number("steps")),
        "keskar": Cost(losses=1, gradients=number("steps")),
    }
    return budgets.get(component.target, Cost())
