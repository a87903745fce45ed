"""A target is found, its arguments are checked before it is called, and what it raises is said with its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from landscape_cli.components import Component
from landscape_cli.compute.directions.table import DIRECTIONS
from landscape_cli.compute.instantiate import bind, check, instantiate
from landscape_cli.compute.metrics import METRICS
from landscape_cli.errors import ConfigError

WHERE = "scan.yaml:3: model"


def where(*keys: object) -> str:
    """Locate what is below the component on the same line."""
    return ".".join([WHERE, *map(str, keys)])


HERE = __name__
number = 3


class Box:
    """Keeps what it got."""

    def __init__(self, width: int, depth: int = 1) -> None:
        self.width, self.depth = width, depth

    @classmethod
    def square(cls, side: int) -> Box:
        return cls(side, side)


class Scaled(nn.Module):
    """A loss with a setting, as a module."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scale * (outputs - targets)


class Unknowable:
    """Has no signature that can be read."""

    __signature__ = 3


def pair(first: object, second: object) -> tuple[object, object]:
    return first, second


def keep(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    return args, kwargs


def needy(first: object, **rest: object) -> object:
    return first, rest


def power(outputs: Tensor, targets: Tensor, exponent: int = 2, *, factor: float = 1.0) -> Tensor:
    return factor * (outputs - targets) ** exponent


def fails() -> None:
    raise ZeroDivisionError("by nought")


def leaves() -> None:
    raise SystemExit(0)


def make(target: str, /, **kwargs: object) -> Component:
    """A component as the YAML gives it; names without a dot before them are those of this file."""
    return Component.model_validate({"_target_": target.replace("~", HERE), **kwargs})


def nested(target: str, /, **kwargs: object) -> dict[str, object]:
    return {"_target_": target.replace("~", HERE), **kwargs}


def refused(component: Component, **options: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        bind(component, where, **options) if options else instantiate(component, where)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write modules, given as path without suffix → source, that can be imported during this test."""

    def write(sources: dict[str, str]) -> None:
        for name, source in sources.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    return write


# ---------------------------------------------------------------- building


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.lists(st.integers(), max_size=2), max_size=3),
)
def test_target_gets_its_arguments(args: list[object], kwargs: dict[str, object]) -> None:
    assert instantiate(make("~.keep", _args_=args, **kwargs), where) == (tuple(args), kwargs)


def test_innermost_components_are_built_first() -> None:
    inner = nested("~.Box", width=5)
    built = instantiate(make("~.keep", _args_=[inner, {"k": [inner]}], a=inner, b=[1, {"c": inner}]), where)
    assert isinstance(built, tuple)
    (first, second), kwargs = built
    boxes = [first, second["k"][0], kwargs["a"], kwargs["b"][1]["c"]]
    assert [box.width for box in boxes] == [5] * 4
    assert kwargs["b"][0] == 1


def test_lightning_form_is_built_as_the_other() -> None:
    square = {"class_path": f"{HERE}.Box.square", "init_args": {"side": 2}}
    box = {"class_path": f"{HERE}.Box", "init_args": {"width": 3}}
    lightning = {"class_path": f"{HERE}.pair", "init_args": {"first": square, "second": [box]}}
    built = instantiate(Component.model_validate(lightning), where)
    assert isinstance(built, tuple)
    assert (built[0].width, built[0].depth, built[1][0].width) == (2, 2, 3)


def test_strange_modules_are_built() -> None:
    layers = [nested("torch.nn.Linear", in_features=3, out_features=2), nested("torch.nn.ReLU")]
    model = instantiate(make("torch.nn.Sequential", _args_=layers), where)
    assert isinstance(model, nn.Sequential)
    assert model(torch.zeros(4, 3)).shape == (4, 2)


@pytest.mark.parametrize("target", ["builtins.dict", "~.Unknowable"])
def test_target_without_a_signature_is_called_all_the_same(target: str) -> None:
    assert instantiate(make(target), where) is not None


def test_checking_calls_nothing() -> None:
    assert check(make("~.fails"), where) == []
    assert check(make("~.pair", first=nested("~.fails"), second=[nested("~.leaves")]), where) == []


# ---------------------------------------------------------------- finding


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.Net", "nowhere.Net: there is no module 'nowhere'"),
        ("torch.nn.Lineer", "torch.nn has no 'Lineer'; did you mean 'Linear'?"),
        ("torch.nowhere.Linear", "torch has no 'nowhere'"),
        ("~.Box.round", "Box has no 'round'"),
        ("~.zzz", "has no 'zzz'"),
        ("~.number", "number is a"),
        ("Box", "unknown name 'Box'"),
    ],
)
def test_unknown_target_is_refused(target: str, words: str) -> None:
    [problem] = refused(make(target))
    assert problem.startswith(f"{WHERE}: ")
    assert words in problem


@pytest.mark.parametrize(
    "target", ["torch.nn.", ".torch.nn.Linear", "torch..Linear", " torch.nn.Linear", "a/b.py", "."]
)
def test_target_that_is_no_dotted_path_is_called_so(target: str) -> None:
    [problem] = refused(make(target))
    assert repr(target) in problem
    assert "dotted path" in problem


def test_name_without_a_dot_is_told_what_is_expected() -> None:
    [problem] = refused(make("acuracy"), table=METRICS, num_positional=2)
    assert "unknown name 'acuracy'; did you mean 'accuracy'?" in problem
    assert "dotted path" in refused(make("zzz"), table=METRICS, num_positional=2)[0]
    assert (
        "known: between, file, gradient, hessian, pca, random"
        in refused(make("zzz"), table=DIRECTIONS, num_positional=1)[0]
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("from torch import nowhere", "ImportError: cannot import name 'nowhere'"),
        ("def (", "SyntaxError"),
        ("import sys; sys.exit(0)", "SystemExit"),
    ],
)
def test_module_that_fails_to_import_is_refused_with_its_reason(
    package: Callable[..., None], source: str, words: str
) -> None:
    package({"broken_module": source})
    [problem] = refused(make("broken_module.Net"))
    assert problem.startswith(f"{WHERE}: importing broken_module failed: ")
    assert words in problem


def test_module_missing_inside_a_package_is_told_from_a_broken_one(package: Callable[..., None]) -> None:
    package({"parcel/__init__": "", "parcel/sound": "Net = dict", "parcel/broken": "import parcel.absent"})
    assert instantiate(make("parcel.sound.Net"), where) == {}
    assert "parcel has no 'absent'" in refused(make("parcel.absent.Net"))[0]
    assert "importing parcel.broken failed: ModuleNotFoundError" in refused(make("parcel.broken.Net"))[0]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, "missing a required argument: 'width'"),
        ({"width": 1, "depht": 2}, "'depht'; did you mean 'depth'?"),
        ({"width": 1, "zzz": 2}, "'zzz'; known: depth, width"),
        ({"widht": 1}, "'widht'; did you mean 'width'?"),
        ({"_args_": [1, 2, 3]}, "too many positional arguments"),
        ({"_args_": [1], "width": 2}, "multiple values for argument 'width'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kwargs: dict[str, object], words: str) -> None:
    problems = refused(make("~.Box", **kwargs))
    assert all(problem.startswith(f"{WHERE}: {HERE}.Box") for problem in problems)
    assert any(words in problem for problem in problems), problems


def test_every_unknown_argument_is_reported() -> None:
    text = "\n".join(refused(make("~.Box", widht=1, depht=2)))
    assert "'widht'" in text
    assert "'depht'" in text


def test_missing_argument_is_not_blamed_on_those_that_fit() -> None:
    [problem] = refused(make("~.needy", anything=1))
    assert "missing a required argument: 'first'" in problem
    assert "did you mean" not in problem
    assert "known" not in problem


def test_problems_of_nested_components_are_reported_together() -> None:
    component = make(
        "~.pair",
        first=nested("~.Box", depht=1, width=1),
        second=[nested("nowhere.Net"), {"k": nested("~.Box")}],
    )
    problems = check(component, where)
    assert len(problems) == 3
    assert [problem.split(": ")[1][:12] for problem in problems] == ["model.first", "model.second", "model.second"]
    assert "'depth'" in problems[0]
    assert "no module 'nowhere'" in problems[1]
    assert "'width'" in problems[2]


def test_components_among_positional_arguments_are_checked_too() -> None:
    component = make("~.pair", _args_=[nested("~.Box", wiidth=1), [nested("nowhere.Net")]])
    assert len(check(component, where)) >= 2


@pytest.mark.parametrize("target", [3, "", None, ["torch.nn.ReLU"]])
def test_nested_target_that_is_no_name_is_refused(target: object) -> None:
    component = make("~.pair", first={"_target_": target}, second=2)
    assert check(component, where)[0].startswith("scan.yaml:3: model.first")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("~.fails", "fails(…) raised ZeroDivisionError: by nought"),
        ("torch.relu", "torch.relu(…) raised TypeError"),
        ("~.leaves", "leaves(…) raised SystemExit"),
    ],
)
def test_what_a_target_raises_is_reported(target: str, words: str) -> None:
    [problem] = refused(make(target))
    assert problem.startswith(f"{WHERE}: ")
    assert words in problem


def test_what_a_nested_target_raises_names_the_argument() -> None:
    [problem] = refused(make("~.pair", first=[nested("~.fails")], second=1))
    assert problem.startswith(f"{WHERE}.first: {HERE}.fails(…) raised ZeroDivisionError")


# ---------------------------------------------------------------- functions of a family


def test_bound_function_is_the_function_with_its_arguments() -> None:
    outputs, targets = torch.tensor([1.0, 5.0]), torch.tensor([0.0, 2.0])
    bound = bind(make("~.power", factor=0.5), where, METRICS, 2)
    assert torch.equal(bound(outputs, targets), torch.tensor([0.5, 4.5]))
    assert bind(make("mse"), where, METRICS, 2)(outputs, targets).tolist() == [1.0, 9.0]
    assert bind(make("torch.nn.functional.mse_loss", reduction="none"), where, METRICS, 2)(outputs, targets)[1] == 9
    boxed = bind(make("~.keep", box=[nested("~.Box", width=2)]), where, METRICS, 2)(outputs, targets)
    assert boxed[1]["box"][0].width == 2


def test_bound_class_is_instantiated() -> None:
    bound = bind(make("~.Scaled", scale=3.0), where, METRICS, 2)
    assert bound(torch.tensor([2.0]), torch.tensor([1.0])).tolist() == [3.0]
    [problem] = refused(make("~.Box", width=1), table=METRICS, num_positional=2)
    assert "makes objects that cannot be called; expected a function" in problem


def test_positional_arguments_of_a_bound_function_follow_ours() -> None:
    bound = bind(make("~.power", _args_=[3]), where, METRICS, 2)
    assert bound(torch.tensor([3.0]), torch.tensor([1.0])).tolist() == [8.0]


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (make("~.fails"), "too many positional arguments"),
        (make("~.power", _args_=[1, 2]), "too many positional arguments"),
        (make("~.power", fcator=1), "'fcator'; did you mean 'factor'?"),
        (make("~.power", exponents=1), "'exponents'; did you mean 'exponent'?"),
        (make("~.number"), "expected something callable"),
    ],
)
def test_function_that_does_not_fit_its_family_is_refused(component: Component, words: str) -> None:
    assert words in refused(component, table=METRICS, num_positional=2)[0]


@pytest.mark.parametrize(
    ("component", "problem"),
    [
        (make("top_k", k="many"), f"{WHERE}.k: found 'many'; input should be a valid integer"),
        (make("top_k", k="3"), f"{WHERE}.k: found '3'; input should be a valid integer"),
        (make("top_k", k=True), f"{WHERE}.k: found True; input should be a valid integer"),
        (make("top_k", k=2.5), f"{WHERE}.k: found 2.5; input should be a valid integer"),
        (make("top_k", k=None), f"{WHERE}.k: found None; input should be a valid integer"),
        (make("top_k", k=nested("~.Box", width=1)), f"{WHERE}.k: found"),
        (make("top_k", kk=3), f"{WHERE}: top_k has no argument 'kk'; known: k"),
        (make("top_k", _args_=[3]), f"{WHERE}: top_k takes keyword arguments only"),
        (make("cross_entropy", label_smothing=0.1), f"{WHERE}: cross_entropy has no argument 'label_smothing'; did"),
        (make("cross_entropy", label_smoothing="x"), f"{WHERE}.label_smoothing: found 'x'; input should be a valid"),
    ],
)
def test_arguments_of_a_built_in_are_checked_by_its_annotations(component: Component, problem: str) -> None:
    assert refused(component, table=METRICS, num_positional=2)[0].startswith(problem)


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"normalization": "fliter"}, f"{WHERE}.normalization: found 'fliter'; input should be 'filter', 'layer'"),
        ({"normalisation": "filter"}, f"{WHERE}: random has no argument 'normalisation'; did you mean 'normalization'"),
        ({"context": 3}, f"{WHERE}: random has no argument 'context'; known: ignore, normalization"),
    ],
)
def test_arguments_of_a_direction_are_checked_by_its_annotations(kwargs: dict[str, object], problem: str) -> None:
    assert refused(make("random", **kwargs), table=DIRECTIONS, num_positional=1)[0].startswith(problem)


def test_all_wrong_arguments_of_a_built_in_are_reported() -> None:
    problems = refused(make("random", normalization=3, ignore="bn", seed=1), table=DIRECTIONS, num_positional=1)
    assert [problem.split(": ")[1] for problem in problems] == ["model.normalization", "model.ignore", "model"]


def test_built_in_may_require_arguments() -> None:
    def between(context: object, *, other: str) -> object:
        return context, other

    table = {"between": between}
    assert refused(make("between"), table=table, num_positional=1) == (f"{WHERE}: between needs the argument 'other'",)
    assert bind(make("between", other="a.pt"), where, table, 1)("context") == ("context", "a.pt")


@pytest.mark.parametrize("table", [METRICS, DIRECTIONS])
def test_every_built_in_can_be_bound_with_its_defaults(table: dict[str, Callable[..., object]]) -> None:
    for name, function in table.items():
        defaults = {
            parameter.name: "a.pt" if parameter.default is parameter.empty else parameter.default
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        assert callable(bind(make(name, **defaults), where, table, 1))


# ---------------------------------------------------------------- the command line

CONFIG = """\
model: {_target_: torch.nn.Linear, in_features: 2, out_features: 1}
checkpoint: {path: weights.pt}
data:
  train:
    dataset:
      _target_: torchvision.datasets.CIFAR10
      root: data
      transform:
        _target_: torchvision.transforms.ToTensor
axes: {x: {num: 5}}
"""


@pytest.fixture
def validate(tmp_path: Path, landscape: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Check the config with another transform."""

    def run(transform: str) -> Outcome:
        path = tmp_path / "scan.yaml"
        path.write_text(CONFIG.replace("torchvision.transforms.ToTensor", transform))
        return landscape("validate", path, "--no-data")

    return run


def test_problem_of_a_nested_component_names_its_own_line(validate: Callable[..., Outcome]) -> None:
    outcome = validate("torchvision.transforms.ToTensr")
    assert outcome.exit_code == 2
    assert "did you mean 'ToTensor'?" in outcome.stderr
    assert "scan.yaml:8: data.train.dataset.transform" in outcome.stderr


def test_module_that_exits_does_not_end_the_command_in_silence(
    validate: Callable[..., Outcome], package: Callable[..., None]
) -> None:
    package({"training_script": "import sys\nsys.exit(0)"})
    outcome = validate("training_script.transform")
    assert outcome.exit_code == 2
    assert "importing training_script failed: SystemExit" in outcome.stderr
