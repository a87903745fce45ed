"""The simulation of joint scans against what can be said without it: arithmetic, and a look at everything it did."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_cli.storage import save_surface

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from scripts import scale_tables, simulate_scale
from scripts.scale_costs import BYTES_PER_POINT, METRICS, Costs, Curve, grid_of, half_filled
from scripts.scale_files import CHANGES_PER_MERGED, CHANGES_PER_SAVE, Filesystem, Shared, merge, stored
from scripts.scale_protocol import HEAD, OPERATIONS_PER_TURN, Outcome, Scenario, simulate

PAGE, FIGURES = simulate_scale.PAGE, simulate_scale.FIGURES
FREE, NO_TIME = Costs.nothing(), Filesystem.nothing()
# 1 s for each point, 1 point at a time
EVEN = Scenario(num_points=1, num_workers=1, points_per_unit=1, spread=0.0)


def free(**changes: Any) -> Outcome:
    return simulate(replace(EVEN, **changes), FREE, NO_TIME, trace=True)


# ---------------------------------------------------------------- time


@given(num_points=st.integers(1, 60), num_workers=st.integers(1, 9), sweep=st.booleans())
@settings(deadline=None, max_examples=60)
def test_equal_points_take_their_share_of_the_time_and_none_is_computed_twice(num_points, num_workers, sweep):
    found = free(num_points=num_points, num_workers=num_workers, sweep=sweep)
    assert found.makespan == -(-num_points // num_workers)
    assert (found.twice, found.lost, found.missing, found.failures) == (0, 0, 0, 0)
    assert sorted(each.unit for each in found.trace) == list(range(num_points))


@pytest.mark.parametrize("order", ["strides", "blocks"])
def test_units_are_divided_as_the_order_says(order):
    found = free(num_points=11, num_workers=3, order=order)
    shares = [[each.unit for each in found.trace if each.worker == worker] for worker in range(3)]
    strides = [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert shares == (strides if order == "strides" else [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]])


def test_strides_leave_the_first_half_of_the_order_at_half_time_and_blocks_the_first_half_of_a_block():
    assert free(num_points=64, num_workers=8).head_at_half == 0.5
    assert free(num_points=64, num_workers=8, order="blocks").head_at_half == 0.5 / 8


def test_points_of_random_times_take_their_mean():
    """100 units of 4 points for one worker: the mean is known to σ / √100."""
    means = [
        free(num_points=400, num_workers=1, points_per_unit=4, spread=0.3, seed=k).makespan / 400 for k in range(20)
    ]
    assert np.mean(means) == pytest.approx(1, abs=4 * 0.3 / math.sqrt(100 * 20))


def test_a_grid_that_is_no_multiple_of_a_unit_has_a_smaller_last_unit():
    found = free(num_points=10, num_workers=1, points_per_unit=4)
    assert found.makespan == 10
    assert [each.end - each.start for each in found.trace] == [4, 4, 2]


# ---------------------------------------------------------------- stragglers, failures


@pytest.mark.parametrize("factor", [2.0, 5.0, 20.0])
def test_a_straggler_holds_a_scan_up_less_with_sweep(factor):
    scan = {"num_points": 200, "num_workers": 10, "slow_share": 0.1, "slow_factor": factor}
    without, with_sweep = free(**scan, sweep=False), free(**scan)
    assert without.makespan == 20 * factor
    assert with_sweep.makespan < without.makespan
    # what is left to the straggler when the others are done, and what it is at
    assert with_sweep.makespan <= 20 + (HEAD + 1) * factor
    assert with_sweep.makespan >= 200 / (9 + 1 / factor)


def test_what_a_dead_worker_has_left_is_done_by_the_others():
    """Worker k dies at its first failure for ever; one that never fails is not needed: the last one alive suffices."""
    found = [
        free(num_points=120, num_workers=4, hours_between_failures=60 / 3600, restart_after=math.inf, seed=seed)
        for seed in range(30)
    ]
    done = [each for each in found if not each.missing and 0 < each.failures < 4]
    assert len(done) > 5
    for each in done:
        assert {unit.unit for unit in each.trace if math.isfinite(unit.saved)} == set(range(120))
        strangers = [unit for unit in each.trace if unit.unit % 4 != unit.worker and math.isfinite(unit.saved)]
        assert strangers
    for each in found:
        if each.missing:
            assert each.failures == 4
            assert math.isinf(each.makespan)


def test_without_sweep_the_points_of_a_dead_worker_are_missing():
    scan = {"num_points": 120, "num_workers": 4, "hours_between_failures": 60 / 3600, "restart_after": math.inf}
    found = free(**scan, sweep=False, seed=1)
    assert found.failures > 0
    saved = {unit.unit for unit in found.trace if math.isfinite(unit.saved)}
    assert found.missing == 120 - len(saved) > 0
    assert found.merge is None


def check(found: Outcome, num_points: int, points_per_unit: int) -> None:
    """What must be true of every scan that comes to its end, from the list of everything that was computed."""
    sizes = {
        unit: min(points_per_unit, num_points - unit * points_per_unit)
        for unit in range(-(-num_points // points_per_unit))
    }
    saved = [each for each in found.trace if math.isfinite(each.saved)]
    assert {each.unit for each in saved} == set(sizes)
    assert found.missing == 0
    first = {unit: min(each.saved for each in saved if each.unit == unit) for unit in sizes}
    assert found.filled == max(first.values())
    assert found.seen >= found.filled
    assert all(each.saved >= each.end > each.start for each in saved)
    for worker in {each.worker for each in found.trace}:
        mine = sorted((each.start, each.end) for each in found.trace if each.worker == worker)
        assert all(one[1] <= other[0] + 1e-9 for one, other in itertools.pairwise(mine))
    computed = sum(sizes[each.unit] for each in found.trace)
    assert computed == num_points + found.twice + found.lost
    assert found.twice >= 0


@given(
    num_points=st.integers(1, 80),
    num_workers=st.integers(1, 6),
    points_per_unit=st.integers(1, 5),
    mean_life=st.floats(10, 200),
    restart_after=st.floats(0, 50),
    slow_share=st.sampled_from([0.0, 0.5]),
    reads=st.sampled_from(["all", "sweepers"]),
    group=st.sampled_from([None, 2]),
    preempted_share=st.sampled_from([0.0, 0.5, 1.0]),
    back_after=st.floats(0, 50),
    save_every=st.sampled_from([1.0, 7.0]),
    costly=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=150)
def test_every_point_is_in_a_part_at_the_end_whoever_fails_and_comes_back(
    num_points, num_workers, points_per_unit, mean_life, save_every, costly, **trouble
):
    scenario = Scenario(
        num_points,
        num_workers,
        points_per_unit,
        seconds_per_point=0.5,
        hours_between_failures=mean_life / 3600,
        save_every=save_every,
        **trouble,
    )
    costs = (
        replace(FREE, image=Curve.line(0.05, 0.001), load=Curve.line(0.01, 0.0), size=Curve.line(100, 10))
        if costly
        else FREE
    )
    files = Filesystem("slow", 1e4, 2e3, 50.0, 500.0, 100.0) if costly else NO_TIME
    check(simulate(scenario, costs, files, trace=True), num_points, points_per_unit)


def test_pre_empted_workers_save_what_is_finished():
    """Units of 4 s; at 10 s the one under way is lost, and half of it was done."""
    found = free(
        num_points=40, num_workers=1, points_per_unit=4, preempted_share=1.0, preempted_at=0.25, back_after=100.0
    )
    assert found.lost == 0
    assert found.lost_seconds == 2
    assert found.makespan == 10 + 100 + 32


def test_a_killed_worker_loses_what_it_has_not_saved():
    """A save takes longer than the time of grace."""
    slow = replace(FREE, image=Curve.line(1000.0, 0.0))
    scenario = replace(
        EVEN, num_points=4000, preempted_share=1.0, preempted_at=0.75, back_after=math.inf, save_every=1500
    )
    found = simulate(scenario, slow, NO_TIME)  # a first save until 1000 s; then 5 times as long for points
    assert found.lost == 3000 - 1000
    assert found.lost_seconds == 2000
    assert found.missing == 4000


def test_the_same_seed_gives_the_same_scan():
    scenario = Scenario(300, 5, 2, hours_between_failures=0.02, slow_share=0.2)
    one, same = (simulate(scenario, FREE, NO_TIME, trace=True) for _ in range(2))
    assert one.trace == same.trace
    assert one.trace != simulate(replace(scenario, seed=1), FREE, NO_TIME, trace=True).trace


# ---------------------------------------------------------------- saves, bytes, operations


def test_bytes_written_are_the_number_of_saves_times_the_size_of_a_part():
    """One empty save and one for each point, which takes longer than the time between saves; a file at the end."""
    costs = replace(FREE, size=Curve.line(1000.0, BYTES_PER_POINT))
    found = simulate(replace(EVEN, num_points=12, num_workers=3, sweep=False), costs, NO_TIME)
    dense = 1000 + 12 * BYTES_PER_POINT
    assert found.saves == 3 + 12
    assert found.bytes_written == (15 + 3) * dense
    assert found.bytes_read == (3 + 6) * dense  # the file with the plan; the part, and what was made of it
    assert found.part_bytes == 3 * dense
    operations = 15 * CHANGES_PER_SAVE + 3 * (CHANGES_PER_SAVE + CHANGES_PER_MERGED)
    assert found.changes == operations + 3 * 4  # a heartbeat a second of three for four seconds
    assert found.parts == [3] * 11


def test_sparse_parts_grow_with_what_is_done():
    costs = replace(FREE, size=Curve.line(1000.0, BYTES_PER_POINT))
    found = simulate(replace(EVEN, num_points=12, num_workers=3, layout="sparse"), costs, NO_TIME)
    sizes = [1000 + done * (BYTES_PER_POINT - 1 + 8) for done in range(5)]
    assert found.bytes_written == pytest.approx(3 * sum(sizes))
    assert found.part_bytes == pytest.approx(3 * sizes[-1])


def test_saving_takes_a_sixth_of_the_time():
    """A save of 2 s, 10 s of points, …; the empty part first, and a file of its own at the end."""
    slow = replace(FREE, image=Curve.line(2.0, 0.0))
    found = simulate(replace(EVEN, num_points=100, sweep=False), slow, NO_TIME)
    assert found.saves == 1 + 10
    assert found.seen == 2 + 100 * 6 / 5 + 2


def test_everybody_reads_every_part_when_he_is_done_and_with_looks_from_the_start_before():
    """Three workers end one after the other in the same moment: each looks, and only the last one sees all points."""
    costs = replace(FREE, size=Curve.line(0.0, 10.0))
    every, sweepers = (
        simulate(replace(EVEN, num_points=12, num_workers=3, reads=reads), costs, NO_TIME)
        for reads in ("all", "sweepers")
    )
    plan, part, num_looks = 3 * 120, 120, 3
    assert sweepers.bytes_read == plan + num_looks * 2 * part
    assert sweepers.bytes_read < every.bytes_read <= plan + (4 * 3 + num_looks) * 2 * part  # after each point once more
    assert every.twice == sweepers.twice == 0


def test_looks_take_a_twenty_first_of_the_time():
    """The parts of nobody else: a look costs what the list of units takes. 3 s, then 60 s of points, …"""
    files = replace(NO_TIME, operations_of_one=1.0)
    scenario = replace(EVEN, num_points=600, layout="sparse", save_every=1e6)
    found = simulate(scenario, FREE, files)
    # the turn and its operations, the empty part, a point; ten looks among the points and one behind; the last save
    start, save, look = 2 * OPERATIONS_PER_TURN, CHANGES_PER_SAVE, 2 + 1
    assert found.looks == 1 + 599 // (20 * look) + 1
    assert found.seen == start + 2 * save + 600 + found.looks * look


def test_a_server_divides_its_rate_among_those_who_wait():
    server = Shared(rate=10.0, rate_of_one=4.0)
    for who in range(5):
        server.add(0.0, 6.0, who, 0)
    assert server.due == 3.0  # 30 units at 10 a second
    assert [server.pop()[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert server.due == math.inf
    server.add(10.0, 6.0, 7, 0)
    assert server.due == 11.5  # one alone gets 4 a second
    server.add(11.0, 1.0, 8, 0)
    assert server.due == 11.25
    assert server.pop()[0] == 8
    assert server.due == 11.5
    server.pop()
    assert server.served == pytest.approx(5 * 6 + 6 + 1)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 30)), min_size=1, max_size=8))
@settings(deadline=None)
def test_a_server_in_virtual_time_serves_as_small_steps_do(arrivals):
    """Against Euler steps of 1/1000 s."""
    server, ends, rate, of_one = Shared(6.0, 2.0), {}, 6.0, 2.0
    events = sorted((time, who, amount) for who, (time, amount) in enumerate(arrivals))
    for time, who, amount in events:
        while server.due <= time:
            due = server.due
            ends[server.pop()[0]] = due
        server.add(time, amount, who, 0)
    while server.due < math.inf:
        due = server.due
        ends[server.pop()[0]] = due
    step, left, found, now = 1e-2, {}, {}, 0.0
    waiting = list(events)
    while waiting or left:
        while waiting and waiting[0][0] <= now:
            _, who, amount = waiting.pop(0)
            left[who] = amount
        each = min(of_one, rate / len(left)) if left else 0.0
        now += step
        for who in list(left):
            left[who] -= each * step
            if left[who] <= 0:
                found[who] = now
                del left[who]
    assert {who: pytest.approx(end, abs=0.05 * len(arrivals)) for who, end in found.items()} == ends


# ---------------------------------------------------------------- files


def test_files_are_as_long_as_the_formula_says(tmp_path):
    """33 bytes for each point with two metrics, 8 for each coordinate, and what does not depend on the grid."""
    lengths = {}
    for side, slices in [(20, 1), (40, 1), (40, 3)]:
        path = tmp_path / f"{side}-{slices}.h5"
        save_surface(half_filled(grid_of(side, slices)), path)
        lengths[side, slices] = path.stat().st_size
    assert len(METRICS) == 2
    assert BYTES_PER_POINT == 33
    grown = lengths[40, 1] - lengths[20, 1], lengths[40, 3] - lengths[40, 1]
    assert grown[0] == pytest.approx(33 * 1200 + 8 * 2 * 20, abs=600)  # HDF5 aligns blocks
    assert grown[1] == pytest.approx(33 * 3200, abs=600)


def test_a_curve_goes_through_what_was_measured():
    curve = Curve.through([10, 100, 1000], [3.0, 12.0, 200.0])
    assert [curve(size) for size in (10, 100, 1000)] == [3, 12, 200]
    assert (curve(0), curve(55), curve(2000)) == (2, 7.5, 400)
    assert Curve.through([10, 20], [1.0, 5.0])(0) == 0
    assert Curve.line(5.0, 2.0)(7) == 19


def test_parts_are_as_large_as_what_they_hold():
    assert stored("dense", 1000, 100, 3, 5) == 1000
    assert stored("own", 1000, 100, 3, 0) == 100
    assert stored("own", 1000, 100, 3, 33) == 100 + 40
    assert stored("sparse", 1000, 100, 60, 6) * BYTES_PER_POINT == pytest.approx(66 * 40)


@pytest.mark.parametrize(("fan_in", "levels"), [(2, 6), (4, 3), (8, 2), (64, 1), (None, 1)])
def test_merging_equal_parts_takes_the_reads_of_every_level(fan_in, levels):
    """64 dense parts of 100 bytes, 10 bytes a second for each process: 10 s to read one, 2 to load it, 10 to write."""
    costs = replace(FREE, size=Curve.line(100.0, 0.0), load=Curve.line(2.0, 0.0), unite=Curve.line(0.5, 0.0))
    costs = replace(costs, memory={"save": 70.0, "load": 30.0})
    files = replace(NO_TIME, bandwidth_of_one=10.0)
    found = merge([5.0] * 64, 5, "dense", costs, files, fan_in=fan_in, processes=64)
    inputs = fan_in or 64
    assert found.levels == levels
    assert found.seconds == levels * (inputs * (10 + 2 + 0.5) + 10 + (10 + 2 + 0.5))  # each is read back and compared
    written = sum(64 // inputs**level for level in range(1, levels + 1))
    assert found.num_bytes == 100 * (sum(64 // inputs**level for level in range(levels)) + 2 * written)
    assert found.memory == 5 * 70


def test_a_tree_waits_for_the_bandwidth_of_all_and_for_processes():
    costs = replace(FREE, size=Curve.line(100.0, 0.0))
    narrow = replace(NO_TIME, bandwidth=20.0, bandwidth_of_one=20.0)
    found = merge([5.0] * 4, 5, "dense", costs, narrow, fan_in=2, processes=4)
    assert found.seconds == (2 * 10 + 2 * 10) + (2 * 5 + 2 * 5)  # two at once get half of it
    alone = merge([5.0] * 4, 5, "dense", costs, narrow, fan_in=2, processes=1)
    assert alone.seconds == 3 * (2 * 5 + 2 * 5)


# ---------------------------------------------------------------- the script and its page


def test_the_quick_study_runs_and_its_tables_say_what_its_figures_say(tmp_path):
    file = tmp_path / "figures.json"
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "simulate_scale.py"), "--quick", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    report = json.loads(file.read_text())
    assert set(report) >= {"measured", "checked", "machine", "files", "on_paper", "as_it_is", "ways", "trouble"}
    for make in scale_tables.TABLES.values():
        assert make(report) in result.stdout
    for each in [*report["as_it_is"], *report["ways"], *itertools.chain(*report["trouble"].values())]:
        assert each["makespan"] is None or each["makespan"] >= each["ideal"] * 0.9  # the mean of few random times
        assert each["missing"] == 0 or each["makespan"] is None


@pytest.fixture(scope="module")
def report() -> Any:
    return json.loads(FIGURES.read_text())


def test_the_tables_of_the_page_are_those_of_the_figures(report):
    text = PAGE.read_text()
    assert scale_tables.with_tables(text, report) == text
    assert all(f"<!-- table: {name} -->" in text for name in scale_tables.TABLES)


def test_the_figures_are_those_of_the_scan_that_the_page_is_about(report):
    assert report["scan"] == {"side": 1001, "slices": 100, "points": 1001 * 1001 * 100, "workers": 10_000}
    assert Costs.from_json(report["measured"]).size.beyond == BYTES_PER_POINT
    assert report["files"] == [asdict(simulate_scale.PARALLEL), asdict(simulate_scale.SERVER)]
    by_name = {each["name"]: each for each in report["ways"]}
    assert by_name["as it is"]["part_bytes"] == pytest.approx(10_000 * 33 * 1001 * 1001 * 100, rel=1e-3)
    assert by_name["as it is"]["ratio"] > 10
    best = min(by_name.values(), key=lambda each: each["ratio"])
    assert best["ratio"] < 1.2
