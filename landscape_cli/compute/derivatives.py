"""Derivatives of the summed loss of one chunk of data: its gradient, and products of its Hessian with vectors."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.compute.precision import arithmetic

# what torch says of operations that cannot be differentiated twice, or not in forward mode
_NOT_TWICE = (
    "is not implemented",
    "Not implemented",
    "double backward",
    "once_differentiable",
    "does not require grad",
    "forward AD",
    "does not support it because",  # torch.func of autograd functions of the old kind
    "use_reentrant",
)


class Replica:
    """A model whose parameters can be differentiated by: the model itself, or a copy that shares its memory.

    Threads cannot share one: each accumulates gradients in parameters of its own.

    Args:
        model: In eval mode, not differentiated by anything.
        names: Of the parameters to differentiate by.

    Attributes:
        live: These parameters, in order.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.model, self.names = model, tuple(names)
        self._is_checked = False
        known = dict(model.named_parameters())
        self.live = [known[name].requires_grad_() for name in names]

    def another(self) -> Replica:
        """A copy that shares the memory of parameters and buffers."""
        shared: dict[int, object] = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in self.model.parameters()
        }
        shared |= {id(buffer): buffer for buffer in self.model.buffers()}
        with torch.inference_mode(mode=False):
            return Replica(copy.deepcopy(self.model, shared), self.names)

    def gradients(self, loss: Tensor, *, create_graph: bool = False, keep: bool = False) -> Sequence[Tensor]:
        """Of the loss by every parameter; zeros for those that it does not depend on.

        Args:
            loss: Of the chunk.
            create_graph: The gradients can be differentiated.
            keep: The graph of the loss, for another backward pass.
        """
        if not create_graph:
            return self._accumulated([loss], None, keep=keep)
        if not self._is_checked:
            _refuse_hidden_parameters(loss)
            self._is_checked = True
        return torch.autograd.grad(loss, self.live, create_graph=True, materialize_grads=True)

    def double_backward(self, gradients: Sequence[Tensor], vector: Sequence[Tensor], *, keep: bool) -> list[Tensor]:
        """∇(gᵀv), of gradients g that have a graph (Pearlmutter 1994, Neural Computation 6(1)).

        Args:
            gradients: With ``create_graph``.
            vector: v, a tensor for each.
            keep: The graph, for another product.
        """
        # a part of the gradient that is constant has no graph, and no part in the Hessian
        pairs = [(g, v) for g, v in zip(gradients, vector, strict=True) if g.requires_grad]
        return self._accumulated([g for g, _ in pairs], [v for _, v in pairs], keep=keep)

    def _accumulated(self, of: Sequence[Tensor], along: Sequence[Tensor] | None, *, keep: bool) -> list[Tensor]:
        """What backward passes add up in the parameters.

        Not autograd.grad: it leaves out, silently, functions that are differentiable only once and checkpoints whose
        parameters it does not see.
        """
        try:
            if of:
                torch.autograd.backward(of, along, retain_graph=keep)
            return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.live]
        finally:
            for parameter in self.live:
                parameter.grad = None

    def forward_over_reverse(
        self, loss: Callable[[Callable[..., object]], Tensor], vector: Sequence[Tensor]
    ) -> list[Tensor]:
        """The derivative of the gradient along v, by forward-mode differentiation of the backward pass.

        Args:
            loss: From what calls the model to the loss of the chunk.
            vector: v, a tensor for each parameter.
        """

        def at(params: dict[str, Tensor]) -> Tensor:
            return loss(partial(_call_with, self.model, params))

        params = {name: p.detach() for name, p in zip(self.names, self.live, strict=True)}
        tangents = dict(zip(self.names, vector, strict=True))
        product = jvp(grad(at), (params,), (tangents,))[1]
        return [product[name] for name in self.names]


def _refuse_hidden_parameters(loss: Tensor) -> None:
    """Raise where the graph of a loss runs through a reentrant checkpoint, in which it ends as if at a constant."""
    seen, left = set[object](), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CheckpointFunctionBackward":
            raise RuntimeError("checkpoint(…, use_reentrant=True) has no second derivative")
        seen.add(node)
        left += [each for each, _ in node.next_functions]


def _call_with(model: nn.Module, params: dict[str, Tensor], *args: object, **kwargs: object) -> object:
    return functional_call(model, params, args, kwargs)


def is_not_differentiable(error: BaseException) -> bool:
    """Whether an error says that an operation has no second derivative, or none in forward mode."""
    return isinstance(error, RuntimeError | NotImplementedError) and any(text in str(error) for text in _NOT_TWICE)


@contextlib.contextmanager
def twice_differentiable(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Exact arithmetic, by kernels with a second derivative: fused attention, cuDNN's recurrent layers and compiled
    modules have none.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.enabled
    cudnn.enabled = before and not any(isinstance(module, nn.RNNBase) for module in model.modules())
    eager: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if "torch._dynamo" in sys.modules:  # else nothing is compiled, no function that the model calls either
        eager = torch.compiler.set_stance("force_eager")
    try:
        with arithmetic("float32", device), sdpa_kernel(SDPBackend.MATH), eager:
            yield
    finally:
        cudnn.enabled = before


def bytes_saved(run: Callable[[], object]) -> int:
    """Bytes that autograd keeps for backward passes while ``run`` runs; what two nodes share counts once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(seen.values())


Way = Literal["double_backward", "forward_over_reverse", "finite_difference"]
