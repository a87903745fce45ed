"""What is said of a path is the share of the farthest checkpoint, and of the others where it is larger."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape_cli.analysis.captions_of_path import path_in_words
from landscape_cli.surface import Trajectory


def path(missed: list[float], distance: list[float], num_axes: int = 2) -> Trajectory:
    num = len(distance)
    names = tuple(f"{step}.pt" for step in range(num))
    return Trajectory(
        names,
        np.zeros((2, num, num_axes)),
        np.array([missed, [math.nan] * num]),
        np.array(distance),
        np.zeros(num_axes),
    )


@pytest.mark.parametrize(("num_axes", "kind"), [(1, "line"), (2, "plane"), (3, "volume")])
def test_a_checkpoint_beside_the_plane_is_told_though_the_farthest_lies_in_it(num_axes: int, kind: str) -> None:
    told = path_in_words(path([0.0811, 0.99, 0.5, 0.0], [8.0, 2.0, 1.0, 0.0], num_axes), 0)
    assert told == (
        f"path of 4 checkpoints; of the way to the farthest 8.11 % lies outside the {kind}, to others up to 99 %"
    )


@pytest.mark.parametrize(
    ("missed", "distance", "told"),
    {
        "none larger": ([0.5, 0.25, 0.0], [3.0, 2.0, 0.0], "; of the way to the farthest 50 % lies outside the plane"),
        "larger by rounding": (
            [0.5, 0.5 + 1e-9],
            [3.0, 2.0],
            "; of the way to the farthest 50 % lies outside the plane",
        ),
        "in the plane": ([1e-12, 3e-11], [3.0, 2.0], "; of the way to the farthest 0 % lies outside the plane"),
        "of length 0": ([0.0, 0.0], [0.0, 0.0], ""),
        "unknown": ([math.nan, math.nan], [3.0, 2.0], ""),
        "one is unknown": ([math.nan, 0.25], [3.0, 2.0], "; of the way to the farthest 25 % lies outside the plane"),
        "one": ([1.0], [3.0], "; of the way to the farthest 100 % lies outside the plane"),
        "none": ([], [], ""),
    }.values(),
)
def test_every_path_has_words(missed: list[float], distance: list[float], told: str) -> None:
    num = len(distance)
    assert path_in_words(path(missed, distance), 0) == f"path of {num} checkpoint{'' if num == 1 else 's'}{told}"


def test_of_a_slice_without_the_path_nothing_is_said() -> None:
    assert path_in_words(path([0.5, 0.0], [3.0, 0.0]), 1) == "path of 2 checkpoints"
