"""Axes of the YAML: coordinates, and the direction that each of them follows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from landscape_cli.components import Component, Section
from landscape_cli.grid import Axis

Finite = Annotated[float, Field(allow_inf_nan=False)]
Pattern = Annotated[str, Field(min_length=1)]
Patterns = Annotated[tuple[Pattern, ...], Field(strict=False)]


_NUMBER: dict[str, Any] = {"type": "number"}


def _given(name: str) -> dict[str, Any]:
    """In JSON Schema: the key is there, and not null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


class Selection(Section):
    """Parameters by glob: ``layer3.*``, or the name of a module for everything in it."""

    include: Patterns = ("*",)
    exclude: Patterns = ()

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, data: object) -> object:
        if isinstance(data, str):
            return {"include": [data]}
        if isinstance(data, list | tuple):
            return {"include": list(data)}
        if isinstance(data, dict):
            return {key: [value] if isinstance(value, str) else value for key, value in data.items()}
        raise ValueError(f"found {data!r}; expected a glob such as layer3.*, a list of them, or include and exclude")

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if not self.include:
            raise ValueError("it includes nothing; expected at least one glob such as layer3.*")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        glob: dict[str, Any] = {"type": "string", "minLength": 1}
        globs: dict[str, Any] = {"type": "array", "items": glob}
        some = {**globs, "minItems": 1}
        properties = {"include": {"anyOf": [glob, some]}, "exclude": {"anyOf": [glob, globs]}}
        both = {"type": "object", "properties": properties, "additionalProperties": False}
        return {"anyOf": [glob, some, both], "description": "Globs of parameter names"}


class DirectionConfig(Component):
    """A direction by name with its arguments, the parameters that it may move, and whether it is made orthogonal."""

    parameters: Selection | None = None
    orthogonal: bool = False

    @model_serializer
    def _serialize(self) -> dict[str, JsonValue]:
        args: dict[str, JsonValue] = {"_args_": list(self.args)} if self.args else {}
        chosen: dict[str, JsonValue] = {}
        if self.parameters is not None:
            chosen["parameters"] = self.parameters.model_dump(mode="json")
        if self.orthogonal:
            chosen["orthogonal"] = True
        return {"_target_": self.target, **args, **self.kwargs, **chosen}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        form = super().__get_pydantic_json_schema__(schema, handler)
        target = next(each for each in form["anyOf"] if "_target_" in each.get("properties", {}))
        target["properties"] |= {
            "parameters": {"anyOf": [Selection.model_json_schema(), {"type": "null"}]},
            "orthogonal": {"type": "boolean", "description": "To the axes before it; exact where that is possible"},
        }
        return form


class Span(Section):
    """A range that is found: where the loss has risen, or where the trajectory lies.

    ``auto`` is short for a rise of 1 nat, or to ten times the loss at the checkpoint where the loss is not in nats;
    ``trajectory`` for what holds all checkpoints of the trajectory.
    """

    rise: float | None = Field(None, gt=0, allow_inf_nan=False, description="To the loss at the checkpoint plus this")
    factor: float | None = Field(None, gt=1, allow_inf_nan=False, description="To this many times that loss")
    trajectory: bool = Field(False, description="To the checkpoints of the trajectory and a fifth beyond")

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, data: object) -> object:
        if isinstance(data, str):
            if data not in ("auto", "trajectory"):
                raise ValueError(f"found {data!r}; expected auto, trajectory, or a mapping with rise or factor")
            return {"trajectory": data == "trajectory"}
        return data

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.rise is not None) + (self.factor is not None) + self.trajectory > 1:
            raise ValueError("rise, factor and trajectory exclude each other")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        ways = ({"rise": _NUMBER}, {"factor": _NUMBER}, {"trajectory": {"const": True}})
        pairs = [{"properties": a | b, "required": [*a, *b]} for a, b in itertools.combinations(ways, 2)]
        return {"anyOf": [{"enum": ["auto", "trajectory"]}, {**handler(schema), "not": {"anyOf": pairs}}]}


class AxisConfig(Section):
    """Coordinates along one direction: a range, a list, or a range that is found."""

    start: Finite = -1.0
    stop: Finite = 1.0
    num: Annotated[int, Field(gt=0, le=1_000_000)] = 51
    spacing: Literal["linear", "log"] = Field("linear", description="log needs a start and a stop of one sign")
    values: Annotated[tuple[Finite, ...], Field(strict=False, min_length=1, max_length=1_000_000)] | None = Field(
        None, description="The coordinates themselves, rising; instead of start, stop and num"
    )
    span: Span | None = Field(None, description="Find start and stop; a start or stop of 0 makes it one-sided")
    direction: DirectionConfig = Field(
        default_factory=lambda: DirectionConfig.model_validate("random"),
        description="A built-in direction or a dotted path",
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        given = self.model_fields_set
        if self.values is not None:
            beside = sorted(given & {"start", "stop", "num", "spacing", "span"})
            if beside:
                raise ValueError(f"values are the coordinates themselves; leave out {', '.join(beside)}")
            if any(b <= a for a, b in pairwise(self.values)):
                raise ValueError("values must rise from one to the next")
        elif self.span is not None:
            ends = [getattr(self, name) for name in ("start", "stop") if name in given]
            if any(ends) or len(ends) > 1 or self.spacing == "log":
                raise ValueError("span finds the range; beside it only start: 0 or stop: 0, and num, are possible")
            if self.num == 1:
                raise ValueError("num: 1 is a single point; it needs start and stop, not span")
        elif self.num == 1:
            if self.start != self.stop:
                raise ValueError("num: 1 is a single point; it needs start == stop")
            if self.spacing == "log":
                raise ValueError("num: 1 is a single point; spacing: log needs more")
        else:
            self._check_ends()
        return self

    def _check_ends(self) -> None:
        if self.start >= self.stop:
            raise ValueError(f"start must be smaller than stop, found start: {self.start} and stop: {self.stop}")
        if not math.isfinite(self.stop - self.start):
            raise ValueError(f"the range from {self.start} to {self.stop} is too wide for float64")
        too_many = ValueError(f"{self.num} different values do not fit between {self.start} and {self.stop} in float64")
        if (self.stop - self.start) / self.num <= 4 * max(math.ulp(self.start), math.ulp(self.stop)):
            raise too_many
        if self.spacing == "log":
            if self.start <= 0 <= self.stop:
                raise ValueError(
                    f"spacing: log needs start and stop of one sign, found {self.start} and {self.stop}; "
                    "for both sides of 0 give values"
                )
            try:
                Axis.geomspace("x", self.start, self.stop, self.num)
            except ValueError as error:  # rounding of the logarithms makes neighbours equal
                raise too_many from error

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        """What applies: two axes are the same where these are, and they read as the same axis."""
        form: dict[str, JsonValue] = handler(self)
        found = self.search
        if self.values is not None:
            return {name: form[name] for name in ("values", "direction")}
        if found is None:
            return form
        ends = [name for name in ("start", "stop") if name in self.model_fields_set]
        return {**{name: form[name] for name in (*ends, "num", "direction")}, "span": found.model_dump(mode="json")}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        form = handler.resolve_ref_schema(handler(schema))
        beside_values = dict.fromkeys(("start", "stop", "num", "spacing", "span"), False)
        zero = {"start": {"const": 0}, "stop": {"const": 0}, "num": {"minimum": 2}, "spacing": {"const": "linear"}}
        one_sided = {"properties": zero, "not": {"required": ["start", "stop"]}}
        form["allOf"] = [
            {
                "if": _given("values"),
                "then": {"properties": beside_values},
                "else": {"if": _given("span"), "then": one_sided},
            }
        ]
        return form

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return self.num if self.values is None else len(self.values)

    @property
    def search(self) -> Span | None:
        """The range to be found, if one is: as configured, or that of the path where the direction comes from it."""
        is_open = not self.model_fields_set & {"start", "stop", "values", "span"}
        return Span(trajectory=True) if is_open and self.direction.target == "pca" else self.span

    def axis(self, name: str, low: float | None = None, high: float | None = None) -> Axis:
        """The coordinates.

        Args:
            name: Of the axis.
            low: The range that was found; a start or stop of 0 stays.
            high: Its other end.
        """
        if self.values is not None:
            return Axis(name, tuple(0.0 + value for value in self.values))  # -0.0 is 0.0
        start, stop = self.start, self.stop
        if low is not None and high is not None:
            start = self.start if "start" in self.model_fields_set else low
            stop = self.stop if "stop" in self.model_fields_set else high
        return (Axis.geomspace if self.spacing == "log" else Axis.linspace)(name, start, stop, self.num)


class AxesConfig(Section):
    """One axis for a line, two for a plane, three for a volume."""

    x: AxisConfig
    y: AxisConfig | None = None
    z: AxisConfig | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.z is not None and self.y is None:
            raise ValueError("z needs y")
        if self.x.direction.orthogonal:
            raise ValueError("x.direction: orthogonal: true is for y and z; there is no axis before x")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        form = handler.resolve_ref_schema(handler(schema))
        form["allOf"] = [{"if": _given("z"), "then": _given("y")}]
        return form

    def items(self) -> Iterator[tuple[str, AxisConfig]]:
        """The axes that are present, by name."""
        for name, axis in (("x", self.x), ("y", self.y), ("z", self.z)):
            if axis is not None:
                yield name, axis
