"""What the kernel, a container and a batch system say about memory and cores."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import torch

from landscape_cli.compute import memory


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of control groups, with this process in /slurm/job/step."""
    root = tmp_path / "cgroup"
    (root / "slurm" / "job" / "step").mkdir(parents=True)
    (tmp_path / "self").write_text("1:name=systemd:/elsewhere\n0::/slurm/job/step\n")
    monkeypatch.setattr(memory, "_CGROUPS", root)
    monkeypatch.setattr(memory, "_SELF", tmp_path / "self")
    return root


def test_the_tightest_limit_of_all_groups_counts(groups: Path) -> None:
    unlimited = memory.free_host_bytes()
    assert unlimited is not None
    for folder, limit, used in ((groups / "slurm" / "job", "5000", "1000"), (groups / "slurm", "max", "9")):
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text(used)
    assert memory.free_host_bytes() == 4000
    (groups / "slurm" / "job" / "memory.stat").write_text("anon 500\ninactive_file 300\nactive_file 50\n")
    assert memory.free_host_bytes() == 4350  # the page cache is given up when memory is needed
    (groups / "slurm" / "job" / "memory.current").write_text("9000")
    assert memory.free_host_bytes() == 0


def test_a_quota_limits_the_cores(groups: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    assert memory.num_cores() == cores
    (groups / "slurm" / "cpu.max").write_text("max 100000")
    assert memory.num_cores() == cores
    (groups / "slurm" / "job" / "cpu.max").write_text("100000 100000")
    assert memory.num_cores() == 1
    (groups / "slurm" / "job" / "cpu.max").write_text("20000 100000")  # a fifth of a core
    assert memory.num_cores() == 1


def test_a_budget_is_what_is_configured_else_a_share_of_what_is_free() -> None:
    assert memory.budget(5, 10) == 5
    assert memory.budget(None, 1000) == 400
    assert memory.budget(None, None) is None


def test_the_numbers_of_this_machine_are_plausible() -> None:
    held = memory.resident_bytes()
    assert 50_000_000 < held <= memory.peak_bytes(torch.device("cpu")) * 1.01
    with mmap.mmap(-1, 1 << 27) as ballast:  # new pages; what torch allocates may be memory that was freed before
        for page in range(0, len(ballast), mmap.PAGESIZE):
            ballast[page] = 1
        assert memory.resident_bytes() > held + (1 << 26)
    free = memory.free_host_bytes()
    assert free is not None
    assert free > 100_000_000
