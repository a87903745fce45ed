"""Where a surface file comes from, and how to make it again."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.analysis.question import Named
from landscape_cli.analysis.unchecked import section, text
from landscape_cli.cli.read import info_rows
from landscape_cli.cli.reports import info_report
from landscape_cli.surface import Surface

_VERSIONS = ("landscape_cli", "torch", "cuda", "numpy", "h5py", "python", "platform", "git")
_CHANGING = "not known: the file was being written"


def origin(named: Named, file: Path) -> dict[str, object]:
    """What the page says of one file."""
    surface, report = named.surface, info_report(named.surface, file)
    identity = surface.provenance.identity
    hashes = [
        ("SHA-256 of this file", _sha256_of(file)),
        ("fingerprint of the scan", surface.fingerprint),
        ("SHA-256 of the checkpoint", report.checkpoint_sha256 or ""),
        *_data(identity),
    ]
    return {
        "name": named.name,
        "facts": [(name, value) for name, value in info_rows(report) if name != "made on"],
        "hashes": [(name, value) for name, value in hashes if value],
        "made_on": [[*_environment(each)] for each in surface.provenance.environment if isinstance(each, dict)],
        "config": _lines(surface.provenance.config),
        "commands": _commands(surface, file),
    }


def _sha256_of(file: Path) -> str:
    """Of the bytes of a file; says so where it is replaced meanwhile, as that of a running scan is."""
    try:
        before = _state_of(file)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest if _state_of(file) == before else _CHANGING
    except OSError:
        return _CHANGING


def _state_of(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _data(identity: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    for split in section(identity, "data"):
        found = section(section(identity, "data"), split)
        num, digest = found.get("num_examples"), text(found.get("fingerprint"))
        yield f"data {split}", f"n = {num:,}, fingerprint {digest}" if isinstance(num, int) else digest


def _environment(environment: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """One machine that has contributed: command, device, versions."""
    for key in ("command", "host", "device"):
        if environment.get(key):
            yield key, str(environment[key])
    versions = [f"{key.replace('_', '-')} {environment[key]}" for key in _VERSIONS if environment.get(key)]
    if versions:
        yield "versions", ", ".join(versions)


def _lines(config: str) -> str:
    """A text with the ends of its lines as in HTML."""
    return "\n".join(config.splitlines())


def _commands(surface: Surface, file: Path) -> list[str]:
    name = shlex.quote(file.name)
    scan = " ".join(["landscape scan scan.yaml", *_options(surface), f"-o {name}"])
    return [*([scan] if surface.provenance.config else []), f"landscape info {name}"]


def _options(surface: Surface) -> list[str]:
    """What the last scan was told beside its configuration, and decides the numbers."""
    words = next((words for words in reversed([*_command_lines(surface)]) if "scan" in words), [])
    values = [value for option, value in pairwise(words) if option == "--set"]
    values += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    path = text(section(surface.provenance.resolved, "checkpoint").get("path"))
    has_checkpoint = path and any(word.partition("=")[0] == "--checkpoint" for word in words)
    options = [f"--checkpoint {shlex.quote(path)}"] if has_checkpoint else []
    return [*options, *(f"--set {shlex.quote(value)}" for value in values)]


def _command_lines(surface: Surface) -> Iterator[list[str]]:
    for environment in surface.provenance.environment:
        if isinstance(environment, dict):
            try:
                yield shlex.split(text(environment.get("command")))
            except ValueError:  # not one that a shell would take
                continue
