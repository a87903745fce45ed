"""A surface file and its parts: what several processes have computed, each in a file of its own, taken together.

A part is a surface file with a partial mask. The union of the masks, of the file and of the parts beside it, is what
there is; a point that several have is the same in all of them, up to rounding.
"""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from landscape_cli.errors import OutputError, ResumeMismatchError, SurfaceError
from landscape_cli.identity import differing_keys
from landscape_cli.locks import real_path
from landscape_cli.records import Curvature
from landscape_cli.share import Share
from landscape_cli.storage import load_surface, save_surface
from landscape_cli.surface import BoolArray, Metric, Surface

# By how much the value of one point may differ between machines: rounding, which is amplified far from the centre.
POINT_RTOL = {"float64": 1e-7, "float32": 1e-3, "tf32": 0.1, "bfloat16": 0.1}
_LARGEST_RTOL = max(POINT_RTOL.values())
# a part that is being merged has a name of its own, so that whoever writes it can write it anew meanwhile
_PART = re.compile(r"\.part-(\d+)-of-(\d+)-[0-9a-f]{8}(\.merging)?$")
_REMOVE = "Remove it, and run the scan again: only what it holds is computed anew."
_LEAVE_OUT = "Leave it out: only files of one scan go together."


# ---------------------------------------------------------------- names


def new_part(output: Path, share: Share) -> Path:
    """A name for the part of one process, which no other one has."""
    output = real_path(output)
    return output.with_name(f"{output.name}.part-{share.rank:04d}-of-{share.world_size:04d}-{secrets.token_hex(4)}")


def parts_of(output: Path) -> list[Path]:
    """The parts beside a file, whether or not it is there itself."""
    output = real_path(output)
    found = output.parent.glob(f"{glob.escape(output.name)}.part-*")
    return sorted(path for path in found if _PART.search(path.name) and whole_of(path) == output)


def whole_of(path: Path) -> Path:
    """The file that a part belongs to; any other path is its own."""
    return path.with_name(_PART.sub("", path.name))


def share_in_name(path: Path) -> tuple[int, int] | None:
    """The rank and the world size of who writes a part; None for another file, and for one that is being merged."""
    match = _PART.search(path.name)
    return (int(match[1]), int(match[2])) if match and not match[3] else None


def remove_leftovers_of_parts(output: Path) -> None:
    """Delete what killed processes have left in the middle of saving a part; only when nobody writes any more."""
    output = real_path(output)
    for leftover in output.parent.glob(f".{glob.escape(output.name)}.part-*.tmp-*"):
        leftover.unlink(missing_ok=True)


# ---------------------------------------------------------------- read


def load_union(path: Path) -> Surface:
    """Read a surface file together with the parts beside it; so also while several processes fill it.

    Args:
        path: The file, or one of its parts.

    Raises:
        SurfaceError: As `landscape_cli.load_surface`; also for a part that is damaged or of another scan.
    """
    whole, united = whole_of(path), None
    known: set[Path] = set()
    while True:
        parts = parts_of(whole)
        if whole.exists():
            file = load_surface(whole)
            if united is not None:
                unite(file, united, whole)
            united = file
        gone = False
        for name in parts:  # one after the other: there may be thousands
            if name in known:
                continue
            part = load_part(name)
            if part is None:
                gone = True
                continue
            known.add(name)
            if united is None:
                united = part
            else:
                unite(united, part, name)
        if not gone:  # else what it had may have been put into the file after that was read
            return load_surface(path) if united is None else united


def load_part(path: Path, name: Path | None = None) -> Surface | None:
    """Read a part; None for one that has been merged meanwhile.

    Args:
        path: Where it is now.
        name: What messages call it, where that is another name.

    Raises:
        SurfaceError: It is damaged.
    """
    try:
        return load_surface(path)
    except SurfaceError as error:
        if isinstance(error.__cause__, FileNotFoundError) or not path.exists():
            return None  # also where a new one has got its name meanwhile
        raise type(error)(str(error).replace(str(path), str(name or path), 1), hint=_REMOVE) from error


# ---------------------------------------------------------------- unite


def unite(surface: Surface, part: Surface, name: Path) -> int:
    """Enter what a part has and a surface lacks, on the grid and beside it.

    Args:
        surface: Changed in place; what it has stays as it is.
        part: Of the same scan.
        name: Of the part, for messages.

    Returns:
        How much was new: points of the grid and beside it, and records.

    Raises:
        ResumeMismatchError: It is of another scan.
        SurfaceError: A point that both have is not the same.
    """
    check_same_scan(surface, part, name)
    num_new = _enter(surface, part, name, _rtol(surface))
    for beside in ("radius", "curvature_map"):
        ours, theirs = getattr(surface, beside), getattr(part, beside)
        if ours is None or theirs is None:
            setattr(surface, beside, ours if theirs is None else theirs)
            num_new += theirs.num_evaluated if ours is None and theirs is not None else 0
        elif ours.grid == theirs.grid and ours.fingerprint == theirs.fingerprint:
            num_new += _enter(ours, theirs, name, _rtol(surface))
        else:
            raise ResumeMismatchError(f"{name}: its {beside.replace('_', ' ')} is another one", hint=_hint(name))
    if part.curvature is not None:
        before = len(surface.curvature.records) if surface.curvature else 0
        surface.curvature = _with_records(surface.curvature, part.curvature)
        num_new += len(surface.curvature.records) - before
    if surface.trajectory is None:
        surface.trajectory = part.trajectory
    ours, theirs = surface.provenance, part.provenance
    seen = list(ours.environment)
    environment = seen + [item for item in theirs.environment if item not in seen]
    engine = {**theirs.engine, **ours.engine, **({"halved": True} if theirs.engine.get("halved") else {})}
    surface.provenance = replace(ours, environment=environment, engine=engine)
    return num_new


def check_same_scan(surface: Surface, part: Surface, name: Path) -> None:
    """Refuse a part of another scan.

    Raises:
        ResumeMismatchError: It is.
    """
    if surface.fingerprint != part.fingerprint:
        lines = differing_keys(dict(surface.provenance.identity), dict(part.provenance.identity))
        what = "\n".join(["was made by another config, checkpoint or data (file → part):", *(f"  {x}" for x in lines)])
        hint = "Remove it, or move it away." if whole_of(name) != name else _LEAVE_OUT
        raise ResumeMismatchError(f"{name}: {what}", hint=hint)
    if surface.grid != part.grid or surface.metrics.keys() != part.metrics.keys():
        what = "range of an axis" if surface.grid != part.grid else "metrics"
        raise ResumeMismatchError(f"{name}: has another {what} than the file", hint=_hint(name))


def _hint(name: Path) -> str:
    """What to do with a file that does not fit: a part is of no use, any other may be somebody's surface."""
    return _REMOVE if whole_of(name) != name else _LEAVE_OUT


def _rtol(surface: Surface) -> float:
    evaluation = surface.provenance.resolved.get("evaluation")
    precision = evaluation.get("precision") if isinstance(evaluation, dict) else None
    return POINT_RTOL.get(str(precision), _LARGEST_RTOL)


def _enter(surface: Surface, part: Surface, name: Path, rtol: float) -> int:
    both = surface.evaluated & part.evaluated
    new = part.evaluated & ~surface.evaluated
    for metric, ours in surface.metrics.items():
        theirs = part.metrics[metric]
        if both.any():
            _check_agreement(metric, ours, theirs, both, rtol, name)
        ours.values[new], ours.std[new] = theirs.values[new], theirs.std[new]
    surface.evaluated |= new
    return int(new.sum())


def _check_agreement(metric: str, ours: Metric, theirs: Metric, both: BoolArray, rtol: float, name: Path) -> None:
    a, b = ours.values[both], theirs.values[both]
    flips = 3 / ours.num_examples if ours.num_examples and not metric.endswith("_loss") else 0.0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        same |= np.abs(a - b) <= rtol * np.maximum(np.abs(a), np.abs(b)) + rtol / 10 + flips
    if not same.all():
        first = int(np.flatnonzero(~same)[0])
        raise SurfaceError(
            f"{name}: {metric} at {int((~same).sum())} of {len(a)} points that the file has as well is another one, "
            f"such as {b[first]!r} in place of {a[first]!r}: more than rounding, so the code of the model, of a metric "
            "or of a direction is another one",
            hint=_hint(name),
        )


def _with_records(ours: Curvature | None, theirs: Curvature) -> Curvature:
    if ours is None:
        return theirs
    records = {**theirs.records, **ours.records}
    pending = [name for name in dict.fromkeys((*ours.pending, *theirs.pending)) if name not in records]
    return Curvature(records, tuple(pending))


# ---------------------------------------------------------------- merge


def merge(sources: Sequence[Path], output: Path) -> Surface:
    """Put what ``sources`` have into ``output``, and remove those that are parts of it once it is read back.

    To be called by whoever is the only one that writes ``output`` now, see `landscape_cli.locks`; parts may still be
    written: what comes after they were read is a new part.

    Args:
        sources: Parts of ``output``, or other surface files of the same scan, which stay as they are.
        output: Read as well, where it is there.

    Raises:
        SurfaceError: A source is damaged or of another scan; nothing is changed.
        OutputError: The file cannot be written; nothing is lost.
    """
    whole = real_path(output)
    own = {
        source: _set_aside(source) for source in sources if whole_of(real_path(source)) == whole != real_path(source)
    }
    try:
        united = load_surface(output) if output.exists() else None
        is_changed = united is None
        for source in sources:
            # a part goes by the name that it gets back, not by that of the moment: people look for it after an error
            part = load_part(own[source], source) if source in own else _load_foreign(source)
            if part is not None and united is not None:
                is_changed |= unite(united, part, source) > 0
            elif part is not None:
                united = replace(part, created="")
            del part  # before the file is written, which takes the most memory
        if united is None:
            return load_surface(output)
        if is_changed:
            save_surface(united, output)
            _check_read_back(united, output)
    except BaseException:
        for source, aside in own.items():
            _put_back(aside, source)
        raise
    for aside in own.values():
        aside.unlink(missing_ok=True)
    return united


def _load_foreign(path: Path) -> Surface:
    """A file of its own, with what lies beside it; or one part of another file, as named."""
    return load_union(path) if whole_of(path) == path else load_surface(path)


def _set_aside(path: Path) -> Path:
    """Give a part the name of one that is being merged, so that what is read and removed is one version of it."""
    if path.name.endswith(".merging"):
        return path
    aside = path.with_name(f"{path.name}.merging")
    try:
        if aside.exists() and aside.samefile(path):  # killed while it was put back: a rename would do nothing
            path.unlink()
            return aside
        path.rename(aside)
    except FileNotFoundError:
        pass  # somebody else has merged it
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be merged: {error.strerror}", hint="Its points are safe where it is."
        ) from error
    return aside


def _put_back(aside: Path, source: Path) -> None:
    """Give a part its name back, unless it was written anew meanwhile: a rename would replace that by the older one."""
    with suppress(OSError):  # it counts under either name
        os.link(aside, source)
        aside.unlink()


def _check_read_back(united: Surface, output: Path) -> None:
    if unite(load_surface(output), united, output):
        raise OutputError(f"{output}: does not hold what was written", hint="The parts are kept. Is the disk sound?")
