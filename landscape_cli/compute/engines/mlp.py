"""Chains of Linear and row-wise functions: the products of the first layer are shared by all points of a plane.

The first layer of θ(c) is linear in c: (W₀ + Σ cᵢ·Dᵢ)·x + b(c) = U₀ + Σ cᵢ·Uᵢ with U = (W₀x + b₀, D₁x + b₁, …), which
are computed once per plane and chunk. In a perceptron for images this layer holds most of the arithmetic. The layers
behind it are batched products over K points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.engines.tracing import calls, trace
from landscape_cli.compute.network import Network, at_least_float32
from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates, Params, Subspace

# What acts on every row of (B, F) by itself and has no parameters.
_ROW_WISE_MODULES = (
    *(nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Tanhshrink),
    *(nn.Identity, nn.Dropout),
)
_ROW_WISE_FUNCTIONS = frozenset(
    {
        *(F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.softplus, F.softsign),
        *(F.hardtanh, F.hardsigmoid, F.hardswish, F.logsigmoid, F.tanhshrink, F.tanh, F.sigmoid),
        *(torch.tanh, torch.sigmoid),
    }
)
# The same where the dimension is that of the features.
_OVER_DIMENSION_MODULES = (nn.LogSoftmax, nn.Softmax)
_OVER_DIMENSION = frozenset({F.log_softmax, F.softmax, torch.log_softmax, torch.softmax})
_ROW_WISE_METHODS = frozenset({"tanh", "sigmoid"})
# The shared products of all chunks are kept if they fit in here, else made again for every K points.
_SHARED_BYTES = 256 << 20

RowWise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Linear:
    """The names of the parameters of a layer."""

    weight: str
    bias: str | None = None


@dataclass(frozen=True)
class _Chain:
    """``prefix`` without parameters, ``first`` layer, then ``tail``."""

    prefix: nn.Module
    first: _Linear
    tail: tuple[_Linear | RowWise, ...]


class Perceptron:
    """K points of a chain at once.

    Args:
        network: The model and its metrics.
        points_per_call: K.
    """

    def __init__(self, network: Network, points_per_call: int) -> None:
        self._network = network
        self._chain = _chain_of(network.model)
        self._num_points = points_per_call
        self._subspace: Subspace | None = None
        self._coordinates: list[Coordinates] = []
        self._coefficients = torch.empty(0)
        self._tail: dict[str, Tensor] = {}
        self._shared: dict[tuple[str, int, int], Tensor] = {}
        self._shared_bytes = 0

    def move_to(self, subspace: Subspace, coordinates: Sequence[Coordinates]) -> None:
        """Stack the weights behind the first layer; forget the products of another plane."""
        if subspace is not self._subspace:
            self._subspace, self._shared_bytes = subspace, 0
            self._shared.clear()
        elif coordinates == self._coordinates:
            return
        self._coordinates = list(coordinates)
        like = subspace.origin[self._chain.first.weight]
        self._coefficients = torch.tensor(coordinates, dtype=like.dtype).to(like.device).T  # (A, K)
        for layer in self._chain.tail:
            if isinstance(layer, _Linear):
                self._tail[layer.weight] = self._points_of(subspace, layer.weight).transpose(1, 2)  # (K, I, O)
                if layer.bias is not None:
                    self._tail[layer.bias] = self._points_of(subspace, layer.bias).unsqueeze(1)  # (K, 1, O)

    def _points_of(self, subspace: Subspace, name: str) -> Tensor:
        return self._combine([subspace.origin[name], *(direction.get(name) for direction in subspace.directions)])

    def _combine(self, terms: Sequence[Tensor | None]) -> Tensor:  # 1 + A tensors (…) -> (K, …)
        """x₀ + Σ cᵢ·xᵢ for every point; no matrix product, which would round the coordinates in reduced precision."""
        first, *others = terms
        assert first is not None  # the origin has every tensor
        result = first.expand(self._num_points, *first.shape)
        for coefficients, term in zip(self._coefficients, others, strict=True):
            if term is not None:
                result = torch.addcmul(result, coefficients.view(-1, *[1] * first.ndim), term)
        return result if any(term is not None for term in others) else result.clone()

    def sums(self, split: str, chunk: Chunk) -> Tensor:  # (K, M, 2)
        """See `Engine.sums`."""
        shared = self._first_layer(split, chunk)  # (1 + A, B, H)
        hidden = self._combine(list(shared))  # (K, B, H)
        for layer in self._chain.tail:
            if isinstance(layer, _Linear):
                weight = self._tail[layer.weight]
                if layer.bias is None:
                    hidden = torch.bmm(hidden, weight)
                else:
                    hidden = torch.baddbmm(self._tail[layer.bias], hidden, weight)
            else:
                hidden = layer(hidden.flatten(0, 1)).view(*hidden.shape)
        return self._network.sums_of_points(at_least_float32(hidden), chunk.targets, split)

    def _first_layer(self, split: str, chunk: Chunk) -> Tensor:
        key = (split, chunk.start, len(chunk.targets))
        if key in self._shared:
            return self._shared[key]
        assert self._subspace is not None  # move_to comes first
        inputs = self._chain.prefix(chunk.inputs)
        if not isinstance(inputs, Tensor) or inputs.ndim != 2:
            raise UnsupportedError("the first Linear does not get one row per example")
        first = self._chain.first
        origin = self._subspace.origin
        sets = [origin, *self._subspace.directions]
        with torch.autocast(inputs.device.type, enabled=False):  # shared by all points: it may be exact
            products = torch.stack([_product(inputs, each, origin, first) for each in sets])  # (1 + A, B, H)
        if self._shared_bytes + products.nbytes <= _SHARED_BYTES:
            self._shared[key] = products
            self._shared_bytes += products.nbytes
        return products


def _product(inputs: Tensor, params: Params, origin: Params, layer: _Linear) -> Tensor:
    """W·x + b; what ``params`` lacks is zero."""
    bias = params.get(layer.bias) if layer.bias else None
    weight = params.get(layer.weight)
    if weight is not None:
        return F.linear(inputs, weight, bias)
    zeros = inputs.new_zeros(len(inputs), len(origin[layer.weight]))
    return zeros if bias is None else zeros + bias


def mlp(network: Network, points_per_call: int) -> Perceptron:
    """Chains of Linear and row-wise functions, K points at once; the first layer costs next to nothing."""
    return Perceptron(network, points_per_call)


def _chain_of(model: nn.Module) -> _Chain:
    """Read a model as a chain.

    Raises:
        UnsupportedError: It is none.
    """
    graph, modules = trace(model)
    nodes = list(graph.nodes)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    linear = next((i for i, node in enumerate(nodes) if calls(node, modules, (nn.Linear,))), None)
    if linear is None:
        raise UnsupportedError("the model has no Linear layer")
    prefix = _prefix(nodes[:linear], nodes[linear], modules, model)
    layers: list[_Linear | RowWise] = []
    previous = nodes[linear]
    layers.append(_names(modules[str(previous.target)], names))
    for node in nodes[linear + 1 :]:
        if len(previous.users) != 1 or node.all_input_nodes != [previous] or node.args[:1] != (previous,):
            raise UnsupportedError("its layers do not form a chain")
        if node.op == "output":
            first, *tail = layers
            assert isinstance(first, _Linear)
            return _Chain(prefix, first, tuple(tail))
        layers.append(_layer(node, modules, names))
        previous = node
    raise UnsupportedError("the model returns nothing")


def _prefix(before: list[fx.Node], linear: fx.Node, modules: dict[str, nn.Module], model: nn.Module) -> nn.Module:
    """What happens to the input before the first layer, as a module; it must not have weights."""
    if sum(node.op == "placeholder" for node in before) != 1:
        raise UnsupportedError("the model takes more than one input")
    for node in before:
        weights = node.op == "get_attr" or (
            node.op == "call_module" and any(True for _ in modules[str(node.target)].parameters())
        )
        if weights:
            raise UnsupportedError(f"{node.target} comes before the first Linear and has weights")
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in before:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    (features,) = linear.all_input_nodes
    graph.output(copies[features])
    return fx.GraphModule(model, graph)


def _layer(node: fx.Node, modules: dict[str, nn.Module], names: dict[int, str]) -> _Linear | RowWise:
    if calls(node, modules, (nn.Linear,)):
        return _names(modules[str(node.target)], names)
    if (
        calls(node, modules, (nn.ReLU,))
        or (node.op == "call_function" and node.target in (F.relu, torch.relu))
        or (node.op == "call_method" and node.target == "relu")
    ):
        return torch.relu_  # in place: what it gets belongs to this engine
    over_columns = calls(node, modules, _OVER_DIMENSION_MODULES) and (modules[str(node.target)].dim in (1, -1))
    if over_columns or calls(node, modules, _ROW_WISE_MODULES):
        return modules[str(node.target)]
    target, rest, options = node.target, node.args[1:], dict(node.kwargs)
    if node.op == "call_function" and target in _ROW_WISE_FUNCTIONS:
        return lambda hidden: target(hidden, *rest, **options)
    if node.op == "call_function" and target in _OVER_DIMENSION and options.get("dim") in (1, -1) and not rest:
        return lambda hidden: target(hidden, **options)
    if node.op == "call_method" and target in _ROW_WISE_METHODS:
        return lambda hidden: getattr(hidden, str(target))()
    raise UnsupportedError(f"{target} is neither Linear nor a row-wise function")


def _names(layer: nn.Module, names: dict[int, str]) -> _Linear:
    tensors = [tensor for tensor in (layer.weight, layer.bias) if isinstance(tensor, Tensor)]  # bias may be None
    if any(id(tensor) not in names for tensor in tensors):
        raise UnsupportedError("a Linear layer computes its weights")
    return _Linear(*[names[id(tensor)] for tensor in tensors])
