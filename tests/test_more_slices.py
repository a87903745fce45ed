"""A file that gets more slices is the file that had them from the start, and what was there stays, bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from safetensors.torch import load_file
from series_models import network
from test_parallel import ENGINES, Listening
from test_parallel import network as network_of_engine
from test_scan import StopAfter, contents

from landscape_cli import Surface, load_config, load_surface, scan, scan_model
from landscape_cli.analysis.plot import plot
from landscape_cli.analysis.sharpness import measured
from landscape_cli.compute.add_curvature import add_curvature
from landscape_cli.compute.grow import grow
from landscape_cli.config import Config
from landscape_cli.errors import ConfigError, ResumeMismatchError, UsageError
from landscape_cli.grid import Axis, Grid
from landscape_cli.surface import Direction, Provenance, Trajectory

Landscape = Callable[..., Outcome]
BASE = """\
model: {_target_: series_models.Slow, seconds: 0.0}
checkpoint: {path: a.pt}
data:
  train: {dataset: {_target_: bad_models.dataset}, batch_size: 8}
axes: {x: {num: 3}, y: {num: 3}}
slices: {num: 2, seed: 7}
runtime: {processes: 1, workers: 0, engine: sequential, save_every: 0s}
"""
RADIUS = "radius: {slices: 3, num: 4}\n"
PARTS = {"grid": ("", "slices.num", 2), "radius": (RADIUS, "radius.slices", 3)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("abc"):
        torch.save(network(seed, scale=1.0 + seed), f"{name}.pt")
    return tmp_path


def config(more: str = "", *overrides: str) -> Config:
    Path("c.yaml").write_text(BASE + more)
    return load_config("c.yaml", overrides)


def part_of(surface: Surface, part: str) -> Surface:
    found = surface if part == "grid" else surface.radius
    assert found is not None
    return found


def assert_same(found: Surface, expected: Surface) -> None:
    """To the bit, in all that lives per slice and in what says which scan it is."""
    pairs = [(found, expected)]
    for name in ("radius", "curvature_map"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        pairs += [] if a is None else [(a, b)]
    for a, b in pairs:
        assert contents(a) == contents(b)
        assert (a.grid, a.fingerprint) == (b.grid, b.fingerprint)
        assert {name: each.norm for name, each in a.directions.items()} == {
            name: each.norm for name, each in b.directions.items()
        }
        for name, metric in a.metrics.items():
            other = b.metrics[name]
            assert np.array_equal(
                [metric.centre, metric.centre_std, metric.num_examples],
                [other.centre, other.centre_std, other.num_examples],
                equal_nan=True,
            )
        assert (a.cosine is None) == (b.cosine is None)
        if a.cosine is not None and b.cosine is not None:
            assert a.cosine.tobytes() == b.cosine.tobytes()
    assert found.provenance.identity == expected.provenance.identity
    for key in ("slices", "radius"):
        assert found.provenance.resolved.get(key) == expected.provenance.resolved.get(key)
    assert (found.trajectory is None) == (expected.trajectory is None)
    if found.trajectory is not None and expected.trajectory is not None:
        for name in ("coordinates", "missed", "distance"):
            assert getattr(found.trajectory, name).tobytes() == getattr(expected.trajectory, name).tobytes(), name


def first_slices(surface: Surface, num: int) -> dict[str, bytes]:
    arrays = {name: metric.values[:num] for name, metric in surface.metrics.items()}
    arrays |= {f"{name}_std": metric.std[:num] for name, metric in surface.metrics.items()}
    return {name: array.tobytes() for name, array in arrays.items()}


def from_the_start(part: str, total: int) -> Surface:
    more, key, _ = PARTS[part]
    scan(config(more, f"{key}={total}"), "whole.h5")
    return load_surface("whole.h5")


# ---------------------------------------------------------------- the same as from the start


@pytest.mark.parametrize("processes", mostly_slow([1, 2], 1))
@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_has_grown_is_the_file_that_had_all_slices_from_the_start(part: str, processes: int) -> None:
    more, _, num = PARTS[part]
    asked = config(more, f"runtime.processes={processes}")
    scan(asked, "s.h5")
    before, observer = load_surface("s.h5"), Listening()
    grown = scan(asked, "s.h5", more_slices=6, observer=observer)
    assert grown.finished
    assert f"note: the {part} grows from {num} to 6 slices" in observer.notes
    (seen,) = observer.seen
    assert seen.processes == processes
    ahead = (seen.num_pending, seen.radius.num_pending if seen.radius else 0)
    assert ahead == ((36, 0) if part == "grid" else (0, 12))
    saved = load_surface("s.h5")
    assert first_slices(part_of(saved, part), num) == first_slices(part_of(before, part), num)
    assert saved.created == before.created
    assert_same(saved, from_the_start(part, 6))
    assert_same(grown, saved)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_the_same_with_every_engine(engine: str) -> None:
    model, dataset = network_of_engine(engine)
    runtime = {"engine": engine, "points_per_call": 4, "processes": 1}

    def run(output: str, total: int | None = None, **options: object) -> Surface:
        axes, num = {"x": {"num": 5}, "y": {"num": 4}}, options.pop("slices", {"num": 2})
        return scan_model(
            model, {"a": dataset}, axes=axes, slices=num, output=output, more_slices=total, runtime=runtime,
            batch_size=16, **options,
        )  # type: ignore[arg-type]  # fmt: skip

    run("s.h5", should_stop=StopAfter(9))
    run("s.h5", 4, should_stop=StopAfter(30))
    run("s.h5", 4)
    run("t.h5")
    run("t.h5", 4)
    run("whole.h5", slices={"num": 4})
    assert_same(load_surface("t.h5"), load_surface("whole.h5"))
    assert_same(load_surface("s.h5"), load_surface("whole.h5"))


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("first_cut", [7, 23, 60])
def test_a_file_that_is_not_finished_grows_and_may_be_stopped_again(part: str, first_cut: int) -> None:
    asked = config(PARTS[part][0])
    scan(asked, "s.h5", should_stop=StopAfter(first_cut))
    begun = load_surface("s.h5")
    for cut in (3, 20):
        scan(asked, "s.h5", more_slices=5, should_stop=StopAfter(cut))
        stopped = load_surface("s.h5")
        assert part_of(stopped, part).grid.num_slices == 5
        assert stopped.num_evaluated >= begun.num_evaluated
        begun = stopped
    assert not begun.finished
    scan(asked, "s.h5")  # without the option: the file has more than the config asks for
    assert_same(load_surface("s.h5"), from_the_start(part, 5))


@pytest.mark.slow
def test_each_of_the_two_grows_without_touching_the_other() -> None:
    scan(config(RADIUS), "s.h5")
    before = load_surface("s.h5")
    scan(config(RADIUS), "s.h5", more_slices=5)
    with_radius = load_surface("s.h5")
    assert (contents(with_radius), with_radius.fingerprint) == (contents(before), before.fingerprint)
    scan(config(), "s.h5", more_slices=4)
    both = load_surface("s.h5")
    assert contents(part_of(both, "radius")) == contents(part_of(with_radius, "radius"))
    assert (both.grid.num_slices, part_of(both, "radius").grid.num_slices) == (4, 5)
    assert both.provenance.resolved["radius"]["slices"] == 5  # type: ignore[index,call-overload]
    assert scan(config(RADIUS), "s.h5").finished
    scan(config(RADIUS, "slices.num=4", "radius.slices=5"), "whole.h5")
    assert_same(load_surface("s.h5"), load_surface("whole.h5"))


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_new_file_and_one_that_is_overwritten_start_with_all(part: str) -> None:
    more, _, _ = PARTS[part]
    observer = Listening()
    scan(config(more), "s.h5", more_slices=4, observer=observer)
    assert observer.notes == []
    assert_same(load_surface("s.h5"), from_the_start(part, 4))
    scan(config(more), "s.h5", more_slices=3, overwrite=True)
    assert part_of(load_surface("s.h5"), part).grid.num_slices == 3


@pytest.mark.slow
def test_a_radius_that_is_new_in_a_file_has_all_at_once() -> None:
    scan(config(), "s.h5")
    scan(config(RADIUS), "s.h5", more_slices=5)
    assert_same(load_surface("s.h5"), from_the_start("radius", 5))


def test_a_model_in_hand_grows_too(tmp_path: Path) -> None:
    from bad_models import dataset

    def run(output: str, more_slices: int | None = None, **options: object) -> Surface:
        model = torch.nn.Linear(3, 4)
        torch.nn.init.ones_(model.weight)
        torch.nn.init.zeros_(model.bias)
        return scan_model(
            model, {"a": dataset()}, axes={"x": {"num": 3}}, output=output, more_slices=more_slices,
            runtime={"engine": "sequential"}, batch_size=8, **options,
        )  # type: ignore[arg-type]  # fmt: skip

    run("s.h5")
    run("s.h5", 3)
    run("whole.h5", slices={"num": 3})
    assert_same(load_surface("s.h5"), load_surface("whole.h5"))


@pytest.mark.slow
def test_more_slices_make_the_error_bar_smaller() -> None:
    asked = config("radius: {slices: 4, num: 9, tau: 0.05}\n")
    scan(asked, "s.h5")
    few = measured(load_surface("s.h5"), "adaptive_radius")
    scan(asked, "s.h5", more_slices=64)
    many = measured(load_surface("s.h5"), "adaptive_radius")
    assert (len(few.per_slice), len(many.per_slice)) == (4, 64)
    assert few.per_slice == many.per_slice[:4]
    assert few.standard_error is not None
    assert many.standard_error is not None
    assert many.standard_error < few.standard_error


# ---------------------------------------------------------------- which number


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("more", mostly_slow([None, 2, 5], 2))
def test_a_file_with_more_slices_than_the_config_stays_as_it_is(part: str, more: int | None) -> None:
    asked = config(PARTS[part][0])
    scan(asked, "s.h5", more_slices=5)
    before, observer = Path("s.h5").read_bytes(), Listening()
    assert scan(asked, "s.h5", more_slices=more, observer=observer).finished
    assert Path("s.h5").read_bytes() == before
    (note,) = observer.notes
    assert part in note
    assert ("is how many there shall be in all" if more else "all are kept") in note


def test_curvature_is_added_to_a_file_that_has_grown() -> None:
    asked = config("curvature: {measures: [slice_curvature]}\n")
    scan(config(), "s.h5", more_slices=4)
    surface = add_curvature(asked, "s.h5")
    assert surface.curvature is not None
    assert surface.curvature.records["slice_curvature"].values["per_slice"].shape == (4, 2)


@pytest.mark.slow
def test_a_radius_of_fewer_slices_is_refused_with_the_way_out() -> None:
    scan(config(RADIUS), "s.h5")
    before = Path("s.h5").read_bytes()
    with pytest.raises(ResumeMismatchError, match=r"radius\.slices: 3 → 5") as raised:
        scan(config(RADIUS, "radius.slices=5"), "s.h5")
    assert "--more-slices 5. Or: Choose another output with -o" in str(raised.value.hint)
    assert Path("s.h5").read_bytes() == before
    assert scan(config(RADIUS, "radius.slices=5"), "s.h5", more_slices=5).finished
    assert_same(load_surface("s.h5"), from_the_start("radius", 5))


@pytest.mark.parametrize(
    ("more", "how"), [("", "--more-slices 4. Or:"), (RADIUS, "--more-slices 4 --set radius=null. Or:")]
)
def test_a_grid_of_fewer_slices_is_refused_with_the_way_out(more: str, how: str) -> None:
    scan(config(more), "s.h5")
    with pytest.raises(ResumeMismatchError, match=r"slices\.num: 2 → 4") as raised:
        scan(config(more, "slices.num=4"), "s.h5", more_slices=9 if more else None)
    assert how in str(raised.value.hint)
    scan(config("", "slices.num=4"), "s.h5", more_slices=4)  # as it says
    assert scan(config(more, "slices.num=4"), "s.h5").finished


@pytest.mark.parametrize("more", mostly_slow([None, 9], None))
@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("grid", "slices.seed=1", "slices.seed: 7 → 1"),
        ("grid", "axes.x.num=5", "axes.x.num: 3 → 5"),
        ("radius", "radius.num=5", "radius.num: 4 → 5"),
        ("radius", "radius.seed=3", "radius.seed: 7 → 3"),
    ],
)
def test_of_a_file_that_has_grown_only_other_differences_are_named(
    part: str, change: str, named: str, more: int | None
) -> None:
    scan(config(PARTS[part][0]), "s.h5", more_slices=5)
    with pytest.raises(ResumeMismatchError, match=re.escape(named)) as raised:
        scan(config(PARTS[part][0], change), "s.h5", more_slices=more)
    assert str(raised.value).count(" → ") == 2  # the heading, and this key
    assert "--more-slices" not in str(raised.value.hint)


@pytest.mark.parametrize(
    ("more", "total", "message"),
    [
        ("", 0, "--more-slices: found 0; expected how many slices of the grid there shall be in all, from 1 to 8,000"),
        (RADIUS, -3, "--more-slices: found -3; expected how many slices of the radius"),
        (RADIUS, 8001, "--more-slices: found 8,001; .* from 1 to 8,000"),
        ("", 8001, "--more-slices: found 8,001; .* from 1 to 8,000"),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_is_refused(more: str, total: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scan(config(more), "s.h5", more_slices=total)
    assert not Path("s.h5").exists()


def test_the_points_of_a_grid_limit_its_slices() -> None:
    wide = ("axes={x: {num: 10000}, y: {num: 5000}}",)
    with pytest.raises(UsageError, match=r"found 3; .* from 1 to 2"):
        scan(config("", *wide), "s.h5", more_slices=3)


def test_directions_that_are_the_same_in_every_slice_do_not_get_more() -> None:
    fixed = "axes={x: {num: 3, direction: {_target_: between, checkpoint: b.pt}}, y: {num: 3, direction: gradient}}"
    with pytest.raises(ConfigError, match=r"axes: found between, gradient, the same in every slice") as raised:
        scan(config("", fixed, "slices.num=1"), "s.h5", more_slices=2)
    assert "radius: true" in str(raised.value.hint)
    assert scan(config(RADIUS, fixed, "slices.num=1"), "s.h5", more_slices=4).finished


# ---------------------------------------------------------------- what else lives per slice


PATH = "trajectory: {checkpoints: [b.pt, c.pt, a.pt]}\n"


@pytest.mark.slow
def test_a_path_is_projected_into_the_new_slices() -> None:
    scan(config(PATH), "s.h5")
    observer = Listening()
    scan(config(PATH), "s.h5", more_slices=4, observer=observer)
    assert not any("is replaced" in note for note in observer.notes)
    scan(config(PATH, "slices.num=4"), "whole.h5")
    assert_same(load_surface("s.h5"), load_surface("whole.h5"))


@pytest.mark.slow
def test_a_path_that_the_config_does_not_name_any_more_is_unknown_in_the_new_slices() -> None:
    scan(config(PATH), "s.h5")
    before = load_surface("s.h5").trajectory
    scan(config(), "s.h5", more_slices=4)
    after = load_surface("s.h5").trajectory
    assert before is not None
    assert after is not None
    assert after.coordinates[:2].tobytes() == before.coordinates.tobytes()
    assert [after.is_known_in(index) for index in range(4)] == [True, True, False, False]
    for index in (0, 3):
        plot(load_surface("s.h5"), f"{index}.svg", slice_index=index)
        assert ("path of 3 checkpoints" in Path(f"{index}.svg").read_text()) == (index == 0)
    scan(config(PATH), "s.h5")
    scan(config(PATH, "slices.num=4"), "whole.h5")
    assert_same(load_surface("s.h5"), load_surface("whole.h5"))


MAP = "curvature: {num_examples: 8, measures: [gradient], map: {max_products: 5}}\n"


@pytest.mark.slow
def test_a_map_grows_with_its_grid() -> None:
    scan(config(MAP), "s.h5")
    before = load_surface("s.h5").curvature_map
    scan(config(), "s.h5", more_slices=3)  # the map is not asked for, and waits
    waiting = load_surface("s.h5").curvature_map
    assert before is not None
    assert waiting is not None
    assert (waiting.num_evaluated, waiting.grid.num_points) == (18, 27)
    assert first_slices(waiting, 2) == first_slices(before, 2)
    observer = Listening()
    scan(config(MAP), "s.h5", observer=observer)
    assert not any("measured with other settings" in note for note in observer.notes)
    scan(config(MAP, "slices.num=3"), "whole.h5")
    found, whole = load_surface("s.h5"), load_surface("whole.h5")
    assert_same(found, whole)
    assert found.curvature is not None
    assert whole.curvature is not None
    assert found.curvature.records["map"].cost == whole.curvature.records["map"].cost


CURVATURE = "curvature: {precision: float64, measures: [gradient, {_target_: slice_curvature, slices: 3}]}\n"


@pytest.mark.slow
def test_the_curvature_of_the_slices_is_measured_anew_where_it_lacks_some() -> None:
    scan(config(CURVATURE), "s.h5")
    before = load_surface("s.h5")
    scan(config(), "s.h5", more_slices=4)
    left = load_surface("s.h5")
    assert left.curvature is not None
    assert left.curvature.records["slice_curvature"].values["per_slice"].shape == (2, 2)
    assert "the first 2 of 4 slices" in measured(left, "slice_curvature").note
    assert measured(left, "slice_curvature").value == measured(before, "slice_curvature").value
    observer = Listening()
    scan(config(CURVATURE), "s.h5", observer=observer)
    assert "note: measured in fewer slices before, and now anew: slice_curvature" in observer.notes
    scan(config(CURVATURE, "slices.num=4"), "whole.h5")
    found, whole = load_surface("s.h5").curvature, load_surface("whole.h5").curvature
    assert found is not None
    assert whole is not None
    assert not found.pending
    for name, record in whole.records.items():
        assert {key: value.tobytes() for key, value in found.records[name].values.items()} == {
            key: value.tobytes() for key, value in record.values.items()
        }
        assert (found.records[name].settings, found.records[name].cost) == (record.settings, record.cost)
    observer = Listening()
    scan(config(CURVATURE), "s.h5", more_slices=5, observer=observer)  # three are asked for, and there are three
    assert not any("anew" in note for note in observer.notes)
    assert_same(load_surface("s.h5"), scan(config(CURVATURE, "slices.num=5"), "five.h5"))


@pytest.mark.slow
@pytest.mark.parametrize("orthogonal", [False, True])
def test_saved_directions_grow_and_those_of_old_slices_are_read_again(
    orthogonal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from landscape_cli.compute.directions import curved

    section = {"_target_": "hessian", "num_examples": 8, "max_products": 30, "orthogonal": orthogonal}
    axes = "axes=" + json.dumps({"x": {"num": 3}, "y": {"num": 3, "direction": section}})
    saving = config("directions: save\n", axes)
    scan(saving, "s.h5", should_stop=StopAfter(20))
    before = load_file("s.h5.directions.safetensors")
    calls: list[None] = []
    eigenpair = curved.eigenpair
    monkeypatch.setattr(curved, "eigenpair", lambda *a, **k: calls.append(None) or eigenpair(*a, **k))
    scan(saving, "s.h5", more_slices=4, should_stop=StopAfter(20))
    assert len(calls) == orthogonal  # at right angles to another x it is another one, of the same eigenvector
    scan(saving, "s.h5")
    assert len(calls) == orthogonal
    after = load_file("s.h5.directions.safetensors")
    assert {key.split("/")[0] for key in after} == {"0", "1", "2", "3"}
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    scan(config("directions: save\n", axes, "slices.num=4"), "whole.h5")
    found, whole = load_surface("s.h5"), load_surface("whole.h5")
    assert_same(found, whole)
    saved = [each.provenance.resolved["found"]["directions"]["sha256"] for each in (found, whole)]  # type: ignore[index,call-overload]
    assert saved[0] == saved[1]


def test_old_slices_keep_their_directions_where_another_machine_computes_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from landscape_cli.compute.directions import curved

    section = {"_target_": "hessian", "num_examples": 8, "max_products": 30, "orthogonal": True}
    axes = "axes=" + json.dumps({"x": {"num": 3}, "y": {"num": 3, "direction": section}})
    saving = config("directions: save\n", axes)
    scan(saving, "s.h5", should_stop=StopAfter(20))
    before, norm = load_file("s.h5.directions.safetensors"), load_surface("s.h5").directions["y"].norm
    eigenpair = curved.eigenpair

    def elsewhere(*args: object, **options: object) -> object:
        found = eigenpair(*args, **options)  # type: ignore[arg-type]
        return replace(found, vector=found.vector + 1e-4)

    monkeypatch.setattr(curved, "eigenpair", elsewhere)
    assert scan(saving, "s.h5", more_slices=4).finished
    after = load_file("s.h5.directions.safetensors")
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    assert load_surface("s.h5").directions["y"].norm[:2] == norm
    scan(config("directions: save\n", axes, "slices.num=4"), "there.h5")
    there = load_file("there.h5.directions.safetensors")
    assert not torch.equal(after["1/y/4.weight"], there["1/y/4.weight"])
    assert torch.equal(after["3/y/4.weight"], there["3/y/4.weight"])


def test_a_range_that_was_found_is_kept() -> None:
    span = ("axes={x: {span: {rise: 0.3}, num: 5}}", "slices.num=1")
    scan(config("", *span), "s.h5")
    before = load_surface("s.h5")
    scan(config("", *span), "s.h5", more_slices=3)
    after = load_surface("s.h5")
    assert after.grid == Grid(before.grid.axes, 3)
    assert first_slices(after, 1) == first_slices(before, 1)
    assert after.complete
    values = ", ".join(map(repr, before.grid.axes[0].coordinates))
    plain = scan(config("", f"axes={{x: {{values: [{values}]}}}}", "slices.num=3"), "plain.h5")
    assert contents(after) == contents(plain)


# ---------------------------------------------------------------- grow


def surface(num_slices: int, axes: tuple[int, ...], seed: int, *, empty: bool = False) -> Surface:
    """Random numbers at random points, of a scan that is called by its number of slices."""
    generator = np.random.default_rng(seed)
    grid = Grid(tuple(Axis.linspace(name, -1, 1, num) for name, num in zip("xyz", axes, strict=False)), num_slices)
    made = Surface.empty(
        grid,
        centre={"a_loss": (1.0, 0.5)},
        num_examples={"a_loss": 9},
        directions={axis.name: Direction({}, tuple(generator.random(num_slices).tolist())) for axis in grid.axes},
        fingerprint=str(num_slices),
        provenance=Provenance(resolved={"slices": {"num": num_slices}}, identity={"slices": {"num": num_slices}}),
    )
    made.cosine = generator.random((num_slices, len(axes), len(axes))) if len(axes) > 1 else None
    for point in () if empty else np.flatnonzero(generator.random(grid.num_points) < 0.6).tolist():
        made.update(point, {"a_loss": (float(generator.random()), float(generator.random()))})
    return made


@given(
    num=st.integers(1, 4),
    more=st.integers(0, 4),
    axes=st.lists(st.integers(2, 4), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 99),
    with_radius=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_what_was_there_is_kept_and_only_the_new_slices_are_pending(
    num: int, more: int, axes: tuple[int, ...], seed: int, with_radius: bool
) -> None:
    existing, wanted = surface(num, axes, seed), surface(num + more, axes, seed + 1, empty=True)
    existing.trajectory = Trajectory(("p",), np.ones((num, 1, len(axes))), np.ones((num, 1)), np.ones(1), np.ones(1))
    if with_radius:
        existing.radius, wanted.radius = surface(2, (3,), seed), surface(3, (3,), seed, empty=True)
    before, pending = contents(existing), existing.pending()
    grown = grow(existing, wanted, None)
    assert (grown is existing) == (more == 0 and not with_radius)
    assert contents(existing) == before  # it is not changed
    assert (grown.grid, grown.fingerprint) == (wanted.grid, wanted.fingerprint)
    assert first_slices(grown, num) == first_slices(existing, num)
    assert grown.evaluated[:num].tobytes() == existing.evaluated.tobytes()
    assert not grown.evaluated[num:].any()
    assert np.isnan(grown["a_loss"][num:]).all()
    assert len(grown.pending()) == len(pending) + more * (grown.grid.num_points // grown.grid.num_slices)
    assert grown.directions["x"].norm == existing.directions["x"].norm + wanted.directions["x"].norm[num:]
    if existing.cosine is not None and grown.cosine is not None:
        assert grown.cosine.shape[0] == num + more
        assert grown.cosine[:num].tobytes() == existing.cosine.tobytes()
    assert grown.trajectory is not None
    assert np.isnan(grown.trajectory.coordinates[num:]).all()
    assert grown.provenance.resolved["slices"] == {"num": num + more}
    if with_radius:
        assert part_of(grown, "radius").grid.num_slices == 3
        assert part_of(existing, "radius").grid.num_slices == 2


def test_a_map_of_an_unknown_scan_is_not_taken_for_that_of_the_grown_one() -> None:
    existing, wanted = surface(1, (3, 3), 0), surface(2, (3, 3), 0, empty=True)
    existing.curvature_map = replace(surface(1, (3, 3), 1), fingerprint="of another program")
    grown = grow(existing, wanted)
    assert grown.curvature_map is not None
    assert (grown.curvature_map.grid, grown.curvature_map.fingerprint) == (wanted.grid, "")


# ---------------------------------------------------------------- the command


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "landscape_cli", "scan", *words]


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.alone
def test_the_same_command_finishes_what_it_began_and_then_says_that_it_is_complete(landscape: Landscape) -> None:
    scan(config(RADIUS), "s.h5")
    before = Path("s.h5").read_bytes()
    more = ("c.yaml", "-o", "s.h5", "--more-slices", "40")
    dry = landscape("scan", *more, "--dry-run")
    assert (dry.exit_code, Path("s.h5").read_bytes()) == (0, before)
    assert "the radius grows from 3 to 40 slices" in dry.stderr
    assert re.search(r"radius +40 directions, 148 points to do", dry.stderr)
    stopped = process(*more, "--time-budget", "1ms")
    assert stopped.returncode == 75
    assert load_surface("s.h5").radius.grid.num_slices == 40  # type: ignore[union-attr]
    done = process(*more, "--json")
    assert (done.returncode, json.loads(done.stdout)["num_computed"]) == (0, 148)
    again = landscape("scan", *more)
    assert (again.exit_code, "complete; 0 points computed" in again.stderr) == (0, True)
    assert_same(load_surface("s.h5"), from_the_start("radius", 40))


@contextlib.contextmanager
def growing(part: str, after_points: int) -> Iterator[subprocess.Popen[str]]:
    """A process that lets a file grow, and has finished at least so many points of the new slices."""
    before = part_of(load_surface("s.h5"), part).num_evaluated
    words = command("c.yaml", "-o", "s.h5", "--more-slices", "20")
    pause = threading.Event()
    with subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as running:
        while part_of(load_surface("s.h5"), part).num_evaluated < before + after_points:
            assert running.poll() is None, running.communicate()
            pause.wait(0.005)
        yield running
        if running.poll() is None:
            running.kill()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -9)])
@pytest.mark.slow
def test_a_process_that_is_ended_while_a_file_grows_leaves_a_file_that_goes_on(
    landscape: Landscape, part: str, number: signal.Signals, exit_code: int
) -> None:
    config(PARTS[part][0])
    slow = (BASE + PARTS[part][0]).replace("seconds: 0.0", "seconds: 0.006").replace("processes: 1", "processes: 2")
    Path("c.yaml").write_text(slow)
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    with growing(part, after_points=4) as running:
        running.send_signal(number)
        running.communicate(timeout=60)
    assert running.returncode == exit_code
    left = part_of(load_surface("s.h5"), part)
    assert left.grid.num_slices == 20
    assert not left.complete
    Path("c.yaml").write_text(slow.replace("seconds: 0.006", "seconds: 0.0"))
    refused = landscape("scan", "c.yaml", "-o", "s.h5")  # the model has another argument: another scan
    assert (refused.exit_code, "model.seconds: 0.006 → 0.0" in refused.stderr) == (3, True)
    assert "slices" not in refused.stderr
    Path("c.yaml").write_text(slow)
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    assert landscape("scan", "c.yaml", "-o", "whole.h5", "--more-slices", "20").exit_code == 0
    assert_same(load_surface("s.h5"), load_surface("whole.h5"))


@pytest.mark.slow
def test_every_file_of_a_series_grows(landscape: Landscape) -> None:
    config(RADIUS)
    series = ("scan", "c.yaml", "--checkpoint", "a.pt", "b.pt", "-o", "{stem}.h5")
    assert landscape("scan", "c.yaml", "-o", "a.h5").exit_code == 0  # b is new
    outcome = landscape(*series, "--more-slices", "5", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert [each["radius"]["num_evaluated"] for each in json.loads(outcome.stdout)["scans"]] == [20, 20]
    assert landscape(*series).exit_code == 0
    assert_same(load_surface("a.h5"), from_the_start("radius", 5))


def test_the_help_says_that_the_number_is_of_all(landscape: Landscape) -> None:
    shown = " ".join(re.sub("[│╭╮╰╯]", " ", landscape("scan", "--help").stdout).split())
    assert re.search(r"--more-slices +TOTAL +How many slices there shall be in all", shown)


@pytest.mark.parametrize("total", ["0", "-1", "8001", "many"])
def test_a_wrong_number_ends_with_exit_code_2(landscape: Landscape, total: str) -> None:
    config()
    outcome = landscape("scan", "c.yaml", "-o", "s.h5", f"--more-slices={total}")
    assert outcome.exit_code == 2
    assert "--more-slices" in outcome.stderr
    assert not Path("s.h5").exists()
