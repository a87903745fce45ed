"""How the points are evaluated: engine, sizes of the pieces, threads. The same plan gives the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

from pydantic import JsonValue

from landscape_cli.config import MAX_POINTS_PER_CALL

DEFAULT_CHUNK = 256
MAX_CHUNK = 1 << 31


@dataclass(frozen=True)
class Plan:
    """Decides the rounding of every value, and so is kept when a scan is resumed.

    Attributes:
        engine: Name in `landscape_cli.compute.engines.table.ENGINES`.
        chunk_sizes: Split → examples per forward pass; the last chunk of a split may be smaller.
        points_per_call: K, points that the engine evaluates at once.
        num_threads: Threads of one process on a CPU.
    """

    engine: str
    chunk_sizes: Mapping[str, int]
    points_per_call: int = 1
    num_threads: int = 1

    def __hash__(self) -> int:
        return hash((self.engine, frozenset(self.chunk_sizes.items()), self.points_per_call, self.num_threads))

    def halved(self) -> Plan | None:
        """The plan for less memory: half as many points at once, then half as many examples; None if nothing is left.

        Points first: their activations lie in memory together, and a chunk of many examples is what devices like.
        """
        if self.points_per_call > 1:
            return replace(self, points_per_call=self.points_per_call // 2)
        if max(self.chunk_sizes.values()) == 1:
            return None
        return replace(self, chunk_sizes={name: max(1, size // 2) for name, size in self.chunk_sizes.items()})

    def is_smaller_than(self, other: Plan) -> bool:
        """Whether this plan takes less at a time than another one for the same engine."""
        ours = (self.points_per_call, sum(self.chunk_sizes.values()))
        return self.engine == other.engine and ours < (other.points_per_call, sum(other.chunk_sizes.values()))

    def describe(self) -> str:
        """``mlp, 8 points × 256 examples at a time``."""
        sizes = " or ".join(f"{size:,}" for size in sorted(set(self.chunk_sizes.values())))
        points = f"{self.points_per_call} points × " if self.points_per_call > 1 else ""
        return f"{self.engine}, {points}{sizes} examples at a time"

    def to_json(self) -> dict[str, JsonValue]:
        """For the surface file."""
        return {
            "engine": self.engine,
            "chunk_sizes": dict(self.chunk_sizes),
            "points_per_call": self.points_per_call,
            "num_threads": self.num_threads,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, JsonValue]) -> Plan | None:
        """The plan of a surface file; None where there is none.

        Args:
            stored: What `to_json` made, or anything else: a surface file is not trusted.
        """
        engine, sizes = stored.get("engine"), stored.get("chunk_sizes")
        points, threads = stored.get("points_per_call"), stored.get("num_threads")
        if not (isinstance(engine, str) and isinstance(sizes, dict) and sizes):
            return None
        chunk_sizes = {name: size for name, size in sizes.items() if _is_count(size, MAX_CHUNK)}
        if len(chunk_sizes) != len(sizes) or not _is_count(points, MAX_POINTS_PER_CALL) or not _is_count(threads, 4096):
            return None
        return cls(engine, chunk_sizes, points, threads)

    def fits(self, num_examples: Mapping[str, int]) -> bool:
        """Whether it is a plan for these splits, given by name and size."""
        return set(self.chunk_sizes) == set(num_examples) and all(
            size <= num_examples[name] for name, size in self.chunk_sizes.items()
        )


def _is_count(value: object, limit: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= limit
