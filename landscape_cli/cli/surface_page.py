"""A surface as a page for the terminal: the plane as a map, a line as a curve."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from landscape_cli.analysis.captions import default_metrics, is_share, split_of
from landscape_cli.analysis.curve import curve_of
from landscape_cli.analysis.layer import chosen_metric, chosen_slice, layer_of
from landscape_cli.analysis.scale import Scale, scale_of
from landscape_cli.analysis.splits import splits_of
from landscape_cli.cli.picture_facts import (
    Fact,
    conditions,
    facts_of_line,
    facts_of_plane,
    headlines,
    title_of_line,
    title_of_plane,
)
from landscape_cli.cli.terminal_form import Form
from landscape_cli.cli.terminal_line import Panel, TerminalLine, key_of_marks, pen
from landscape_cli.cli.terminal_map import TerminalMap, key_of
from landscape_cli.cli.terminal_page import Line, Page
from landscape_cli.surface import Surface

_WIDTH_OF_RAMP = 16
_Parts = tuple[Callable[[Form, int, int], list[Line]], str, Callable[[Form], Iterator[Fact]]]


def page_of(
    surface: Surface,
    *,
    metric: str | None = None,
    slice_index: int | None = None,
    log: bool | None = None,
    height: int | None = None,
    is_brief: bool = False,
) -> Page:
    """What `landscape show` prints.

    Args:
        surface: Whole or partial, of one to three axes.
        metric: By default the first loss, on a line all losses and accuracies.
        slice_index: By default the first, on a line all.
        log: Whether colours and heights are logarithmic; None for where values span decades.
        height: The most lines; None for as many as it takes.
        is_brief: Without what has to be measured first.

    Raises:
        UsageError: Unknown metric or slice, or a logarithmic scale for values that are not positive.
    """
    make = _line if len(surface.grid.axes) == 1 else _plane
    plot, title, facts = make(surface, metric, slice_index, log)

    def with_measures(form: Form) -> Iterator[Fact]:
        yield from facts(form)
        if not is_brief:
            yield from headlines(surface, chosen_metric(surface, metric), slice_index)
            yield conditions(surface)

    return Page(title, plot, with_measures, height)


def _plane(surface: Surface, metric: str | None, slice_index: int | None, log: bool | None) -> _Parts:
    layer = layer_of(surface, metric, slice_index)
    scale = scale_of(layer.shown, log=log)
    picture = TerminalMap(layer, scale)

    def facts(form: Form) -> Iterator[Fact]:
        key = key_of(form, _WIDTH_OF_RAMP)
        yield from facts_of_plane(surface, layer, scale, key, has_centre=picture.has_centre)

    return picture.lines, title_of_plane(surface, layer), facts


def _line(surface: Surface, metric: str | None, slice_index: int | None, log: bool | None) -> _Parts:
    names = [chosen_metric(surface, metric)] if metric is not None else default_metrics(surface)
    if slice_index is not None:
        chosen_slice(surface, slice_index)
    shares = [name for name in names if is_share(name)]
    first = [name for name in names if name not in shares] or shares
    panels = [_panel(surface, first, slice_index, log)]
    if shares != first:
        panels += [_panel(surface, shares, slice_index, False)] if shares else []
    curves = [each for panel in panels for each in panel.curves]

    def facts(form: Form) -> Iterator[Fact]:
        keys = [(curve, pen_of_it.key(form)) for curve, pen_of_it in curves]
        yield from facts_of_line(surface, keys, panels[0].scale, slice_index, key_of_marks(form))

    return TerminalLine(panels).lines, title_of_line(surface, [curve for curve, _ in curves], slice_index), facts


def _panel(surface: Surface, names: Sequence[str], slice_index: int | None, log: bool | None) -> Panel:
    curves = [curve_of(surface, name, slice_index) for name in names]
    values = np.concatenate([curve.shown for curve in curves])
    is_within = bool(values.size) and values.min() >= 0 and values.max() <= 1
    is_one = all(map(is_share, names)) and is_within and log is not True
    scale = Scale(0.0, 1.0) if is_one else scale_of(values, log=log)
    return Panel(list(zip(curves, map(pen, _numbers(surface, names)), strict=True)), scale)


def _numbers(surface: Surface, names: Sequence[str]) -> Iterator[int]:
    """Of the pens: that of the split, whatever else is drawn; others for further metrics of a split."""
    splits = splits_of(surface)
    further = itertools.count(len(splits))
    taken: set[int] = set()
    for name in names:
        own = splits.index(split_of(surface, name))
        yield next(further) if own in taken else own
        taken.add(own)
