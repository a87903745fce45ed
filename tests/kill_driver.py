"""Kill a scan at random moments, resume it each time, and print what was found, as JSON.

Usage: kill_driver.py CONFIG OUTPUT NUM_KILLS SEED. The command line runs in forked children, so that the seconds of
importing torch are spent once; each child is a process of its own and dies by a real SIGKILL: in turn at any moment
from its start, at any moment from its first save, and in the middle of a later save.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import landscape_cli.compute.scan
from landscape_cli.cli.app import main
from landscape_cli.examples import digits
from landscape_cli.storage import load_surface


def start(config: str, output: str) -> int:
    """Run ``landscape scan`` in a child; returns its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            main(["scan", config, "-o", output, "--quiet"])
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            os._exit(code)
    return pid


def run(config: str, output: str) -> int:
    """Run it to the end; returns the exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(start(config, output), 0)[1])


def temporaries(output: Path) -> list[Path]:
    """Files that a save has begun and not finished."""
    return list(output.parent.glob(f".{output.name}.tmp-*"))


def wait_until(pid: int, condition: Callable[[], bool]) -> None:
    """Wait for something, but not beyond the end of the child."""
    while not condition():
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0002)


def kill_often(config: str, output: str, reference: str, num_kills: int, seed: int) -> dict[str, object]:
    """Kill and resume ``num_kills`` times, reading the file after each, then let it finish.

    Where a scan gets done in between, its file must equal the reference, and the killing goes on with a new one.
    """
    moments, path = random.Random(seed), Path(output)
    rounds: list[list[int]] = [[]]
    leftovers, killed, identical = 0, 0, True
    while killed < num_kills:
        since = path.stat().st_mtime_ns if path.exists() else 0
        pid = start(config, output)
        if killed % 3:
            wait_until(pid, lambda since=since: path.exists() and path.stat().st_mtime_ns != since)
        if killed % 3 == 2:
            time.sleep(0.01)
            wait_until(pid, lambda: bool(temporaries(path)))
        else:
            time.sleep(moments.uniform(0.0, 1.5))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            identical = identical and path.read_bytes() == Path(reference).read_bytes()
            path.unlink()
            rounds.append([])
            continue
        if status != -signal.SIGKILL:
            raise SystemExit(f"it ended by itself with {status}")
        killed += 1
        leftovers += bool(temporaries(path))
        if path.exists():
            rounds[-1].append(load_surface(output).num_evaluated)
    exit_code = run(config, output)
    identical = identical and path.read_bytes() == Path(reference).read_bytes()
    return {"rounds": rounds, "leftovers": leftovers, "exit_code": exit_code, "identical": identical}


if __name__ == "__main__":
    assert landscape_cli.compute.scan  # imported before forking, as is scikit-learn by the next line
    digits(train=True)
    config, output, num_kills, seed = sys.argv[1:]
    reference = str(Path(output).with_name("reference.h5"))
    result = {
        "reference_exit_code": run(config, reference),
        **kill_often(config, output, reference, int(num_kills), int(seed)),
    }
    result["num_points"] = load_surface(output).grid.num_points
    result["left_in_folder"] = sorted(path.name for path in Path(output).parent.iterdir())
    sys.stdout.write(json.dumps(result))
