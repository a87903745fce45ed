"""The public Python API: what it offers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import landscape_cli


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_every_public_name_can_be_used() -> None:
    for name in landscape_cli.__all__:
        assert getattr(landscape_cli, name) is not None
    assert {"load_config", "scan", "scan_model", "load_surface", "save_surface", "plot"} <= set(landscape_cli.__all__)
    assert dir(landscape_cli) == sorted(landscape_cli.__all__)


def test_names_stay_what_they_are_on_second_access() -> None:
    """A lazily exported function beside a module of the same name would turn into the module."""
    for name in ("scan", "plot"):
        first, second = getattr(landscape_cli, name), getattr(landscape_cli, name)
        assert first is second
        assert callable(first)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scam'"):
        landscape_cli.scam  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import landscape_cli", marks=pytest.mark.slow),
        "from landscape_cli import load_config, load_surface, save_surface, plot, Surface, Config",
        "import landscape_cli.cli.app",
    ],
)
def test_the_reading_half_needs_no_torch(code: str) -> None:
    assert run(f"import sys; {code}; print('torch' in sys.modules)") == "False"


@pytest.mark.slow
def test_the_computing_half_needs_torch() -> None:
    """The check above can fail."""
    assert run("import sys; from landscape_cli import scan; print('torch' in sys.modules)") == "True"


def test_the_module_runs_as_a_command() -> None:
    version = subprocess.run(
        [sys.executable, "-m", "landscape_cli", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout == f"landscape-cli {landscape_cli.__version__}\n"
