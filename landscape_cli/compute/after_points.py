"""What is measured from the model once the points are there: begun, and carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from landscape_cli.compute.checkpoint import read_entry
from landscape_cli.compute.curvature_map import MapStage
from landscape_cli.compute.fill import Saver
from landscape_cli.compute.instantiate import Target
from landscape_cli.compute.measure import CurvatureStage
from landscape_cli.compute.observer import Observer
from landscape_cli.compute.worker import Worker
from landscape_cli.config import Config, Settings
from landscape_cli.surface import Surface


def reader_of(config: Config, *, unsafe: bool) -> Callable[[str], object]:
    """From a dotted key to that entry of the checkpoint of a config."""
    return lambda key: read_entry(config.checkpoint.path, key, config.where("curvature", "measures"), unsafe=unsafe)


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
    stage = CurvatureStage(settings.curvature, worker, settings, output, own, read, observer, should_stop)
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
    if stage.section.map is not None:
        MapStage(stage.section.map, stage).begin(surface)
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
        if stage.section.map is not None and not should_stop():
            MapStage(stage.section.map, stage).run(surface, saver, should_stop)
    finally:
        torch.set_num_threads(before)
