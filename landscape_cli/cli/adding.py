"""The command that adds to a surface file what is measured from the model: curvature."""

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.console import TALK, duration, print_json
from landscape_cli.cli.options import ConfigFile, Json, Overrides, Quiet, SurfaceFile, UnsafeLoad, Verbose
from landscape_cli.cli.process import prepare_process
from landscape_cli.cli.reports import CurvatureRunReport, curvature_run_report
from landscape_cli.cli.scan_display import ScanDisplay
from landscape_cli.cli.scanning import seconds_of
from landscape_cli.cli.signals import StopSignals
from landscape_cli.share import share_of_launch


def curvature(
    config: ConfigFile,
    file: SurfaceFile,
    overrides: Overrides = None,
    time_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after this long, such as 10m; exit code 75.")
    ] = None,
    unsafe_load: UnsafeLoad = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Add gradient and Hessian at the checkpoint to FILE, which was scanned with CONFIG: its section curvature.

    Stopped by a signal or a crash, it continues where it was: run the same command again.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    if share_of_launch(os.environ).rank:
        return  # one of the processes of a launcher does it; tasks of an array may each have a file of their own
    start = time.perf_counter()
    budget = None if time_budget is None else seconds_of(time_budget)
    with StopSignals() as signals:
        report = _run(config, file, overrides or [], budget, signals, start, unsafe_load=unsafe_load)
    if json:
        print_json(report)
    elif report.status == "stopped":
        TALK.note(
            f"stopped: {', '.join(report.pending) or 'the map'} is not complete; run the same command again to go on"
        )
    else:
        TALK.note(f"{file}: curvature complete after {duration(report.seconds)}")
        TALK.note(f"look at it with: landscape sharpness {file}")
    if report.status == "stopped":
        raise typer.Exit(signals.exit_code)


def _run(
    config: Path,
    file: Path,
    overrides: list[str],
    budget: float | None,
    signals: StopSignals,
    start: float,
    *,
    unsafe_load: bool,
) -> CurvatureRunReport:
    prepare_process()
    from landscape_cli.compute.add_curvature import add_curvature
    from landscape_cli.config import load_config

    loaded = load_config(config, overrides)
    with ScanDisplay(on_preflight=signals.defer) as display, redirect_stdout(sys.stderr):
        # data sets and models that print must not spoil the JSON
        surface = add_curvature(
            loaded,
            file,
            unsafe_load=unsafe_load,
            time_budget=None if budget is None else budget - (time.perf_counter() - start),
            observer=display,
            should_stop=signals.requested,
        )
    return curvature_run_report(surface, file, loaded, seconds=time.perf_counter() - start)
