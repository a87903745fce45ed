"""How much memory and how many cores this process may use, as the kernel, the container and the device say."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")
# of what is free: the rest is for activations, other processes and the page cache
_SHARE = 0.4


def free_host_bytes() -> int | None:
    """Memory that can be allocated without swapping, within the limit of the container; None where unknown."""
    found = [free for free in (_meminfo("MemAvailable"), _free_in_container()) if free is not None]
    return min(found) if found else None


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, or of the host for a CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what the allocator of torch holds without using it is free for us
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return free_host_bytes()


def budget(configured: int | None, free: int | None) -> int | None:
    """Bytes that data may take: as configured, else 40 % of what is free; None where that is unknown."""
    if configured is not None:
        return configured
    return int(_SHARE * free) if free is not None else None


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has held so far: on the device, or resident on the host for a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int:
    """Main memory that this process holds now."""
    pages = _words(Path("/proc/self/statm"))
    return int(pages[1]) * resource.getpagesize() if len(pages) > 1 else peak_bytes(torch.device("cpu"))


def num_cores() -> int:
    """Cores that this process may use: its affinity, within the CPU quota of its control groups."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _control_groups():
        quota = _words(group / "cpu.max")
        if len(quota) == 2 and quota[0].isdigit():
            cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def _free_in_container() -> int | None:
    """The tightest limit of the control groups (version 2) of this process: container, Slurm step, systemd slice."""
    free: list[int] = []
    for group in _control_groups():
        limit, used = _words(group / "memory.max"), _words(group / "memory.current")
        if limit and limit[0].isdigit() and used:
            # pages of files count as used, and are given up when memory is needed
            words = iter(_words(group / "memory.stat"))
            statistics = dict(zip(words, words, strict=False))
            cached = sum(int(statistics.get(name, 0)) for name in ("inactive_file", "active_file"))
            free.append(max(0, int(limit[0]) - int(used[0]) + cached))
    return min(free, default=None)


def _control_groups() -> list[Path]:
    """The control group of this process and those around it."""
    path = next((line.removeprefix("0::") for line in _text(_SELF).splitlines() if line.startswith("0::")), None)
    if path is None:
        return []
    group = _CGROUPS / path.strip("/")
    return [each for each in (group, *group.parents) if each.is_relative_to(_CGROUPS)]


def _meminfo(key: str) -> int | None:
    for line in _text(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
