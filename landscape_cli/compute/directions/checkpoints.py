"""Directions that other checkpoints give: to another solution, and the principal directions of a training path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from landscape_cli.compute.directions.context import Context, Sources, Weights
from landscape_cli.compute.directions.paths import expand
from landscape_cli.compute.subspace import FloatArray, Params, flatten, norm, subtract, unflatten
from landscape_cli.errors import CheckpointError

# T×P differences, T variances along the components, and (T, T) the components as combinations of the differences
_Decomposed = tuple[Tensor, FloatArray, FloatArray]
_BLOCK = 1 << 20  # columns of the matrix of differences that are in float64 at a time


def between(context: Context, *, checkpoint: str, key: str | None = None, prefix: str | None = None) -> Params:
    """θ_B − θ_A, from the checkpoint of the scan (coordinate 0) to another one (coordinate 1) (Goodfellow et al. 2015,
    arXiv:1412.6544).

    Args:
        context: θ_A.
        checkpoint: Path of B.
        key: As ``checkpoint.key``; by default that of the scan.
        prefix: As ``checkpoint.prefix``; by default that of the scan.

    Returns:
        The difference of the parameters and, where they move, of the BatchNorm statistics.
    """
    sources = _sources(context)
    other = sources.load(Path(checkpoint).expanduser(), key, prefix)
    difference = _difference(other, context, sources)
    if not any(bool(difference[name].any()) for name in context.params):
        raise CheckpointError(
            f"{checkpoint}: has the same parameters as the checkpoint of the scan, so no line joins them",
            hint="Give another checkpoint, or select parameters that differ.",
        )
    return difference


def pca(
    context: Context,
    *,
    checkpoints: str | list[str],
    component: PositiveInt | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> Params:
    """A principal direction of a training path about the checkpoint of the scan (Li et al. 2018, arXiv:1712.09913,
    section 7): a right singular vector of the matrix with the rows θ_t − θ*.

    From the T×T Gram matrix of the differences; nothing of the size P×P is made. The length is 1, so coordinates
    are Euclidean distances; the sign is such that the farthest checkpoint along the direction lies on its positive
    side.

    Args:
        context: θ*.
        checkpoints: Paths or globs of the path.
        component: Which one, 1 for the largest variance; by default 1 for x, 2 for y, 3 for z.
        key: As ``checkpoint.key``; by default that of the scan.
        prefix: As ``checkpoint.prefix``; by default that of the scan.
    """
    sources, paths = _sources(context), expand(checkpoints)
    if len(paths) < 2:
        raise CheckpointError(
            f"{paths[0]}: is the only checkpoint; a path has at least two"
            if paths
            else "no checkpoints; a path has at least two",
            hint="Give a glob such as runs/epoch_*.pt",
        )
    number = context.number + 1 if component is None else component
    like = {**context.params, **(sources.statistics if sources.moves_statistics else {})}
    # BatchNorm statistics, if they move, stand behind the parameters and do not count as distances
    num_parameters = sum(tensor.numel() for tensor in context.params.values())

    def decompose() -> _Decomposed:
        matrix = _matrix(len(paths), like, sources)
        for row, path in enumerate(paths):
            difference = _difference(sources.load(path, key, prefix), context, sources)
            matrix[row] = flatten(difference, tuple(like))
        variances, left = np.linalg.eigh(_gram(matrix[:, :num_parameters]))  # rising
        return matrix, np.maximum(variances[::-1], 0.0), left[:, ::-1]

    matrix, variances, left = _kept(sources, (tuple(paths), key, prefix, tuple(like)), decompose)
    # the differences are exact to the rounding of the weights, not to that of themselves
    rounding = len(paths) * (torch.finfo(matrix.dtype).eps * norm(context.params)) ** 2
    rank = int((variances > max(variances[0] * 1e-12, rounding)).sum())
    if number > rank:
        raise CheckpointError(
            f"{paths[0]} … {paths[-1]}: about the checkpoint of the scan, these {len(paths)} checkpoints span {rank} "
            f"dimensions up to rounding; there is no component {number}",
            hint="Give more checkpoints, or fewer axes.",
        )
    coefficients = left[:, number - 1] / np.sqrt(variances[number - 1])
    along = left[:, number - 1]
    if along[np.argmax(np.abs(along))] < 0:
        coefficients = -coefficients
    context.tell("component", number)
    context.tell("explained_variance_ratio", float(variances[number - 1] / variances.sum()))
    context.tell("num_checkpoints", len(paths))
    return _combination(matrix, coefficients, like, num_parameters)


def _sources(context: Context) -> Sources:
    assert context.sources is not None  # a scan has them
    return context.sources


def _difference(other: Weights, context: Context, sources: Sources) -> Params:
    difference = subtract({name: other.params[name] for name in context.params}, context.params)
    if sources.moves_statistics:
        difference |= subtract(other.statistics, sources.statistics)
    return difference


def _kept(sources: Sources, key: object, make: Callable[[], _Decomposed]) -> _Decomposed:
    """What another axis has made of the same path."""
    if key not in sources.kept:
        sources.kept[key] = make()
    return cast(_Decomposed, sources.kept[key])


def _matrix(rows: int, like: Params, sources: Sources) -> Tensor:
    """Room for T×P numbers: in memory, else in a file."""
    size = sum(tensor.numel() for tensor in like.values())
    return sources.room().take(next(iter(like.values())).dtype, (rows, size))[0]


def _gram(matrix: Tensor) -> FloatArray:
    """(T, T) inner products of the rows, float64."""
    products = torch.zeros(len(matrix), len(matrix), dtype=torch.float64)
    for start in range(0, matrix.shape[1], _BLOCK):
        block = matrix[:, start : start + _BLOCK].double()
        products += block @ block.T
    found: FloatArray = products.numpy()
    return found


def _combination(matrix: Tensor, coefficients: FloatArray, like: Params, num_parameters: int) -> Params:
    """Σ_t c_t · row_t as tensors, the parameters of Euclidean length 1."""
    weights = torch.from_numpy(coefficients.copy())
    parts = [weights @ matrix[:, s : s + _BLOCK].double() for s in range(0, matrix.shape[1], _BLOCK)]
    flat = torch.cat(parts)
    flat /= flat[:num_parameters].norm()
    return {name: piece.to(like[name].dtype) for name, piece in unflatten(flat, like).items()}
