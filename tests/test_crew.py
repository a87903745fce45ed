"""What each of several processes knows of the others, at every moment at which they can meet."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_scan import contents
from test_union import bowl, portion, save_part

from landscape_cli import save_surface
from landscape_cli.compute.crew import Crew
from landscape_cli.compute.data import Batches
from landscape_cli.compute.once_per_node import decode_once_per_node
from landscape_cli.compute.units import Units
from landscape_cli.errors import ResumeMismatchError
from landscape_cli.locks import turn
from landscape_cli.share import Share
from landscape_cli.union import merge, parts_of

HALF = np.arange(30).reshape(2, 5, 3) % 2 == 0


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "s.h5"


def crew_of(output: Path, rank: int = 1) -> Crew:
    return Crew(Share(rank, 2), output, sweeps=True, should_stop=lambda: False)


def test_what_is_merged_while_a_process_prepares_is_not_missed(output: Path) -> None:
    save_surface(portion(bowl(), False), output)
    with crew_of(output) as crew:
        view = crew.existing()
        assert view is not None
        assert view.num_evaluated == 0
        save_part(portion(bowl(), HALF), output)
        merge(parts_of(output), output)  # as another process does that begins
        crew.found(view, is_changed=False)
        assert crew.look(always=True)
        assert contents(view) == contents(portion(bowl(), HALF))


def test_a_file_that_was_changed_into_another_one_is_not_to_be_removed(output: Path) -> None:
    """As by a process that was started with more slices."""
    save_surface(portion(bowl(), False), output)
    with crew_of(output) as crew:
        view = crew.existing()
        assert view is not None
        crew.found(view, is_changed=False)
        save_surface(replace(bowl(), fingerprint="more"), output)
        with pytest.raises(ResumeMismatchError, match="Another process has changed it") as error:
            crew.look(always=True)
        assert "Run the command again" in str(error.value.hint)


def test_nobody_waits_for_a_turn_to_merge_what_is_in_the_file(output: Path) -> None:
    """Another process holds the turn while it measures the curvature."""
    save_surface(portion(bowl(), False), output)
    with crew_of(output) as crew:
        view = crew.existing()
        assert view is not None
        crew.found(view, is_changed=False)
        point = int(np.flatnonzero(bowl().evaluated)[0])
        metric = bowl().metrics["train_loss"]
        crew.enter("points", point, {"train_loss": (float(metric.values.flat[point]), float(metric.std.flat[point]))})
        save_surface(crew.own, crew.part)
        save_surface(bowl(), output)
        assert crew.look(always=True)
        left = iter([False] * 3)
        with turn(output, lambda: False), crew.concluding(lambda: next(left, True)) as merged:
            assert merged is None
            assert not crew.part.exists()


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
    with crew_of(output) as crew:
        view = crew.existing()
        assert view is not None
        crew.found(view, is_changed=False)
        units = Units(view, 1)
        assert crew.sweep(units, len(units), len(units)) == []  # the other one has them all under way
        wanted = None
        while not wanted:
            os.utime(stuck, ns=(time.time_ns(), stuck.stat().st_mtime_ns))
            wanted = crew.sweep(units, len(units), len(units))
        assert set(wanted) <= set(range(len(units)))
