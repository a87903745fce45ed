"""`landscape compare`: tables for people, JSON and Markdown for programs, and reports for what runs the tests."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fcntl import ioctl
from html.parser import HTMLParser
from pathlib import Path
from termios import TIOCSWINSZ
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import typer
from analytic import WEIGHT, surface_of
from conftest import Outcome, Run
from documents import validate
from gate_models import environment
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from representative import mostly_slow

from landscape_cli import load_config, load_surface, save_surface
from landscape_cli.analysis.verdict import Outcome as Decided
from landscape_cli.analysis.verdict import Verdict
from landscape_cli.cli.app import app
from landscape_cli.cli.arguments import expanded
from landscape_cli.cli.naming import labels_of
from landscape_cli.cli.verdicts import Delivery, markdown_of, write_junit
from landscape_cli.errors import OutputError, UsageError
from landscape_cli.surface import Surface

Landscape = Callable[..., Outcome]
NOISE = [0.0, *np.geomspace(0.1, 3, 24)]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def bowl(steepness: float, num_slices: int = 6, scatter: float = 0.1) -> Surface:
    """A line of noise, from a loss of 0.2 up; of a checkpoint, a seed and data that the file tells."""
    surface = surface_of(
        lambda s, x: 0.2 + steepness * (1 + scatter * math.cos(9 * s + steepness)) * x**2,
        NOISE,
        num_slices=num_slices,
        recipe=WEIGHT,  # type: ignore[arg-type]
    )
    told = surface.provenance.resolved | {
        "evaluation": {"precision": "float64", "batchnorm": "frozen"},
        "slices": {"seed": 0},
        "found": {"parameters": {"num": 12, "sha256": "ab" * 32}},
    }
    identity = {
        "checkpoint": {"sha256": f"{steepness:064}"},
        "data": {"train": {"num_examples": 2000, "fingerprint": "cd" * 32}},
    }
    return replace(surface, provenance=replace(surface.provenance, resolved=told, identity=identity))


def saved(name: str, surface: Surface) -> Path:
    save_surface(surface, Path(name))
    return Path(name)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The bytes of two files, written once."""
    folder = tmp_path_factory.mktemp("bowls")
    for steepness in (1.0, 2.0):
        save_surface(bowl(steepness), folder / f"{steepness}.h5")
    return (folder / "1.0.h5").read_bytes(), (folder / "2.0.h5").read_bytes()


@pytest.fixture
def two(images: tuple[bytes, bytes]) -> tuple[Path, Path]:
    """Another radius by 1/√2: 29 % less."""
    base, new = Path("base.h5"), Path("new.h5")
    for path, image in zip((base, new), images, strict=True):
        path.write_bytes(image)
    return base, new


def no_constant(name: str) -> object:
    raise AssertionError(f"{name} is not JSON")


def read_json(text: str, name: str = "ComparisonReport") -> dict[str, object]:
    report = json.loads(text, parse_constant=no_constant)
    validate(report, name)
    assert isinstance(report, dict)
    return report


# ---------------------------------------------------------------- arguments: which file is which


COMMAND = typer.main.get_command(app).commands["compare"]  # type: ignore[attr-defined]


def parsed(arguments: Sequence[str]) -> dict[str, object]:
    """What the command is called with."""
    return dict(COMMAND.make_context("compare", expanded(["compare", *arguments])[1:]).params)


FILES = st.sampled_from(["a.h5", "run:3.h5", "test_loss:2%.h5", "dir/x:1", "12.h5", "adaptive_radius", "ä b", "./-x"])
GATES = st.sampled_from([[], ["test_loss:2%"], ["adaptive_radius:15%", "test_loss:2%"]])
OTHERS = st.sampled_from([["--json"], ["-qv"], ["--junit", "r.xml"], ["--looks", "2"], ["--tau=0.2"]])


@given(base=FILES, new=FILES, gate=GATES, other=OTHERS, places=st.tuples(*[st.integers(0, 2)] * 2), last=st.booleans())
@settings(max_examples=150, deadline=None)
def test_options_stand_anywhere_and_the_first_file_is_the_base(
    base: str, new: str, gate: list[str], other: list[str], places: tuple[int, int], last: bool
) -> None:
    blocks = [[base], [new]]
    for block, place in zip((["--gate", *gate], other), places, strict=True):
        blocks.insert(len(blocks) if last else place, block)
    found = parsed([argument for block in blocks for argument in block])
    assert found["files"] == [Path(base), Path(new)]
    assert not found["base"]
    assert found["gate"] == (gate or ["default"])


@given(new=FILES, bases=st.lists(FILES, min_size=1, max_size=3), order=st.permutations(range(4)))
@settings(max_examples=150, deadline=None)
def test_baselines_end_at_the_next_option_or_it_is_refused(new: str, bases: list[str], order: list[int]) -> None:
    blocks = [[new], ["--base", *bases], ["--gate"], ["--json"]]
    found = parsed([argument for place in order for argument in blocks[place]])
    if order.index(0) == order.index(1) + 1:  # it cannot be told from a baseline: none is left to compare
        assert not found["files"]
    else:
        assert found["files"] == [Path(new)]
        assert found["base"] == list(map(Path, bases))
    assert found["gate"] == ["default"]


def test_after_two_dashes_everything_is_a_file() -> None:
    found = parsed(["--gate", "--", "--base", "--gate"])
    assert (found["files"], found["gate"]) == ([Path("--base"), Path("--gate")], ["default"])


def test_other_commands_are_left_alone() -> None:
    for arguments in (["scan", "c.yaml", "--gate", "--base", "x", "y"], [], ["info", ""]):
        assert expanded(arguments) == arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "expected at least two files; found none"),
        ("base.h5", "expected at least two files; found base.h5"),
        ("base.h5 --gate", "expected at least two files; found base.h5"),
        ("base.h5 new.h5 new.h5 --gate", "expected two files, BASE and NEW"),
        ("base.h5 new.h5 --gate adaptive_radius", "found base.h5, new.h5, adaptive_radius"),
        ("--base base.h5 new.h5 --gate", "found none"),
        ("base.h5 new.h5 --base base.h5", "found base.h5, new.h5"),
        ("new.h5 --base --gate", "--base: found no file"),
        ("new.h5 --base", "--base: found no file"),
        ("'' new.h5 base.h5 --gate", "found an empty argument"),
        ("base.h5 new.h5 --gate adaptive_radius=15%", "--gate adaptive_radius=15%: expected a measure and an amount"),
        ("base.h5 new.h5 --gate 15%", "--gate 15%: expected a measure and an amount"),
        ("base.h5 new.h5 --gate adaptive_radius:15percent", "found '15percent'; expected a share such as 15%"),
        ("base.h5 new.h5 --gate adaptive_radius:-5%", "expected a share"),
        ("base.h5 new.h5 --gate adaptive_radius:nan", "expected a share"),
        ("base.h5 new.h5 --gate adaptive_radius:100%", "expected less than 100 %"),
        ("base.h5 new.h5 --gate adaptiv_radius:15%", "did you mean 'adaptive_radius'?"),
        ("base.h5 new.h5 --gate adaptive_radius:1% adaptive_radius:2%", "adaptive_radius is given twice"),
        ("base.h5 new.h5 --gate sam:5%", "no decision may rest on sam"),
        ("base.h5 new.h5 --gate offset_of_minimum:5%", "neither more nor less"),
        ("base.h5 new.h5 --gate --metric test_loss", "chooses what is shown"),
        ("base.h5 new.h5 --gate --looks 0", "--looks: found 0; expected 1 to 20"),
        ("base.h5 new.h5 --gate --looks 21", "--looks: found 21; expected 1 to 20"),
        ("base.h5 new.h5 --gate --on-inconclusive maybe", "--on-inconclusive: found 'maybe'; expected pass or fail"),
        ("base.h5 new.h5 --on-inconclusive fail", "belong to a gate"),
        ("base.h5 new.h5 --junit r.xml", "belong to a gate"),
        ("base.h5 new.h5 --json --markdown", "choose one"),
        ("base.h5 new.h5 --tau 0", "--tau: found 0"),
        ("base.h5 new.h5 --metric adaptiv_radius", "did you mean 'adaptive_radius'?"),
        ("base.h5 new.h5 --metric sam", "not measured in any of the files"),
        ("base.h5 new.h5 --loss tset_loss", "tset_loss"),
        ("base.h5 new.h5 --config missing.yaml", "missing.yaml"),
    ],
)
def test_what_is_not_clear_is_refused(two: tuple[Path, Path], landscape: Landscape, arguments: str, words: str) -> None:
    given_ = ["" if word == "''" else word for word in arguments.split()]
    found = landscape("compare", *given_)
    assert (found.exit_code, found.stdout) == (2, "")
    assert words in found.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("base.h5 new.h5 --gate", 5),
        ("--gate base.h5 new.h5", 5),
        ("base.h5 --gate new.h5", 5),
        ("--gate=adaptive_radius:15% base.h5 new.h5", 5),
        ("base.h5 --gate adaptive_radius:15% new.h5 -qv", 5),
        ("--gate adaptive_radius:50% base.h5 new.h5", 0),
        ("base.h5 new.h5 --gate adaptive_radius:50% train_loss:1%", 0),
        ("new.h5 --gate --base base.h5", 5),
        ("new.h5 --base=base.h5 --gate", 5),
        ("--base base.h5 --gate -- new.h5", 5),
        ("--base base.h5 -q new.h5 --gate", 5),
        ("new.h5 base.h5 --gate", 0),
    ],
)
def test_what_is_clear_is_done(two: tuple[Path, Path], landscape: Landscape, arguments: str, code: int) -> None:
    found = landscape("compare", *arguments.split())
    assert found.exit_code == code, found.stderr
    assert found.stderr == ""


# ---------------------------------------------------------------- the sentence, and its numbers


def test_the_verdict_is_a_sentence_with_the_numbers(two: tuple[Path, Path], landscape: Landscape) -> None:
    found = landscape("compare", *two, "--gate")
    sentence = found.stdout.splitlines()[0]
    match = re.fullmatch(
        r"FAIL: adaptive_radius of new\.h5 is (0\.\d+), of base\.h5 (0\.\d+): (?:29|30) % less, "
        r"with 98.33 % confidence at least (\d+) % less; tolerated: 15 % less",
        sentence,
    )
    assert match is not None, sentence
    assert float(match[1]) == pytest.approx(math.sqrt(0.1 / 2), rel=0.05)
    assert float(match[2]) == pytest.approx(math.sqrt(0.1), rel=0.05)
    assert 20 < float(match[3]) < 29.3


@pytest.mark.slow
def test_looks_make_each_verdict_surer(two: tuple[Path, Path], landscape: Landscape) -> None:
    once, often = (
        read_json(landscape("compare", *two, "--gate", "--json", "--looks", looks).stdout)["verdicts"][0]  # type: ignore[index]
        for looks in (1, 5)
    )
    assert (once["confidence"], often["confidence"]) == (pytest.approx(0.95), pytest.approx(0.99))
    assert often["bounds"][0] < once["bounds"][0] < once["change"] < once["bounds"][1] < often["bounds"][1]


# ---------------------------------------------------------------- the section gate of a YAML


@pytest.mark.parametrize(
    ("section", "options", "code"),
    [
        ("{tolerances: {adaptive_radius: 50%}}", [], 0),
        ("{tolerances: {adaptive_radius: 15%, train_loss: 0.1}}", [], 5),
        ("{}", [], 5),
        ("{tolerances: {adaptive_radius: 50%}}", ["--gate", "adaptive_radius:15%"], 5),
        ("{tolerances: {adaptive_radius: 50%}}", ["--gate"], 0),
        ("{tolerances: {adaptive_radius: 29.2%}, on_inconclusive: fail}", [], 6),
        ("{tolerances: {adaptive_radius: 29.2%}, on_inconclusive: fail}", ["--on-inconclusive", "pass"], 0),
    ],
)
def test_the_yaml_decides_what_the_command_line_does_not(
    two: tuple[Path, Path], landscape: Landscape, section: str, options: list[str], code: int
) -> None:
    Path("g.yaml").write_text(f"gate: {section}\n")
    found = landscape("compare", *two, "--config", "g.yaml", *options)
    assert found.exit_code == code, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("yaml", "where", "words"),
    [
        ("gate:\n  tolerances: {adaptive_radius: lots}\n", "g.yaml:2: ", "lots"),
        ("gate:\n  looks: 0\n", "g.yaml:2: ", "looks"),
        ("gate:\n  tolerance: {adaptive_radius: 15%}\n", "g.yaml:2: ", "did you mean 'tolerances'?"),
        ("gate:\n  on_inconclusive: maybe\n", "g.yaml:2: ", "on_inconclusive"),
        ("model: {}\n", "g.yaml", "no section gate"),
        ("gate: [\n", "g.yaml", ""),
        ("gate:\n  tolerances: {adaptiv_radius: 15%}\n", "", "did you mean 'adaptive_radius'?"),
    ],
)
def test_a_wrong_section_is_located(
    two: tuple[Path, Path], landscape: Landscape, yaml: str, where: str, words: str
) -> None:
    Path("g.yaml").write_text(yaml)
    found = landscape("compare", *two, "--config", "g.yaml")
    assert (found.exit_code, found.stdout) == (2, "")
    assert where in found.stderr
    assert words in found.stderr


@pytest.mark.slow
def test_a_scan_accepts_the_section_and_is_the_same(surfaces: Path, landscape: Landscape) -> None:
    text = (surfaces / "c.yaml").read_text()
    (surfaces / "with_gate.yaml").write_text(text + "gate: {tolerances: {adaptive_radius: 20%}}\n")
    assert load_config(surfaces / "with_gate.yaml").gate is not None  # type: ignore[attr-defined]
    os.chdir(surfaces)
    found = landscape("scan", "with_gate.yaml", "-o", "good.h5", "--json")
    assert found.exit_code == 0, found.stderr
    assert read_json(found.stdout, "ScanReport")["fingerprint"] == load_surface("good.h5").fingerprint


# ---------------------------------------------------------------- JUnit


def junit_of(path: str) -> tuple[ET.Element, list[ET.Element]]:
    """The suite and its cases, as the schema of Jenkins wants them."""
    root = ET.parse(path).getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.tag == "testsuite"
    cases = list(suite)
    assert {case.tag for case in cases} == {"testcase"}
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        number = sum(case.find(tag) is not None for case in cases)
        assert int(suite.attrib[name]) == int(root.attrib[name]) == number
    assert int(suite.attrib["tests"]) == int(root.attrib["tests"]) == len(cases)
    assert all(case.attrib.keys() == {"classname", "name"} for case in cases)
    assert len({case.attrib["name"] for case in cases}) == len(cases)
    return suite, cases


def test_junit_has_a_case_for_each_tolerance(two: tuple[Path, Path], landscape: Landscape) -> None:
    gates = ("--gate", "adaptive_radius:15%", "train_loss:1%", "trace:5%")
    found = landscape("compare", *two, *gates, "--junit", "r.xml")
    assert found.exit_code == 5
    suite, cases = junit_of("r.xml")
    assert suite.attrib["name"] == "new.h5 against base.h5"
    assert [case.attrib["name"] for case in cases] == [
        f"{gate} of new.h5 against base.h5 ({amount})"
        for gate, amount in (("adaptive_radius", "15%"), ("train_loss", "1%"), ("trace", "5%"))
    ]
    assert [[child.tag for child in case] for case in cases] == [
        ["failure", "system-out"],
        ["system-out"],
        ["error", "system-out"],
    ]
    (failure,) = suite.iter("failure")
    assert failure.attrib["message"] == found.stdout.splitlines()[0]
    assert failure.attrib["type"] == "fail"


@pytest.mark.parametrize(("option", "tag"), [("pass", "skipped"), ("fail", "failure")])
def test_an_open_question_is_skipped_in_junit_unless_it_fails(
    two: tuple[Path, Path], landscape: Landscape, option: str, tag: str
) -> None:
    landscape("compare", *two, "--gate", "adaptive_radius:29.2%", "--on-inconclusive", option, "--junit", "r.xml")
    _, (case,) = junit_of("r.xml")
    assert case[0].tag == tag


ODD = [
    "a&b<c>'\"].h5",
    "w\x1b[31m\x00x.h5".replace("\x00", "\x01"),
    "bad\udcff.h5",
    "two\nlines.h5",
    "\ufffe.h5",
    "λ.h5",
]


@pytest.mark.parametrize("name", mostly_slow(ODD, "bad\udcff.h5"))
def test_odd_file_names_are_told_everywhere(
    landscape: Landscape, landscape_process: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a real process: what is printed goes through the encoding of the stream."""
    saved("base.h5", bowl(1.0))
    os.rename(saved("plain.h5", bowl(2.0)), os.fsencode(name))  # noqa: PTH104  # a Path refuses nothing either
    arguments = ["compare", "base.h5", name, "--gate", "--junit", "r.xml", "--github-summary"]
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    printed = landscape_process(*arguments, env=environment(PYTHONIOENCODING="ascii"))
    assert printed.returncode == 5, printed.stderr
    assert "\x1b" not in printed.stdout
    assert landscape(*arguments, "--markdown").exit_code == 5
    assert read_json(landscape(*arguments, "--json").stdout)["files"][1]["file"] == name  # type: ignore[index]
    suite, (case,) = junit_of("r.xml")
    shown = labels_of([Path(name)])[0]
    assert suite.attrib["name"] == f"{shown} against base.h5"
    assert shown in case[0].attrib["message"]
    assert "\n" not in suite.attrib["name"]
    assert shown in page(Path("summary.md").read_text()).heading


def test_a_report_that_cannot_be_written_is_an_error_of_its_own(two: tuple[Path, Path], landscape: Landscape) -> None:
    assert landscape("compare", *two[::-1], "--gate", "--junit", "no/such/folder/r.xml").exit_code == 4  # of a pass
    found = landscape("compare", *two, "--gate", "--junit", "no/such/folder/r.xml")
    assert found.exit_code == 5  # the verdict outweighs it
    assert found.stdout.startswith("FAIL: ")
    assert "/no/such/folder/r.xml: cannot write" in found.stderr
    assert "error: --junit " in found.stderr
    assert "with -o" not in found.stderr


# ---------------------------------------------------------------- Markdown


class Page(HTMLParser):
    """What a reader sees of a rendered page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    @property
    def heading(self) -> str:
        return self.texts["h3"][0]


def page(markdown: str) -> Page:
    """As GitHub renders it: CommonMark with tables and HTML."""
    found = Page()
    found.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert found.open == []
    return found


def test_markdown_of_a_gate_reads_well_in_a_pull_request(two: tuple[Path, Path], landscape: Landscape) -> None:
    found = landscape("compare", *two, "--gate", "--markdown")
    assert found.exit_code == 5
    shown = page(found.stdout)
    assert shown.heading == "❌ new.h5 against base.h5: fail"
    assert shown.texts["strong"] == ["FAIL"]
    assert [tag for tag in shown.tags if tag in ("h1", "h2", "h3", "table", "details")] == [
        "h3",
        "table",
        "details",
        "table",
    ]
    assert shown.texts["summary"] == ["All measures"]
    words = landscape("compare", *two, "--gate").stdout.splitlines()[0].removeprefix("FAIL: ")
    assert any(words in text for text in shown.texts["p"])
    head = shown.texts["th"]
    assert head[: head.index("allowed") + 1] == ["measure", "base", "new", "change", "lies between", "allowed"]


def test_markdown_of_a_comparison_is_a_page(two: tuple[Path, Path], landscape: Landscape) -> None:
    shown = page(landscape("compare", *two, "--markdown").stdout)
    assert shown.texts["h1"] == ["new.h5 against base.h5: measured on train_loss"]
    assert (shown.tags.count("table"), shown.tags.count("details")) == (1, 0)
    cells = shown.texts["td"]
    row = cells[cells.index("adaptive_radius") :]
    assert row[3] in ("−29 %", "−30 %")
    assert row[5] == "worse"


@pytest.mark.parametrize(
    "name",
    mostly_slow(
        ["a|b.h5", "<b>.h5", "`a`.h5", "*a*.h5", "__a__.h5", "_a_.h5", "[a](b).h5", "&amp;.h5", "$a$.h5", "a\\|b.h5"],
        "<b>.h5",
        "[a](b).h5",
        "a\\|b.h5",
    ),
)
def test_no_file_name_breaks_the_page(landscape: Landscape, name: str) -> None:
    base, new = saved("base.h5", bowl(1.0)), saved(name, bowl(2.0))
    for options in (["--gate"], []):
        shown = page(landscape("compare", base, new, *options, "--markdown").stdout)
        assert "".join(shown.texts["h3" if options else "h1"]).removeprefix("❌ ").startswith(f"{name} against base.h5")
        assert not {"em", "code", "a", "b"} & {*shown.tags}
        assert name in shown.texts["th"]


# ---------------------------------------------------------------- the summary on GitHub


def test_the_summary_is_appended(two: tuple[Path, Path], landscape: Landscape, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("summary.md").write_text("# before")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert landscape("compare", *two, "--gate", "--github-summary").exit_code == 5
    text = Path("summary.md").read_text()
    assert text.startswith("# before\n")
    shown = page(text)
    assert shown.texts["h1"] == ["before"]
    assert shown.heading == "❌ new.h5 against base.h5: fail"
    assert shown.texts["summary"] == ["All measures"]


def test_without_a_file_for_the_summary_there_is_a_note(two: tuple[Path, Path], landscape: Landscape) -> None:
    found = landscape("compare", *two, "--gate", "--github-summary")
    assert found.exit_code == 5
    assert found.stderr == "note: --github-summary: GITHUB_STEP_SUMMARY is not set, so nothing was written\n"


def test_a_summary_that_cannot_be_written_is_an_error(
    two: tuple[Path, Path], landscape: Landscape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/such/folder.md")
    for files, exit_code in ((two[::-1], 4), (two, 5)):
        found = landscape("compare", *files, "--gate", "--github-summary")
        assert found.exit_code == exit_code
        assert "--github-summary: no/such/folder.md" in found.stderr


# ---------------------------------------------------------------- JSON


@pytest.mark.slow
def test_json_is_pure_whatever_the_gate_says(two: tuple[Path, Path], landscape: Landscape) -> None:
    for options, code in (([], 0), (["--gate"], 5), (["--gate", "trace:5%"], 3), (["--metric", "adaptive_radius"], 0)):
        found = landscape("compare", *two, *options, "--json")
        assert found.exit_code == code
        report = read_json(found.stdout)
        assert report["outcome"] == {0: None, 5: "fail", 3: "not comparable"}[code]
        assert [each["label"] for each in report["files"]] == ["base.h5", "new.h5"]  # type: ignore[attr-defined]
        against = report["measures"]["adaptive_radius"]["against_first"][0]  # type: ignore[index]
        assert against["ratio"] == pytest.approx(1 / math.sqrt(2), rel=0.02)
        assert against["ratio_interval"][0] < against["ratio"] < against["ratio_interval"][1] < 1


def test_what_is_not_finite_is_null(landscape: Landscape) -> None:
    diverging = surface_of(lambda _, x: math.inf if x else 0.5, NOISE, num_slices=6, recipe=WEIGHT)  # type: ignore[arg-type]
    found = landscape("compare", saved("a.h5", diverging), saved("b.h5", diverging), "--json")
    assert found.exit_code == 0, found.stderr
    read_json(found.stdout)


# ---------------------------------------------------------------- tables


def cells_of(text: str, measure: str) -> list[str]:
    (found,) = [line for line in text.splitlines() if line.startswith(f"  {measure} ")]
    return [cell for cell in re.split(r"\s{2,}", found.strip()) if cell]


def test_the_table_has_values_change_interval_and_judgement(two: tuple[Path, Path], landscape: Landscape) -> None:
    found = landscape("compare", *two)
    report = read_json(landscape("compare", *two, "--json").stdout)
    row = report["measures"]["adaptive_radius"]  # type: ignore[index]
    first, second = row["values"]
    ratio, (low, high) = row["against_first"][0]["ratio"], row["against_first"][0]["ratio_interval"]
    assert cells_of(found.stdout, "adaptive_radius") == [
        "adaptive_radius",
        f"{first['value']:.4g} ± {first['standard_error']:.2g}",
        f"{second['value']:.4g} ± {second['standard_error']:.2g}",
        f"−{100 * (1 - ratio):.0f} %",
        f"−{100 * (1 - low):.0f} … −{100 * (1 - high):.0f} %",
        "worse",
    ]
    equal = next(line for line in found.stdout.splitlines() if line.startswith("the same number in all files: "))
    assert "train_loss 0.2 ± 0.011 (examples)" in equal
    assert "train_loss" not in found.stdout.partition("the same number")[0].partition("measured on train_loss")[2]
    assert "best first, by adaptive_radius: base.h5 (" in found.stdout
    assert ", then new.h5 (" in found.stdout
    assert "data train: n = 2,000, cdcdcdcd…" in found.stdout


def test_rounding_is_neither_better_nor_worse(landscape: Landscape) -> None:
    base = bowl(1.0)
    metric = base.metrics["train_loss"]
    shifted = replace(metric, centre=metric.centre * (1 + 1e-7))
    files = saved("a.h5", base), saved("b.h5", replace(base, metrics={"train_loss": shifted}))
    shown = landscape("compare", *files, "--metric", "train_loss").stdout
    assert cells_of(shown, "train_loss")[-1] == "the same within rounding"


def test_what_the_lines_differ_in_is_not_judged(landscape: Landscape) -> None:
    """The change may be that of the points, not of the checkpoint."""
    base, new = bowl(1.0), bowl(2.0)
    coarse = surface_of(lambda s, x: 0.2 + 2 * x**2, [0.0, *np.geomspace(0.01, 3, 9)], num_slices=6, recipe=WEIGHT)  # type: ignore[arg-type]
    files = saved("a.h5", base), saved("b.h5", replace(coarse, provenance=new.provenance))
    row = landscape("compare", *files, "--metric", "adaptive_radius").stdout
    assert "line of noise: 25 from 0 to 3 → 10 from 0 to 3" in row
    assert "worse" not in row.split("best first")[0]
    assert landscape("compare", *files, "--gate").exit_code == 3


def test_of_two_bounds_no_change_is_told(landscape: Landscape) -> None:
    files = saved("a.h5", bowl(0.001)), saved("b.h5", bowl(0.002))
    row = cells_of(landscape("compare", *files).stdout, "adaptive_radius")
    assert row == ["adaptive_radius", "≥ 3", "≥ 3", "of both only a bound is known"]


def test_of_one_bound_the_change_is_a_bound(landscape: Landscape) -> None:
    files = saved("a.h5", bowl(1.0)), saved("b.h5", bowl(0.001))
    row = cells_of(landscape("compare", *files).stdout, "adaptive_radius")
    assert row[2] == "≥ 3"
    assert row[3].startswith("≥ × 9.")
    assert row[4].endswith("… ∞")
    assert row[5] == "better"
    assert landscape("compare", *files, "--gate").exit_code == 0


def test_more_than_two_files_have_a_line_each(two: tuple[Path, Path], landscape: Landscape) -> None:
    third = saved("third.h5", bowl(1.0, scatter=0.2))
    found = landscape("compare", *two, third)
    lines = found.stdout.splitlines()
    start = next(i for i, each in enumerate(lines) if each.startswith("  adaptive_radius "))
    names = [re.split(r"\s{2,}", each.strip())[i] for i, each in zip((1, 0, 0), lines[start : start + 3], strict=True)]
    assert names == ["base.h5", "new.h5", "third.h5"]
    assert "worse" in lines[start + 1]
    assert "the same within error" in lines[start + 2]
    ranking = found.stdout[found.stdout.index("best first") :].replace("\n", " ")
    assert re.search(r"(base|third)\.h5 \([\d.]+\) or (third|base)\.h5 \([\d.]+\), then new\.h5", ranking)


def on_terminal(width: int, *arguments: object) -> str:
    """What a process prints on a terminal of this width, without colours."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    command = [sys.executable, "-m", "landscape_cli", *map(str, arguments)]
    told = {name: text for name, text in environment(TERM="xterm").items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=told)
    os.close(theirs)
    read = b""
    while True:
        try:
            read += (part := os.read(ours, 65536))
        except OSError:
            break
        if not part:
            break
    process.wait()
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", read.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("width", mostly_slow([60, 80], 60))
@pytest.mark.parametrize("num", mostly_slow([2, 3], 3))
def test_on_a_narrow_terminal_nothing_is_cut_off_and_every_number_is_named(
    two: tuple[Path, Path], landscape: Landscape, width: int, num: int
) -> None:
    files = [*two, saved("third.h5", bowl(1.0, scatter=0.2))][:num]
    wide = landscape("compare", *files).stdout
    shown = on_terminal(width, "compare", *files)
    assert max(map(len, shown.splitlines())) <= width
    assert sorted(re.findall(r"0\.\d+", shown)) == sorted(re.findall(r"0\.\d+", wide))
    words = " ".join(shown.split())
    if num == 2:
        assert re.search(r"adaptive_radius base\.h5: 0\.\d+ ± \S+; new\.h5: 0\.\d+ ± \S+; change: −(?:29|30) %;", words)
    else:
        assert re.search(r"file: new\.h5; value ± SE: 0\.\d+ ± \S+; against base\.h5: −(?:29|30) %;", words)


def test_files_are_told_apart() -> None:
    paths = list(map(Path, ["a/run.h5", "b/run.h5", "c.h5", "./c.h5", "d\n.h5"]))
    assert labels_of(paths) == ["a/run.h5", "b/run.h5", "c.h5 (1)", "c.h5 (2)", "d\\n.h5"]


def test_files_of_one_name_are_called_by_their_folders(landscape: Landscape) -> None:
    for name, steepness in (("a", 1.0), ("b", 2.0)):
        Path(name).mkdir()
        saved(f"{name}/run.h5", bowl(steepness))
    assert "of b/run.h5 is 0." in landscape("compare", "a/run.h5", "b/run.h5", "--gate").stdout


# ---------------------------------------------------------------- files that cannot be compared


def broken(base: Surface, what: str) -> Surface:
    metric = base.metrics["train_loss"]
    if what == "nan centre":
        nowhere = np.full_like(metric.values, math.nan)
        return replace(base, metrics={"train_loss": replace(metric, values=nowhere, centre=math.nan)})
    mask = base.evaluated.copy()
    mask[:, -1] = False
    values = np.where(mask, metric.values, np.nan)
    return replace(base, evaluated=mask, metrics={"train_loss": replace(metric, values=values)})


@pytest.mark.parametrize("order", mostly_slow([1, -1], 1))
@pytest.mark.parametrize(
    ("what", "measure", "words"),
    [
        ("partial", "adaptive_radius", ("broken.h5", "partial: 144 of 150 points", "the same scan goes on")),
        ("nan centre", "adaptive_radius", ("broken.h5", "adaptive_radius is not measured")),
        ("nan centre", "train_loss", ("broken.h5", "train_loss at the checkpoint is not known, or not finite")),
    ],
)
def test_a_broken_file_is_named_whichever_side_it_is_on(
    landscape: Landscape, order: int, what: str, measure: str, words: tuple[str, ...]
) -> None:
    files = [saved("base.h5", bowl(1.0)), saved("broken.h5", broken(bowl(1.0), what))][::order]
    found = landscape("compare", *files, "--gate", f"{measure}:15%", "--json")
    assert found.exit_code == 3
    sentence = read_json(found.stdout)["verdicts"][0]["sentence"]  # type: ignore[index]
    for each in words:
        assert each in sentence
    plain = landscape("compare", *files)
    assert plain.exit_code == 0, plain.stderr


@pytest.mark.slow
def test_a_file_without_the_measure_is_named(surfaces: Path, landscape: Landscape) -> None:
    good, lacking = surfaces / "good.h5", surfaces / "no_radius.h5"
    for files in ((good, lacking), (lacking, good)):
        found = landscape("compare", *files, "--gate")
        assert found.exit_code == 3
        assert "no_radius.h5: adaptive_radius is not measured" in found.stdout
        assert "radius: true" in found.stdout
        row = landscape("compare", *files, "--metric", "adaptive_radius")
        assert row.exit_code == 0
        assert " –  " in row.stdout
        assert "needs a line along random directions" in row.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "measure", "words"),
    [
        ("finer_grid", "low_area", "grid: 5 from -1 to 1 → 7 from -1 to 1"),
        ("short_line", "adaptive_radius", "line of noise: 13 from 0.01 to 3 → 13 from 0.01 to 0.05"),
        ("few_slices", "adaptive_radius", "few_slices.h5: adaptive_radius of 3 slices; expected at least 5"),
    ],
)
def test_different_grids_are_said_to_differ(
    surfaces: Path, landscape: Landscape, name: str, measure: str, words: str
) -> None:
    found = landscape("compare", surfaces / "good.h5", surfaces / f"{name}.h5", "--gate", f"{measure}:15%")
    assert found.exit_code == 3
    assert words in " ".join(found.stdout.split())


@pytest.mark.slow
def test_a_finer_grid_leaves_the_radius_as_it_is(surfaces: Path, landscape: Landscape) -> None:
    assert landscape("compare", surfaces / "good.h5", surfaces / "finer_grid.h5", "--gate").exit_code == 0


def test_what_is_no_surface_file_is_refused(two: tuple[Path, Path], landscape: Landscape) -> None:
    Path("c.yaml").write_text("model: {}\n")
    Path("folder").mkdir()
    for name in ("missing.h5", "c.yaml", "folder"):
        for files in ((two[0], name), (name, two[0])):
            found = landscape("compare", *files, "--gate")
            assert (found.exit_code, found.stdout) == (3, "")
            assert name in found.stderr
            assert "landscape scan" in found.stderr or name == "folder"


def test_a_converted_file_is_compared_as_far_as_it_says_what_it_is(landscape: Landscape) -> None:
    import h5py

    for name in ("a", "b"):
        with h5py.File(f"{name}_original.h5", "w") as file:
            file["xcoordinates"] = np.linspace(-1, 1, 11)
            file["train_loss"] = 0.1 + np.linspace(-1, 1, 11) ** 2 * (1 if name == "a" else 2)
            file["train_acc"] = np.full(11, 90.0)
        assert landscape("convert", f"{name}_original.h5", "-o", f"{name}.h5").exit_code == 0
    plain = landscape("compare", "a.h5", "b.h5")
    assert plain.exit_code == 0, plain.stderr
    assert "not known of every file: " in plain.stdout
    found = landscape("compare", "a.h5", "b.h5", "--gate", "mean_rise:15%")
    assert found.exit_code == 3
    assert "not known" in found.stdout


# ---------------------------------------------------------------- delivery


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["pass", "pass"], None),
        (["pass", "inconclusive"], None),
        (["not comparable", "inconclusive"], 3),
        (["not comparable", "fail"], 5),
        (["pass", "fail"], 5),
    ],
)
def test_the_gravest_verdict_decides(outcomes: list[Decided], code: int | None) -> None:
    verdicts = [Verdict(f"m{i}", outcome, "sentence") for i, outcome in enumerate(outcomes)]
    delivery = Delivery(Path("r.xml"), to_github=False, inconclusive_fails=False)
    if code is None:
        delivery.deliver("title", verdicts, str)
    else:
        with pytest.raises(typer.Exit) as stop:
            delivery.deliver("title", verdicts, str)
        assert stop.value.exit_code == code
    junit_of("r.xml")
    assert f": {[*outcomes, *['fail' for _ in outcomes if code == 5]][-1]}" in markdown_of("t", verdicts) or code == 3


def test_a_report_replaces_an_older_one_as_a_whole() -> None:
    verdict = Verdict("m", "pass", "sentence")
    Path("r.xml").write_text("x" * 10_000)
    write_junit(Path("r.xml"), "t", [verdict], inconclusive_fails=False)
    junit_of("r.xml")
    with pytest.raises(OutputError):
        write_junit(Path("no/r.xml"), "t", [verdict], inconclusive_fails=False)


def test_base_without_a_file_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        expanded(["compare", "a.h5", "--base", "-q"])


# ---------------------------------------------------------------- start-up


@pytest.mark.slow
def test_it_needs_neither_torch_nor_matplotlib(two: tuple[Path, Path]) -> None:
    code = (
        "import sys; from landscape_cli.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: found = stop.code\n"
        "print({'torch', 'matplotlib'} & {*sys.modules}, found)\n"
    )
    for arguments in (["compare", *map(str, two), "--gate"], ["sharpness", str(two[0]), "--max", "mean_rise=0"]):
        command = [sys.executable, "-c", code, *arguments]
        finished = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        assert finished.stdout.splitlines()[-1] == "set() 5", finished.stderr


@pytest.mark.parametrize("command", mostly_slow(["compare", "sharpness"], "compare"))
def test_help_fits_a_terminal(landscape_process: Run, command: str) -> None:
    found = landscape_process(command, "--help", env=environment(COLUMNS="80", TERM="dumb"))
    assert found.returncode == 0
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "…" not in found.stdout.replace("adaptive_radius, …", "")


def test_a_gate_named_here_replaces_that_tolerance_alone(two: tuple[Path, Path], landscape: Landscape) -> None:
    Path("g.yaml").write_text("gate: {tolerances: {adaptive_radius: 15%, train_loss: 0.03}}\n")
    found = landscape("compare", *two, "--config", "g.yaml", "--gate", "train_loss:50%", "--json")
    verdicts = json.loads(found.stdout)["verdicts"]
    assert [(each["measure"], each["limit"]) for each in verdicts] == [
        ("adaptive_radius", "15%"),
        ("train_loss", "50%"),
    ]
    assert found.exit_code == 5


def test_a_network_that_fits_much_worse_is_warned_of(landscape: Landscape) -> None:
    flat = bowl(0.5)
    metric = flat.metrics["train_loss"]
    worse = replace(metric, values=metric.values + 2.0, centre=metric.centre + 2.0)
    assert flat.radius is None
    files = saved("a.h5", bowl(1.0)), saved("b.h5", replace(flat, metrics={"train_loss": worse}))
    shown = landscape("compare", *files, "--gate").stdout
    assert shown.startswith("PASS: adaptive_radius")
    assert "warning: train_loss of b.h5 is 2.2, of a.h5 0.2: a network that fits so much worse" in shown


@pytest.mark.parametrize(("amount", "meant"), [("0.2", "20%"), ("15", "15%"), ("0.3", "30%")])
def test_an_amount_that_was_meant_as_a_share_is_refused(
    two: tuple[Path, Path], landscape: Landscape, amount: str, meant: str
) -> None:
    found = landscape("compare", *two, "--gate", f"adaptive_radius:{amount}")
    assert found.exit_code == 2
    assert f"hint: A share is written with %: adaptive_radius:{meant}" in found.stderr
