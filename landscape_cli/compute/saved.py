"""The directions of a scan in a file of their own, beside the surface."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.compute.checkpoint import sha256_of
from landscape_cli.compute.directions.files import image_of
from landscape_cli.compute.problem import Problem
from landscape_cli.errors import UsageError
from landscape_cli.storage import replace_file
from landscape_cli.surface import Provenance, Surface


def save_directions(
    problem: Problem,
    surface: Surface,
    output: Path,
    note: Callable[[str], None] = lambda _: None,
    num_slices: int | None = None,
) -> Provenance:
    """Write the directions of all slices, or of the first ones, as ``FILE.directions.safetensors`` beside FILE.

    Returns:
        The provenance of the surface with the name and the SHA-256 of that file under ``found.directions``.

    Raises:
        UsageError: That file is one that a direction is read from.
        OutputError: It cannot be written.
    """
    names = [axis.name for axis in problem.grid.axes]
    drawn = {
        (index, name): direction
        for index in range(num_slices or problem.grid.num_slices)
        for name, direction in zip(names, problem.draw(index), strict=True)
    }
    image = image_of(drawn)
    path = output.with_name(f"{output.name}.directions.safetensors")
    if problem.sources is not None and any(path.resolve() == each.resolve() for each in problem.sources.files):
        raise UsageError(
            f"{path}: is read by a direction; directions: save would replace it",
            hint="Choose another output with -o, or copy the file.",
        )
    digest = hashlib.sha256(image).hexdigest()
    if not path.exists() or sha256_of(path) != digest:
        replace_file(path, image)
        note(f"directions: {path}")
    provenance = surface.provenance
    found = provenance.resolved.get("found")
    told: dict[str, JsonValue] = {
        **(found if isinstance(found, dict) else {}),
        "directions": {"file": path.name, "sha256": digest},
    }
    return replace(provenance, resolved={**provenance.resolved, "found": told})


def saved_directions(existing: Surface | None, output: Path | None) -> Path | None:
    """The file with the directions of a surface, where it is there and unchanged."""
    found = existing.provenance.resolved.get("found") if existing else None
    told = found.get("directions") if isinstance(found, dict) else None
    name = Path(str(told.get("file"))).name if isinstance(told, dict) else ""
    if not isinstance(told, dict) or output is None or not name:
        return None
    path = output.parent / name  # beside the surface, whatever stands there
    if not path.is_file() or sha256_of(path) != told.get("sha256"):
        return None
    return path
