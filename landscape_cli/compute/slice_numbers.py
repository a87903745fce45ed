"""How many slices there shall be: as many as the config asks for, or as the file has, or more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from landscape_cli.compute.directions.table import FIXED
from landscape_cli.config import MAX_POINTS, Settings
from landscape_cli.errors import ConfigError, UsageError
from landscape_cli.grid import MAX_SLICES
from landscape_cli.surface import Surface

_SettingsType = TypeVar("_SettingsType", bound=Settings)


@dataclass(frozen=True)
class _Part:
    """The slices of the grid, or those of the radius.

    Attributes:
        name: Which of the two.
        asked: As many as the config asks for.
        in_file: As many as the file has; 0 where there is none.
        more: As many as there shall be in all; None where that is not said.
    """

    name: Literal["grid", "radius"]
    asked: int
    in_file: int
    more: int | None

    @property
    def num(self) -> int:
        """As many as there will be."""
        return max(self.asked, self.in_file, self.more or 0)

    def note(self) -> str:
        """What differs from what one may expect; ``""`` for nothing."""
        if self.in_file and self.more and self.num > self.in_file:
            return f"note: the {self.name} grows from {self.in_file:,} to {self.num:,} slices"
        if self.more and (self.in_file >= self.more or self.asked > self.more):
            return (
                f"note: --more-slices {self.more} is how many there shall be in all; the {self.name} has {self.num:,}"
            )
        if self.in_file > self.asked:
            return (
                f"note: the {self.name} of the file has {self.in_file:,} slices, the config asks for {self.asked:,}; "
                "all are kept"
            )
        return ""


@dataclass(frozen=True)
class SliceNumbers(Generic[_SettingsType]):
    """How many slices a scan has.

    Args:
        settings: The config.
        existing: The surface in the file, if there is one.
        more: How many there shall be in all, of the radius where the config asks for one, else of the grid.
    """

    settings: _SettingsType
    existing: Surface | None
    more: int | None = None

    def settle(self) -> _SettingsType:
        """The config with these numbers in place of its own.

        Raises:
            UsageError: There cannot be so many.
            ConfigError: More slices would all be the same.
        """
        if self.more is not None:
            self._check(self.more)
        radius = self._radius
        return self.settings.with_num_slices(self._grid.num, radius.num if radius else 0)

    def notes(self) -> Iterator[str]:
        """What is not as the config says, a sentence each."""
        parts = [self._grid, *([self._radius] if self._radius else [])]
        return (note for part in parts if (note := part.note()))

    @property
    def grid_may_grow(self) -> bool:
        """Whether a grid with fewer slices gets the others."""
        return self._grid.more is not None

    @property
    def radius_may_grow(self) -> bool:
        """Whether a radius with fewer slices gets the others."""
        return self.more is not None

    @property
    def how_to_grow_grid(self) -> str:
        """What to do about a file with fewer slices than the config asks for."""
        return how_to_grow(self._grid.num, "" if self._radius is None else " --set radius=null")

    @property
    def _grid(self) -> _Part:
        in_file = self.existing.grid.num_slices if self.existing else 0
        return _Part("grid", self.settings.slices.num, in_file, self.more if self.settings.radius is None else None)

    @property
    def _radius(self) -> _Part | None:
        if self.settings.radius is None:
            return None
        radius = self.existing.radius if self.existing else None
        return _Part("radius", self.settings.radius.slices, radius.grid.num_slices if radius else 0, self.more)

    def _check(self, more: int) -> None:
        of_grid = self.settings.radius is None
        most = min(MAX_SLICES, MAX_POINTS // self.settings.num_points_per_slice) if of_grid else MAX_SLICES
        if not 1 <= more <= most:
            raise UsageError(
                f"--more-slices: found {more:,}; expected how many slices of the {'grid' if of_grid else 'radius'} "
                f"there shall be in all, from 1 to {most:,}"
            )
        targets = [axis.direction.target for _, axis in self.settings.axes.items()]
        if of_grid and FIXED.issuperset(targets):
            raise ConfigError(
                f"{self.settings.where('axes')}: found {', '.join(targets)}, the same in every slice; --more-slices "
                "expects a direction that is another one in each, such as random",
                hint="Leave out --more-slices, or ask for a radius besides (radius: true), which is random.",
            )


def how_to_grow(num: int, beside: str = "") -> str:
    """What to do about a file with fewer than ``num`` slices, before other ways."""
    return f"Add the slices that are missing with --more-slices {num}{beside}. Or: "
