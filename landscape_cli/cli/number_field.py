"""A number in a JSON document: null where it is not finite, for JSON has no other word for it."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field


def _finite_or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite_or_null), Field(description="null where it is not finite")]
