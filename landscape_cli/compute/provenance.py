"""Versions, git, device, command, seeds: in which environment numbers were made."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import JsonValue

from landscape_cli import __version__


def environment(device: torch.device) -> dict[str, JsonValue]:
    """Describe this process. Holds nothing that differs between two runs of the same command on the same machine."""
    return {
        "landscape_cli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "h5py": version("h5py"),
        "platform": platform.platform(),
        "host": platform.node(),
        "device": describe_device(device),
        "num_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "git": _git(),
        "command": _command(),
    }


def describe_device(device: torch.device) -> str:
    """``cuda:0 (NVIDIA H200)`` or ``cpu (1 thread)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    num_threads = torch.get_num_threads()
    return f"{device} ({num_threads} thread{'s' * (num_threads != 1)})" if device.type == "cpu" else str(device)


def _command() -> str:
    """The command line, as one would type it again."""
    program = Path(sys.argv[0]).name
    return shlex.join([*(["python", "-m", "landscape_cli"] if program == "__main__.py" else [program]), *sys.argv[1:]])


def _git() -> str | None:
    """Commit of the repository around the working directory, with ``+changes`` where tracked files differ from it."""
    git = shutil.which("git")
    if git is None:
        return None
    commit = _output(git, "rev-parse", "HEAD")
    changes = _output(git, "status", "--porcelain", "--untracked-files=no") if commit else None
    if commit and changes is None:
        return f"{commit}+unknown"
    return f"{commit}+changes" if changes else commit or None


def _output(*command: str) -> str | None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
