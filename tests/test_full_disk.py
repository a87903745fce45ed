"""A full disk and a read-only folder: said clearly, and what was saved stays."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Outcome

from landscape_cli import load_surface

pytestmark = pytest.mark.slow


def mount(*args: object) -> bool:
    return subprocess.run(["mount", *map(str, args)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder):
        pytest.skip("mounting a tmpfs needs root and CAP_SYS_ADMIN")
    yield folder
    with contextlib.suppress(OSError):
        subprocess.run(["umount", folder], check=True)


ARGUMENTS = [
    ROOT / "configs" / "digits.yaml",
    *("--set", "axes.x.num=9", "--set", "axes.y.num=9", "--set", "data.train.num_examples=50"),
    *("--set", f"checkpoint.path={ROOT / 'configs' / 'digits.pt'}", "--set", "checkpoint.expect=null"),
]


def test_a_full_disk_is_exit_code_4_and_keeps_what_was_saved(
    small_disk: Path, landscape: Callable[..., Outcome]
) -> None:
    output = small_disk / "s.h5"
    assert landscape("scan", *ARGUMENTS, "-o", output, "--set", "axes.y=null").exit_code == 0
    before = output.read_bytes()
    (small_disk / "ballast").write_bytes(bytes(64 * 1024 - len(before) - 8192))
    outcome = landscape("scan", *ARGUMENTS, "-o", output, "--overwrite")
    assert outcome.exit_code == 4
    assert f"{output}: cannot be written: No space left on device" in outcome.stderr
    assert "untouched" in outcome.stderr
    assert output.read_bytes() == before
    assert {path.name for path in small_disk.iterdir()} == {"s.h5", ".s.h5.lock", "ballast"}
    (small_disk / "ballast").unlink()
    assert landscape("scan", *ARGUMENTS, "-o", output, "--overwrite").exit_code == 0
    assert load_surface(output).complete


def test_a_disk_that_is_full_in_the_middle_of_the_radius_keeps_the_grid(
    small_disk: Path, landscape: Callable[..., Outcome]
) -> None:
    output, radius = small_disk / "s.h5", ("--set", "radius={slices: 60, num: 10}")
    assert landscape("scan", *ARGUMENTS, "-o", output, "--set", "axes.y=null").exit_code == 0
    before = output.read_bytes()
    outcome = landscape("scan", *ARGUMENTS, "-o", output, "--set", "axes.y=null", *radius)
    assert outcome.exit_code == 4
    assert f"{output}: cannot be written: No space left on device" in outcome.stderr
    assert output.read_bytes() == before
    assert {path.name for path in small_disk.iterdir()} == {"s.h5", ".s.h5.lock"}


def test_a_read_only_folder_is_refused_before_anything_is_computed(
    small_disk: Path, landscape: Callable[..., Outcome]
) -> None:
    assert mount("-o", "remount,ro", small_disk)
    outcome = landscape("scan", *ARGUMENTS, "-o", small_disk / "s.h5")
    assert outcome.exit_code == 2
    assert "cannot write in" in outcome.stderr
    assert "Read-only file system" in outcome.stderr
    assert "centre" not in outcome.stderr


def test_a_picture_on_a_full_disk_is_an_error_and_no_half_written_file(
    small_disk: Path, tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    landscape("scan", *ARGUMENTS, "-o", tmp_path / "s.h5")
    (small_disk / "ballast").write_bytes(bytes(60 * 1024))
    outcome = landscape("plot", tmp_path / "s.h5", "-o", small_disk / "s.png")
    assert outcome.exit_code == 4
    assert "No space left on device" in outcome.stderr
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_an_export_on_a_full_disk_is_an_error_and_the_older_one_stays(
    small_disk: Path, tmp_path: Path, landscape: Callable[..., Outcome]
) -> None:
    landscape("scan", *ARGUMENTS, "-o", tmp_path / "s.h5")
    (small_disk / "s.csv").write_text("old")
    (small_disk / "ballast").write_bytes(bytes(56 * 1024))
    outcome = landscape("export", tmp_path / "s.h5", small_disk / "s.csv", "--overwrite")
    assert outcome.exit_code == 4
    assert "No space left on device" in outcome.stderr
    assert (small_disk / "s.csv").read_text() == "old"
    assert {path.name for path in small_disk.iterdir()} == {"s.csv", "ballast"}
