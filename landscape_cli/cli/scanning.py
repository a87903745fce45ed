"""The commands that need the model: scan, validate."""

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.console import TALK, print_json, print_table
from landscape_cli.cli.options import ConfigFile, Json, Overrides, Quiet, UnsafeLoad, Verbose
from landscape_cli.cli.process import prepare_process
from landscape_cli.cli.reports import ValidateReport, problem_report
from landscape_cli.cli.series import ScanOptions, jobs_of, run
from landscape_cli.errors import UsageError
from landscape_cli.quantities import parse_duration
from landscape_cli.share import share_of


def scan(
    config: ConfigFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Surface file to fill; resumed if it exists.")
    ],
    more_checkpoints: Annotated[list[Path] | None, typer.Argument(hidden=True, metavar="--checkpoint PATH")] = None,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            metavar="PATH...",
            help="Scan these instead of checkpoint.path; FILE then has a place for their names: 'out/{stem}.h5'.",
        ),
    ] = None,
    overrides: Overrides = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Start anew instead of resuming.")] = False,
    more_slices: Annotated[
        int | None,
        typer.Option(
            metavar="TOTAL",
            help="How many slices there shall be in all; a FILE with fewer gets the others. Of the radius where CONFIG "
            "asks for one, else of the grid.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Only measure what the scan would take; write nothing.")
    ] = False,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Stop after this long, start included, such as 10m, with a coarser surface; exit code 75.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Share FILE with other processes that run this command: this one is number I of N, from 0. torchrun, "
            "srun and sbatch --array say so by themselves; 0/1 is a process alone.",
        ),
    ] = None,
    no_sweep: Annotated[
        bool,
        typer.Option(
            "--no-sweep",
            metavar="",
            help="Do this share only, and not what other processes leave undone; then: landscape merge.",
        ),
    ] = False,
    log_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for what all processes but the first have to say: DIR/rank-0001.log, …"
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", metavar="", help="Show the surface here in the terminal while it is filled.")
    ] = False,
    unsafe_load: UnsafeLoad = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate the surface that CONFIG describes and fill FILE with it.

    Stopped by a signal or a crash, it continues where it was: run the same command again.

    A config is code: its targets are imported.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    start = time.perf_counter()
    budget = None if time_budget is None else seconds_of(time_budget)
    share = share_of(os.environ, shard)
    if share.rank:
        TALK.leave_it_to_rank_0(share.rank, log_dir)
    if no_sweep and share.is_alone:
        raise UsageError("--no-sweep: found without other processes", hint="Say which share this is: --shard 3/16")
    options = ScanOptions(
        overwrite, more_slices, dry_run, unsafe_load, start, budget, json, live, share, sweeps=not no_sweep
    )
    if more_checkpoints and not checkpoints:
        raise UsageError(f"{more_checkpoints[0]}: unexpected argument", hint="Checkpoints come after --checkpoint.")
    if more_checkpoints and len(checkpoints or ()) > 1:
        raise UsageError("--checkpoint: given twice, with several paths", hint="Write it once: --checkpoint a b c")
    if live and not share.rank and not sys.stderr.isatty():
        TALK.note("note: --live needs a terminal, which stderr is not; the scan goes on without the picture")
    jobs = jobs_of([*(checkpoints or []), *(more_checkpoints or [])], output)
    outcome = run(config, overrides or (), jobs, options)
    if not json:
        outcome.print_end()
    elif not TALK.is_left_to_rank_0:
        print_json(outcome.report())
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def seconds_of(text: str) -> float:
    """Seconds of a --time-budget.

    Raises:
        UsageError: It is no duration.
    """
    with suppress(ValueError):
        seconds = parse_duration(text)
        if seconds > 0:
            return seconds
    raise UsageError(f"--time-budget: found {text!r}; expected a duration such as 90s, 10m or 2h")


def validate(
    config: ConfigFile,
    overrides: Overrides = None,
    no_data: Annotated[
        bool, typer.Option("--no-data", metavar="", help="Do not read the data, nor a checkpoint that is not there.")
    ] = False,
    unsafe_load: UnsafeLoad = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check CONFIG without scanning: keys, targets, checkpoint, data, and that the model repeats itself."""
    TALK.configure(quiet=quiet, verbose=verbose)
    prepare_process()
    from landscape_cli.compute.validate import Validation
    from landscape_cli.compute.validate import validate as run_validate
    from landscape_cli.config import load_config

    result = Validation()
    with redirect_stdout(sys.stderr), result.collect():
        result = run_validate(load_config(config, overrides or ()), data=not no_data, unsafe_load=unsafe_load)
    if json:
        problems = [problem_report(error) for error in result.problems]
        print_json(ValidateReport(config=str(config), valid=not problems, problems=problems, notes=result.notes))
    elif not quiet:
        verdict = "valid" if not result.problems else "not valid"
        print_table(f"{config}: {verdict}", [("note" if "partial" in note else "ok", note) for note in result.notes])
    for error in result.problems:
        TALK.error(error)
    if result.problems:
        raise typer.Exit(result.problems[0].exit_code)
