"""Pydantic models of the YAML, with line numbers and overrides."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PositiveInt,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails

from landscape_cli.axes import AxesConfig, Finite
from landscape_cli.beside import CurvatureConfig, RadiusConfig, switched
from landscape_cli.components import Component, MetricName, Section, named_components
from landscape_cli.errors import ConfigError, did_you_mean
from landscape_cli.gating import GateConfig, GateFile
from landscape_cli.grid import MAX_SLICES, Grid
from landscape_cli.quantities import AutoCount, AutoNumber, Devices, Duration, Size, auto_or
from landscape_cli.yaml_source import KeyPath, Source, apply_overrides, read_yaml

MAX_POINTS_PER_CALL = 1024
MAX_POINTS = 100_000_000

# ---------------------------------------------------------------- sections


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


_PathText = Annotated[str, Field(min_length=1)]
CheckpointPaths = Annotated[
    tuple[_PathText, ...],
    BeforeValidator(_one_or_more, json_schema_input_type=_PathText | Annotated[list[_PathText], Field(min_length=1)]),
    Field(strict=False, min_length=1),
]


class Expect(Section):
    """Centre values that the checkpoint must reproduce, such as ``test_accuracy: 0.97``; else the scan stops."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Finite]

    tolerance: float = Field(0.01, ge=0, description="Largest allowed absolute difference")

    @property
    def values(self) -> dict[str, float]:
        """Metric name → expected value."""
        return dict(self.model_extra or {})


class CheckpointConfig(Section):
    """Where the weights are."""

    path: Path = Field(strict=False, description="torch or safetensors file, relative to the working directory")
    key: str | None = Field(None, description="Entry that holds the state dict, such as state_dict or ema.model")
    prefix: str | None = Field(None, description="Prefix to strip; only keys below it are used")
    strict: bool = Field(True, description="Refuse missing, unexpected and mis-shaped keys")
    expect: Expect | None = None


class SplitConfig(Section):
    """One data set to measure on."""

    dataset: Component = Field(description="Any map-style dataset")
    num_examples: PositiveInt | None = Field(None, description="Size of a seeded fixed subset; null = all")
    seed: int = Field(0, ge=0, description="Seed of the subset")
    batch_size: AutoCount = Field("auto", description="Examples per forward pass; auto measures what is fastest")


class SlicesConfig(Section):
    """Independent draws of the random directions."""

    num: int = Field(1, gt=0, le=MAX_SLICES)
    seed: int = Field(0, ge=0)


class RecalibrationConfig(Section):
    """The examples on which ``batchnorm: recalibrate`` estimates the running statistics."""

    split: MetricName | None = Field(None, description="By default train, or the first split where there is none")
    num_examples: PositiveInt = Field(1024, description="The first ones of the split")


class EvaluationConfig(Section):
    """WHAT is measured: inside the fingerprint."""

    batchnorm: Literal["frozen", "interpolate", "recalibrate"] = Field(
        "frozen",
        description="Running statistics stay those of the checkpoint, move with the weights (between, pca, file) or "
        "are estimated anew at every point",
    )
    recalibration: RecalibrationConfig = RecalibrationConfig()
    precision: Literal["float64", "float32", "tf32", "bfloat16"] = Field(
        "float32", description="float32 is true float32 on GPUs too; tf32 and bfloat16 are faster there and rounder"
    )

    @model_validator(mode="after")
    def _check_recalibration(self) -> Self:
        if "recalibration" in self.model_fields_set and self.batchnorm != "recalibrate":
            raise ValueError(f"recalibration belongs to batchnorm: recalibrate, found batchnorm: {self.batchnorm}")
        return self

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        plain: dict[str, JsonValue] = handler(self)
        if self.batchnorm != "recalibrate":
            del plain["recalibration"]  # it decides nothing
        return plain


class MemoryConfig(Section):
    """How much memory the data may take before they are streamed: bytes, or text such as 8GB."""

    device: Size = Field("auto", description="On each GPU; auto is 40 % of what is free")
    host: Size = Field("auto", description="In main memory, beyond that on disk; auto is 40 % of what is free")


class RuntimeConfig(Section):
    """HOW it is computed: outside the fingerprint, may change on resume."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:1, …")
    devices: Devices = Field(
        "auto", description="CUDA devices, each with a process of its own: all, or [0, 1]; auto is all for long scans"
    )
    processes: Annotated[Literal["auto"] | int, auto_or(1, 4096)] = Field(
        "auto", description="On a CPU, each with its share of the cores; auto is one per core"
    )
    workers: AutoNumber = Field("auto", description="Processes that decode the data; 0 decodes in the main process")
    engine: Literal["auto", "sequential", "channels_last", "folded", "compiled", "stacked", "mlp", "graphs"] = Field(
        "auto", description="How points are evaluated; auto measures what is fastest; values agree to 1e-5 in float32"
    )
    points_per_call: Annotated[Literal["auto"] | int, auto_or(1, MAX_POINTS_PER_CALL)] = Field(
        "auto", description="Points that the engines stacked, mlp and graphs take at once"
    )
    memory: MemoryConfig = MemoryConfig()
    cache: Path | None = Field(
        None, strict=False, description="Folder for data that do not fit in memory; by default that of the system"
    )
    save_every: Duration = Field(
        1.0, description="Save after this much finished work: seconds, or text such as 500ms or 2m"
    )

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        if self.devices != "auto" and (self.device == "cpu" or ":" in self.device):
            raise ValueError(f"device: {self.device} is one device; leave it at auto where devices are given")
        return self


class TrajectoryConfig(Section):
    """A path of checkpoints that is projected into the plane; what is evaluated does not depend on it."""

    checkpoints: CheckpointPaths = Field(description="Paths or globs, in the order of training")
    key: str | None = Field(None, description="As for checkpoint; by default that of checkpoint")
    prefix: str | None = Field(None, description="As for checkpoint; by default that of checkpoint")


class Settings(Section):
    """What to measure and where in weight space; the part of a config that needs no checkpoint and no data."""

    axes: AxesConfig
    loss: Component = Field(default_factory=lambda: Component.model_validate("cross_entropy"))
    metrics: dict[MetricName, Component] = Field(
        default_factory=dict, description="A list of names, or a mapping name → component"
    )
    slices: SlicesConfig = SlicesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    trajectory: TrajectoryConfig | None = None
    directions: Literal["save"] | None = Field(
        None, description="save writes the directions beside the surface, as safetensors"
    )
    radius: RadiusConfig | None = Field(
        None, description="Beside the grid, relative noise in many directions; true for the defaults"
    )
    curvature: CurvatureConfig | None = Field(
        None, description="Beside the grid, gradient and Hessian at the checkpoint; true for the defaults"
    )
    gate: GateConfig | None = Field(None, description="How much worse than a baseline; for landscape compare alone")
    runtime: RuntimeConfig = RuntimeConfig()
    _source: Source = PrivateAttr(default_factory=Source)

    @field_validator("radius", mode="before", json_schema_input_type=bool | RadiusConfig | None)
    @classmethod
    def _switch_radius(cls, value: object) -> object:
        return switched(value)

    @field_validator("curvature", mode="before", json_schema_input_type=bool | CurvatureConfig | None)
    @classmethod
    def _switch_curvature(cls, value: object) -> object:
        return switched(value)

    @field_validator("metrics", mode="before", json_schema_input_type=dict[MetricName, Component] | list[Component])
    @classmethod
    def _name_metrics(cls, metrics: object) -> object:
        return named_components(metrics)

    @field_validator("metrics")
    @classmethod
    def _check_names(cls, metrics: dict[str, Component]) -> dict[str, Component]:
        if "loss" in metrics:
            raise ValueError("the name 'loss' belongs to the loss")
        taken = [name for name in metrics if name.endswith("_std")]
        if taken:
            raise ValueError(f"{taken[0]!r} would collide with the stored standard deviations")
        return metrics

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        num_points = self.slices.num * self.num_points_per_slice
        if num_points > MAX_POINTS:
            raise ValueError(f"axes and slices make {num_points:,} points; at most {MAX_POINTS:,} are possible")
        return self

    def where(self, *path: str | int) -> str:
        """``file:line: a.b.c`` of a key, for messages."""
        return self._source.where(path)

    @property
    def text(self) -> str:
        """The YAML as given; empty for a config made in Python."""
        return self._source.text

    @property
    def name(self) -> str:
        """What messages call this config, usually the path of its file."""
        return self._source.name

    def grid(self, found: Mapping[str, tuple[float, float]] | None = None) -> Grid:
        """The points to evaluate.

        Args:
            found: Axis name → range, for axes whose range is found; without one the coordinates stand in for others.
        """
        ranges = found or {}
        axes = tuple(axis.axis(name, *ranges.get(name, (None, None))) for name, axis in self.axes.items())
        return Grid(axes, self.slices.num)

    @property
    def num_points_per_slice(self) -> int:
        """Of the grid."""
        return math.prod(axis.size for _, axis in self.axes.items())

    def with_num_slices(self, num: int, num_of_radius: int) -> Self:
        """The same with other numbers of slices, of the grid and, where there is one, of the radius."""
        slices = self.slices.model_copy(update={"num": num})
        radius = self.radius and self.radius.model_copy(update={"slices": num_of_radius})
        return self.model_copy(update={"slices": slices, "radius": radius})

    def resolved(self) -> dict[str, JsonValue]:
        """The config as plain JSON with all defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)


_SettingsType = TypeVar("_SettingsType", bound=Settings)
_SectionType = TypeVar("_SectionType", bound=Section)


class Config(Settings):
    """A whole scan: model, checkpoint, data, what to measure, and where in weight space."""

    model: Component
    checkpoint: CheckpointConfig
    data: Annotated[dict[MetricName, SplitConfig], Field(min_length=1)]

    def with_curvature(self) -> Config:
        """The same with the section ``curvature`` at its defaults."""
        return self.model_copy(update={"curvature": CurvatureConfig()})


# ---------------------------------------------------------------- reading


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML config.

    Args:
        path: The YAML file.
        overrides: ``key.path=value`` texts; values are read as YAML.

    Raises:
        ConfigError: Listing every problem in the file at once, each with file and line.
    """
    data, source = read_yaml(Path(path))
    data = apply_overrides(data, overrides, source)
    if not isinstance(data, dict):
        raise ConfigError(f"{source.where(())}: expected a mapping with model, checkpoint, data and axes")
    return _validate(Config, data, source)


def load_gate(path: str | Path) -> GateConfig:
    """Read the section ``gate`` of a YAML, whatever else stands there.

    Raises:
        ConfigError: There is none, or it is wrong, with file and line.
    """
    data, source = read_yaml(Path(path))
    section = data.get("gate") if isinstance(data, dict) else None
    if section is None:
        raise ConfigError(
            f"{source.where(())}: found no section gate", hint="Such as gate: {tolerances: {adaptive_radius: 15%}}"
        )
    found: GateFile = _checked(GateFile, {"gate": section}, source)
    return found.gate


def parse_settings(sections: Mapping[str, object]) -> Settings:
    """The settings of a scan from plain Python values, as in the YAML.

    Raises:
        ConfigError: Listing every problem at once.
    """
    return _validate(Settings, sections, Source("scan_model"))


def _validate(model: type[_SettingsType], data: Mapping[str, object], source: Source) -> _SettingsType:
    settings = _checked(model, data, source)
    settings._source = source
    return settings


def _checked(model: type[_SectionType], data: Mapping[str, object], source: Source) -> _SectionType:
    try:
        section = model.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        # a list whose entries are wrong is not too short besides
        places = {details["loc"][:depth] for details in found for depth in range(len(details["loc"]))}
        told = [details for details in found if details["type"] != "too_short" or details["loc"] not in places]
        source.problems.extend(_describe(details, source) for details in told)
        raise ConfigError(sorted(source.problems, key=_line)) from error
    if source.problems:
        raise ConfigError(source.problems)
    return section


def _line(problem: str) -> int:
    """The line that a problem is located on; 0 for those of the command line."""
    found = re.search(r":(\d+): ", problem)
    return int(found[1]) if found else 0


def _describe(details: ErrorDetails, source: Source) -> str:
    path: KeyPath = tuple(part for part in details["loc"] if part != "[key]")
    where, kind, found = source.where(path), details["type"], details["input"]
    message = details["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden" and path[:1] == ("axes",) and len(path) == 3 and path[-1] in _OF_DIRECTIONS:
        return f"{where}: unknown key; it belongs inside of direction: {{_target_: …, {path[-1]}: …}}"
    if kind == "extra_forbidden":
        return f"{where}: unknown key{did_you_mean(str(path[-1]), _known_keys(path[:-1]))}"
    if kind == "missing":
        return f"{where}: required, but missing"
    if kind == "value_error":
        return f"{where}: {message}"
    shown = "a mapping" if isinstance(found, dict) else "a list" if isinstance(found, list | tuple) else repr(found)
    return f"{where}: found {shown}; {_PLAIN.get(kind, f'{message[0].lower()}{message[1:]}')}"


# pydantic's words for these are Python's, not YAML's
_PLAIN = {
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "path_type": "expected a path",
    "too_short": "expected at least 1 entry",
}


_OF_DIRECTIONS = ("orthogonal", "parameters", "normalization", "ignore", "checkpoint", "checkpoints")


def _known_keys(path: KeyPath) -> list[str]:
    """The keys allowed in the section at ``path``."""
    section: object = Config
    for part in path:
        section = _child(section, str(part))
    return [*_fields(section)]


def _child(section: object, key: str) -> object:
    annotation = typing.get_args(section)[1] if typing.get_origin(section) is dict else _fields(section).get(key)
    optional = [argument for argument in typing.get_args(annotation) if _fields(argument)]
    return annotation if _fields(annotation) or typing.get_origin(annotation) is dict or not optional else optional[0]


def _fields(section: object) -> dict[str, object]:
    if isinstance(section, type) and issubclass(section, BaseModel):
        return {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    return {}


def config_schema() -> dict[str, Any]:
    """JSON Schema of the YAML, for editors: docs/config.schema.json."""
    schema = Config.model_json_schema(by_alias=True)
    for name in ("metrics", "data"):  # names that do not match the pattern are refused, which pydantic does not say
        section = schema["properties"][name]
        for form in (section, *section.get("anyOf", ())):
            if "patternProperties" in form:
                form["additionalProperties"] = False
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **schema, "title": "landscape scan config"}
