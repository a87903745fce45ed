"""Loss landscapes of trained neural networks.

The public API; names are resolved on first use, so importing this package needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape_cli.analysis.plot import plot as plot
    from landscape_cli.compute.add_curvature import add_curvature as add_curvature
    from landscape_cli.compute.scan import scan as scan
    from landscape_cli.compute.scan import scan_model as scan_model
    from landscape_cli.config import Config as Config
    from landscape_cli.config import load_config as load_config
    from landscape_cli.errors import LandscapeError as LandscapeError
    from landscape_cli.storage import load_surface as load_surface
    from landscape_cli.storage import save_surface as save_surface
    from landscape_cli.surface import Surface as Surface

try:
    __version__ = version("landscape-cli")
except PackageNotFoundError:  # a source tree on PYTHONPATH, without an installation
    __version__ = "0+source"

_HOMES = {
    "Config": "config",
    "LandscapeError": "errors",
    "Surface": "surface",
    "add_curvature": "compute.add_curvature",
    "load_config": "config",
    "load_surface": "storage",
    "plot": "analysis.plot",
    "save_surface": "storage",
    "scan": "compute.scan",
    "scan_model": "compute.scan",
}

__all__ = [  # noqa: PLE0604  # every name in _HOMES is resolved by __getattr__
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
