"""Parameters by globs of their names."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from landscape_cli.axes import Selection
from landscape_cli.errors import ConfigError, did_you_mean


def select(names: Collection[str], selection: Selection | None, where: str) -> list[str]:
    """The parameters that a selection names, in their order; all of them without one.

    Args:
        names: Of all parameters.
        selection: Globs.
        where: The place of the globs in the config, for messages.

    Raises:
        ConfigError: A glob matches nothing, or nothing is left.
    """
    selection = selection or Selection()
    for pattern in (*selection.include, *selection.exclude):
        if not any(_matches(name, pattern) for name in names):
            modules = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
            near = did_you_mean(pattern.removesuffix(".*"), {*names, *modules})
            if not near.startswith("; did"):
                near = f"; they are called {', '.join([*names][:4])}{', …' if len(names) > 4 else ''}"
            raise ConfigError(f"{where}: {pattern!r} matches no parameter{near}")
    chosen = [name for name in names if is_selected(name, selection)]
    if not chosen:
        raise ConfigError(f"{where}: everything that is included is excluded; nothing would be left")
    return chosen


def is_selected(name: str, selection: Selection) -> bool:
    """Whether a parameter or, by the same globs, a BatchNorm statistic is meant."""
    return any(_matches(name, pattern) for pattern in selection.include) and not any(
        _matches(name, pattern) for pattern in selection.exclude
    )


def _matches(name: str, pattern: str) -> bool:
    """Whether a glob matches the name of a parameter or of a module around it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
