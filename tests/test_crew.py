"""What each of several processes knows of the others, at every moment at which they can meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_scan import contents
from test_union import bowl, portion, save_part

from landscape_cli import save_surface
from landscape_cli.compute.crew import Crew
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
