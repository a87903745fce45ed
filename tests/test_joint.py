"""Several processes fill one file: the same bits as by one, whoever dies, comes late or is slow."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Outcome
from test_full_disk import mount, small_disk  # noqa: F401  # a fixture
from test_scan import StopAfter, contents, small_config
from test_union import portion, save_part

from landscape_cli import Surface, load_config, load_surface, save_surface, scan
from landscape_cli.compute.units import Units
from landscape_cli.errors import UsageError
from landscape_cli.locks import exclusive, together, turn
from landscape_cli.share import ALONE, Share
from landscape_cli.union import load_union, new_part, parts_of

MLP = {"runtime.engine": "mlp", "runtime.points_per_call": 4}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "s.h5"


def whole_of(config: Path, tmp_path: Path) -> Surface:
    return scan(load_config(config), tmp_path / "whole.h5")


# ---------------------------------------------------------------- one after the other, in this process


@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_alone_make_the_whole(tmp_path: Path, output: Path, world_size: int) -> None:
    config = load_config(small_config(tmp_path, **{"slices.num": 2}))
    seen = []
    for rank in range(world_size):
        surface = scan(config, output, share=Share(rank, world_size), sweeps=False)
        assert parts_of(output) == []  # merged at its end
        seen.append(surface.num_evaluated)
    assert seen[-1] == 30
    assert seen == [sum(len(range(rank, 30, world_size)) for rank in range(last + 1)) for last in range(world_size)]
    whole = scan(config, tmp_path / "whole.h5")
    assert contents(load_surface(output)) == contents(whole)
    assert load_surface(output).metrics["train_loss"].centre == whole.metrics["train_loss"].centre


def test_a_share_is_made_of_units_that_are_evaluated_together(tmp_path: Path, output: Path) -> None:
    """So that every point has the same neighbours in its call, and the same bits, as in a scan by one process."""
    (tmp_path / "joint_mlp.py").write_text(
        "import torch\nfrom torch import nn\nfrom landscape_cli.examples import digits\n"
        "def model():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 10))\n"
    )
    sys.path.insert(0, str(tmp_path))
    import joint_mlp  # type: ignore[import-not-found]
    import torch

    torch.save(joint_mlp.model().state_dict(), tmp_path / "w.pt")
    changes = {"model": {"_target_": "joint_mlp.model"}, "checkpoint.path": str(tmp_path / "w.pt"), **MLP}
    config = load_config(small_config(tmp_path, **changes))
    first = scan(config, output, share=Share(1, 2), sweeps=False)
    assert first.provenance.engine["points_per_call"] == 4
    units = Units(first, 4)
    done = [unit for unit in range(len(units)) if units.is_done(units.points(unit))]
    assert done == [1, 3]
    assert contents(scan(config, output, share=Share(0, 2))) == contents(scan(config))
    sys.path.remove(str(tmp_path))


def test_one_process_of_many_does_everything_where_no_other_comes(tmp_path: Path, output: Path) -> None:
    config = load_config(small_config(tmp_path))
    surface = scan(config, output, share=Share(3, 8))
    assert surface.finished
    assert contents(load_surface(output)) == contents(scan(config))
    assert {path.name for path in output.parent.glob("s.h5*")} == {"s.h5"}


def test_the_number_of_processes_may_change_and_nothing_is_lost(tmp_path: Path, output: Path) -> None:
    """2 → 3 → 1, stopped in the middle each time."""
    config = load_config(small_config(tmp_path, **{"axes.x.num": 21}))
    num_evaluated = [0]
    for share in (Share(0, 2), Share(1, 2), Share(2, 3), Share(0, 3), ALONE):
        stopped = scan(config, output, share=share, should_stop=StopAfter(14))
        assert not stopped.finished
        num_evaluated.append(load_union(output).num_evaluated)
        assert num_evaluated[-1] > num_evaluated[-2]
    assert scan(config, output).finished
    assert contents(load_surface(output)) == contents(scan(config))
    assert parts_of(output) == []


def test_leftovers_of_the_dead_are_folded_by_the_first_rank(tmp_path: Path, output: Path) -> None:
    config = load_config(small_config(tmp_path))
    for rank in (1, 2, 3):
        scan(config, output, share=Share(rank, 4), should_stop=StopAfter(8))
    parts = parts_of(output)
    assert len(parts) == 3
    before = load_union(output).num_evaluated
    stopped = scan(config, output, share=Share(0, 4), should_stop=StopAfter(0))
    assert not set(parts) & set(parts_of(output))
    assert stopped.num_evaluated == load_surface(output).num_evaluated == before > 0


def test_the_radius_is_shared_too(tmp_path: Path, output: Path) -> None:
    config = load_config(small_config(tmp_path, **{"axes.y": None, "radius": {"slices": 2, "num": 4}}))
    for rank in range(2):
        scan(config, output, share=Share(rank, 2), sweeps=False)
    found, whole = load_surface(output), scan(config)
    assert found.finished
    assert found.radius is not None
    assert whole.radius is not None
    assert contents(found.radius) == contents(whole.radius)


def test_curvature_is_measured_by_one_of_them(tmp_path: Path, output: Path) -> None:
    curvature = {"num_examples": 16, "measures": ["gradient", "eigenvalues"]}
    config = load_config(small_config(tmp_path, **{"curvature": curvature, "axes.y": None}))
    scan(config, output, share=Share(1, 2), sweeps=False)
    between = load_surface(output).curvature
    assert between is not None
    assert (between.records, set(between.pending)) == ({}, {"gradient", "eigenvalues"})
    assert scan(config, output, share=Share(0, 2)).finished
    found, whole = load_surface(output).curvature, scan(config).curvature
    assert found is not None
    assert whole is not None
    for name in ("gradient", "eigenvalues"):
        assert found.records[name].cost == whole.records[name].cost
    again = scan(config, output, share=Share(1, 2))
    assert again.curvature is not None
    assert again.curvature.records["eigenvalues"].values["lambda_max"].tobytes() == (
        found.records["eigenvalues"].values["lambda_max"].tobytes()
    )


@pytest.mark.parametrize("orthogonal", [False, True])
def test_a_direction_that_takes_gradients_is_computed_by_the_first_and_read_by_the_others(
    tmp_path: Path, output: Path, orthogonal: bool
) -> None:
    directions = {
        "axes.x.direction": {"_target_": "hessian", "index": 1},
        "axes.y.direction": {"_target_": "random", "normalization": "filter"},
    }
    if orthogonal:
        directions["axes.y.direction"] = {"_target_": "gradient", "orthogonal": True}
    config = load_config(small_config(tmp_path, **directions))
    scan(config, output, share=Share(0, 2), sweeps=False)
    saved = output.with_name("s.h5.directions.safetensors")
    written = saved.stat().st_mtime_ns
    scan(config, output, share=Share(1, 2), sweeps=False)
    assert saved.stat().st_mtime_ns == written
    found, whole = load_surface(output), scan(config)
    assert contents(found) == contents(whole)
    assert found.directions["x"].found == whole.directions["x"].found


# ---------------------------------------------------------------- who may write


def test_a_scan_alone_and_several_together_exclude_each_other(tmp_path: Path, output: Path) -> None:
    config = load_config(small_config(tmp_path))
    with together(output), together(output), pytest.raises(UsageError, match="another process is writing this file"):
        scan(config, output)
    with exclusive(output), pytest.raises(UsageError, match="writing this file alone") as error:
        scan(config, output, share=Share(0, 2))
    assert error.value.exit_code == 2
    assert not output.exists()


def test_to_start_anew_is_refused_to_several(tmp_path: Path, output: Path) -> None:
    config = load_config(small_config(tmp_path))
    with pytest.raises(UsageError, match="each would start anew what the others do") as error:
        scan(config, output, share=Share(0, 2), overwrite=True)
    assert f"rm {output} {output}.part-*" in str(error.value.hint)
    scan(config, output, share=Share(0, 2), should_stop=StopAfter(6))
    assert parts_of(output)
    assert scan(config, output, overwrite=True, should_stop=StopAfter(1)).num_evaluated <= 1
    assert parts_of(output) == []


def test_to_start_anew_loses_nothing_where_it_is_refused(
    tmp_path: Path, output: Path, landscape: Callable[..., Outcome]
) -> None:
    config = load_config(small_config(tmp_path))
    scan(config, output, share=Share(1, 2), should_stop=StopAfter(6))
    before = {path: path.read_bytes() for path in (output, *parts_of(output))}
    wrong = small_config(tmp_path, **{"checkpoint.path": "nowhere.pt"})
    assert landscape("scan", wrong, "-o", output, "--overwrite").exit_code == 3
    assert {path: path.read_bytes() for path in (output, *parts_of(output))} == before


def test_who_comes_while_the_last_one_cleans_up_waits_for_it(output: Path) -> None:
    """It has the file alone for a moment, as `locks.together` lets it have."""
    handle = os.open(output.with_name(f".{output.name}.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    timer = threading.Timer(0.3, lambda: os.close(handle))
    timer.start()
    with together(output):
        timer.join()


def test_a_time_budget_ends_the_waiting_for_another_process(
    tmp_path: Path, output: Path, landscape: Callable[..., Outcome]
) -> None:
    config = small_config(tmp_path)
    with turn(output, lambda: False):
        outcome = landscape("scan", config, "-o", output, "--shard", "1/2", "--time-budget", "1s")
    assert outcome.exit_code == 75
    assert "stopped while waiting for another process" in outcome.stderr


def test_stopped_before_the_parts_are_merged_is_not_done(
    tmp_path: Path, output: Path, landscape: Callable[..., Outcome]
) -> None:
    config = small_config(tmp_path)
    whole = scan(load_config(config))
    save_surface(portion(whole, False), output)
    save_part(whole, output)
    arguments = ("scan", config, "-o", output, "--shard", "1/2")
    assert landscape(*arguments, "--time-budget", "0.01s").exit_code == 75
    assert not load_surface(output).complete
    assert landscape(*arguments).exit_code == 0
    assert load_surface(output).complete
    assert parts_of(output) == []


def test_the_last_one_sweeps_the_floor(tmp_path: Path, output: Path) -> None:
    """What killed processes have left in the middle of a save."""
    part = new_part(output, Share(1, 2))
    for name in (f".{output.name}.tmp-x", f".{part.name}.tmp-y"):
        output.with_name(name).write_bytes(b"half")
    config = load_config(small_config(tmp_path))
    with together(output):
        scan(config, output, share=Share(0, 2))
        assert output.with_name(f".{part.name}.tmp-y").exists()  # of somebody who may still be there
    scan(config, output, share=Share(0, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".s.h5.lock",
        ".s.h5.merge.lock",
        "config.yaml",
        "s.h5",
    ]


# ---------------------------------------------------------------- what does not fit


def damage(part: Path) -> None:
    part.write_bytes(b"")


def replace_by_another_scan(part: Path) -> None:
    surface = load_surface(part)
    surface.fingerprint = "0" * 64
    save_surface(surface, part)


@pytest.mark.parametrize(
    ("spoil", "words"), [(damage, "the file is empty"), (replace_by_another_scan, "made by another config")]
)
@pytest.mark.parametrize("share", ["0/2", "1/2", "0/1"])
def test_a_part_that_cannot_be_right_is_an_error_and_the_file_stays(
    tmp_path: Path,
    output: Path,
    landscape: Callable[..., Outcome],
    spoil: Callable[[Path], None],
    words: str,
    share: str,
) -> None:
    config = small_config(tmp_path)
    scan(load_config(config), output, share=Share(1, 2), should_stop=StopAfter(6))
    (part,) = parts_of(output)
    spoil(part)
    before = output.read_bytes()
    outcome = landscape("scan", config, "-o", output, "--shard", share)
    assert outcome.exit_code == 3
    assert words in outcome.stderr
    assert part.name in outcome.stderr
    assert "Remove it" in outcome.stderr
    assert (output.read_bytes(), parts_of(output)) == (before, [part])
    part.unlink()
    assert landscape("scan", config, "-o", output, "--shard", share).exit_code == 0
    assert load_surface(output).complete


def test_a_full_disk_ends_a_process_and_leaves_the_file(
    small_disk: Path,  # noqa: F811
    tmp_path: Path,
    landscape: Callable[..., Outcome],
) -> None:
    assert mount("-o", "remount,size=256k", small_disk)
    config, output = small_config(tmp_path), small_disk / "s.h5"
    scan(load_config(config), output, share=Share(1, 2), should_stop=StopAfter(6))
    before = {path: path.read_bytes() for path in (output, *parts_of(output))}
    free = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize - 4096))
    outcome = landscape("scan", config, "-o", output, "--shard", "1/2")
    assert outcome.exit_code == 4
    assert "No space left on device" in outcome.stderr
    assert {path: path.read_bytes() for path in (output, *parts_of(output))} == before
    (small_disk / "ballast").unlink()
    assert landscape("scan", config, "-o", output, "--shard", "1/2").exit_code == 0
    assert load_surface(output).complete


# ---------------------------------------------------------------- talk


def test_only_the_first_rank_talks(tmp_path: Path, output: Path, landscape: Callable[..., Outcome]) -> None:
    config, logs = small_config(tmp_path), tmp_path / "logs"
    second = landscape("scan", config, "-o", output, "--shard", "1/2", "--no-sweep", "--log-dir", logs, "--json")
    assert (second.exit_code, second.stdout, second.stderr) == (0, "", "")
    said = (logs / "rank-0001.log").read_text()
    assert "landscape scan" in said
    assert "this process has done its share: 7 of 15 points" in said
    first = landscape("scan", config, "-o", output, "--shard", "0/2", "--log-dir", logs, "--json")
    assert first.exit_code == 0
    assert json.loads(first.stdout)["status"] == "complete"
    assert "share 0 of 2" in first.stderr
    assert sorted(path.name for path in logs.iterdir()) == ["rank-0001.log"]


def test_what_goes_wrong_in_another_rank_is_told_with_its_number(
    tmp_path: Path, output: Path, landscape: Callable[..., Outcome]
) -> None:
    config = small_config(tmp_path, **{"checkpoint.path": "nowhere.pt"})
    outcome = landscape("scan", config, "-o", output, "--shard", "5/8")
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith("rank 5: error: ")
    assert "nowhere.pt" in outcome.stderr


def test_a_share_without_others_says_so(tmp_path: Path, output: Path, landscape: Callable[..., Outcome]) -> None:
    config = small_config(tmp_path)
    outcome = landscape("scan", config, "-o", output, "--shard", "0/2", "--no-sweep")
    assert outcome.exit_code == 0
    assert f"8 of 15 points are in {output}" in outcome.stderr
    refused = landscape("scan", config, "-o", output, "--no-sweep")
    assert refused.exit_code == 2
    assert "Say which share this is" in refused.stderr


def test_only_one_of_several_adds_curvature(
    tmp_path: Path, output: Path, landscape: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path, **{"axes.y": None})
    scan(load_config(config), output)
    before = output.read_bytes()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert landscape("curvature", config, output) == Outcome(0, "", "")
    assert output.read_bytes() == before


def test_each_task_of_an_array_adds_curvature_to_its_file(
    tmp_path: Path, output: Path, landscape: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path, **{"axes.y": None})
    scan(load_config(config), output)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "3")
    section = 'curvature={"num_examples": 16, "measures": ["gradient"]}'
    assert landscape("curvature", config, output, "--set", section).exit_code == 0
    found = load_surface(output).curvature
    assert found is not None
    assert set(found.records) == {"gradient"}


# ---------------------------------------------------------------- real processes

CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
metrics: [accuracy]
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, num_examples: 32, batch_size: 32}}
axes:
  x: {{num: 31}}
  y: {{num: NUM}}
runtime: {{engine: sequential}}
"""


@contextlib.contextmanager
def started(config: Path, output: Path, ranks: Sequence[int], of: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes as a launcher starts them on one machine."""
    processes = []
    for rank in ranks:
        environment = {"RANK": rank, "WORLD_SIZE": of, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": of, "OMP_NUM_THREADS": 1}
        command = [sys.executable, "-m", "landscape_cli", "scan", str(config), "-o", str(output)]
        processes.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **{key: str(value) for key, value in environment.items()}},
            )
        )
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_for_points(output: Path, num: int, processes: Sequence[subprocess.Popen[str]]) -> None:
    pause = threading.Event()
    while not (output.exists() and load_union(output).num_evaluated >= num):
        assert all(process.poll() is None for process in processes), [each.communicate() for each in processes]
        pause.wait(0.05)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.yaml"
    path.write_text(CONFIG.replace("NUM", "41"))
    return path


@pytest.mark.slow
def test_one_that_is_killed_is_replaced_by_the_others(tmp_path: Path, output: Path, large: Path) -> None:
    with started(large, output, (0, 1), of=2) as processes:
        wait_for_points(output, 100, processes)
        processes[1].kill()
        _, err = processes[0].communicate(timeout=300)
        assert processes[0].returncode == 0, err
    assert parts_of(output) == []
    assert contents(load_surface(output)) == contents(whole_of(large, tmp_path))


@pytest.mark.slow
def test_one_that_stands_still_is_not_waited_for(tmp_path: Path, output: Path, large: Path) -> None:
    with started(large, output, (0, 1), of=2) as processes:
        wait_for_points(output, 100, processes)
        processes[1].send_signal(signal.SIGSTOP)
        _, err = processes[0].communicate(timeout=300)
        assert processes[0].returncode == 0, err
        assert load_surface(output).complete
        processes[1].send_signal(signal.SIGCONT)
        processes[1].communicate(timeout=100)
        assert processes[1].returncode == 0
    assert parts_of(output) == []
    assert contents(load_surface(output)) == contents(whole_of(large, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "exit_code"),
    [([signal.SIGTERM, signal.SIGTERM], 75), ([signal.SIGUSR1], 75), ([signal.SIGINT], 130)],
)
def test_a_signal_saves_and_any_number_of_processes_goes_on(
    tmp_path: Path, output: Path, large: Path, numbers: list[signal.Signals], exit_code: int
) -> None:
    with started(large, output, (0, 1), of=2) as processes:
        wait_for_points(output, 100, processes)
        for process in processes:
            for number in numbers:
                process.send_signal(number)
        said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [exit_code] * 2, said
    before = load_union(output)
    assert before.num_evaluated >= 100
    assert not before.complete
    with started(large, output, (0, 1, 2), of=3) as processes:
        for process in processes:
            process.communicate(timeout=300)
    assert [process.returncode for process in processes] == [0, 0, 0]
    found = load_surface(output)
    assert found.complete
    old = found.metrics["train_loss"].values[before.evaluated]
    assert old.tobytes() == before.metrics["train_loss"].values[before.evaluated].tobytes()


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Turns the folder into one where nothing can be made or renamed, whoever tries."""
    yield lambda: subprocess.run(["chattr", "+i", tmp_path], check=True)
    subprocess.run(["chattr", "-i", tmp_path], check=False)


def can_freeze(folder: Path) -> bool:
    try:
        done = [subprocess.run(["chattr", sign, folder], check=False).returncode == 0 for sign in ("+i", "-i")]
    except FileNotFoundError:
        return False
    return all(done)


@pytest.mark.slow
def test_a_folder_that_turns_read_only_ends_all_and_leaves_the_file(
    tmp_path: Path, output: Path, large: Path, frozen: Callable[[], None]
) -> None:
    if not can_freeze(tmp_path):
        pytest.skip("making a folder immutable needs root, chattr and a file system that knows it")
    with started(large, output, (0, 1), of=2) as processes:
        wait_for_points(output, 100, processes)
        before = output.read_bytes()
        frozen()
        said = [process.communicate(timeout=100)[1] for process in processes]
        assert [process.returncode for process in processes] == [4, 4], said
        assert all("cannot write in" in each and "Operation not permitted" in each for each in said)
        assert output.read_bytes() == before
        assert load_union(output).num_evaluated >= 100
        subprocess.run(["chattr", "-i", tmp_path], check=True)
    with started(large, output, (0, 1), of=2) as processes:
        for process in processes:
            process.communicate(timeout=300)
    assert load_surface(output).complete


COUNTING = """\
import os
from pathlib import Path
from landscape_cli.examples import digits
class Counting:
    def __init__(self): self._digits = digits(train=True)
    def __len__(self): return len(self._digits)
    def __getitem__(self, i):
        with open("reads", "ab") as file: file.write(b"%d\\n" % i)
        return self._digits[i]
"""


@pytest.mark.slow
def test_data_that_are_too_large_for_each_process_are_decoded_once_on_a_machine(tmp_path: Path, output: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "cache").mkdir()
    text = CONFIG.replace("NUM", "3").replace("landscape_cli.examples.digits, train: true", "counting.Counting")
    config = tmp_path / "config.yaml"
    runtime = "engine: sequential, workers: 0, memory: {host: 8kB}, cache: cache"
    config.write_text(text.replace("engine: sequential", runtime))
    with contextlib.chdir(tmp_path), started(config, output, (0, 1, 2), of=3) as processes:
        said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    reads = (tmp_path / "reads").read_text().splitlines()
    one = (
        32 + 16 + 3
    )  # the split, some again to see that they repeat themselves, and a look at the first by each process
    assert len(reads) == one
    assert list((tmp_path / "cache").rglob("*.pt")) == []  # removed when all had opened it
    plain = tmp_path / "plain.yaml"
    plain.write_text(CONFIG.replace("NUM", "3"))
    assert contents(load_surface(output)) == contents(scan(load_config(plain)))


def drive(config: Path, output: Path, num_kills: int) -> dict[str, object]:
    command = [sys.executable, Path(__file__).with_name("joint_driver.py"), config, output, num_kills, 0]
    finished = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, object] = json.loads(finished.stdout)
    return found


@pytest.mark.slow
@pytest.mark.alone
def test_three_hundred_kills_lose_nothing_that_was_saved(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("NUM", "151"))
    (tmp_path / "out").mkdir()
    found = drive(config, tmp_path / "out" / "s.h5", 300)
    seconds, reader = found["seconds_lost"], found["reader"]
    assert isinstance(seconds, list)
    assert isinstance(reader, dict)
    sys.stdout.write(
        f"{found['killed']} kills in {found['rounds']} files; {reader['num_reads']} reads, "
        f"{len(reader['unreadable'])} unreadable; {len(seconds)} kills while it computed, of seconds lost: "
        f"median {np.median(seconds):.2f}, 99 % below {np.quantile(seconds, 0.99):.2f}, most {max(seconds):.2f}\n"
    )
    assert reader["unreadable"] == []
    assert reader["num_reads"] >= 300
    assert found["killed"] >= 300
    assert found["times_a_saved_point_was_missing"] == found["different"] == 0
    assert (found["reference_exit_code"], found["exit_codes"]) == (0, [0])
    assert len(seconds) >= 100, "the kills hardly ever met a scan that was computing"
    assert found["left_in_folder"] == [".reference.h5.lock", ".s.h5.lock", ".s.h5.merge.lock", "reference.h5"]


@pytest.mark.slow
@pytest.mark.alone
def test_torchrun_restarts_what_was_killed_fifty_times(tmp_path: Path, output: Path) -> None:
    """Real torchrun, real restarts of all ranks; one is killed at any moment, or from when points are computed on."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("NUM", "151"))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=55"]
    command += ["--monitor-interval=0.1", "-m", "landscape_cli", "scan", str(config), "-o", str(output)]
    moments, seen, num_evaluated = np.random.default_rng(0), set(), [0]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as agent:
        while len(num_evaluated) <= 50 and agent.poll() is None:
            ranks = [pid for pid in children_of(agent.pid) if pid not in seen]
            if len(ranks) == 2:
                before = set(parts_of(output))
                while len(num_evaluated) % 3 and not set(parts_of(output)) - before and children_of(agent.pid):
                    time.sleep(0.02)
                time.sleep(moments.uniform(0.0, 1.0))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ranks[moments.integers(2)], signal.SIGKILL)
                num_evaluated.append(load_union(output).num_evaluated if output.exists() else 0)
                while set(children_of(agent.pid)) & set(ranks) and agent.poll() is None:
                    time.sleep(0.05)
                seen |= set(ranks)
            time.sleep(0.02)
        said, _ = agent.communicate()
    assert agent.returncode == 0, said[-3000:]
    sys.stdout.write(f"points in the file after each kill: {num_evaluated}\n")
    assert num_evaluated == sorted(num_evaluated)
    assert len(set(num_evaluated)) >= 15, "the kills hardly ever met a scan that was computing"
    assert parts_of(output) == []
    assert contents(load_surface(output)) == contents(whole_of(config, tmp_path))


def children_of(parent: int) -> list[int]:
    """The ranks of an agent."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(path.parent.name))
    return [child for child in found if b"landscape_cli" in command_of(child)]


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
