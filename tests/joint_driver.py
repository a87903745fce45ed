"""Processes that fill one file together, killed and restarted at random moments; prints what was found, as JSON.

Usage: joint_driver.py CONFIG OUTPUT NUM_KILLS SEED. Two writers (``--shard 0/2`` and ``1/2``) run in forked children,
so that the seconds of importing torch are spent once; each is a process of its own, dies by a real SIGKILL at a moment
of its own and is started again. Where the file gets complete, it must equal that of a scan by one process, and they
begin a new one. Meanwhile a reader opens the file and its parts as often as it can.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path

import landscape_cli.compute.scan
from landscape_cli.cli.app import main
from landscape_cli.compute.crew import Crew
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.observer import Stage
from landscape_cli.errors import LandscapeError
from landscape_cli.examples import digits
from landscape_cli.storage import load_surface
from landscape_cli.surface import Surface
from landscape_cli.union import load_union, parts_of

WORLD_SIZE = 2


# For each rank, when the first of the points was finished that it has not saved yet; 0 where it has saved all.
UNSAVED = memoryview(mmap.mmap(-1, 8 * WORLD_SIZE)).cast("d")


def note_what_is_unsaved(rank: int) -> None:
    """Have this process note the moment in memory that outlives it."""
    enter, save = Crew.enter, Saver.save

    def noting_enter(crew: Crew, stage: Stage, point: int, values: Values) -> None:
        enter(crew, stage, point, values)
        UNSAVED[rank] = UNSAVED[rank] or time.time()

    def noting_save(saver: Saver, *, always: bool = False) -> None:
        save(saver, always=always)
        UNSAVED[rank] = 0.0

    Crew.enter, Saver.save = noting_enter, noting_save  # type: ignore[method-assign]


def start(config: str, output: str, rank: int | None) -> int:
    """Run ``landscape scan`` in a child, as one of two processes or alone; returns its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        if rank is not None:
            UNSAVED[rank] = 0.0
            note_what_is_unsaved(rank)
        share = [] if rank is None else ["--shard", f"{rank}/{WORLD_SIZE}"]
        try:
            main(["scan", config, "-o", output, "--quiet", *share])
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            os._exit(code)
    return pid


def wait_for(pid: int) -> int:
    """The exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def has_ended(pid: int) -> bool:
    """Whether a child has come to its end."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def read_all_the_time(output: Path, pipe: int) -> None:
    """Open the file and its parts until SIGTERM, then tell how often that was done, and what could not be read."""
    num_reads, unreadable = 0, []

    def tell(*_: object) -> None:
        os.write(pipe, json.dumps({"num_reads": num_reads, "unreadable": unreadable}).encode())
        os._exit(0)

    signal.signal(signal.SIGTERM, tell)
    while True:
        if output.exists():
            try:
                load_union(output)
                num_reads += 1
            except LandscapeError as error:
                if output.exists():  # not just being removed for a new one
                    unreadable.append(str(error))
        time.sleep(0.01)


def own_part(output: Path, rank: int, before: set[Path]) -> Path | None:
    """The part that a process which is just running writes."""
    names = [path for path in parts_of(output) if path not in before and f".part-{rank:04d}-" in path.name]
    return names[0] if names else None


class Writers:
    """Two processes, each of which lives until a moment of its own.

    Args:
        config: What they scan.
        output: The file.
        moments: How long they live.
    """

    def __init__(self, config: str, output: Path, moments: random.Random) -> None:
        self.config, self.output, self._moments = config, output, moments
        self.running: dict[int, tuple[int, set[Path]]] = {}
        self.seconds_lost: list[float] = []
        self.killed = 0

    def start_missing(self) -> None:
        for rank in range(WORLD_SIZE):
            if rank not in self.running:
                before = set(parts_of(self.output))
                self.running[rank] = start(self.config, str(self.output), rank), before

    def kill_one(self) -> bool:
        """Kill one of them, in turn; False where it had come to its end before.

        Every third time at any moment from its start, else at any moment from its first save.
        """
        rank = self.killed % WORLD_SIZE
        pid, before = self.running.pop(rank)
        while self.killed % 3 and own_part(self.output, rank, before) is None and not has_ended(pid):
            time.sleep(0.005)
        time.sleep(self._moments.uniform(0.0, 1.2))
        part, now = own_part(self.output, rank, before), time.time()
        os.kill(pid, signal.SIGKILL)
        status, unsaved = wait_for(pid), UNSAVED[rank]
        if status == 0:
            return False
        if status != -signal.SIGKILL:
            raise SystemExit(f"rank {rank} ended by itself with {status}")
        self.killed += 1
        if part is not None:  # it had begun to compute
            self.seconds_lost.append(max(0.0, now - unsaved) if unsaved else 0.0)
        return True

    def finish(self) -> list[int]:
        """Let both come to their end."""
        self.start_missing()
        codes = [wait_for(pid) for pid, _ in self.running.values()]
        self.running.clear()
        return codes


def kill_often(config: str, output: Path, reference: Path, num_kills: int, seed: int) -> dict[str, object]:
    """Kill ``num_kills`` times, then let them finish; no point that was once saved may be missing later."""
    writers = Writers(config, output, random.Random(seed))
    lost, rounds, most, codes, differences = 0, 0, 0, [0], 0
    while writers.killed < num_kills or most:
        writers.start_missing()
        is_over = not writers.kill_one() or writers.killed >= num_kills
        now = load_union(output).num_evaluated if output.exists() else 0
        lost += now < most
        most = now
        if is_over:
            codes += writers.finish()
            differences += contents(load_surface(output)) != contents(load_surface(reference))
            output.unlink()
            rounds, most = rounds + 1, 0
    return {
        "killed": writers.killed,
        "seconds_lost": writers.seconds_lost,
        "exit_codes": sorted(set(codes)),
        "rounds": rounds,
        "times_a_saved_point_was_missing": lost,
        "different": differences,
    }


def run(config: str, output: Path, num_kills: int, seed: int) -> dict[str, object]:
    """Writers and a reader."""
    reference = output.with_name("reference.h5")
    code = wait_for(start(config, str(reference), None))
    theirs, ours = os.pipe()
    reader = os.fork()
    if reader == 0:
        read_all_the_time(output, ours)
    os.close(ours)
    result = {"reference_exit_code": code, **kill_often(config, output, reference, num_kills, seed)}
    os.kill(reader, signal.SIGTERM)
    with os.fdopen(theirs) as stream:
        result["reader"] = json.loads(stream.read())
    wait_for(reader)
    result["left_in_folder"] = sorted(path.name for path in output.parent.iterdir())
    return result


def contents(surface: Surface) -> list[bytes]:
    """Everything measured."""
    arrays = [array for metric in surface.metrics.values() for array in (metric.values, metric.std)]
    return [array.tobytes() for array in (*arrays, surface.evaluated)]


if __name__ == "__main__":
    assert landscape_cli.compute.scan  # imported before forking, as is scikit-learn by the next line
    digits(train=True)
    sys.stdout.write(json.dumps(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
