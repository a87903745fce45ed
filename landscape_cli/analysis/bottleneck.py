"""The bottleneck distance: how far the basins of two slices are from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape_cli.analysis.comparability import aspects, relation
from landscape_cli.analysis.compare import View
from landscape_cli.analysis.measurement import Spread, joined, over_slices
from landscape_cli.analysis.slices import Slices, slices_of
from landscape_cli.analysis.topology import basins
from landscape_cli.surface import FloatArray, Surface


@dataclass(frozen=True)
class Bottleneck:
    """The distance of two surfaces.

    Attributes:
        spread: Mean over the common slices; None where there is none.
        per_slice: Of each of these.
        note: Why there is none; else what to know of it.
        unit: Of the loss.
    """

    spread: Spread | None
    per_slice: tuple[float, ...] = ()
    note: str = ""
    unit: str = ""


def bottleneck(base: Surface, new: Surface, view: View) -> Bottleneck:
    """The bottleneck distance of the 0-dimensional persistence diagrams of the sublevel sets of two surfaces, in units
    of the loss (Cohen-Steiner, Edelsbrunner & Harer 2007, Discrete Comput. Geom. 37): no basin needs to be made deeper
    or shallower by more than that to turn one into the other. It is at most max |f − g|.

    By Hera (Kerber, Morozov & Nigmetov 2017, arXiv:1606.03357), which comes with gudhi, the extra ``topology``: the
    matching of gudhi itself misses the best one for one pair of diagrams in some hundred (up to 3.13, mended by
    GUDHI/gudhi-devel#1367). Slice by slice, along the same random directions.

    Args:
        base: What is compared with.
        new: What is compared.
        view: What is measured of both.
    """
    name = "total_persistence"  # rests on the same diagrams
    found = relation(aspects((base, new)), view.measurement(base, name), view.measurement(new, name), view.loss)
    reasons = (*found.obstacles, *found.unpaired)
    if reasons:
        return Bottleneck(None, note="; ".join(reasons))
    both = [slices_of(surface, view.loss, None) for surface in (base, new)]
    lacking = next((each.lacking for each in both if each.lacking), "")
    if lacking:
        return Bottleneck(None, note=lacking)
    try:
        from gudhi import hera  # noqa: PLC0415  # the extra `topology`, for this function alone
    except ModuleNotFoundError:
        return Bottleneck(None, note="needs gudhi: pip install 'landscape-cli[topology]'")
    diagrams = [[_diagram(values) for values in each.values] for each in both]
    per_slice = [float(hera.bottleneck_distance(*pair, delta=0)) for pair in zip(*diagrams, strict=False)]
    unknown = f"not known to be the same: {', '.join(found.unknown)}" if found.unknown else ""
    note = joined(*found.unequal, unknown, _partial(both))
    return Bottleneck(over_slices(per_slice), tuple(per_slice), note, both[0].unit)


def _diagram(values: FloatArray) -> FloatArray:
    """(K, 2) births and deaths, those of the lowest basin at infinity."""
    pairs = [(each.birth, each.death) for each in basins(values) if each.persistence > 0]
    return np.asarray(pairs, dtype=np.float64).reshape(-1, 2)


def _partial(both: list[Slices]) -> str:
    notes = {each.note for each in both if each.note}
    is_same = all(np.array_equal(a, b) for a, b in zip(both[0].axes, both[1].axes, strict=True))
    return "; ".join(sorted(notes) + ([] if is_same else ["of grids with different points"]))
