"""All measures of a surface; MEASURES. A measure is ``f(surface, *, loss, slice_index, …) -> Measurement``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches

from landscape_cli.analysis.adaptive_average import adaptive_avg
from landscape_cli.analysis.adaptive_radius import adaptive_radius
from landscape_cli.analysis.barrier import barrier, error_barrier
from landscape_cli.analysis.basin import depth_below_centre, low_area, low_area_connected, offset_of_minimum
from landscape_cli.analysis.eigenvalues import adaptive_lambda_max, lambda_max, lambda_min
from landscape_cli.analysis.fisher_rao import fisher_rao, fisher_rao_empirical
from landscape_cli.analysis.gradients import adaptive_grad_norm, grad_norm, guaranteed_decrease
from landscape_cli.analysis.grid_curvature import curvature, curvature_max, curvature_min, neg_curv_frac
from landscape_cli.analysis.learning_rate import lr_limit, lr_limit_adam, lr_limit_momentum, lr_limit_nesterov
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.nonconvexity import nonconvexity
from landscape_cli.analysis.rays import descent_share, flat_radius, flat_radius_min, monotone_rays
from landscape_cli.analysis.relative_flatness import relative_flatness
from landscape_cli.analysis.rises import asymmetry, eps_sharpness, mean_rise
from landscape_cli.analysis.slice_curvature import slice_curvature
from landscape_cli.analysis.spectrum import negative_curvature
from landscape_cli.analysis.topology import n_basins, saddle_minimum_distance, total_persistence
from landscape_cli.analysis.traces import adaptive_trace, trace
from landscape_cli.analysis.worst_case import adaptive_worst, asam, keskar, sam
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

FROM_MODEL: dict[str, Callable[..., Measurement]] = {
    "grad_norm": grad_norm,
    "adaptive_grad_norm": adaptive_grad_norm,
    "guaranteed_decrease": guaranteed_decrease,
    "lambda_max": lambda_max,
    "lambda_min": lambda_min,
    "adaptive_lambda_max": adaptive_lambda_max,
    "trace": trace,
    "adaptive_trace": adaptive_trace,
    "slice_curvature": slice_curvature,
    "negative_curvature": negative_curvature,
    "nonconvexity": nonconvexity,
    "relative_flatness": relative_flatness,
    "fisher_rao": fisher_rao,
    "fisher_rao_empirical": fisher_rao_empirical,
    "sam": sam,
    "asam": asam,
    "adaptive_worst": adaptive_worst,
    "keskar": keskar,
    "lr_limit": lr_limit,
    "lr_limit_momentum": lr_limit_momentum,
    "lr_limit_nesterov": lr_limit_nesterov,
    "lr_limit_adam": lr_limit_adam,
}
MEASURES: dict[str, Callable[..., Measurement]] = {
    "adaptive_radius": adaptive_radius,
    "adaptive_avg": adaptive_avg,
    "barrier": barrier,
    "error_barrier": error_barrier,
    "eps_sharpness": eps_sharpness,
    "mean_rise": mean_rise,
    "flat_radius": flat_radius,
    "flat_radius_min": flat_radius_min,
    "low_area": low_area,
    "low_area_connected": low_area_connected,
    "curvature": curvature,
    "curvature_max": curvature_max,
    "curvature_min": curvature_min,
    "neg_curv_frac": neg_curv_frac,
    "monotone_rays": monotone_rays,
    "descent_share": descent_share,
    "n_basins": n_basins,
    "total_persistence": total_persistence,
    "saddle_minimum_distance": saddle_minimum_distance,
    "asymmetry": asymmetry,
    "offset_of_minimum": offset_of_minimum,
    "depth_below_centre": depth_below_centre,
    **FROM_MODEL,
}
_AT_OTHER_RADII = {"adaptive_avg": (0.1,), "eps_sharpness": (0.1, 0.5), "mean_rise": (0.1, 0.5)}
RADII = {f"{name}({radius:g})": (name, radius) for name, radii in _AT_OTHER_RADII.items() for radius in radii}
OF_RECORDS = {  # where a record is called otherwise than what is read from it
    "gradient": ("grad_norm", "adaptive_grad_norm", "guaranteed_decrease"),
    "eigenvalues": ("lambda_max", "lambda_min", "lr_limit", "lr_limit_momentum", "lr_limit_nesterov"),
    "spectral_density": ("negative_curvature",),
    "map": ("nonconvexity",),
    "adam_lambda_max": ("lr_limit_adam",),
}
NAMES = tuple(each for name in MEASURES for each in (name, *(key for key, (of, _) in RADII.items() if of == name)))


def sharpness(
    surface: Surface,
    *,
    loss: str | None = None,
    slice_index: int | None = None,
    tau: float | None = None,
    momentum: float = 0.9,
    curv_tol: float = 0.01,
) -> list[Measurement]:
    """Every measure, in the order of ``NAMES``; those that the surface does not allow have no value, and say why.

    Args:
        surface: From `landscape_cli.load_surface`.
        loss: Which metric; by default the first loss, and what was measured from the model.
        slice_index: One slice only.
        tau: The rise τ of radii and areas, in units of the loss; by default 0.1, and for the adaptive radius that of
            the config.
        momentum: Of the limits of the learning rate.
        curv_tol: What counts as negative curvature; see `critical_point`.

    Raises:
        UsageError: Unknown loss or slice.
    """
    return [
        measured(surface, name, loss=loss, slice_index=slice_index, tau=tau, momentum=momentum, curv_tol=curv_tol)
        for name in NAMES
    ]


def measured(
    surface: Surface, name: str, *, loss: str | None = None, slice_index: int | None = None, **options: float | None
) -> Measurement:
    """One measure by its name; see `sharpness`. Options that it does not have are left out.

    Raises:
        UsageError: Unknown name, loss or slice.
    """
    if name not in NAMES:
        raise UsageError(f"metric: found {name!r}{_instead_of(name)}", hint="landscape sharpness FILE lists them")
    key, radius = RADII.get(name, (name, None))
    measure = MEASURES[key]
    known = inspect.signature(measure).parameters
    given = {option: value for option, value in options.items() if option in known and value is not None}
    if radius is not None:
        given["radius"] = radius
    return replace(measure(surface, loss=loss, slice_index=slice_index, **given), name=name)


def _instead_of(name: str) -> str:
    """What is read from a record of that name, else the closest three names."""
    if name in OF_RECORDS:
        return f", a record; from it are {', '.join(OF_RECORDS[name])}"
    *others, last = get_close_matches(name.lower(), NAMES, n=3, cutoff=0.0)
    return f"; did you mean {', '.join(others)} or {last}?"
