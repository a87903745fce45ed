"""The batch scripts on a real Slurm: however a job is stopped, it goes on, and the file is that of one process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT
from slurm_cluster import Cluster, running_cluster, wait_until, why_not

from landscape_cli.surface import Surface
from landscape_cli.union import load_part, load_union, parts_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]

JOB = ROOT / "scripts" / "slurm" / "scan.sbatch"
ARRAY = ROOT / "scripts" / "slurm" / "scan_array.sbatch"
LANDSCAPE = [sys.executable, "-m", "landscape_cli"]
# about 15 s of one core
CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, num_examples: 64, batch_size: 16}}
axes:
  x: {{num: 35}}
  y: {{num: 35}}
runtime: {{save_every: 0s, engine: sequential, processes: 1}}
"""
NUM_POINTS = 35 * 35
Stop = Callable[[Cluster, int], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On a common file system, as both nodes are this machine."""
    made = tmp_path_factory.mktemp("slurm")
    (made / "config.yaml").write_text(CONFIG)
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, bytes]:
    """The file of a scan by one process, without a cluster."""
    output = folder / "alone.h5"
    command = [*LANDSCAPE, "scan", str(folder / "config.yaml"), "-o", str(output), "--quiet"]
    subprocess.run(command, check=True, timeout=300)
    return contents(output)


def contents(path: Path) -> dict[str, bytes]:
    """Every dataset and attribute of a file, but when and where it was made."""
    found: dict[str, bytes] = {}

    def note(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and name != "provenance/environment":
            value = node[()]
            found[name] = value if isinstance(value, bytes) else np.asarray(value).tobytes()
        for key, attribute in node.attrs.items():
            if attribute.__class__ is not h5py.Reference and not key.isupper():  # DIMENSION_LIST … are addresses
                found[f"{name}@{key}"] = repr(attribute).encode()

    with h5py.File(path) as file:
        file.visititems(note)
        note("", file)
    for name in ("@created", "@updated", "@content_sha256"):
        del found[name]
    return found


def assert_finished(output: Path, expected: dict[str, bytes]) -> None:
    """All points are in the file, bit for bit those of one process, and nothing is left beside it but locks."""
    found = contents(output)
    assert {name for name in expected if found.get(name) != expected[name]} == set()
    assert found.keys() == expected.keys()
    beside = {path.name for path in output.parent.glob(f"*{output.name}*")}
    assert beside <= {output.name, f".{output.name}.lock", f".{output.name}.merge.lock"}


@dataclass
class Scan:
    """A scan by one of the batch scripts."""

    cluster: Cluster
    output: Path
    number: int = 0

    def start(self, *options: str, script: Path = JOB) -> None:
        log = self.output.with_suffix(".%a.log" if script == ARRAY else ".log")
        config = self.output.with_name("config.yaml")
        self.number = self.cluster.submit(
            *options, "--output", log, script, config, self.output, "--quiet", LANDSCAPE=" ".join(LANDSCAPE)
        )

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.output.parent.glob(f"{self.output.stem}.*log")))

    def describe(self) -> str:
        return f"{self.cluster.jobs(self.number)}\n{self.log}\n{self.cluster.logs()}"

    def wait_for_points_of(self, num_processes: int) -> None:
        """Wait until so many processes have saved points of theirs, and are still at work."""

        def begun() -> bool:
            parts = [load_part(path) for path in parts_of(self.output)]
            return sum(part is not None and part.num_evaluated > 0 for part in parts) == num_processes

        wait_until(begun, 120, self.describe, interval=0.02)

    def wait_for_requeue(self, task: str = "N/A") -> Surface:
        """Wait until the job, or a task of an array, is in the queue again; returns what is saved then."""

        def is_pending() -> bool:
            jobs = {job.get("ArrayTaskId", "N/A"): job for job in self.cluster.jobs(self.number)}
            return jobs[task]["Restarts"] == "1" and jobs[task]["JobState"] == "PENDING"

        wait_until(is_pending, 60, self.describe)
        return load_union(self.output)

    def finish(self, before: Surface) -> None:
        """Wait for the end, watching that nothing that was saved before is computed again."""
        old = {path.name.removesuffix(".merging") for path in parts_of(self.output)}
        seen = before.evaluated & False

        def is_over() -> bool:
            for path in parts_of(self.output):
                part = load_part(path) if path.name.removesuffix(".merging") not in old else None
                if part is not None:
                    np.logical_or(seen, part.evaluated, out=seen)
            return not self.cluster.states(self.number) & {"PENDING", "RUNNING", "COMPLETING"}

        wait_until(is_over, 180, self.describe, interval=0.3)
        assert self.cluster.states(self.number) == {"COMPLETED"}, self.describe()
        after = load_union(self.output)
        assert after.evaluated.all()
        assert seen.any()
        assert not (seen & before.evaluated).any()
        for name, metric in before.metrics.items():
            was = before.evaluated
            assert metric.values[was].tobytes() == after.metrics[name].values[was].tobytes()


@pytest.fixture
def scan(cluster: Cluster, folder: Path, request: pytest.FixtureRequest) -> Scan:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return Scan(cluster, folder / f"{name}.h5")


# ---------------------------------------------------------------- undisturbed


def test_four_tasks_of_an_array_make_the_file_of_one_process(scan: Scan, expected: dict[str, bytes]) -> None:
    scan.start("--array=0-3", script=ARRAY)
    assert scan.cluster.wait(scan.number, timeout=180) == {"COMPLETED"}, scan.describe()
    assert_finished(scan.output, expected)


def test_srun_of_the_plain_command_makes_the_file_of_one_process(scan: Scan, expected: dict[str, bytes]) -> None:
    command = [*LANDSCAPE, "scan", scan.output.with_name("config.yaml"), "-o", scan.output, "--quiet"]
    finished = scan.cluster.run("srun", "-n", 2, *command, timeout=180)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert_finished(scan.output, expected)


# ---------------------------------------------------------------- stopped


def requeue(cluster: Cluster, number: int) -> None:
    cluster.ask("scontrol", "requeue", number)


def preempt(cluster: Cluster, number: int) -> None:
    options = ["--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null"]
    cluster.submit(*options, "--wrap", "true")


def terminate_the_step_twice(cluster: Cluster, number: int) -> None:
    """Both within milliseconds, as from Slurm and a launcher in between."""
    with ThreadPoolExecutor(2) as at_once:
        for done in [at_once.submit(cluster.ask, "scancel", "--signal=TERM", f"{number}.0") for _ in range(2)]:
            done.result()


def announce_the_limit(cluster: Cluster, job: object) -> None:
    """What ``#SBATCH --signal=B:USR1@60`` does a minute before the time limit."""
    cluster.ask("scancel", "--signal=USR1", "--batch", job)


@pytest.mark.parametrize("stop", [requeue, preempt, terminate_the_step_twice])
def test_a_job_that_is_stopped_saves_and_goes_on_where_it_was(
    scan: Scan, expected: dict[str, bytes], stop: Stop
) -> None:
    scan.start("--nodes=2")
    scan.wait_for_points_of(2)
    stop(scan.cluster, scan.number)
    saved = scan.wait_for_requeue()
    assert scan.log.count("Exited with exit code 75") == 2, scan.log  # both have saved, and neither was killed
    assert 2 <= saved.num_evaluated < NUM_POINTS
    scan.finish(saved)
    assert_finished(scan.output, expected)


def test_only_the_task_of_an_array_that_is_stopped_goes_back_into_the_queue(
    scan: Scan, expected: dict[str, bytes]
) -> None:
    """The last task, whose number is that of the whole array."""
    scan.start("--array=0-1", script=ARRAY)
    scan.wait_for_points_of(2)
    announce_the_limit(scan.cluster, f"{scan.number}_1")
    scan.wait_for_requeue(task="1")
    assert scan.cluster.wait(scan.number, timeout=180) == {"COMPLETED"}, scan.describe()
    assert {job["ArrayTaskId"]: job["Restarts"] for job in scan.cluster.jobs(scan.number)} == {"0": "0", "1": "1"}
    assert_finished(scan.output, expected)


def test_a_site_that_requeues_exit_code_75_itself_restarts_once(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, expected: dict[str, bytes]
) -> None:
    with running_cluster(tmp_path_factory.mktemp("cluster"), "RequeueExit=75", gpus=False) as cluster:
        scan = Scan(cluster, folder / "requeue_exit.h5")
        scan.start("--ntasks=2")
        scan.wait_for_points_of(2)
        announce_the_limit(cluster, scan.number)
        scan.finish(scan.wait_for_requeue())
        (job,) = cluster.jobs(scan.number)
        assert job["Restarts"] == "1"
    assert_finished(scan.output, expected)


# ---------------------------------------------------------------- for good


def test_a_cancelled_job_saves_and_does_not_come_back(scan: Scan) -> None:
    scan.start("--ntasks=2")
    scan.wait_for_points_of(2)
    before = load_union(scan.output).num_evaluated
    scan.cluster.ask("scancel", scan.number)
    assert scan.cluster.wait(scan.number) == {"CANCELLED"}, scan.describe()
    assert before <= load_union(scan.output).num_evaluated < NUM_POINTS


@pytest.mark.parametrize(("script", "option"), [(JOB, "--ntasks=2"), (ARRAY, "--array=0-1")])
def test_a_scan_that_cannot_work_fails_and_does_not_come_back(scan: Scan, script: Path, option: str) -> None:
    config = scan.output.with_suffix(".yaml")
    config.write_text(CONFIG.replace("SmallResNet", "LargeResNet"))
    words = ["--output=/dev/null", option, script, config, scan.output]
    number = scan.cluster.submit(*words, LANDSCAPE=" ".join(LANDSCAPE))
    assert scan.cluster.wait(number) == {"FAILED"}
    assert {(job["Restarts"], job["ExitCode"]) for job in scan.cluster.jobs(number)} == {("0", "2:0")}
    assert not scan.output.exists()


def test_a_job_that_only_says_what_it_would_take_is_done(scan: Scan) -> None:
    words = ["--output", scan.output.with_suffix(".log"), "--ntasks=2", JOB, scan.output.with_name("config.yaml")]
    scan.number = scan.cluster.submit(*words, scan.output, "--dry-run", LANDSCAPE=" ".join(LANDSCAPE))
    assert scan.cluster.wait(scan.number) == {"COMPLETED"}, scan.describe()
    assert f"{NUM_POINTS:,} to do" in scan.log
    assert not scan.output.exists()
