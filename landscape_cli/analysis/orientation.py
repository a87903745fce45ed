"""Which way a measure is better: flatter, smoother, more accurate."""

from __future__ import annotations

from typing import Literal

from landscape_cli.analysis.captions import is_share

Better = Literal["higher", "lower"]

_BETTER_WHEN: dict[str, Better] = {
    "adaptive_radius": "higher",
    "adaptive_avg": "lower",
    "barrier": "lower",
    "error_barrier": "lower",
    "eps_sharpness": "lower",
    "mean_rise": "lower",
    "flat_radius": "higher",
    "flat_radius_min": "higher",
    "low_area": "higher",
    "low_area_connected": "higher",
    "curvature": "lower",
    "curvature_max": "lower",
    "n_basins": "lower",
    "total_persistence": "lower",
    "saddle_minimum_distance": "lower",
    "lambda_max": "lower",
    "adaptive_lambda_max": "lower",
    "trace": "lower",
    "adaptive_trace": "lower",
    "slice_curvature": "lower",
    "negative_curvature": "lower",
    "nonconvexity": "lower",
    "relative_flatness": "lower",
    "fisher_rao": "lower",
    "fisher_rao_empirical": "lower",
    "sam": "lower",
    "asam": "lower",
    "adaptive_worst": "lower",
    "keskar": "lower",
    "lr_limit": "higher",
    "lr_limit_momentum": "higher",
    "lr_limit_nesterov": "higher",
    "lr_limit_adam": "higher",
}


def better_when(name: str) -> Better | None:
    """Whether higher or lower values of a measure, or of a metric of the surface, are better; None where neither is.

    >>> better_when("adaptive_radius"), better_when("eps_sharpness(0.1)"), better_when("test_loss")
    ('higher', 'lower', 'lower')
    """
    found = _BETTER_WHEN.get(name.partition("(")[0])
    if found is not None:
        return found
    if name.endswith(("_loss", "_error")):
        return "lower"
    return "higher" if is_share(name) else None
