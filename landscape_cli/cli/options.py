"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from landscape_cli.errors import UsageError

ConfigFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML that describes model, checkpoint, data and axes.")
]
SurfaceFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="Surface file, finished or not.")]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a value of the config; may be repeated."),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", metavar="", help="Print the result as JSON on stdout (docs/output.schema.json).")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Say nothing but errors.")]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", metavar="", help="Show also what caused an error.")
]
UnsafeLoad: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--unsafe-load",
        metavar="",  # Typer would show <bool>, as if a value were to follow
        help="Unpickle a checkpoint that holds more than tensors. This runs whatever code it contains.",
    ),
]
OnInconclusive: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="pass|fail", help="Exit code where the error bars allow no decision: 0 (default), or 6."),
]
JUnit: TypeAlias = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdicts as a JUnit report.")
]
GithubSummary: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--github-summary", metavar="", help="Append the verdicts to $GITHUB_STEP_SUMMARY, where that is set."
    ),
]
Form: TypeAlias = Literal["json", "markdown", "words"]  # of what is printed
Loss: TypeAlias = Annotated[
    str | None, typer.Option("--loss", metavar="NAME", help="Such as test_loss; by default the first loss.")
]
Tau: TypeAlias = Annotated[
    float | None,
    typer.Option("--tau", metavar="T", help="The rise of the loss that ends a radius; default 0.1, or as scanned."),
]


def form_of(*, json: bool, markdown: bool) -> Form:
    """What the options ask for."""
    return "json" if json else "markdown" if markdown else "words"


def check_tau(tau: float | None) -> None:
    """Refuse what is no rise of a loss.

    Raises:
        UsageError: It is none.
    """
    if tau is not None and not (tau > 0 and math.isfinite(tau)):
        raise UsageError(f"--tau: found {tau:g}; expected a number above 0")
