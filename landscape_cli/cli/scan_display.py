"""A scan as it is seen on stderr: what it is about to do, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich import box
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from landscape_cli.cli.console import TALK, cosine_in_words, duration, scaled, size, with_error
from landscape_cli.cli.live_picture import Bars, LivePicture
from landscape_cli.surface import Surface

if TYPE_CHECKING:
    from landscape_cli.compute.observer import Preflight, RadiusAhead, Stage

_POINTS = ("points", "radius")  # each of them a pass over all data


class _Rate(ProgressColumn):
    """Points and samples per second of this run."""

    def __init__(self, samples_per_point: int) -> None:
        super().__init__()
        self._samples_per_point = samples_per_point

    def render(self, task: Task) -> Text:
        if task.description not in _POINTS:
            return Text("")
        average = (task.completed - task.fields["before"]) / task.elapsed if task.elapsed else 0.0
        speed = task.finished_speed or task.speed or average
        return Text(
            f"{speed:.3g} points/s, {scaled(speed * self._samples_per_point, ('', 'k', 'M', 'G'))} samples/s"
            if speed
            else ""
        )


class ScanDisplay:
    """Shows a scan on stderr: the preflight panel, and progress bars where stderr is a terminal."""

    def __init__(self, *, on_preflight: Callable[[], None], is_dry_run: bool = False, is_live: bool = False) -> None:
        self._on_preflight, self._is_dry_run, self._is_live = on_preflight, is_dry_run, is_live
        self._computed: dict[Stage, int] = {}
        self.seen: Preflight | None = None
        self._started = self._last = 0.0
        self._progress: Progress | None = None
        self._picture: LivePicture | None = None
        self._tasks: dict[Stage, TaskID] = {}
        has_bar = TALK.verbosity > 0 and not TALK.is_left_to_rank_0 and sys.stderr.isatty()
        self._bar = TALK.stderr if has_bar else None

    def __enter__(self) -> ScanDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_progress()

    @property
    def num_computed(self) -> int:
        """Points of this run, of the grid and of the radius."""
        return sum(self._computed.values())

    @property
    def seconds_filling(self) -> float:
        """From the preflight to the last point."""
        return self._last - self._started

    def _end_progress(self) -> None:
        if self._progress is not None:
            if self._picture is not None:
                self._picture.update(always=True)
            self._progress.stop()
            self._progress = None

    def note(self, message: str) -> None:
        """Say something."""
        TALK.note(message)

    def decoding(self, split: str, num_done: int, num_examples: int) -> None:
        """Move the bar of a split that is being decoded."""
        if self._bar is None:
            return
        if self._progress is None:
            columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self._bar, transient=True)
            self._progress.start()
        found = [task.id for task in self._progress.tasks if task.fields["split"] == split]
        task = found[0] if found else self._progress.add_task(f"decoding {split}", total=num_examples, split=split)
        self._progress.update(task, completed=num_done)
        if num_done >= num_examples:  # its thread must be gone before helper processes are forked
            self._end_progress()

    def preflight(self, preflight: Preflight) -> None:
        """Show what is about to be scanned."""
        self._end_progress()
        self.seen = preflight
        self._on_preflight()
        self._started = self._last = time.perf_counter()
        TALK.stderr.print(_panel(preflight))
        if self._bar is not None and preflight.num_pending and not self._is_dry_run:
            self._bar_of("points", preflight.num_points - preflight.num_pending, preflight.num_points)

    def filling(self, surface: Surface) -> None:
        """Show a surface that is being filled, where that was asked for."""
        if self._bar is None or not self._is_live:
            return
        self._picture = LivePicture(surface)
        self._picture.update()

    def curvature(self, words: str) -> None:
        """Say what is about to be measured from the model."""
        self._end_progress()
        self._on_preflight()
        TALK.note(f"curvature: {words}")

    def progress(self, stage: Stage, num_done: int, num_total: int) -> None:
        """Count the points and move the bar of the stage."""
        radius = self.seen.radius if self.seen else None
        part: Preflight | RadiusAhead | None = {"points": self.seen, "radius": radius}.get(stage)
        if part is not None:
            self._computed[stage] = num_done - (part.num_points - part.num_pending)
            self._last = time.perf_counter()
        if self._picture is not None:
            self._picture.update()
        if self._bar is not None:
            self._bar_of(stage, num_done, num_total)

    def _bar_of(self, stage: Stage, num_done: int, num_total: int) -> None:
        if self._progress is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(None),
                MofNCompleteColumn(),
                _Rate(self.seen.num_passes if self.seen else 0),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._progress = Bars(*columns, picture=lambda: self._picture, console=self._bar, is_live=self._is_live)
            self._progress.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=num_total, completed=num_done, before=num_done)
        self._progress.update(self._tasks[stage], completed=num_done, total=num_total)


def _panel(preflight: Preflight) -> Panel:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("model", f"{preflight.num_parameters:,} parameters")
    for i, note in enumerate(preflight.checkpoint):
        table.add_row("checkpoint" if i == 0 else "", Text(note))
    axes = [*preflight.axes, *(f"cosine {pair}: {cosine_in_words(each)}" for pair, each in preflight.cosines.items())]
    for i, words in enumerate(axes):
        table.add_row("axes" if i == 0 else "", Text(words))
    examples = ", ".join(f"{name} {num:,} examples" for name, num in preflight.num_examples.items())
    table.add_row("data", f"{examples}, {preflight.data}")
    for i, (name, (value, error)) in enumerate(preflight.centre.items()):
        table.add_row("centre" if i == 0 else "", f"{name} {with_error(value, error)}")
    processes = f", {preflight.processes} processes" if preflight.processes > 1 else ""
    table.add_row("device", f"{preflight.device}{processes}, {preflight.precision}")
    share = preflight.share
    if not share.is_alone:
        table.add_row("", f"share {share.rank} of {share.world_size} ({share.source})")
    table.add_row("engine", preflight.engine)
    if preflight.differences:
        table.add_row("", f"agrees with plain evaluation to {max(preflight.differences.values()):.1g}")
    table.add_row("points", f"{_to_do(preflight)}, about {duration(preflight.seconds)}")
    if preflight.radius is not None:
        table.add_row("radius", f"{preflight.radius.num_slices} directions, {_to_do(preflight.radius, ' points')}")
    if preflight.curvature:
        table.add_row("curvature", preflight.curvature)
    if preflight.memory_bytes is not None:
        table.add_row("memory", f"about {size(preflight.memory_bytes)}")
    if preflight.repeat_difference:
        table.add_row(
            "note", f"kernels are not deterministic: the centre repeats itself to {preflight.repeat_difference:.1g}"
        )
    return Panel(table, title="landscape scan", title_align="left", box=box.ROUNDED, border_style="dim", expand=False)


def _to_do(part: Preflight | RadiusAhead, what: str = "") -> str:
    done = part.num_points - part.num_pending
    return f"{part.num_pending:,}{what} to do" + (f" ({done:,} done before)" if done else "")
