"""The command that puts surface files side by side, without torch: compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

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
)
from landscape_cli.errors import UsageError

_WITH_BASE = "Such as: landscape compare new.h5 --base a.h5 b.h5 c.h5 --gate"


def compare(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Surface files; the others are compared with the first.")
    ],
    base: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="Compare the one FILE with these: trainings that are known to be good."),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[MEASURE:AMOUNT]",
            help="Decide whether NEW, the second FILE, may pass: at most 15% less adaptive_radius than BASE, the "
            "first, or as given: test_loss:2%. May be repeated.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="YAML", help="The same from the section gate of this config.")
    ] = None,
    looks: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Compare at most this often, adding directions: looks share the 5 % of errors. Default 1."
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
    paths = _in_order(files, base or (), is_gate=options is not None)
    asked = comparison.Asked(loss, tau, metric, "json" if json else "markdown" if markdown else "words", quiet)
    if options is None:
        comparison.compare(paths, asked)
    else:
        comparison.gate(paths, asked, options, junit, to_github=github_summary)


def _in_order(files: Sequence[Path], base: Sequence[Path], *, is_gate: bool) -> list[Path]:
    """Baselines first, the new one last.

    Raises:
        UsageError: Too few, or it is not clear which is which.
    """
    if base and len(files) != 1:
        raise UsageError(
            f"--base: found {len(files)} files beside the baselines; expected one, before --base", hint=_WITH_BASE
        )
    if not base and len(files) < 2:
        raise UsageError(
            f"found one file, {files[0]}; expected at least two", hint="Such as: landscape compare A.h5 B.h5"
        )
    if is_gate and not base and len(files) > 2:
        raise UsageError(
            f"--gate: found {len(files)} files; expected BASE and NEW, or one file and its baselines", hint=_WITH_BASE
        )
    return [*base, *files]
