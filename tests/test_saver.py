"""Saves are so early that no finished point gets older than ``save_every``, and so few that they cost little."""

from __future__ import annotations

from pathlib import Path

import pytest
from analytic import line, surface_of
from hypothesis import given, settings
from hypothesis import strategies as st

import landscape_cli.compute.fill
from landscape_cli.compute.fill import Saver
from landscape_cli.surface import Surface


class Clock:
    """Time that passes only where somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


def ages_at_saves(rounds: list[float], save: float, save_every: float) -> list[float]:
    """At the end of each save, the seconds since the one before began, or since the start."""
    clock, surface = Clock(), surface_of(lambda _index, x, y: x + y, line(-1, 1, 200), line(-1, 1, 2))
    surface.evaluated[:] = False
    began: list[float] = []

    def write(_surface: Surface, _path: Path) -> None:
        began.append(clock.now)
        clock.now += save

    ages, start = [], clock.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landscape_cli.compute.fill, "time", clock)
        patch.setattr(landscape_cli.compute.fill, "save_surface", write)
        saver = Saver(lambda: surface, Path("nowhere"), save_every, is_saved=False)
        for number, seconds in enumerate(rounds):
            clock.now += seconds
            surface.evaluated.flat[number] = True
            num_saves, before = len(began), began[-1] if began else start
            saver.after_points()
            if len(began) > num_saves:
                ages.append(clock.now - before)
    return ages


@given(
    slowest=st.floats(0.001, 0.3),
    parts=st.lists(st.floats(0.5, 1.0), min_size=200, max_size=400),
    save=st.floats(0.001, 0.1),
)
@settings(max_examples=50, deadline=None)
def test_no_finished_point_waits_longer_than_asked_for_where_rounds_are_alike(
    slowest: float, parts: list[float], save: float
) -> None:
    ages = ages_at_saves([slowest, *(slowest * part for part in parts)][:400], save, 1.0)
    assert max(ages[1:], default=0.0) <= 1.0 + slowest / 2  # a slow round after many fast ones is not foreseen
    steady = ages_at_saves([slowest] * 400, save, 1.0)
    assert max(steady[1:], default=0.0) <= 1.0 + 1e-9


def test_what_takes_longer_than_that_is_saved_at_once() -> None:
    ages = ages_at_saves([0.7] * 20, 0.01, 1.0)
    assert len(ages) == 20


def test_saves_of_a_large_surface_take_a_sixth_of_the_time_at_most() -> None:
    ages = ages_at_saves([0.1] * 400, 2.0, 1.0)
    assert len(ages) * 2.0 <= (40.0 + len(ages) * 2.0) / 6 + 2.0


def test_a_cadence_of_minutes_is_kept() -> None:
    ages = ages_at_saves([0.5] * 400, 0.01, 60.0)
    assert ages[1:] == pytest.approx([60.0] * 3, abs=1.0)
