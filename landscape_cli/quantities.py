"""Values of the YAML that are more than a number: durations, sizes, counts with ``auto``, devices."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field


def auto_or(least: int, most: int = 1 << 31) -> BeforeValidator:
    """Accept ``auto`` or a whole number in a range; by hand, because pydantic reports a union twice."""

    def check(value: object) -> object:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        span = f"of at least {least}" if most == 1 << 31 else f"from {least} to {most}"
        raise ValueError(f"found {value!r}; expected auto or a whole number {span}")

    return BeforeValidator(check, json_schema_input_type=Literal["auto"] | Annotated[int, Field(ge=least, le=most)])


AutoCount = Annotated[Literal["auto"] | int, auto_or(1)]
AutoNumber = Annotated[Literal["auto"] | int, auto_or(0)]

_DURATION = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|min|h)?\s*")
_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}


def parse_duration(text: str) -> float:
    """Seconds of text such as 500ms, 1s, 2m or 3h; a bare number is seconds.

    Raises:
        ValueError: For anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a duration such as 500ms, 1s or 2m")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(?:([kKmMgGtT])(i?))?[bB]?\s*")


_FEWEST_BYTES = 1_000_000  # a smaller number without a unit was meant in another one


def _bytes(value: object) -> object:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match and (match[2] or match[0].strip()[-1] in "bB"):
        base = 1024 if match[3] else 1000
        return int(float(match[1]) * base ** " KMGT".index((match[2] or " ").upper()))
    if value == "auto" or (type(value) is int and (value == 0 or value >= _FEWEST_BYTES)):
        return value
    raise ValueError(f"found {value!r}; expected auto, or a size with a unit such as 500MB or 8GB")


def _devices(value: object) -> object:
    if value in ("auto", "all"):
        return value
    numbers = value if isinstance(value, list | tuple) else []
    if numbers and all(type(number) is int and number >= 0 for number in numbers) and len({*numbers}) == len(numbers):
        return tuple(numbers)
    raise ValueError(f"found {value!r}; expected auto, all, or different numbers such as [0, 1]")


Duration = Annotated[
    float,
    BeforeValidator(
        _seconds,
        json_schema_input_type=Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=rf"^{_DURATION.pattern}$")],
    ),
    Field(ge=0),
]
Size = Annotated[
    Literal["auto"] | int,
    BeforeValidator(
        _bytes,
        json_schema_input_type=Literal["auto"]
        | Annotated[int, Field(ge=0)]
        | Annotated[str, Field(pattern=rf"^{_SIZE.pattern}$")],
    ),
]
Devices = Annotated[
    Literal["auto", "all"] | tuple[int, ...],
    BeforeValidator(
        _devices,
        json_schema_input_type=Literal["auto", "all"]
        | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)],
    ),
]


_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(%?)\s*")


def parse_amount(given: object) -> tuple[float, bool]:
    """A tolerance such as ``15%``, as 0.15 and True, or one in the units of what it is of, such as ``0.02``.

    Raises:
        ValueError: For anything else.

    >>> parse_amount("15%"), parse_amount(0.02)
    ((0.15, True), (0.02, False))
    """
    match = _AMOUNT.fullmatch(str(given)) if isinstance(given, str | int | float) and given is not True else None
    if match is None or math.isinf(float(match[1])):
        raise ValueError(f"found {given!r}; expected a share such as 15%, or a number such as 0.02")
    return (float(match[1]) / 100, True) if match[2] else (float(match[1]), False)


def _amount(value: object) -> object:
    parse_amount(value)
    return str(value)


Amount = Annotated[
    str,
    BeforeValidator(
        _amount,
        json_schema_input_type=Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=rf"^{_AMOUNT.pattern}$")],
    ),
]
