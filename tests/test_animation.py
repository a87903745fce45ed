"""Moving pictures have a picture for every surface, on one scale, or one for every angle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from analytic import line, surface_of
from PIL import Image

from landscape_cli.analysis.animation import animate
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

X, Y = line(-1, 1, 5), [-0.6, 0.0, 0.3]


def levels(factor: float) -> Surface:
    return surface_of(lambda s, x, y: factor, X, Y)


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        found = []
        for index in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(index)
            found.append(np.asarray(film.convert("RGB")).astype(int))
        return found


def test_a_film_of_training_has_a_picture_for_every_file_on_one_scale(tmp_path: Path) -> None:
    surfaces = {f"epoch-{i}": levels(float(i)) for i in range(1, 5)}
    animate(surfaces, tmp_path / "f.gif", dpi=40)
    found = frames(tmp_path / "f.gif")
    assert len(found) == 4
    middle = [frame[frame.shape[0] // 3, frame.shape[1] // 3] for frame in found]
    # constant surfaces: from the first colour of viridis (dark) to the last (yellow), each brighter than the one before
    brightness = [int(color.sum()) for color in middle]
    assert brightness == sorted(brightness)
    assert brightness[-1] - brightness[0] > 150


@pytest.mark.slow
def test_a_body_turns_once_about_itself(tmp_path: Path) -> None:
    animate(surface_of(lambda s, x, y: x + 10 * y**2, X, Y), tmp_path / "f.gif", dpi=30)
    found = frames(tmp_path / "f.gif")
    assert len(found) == 72
    steps = [np.abs(a - b).mean() for a, b in zip(found, [*found[1:], found[0]], strict=True)]
    assert min(steps) > 0  # it never stands still
    assert steps[-1] < 3 * np.median(steps)  # and ends where it began


@pytest.mark.slow
def test_the_last_picture_of_training_stays_longer_and_the_rate_is_kept(tmp_path: Path) -> None:
    animate({"a": levels(1.0), "b": levels(2.0)}, tmp_path / "f.gif", dpi=30, fps=10)
    with Image.open(tmp_path / "f.gif") as film:
        durations = []
        for index in range(2):
            film.seek(index)
            durations.append(film.info["duration"])
    assert durations == [100, 800]


@pytest.mark.slow
def test_equal_surfaces_are_equal_films_byte_for_byte(tmp_path: Path) -> None:
    for name in ("a", "b"):
        animate({"1": levels(1.0), "2": levels(2.0)}, tmp_path / f"{name}.gif", dpi=30)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg here: apt-get install ffmpeg")
def test_an_mp4_has_the_pictures_too(tmp_path: Path) -> None:
    animate({str(i): levels(float(i)) for i in range(1, 7)}, tmp_path / "f.mp4", dpi=41, fps=5)
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(tmp_path / "f.mp4")]
    (stream,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    assert int(stream["nb_read_frames"]) == 6 + 7  # the last one stays
    assert stream["r_frame_rate"] == "5/1"
    assert (stream["width"] % 2, stream["height"] % 2, stream["pix_fmt"]) == (0, 0, "yuv420p")


def test_without_ffmpeg_an_mp4_is_refused_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs the program ffmpeg") as error:
        animate(levels(1.0), tmp_path / "f.mp4")
    assert "write a .gif" in str(error.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [({"fps": 0.0}, "fps: found 0"), ({"fps": 51}, "fps: found 51"), ({"kind": "filled"}, "as 'surface3d' only")],
)
def test_what_cannot_move_is_said(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as error:
        animate(levels(1.0), tmp_path / "f.gif", **options)  # type: ignore[arg-type]
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []
