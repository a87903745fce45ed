"""docs/ci.md: its jobs are YAML, their commands exist, their loop decides; configs/ci.yaml is a config."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from landscape_cli.analysis.gate import gate
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.tolerance import Tolerance
from landscape_cli.cli.app import app
from landscape_cli.cli.gate_options import gate_options
from landscape_cli.config import load_config, load_gate
from landscape_cli.storage import load_surface

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
CONFIG = ROOT / "configs" / "ci.yaml"
SECTIONS, GITHUB, GITLAB = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))


def step(name: str) -> str:
    (found,) = [each["run"] for each in GITHUB["jobs"]["gate"]["steps"] if each.get("name") == name]
    return found


def scripts() -> Iterator[str]:
    """Everything on the page that a shell is to run."""
    yield from re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    yield from re.findall(r"`(landscape [^`]*)`", PAGE)
    yield from (each["run"] for each in GITHUB["jobs"]["gate"]["steps"] if "run" in each)
    yield from GITLAB["landscape"]["script"]
    yield from re.findall(r"^#   (landscape .*)$", CONFIG.read_text(encoding="utf-8"), flags=re.MULTILINE)


def commands(script: str) -> Iterator[list[str]]:
    """The words of every call of landscape, and those that a function of the script adds to one."""
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for is_end, group in groupby(lexer, lambda word: word == "{" or set(word) <= set(";&|<>()")):
            words = [] if is_end else list(group)
            if words[:1] == ["landscape"]:
                yield words[1:]
            elif words[:1] == ["decide"]:
                yield ["compare", *words[1:]]


CALLS = [call for script in scripts() for call in commands(script)]


@cache
def help_of(command: str) -> str:
    return CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output


def test_page_shows_all_commands() -> None:
    assert {call[0] for call in CALLS} == {"scan", "compare", "sharpness"}
    assert any("--more-slices" in call for call in CALLS)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_option_of_a_command_exists(call: list[str]) -> None:
    options = {word.partition("=")[0] for word in call if re.match(r"--?[a-z]", word)}
    known = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", help_of(call[0])))
    assert options <= known


def test_gates_of_the_page_are_gates() -> None:
    for call in CALLS:
        given = [following for word, following in pairwise(call) if word == "--gate"]
        assert not given or gate_options(given, None, None, None) is not None


def test_section_of_the_page_is_that_of_the_config() -> None:
    assert load_gate(CONFIG).tolerances == {name: str(value) for name, value in SECTIONS["gate"]["tolerances"].items()}


def test_every_line_that_is_to_be_changed_says_so() -> None:
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    ours = [line for line in lines if re.search(r"landscape_cli|digits\.pt|num_examples", line) and line[:1] != "#"]
    assert ours
    assert all("# CHANGE" in line for line in ours)
    assert "# yaml-language-server: $schema=../docs/config.schema.json" in lines


@pytest.mark.slow
def test_config_is_valid_and_has_all_that_its_gate_decides_on(landscape_process) -> None:
    config = load_config(CONFIG)
    assert config.radius is not None
    assert config.radius.slices == 20
    (measure, metric) = config.gate.tolerances
    assert measure == "adaptive_radius"
    assert metric.removeprefix("test_") in ("loss", *config.metrics)
    assert metric.partition("_")[0] in config.data
    checked = landscape_process("validate", CONFIG)
    assert checked.returncode == 0, checked.stderr


def test_jobs_have_the_same_loop() -> None:
    assert loop_of(step("Gate")) == loop_of(GITLAB["landscape"]["script"][-1])
    assert GITLAB["landscape"]["allow_failure"]["exit_codes"] == 6


def loop_of(script: str) -> list[str]:
    """Without comments and the call that reports."""
    return [line.partition(" #")[0].rstrip() for line in script.splitlines()][:-1]


# ---------------------------------------------------------------- the loop, in a shell


NETWORK = """
import torch

INPUTS = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def data(train):
    return torch.utils.data.TensorDataset(INPUTS, INPUTS[:, :3].argmax(dim=1))
"""
SCAN = """
model: {_target_: tiny.network}
checkpoint: {path: good.pt}
data:
  train: {dataset: {_target_: tiny.data, train: true}}
  test: {dataset: {_target_: tiny.data, train: false}}
axes: {x: {num: 3}}
radius: {num: 13}
runtime: {processes: 1, workers: 0, engine: sequential}
gate: {tolerances: {adaptive_radius: 15%, test_loss: 5}}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the jobs find: a network, a good checkpoint and another that is sharper, a config and a baseline."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "tiny.py").write_text(NETWORK, encoding="utf-8")
    (folder / "landscape.yaml").write_text(SCAN, encoding="utf-8")
    namespace: dict = {}
    exec(NETWORK, namespace)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = namespace["network"]()
    inputs, targets = namespace["data"](train=True).tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    torch.save(model.state_dict(), folder / "good.pt")
    torch.save({name: 2 * tensor for name, tensor in model.state_dict().items()}, folder / "sharp.pt")
    (folder / "bin").mkdir()
    command = folder / "bin" / "landscape"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m landscape_cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    made = in_shell("landscape scan landscape.yaml -o baseline.h5 --set radius.slices=80 --quiet", folder, "")
    assert made.returncode == 0, made.stderr
    return folder


def in_shell(script: str, folder: Path, checkpoint: str, *, fresh: bool = True) -> subprocess.CompletedProcess[str]:
    """As GitHub and GitLab run it, in a fresh workspace or in that of the step before."""
    for name in ("new.h5", "summary.md", "landscape.xml") if fresh else ():
        (folder / name).unlink(missing_ok=True)
    given = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CHECKPOINT": checkpoint,
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )


def num_directions(folder: Path) -> int:
    radius = load_surface(folder / "new.h5").radius
    assert radius is not None
    assert radius.complete
    return radius.grid.num_slices


@pytest.mark.slow
def test_loop_passes_an_equal_checkpoint(repository: Path) -> None:
    done = in_shell(step("Gate"), repository, "good.pt")
    assert done.returncode == 0, done.stderr
    assert num_directions(repository) == 20
    assert done.stdout.startswith("PASS: adaptive_radius of new.h5")
    assert 'failures="0"' in (repository / "landscape.xml").read_text(encoding="utf-8")
    assert (repository / "summary.md").read_text(encoding="utf-8").count("### ✅") == 1  # of one look


@pytest.mark.slow
def test_loop_stops_a_sharper_checkpoint(repository: Path) -> None:
    done = in_shell(step("Gate"), repository, "sharp.pt")
    assert done.returncode == 5, done.stderr
    assert num_directions(repository) == 20
    assert done.stdout.startswith("FAIL: adaptive_radius of new.h5")
    assert 'failures="1"' in (repository / "landscape.xml").read_text(encoding="utf-8")
    assert "### ❌" in (repository / "summary.md").read_text(encoding="utf-8")
    (repository / "bin" / "gh").write_text("#!/bin/sh\ncat landscape.md\n", encoding="utf-8")
    (repository / "bin" / "gh").chmod(0o755)
    comment = in_shell(step("Comment"), repository, "", fresh=False)
    assert comment.returncode == 0, comment.stderr
    assert comment.stdout.startswith("### ❌")


@pytest.mark.slow
def test_loop_looks_three_times_where_it_cannot_tell(repository: Path) -> None:
    """With a tolerance that is just the change itself."""
    asked = "landscape scan landscape.yaml -o new.h5 --checkpoint sharp.pt --set radius.slices=80 --quiet"
    assert in_shell(asked, repository, "").returncode == 0
    base, new = (Named(name, load_surface(repository / name)) for name in ("baseline.h5", "new.h5"))
    (verdict,) = gate([base], new, [Tolerance("adaptive_radius", 0.15)])
    (repository / "open.yaml").write_text(SCAN.replace("15%", f"{-100 * verdict.change:.3f}%"), encoding="utf-8")
    done = in_shell(step("Gate").replace("landscape.yaml", "open.yaml"), repository, "sharp.pt")
    assert done.returncode == 0, done.stderr
    assert num_directions(repository) == 80
    assert done.stdout.startswith("INCONCLUSIVE: adaptive_radius of new.h5")
    assert 'skipped="1"' in (repository / "landscape.xml").read_text(encoding="utf-8")
    in_gitlab = GITLAB["landscape"]["script"][-1].splitlines()
    only_report = "\n".join((in_gitlab[0], in_gitlab[-1])).replace("landscape.yaml", "open.yaml")
    done = in_shell(only_report, repository, "sharp.pt", fresh=False)
    assert done.returncode == 6, done.stderr
    assert 'failures="1"' in (repository / "landscape.xml").read_text(encoding="utf-8")
