"""Arguments that Typer does not know: an option with several values, and one with a value or none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

NO_VALUE = "default"  # of --gate
_TOLERANCE = re.compile(r"[A-Za-z_]\w*(\([\w.]+\))?:[^/\\]*")


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments of ``landscape compare`` so that every option has one value; those of other commands as they are.

    ``--base A B C`` becomes ``--base A --base B --base C``, up to the next option. ``--gate`` that is not followed by
    MEASURE:AMOUNT becomes ``--gate default``.

    >>> expanded(["compare", "new.h5", "--base", "a.h5", "b.h5", "--gate", "--json"])
    ['compare', 'new.h5', '--base', 'a.h5', '--base', 'b.h5', '--gate', 'default', '--json']
    """
    if not arguments or arguments[0] != "compare":
        return list(arguments)
    return list(_one_value_each(arguments))


def _one_value_each(arguments: Sequence[str]) -> Iterator[str]:
    option = ""
    for index, argument in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if argument.startswith("-"):
            option = argument
            yield argument
            if argument == "--gate" and not _TOLERANCE.fullmatch(following):
                yield NO_VALUE
                option = ""
        elif option == "--base" and arguments[index - 1] != "--base":
            yield from ("--base", argument)
        else:
            yield argument
