"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

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
