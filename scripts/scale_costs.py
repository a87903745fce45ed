"""What surface files cost on this machine, with the code that a scan uses: bytes, seconds, memory."""

from __future__ import annotations

import bisect
import math
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from landscape_cli.compute.crew import Crew
from landscape_cli.compute.memory import num_cores
from landscape_cli.compute.units import Units
from landscape_cli.grid import Axis, Grid
from landscape_cli.share import Share
from landscape_cli.storage import load_surface, save_surface
from landscape_cli.surface import Direction, FloatArray, Metric, Provenance, Surface
from landscape_cli.union import merge, new_part, parts_of, unite

METRICS = ("train_loss", "test_loss")
# 8 bytes for a mean and for its standard deviation, and 1 for the mask
BYTES_PER_POINT = 16 * len(METRICS) + 1
POINTS_PER_CALL = 16
NUM_PARTS = 20  # of a look and a merge that are timed
_MEASURED = ("image", "write", "load", "unite", "order", "missing")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Curve:
    """A quantity that grows with the number of points: straight between what was measured, and beyond it.

    Attributes:
        sizes: Numbers of points, ascending, the first one 0.
        values: At each.
        beyond: More for each point behind the last.
    """

    sizes: tuple[float, ...]
    values: tuple[float, ...]
    beyond: float

    def __call__(self, num_points: float) -> float:
        """For one file."""
        if num_points >= self.sizes[-1]:
            return self.values[-1] + self.beyond * (num_points - self.sizes[-1])
        index = bisect.bisect_right(self.sizes, num_points)
        (x, y), (to_x, to_y) = ((self.sizes[each], self.values[each]) for each in (index - 1, index))
        return y + (to_y - y) * (num_points - x) / (to_x - x)

    @classmethod
    def line(cls, fixed: float, per_point: float) -> Curve:
        """A straight one."""
        return cls((0.0,), (fixed,), per_point)

    @classmethod
    def through(cls, sizes: Sequence[float], found: Sequence[float]) -> Curve:
        """What was measured; to 0 as from the second to the first, beyond the last as much for each point as there.

        The time for each point grows with the size: large arrays are memory that the kernel has to give each time.
        """
        slope = (found[1] - found[0]) / (sizes[1] - sizes[0])
        return cls((0.0, *sizes), (max(found[0] - slope * sizes[0], 0.0), *found), found[-1] / sizes[-1])


@dataclass(frozen=True)
class Costs:
    """Of one surface file, dense, with as many metrics as `METRICS`.

    Seconds are those of the processor, which do not depend on what else the machine does, but for the disk.

    Attributes:
        size: Bytes of the file.
        image: Of `save_surface` without the disk: the image of the file in memory, and its checksum.
        write: A write and fsync of as many bytes on the disk of this machine, as time passes.
        load: `load_surface`, of a file that the kernel has in memory.
        unite: Entering the points of one surface into another, of which it has half already.
        order: The order of the points, cut into units.
        missing: Which of the units have anything left to do.
        fsync: One small write with fsync, as time passes.
        stat, listed: For each file of a full folder: its status, its name; as time passes.
        memory: Bytes of main memory for each point, of the largest surface measured: ``save`` at its peak, with the
            surface; ``load`` at its peak, with what it returns; ``order`` at its peak; ``units``, what stays of it.
    """

    size: Curve
    image: Curve
    write: Curve
    load: Curve
    unite: Curve
    order: Curve
    missing: Curve
    fsync: float
    stat: float
    listed: float
    memory: Mapping[str, float]

    def save(self, num_points: float) -> float:
        """Seconds of a save on this machine."""
        return self.image(num_points) + self.write(num_points)

    @classmethod
    def nothing(cls) -> Costs:
        """A machine on which surfaces cost nothing, for what can be said exactly."""
        free = Curve.line(0.0, 0.0)
        return cls(*(free,) * 7, 0.0, 0.0, 0.0, {})

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Costs:
        """From ``measured``, see `measure`."""
        sizes = facts["points"]
        size = Curve.line(facts["size"][-1] - BYTES_PER_POINT * sizes[-1], BYTES_PER_POINT)
        image, write, load, unite, order, missing = (Curve.through(sizes, facts[name]) for name in _MEASURED)
        fsync, stat, listed = (float(facts[name]) for name in ("fsync", "stat", "listed"))
        return cls(size, image, write, load, unite, order, missing, fsync, stat, listed, facts["memory"])


# ---------------------------------------------------------------- measure


def grid_of(side: int, num_slices: int) -> Grid:
    """A square plane with this many slices."""
    return Grid((Axis.linspace("x", -1, 1, side), Axis.linspace("y", -1, 1, side)), num_slices)


def half_filled(grid: Grid) -> Surface:
    """A surface such as a scan writes: random values, every other point evaluated."""
    rng = np.random.default_rng(0)
    mask = rng.random(grid.shape) < 0.5

    def values() -> FloatArray:
        return np.where(mask, rng.random(grid.shape), np.nan)

    metrics = {name: Metric(values(), values(), 0.0, 0.0, 1000) for name in METRICS}
    recipe = Direction({"_target_": "random", "normalization": "filter"}, (1.0,) * grid.num_slices)
    return Surface(
        grid=grid,
        metrics=metrics,
        directions={axis.name: recipe for axis in grid.axes},
        fingerprint="0" * 64,
        evaluated=mask,
        provenance=Provenance(config="# about as long as the configuration of a scan\n" * 20),
    )


def measure(shapes: Sequence[tuple[int, int]], folder: Path, *, num_files: int, rounds: int) -> dict[str, Any]:
    """Time surfaces of several sizes, and a folder with many files.

    Args:
        shapes: Side of the plane and number of slices, of at least two sizes.
        folder: On the disk to be measured.
        num_files: In the folder that is listed.
        rounds: Of each; the fastest counts, as the least disturbed.

    Returns:
        ``measured``, from which `Costs` come; ``checked``, a look at several parts and their merge, as a scan does it,
        beside what these say; ``machine``.
    """
    sizes = [side * side * num_slices for side, num_slices in shapes]
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        memory = _memory(*shapes[-1], Path(name) / "surface.h5")  # before anything is left in this process
        for side, num_slices in shapes:
            for key, value in _of_size(grid_of(side, num_slices), Path(name) / "surface.h5", rounds).items():
                rows.setdefault(key, []).append(value)
        small = _seconds_of_fsync(Path(name) / "small")
        stat, listed = _seconds_per_file(Path(name), num_files, rounds)
        several = _of_parts(grid_of(*shapes[len(shapes) // 2]), Path(name) / "several", rounds)
    measured = {
        "points": sizes,
        **rows,
        "fsync": small,
        "stat": stat,
        "listed": listed,
        "files_in_folder": num_files,
        "memory": memory,
    }
    return {
        "measured": rounded(measured),
        "checked": rounded(several | predicted(Costs.from_json(measured), several)),
        "machine": {
            "processor": _processor(),
            "cores": num_cores(),
            "system": platform.system(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }


def rounded(facts: Any) -> Any:
    """Every float to four digits, whole numbers as they are."""
    if isinstance(facts, Mapping):
        return {key: rounded(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [rounded(value) for value in facts]
    return float(f"{facts:.4g}") if isinstance(facts, float) else facts


def _of_size(grid: Grid, path: Path, rounds: int) -> dict[str, float]:
    """Seconds (and bytes) for a surface of one size."""
    surface = half_filled(grid)
    save_surface(surface, path)
    size = path.stat().st_size
    content = bytes(size)
    united, units = _nothing(surface), Units(surface, POINTS_PER_CALL)
    unite(united, surface, path)
    known = united.evaluated.copy()
    known[..., ::2] = False

    def unite_again() -> None:
        united.evaluated[...] = known
        unite(united, surface, path)

    plain = partial(_write, path.with_suffix(".plain"), content)
    saved = _fastest(lambda: save_surface(surface, path), rounds)
    return {
        "size": size,
        "image": max(saved - _fastest(plain, rounds), 0.0),
        "write": _fastest(plain, rounds, time.perf_counter),
        "load": _fastest(lambda: load_surface(path), rounds),
        "unite": _fastest(unite_again, rounds),
        "order": _fastest(lambda: Units(surface, POINTS_PER_CALL), rounds),
        "missing": _fastest(units.missing, rounds),
    }


def _nothing(like: Surface) -> Surface:
    """The same surface with no points."""
    return Surface.empty(
        like.grid,
        dict.fromkeys(METRICS, (0.0, 0.0)),
        dict.fromkeys(METRICS, 1000),
        directions=like.directions,
        fingerprint=like.fingerprint,
    )


def _of_parts(grid: Grid, folder: Path, rounds: int) -> dict[str, Any]:
    """Processor seconds of a look at several parts, of one that finds nothing new, and of their merge."""
    folder.mkdir()
    output, surface = folder / "F.h5", half_filled(grid)
    share = Share(0, NUM_PARTS + 1)
    mine = np.random.default_rng(1).integers(NUM_PARTS, size=grid.shape)  # who has a point
    mask = surface.evaluated
    looks, again, merges = [], [], []
    for _ in range(rounds):
        with Crew(share, output, sweeps=True, should_stop=lambda: False) as crew:
            assert crew.existing() is None
            crew.found(_nothing(surface), before=None)
            for rank in range(NUM_PARTS):
                surface.evaluated = mask & (mine == rank)
                save_surface(surface, new_part(output, replace(share, rank=rank + 1)))
            looks.append(_fastest(partial(crew.look, always=True), 1))
            again.append(_fastest(partial(crew.look, always=True), 1))
            merges.append(_fastest(lambda: merge(parts_of(output), output), 1))
        output.unlink()
    return {
        "points": grid.num_points,
        "parts": NUM_PARTS,
        "look": min(looks),
        "look_again": min(again),
        "merge": min(merges),
    }


def predicted(costs: Costs, several: Mapping[str, Any]) -> dict[str, float]:
    """What the costs say of the look and of the merge."""
    num, parts = several["points"], several["parts"]
    of_one = costs.load(num) + costs.unite(num)
    merged = parts * of_one + costs.image(num) + 2 * costs.load(num) + costs.unite(num)
    return {"look_predicted": parts * of_one, "merge_predicted": merged}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _write_often(path: Path, times: int) -> None:
    for _ in range(times):
        _write(path, b"x")


def _fastest(run: Callable[[], object], rounds: int, clock: Callable[[], float] = time.process_time) -> float:
    best = math.inf
    for _ in range(rounds):
        start = clock()
        result = run()
        best = min(best, clock() - start)
        del result  # before the next one is made
    return best


def _seconds_of_fsync(path: Path, times: int = 20) -> float:
    return _fastest(partial(_write_often, path, times), 3, time.perf_counter) / times


def _seconds_per_file(folder: Path, num_files: int, rounds: int) -> tuple[float, float]:
    """To ask for the status of every file of a full folder, and to list it."""
    full = folder / "full"
    full.mkdir()
    names = [full / f"F.h5.part-{number:05}-of-{num_files:05}-00000000" for number in range(num_files)]
    for each in names:
        each.touch()
    stat = _fastest(lambda: [each.stat() for each in names], rounds, time.perf_counter)
    listed = _fastest(lambda: os.listdir(full), rounds, time.perf_counter)  # noqa: PTH208  # what is timed is the call
    return stat / num_files, listed / num_files


# ---------------------------------------------------------------- memory


def _memory(side: int, num_slices: int, path: Path) -> dict[str, float]:
    """Bytes for each point, every call in a process of its own; nothing where the kernel does not say."""
    if not Path("/proc/self/clear_refs").exists():
        return {}
    found = {}
    for name in ("save", "load", "order"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            peak, kept = pool.submit(_peak_of, name, side, num_slices, path).result()
        found[name] = peak
        if name == "order":
            found["units"] = kept
    return found


def _peak_of(name: str, side: int, num_slices: int, path: Path) -> tuple[float, float]:
    """Bytes for each point: at the peak of a call, and after it."""
    grid = grid_of(side, num_slices)
    surface = half_filled(grid_of(2, 1))
    before = _resident("VmRSS")
    if name == "save":
        surface = half_filled(grid)
    elif name == "order":
        surface = half_filled(grid)
        before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    result: object = None
    if name == "save":
        save_surface(surface, path)
    elif name == "load":
        result = load_surface(path)
    else:
        result = Units(surface, POINTS_PER_CALL)
    peak, after = (_resident(key) for key in ("VmHWM", "VmRSS"))
    del result
    return (peak - before) / grid.num_points, (after - before) / grid.num_points


def _resident(key: str) -> float:
    words = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key)).split()
    return 1024 * float(words[1])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
