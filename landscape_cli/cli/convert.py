"""The commands that exchange surfaces with other programs, without torch: convert, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.console import TALK, print_json
from landscape_cli.cli.options import Json, Quiet, SurfaceFile, Verbose
from landscape_cli.cli.reports import info_report
from landscape_cli.errors import SurfaceError, UsageError, did_you_mean

Overwrite = Annotated[
    bool, typer.Option("--overwrite", metavar="", help="Replace an older file of the same kind that is there already.")
]


def convert(
    file: Annotated[Path, typer.Argument(metavar="FOREIGN", help="Surface of another program: HDF5 or .npz.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Surface file to write.")],
    program: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="tomgoldstein, lightzero or landscaper; by default as it looks."),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a surface file from FOREIGN, a surface of tomgoldstein/loss-landscape, LightZero or Landscaper.

    LightZero's files look like those of the original, with x and y swapped: say --from lightzero.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.formats.table import IMPORTERS, guess_importer
    from landscape_cli.locks import exclusive
    from landscape_cli.storage import check_overwritable, load_surface, save_surface

    if program is not None and program not in IMPORTERS:
        raise UsageError(f"--from: found {program!r}{did_you_mean(program, IMPORTERS)}")
    name = program or guess_importer(file)
    surface = IMPORTERS[name](file)
    _check_output(output, file, overwrite=overwrite)
    with exclusive(output):
        _check_output(output, file, overwrite=overwrite)  # again: another process may just have written it
        if output.exists():
            check_overwritable(output)
        save_surface(surface, output)
    report = info_report(load_surface(output), output)
    for note in report.checkpoint_notes:
        TALK.note(f"note: {note}")
    TALK.note(f"converted from {name}: {output}, {report.num_evaluated:,} of {report.num_points:,} points")
    if json:
        print_json(report)


def export(
    file: SurfaceFile,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    program: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="By name, such as tomgoldstein; then any suffix goes."),
    ] = None,
    slice_index: Annotated[
        int | None,
        typer.Option(
            "--slice", metavar="I", help="One slice, from 0; by default all, or the first where only one fits."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", metavar="NAME", help=".vtp: the height; by default the first loss.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", metavar="", help=".vtp: its logarithm, to base 10.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write FILE for another program, as the suffix of OUT says.

    \b
    .csv   a table with one row for each point
    .json  all that is in FILE, as a text that describes itself
    .npz   numpy arrays, without pickles
    .nc    NetCDF, for xarray
    .vts   the grid of one slice with all metrics, for ParaView
    .vtp   the surface as triangles, with the path of checkpoints, for ParaView
    .h5    with --format tomgoldstein, for tomgoldstein/loss-landscape
    """  # \b keeps the lines apart
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.formats.table import EXPORTERS, check_options, exporter_name
    from landscape_cli.union import load_union

    name = exporter_name(output, program)
    options = {"slice_index": slice_index, "metric": metric, "log": log}
    given = {option: value for option, value in options.items() if value is not None and value is not False}
    check_options(name, given)
    surface = load_union(file)
    _check_output(output, file, overwrite=overwrite)
    if output.exists():
        _check_kind(output, name)
    for note in EXPORTERS[name](surface, output, **given):
        TALK.note(f"note: {note}")
    TALK.note(f"exported: {output}")


def _check_kind(output: Path, name: str) -> None:
    """--overwrite is for exports of the same kind, not for a slip in OUT."""
    from landscape_cli.formats.table import IMPORTERS, SUFFIXES
    from landscape_cli.storage import is_surface_file

    hint = "Choose another name, or remove the file yourself."
    if not output.is_file():
        raise UsageError(f"{output}: is a folder, a device or a pipe; expected the name of a file", hint=hint)
    if name in IMPORTERS:
        try:
            IMPORTERS[name](output)
        except SurfaceError as error:
            raise UsageError(f"{output}: no {name} surface; --overwrite replaces only those", hint=hint) from error
    elif is_surface_file(output):
        raise UsageError(f"{output}: is a surface file; export never replaces one", hint=hint)
    elif SUFFIXES.get(output.suffix.lower()) != name:
        suffix = ", ".join(each for each, kind in SUFFIXES.items() if kind == name)
        raise UsageError(f"{output}: --overwrite replaces only {suffix} files with {name}", hint=hint)


def _check_output(output: Path, file: Path, *, overwrite: bool) -> None:
    if output.exists() and output.samefile(file):
        raise UsageError(f"{output}: is the input itself", hint="Choose another name for the output.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: is there already", hint="Choose another name, or replace it with --overwrite.")
