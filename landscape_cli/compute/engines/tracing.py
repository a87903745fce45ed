"""Reading a model as a graph of calls."""

from __future__ import annotations

from torch import fx, nn

from landscape_cli.compute.engines.contract import UnsupportedError


def trace(model: nn.Module) -> tuple[fx.Graph, dict[str, nn.Module]]:
    """The graph of a model, and its modules by name.

    Raises:
        UnsupportedError: The graph would not say all that happens: hooks, a forward of a module's own, control flow.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        raise UnsupportedError("the model has hooks")
    if any("forward" in vars(module) for module in model.modules()):
        raise UnsupportedError("a module has a forward of its own")
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # tracing runs the model's own code on proxies
        raise UnsupportedError(f"the model cannot be traced: {type(error).__name__}") from error
    return graph, dict(model.named_modules(remove_duplicate=False))


def calls(node: fx.Node, modules: dict[str, nn.Module], kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a node calls a module of exactly one of these classes; a subclass may do something else."""
    return node.op == "call_module" and type(modules[str(node.target)]) in kinds
