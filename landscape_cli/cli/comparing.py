"""The command that puts surface files side by side, without torch: compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from landscape_cli.cli.arguments import WITH_BASE
from landscape_cli.cli.console import TALK
from landscape_cli.cli.options import (
    GithubSummary,
    Json,
    JUnit,
    Loss,
    OnInconclusive,
    Quiet,
    Tau,
    Verbose,
    check_tau,
    form_of,
)
from landscape_cli.errors import UsageError

_WITHOUT_BASE = "Such as: landscape compare base.h5 new.h5"


def compare(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Surface files, two or more: the first is BASE, with which the others are compared.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE...",
            help="Surfaces of several trainings that are known to be good; then there is one FILE, before this option.",
        ),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME:AMOUNT]",
            help="Decide whether the second FILE may pass: whether it is not much worse than BASE. By default, at most "
            "15% less adaptive_radius; or as given, such as test_loss:0.03. May be repeated.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="YAML", help="Decide as its section gate says; --gate replaces the tolerance of that measure alone."
        ),
    ] = None,
    looks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How often you will compare at most, with directions added in between. The more looks, the surer "
            "each has to be. Default 3: at 20, 40 and 80 directions.",
        ),
    ] = None,
    on_inconclusive: OnInconclusive = None,
    junit: JUnit = None,
    github_summary: GithubSummary = False,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", metavar="NAME", help="Show this measure alone, and rank by it.")
    ] = None,
    loss: Loss = None,
    tau: Tau = None,
    markdown: Annotated[bool, typer.Option("--markdown", metavar="", help="Print it in Markdown.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put surface files side by side: which is flatter, how sure that is, and with --gate whether one may pass.

    Exit codes of a gate: 0 passes, 5 fails, 3 cannot be compared, 6 inconclusive where that is to fail. See docs/ci.md.
    """
    TALK.configure(quiet=quiet, verbose=verbose)
    from landscape_cli.cli import comparison
    from landscape_cli.cli.gate_options import gate_options

    options = gate_options(gate or (), config, looks, on_inconclusive)
    if json and markdown:
        raise UsageError("--json and --markdown print different things; choose one")
    check_tau(tau)
    if options is None and (looks, on_inconclusive, junit, github_summary) != (None, None, None, False):
        raise UsageError(
            "--looks, --on-inconclusive, --junit and --github-summary belong to a gate", hint="Add --gate."
        )
    if options is not None and metric is not None:
        raise UsageError(
            f"--metric {metric} chooses what is shown, not what a gate decides on", hint=f"Give --gate {metric}:15%"
        )
    paths = _in_order(files or (), base or (), is_gate=options is not None)
    asked = comparison.Asked(loss, tau, metric, form_of(json=json, markdown=markdown), quiet)
    if options is None:
        comparison.compare(paths, asked)
    else:
        comparison.gate(paths, asked, options, junit, to_github=github_summary)


def _in_order(files: Sequence[Path], base: Sequence[Path], *, is_gate: bool) -> list[Path]:
    """Baselines first, the new one last.

    Raises:
        UsageError: Too few, or it is not clear which is which.
    """
    found = ", ".join(map(str, files)) or "none"
    if base and len(files) != 1:
        raise UsageError(
            f"--base takes all files up to the next option; expected one more, which is compared with them; "
            f"found {found}",
            hint=WITH_BASE,
        )
    if not base and len(files) < 2:
        raise UsageError(f"compare: expected at least two files; found {found}", hint=_WITHOUT_BASE)
    if is_gate and not base and len(files) > 2:
        raise UsageError(
            f"--gate: expected two files, BASE and NEW, or one and its baselines; found {found}", hint=WITH_BASE
        )
    return [*base, *files]
