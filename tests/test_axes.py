"""Axes of the YAML: which forms are accepted, where the coordinates lie, and when two axes are the same."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from bad_models import Linear
from documents import config_validator
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from landscape_cli import load_surface, scan
from landscape_cli.axes import AxisConfig, Span
from landscape_cli.config import Config, load_config
from landscape_cli.errors import ConfigError, ResumeMismatchError
from landscape_cli.identity import fingerprint
from landscape_cli.yaml_source import parse_yaml

HEAD = """\
model: {_target_: bad_models.Linear}
checkpoint: {path: weights.pt}
data:
  train: {dataset: {_target_: bad_models.dataset}}
axes:
"""
Load = Callable[[str], Config]


def config_text(axes: str) -> str:
    """The axes begin at line 6."""
    return HEAD + "".join(f"  {line}\n" if line[1:2] == ":" else f"{line}\n" for line in axes.splitlines())


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def run(axes: str) -> Config:
        path = tmp_path / "scan.yaml"
        path.write_text(config_text(axes if axes[1:2] == ":" else f"x: {axes}"))
        return load_config(path)

    return run


@pytest.fixture
def refuse(load: Load, tmp_path: Path) -> Callable[[str], list[str]]:
    def run(axes: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(axes)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return run


def complaints(axes: str) -> list[str]:
    """What the JSON Schema, for editors, says against these axes."""
    data, _ = parse_yaml(config_text(axes if axes[1:2] == ":" else f"x: {axes}"), name="t")
    return [error.message for error in config_validator().iter_errors(data)]


# ---------------------------------------------------------------- accepted and refused

ACCEPTED = [
    "{values: [-1, -0.1, 0, 0.3]}", "{values: [2]}", "{values: ~}", "{values: [0, 1], direction: random}",
    "{start: 0}", "{stop: 0}", "{start: 0, stop: 3, num: 4}", "{start: 0.5, stop: 0.5, num: 1}",
    "{spacing: log, start: 0.01, stop: 1, num: 5}", "{spacing: log, start: -1, stop: -0.01}", "{spacing: linear}",
    "{spacing: log, start: 1.0e-320, stop: 1.0e-300, num: 3}",  # their product is 0 in float64
    "{span: auto}", "{span: trajectory}", "{span: ~}", "{span: {}}", "{span: {rise: 0.5}}", "{span: {factor: 2}}",
    "{span: {trajectory: true}}", "{span: {rise: 1, trajectory: false}}", "{span: {rise: ~, factor: 2}}",
    "{span: auto, start: 0}", "{span: auto, stop: 0.0, num: 2}", "{span: auto, spacing: linear}",
    "{direction: {_target_: random, parameters: layer3.*}}", "{direction: {_target_: random, parameters: [a, b]}}",
    "{direction: {_target_: random, parameters: ~}}", "{direction: {_target_: random, parameters: {}}}",
    "{direction: {_target_: random, parameters: {include: a, exclude: [b, c]}}}",
    "{direction: {_target_: random, parameters: {exclude: a}}}", "{direction: {_target_: random, orthogonal: false}}",
    "{direction: {class_path: random, init_args: {parameters: a}}}",
    "x: {}\ny: {direction: {_target_: random, orthogonal: true}}", "x: {}\ny: {num: 2}\nz: {values: [0, 1]}",
    "x: {}\ny: {}\nz:", "x: {}\ntrajectory: {checkpoints: epoch_*.pt}", "x: {}\ntrajectory: {checkpoints: [a, b]}",
    "x: {}\ndirections: save",
]  # fmt: skip


@pytest.mark.parametrize("axes", ACCEPTED)
def test_form_is_accepted_by_loader_and_schema(load: Load, axes: str) -> None:
    assert load(axes).grid().num_points > 0
    assert complaints(axes) == []


RANGE = "span finds the range; beside it only start: 0 or stop: 0, and num, are possible"
# form → its one problem
REFUSED = {
    "{values: []}": "6: axes.x.values: found a list; expected at least 1 entry",
    "{values: 3}": "6: axes.x.values: found 3; expected a list",
    "{values: '0, 1'}": "6: axes.x.values: found '0, 1'; expected a list",
    "{values: [a]}": "6: axes.x.values.0: found 'a'; input should be a valid number",
    "{values: [0, '1']}": "6: axes.x.values.1: found '1'; input should be a valid number",
    "{values: [0, true]}": "6: axes.x.values.1: found True; input should be a valid number",
    "{values: [0, 1], num: 2}": "6: axes.x: values are the coordinates themselves; leave out num",
    "{values: [0], start: 0, stop: 1, span: auto}": "6: axes.x: values are the coordinates themselves; leave out "
    "span, start, stop",
    "{values: [0, 1], spacing: linear}": "6: axes.x: values are the coordinates themselves; leave out spacing",
    "{spacing: lgo}": "6: axes.x.spacing: found 'lgo'; input should be 'linear' or 'log'",
    "{span: auto, start: -1}": f"6: axes.x: {RANGE}",
    "{span: auto, stop: 1}": f"6: axes.x: {RANGE}",
    "{span: auto, start: 0, stop: 0}": f"6: axes.x: {RANGE}",
    "{span: auto, spacing: log}": f"6: axes.x: {RANGE}",
    "{span: auto, num: 1}": "6: axes.x: num: 1 is a single point; it needs start and stop, not span",
    "{span: atuo}": "6: axes.x.span: found 'atuo'; expected auto, trajectory, or a mapping with rise or factor",
    "{span: 3}": "6: axes.x.span: found 3; expected a mapping",
    "{span: [0, 1]}": "6: axes.x.span: found a list; expected a mapping",
    "{span: {rise: 0}}": "6: axes.x.span.rise: found 0; input should be greater than 0",
    "{span: {rise: high}}": "6: axes.x.span.rise: found 'high'; input should be a valid number",
    "{span: {factor: 1}}": "6: axes.x.span.factor: found 1; input should be greater than 1",
    "{span: {ries: 1}}": "6: axes.x.span.ries: unknown key; did you mean 'rise'?",
    "{span: {rise: 1, factor: 2}}": "6: axes.x.span: rise, factor and trajectory exclude each other",
    "{span: {factor: 2, trajectory: true}}": "6: axes.x.span: rise, factor and trajectory exclude each other",
    "{direction: {_target_: random, parameters: 3}}": "6: axes.x.direction.parameters: found 3; expected a glob such "
    "as layer3.*, a list of them, or include and exclude",
    "{direction: {_target_: random, parameters: []}}": "6: axes.x.direction.parameters: it includes nothing; expected "
    "at least one glob such as layer3.*",
    "{direction: {_target_: random, parameters: {include: []}}}": "6: axes.x.direction.parameters: it includes "
    "nothing; expected at least one glob such as layer3.*",
    "{direction: {_target_: random, parameters: [a, 3]}}": "6: axes.x.direction.parameters.include.1: found 3; input "
    "should be a valid string",
    "{direction: {_target_: random, parameters: ''}}": "6: axes.x.direction.parameters.include.0: found ''; string "
    "should have at least 1 character",
    "{direction: {_target_: random, parameters: {inclde: a}}}": "6: axes.x.direction.parameters.inclde: unknown key; "
    "did you mean 'include'?",
    "{direction: {_target_: random, orthogonal: 1}}": "6: axes.x.direction.orthogonal: found 1; input should be a "
    "valid boolean",
    "x: {}\ny: {direction: {_target_: random, orthogonal: 'yes'}}": "7: axes.y.direction.orthogonal: found 'yes'; "
    "input should be a valid boolean",
    "x: {}\nz: {}": "5: axes: z needs y",
    "x: {}\ny:\nz: {}": "5: axes: z needs y",
    "x: {}\ny: {}\nz: {num: 0}": "8: axes.z.num: found 0; input should be greater than 0",
    "x: {}\ntrajectory: a.pt": "7: trajectory: found 'a.pt'; expected a mapping",
    "x: {}\ntrajectory: {checkpoints: []}": "7: trajectory.checkpoints: found a list; expected at least 1 entry",
    "x: {}\ntrajectory: {checkpoints: [a, '']}": "7: trajectory.checkpoints.1: found ''; string should have at least "
    "1 character",
    "x: {}\ntrajectory: {key: a}": "7: trajectory.checkpoints: required, but missing",
    "x: {}\ndirections: svae": "7: directions: found 'svae'; input should be 'save'",
    "x: {}\nslices: {num: 8001}": "7: slices.num: found 8001; input should be less than or equal to 8000",
}
# what JSON Schema cannot compare
REFUSED_BY_THE_LOADER = {
    "{values: [1, 0]}": "6: axes.x: values must rise from one to the next",
    "{values: [0, 0]}": "6: axes.x: values must rise from one to the next",
    "{values: [0.0, -0.0]}": "6: axes.x: values must rise from one to the next",
    "{values: [0, .nan]}": "6: axes.x.values.1: found nan; input should be a finite number",
    "{start: 2}": "6: axes.x: start must be smaller than stop, found start: 2.0 and stop: 1.0",
    "{stop: -1}": "6: axes.x: start must be smaller than stop, found start: -1.0 and stop: -1.0",
    "{spacing: log}": "6: axes.x: spacing: log needs start and stop of one sign, found -1.0 and 1.0; for both sides "
    "of 0 give values",
    "{spacing: log, start: 0}": "6: axes.x: spacing: log needs start and stop of one sign, found 0.0 and 1.0; for "
    "both sides of 0 give values",
    "{spacing: log, start: 0, stop: 0, num: 1}": "6: axes.x: num: 1 is a single point; spacing: log needs more",
    "{spacing: log, start: 1.0e+300, stop: 1.0000000001e+300, num: 20000}": "6: axes.x: 20000 different values do "
    "not fit between 1e+300 and 1.0000000001e+300 in float64",
    "{span: {rise: .inf}}": "6: axes.x.span.rise: found inf; input should be a finite number",
    "{direction: {_target_: random, orthogonal: true}}": "5: axes: x.direction: orthogonal: true is for y and z; "
    "there is no axis before x",
    "x: {num: 1000}\ny: {num: 1000}\nz: {num: 101}": "1: axes and slices make 101,000,000 points; at most "
    "100,000,000 are possible",
    "x: {num: 1000}\ny: {num: 1000}\nz: {values: [0, 1]}\nslices: {num: 51}": "1: axes and slices make 102,000,000 "
    "points; at most 100,000,000 are possible",
}


@pytest.mark.parametrize("axes", REFUSED)
def test_form_is_refused_by_loader_and_schema(refuse: Callable[[str], list[str]], axes: str) -> None:
    assert refuse(axes) == [f"scan.yaml:{REFUSED[axes]}"]
    assert complaints(axes)


@pytest.mark.parametrize("axes", REFUSED_BY_THE_LOADER)
def test_coordinates_that_make_no_grid_are_refused(refuse: Callable[[str], list[str]], axes: str) -> None:
    assert refuse(axes) == [f"scan.yaml:{REFUSED_BY_THE_LOADER[axes]}"]


def test_problems_of_several_axes_are_reported_at_once(refuse: Callable[[str], list[str]]) -> None:
    found = refuse("x: {values: [1, 0]}\ny: {span: atuo}\nz: {spacing: log}")
    assert [problem.split(": ")[1] for problem in found] == ["axes.x", "axes.y.span", "axes.z"]


FORMS = st.fixed_dictionaries(
    {},
    optional={
        "start": st.sampled_from([-2.0, -1e-3, 0.0, 1e-300, 0.5]),
        "stop": st.sampled_from([-1e-3, 0.0, 0.5, 0.5 + 1e-15, 2.0, 1e300]),
        "num": st.sampled_from([1, 2, 3, 7, 200]),
        "spacing": st.sampled_from(["linear", "log"]),
        "values": st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.25, 3.0]), max_size=3),
        "span": st.sampled_from(["auto", "trajectory", {"rise": 1.0}]),
    },
)


@settings(max_examples=400, deadline=None)
@given(FORMS)
def test_every_axis_that_is_accepted_has_its_coordinates(form: dict[str, object]) -> None:
    """Finite, rising, as many as said: whatever the loader lets through makes a grid, before and after a search."""
    try:
        axis = AxisConfig.model_validate(form)
    except ValidationError:
        return
    found = (-0.7, 1.9) if axis.search is not None else (None, None)
    for ends in ((None, None), found):
        made = axis.axis("x", *ends)
        assert len(made) == axis.size
        assert all(map(math.isfinite, made.coordinates))
        assert all(a < b for a, b in pairwise(made.coordinates))
        assert not any(math.copysign(1, value) < 0 for value in made.coordinates if value == 0)


# ---------------------------------------------------------------- coordinates


def test_values_are_the_coordinates(load: Load) -> None:
    (axis,) = load("{values: [-2, -0.0, 0.3, 7]}").grid().axes
    assert axis.coordinates == (-2.0, 0.0, 0.3, 7.0)
    assert math.copysign(1, axis.coordinates[1]) == 1


@pytest.mark.parametrize(
    ("start", "stop", "num"), [(0.01, 10.0, 7), (-8.0, -0.5, 5), (0.3, 0.7, 2), (1e-200, 1e200, 9)]
)
def test_log_spacing_has_one_ratio_and_its_exact_ends(load: Load, start: float, stop: float, num: int) -> None:
    (axis,) = load(f"{{spacing: log, start: {start!r}, stop: {stop!r}, num: {num}}}").grid().axes
    assert (axis.coordinates[0], axis.coordinates[-1], len(axis)) == (start, stop, num)
    ratio = math.exp((math.log(abs(stop)) - math.log(abs(start))) / (num - 1))
    assert [b / a for a, b in pairwise(axis.coordinates)] == pytest.approx([ratio] * (num - 1), rel=1e-12)


def test_one_sided_range_begins_or_ends_at_the_checkpoint(load: Load) -> None:
    right, left = load("x: {start: 0, num: 5}\ny: {stop: 0, num: 5}").grid().axes
    assert right.coordinates == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert left.coordinates == (-1.0, -0.75, -0.5, -0.25, 0.0)


def test_three_axes_make_a_volume(load: Load) -> None:
    grid = load("x: {num: 2}\ny: {values: [0, 1, 5]}\nz: {spacing: log, start: 1, stop: 4, num: 3}").grid()
    assert grid.shape == (1, 2, 3, 3)
    assert [axis.name for axis in grid.axes] == ["x", "y", "z"]
    assert grid.axes[2].coordinates == pytest.approx((1.0, 2.0, 4.0), rel=1e-15)


def test_a_found_range_leaves_a_given_end_where_it_is() -> None:
    found = {"low": -0.3, "high": 0.9}
    assert AxisConfig(num=3, span=Span()).axis("x", **found).coordinates == pytest.approx((-0.3, 0.3, 0.9))
    assert AxisConfig(num=3, start=0.0, span=Span()).axis("x", **found).coordinates == pytest.approx((0.0, 0.45, 0.9))
    assert AxisConfig(num=3, stop=0.0, span=Span()).axis("x", **found).coordinates == pytest.approx((-0.3, -0.15, 0.0))


@pytest.mark.parametrize("num", [3, 4, 5, 8, 11, 50, 51])
def test_a_range_around_a_trajectory_holds_it_with_the_checkpoint_on_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num: int
) -> None:
    """Along the line between two checkpoints, on which the others lie at known coordinates."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(num)
    a, b = Linear().state_dict(), Linear().state_dict()
    places = {"weights.pt": 0.0, "far.pt": 1.0, "before.pt": -0.37, "beyond.pt": 2.21}
    for name, place in places.items():
        torch.save({key: a[key] + place * (b[key] - a[key]) for key in a}, name)
    Path("c.yaml").write_text(
        config_text(f"x: {{span: trajectory, num: {num}, direction: {{_target_: between, checkpoint: far.pt}}}}")
        + "trajectory: {checkpoints: [before.pt, weights.pt, far.pt, beyond.pt]}\n"
    )
    surface = scan(load_config("c.yaml"))
    assert surface.trajectory is not None
    assert surface.trajectory.coordinates[0, :, 0] == pytest.approx([-0.37, 0.0, 1.0, 2.21], abs=1e-5)
    coordinates = surface.grid.axes[0].coordinates
    assert 0.0 in coordinates
    assert coordinates[0] < -0.37
    assert coordinates[-1] > 2.21
    assert len(coordinates) == num
    step = coordinates[1] - coordinates[0]
    assert [b - a for a, b in pairwise(coordinates)] == pytest.approx([step] * (num - 1), rel=1e-9)
    # a fifth beyond on both sides, and at most one step more for the checkpoint
    assert coordinates[-1] - coordinates[0] <= 2.58 * 1.4 * (num - 1) / (num - 2) * (1 + 1e-6)


# ---------------------------------------------------------------- identity

DISTINCT = [
    "{}", "{num: 5}", "{start: 0}", "{stop: 0}", "{start: 0.1}", "{spacing: log, start: 0.1}", "{values: [-1, 1]}",
    "{values: [-1, 0, 1]}", "{span: auto}", "{span: trajectory}", "{span: {rise: 1}}", "{span: {rise: 2}}",
    "{span: {factor: 2}}", "{span: auto, start: 0}", "{span: auto, stop: 0}", "{span: auto, num: 5}",
    "{direction: {_target_: random, parameters: a}}", "{direction: {_target_: random, parameters: {exclude: a}}}",
    "{direction: {_target_: random, parameters: [a, b]}}", "x: {}\ny: {}", "x: {}\ny: {}\nz: {}",
    "x: {}\ny: {direction: {_target_: random, orthogonal: true}}",
    # a range that is found must not pass for the range that stands in for it
    "{direction: {_target_: pca, checkpoints: a}}", "{direction: {_target_: pca, checkpoints: a}, start: -1, stop: 1}",
    "{direction: {_target_: pca, checkpoints: a}, span: auto}",
]  # fmt: skip
SAME = [
    ("{}", "{start: -1, stop: 1.0, num: 51, spacing: linear, values: ~, span: ~, direction: random}"),
    ("{values: [0, 1]}", "{values: [0.0, 1.0]}"),
    ("{span: auto}", "{span: {}}"),
    ("{span: auto}", "{span: {trajectory: false}, num: 51, spacing: linear}"),
    ("{span: trajectory}", "{span: {trajectory: true}}"),
    ("{direction: {_target_: pca, checkpoints: a}}", "{direction: {_target_: pca, checkpoints: a}, span: trajectory}"),
    (
        "{direction: {_target_: random, parameters: a}}",
        "{direction: {_target_: random, parameters: {include: [a], exclude: []}}}",
    ),
    ("{direction: {_target_: random, orthogonal: false, parameters: ~}}", "{direction: {class_path: random}}"),
    ("x: {}\ny: {}", "x: {}\ny: {}\nz:"),
]


def identity(config: Config) -> str:
    return fingerprint({"axes": config.resolved()["axes"]})


def test_axes_that_differ_have_different_identities(load: Load) -> None:
    identities = {identity(load(axes)): axes for axes in DISTINCT}
    assert list(identities.values()) == DISTINCT


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_an_axis_have_one_identity(load: Load, one: str, other: str) -> None:
    assert identity(load(one)) == identity(load(other))


@pytest.mark.parametrize("axes", ACCEPTED)
def test_resolved_axes_read_as_the_same_axes(load: Load, axes: str) -> None:
    config = load(axes)
    resolved = json.dumps(config.resolved()["axes"])
    again = load_config_text(load, resolved)
    assert identity(again) == identity(config)
    assert again.grid() == config.grid()


def load_config_text(load: Load, axes: str) -> Config:
    sections = json.loads(axes)
    return load("\n".join(f"{name}: {json.dumps(axis)}" for name, axis in sections.items()))


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("{values: [-1, 0, 1]}", "{values: [-1, 0, 2]}", "axes.x.values"),
        ("{num: 3}", "{values: [-1, 0, 1]}", "axes.x.values: null → [-1.0, 0.0, 1.0]"),
        ("{num: 3, start: 0.5}", "{num: 3, start: 0.5, spacing: log}", 'axes.x.spacing: "linear" → "log"'),
        ("{num: 3, span: auto}", "{num: 3, span: {rise: 2}}", "axes.x.span.rise: null → 2"),
        ("{num: 3, span: auto}", "{num: 3}", "axes.x.span: "),
    ],
)
def test_a_file_of_other_coordinates_is_not_resumed(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Linear().state_dict(), "weights.pt")
    scan(load(before), "s.h5")
    content = load_surface("s.h5").metrics["train_loss"].values.copy()
    with pytest.raises(ResumeMismatchError, match=re.escape(key)):
        scan(load(after), "s.h5")
    assert (load_surface("s.h5").metrics["train_loss"].values == content).all()
