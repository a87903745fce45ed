"""HTML from templates: every text in it is escaped, every number is in it as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from landscape_cli.errors import UsageError

_TEMPLATES = "templates"


def render(template: str, values: Mapping[str, object]) -> bytes:
    """A page from a template of this package.

    In the template ``| tojson`` puts data into a script: ``<``, ``>``, ``&`` and ``'`` are escaped there, so that no
    text can end the script.

    Args:
        template: Its name, such as ``"page.html.j2"``.
        values: What it shows; texts are escaped where they are shown.

    Returns:
        UTF-8; what UTF-8 cannot hold, such as a file name of other bytes, is a question mark.
    """
    return _environment().get_template(template).render(values).encode("utf-8", "replace")


def resource(name: str) -> Markup:
    """A file beside the templates, as it is: a style sheet or a script."""
    return Markup(files(__package__).joinpath(_TEMPLATES, name).read_text(encoding="utf-8"))  # noqa: S704  # ours


def plotly_script(path: Path) -> Markup:
    """The program that draws in the browser.

    Args:
        path: The page that is asked for, to name it in the error.

    Raises:
        UsageError: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415  # the extra `html`, for this function alone
    except ImportError as error:
        raise UsageError(
            f"{path}: an interactive page needs plotly", hint="Run: pip install 'landscape-cli[html]'"
        ) from error
    return Markup(get_plotlyjs())  # noqa: S704  # of a package, not of a file


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("landscape_cli.analysis.pages", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # browsers know no NaN in JSON
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    return environment
