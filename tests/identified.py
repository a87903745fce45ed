"""Surfaces that say where they come from, as a scan writes them: data, seeds, network, each of them up to the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from analytic import FILTER, WEIGHT, line, surface_of

from landscape_cli.surface import Metric, Provenance, Surface

RADII = np.geomspace(0.05, 5, 60).tolist()
TOLD = {
    "data": "d" * 64,
    "num_examples": 2000,
    "loss": {"_target_": "cross_entropy"},
    "accuracy": {"_target_": "accuracy"},
    "batchnorm": "frozen",
    "recalibration": None,
    "has_batchnorm": True,
    "precision": "float64",
    "network": "n" * 64,
    "seed": 0,
}


def identified(surface: Surface, **told: object) -> Surface:
    """The same surface with a provenance: that of `TOLD`, but for what is told otherwise. None is left unsaid."""
    unknown = set(told) - set(TOLD)
    assert not unknown, unknown
    say = TOLD | told
    splits = {name.partition("_")[0] for name in surface.metrics}
    batchnorm = {"batchnorm": say["batchnorm"], "recalibration": say["recalibration"], "precision": say["precision"]}
    resolved = {
        "loss": say["loss"],
        "evaluation": {key: value for key, value in batchnorm.items() if value is not None},
        "slices": {"num": surface.grid.num_slices, "seed": say["seed"]},
        "found": {"has_batchnorm": say["has_batchnorm"], "parameters": {"num": 1234, "sha256": say["network"]}},
    }
    data = {"fingerprint": say["data"], "num_examples": say["num_examples"]}
    identity = {
        "loss": say["loss"],
        "metrics": {"accuracy": say["accuracy"], "error": {"_target_": "error"}},
        "data": dict.fromkeys(splits, data) if say["data"] is not None else {},
    }
    return replace(surface, provenance=Provenance(resolved=resolved, identity=identity))  # type: ignore[arg-type]


def noise_line(
    curvatures: Sequence[float],
    *,
    radii: Sequence[float] = RADII,
    recipe: dict[str, object] = WEIGHT,
    evaluated: object = True,
    **told: object,
) -> Surface:
    """A line of relative noise with a rise of c s²/2, one c for each direction: r = √(2τ / mean c)."""
    surface = surface_of(
        lambda s, x: 1 + curvatures[s] * x**2 / 2,
        radii,
        num_slices=len(curvatures),
        recipe=recipe,
        evaluated=evaluated,
    )
    return identified(surface, **told)


def beside_a_plane(noise: Surface, **told: object) -> Surface:
    """A plane of two slices with that line as its radius."""
    plane = surface_of(lambda s, x, y: 1 + (1 + s) * (x**2 + y**2), *[line(-1, 1, 9)] * 2, num_slices=2)
    return replace(identified(plane, **told), radius=noise)


def bowl(factors: Sequence[float], num: int = 11, stop: float = 1.0, **told: object) -> Surface:
    """A line along filter-normalised directions: 1 + c x², one c for each slice."""
    surface = surface_of(
        lambda s, x: 1 + factors[s] * x**2, line(-stop, stop, num), num_slices=len(factors), recipe=FILTER
    )
    return identified(surface, **told)


def with_metric(surface: Surface, name: str, centre: float, num_examples: int = 2000) -> Surface:
    """With one more metric, of which only the value at the checkpoint is of interest."""
    values = np.full(surface.grid.shape, centre)
    metric = Metric(values, np.full(surface.grid.shape, 0.1), centre, 0.1, num_examples)
    return replace(surface, metrics={**surface.metrics, name: metric})


def chi_squares(num: int, seed: int, size: int = 40) -> np.ndarray:
    """Curvatures εᵀTHTε of a spectrum with a few large eigenvalues, in random directions."""
    spectrum = 1.0 / np.arange(1, size)
    return np.asarray(np.random.default_rng(seed).standard_normal((num, len(spectrum))) ** 2 @ spectrum)
