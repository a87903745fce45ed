"""What is measured from the model once the points are there: begun, and carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from landscape_cli.compute.asked import Asked
from landscape_cli.compute.checkpoint import read_entry, sha256_of
from landscape_cli.compute.curvature_map import MapStage
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.instantiate import Target
from landscape_cli.compute.measure import CurvatureStage
from landscape_cli.compute.observer import Observer
from landscape_cli.compute.problem import Problem
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Config, Settings
from landscape_cli.errors import CheckpointError
from landscape_cli.surface import Surface


def reader_of(config: Config, problem: Problem, *, unsafe: bool) -> Callable[[str], object]:
    """From a dotted key to that entry of the checkpoint of a config, each read once."""
    known: dict[str, object] = {}
    path = config.checkpoint.path.expanduser()

    def read(key: str) -> object:
        if key not in known:
            try:
                known[key] = read_entry(path, key, config.where("curvature", "measures"), unsafe=unsafe)
            except CheckpointError as error:
                hint = error.hint or "Name the entry: measures: [{_target_: adam_lambda_max, state: optimizer}]"
                raise CheckpointError(str(error), hint=hint) from error
            if problem.loaded is not None and sha256_of(path) != problem.loaded.sha256:
                raise CheckpointError(f"{path}: was replaced while the scan began", hint="Run the same command again.")
        return known[key]

    return read


def curvature_of(
    worker: Worker,
    settings: Settings,
    output: Path | None,
    own: Mapping[str, Target],
    read: Callable[[str], object] | None,
    observer: Observer,
    should_stop: Callable[[], bool],
) -> CurvatureStage | None:
    """What is to be measured from the model; wrong names of parameters and splits are refused here."""
    if settings.curvature is None:
        return None
    asked = Asked(settings.curvature, worker, settings)
    stage = CurvatureStage(asked, output, own, read, observer, should_stop)
    stage.check()
    return stage


def begin_curvature(surface: Surface, settings: Settings, stage: CurvatureStage | None) -> bool:
    """Enter what is asked for now; whether that changes the surface."""
    before = surface.curvature, surface.curvature_map
    if stage is None:  # what an earlier config has asked for in vain is not asked for any more
        if surface.curvature is not None and surface.curvature.pending:
            surface.curvature = replace(surface.curvature, pending=())
        return surface.curvature is not before[0]
    stage.begin(surface)
    assert surface.curvature is not None
    if stage.asked.section.map is not None:
        MapStage(stage.asked.section.map, stage).begin(surface)
    resolved = {**surface.provenance.resolved, "curvature": settings.resolved()["curvature"]}
    surface.provenance = replace(surface.provenance, resolved=resolved)
    return bool(surface.curvature.pending) or surface.curvature_map is not before[1]


def measure_curvature(
    surface: Surface, stage: CurvatureStage, saver: Saver, cores: int, should_stop: Callable[[], bool]
) -> None:
    """On all cores: there are no helpers any more."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        stage.run(surface, saver)
        if stage.asked.section.map is not None and not should_stop():
            MapStage(stage.asked.section.map, stage).run(surface, saver, should_stop)
    finally:
        stage.close()
        torch.set_num_threads(before)
