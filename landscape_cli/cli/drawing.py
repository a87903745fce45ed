"""Pictures of surface files, without torch: plot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from landscape_cli.cli.console import TALK
from landscape_cli.cli.naming import check_no_input, load_named
from landscape_cli.cli.options import Quiet, Verbose
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface

_KINDS = "line, rays, contour, filled, heatmap, surface3d, trajectory, convexity, spectrum, profile or radius."


def plot(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Surface files, finished or not.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help=".png .pdf .svg .html .gif or .mp4."),
    ],
    kind: Annotated[str | None, typer.Option("--kind", "-k", metavar="KIND", help=_KINDS)] = None,
    metric: Annotated[str | None, typer.Option("--metric", "-m", metavar="NAME", help="Such as test_loss.")] = None,
    slice_index: Annotated[
        int | None, typer.Option("--slice", metavar="I", help="Which slice, from 0; default all, or the first.")
    ] = None,
    difference: Annotated[
        bool, typer.Option("--difference", metavar="", help="Of two FILEs, the second minus the first.")
    ] = False,
    log: Annotated[
        bool | None, typer.Option("--log/--linear", metavar="", help="The scale; default as fits the values.")
    ] = None,
    vmin: Annotated[float | None, typer.Option("--vmin", metavar="V", help="Where the scale begins.")] = None,
    vmax: Annotated[float | None, typer.Option("--vmax", metavar="V", help="Where it ends.")] = None,
    levels: Annotated[
        str | None, typer.Option("--levels", metavar="N|V,V...", help="About how many contours, or which.")
    ] = None,
    cmap: Annotated[str | None, typer.Option("--cmap", metavar="NAME", help="Colour map, such as cividis.")] = None,
    no_colorbar: Annotated[bool, typer.Option("--no-colorbar", metavar="", help="Leave it out.")] = False,
    view: Annotated[
        str | None, typer.Option("--view", metavar="E,A", help="Elevation and azimuth of surface3d.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="In place of ours.")] = None,
    style: Annotated[str, typer.Option("--style", metavar="NAME", help="paper, slide or dark.")] = "paper",
    size: Annotated[str | None, typer.Option("--size", metavar="WxH", help="In inches, such as 3.3x2.8.")] = None,
    dpi: Annotated[int | None, typer.Option("--dpi", metavar="N", min=20, max=1200, help="Pixels per inch.")] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", metavar="N", help="Pictures per second of .gif and .mp4.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw surface files, also unfinished ones; several side by side on one scale.

    An example for each option: docs/pictures.md.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.analysis.scale import parse_levels

    surfaces = load_named(files)
    check_no_input(output, files)
    options: dict[str, Any] = {
        "kind": kind,
        "metric": metric,
        "slice_index": slice_index,
        "log": log,
        "vmin": vmin,
        "vmax": vmax,
        "levels": None if levels is None else parse_levels(levels),
        "cmap": cmap,
        "colorbar": not no_colorbar,
        "view": None if view is None else _pair("--view", view, ",", "30,-55"),
        "title": title,
        "style": style,
        "size": None if size is None else _size(size),
        **({} if dpi is None else {"dpi": dpi}),
    }
    _draw(surfaces, output, options, difference=difference, fps=fps)
    TALK.note(f"drawn: {output}")


def _draw(
    surfaces: dict[str, Surface], output: Path, options: dict[str, Any], *, difference: bool, fps: float | None
) -> None:
    from landscape_cli.analysis.animation import SUFFIXES, animate
    from landscape_cli.analysis.interactive.page import SUFFIXES as PAGES
    from landscape_cli.analysis.plot import plot as draw

    if output.suffix.lower() in PAGES:
        _write_page(surfaces, output, options | ({} if fps is None else {"fps": fps}), difference=difference)
        return
    if output.suffix.lower() in SUFFIXES:
        if difference:
            raise UsageError("--difference: not of a moving picture", hint="Such as: -o difference.png")
        animate(surfaces, output, fps=fps, **options)
        return
    if fps is not None:
        raise UsageError(f"--fps: {output} does not move", hint="Such as: -o training.gif")
    draw(surfaces if len(surfaces) > 1 else next(iter(surfaces.values())), output, difference=difference, **options)


def _write_page(surfaces: dict[str, Surface], output: Path, options: dict[str, Any], *, difference: bool) -> None:
    from landscape_cli.analysis.interactive.page import write_page

    if len(surfaces) > 1 or difference:
        what = "found --difference" if difference else f"found {len(surfaces)} files"
        raise UsageError(f"{output}: {what}; a page shows one surface", hint="Or: landscape report A B -o report.html")
    pages_have = ("metric", "slice_index", "log", "title")
    usual = {"colorbar": True, "style": "paper"}
    given = [key for key, value in options.items() if value is not None and value != usual.get(key)]
    other = next((key for key in given if key not in pages_have), None)
    if other is not None:
        name = {"colorbar": "no-colorbar"}.get(other, other)
        raise UsageError(f"--{name}: not of a page, where the reader turns, zooms and switches", hint="Leave it out.")
    write_page(next(iter(surfaces.values())), output, **{key: options[key] for key in pages_have})


def _size(text: str) -> tuple[float, float]:
    width, height = _pair("--size", text, "x", "6.4x5.2")
    if not (1 <= width <= 100 and 1 <= height <= 100):
        raise UsageError(f"--size: found {text}; expected 1 to 100 inches")
    return width, height


def _pair(option: str, text: str, between: str, example: str) -> tuple[float, float]:
    found = re.fullmatch(rf"\s*(-?[\d.]+)\s*{between}\s*(-?[\d.]+)\s*", text)
    try:
        assert found is not None
        return float(found[1]), float(found[2])
    except (AssertionError, ValueError) as error:
        raise UsageError(f"{option}: found {text!r}; expected two numbers such as {example}") from error
