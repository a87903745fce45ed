"""How joint scans behave at scale: measured costs, a simulation, and the tables of docs/scale.md.

The costs of surface files are measured here with the code that a scan uses. File systems that many processes share are
assumed, see the options; processes, shares, saves, sweeping, stragglers and failures are simulated.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from scripts import scale_tables  # noqa: E402
from scripts.scale_costs import BYTES_PER_POINT, POINTS_PER_CALL, Costs, measure, rounded  # noqa: E402
from scripts.scale_files import CHANGES_PER_SAVE, Filesystem, Layout, merge, stored  # noqa: E402
from scripts.scale_protocol import HEARTBEATS_PER_SECOND, Outcome, Scenario, simulate  # noqa: E402

PAGE, FIGURES = ROOT / "docs" / "scale.md", ROOT / "docs" / "benchmarks" / "scale_simulation.json"
PARALLEL = Filesystem("parallel", bandwidth=1e11, bandwidth_of_one=2e9, changes=3e4, stats=3e5, operations_of_one=2e3)
SERVER = Filesystem("one server", bandwidth=1e9, bandwidth_of_one=1e9, changes=3e3, stats=3e4, operations_of_one=2e3)
FAN_INS = (32, 100)
# Least units of a worker: with fewer points for each a unit is smaller.
_UNITS_OF_A_WORKER = 16
# Scans that would take longer are left out, in seconds.
_LONGEST = 30 * 86_400.0


@dataclass(frozen=True)
class Study:
    """What is simulated.

    Attributes:
        side, slices, workers: Of the scan that all ways are compared with.
        outputs: Files that it is divided into, one for each block of slices.
        sizes: Side and slices of the grids on which the protocol is simulated as it is.
        crowds: Numbers of workers there.
        shapes: Side and slices of the surfaces that are measured.
        num_files, rounds: See `scale_costs.measure`.
    """

    side: int
    slices: int
    workers: int
    outputs: int
    sizes: Sequence[tuple[int, int]]
    crowds: Sequence[int]
    shapes: Sequence[tuple[int, int]]
    num_files: int
    rounds: int

    @property
    def num_points(self) -> int:
        """Of the grid that all ways are compared with."""
        return self.side**2 * self.slices


WHOLE = Study(
    side=1001,
    slices=100,
    workers=10_000,
    outputs=100,
    sizes=((101, 1), (1001, 1), (1001, 100)),
    crowds=(10, 100, 1000, 10_000),
    shapes=((100, 1), (317, 1), (1001, 1), (1001, 3), (1001, 8)),
    num_files=10_000,
    rounds=5,
)
QUICK = Study(
    side=61,
    slices=4,
    workers=100,
    outputs=4,
    sizes=((31, 1), (61, 4)),
    crowds=(4, 100),
    shapes=((20, 1), (100, 1)),
    num_files=100,
    rounds=1,
)


def scan_of(num_points: int, num_workers: int, **settings: Any) -> Scenario:
    """A scan as the protocol is, but for ``settings``."""
    of_one = num_points // num_workers // _UNITS_OF_A_WORKER
    return Scenario(num_points, num_workers, min(POINTS_PER_CALL, max(of_one, 1)), **settings)


def divided(files: Filesystem, by: int) -> Filesystem:
    """What one of so many scans at once gets of a file system."""
    return replace(
        files,
        bandwidth=files.bandwidth / by,
        bandwidth_of_one=min(files.bandwidth_of_one, files.bandwidth / by),
        changes=files.changes / by,
        stats=files.stats / by,
    )


# ---------------------------------------------------------------- figures


def facts_of(scenario: Scenario, outcome: Outcome, costs: Costs) -> dict[str, Any]:
    """An outcome for the tables; null for what never comes."""
    end = outcome.seen if math.isfinite(outcome.seen) else outcome.filled
    facts: dict[str, Any] = {
        "points": scenario.num_points,
        "workers": scenario.num_workers,
        "ideal": scenario.ideal,
        "filled": outcome.filled,
        "seen": outcome.seen,
        "makespan": outcome.makespan,
        "ratio": outcome.makespan / scenario.ideal,
        "merge": asdict(outcome.merge) if outcome.merge is not None else None,
        "missing": outcome.missing,
        "twice": outcome.twice,
        "lost": outcome.lost,
        "lost_seconds": outcome.lost_seconds,
        "failures": outcome.failures,
        "saves": outcome.saves,
        "looks": outcome.looks,
        "bytes_written": outcome.bytes_written,
        "bytes_read": outcome.bytes_read,
        "changes_per_second": {"mean": outcome.changes / end, "peak": outcome.peak_changes},
        "stats_per_second": {"mean": outcome.stats / end, "peak": outcome.peak_stats},
        "bytes_per_second": {
            "mean_written": outcome.bytes_written / end,
            "mean": (outcome.bytes_written + outcome.bytes_read) / end,
            "peak": outcome.peak_bytes,
        },
        "parts": outcome.parts,
        "num_parts": len(outcome.part_sizes),
        "part_bytes": outcome.part_bytes,
        "largest_part": costs.size(max(outcome.part_sizes, default=0.0)),
        "head_at_half": outcome.head_at_half,
    }
    return {key: _finite(value) for key, value in facts.items()}


def _finite(value: Any) -> Any:
    """JSON has no numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Runner:
    """Simulates with the same costs, and says so."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def __call__(self, name: str, scenario: Scenario, files: Filesystem) -> dict[str, Any]:
        """The figures of a scenario."""
        start = time.perf_counter()
        facts = {
            "name": name,
            "files": files.name,
            **facts_of(scenario, simulate(scenario, self.costs, files), self.costs),
        }
        found = facts["makespan"]
        words = f"{found:,.0f} s" if found is not None else f"never, {facts['missing']:,} points missing"
        took = time.perf_counter() - start
        print(
            f"{name}: {words}, ideal {scenario.ideal:,.0f} s ({files.name}; took {took:.1f} s)",
            file=sys.stderr,
            flush=True,
        )
        return facts


def as_it_is(study: Study, run: Runner, systems: Sequence[Filesystem]) -> list[dict[str, Any]]:
    """The protocol as it is, nothing going wrong, on grids and with crowds of several sizes."""
    return [
        run(f"{side}×{side}×{slices}, {workers:,} workers", scan_of(side**2 * slices, workers), files)
        for files in systems
        for side, slices in study.sizes
        for workers in study.crowds
        if workers <= side**2 * slices // 4 and scan_of(side**2 * slices, workers).ideal < _LONGEST
    ]


def ways(study: Study, run: Runner, files: Filesystem) -> list[dict[str, Any]]:
    """One scan in several ways, nothing going wrong; the first ones with what there is today."""
    num, workers, group = study.num_points, study.workers, study.workers // study.outputs
    one = scan_of(num // study.outputs, group)
    who: dict[str, Any] = {"reads": "sweepers"}
    seldom: dict[str, Any] = {"save_every": 300.0, "layout": "sparse"}
    own: dict[str, Any] = {"save_every": 300.0, "layout": "own", "order": "blocks"}
    tree: dict[str, Any] = {"sweep": False, "fan_in": FAN_INS[0]}
    outputs = f"{study.outputs} outputs, {group} workers each"
    found = [
        run("as it is", scan_of(num, workers), files),
        run(f"`--no-sweep`, a file each, merged {FAN_INS[0]} at a time", scan_of(num, workers, **tree), files),
        run(outputs, one, divided(files, study.outputs)),
        run(f"{outputs}, reading only who sweeps", replace(one, **who), divided(files, study.outputs)),
        run("reading only who sweeps", scan_of(num, workers, **who), files),
        run("the same, parts of own rows", scan_of(num, workers, **who, **own), files),
        run("sparse parts", scan_of(num, workers, **seldom), files),
        run("reading only who sweeps, sparse parts", scan_of(num, workers, **who, **seldom), files),
        run(f"the same, sweep among {group}", scan_of(num, workers, **who, **seldom, group=group), files),
    ]
    for each in found:
        if each["workers"] != workers:  # one output of several
            each["outputs"] = study.outputs
    return found


TROUBLE: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "1 % of the workers 5 times slower, no sweep": {"slow_share": 0.01, "sweep": False},
    "1 % of the workers 5 times slower": {"slow_share": 0.01},
    "a failure per 100 worker-hours, back after 5 minutes": {"hours_between_failures": 100.0},
    "a failure per 100 worker-hours, never back": {"hours_between_failures": 100.0, "restart_after": math.inf},
    "the same without sweep": {"hours_between_failures": 100.0, "restart_after": math.inf, "sweep": False},
    "20 % pre-empted at half time, back after 10 minutes": {"preempted_share": 0.2},
    "20 % pre-empted at half time, never back": {"preempted_share": 0.2, "back_after": math.inf},
    "slow, failing and pre-empted, all back": {
        "slow_share": 0.01,
        "hours_between_failures": 100.0,
        "preempted_share": 0.2,
    },
}


def troubles(study: Study, run: Runner, files: Filesystem) -> dict[str, list[dict[str, Any]]]:
    """Stragglers and failures: one output of several, also reading only who sweeps."""
    few = study.workers // study.outputs
    seldom: dict[str, Any] = {"reads": "sweepers"}
    one, part = study.num_points // study.outputs, divided(files, study.outputs)
    return {
        "as it is": [run(name, scan_of(one, few, **each), part) for name, each in TROUBLE.items()],
        "reads sweepers": [
            run(f"reads sweepers: {name}", scan_of(one, few, **seldom, **each), part) | {"name": name}
            for name, each in TROUBLE.items()
        ],
    }


# ---------------------------------------------------------------- on paper


def sizes_on_paper(study: Study, costs: Costs) -> list[dict[str, Any]]:
    """What a grid means for one process, from the measured lines."""
    return [
        {
            "side": side,
            "slices": slices,
            "points": num,
            "part_bytes": costs.size(num),
            "sparse_part_bytes": costs.size(stored("sparse", num, 0, num // study.workers, 0)),
            "own_part_bytes": costs.size(num / study.workers),
            "seconds_per_save": costs.save(num),
            "seconds_per_load": costs.load(num),
            "seconds_of_order": costs.order(num),
            "seconds_of_missing": costs.missing(num),
            "memory": {key: each * num for key, each in memory_of(costs).items()},
        }
        for side, slices in study.sizes
        for num in [side**2 * slices]
    ]


def memory_of(costs: Costs) -> Mapping[str, float]:
    """Bytes for each point: what was measured, and what a process needs that knows all points, and has a part."""
    found = dict(costs.memory)
    if found:
        known = BYTES_PER_POINT + found["units"]
        found["process"] = max(known + found["save"], known + BYTES_PER_POINT + found["load"])
    return found


def crowds_on_paper(study: Study, costs: Costs, files: Filesystem) -> list[dict[str, Any]]:
    """What a number of workers means for the file system, on the largest grid."""
    num = study.num_points
    return [
        {
            "workers": workers,
            "heartbeats_of_1_second": workers,
            "heartbeats": min(float(workers), HEARTBEATS_PER_SECOND),
            "changes_of_saves_every_second": workers * CHANGES_PER_SAVE,
            "changes_of_saves_every_minute": workers * CHANGES_PER_SAVE / 60,
            "stats_of_one_look_by_all": workers * (workers + 1),
            "seconds_of_stats": workers * (workers + 1) / files.stats,
            "bytes_of_parts": workers * costs.size(num),
            "bytes_of_one_look_by_all": workers * (workers - 1) * costs.size(num),
            "seconds_of_one_look_by_all": files.seconds((workers - 1) * costs.size(num), workers)
            + (workers - 1) * (costs.load(num) + costs.unite(num)),
            "bytes_of_sparse_parts": workers * costs.size(sparse),
            "bytes_of_one_look_by_all_at_sparse_parts": workers * (workers - 1) * costs.size(sparse),
            "seconds_of_one_look_by_all_at_sparse_parts": files.seconds((workers - 1) * costs.size(sparse), workers)
            + (workers - 1) * (costs.load(sparse) + costs.unite(sparse)),
        }
        for workers in study.crowds
        for sparse in [stored("sparse", num, 0, num // workers, 0)]
    ]


def merges_on_paper(study: Study, costs: Costs, files: Filesystem) -> list[dict[str, Any]]:
    """Equal parts united by one process, and in a tree."""
    num, workers = study.num_points, study.workers
    layouts: tuple[tuple[Layout, float], ...] = (
        ("dense", float(num)),
        ("own", num / workers),
        ("sparse", stored("sparse", num, 0, num // workers, 0)),
    )
    return [
        {
            "layout": layout,
            "parts": workers,
            "part_bytes": costs.size(size),
            "fan_in": fan_in,
            **asdict(merge([size] * workers, num, layout, costs, files, fan_in=fan_in, processes=workers)),
        }
        for layout, size in layouts
        for fan_in in (None, *FAN_INS)
    ]


# ---------------------------------------------------------------- report


def report_of(study: Study, measured: Mapping[str, Any], systems: Sequence[Filesystem]) -> dict[str, Any]:
    """Everything, for the tables and for programs."""
    costs = Costs.from_json(measured["measured"])
    run, files = Runner(costs), systems[0]
    return {
        **measured,
        "files": [asdict(each) for each in systems],
        "scan": {"side": study.side, "slices": study.slices, "points": study.num_points, "workers": study.workers},
        "scenario": {key: _finite(value) for key, value in asdict(scan_of(study.num_points, study.workers)).items()},
        "on_paper": {
            "sizes": rounded(sizes_on_paper(study, costs)),
            "crowds": rounded(crowds_on_paper(study, costs, files)),
            "merges": rounded(merges_on_paper(study, costs, files)),
        },
        "as_it_is": rounded(as_it_is(study, run, systems)),
        "ways": rounded(ways(study, run, files)),
        "trouble": rounded(troubles(study, run, files)),
    }


def parser() -> argparse.ArgumentParser:
    """The options; what is assumed of a shared file system are the numbers of the first one."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quick", action="store_true", help="100 workers and a small grid, in seconds")
    found.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    found.add_argument("--costs", type=Path, metavar="FILE", help="take the measured costs from figures of before")
    found.add_argument("--folder", type=Path, help="whose disk is measured; that for temporary files by default")
    found.add_argument("--bandwidth", type=float, default=PARALLEL.bandwidth, help="bytes per second of all")
    found.add_argument("--bandwidth-of-one", type=float, default=PARALLEL.bandwidth_of_one, help="of one process")
    found.add_argument("--changes", type=float, default=PARALLEL.changes, help="files made, renamed … per second")
    found.add_argument("--stats", type=float, default=PARALLEL.stats, help="status of files asked for, per second")
    found.add_argument("--operations-of-one", type=float, default=PARALLEL.operations_of_one, help="of one process")
    found.add_argument("--update-page", action="store_true", help="write the tables of docs/scale.md from its figures")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, simulate, print the tables, and write the figures."""
    options = parser().parse_args(arguments)
    if options.update_page:
        PAGE.write_text(scale_tables.with_tables(PAGE.read_text(), json.loads(FIGURES.read_text())))
        return
    study = QUICK if options.quick else WHOLE
    named = ("bandwidth", "bandwidth_of_one", "changes", "stats", "operations_of_one")
    parallel = Filesystem("parallel", **{name: getattr(options, name) for name in named})
    if options.costs is not None:
        before = json.loads(options.costs.read_text())
        measured = {key: before[key] for key in ("measured", "checked", "machine")}
    else:
        folder = options.folder or Path(tempfile.gettempdir())
        measured = measure(study.shapes, folder, num_files=study.num_files, rounds=study.rounds)
        if options.json is not None:  # what comes takes long
            options.json.write_text(json.dumps(measured, indent=1) + "\n")
    report = report_of(study, measured, (parallel, SERVER))
    for name, make in scale_tables.TABLES.items():
        print(f"{name}\n\n{make(report)}\n")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
