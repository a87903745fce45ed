"""Surfaces with records as a scan measures them, of numbers that one can work out by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from analytic import line, surface_of

from landscape_cli.records import Cost, Curvature, Record
from landscape_cli.surface import Surface

MAP = ("lambda_max", "lambda_max_residual", "lambda_min", "lambda_min_residual")


def record(
    values: Mapping[str, object],
    *,
    method: str = "double backward",
    cost: Cost = Cost(),  # noqa: B008  # frozen
    notes: tuple[str, ...] = (),
    **settings: object,
) -> Record:
    """Of 512 examples of train and ten million parameters, in float64, of a model without BatchNorm."""
    usual: dict[str, object] = {
        "split": "train",
        "num_examples": 512,
        "num_parameters": 10_000_000,
        "parameters": None,
        "weight_decay": 0.0,
        "precision": "float64",
        "batchnorm": None,
        "options": {},
    }
    arrays = {key: np.asarray(value, dtype=np.float64) for key, value in values.items()}
    return Record(arrays, usual | settings, cost, method, notes)  # type: ignore[arg-type]


def gradient(norm: float = 0.0, loss: float = 1.0, floor: float = 0.0, **settings: object) -> Record:
    values = {"loss": loss, "grad_norm": norm, "adaptive_grad_norm": 2 * norm, "noise_floor": floor}
    return record(values | {"adaptive_noise_floor": floor, "param_norm": 20.0}, method="", cost=Cost(1, 1), **settings)


def eigenvalues(least: float, largest: float, residual: float = 0.0, steps: int = 80, **settings: object) -> Record:
    values = {
        "lambda_max": largest,
        "lambda_max_residual": residual,
        "lambda_min": least,
        "lambda_min_residual": residual,
        "num_steps": steps,
        "largest": [largest],
        "largest_residuals": [residual],
        "smallest": [least],
        "smallest_residuals": [residual],
    }
    return record(values, cost=Cost(products=steps), **settings)


def everything(**settings: object) -> dict[str, Record]:
    """Every record that there is, of a plane with three slices. Settings are those of all, but for the options."""
    xtrace = {"estimator": "xtrace"}
    ascent = {"norm": "l2", "steps": 20}
    density = {"negative_sum": 0.88, "negative_sum_standard_error": 0.02, "negative_sum_change": 0.2}
    per_layer = {"per_layer": [11.0], "per_layer_standard_error": [0.5]}
    return {
        "gradient": gradient(0.1, 0.5, 0.01, **settings),
        "eigenvalues": eigenvalues(-0.02, 2.0, 1e-5, **settings),
        "adaptive_lambda_max": record({"value": 3.0, "residual": 1e-6, "num_steps": 20}, **settings),
        "trace": record({"value": 6.0, "standard_error": 0.1, "num_probes": 30}, options=xtrace, **settings),
        "adaptive_trace": record({"value": 25.0, "standard_error": 1.0, "num_probes": 30}, options=xtrace, **settings),
        "slice_curvature": record({"per_slice": [[0.25, 0.75], [0.5, 1.0], [1.0, 1.0]]}, **settings),
        "spectral_density": record(
            {"nodes": np.zeros((4, 80)), "weights": np.full((4, 80), 1 / 80), **density}, **settings
        ),
        "relative_flatness": record(
            {"value": 11.0, "standard_error": 0.5, **per_layer}, options={"layers": ["fc"]}, **settings
        ),
        "fisher_rao": record({"empirical": 0.3, "model": 0.4}, method="", **settings),
        "sam": record({"value": 0.01}, options={"rho": 0.05}, method="", **settings),
        "asam": record({"value": 0.02}, options={"rho": 0.5}, method="", **settings),
        "adaptive_worst": record({"value": 0.2}, options={"rho": 0.5, **ascent}, method="", **settings),
        "keskar": record({"value": 12.0}, options={"epsilon": 1e-3, "steps": 20}, method="", **settings),
        "map": record({}, cost=Cost(products=9000), measure="map", options={"max_products": 60}, **settings),
        "adam_lambda_max": record(
            {"value": 800.0, "residual": 0.01, "num_steps": 40, "beta1": 0.9}, cost=Cost(products=40), **settings
        ),
    }


def surface_with(records: Mapping[str, Record], *, pending: tuple[str, ...] = (), num_slices: int = 3) -> Surface:
    """Three slices of a bowl, with these records."""
    axes = [line(-1, 1, 9)] * 2
    surface = surface_of(lambda s, x, y: 0.5 + (1 + s / 9) * (x**2 + 2 * y**2), *axes, num_slices=num_slices)
    surface.curvature = Curvature(dict(records), pending)
    return surface


def map_of(least: object, largest: object, *, num_slices: int = 3) -> Surface:
    """λ_min and λ_max at the points of `surface_with`."""
    surface = surface_of(lambda *_: 1.0, *[line(-1, 1, 9)] * 2, num_slices=num_slices, names=MAP)
    for name, values in zip(MAP, (largest, 0.0, least, 0.0), strict=True):
        surface.metrics[name].values[:] = values
    return surface
