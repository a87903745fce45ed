"""The README does what it says."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

import landscape_cli

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_the_python_session_runs(tmp_path: Path) -> None:
    _, session = blocks("python")
    code = session.replace('"coarse.h5"', repr(str(tmp_path / "coarse.h5"))).replace(
        '"coarse.png"', repr(str(tmp_path / "d.png"))
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    said = [line.split("# ")[1] for line in session.splitlines() if line.startswith("print")]
    assert finished.stdout.splitlines() == said
    assert (tmp_path / "d.png").stat().st_size > 10_000


def test_the_functions_of_ones_own_work_as_shown() -> None:
    own, _ = blocks("python")
    functions: dict[str, object] = {}
    exec(own, functions)
    model = torch.nn.Linear(3, 4)
    dataset = torch.utils.data.TensorDataset(torch.randn(8, 3), torch.arange(8) % 4)
    axes = {"x": {"start": 0, "stop": 1, "num": 2, "direction": functions["towards_zero"]}}
    surface = landscape_cli.scan_model(model, {"test": dataset}, axes=axes, metrics=[functions["margin"]])
    assert surface["test_loss"][0, 1] == pytest.approx(math.log(4), rel=1e-6)  # all logits are zero
    assert surface["test_margin"][0, 1] == 0.0
    assert surface["test_margin"][0, 0] > 0.0


@pytest.mark.slow
def test_the_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    """Numbers of the machine (times, devices, versions, paths) aside."""
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (session,) = blocks("console")
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, flags=re.MULTILINE):
        words = shlex.split(command)
        assert words[0] == "landscape"
        finished = subprocess.run(
            [sys.executable, "-m", "landscape_cli", *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert stable(finished.stderr + finished.stdout) == stable(expected), command


def stable(text: str) -> list[str]:
    """Lines without what differs between machines."""
    lines = [
        line
        for line in text.splitlines()
        if not re.search(r"created|updated|made on|device|points  |engine|agrees with|evaluated by|memory  ", line)
    ]
    return [re.sub(r"in [\d.]+ (s|min.*)\b|─+|\s+", " ", line).strip() for line in lines]


def test_the_tree_names_every_module_and_nothing_else() -> None:
    (tree,) = [block for block in blocks("text") if "landscape_cli/" in block]
    folders: dict[int, str] = {}
    named = set()
    for line in tree.splitlines():
        name, depth = line.split()[0], len(line) - len(line.lstrip())
        path = "".join(folders[d] for d in range(0, depth, 2)) + name
        folders[depth] = name
        assert (ROOT / path).exists(), path
        named.add(path)
    modules = {
        str(path.relative_to(ROOT)) for path in ROOT.glob("landscape_cli/**/*.py") if not path.name.startswith("__")
    }
    assert {path for path in modules if "/cli/" not in path} <= named


def test_version_and_changelog_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?([\d.]+)", changelog, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == landscape_cli.__version__


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
