"""The trace of the Hessian, and of the one that rescaling leaves alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from landscape_cli.compute.basis import place_for
from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.traces import hutchinson, xtrace

Estimator = Literal["xtrace", "hutchinson"]
AtLeastTwo = Annotated[int, Field(ge=2)]


def trace(
    context: Context,
    *,
    products: AtLeastTwo = 30,
    tolerance: NonNegativeFloat = 0.03,
    estimator: Estimator = "xtrace",
    seed: int = 0,
) -> Found:
    """The trace tr H with its standard error.

    Cost: at most ``products`` products; XTrace stops after half or three quarters of them where the standard error is
    small enough.

    Args:
        context: The loss.
        products: With the Hessian, at most.
        tolerance: Of the standard error, relative to the trace; 0 makes all products.
        estimator: xtrace, or hutchinson, which needs next to no memory.
        seed: Of the probes.
    """
    return _trace(context, context.operator, products, tolerance, estimator, seed)


def adaptive_trace(
    context: Context,
    *,
    products: AtLeastTwo = 30,
    tolerance: NonNegativeFloat = 0.03,
    estimator: Estimator = "xtrace",
    seed: int = 0,
) -> Found:
    """tr(T H T) with T = diag |θ| and its standard error: the loss rises by s²/2 of it under relative weight noise s,
    for small s (Jiang et al. 2019, arXiv:1912.02178); invariant to every rescaling that leaves the network as it is.

    Cost: as for `trace`.
    """
    return _trace(context, context.operator.scaled(context.magnitude()), products, tolerance, estimator, seed)


def _trace(
    context: Context, operator: HessianOperator, products: int, tolerance: float, estimator: Estimator, seed: int
) -> Found:
    is_xtrace = estimator == "xtrace"
    needed = products // 2 * operator.size * operator.dtype.itemsize
    if is_xtrace and place_for(needed, operator.device, None) is None:
        context.note("the vectors of XTrace did not fit in memory: estimated by Hutchinson's method")
        is_xtrace = False
    device, dtype = operator.device, operator.dtype
    if not is_xtrace:
        found = hutchinson(operator.many, operator.size, num_products=products, device=device, dtype=dtype, seed=seed)
    else:
        found = xtrace(
            operator.many,
            operator.size,
            num_products=products,
            device=device,
            dtype=dtype,
            seed=seed,
            symmetric_to=operator.symmetric_to,
            tolerance=tolerance,
        )
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        "num_probes": float(found.num_probes),
    }
