"""What several files are called where they stand side by side."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from landscape_cli.cli.console import one_line
from landscape_cli.errors import UsageError
from landscape_cli.surface import Surface


def labels_of(paths: Sequence[Path]) -> list[str]:
    """File names, or paths where others have that name; of a file that is given twice with a number behind it.

    >>> labels_of([Path("a/run.h5"), Path("b/run.h5"), Path("base.h5"), Path("base.h5")])
    ['a/run.h5', 'b/run.h5', 'base.h5 (1)', 'base.h5 (2)']
    """
    times = Counter(path.name for path in paths)
    named = [one_line(path.name if times[path.name] == 1 or paths.count(path) > 1 else str(path)) for path in paths]
    labels: list[str] = []
    for i, name in enumerate(named):
        numbers = itertools.count(named[:i].count(name) + 1)
        label = name if named.count(name) == 1 and name not in labels else f"{name} ({next(numbers)})"
        while label in labels:  # somebody calls a file like that
            label = f"{name} ({next(numbers)})"
        labels.append(label)
    return labels


def load_named(files: Sequence[Path]) -> dict[str, Surface]:
    """The surfaces of files, by their labels.

    Raises:
        SurfaceError: One is missing, foreign or damaged.
    """
    from landscape_cli.union import load_union

    return {label: load_union(file) for label, file in zip(labels_of(files), files, strict=True)}


def check_no_input(output: Path, files: Sequence[Path]) -> None:
    """Refuse to write over a file that is read.

    Raises:
        UsageError: It is one of them.
    """
    if output.exists() and any(output.samefile(file) for file in files):
        raise UsageError(f"{output}: is the surface file itself", hint="Choose another name for the picture with -o.")
