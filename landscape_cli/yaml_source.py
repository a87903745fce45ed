"""YAML text → plain data that remembers its lines, and overrides from the command line.

PyYAML alone keeps the last of two equal keys silently, reads ``1e-3`` as a string and ``no`` as false; here duplicates
are problems and scalars follow the YAML 1.2 core schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import JsonValue
from yaml.reader import ReaderError

from landscape_cli.errors import ConfigError

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar types of YAML 1.2 instead of 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's own shape


def _int(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_CORE_SCALARS: tuple[tuple[str, str, str | None, Callable[[str], JsonValue]], ...] = (
    ("null", r"^(?:~|null|Null|NULL|)$", None, lambda _: None),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF", lambda text: text.lower() == "true"),
    ("int", r"^[-+]?[0-9]+$|^0o[0-7]+$|^0x[0-9a-fA-F]+$", "-+0123456789", _int),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+.0123456789",
        lambda text: float(re.sub(r"\.(inf|nan)", r"\1", text.lower())),
    ),
    ("merge", r"^<<$", "<", str),
)
_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first, _convert in _CORE_SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first) if _first else None)
_CONVERTERS = {_TAG + name: convert for name, _, _, convert in _CORE_SCALARS} | {f"{_TAG}str": str}
_OLD_BOOLEANS = {"yes", "no", "on", "off"}  # true and false to YAML 1.1, and truthy texts to everything else
_TAGS = {*_CONVERTERS, f"{_TAG}seq", f"{_TAG}map"}


@dataclass
class Source:
    """A config as written: where it came from, its text and the line of every key.

    Attributes:
        name: What messages call it, usually the path of the file.
        text: The YAML as given.
        lines: 1-based line of each key path; override paths map to the text of the override.
        problems: Problems found while reading, located.
    """

    name: str = "config"
    text: str = ""
    lines: dict[KeyPath, int | str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def where(self, path: KeyPath) -> str:
        """``file:line: a.b.c`` for a key path; the line is that of the nearest key that exists."""
        dotted = ".".join(map(str, path))
        for known, label in self.lines.items():  # an override below it is the likelier culprit
            if known[: len(path)] == path and path and isinstance(label, str):
                return f"{label}: {dotted}"
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if isinstance(line, int):
                return f"{self.name}:{line}: {dotted}" if dotted else f"{self.name}:{line}"
            if line is not None:
                return f"{line}: {dotted}"
        return f"{self.name}: {dotted}" if dotted else self.name


def read_yaml(path: Path) -> tuple[JsonValue, Source]:
    """Read a YAML file.

    Raises:
        ConfigError: When the file is missing, unreadable or not YAML. Duplicate keys are collected in
            ``source.problems``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; expected a YAML config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file; expected a YAML config in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_yaml(text, name=str(path))


def parse_yaml(text: str, *, name: str) -> tuple[JsonValue, Source]:
    """Parse YAML text; ``name`` is what messages call it. Raises as `read_yaml`."""
    source = Source(name, text)
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            raise ConfigError(f"{name}: empty, or nothing but comments; expected YAML")
        return _build(root, (), source, ()), source
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        began = f", begun on {name}:{error.context_mark.line + 1}" if error.context_mark else ""
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{name}:{line}: not valid YAML: {said}{began}") from error
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{name}:{line}: not valid YAML: the character {chr(error.character)!r}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply") from error


def _build(node: yaml.Node, path: KeyPath, source: Source, parents: tuple[yaml.Node, ...]) -> JsonValue:
    line = node.start_mark.line + 1
    source.lines.setdefault(path, line)
    if node in parents:
        raise ConfigError(f"{source.name}:{line}: an anchor contains itself")
    parents = (*parents, node)
    if node.tag not in _TAGS:
        source.problems.append(f"{source.where(path)}: the tag {node.tag!r} is not supported; write plain YAML")
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), source, parents) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, source, parents)
    if isinstance(node, yaml.ScalarNode) and node.style is None and node.value.lower() in _OLD_BOOLEANS:
        source.problems.append(
            f"{source.where(path)}: {node.value} is text in YAML 1.2; write true or false, or quote it"
        )
    try:
        return _CONVERTERS[node.tag](node.value)
    except ValueError as error:
        kind = node.tag.removeprefix(_TAG)
        source.problems.append(f"{source.where(path)}: {node.value[:20]!r} is no {kind}: {error}")
        return None


def _build_mapping(
    node: yaml.MappingNode, path: KeyPath, source: Source, parents: tuple[yaml.Node, ...]
) -> dict[str, JsonValue]:
    result: dict[str, JsonValue] = {}
    bases: list[yaml.Node] = []
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == f"{_TAG}merge":
            bases += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            source.problems.append(f"{source.name}:{line}: {'.'.join(map(str, path))}: a key must be a name")
            continue
        key = str(key_node.value)
        if key in result:
            first = source.lines[*path, key]
            source.problems.append(
                f"{source.name}:{line}: {'.'.join(map(str, (*path, key)))}: given twice, first on line {first}"
            )
            continue
        source.lines[*path, key] = line
        result[key] = _build(value_node, (*path, key), source, parents)
    for base in bases:  # last, so that what stands here keeps its value and its line
        known = dict(source.lines)
        value = _build(base, path, source, parents)
        source.lines.update(known)
        if not isinstance(value, dict):
            source.problems.append(
                f"{source.name}:{node.start_mark.line + 1}: {'.'.join(map(str, path))}: << needs a mapping"
            )
            continue
        result = {**value, **result}
    return result


def apply_overrides(data: JsonValue, overrides: Sequence[str], source: Source) -> JsonValue:
    """Apply ``key.path=value`` overrides in place, values read as YAML, and return the data.

    An override without ``=``, whose value is not YAML or whose path leads through a scalar is added to
    ``source.problems``.
    """
    for override in overrides:
        try:
            _apply(data, override, source)
        except ConfigError as error:
            source.problems += error.problems
    return data


def _apply(data: JsonValue, override: str, source: Source) -> None:
    dotted, separator, text = override.partition("=")
    label = f"--set {override}"
    if not separator or not dotted:
        raise ConfigError(f"{label}: expected key.path=value, such as --set axes.x.num=21")
    value, typed = parse_yaml(text, name=label) if text.strip() else (None, Source())
    source.problems += typed.problems
    path: KeyPath = tuple(int(part) if re.fullmatch("[0-9]{1,9}", part) else part for part in dotted.split("."))
    _assign(data, path, value, label)
    for known in [known for known in source.lines if known[: len(path)] == path]:
        del source.lines[known]
    source.lines[path] = label
    for length in range(1, len(path)):  # sections that the override has made
        source.lines.setdefault(path[:length], label)


def _assign(data: JsonValue, path: KeyPath, value: JsonValue, label: str) -> None:
    here = data
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(here, dict):
            key = str(part)
            if last:
                here[key] = value
            elif not isinstance(here.get(key), dict | list):
                if here.get(key) not in (None, True):  # true stands for a section with its defaults
                    raise ConfigError(
                        f"{label}: {'.'.join(map(str, path[: depth + 1]))} is {here[key]!r}, not a section"
                    )
                here[key] = {}
            here = here[key]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            if last:
                here[part] = value
            here = here[part]
        else:
            raise ConfigError(f"{label}: there is no {'.'.join(map(str, path[: depth + 1]))}")
