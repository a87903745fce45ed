"""A comparison for people: what is the same, a table of every measure, the ranking."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from landscape_cli.analysis.bottleneck import Bottleneck
from landscape_cli.analysis.comparability import sha256_of_checkpoint
from landscape_cli.analysis.compare import AT_CHECKPOINT, CONFIDENCE, OVER_EXAMPLES, Against, Comparison, Row
from landscape_cli.analysis.contrast import Contrast
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.orientation import Better
from landscape_cli.analysis.question import Named
from landscape_cli.cli.console import number
from landscape_cli.cli.from_model import errors_in_words

Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]  # names of columns, and rows of cells
_SIGNS = {"lower": "≥ ", "upper": "≤ ", None: ""}
_LARGE_RATIO = 3.0  # from here on a factor reads better than a percentage
_ROUNDING = 1e-5  # engines, threads and machines agree on a loss to this share of it


def table(named: Sequence[Named], rows: Sequence[Row]) -> Table:
    """The names of the columns, and a line for each measure, of more than two files one for each file as well; without
    columns that are empty.
    """
    if len(named) == 2:
        columns = ("measure", *(each.name for each in named), "change", "95 % interval", "which is", "note")
    else:
        columns = ("measure", "file", "value ± SE", f"against {named[0].name}", "95 % interval", "which is", "note")
    return without_empty(columns, list(_table_rows(named, rows)))


def split_equal(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows in which files differ, and those that are the same number in all of them; all of them where none differ,
    or there is one only.
    """
    equal = [row for row in rows if row.is_comparable and _is_equal(row)]
    if len(equal) == len(rows):
        return list(rows), []
    return [row for row in rows if row not in equal], equal


def _is_equal(row: Row) -> bool:
    found = [against.contrast for against in row.against_first]
    is_bound = any(each.bound is not None for each in row.measurements)
    return not is_bound and all(each is not None and each.difference == 0 and not each.error > 0 for each in found)


def equal_in_words(rows: Sequence[Row]) -> str:
    """``the same number in all files: n_basins 1, monotone_rays 1``; ``""`` where there are none."""
    words = [f"{row.name} {value_in_words(row.measurements[0])}" for row in rows]
    return f"the same number in all files: {', '.join(words)}" if words else ""


def without_empty(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without those columns of which all cells are empty."""
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _table_rows(named: Sequence[Named], rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        values = [value_in_words(each) for each in row.measurements]
        changes = [("", "", "", ""), *_changes(row)]
        if len(named) == 2:
            yield (row.name, *values, *changes[1])
            continue
        for i, each in enumerate(named):
            yield (row.name if i == 0 else "", each.name, values[i], *changes[i])


def value_in_words(measurement: Measurement) -> str:
    """``0.163 ± 0.014``; a dash where it is not measured."""
    if measurement.value is None:
        return "–"
    errors = errors_in_words(measurement)
    if measurement.scope == AT_CHECKPOINT and measurement.note:
        errors = f"{measurement.note.removesuffix(OVER_EXAMPLES)} (examples)"  # of these examples it is exact
    return f"{_SIGNS[measurement.bound]}{number(measurement.value)} {errors}".rstrip()


def _changes(row: Row) -> Iterator[tuple[str, str, str, str]]:
    """Of each file but the first: the change, its interval, whether that is better, and what to know of it."""
    first = row.measurements[0]
    for measurement, against in zip(row.measurements[1:], row.against_first, strict=True):
        if first.value is None or measurement.value is None:
            yield "", "", "", first.note if first.value is None else measurement.note
        elif first.bound is not None and first.bound == measurement.bound and not against.relation.obstacles:
            yield "", "", "", "of both only a bound is known"
        else:
            notes = [against.note, *_warnings(first), *_warnings(measurement)]
            yield *_change(against, row.better), joined(*dict.fromkeys(notes))


def _warnings(measurement: Measurement) -> Iterator[str]:
    """What of its note says that the number itself may mislead."""
    for part in measurement.note.split("; "):
        if part.startswith(("grid too coarse", "partial")) or part.endswith("diverged"):
            yield part


def _change(against: Against, better: Better | None) -> tuple[str, str, str]:
    found = against.contrast
    if found is None:
        return "", "", ""
    limits = found.limits_of_difference(CONFIDENCE)
    if found.has_ratio:
        of_ratio = found.limits_of_ratio(CONFIDENCE)
        change, interval = share_in_words(found.ratio), range_in_words(of_ratio) if of_ratio else "–"
    else:
        interval = f"{_signed(limits[0])} … {_signed(limits[1])}" if limits else "–"
        change = _signed(found.difference)
    if found.pairing == "exact" and not any(found.method_errors):
        interval = "exact"
    judged = "" if better is None or against.relation.unequal else _judgement(found, better)
    return _SIGNS[found.bound] + change, interval, judged


def _judgement(found: Contrast, better: Better) -> str:
    limits, scale = found.limits(CONFIDENCE), 1.0 if found.has_ratio else max(abs(found.base), abs(found.new))
    if limits is None:
        return ""
    low, high = limits
    if low == high == 0:
        return "equal"
    if max(abs(low), abs(high)) <= _ROUNDING * scale:
        return "the same within rounding"
    if low <= 0 <= high:
        return "the same within error"
    return "better" if (low > 0) == (better == "higher") else "worse"


def share_in_words(ratio: float) -> str:
    """``−13 %``, from a factor of three on ``× 5.2``."""
    if ratio >= _LARGE_RATIO or ratio <= 1 / _LARGE_RATIO:
        return f"× {_factor(ratio)}"
    return _percent(ratio - 1)


def range_in_words(ratios: tuple[float, float]) -> str:
    """``−18 … −7 %``."""
    if any(ratio >= _LARGE_RATIO or ratio <= 1 / _LARGE_RATIO for ratio in ratios):
        return f"× {_factor(ratios[0])} … {_factor(ratios[1])}"
    return f"{_percent(ratios[0] - 1).removesuffix(' %')} … {_percent(ratios[1] - 1)}"


def _factor(ratio: float) -> str:
    return "∞" if math.isinf(ratio) else f"{ratio:.3g}"


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


def same_checkpoint_in_words(named: Sequence[Named]) -> Iterator[str]:
    """Which files are of one and the same checkpoint, so that there is nothing to find between them."""
    groups: dict[str, list[str]] = {}
    for each in named:
        if (digest := sha256_of_checkpoint(each.surface)) is not None:
            groups.setdefault(digest, []).append(each.name)
    for digest, names in groups.items():
        if len(names) > 1:
            yield f"{' and '.join(names)} are of the same checkpoint, {digest[:8]}…"


def bottleneck_in_words(named: Sequence[Named], distances: Sequence[Bottleneck]) -> Iterator[str]:
    """The distance of each file from the first one."""
    for each, found in zip(named[1:], distances, strict=False):
        heading = f"bottleneck distance from {named[0].name} to {each.name}"
        if found.spread is None:
            yield f"{heading}: not measured: {found.note}"
            continue
        spread = found.spread.standard_error or 0.0
        error = f" ± {spread:.2g}" if spread > _ROUNDING * found.spread.value else ""
        slices = f", mean of {len(found.per_slice)} slices" if len(found.per_slice) > 1 else ""
        note = f"; {found.note}" if found.note else ""
        yield f"{heading}: {number(found.spread.value)}{error} {found.unit}{slices}{note}"
