"""Which cases of a parametrised test run always; the others run with the slow ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def mostly_slow(values: Iterable[object], *always: object) -> list[object]:
    """All values in their order, those that are not among `always` marked slow."""
    values = list(values)
    assert all(each in values for each in always), "no such case"
    return [each if each in always else pytest.param(each, marks=pytest.mark.slow) for each in values]
