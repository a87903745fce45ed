"""Check a config as far as it can be checked without scanning, and report every problem at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from landscape_cli.compute.after_points import curvature_of, reader_of
from landscape_cli.compute.assemble import Surroundings, assemble_problem, build_model, check_components
from landscape_cli.compute.checkpoint import Loaded, load_weights
from landscape_cli.compute.data import Batches
from landscape_cli.compute.device import choose_devices
from landscape_cli.compute.evaluate import never
from landscape_cli.compute.fresh import fresh_surface
from landscape_cli.compute.observer import Silent
from landscape_cli.compute.preflight import check_centre
from landscape_cli.compute.prepare import make_worker
from landscape_cli.compute.selfcheck import check_labels
from landscape_cli.compute.span import find_ranges
from landscape_cli.compute.splits import Decoder
from landscape_cli.compute.trajectory import trajectory_of
from landscape_cli.config import Config
from landscape_cli.errors import ConfigError, LandscapeError


@dataclass
class Validation:
    """What was found.

    Attributes:
        problems: Every error, in the order of the config.
        notes: What was checked and found, and what was not checked.
    """

    problems: list[LandscapeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep an error instead of letting it end the check."""
        try:
            yield
        except LandscapeError as error:
            self.problems.append(error)


def validate(config: Config, *, data: bool = True, unsafe_load: bool = False) -> Validation:
    """Resolve every target, build the model, match the checkpoint, decode the data and evaluate the centre twice.

    Args:
        config: From `landscape_cli.load_config`.
        data: False checks without the files: no dataset is built, and the checkpoint may not be there yet.
        unsafe_load: As for `scan`.
    """
    result = Validation()
    components = check_components(config)
    if components:
        result.problems.append(ConfigError(components))
        return result
    result.notes.append("every target found, every argument fits")
    model = loaded = None
    with result.collect():
        model = build_model(config)
        loaded = _check_weights(model, config, result, may_be_absent=not data, unsafe_load=unsafe_load)
    if not data:
        result.notes.append("data not checked")
        return result
    batches: dict[str, Batches] = {}
    decoder = Decoder(config.runtime)
    for split in config.data:
        with result.collect():
            batches[split] = decoder.decode_split(config, split)
            result.notes.append(f"data.{split}: {len(batches[split])} examples")
    if not result.problems and loaded is not None:
        with result.collect():
            devices = choose_devices(config.runtime.device, config.where("runtime", "device"), config.runtime.devices)
            surroundings = Surroundings(devices[0], unsafe_load, result.notes.append)
            problem = assemble_problem(config, model, loaded, batches, surroundings)
            problem.drawing.check_repeats()
            if problem.radius is not None:
                problem.radius.drawing.check_repeats()
            result.notes.append("directions: every tensor has one")
            trajectory = trajectory_of(problem, config)
            if trajectory is not None:
                result.notes.append(f"trajectory: {len(trajectory.names)} checkpoints")
            worker = make_worker(problem, devices[0], config.runtime)
            curvature = curvature_of(
                worker, config, None, {}, reader_of(config, problem, unsafe=unsafe_load), Silent(), never
            )
            if curvature is not None:
                surface = fresh_surface(problem, config, devices[0])
                result.notes.append(f"curvature: {curvature.asked.in_words(surface)}")
            if problem.radius is not None:
                grid = problem.radius.grid
                result.notes.append(f"radius: {grid.num_slices} directions, {grid.num_points} points")
            check_labels(worker)
            centre, _ = check_centre(worker, config, config.checkpoint.expect)
            result.notes.append("centre: " + ", ".join(f"{name} {mean:.4g}" for name, (mean, _) in centre.items()))
            result.notes.append("the centre repeats itself")
            for name, (low, high) in find_ranges(worker, config, trajectory).items():
                result.notes.append(f"axis {name}: from {low:g} to {high:g}")
    return result


def _check_weights(
    model: nn.Module, config: Config, result: Validation, *, may_be_absent: bool, unsafe_load: bool
) -> Loaded | None:
    result.notes.append(f"model: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    if may_be_absent and not config.checkpoint.path.expanduser().exists():
        result.notes.append(f"checkpoint not checked: {config.checkpoint.path} is not there")
        return None
    loaded = load_weights(model, config.checkpoint, where=config.where("checkpoint"), unsafe=unsafe_load)
    result.notes.append(f"checkpoint: {loaded.num_matched} of {loaded.num_tensors} tensors matched")
    result.notes.extend(f"checkpoint: {note}" for note in loaded.notes)
    return loaded
