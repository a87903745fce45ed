"""A surface as one page to turn, to zoom and to read numbers from, in any browser and without a network."""

from __future__ import annotations

import os
from pathlib import Path

from landscape_cli.analysis.captions import axis_label, default_metrics, footer
from landscape_cli.analysis.captions import title as title_of
from landscape_cli.analysis.interactive.amount import amount
from landscape_cli.analysis.interactive.numbers import numbers, values_at_first
from landscape_cli.analysis.layer import chosen_metric, chosen_slice
from landscape_cli.analysis.pages.html import plotly_script, render, resource
from landscape_cli.analysis.scale import scale_of
from landscape_cli.grid import Axis
from landscape_cli.storage import replace_file
from landscape_cli.surface import Surface

SUFFIXES = (".html", ".htm")


def write_page(
    surface: Surface,
    path: str | os.PathLike[str],
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    title: str | None = None,
) -> None:
    """Write a page that shows a surface, whole or partial; equal surfaces give equal pages.

    A plane is a surface to turn, or flat as contours or a heat map; a line is a diagram. The reader switches metric,
    slice, scale and view. Needs plotly, the extra ``html``.

    Args:
        surface: From `landscape_cli.load_surface`; of a volume the layer whose z is nearest to 0 is shown.
        path: Where to save; an older file is replaced whole.
        metric: What is shown first: by default the first loss of a plane, all losses and accuracies of a line.
        slice_index: Which slice is shown first, from 0; by default the first of a plane, all of a line.
        log: Whether the scale is logarithmic at first; None for where the values span more than a factor of 50.
        title: The heading; by default the model.

    Raises:
        UsageError: Unknown metric or slice, a logarithmic scale of values that are not positive, or no plotly.
        OutputError: The file cannot be written.
    """
    name, index = chosen_metric(surface, metric), chosen_slice(surface, slice_index)
    held = amount(surface, _metrics(surface), name, index)
    if log:
        scale_of(values_at_first(surface, metric, slice_index, held), log=True)
    plotly = plotly_script(Path(path))
    data = numbers(surface, held)
    data["start"] = {"metric": metric, "slice": slice_index, "log": log}
    values = {
        "data": data,
        "plotly": plotly,
        "style": resource("page.css"),
        "script": resource("page.js"),
        **_words(surface, title, held.notes),
    }
    replace_file(Path(path), render("surface.html.j2", values))


def _metrics(surface: Surface) -> list[str]:
    """All of them, those that a picture shows first."""
    return list(dict.fromkeys([*default_metrics(surface), *surface.metrics]))


def _words(surface: Surface, title: str | None, notes: tuple[str, ...]) -> dict[str, object]:
    heading, *state = title_of(surface, "loss landscape", None).split("\n")
    layer = [f"Shown is the layer of the volume at z = {axis.coordinates[axis.centre]:g}." for axis in _beyond(surface)]
    return {
        "title": title or heading,
        "state": state,
        "axes": [axis_label(surface, axis.name) for axis in surface.grid.axes],
        "notes": [*layer, *notes],
        "footer": footer(surface),
        "is_plane": len(surface.grid.axes) > 1,
    }


def _beyond(surface: Surface) -> tuple[Axis, ...]:
    """The axes that a plane does not have."""
    return surface.grid.axes[2:]
