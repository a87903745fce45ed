"""A callable by name with its arguments, and what all sections of the YAML share."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    TypeAdapter,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
MetricName = Annotated[str, Field(pattern=NAME_PATTERN)]


class Section(BaseModel):
    """A part of the config: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


def named_components(value: object) -> object:
    """A list of components as a mapping from their names; anything else as it is, to be checked by its type.

    Raises:
        ValueError: One is listed twice, or it is a single name.
    """
    if isinstance(value, str):
        raise ValueError(f"found {value!r}; expected a list such as [{value}], or a mapping")  # noqa: TRY004  # pydantic collects ValueErrors
    if not isinstance(value, list):
        return value
    named: dict[str, object] = {}
    for component in TypeAdapter(list[Component]).validate_python(value):
        if component.name in named:
            raise ValueError(f"{component.name!r} is listed twice; write a mapping such as {{top3: …, top5: …}}")
        named[component.name] = component
    return named
