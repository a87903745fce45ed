"""Lists and globs of checkpoint files, in the order of training."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from landscape_cli.errors import CheckpointError


def expand(patterns: str | Sequence[str]) -> list[Path]:
    """The files that paths and globs name, each once: those of a glob sorted with numbers by value, epoch_2 before
    epoch_10.

    Raises:
        CheckpointError: A glob matches nothing.
    """
    found: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        text = str(Path(pattern).expanduser())
        if not glob.has_magic(text) or Path(text).exists():
            found.append(Path(text))
            continue
        matches = sorted(glob.glob(text, recursive=True), key=_natural)  # noqa: PTH207  # Path.glob refuses absolute ones
        if not matches:
            raise CheckpointError(
                f"{pattern}: matches no file", hint="Paths and globs are relative to the working directory."
            )
        found += map(Path, matches)
    return list(dict.fromkeys(found))


def _natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers inside of names by value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", text)]
