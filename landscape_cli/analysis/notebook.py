"""A surface in a notebook: a picture, and what it is."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np

from landscape_cli.analysis.captions import readable
from landscape_cli.analysis.plot import plot
from landscape_cli.analysis.unchecked import section, text
from landscape_cli.errors import UsageError
from landscape_cli.surface import Metric, Surface

_DPI = 80
_MAX_TEXT = 200


def html_of(surface: Surface) -> str:
    """The usual picture with a table beside it, without scripts; what is written in a file is text in it.

    Args:
        surface: Of any kind; where nothing can be drawn there is the table alone.
    """
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in _rows(surface)
    )
    table = f"<table style='align-self:start'>{rows}</table>"
    return f"<div style='display:flex;flex-wrap:wrap;gap:1em'>{_picture(surface)}{table}</div>"


def _picture(surface: Surface) -> str:
    content = io.BytesIO()
    try:
        plot(surface).savefig(content, format="png", dpi=_DPI)
    except UsageError:
        return ""
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(repr(surface))}" src="data:image/png;base64,{data}">'


def _rows(surface: Surface) -> list[tuple[str, str]]:
    share = f"{surface.num_evaluated:,} of {surface.grid.num_points:,}"
    rows = [("points", share if surface.complete else f"{share}: partial")]
    for axis in surface.grid.axes:
        recipe = surface.directions[axis.name].recipe
        direction = text(recipe.get("_target_")) or "unknown"
        low, high = axis.coordinates[0], axis.coordinates[-1]
        rows.append((axis.name, f"{len(axis)} points from {low:g} to {high:g}, direction {direction}"[:_MAX_TEXT]))
    if surface.grid.num_slices > 1:
        rows.append(("slices", f"{surface.grid.num_slices:,}"))
    rows += [(readable(name)[:_MAX_TEXT], _centre(metric)) for name, metric in surface.metrics.items()]
    checkpoint = text(section(surface.provenance.resolved, "checkpoint").get("path"))
    return [*rows, ("checkpoint", Path(checkpoint).name[:_MAX_TEXT])] if checkpoint else rows


def _centre(metric: Metric) -> str:
    """The value at the checkpoint."""
    if not np.isfinite(metric.centre):
        return "not finite at the checkpoint" if metric.num_examples else "unknown at the checkpoint"
    error = f" ± {metric.centre_standard_error:.2g}" if np.isfinite(metric.centre_standard_error) else ""
    size = f" (n = {metric.num_examples:,})" if metric.num_examples else ""
    return f"{metric.centre:.4g}{error}{size} at the checkpoint"
