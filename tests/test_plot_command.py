"""landscape plot on the command line: what it draws, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from analytic import line, surface_of
from PIL import Image
from test_read_commands import Landscape

from landscape_cli.storage import save_surface
from landscape_cli.surface import Surface


def plane(factor: float) -> Surface:
    return surface_of(lambda s, x, y: factor * (1 + x**2 + 10 * y**2), line(-1, 1, 5), line(-1, 1, 3))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "a.h5", tmp_path / "b.h5"
    for factor, path in enumerate(found, 1):
        save_surface(plane(float(factor)), path)
    return found


@pytest.mark.slow
def test_several_files_are_panels_and_a_difference_is_one_picture(
    files: tuple[Path, Path], landscape: Landscape
) -> None:
    output = files[0].with_name("o.svg")
    assert landscape("plot", *files, "-o", output).exit_code == 0
    drawing = output.read_text()
    assert all(f"<!-- {path.name} -->" in drawing for path in files)
    assert landscape("plot", *files, "-o", output, "--difference", "--linear").exit_code == 0
    assert "<!-- train loss of b.h5 minus a.h5 -->" in output.read_text()


def test_one_file_twice_has_no_difference(files: tuple[Path, Path], landscape: Landscape) -> None:
    output = files[0].with_name("o.svg")
    assert landscape("plot", files[0], files[0], "-o", output, "--difference").exit_code == 0
    assert "<!-- train loss of a.h5 (2) minus a.h5 (1) -->" in output.read_text()


def test_size_and_dpi_are_those_of_the_picture(files: tuple[Path, Path], landscape: Landscape) -> None:
    output = files[0].with_name("o.png")
    options = ("--size", "5x4.5", "--dpi", "40", "--title", "mine", "--no-colorbar", "--style", "dark")
    assert landscape("plot", files[0], "-o", output, *options).exit_code == 0
    with Image.open(output) as picture:
        assert picture.size == (200, 180)


def test_a_title_stands_in_place_of_ours_and_partial_stays(tmp_path: Path, landscape: Landscape) -> None:
    surface = plane(1.0)
    surface.evaluated[0, 0, 0] = False
    save_surface(surface, tmp_path / "p.h5")
    assert landscape("plot", tmp_path / "p.h5", "-o", tmp_path / "o.svg", "--title", "mine <b> $x$").exit_code == 0
    drawing = (tmp_path / "o.svg").read_text()
    assert "<!-- mine &lt;b&gt; $x$ -->" in drawing
    assert "<!-- PARTIAL: 14 of 15 points -->" in drawing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "5"], "--size: found '5'; expected two numbers such as 6.4x5.2"),
        (["--size", "0.1x5"], "--size: found 0.1x5; expected 1 to 100 inches"),
        (["--view", "30;5", "-k", "surface3d"], "--view: found '30;5'; expected two numbers such as 30,-55"),
        (["--view", "30,5"], "view: the kind 'filled' has no such option"),
        (["--levels", "many"], "levels: found 'many'; expected a number of levels such as 12, or values such as 0.1,1"),
        (["--levels", "3,2"], "levels: found 3, 2; expected two or more, rising"),
        (["--fps", "3"], "does not move"),
        (["--vmin", "inf"], "vmin: found inf; expected a finite number"),
        (["--difference"], "difference: found 1 files; expected two"),
        (["--kind", "convexity"], "the file has no map of eigenvalues"),
    ],
)
def test_a_wrong_request_is_exit_code_2_and_no_picture(
    files: tuple[Path, Path], landscape: Landscape, arguments: list[str], words: str
) -> None:
    outcome = landscape("plot", files[0], "-o", files[0].with_name("o.png"), *arguments)
    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert not files[0].with_name("o.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "filled"], "--kind: not of a page, where the reader turns, zooms and switches"),
        (["--vmin", "1"], "--vmin: not of a page, where the reader turns, zooms and switches"),
        (["--difference"], "found --difference; a page shows one surface"),
        (["--fps", "2"], "--fps: not of a page"),
        (["--dpi", "200"], "--dpi: not of a page"),
        (["--no-colorbar"], "--no-colorbar: not of a page"),
    ],
)
def test_what_a_page_cannot_show_is_said(
    files: tuple[Path, Path], landscape: Landscape, arguments: list[str], words: str
) -> None:
    outcome = landscape("plot", files[0], "-o", files[0].with_name("o.html"), *arguments)
    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert landscape("plot", *files, "-o", files[0].with_name("o.html")).exit_code == 2
    assert not files[0].with_name("o.html").exists()


def test_no_picture_replaces_a_surface_that_it_shows(files: tuple[Path, Path], landscape: Landscape) -> None:
    link = files[0].with_name("s.gif")
    link.symlink_to(files[1])
    before = files[1].read_bytes()
    outcome = landscape("plot", *files, "-o", link)
    assert outcome.exit_code == 2
    assert "is the surface file itself" in outcome.stderr
    assert files[1].read_bytes() == before
