"""Quantiles of Student's t distribution."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist


@cache
def t_quantile(degrees: float, *, confidence: float = 0.95) -> float:
    """Return t such that a Student variable lies between -t and t with probability ``confidence``.

    Args:
        degrees: Of freedom, at least 1; a fraction counts as the whole number below, infinity as a normal variable.
        confidence: From 0 to 1.

    >>> round(t_quantile(9), 4)
    2.2622
    """
    if math.isinf(degrees):
        return NormalDist().inv_cdf((1 + confidence) / 2)
    degrees = max(1, math.floor(degrees))
    low, high = 0.0, 1.0
    while two_sided(high, degrees) < confidence:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if two_sided(middle, degrees) < confidence else (low, middle)
    return high


def two_sided(t: float, degrees: int) -> float:
    """P(|T| < t) for a whole number of degrees of freedom (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(is_odd, degrees - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return (angle + sine * total) * 2 / math.pi if is_odd else sine * total
