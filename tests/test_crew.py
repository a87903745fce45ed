"""What each of several processes knows of the others, at every moment at which they can meet."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_scan import contents
from test_union import bowl, portion, save_part

from landscape_cli import load_surface, save_surface
from landscape_cli.compute.crew import Crew, OvertakenError, beside_points
from landscape_cli.compute.data import Batches
from landscape_cli.compute.once_per_node import _machine, decode_once_per_node
from landscape_cli.compute.units import Units
from landscape_cli.errors import ResumeMismatchError
from landscape_cli.locks import turn
from landscape_cli.share import Share
from landscape_cli.surface import Surface
from landscape_cli.union import load_part, merge, parts_of

HALF = np.arange(30).reshape(2, 5, 3) % 2 == 0


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "s.h5"


def crew_of(output: Path, rank: int = 1) -> Crew:
    return Crew(Share(rank, 2), output, sweeps=True, should_stop=lambda: False)


@contextmanager
def joined(output: Path, rank: int = 1) -> Iterator[tuple[Crew, Surface]]:
    """One of two that goes on with the file as it is, and what it knows."""
    with crew_of(output, rank) as crew:
        view = crew.existing()
        assert view is not None
        crew.found(view, before=beside_points(view))
        yield crew, view


def compute(crew: Crew, points: Iterable[int]) -> None:
    """Evaluate points and save them."""
    metric = bowl().metrics["train_loss"]
    for point in points:
        crew.enter("points", point, {"train_loss": (float(metric.values.flat[point]), float(metric.std.flat[point]))})
    save_surface(crew.own, crew.part)


def test_what_is_merged_while_a_process_prepares_is_not_missed(output: Path) -> None:
    save_surface(portion(bowl(), False), output)
    with crew_of(output) as crew:
        view = crew.existing()
        assert view is not None
        assert view.num_evaluated == 0
        save_part(portion(bowl(), HALF), output)
        merge(parts_of(output), output)  # as another process does that begins
        crew.found(view, before=beside_points(view))
        assert crew.look(always=True)
        assert contents(view) == contents(portion(bowl(), HALF))


def test_a_file_that_was_changed_into_another_one_is_not_to_be_removed(output: Path) -> None:
    """As by a process that was started with more slices."""
    save_surface(portion(bowl(), False), output)
    with joined(output) as (crew, _):
        save_surface(replace(bowl(), fingerprint="more"), output)
        with pytest.raises(ResumeMismatchError, match="Another process has changed it") as error:
            crew.look(always=True)
        assert "Run the command again" in str(error.value.hint)


def test_nobody_waits_for_a_turn_to_merge_what_is_in_the_file(output: Path) -> None:
    """Another process holds the turn while it measures the curvature."""
    save_surface(portion(bowl(), False), output)
    with joined(output) as (crew, _):
        compute(crew, [0])
        save_surface(bowl(), output)
        assert crew.look(always=True)
        left = iter([False] * 3)
        with turn(output, lambda: False), crew.concluding(lambda: next(left, True)) as merged:
            assert merged is None
            assert not crew.part.exists()


def test_nobody_leaves_before_its_points_are_in_the_file(output: Path) -> None:
    """A part that is gone may only be set aside, and come back when the merge fails."""
    save_surface(portion(bowl(), False), output)
    with joined(output) as (crew, _):
        compute(crew, range(30))
        aside = crew.part.with_name(f"{crew.part.name}.merging")
        crew.part.rename(aside)  # as a merge does first
        left = iter([False] * 3)
        with turn(output, lambda: False), crew.concluding(lambda: next(left, True)) as merged:
            assert merged is None
        assert next(left, "asked to the end") == "asked to the end"
        aside.rename(crew.part)  # it has failed
        assert crew.part.exists()
        with crew.concluding(lambda: False) as merged:
            assert merged is not None
            assert merged.complete
    assert parts_of(output) == []


def test_who_changes_the_file_takes_what_others_have_finished_meanwhile(output: Path) -> None:
    """It would be overtaken again and again else, for as long as anybody computes."""
    save_surface(portion(bowl(), False), output)
    with joined(output, 0) as (busy, _), crew_of(output) as late:
        compute(busy, range(10))
        view = late.existing()
        assert view is not None
        compute(busy, range(10, 15))
        before = beside_points(view)
        view.provenance = replace(view.provenance, engine={"engine": "other"})
        late.found(view, before=before)
        assert view.num_evaluated == 15
        file = load_surface(output)
        assert (file.num_evaluated, file.provenance.engine) == (15, {"engine": "other"})


def test_who_finds_the_file_changed_into_another_one_looks_at_it_again(output: Path) -> None:
    save_surface(portion(bowl(), False), output)
    with crew_of(output) as late:
        view = late.existing()
        assert view is not None
        before = beside_points(view)
        view.provenance = replace(view.provenance, engine={"engine": "mine"})
        theirs = portion(bowl(), HALF)
        theirs.provenance = replace(theirs.provenance, engine={"engine": "theirs"})
        save_surface(theirs, output)
        with pytest.raises(OvertakenError):
            late.found(view, before=before)
        assert contents(load_surface(output)) == contents(theirs)


def test_a_file_that_is_seen_late_is_not_founded_again(output: Path) -> None:
    """As on NFS, where another machine still says for seconds that there is none."""
    with crew_of(output) as late:
        assert late.existing() is None
        save_surface(portion(bowl(), HALF), output)
        with pytest.raises(OvertakenError):
            late.found(portion(bowl(), False), before=None)
        assert load_surface(output).num_evaluated == 15


@pytest.mark.parametrize("rank", [0, 1])
def test_who_comes_late_does_not_wait_for_who_has_the_turn(output: Path, rank: int) -> None:
    """It may be measuring curvature for hours."""
    save_surface(portion(bowl(), False), output)
    save_part(portion(bowl(), HALF), output)
    stops = iter([False] * 3)
    crew = Crew(Share(rank, 2), output, sweeps=True, should_stop=lambda: next(stops, True))
    with turn(output, lambda: False), crew:
        view = crew.existing()
        assert view is not None
        assert view.num_evaluated == 15


def test_a_part_that_was_only_set_aside_is_read_later(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_surface(portion(bowl(), False), output)
    with joined(output) as (crew, view):
        part = save_part(bowl(), output)
        aside = part.with_name(f"{part.name}.merging")

        def missed(path: Path) -> Surface | None:
            monkeypatch.undo()
            path.rename(aside)
            found = load_part(path)
            aside.rename(path)
            return found

        monkeypatch.setattr("landscape_cli.compute.crew.load_part", missed)
        assert not crew.look(always=True)
        assert crew.look(always=True)
        assert view.complete


def test_one_whose_part_is_merged_still_counts_as_alive(output: Path) -> None:
    save_surface(portion(bowl(), False), output)
    with joined(output, 0) as (slow, _), joined(output) as (quick, view):
        compute(slow, [0])
        units = Units(view, 1)
        assert quick.look(always=True)
        assert quick.shares_alive() == [(0, 2)]
        merge(parts_of(output), output)  # as rank 0 does when it starts again
        slow.beat()
        quick.look(always=True)
        assert quick.shares_alive() == [(0, 2)]
        own = [point for unit in quick.own_units(units) for point in units.points(unit)]
        compute(quick, own)
        view.evaluated.flat[own] = True
        assert quick.sweep(units, len(units), len(units)) == []  # the other one has the rest under way


def test_a_file_that_nfs_has_replaced_is_there_later(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_surface(portion(bowl(), False), output)
    with joined(output) as (crew, view):
        part, stat = save_part(bowl(), output), Path.stat

        def stale(path: Path, **options: bool) -> os.stat_result:
            if path == part:
                raise OSError(errno.ESTALE, "Stale file handle")
            return stat(path, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", stale)
            assert not crew.look(always=True)
        assert crew.look(always=True)
        assert view.complete


def test_what_other_machines_keep_in_a_common_folder_stays(tmp_path: Path) -> None:
    """The number of a process says nothing there."""
    folder = tmp_path / f"landscape-{os.getuid()}"
    folder.mkdir(mode=0o700)
    theirs, old = folder / "1-1-00000000-train-x.pt", folder / f"{2**22 + 1}-1-{_machine()}-train-x.pt"
    for path in (theirs, old):
        path.write_bytes(b"")
    data = Batches(torch.ones(4, 2), torch.zeros(4), None, "f")
    decode_once_per_node(lambda: data, Share(0, 2, 0, 2), tmp_path, "train", "recipe")
    assert theirs.exists()
    assert not old.exists()


def test_another_recipe_under_the_same_launcher_gives_other_data(tmp_path: Path) -> None:
    """As in a program that scans twice and was restarted in between, so that the first file has not been removed."""

    def data(value: float) -> Batches:
        return Batches(torch.full((4, 2), value), torch.zeros(4), None, f"{value}")

    share = Share(0, 2, 0, 2)
    for value in (1.0, 2.0):
        found = decode_once_per_node(lambda value=value: data(value), share, tmp_path, "train", f"value: {value}")
        assert found.fingerprint == f"{value}"
        assert torch.equal(found.columns[0], data(value).columns[0])


def test_one_that_lives_but_does_not_get_on_is_not_waited_for_for_ever(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landscape_cli.compute.crew._BEATS_UNTIL_DEAD", 1)
    save_surface(portion(bowl(), False), output)
    stuck = save_part(portion(bowl(), False), output)
    stuck = stuck.rename(stuck.with_name(stuck.name.replace("-0000-of-0008-", "-0000-of-0001-")))
    with joined(output) as (crew, view):
        units = Units(view, 1)
        assert crew.sweep(units, len(units), len(units)) == []  # the other one has them all under way
        wanted = None
        while not wanted:
            os.utime(stuck, ns=(time.time_ns(), stuck.stat().st_mtime_ns))
            wanted = crew.sweep(units, len(units), len(units))
        assert set(wanted) <= set(range(len(units)))
