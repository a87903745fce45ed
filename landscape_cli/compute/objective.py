"""The mean loss as a function of the weights: its value, its gradient, and products of its Hessian with vectors."""

from __future__ import annotations

import contextlib
import copy
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from landscape_cli.compute.data import Inputs, call, tensors_of
from landscape_cli.compute.derivatives import (
    Replica,
    Way,
    bytes_saved,
    is_not_differentiable,
    twice_differentiable,
)
from landscape_cli.compute.device import OUT_OF_MEMORY, device_errors, is_out_of_memory, settle
from landscape_cli.compute.memory import free_bytes
from landscape_cli.compute.metrics import PerExample
from landscape_cli.compute.residency import Split
from landscape_cli.compute.subspace import Params, flatten, norm, parameters_of
from landscape_cli.errors import EvaluationError, did_you_mean
from landscape_cli.records import Cost

_NOT_DIFFERENTIABLE = (
    "Expected what torch differentiates twice: no compiled modules, no reentrant checkpoints, no functions of your own "
    "with a first derivative only."
)
# What autograd keeps of a chunk. ResNet-20 on a CPU, ms per example and product: 2.6 at 150 MB, 2.9 at 300 MB, 4.5 at
# 2 GB, because of caches; a GPU wants many examples.
_BYTES_PER_CHUNK = {"cpu": 1 << 27, "cuda": 1 << 31}
_LARGEST_CHUNK = 1024
# Threads on a CPU share the chunks: their number must not depend on that of the cores, on which no bit may depend.
_FEWEST_CHUNKS, _SMALLEST_CHUNK = 8, 8
_SHARE_OF_FREE_MEMORY = 0.25
# of vectors of length 1; measured against exact products: errors of 1e-9 in float64 and 1e-4 in float32
_STEP = {torch.float64: 3e-5, torch.float32: 3e-2}


class NonFiniteError(EvaluationError):
    """A mean over the examples is NaN or infinite."""


class StoppedError(Exception):
    """Somebody has asked to stop in the middle of a pass over the data; not an error of the user's."""


@dataclass(frozen=True)
class Piece:
    """A chunk of the data and a replica of the model to evaluate it with.

    Attributes:
        start: Index of the first example.
        inputs: Of the chunk, on the device.
        targets: (k, …).
        replica: Whose thread nobody else uses.
        where: For messages.
    """

    start: int
    inputs: Inputs
    targets: Tensor
    replica: Replica
    where: str


@dataclass(frozen=True)
class Derivative:
    """A loss, its gradient, and the sampling error √(tr Σ / n) of the gradient; NaN for a single part of the data."""

    loss: float
    gradient: Params
    spread: float


# of the chunk: one tensor for each that is averaged
_Derivative = Callable[[Piece], Sequence[Tensor]]


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
        self._replicas = [Replica(copied, chosen)]
        if isinstance(loss, nn.Module):  # may hold weights of classes, in the type of the scan
            loss = copy.deepcopy(loss).to(split.device, split.dtype).requires_grad_(requires_grad=False)
        self._loss, self._split, self._should_stop, self._on_pass = loss, split, should_stop, on_pass
        self.device = split.device
        self.num_examples = len(split) if num_examples is None else min(num_examples, len(split))
        self._chunk_size = None if chunk_size is None else min(chunk_size, self.num_examples)
        self._may_fall_back = way == "auto"
        self.way: Way = "double_backward" if way == "auto" else way
        self._offset: Params | None = None
        self._weight_decay = weight_decay
        self._decayed = frozenset(known if decayed is None else decayed)
        self._keeps_graphs = keeps_graphs
        self._graphs: dict[int, Sequence[Tensor]] = {}
        self._num_threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self._threads: list[ThreadPoolExecutor] = []
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
        return self.size * (8 + self.dtype.itemsize * 2 * (self._num_threads + 1))

    def flat(self, params: Params) -> Tensor:
        """A tensor for each of `names` as (size,) on the device, wherever the parameters live."""
        return flatten({name: params[name].to(self.device) for name in self.names}, self.names)

    # ------------------------------------------------------------ where

    def move(self, offset: Params | None) -> None:
        """Go to θ* + offset, or with None back to θ*; gradients and products are those of there."""
        self.release()
        self._offset = offset
        with torch.no_grad():
            for (name, origin), live in zip(self.params.items(), self._replicas[0].live, strict=True):
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

    def derivative(self, num_parts: int = 1, scale: Params | None = None) -> Derivative:
        """L(θ) and ∇L(θ) in one pass, and how far the gradient over so many other examples would be from it.

        The last is √(tr Σ / n) with the covariance Σ of the gradients of single examples, estimated from parts of the
        data: E Σ_p b_p ‖g_p − g‖² = (C − 1) tr Σ for the means g_p of C parts of b_p examples.

        Args:
            num_parts: The least number of parts; chunks are parts.
            scale: Lengths are those of scale ⊙ g.
        """
        found = self._derivative(num_parts, scale)
        self._count(gradients=1)
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

    def sums(self, what: str, like: Sequence[Tensor], derivative: _Derivative) -> list[Tensor]:
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
        with _failures(f"{piece.where}: evaluating model", "Check that model and data fit together."):
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
                self.release()
                self.way = "finite_difference"
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
                return self._loss_of(cast(Tensor, call(model, piece.inputs)), piece.targets, piece.where)

            return [part.to(self.dtype) for v in along for part in piece.replica.forward_over_reverse(loss, v)]

        keeps = self.way == "double_backward" and self._keeps_graphs and self._graphs_fit()
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
                ends.append(self._derivative(1, None).gradient)
            return {name: (ends[0][name] - ends[1][name]) / (2 * step) for name in self.params}
        finally:
            self._weight_decay = decay
            self.move(start)

    def _derivative(self, num_parts: int, scale: Params | None) -> Derivative:
        def parts(piece: Piece) -> Sequence[Tensor]:
            loss = self._summed_loss(piece)
            found = piece.replica.gradients(loss)
            weighted = [g if scale is None else g * scale[n].to(g) for n, g in zip(self.names, found, strict=True)]
            length = torch.stack([w.double().square().sum().to(self.device) for w in weighted]).sum()
            return [*found, loss, length / len(piece.targets), torch.ones_like(length)]

        size = min(self.chunk_size, math.ceil(self.num_examples / num_parts))
        zero = torch.zeros((), device=self.device)
        with torch.inference_mode(mode=False), torch.enable_grad():
            names, like = [*self.names, "its loss", *["its length"] * 2], [*self.params.values(), *[zero] * 3]
            *means, loss, squares, share = self._mean("the gradient", names, like, parts, size)
        mean = dict(zip(self.names, means, strict=True))
        scaled = mean if scale is None else {name: g * scale[name].to(g) for name, g in mean.items()}
        between = float(squares) - norm(scaled) ** 2
        degrees = round(float(share) * self.num_examples) - 1  # the parts are smaller where memory did not suffice
        spread = math.sqrt(max(0.0, between) / degrees) if degrees else math.nan
        gradient = self._typed(means)
        if self._weight_decay:
            gradient = self._with_decay(gradient, self._position())
        return Derivative(float(loss) + self._decay_loss(), gradient, spread)

    def count_replayed(self, *, is_exact: bool) -> None:
        """Count a product that an earlier run has made; where that was by differences, so are those to come."""
        if not is_exact and self._may_fall_back:
            self.way = "finite_difference"
        self._count(products=1)

    def _count(self, *, losses: int = 0, gradients: int = 0, products: int = 0) -> None:
        self.cost += Cost(losses, gradients, products)
        self._on_pass()

    def _position(self) -> Params:
        live = self._replicas[0].live
        return {name: tensor.detach().clone() for name, tensor in zip(self.names, live, strict=True)}

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
        derivative: _Derivative,
        chunk_size: int | None = None,
    ) -> list[Tensor]:
        totals = self._sum_within_memory(what, like, derivative, chunk_size)
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

    def _sum_within_memory(
        self, what: str, like: Sequence[Tensor], derivative: _Derivative, chunk_size: int | None
    ) -> list[Tensor]:
        try:
            return self._sum(what, like, derivative, chunk_size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if min(chunk_size or self.chunk_size, self.chunk_size) == 1:
                message = f"curvature: {what}: out of memory with one example at a time"
                raise EvaluationError(message, hint=OUT_OF_MEMORY) from error
        # behind the except block: until then the error keeps the tensors of its frames alive
        self.release()
        self._keeps_graphs = False
        self._chunk_size = min(chunk_size or self.chunk_size, self.chunk_size) // 2
        torch.cuda.empty_cache()
        return self._sum_within_memory(what, like, derivative, None)

    def _sum(self, what: str, like: Sequence[Tensor], derivative: _Derivative, chunk_size: int | None) -> list[Tensor]:
        totals = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in like]
        with twice_differentiable(self._model, self.device):
            size = min(chunk_size or self.num_examples, self.chunk_size)
            for parts in self._over_chunks(what, derivative, size):
                for total, part in zip(totals, parts, strict=True):
                    total.add_(part.detach().to(total.device))
        return totals

    def _over_chunks(self, what: str, derivative: _Derivative, size: int) -> Iterator[Sequence[Tensor]]:
        """What ``derivative`` makes of each chunk, in order."""

        def differentiate(piece: Piece) -> Sequence[Tensor]:
            with _failures(f"{piece.where}: differentiating", _NOT_DIFFERENTIABLE):
                return derivative(piece)

        num_threads = min(self._num_threads, math.ceil(self.num_examples / size))
        if num_threads < 2:
            with _single_threaded(self.device):
                for chunk in self._chunks(size):
                    yield differentiate(self._piece(what, chunk, self._replicas[0]))
            return
        has_grad = torch.is_grad_enabled()

        def in_thread(piece: Piece) -> Sequence[Tensor]:
            torch.set_num_threads(1)
            with torch.set_grad_enabled(has_grad), torch.inference_mode(mode=False):
                return differentiate(piece)

        while len(self._threads) < num_threads:
            self._threads.append(ThreadPoolExecutor(1, "curvature"))
        ahead: deque[Future[Sequence[Tensor]]] = deque()
        with _single_threaded(self.device):
            try:
                for number, chunk in enumerate(self._chunks(size)):
                    piece = self._piece(what, chunk, self._replica(number, num_threads))
                    ahead.append(self._threads[number % num_threads].submit(in_thread, piece))
                    if len(ahead) > num_threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()
                for future in ahead:
                    if not future.cancelled():
                        future.exception()  # wait: nobody may move the weights under it

    def _replica(self, number: int, num_threads: int) -> Replica:
        """The replica for a chunk: always the same one, because its graph may be kept."""
        index = number % num_threads
        while len(self._replicas) <= index:
            self._replicas.append(self._replicas[0].another())
        return self._replicas[index]

    def _piece(self, what: str, chunk: tuple[int, Inputs, Tensor], replica: Replica) -> Piece:
        if self._should_stop():
            raise StoppedError
        start, inputs, targets = chunk
        where = f"curvature: {what} over the examples {start} to {start + len(targets) - 1}"
        return Piece(start, inputs, targets, replica, where)

    def _chunks(self, size: int) -> Iterator[tuple[int, Inputs, Tensor]]:
        with contextlib.closing(self._split.chunks(size)) as chunks:
            for chunk in chunks:
                num_left = self.num_examples - chunk.start
                columns = [column[:num_left] for column in (*tensors_of(chunk.inputs), chunk.targets)]
                yield chunk.start, *self._split.batches.like(columns)
                if num_left <= len(chunk):
                    return

    # ------------------------------------------------------------ how much at a time

    @property
    def chunk_size(self) -> int:
        """Examples at a time."""
        if self._chunk_size is None:
            self._chunk_size = self._size_of_chunks()
        return self._chunk_size

    def _size_of_chunks(self) -> int:
        free = free_bytes(self.device)
        wanted = _BYTES_PER_CHUNK.get(self.device.type, _BYTES_PER_CHUNK["cuda"])
        if free is not None:
            wanted = min(wanted, int(_SHARE_OF_FREE_MEMORY * free / self._num_threads))
        fitting = max(1, int(wanted / max(1.0, self._bytes_per_example)))
        balanced = max(_SMALLEST_CHUNK, math.ceil(self.num_examples / _FEWEST_CHUNKS))
        most = min(balanced, _LARGEST_CHUNK) if self.device.type == "cpu" else _LARGEST_CHUNK
        return max(1, min(fitting, most, self.num_examples))

    @property
    def _bytes_per_example(self) -> float:
        """What autograd keeps of an example for a product."""
        if self._measured_bytes is None:
            self._measured_bytes = self._measure_bytes()
        return self._measured_bytes

    _measured_bytes: float | None = None

    def _measure_bytes(self) -> float:
        with contextlib.closing(self._split.chunks(min(2, self.num_examples))) as chunks:
            chunk = next(chunks)
        piece = Piece(0, chunk.inputs, chunk.targets, self._replicas[0], "curvature: the first examples")
        with contextlib.suppress(EvaluationError, RuntimeError):  # the pass itself will say what is wrong
            with (
                twice_differentiable(self._model, self.device),
                torch.inference_mode(mode=False),
                torch.enable_grad(),
            ):
                own = sum(p.nbytes for p in self._model.parameters())
                run = bytes_saved(lambda: piece.replica.gradients(self._summed_loss(piece), create_graph=True))
            return max(0, run - own) / len(chunk.targets)
        return 0.0

    def _graphs_fit(self) -> bool:
        free = free_bytes(self.device)
        if self._graphs or free is None:
            return bool(self._graphs)
        return self._bytes_per_example * self.num_examples <= _SHARE_OF_FREE_MEMORY * free

    # ------------------------------------------------------------ the loss of a chunk

    def _summed_loss(self, piece: Piece) -> Tensor:
        doing = f"{piece.where}: evaluating model and loss"
        with _failures(doing, "Check that model, loss and data fit together."):
            outputs = cast(Tensor, call(piece.replica.model, piece.inputs))
            return self._loss_of(outputs, piece.targets, piece.where)

    def _loss_of(self, outputs: Tensor, targets: Tensor, where: str) -> Tensor:
        values = self._per_example(outputs, targets, where)
        if torch.is_grad_enabled() and not values.requires_grad and self.way == "double_backward":
            raise EvaluationError(
                f"{where}: the loss has no gradient; expected it to depend on {', '.join(self.names[:4])} "
                "by operations that torch differentiates",
                hint="Take a differentiable loss such as cross_entropy, and no model that works under torch.no_grad.",
            )
        return values.double().sum()

    def _per_example(self, outputs: Tensor, targets: Tensor, where: str) -> Tensor:
        values: object = self._loss(outputs, targets.to(outputs.device))
        if not isinstance(values, Tensor) or values.shape != targets.shape[:1]:
            found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise EvaluationError(
                f"{where}: the loss returned {found}; expected one value per example, shape ({len(targets)},)"
            )
        return values


@contextlib.contextmanager
def _single_threaded(device: torch.device) -> Iterator[None]:
    """Every operation on a CPU in one thread: sums that several share are rounded otherwise."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _failures(doing: str, hint: str) -> Iterator[None]:
    try:
        yield
    except (EvaluationError, StoppedError):
        raise
    except Exception as error:  # the user's model may raise anything
        if is_out_of_memory(error):
            raise
        raise EvaluationError(f"{doing} raised {type(error).__name__}: {error}", hint=hint) from error
