"""How much of the spectrum of the Hessian is negative."""

from __future__ import annotations

from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.recorded import measurement, recorded
from landscape_cli.surface import Surface


def negative_curvature(surface: Surface, *, loss: str | None = None, slice_index: int | None = None) -> Measurement:
    """Σ |λ| over the negative eigenvalues, by stochastic Lanczos quadrature (Ghorbani, Krishnan & Xiao 2019,
    arXiv:1901.10159; Yao et al. 2020, arXiv:1912.07145).

    The standard error between probes does not cover the bias of the quadrature: that is the change from half as many
    steps, in ``method_error``.

    Args:
        surface: With the record spectral_density.
        loss: Of the split that was measured.
        slice_index: Of no consequence.
    """
    found = recorded(surface, "spectral_density", loss, slice_index)
    nodes = found.record.values.get("nodes")
    size = f"{nodes.shape[0]} probes of {nodes.shape[1]} steps" if nodes is not None and nodes.ndim == 2 else ""
    return measurement(
        found,
        "negative_curvature",
        found.record.number("negative_sum"),
        unit=f"{found.unit} / weight²",
        invariant_to=(),
        standard_error=found.record.number("negative_sum_standard_error"),
        method_error=found.record.number("negative_sum_change"),
        method_error_from="quadrature",
        is_estimate=True,
        num_probes=nodes.shape[0] if nodes is not None and nodes.ndim == 2 else 0,
        note=size,
    )
