"""What is recorded about the environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from landscape_cli.compute.provenance import describe_device, environment


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    return subprocess.run(
        ["git", *identity, *args], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_and_whether_it_was_changed_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = lambda: environment(torch.device("cpu"))["git"]  # noqa: E731
    assert here() is None
    git(tmp_path, "init", "-q")
    assert here() is None  # no commit yet
    (tmp_path / "model.py").write_text("x = 1")
    git(tmp_path, "add", "model.py")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "surface.h5").write_text("a new file changes no code")
    assert here() == commit
    (tmp_path / "model.py").write_text("x = 2")
    assert here() == f"{commit}+changes"
    monkeypatch.setenv("PATH", "")
    assert here() is None


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/opt/env/bin/landscape", "scan", "my config.yaml"], "landscape scan 'my config.yaml'"),
        (["/lib/landscape_cli/__main__.py", "scan", "c.yaml"], "python -m landscape_cli scan c.yaml"),
    ],
)
def test_the_command_can_be_typed_again(argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert environment(torch.device("cpu"))["command"] == command


def test_two_calls_in_one_place_are_equal(device: str) -> None:
    """Otherwise a resumed scan would differ from an uninterrupted one."""
    assert environment(torch.device(device)) == environment(torch.device(device))
    assert describe_device(torch.device(device)).startswith(device)
