"""A surface as a page for the terminal: the plane as a map, a line as a curve."""

from __future__ import annotations

from collections.abc import Iterator

from landscape_cli.analysis.layer import layer_of
from landscape_cli.analysis.scale import scale_of
from landscape_cli.cli.picture_facts import Fact, conditions, facts_of_plane, headlines, title_of_plane
from landscape_cli.cli.terminal_form import Form
from landscape_cli.cli.terminal_map import TerminalMap, ramp
from landscape_cli.cli.terminal_page import Page
from landscape_cli.surface import Surface

_WIDTH_OF_RAMP = 16


def page_of(
    surface: Surface,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    width: int | None = None,
    height: int | None = None,
) -> Page:
    """What `landscape show` prints.

    Args:
        surface: Whole or partial, of one to three axes.
        metric: By default the first loss, on a line all losses and accuracies.
        slice_index: By default the first, on a line all.
        log: Whether colours and heights are logarithmic; None for where values span decades.
        width: The most characters in a line; None for those of the console.
        height: The most lines; None for as many as it takes.

    Raises:
        UsageError: Unknown metric or slice, or a logarithmic scale for values that are not positive.
    """
    layer = layer_of(surface, metric, slice_index)
    scale = scale_of(layer.shown, log=log)

    def facts(form: Form) -> Iterator[Fact]:
        yield from facts_of_plane(surface, layer, scale, ramp(form, _WIDTH_OF_RAMP))
        yield from headlines(surface, layer.metric, slice_index)
        yield conditions(surface)

    return Page(title_of_plane(surface, layer), TerminalMap(layer, scale).lines, facts, width, height)
