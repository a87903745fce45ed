"""The wheel, in an empty environment outside the repository: what users get."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import landscape_cli

pytestmark = pytest.mark.slow


def run(*command: object, **options: object) -> str:
    finished = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return str(finished.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_its_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "landscape_cli/py.typed" in names
    assert "landscape_cli/examples.py" in names
    ours = [*ROOT.glob("landscape_cli/**/*.py"), *ROOT.glob("landscape_cli/**/templates/*")]
    expected = {str(path.relative_to(ROOT)) for path in ours} | {"landscape_cli/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """With its dependencies from the registry; takes some gigabytes and minutes, and cleans up behind itself."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    options = {"cwd": tmp_path, "env": environment}
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[demo]", **options)
    command = tmp_path / "env" / "bin" / "landscape"
    where = run(python, "-c", "import landscape_cli; print(landscape_cli.__file__)", **options).strip()
    assert where.startswith(str(tmp_path / "env"))
    assert run(command, "--version", **options) == f"landscape-cli {landscape_cli.__version__}\n"
    assert "scan" in run(command, "--help", **options)
    golden = ROOT / "tests" / "data" / "surfaces" / "1.0"
    for path in sorted(golden.glob("*.h5")):
        assert "points" in run(command, "info", path, **options)
    small = [
        "--set",
        "axes.x.num=3",
        "--set",
        "axes.y.num=3",
        "--set",
        f"checkpoint.path={ROOT / 'configs' / 'digits.pt'}",
    ]
    run(command, "scan", ROOT / "configs" / "digits.yaml", "-o", "s.h5", *small, **options)
    run(command, "plot", "s.h5", "-o", "s.png", **options)
    assert (tmp_path / "s.png").stat().st_size > 10_000
