"""Gradients, Hessian-vector products and eigenpairs against dense Hessians, finite differences and LAPACK."""

from __future__ import annotations

import copy
import gc
import math
import weakref

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    CASES,
    OnceDifferentiable,
    case,
    dense_hessian,
    objective_of,
    on_cpu,
    plain_loss,
    product_of,
    random_like,
    with_spectrum,
)
from representative import mostly_slow
from torch import Tensor, nn

from landscape_cli.compute.data import Batches
from landscape_cli.compute.lanczos import Eigenpair, eigenpair
from landscape_cli.compute.metrics import accuracy, cross_entropy, mse
from landscape_cli.compute.subspace import flatten, parameters_of, unflatten
from landscape_cli.errors import EvaluationError

# ---------------------------------------------------------------- the objective


@pytest.mark.parametrize("name", CASES)
def test_hessian_vector_products_equal_those_of_the_dense_hessian(name: str, device: str) -> None:
    model, data = case(name)
    objective = objective_of(model, data, device=device, chunk_size=4)
    vector = random_like(objective.params)
    expected = dense_hessian(model, data, objective.names) @ on_cpu(vector)
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_true_float32_products_agree_with_float64(name: str, device: str) -> None:
    model, data = case(name)
    exact = objective_of(model, data)
    single, rounded = copy.deepcopy(model).float(), Batches(data.inputs.float(), data.targets, None, "")  # type: ignore[union-attr]
    objective = objective_of(single, rounded, device=device, chunk_size=4)
    vector = random_like(exact.params)
    products = objective.hvp(vector)
    assert {tensor.dtype for tensor in products.values()} == {torch.float32}
    expected = on_cpu(exact.hvp(vector))
    assert float((on_cpu(products).double() - expected).norm() / expected.norm()) < 1e-5  # TF32 has errors of 1e-3


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_loss_equal_central_differences_and_a_plain_evaluation(name: str, device: str) -> None:
    model, data = case(name)
    objective = objective_of(model, data, device=device, chunk_size=3)
    loss, flat = plain_loss(model, data, objective.names), flatten(parameters_of(model), objective.names)
    with torch.no_grad():
        assert objective.loss() == pytest.approx(float(loss(flat)), rel=1e-13)
        step = 1e-5 * torch.eye(len(flat), dtype=torch.float64)
        differences = torch.stack([(loss(flat + row) - loss(flat - row)) / 2e-5 for row in step])
    torch.testing.assert_close(on_cpu(objective.gradient()), differences, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@given(num_examples=st.integers(1, 23), chunk_size=st.integers(1, 30), only=st.none() | st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_chunks_and_a_smaller_last_one_change_nothing(num_examples: int, chunk_size: int, only: int | None) -> None:
    model, data = case("perceptron", num_examples)
    chunked = objective_of(model, data, chunk_size=chunk_size, num_examples=only)
    assert isinstance(data.inputs, Tensor)
    first = Batches(data.inputs[:only], data.targets[:only], None, "")
    whole = objective_of(model, first, chunk_size=100)
    vector = random_like(whole.params)
    assert chunked.num_examples == len(first)
    assert chunked.loss() == pytest.approx(whole.loss(), rel=1e-14)
    torch.testing.assert_close(on_cpu(chunked.gradient()), on_cpu(whole.gradient()), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(on_cpu(chunked.hvp(vector)), on_cpu(whole.hvp(vector)), rtol=1e-12, atol=1e-15)


def test_float32_losses_are_summed_in_float64(device: str) -> None:
    def tenth(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.full_like(targets, 0.1)

    targets = torch.zeros(100_000)
    data = Batches(targets[:, None], targets, None, "")
    for chunk_size in (1000, 100_000):
        objective = objective_of(nn.Linear(1, 1), data, tenth, device, chunk_size=chunk_size)
        assert objective.loss() == pytest.approx(float(np.float32(0.1)), rel=1e-14)


def test_inputs_by_name_and_in_tuples_are_passed_on() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.weight * (a + 10 * b)

    a, b = torch.arange(5.0, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    targets = torch.zeros(5, dtype=torch.float64)
    for inputs in ((a, b), {"b": b, "a": a}):
        objective = objective_of(Sum(), Batches(inputs, targets, None, ""), mse, chunk_size=2, num_examples=3)
        mean_square = float(((a + 10 * b)[:3] ** 2).mean())
        one = {"weight": torch.ones(1, dtype=torch.float64)}
        assert objective.loss() == pytest.approx(4 * mean_square)
        assert float(objective.gradient()["weight"]) == pytest.approx(4 * mean_square)
        assert float(objective.hvp(one)["weight"]) == pytest.approx(2 * mean_square)


@pytest.mark.parametrize("names", [("3.weight",), ("3.bias", "0.weight")])
def test_a_subset_of_the_names_gives_that_block_of_the_hessian(names: tuple[str, ...], device: str) -> None:
    model, data = case("perceptron")
    objective = objective_of(model, data, device=device, names=names)
    everything = tuple(parameters_of(model))
    whole = dense_hessian(model, data, everything)
    numbers = unflatten(torch.arange(len(whole)), parameters_of(model))
    rows = flatten(numbers, names)
    vector = random_like(objective.params)
    assert objective.names == tuple(objective.hvp(vector)) == names
    block = whole[rows][:, rows]
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), block @ on_cpu(vector), rtol=1e-9, atol=1e-12)


def test_tied_weights_count_once_and_unused_ones_are_zero(device: str) -> None:
    model, data = case("tied")
    objective = objective_of(model, data, device=device)
    assert objective.names == ("unused", "first.weight", "first.bias", "second.bias")
    vector = random_like(objective.params)
    for derivative in (objective.gradient(), objective.hvp(vector)):
        assert not derivative["unused"].any()
        assert derivative["first.weight"].any()


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature(device: str) -> None:
    model, data = case("perceptron")
    linear = objective_of(model[3:], Batches(torch.randn(6, 5).double(), data.targets[:6], None, ""), signed, device)  # type: ignore[index]
    assert on_cpu(linear.gradient()).any()
    assert not on_cpu(linear.hvp(random_like(linear.params))).any()


def signed(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.sum(dim=1)


@pytest.mark.parametrize("mode", ["train", "eval", "inference"])
def test_the_model_of_the_caller_is_left_as_it_was(mode: str, device: str) -> None:
    model, data = case("convolutional")
    model.train(mode == "train")
    model[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tf32, enabled = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled
    with torch.inference_mode(mode == "inference"):
        objective = objective_of(model, data, device=device)
        objective.loss()
        objective.gradient()
        objective.hvp(random_like(objective.params))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training == (mode == "train") for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 5]
    assert all(p.grad is None for p in model.parameters())
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == (tf32, enabled)


def test_no_graph_outlives_a_call(device: str) -> None:
    outputs_seen: list[weakref.ref[Tensor]] = []

    def watched(outputs: Tensor, targets: Tensor) -> Tensor:
        outputs_seen.append(weakref.ref(outputs))
        return cross_entropy(outputs, targets)

    model, data = case("perceptron")
    objective = objective_of(model, data, watched, device, chunk_size=4)
    vector = random_like(objective.params)
    gc.disable()  # cycles would be found otherwise, by luck
    try:
        results = [objective.gradient(), objective.hvp(vector)]
        alive = [reference for reference in outputs_seen if reference() is not None]
    finally:
        gc.enable()
    assert len(outputs_seen) == 6
    assert not alive
    assert not any(tensor.requires_grad for params in results for tensor in params.values())


def test_out_of_memory_halves_the_chunk_and_goes_on() -> None:
    def greedy(outputs: Tensor, targets: Tensor) -> Tensor:
        if len(targets) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cross_entropy(outputs, targets)

    model, data = case("perceptron", 11)
    objective = objective_of(model, data, greedy, chunk_size=100)
    expected = objective_of(model, data).gradient()
    torch.testing.assert_close(on_cpu(objective.gradient()), on_cpu(expected), rtol=1e-12, atol=1e-15)
    assert objective.chunk_size == 2  # of 11, 5, 2

    def insatiable(outputs: Tensor, targets: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EvaluationError, match="the gradient: out of memory with one example at a time"):
        objective_of(model, data, insatiable).gradient()


def test_what_cannot_be_differentiated_says_so() -> None:
    model, data = case("perceptron")
    direction = random_like(parameters_of(model))

    def once(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(OnceDifferentiable.apply(outputs).square(), targets)

    with pytest.raises(EvaluationError, match="over the examples 0 to 10: the loss has no gradient"):
        objective_of(model, data, accuracy, chunk_size=11).gradient()
    assert objective_of(model, data, accuracy).loss() >= 0
    assert on_cpu(objective_of(model, data, once).gradient()).any()
    with pytest.raises(
        EvaluationError, match=r"Hessian-vector product .* differentiating raised RuntimeError.*once_diff"
    ):
        objective_of(model, data, once).hvp(direction)
    with pytest.raises(EvaluationError, match=r"the loss returned shape \(\); expected .* shape \(11,\)"):
        objective_of(model, data, F.cross_entropy, chunk_size=11).gradient()
    with pytest.raises(EvaluationError, match="evaluating model and loss raised RuntimeError"):
        objective_of(nn.Linear(7, 3).double(), data).loss()


def test_nan_in_data_and_derivatives_that_do_not_exist_say_so(device: str) -> None:
    model, data = case("perceptron")
    assert isinstance(data.inputs, Tensor)
    inputs = data.inputs.clone()
    inputs[3, 1] = math.nan
    broken = objective_of(model, Batches(inputs, data.targets, None, ""), device=device)
    for what in (broken.loss, broken.gradient, lambda: broken.hvp(random_like(broken.params))):
        with pytest.raises(EvaluationError, match="over 11 examples is NaN or infinite"):
            what()

    def root(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - outputs.detach()).abs().sum(dim=1).sqrt()

    with pytest.raises(EvaluationError, match=r"the gradient .* is NaN or infinite in .*3\.bias"):
        objective_of(model, data, root, device).gradient()


def test_names_that_are_no_parameters_say_so() -> None:
    model, data = case("tied")
    with pytest.raises(EvaluationError, match=r"no parameter 'first.wieght'; did you mean 'first.weight'\?"):
        objective_of(model, data, names=["first.wieght"])
    with pytest.raises(EvaluationError, match="no parameters; expected at least one"):
        objective_of(model, data, names=[])


# ---------------------------------------------------------------- eigenpairs


def solve(matrix: Tensor, index: int = 1, which: str = "largest", **options: object) -> Eigenpair:
    arguments = {"tolerance": 1e-10, "max_products": 500, "device": matrix.device, "dtype": matrix.dtype} | options
    return eigenpair(lambda v: matrix @ v, len(matrix), index=index, which=which, **arguments)  # type: ignore[arg-type]


def check(pair: Eigenpair, matrix: Tensor, index: int, which: str, tolerance: float = 1e-10) -> None:
    """Against LAPACK: the value, the length, sign and residual of the vector."""
    exact = np.linalg.eigvalsh(matrix.double().cpu().numpy())
    expected = exact[-index] if which == "largest" else exact[index - 1]
    scale = float(np.abs(exact).max())
    vector = pair.vector.double().cpu()
    assert pair.converged
    assert pair.value == pytest.approx(expected, abs=tolerance * scale)
    assert float(vector.norm()) == pytest.approx(1, abs=10 * torch.finfo(matrix.dtype).eps)
    assert float(vector[vector.abs().argmax()]) > 0
    error = float((matrix.double().cpu() @ vector - pair.value * vector).norm())
    assert pair.residual <= tolerance * scale
    assert error == pytest.approx(pair.residual, abs=10 * torch.finfo(matrix.dtype).eps * scale)


SPECTRA = {
    "indefinite": [-3.0, -1.0, 0.1, 0.5, 2.0, 2.5],
    "positive": [0.1, 1.0, 2.0, 3.0, 50.0],
    "negative": [-9.0, -8.0, -0.5],
    "repeated": [-1.0, -1.0, -1.0, 0.3, 2.0, 2.0, 2.0, 2.0],
    "rank deficient": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 4.0],
    "identity": [1.0] * 7,
    "zero": [0.0] * 6,
    "tiny": [1e-30, 2e-30, 5e-30],
    "huge": [-1e30, 1e20, 3e30],
    "bulk and outliers": [*np.linspace(-0.1, 0.4, 80).tolist(), 3.0, 3.5, 10.0],
}


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("index", [1, 2, 3])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_eigenpairs_equal_those_of_lapack(spectrum: str, index: int, which: str, device: str) -> None:
    matrix = with_spectrum(SPECTRA[spectrum], device)
    check(solve(matrix, index, which), matrix, index, which)


@pytest.mark.slow
@given(data=st.data(), size=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_every_eigenvalue_of_tiny_matrices_is_found_also_repeated_ones(
    data: st.DataObject, size: int, seed: int
) -> None:
    values = data.draw(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=size, max_size=size))
    matrix = with_spectrum(values, seed=seed)
    found = [
        [solve(matrix, i, which, seed=seed).value for i in range(1, size + 1)] for which in ("largest", "smallest")
    ]
    assert found[0] == pytest.approx(sorted(values, reverse=True), abs=1e-9)
    assert found[1] == pytest.approx(sorted(values), abs=1e-9)


@pytest.mark.parametrize("diagonal", [[1.0, 1.0, 5.0, 5.0, 5.0], [0.0] * 5])
def test_repeated_eigenvalues_of_a_diagonal_matrix_are_counted(diagonal: list[float]) -> None:
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))  # its products have no rounding errors to help
    found = [solve(matrix, index).value for index in range(1, 6)]
    assert found == pytest.approx(sorted(diagonal, reverse=True), abs=1e-12)


def test_an_invariant_subspace_ends_the_search() -> None:
    pair = solve(torch.eye(100, dtype=torch.float64), 61)
    assert pair.converged
    assert pair.num_products == 62
    assert pair.value == pytest.approx(1, rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("index", [1, 2])
def test_a_larger_problem_agrees_with_arpack(index: int, which: str, device: str) -> None:
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(1500, 1500, generator=generator, dtype=torch.float64)
    matrix = (factors + factors.T) / 2
    ends = scipy.sparse.linalg.eigsh(matrix.numpy(), k=2, which="LA" if which == "largest" else "SA", tol=1e-12)[0]
    pair = solve(matrix.to(device), index, which, tolerance=1e-8)
    assert pair.converged
    assert pair.num_products < 400
    assert pair.value == pytest.approx(sorted(ends, reverse=which == "largest")[index - 1], rel=1e-12)


def test_float32_vectors_find_the_same_to_their_precision(device: str) -> None:
    values = [*np.linspace(-0.1, 0.4, 300).tolist(), 3.0, 10.0]
    matrix = with_spectrum(values, device).float()
    for index, expected in ((1, 10.0), (2, 3.0)):
        pair = solve(matrix, index, tolerance=1e-5)
        assert pair.vector.dtype == torch.float32
        assert pair.converged
        assert pair.value == pytest.approx(expected, rel=1e-6)
        assert float(pair.vector.double().norm()) == pytest.approx(1, abs=1e-6)


def test_the_basis_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = with_spectrum(SPECTRA["bulk and outliers"])
    whole = solve(matrix, 2)
    monkeypatch.setattr("landscape_cli.compute.basis._FLOAT64_AT_ONCE", {"cpu": 64})
    blocks = solve(matrix, 2)
    torch.testing.assert_close(blocks.vector, whole.vector, rtol=0, atol=1e-9)
    assert blocks.value == pytest.approx(whole.value, rel=1e-12)


def test_too_few_products_give_the_best_so_far_its_true_residual_and_not_converged() -> None:
    matrix = with_spectrum(np.linspace(0, 1, 200).tolist())
    for max_products, index in ((5, 1), (5, 3), (1, 3)):
        pair = solve(matrix, index, max_products=max_products)
        assert not pair.converged
        assert pair.num_products == max_products + 1
        error = float((matrix @ pair.vector - pair.value * pair.vector).norm())
        assert pair.residual == pytest.approx(error, rel=1e-9)
        assert pair.residual > 1e-3
        exact = np.linalg.eigvalsh(matrix.numpy())
        assert np.abs(exact - pair.value).min() <= pair.residual


@given(seed=st.integers(0, 2**64), size=st.integers(2, 30), tolerance=st.sampled_from([1e-1, 1e-3, 1e-6, 1e-12]))
@settings(max_examples=40, deadline=None)
def test_an_eigenvalue_lies_within_the_residual_of_every_result(seed: int, size: int, tolerance: float) -> None:
    values = np.random.default_rng(size).normal(size=size).tolist()
    matrix = with_spectrum(values)
    calls: list[Tensor] = []
    options = {"device": matrix.device, "dtype": matrix.dtype, "seed": seed, "max_products": 100}

    def operator(vector: Tensor) -> Tensor:
        calls.append(vector)
        return matrix @ vector

    pair = eigenpair(operator, size, index=1, which="smallest", tolerance=tolerance, **options)  # type: ignore[arg-type]
    assert pair.converged
    assert pair.num_products == len(calls) <= size + 1
    assert np.abs(np.array(values) - pair.value).min() <= pair.residual + 1e-14
    assert pair.residual <= tolerance * max(map(abs, values)) + 1e-14


def test_a_seed_gives_the_same_bits_again_and_another_seed_the_same_pair() -> None:
    matrix = with_spectrum(SPECTRA["bulk and outliers"])
    first, again, other = solve(matrix), solve(matrix), solve(matrix, seed=7)
    assert torch.equal(first.vector, again.vector)
    assert first.value == again.value
    assert not torch.equal(first.vector, other.vector)
    torch.testing.assert_close(first.vector, other.vector, rtol=0, atol=1e-9)


def test_eigenvalues_that_do_not_exist_and_products_that_are_not_finite_say_so() -> None:
    matrix = with_spectrum([1.0, 2.0, 3.0])
    for index in (0, 4):
        with pytest.raises(EvaluationError, match=f"found index {index} of an eigenvalue; expected 1 to 3"):
            solve(matrix, index)
    with pytest.raises(EvaluationError, match="a product with the Hessian holds NaN"):
        solve(matrix * math.nan)


def test_an_operator_that_is_not_symmetric_says_so() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(20, 20, generator=generator, dtype=torch.float64)
    with pytest.raises(EvaluationError, match=r"contradict each other by .* expected a symmetric matrix"):
        solve(matrix)
    with pytest.raises(EvaluationError, match="contradict each other"):  # a model that draws random numbers
        eigenpair(
            lambda v: v * torch.rand(20, generator=generator, dtype=torch.float64),
            20,
            index=1,
            which="largest",
            tolerance=1e-6,
            max_products=20,
            device=torch.device("cpu"),
            dtype=torch.float64,
        )


# ---------------------------------------------------------------- both together


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("index", mostly_slow([1, 2], 1))
@pytest.mark.parametrize("name", mostly_slow(CASES, "perceptron", "convolutional", "tied"))
def test_eigenpairs_of_a_network_equal_those_of_its_dense_hessian(
    name: str, index: int, which: str, device: str
) -> None:
    model, data = case(name)
    objective = objective_of(model, data, device=device, chunk_size=4)
    hessian = dense_hessian(model, data, objective.names)
    options = {"tolerance": 1e-9, "max_products": 300, "device": objective.device, "dtype": torch.float64}
    pair = eigenpair(product_of(objective), len(hessian), index=index, which=which, **options)  # type: ignore[arg-type]
    check(pair, hessian, index, which, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("name", ["perceptron", "convolutional", "attentive"])
def test_second_differences_of_the_loss_along_an_eigenvector_are_the_eigenvalue(name: str, which: str) -> None:
    model, data = case(name)
    objective = objective_of(model, data)
    flat = flatten(objective.params, objective.names)
    options = {"tolerance": 1e-9, "max_products": 300, "device": objective.device, "dtype": torch.float64}
    pair = eigenpair(product_of(objective), len(flat), index=1, which=which, **options)  # type: ignore[arg-type]
    loss = plain_loss(model, data, objective.names)
    with torch.no_grad():
        along = {
            h: float(loss(flat + h * pair.vector) - 2 * loss(flat) + loss(flat - h * pair.vector)) / h**2
            for h in (0.01, 0.02)
        }
    difference = (4 * along[0.01] - along[0.02]) / 3  # Richardson: without the error of second order
    assert difference == pytest.approx(pair.value, rel=1e-5)


def test_a_tiny_linear_network_has_the_curvature_of_its_formula(device: str) -> None:
    """Least squares: the Hessian of mean (xᵀw − y)² is 2·E[x xᵀ]."""
    model = nn.Linear(4, 1, bias=False).double()
    inputs = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    objective = objective_of(model, Batches(inputs, torch.zeros(9).double(), None, ""), mse, device, chunk_size=2)
    exact = torch.linalg.eigvalsh(2 * inputs.T @ inputs / 9).tolist()
    options = {"tolerance": 1e-12, "max_products": 50, "device": objective.device, "dtype": torch.float64}
    found = [eigenpair(product_of(objective), 4, index=i, which="smallest", **options).value for i in (1, 2, 3, 4)]  # type: ignore[arg-type]
    assert found == pytest.approx(exact, rel=1e-12)
