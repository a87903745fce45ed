"""docs/pictures.md has an example for every option, and every example runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from analytic import line, surface_of
from recorded import everything, map_of, surface_with
from test_pictures import spectral, with_path
from test_read_commands import Landscape

from landscape_cli.analysis.pictures.table import PLOTS
from landscape_cli.cli.app import app
from landscape_cli.storage import save_surface
from landscape_cli.surface import Surface
from scripts.gallery import MOST_BYTES, PAGE, commands

ROOT = Path(__file__).parent.parent
COMMON = ("--quiet", "--verbose")  # of every command
GALLERY = ROOT / "docs" / "gallery"


def options_of(command: str) -> set[str]:
    """The long options of a command, and short ones that have no long one."""
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    names = [[*each.opts, *each.secondary_opts] for each in found.params]
    return {name for each in names for name in each if name.startswith("--")}


@pytest.mark.parametrize("command", ["plot", "show", "report"])
def test_every_option_has_an_example(command: str) -> None:
    lines = [each for each in PAGE.read_text(encoding="utf-8").splitlines() if each.startswith(f"landscape {command} ")]
    used = {word for each in lines for word in re.findall(r"(?<![\w-])--?[a-z-]+", each)}
    named = {"-o": "--output", "-m": "--metric", "-k": "--kind", "-q": "--quiet", "-v": "--verbose"}
    comments = {word for each in lines for word in re.findall(r"or (--?[a-z-]+)", each)}
    used |= {named.get(word, word) for word in used | comments} | comments
    assert options_of(command) - {"--help", *(COMMON if command != "plot" else ())} <= used


def test_every_kind_has_an_example() -> None:
    page = PAGE.read_text(encoding="utf-8")
    usual = {"filled", "trajectory", "line"}  # drawn by themselves
    assert set(PLOTS) - usual <= set(re.findall(r"--kind (\w+)", page))
    for kind in PLOTS:
        assert f"gallery/{kind}.png" in page


def test_the_gallery_is_there_small_and_shown() -> None:
    pictures = {path.name for path in GALLERY.iterdir()}
    shown = set(re.findall(r"\(gallery/([\w.]+)\)", PAGE.read_text(encoding="utf-8")))
    assert pictures == shown
    assert sum(path.stat().st_size for path in GALLERY.iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("command", ["plot", "show", "export", "report"])
def test_help_fits_one_screen(command: str, landscape: Landscape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    help_text = landscape(command, "--help").stdout
    assert len(help_text.splitlines()) <= 40
    assert max(map(len, help_text.splitlines())) <= 100


def demo(folder: Path) -> None:
    """Small files by the names of those of `make demo`, with all that is drawn of them."""
    plane = surface_of(lambda s, x, y: 0.01 + x**2 + 10 * y**2, line(-1, 1, 5), line(-1, 1, 5))
    names = ("train_loss", "test_loss", "test_accuracy")
    plane.metrics = dict.fromkeys(names, plane.metrics["train_loss"])
    plane.curvature = spectral().curvature
    weights = {"_target_": "random", "normalization": "weight"}
    noise = surface_of(lambda s, x: 0.01 + (1 + s) * x**2, [0.0, 0.1, 0.3, 1.0, 2.0], num_slices=3, recipe=weights)
    noise.metrics = dict.fromkeys(names, noise.metrics["train_loss"])
    plane.radius = noise
    lines = surface_of(lambda s, x: 0.01 + (1 + s) * x**2, line(-1, 1, 9), num_slices=5)
    mapped = surface_with({})
    mapped.curvature_map = map_of(np.linspace(-1, 1, 81).reshape(9, 9), 4.0)
    mapped.curvature = surface_with(everything()).curvature
    path = with_path(plane_of(1.0), (0.9, -0.5), (0.1, 0.2), (0.0, 0.0))
    (folder / "epochs").mkdir(parents=True)
    surfaces = {"digits": plane, "retrained": plane, "digits_line": lines, "digits_path": path, "map": mapped}
    surfaces |= {f"epochs/epoch_{i}": plane_of(1.0 + i) for i in range(3)}
    for name, surface in surfaces.items():
        save_surface(surface, folder / f"{name}.h5")


def plane_of(factor: float) -> Surface:
    return surface_of(lambda s, x, y: factor * (1 + x + 10 * y**2), line(-1, 1, 5), line(-1, 1, 3))


@pytest.mark.slow
def test_every_example_runs_as_it_stands(tmp_path: Path) -> None:
    demo(tmp_path / "demo")
    (tmp_path / "docs" / "gallery").mkdir(parents=True)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    written = set()
    for command in commands(PAGE.read_text(encoding="utf-8")):
        result = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        for output in re.findall(r"(?:-o|>) (\S+)", command):
            assert (tmp_path / output).stat().st_size > 0
            written.add(Path(output).name)
    assert {path.name for path in GALLERY.iterdir()} <= written


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path) -> None:
    demo(tmp_path / "demo")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    env = {**os.environ, "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "demo" / "mine.png").exists()
    assert (tmp_path / "demo" / "both.png").exists()
