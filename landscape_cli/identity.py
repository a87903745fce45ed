"""What makes two scans the same: a fingerprint, and the keys in which they differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import JsonValue


def fingerprint(identity: Mapping[str, JsonValue]) -> str:
    """SHA-256 of everything that decides the numbers, as canonical JSON."""
    return hashlib.sha256(_canonical(identity).encode()).hexdigest()


def differing_keys(found: JsonValue, expected: JsonValue, path: str = "") -> list[str]:
    """The dotted keys at which two identities differ, each as ``key: found → expected``; none for equal fingerprints.

    >>> differing_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    ['a.c: 2 → 3']
    """
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        # as text, because 1, 1.0 and true are equal to Python and have different fingerprints
        return [] if _canonical(found) == _canonical(expected) else [f"{path}: {_short(found)} → {_short(expected)}"]
    lines = []
    for key in sorted({*found, *expected}):
        inner = f"{path}.{key}".lstrip(".")
        if key in found and key in expected:
            lines += differing_keys(found[key], expected[key], inner)
            continue
        before, after = (_short(side[key]) if key in side else "absent" for side in (found, expected))
        lines.append(f"{inner}: {before} → {after}")
    return lines


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:28]}…{text[-12:]}"
