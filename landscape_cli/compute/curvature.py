"""The mean loss as a function of the weights: gradient, Hessian-vector products, and eigenpairs of the Hessian.

The Hessian is never formed: ``eigenpair(operator, size, …)`` needs its products with vectors only, and
``lambda v: flatten(objective.hvp(unflatten(v, objective.params)), objective.names)`` is such an operator.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_cli.compute.data import Inputs, tensors_of
from landscape_cli.compute.device import OUT_OF_MEMORY, device_errors, is_out_of_memory
from landscape_cli.compute.metrics import PerExample
from landscape_cli.compute.precision import arithmetic
from landscape_cli.compute.residency import Split
from landscape_cli.compute.subspace import FloatArray, Params, parameters_of
from landscape_cli.errors import EvaluationError, did_you_mean

_NOT_DIFFERENTIABLE = (
    "Expected what torch differentiates twice: no compiled modules, no reentrant checkpoints, no functions of your own "
    "with a first derivative only."
)
_MOST_ASYMMETRY = 0.05  # of the largest |λ|; rounding in float32 gives 1e-7
# elements of the basis; on a CPU 1 << 24 takes 3 times as long, on a GPU each block is a dozen kernels
_FLOAT64_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 24}

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
            values: object = self._loss(_call(self._model, inputs), targets)
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


def _call(model: nn.Module, inputs: Inputs) -> Tensor:
    if isinstance(inputs, dict):
        return model(**inputs)  # type: ignore[no-any-return]
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)  # type: ignore[no-any-return]


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


def flatten(params: Params, names: Sequence[str]) -> Tensor:
    """The tensors of these names one after another, (size,)."""
    return torch.cat([params[name].reshape(-1) for name in names])


def unflatten(flat: Tensor, like: Params) -> Params:
    """Cut (size,) into views with the names and shapes of ``like``; the inverse of `flatten`."""
    parts = torch.split(flat, [tensor.numel() for tensor in like.values()])
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(like.items(), parts, strict=True)}


# ---------------------------------------------------------------- eigenpairs


@dataclass(frozen=True, eq=False)
class Eigenpair:
    """An approximate eigenvalue λ of a symmetric H, and its vector v.

    Attributes:
        value: λ = vᵀHv. A negative one proves that H has a negative eigenvalue.
        vector: v, (size,), of Euclidean length 1; its largest component in magnitude is positive.
        residual: ‖Hv − λv‖: an eigenvalue of H lies within this distance of λ (Parlett 1998, theorem 4.5.1).
        num_products: Products with H that it took, that for the residual included.
        converged: The residual is within the tolerance.
    """

    value: float
    vector: Tensor
    residual: float
    num_products: int
    converged: bool


@device_errors("curvature: the Lanczos algorithm")
def eigenpair(
    operator: Callable[[Tensor], Tensor],
    size: int,
    *,
    index: int,
    which: Literal["largest", "smallest"],
    tolerance: float,
    max_products: int,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
) -> Eigenpair:
    """The ``index``-th largest or smallest eigenvalue of a symmetric operator, counted with multiplicity.

    The Lanczos algorithm (Lanczos 1950, J. Res. NBS 45(4)) with full reorthogonalization (Paige 1972, J. Inst. Maths
    Applics 10; Parlett 1998, The Symmetric Eigenvalue Problem, chapter 13), started with ``index`` random vectors
    (Ruhe 1979, Math. Comp. 33): from one vector it would see every distinct eigenvalue only once. It stops when the
    residuals of the first ``index`` Ritz pairs, which are |β_m s_mi| for one start vector (Parlett 1998, section 13.2),
    are at most ``tolerance`` · |λ|_max. That all eigenvalues beyond have been seen is likely, not certain.

    Args:
        operator: v ↦ Hv for (size,) tensors of ``dtype`` on ``device``.
        size: Number of rows of H.
        index: 1 for the extreme eigenvalue, 2 for the next, …
        which: Algebraically, so that the smallest is the most negative one.
        tolerance: Of the residual, relative to the largest |λ|.
        max_products: Products with H before it gives up, unconverged. Memory is for ``max_products + index`` vectors.
        device: Of the vectors.
        dtype: Of the vectors; all coefficients are float64.
        seed: Of the start vectors, which are the same on every device.

    Raises:
        EvaluationError: H has fewer eigenvalues or is not symmetric, a product is not finite, or memory does not
            suffice.
    """
    if not 1 <= index <= size:
        raise EvaluationError(f"curvature: found index {index} of an eigenvalue; expected 1 to {size}, their number")
    generator = np.random.Generator(np.random.Philox(key=seed))
    sign = 1.0 if which == "largest" else -1.0
    num_steps = min(max_products, size)
    basis = _Basis(min(num_steps + index, size), size, device, dtype)
    for _ in range(index):
        _, outside = basis.split(torch.from_numpy(generator.standard_normal(size)).to(device))
        basis.append(outside / torch.linalg.vector_norm(outside))
    projected = np.zeros((num_steps + index, num_steps))  # the columns of Qᵀ(±H)Q, one per product
    weights, largest, m = np.ones(1), 0.0, 0
    for m in range(1, num_steps + 1):
        coefficients, rest = basis.split(sign * operator(basis[m - 1]).double())
        beta = torch.linalg.vector_norm(rest)
        *known, new = column = torch.cat([coefficients, beta.view(1)]).tolist()
        if not all(map(math.isfinite, column)):
            raise EvaluationError("curvature: a product with the Hessian holds NaN or infinite values")
        projected[: len(known), m - 1] = known
        # else the basis holds Hq already; when it holds all of them, it spans an invariant subspace, and the Ritz pairs
        # are exact: as many copies of every eigenvalue as there were start vectors
        if len(basis) < size and new > torch.finfo(dtype).eps * math.hypot(*column):
            projected[len(basis), m - 1] = new
            basis.append(rest / beta)
        if m % (1 + m // 50) == 0 or m in (num_steps, len(basis)):
            weights, bound, largest = _ritz_pair(projected[: len(basis), :m], index)
            if bound <= tolerance * largest / 2:  # the other half is for the rounding of the products
                break
    vector = basis.combine(torch.from_numpy(weights.copy()).to(device))
    vector *= torch.sign(vector[vector.abs().argmax()]) / torch.linalg.vector_norm(vector)
    asymmetry = float(np.abs(projected[:m, :m] - projected[:m, :m].T).max())
    if asymmetry > _MOST_ASYMMETRY * largest:
        raise EvaluationError(
            f"curvature: products with the Hessian contradict each other by {asymmetry:.2g}, beside eigenvalues up to "
            f"{largest:.2g}; expected a symmetric matrix",
            hint="Use evaluation.precision: float64; if that is no help, an operation of the model is random or has a "
            "wrong second derivative.",
        )
    unit = vector.to(dtype)
    product = operator(unit).double()
    value = float(unit.double() @ product)
    residual = float(torch.linalg.vector_norm(product - value * unit.double()))
    return Eigenpair(value, unit, residual, m + 1, converged=m >= index and residual <= tolerance * largest)


def _ritz_pair(projected: FloatArray, index: int) -> tuple[FloatArray, float, float]:
    """Of the m known columns of Qᵀ(±H)Q: the Ritz vector of the ``index``-th largest Ritz value, as weights (m,) of the
    basis; the largest residual of the first ``index`` pairs; the largest |Ritz value|.
    """
    m = projected.shape[1]
    values, vectors = np.linalg.eigh(projected[:m])  # reads the lower triangle, which is complete
    first = vectors[:, ::-1][:, :index]
    residuals = np.linalg.norm(projected[m:] @ first, axis=0)
    return first[:, -1], float(residuals.max()) if m >= index else math.inf, float(np.abs(values).max())


class _Basis:
    """Up to ``capacity`` orthonormal vectors q_i, the rows of one tensor that grows; sums over them are float64."""

    def __init__(self, capacity: int, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.size, self.device, self._capacity = size, device, capacity
        self._rows = torch.empty((0, size), dtype=dtype, device=device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:
        return self._rows[index]

    def append(self, vector: Tensor) -> None:
        if self._count == len(self._rows):
            grown = self._rows.new_empty((min(max(8, 2 * self._count), self._capacity), self.size))
            grown[: self._count] = self._rows
            self._rows = grown
        self._rows[self._count] = vector
        self._count += 1

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients qᵢᵀv, (m,), and the rest of v, which is orthogonal to every q_i."""
        coefficients = torch.zeros(self._count, dtype=torch.float64, device=self.device)
        for _ in range(2):  # once loses orthogonality where little is left; twice is enough (Parlett 1998, section 6.9)
            part = torch.zeros_like(coefficients)
            for span in self._spans(self._count):
                part += self._rows[: self._count, span].double() @ vector[span]
            coefficients += part
            vector = vector - self.combine(part)
        return coefficients, vector

    def combine(self, weights: Tensor) -> Tensor:
        """Σ wᵢ·qᵢ over the first (m,) vectors, (size,)."""
        spans = self._spans(len(weights))
        return torch.cat([weights @ self._rows[: len(weights), span].double() for span in spans])

    def _spans(self, num_rows: int) -> list[slice]:
        step = max(1, _FLOAT64_AT_ONCE[self.device.type] // max(1, num_rows))
        return [slice(start, start + step) for start in range(0, self.size, step)]
