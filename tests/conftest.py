"""What all tests share: small models and data sets, the devices of this machine, and the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]

# one thread each: the tests run in parallel, and two processes of two threads fight for two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _devices() -> list[str]:
    import torch

    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Cross every test that asks for a `device` with the devices of this machine."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", _devices())


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with surfaces of trained perceptrons, see `gate_models`: made once, whichever process is the first."""
    from filelock import FileLock
    from gate_models import fill

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "gate_surfaces"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            temporary = tmp_path_factory.mktemp("gate")
            fill(temporary)
            temporary.rename(folder)
    return folder


@pytest.fixture
def landscape(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process, through its real error boundary."""
    from landscape_cli.cli.app import main

    def run(*args: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def landscape_process() -> Run:
    """Run the command line as a process of its own."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "landscape_cli", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload,no-any-return]

    return run
