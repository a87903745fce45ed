"""Curvature by finite differences on the grid, with its error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.recorded import conditions_of
from landscape_cli.analysis.slice_curvature import EXACT, slice_curvature
from landscape_cli.analysis.slices import Slices, measure, name_of_loss, slices_of
from landscape_cli.surface import FloatArray, Surface

_TOO_COARSE = 0.2  # error / value
_EVEN = 1e-6  # of spacings, relative
_FLAT = 1e-3  # of the largest curvature on the slice
_SAME = 1e-3  # of two curvatures, relative: the rounding of float32


def curvature(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Second derivative at the checkpoint along the axes, their mean: (4 D_h − D_2h) / 3 with error |D_h − D_2h| / 3
    (Richardson 1911, Phil. Trans. R. Soc. A 210), where D_h are central second differences with the spacing h.

    It belongs to the spacing as much as to the network; where the error is more than a fifth of the value the note
    says that the grid is too coarse.

    Args:
        surface: Of any dimension, with 0 on the grid and at least two evenly spaced points to both sides.
        loss: By default the first.
        slice_index: One slice only.
    """
    found = _at_checkpoint(
        surface, loss, slice_index, "curvature", lambda hessian: float(np.trace(hessian)) / len(hessian)
    )
    return replace(found, note=joined(_exact(surface, loss, slice_index, found), found.note))


def curvature_max(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Largest eigenvalue of the Hessian on the slice, at the checkpoint; see `curvature`. On the slice only: λ_max of
    the network is larger.
    """
    return _at_checkpoint(surface, loss, slice_index, "curvature_max", lambda hessian: float(_eigenvalues(hessian)[-1]))


def curvature_min(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Smallest eigenvalue of the Hessian on the slice, at the checkpoint; see `curvature_max`."""
    return _at_checkpoint(surface, loss, slice_index, "curvature_min", lambda hessian: float(_eigenvalues(hessian)[0]))


def _exact(surface: Surface, loss: str | None, slice_index: int | None, found: Measurement) -> str:
    """The same from the model, over the same slices, where it differs by more than the error of the grid, or than that
    of a grid which is not too coarse.
    """
    record = surface.curvature.records.get("slice_curvature") if surface.curvature is not None else None
    if record is None or found.value is None or found.method_error is None:
        return ""
    exact = slice_curvature(surface, loss=name_of_loss(surface, loss), slice_index=slice_index)
    conditions = conditions_of(record)
    is_other_loss = conditions.parameters or conditions.weight_decay or conditions.batchnorm not in ("", "frozen")
    if exact.value is None or is_other_loss or EXACT not in exact.note.split("; "):
        return ""
    on_grid = float(np.mean(found.per_slice[: len(exact.per_slice)]))  # from the model perhaps of the first slices only
    allowed = min(found.method_error, _TOO_COARSE * abs(found.value)) + _SAME * abs(exact.value)
    if not abs(on_grid - exact.value) > allowed:  # also where one is NaN
        return ""
    of = f" of {exact.num_examples:,} examples" if exact.num_examples != found.num_examples else ""
    return f"exact from the model: {exact.value:.3g}{of}"


def neg_curv_frac(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Share of the inner points of the grid where the Hessian on the slice has a negative eigenvalue, by second
    differences: λ_min < −(8 noise / h² + 1e-3 max |λ|) (after Li et al. 2018, arXiv:1712.09913, fig. 7, who took the
    eigenvalues of the full Hessian).

    Points next to one that has diverged are left out.
    """
    slices = slices_of(surface, loss, slice_index)
    lacking = "" if slices.lacking else _uneven(slices)

    def of_slice(values: FloatArray) -> float:
        steps = [float(axis[1] - axis[0]) for axis in slices.axes]
        found = _eigenvalues(_inner_hessians(values, steps))  # (P, A)
        found = found[np.isfinite(found).all(axis=1)]
        if not len(found):
            return math.nan
        limit = 8 * slices.noise(values) / min(steps) ** 2 + _FLAT * float(np.abs(found).max())
        return float((found[:, 0] < -limit).mean())

    found = measure(slices, "neg_curv_frac", of_slice, unit="share", lacking=lacking)
    if found.value is None:
        return found
    seen = f"negative curvature seen in {sum(each > 0 for each in found.per_slice)} of {len(found.per_slice)} slices"
    return replace(found, note=joined(seen, found.note))


def _at_checkpoint(
    surface: Surface,
    loss: str | None,
    slice_index: int | None,
    name: str,
    statistic: Callable[[FloatArray], float],
) -> Measurement:
    slices = slices_of(surface, loss, slice_index)
    steps = [] if slices.lacking else [_spacing(axis) for axis in slices.axes]
    known = [step for step in steps if step is not None]
    lacking = (
        "" if len(known) == len(steps) else "needs 0 and two evenly spaced points to both sides of it on each axis"
    )
    if name != "curvature" and len(steps) == 1:
        lacking = "a line has one curvature"
    unit = f"{slices.unit} / axis unit²"
    if slices.lacking or lacking:
        return measure(slices, name, statistic, unit=unit, lacking=lacking)

    def of_slice(values: FloatArray) -> float:
        fine, coarse = (_hessian(slices, values, known, multiple) for multiple in (1, 2))
        return statistic((4 * fine - coarse) / 3) if _is_finite(fine, coarse) else math.nan

    def error_of(values: FloatArray) -> float:
        fine, coarse = (_hessian(slices, values, known, multiple) for multiple in (1, 2))
        return abs(statistic(fine) - statistic(coarse)) / 3 if _is_finite(fine, coarse) else math.nan

    found = measure(slices, name, of_slice, unit=unit)
    if found.value is None:
        return found
    spacing = ", ".join(f"{step:.4g}" for step in dict.fromkeys(known))
    error = float(np.nanmean([error_of(values) for values in slices.values]))
    coarse = error > _TOO_COARSE * abs(found.value)
    verdict = f"grid too coarse for curvature (h={spacing})" if coarse else f"h={spacing}"
    words = f"{verdict}, ± {error:.2g} from the grid; depends on h: compare at equal h only"
    return replace(found, method_error=error, method_error_from="grid", note=joined(words, found.note))


def _is_finite(fine: FloatArray, coarse: FloatArray) -> bool:
    return bool(np.isfinite(fine).all() and np.isfinite(coarse).all())


def _eigenvalues(hessians: FloatArray) -> FloatArray:
    """(…, A) rising; NaN where the matrix is not finite."""
    finite = np.isfinite(hessians).all(axis=(-2, -1))
    found = np.full(hessians.shape[:-1], np.nan)
    found[finite] = np.linalg.eigvalsh(hessians[finite])
    return found


def _spacing(axis: FloatArray) -> float | None:
    """The smallest h with −2h, −h, 0, h and 2h on the axis; None where that is not the next point."""
    if 0.0 not in axis or axis[-1] <= 0:
        return None
    step = float(axis[axis > 0][0])
    return step if all(_index(axis, multiple * step) is not None for multiple in (-2, -1, 2)) else None


def _index(axis: FloatArray, coordinate: float) -> int | None:
    nearest = int(np.argmin(np.abs(axis - coordinate)))
    return nearest if abs(axis[nearest] - coordinate) <= _EVEN * abs(coordinate) else None


def _hessian(slices: Slices, values: FloatArray, steps: list[float], multiple: int) -> FloatArray:
    """(A, A) by central differences at 0 with a multiple of the spacing."""
    num_axes = len(steps)
    zero = [int(np.argmin(np.abs(axis))) for axis in slices.axes]

    def at(*moves: tuple[int, int]) -> float:
        where = list(zero)
        for axis, sign in moves:
            found = _index(slices.axes[axis], sign * multiple * steps[axis])
            assert found is not None  # as _spacing has found it
            where[axis] = found
        return float(values[tuple(where)])

    hessian = np.empty((num_axes, num_axes))
    with np.errstate(invalid="ignore"):  # inf - inf: not finite, which the caller looks for
        for i in range(num_axes):
            hessian[i, i] = np.float64(at((i, 1)) + at((i, -1)) - 2 * slices.centre) / (multiple * steps[i]) ** 2
        for i, j in itertools.combinations(range(num_axes), 2):
            same, crossed = (at((i, 1), (j, s)) + at((i, -1), (j, -s)) for s in (1, -1))
            mixed = np.float64(same) - crossed
            hessian[i, j] = hessian[j, i] = mixed / (4 * multiple**2 * steps[i] * steps[j])
    return hessian


def _uneven(slices: Slices) -> str:
    if any(len(axis) < 3 for axis in slices.axes):
        return "needs three points on each axis"
    gaps = [np.diff(axis) for axis in slices.axes]
    return "" if all(np.ptp(gap) <= _EVEN * gap[0] for gap in gaps) else "needs evenly spaced points"


def _inner_hessians(values: FloatArray, steps: list[float]) -> FloatArray:
    """(P, A, A) at the points that have neighbours on all sides."""
    num_axes = values.ndim

    def shifted(*moves: tuple[int, int]) -> FloatArray:
        offset = dict(moves)
        ends = [(1 + offset.get(axis, 0), num - 1 + offset.get(axis, 0)) for axis, num in enumerate(values.shape)]
        return values[tuple(slice(*end) for end in ends)].ravel()

    hessians = np.empty((shifted().size, num_axes, num_axes))
    with np.errstate(invalid="ignore"):  # inf - inf
        for i in range(num_axes):
            hessians[:, i, i] = (shifted((i, 1)) + shifted((i, -1)) - 2 * shifted()) / steps[i] ** 2
        for i, j in itertools.combinations(range(num_axes), 2):
            same, crossed = (shifted((i, 1), (j, s)) + shifted((i, -1), (j, -s)) for s in (1, -1))
            hessians[:, i, j] = hessians[:, j, i] = (same - crossed) / (4 * steps[i] * steps[j])
    return hessians
