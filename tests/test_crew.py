"""What each of several processes knows of the others, at every moment at which they can meet."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from test_scan import contents
from test_union import bowl, portion, save_part

from landscape_cli import save_surface
from landscape_cli.compute.crew import Crew
from landscape_cli.compute.units import Units
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
