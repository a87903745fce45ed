"""A comparison for people: what is the same, a table of every measure, the ranking."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from landscape_cli.analysis.bottleneck import Bottleneck
from landscape_cli.analysis.compare import CONFIDENCE, Against, Comparison, Row
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.orientation import Better
from landscape_cli.analysis.question import Named
from landscape_cli.cli.console import number
from landscape_cli.cli.from_model import errors_in_words

_SIGNS = {"lower": "≥ ", "upper": "≤ ", None: ""}
_LARGE_RATIO = 3.0  # from here on a factor reads better than a percentage


def columns_of(named: Sequence[Named]) -> tuple[str, ...]:
    """The heading of `table_rows`."""
    if len(named) == 2:
        return ("measure", *(each.name for each in named), "change", "95 % interval", "which is", "note")
    return ("measure", "value ± SE", "file", f"against {named[0].name}", "95 % interval", "which is", "note")


def table_rows(named: Sequence[Named], rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """A line for each measure, or for more than two files one for each file as well."""
    for row in rows:
        values = [value_in_words(each) for each in row.measurements]
        notes = _notes(row)
        if len(named) == 2:
            yield (row.name, *values, *_change(row.against_first[0], row.better), notes[0])
            continue
        changes = [("", "", ""), *(_change(each, row.better) for each in row.against_first)]
        notes = ["", *notes]
        for i, each in enumerate(named):
            yield (row.name if i == 0 else "", values[i], each.name, *changes[i], notes[i])


def value_in_words(measurement: Measurement) -> str:
    """``0.163 ± 0.014``; a dash where it is not measured."""
    if measurement.value is None:
        return "–"
    return f"{_SIGNS[measurement.bound]}{number(measurement.value)} {errors_in_words(measurement)}".rstrip()


def _notes(row: Row) -> list[str]:
    """Of each file but the first: why it is not compared, or what to know of the change."""
    first = row.measurements[0]
    found = []
    for measurement, against in zip(row.measurements[1:], row.against_first, strict=True):
        lacking = first.note if first.value is None else measurement.note if measurement.value is None else ""
        found.append(lacking or against.note)
    return found


def _change(against: Against, better: Better | None) -> tuple[str, str, str]:
    """The change, its interval, and whether that is better."""
    found = against.contrast
    if found is None:
        return "", "", ""
    limits = found.limits_of_difference(CONFIDENCE)
    if found.has_ratio:
        of_ratio = found.limits_of_ratio(CONFIDENCE)
        cells = share_in_words(found.ratio), range_in_words(of_ratio) if of_ratio else "–"
    else:
        interval = f"{_signed(limits[0])} … {_signed(limits[1])}" if limits else "–"
        cells = _signed(found.difference), interval
    if found.pairing == "exact" and not any(found.method_errors):
        cells = cells[0], "exact"
    return *cells, _judgement(limits, better)


def _judgement(limits: tuple[float, float] | None, better: Better | None) -> str:
    if better is None or limits is None:
        return ""
    low, high = limits
    if low == high == 0:
        return "equal"
    if low <= 0 <= high:
        return "the same within error"
    return "better" if (low > 0) == (better == "higher") else "worse"


def share_in_words(ratio: float) -> str:
    """``−13 %``, from a factor of three on ``× 5.2``."""
    if ratio >= _LARGE_RATIO or ratio <= 1 / _LARGE_RATIO:
        return f"× {ratio:.3g}"
    return _percent(ratio - 1)


def range_in_words(ratios: tuple[float, float]) -> str:
    """``−18 … −7 %``."""
    if any(ratio >= _LARGE_RATIO or ratio <= 1 / _LARGE_RATIO for ratio in ratios):
        return f"× {ratios[0]:.3g} … {ratios[1]:.3g}"
    return f"{_percent(ratios[0] - 1).removesuffix(' %')} … {_percent(ratios[1] - 1)}"


def _percent(share: float) -> str:
    """Two digits, with a true minus."""
    size = 100 * abs(share)
    text = f"{size:.0f}" if size >= 9.95 else f"{size:.1f}" if size >= 0.95 else f"{size:.2g}"
    return f"{'−' if share < 0 else '+'}{text} %" if float(text) else "0 %"


def _signed(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:+.3g}".replace("-", "−") if value else "0"


def ranking_in_words(named: Sequence[Named], comparison: Comparison) -> str:
    """``flattest first, by adaptive_radius: B (0.2), A (0.163)``; files that cannot be told apart are said so."""
    ranking = comparison.ranking
    if ranking is None:
        return ""
    words = f"{named[ranking.places[0].index].name} ({number(ranking.places[0].value)})"
    for place in ranking.places[1:]:
        between = ", then " if place.worse_than_previous else " or " if place.worse_than_previous is False else ", "
        words += f"{between}{named[place.index].name} ({number(place.value)})"
    remark = ""
    if any(place.worse_than_previous is False for place in ranking.places):
        remark = "; those with “or” between them are the same within error"
    if all(place.worse_than_previous is None for place in ranking.places):
        remark = "; without error bars"
    return f"best first, by {ranking.measure}: {words}{remark}"


def common_in_words(comparison: Comparison) -> tuple[list[str], list[str], list[str]]:
    """What is the same, what is not, and what a file does not say."""
    same = [str(each) for each in comparison.aspects if each.is_same and each.is_known]
    different = [str(each) for each in comparison.aspects if not each.is_same]
    unknown = [each.name for each in comparison.aspects if each.is_same and not each.is_known]
    return same, different, unknown


def bottleneck_in_words(named: Sequence[Named], distances: Sequence[Bottleneck]) -> Iterator[str]:
    """The distance of each file from the first one."""
    for each, found in zip(named[1:], distances, strict=False):
        heading = f"bottleneck distance from {named[0].name} to {each.name}"
        if found.spread is None:
            yield f"{heading}: not measured: {found.note}"
            continue
        error = f" ± {found.spread.standard_error:.2g}" if found.spread.standard_error is not None else ""
        slices = f", mean of {len(found.per_slice)} slices" if len(found.per_slice) > 1 else ""
        note = f"; {found.note}" if found.note else ""
        yield f"{heading}: {number(found.spread.value)}{error}{slices}{note}"
