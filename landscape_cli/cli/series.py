"""One checkpoint after another: the scans of a command, and how they ended."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING

from landscape_cli.cli.console import TALK, differences_in_words, duration
from landscape_cli.cli.process import prepare_process
from landscape_cli.cli.reports import PlanReport, ScanReport, SeriesReport, asked_part, plan_report, scan_report
from landscape_cli.cli.scan_display import ScanDisplay
from landscape_cli.cli.signals import StopRequested, StopSignals
from landscape_cli.errors import LandscapeError, UsageError
from landscape_cli.share import ALONE, Share

if TYPE_CHECKING:
    from landscape_cli.compute.splits import SharedData
    from landscape_cli.config import Config

_OTHER_SUFFIXES = {".png", ".pdf", ".svg", ".yaml", ".yml", ".json", ".pt", ".pth", ".ckpt", ".safetensors", ".py"}

Job = tuple[Path | None, Path]


@dataclass(frozen=True)
class ScanOptions:
    """How checkpoints are scanned.

    Attributes:
        overwrite: Start anew.
        more_slices: How many there shall be in all; None for those of config and file.
        dry_run: Write nothing.
        unsafe_load: Unpickle what is no plain archive of tensors.
        start: On the clock of `time.perf_counter`.
        budget: Seconds from there; None for no limit.
        as_json: The result is printed as JSON, not as words.
        live: The surface is shown while it is filled.
        share: Which process this is of those that fill a file together.
        sweeps: Whether it does what the others leave undone.
    """

    overwrite: bool
    more_slices: int | None
    dry_run: bool
    unsafe_load: bool
    start: float
    budget: float | None
    as_json: bool
    live: bool = False
    share: Share = ALONE
    sweeps: bool = True

    def seconds_left(self) -> float:
        """Of the time budget."""
        return math.inf if self.budget is None else self.budget - (time.perf_counter() - self.start)


def jobs_of(checkpoints: Sequence[Path], output: Path) -> list[tuple[Path | None, Path]]:
    """Each checkpoint with its surface file; None for the checkpoint of the config.

    Raises:
        UsageError: The name of the output is no surface file, or the same for two checkpoints.
    """
    _check_suffix(output)
    if not checkpoints:
        placeholder = re.search(r"\{(stem|name|parent|index)\}", str(output))
        if placeholder:
            raise UsageError(
                f"-o {output}: {placeholder[0]} is for several checkpoints", hint="Name them: --checkpoint …"
            )
        return [(None, output)]
    from landscape_cli.compute.directions.paths import expand  # without torch

    jobs: list[tuple[Path | None, Path]] = []
    for index, path in enumerate(expand([str(path) for path in checkpoints])):
        names = {"stem": path.stem, "name": path.name, "parent": path.absolute().parent.name, "index": index}
        try:
            jobs.append((path, Path(str(output).format(**names))))
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise UsageError(f"{output}: {{…}} can be {', '.join(f'{{{name}}}' for name in names)}") from error
        if not path.expanduser().exists():
            raise UsageError(f"--checkpoint {path}: no such file", hint="Paths are relative to the working directory.")
        _check_suffix(jobs[-1][1])
    outputs = [job[1] for job in jobs]
    twice = next((each for each in outputs if outputs.count(each) > 1), None)
    if twice is not None:
        same = ", ".join(str(path) for path, each in jobs if each == twice)
        raise UsageError(
            f"-o {output}: {same} would all write {twice}",
            hint="Such as: -o 'out/{parent}-{stem}.h5', or with {index}"
            if "{stem}" in str(output)
            else "Such as: -o 'out/{stem}.h5'",
        )
    return jobs


def _check_suffix(output: Path) -> None:
    if output.suffix.lower() in _OTHER_SUFFIXES:
        raise UsageError(
            f"{output}: a surface file is no {output.suffix} file", hint=f"Such as: -o {output.with_suffix('.h5')}"
        )


def _scan_one(
    config: Config, output: Path, options: ScanOptions, shared: SharedData, signals: StopSignals
) -> ScanReport | PlanReport:
    from landscape_cli.compute.scan import scan as run_scan
    from landscape_cli.union import load_union, parts_of

    start = options.start if shared.batches is None else time.perf_counter()
    shown = ScanDisplay(on_preflight=signals.defer, is_dry_run=options.dry_run, is_live=options.live)
    with shown as display, redirect_stdout(TALK.stream):
        # data sets and models that print must not spoil the JSON
        surface = run_scan(
            config,
            output,
            overwrite=options.overwrite,
            more_slices=options.more_slices,
            unsafe_load=options.unsafe_load,
            dry_run=options.dry_run,
            share=options.share,
            sweeps=options.sweeps,
            shared=shared,
            observer=display,
            time_budget=None if options.budget is None else options.seconds_left(),
            should_stop=signals.requested,
        )
    assert display.seen is not None  # a scan that comes back has told
    plan = plan_report(display.seen, surface)
    if options.dry_run:
        return plan
    united = load_union(output)
    was_stopped = signals.requested() or options.seconds_left() <= 0
    # curvature may still be measured by another process, and without sweeping others have their shares to do
    points = replace(asked_part(united, config), curvature=None, curvature_map=None)
    is_one_of_many = not options.share.is_alone and (not options.sweeps or (options.share.rank > 0 and points.finished))
    return scan_report(
        united,
        output,
        plan,
        config,
        may_be_done_before=is_one_of_many and not was_stopped,
        is_merged=not (was_stopped and parts_of(output)),
        num_computed=display.num_computed,
        seconds=time.perf_counter() - start,
        seconds_filling=display.seconds_filling,
    )


@dataclass
class Outcome:
    """How the scans of a command ended.

    Attributes:
        jobs: What was to be done.
        reports: Of the scans that were done or begun, in this order.
        failures: What was wrong with the others.
        stopped_code: Exit code of a command that was stopped.
    """

    jobs: Sequence[Job]
    reports: list[ScanReport | PlanReport] = field(default_factory=list)
    failures: list[LandscapeError] = field(default_factory=list)
    stopped_code: int = 0

    @property
    def num_left(self) -> int:
        """Checkpoints that were not reached."""
        return len(self.jobs) - len(self.reports) - len(self.failures)

    @property
    def exit_code(self) -> int:
        """0 when all is done."""
        if self.num_left or any(each.status == "stopped" for each in self.reports if isinstance(each, ScanReport)):
            return self.stopped_code
        return self.failures[0].exit_code if self.failures else 0

    def report(self) -> ScanReport | PlanReport | SeriesReport:
        """What --json prints."""
        if len(self.jobs) == 1:
            return self.reports[0]
        return SeriesReport(scans=self.reports, num_failed=len(self.failures), num_left=self.num_left)

    def print_end(self) -> None:
        """Say what is left to do."""
        if self.num_left:
            TALK.note(f"{self.num_left} checkpoints were not reached; run the same command again to go on")


def run(config: Path, overrides: Sequence[str], jobs: Sequence[Job], options: ScanOptions) -> Outcome:
    """Scan every checkpoint, with the same data; what is wrong with one of several does not end the others.

    Raises:
        UsageError: The command cannot be carried out for any of them.
        LandscapeError: The only checkpoint cannot be scanned.
    """
    outcome = Outcome(jobs)
    with StopSignals() as signals:
        prepare_process()
        from landscape_cli.compute.splits import SharedData
        from landscape_cli.config import load_config

        shared = SharedData()
        for number, (checkpoint, output) in enumerate(jobs, 1):
            if number > 1 and (signals.requested() or options.seconds_left() <= 0):
                break
            signals.act_at_once()
            if len(jobs) > 1:
                TALK.note(f"{checkpoint} → {output} ({number} of {len(jobs)})")
            chosen = [] if checkpoint is None else [f"checkpoint.path={json_text(str(checkpoint))}"]
            try:
                report = _scan_one(load_config(config, [*overrides, *chosen]), output, options, shared, signals)
            except StopRequested:
                if number == 1:
                    raise
                break  # what the checkpoints before have brought is told
            except LandscapeError as error:
                if len(jobs) == 1 or (isinstance(error, UsageError) and shared.batches is None):
                    raise  # the config or the output is wrong, not this checkpoint
                TALK.error(error)
                outcome.failures.append(error)
                continue
            outcome.reports.append(report)
            if not options.as_json or TALK.is_left_to_rank_0:
                _print_scan(report, has_budget=options.budget is not None)
            if isinstance(report, ScanReport) and report.status == "stopped":
                break
        outcome.stopped_code = signals.exit_code
    return outcome


def _print_scan(report: ScanReport | PlanReport, *, has_budget: bool) -> None:
    if isinstance(report, PlanReport):
        TALK.note("dry run: nothing was written")
        return
    file = report.file
    where = f"{file} and its parts" if report.parts else file
    if report.status == "share":
        points = f"{report.num_evaluated:,} of {report.num_points:,} points are in {where}"
        TALK.note(f"this process has done its share: {points}; landscape merge puts files together")
    elif report.status == "stopped" and not report.num_evaluated:
        advice = "allow more time" if has_budget else "run the same command again"
        TALK.note(f"stopped after {duration(report.seconds)}, before the first point: {advice}")
    elif report.status == "stopped":
        points = f"{report.num_evaluated:,} of {report.num_points:,} points"
        if report.radius is not None:
            points += f" and {report.radius.num_evaluated:,} of {report.radius.num_points:,} of the radius"
        TALK.note(f"stopped: {points} are in {where}; run the same command again to go on")
    else:
        TALK.note(f"{file}: complete; {report.num_computed:,} points computed in {duration(report.seconds)}")
        reference, differences = report.engine.get("reference"), report.engine.get("difference")
        if report.plan.precision in ("tf32", "bfloat16") and isinstance(differences, dict):
            words = differences_in_words(differences)
            TALK.note(f"{report.plan.precision} is off from {reference} by {words} (relative, of the worst metric)")
        beside = f", landscape sharpness {file}" if report.radius is not None or report.curvature is not None else ""
        TALK.note(f"look at it with: landscape plot {file} -o {Path(file).with_suffix('.png')}{beside}")
