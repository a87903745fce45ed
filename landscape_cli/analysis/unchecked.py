"""Values of the JSON in a surface file, which may be anything: of the type that is expected, or empty."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue


def section(mapping: Mapping[str, JsonValue], key: str) -> Mapping[str, JsonValue]:
    """The mapping under a key.

    >>> section({"a": {"b": 1}, "c": 2}, "a"), section({"c": 2}, "c"), section({}, "d")
    ({'b': 1}, {}, {})
    """
    found = mapping.get(key)
    return found if isinstance(found, dict) else {}


def text(value: JsonValue) -> str:
    """A text.

    >>> text("a"), text(None), text(["a"])
    ('a', '', '')
    """
    return value if isinstance(value, str) else ""


def visible(words: str) -> str:
    """Words on one line with what nobody can see, and some programs obey, written out.

    >>> visible("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
