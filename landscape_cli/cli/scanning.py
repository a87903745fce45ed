"""The commands that need the model: scan, validate."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.console import TALK, ScanDisplay, differences_in_words, duration, print_json, print_table
from landscape_cli.cli.options import ConfigFile, Json, Overrides, Quiet, UnsafeLoad, Verbose
from landscape_cli.cli.reports import ScanReport, ValidateReport, plan_report, problem_report, scan_report
from landscape_cli.cli.signals import StopSignals
from landscape_cli.errors import UsageError
from landscape_cli.quantities import parse_duration

_OTHER_SUFFIXES = {".png", ".pdf", ".svg", ".yaml", ".yml", ".json", ".pt", ".pth", ".ckpt", ".safetensors", ".py"}


def scan(
    config: ConfigFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Surface file to fill; resumed if it exists.")
    ],
    overrides: Overrides = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Start anew instead of resuming.")] = False,
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
    if output.suffix.lower() in _OTHER_SUFFIXES:
        raise UsageError(
            f"{output}: a surface file is no {output.suffix} file", hint=f"Such as: -o {output.with_suffix('.h5')}"
        )
    start = time.perf_counter()
    budget = _seconds(time_budget) if time_budget is not None else None
    with StopSignals() as signals, ScanDisplay(on_preflight=signals.defer, is_dry_run=dry_run) as display:
        _prepare_process()
        from landscape_cli.compute.scan import scan as run_scan
        from landscape_cli.config import load_config
        from landscape_cli.storage import load_surface

        with redirect_stdout(sys.stderr):  # data sets and models that print must not spoil the JSON
            surface = run_scan(
                load_config(config, overrides or ()),
                output,
                overwrite=overwrite,
                unsafe_load=unsafe_load,
                dry_run=dry_run,
                observer=display,
                time_budget=None if budget is None else budget - (time.perf_counter() - start),
                should_stop=signals.requested,
            )
    assert display.seen is not None  # a scan that comes back has told
    if dry_run:
        plan = plan_report(display.seen, surface)
        print_json(plan) if json else TALK.note("dry run: nothing was written")
        return
    report = scan_report(
        load_surface(output),
        output,
        plan_report(display.seen, surface),
        num_computed=display.num_computed,
        seconds=time.perf_counter() - start,
        seconds_filling=display.seconds_filling,
    )
    print_json(report) if json else _print_scan(report)
    if not surface.complete:
        raise typer.Exit(signals.exit_code)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        seconds = parse_duration(text)
        if seconds > 0:
            return seconds
    raise UsageError(f"--time-budget: found {text!r}; expected a duration such as 90s, 10m or 2h")


def _print_scan(report: ScanReport) -> None:
    file = report.file
    if report.status == "stopped" and not report.num_evaluated:
        TALK.note(f"stopped after {duration(report.seconds)}, before the first point: allow more time")
    elif report.status == "stopped":
        points = f"{report.num_evaluated:,} of {report.num_points:,} points"
        TALK.note(f"stopped: {points} are in {file}; run the same command again to go on")
    else:
        TALK.note(f"{file}: complete; {report.num_computed:,} points computed in {duration(report.seconds)}")
        reference, differences = report.engine.get("reference"), report.engine.get("difference")
        if report.plan.precision in ("tf32", "bfloat16") and isinstance(differences, dict):
            words = differences_in_words(differences)
            TALK.note(f"{report.plan.precision} is off from {reference} by {words} (relative, of the worst metric)")
        TALK.note(f"look at it with: landscape plot {file} -o {Path(file).with_suffix('.png')}")


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
    _prepare_process()
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


def _prepare_process() -> None:
    """Search the working directory for targets, as ``python -m`` would, and tame OpenMP before torch loads it."""
    # Threads that spin at barriers fight whatever else wants a core. ms per point on 2 cores, idle and shared:
    # 35 and up to 1,386 by default, 40 and 96 with few spins, 55 and 110 with none.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    _keep_freed_memory()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed, instead of giving it back and faulting it in again page by page.

    Activations are allocated and freed at every forward pass. Measured with ResNet-20: 839 µs per sample before, 606
    after. For this process only: a library must not decide that for the program that uses it.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
