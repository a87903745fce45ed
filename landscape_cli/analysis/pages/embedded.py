"""A picture inside a page: as lines, or as dots where lines would take more."""

from __future__ import annotations

import io
from base64 import b64encode

from matplotlib.figure import Figure

_MOST_BYTES = 400_000  # of a picture as lines, before it is packed
_DPI = 150  # as `plot` has it


def embedded(figure: Figure, *, as_dots: bool = False) -> str:
    """A figure as the address of an image. What stands in one image cannot meet what stands in another or in the page,
    such as identifiers, and a browser runs no script in it.

    Args:
        figure: Drawn; the settings of its style are still in force.
        as_dots: Not as lines, whatever that takes: for pictures of so many points that even trying takes long.

    Returns:
        A ``data:`` URI of SVG, or of PNG.
    """
    lines = b"" if as_dots else _content(figure, "svg")
    if lines and len(lines) <= _MOST_BYTES:
        return f"data:image/svg+xml;base64,{b64encode(lines).decode()}"
    return f"data:image/png;base64,{b64encode(_content(figure, 'png')).decode()}"


def _content(figure: Figure, suffix: str) -> bytes:
    content = io.BytesIO()
    # without a date, so that equal pictures are equal files
    figure.savefig(content, format=suffix, dpi=_DPI, metadata={"Date": None} if suffix == "svg" else {})
    return content.getvalue()
