"""ENGINES: every engine by name."""

from __future__ import annotations

from collections.abc import Callable

from landscape_cli.compute.engines.contract import Engine
from landscape_cli.compute.engines.folded import folded
from landscape_cli.compute.engines.graphs import graphs
from landscape_cli.compute.engines.mlp import mlp
from landscape_cli.compute.engines.sequential import channels_last, compiled, sequential
from landscape_cli.compute.engines.stacked import stacked
from landscape_cli.compute.network import Network

ENGINES: dict[str, Callable[[Network, int], Engine]] = {
    "sequential": sequential,
    "channels_last": channels_last,
    "folded": folded,
    "compiled": compiled,
    "stacked": stacked,
    "mlp": mlp,
    "graphs": graphs,
}
