"""A config is read as YAML 1.2, and everything wrong with it is said at once, with file and line."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from conftest import ROOT, Outcome
from documents import config_validator
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from landscape_cli.axes import AxisConfig
from landscape_cli.config import Config, config_schema, load_config
from landscape_cli.errors import ConfigError
from landscape_cli.identity import differing_keys, fingerprint
from landscape_cli.yaml_source import KeyPath, Source, apply_overrides, parse_yaml

GOOD = """\
model: {_target_: toy.Net, width: 4}
checkpoint:
  path: weights.pt
data:
  train:
    dataset: {_target_: toy.data}
axes:
  x:
    start: -1.0
    stop: 1.0
    num: 5
"""
WORDS = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
TEXTS = st.text(st.characters(categories=("L", "N", "P", "Zs"), max_codepoint=0x2000, exclude_characters="\x85\xa0"))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXTS, children, max_size=4),
    max_leaves=12,
)
TREES = st.dictionaries(  # what a config is made of: sections, lists and scalars below plain names
    WORDS,
    st.recursive(
        st.integers() | st.booleans() | WORDS,
        lambda children: st.lists(children, max_size=3) | st.dictionaries(WORDS, children, max_size=3),
        max_leaves=10,
    ),
    min_size=1,
    max_size=4,
)
Load = Callable[..., Config]
Refuse = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read a text as the file scan.yaml."""

    def run(text: str | bytes, *overrides: str) -> Config:
        path = tmp_path / "scan.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, overrides)

    return run


@pytest.fixture
def refuse(load: Load, tmp_path: Path) -> Refuse:
    """Read a text that must be refused; the problems, with the folder taken out."""

    def run(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        assert caught.value.exit_code == 2
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return run


def value(text: str) -> object:
    """The value that a scalar stands for."""
    data, source = parse_yaml(f"key: {text}", name="t")
    assert isinstance(data, dict)
    assert not source.problems
    return data["key"]


def paths(tree: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every place in a tree but its root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from paths(child, (*path, key))


def relabel(tree: object, names: Iterator[str]) -> object:
    """The same tree with a name of its own for every key."""
    if isinstance(tree, dict):
        return {next(names): relabel(child, names) for child in tree.values()}
    return [relabel(child, names) for child in tree] if isinstance(tree, list) else tree


# ---------------------------------------------------------------- scalars

SCALARS = {
    "1e-3": 0.001, "1E5": 1e5, "1.": 1.0, ".5": 0.5, "-.5": -0.5, "+1": 1, "-0.0": -0.0, "1e+3": 1000.0,
    "010": 10, "00": 0, "0x1F": 31, "0o14": 12, "1_000": "1_000", "0b1": "0b1", "1:30": "1:30",
    "y": "y", "n": "n", "nein": "nein",
    "true": True, "False": False, "TRUE": True, "tRUE": "tRUE",
    "null": None, "~": None, "": None, "Null": None, "nULL": "nULL", "'null'": "null",
    ".inf": math.inf, "-.inf": -math.inf, "+.inf": math.inf, ".Inf": math.inf, "-.INF": -math.inf,
    "inf": "inf", "nan": "nan", "2020-01-01": "2020-01-01", "=": "=", "1e": "1e", ".": ".", "3.1.4": "3.1.4",
    "'5'": "5", '"no"': "no", "!!str 5": "5", "!!float 5": 5.0,
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SCALARS.items())
def test_scalar_is_read_as_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_nan_is_read_as_nan(text: str) -> None:
    found = value(text)
    assert isinstance(found, float)
    assert math.isnan(found)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_json_is_read_as_json(tree: object) -> None:
    data, source = parse_yaml(json.dumps(tree, ensure_ascii=False), name="t")
    assert data == tree
    assert json.dumps(data) == json.dumps(tree)  # 1 is not 1.0, and not true
    assert not source.problems


# ---------------------------------------------------------------- lines


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_line_of_every_key_is_where_it_stands(tree: object) -> None:
    tree = relabel(tree, (f"key{i}x" for i in range(10**6)))
    text = yaml.safe_dump(tree, sort_keys=False)
    data, source = parse_yaml(text, name="t")
    assert data == tree
    for path in paths(tree):
        if isinstance(path[-1], str):
            line = source.lines[path]
            assert isinstance(line, int)
            assert f"{path[-1]}:" in text.splitlines()[line - 1]


def test_line_of_an_absent_key_is_that_of_its_section() -> None:
    source = parse_yaml(GOOD, name="scan.yaml")[1]
    assert source.where(("axes", "x", "direction")) == "scan.yaml:8: axes.x.direction"
    assert source.where(("data", "train", "dataset")) == "scan.yaml:6: data.train.dataset"
    assert source.where(()) == "scan.yaml:1"
    assert Source("scan.yaml").where(("a", 0)) == "scan.yaml: a.0"
    assert Source("scan.yaml").where(()) == "scan.yaml"


def test_config_knows_where_its_keys_stand(load: Load, tmp_path: Path) -> None:
    config = load(GOOD, "axes.x.num=7")
    assert config.where("axes", "x", "stop") == f"{tmp_path}/scan.yaml:10: axes.x.stop"
    assert config.where("axes", "x", "num") == "--set axes.x.num=7: axes.x.num"
    assert config.name == f"{tmp_path}/scan.yaml"
    assert config.text == GOOD


def test_line_of_an_explicit_key_is_not_that_of_the_merged_one(refuse: Refuse) -> None:
    text = GOOD.replace("  x:\n", "  x: &x\n") + "  y:\n    num: 0\n    <<: *x\n"
    assert refuse(text) == ["scan.yaml:13: axes.y.num: found 0; input should be greater than 0"]


def test_line_of_a_merged_key_is_that_of_the_first_base(refuse: Refuse) -> None:
    text = "a: &a\n  strt: 1\nb: &b\n  strt: 2\n" + GOOD.replace("  x:\n", "  x:\n    <<: [*a, *b]\n")
    assert any(problem.startswith("scan.yaml:2: axes.x.strt: unknown key") for problem in refuse(text))


# ---------------------------------------------------------------- problems


def test_all_problems_are_reported_at_once(refuse: Refuse) -> None:
    text = (
        GOOD.replace("num: 5", "num: 0").replace("stop:", "stpo:").replace("path:", "pth:")
        + "loss: mse\nloss: l1\nslices: {num: 1.5, seed: -1}\nevaluation: {precision: float16}\n"
        + "runtime: {save_every: soon}\nmetrcs: [accuracy]\n"
    )
    found = {problem.split(": ", 2)[1]: problem for problem in refuse(text)}
    where = {key: int(problem.split(":")[1]) for key, problem in found.items()}
    assert where == {
        "checkpoint.path": 2, "checkpoint.pth": 3, "axes.x.stpo": 10, "axes.x.num": 11, "loss": 13, "slices.num": 14,
        "slices.seed": 14, "evaluation.precision": 15, "runtime.save_every": 16, "metrcs": 17,
    }  # fmt: skip
    words = {
        "checkpoint.path": "required, but missing", "checkpoint.pth": "unknown key; did you mean 'path'?",
        "axes.x.stpo": "did you mean 'stop'?", "axes.x.num": "found 0; input should be greater than 0",
        "loss": "given twice, first on line 12", "slices.num": "found 1.5", "slices.seed": "found -1",
        "evaluation.precision": "'tf32' or 'bfloat16'", "runtime.save_every": "such as 500ms, 1s or 2m",
        "metrcs": "did you mean 'metrics'?",
    }  # fmt: skip
    assert not [key for key, word in words.items() if word not in found[key]]


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("modle: 1", "12: modle: unknown key; did you mean 'model'?"),
        ("evaluation: {precison: float64}", "12: evaluation.precison: unknown key; did you mean 'precision'?"),
        ("runtime: {devise: cpu}", "12: runtime.devise: unknown key; did you mean 'device'?"),
        ("slices: {sed: 1}", "12: slices.sed: unknown key; did you mean 'seed'?"),
        ("slices: {zzz: 1}", "12: slices.zzz: unknown key; known: num, seed"),
        ("  y: {numm: 3}", "12: axes.y.numm: unknown key; did you mean 'num'?"),
        ("  w: {num: 3}", "12: axes.w: unknown key; known: x, y, z"),
        ("3: 4", "12: 3: unknown key; known: axes, "),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_one(refuse: Refuse, addition: str, expected: str) -> None:
    [problem] = refuse(GOOD + addition + "\n")
    assert problem.startswith(f"scan.yaml:{expected}")


def test_unknown_key_of_a_split_is_compared_with_those_of_splits(refuse: Refuse) -> None:
    [problem] = refuse(GOOD.replace("    dataset:", "    batchsize: 3\n    dataset:"))
    assert problem == "scan.yaml:6: data.train.batchsize: unknown key; did you mean 'batch_size'?"


def test_every_duplicate_key_is_refused(refuse: Refuse) -> None:
    text = GOOD.replace("    num: 5\n", "    num: 5\n    num: 7\n") + "model: toy.Other\n"
    assert refuse(text) == [
        "scan.yaml:12: axes.x.num: given twice, first on line 11",
        "scan.yaml:13: model: given twice, first on line 1",
    ]


def test_missing_sections_are_named(refuse: Refuse) -> None:
    found = refuse("loss: mse\n")
    assert found == [f"scan.yaml:1: {key}: required, but missing" for key in ("axes", "model", "checkpoint", "data")]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD.replace("num: 5", "num: [5"), 12, "not valid YAML"),
        ("model: *nobody\n", 1, "undefined alias"),
        ("model:\n\twidth: 4\n", 2, "not valid YAML"),
        (GOOD + "---\nmodel: toy.Net\n", 12, "not valid YAML"),
        ("hello\n", 1, "expected a mapping with model, checkpoint, data and axes"),
        ("- a\n", 1, "expected a mapping"),
        ("~\n", 1, "expected a mapping"),
    ],
)
def test_text_that_is_no_config_is_refused(refuse: Refuse, text: str, line: int, words: str) -> None:
    [problem] = refuse(text)
    assert problem.startswith(f"scan.yaml:{line}: ")
    assert words in problem


def test_second_document_is_refused_in_a_whole_sentence(refuse: Refuse) -> None:
    assert "expected a single document" in refuse(GOOD + "---\nmodel: toy.Net\n")[0]


def test_unclosed_bracket_names_the_line_that_opened_it(refuse: Refuse) -> None:
    assert ":11" in refuse(GOOD.replace("num: 5", "num: [5"))[0]


@pytest.mark.parametrize("text", ["model: toy.Net\nloss: \x00\n", "model: toy.Net\nloss: a\x07b\n"])
def test_control_character_is_refused_with_its_line(refuse: Refuse, text: str) -> None:
    [problem] = refuse(text)
    assert problem.startswith("scan.yaml:2: not valid YAML")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_empty_file_is_refused(refuse: Refuse, text: str) -> None:
    assert "scan.yaml" in refuse(text)[0]
    assert "expected" in refuse(text)[0]


def test_file_that_is_not_text_is_refused(refuse: Refuse) -> None:
    assert refuse(b"model: \xff\xfe") == ["scan.yaml: not a text file; expected a YAML config in UTF-8"]


def test_byte_order_mark_is_no_part_of_the_first_key(load: Load) -> None:
    assert load(b"\xef\xbb\xbf" + GOOD.encode()).resolved() == load(GOOD).resolved()


@pytest.mark.parametrize(("name", "words"), [("absent.yaml", "no such file"), (".", "cannot be read")])
def test_path_that_cannot_be_read_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.yaml"
    path.touch(mode=0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_config(path)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("num: 5", "num: !!int abc", "scan.yaml:11: axes.x.num"),
        ("start: -1.0", "start: !!float abc", "scan.yaml:9: axes.x.start"),
        ("num: 5", "num: " + "9" * 5000, "scan.yaml:11: axes.x.num"),
        ("num: 5", "num: !!bool maybe", "scan.yaml:11: axes.x.num"),
        ("num: 5", "num: !mine 5", "scan.yaml:11: axes.x.num: the tag '!mine' is not supported"),
        ("num: 5", "num: !!binary aGk=", "scan.yaml:11: axes.x.num: the tag 'tag:yaml.org,2002:binary' is not"),
        ("{_target_: toy.Net", "!mine {_target_: toy.Net", "scan.yaml:1: model: the tag '!mine' is not supported"),
        ("width: 4", "width: !mine [4]", "scan.yaml:1: model.width: the tag '!mine' is not supported"),
        ("width: 4", "width: !!python/tuple [4]", "scan.yaml:1: model.width: the tag"),
        ("width: 4", "? [a, b] : 4", "scan.yaml:1: model"),
        ("width: 4", "? {a: b} : 4", "scan.yaml:1: model"),
    ],
)
def test_yaml_beyond_plain_data_is_refused(refuse: Refuse, old: str, new: str, where: str) -> None:
    assert any(problem.startswith(where) for problem in refuse(GOOD.replace(old, new)))


@pytest.mark.slow
def test_yaml_nested_too_deeply_is_refused(refuse: Refuse) -> None:
    assert "scan.yaml" in refuse("a: " + "[" * 5000 + "]" * 5000)[0]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("    start: -1.0\n    stop: 1.0\n    num: 5\n", ""),
        GOOD + "slices: 3\n",
        GOOD + "? [a, b]\n: 1\n",
        GOOD + "loss: \x00\n",
        GOOD.replace("width: 4", "_args_: 4"),
        GOOD.replace("weights.pt", "3"),
        GOOD.replace("  train:\n    dataset: {_target_: toy.data}\n", "  {}\n"),
        GOOD.replace("  train:\n    dataset: {_target_: toy.data}\n", "  - toy.data\n"),
        GOOD + "metrics: accuracy\n",
    ],
)
def test_message_speaks_yaml_and_not_python(refuse: Refuse, text: str) -> None:
    jargon = r"Config\b|Node\(|<class|<unicode|tuple|dictionary|\bdict\b|after validation"
    assert not [problem for problem in refuse(text) if re.search(jargon, problem)]


# ---------------------------------------------------------------- anchors and merge keys


def test_alias_is_a_copy(load: Load) -> None:
    config = load(GOOD.replace("  x:\n", "  x: &x\n") + "  y: *x\n", "axes.x.num=7")
    assert config.axes.y is not None
    assert (config.axes.x.num, config.axes.y.num) == (7, 5)


def test_merge_key_fills_in_what_is_not_given(load: Load) -> None:
    config = load(GOOD.replace("  x:\n", "  x: &x\n") + "  y: {num: 7, <<: *x}\n")
    assert config.axes.y is not None
    assert (config.axes.y.num, config.axes.y.start, config.axes.y.stop) == (7, -1.0, 1.0)


def test_first_of_several_merged_mappings_wins() -> None:
    data, source = parse_yaml("a: &a {n: 1, m: 1}\nb: &b {n: 2, k: 2}\nc: {<<: [*a, *b], m: 3}\n", name="t")
    assert isinstance(data, dict)
    assert data["c"] == {"n": 1, "m": 3, "k": 2}
    assert not source.problems


def test_quoted_merge_key_is_an_ordinary_key() -> None:
    assert parse_yaml("a: {'<<': {n: 1}}", name="t")[0] == {"a": {"<<": {"n": 1}}}


@pytest.mark.parametrize("merged", ["3", "[1, 2]", "toy.Net"])
def test_merging_what_is_no_mapping_is_refused(refuse: Refuse, merged: str) -> None:
    assert refuse(GOOD + f"  y:\n    <<: {merged}\n")[0].startswith("scan.yaml:13: axes.y")


@pytest.mark.parametrize("loss", ["&a {_target_: x.y, z: *a}", "{_target_: x.y, z: &a [*a]}", "&a {<<: *a}"])
def test_anchor_that_contains_itself_is_refused(refuse: Refuse, loss: str) -> None:
    assert refuse(GOOD + f"loss: {loss}\n") == ["scan.yaml:12: an anchor contains itself"]


# ---------------------------------------------------------------- overrides


@settings(max_examples=50, deadline=None)
@given(TREES, st.data(), JSON)
def test_override_changes_its_key_and_nothing_else(tree: dict[str, object], data: st.DataObject, new: object) -> None:
    path = data.draw(st.sampled_from(list(paths(tree))))
    expected = copy.deepcopy(tree)
    here: object = expected
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = new
    override = f"{'.'.join(map(str, path))}={json.dumps(new, ensure_ascii=False)}"
    parsed, source = parse_yaml(json.dumps(tree), name="t")
    assert apply_overrides(parsed, [override], source) == expected
    assert source.where(path).startswith(f"--set {override}: ")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("axes.x.num=7", lambda config: config.axes.x.num == 7),
        ("axes.x.num= 7 ", lambda config: config.axes.x.num == 7),
        ("axes.x.start=-1e-3", lambda config: config.axes.x.start == -0.001),
        ("axes.y.num=3", lambda config: config.axes.y.num == 3),
        ("checkpoint.path=a=b.pt", lambda config: config.checkpoint.path == Path("a=b.pt")),
        ("checkpoint.key='no'", lambda config: config.checkpoint.key == "no"),
        ("checkpoint.key=", lambda config: config.checkpoint.key is None),
        ("checkpoint.key=''", lambda config: config.checkpoint.key == ""),
        ("checkpoint.expect.test_accuracy=0.9", lambda config: config.checkpoint.expect.values["test_accuracy"] == 0.9),
        ("data.train.num_examples=null", lambda config: config.data["train"].num_examples is None),
        ("data.test={dataset: toy.data}", lambda config: [*config.data] == ["train", "test"]),
        ("metrics=[accuracy, error]", lambda config: [*config.metrics] == ["accuracy", "error"]),
        ("model={class_path: a.b, init_args: {c: 1}}", lambda config: config.model.kwargs == {"c": 1}),
        ("model.sizes=[1, 2]", lambda config: config.model.kwargs["sizes"] == [1, 2]),
    ],
)
def test_override_is_read_as_yaml(load: Load, override: str, read: Callable[[Config], bool]) -> None:
    assert read(load(GOOD, override))


def test_last_of_several_overrides_wins(load: Load) -> None:
    config = load(GOOD + "metrics: [accuracy, error]\n", "axes.x.num=7", "axes.x={num: 9}", "metrics.1=l1")
    assert (config.axes.x.num, [*config.metrics]) == (9, ["accuracy", "l1"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("axes.x.num", "expected key.path=value, such as --set axes.x.num=21"),
        ("=7", "expected key.path=value"),
        ("", "expected key.path=value"),
        ("axes.x.num.deep=7", "axes.x.num is 5, not a section"),
        ("loss.w.9=7", "there is no loss.w.9"),
        ("loss.w.-1=7", "there is no loss.w.-1"),
        ("loss.w.a=7", "there is no loss.w.a"),
        ("loss.w.0.b=7", "there is no loss.w.0.b"),
        ("axes.x.num={a: 1", "not valid YAML"),
        ("axes.x.num='", "not valid YAML"),
        ("axes.x.num=0", "axes.x.num: found 0; input should be greater than 0"),
        ("axes.x.num=many", "axes.x.num: found 'many'; input should be a valid integer"),
        ("axes.x.numm=7", "axes.x.numm: unknown key; did you mean 'num'?"),
        ("axes.x={num: 0}", "axes.x.num: found 0"),
        ("axes.x.num=!mine 7", "the tag '!mine' is not supported"),
        ("axes.x={num: 7, num: 9}", "num: given twice"),
        ("axes.x=&a {start: *a}", "an anchor contains itself"),
        ("axis.x.num=7", "axis: unknown key; did you mean 'axes'?"),
        ("data.test.seed=7", "data.test.dataset: required, but missing"),
        ("axes..num=7", "axes.: "),
        ("axes.x.²=7", "unknown key"),
        (f"axes.x.{'9' * 5000}=7", "unknown key"),
    ],
)
def test_bad_override_is_refused_by_name(refuse: Refuse, override: str, expected: str) -> None:
    found = refuse(GOOD + "loss: {_target_: toy.loss, w: [1, 2]}\n", override)
    assert any(problem.startswith(f"--set {override}:") and expected in problem for problem in found), found


def test_override_that_is_only_a_comment_is_not_called_a_file(refuse: Refuse) -> None:
    assert "file" not in refuse(GOOD, "axes.x.num=#7")[0]


def test_every_bad_override_is_reported_with_the_problems_of_the_file(refuse: Refuse) -> None:
    found = "\n".join(refuse(GOOD + "metrcs: [accuracy]\n", "axes.x.num", "axes.x.stop={", "slices.num=0"))
    assert all(word in found for word in ("metrcs", "--set axes.x.num:", "--set axes.x.stop={", "--set slices.num=0"))


def test_override_of_what_is_no_mapping_is_refused(refuse: Refuse) -> None:
    found = refuse("hello\n", "axes.x.num=7")
    assert any(words in found[-1] for words in ("there is no axes", "expected a mapping"))


# ---------------------------------------------------------------- components


def test_all_spellings_of_a_component_are_one(load: Load) -> None:
    forms = (
        "{_target_: a.B, c: {_target_: a.C}, d: [{_target_: a.D, e: 1}]}",
        "{class_path: a.B, init_args: {c: {class_path: a.C}, d: [{class_path: a.D, init_args: {e: 1}}]}}",
        "{d: [{e: 1, _target_: a.D}], c: {_target_: a.C}, _target_: a.B, _args_: []}",
    )
    models = [load(GOOD, f"model={form}").model for form in forms]
    assert models[0].model_dump() == models[1].model_dump() == models[2].model_dump()
    assert load(GOOD, "loss=mse").loss == load(GOOD, "loss={_target_: mse}").loss
    assert load(GOOD, "loss={class_path: mse, init_args: }").loss == load(GOOD, "loss=mse").loss


def test_arguments_may_have_the_names_of_our_own_attributes(load: Load) -> None:
    kwargs = {"args": 1, "kwargs": 2, "name": 3, "target": 4, "copy": 5, "model_dump": 6, "class_path": 7}
    model = load(GOOD, f"model={json.dumps({'_target_': 'a.B', '_args_': [0], **kwargs})}").model
    assert (model.target, model.name, model.args, model.kwargs) == ("a.B", "B", (0,), kwargs)
    assert model.model_dump() == {"_target_": "a.B", "_args_": [0], **kwargs}


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("3", "model: expected a name or a mapping with _target_"),
        ("", "model: expected a name or a mapping with _target_"),
        ("[a.B]", "model: expected a name or a mapping with _target_"),
        ("''", "model._target_: found ''"),
        ("{_target_: 3}", "model._target_: found 3"),
        ("{width: 4}", "model._target_: required, but missing"),
        ("{class_path: a.B, args: [1]}", "model._target_: required, but missing"),
        ("{_target_: a.B, _args_: 3}", "model._args_: found 3"),
        ("{class_path: a.B, init_args: [1]}", "model: init_args must be a mapping"),
        ("{class_path: a.B, init_args: {c: {class_path: a.C, init_args: 3}}}", "model: init_args must be a mapping"),
    ],
)
def test_bad_component_is_refused(refuse: Refuse, component: str, expected: str) -> None:
    [problem] = refuse(GOOD.replace("{_target_: toy.Net, width: 4}", component))
    assert problem.startswith(f"scan.yaml:1: {expected}")


# ---------------------------------------------------------------- metrics


def test_metrics_are_named_after_their_targets(load: Load) -> None:
    metrics = load(GOOD, "metrics=[accuracy, {_target_: top_k, k: 3}, {class_path: my.own.metric}]").metrics
    assert [*metrics] == ["accuracy", "top_k", "metric"]
    assert metrics["top_k"].kwargs == {"k": 3}
    assert load(GOOD, "metrics={accuracy: accuracy}").metrics == load(GOOD, "metrics=[accuracy]").metrics


@pytest.mark.parametrize(
    ("metrics", "where", "expected"),
    [
        ("{loss: l1}", "metrics", "the name 'loss' belongs to the loss"),
        ("[my.loss]", "metrics", "the name 'loss' belongs to the loss"),
        ("{loss_std: l1}", "metrics", "'loss_std' would collide with the stored standard deviations"),
        ("{a-b: l1}", "metrics.a-b", "a-b"),
        ("{9x: l1}", "metrics.9x", "9x"),
        ("accuracy", "metrics", "found 'accuracy'"),
        ("[{_target_: top_k, k: 3}, {_target_: top_k, k: 5}]", "metrics", "'top_k' is listed twice"),
        ("[3]", "metrics", "expected a name or a mapping with _target_"),
        ("[accuracy, {k: 3}]", "metrics", "_target_: required, but missing"),
        ("[{_target_: 3}]", "metrics", "_target_: found 3"),
    ],
)
def test_bad_metrics_are_refused_beside_other_problems(refuse: Refuse, metrics: str, where: str, expected: str) -> None:
    found = refuse(GOOD.replace("num: 5", "num: 0") + f"metrics: {metrics}\n")
    assert any(problem.startswith("scan.yaml:11: axes.x.num: found 0") for problem in found), found
    assert any(problem.startswith(f"scan.yaml:12: {where}") and expected in problem for problem in found), found


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("axes.x.num", "0", "found 0"),
        ("axes.x.num", "-3", "found -3"),
        ("axes.x.num", "1.5", "found 1.5"),
        ("axes.x.num", "many", "found 'many'"),
        ("axes.x.num", "'5'", "found '5'"),
        ("axes.x.num", "true", "found True"),
        ("axes.x.num", "[5]", "found"),
        ("axes.x.start", ".nan", "found nan; input should be a finite number"),
        ("axes.x.stop", ".inf", "found inf; input should be a finite number"),
        ("axes.x.stop", "1e999", "found inf; input should be a finite number"),
        ("slices.num", "0", "found 0"),
        ("slices.seed", "-1", "found -1"),
        ("data.train.num_examples", "0", "found 0"),
        ("data.train.batch_size", "0", "found 0"),
        ("data.train.seed", "-1", "found -1"),
        (
            "evaluation.precision",
            "float16",
            "found 'float16'; input should be 'float64', 'float32', 'tf32' or 'bfloat16'",
        ),
        ("evaluation.batchnorm", "live", "found 'live'; input should be 'frozen'"),
        ("checkpoint.strict", "maybe", "found 'maybe'"),
        ("checkpoint.strict", "2", "found 2"),
        ("checkpoint.path", "~", "found None"),
        ("checkpoint.expect", "{test_loss: .nan}", "found nan"),
        ("checkpoint.expect", "{tolerance: -1}", "found -1"),
        ("checkpoint.expect", "{test_loss: low}", "found 'low'"),
        ("runtime.save_every", "-1", "found -1"),
        ("runtime.save_every", ".nan", "found nan"),
        ("runtime.save_every", "true", "found True"),
        ("runtime.device", "3", "found 3"),
    ],
)
def test_value_of_a_wrong_kind_is_refused(refuse: Refuse, key: str, value: str, words: str) -> None:
    [problem] = refuse(GOOD, f"{key}={value}")
    assert problem.startswith(f"--set {key}={value}: {key}")
    assert words in problem


@pytest.mark.parametrize("name", ["bad name", "a/b", "9", "_x", "a.b"])
def test_split_must_be_a_name(refuse: Refuse, name: str) -> None:
    [problem] = refuse(GOOD.replace("train:", f"'{name}':"))
    assert problem.startswith(f"scan.yaml:5: data.{name}: found {name!r}")


def test_config_without_data_is_refused(refuse: Refuse) -> None:
    [problem] = refuse(GOOD.replace("  train:\n    dataset: {_target_: toy.data}\n", "  {}\n"))
    assert problem.startswith("scan.yaml:4: data: ")
    assert "at least 1" in problem


@settings(max_examples=100, deadline=None)
@given(*[st.integers(-5, 5).map(lambda i: i / 2)] * 2, st.integers(1, 9))
def test_axis_is_accepted_if_it_is_an_interval_or_a_point(start: float, stop: float, num: int) -> None:
    if start < stop if num > 1 else start == stop:
        assert AxisConfig(start=start, stop=stop, num=num).num == num
        return
    words = "start must be smaller than stop" if num > 1 else "num: 1 is a single point"
    with pytest.raises(ValueError, match=words):
        AxisConfig(start=start, stop=stop, num=num)


@pytest.mark.parametrize(
    "axis",
    [
        "{start: 1.0, stop: 1.0000000000000002, num: 5}",
        "{start: -1.7e308, stop: 1.7e308, num: 5}",
        "{num: 99999999999999999999999999}",
    ],
)
def test_axis_that_makes_no_grid_is_refused(refuse: Refuse, axis: str) -> None:
    assert refuse(GOOD, f"axes.x={axis}")[0].startswith(f"--set axes.x={axis}: axes.x")


def test_grid_is_that_of_the_axes_and_slices(load: Load) -> None:
    grid = load(GOOD, "axes.y={start: 0, stop: 4, num: 3}", "slices.num=2").grid()
    assert grid.shape == (2, 5, 3)
    assert [axis.coordinates for axis in grid.axes] == [(-1.0, -0.5, 0.0, 0.5, 1.0), (0.0, 2.0, 4.0)]
    point = load(GOOD, "axes.x={start: 0.5, stop: 0.5, num: 1}").grid()
    assert point.axes[0].coordinates == (0.5,)
    assert point.shape == (1, 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "min", "h", ""]), st.sampled_from(["", " "]))
def test_duration_is_number_times_unit(thousandths: int, unit: str, space: str) -> None:
    seconds = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "": 1}[unit]
    text = f"{thousandths / 1000:.3f}{space}{unit}"
    config, source = parse_yaml(GOOD + f"runtime: {{save_every: '{text}'}}\n", name="t")
    assert not source.problems
    found = Config.model_validate(config).runtime.save_every
    assert found == pytest.approx(thousandths / 1000 * seconds)


@pytest.mark.parametrize("text", ["soon", "''", "-1s", "1d", "1m30s", "1e3s", "s", "1 s s"])
def test_duration_that_is_none_is_refused(refuse: Refuse, text: str) -> None:
    [problem] = refuse(GOOD, f"runtime.save_every={text}")
    assert "runtime.save_every: " in problem
    assert "expected a duration such as 500ms, 1s or 2m" in problem


# ---------------------------------------------------------------- identity


@settings(max_examples=60, deadline=None)
@given(JSON, st.randoms(use_true_random=False))
def test_fingerprint_does_not_depend_on_the_order_of_keys(tree: object, random: object) -> None:
    def shuffled(node: object) -> object:
        if isinstance(node, dict):
            keys = list(node)
            random.shuffle(keys)
            return {key: shuffled(node[key]) for key in keys}
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    assert fingerprint({"a": shuffled(tree)}) == fingerprint({"a": tree})


@settings(max_examples=50, deadline=None)
@given(TREES, st.data(), JSON)
def test_fingerprint_depends_on_every_value(tree: dict[str, object], data: st.DataObject, new: object) -> None:
    path = data.draw(st.sampled_from(list(paths(tree))))
    changed = copy.deepcopy(tree)
    here: object = changed
    for part in path[:-1]:
        here = here[part]
    assume(json.dumps(here[path[-1]]) != json.dumps(new))
    here[path[-1]] = new
    assert fingerprint(changed) != fingerprint(tree)


def test_fingerprint_is_the_hash_of_canonical_json() -> None:
    # sha256sum of {"a":{"b":[1,2.5,null,true,"θ"]},"c":"x"}
    expected = "a645cb901cab225b3127c0ed731343c0c6a9fe032342ceb04bcc5bb9ee2754e8"
    assert fingerprint({"c": "x", "a": {"b": [1, 2.5, None, True, "θ"]}}) == expected


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.dictionaries(WORDS, JSON, max_size=3), st.dictionaries(WORDS, JSON, max_size=3))
def test_differing_keys_are_empty_exactly_for_equal_fingerprints(
    found: dict[str, object], expected: dict[str, object]
) -> None:
    same = fingerprint(found) == fingerprint(expected)
    assert (differing_keys(found, expected) == []) is same


@pytest.mark.parametrize(
    ("found", "expected", "lines"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c: 2 → 3"]),
        ({"a": {"b": 1}}, {"a": "x"}, ['a: {"b": 1} → "x"']),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a: [1, 2] → [1, 3]"]),
        ({"a": 1}, {"a": True}, ["a: 1 → true"]),
        ({"a": 1}, {"a": 1.0}, ["a: 1 → 1.0"]),
        ({"a": math.nan}, {"a": math.nan}, []),
    ],
)
def test_differing_keys_name_what_changed(found: object, expected: object, lines: list[str]) -> None:
    assert differing_keys(found, expected) == lines


def test_keys_of_one_side_only_differ_even_from_null() -> None:
    lines = differing_keys({"a": None, "both": 1}, {"b": 1, "both": 1})
    assert [line.split(":")[0] for line in lines] == ["a", "b"]


def test_differing_keys_shorten_long_values() -> None:
    [line] = differing_keys({"a": "x" * 1000}, {"a": "y" * 1000})
    assert len(line) < 100
    assert line.startswith('a: "xxx')


def test_spelling_does_not_change_what_is_resolved(load: Load) -> None:
    same = (
        "# a comment\naxes: {x: {num: 5, stop: 1, start: -1, direction: random}}\n"
        "data: {train: {batch_size: auto, dataset: {class_path: toy.data}}}\n"
        "checkpoint: {path: weights.pt}\nloss: {_target_: cross_entropy}\nmetrics: []\n"
        "model: {class_path: toy.Net, init_args: {width: 4}}\n"
    )
    assert fingerprint(load(same).resolved()) == fingerprint(load(GOOD).resolved())


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        (
            "runtime: {memory: {host: lots}}",
            "runtime.memory.host: found 'lots'; expected auto, or a size with a unit such as",
        ),
        ("runtime: {memory: {device: -1}}", "runtime.memory.device: found -1; expected auto, or a size"),
        ("runtime: {devices: [0, 0]}", "runtime.devices: found [0, 0]; expected auto, all, or different numbers"),
        ("runtime: {devices: []}", "runtime.devices: found []; expected"),
        ("runtime: {device: 'cuda:1', devices: all}", "runtime: device: cuda:1 is one device"),
        ("runtime: {processes: 0}", "runtime.processes: found 0; expected auto or a whole number from 1 to 4096"),
        ("runtime: {processes: true}", "runtime.processes: found True; expected auto or a whole number"),
        ("runtime: {workers: -1}", "runtime.workers: found -1; expected auto or a whole number of at least 0"),
        ("runtime: {engine: warp}", "runtime.engine: found 'warp'; input should be 'auto', 'sequential'"),
        ("runtime: {points_per_call: 1.5}", "runtime.points_per_call: found 1.5; expected auto or a whole number"),
    ],
)
def test_runtime_settings_of_the_wrong_kind_are_refused(refuse: Refuse, addition: str, expected: str) -> None:
    (problem,) = refuse(GOOD + addition + "\n")
    assert f"12: {expected}" in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500MB", 500_000_000),
        ("8 GB", 8_000_000_000),
        ("2GiB", 2 << 30),
        ("1.5k", 1500),
        ("0", 0),
        ("3T", 3 * 10**12),
    ],
)
def test_sizes_are_read_in_their_units(load: Load, text: str, expected: int) -> None:
    assert load(GOOD, f"runtime.memory.host={text}").runtime.memory.host == expected
    assert load(GOOD).runtime.memory.host == "auto"


@pytest.mark.parametrize(
    "override",
    [
        "model.width=5", "axes.x.num=7", "axes.x.start=-2", "axes.y={}", "slices.seed=1", "slices.num=2", "loss=mse",
        "metrics=[accuracy]", "evaluation.precision=float64", "axes.x.direction={_target_: random, ignore: none}",
        "data.train.batch_size=1", "data.train.num_examples=3", "data.train.seed=1", "checkpoint.strict=false",
    ],
)  # fmt: skip
def test_every_setting_changes_what_is_resolved(load: Load, override: str) -> None:
    assert fingerprint(load(GOOD, override).resolved()) != fingerprint(load(GOOD).resolved())


def test_resolved_config_reads_as_the_same_config(load: Load) -> None:
    config = load(GOOD, "metrics=[accuracy, {_target_: top_k, k: 3}]", "checkpoint.expect={test_loss: 1}")
    again = load(json.dumps(config.resolved()))
    assert again.resolved() == config.resolved()


# ---------------------------------------------------------------- JSON Schema


def complaints(text: str) -> list[str]:
    """What the JSON Schema says against a text."""
    return [error.message for error in config_validator().iter_errors(parse_yaml(text, name="t")[0])]


def test_schema_in_docs_is_up_to_date() -> None:
    assert json.loads((ROOT / "docs" / "config.schema.json").read_text(encoding="utf-8")) == config_schema()


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    assert config_schema()["title"] == "landscape scan config"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_pass_loader_and_schema(path: Path) -> None:
    load_config(path)
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "addition",
    [
        "", "metrics: [accuracy, {_target_: top_k, k: 3}]", "metrics: {top3: {_target_: top_k, k: 3}}", "  y:",
        "  y: {}",
        "loss: {class_path: toy.loss, init_args: {a: [1]}}", "runtime: {save_every: 2m}", "runtime: {save_every: 2}",
        "loss: {_target_: toy.loss, _args_: [1], a: {b: 1}}", "evaluation: {precision: float64}",
    ],
)  # fmt: skip
def test_schema_accepts_what_the_loader_accepts(load: Load, addition: str) -> None:
    load(GOOD + addition + "\n")
    assert complaints(GOOD + addition + "\n") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model:", "modle:"), ("num: 5", "num: 0"), ("num: 5", "num: many"), ("num: 5", "num: 1.5"),
        ("num: 5", "num: '5'"), ("num: 5", "num: true"), ("num: 5", "nmm: 5"), ("train:", "'bad name':"),
        ("path: weights.pt", "path: 3"), ("path: weights.pt", "key: a"), ("axes:", "axes: {}\nloss:"),
        ("_target_: toy.Net, ", ""), ("_target_: toy.Net", "_target_: 3"), ("_target_: toy.Net", "_target_: ''"),
        ("width: 4", "_args_: 4"), ("  path:", "  strict: maybe\n  path:"), ("num: 5", "num: 5\nloss: 3"),
        ("num: 5", "num: 5\nmetrics: {a-b: l1}"), ("num: 5", "num: 5\nmetrics: [3]"), ("num: 5", "num: 5\nmetrics: l1"),
        ("num: 5", "num: 5\nslices: {seed: -1}"), ("num: 5", "num: 5\nevaluation: {precision: float16}"),
        ("num: 5", "num: 5\nruntime: {save_every: -1}"), ("num: 5", "num: 5\nruntime: {save_every: soon}"),
        ("num: 5", "num: 5\nruntime: {save_every: true}"), ("    dataset:", "    dataste:"),
        ("    dataset:", "    num_examples: 0\n    dataset:"), ("  path:", "  expect: {a: low}\n  path:"),
        ("  path:", "  expect: {tolerance: -1}\n  path:"), ("start: -1.0", "start: low"),
        ("{_target_: toy.Net, width: 4}", "{class_path: toy.Net, init_args: 3}"),
        ("{_target_: toy.Net, width: 4}", "{class_path: toy.Net, args: 3}"),
        ("{_target_: toy.Net, width: 4}", "''"), ("{_target_: toy.Net, width: 4}", "[toy.Net]"),
    ],
)  # fmt: skip
def test_schema_and_loader_refuse_the_same(refuse: Refuse, old: str, new: str) -> None:
    broken = GOOD.replace(old, new)
    assert broken != GOOD
    assert refuse(broken)
    assert complaints(broken)


# ---------------------------------------------------------------- the command line


def test_command_line_lists_every_problem_and_exits_2(landscape: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "scan.yaml"
    path.write_text(GOOD.replace("num: 5", "num: 0") + "metrcs: [accuracy]\n")
    outcome = landscape("validate", path, "--set", "slices.num=0")
    assert outcome.exit_code == 2
    for words in (f"{path}:11: axes.x.num: found 0", f"{path}:12: metrcs: unknown key", "--set slices.num=0: slices"):
        assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == f"{path}: not valid\n"


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "No", "OFF"])
def test_booleans_of_yaml_1_1_are_refused_because_they_would_be_truthy_texts(word: str) -> None:
    _, source = parse_yaml(f"train: {word}\n", name="c.yaml")
    assert source.problems == [f"c.yaml:1: train: {word} is text in YAML 1.2; write true or false, or quote it"]
    assert parse_yaml(f"train: '{word}'\n", name="c.yaml")[1].problems == []
