"""The picture of a surface that is being filled, drawn anew as points come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType, RenderResult
from rich.progress import Progress, ProgressColumn
from rich.segment import Segment

from landscape_cli.cli.surface_page import page_of
from landscape_cli.cli.terminal_page import Page
from landscape_cli.surface import Surface

_REFRESHES_PER_SECOND = 2.0  # of the terminal: a picture is some 20 kB, and may go over a network
_SECONDS_PER_PICTURE = 0.4
_MIN_SECONDS_PER_DRAWING_SECOND = 30.0  # so that drawing never takes more than 3 % of the time
_MAX_LINES = 24
_LINES_OF_BARS = 5
_MIN_LINES = 4


class LivePicture:
    """A surface as it is now.

    Args:
        surface: Is filled in place, by the thread that calls `update`.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._page: Page | None = None
        self._drawn: tuple[Page | None, ConsoleDimensions | None, list[Segment]] = (None, None, [])
        self._cost = self._next = 0.0

    def update(self, *, always: bool = False) -> None:
        """Take what is there now, if it is time to."""
        now = time.perf_counter()
        if now < self._next and not always:
            return
        # another thread draws it; what was not evaluated by now, no page shows
        surface = replace(self._surface, evaluated=self._surface.evaluated.copy())
        self._page = page_of(surface, is_brief=True)
        cost = self._cost + time.perf_counter() - now
        self._next = now + max(_SECONDS_PER_PICTURE, cost * _MIN_SECONDS_PER_DRAWING_SECOND)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The picture as of the last update, above the bars; nothing in a window that is too low for both."""
        page, window = self._page, console.size
        if page is None or window.height < _MIN_LINES + _LINES_OF_BARS:
            return
        if self._drawn[0] is not page or self._drawn[1] != window:
            start = time.perf_counter()
            height = min(_MAX_LINES, window.height - _LINES_OF_BARS)
            self._drawn = page, window, list(page.within(height).__rich_console__(console, options))
            self._cost = time.perf_counter() - start
        yield from self._drawn[2]


class Bars(Progress):
    """Progress bars, below a picture where there is one.

    Args:
        columns: Of the bars.
        picture: None where there is none (yet).
        console: Where they are shown.
        is_live: Whether there will be a picture.
    """

    def __init__(
        self,
        *columns: ProgressColumn,
        picture: Callable[[], LivePicture | None],
        console: Console | None,
        is_live: bool,
    ) -> None:
        self._picture = picture
        super().__init__(*columns, console=console, refresh_per_second=_REFRESHES_PER_SECOND if is_live else 10)

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is shown, from above."""
        picture = self._picture()
        if picture is not None:
            yield picture
        yield from super().get_renderables()
