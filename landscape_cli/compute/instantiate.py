"""`_target_` → object; did-you-mean."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping

from pydantic import ConfigDict, JsonValue, ValidationError, create_model

from landscape_cli.config import Component, normalize_component
from landscape_cli.errors import ConfigError, did_you_mean

Target = Callable[..., object]
Table = Mapping[str, Target]


def check(component: Component, where: str, table: Table | None = None, num_positional: int = 0) -> list[str]:
    """Locate the target and bind its arguments without calling it; return every problem, also of nested components.

    Args:
        component: What to check.
        where: ``file:line: key`` for messages.
        table: Built-in names; without one the target must be a dotted path.
        num_positional: How many positional arguments the caller will add (of a function; a class gets none).
    """
    try:
        target = _locate(component.target, where, table or {})
    except ConfigError as error:
        return [*error.problems]
    problems = _check_arguments(target, component, where, num_positional, builtin=component.target in (table or {}))
    for key, value in component.kwargs.items():
        problems += [problem for nested in _nested(value) for problem in check(nested, f"{where}.{key}")]
    return problems


def instantiate(component: Component, where: str) -> object:
    """Call the target with its arguments, innermost components first.

    Raises:
        ConfigError: Unknown target, arguments that do not fit, or an exception raised by the target itself.
    """
    problems = check(component, where)
    if problems:
        raise ConfigError(problems)
    return _call(component, where)


def bind(component: Component, where: str, table: Table, num_positional: int) -> Target:
    """Resolve a function of a family (metric, direction, …) and fix its keyword arguments.

    A class is instantiated instead, and its instance must be callable (such as ``torch.nn.MSELoss``).

    Raises:
        ConfigError: As `instantiate`.
    """
    problems = check(component, where, table, num_positional)
    if problems:
        raise ConfigError(problems)
    target = _locate(component.target, where, table)
    if not isinstance(target, type):
        return functools.partial(target, **{key: _build(value, where) for key, value in component.kwargs.items()})
    instance = _call(component, where)
    if not callable(instance):
        raise ConfigError(f"{where}: {component.target} makes objects that cannot be called; expected a function")
    return instance


# ---------------------------------------------------------------- locating


def _locate(name: str, where: str, table: Table) -> Target:
    if name in table:
        return table[name]
    if "." not in name:
        dotted = "anything else is given by its dotted path, such as package.module.name"
        raise ConfigError(f"{where}: unknown name {name!r}{did_you_mean(name, table)}; {dotted}")
    module, attributes = _import_longest(name, where)
    found: object = module
    for attribute in attributes:
        if not hasattr(found, attribute):
            suggestion = did_you_mean(attribute, [name for name in dir(found) if not name.startswith("_")])
            suggestion = suggestion if suggestion.startswith("; did") else ""
            owner = getattr(found, "__name__", str(found))
            raise ConfigError(f"{where}: {owner} has no {attribute!r}{suggestion}")
        found = getattr(found, attribute)
    if not callable(found):
        raise ConfigError(f"{where}: {name} is a {type(found).__name__}; expected something callable")
    return found


def _import_longest(name: str, where: str) -> tuple[object, list[str]]:
    """Import the longest prefix of a dotted name that is a module; return it and the remaining attributes."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            return importlib.import_module(module_name), parts[length:]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise _import_failed(module_name, where, error) from error
        except Exception as error:  # the user's module may raise anything
            raise _import_failed(module_name, where, error) from error
    raise ConfigError(
        f"{where}: {name}: there is no module {parts[0]!r} in the environment, the working directory or PYTHONPATH"
    )


def _import_failed(module: str, where: str, error: Exception) -> ConfigError:
    return ConfigError(f"{where}: importing {module} failed: {type(error).__name__}: {error}")


# ---------------------------------------------------------------- arguments


def _check_arguments(
    target: Target, component: Component, where: str, num_positional: int, *, builtin: bool
) -> list[str]:
    try:
        signature = inspect.signature(target, eval_str=builtin)
    except (ValueError, TypeError):  # some C functions have none; they complain when called
        return []
    if builtin:
        return _check_types(signature, component, where)
    num_positional = 0 if isinstance(target, type) else num_positional
    try:
        signature.bind(*[None] * num_positional, *component.args, **component.kwargs)
    except TypeError as error:
        names = list(signature.parameters)[num_positional:]
        unknown = [key for key in component.kwargs if key not in names]
        suggestion = did_you_mean(unknown[0], names) if unknown else ""
        return [f"{where}: {component.target}: {error}{suggestion}"]
    return []


def _check_types(signature: inspect.Signature, component: Component, where: str) -> list[str]:
    """Check the keyword-only parameters of a built-in by their annotations: the signature is the schema."""
    fields = {
        name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    schema = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)  # type: ignore[call-overload]
    try:
        schema.model_validate(component.kwargs)
    except ValidationError as error:
        return [
            _describe(component, where, str(item["loc"][0]), item["type"], item["msg"], list(fields))
            for item in error.errors()
        ]
    if component.args:
        return [f"{where}: {component.target} takes keyword arguments only"]
    return []


def _describe(component: Component, where: str, key: str, kind: str, message: str, known: list[str]) -> str:
    if kind == "extra_forbidden":
        return f"{where}: {component.target} has no argument {key!r}{did_you_mean(key, known)}"
    if kind == "missing":
        return f"{where}: {component.target} needs the argument {key!r}"
    return f"{where}.{key}: found {component.kwargs.get(key)!r}; {message[0].lower()}{message[1:]}"


# ---------------------------------------------------------------- building


def _nested(value: JsonValue) -> list[Component]:
    """The outermost components inside an argument."""
    if isinstance(value, list):
        return [component for item in value for component in _nested(item)]
    if isinstance(value, dict):
        if "_target_" in value:
            return [Component.model_validate(value)]
        return [component for item in value.values() for component in _nested(item)]
    return []


def _build(value: JsonValue, where: str) -> object:
    if isinstance(value, list):
        return [_build(item, where) for item in value]
    if isinstance(value, dict):
        value = normalize_component(value)
        if isinstance(value, dict) and "_target_" in value:
            return _call(Component.model_validate(value), where)
        return {key: _build(item, where) for key, item in value.items()} if isinstance(value, dict) else value
    return value


def _call(component: Component, where: str) -> object:
    target = _locate(component.target, where, {})
    args = [_build(value, where) for value in component.args]
    kwargs = {key: _build(value, f"{where}.{key}") for key, value in component.kwargs.items()}
    try:
        return target(*args, **kwargs)
    except Exception as error:  # the user's code may raise anything
        raise ConfigError(f"{where}: {component.target}(…) raised {type(error).__name__}: {error}") from error
