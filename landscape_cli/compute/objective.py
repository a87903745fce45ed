"""The mean loss as a function of the weights: its value, its gradient, and products of its Hessian with vectors."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from landscape_cli.compute.data import call
from landscape_cli.compute.derivatives import Way, is_not_differentiable
from landscape_cli.compute.device import device_errors, settle
from landscape_cli.compute.metrics import PerExample
from landscape_cli.compute.passes import OfPiece, Passes, Piece, failures
from landscape_cli.compute.residency import Split
from landscape_cli.compute.subspace import Params, flatten, norm, parameters_of
from landscape_cli.errors import EvaluationError, NonFiniteError, did_you_mean
from landscape_cli.records import Cost

_SYMMETRIC_TO = {torch.float64: 1e-8, torch.float32: 1e-3}
_SYMMETRIC_TO_BY_DIFFERENCES = 0.05
# of vectors of length 1; measured against exact products: errors of 1e-9 in float64 and 1e-4 in float32
_STEP = {torch.float64: 3e-5, torch.float32: 3e-2}


@dataclass(frozen=True)
class Derivative:
    """A loss, its gradient, and how far the gradient over as many other examples would be from that over all.

    Attributes:
        loss: L(θ).
        gradient: ∇L(θ).
        spread: √(tr Σ / n) with the covariance Σ of the gradients of single examples; NaN where it was not asked for.
        scaled_spread: The same of scale ⊙ g.
    """

    loss: float
    gradient: Params
    spread: float = math.nan
    scaled_spread: float = math.nan


class Objective:
    """The mean loss L(θ) over fixed examples around the weights θ* that a model has now.

    Works on a copy of the model in eval mode: running statistics are constants, dropout is off. Everything is in the
    type of the model, sums over chunks in float64, weighted by their sizes. On a CPU as many threads as torch has now
    share the chunks, which do not depend on the number of threads: neither does the result.

    Args:
        model: Of the type of ``split``, float32 or float64; left as it is. One whose tensors live on several devices
            stays there.
        loss: Per-example loss.
        split: The examples, on the device where everything else happens.
        names: Of the parameters to differentiate by; all floating-point ones by default, a tied tensor once.
        num_examples: Only the first so many; None for all.
        chunk_size: Examples at a time; None for as many as memory and caches like. Halved for good when memory does not
            suffice.
        way: How products with the Hessian are made; auto is by double backward, and by finite differences of gradients
            where an operation has no second derivative.
        weight_decay: λ of λ/2·‖θ‖², which is added to the loss.
        decayed: Names of the parameters in that; by default all of the model.
        keeps_graphs: The graphs of all chunks are kept between products where that takes at most a quarter of the free
            memory, which saves a third of the time; until the weights are moved.
        should_stop: Asked before each chunk.
        on_pass: Told after each pass over the examples.

    Attributes:
        params: θ* by name, in the order of `names`.
        device: Where the examples are, and where flat vectors belong.
        cost: Passes over the examples so far.
        way: How products are made.

    Raises:
        EvaluationError: There is no such parameter, or none at all.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: PerExample,
        split: Split,
        *,
        names: Sequence[str] | None = None,
        num_examples: int | None = None,
        chunk_size: int | None = None,
        way: Way | Literal["auto"] = "double_backward",
        weight_decay: float = 0.0,
        decayed: Collection[str] | None = None,
        keeps_graphs: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        on_pass: Callable[[], None] = lambda: None,
    ) -> None:
        with torch.inference_mode(mode=False):
            copied = settle(copy.deepcopy(model), split.device).eval().requires_grad_(requires_grad=False)
        known = parameters_of(copied)
        for name in names or ():
            if name not in known:
                raise EvaluationError(f"curvature: the model has no parameter {name!r}{did_you_mean(name, known)}")
        chosen = tuple(known if names is None else names)
        if not chosen:
            raise EvaluationError("curvature: no parameters; expected at least one to differentiate the loss by")
        self.params: Params = {name: known[name].clone() for name in chosen}
        self._model = copied
        if isinstance(loss, nn.Module):  # may hold weights of classes, in the type of the scan
            loss = copy.deepcopy(loss).to(split.device, split.dtype).requires_grad_(requires_grad=False)
        self._loss, self._on_pass = loss, on_pass
        self.device = split.device
        self.num_examples = len(split) if num_examples is None else min(num_examples, len(split))
        self._passes = Passes(
            copied,
            chosen,
            split,
            num_examples=self.num_examples,
            chunk_size=chunk_size,
            trial=lambda piece: piece.replica.gradients(self._summed_loss(piece), create_graph=True),
            should_stop=should_stop,
            release=self._go_without_graphs,
        )
        self._may_fall_back = way == "auto"
        self.way: Way = "double_backward" if way == "auto" else way
        self._offset: Params | None = None
        self._weight_decay = weight_decay
        self._decayed = frozenset(known if decayed is None else decayed)
        self._keeps_graphs = keeps_graphs
        self._graphs: dict[int, Sequence[Tensor]] = {}
        self.cost = Cost()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters that the loss is differentiated by."""
        return tuple(self.params)

    @property
    def size(self) -> int:
        """The number of these parameters."""
        return sum(tensor.numel() for tensor in self.params.values())

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(iter(self.params.values())).dtype

    @property
    def is_exact(self) -> bool:
        """Whether products are exact, not differences of gradients."""
        return self.way != "finite_difference"

    @property
    def method(self) -> str:
        """How products are made, in words."""
        return {"finite_difference": "finite differences"}.get(self.way, self.way.replace("_", " "))

    @property
    def bytes_per_vector(self) -> int:
        """What each of several products that are made together takes: its sum, and its parts in every thread."""
        return self.size * (8 + self.dtype.itemsize * 2 * (self._passes.num_threads + 1))

    @property
    def chunk_size(self) -> int:
        """Examples at a time."""
        return self._passes.chunk_size

    @property
    def symmetric_to(self) -> float:
        """How far products may contradict each other by rounding, relative to the largest eigenvalue."""
        return _SYMMETRIC_TO[self.dtype] if self.is_exact else _SYMMETRIC_TO_BY_DIFFERENCES

    @property
    def is_at_checkpoint(self) -> bool:
        """Whether the weights are θ*."""
        return self._offset is None

    def flat(self, params: Params) -> Tensor:
        """A tensor for each of `names` as (size,) on the device, wherever the parameters live."""
        return flatten({name: params[name].to(self.device) for name in self.names}, self.names)

    # ------------------------------------------------------------ where

    def move(self, offset: Params | None) -> None:
        """Go to θ* + offset, or with None back to θ*; gradients and products are those of there."""
        self.release()
        self._offset = offset
        with torch.no_grad():
            for (name, origin), live in zip(self.params.items(), self._passes.live, strict=True):
                live.copy_(origin if offset is None else origin + offset[name].to(origin))

    @contextlib.contextmanager
    def moved(self, offset: Params) -> Iterator[None]:
        """Be at θ* + offset for a while."""
        self.move(offset)
        try:
            yield
        finally:
            self.move(None)

    def place(self, params: Params, statistics: Params | None = None) -> None:
        """Take other weights as θ*, and other running statistics."""
        self.release()
        live = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        with torch.no_grad():
            for name, tensor in {**params, **(statistics or {})}.items():
                live[name].copy_(tensor)
        self.params = {name: live[name].detach().clone() for name in self.params}

    @contextlib.contextmanager
    def recalibrated(self, recalibrate: Callable[[nn.Module], None]) -> Iterator[None]:
        """Have other running statistics for a while: those that ``recalibrate`` gives the model."""
        self.release()
        before = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        try:
            with torch.no_grad():
                recalibrate(self._model)
            yield
        finally:
            self.release()
            with torch.no_grad():
                for buffer, values in before:
                    buffer.copy_(values)

    def release(self) -> None:
        """Give back the memory of the graphs that are kept."""
        self._graphs.clear()

    def close(self) -> None:
        """Give back graphs and threads."""
        self.release()
        self._passes.close()

    def use_differences(self) -> None:
        """Make products by finite differences from now on."""
        self.release()
        self.way = "finite_difference"

    def _go_without_graphs(self) -> None:
        self.release()
        self._keeps_graphs = False

    # ------------------------------------------------------------ what

    def loss(self) -> float:
        """L(θ), weight decay included.

        Raises:
            EvaluationError: The model or the loss fails, or the result is not finite; so below.
            StoppedError: Stopped; so below.
        """

        def value(piece: Piece) -> Sequence[Tensor]:
            return [self._summed_loss(piece)]

        with torch.no_grad():
            (mean,) = self._mean("the loss", ["its mean"], [torch.zeros((), device=self.device)], value)
        self._count(losses=1)
        return float(mean) + self._decay_loss()

    def gradient(self) -> Params:
        """∇L(θ) on the device; zeros for a parameter that the loss does not depend on."""
        return self.derivative().gradient

    def derivative(self, num_parts: int = 1, *, with_spread: bool = False, scale: Params | None = None) -> Derivative:
        """L(θ) and ∇L(θ) in one pass; with the spread it takes a second backward pass, and counts as two gradients.

        For random signs s the mean of ‖Σ s_i g_i‖² is Σ ‖g_i‖², whatever the order of the examples; each chunk gives
        one such square, and tr Σ = (Σ ‖g_i‖² − n ‖g‖²) / (n − 1).

        Args:
            num_parts: The least number of chunks.
            with_spread: Find out how far the gradients of single examples are apart.
            scale: For the scaled spread.
        """
        found = self._derivative(num_parts, with_spread, scale)
        self._count(gradients=2 if with_spread else 1)
        return found

    def hvp(self, vector: Params) -> Params:
        """∇²L(θ)·v, on the device; see `hvps`."""
        return self.hvps([vector])[0]

    def hvps(self, vectors: Sequence[Params]) -> list[Params]:
        """∇²L(θ)·v of several vectors, which share the forward passes and the gradients.

        Args:
            vectors: A tensor for each of `names`, each.

        Returns:
            The products, in the type of the parameters.
        """
        along = [[v[name].to(parameter) for name, parameter in self.params.items()] for v in vectors]
        found = self._products(along)
        self._count(products=len(vectors))
        named = (dict(zip(self.names, each, strict=True)) for each in along)
        return [self._with_decay(product, v) for product, v in zip(found, named, strict=True)]

    def sums(self, what: str, like: Sequence[Tensor], derivative: OfPiece) -> list[Tensor]:
        """Σ over the chunks of what ``derivative`` makes of each, float64; counts as a gradient.

        Args:
            what: For messages.
            like: Of the shapes of the result.
            derivative: From a `Piece` to one tensor for each of ``like``.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            means = self._mean(what, [what] * len(like), like, derivative)
        self._count(gradients=1)
        return [mean * self.num_examples for mean in means]

    def outputs(self, piece: Piece) -> Tensor:
        """What the model gives for a chunk, (k, …)."""
        with failures(f"{piece.where}: evaluating model", "Check that model and data fit together."):
            return cast(Tensor, call(piece.replica.model, piece.inputs))

    def losses(self, piece: Piece, outputs: Tensor) -> Tensor:
        """The loss of every example of a chunk, (k,)."""
        return self._per_example(outputs, piece.targets, piece.where)

    # ------------------------------------------------------------ how

    def _products(self, along: Sequence[Sequence[Tensor]]) -> list[Params]:
        if self.way != "finite_difference":
            try:
                return self._exact_products(along)
            except EvaluationError as error:
                if not self._may_fall_back or error.__cause__ is None or not is_not_differentiable(error.__cause__):
                    raise
                self.use_differences()
        return [self._difference(dict(zip(self.names, each, strict=True))) for each in along]

    def _exact_products(self, along: Sequence[Sequence[Tensor]]) -> list[Params]:
        count = len(along)

        def double_backward(piece: Piece) -> Sequence[Tensor]:
            gradients = self._graphs.get(piece.start)
            if gradients is None:
                gradients = piece.replica.gradients(self._summed_loss(piece), create_graph=True)
            if keeps:
                self._graphs[piece.start] = gradients
            parts: list[Tensor] = []
            for number, vector in enumerate(along):
                keep = keeps or number < count - 1
                parts += piece.replica.double_backward(gradients, vector, keep=keep)
            return parts

        def forward_over_reverse(piece: Piece) -> Sequence[Tensor]:
            def loss(model: Callable[..., object]) -> Tensor:
                outputs = cast(Tensor, call(model, piece.inputs))
                return self._losses_of(outputs, piece.targets, piece.where).sum()

            return [part.to(self.dtype) for v in along for part in piece.replica.forward_over_reverse(loss, v)]

        keeps = self._keeps_graphs and self.way == "double_backward" and (bool(self._graphs) or self._passes.all_fit())
        derivative = double_backward if self.way == "double_backward" else forward_over_reverse
        with torch.inference_mode(mode=False), torch.enable_grad():
            like = list(self.params.values()) * count
            means = self._mean("the Hessian-vector product", self.names * count, like, derivative)
        step = len(self.params)
        return [self._typed(means[i * step : (i + 1) * step]) for i in range(count)]

    def _difference(self, vector: Params) -> Params:
        """(g(θ + hv) − g(θ − hv)) / 2h, with a step of fixed length."""
        length = norm(vector)
        if not length:
            return {name: torch.zeros_like(tensor) for name, tensor in vector.items()}
        start = self._offset
        step = _STEP[self.dtype] / length
        decay, self._weight_decay = self._weight_decay, 0.0  # it is added exactly
        try:
            ends = []
            for sign in (1.0, -1.0):
                self.move({n: sign * step * v + (0.0 if start is None else start[n].to(v)) for n, v in vector.items()})
                ends.append(self._derivative(1, False, None).gradient)
            return {name: (ends[0][name] - ends[1][name]) / (2 * step) for name in self.params}
        finally:
            self._weight_decay = decay
            self.move(start)

    def _derivative(self, num_parts: int, with_spread: bool, scale: Params | None) -> Derivative:
        scales = {name: torch.ones_like(p) for name, p in self.params.items()} if scale is None else scale

        def parts(piece: Piece) -> Sequence[Tensor]:
            losses = self._losses(piece)
            total = losses.sum()
            found = piece.replica.gradients(total, keep=with_spread)
            if not with_spread:
                return [*found, total]
            signed = piece.replica.gradients((_signs(piece).to(losses.device) * losses).sum())
            scaled = [g * scales[name].to(g) for name, g in zip(self.names, signed, strict=True)]
            return [*found, total, self._square(signed), self._square(scaled)]

        zero = torch.zeros((), device=self.device)
        beside = ["its loss", *["its length"] * 2 * with_spread]
        size = math.ceil(self.num_examples / num_parts)
        with torch.inference_mode(mode=False), torch.enable_grad():
            like = [*self.params.values(), *[zero] * len(beside)]
            means = self._mean("the gradient", [*self.names, *beside], like, parts, size)
        plain, (loss, *squares) = means[: len(self.params)], means[len(self.params) :]
        gradient = self._typed(plain)
        if self._weight_decay:
            gradient = self._with_decay(gradient, self._position())
        spreads = [math.nan, math.nan]
        if with_spread and self.num_examples > 1:
            mean = dict(zip(self.names, plain, strict=True))
            scaled_mean = {name: g * scales[name].to(g) for name, g in mean.items()}
            between = [float(s) - norm(m) ** 2 for s, m in zip(squares, (mean, scaled_mean), strict=True)]
            spreads = [math.sqrt(max(0.0, each) / (self.num_examples - 1)) for each in between]
        return Derivative(float(loss) + self._decay_loss(), gradient, *spreads)

    def _square(self, gradients: Sequence[Tensor]) -> Tensor:
        return torch.stack([g.double().square().sum().to(self.device) for g in gradients]).sum()

    def count_replayed(self, *, is_exact: bool) -> None:
        """Count a product that an earlier run has made; where that was by differences, so are those to come."""
        if not is_exact and self._may_fall_back:
            self.way = "finite_difference"
        self._count(products=1)

    def _count(self, *, losses: int = 0, gradients: int = 0, products: int = 0) -> None:
        self.cost += Cost(losses, gradients, products)
        self._on_pass()

    def _position(self) -> Params:
        return {name: tensor.detach().clone() for name, tensor in zip(self.names, self._passes.live, strict=True)}

    def _decay_loss(self) -> float:
        if not self._weight_decay:
            return 0.0
        decayed = {name: p for name, p in parameters_of(self._model).items() if name in self._decayed}
        return 0.5 * self._weight_decay * norm(decayed) ** 2

    def _with_decay(self, product: Params, vector: Params) -> Params:
        """Add λ·v, the gradient at v, and the product with v, of λ/2·‖θ‖²."""
        if not self._weight_decay:
            return product
        return {
            name: tensor + self._weight_decay * vector[name] if name in self._decayed else tensor
            for name, tensor in product.items()
        }

    def _typed(self, means: Sequence[Tensor]) -> Params:
        return {name: mean.to(tensor.dtype) for (name, tensor), mean in zip(self.params.items(), means, strict=True)}

    def _mean(
        self,
        what: str,
        names: Sequence[str],
        like: Sequence[Tensor],
        derivative: OfPiece,
        chunk_size: int | None = None,
    ) -> list[Tensor]:
        totals = self._passes.sum(what, like, derivative, chunk_size)
        with device_errors(f"curvature: {what}"):
            finite = torch.stack([total.isfinite().all().to(self.device) for total in totals]).tolist()
        wrong = [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]
        if wrong:
            raise NonFiniteError(
                f"curvature: {what} over {self.num_examples} examples is NaN or infinite in {', '.join(wrong[:4])}; "
                "expected finite values",
                hint="Look for NaN in data and weights, and for operations without a derivative there, as sqrt at 0.",
            )
        return [total / self.num_examples for total in totals]

    # ------------------------------------------------------------ the loss of a chunk

    def _summed_loss(self, piece: Piece) -> Tensor:
        return self._losses(piece).sum()

    def _losses(self, piece: Piece) -> Tensor:
        """Of every example of a chunk, (k,) float64."""
        with failures(f"{piece.where}: evaluating model and loss", "Check that model, loss and data fit together."):
            outputs = cast(Tensor, call(piece.replica.model, piece.inputs))
            return self._losses_of(outputs, piece.targets, piece.where)

    def _losses_of(self, outputs: Tensor, targets: Tensor, where: str) -> Tensor:
        values = self._per_example(outputs, targets, where)
        if torch.is_grad_enabled() and not values.requires_grad and self.way == "double_backward":
            raise EvaluationError(
                f"{where}: the loss has no gradient; expected it to depend on {', '.join(self.names[:4])} "
                "by operations that torch differentiates",
                hint="Take a differentiable loss such as cross_entropy, and no model that works under torch.no_grad.",
            )
        return values.double()

    def _per_example(self, outputs: Tensor, targets: Tensor, where: str) -> Tensor:
        values: object = self._loss(outputs, targets.to(outputs.device))
        if not isinstance(values, Tensor) or values.shape != targets.shape[:1]:
            found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise EvaluationError(
                f"{where}: the loss returned {found}; expected one value per example, shape ({len(targets)},)"
            )
        return values


def _signs(piece: Piece) -> Tensor:
    """A random sign for every example of a chunk, (k,) float64 on the CPU, always the same."""
    generator = np.random.Generator(np.random.Philox(key=piece.start))
    signs = generator.integers(0, 2, len(piece.targets)) * 2.0 - 1.0
    return torch.from_numpy(signs)
