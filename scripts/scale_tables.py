"""Tables of joint scans at scale: docs/scale.md from its figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]  # as read from JSON

_BYTES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIMES = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))
_LAYOUTS = {"dense": "dense", "own": "own rows", "sparse": "sparse"}


def with_tables(text: str, report: Report) -> str:
    """The text with the tables of these figures between ``<!-- table: name -->`` and ``<!-- end -->``."""

    def replacement(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{TABLES[found[1]](report)}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replacement, text, flags=re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# ---------------------------------------------------------------- numbers


def number(value: float) -> str:
    """To three digits, with separators."""
    if value == 0:
        return "0"
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def size(num_bytes: float) -> str:
    """In decimal units."""
    for unit, name in _BYTES:
        if num_bytes >= unit:
            return f"{number(num_bytes / unit)} {name}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """In the unit that suits; a dash for never."""
    if seconds is None:
        return "never"
    for unit, name in _TIMES:
        if seconds >= 2 * unit:
            return f"{number(seconds / unit)} {name}"
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(1000 * seconds)} ms"


def percent(share: float) -> str:
    """To a tenth where it is small."""
    if share and share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{number(100 * share)} %"


def grid(each: Mapping[str, Any]) -> str:
    """Its shape."""
    return f"{each['side']}×{each['side']}" + (f"×{each['slices']}" if each["slices"] > 1 else "")


# ---------------------------------------------------------------- tables


def of_ways(report: Report) -> str:
    """One scan in several ways."""
    rows = []
    for each in report["ways"]:
        times = each.get("outputs", 1)
        rows.append(
            [
                each["name"],
                size(each["largest_part"]),
                size(times * each["part_bytes"]),
                duration(each["filled"]),
                duration(each["seen"] - each["filled"]),
                duration(each["merge"]["seconds"]),
                f"**{number(each['ratio'])}**",
                size(times * each["bytes_written"]),
                size(times * each["bytes_read"]),
                number(times * each["changes_per_second"]["peak"]),
                number(times * each["stats_per_second"]["peak"]),
            ]
        )
    head = ["way", "a part", "all parts", "all points in parts after", "seen later by", "merge", "× ideal"]
    return table([*head, "written", "read", "changes/s", "stats/s"], rows)


def of_sizes(report: Report) -> str:
    """What a grid means for one process."""
    rows = [
        [
            grid(each),
            number(each["points"]),
            size(each["part_bytes"]),
            duration(each["seconds_per_save"]),
            duration(each["seconds_per_load"]),
            duration(each["seconds_of_order"]),
            duration(each["seconds_of_missing"]),
            size(each["own_part_bytes"]),
            size(each["sparse_part_bytes"]),
            *(size(each["memory"][key]) if key in each["memory"] else "–" for key in ("order", "save", "process")),
        ]
        for each in report["on_paper"]["sizes"]
    ]
    head = ["grid", "points", "a part", "save", "load", "put points in order", "find what is missing"]
    kinds = ["a part of own rows, W = 10,000", "a sparse one"]
    return table([*head, *kinds, "memory: to put in order", "a save", "a process"], rows)


def of_crowds(report: Report) -> str:
    """What a number of workers means for the file system."""
    rows = [
        [
            f"{each['workers']:,}",
            number(each["heartbeats_of_1_second"]),
            number(each["heartbeats"]),
            number(each["changes_of_saves_every_second"]),
            number(each["changes_of_saves_every_minute"]),
            number(each["stats_of_one_look_by_all"]),
            duration(each["seconds_of_stats"]),
            *(
                cell
                for kind in ("", "_at_sparse_parts")
                for cell in (
                    size(each["bytes_of_sparse_parts" if kind else "bytes_of_parts"]),
                    size(each[f"bytes_of_one_look_by_all{kind}"]),
                    duration(each[f"seconds_of_one_look_by_all{kind}"]),
                )
            ),
        ]
        for each in report["on_paper"]["crowds"]
    ]
    head = ["W", "heartbeats/s, one a second", "as scaled", "changes/s, a save a second", "one a minute"]
    kinds = [cell for kind in ("dense parts", "sparse parts") for cell in (kind, "all read all", "takes")]
    return table([*head, "stats, all look once", "takes", *kinds], rows)


def of_limits(report: Report) -> str:
    """The protocol as it is: what comes on top of the ideal time."""
    crowds = sorted({each["workers"] for each in report["as_it_is"]})
    cells: dict[tuple[str, int], dict[int, str]] = {}
    for each in report["as_it_is"]:
        over = each["makespan"] - each["ideal"]
        cell = f"{duration(over)} ({percent(over / each['ideal'])})"
        cells.setdefault((each["files"], each["points"]), {})[each["workers"]] = cell
    rows = [[files, number(points), *(of.get(crowd, "–") for crowd in crowds)] for (files, points), of in cells.items()]
    return table(["file system", "points", *(f"W = {crowd:,}" for crowd in crowds)], rows)


def of_merges(report: Report) -> str:
    """Equal parts united by one process, and in a tree."""
    rows = [
        [
            _LAYOUTS[each["layout"]],
            size(each["part_bytes"]),
            "one process" if each["fan_in"] is None else f"tree, {each['fan_in']} at a time",
            f"{each['levels']}",
            size(each["num_bytes"]),
            size(each["memory"]),
            duration(each["seconds"]),
        ]
        for each in report["on_paper"]["merges"]
    ]
    return table(["parts", "each", "merged by", "levels", "read and written", "memory of one process", "takes"], rows)


def of_trouble(report: Report) -> str:
    """Stragglers and failures."""
    kinds = {"as it is": "", "reads sweepers": ", reading only who sweeps"}
    columns = [report["trouble"][kind] for kind in kinds]
    rows = [[each[0]["name"], *(cell for one in each for cell in _trouble(one))] for each in zip(*columns, strict=True)]
    crowds = [f"W = {of[0]['workers']:,}{words}" for of, words in zip(columns, kinds.values(), strict=True)]
    head = [cell for crowd in crowds for cell in (f"{crowd}: × ideal", "twice", "lost")]
    return table(["what happens", *head], rows)


def _trouble(each: Mapping[str, Any]) -> list[str]:
    done = f"{number(each['ratio'])}" if each["ratio"] is not None else f"never: {each['missing']:,} missing"
    hours = duration(each["lost_seconds"])
    return [done, percent(each["twice"] / each["points"]), hours if each["lost_seconds"] else "0"]


def of_costs(report: Report) -> str:
    """What was measured."""
    found = report["measured"]
    rows = [
        [
            number(found["points"][index]),
            size(found["size"][index]),
            *(duration(found[key][index]) for key in ("image", "write", "load", "unite", "order", "missing")),
        ]
        for index in range(len(found["points"]))
    ]
    return table(
        [
            "points",
            "file",
            "save, without the disk",
            "write and fsync",
            "load",
            "unite",
            "put points in order",
            "find what is missing",
        ],
        rows,
    )


def of_files(report: Report) -> str:
    """What is assumed."""
    rows = [
        [
            each["name"],
            f"{size(each['bandwidth'])}/s",
            f"{size(each['bandwidth_of_one'])}/s",
            number(each["changes"]),
            number(each["stats"]),
            number(each["operations_of_one"]),
        ]
        for each in report["files"]
    ]
    return table(["file system", "all together", "one process", "changes/s", "stats/s", "either, one process"], rows)


TABLES: Mapping[str, Callable[[Report], str]] = {
    "ways": of_ways,
    "limits": of_limits,
    "sizes": of_sizes,
    "crowds": of_crowds,
    "merges": of_merges,
    "trouble": of_trouble,
    "costs": of_costs,
    "files": of_files,
}
