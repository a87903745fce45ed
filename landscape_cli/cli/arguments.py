"""Arguments that Typer does not know: an option with several values, and one with a value or none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from landscape_cli.errors import UsageError

NO_VALUE = "default"  # of --gate
WITH_BASE = "Such as: landscape compare new.h5 --base a.h5 b.h5 c.h5 --gate"
_TOLERANCE = re.compile(r"(?!.*\.h5$)([A-Za-z_]\w*(\([\w.]+\))?[:=][^/\\]*|[\d.]+ ?%)")  # also what is nearly one


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments of ``landscape compare`` so that every option has one value; those of other commands as they are.

    ``--base A B C`` becomes ``--base A --base B --base C``, up to the next option. ``--gate`` that is not followed by
    MEASURE:AMOUNT becomes ``--gate default``; before several of these it is repeated, too.

    Raises:
        UsageError: ``--base`` without a file, or an empty argument.

    >>> expanded(["compare", "new.h5", "--base", "a.h5", "b.h5", "--gate", "--json"])
    ['compare', 'new.h5', '--base', 'a.h5', '--base', 'b.h5', '--gate', 'default', '--json']
    """
    if not arguments or arguments[0] != "compare":
        return list(arguments)
    if "" in arguments:
        raise UsageError("compare: found an empty argument", hint="Is a variable of the shell not set?")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*_one_value_each(arguments[:end]), *arguments[end:]]


def _one_value_each(arguments: Sequence[str]) -> Iterator[str]:
    option = ""  # that the next argument may be a value of
    for argument, following in zip(arguments, (*arguments[1:], ""), strict=True):
        if _is_value(argument, option):
            yield from (option, argument)
            continue
        option = argument
        if argument == "--base" and not _is_value(following, option):
            raise UsageError("--base: found no file; expected one or several", hint=WITH_BASE)
        if argument == "--gate" and not _is_value(following, option):
            yield from (argument, NO_VALUE)
        elif argument not in ("--base", "--gate"):
            yield argument


def _is_value(argument: str, option: str) -> bool:
    if option == "--gate":
        return _TOLERANCE.fullmatch(argument) is not None
    return option == "--base" and bool(argument) and not argument.startswith("-")
