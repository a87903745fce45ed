"""Time a scan by one process, one by two that fill a file together, and two scans at once that have nothing in common.

They take turns. Each process has one thread, and the size of batches is given, so that all do the same work, which fits
into the caches of a core. What two scans at once do is what the machine can do: its cores share memory, power, and with
other virtual machines themselves. Points per second are those at full speed, from when all have saved points until the
first has nothing left; seconds are those of whole commands, with what every process does before its first point
(importing torch, decoding data, checking the centre) and with the merge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import landscape_cli
from landscape_cli import load_surface
from landscape_cli.errors import SurfaceError
from landscape_cli.union import parts_of

ROOT = Path(__file__).resolve().parent.parent
CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
metrics: [accuracy]
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, batch_size: 64}}
axes:
  x: {{num: 41}}
  y: {{num: NUM}}
runtime: {{engine: sequential, processes: 1}}
"""
TOO_FEW = "too few points: the scan was over before every process had saved twice; give a larger --num"


class Pace:
    """How many points a process has saved, and when; of a file that it replaces again and again."""

    def __init__(self) -> None:
        self.saved: list[tuple[float, int]] = []

    def look(self, path: Path) -> None:
        """Take in the file if it is another one than before."""
        try:
            moment = path.stat().st_mtime_ns / 1e9
            if not self.saved or moment != self.saved[-1][0]:
                self.saved.append((moment, load_surface(path).num_evaluated))
        except (FileNotFoundError, SurfaceError):  # just being merged
            return

    def points_per_second(self, start: float, stop: float) -> float:
        """Between the first save from ``start`` on and the last one until ``stop``."""
        within = [(moment, num) for moment, num in self.saved if start <= moment <= stop]
        if len(within) < 2:
            raise SystemExit(TOO_FEW)
        (first, before), (last, after) = within[0], within[-1]
        return (after - before) / (last - first)


@dataclass(frozen=True)
class Way:
    """Who scans: which share in which file.

    Attributes:
        shards: For each process the file and its ``--shard``.
        num: Points along y.
    """

    shards: Sequence[tuple[str, str]]
    num: int


def scan(way: Way, folder: Path) -> tuple[float, float]:
    """Points per second at full speed of all processes, and seconds until the last one has ended."""
    config = folder / "config.yaml"
    config.write_text(CONFIG.replace("NUM", str(way.num)))
    outputs = {folder / name for name, _ in way.shards}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "landscape_cli", "scan", str(config), "--quiet"]
    began = time.perf_counter()
    processes = [
        subprocess.Popen([*command, "-o", str(folder / name), "--shard", shard], env=environment)
        for name, shard in way.shards
    ]
    paces: dict[str, Pace] = {}
    while any(process.poll() is None for process in processes):
        files = [file for output in outputs for file in parts_of(output)] if len(outputs) < len(processes) else outputs
        for path in files:
            paces.setdefault(path.name.removesuffix(".merging"), Pace()).look(path)
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    if any(process.returncode for process in processes):
        raise SystemExit("a scan has failed")
    for output in outputs:
        output.unlink()
    saved = [pace for pace in paces.values() if pace.saved]
    if len(saved) != len(processes):
        raise SystemExit(TOO_FEW)
    start, stop = max(each.saved[0][0] for each in saved), min(each.saved[-1][0] for each in saved)
    return sum(each.points_per_second(start, stop) for each in saved), seconds


def ways_of(num: int) -> Mapping[str, Way]:
    """One process, two that share the work, and two with as much work as each of those has."""
    return {
        "one": Way([("s.h5", "0/1")], num),
        "two": Way([("s.h5", "0/2"), ("s.h5", "1/2")], num),
        "apart": Way([("a.h5", "0/1"), ("b.h5", "0/1")], num // 2),
    }


def main() -> None:
    """Print each round and the medians; write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=16, help="points along y; 41 along x")
    parser.add_argument("--out", type=Path, help="where the figures are written, as JSON")
    arguments = parser.parse_args()
    if arguments.num < 4:
        parser.error("--num: found less than 4; two scans that have nothing in common have half of it each")
    ways, rounds = ways_of(arguments.num), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, arguments.rounds + 1):
            figures = {name: scan(way, Path(folder)) for name, way in ways.items()}
            rates = {name: rate for name, (rate, _) in figures.items()}
            rounds.append({"points_per_second": rates, "seconds": {name: each for name, (_, each) in figures.items()}})
            one, two, apart = (rates[name] for name in ("one", "two", "apart"))
            sys.stdout.write(
                f"round {number}: one process {one:.1f} points/s, two together {two:.1f} ({two / one:.2f} times), "
                f"two apart {apart:.1f} ({apart / one:.2f} times)\n"
            )
            sys.stdout.flush()
    median = {
        name: statistics.median(each["points_per_second"][name] / each["points_per_second"]["one"] for each in rounds)
        for name in ("two", "apart")
    }
    sys.stdout.write(f"medians: two together do {median['two']:.2f} times the points of one per second, ")
    sys.stdout.write(f"two that have nothing in common {median['apart']:.2f} times\n")
    if arguments.out is not None:
        report = {
            "points": 41 * arguments.num,
            "rounds": rounds,
            "median_ratio_to_one": median,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "landscape_cli": landscape_cli.__version__,
        }
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
