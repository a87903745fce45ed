"""The radius beside a grid is what a scan of its own gives, whatever happens in between."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Outcome
from documents import validate
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from test_parallel import ENGINES, Listening, network
from test_scan import StopAfter, contents, regression, small_config
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from landscape_cli import Surface, load_config, load_surface, save_surface, scan, scan_model
from landscape_cli.analysis.sharpness import measured
from landscape_cli.compute.assemble import Surroundings, problem_from_model
from landscape_cli.compute.directions.context import Context
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.observer import Stage
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.subspace import parameters_of
from landscape_cli.compute.team import Team
from landscape_cli.compute.worker import Worker
from landscape_cli.config import parse_settings
from landscape_cli.errors import ConfigError, ResumeMismatchError, UsageError

Landscape = Callable[..., Outcome]
SMALL = {"slices": 3, "num": 5}
PLAIN = {**SMALL, "parts": 1}  # as a scan of its own
NOISE = {"_target_": "random", "normalization": "weight"}
PLANE = {"x": {"num": 3}, "y": {"num": 3}}


def line(num: int = 5, **direction: object) -> dict[str, object]:
    """The axis of the section radius."""
    return {"x": {"start": 0.01, "stop": 3, "num": num, "spacing": "log", "direction": {**NOISE, **direction}}}


def beside(surface: Surface) -> Surface:
    assert surface.radius is not None
    return surface.radius


class Watching(Listening):
    """Hears what is done in each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.done: dict[str, list[int]] = {}

    def progress(self, stage: str, num_done: int, num_total: int) -> None:
        self.done.setdefault(stage, []).append(num_done)


def run(engine: str, output: Path | None = None, **options: object) -> Surface:
    model, dataset = network(engine)
    runtime = {"engine": engine, "save_every": 0, **options.pop("runtime", {})}  # type: ignore[dict-item]
    arguments = {"axes": PLANE, "metrics": ["accuracy"], "batch_size": 16, "radius": SMALL, **options}
    return scan_model(model, {"a": dataset}, output=output, runtime=runtime, **arguments)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the same as a scan of its own


@pytest.mark.parametrize(
    ("section", "axes", "slices"),
    [
        pytest.param(PLAIN, line(), {"num": 3, "seed": 4}, marks=pytest.mark.slow),
        ({**PLAIN, "seed": 1}, line(), {"num": 3, "seed": 1}),
        ({**PLAIN, "parameters": "head"}, line(parameters="head"), {"num": 3, "seed": 4}),
        pytest.param(
            {"slices": 2, "start": 0.1, "stop": 1, "num": 3, "parts": 1},
            {"x": {**line()["x"], "start": 0.1, "stop": 1, "num": 3}},  # type: ignore[dict-item]
            {"num": 2, "seed": 4},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_radius_equals_a_scan_of_its_own_bit_for_bit(
    tmp_path: Path, section: dict[str, object], axes: dict[str, object], slices: dict[str, int]
) -> None:
    both = scan(load_config(small_config(tmp_path, **{"radius": section, "slices.seed": 4})), tmp_path / "both.h5")
    alone = scan(load_config(small_config(tmp_path, axes=axes, slices=slices)), tmp_path / "alone.h5")
    assert both.finished
    for found in (beside(both), beside(load_surface(tmp_path / "both.h5"))):
        assert contents(found) == contents(alone)
        assert found.grid == alone.grid
        assert (found.fingerprint, found.directions) == (alone.fingerprint, alone.directions)
        for name, metric in alone.metrics.items():
            other = found.metrics[name]
            assert (other.centre, other.centre_std, other.num_examples) == (
                metric.centre,
                metric.centre_std,
                metric.num_examples,
            )


@pytest.mark.slow
def test_the_grid_is_what_it_is_without_a_radius(tmp_path: Path) -> None:
    with_radius = scan(load_config(small_config(tmp_path, radius=SMALL)), tmp_path / "a.h5")
    without = scan(load_config(small_config(tmp_path)), tmp_path / "b.h5")
    assert contents(with_radius) == contents(without)
    assert with_radius.fingerprint == without.fingerprint
    assert without.radius is None


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_radius_of_sequential(engine: str) -> None:
    model, dataset = network(engine)
    plain = scan_model(
        model, {"a": dataset}, axes=line(), metrics=["accuracy"], batch_size=16, slices={"num": 3},
        runtime={"engine": "sequential"},
    )  # fmt: skip
    found = run(engine, radius=PLAIN)
    assert found.provenance.engine["radius"]["engine"] == engine  # type: ignore[index,call-overload]
    np.testing.assert_allclose(beside(found)["a_loss"], plain["a_loss"], rtol=1e-5)


@pytest.mark.parametrize("engine", mostly_slow(["sequential", "mlp"], "mlp"))
@pytest.mark.parametrize("processes", mostly_slow([2, 3], 2))
def test_several_processes_give_the_bits_of_one(tmp_path: Path, engine: str, processes: int) -> None:
    observer = Watching()
    together = run(engine, tmp_path / "s.h5", runtime={"processes": processes}, observer=observer)
    alone = run(engine)
    assert observer.seen[0].processes == processes
    assert not observer.notes
    assert contents(together) == contents(alone)
    assert contents(beside(together)) == contents(beside(alone)) == contents(beside(load_surface(tmp_path / "s.h5")))


class Told(nn.Module):
    """Writes down which process evaluates, and waits a little so that all of them get something."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.layer, self.folder = nn.Linear(16, 3), folder

    def forward(self, x: Tensor) -> Tensor:
        threading.Event().wait(0.01)
        (self.folder / str(threading.get_native_id())).touch()
        return self.layer(x.flatten(1))


@pytest.mark.slow
def test_the_helpers_of_a_finished_grid_do_points_of_the_radius(tmp_path: Path) -> None:
    dataset = network("mlp")[1]
    (tmp_path / "seen").mkdir()
    options = {"axes": {"x": {"num": 3}}, "output": tmp_path / "s.h5"}
    model = Told(tmp_path / "seen")
    scan_model(model, {"a": dataset}, runtime={"processes": 1, "engine": "sequential"}, **options)  # type: ignore[arg-type]
    for seen in (tmp_path / "seen").iterdir():
        seen.unlink()
    scan_model(
        model, {"a": dataset}, radius={"slices": 4}, runtime={"processes": 2, "engine": "sequential"}, **options
    )  # type: ignore[arg-type]  # fmt: skip
    assert len(list((tmp_path / "seen").iterdir())) == 2


def test_a_helper_with_a_worker_of_its_own_does_points_of_either(tmp_path: Path) -> None:
    """As with one process per GPU, which are forked before anything is on a device."""
    model, dataset = network("mlp")
    section = parse_settings({"axes": PLANE, "radius": SMALL})
    problems = [
        problem_from_model(model, {"a": dataset}, section, {}, Surroundings(torch.device("cpu"))) for _ in range(2)
    ]
    here, there = Worker(problems[0], torch.device("cpu")), problems[1]
    stages: list[Stage] = ["points", "radius", "points"]
    with Team(pytest.fail) as team:
        team.add(lambda: Worker(there, torch.device("cpu")))
        for stage in stages:
            team.start()
            team.hand_out(deque([[[1, 2]]]), here.plan, stage)
            (done,) = team.collect(deque(), 30.0)
            team.stop()
            worker = here.radius if stage == "radius" else here
            assert [values for _, values in done.values] == worker.measure([1, 2])
    assert here.measure([1]) != here.radius.measure([1])


# ---------------------------------------------------------------- interrupted


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@given(cuts=st.lists(st.integers(0, 110), min_size=1, max_size=3))
@settings(max_examples=5, deadline=None)
def test_an_interrupted_radius_equals_an_uninterrupted_one(
    tmp_path_factory: pytest.TempPathFactory, engine: str, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("scan")
    whole = run(engine)
    for cut in cuts:
        stopped = run(engine, folder / "s.h5", should_stop=StopAfter(cut))
        saved = load_surface(folder / "s.h5")
        assert beside(saved).num_evaluated == beside(stopped).num_evaluated
        assert stopped.complete or not beside(stopped).num_evaluated  # the grid comes first
    resumed = run(engine, folder / "s.h5")
    assert resumed.finished
    assert contents(resumed) == contents(whole)
    assert contents(beside(resumed)) == contents(beside(whole)) == contents(beside(load_surface(folder / "s.h5")))


SLOW = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, num_examples: 64, batch_size: 16}}
axes: {{x: {{num: 3}}}}
radius: {{slices: 5, num: 60}}
runtime: {{save_every: 0s, engine: sequential, processes: 2}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_scan_that_is_ended_in_the_middle_of_the_radius_goes_on(
    tmp_path: Path, landscape: Landscape, number: signal.Signals, exit_code: int
) -> None:
    config, output = tmp_path / "c.yaml", tmp_path / "s.h5"
    config.write_text(SLOW)
    command = [sys.executable, "-m", "landscape_cli", "scan", str(config), "-o", str(output)]
    pause = threading.Event()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (output.exists() and beside(load_surface(output)).num_evaluated >= 3):
            assert process.poll() is None, process.communicate()
            pause.wait(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == exit_code
    left = load_surface(output)
    assert left.complete
    assert not left.finished
    assert 3 <= beside(left).num_evaluated < 300
    if number != signal.SIGKILL:
        assert f"stopped: 3 of 3 points and {beside(left).num_evaluated:,} of 300 of the radius are in" in err
    again = landscape("scan", config, "-o", output)
    assert again.exit_code == 0
    assert f"{beside(left).num_evaluated:,} done before" in again.stderr
    assert landscape("scan", config, "-o", tmp_path / "whole.h5").exit_code == 0
    resumed, whole = load_surface(output), load_surface(tmp_path / "whole.h5")
    assert contents(resumed) == contents(whole)
    assert contents(beside(resumed)) == contents(beside(whole))


@pytest.mark.slow
@pytest.mark.alone
def test_a_time_budget_ends_the_radius_with_exit_code_75(tmp_path: Path, landscape: Landscape) -> None:
    config, output = tmp_path / "c.yaml", tmp_path / "s.h5"
    config.write_text(SLOW)
    outcome = landscape("scan", config, "-o", output, "--time-budget", "1.5s", "--set", "radius.slices=2000", "--json")
    report = json.loads(outcome.stdout)
    validate(report, "ScanReport")
    assert (outcome.exit_code, report["status"], report["complete"]) == (75, "stopped", False)
    assert report["plan"]["radius"].pop("seconds_per_point") > 0
    assert report["plan"]["radius"] == {"num_slices": 2000, "num_points": 120_000, "num_pending": 120_000}
    assert report["num_computed"] == report["num_evaluated"] + report["radius"]["num_evaluated"]


# ---------------------------------------------------------------- added, changed, left alone


@pytest.mark.slow
def test_a_radius_is_added_to_a_finished_file_without_doing_the_grid_again(tmp_path: Path) -> None:
    scan(load_config(small_config(tmp_path)), tmp_path / "s.h5")
    before, observer = load_surface(tmp_path / "s.h5"), Watching()
    config = load_config(small_config(tmp_path, radius=SMALL))
    added = scan(config, tmp_path / "s.h5", observer=observer)
    assert set(observer.done) == {"radius"}
    assert observer.done["radius"][-1] == 15
    (seen,) = observer.seen
    assert (seen.num_pending, seen.radius.num_pending) == (0, 15)  # type: ignore[union-attr]
    after = load_surface(tmp_path / "s.h5")
    assert contents(after) == contents(before)
    assert after.provenance.resolved["radius"] == config.resolved()["radius"]
    at_once = scan(config, tmp_path / "t.h5")
    assert contents(beside(after)) == contents(beside(added)) == contents(beside(at_once))
    assert beside(after).metrics["train_loss"].centre == before.metrics["train_loss"].centre


@pytest.mark.slow
def test_a_radius_is_added_to_a_file_whose_grid_is_not_finished(tmp_path: Path) -> None:
    stopped = scan(load_config(small_config(tmp_path)), tmp_path / "s.h5", should_stop=StopAfter(12))
    assert 0 < stopped.num_evaluated < 15
    config = load_config(small_config(tmp_path, radius=SMALL))
    added, at_once = scan(config, tmp_path / "s.h5"), scan(config, tmp_path / "t.h5")
    assert added.finished
    assert contents(added) == contents(at_once)
    assert contents(beside(load_surface(tmp_path / "s.h5"))) == contents(beside(at_once))


@pytest.mark.slow
def test_a_finished_radius_is_not_done_again_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, radius=SMALL))
    scan(config, tmp_path / "s.h5")
    before, observer = (tmp_path / "s.h5").read_bytes(), Watching()
    scan(config, tmp_path / "s.h5", observer=observer)
    assert observer.done == {}
    assert (tmp_path / "s.h5").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slices": 4}, "radius.slices: 3 → 4"),
        ({"num": 7}, "radius.num: 5 → 7"),
        ({"stop": 2.0}, "radius.stop: 3.0 → 2.0"),
        ({"seed": 1}, "radius.seed: 0 → 1"),
        ({"parameters": "head"}, "radius.parameters: null → "),
    ],
)
def test_another_radius_is_refused_with_the_differing_keys(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    output = tmp_path / "s.h5"
    scan(load_config(small_config(tmp_path, radius=SMALL)), output)
    before = output.read_bytes()
    other = load_config(small_config(tmp_path, radius={**SMALL, **change, "tau": 0.2}))
    with pytest.raises(ResumeMismatchError, match=re.escape(named)) as raised:
        scan(other, output)
    assert str(raised.value).count(" → ") == 2  # the heading, and this key: τ decides nothing
    for way in ("-o", "radius: null", "--overwrite"):
        assert way in str(raised.value.hint)
    assert output.read_bytes() == before
    assert beside(scan(other, output, overwrite=True)).complete


@pytest.mark.slow
def test_the_seed_of_the_slices_may_be_said_or_not(tmp_path: Path) -> None:
    scan(load_config(small_config(tmp_path, radius=SMALL)), tmp_path / "s.h5")
    assert scan(load_config(small_config(tmp_path, radius={**SMALL, "seed": 0})), tmp_path / "s.h5").finished


def test_another_tau_is_written_down_and_nothing_is_evaluated(tmp_path: Path) -> None:
    output = tmp_path / "s.h5"
    scan(load_config(small_config(tmp_path, radius=SMALL)), output)
    before, observer = load_surface(output), Watching()
    scan(load_config(small_config(tmp_path, radius={**SMALL, "tau": 0.5})), output, observer=observer)
    after = load_surface(output)
    assert observer.done == {}
    assert contents(beside(after)) == contents(beside(before))
    assert after.provenance.resolved["radius"]["tau"] == 0.5  # type: ignore[index,call-overload]
    assert measured(after, "adaptive_radius").settings == {"tau": 0.5}
    assert measured(after, "adaptive_radius").value == measured(before, "adaptive_radius", tau=0.5).value
    assert measured(after, "flat_radius").settings == {"tau": 0.1}


@pytest.mark.parametrize("cut", mostly_slow([None, 55], 55))
def test_a_config_without_a_radius_leaves_that_of_the_file_alone(
    tmp_path: Path, landscape: Landscape, cut: int | None
) -> None:
    output, config = tmp_path / "s.h5", small_config(tmp_path, radius=PLAIN)
    stop = {} if cut is None else {"should_stop": StopAfter(cut)}
    begun = beside(scan(load_config(config), output, **stop))  # type: ignore[arg-type]
    assert begun.num_evaluated > 0
    assert begun.complete == (cut is None)
    before = output.read_bytes()
    assert landscape("scan", config, "-o", output, "--set", "radius=null").exit_code == 0
    assert output.read_bytes() == before
    assert landscape("scan", config, "-o", output).exit_code == 0
    assert load_surface(output).finished


# ---------------------------------------------------------------- engines


class Secretive(nn.Module):
    """Reaches the weight of its first layer through a list, where a functional call does not replace it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 8), nn.Linear(8, 3)
        self.hidden = [self.first.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x.flatten(1) @ self.hidden[0].T))


def secretive(output: Path | None = None, **options: object) -> Surface:
    torch.manual_seed(0)
    runtime = {"engine": "stacked", "points_per_call": 4, "save_every": 0, **options.pop("runtime", {})}  # type: ignore[dict-item]
    return scan_model(
        Secretive(),
        {"a": network("mlp")[1]},
        axes={"x": {"num": 5, "direction": {"_target_": "random", "parameters": "head"}}},
        radius=PLAIN,
        batch_size=16,
        output=output,
        runtime=runtime,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("processes", mostly_slow([1, 2], 1))
def test_an_engine_that_is_wrong_on_the_line_only_is_not_used_there(
    tmp_path: Path, landscape: Landscape, processes: int
) -> None:
    observer = Watching()
    found = secretive(tmp_path / "s.h5", observer=observer, runtime={"processes": processes})
    assert len(observer.notes) == 1
    assert re.match("the radius is evaluated by sequential: stacked differs from sequential by", observer.notes[0])
    engine = load_surface(tmp_path / "s.h5").provenance.engine
    assert engine["engine"] == "stacked"
    assert Plan.from_json(engine["radius"]) == Plan("sequential", {"a": 16})  # type: ignore[arg-type]
    shown = landscape("info", tmp_path / "s.h5").stdout
    assert re.search("evaluated by +stacked, 4 points × 16 examples", shown)
    assert re.search("radius by +sequential, 16 examples", shown)
    torch.manual_seed(0)
    plain = scan_model(
        Secretive(), {"a": network("mlp")[1]}, axes=line(), slices={"num": 3}, batch_size=16,
        runtime={"engine": "sequential"},
    )  # fmt: skip
    assert contents(beside(found)) == contents(plain)
    for cut in (12, 40, 60):
        secretive(tmp_path / "cut.h5", should_stop=StopAfter(cut))
    assert contents(beside(secretive(tmp_path / "cut.h5"))) == contents(plain)


class Scarce(nn.Module):
    """Has memory for 16 examples at a time on the grid, where it stands still, and for 8 on the line."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 8), nn.Linear(8, 3)
        self.start: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.start is None:
            self.start = self.first.weight.detach().clone()
        if len(x) > 8 and (self.first.weight - self.start).abs().max() > 1.0:
            raise torch.OutOfMemoryError("pretended")
        return self.head(torch.tanh(self.first(x.flatten(1))))


def test_a_plan_that_is_halved_on_the_line_is_kept_there_and_not_on_the_grid(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, dataset = Scarce(), network("mlp")[1]
    options = {
        "axes": {"x": {"num": 5, "direction": {"_target_": "random", "parameters": "head"}}},
        "radius": PLAIN,
        "batch_size": 16,
        "runtime": {"engine": "sequential", "save_every": 0, "processes": 1},
    }
    observer = Watching()
    whole = scan_model(model, {"a": dataset}, output=tmp_path / "s.h5", observer=observer, **options)  # type: ignore[arg-type]
    assert "out of memory: going on with sequential, 8 examples at a time" in observer.notes
    assert whole.finished
    engine = load_surface(tmp_path / "s.h5").provenance.engine
    assert (engine["chunk_sizes"], engine.get("halved")) == ({"a": 16}, None)
    radius = engine["radius"]
    assert isinstance(radius, dict)
    assert (radius["chunk_sizes"], radius["halved"]) == ({"a": 8}, True)


# ---------------------------------------------------------------- the whole command


@pytest.mark.slow
def test_one_command_gives_the_picture_and_the_number(tmp_path: Path, landscape: Landscape) -> None:
    config, output = small_config(tmp_path, radius=SMALL), tmp_path / "s.h5"
    dry = landscape("scan", config, "-o", output, "--dry-run", "--json")
    plan = json.loads(dry.stdout)
    validate(plan, "PlanReport")
    assert (plan["num_points"], plan["num_pending"]) == (15, 15)
    assert plan["radius"].pop("seconds_per_point") > 0
    assert plan["radius"] == {"num_slices": 3, "num_points": 15, "num_pending": 15}
    assert not output.exists()
    outcome = landscape("scan", config, "-o", output)
    assert outcome.exit_code == 0
    assert re.search(r"points +15 to do, about", outcome.stderr)
    assert re.search(r"radius +3 directions, 15 points to do", outcome.stderr)
    assert "complete; 30 points computed" in outcome.stderr
    assert landscape("plot", output, "-o", tmp_path / "s.png").exit_code == 0
    number = float(landscape("sharpness", output, "--metric", "adaptive_radius").stdout)
    assert number == measured(load_surface(output), "adaptive_radius", tau=0.1).value
    info = landscape("info", output)
    row = r"radius +3 directions, noise from 0\.01 to 3, τ = 0\.1, 16 parts of the data, 15 of 15 \(100%\), complete"
    assert re.search(row, info.stdout)
    report = json.loads(landscape("info", output, "--json").stdout)
    validate(report, "InfoReport")
    assert report["radius"] == {
        "num_slices": 3, "num_points": 15, "num_evaluated": 15, "start": 0.01, "stop": 3.0, "parts": 16, "tau": 0.1,
    }  # fmt: skip


def test_the_time_that_a_scan_takes_counts_the_radius(tmp_path: Path) -> None:
    seen = {}
    for name, section in (("with", {"slices": 20}), ("without", None)):
        observer = Watching()
        config = load_config(small_config(tmp_path, radius=section, **{"runtime.processes": 1}))
        scan(config, dry_run=True, observer=observer)
        (seen[name],) = observer.seen
    found = seen["with"]
    assert found.seconds == pytest.approx(15 * found.seconds_per_point + 500 * found.radius.seconds_per_point)
    assert found.radius.seconds_per_point >= found.seconds_per_point
    assert seen["without"].seconds == pytest.approx(15 * seen["without"].seconds_per_point)
    assert seen["without"].radius is None


@pytest.mark.slow
def test_every_checkpoint_of_a_series_gets_its_radius(tmp_path: Path, landscape: Landscape) -> None:
    weights = torch.load(ROOT / "configs" / "digits.pt", weights_only=True)["state_dict"]
    for name, scale in (("a", 1.0), ("b", 1.1)):
        torch.save({key: scale * tensor for key, tensor in weights.items()}, tmp_path / f"{name}.pt")
    config = small_config(tmp_path, radius=SMALL)
    paths = [tmp_path / f"{name}.pt" for name in "ab"]
    outcome = landscape("scan", config, "--checkpoint", *paths, "-o", f"{tmp_path}/{{stem}}.h5", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert [each["radius"]["num_evaluated"] for each in json.loads(outcome.stdout)["scans"]] == [15, 15]
    a, b = (beside(load_surface(tmp_path / f"{name}.h5")) for name in "ab")
    assert a.directions["x"].norm != b.directions["x"].norm


def test_what_is_wrong_with_the_parameters_is_located(tmp_path: Path, landscape: Landscape) -> None:
    config = small_config(tmp_path, radius={**SMALL, "parameters": "haed"})
    for command in (("scan", config, "-o", tmp_path / "s.h5"), ("validate", config)):
        outcome = landscape(*command)
        assert outcome.exit_code == 2
        assert re.search(r"config\.yaml:\d+: radius\.parameters: 'haed' matches no parameter", outcome.stderr)
    with pytest.raises(ConfigError, match="radius"):
        scan_model(nn.Linear(1, 1), {"a": TensorDataset(torch.ones(2, 1), torch.ones(2, 1))}, axes=line(), radius=3)


# ---------------------------------------------------------------- the number


@pytest.mark.slow
def test_the_number_is_the_same_in_either_place(tmp_path: Path, landscape: Landscape) -> None:
    section = {"slices": 4, "num": 9, "parts": 1}
    scan(load_config(small_config(tmp_path, radius=section)), tmp_path / "both.h5")
    scan(load_config(small_config(tmp_path, axes=line(9), slices={"num": 4})), tmp_path / "alone.h5")
    both, alone = load_surface(tmp_path / "both.h5"), load_surface(tmp_path / "alone.h5")
    for name in ("adaptive_radius", "adaptive_avg", "adaptive_avg(0.1)"):
        assert measured(both, name) == measured(alone, name)
        assert measured(both, name, tau=0.3, loss="test_loss") == measured(alone, name, tau=0.3, loss="test_loss")
        numbers = {landscape("sharpness", tmp_path / f, "--metric", name).stdout for f in ("both.h5", "alone.h5")}
        assert numbers == {f"{measured(alone, name).value!r}\n"}
    for slice_index in (0, None):
        assert measured(both, "adaptive_radius", slice_index=slice_index).per_slice == pytest.approx(
            measured(alone, "adaptive_radius").per_slice, nan_ok=True
        )
    with pytest.raises(UsageError, match="slice: found 3; the surface has slices 0 … 0"):
        measured(both, "adaptive_radius", slice_index=3)


@pytest.mark.slow
def test_a_slice_that_only_the_grid_has_does_not_disturb_the_radius(tmp_path: Path, landscape: Landscape) -> None:
    config = small_config(tmp_path, radius=SMALL, **{"slices.num": 5})
    scan(load_config(config), tmp_path / "s.h5")
    whole = landscape("sharpness", tmp_path / "s.h5", "--metric", "adaptive_radius")
    one = landscape("sharpness", tmp_path / "s.h5", "--metric", "adaptive_radius", "--slice", "4")
    assert (one.exit_code, one.stdout) == (0, whole.stdout)
    assert landscape("sharpness", tmp_path / "s.h5", "--slice", "4").exit_code == 0


def test_a_radius_before_its_first_point_gives_no_number(tmp_path: Path) -> None:
    surface = scan(load_config(small_config(tmp_path, radius=SMALL)), tmp_path / "s.h5", should_stop=StopAfter(3))
    assert beside(surface).num_evaluated == 0
    assert measured(load_surface(tmp_path / "s.h5"), "adaptive_radius").note == "too few points are evaluated"


@pytest.mark.slow
def test_tau_of_the_config_is_the_default_and_that_of_the_command_wins(tmp_path: Path, landscape: Landscape) -> None:
    config = small_config(tmp_path, radius={**SMALL, "tau": 0.4})
    scan(load_config(config), tmp_path / "s.h5")
    surface = load_surface(tmp_path / "s.h5")
    for options, tau in (((), 0.4), (("--tau", "0.2"), 0.2)):
        shown = landscape("sharpness", tmp_path / "s.h5", "--metric", "adaptive_radius", *options)
        assert shown.stdout == f"{measured(surface, 'adaptive_radius', tau=tau).value!r}\n"
    for damaged in (-1.0, "a", True, None, math.nan):
        resolved = {**surface.provenance.resolved, "radius": {"tau": damaged}}
        surface.provenance = replace(surface.provenance, resolved=resolved)
        save_surface(surface, tmp_path / "t.h5")
        assert measured(load_surface(tmp_path / "t.h5"), "adaptive_radius").settings == {"tau": 0.1}


def trace_and_forms(model: nn.Module, inputs: Tensor, num: int) -> tuple[float, np.ndarray]:
    """tr THT, and εᵀTHTε of each of ``num`` directions, of a linear model with the mean squared error."""
    params, layout = parameters_of(model), layout_of(model)
    outputs = params["bias"].numel()
    # L = mean over examples and outputs of (Wx + b − y)²: H is block diagonal, 2/outputs · mean of (x, 1)(x, 1)ᵀ
    augmented = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)
    moments = 2 / outputs * augmented.T @ augmented / len(inputs)
    theta = torch.cat([params["weight"], params["bias"][:, None]], dim=1)
    trace = float((theta**2 @ moments.diagonal()).sum())
    forms = []
    for slice_index in range(num):
        drawn = random(Context(params, layout, 0, slice_index, "x"), normalization="weight")
        moved = torch.cat([drawn["weight"], drawn["bias"][:, None]], dim=1)
        forms.append(float(((moved @ moments) * moved).sum()))
    return trace, np.array(forms)


def at_its_minimum(num_examples: int = 40) -> tuple[nn.Module, TensorDataset]:
    """A linear model whose gradient is zero: the targets are its own outputs."""
    model, dataset = regression(num_examples)
    with torch.no_grad():
        inputs = dataset.tensors[0]
        return model, TensorDataset(inputs, model(inputs))


@pytest.mark.slow
def test_on_a_quadratic_the_rise_and_the_radius_are_the_closed_forms() -> None:
    model, dataset = at_its_minimum()
    surface = scan_model(
        model, {"train": dataset}, axes={"x": {"num": 3}}, loss="mse", evaluation={"precision": "float64"},
        radius={"slices": 400, "num": 200, "parts": 1}, runtime={"processes": 1},
    )  # fmt: skip
    trace, forms = trace_and_forms(model, dataset.tensors[0], 400)
    s = np.array(beside(surface).grid.axes[0].coordinates)
    np.testing.assert_allclose(beside(surface)["train_loss"], forms[:, None] * s**2 / 2, rtol=1e-9)
    found = measured(surface, "adaptive_radius")
    assert found.value == pytest.approx(math.sqrt(0.2 / forms.mean()), rel=1e-3)
    assert abs(found.value - math.sqrt(0.2 / trace)) < 3 * found.standard_error  # type: ignore[operator]
    for name, at in (("adaptive_avg", 0.3), ("adaptive_avg(0.1)", 0.1)):
        average = measured(surface, name)
        assert average.value == pytest.approx(at**2 / 2 * forms.mean(), rel=1e-3)
        assert average.standard_error == pytest.approx(at**2 / 2 * forms.std(ddof=1) / 20, rel=1e-3)
        assert abs(average.value - at**2 / 2 * trace) < 3 * average.standard_error  # type: ignore[operator]
