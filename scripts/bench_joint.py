"""Time a scan by one process against one by two that fill a file together, in turns, on the CPU of this machine.

The points per second of a scan are those that ``landscape scan --json`` tells: of all processes, from the first point
to the last. Importing torch, decoding data and checking the centre come before; they take each process the same.
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
from pathlib import Path

import torch

import landscape_cli

ROOT = Path(__file__).resolve().parent.parent
CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
metrics: [accuracy]
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}}}
axes:
  x: {{num: 41}}
  y: {{num: NUM}}
runtime: {{engine: sequential, processes: 1}}
"""


def points_per_second(config: Path, output: Path, world_size: int) -> float:
    """Of a scan by as many processes as that; each has one thread."""
    command = [sys.executable, "-m", "landscape_cli", "scan", str(config), "-o", str(output), "--json", "--quiet"]
    shards = [["--shard", f"{rank}/{world_size}"] for rank in range(world_size)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, *shard], stdout=subprocess.PIPE, text=True, env=environment) for shard in shards
    ]
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"a scan by {world_size} processes has failed")
    output.unlink()
    return float(json.loads(answers[0])["points_per_second"])


def main() -> None:
    """Print the ratio of each round and the median; write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num", type=int, default=21, help="points along y; 41 along x")
    parser.add_argument("--out", type=Path, help="where the figures are written, as JSON")
    arguments = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(CONFIG.replace("NUM", str(arguments.num)))
        for number in range(1, arguments.rounds + 1):
            one, two = (points_per_second(config, Path(folder, "s.h5"), world_size) for world_size in (1, 2))
            rounds.append({"one": one, "two": two, "ratio": two / one})
            sys.stdout.write(f"round {number}: {one:.1f} and {two:.1f} points/s, ratio {two / one:.2f}\n")
            sys.stdout.flush()
    ratio = statistics.median(each["ratio"] for each in rounds)
    sys.stdout.write(f"two processes do {ratio:.2f} times the points of one per second (median)\n")
    if arguments.out is not None:
        figures = {
            "points": 41 * arguments.num,
            "rounds": rounds,
            "median_ratio": ratio,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "landscape_cli": landscape_cli.__version__,
        }
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
