"""The Fisher-Rao norm: how much the predictions change when all weights are scaled."""

from __future__ import annotations

from landscape_cli.analysis.invariance import BATCHNORM, LAYER, NEURON
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import measurement, recorded
from landscape_cli.surface import Surface

_CONFIDENCE = "measures mostly how confident the predictions are"


def fisher_rao(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """mean_i Var_{p_i}(J_i θ) = θᵀFθ with the Fisher matrix F, J_i the Jacobian of the logits of example i, and the
    variance of the entries of J_i θ under the predicted probabilities p_i (Liang et al. 2019, arXiv:1711.01530); for
    cross entropy only.

    Args:
        surface: With the record fisher_rao.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    return _fisher_rao(surface, "fisher_rao", "model", loss, slice_index, "only for cross entropy")


def fisher_rao_empirical(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """mean_i (θ · g_i)², g_i the gradient of example i: with the labels instead of the model's own predictions."""
    return _fisher_rao(surface, "fisher_rao_empirical", "empirical", loss, slice_index, "")


def _fisher_rao(
    surface: Surface, name: str, key: str, loss: str | None, slice_index: int | None, lacking: str
) -> Measurement:
    found = recorded(surface, "fisher_rao", loss, slice_index)
    return measurement(
        found,
        name,
        found.record.number(key),
        unit=f"{found.unit}²",
        invariant_to=(LAYER, NEURON, BATCHNORM),
        note=_CONFIDENCE,
        lacking="" if key in found.record.values else lacking,
    )
