"""Extreme eigenvalues: of the Hessian, of the one that rescaling leaves alone, and of that which Adam sees."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveInt

from landscape_cli.compute.curvature.adam import preconditioner
from landscape_cli.compute.curvature.context import Context, Found
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.lanczos import Ends, ends
from landscape_cli.errors import EvaluationError


def eigenvalues(
    context: Context,
    *,
    count: PositiveInt = 1,
    steps: PositiveInt = 40,
    tolerance: NonNegativeFloat = 1e-4,
    seed: int = 0,
) -> Found:
    """λ_max and λ_min, or the ``count`` largest and smallest, by Lanczos' method, each with its residual.

    Cost: at most ``steps`` products; fewer where both ends have converged before.

    Args:
        context: The loss.
        count: Pairs at each end; raise ``steps`` with it.
        steps: Products with the Hessian, at most. More of them bound better what was missed.
        tolerance: Of all residuals, relative to the largest eigenvalue in size; 0 makes all steps.
        seed: Of the start vector.
    """
    if steps < 2 * count and context.operator.size > steps:
        raise EvaluationError(
            f"curvature.measures: eigenvalues: found count: {count} and steps: {steps}; expected at least twice as "
            "many steps",
            hint="Ritz values in the middle are no eigenvalues: 20 steps more than that are better.",
        )
    found = _ends(context, context.operator, count, steps, seed, tolerance)
    return {
        "lambda_max": found.largest[0],
        "lambda_max_residual": found.largest_residuals[0],
        "lambda_min": found.smallest[0],
        "lambda_min_residual": found.smallest_residuals[0],
        "num_steps": float(found.num_products),
        "largest": found.largest,
        "largest_residuals": found.largest_residuals,
        "smallest": found.smallest,
        "smallest_residuals": found.smallest_residuals,
    }


def adaptive_lambda_max(context: Context, *, steps: PositiveInt = 20, seed: int = 0) -> Found:
    """λ_max(T H T) with T = diag |θ|: the sharpest curvature per relative change of the weights.

    The quadratic form that ASAM bounds (Kwon et al. 2021, arXiv:2102.11600); invariant to every rescaling of weights
    that leaves the network as it is.

    Cost: ``steps`` products.
    """
    return _largest(context, context.operator.scaled(context.magnitude()), steps, seed)


def adam_lambda_max(context: Context, *, steps: PositiveInt = 20, seed: int = 0, state: str = "optimizer") -> Found:
    """λ_max(P^-1/2 H P^-1/2) with P = √v̂ + ε of Adam's state in the checkpoint: what limits its learning rate while v̂
    hardly changes (Cohen et al. 2022, arXiv:2207.14484).

    Cost: ``steps`` products.

    Args:
        context: The loss.
        steps: Products with the Hessian.
        seed: Of the start vector.
        state: Entry of the checkpoint that holds the state dict of the optimizer.
    """
    adam = preconditioner(context, state)
    found = _largest(context, context.operator.scaled(adam.scale), steps, seed)
    return {**found, "beta1": adam.beta1}


def _largest(context: Context, operator: HessianOperator, steps: int, seed: int) -> dict[str, float]:
    found = _ends(context, operator, 1, steps, seed)
    return {
        "value": float(found.largest[0]),
        "residual": float(found.largest_residuals[0]),
        "num_steps": float(found.num_products),
    }


def _ends(
    context: Context, operator: HessianOperator, count: int, steps: int, seed: int, tolerance: float = 0.0
) -> Ends:
    found = ends(
        operator,
        operator.size,
        count=count,
        max_products=steps,
        tolerance=tolerance,
        device=operator.device,
        dtype=operator.dtype,
        seed=seed,
        symmetric_to=operator.symmetric_to,
    )
    if not found.keeps_basis:
        context.note("the Lanczos vectors did not fit in memory: not reorthogonalized, extreme values only")
    return found
