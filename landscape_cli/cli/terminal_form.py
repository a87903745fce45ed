"""In which form a terminal, or what stands in for one, can show a picture."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions

from landscape_cli.cli.console import printable

_BLOCKS = "▀▄█·×┊⣿"
_PLAIN = str.maketrans(
    {
        "±": "+/-",
        "…": "...",
        "·": ".",
        "×": "x",
        "┊": "|",
        "≥": ">=",
        "≤": "<=",
        "–": "-",
        "τ": "tau",
        "λ": "lambda",
        "θ": "theta",
    }
)


@dataclass(frozen=True)
class Form:
    """What can be shown.

    Attributes:
        colors: Colours, be they 16, 256 or all; not in a pipe, nor where NO_COLOR is set.
        blocks: Half blocks and braille; not where the encoding has none.
    """

    colors: bool
    blocks: bool

    @classmethod
    def of(cls, console: Console, options: ConsoleOptions) -> Form:
        """What a console can show."""
        try:
            _BLOCKS.encode(options.encoding)
        except (LookupError, UnicodeEncodeError):
            blocks = False
        else:
            blocks = True
        return cls(console.color_system is not None and not console.no_color, blocks)

    def text(self, text: str) -> str:
        """Text from files, or ours, without what the terminal would obey or lacks."""
        return printable(text if self.blocks else text.translate(_PLAIN))
