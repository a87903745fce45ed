"""Decoding a dataset once: order, subsets, fingerprints, processes, room, and the datasets that cannot be used."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from landscape_cli.compute import decode
from landscape_cli.compute.data import Batches, Decoding, load_batches
from landscape_cli.compute.palette import Palette
from landscape_cli.errors import ConfigError, OutputError


class Examples(Dataset[object]):
    """A dataset from a function of the index."""

    def __init__(self, length: int, example: object) -> None:
        self.length, self.example = length, example
        self.reads = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> object:
        self.reads += 1
        return self.example(index) if callable(self.example) else self.example


def load(dataset: object, **options: object) -> Batches:
    return load_batches(dataset, where="c.yaml:7: data.train.dataset", **{"batch_size": 4, **options})  # type: ignore[arg-type]


def stack(data: Batches) -> Tensor:
    parts = [inputs for inputs, _ in data]
    assert all(isinstance(part, Tensor) for part in parts)
    return torch.cat(parts)  # type: ignore[arg-type]


@given(length=st.integers(1, 30), batch_size=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_batches_hold_every_example_once_and_in_order(length: int, batch_size: int) -> None:
    data = load(Examples(length, lambda i: (float(i), i)), batch_size=batch_size)
    assert stack(data).tolist() == list(range(length))
    assert len(data) == length
    assert [len(targets) for _, targets in data][:-1] == [batch_size] * ((length - 1) // batch_size)


def test_examples_are_read_once_and_sixteen_of_them_twice() -> None:
    dataset = Examples(50, lambda i: (torch.tensor([i]), i))
    data = load(dataset)
    assert dataset.reads == 50 + 16
    for _ in range(3):
        list(data)
    assert dataset.reads == 50 + 16


@given(length=st.integers(1, 60), share=st.floats(0.01, 1), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_a_subset_is_seeded_sorted_and_without_repetition(length: int, share: float, seed: int) -> None:
    size = max(1, int(share * length))
    dataset = Examples(length, lambda i: (float(i), i))
    chosen = load(dataset, num_examples=size, seed=seed).targets.tolist()
    assert chosen == load(dataset, num_examples=size, seed=seed).targets.tolist()
    assert len(chosen) == size
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(length))


def test_another_seed_chooses_another_subset() -> None:
    dataset = Examples(1000, lambda i: (float(i), i))
    a, b = (load(dataset, num_examples=10, seed=seed).targets.tolist() for seed in (0, 1))
    assert a != b


def test_the_fingerprint_follows_every_bit_and_nothing_else() -> None:
    inputs, labels = torch.rand(6, 3), torch.arange(6)
    prints = {"same": load(TensorDataset(inputs.clone(), labels.clone()), batch_size=2).fingerprint}
    changed = inputs.clone()
    changed[3, 1] = torch.nextafter(changed[3, 1], torch.tensor(2.0))
    prints["input"] = load(TensorDataset(changed, labels)).fingerprint
    prints["label"] = load(TensorDataset(inputs, labels.flip(0))).fingerprint
    prints["type"] = load(TensorDataset(inputs, labels.int())).fingerprint
    prints["shape"] = load(TensorDataset(inputs.reshape(6, 1, 3), labels)).fingerprint
    assert len(set(prints.values())) == 5
    assert load(TensorDataset(inputs, labels)).fingerprint == prints["same"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8, torch.bool, torch.float64])
def test_every_type_of_tensor_can_be_fingerprinted(dtype: torch.dtype) -> None:
    assert len(load(TensorDataset(torch.ones(3, 2).to(dtype), torch.zeros(3))).fingerprint) == 64


def test_tuples_dicts_and_arrays_are_stacked() -> None:
    pair = load(Examples(5, lambda i: ((np.ones(2) * i, torch.tensor(i)), i)))
    assert isinstance(pair.inputs, tuple)
    assert [tuple(tensor.shape) for tensor in pair.inputs] == [(5, 2), (5,)]
    named = load(Examples(5, lambda i: ({"ids": torch.tensor([i])}, float(i))))
    assert isinstance(named.inputs, dict)
    assert named.inputs["ids"].tolist() == [[0], [1], [2], [3], [4]]
    first, _ = next(iter(named))
    assert isinstance(first, dict)
    assert len(first["ids"]) == 4


def test_loading_leaves_the_random_state_of_the_caller_alone() -> None:
    before = torch.get_rng_state()
    load(Examples(5, lambda i: (float(i), i)))
    assert torch.equal(torch.get_rng_state(), before)


def test_not_finite_inputs_are_counted() -> None:
    inputs = torch.tensor([[1.0, torch.nan], [torch.inf, 0.0]])
    assert load(TensorDataset(inputs, torch.zeros(2))).num_not_finite() == 2


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def raising(index: int) -> object:
    raise OSError(f"no file {index}")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Examples(0, (1.0, 1)), "the dataset is empty"),
        (Stream(), "Stream is not a map-style dataset"),
        (42, "int is not a map-style dataset"),
        (Examples(3, 1.0), "each example is a Tensor; expected (input, target)"),
        (Examples(3, (1.0, 2.0, 3.0)), "each example is a list of 3; expected (input, target)"),
        (Examples(3, {"x": 1.0, "y": 2}), "each example is a dict of 2; expected (input, target)"),
        (Examples(3, ("text", 1)), "must hold tensors, arrays or numbers"),
        (
            Examples(3, lambda i: (torch.zeros(i + 1), 1)),
            "example 1 is (of shape (2,), of shape ()); expected (of shape (1",
        ),
        (Examples(9, lambda i: (torch.zeros(1 + i // 7), 1)), "example 7 is (of shape (2,), of shape ()); expected"),
        (Examples(9, lambda i: ({"a" if i < 7 else "b": 1.0}, 1)), "example 7 is ({'b': of shape ()}, of shape ())"),
        (Examples(9, lambda i: (1.0, 1 if i < 7 else 0.5)), "some of torch.float32; expected torch.int64"),
        (Examples(3, raising), "reading the examples failed: OSError: no file 0"),
        (Examples(3, (object(), 1)), "reading the examples failed: TypeError"),
        (Examples(9, lambda i: (torch.rand(2), 1)), "example 0 differs when it is read twice"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(dataset: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(dataset)
    assert str(raised.value).startswith("c.yaml:7: data.train.dataset: ")


def test_a_subset_larger_than_the_dataset_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_examples is 6, but the dataset has 5 examples"):
        load(Examples(5, (1.0, 1)), num_examples=6)


# ---------------------------------------------------------------- however it is read and kept

GREYS = torch.linspace(-2.0, 2.0, 256)
IMAGES = GREYS[torch.arange(60 * 3 * 8 * 8).reshape(60, 3, 8, 8) * 7 % 256]
NOISE = torch.randn(60, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BYTES = IMAGES.nbytes + NOISE.nbytes + 60 * 8


def three_columns(index: int) -> object:
    return {"image": IMAGES[index], "noise": NOISE[index]}, index


HOW = {
    "memory": Decoding(),
    "just enough": Decoding(host_memory=BYTES),
    "one column on disk": Decoding(host_memory=BYTES - 1, compress_above=BYTES),
    "all on disk": Decoding(host_memory=0),
    "palette in memory": Decoding(compress_above=10_000),
    "palette fits": Decoding(host_memory=40_000),
    "palette on disk": Decoding(host_memory=100),
}


@pytest.mark.parametrize("workers", mostly_slow([0, 1, 2], 0, 2))
@pytest.mark.parametrize("how", HOW)
def test_values_and_fingerprint_do_not_depend_on_how_they_are_read_and_kept(
    how: str, workers: int, tmp_path: Path
) -> None:
    decoding = Decoding(workers, HOW[how].host_memory, tmp_path, compress_above=HOW[how].compress_above)
    data = load(Examples(60, three_columns), decoding=decoding, batch_size=None)
    inputs, targets = data.part(0, 60)
    assert isinstance(inputs, dict)
    assert torch.equal(inputs["image"], IMAGES)
    assert torch.equal(inputs["noise"], NOISE)
    assert targets.tolist() == list(range(60))
    part, _ = data.part(7, 9)
    assert isinstance(part, dict)
    assert torch.equal(part["image"], IMAGES[7:9])
    assert data.fingerprint == load(Examples(60, three_columns)).fingerprint
    assert data.nbytes == BYTES
    assert data.where_held == ("disk" if HOW[how].host_memory in (0, 100, BYTES - 1) else "memory")
    assert data.compressed == (how.startswith("palette") or how == "all on disk")
    assert (data.nbytes_held < BYTES) == data.compressed
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


def test_a_split_stays_in_memory_where_only_its_palette_fits() -> None:
    data = load(TensorDataset(IMAGES, torch.arange(60)), decoding=Decoding(host_memory=IMAGES.numel() + 60 * 8))
    assert isinstance(data.inputs, Palette)
    assert (data.where_held, data.nbytes_held) == ("memory", IMAGES.numel() + data.inputs.table.nbytes + 60 * 8)


@pytest.mark.parametrize("host_memory", [None, 0, 60 * 8 + 60 * 8, 60 * 4 * 3 * 64 - 1])
@pytest.mark.parametrize("late", [0, 1, 40, 59])
def test_a_257th_value_makes_a_column_dense(late: int, host_memory: int | None) -> None:
    images = IMAGES.clone()
    images[late, 1, 0, 0] = 3.0
    flat = images.reshape(60, -1)  # one palette for the whole column
    data = load(TensorDataset(flat, torch.arange(60)), decoding=Decoding(0, host_memory, compress_above=0))
    assert not data.compressed
    assert torch.equal(data.part(0, 60)[0], flat)  # type: ignore[arg-type]
    assert data.where_held == ("memory" if host_memory is None else "disk")
    assert data.fingerprint == load(TensorDataset(flat, torch.arange(60))).fingerprint


@pytest.mark.parametrize("workers", [0, 2])
def test_progress_counts_to_the_end(workers: int) -> None:
    seen: list[tuple[int, int]] = []
    load(Examples(60, three_columns), decoding=Decoding(workers, progress=lambda *now: seen.append(now)))
    assert seen == sorted(seen)
    assert {of for _, of in seen} == {60}
    assert seen[-1] == (60, 60)


def test_integers_among_floats_become_floats() -> None:
    assert load(Examples(9, lambda i: (1.0, 0.5 if i < 7 else 1))).targets.tolist() == [0.5] * 7 + [1.0] * 2


@pytest.mark.parametrize("how", HOW)
def test_not_finite_values_are_counted_wherever_they_are(how: str, tmp_path: Path) -> None:
    images = IMAGES.clone()
    images[images == GREYS[3]] = torch.nan
    images[images == GREYS[200]] = -torch.inf
    data = load(TensorDataset(images, torch.arange(60)), decoding=replace(HOW[how], cache=tmp_path))
    assert data.num_not_finite() == int((~torch.isfinite(images)).sum()) > 0


# ---------------------------------------------------------------- processes


class Witnessed(Examples):
    """Says in a file which process read."""

    def __init__(self, folder: Path, length: int, example: object) -> None:
        super().__init__(length, example)
        self.folder = folder

    def __getitem__(self, index: int) -> object:
        (self.folder / str(os.getpid())).touch()
        return super().__getitem__(index)

    def workers(self) -> set[int]:
        return {int(path.name) for path in self.folder.iterdir()} - {os.getpid()}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_read_and_are_gone_afterwards(tmp_path: Path) -> None:
    dataset = Witnessed(tmp_path, 60, three_columns)
    load(dataset, decoding=Decoding(workers=2))
    assert len(dataset.workers()) == 2
    assert not any(map(is_alive, dataset.workers()))


@pytest.mark.parametrize(("worth", "num_workers"), [(0.0, 2), (1e9, 0)])
def test_workers_are_chosen_where_reading_takes_long(
    worth: float, num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_WORTH_WORKERS", worth)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    dataset = Witnessed(tmp_path, 200, lambda i: (float(i), i))
    assert load(dataset).targets.tolist() == list(range(200))
    assert len(dataset.workers()) == num_workers


def test_more_workers_than_examples_are_no_problem() -> None:
    for length in (1, 2, 3, 4):
        assert len(load(Examples(length, lambda i: (float(i), i)), decoding=Decoding(workers=5))) == length


class TwoPartError(Exception):
    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: {code}")


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyError("label"), OSError(5, "Input/output error"), TwoPartError("disk", 7)])
def test_a_failure_reads_the_same_from_a_worker(error: Exception) -> None:
    def failing(index: int) -> object:
        if index == 40:
            raise error
        return float(index), index

    messages = set()
    for workers in (0, 1, 2):
        with pytest.raises(ConfigError, match="reading the examples failed") as raised:
            load(Examples(60, failing), decoding=Decoding(workers=workers))
        messages.add((str(raised.value), raised.value.hint))
        assert "failing" in str(raised.getrepr())
    assert len(messages) == 1
    assert type(error).__name__ in messages.pop()[0]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_a_worker_that_dies_is_an_error_with_a_way_out(end: Callable[[], None]) -> None:
    parent = os.getpid()

    def dying(index: int) -> object:
        if index == 40 and os.getpid() != parent:
            end()
        return float(index), index

    with pytest.raises(ConfigError, match="a worker process that read the examples failed") as raised:
        load(Examples(60, dying), decoding=Decoding(workers=2))
    assert "runtime.workers: 0" in str(raised.value.hint)
    for other in multiprocessing.active_children():  # the others notice within seconds
        other.join(20)
    assert multiprocessing.active_children() == []
    assert len(load(Examples(60, dying), decoding=Decoding(workers=0))) == 60


def test_an_error_in_the_middle_leaves_no_worker_and_no_file(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(Examples(60, three_columns), decoding=Decoding(2, 0, tmp_path, stop))
    assert multiprocessing.active_children() == []
    assert list(tmp_path.iterdir()) == []


def test_signals_to_the_whole_group_are_left_to_the_parent(tmp_path: Path) -> None:
    """Else a worker that ends by one would look like a failure."""

    def interrupting(index: int) -> object:
        if index == 40 and multiprocessing.parent_process() is not None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
        return float(index), index

    assert len(load(Examples(60, interrupting), decoding=Decoding(workers=2))) == 60


@pytest.mark.parametrize(("opened", "num_workers"), [("before", 0), ("at the first example", 0), ("every time", 2)])
def test_an_open_file_is_not_read_by_several_processes(opened: str, num_workers: int, tmp_path: Path) -> None:
    """They would share its position, and read where another one has moved it."""
    numbers = np.arange(300 * 4096).reshape(300, 4096)
    numbers.tofile(tmp_path / "numbers")
    (tmp_path / "pids").mkdir()
    with contextlib.ExitStack() as stack:
        files: list[BinaryIO] = []

        def open_file() -> None:
            files.append(stack.enter_context((tmp_path / "numbers").open("rb")))

        def from_file(index: int) -> object:
            if opened == "every time" or not files:
                open_file()
            files[-1].seek(index * numbers[0].nbytes)
            content = files[-1].read(numbers[0].nbytes)
            if opened == "every time":
                files.pop().close()
            return np.frombuffer(content, numbers.dtype).copy(), index

        if opened == "before":
            open_file()
        dataset = Witnessed(tmp_path / "pids", 300, from_file)
        data = load(dataset, decoding=Decoding(workers=2))
    assert torch.equal(data.part(0, 300)[0], torch.from_numpy(numbers))  # type: ignore[arg-type]
    assert len(dataset.workers()) == num_workers


# ---------------------------------------------------------------- room

PREAMBLE = """
import os, sys, time
from pathlib import Path
import torch
from torch.utils.data import Dataset
from landscape_cli.compute.data import Decoding, load_batches

class Examples(Dataset):
    def __init__(self, length, example):
        self.length, self.example = length, example
    def __len__(self):
        return self.length
    def __getitem__(self, index):
        return self.example(index)

def load(length, example, **how):
    return load_batches(Examples(length, example), where="here", batch_size=4, decoding=Decoding(**how))
"""


def start(script: str, *args: object, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-c", PREAMBLE + script, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["workers=0", "workers=2", "workers=0, host_memory=0", "workers=2, host_memory=0"])
def test_decoding_takes_the_memory_of_the_columns_and_little_more(how: str, tmp_path: Path) -> None:
    script = f"""
def held():
    words = dict(line.split(":") for line in open("/proc/self/status"))
    return int(words["RssAnon"].split()[0]) * 1024

peak = []
load(2, lambda i: (torch.full((1 << 20,), i / 3), i))
before = held()
noise = torch.randn(1 << 20)
data = load(64, lambda i: (noise + i, i), {how}, cache=Path(sys.argv[1]), progress=lambda *_: peak.append(held()))
print((max(peak) - before) / data.nbytes, data.where_held)
"""
    out, err = start(script, tmp_path).communicate(timeout=100)
    share, where = out.split() if out else (err, "")
    assert where == ("disk" if "host_memory" in how else "memory")
    assert float(share) < (0.4 if where == "disk" else 1.2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_kill_in_the_middle_leaves_no_file_and_no_process(workers: int, tmp_path: Path) -> None:
    pids, cache = tmp_path / "pids", tmp_path / "cache"
    pids.mkdir()
    cache.mkdir()
    script = f"""
def example(index):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(0.01)
    return torch.randn(1000, generator=torch.Generator().manual_seed(index)), index

def progress(done, total):
    print("on", flush=True)

load(10**6, example, workers={workers}, host_memory=0, cache=Path(sys.argv[2]), progress=progress)
"""
    process = start(script, pids, cache)
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline() == "on\n", process.communicate()
    process.kill()
    process.communicate()
    assert list(cache.iterdir()) == []
    seen = {int(path.name) for path in pids.iterdir()}
    assert len(seen) == 1 + workers
    deadline = time.monotonic() + 30
    while any(map(is_alive, seen)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, seen))


def mounted(folder: Path, size: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_disk_that_is_too_small_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    if not mounted(tmp_path, "64k"):
        pytest.skip("mounting a tmpfs needs root and CAP_SYS_ADMIN")
    try:
        numbers = torch.arange(60_000).reshape(60, 1000)
        why = re.escape("cannot be kept here: No space left on device; 6.554e-05 GB are free")
        with pytest.raises(OutputError, match=f"0.00048 GB of decoded examples or checkpoints {why}") as raised:
            load(TensorDataset(numbers, torch.arange(60)), decoding=Decoding(0, 480, tmp_path))
        assert str(raised.value).startswith(f"{tmp_path}: ")
        assert "runtime.cache" in str(raised.value.hint)
        assert list(tmp_path.iterdir()) == []
        assert load(Examples(3, three_columns), decoding=Decoding(0, 0, tmp_path)).where_held == "disk"
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)  # a traceback may hold what is mapped


def test_a_cache_folder_that_does_not_exist_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory") as raised:
        load(Examples(60, three_columns), decoding=Decoding(0, 0, tmp_path / "no"))
    assert "runtime.cache" in str(raised.value.hint)


@pytest.mark.slow
@pytest.mark.parametrize(("numbers", "ok"), [(1 << 16, True), (1 << 20, False)])
def test_little_shared_memory_suffices_as_long_as_examples_fit(numbers: int, ok: bool) -> None:
    unshare = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$@"', "sh")
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a mount namespace needs root and CAP_SYS_ADMIN")
    script = f"""
data = load(40, lambda i: (torch.full(({numbers},), float(i)), i), workers=2)
assert all((inputs == targets[:, None]).all() for inputs, targets in data)
print("same")
"""
    out, err = start(script, before=unshare).communicate(timeout=100)
    if ok:
        assert out == "same\n", err
    else:
        assert "ConfigError: here: a worker process that read the examples failed" in err
