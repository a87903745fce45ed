"""`_target_` → object; did-you-mean."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import ConfigDict, JsonValue, ValidationError, create_model

from landscape_cli.components import Component, normalize_component
from landscape_cli.errors import ConfigError, did_you_mean

Target = Callable[..., object]
Table = Mapping[str, Target]
# where(*keys) is ``file:line: key.path`` of a component, or of something below it, for messages
Where = Callable[..., str]


def check(component: Component, where: Where, table: Table | None = None, num_positional: int = 0) -> list[str]:
    """Locate the target and bind its arguments without calling it; return every problem, also of nested components.

    Args:
        component: What to check.
        where: Locates the component and what is below it, for messages.
        table: Built-in names; without one the target must be a dotted path.
        num_positional: How many positional arguments the caller will add (of a function; a class gets none).
    """
    try:
        target = _locate(component.target, where, table or {})
    except ConfigError as error:
        return [*error.problems]
    problems = _check_arguments(target, component, where, num_positional, builtin=component.target in (table or {}))
    for value in component.args:
        problems += _check_nested(value, where)
    for key, value in component.kwargs.items():
        problems += _check_nested(value, partial(where, key))
    return problems


def _check_nested(value: JsonValue, where: Where) -> list[str]:
    """Check the outermost components inside an argument."""
    if isinstance(value, list):
        return [problem for item in value for problem in _check_nested(item, where)]
    if not isinstance(value, dict):
        return []
    if "_target_" not in value:
        return [problem for item in value.values() for problem in _check_nested(item, where)]
    try:
        component = Component.model_validate(value)
    except ValidationError as error:
        return [f"{where('_target_')}: found {value['_target_']!r}; {item['msg']}" for item in error.errors()]
    return check(component, where)


def instantiate(component: Component, where: Where) -> object:
    """Call the target with its arguments, innermost components first.

    Raises:
        ConfigError: Unknown target, arguments that do not fit, or an exception raised by the target itself.
    """
    problems = check(component, where)
    if problems:
        raise ConfigError(problems)
    return _call(component, where)


def bind(component: Component, where: Where, table: Table, num_positional: int) -> Target:
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
        args = [_build(value, where) for value in component.args]
        kwargs = {key: _build(value, partial(where, key)) for key, value in component.kwargs.items()}
        return lambda *ours: target(*ours, *args, **kwargs)
    instance = _call(component, where)
    if not callable(instance):
        raise ConfigError(f"{where()}: {component.target} makes objects that cannot be called; expected a function")
    return instance


# ---------------------------------------------------------------- locating


def _locate(name: str, where: Where, table: Table) -> Target:
    if name in table:
        return table[name]
    if "." not in name or not all(part.isidentifier() for part in name.split(".")):
        dotted = "anything else is given by its dotted path, such as package.module.name"
        raise ConfigError(f"{where()}: unknown name {name!r}{did_you_mean(name, table)}; {dotted}")
    module, attributes = _import_longest(name, where)
    found: object = module
    for attribute in attributes:
        if not hasattr(found, attribute):
            suggestion = did_you_mean(attribute, [name for name in dir(found) if not name.startswith("_")])
            suggestion = suggestion if suggestion.startswith("; did") else ""
            owner = getattr(found, "__name__", str(found))
            raise ConfigError(f"{where()}: {owner} has no {attribute!r}{suggestion}")
        found = getattr(found, attribute)
    if not callable(found):
        raise ConfigError(f"{where()}: {name} is a {type(found).__name__}; expected something callable")
    return found


def _import_longest(name: str, where: Where) -> tuple[object, list[str]]:
    """Import the longest prefix of a dotted name that is a module; return it and the remaining attributes."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            return importlib.import_module(module_name), parts[length:]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise _import_failed(module_name, where, error) from error
        except (Exception, SystemExit) as error:  # the user's module may raise anything, or exit
            raise _import_failed(module_name, where, error) from error
    raise ConfigError(
        f"{where()}: {name}: there is no module {parts[0]!r} in the environment, the working directory or PYTHONPATH"
    )


def _import_failed(module: str, where: Where, error: BaseException) -> ConfigError:
    return ConfigError(f"{where()}: importing {module} failed: {type(error).__name__}: {error}")


# ---------------------------------------------------------------- arguments


def _check_arguments(
    target: Target, component: Component, where: Where, num_positional: int, *, builtin: bool
) -> list[str]:
    try:
        signature = inspect.signature(target, eval_str=builtin)
    except (ValueError, TypeError, NameError):  # some C functions have none; they complain when called
        return []
    if builtin:
        return _check_types(signature, component, where)
    num_positional = 0 if isinstance(target, type) else num_positional
    try:
        signature.bind(*[None] * num_positional, *component.args, **component.kwargs)
    except TypeError as error:
        parameters = list(signature.parameters.values())[num_positional:]
        names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        unknown = [] if takes_any else [key for key in component.kwargs if key not in names]
        if unknown:
            return [
                f"{where()}: {component.target}: got an unexpected keyword argument {key!r}{did_you_mean(key, names)}"
                for key in unknown
            ]
        return [f"{where()}: {component.target}: {error}"]
    return []


def _check_types(signature: inspect.Signature, component: Component, where: Where) -> list[str]:
    """Check the keyword-only parameters of a built-in by their annotations: the signature is the schema."""
    fields = {
        name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    schema = create_model(
        "Arguments", __config__=ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True), **fields
    )  # type: ignore[call-overload]
    try:
        schema.model_validate(component.kwargs)
    except ValidationError as error:
        described = [
            _describe(component, where, str(item["loc"][0]), item["type"], item["msg"], list(fields))
            for item in error.errors()
        ]
        return _merged(described)
    if component.args:
        return [f"{where()}: {component.target} takes keyword arguments only"]
    return []


def _merged(problems: Sequence[str]) -> list[str]:
    """One problem for each value: an argument that may be a text or a list, and is neither, is wrong only once."""
    expected: dict[str, list[str]] = {}
    for problem in problems:
        found, separator, words = problem.partition("; input should be ")
        alternatives = expected.setdefault(f"{found}{separator}", [])
        alternatives += [words] if words not in alternatives else []
    return [found + " or ".join(alternatives) for found, alternatives in expected.items()]


def _describe(component: Component, where: Where, key: str, kind: str, message: str, known: list[str]) -> str:
    if kind == "extra_forbidden":
        return f"{where()}: {component.target} has no argument {key!r}{did_you_mean(key, known)}"
    if kind == "missing":
        return f"{where()}: {component.target} needs the argument {key!r}"
    return f"{where(key)}: found {component.kwargs.get(key)!r}; {message[0].lower()}{message[1:]}"


# ---------------------------------------------------------------- building


def _build(value: JsonValue, where: Where) -> object:
    if isinstance(value, list):
        return [_build(item, where) for item in value]
    if isinstance(value, dict):
        value = normalize_component(value)
        if isinstance(value, dict) and "_target_" in value:
            return _call(Component.model_validate(value), where)
        return {key: _build(item, where) for key, item in value.items()} if isinstance(value, dict) else value
    return value


def _call(component: Component, where: Where) -> object:
    target = _locate(component.target, where, {})
    args = [_build(value, where) for value in component.args]
    kwargs = {key: _build(value, partial(where, key)) for key, value in component.kwargs.items()}
    try:
        return target(*args, **kwargs)
    except (Exception, SystemExit) as error:  # the user's code may raise anything, or exit
        raise ConfigError(f"{where()}: {component.target}(…) raised {type(error).__name__}: {error}") from error
