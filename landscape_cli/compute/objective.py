"""The mean loss as a function of the weights: gradient and Hessian-vector products."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.compute.data import Inputs, call, tensors_of
from landscape_cli.compute.device import OUT_OF_MEMORY, device_errors, is_out_of_memory
from landscape_cli.compute.metrics import PerExample
from landscape_cli.compute.precision import arithmetic
from landscape_cli.compute.residency import Split
from landscape_cli.compute.subspace import Params, parameters_of
from landscape_cli.errors import EvaluationError, did_you_mean

_NOT_DIFFERENTIABLE = (
    "Expected what torch differentiates twice: no compiled modules, no reentrant checkpoints, no functions of your own "
    "with a first derivative only."
)
# of the summed loss of a chunk: one tensor for each that is averaged
_Derivative = Callable[[Tensor], Sequence[Tensor]]


class Objective:
    """The mean loss L(θ) over fixed examples around the weights θ* that a model has now.

    Works on a copy of the model in eval mode: running statistics are constants, dropout is off. Everything is in the
    type of the model, sums over chunks in float64; the chunks decide nothing but the rounding.

    Args:
        model: Of the type of ``split``, float32 or float64; left as it is.
        loss: Per-example loss.
        split: The examples, on the device where everything happens.
        names: Of the parameters to differentiate by; all floating-point ones by default, a tied tensor once.
        num_examples: Only the first so many; None for all.
        chunk_size: Examples at a time. Halved for good when memory does not suffice.

    Attributes:
        params: θ* by name, in the order of `names`.
        device: Where they are, and the results will be.

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
        chunk_size: int = 256,
    ) -> None:
        with torch.inference_mode(mode=False):
            self._model = copy.deepcopy(model).to(split.device).eval().requires_grad_(requires_grad=False)
        known = parameters_of(self._model)
        for name in names or ():
            if name not in known:
                raise EvaluationError(f"curvature: the model has no parameter {name!r}{did_you_mean(name, known)}")
        self.params: Params = {name: known[name] for name in (known if names is None else names)}
        if not self.params:
            raise EvaluationError("curvature: no parameters; expected at least one to differentiate the loss by")
        live = dict(self._model.named_parameters())
        self._live = [live[name].requires_grad_() for name in self.params]
        self._loss, self._split = loss, split
        self.device = split.device
        self.num_examples = len(split) if num_examples is None else min(num_examples, len(split))
        self.chunk_size = min(chunk_size, self.num_examples)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters that the loss is differentiated by."""
        return tuple(self.params)

    def loss(self) -> float:
        """L(θ*).

        Raises:
            EvaluationError: The model or the loss fails, or the result is not finite; so below.
        """
        with torch.no_grad():
            (mean,) = self._mean("the loss", ["its mean"], [torch.zeros((), device=self.device)], lambda loss: [loss])
        return float(mean)

    def gradient(self) -> Params:
        """∇L(θ*) on the device; zeros for a parameter that the loss does not depend on."""
        return self._by_name("the gradient", self._gradients)

    def hvp(self, vector: Params) -> Params:
        """∇²L(θ*)·v = ∇(∇L(θ)ᵀv) at θ*, on the device (Pearlmutter 1994, Neural Computation 6(1); by double backward).

        Args:
            vector: v, a tensor for each of `names`.
        """
        along = [vector[name].to(parameter) for name, parameter in self.params.items()]

        def product(loss: Tensor) -> Sequence[Tensor]:
            gradients = self._gradients(loss, create_graph=True)
            # a part of the gradient that is constant has no graph, and no part in the Hessian
            pairs = [(g, v) for g, v in zip(gradients, along, strict=True) if g.requires_grad]
            try:
                if pairs:  # not autograd.grad: it leaves out, silently, functions that are differentiable only once
                    torch.autograd.backward([g for g, _ in pairs], [v for _, v in pairs])
                return [torch.zeros_like(p) if p.grad is None else p.grad for p in self._live]
            finally:
                for parameter in self._live:
                    parameter.grad = None

        return self._by_name("the Hessian-vector product", product)

    def _gradients(self, loss: Tensor, *, create_graph: bool = False) -> Sequence[Tensor]:
        return torch.autograd.grad(loss, self._live, create_graph=create_graph, materialize_grads=True)

    def _by_name(self, what: str, derivative: _Derivative) -> Params:
        with torch.inference_mode(mode=False), torch.enable_grad():
            means = self._mean(what, self.names, list(self.params.values()), derivative)
        return {name: mean.to(tensor.dtype) for (name, tensor), mean in zip(self.params.items(), means, strict=True)}

    def _mean(self, what: str, names: Sequence[str], like: Sequence[Tensor], derivative: _Derivative) -> list[Tensor]:
        totals = self._sum_within_memory(what, like, derivative)
        with device_errors(f"curvature: {what}"):
            finite = torch.stack([total.isfinite().all() for total in totals]).tolist()
        wrong = [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]
        if wrong:
            raise EvaluationError(
                f"curvature: {what} over {self.num_examples} examples is NaN or infinite in {', '.join(wrong[:4])}; "
                "expected finite values",
                hint="Look for NaN in data and weights, and for operations without a derivative there, as sqrt at 0.",
            )
        return [total / self.num_examples for total in totals]

    def _sum_within_memory(self, what: str, like: Sequence[Tensor], derivative: _Derivative) -> list[Tensor]:
        try:
            return self._sum(what, like, derivative)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if self.chunk_size == 1:
                message = f"curvature: {what}: out of memory with one example at a time"
                raise EvaluationError(message, hint=OUT_OF_MEMORY) from error
        # behind the except block: until then the error keeps the tensors of its frames alive
        self.chunk_size //= 2
        torch.cuda.empty_cache()
        return self._sum_within_memory(what, like, derivative)

    def _sum(self, what: str, like: Sequence[Tensor], derivative: _Derivative) -> list[Tensor]:
        totals = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in like]
        with _twice_differentiable(self._model, self.device):
            for start, inputs, targets in self._chunks():
                where = f"curvature: {what} over the examples {start} to {start + len(targets) - 1}"
                loss = self._summed_loss(inputs, targets, where)
                with _failures(f"{where}: differentiating", _NOT_DIFFERENTIABLE):
                    parts = derivative(loss)
                for total, part in zip(totals, parts, strict=True):
                    total.add_(part.detach())
        return totals

    def _chunks(self) -> Iterator[tuple[int, Inputs, Tensor]]:
        with contextlib.closing(self._split.chunks(self.chunk_size)) as chunks:
            for chunk in chunks:
                num_left = self.num_examples - chunk.start
                columns = [column[:num_left] for column in (*tensors_of(chunk.inputs), chunk.targets)]
                yield chunk.start, *self._split.batches.like(columns)
                if num_left <= len(chunk):
                    return

    def _summed_loss(self, inputs: Inputs, targets: Tensor, where: str) -> Tensor:
        with _failures(f"{where}: evaluating model and loss", "Check that model, loss and data fit together."):
            values: object = self._loss(cast(Tensor, call(self._model, inputs)), targets)
        if not isinstance(values, Tensor) or values.shape != targets.shape[:1]:
            found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise EvaluationError(
                f"{where}: the loss returned {found}; expected one value per example, shape ({len(targets)},)"
            )
        if torch.is_grad_enabled() and not values.requires_grad:
            raise EvaluationError(
                f"{where}: the loss has no gradient; expected it to depend on {', '.join(self.names[:4])} "
                "by operations that torch differentiates",
                hint="Take a differentiable loss such as cross_entropy, and no model that works under torch.no_grad.",
            )
        return values.double().sum()


@contextlib.contextmanager
def _failures(doing: str, hint: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the user's model may raise anything
        if is_out_of_memory(error):
            raise
        raise EvaluationError(f"{doing} raised {type(error).__name__}: {error}", hint=hint) from error


@contextlib.contextmanager
def _twice_differentiable(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Exact arithmetic, by kernels with a second derivative: fused attention and cuDNN's recurrent layers have none."""
    cudnn = torch.backends.cudnn
    before = cudnn.enabled
    cudnn.enabled = before and not any(isinstance(module, nn.RNNBase) for module in model.modules())
    try:
        with arithmetic("float32", device), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        cudnn.enabled = before
