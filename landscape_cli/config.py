"""Pydantic models of the YAML, with line numbers; overrides; fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PositiveInt,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails

from landscape_cli.errors import ConfigError, did_you_mean
from landscape_cli.grid import Axis, Grid
from landscape_cli.yaml_source import KeyPath, Source, apply_overrides, read_yaml

Finite = Annotated[float, Field(allow_inf_nan=False)]
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
MetricName = Annotated[str, Field(pattern=NAME_PATTERN)]


class Section(BaseModel):
    """A part of the config: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# ---------------------------------------------------------------- components


class Component(Section):
    """A callable named by ``_target_`` with flat keyword arguments; ``class_path``/``init_args`` is accepted on input.

    A bare string is short for a component without arguments.
    """

    model_config = ConfigDict(extra="allow")

    target: str = Field(alias="_target_", min_length=1)
    args: tuple[JsonValue, ...] = Field((), alias="_args_", strict=False)

    @model_validator(mode="before")
    @classmethod
    def _accept_other_forms(cls, data: JsonValue) -> JsonValue:
        if isinstance(data, str):
            return {"_target_": data}
        if isinstance(data, dict):
            return normalize_component(data)
        raise ValueError("expected a name or a mapping with _target_")

    @model_serializer
    def _serialize(self) -> dict[str, JsonValue]:
        args: dict[str, JsonValue] = {"_args_": list(self.args)} if self.args else {}
        return {"_target_": self.target, **args, **self.kwargs}

    @property
    def kwargs(self) -> dict[str, JsonValue]:
        """The keyword arguments."""
        return dict(self.model_extra or {})

    @property
    def name(self) -> str:
        """The last part of the target: ``cross_entropy`` for ``torch.nn.functional.cross_entropy``."""
        return self.target.rpartition(".")[2]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        text = {"type": "string", "minLength": 1, "description": "A built-in name or a dotted path"}
        target = {
            "type": "object",
            "required": ["_target_"],
            "properties": {"_target_": text, "_args_": {"type": "array"}},
        }
        lightning = {
            "type": "object",
            "required": ["class_path"],
            "properties": {"class_path": text, "init_args": {"type": "object"}},
            "additionalProperties": False,
        }
        return {"anyOf": [text, target, lightning], "description": "A callable by name, with flat keyword arguments"}


def normalize_component(value: JsonValue) -> JsonValue:
    """Rewrite ``class_path``/``init_args`` as ``_target_`` with flat keyword arguments, at every depth."""
    if isinstance(value, list):
        return [normalize_component(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("class_path"), str) and set(value) <= {"class_path", "init_args"}:
        init_args = value.get("init_args") or {}
        if not isinstance(init_args, dict):
            raise ValueError("init_args must be a mapping")
        value = {"_target_": value["class_path"], **init_args}
    return {key: normalize_component(item) for key, item in value.items()}


def _auto_or(least: int, most: int = 1 << 31) -> BeforeValidator:
    """Accept ``auto`` or a whole number in a range; by hand, because pydantic reports a union twice."""

    def check(value: object) -> object:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        span = f"of at least {least}" if most == 1 << 31 else f"from {least} to {most}"
        raise ValueError(f"found {value!r}; expected auto or a whole number {span}")

    return BeforeValidator(check, json_schema_input_type=Literal["auto"] | Annotated[int, Field(ge=least, le=most)])


AutoCount = Annotated[Literal["auto"] | int, _auto_or(1)]
MAX_POINTS_PER_CALL = 1024
AutoNumber = Annotated[Literal["auto"] | int, _auto_or(0)]


# ---------------------------------------------------------------- sections


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


class AxisConfig(Section):
    """Coordinates along one direction."""

    start: Finite = -1.0
    stop: Finite = 1.0
    num: Annotated[int, Field(gt=0, le=1_000_000)] = 51
    direction: Component = Field(
        default_factory=lambda: Component.model_validate("random"), description="A built-in direction or a dotted path"
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.num == 1:
            if self.start != self.stop:
                raise ValueError("num: 1 is a single point; it needs start == stop")
        elif self.start >= self.stop:
            raise ValueError(f"start must be smaller than stop, found start: {self.start} and stop: {self.stop}")
        elif not math.isfinite(self.stop - self.start):
            raise ValueError(f"the range from {self.start} to {self.stop} is too wide for float64")
        elif (self.stop - self.start) / self.num <= 4 * max(math.ulp(self.start), math.ulp(self.stop)):
            raise ValueError(f"{self.num} different values do not fit between {self.start} and {self.stop} in float64")
        return self


class AxesConfig(Section):
    """One axis for a line, two for a plane."""

    x: AxisConfig
    y: AxisConfig | None = None

    def items(self) -> Iterator[tuple[str, AxisConfig]]:
        """The axes that are present, by name."""
        yield "x", self.x
        if self.y is not None:
            yield "y", self.y


class SlicesConfig(Section):
    """Independent draws of the random directions."""

    num: int = Field(1, gt=0, le=8000)
    seed: int = Field(0, ge=0)


class EvaluationConfig(Section):
    """WHAT is measured: inside the fingerprint."""

    batchnorm: Literal["frozen"] = Field("frozen", description="Running statistics stay those of the checkpoint")
    precision: Literal["float64", "float32", "tf32", "bfloat16"] = Field(
        "float32", description="float32 is true float32 on GPUs too; tf32 and bfloat16 are faster there and rounder"
    )


_DURATION = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|min|h)?\s*")
_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}


def parse_duration(text: str) -> float:
    """Seconds of text such as 500ms, 1s, 2m or 3h; a bare number is seconds.

    Raises:
        ValueError: For anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a duration such as 500ms, 1s or 2m")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(?:([kKmMgGtT])(i?))?[bB]?\s*")


_FEWEST_BYTES = 1_000_000  # a smaller number without a unit was meant in another one


def _bytes(value: object) -> object:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match and (match[2] or match[0].strip()[-1] in "bB"):
        base = 1024 if match[3] else 1000
        return int(float(match[1]) * base ** " KMGT".index((match[2] or " ").upper()))
    if value == "auto" or (type(value) is int and (value == 0 or value >= _FEWEST_BYTES)):
        return value
    raise ValueError(f"found {value!r}; expected auto, or a size with a unit such as 500MB or 8GB")


def _devices(value: object) -> object:
    if value in ("auto", "all"):
        return value
    numbers = value if isinstance(value, list | tuple) else []
    if numbers and all(type(number) is int and number >= 0 for number in numbers) and len({*numbers}) == len(numbers):
        return tuple(numbers)
    raise ValueError(f"found {value!r}; expected auto, all, or different numbers such as [0, 1]")


Duration = Annotated[
    float,
    BeforeValidator(
        _seconds,
        json_schema_input_type=Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=rf"^{_DURATION.pattern}$")],
    ),
    Field(ge=0),
]
Size = Annotated[
    Literal["auto"] | int,
    BeforeValidator(
        _bytes,
        json_schema_input_type=Literal["auto"]
        | Annotated[int, Field(ge=0)]
        | Annotated[str, Field(pattern=rf"^{_SIZE.pattern}$")],
    ),
]
Devices = Annotated[
    Literal["auto", "all"] | tuple[int, ...],
    BeforeValidator(
        _devices,
        json_schema_input_type=Literal["auto", "all"]
        | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)],
    ),
]


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
    processes: Annotated[Literal["auto"] | int, _auto_or(1, 4096)] = Field(
        "auto", description="On a CPU, each with its share of the cores; auto is one per core"
    )
    workers: AutoNumber = Field("auto", description="Processes that decode the data; 0 decodes in the main process")
    engine: Literal["auto", "sequential", "channels_last", "folded", "compiled", "stacked", "mlp", "graphs"] = Field(
        "auto", description="How points are evaluated; auto measures what is fastest; values agree to 1e-5 in float32"
    )
    points_per_call: Annotated[Literal["auto"] | int, _auto_or(1, MAX_POINTS_PER_CALL)] = Field(
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


_MAX_POINTS = 100_000_000


class Settings(Section):
    """What to measure and where in weight space; the part of a config that needs no checkpoint and no data."""

    axes: AxesConfig
    loss: Component = Field(default_factory=lambda: Component.model_validate("cross_entropy"))
    metrics: dict[MetricName, Component] = Field(
        default_factory=dict, description="A list of names, or a mapping name → component"
    )
    slices: SlicesConfig = SlicesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    _source: Source = PrivateAttr(default_factory=Source)

    @field_validator("metrics", mode="before", json_schema_input_type=dict[MetricName, Component] | list[Component])
    @classmethod
    def _name_metrics(cls, metrics: object) -> object:
        if isinstance(metrics, str):
            raise ValueError(  # noqa: TRY004  # pydantic collects ValueErrors
                f"found {metrics!r}; expected a list such as [{metrics}], or a mapping"
            )
        return _named(metrics) if isinstance(metrics, list) else metrics

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
        num_points = self.slices.num * math.prod(axis.num for _, axis in self.axes.items())
        if num_points > _MAX_POINTS:
            raise ValueError(f"axes and slices make {num_points:,} points; at most {_MAX_POINTS:,} are possible")
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

    def grid(self) -> Grid:
        """The points to evaluate."""
        axes = tuple(Axis.linspace(name, axis.start, axis.stop, axis.num) for name, axis in self.axes.items())
        return Grid(axes, self.slices.num)

    def resolved(self) -> dict[str, JsonValue]:
        """The config as plain JSON with all defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)


_SettingsType = TypeVar("_SettingsType", bound=Settings)


class Config(Settings):
    """A whole scan: model, checkpoint, data, what to measure, and where in weight space."""

    model: Component
    checkpoint: CheckpointConfig
    data: Annotated[dict[MetricName, SplitConfig], Field(min_length=1)]


def _named(metrics: Sequence[object]) -> dict[str, object]:
    named: dict[str, object] = {}
    for component in TypeAdapter(list[Component]).validate_python(metrics):
        if component.name in named:
            raise ValueError(f"{component.name!r} is listed twice; write a mapping such as {{top3: …, top5: …}}")
        named[component.name] = component
    return named


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


def parse_settings(sections: Mapping[str, object]) -> Settings:
    """The settings of a scan from plain Python values, as in the YAML.

    Raises:
        ConfigError: Listing every problem at once.
    """
    return _validate(Settings, sections, Source("scan_model"))


def _validate(model: type[_SettingsType], data: Mapping[str, object], source: Source) -> _SettingsType:
    try:
        settings = model.model_validate(data)
    except ValidationError as error:
        source.problems.extend(_describe(details, source) for details in error.errors())
        raise ConfigError(sorted(source.problems, key=_line)) from error
    if source.problems:
        raise ConfigError(source.problems)
    settings._source = source
    return settings


def _line(problem: str) -> int:
    """The line that a problem is located on; 0 for those of the command line."""
    found = re.search(r":(\d+): ", problem)
    return int(found[1]) if found else 0


def _describe(details: ErrorDetails, source: Source) -> str:
    path: KeyPath = tuple(part for part in details["loc"] if part != "[key]")
    where, kind, found = source.where(path), details["type"], details["input"]
    message = details["msg"].removeprefix("Value error, ")
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


# ---------------------------------------------------------------- identity


def fingerprint(identity: Mapping[str, JsonValue]) -> str:
    """SHA-256 of everything that decides the numbers, as canonical JSON."""
    return hashlib.sha256(_canonical(identity).encode()).hexdigest()


def differing_keys(found: JsonValue, expected: JsonValue, path: str = "") -> list[str]:
    """The dotted keys at which two identities differ, each as ``key: found → expected``; none for equal fingerprints.

    >>> differing_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    ['a.c: 2 → 3']
    """
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        # as text, because 1, 1.0 and true are equal to Python and have different fingerprints
        return [] if _canonical(found) == _canonical(expected) else [f"{path}: {_short(found)} → {_short(expected)}"]
    lines = []
    for key in sorted({*found, *expected}):
        inner = f"{path}.{key}".lstrip(".")
        if key in found and key in expected:
            lines += differing_keys(found[key], expected[key], inner)
            continue
        before, after = (_short(side[key]) if key in side else "absent" for side in (found, expected))
        lines.append(f"{inner}: {before} → {after}")
    return lines


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:28]}…{text[-12:]}"


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
