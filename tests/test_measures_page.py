"""docs/measures.md names every option of the measures from the model, with its default."""

from __future__ import annotations

import inspect
import re

import pytest
import yaml
from conftest import ROOT

from landscape_cli.beside import CurvatureConfig, MapConfig, ObjectiveConfig
from landscape_cli.compute.curvature.table import CURVATURE, options_of

PAGE = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
OPTIONS = PAGE.partition("### Options\n")[2].partition("**Other settings replace.**")[0]
ROWS = [line.split(" | ") for line in OPTIONS.splitlines() if line.startswith("| `")]


def described(name: str) -> str:
    (found,) = [row[-1] for row in ROWS if f"`{name}`" in row[0]]
    return found


def defaults_of(name: str) -> dict[str, object]:
    parameters = inspect.signature(CURVATURE[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


@pytest.mark.parametrize("name", CURVATURE)
def test_every_option_of_a_measure_is_in_the_table_with_its_default(name: str) -> None:
    shown = {key: yaml.safe_load(value) for key, value in re.findall(r"`(\w+): ([^`]*)`", described(name))}
    assert shown == defaults_of(name)
    assert shown or described(name).startswith("none")


@pytest.mark.parametrize("section", [CurvatureConfig, MapConfig, ObjectiveConfig])
def test_every_key_of_the_section_is_in_the_table(section: type[CurvatureConfig | MapConfig | ObjectiveConfig]) -> None:
    named = {row[0].removeprefix("| ").strip("`") for row in ROWS}
    for key, field in section.model_fields.items():
        if section is CurvatureConfig:
            assert key in named
        else:
            assert re.search(rf"\b{key}: {'null' if field.default is None else field.default}\b", OPTIONS)


def test_the_example_is_a_section_of_a_config() -> None:
    example = OPTIONS.partition("```yaml\n")[2].partition("```")[0]
    config = CurvatureConfig.model_validate(yaml.safe_load(example)["curvature"])
    for component in config.measures.values():
        if component.target != "default":
            assert component.kwargs.keys() <= options_of(component).keys()
            assert component.kwargs.keys() <= defaults_of(component.target).keys()
