"""Several processes and chosen engines: the same bits as one process, whatever happens in between."""

from __future__ import annotations

import copy
import functools
import json
import multiprocessing
import os
import signal
import struct
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from test_scan import LINE, StopAfter, contents, small_config
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from workers import worker_of

from landscape_cli import Surface, load_config, load_surface, scan, scan_model
from landscape_cli.cli.scan_display import ScanDisplay
from landscape_cli.compute.apart import run_apart
from landscape_cli.compute.assemble import Surroundings, problem_from_model
from landscape_cli.compute.data import Batches
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.observer import Preflight, Silent
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.team import Task, Team, _Helper
from landscape_cli.compute.units import Units
from landscape_cli.compute.worker import Worker
from landscape_cli.config import parse_settings
from landscape_cli.errors import ConfigError, EvaluationError
from landscape_cli.grid import Axis, Grid
from landscape_cli.storage import save_surface
from landscape_cli.surface import Direction

PLANE = {"x": {"num": 7}, "y": {"num": 5}}
ENGINES = ["sequential", "channels_last", "stacked", "mlp"]


def network(engine: str) -> tuple[nn.Module, TensorDataset]:
    torch.manual_seed(0)
    if engine == "channels_last":
        model: nn.Module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    else:
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))
    return model, TensorDataset(torch.randn(50, 1, 4, 4), torch.arange(50) % 3)


class Listening(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen: list[Preflight] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def preflight(self, preflight: Preflight) -> None:
        self.seen.append(preflight)


def run(engine: str, output: Path | None = None, **options: object) -> Surface:
    model, dataset = network(engine)
    runtime = {"engine": engine, "save_every": 0, **options.pop("runtime", {})}  # type: ignore[dict-item]
    arguments = {"axes": PLANE, "metrics": ["accuracy"], "batch_size": 16, "slices": {"num": 2}, **options}
    return scan_model(model, {"a": dataset}, output=output, runtime=runtime, **arguments)  # type: ignore[arg-type]


# ---------------------------------------------------------------- blocks


@given(
    num_x=st.integers(1, 9), num_y=st.integers(1, 6), num_slices=st.integers(1, 4), size=st.integers(1, 12),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_units_are_a_fixed_partition_of_the_scan_order(
    num_x: int, num_y: int, num_slices: int, size: int, seed: int
) -> None:
    grid = Grid(tuple(Axis("xy"[i], tuple(map(float, range(n)))) for i, n in enumerate((num_x, num_y))), num_slices)
    directions = {axis.name: Direction({}, (1.0,) * num_slices) for axis in grid.axes}
    surface = Surface.empty(grid, {}, {}, directions=directions, fingerprint="")
    units = Units(surface, size)
    points = [units.points(unit) for unit in range(len(units))]
    assert units.missing().tolist() == list(range(len(units)))
    assert [point for unit in points for point in unit] == grid.scan_order().tolist()
    slices = [{grid.location(point)[0] for point in unit} for unit in points]
    assert slices == [{each} for each in units.slices.tolist()]
    assert max(map(len, points)) <= size
    is_next_elsewhere = np.diff(units.slices, append=-1) != 0
    assert all(len(unit) == size or is_next_elsewhere[i] for i, unit in enumerate(points))
    surface.evaluated[:] = np.random.default_rng(seed).random(grid.shape) < 0.6
    unfinished = [not all(surface.evaluated.flat[point] for point in unit) for unit in points]
    assert units.missing().tolist() == np.flatnonzero(unfinished).tolist()
    assert [units.is_done(unit) for unit in points] == [not each for each in unfinished]


# ---------------------------------------------------------------- resuming


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@given(cuts=st.lists(st.integers(0, 60), min_size=1, max_size=3))
@settings(max_examples=5, deadline=None)
def test_a_resumed_scan_equals_an_uninterrupted_one_with_every_engine(
    tmp_path_factory: pytest.TempPathFactory, engine: str, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("scan")
    whole = run(engine)
    for cut in cuts:
        run(engine, folder / "s.h5", should_stop=StopAfter(cut))
    assert contents(run(engine, folder / "s.h5")) == contents(whole) == contents(load_surface(folder / "s.h5"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_scan_equals_an_uninterrupted_one_when_compiled(tmp_path: Path, processes: int) -> None:
    whole = run("compiled")
    for cut in (3, 40):
        run("compiled", tmp_path / "s.h5", should_stop=StopAfter(cut), runtime={"processes": processes})
    resumed = run("compiled", tmp_path / "s.h5", runtime={"processes": processes})
    assert contents(resumed) == contents(whole)
    np.testing.assert_allclose(whole["a_loss"], run("sequential")["a_loss"], rtol=1e-5)


def test_the_plan_is_kept_on_resume_unless_the_user_changes_it(tmp_path: Path) -> None:
    first = run("mlp", tmp_path / "s.h5", should_stop=StopAfter(30), runtime={"points_per_call": 4})
    assert not first.complete
    observer = Listening()
    model, dataset = network("mlp")
    options = {"axes": PLANE, "metrics": ["accuracy"], "slices": {"num": 2}, "output": tmp_path / "s.h5"}
    kept = scan_model(model, {"a": dataset}, should_stop=StopAfter(10), observer=observer, **options)  # type: ignore[arg-type]
    plan = Plan.from_json(kept.provenance.engine)
    assert plan == Plan("mlp", {"a": 16}, 4, 1)
    assert kept.provenance.engine == first.provenance.engine
    assert not observer.notes
    changed = scan_model(
        model,
        {"a": dataset},
        observer=observer,
        runtime={"engine": "stacked", "points_per_call": 3},
        **options,  # type: ignore[arg-type]
    )
    assert changed.complete
    assert "the points so far were evaluated by mlp, 4 points × 16 examples at a time" in observer.notes[0]
    engine = changed.provenance.engine
    assert (engine["engine"], engine["points_per_call"]) == ("stacked", 3)
    (earlier,) = engine["earlier"]  # type: ignore[misc]
    assert earlier["engine"] == "mlp"  # type: ignore[index,call-overload]
    assert earlier["num_evaluated"] == kept.num_evaluated  # type: ignore[index,call-overload]
    np.testing.assert_allclose(changed["a_loss"], run("sequential")["a_loss"], rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_surface_of_sequential_and_says_how_near(tmp_path: Path, engine: str) -> None:
    observer = Listening()
    surface = run(engine, tmp_path / "s.h5", observer=observer)
    model, dataset = network(engine)
    plain = scan_model(
        model, {"a": dataset}, axes=PLANE, metrics=["accuracy"], batch_size=16, slices={"num": 2},
        runtime={"engine": "sequential"},
    )  # fmt: skip
    np.testing.assert_allclose(surface["a_loss"], plain["a_loss"], rtol=1e-5)
    np.testing.assert_array_equal(surface["a_accuracy"], plain["a_accuracy"])
    stored = load_surface(tmp_path / "s.h5").provenance.engine
    assert stored["engine"] == engine
    assert stored["centre"]["a_loss"] == surface.metrics["a_loss"].centre  # type: ignore[index,call-overload]
    assert stored["reference_centre"]["a_loss"] == plain.metrics["a_loss"].centre  # type: ignore[index,call-overload]
    differences = stored["difference"]
    assert isinstance(differences, dict)
    assert set(differences) == (set() if engine == "sequential" else {"centre", "corner"})
    assert all(0 <= value < 1e-5 for value in differences.values())  # type: ignore[operator]
    assert observer.seen[0].differences == differences


def test_an_engine_that_cannot_evaluate_the_model_is_refused_when_pinned_with_the_reason() -> None:
    model, dataset = network("channels_last")
    with pytest.raises(EvaluationError, match=r"runtime\.engine: mlp cannot evaluate this model: .*weights") as raised:
        scan_model(model, {"a": dataset}, axes=PLANE, runtime={"engine": "mlp"})
    assert "engine: auto" in str(raised.value.hint)


class Sloppy(nn.Module):
    """Right when called as it is, wrong under vmap: it hides a factor from functional calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        factor = 1.0 if isinstance(self.layer.weight, nn.Parameter) else 1.001
        return factor * self.layer(x.flatten(1))


def test_an_engine_whose_values_differ_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"stacked differs from sequential by .* at the centre, .* at the corner"):
        scan_model(Sloppy(), {"a": network("mlp")[1]}, axes=PLANE, runtime={"engine": "stacked"})


class Hidden(nn.Module):
    """Reaches its weight through a list: a functional call does not replace it there."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)
        self.hidden = [self.layer.weight]

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.hidden[0].T


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (-1, 0), (0, 1), (-2, 0.1)])
def test_an_engine_that_reads_other_weights_is_refused_wherever_the_axis_lies(start: float, stop: float) -> None:
    with pytest.raises(EvaluationError, match="stacked differs from sequential"):
        scan_model(
            Hidden(), {"a": network("mlp")[1]}, axes={"x": {"start": start, "stop": stop, "num": 5}},
            runtime={"engine": "stacked"},
        )  # fmt: skip


class Viewing(nn.Module):
    """Keeps a view of the weight of its convolution, which must follow the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)
        self.flat = self.conv.weight.detach().view(4, -1)

    def forward(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 3)
        return self.head((self.flat @ patches).relu().mean(2))


def test_weights_come_back_to_the_same_memory_after_another_layout() -> None:
    torch.manual_seed(0)
    model = Viewing()
    worker = worker_of(model, {"a": Batches(torch.randn(9, 2, 5, 5), torch.arange(9) % 3, None, "")})
    before = worker.measure([3])
    worker.network.use(torch.channels_last)
    worker.network.use(torch.contiguous_format)
    assert worker.measure([3]) == before
    assert worker.measure([4]) != before


@pytest.mark.slow
def test_every_layer_named_relu_is_what_it_is() -> None:
    class Leaky(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.first, self.relu, self.second = nn.Linear(16, 8), activation, nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.relu(self.first(x.flatten(1))))

    options = {"axes": PLANE, "batch_size": 16}
    for activation in (nn.LeakyReLU(0.2), nn.Tanh(), nn.ReLU()):
        torch.manual_seed(0)
        model, dataset = Leaky(activation), network("mlp")[1]
        surfaces = [
            scan_model(model, {"a": dataset}, runtime={"engine": engine}, **options)  # type: ignore[arg-type]
            for engine in ("mlp", "sequential")
        ]
        np.testing.assert_allclose(surfaces[0]["a_loss"], surfaces[1]["a_loss"], rtol=1e-5)
    for refused in (nn.PReLU(), nn.BatchNorm1d(8)):
        with pytest.raises(EvaluationError, match="neither Linear nor a row-wise function"):
            scan_model(Leaky(refused), {"a": dataset}, runtime={"engine": "mlp"}, **options)  # type: ignore[arg-type]


def test_bfloat16_does_not_round_the_coordinates() -> None:
    """Neighbouring points would jump: 0.505 would become 0.5039."""
    model, dataset = network("mlp")
    axes = {"x": {"start": 0.5, "stop": 1.0, "num": 101}}
    rough, plain, exact = (
        scan_model(
            model, {"a": dataset}, axes=axes, batch_size=16, runtime={"engine": engine},
            evaluation={"precision": precision},
        )["a_loss"]
        for engine, precision in (("mlp", "bfloat16"), ("sequential", "bfloat16"), ("sequential", "float32"))
    )  # fmt: skip
    assert np.abs(rough / exact - 1).max() <= 1.5 * np.abs(plain / exact - 1).max()


# ---------------------------------------------------------------- processes


@pytest.mark.parametrize("engine", mostly_slow(ENGINES, "sequential", "mlp"))
@pytest.mark.parametrize("processes", mostly_slow([2, 3], 2))
def test_several_processes_give_the_bits_of_one(tmp_path: Path, engine: str, processes: int) -> None:
    observer = Listening()
    together = run(engine, tmp_path / "s.h5", runtime={"processes": processes}, observer=observer)
    assert observer.seen[0].processes == processes
    assert together.complete
    assert contents(together) == contents(run(engine)) == contents(load_surface(tmp_path / "s.h5"))
    assert not multiprocessing.active_children()


class Slow(nn.Module):
    """Takes 20 ms per forward pass, and leaves the number of its process behind."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.layer, self.folder = nn.Linear(16, 3), folder

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        (self.folder / str(os.getpid())).touch()
        return self.layer(x.flatten(1))


def helpers(folder: Path) -> list[int]:
    return [pid for pid in (int(path.name) for path in folder.iterdir()) if pid != os.getpid()]


class Kills(Silent):
    """Kills every helper as soon as some points are done."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.killed = folder, set[int]()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def progress(self, stage: str, num_evaluated: int, num_total: int) -> None:
        for pid in set(helpers(self.folder)) - self.killed:
            os.kill(pid, signal.SIGKILL)
            self.killed.add(pid)


def test_the_points_of_a_killed_helper_are_done_by_the_others(tmp_path: Path) -> None:
    dataset, folder = network("mlp")[1], tmp_path / "pids"
    folder.mkdir()
    torch.manual_seed(1)
    model, observer = Slow(folder), Kills(folder)
    options, plain = {"axes": {"x": {"num": 21}}, "batch_size": 50}, {"engine": "sequential"}
    surface = scan_model(model, {"a": dataset}, observer=observer, runtime={**plain, "processes": 3}, **options)  # type: ignore[arg-type]
    assert len(observer.killed) == 2
    assert surface.complete
    assert sum("ended by SIGKILL, perhaps for lack of memory" in note for note in observer.notes) == 2
    assert contents(surface) == contents(scan_model(model, {"a": dataset}, runtime=plain, **options))  # type: ignore[arg-type]


def test_helpers_end_with_a_scan_that_is_stopped_and_what_they_finished_is_kept(tmp_path: Path) -> None:
    dataset, folder = network("mlp")[1], tmp_path / "pids"
    folder.mkdir()
    stopped = scan_model(
        Slow(folder), {"a": dataset}, axes={"x": {"num": 101}}, batch_size=50,
        runtime={"processes": 2, "engine": "sequential"},
        output=tmp_path / "s.h5", should_stop=lambda: len(helpers(folder)) > 0,
    )  # fmt: skip
    assert not stopped.complete
    assert load_surface(tmp_path / "s.h5").num_evaluated == stopped.num_evaluated
    assert not multiprocessing.active_children()
    assert not any(Path(f"/proc/{pid}").exists() for pid in helpers(folder))


def fails_in_helpers(outputs: Tensor, targets: Tensor) -> Tensor:
    if multiprocessing.parent_process() is not None:
        raise ZeroDivisionError("only here")
    time.sleep(0.01)
    return torch.ones(len(targets))


def test_an_error_in_a_helper_ends_the_scan_as_one_here_does_and_keeps_what_is_finished(tmp_path: Path) -> None:
    model, dataset = network("mlp")
    with pytest.raises(EvaluationError, match=r"fails_in_helpers raised ZeroDivisionError .*: only here"):
        scan_model(
            model, {"a": dataset}, axes=PLANE, metrics=[fails_in_helpers], output=tmp_path / "s.h5",
            runtime={"processes": 2},
        )  # fmt: skip
    assert load_surface(tmp_path / "s.h5").num_evaluated > 0
    assert not multiprocessing.active_children()


class HungryInHelpers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        if multiprocessing.parent_process() is not None and len(x) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        time.sleep(0.005)
        return self.layer(x.flatten(1))


@pytest.mark.slow
def test_a_helper_that_runs_out_of_memory_goes_on_with_less_and_so_does_everybody(tmp_path: Path) -> None:
    observer, model = Listening(), HungryInHelpers()
    surface = scan_model(
        model, {"a": network("mlp")[1]}, axes=PLANE, batch_size=16, observer=observer,
        runtime={"processes": 2, "save_every": 0, "engine": "sequential"}, output=tmp_path / "s.h5",
    )  # fmt: skip
    assert surface.complete
    assert observer.notes == [
        "out of memory: going on with sequential, 8 examples at a time",
        "out of memory: going on with sequential, 4 examples at a time",
    ]
    stored = load_surface(tmp_path / "s.h5").provenance.engine
    assert (stored["chunk_sizes"], stored["halved"]) == ({"a": 4}, True)
    plain = scan_model(model, {"a": network("mlp")[1]}, axes=PLANE, runtime={"engine": "sequential"})
    np.testing.assert_allclose(surface["a_loss"], plain["a_loss"], rtol=1e-5)


def measured(team: Team, blocks: list[list[int]], plan: Plan) -> dict[int, Values]:
    tasks: deque[Task] = deque([[block] for block in blocks])
    found: dict[int, Values] = {}
    while tasks or team.is_busy:
        team.hand_out(tasks, plan)
        if not len(team):
            break
        for done in team.collect(tasks, 1.0):
            found |= dict(done.values)
    return found


def test_helpers_that_make_their_own_worker_give_the_same_bits() -> None:
    """As with one process per GPU: they are there before the plan is known, and place model and data themselves."""
    model, dataset = network("mlp")
    data = Batches(*dataset.tensors, None, "")
    worker, twin = (worker_of(copy.deepcopy(model), {"a": data}) for _ in range(2))
    plan, blocks = Plan("mlp", {"a": 16}, 2), [[0, 1], [2, 3], [25, 26], [4, 5], [6, 7]]
    with Team(pytest.fail) as team:
        for _ in range(2):
            team.add(lambda: Worker(twin.problem, torch.device("cpu")))
        found = measured(team, blocks, plan)
    worker.use(plan)
    for block in blocks:
        assert [found[point] for point in block] == worker.measure(block)


def test_a_helper_whose_device_is_not_there_is_left_out() -> None:
    def no_device() -> Worker:
        raise RuntimeError("CUDA error: no such device")

    notes: list[str] = []
    data = Batches(*network("mlp")[1].tensors, None, "")
    worker = worker_of(network("mlp")[0], {"a": data})
    with Team(notes.append) as team:
        team.add(no_device)
        assert measured(team, [[0]], worker.plan) == {}
        team.add(lambda: worker)
        assert set(measured(team, [[0]], worker.plan)) == {0}
    assert len(notes) == 1
    assert "could not begin: RuntimeError: CUDA error: no such device; the others do its points" in notes[0]


def test_a_helper_with_its_own_worker_takes_the_plan_it_is_sent_also_a_larger_one() -> None:
    torch.manual_seed(0)
    data = Batches(torch.randn(600, 16), torch.arange(600) % 3, None, "")
    model = nn.Linear(16, 3)
    worker, twin = (worker_of(copy.deepcopy(model), {"a": data}) for _ in range(2))
    plan = Plan("sequential", {"a": 512})  # a fresh worker would use 256
    with Team(pytest.fail) as team:
        team.add(lambda: Worker(twin.problem, torch.device("cpu")))
        tasks: deque[Task] = deque([[[3]]])
        team.hand_out(tasks, plan)
        (done,) = team.collect(tasks, 10.0)
    worker.use(plan)
    assert done.plan == plan
    assert [values for _, values in done.values] == worker.measure([3])


def test_a_helper_whose_values_are_others_is_left_out() -> None:
    model, dataset = network("mlp")
    worker = worker_of(model, {"a": Batches(*dataset.tensors, None, "")})
    values = worker.measure([3])
    assert values is not None
    notes: list[str] = []
    with Team(notes.append) as team:
        team.known = (worker.problem.grid, 3, {name: (2 * mean + 1, std) for name, (mean, std) in values[0].items()})
        team.add(lambda: worker)
        assert measured(team, [[0]], worker.plan) == {}
        team.known = (worker.problem.grid, 3, values[0])
        team.add(lambda: worker)
        assert set(measured(team, [[0]], worker.plan)) == {0}
    assert "could not begin: EvaluationError: a_loss is" in notes[0]


def test_a_helper_that_dies_in_the_middle_of_an_answer_is_left_out() -> None:
    def dies(connection: Connection) -> None:
        connection.recv()
        os.write(connection.fileno(), struct.pack("!i", 1000) + b"not all of it")
        os._exit(1)

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=dies, args=(theirs,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    notes: list[str] = []
    with Team(notes.append) as team:
        team._helpers.append(_Helper(process, ours))
        tasks: deque[Task] = deque([[[0]]])
        team.hand_out(tasks, Plan("sequential", {"a": 1}))
        assert list(team.collect(tasks, 10.0)) == []
        assert len(team) == 0
    assert list(tasks) == [[[0]]]
    assert "was ended with exit code 1" in notes[0]


def scan_in_a_pool(_: int) -> bool:
    return run("sequential", runtime={"processes": 2}).complete


def test_a_scan_in_a_daemonic_process_has_no_helpers() -> None:
    """Such a process may have no children."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(scan_in_a_pool, [0]) == [True]


def test_several_gpus_get_their_processes_before_cuda_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forked(Exception):
        pass

    def add(team: Team, make_worker: object) -> None:
        raise Forked

    def too_early() -> None:
        raise AssertionError("CUDA was started in the parent")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "_lazy_init", too_early)
    monkeypatch.setattr(Team, "add", add)
    model, dataset = network("mlp")
    with pytest.raises(Forked):
        scan_model(model, {"a": dataset}, axes=PLANE)


SHARED = """
import torch
from landscape_cli.examples import SmallResNet

def model():
    torch.manual_seed(0)
    return SmallResNet().share_memory()
"""


@pytest.mark.slow
def test_weights_in_shared_memory_are_not_shared_by_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sharing_models.py").write_text(SHARED)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for processes in (1, 2):
        config = small_config(tmp_path, **{"model": "sharing_models.model", "axes.x.num": 31})
        overrides = [f"runtime.processes={processes}", "data.train.batch_size=64", "data.test.batch_size=64"]
        found.append(contents(scan(load_config(config, overrides))))
    assert found[0] == found[1]


# ---------------------------------------------------------------- memory for the data


@pytest.mark.parametrize("engine", mostly_slow(ENGINES, "sequential", "mlp"))
@pytest.mark.parametrize("processes", mostly_slow([1, 2], 2))
def test_data_beyond_the_memory_budget_give_the_same_surface_bit_for_bit(
    tmp_path: Path, engine: str, processes: int
) -> None:
    small = {"memory": {"host": "1kB"}, "cache": str(tmp_path), "processes": processes}
    observer = Listening()
    on_disk = run(engine, runtime=small, observer=observer)
    assert "streamed from disk" in observer.seen[0].data
    in_memory = run(engine, runtime={"processes": processes}, observer=observer)
    assert observer.seen[1].data == "in memory"
    assert contents(on_disk) == contents(in_memory)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["sequential", "mlp", "stacked"])
@pytest.mark.parametrize(("num_features", "batch_size"), [(7, 13), pytest.param(33, 10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", mostly_slow([torch.float32, torch.float64], torch.float32))
@pytest.mark.parametrize("num_values", mostly_slow([5, 10**9], 5))
def test_bits_do_not_depend_on_where_the_data_are_held(
    tmp_path: Path, engine: str, num_features: int, batch_size: int, dtype: torch.dtype, num_values: int
) -> None:
    """Odd sizes: views of resident data lie at odd addresses, where some kernels round differently."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(num_features, 9), nn.ReLU(), nn.Linear(9, 3))
    inputs = torch.randn(150, num_features, dtype=dtype)
    if num_values == 5:  # few values: held as bytes and a table where the budget is small
        inputs = inputs.clamp(-2, 2).round()
    dataset = TensorDataset(inputs, torch.arange(150) % 3)
    surfaces = [
        scan_model(
            model, {"a": dataset}, axes=LINE, batch_size=batch_size,
            runtime={"engine": engine, "memory": memory, "cache": str(tmp_path)},
        )
        for memory in ({}, {"device": 0}, {"host": 0}, {"host": "10kB"}, {"host": "10kB", "device": 0})
    ]  # fmt: skip
    assert all(contents(surface) == contents(surfaces[0]) for surface in surfaces[1:])


# ---------------------------------------------------------------- calibration


def choices(surfaces: Sequence[Surface]) -> list[object]:
    return [surface.provenance.engine["engine"] for surface in surfaces]


@pytest.fixture
def calibrating(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast this machine is: every scan is long enough to be calibrated, and there is time for it."""
    monkeypatch.setattr("landscape_cli.compute.calibrate._MIN_SECONDS", 0.0)
    monkeypatch.setattr("landscape_cli.compute.calibrate._SHORT_SHARE", 1e9)


@pytest.mark.usefixtures("calibrating")
def test_a_scan_of_a_perceptron_is_calibrated_and_gives_the_values_of_sequential() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(400, 64), nn.ReLU(), nn.Linear(64, 3))
    dataset = TensorDataset(torch.randn(2000, 1, 20, 20), torch.arange(2000) % 3)
    axes = {"x": {"num": 11}, "y": {"num": 11}}
    chosen = scan_model(model, {"a": dataset}, axes=axes)
    plain = scan_model(model, {"a": dataset}, axes=axes, runtime={"engine": "sequential"})
    assert choices([chosen, plain]) == ["mlp", "sequential"]  # shared first layer: 2 to 4 times as fast here
    np.testing.assert_allclose(chosen["a_loss"], plain["a_loss"], rtol=1e-5)


def test_a_time_budget_in_python_gives_a_coarser_surface_and_the_next_call_goes_on(tmp_path: Path) -> None:
    stopped = run("sequential", tmp_path / "s.h5", time_budget=0.0)
    assert stopped.num_evaluated == 0
    assert np.isfinite(stopped.metrics["a_loss"].centre)
    finished = run("sequential", tmp_path / "s.h5", time_budget=600.0)
    assert contents(finished) == contents(run("sequential"))


def test_short_scans_are_not_calibrated_so_that_they_repeat_themselves() -> None:
    model, dataset = network("mlp")
    assert choices([scan_model(model, {"a": dataset}, axes={"x": {"num": 5}})]) == ["sequential"]


@pytest.mark.usefixtures("calibrating")
def test_a_pinned_batch_size_is_never_changed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 64), nn.ReLU(), nn.Linear(64, 3))
    dataset = TensorDataset(torch.randn(1500, 300), torch.arange(1500) % 3)
    surface = scan_model(model, {"a": dataset}, axes={"x": {"num": 11}}, batch_size=77)
    assert surface.provenance.engine["chunk_sizes"] == {"a": 77}


STRANGE = {
    "an engine of the future": {"engine": "turbo", "chunk_sizes": {"a": 16}, "points_per_call": 1, "num_threads": 1},
    "very many threads": {"engine": "sequential", "chunk_sizes": {"a": 16}, "points_per_call": 1, "num_threads": 4096},
    "markup": {**Plan("sequential", {"a": 16}).to_json(), "difference": {"[/]": 0.1, "centre": 0.5}},
    "escapes": {
        **Plan("sequential", {"a": 16}).to_json(),
        "difference": {"\x1b]0;pwned\x07": 0.1},
        "reference": "\x1b",
    },
    "huge numbers": {**Plan("sequential", {"a": 16}).to_json(), "difference": {"centre": 10**400}},
    "other types": {"engine": ["mlp"], "chunk_sizes": "many", "points_per_call": None, "difference": [1], "earlier": 3},
}


@pytest.mark.parametrize("name", mostly_slow(STRANGE, "escapes", "other types"))
def test_a_strange_plan_in_a_file_is_data_and_does_no_harm(
    tmp_path: Path, landscape: Callable[..., Outcome], name: str
) -> None:
    partial = run("sequential", tmp_path / "s.h5", should_stop=StopAfter(20))
    partial.provenance = replace(partial.provenance, engine=STRANGE[name])  # type: ignore[arg-type]
    save_surface(partial, tmp_path / "s.h5")
    shown = landscape("info", tmp_path / "s.h5")
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    model, dataset = network("sequential")
    surface = scan_model(
        model, {"a": dataset}, axes=PLANE, metrics=["accuracy"], slices={"num": 2}, output=tmp_path / "s.h5",
        observer=ScanDisplay(on_preflight=lambda: None),
    )  # fmt: skip
    assert surface.complete
    np.testing.assert_allclose(surface["a_loss"], run("sequential")["a_loss"], rtol=1e-5)


# ---------------------------------------------------------------- reduced precision


def test_a_reduced_precision_says_how_far_it_is_from_float32_at_centre_and_corner() -> None:
    model, dataset = network("mlp")
    observer = Listening()
    surface = scan_model(
        model, {"a": dataset}, axes=PLANE, evaluation={"precision": "bfloat16"}, batch_size=16, observer=observer
    )
    exact = scan_model(model, {"a": dataset}, axes=PLANE, batch_size=16)
    stored = json.loads(json.dumps(surface.provenance.engine))
    assert stored["reference"] == "sequential in float32"
    assert stored["reference_centre"]["a_loss"] == exact.metrics["a_loss"].centre
    centre = abs(surface.metrics["a_loss"].centre / exact.metrics["a_loss"].centre - 1)
    corner = abs(surface["a_loss"][0, 0, 0] / exact["a_loss"][0, 0, 0] - 1)
    assert stored["difference"] == pytest.approx({"centre": centre, "corner": corner}, rel=1e-6)
    assert 0 < centre < 2e-2
    assert observer.seen[0].differences == stored["difference"]


def test_tf32_on_a_cpu_is_float32() -> None:
    model, dataset = network("mlp")
    surface, exact = (
        scan_model(model, {"a": dataset}, axes=PLANE, evaluation={"precision": precision}, batch_size=16)
        for precision in ("tf32", "float32")
    )
    assert contents(surface) == contents(exact)
    assert surface.provenance.engine["difference"] == {"centre": 0.0, "corner": 0.0}


# ---------------------------------------------------------------- on a device


def test_vmap_is_refused_where_it_would_silently_compute_in_float32() -> None:
    model, dataset = network("mlp")
    with pytest.raises(EvaluationError, match="stacked cannot evaluate this model: vmap does not run in bfloat16"):
        scan_model(
            model, {"a": dataset}, axes=PLANE, evaluation={"precision": "bfloat16"}, runtime={"engine": "stacked"}
        )


def test_a_complete_file_is_left_as_it_is_whatever_engine_is_asked_for(tmp_path: Path) -> None:
    run("mlp", tmp_path / "s.h5")
    before = (tmp_path / "s.h5").read_bytes()
    observer = Listening()
    run("sequential", tmp_path / "s.h5", observer=observer)
    assert observer.notes == []
    assert (tmp_path / "s.h5").read_bytes() == before


@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "bfloat16"])
def test_every_precision_is_within_its_tolerance_of_float64_on_every_device(device: str, precision: str) -> None:
    model, dataset = network("channels_last")
    surface = scan_model(
        model, {"a": dataset}, axes=PLANE, evaluation={"precision": precision}, runtime={"device": device}
    )
    exact = scan_model(
        model, {"a": dataset}, axes=PLANE, evaluation={"precision": "float64"}, runtime={"device": "cpu"}
    )
    rtol = {"float64": 1e-12, "float32": 1e-5, "tf32": 2e-2, "bfloat16": 5e-2}[precision]
    np.testing.assert_allclose(surface["a_loss"], exact["a_loss"], rtol=rtol)


def test_data_beyond_the_device_budget_give_the_same_surface_bit_for_bit_on_every_device(device: str) -> None:
    observer = Listening()
    resident = run("sequential", runtime={"device": device}, observer=observer)
    streamed = run("sequential", runtime={"device": device, "memory": {"device": 0}}, observer=observer)
    assert contents(resident) == contents(streamed)
    assert observer.seen[0].data == ("in memory" if device == "cpu" else "on the device")
    assert observer.seen[1].data == ("in memory" if device == "cpu" else "streamed from main memory")


# ---------------------------------------------------------------- a process of its own


def test_a_function_in_a_process_of_its_own_returns_and_raises_as_here() -> None:
    here = os.getpid()
    tensors = {"a": torch.arange(3.0)}
    pid, found = run_apart(lambda: (os.getpid(), {name: 2 * tensor for name, tensor in tensors.items()}))
    assert pid != here
    assert torch.equal(found["a"], torch.tensor([0.0, 2.0, 4.0]))
    with pytest.raises(ConfigError, match="my problem") as raised:
        run_apart(functools.partial(_raise, ConfigError("my problem", hint="my hint")))
    assert raised.value.hint == "my hint"
    with pytest.raises(EvaluationError, match="raised KeyError: 'x'"):
        run_apart(functools.partial(_raise, KeyError("x")))
    with pytest.raises(EvaluationError, match="ended with exit code -9"):
        run_apart(lambda: os.kill(os.getpid(), signal.SIGKILL))


def _raise(error: Exception) -> None:
    raise error


def test_directions_made_in_another_process_are_those_made_here() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    dataset = TensorDataset(torch.randn(20, 4), torch.randint(2, (20,)))
    axes = {"x": {"num": 3, "direction": "hessian"}, "y": {"num": 3, "direction": "gradient"}}
    settings = parse_settings({"axes": axes})

    def problem() -> Problem:
        surroundings = Surroundings(torch.device("cpu"))
        return problem_from_model(model, {"train": dataset}, settings, {}, surroundings)

    here, there = problem(), problem()
    there.drawing.adopt(*run_apart(there.drawing.fixed))
    for ours, theirs in zip(here.draw(0), there.draw(0), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert here.drawing.found == there.drawing.found
    assert "eigenvalue" in there.drawing.found["x"]
