"""Gradients and Hessian-vector products, made in every way, against dense float64 Hessians and each other."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from oracles import (
    OnceDifferentiable,
    case,
    dense_hessian,
    objective_of,
    on_cpu,
    plain_loss,
    random_like,
)
from representative import mostly_slow
from torch import Tensor, nn

from landscape_cli.compute.ascent import ascend, one_step
from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.curvature.operator import HessianOperator, magnitude
from landscape_cli.compute.data import Batches
from landscape_cli.compute.metrics import cross_entropy
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.passes import StoppedError
from landscape_cli.compute.subspace import flatten, parameters_of, unflatten
from landscape_cli.errors import EvaluationError
from landscape_cli.records import Cost

WAYS = ("double_backward", "forward_over_reverse", "finite_difference")
SMOOTH = ("perceptron", "convolutional", "recurrent", "attentive", "tied")


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# ---------------------------------------------------------------- three ways


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", mostly_slow(SMOOTH, "perceptron", "convolutional", "tied"))
def test_products_of_every_way_equal_those_of_the_dense_hessian(name: str, way: str, device: str) -> None:
    model, data = case(name)
    objective = objective_of(model, data, device=device, chunk_size=4, way=way)
    vectors = [random_like(objective.params, seed) for seed in (1, 2)]
    hessian = dense_hessian(model, data, objective.names)
    tolerance = 1e-4 if way == "finite_difference" else 1e-10
    try:
        products = objective.hvps(vectors)
    except EvaluationError as error:
        if (name, way) == ("recurrent", "forward_over_reverse") and "forward AD" in str(error):
            pytest.skip(f"not in this version of torch: {error}")
        raise
    for vector, product in zip(vectors, products, strict=True):
        exact = hessian @ on_cpu(vector)
        assert float((on_cpu(product) - exact).norm() / exact.norm()) < tolerance
    assert objective.method == {"finite_difference": "finite differences"}.get(way, way.replace("_", " "))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_differences_of_a_vector_of_any_length_are_right(way: str) -> None:
    model, data = case("attentive")
    objective = objective_of(model, data, way=way)
    vector = random_like(objective.params)
    exact = dense_hessian(model, data, objective.names) @ on_cpu(vector)
    for length in (1e-12, 1e-3, 1e6):
        product = on_cpu(objective.hvp({name: length * tensor for name, tensor in vector.items()}))
        assert float((product / length - exact).norm() / exact.norm()) < 1e-6
    zero = objective.hvp({name: torch.zeros_like(tensor) for name, tensor in vector.items()})
    assert not on_cpu(zero).any()


# ---------------------------------------------------------------- the same numbers however they are computed


@pytest.mark.parametrize("name", mostly_slow(SMOOTH, "convolutional", "tied"))
def test_chunks_of_any_size_give_the_same(name: str) -> None:
    model, data = case(name, num_examples=90)
    found = []
    for chunk_size in (1, 37, 90, None):
        objective = objective_of(model, data, chunk_size=chunk_size)
        vector = random_like(objective.params)
        found.append(torch.cat([on_cpu(objective.gradient()), on_cpu(objective.hvp(vector))]))
    for other in found[1:]:
        assert float((other - found[0]).norm() / found[0].norm()) < 1e-12


@pytest.mark.parametrize("chunk_size", mostly_slow([None, 90, 7], 7))
@pytest.mark.parametrize("dtype", mostly_slow([torch.float32, torch.float64], torch.float32))
@pytest.mark.parametrize("name", ["convolutional", "attentive", "wide"])
def test_no_bit_depends_on_the_number_of_threads(
    name: str, dtype: torch.dtype, chunk_size: int | None, threads: Callable[[int], None]
) -> None:
    if name == "wide":  # large enough that torch would share one product of matrices among threads
        torch.manual_seed(0)
        model: nn.Module = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 3)).to(dtype)
        data = Batches(torch.randn(90, 300, dtype=dtype), torch.randint(3, (90,)), None, "")
    else:
        model, data = case(name, 90, dtype)
    found = []
    for number in (1, 2, 3):
        threads(number)
        objective = objective_of(model, data, chunk_size=chunk_size, keeps_graphs=number == 2)
        vector = random_like(objective.params)
        derivative = objective.derivative(5, with_spread=True)
        loss = torch.tensor([objective.loss(), derivative.loss, derivative.spread])
        products = [on_cpu(product).double() for product in objective.hvps([vector, derivative.gradient])]
        found.append(torch.cat([loss, on_cpu(derivative.gradient).double(), *products]))
        assert torch.get_num_threads() == number
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOOTH)
def test_kept_graphs_give_the_same_bits_also_after_a_move(name: str) -> None:
    model, data = case(name, 20)
    kept = objective_of(model, data, keeps_graphs=True)
    fresh = objective_of(model, data)
    vector = random_like(kept.params)
    for _ in range(2):
        for offset in (None, random_like(kept.params, 5)):
            kept.move(offset)
            fresh.move(offset)
            expected = on_cpu(fresh.hvp(vector))
            for _ in range(3):
                assert torch.equal(on_cpu(kept.hvp(vector)), expected)


def test_graphs_are_kept_and_given_back() -> None:
    evaluations: list[int] = []

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        evaluations.append(len(targets))
        return cross_entropy(outputs, targets)

    model, data = case("perceptron", 20)
    objective = objective_of(model, data, counted, chunk_size=10, keeps_graphs=True)
    vector = random_like(objective.params)
    objective.hvp(vector)
    evaluations.clear()
    objective.hvp(vector)
    assert not evaluations
    objective.move(None)
    objective.hvp(vector)
    assert evaluations == [10, 10]
    with objective.recalibrated(lambda _: None):
        objective.hvp(vector)
    objective.hvp(vector)
    assert evaluations == [10] * 6


@pytest.mark.parametrize("way", WAYS)
def test_several_vectors_at_once_equal_single_ones(way: str) -> None:
    model, data = case("convolutional", 20)
    objective = objective_of(model, data, way=way, chunk_size=6)
    vectors = [random_like(objective.params, seed) for seed in range(4)]
    for together, vector in zip(objective.hvps(vectors), vectors, strict=True):  # how many depends on the machine
        assert torch.equal(on_cpu(together), on_cpu(objective.hvp(vector)))


# ---------------------------------------------------------------- what cannot be differentiated twice


def once(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(OnceDifferentiable.apply(outputs.square()), targets)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_auto_falls_back_to_differences_and_says_so(num_threads: int, threads: Callable[[int], None]) -> None:
    threads(num_threads)
    model, data = case("attentive")
    objective = objective_of(model, data, once, way="auto", chunk_size=4, keeps_graphs=True)
    exact = objective_of(model, data, lambda outputs, targets: cross_entropy(outputs.square(), targets))
    vector = random_like(objective.params)
    expected = on_cpu(exact.hvp(vector))
    for _ in range(2):
        assert float((on_cpu(objective.hvp(vector)) - expected).norm() / expected.norm()) < 1e-7
    assert objective.way == "finite_difference"
    assert objective.method == "finite differences"


def test_an_error_that_has_nothing_to_do_with_derivatives_is_not_hidden_by_differences() -> None:
    model, data = case("perceptron")

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("something else")

    objective = objective_of(model, data, broken, way="auto")
    with pytest.raises(EvaluationError, match="something else"):
        objective.hvp(random_like(objective.params))
    assert objective.way == "double_backward"


class Inner(nn.Module):
    """One module of several is compiled."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body: nn.Module = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
        self.head = nn.Linear(5, 3)
        if how == "in place":
            self.body.compile(backend="aot_eager")
        elif how == "wrapped":
            self.body = torch.compile(self.body, backend="aot_eager")
        self.squared = torch.compile(torch.square, backend="aot_eager") if how == "function" else torch.square

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(self.squared(self.body(inputs)))
        return out


@pytest.mark.slow
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("how", ["wrapped", "in place", "function"])
def test_compiled_models_have_exact_products(how: str, num_threads: int, threads: Callable[[int], None]) -> None:
    threads(num_threads)
    torch.manual_seed(0)
    compiled, plain = Inner(how).double(), Inner("not").double()
    plain.load_state_dict({n.replace("_orig_mod.", ""): t for n, t in compiled.state_dict().items()})
    _, data = case("perceptron")
    with torch.no_grad():
        compiled(data.inputs)  # compiled by now, as by a scan
    objective = objective_of(compiled, data, way="auto", chunk_size=4)
    vector = random_like(objective.params)
    exact = objective_of(plain, data)
    expected = on_cpu(exact.hvp(unflatten(on_cpu(vector), exact.params)))
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), expected, rtol=1e-10, atol=1e-13)
    assert objective.way == "double_backward"


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations_are_differentiated_twice_or_by_differences(*, reentrant: bool) -> None:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Linear(4, 5), nn.GELU()), nn.Linear(5, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = torch.utils.checkpoint.checkpoint(self.body, inputs.requires_grad_(), use_reentrant=reentrant)
            out: Tensor = self.head(hidden)
            return out

    torch.manual_seed(0)
    model = Saving().double()
    _, data = case("perceptron")
    objective = objective_of(model, data, way="auto", chunk_size=4)
    plain = objective_of(nn.Sequential(*model.body, model.head), data)
    vector = random_like(objective.params)
    expected = on_cpu(plain.hvp(unflatten(on_cpu(vector), plain.params)))
    torch.testing.assert_close(on_cpu(objective.gradient()), on_cpu(plain.gradient()), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), expected, rtol=1e-6, atol=1e-8)
    assert objective.way == ("finite_difference" if reentrant else "double_backward")
    with pytest.raises(EvaluationError, match="use_reentrant=True") if reentrant else contextlib.nullcontext():
        objective_of(model, data, way="double_backward").hvp(vector)


# ---------------------------------------------------------------- weight decay, parts, places


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("decayed", [None, ("3.weight",), ("0.weight", "3.weight")])
def test_weight_decay_adds_itself_to_loss_gradient_and_product(way: str, decayed: tuple[str, ...] | None) -> None:
    model, data = case("perceptron")
    names = ("0.bias", "3.weight")  # of what is decayed some is not differentiated by, and the other way round
    plain = objective_of(model, data, names=names, way=way)
    with_decay = objective_of(model, data, names=names, way=way, weight_decay=0.3, decayed=decayed)
    everything = parameters_of(model)
    sum_of_squares = sum(
        float(t.square().sum()) for name, t in everything.items() if decayed is None or name in decayed
    )
    assert with_decay.loss() - plain.loss() == pytest.approx(0.15 * sum_of_squares, rel=1e-12)
    assert with_decay.derivative().loss == pytest.approx(with_decay.loss(), rel=1e-13)
    vector, offset = random_like(plain.params), random_like(plain.params, 2)
    for at in (None, offset):
        plain.move(at)
        with_decay.move(at)
        gradients, products = (plain.gradient(), with_decay.gradient()), (plain.hvp(vector), with_decay.hvp(vector))
        for name in names:
            factor = 0.3 if decayed is None or name in decayed else 0.0
            here = plain.params[name] + (0 if at is None else at[name])
            torch.testing.assert_close(gradients[1][name] - gradients[0][name], factor * here, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(
                products[1][name] - products[0][name], factor * vector[name], rtol=1e-9, atol=1e-9
            )


def test_a_regularised_loss_is_that_of_its_formula_by_the_dense_hessian() -> None:
    model, data = case("perceptron")
    objective = objective_of(model, data, weight_decay=0.7)
    names = objective.names

    def loss(flat: Tensor) -> Tensor:
        return plain_loss(model, data, names)(flat) + 0.35 * flat.square().sum()

    flat = flatten(parameters_of(model), names)
    vector = random_like(objective.params)
    hessian = torch.autograd.functional.hessian(loss, flat)
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), hessian @ on_cpu(vector), rtol=1e-10, atol=1e-12)
    assert objective.loss() == pytest.approx(float(loss(flat)), rel=1e-13)


def test_moving_there_and_back_leaves_no_trace() -> None:
    model, data = case("convolutional")
    objective = objective_of(model, data, keeps_graphs=True)
    vector, offset = random_like(objective.params), random_like(objective.params, 3)

    def everything() -> Tensor:
        loss = torch.tensor([objective.loss()], dtype=torch.float64)
        return torch.cat([loss, on_cpu(objective.gradient()), on_cpu(objective.hvp(vector))])

    def shift(model: nn.Module) -> None:
        model[1].running_mean.add_(1)  # type: ignore[index, operator, union-attr]
        model[1].running_var.mul_(3)  # type: ignore[index, operator, union-attr]

    before = everything()
    with objective.moved(offset):
        there = everything()
        assert not torch.equal(there, before)
        moved = copy.deepcopy(model)
        for name, parameter in moved.named_parameters():
            parameter.data += offset[name]
        elsewhere = objective_of(moved, data)
        assert float(there[0]) == pytest.approx(elsewhere.loss(), rel=1e-14)
        torch.testing.assert_close(on_cpu(objective.hvp(vector)), on_cpu(elsewhere.hvp(vector)), rtol=1e-10, atol=1e-13)
    assert torch.equal(everything(), before)
    with pytest.raises(ZeroDivisionError), objective.moved(offset):
        raise ZeroDivisionError
    assert torch.equal(everything(), before)
    with objective.recalibrated(shift):
        assert not torch.equal(everything(), before)
    assert torch.equal(everything(), before)
    theirs = {name: tensor + offset[name] for name, tensor in objective.params.items()}
    mine = {name: tensor.clone() for name, tensor in objective.params.items()}
    statistics = {"1.running_mean": torch.ones(3).double(), "1.running_var": 2 * torch.ones(3).double()}
    original = {name: dict(model.named_buffers())[name].clone() for name in statistics}
    objective.place(theirs, statistics)
    moved[1].running_mean.copy_(statistics["1.running_mean"])  # type: ignore[index, operator, union-attr]
    moved[1].running_var.copy_(statistics["1.running_var"])  # type: ignore[index, operator, union-attr]
    expected = objective_of(moved, data)
    assert objective.loss() == pytest.approx(expected.loss(), rel=1e-14)
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), on_cpu(expected.hvp(vector)), rtol=1e-10, atol=1e-13)
    with objective.moved(offset):
        pass
    assert objective.loss() == pytest.approx(expected.loss(), rel=1e-14)  # θ* is there now
    objective.place(mine, original)
    assert torch.equal(everything(), before)


def test_a_difference_comes_back_to_where_it_was() -> None:
    model, data = case("perceptron")
    objective = objective_of(model, data, way="finite_difference")
    exact = objective_of(model, data)
    vector, offset = random_like(objective.params), random_like(objective.params, 3)
    objective.move(offset)
    exact.move(offset)
    before = objective.loss()
    torch.testing.assert_close(on_cpu(objective.hvp(vector)), on_cpu(exact.hvp(vector)), rtol=1e-6, atol=1e-8)
    assert objective.loss() == before


# ---------------------------------------------------------------- memory, stopping, counting


def test_out_of_memory_in_the_middle_of_products_halves_the_chunks_and_changes_nothing() -> None:
    def greedy(outputs: Tensor, targets: Tensor) -> Tensor:
        if len(targets) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cross_entropy(outputs, targets)

    model, data = case("perceptron", 50)
    objective = objective_of(model, data, greedy, chunk_size=50, keeps_graphs=True)
    plain = objective_of(model, data)
    vectors = [random_like(plain.params, seed) for seed in (1, 2)]
    for found, expected in zip(objective.hvps(vectors), plain.hvps(vectors), strict=True):
        torch.testing.assert_close(on_cpu(found), on_cpu(expected), rtol=1e-12, atol=1e-15)
    assert objective.chunk_size == 3  # of 50, 25, 12, 6, 3


def test_the_sampling_error_is_right_also_after_out_of_memory() -> None:
    def greedy(outputs: Tensor, targets: Tensor) -> Tensor:
        if len(targets) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cross_entropy(outputs, targets)

    model, data = case("perceptron", 60)
    interrupted = objective_of(model, data, greedy, chunk_size=60)
    expected = objective_of(model, data, chunk_size=5)
    first, second = (interrupted.derivative(6, with_spread=True) for _ in range(2))  # parts of 10 do not fit
    assert first.spread == pytest.approx(second.spread, rel=1e-12)
    torch.testing.assert_close(on_cpu(first.gradient), on_cpu(expected.gradient()), rtol=1e-12, atol=1e-15)
    assert interrupted.chunk_size == 5


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_request_to_stop_is_heard_within_a_pass(num_threads: int, threads: Callable[[int], None]) -> None:
    threads(num_threads)
    model, data = case("perceptron", 50)
    asked = itertools.count()
    limit = [math.inf]
    seen: list[int] = []

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(len(targets))
        return cross_entropy(outputs, targets)

    objective = objective_of(model, data, counted, chunk_size=1, should_stop=lambda: next(asked) >= limit[0])
    vector = random_like(objective.params)
    expected = on_cpu(objective.hvp(vector))
    cost = objective.cost
    for what in (objective.loss, objective.gradient, lambda: objective.hvp(vector)):
        asked, limit[0] = itertools.count(), 10
        seen.clear()
        with pytest.raises(StoppedError):
            what()  # type: ignore[operator]
        assert len(seen) <= 10
    assert objective.cost == cost  # what was not finished does not count
    limit[0] = math.inf
    assert torch.equal(on_cpu(objective.hvp(vector)), expected)


@pytest.mark.parametrize("way", WAYS)
def test_costs_count_what_was_done(way: str) -> None:
    model, data = case("perceptron", 20)
    told: list[Cost] = []
    objective: Objective = objective_of(model, data, way=way, on_pass=lambda: told.append(objective.cost), chunk_size=3)
    vectors = [random_like(objective.params, seed) for seed in range(3)]
    objective.loss()
    objective.gradient()
    objective.derivative(7, with_spread=True)
    objective.hvp(vectors[0])
    objective.hvps(vectors)
    assert objective.cost == Cost(losses=1, gradients=3, products=4)
    assert told[-1] == objective.cost
    assert objective.cost.passes == 8


# ---------------------------------------------------------------- several devices


@functools.cache
def lazy_device() -> str:
    """Why torch's lazy device, which is made of the CPU, is of no use here; empty if it is."""
    try:
        import torch._lazy.ts_backend as backend

        backend.init()
        torch.ones(1, device="lazy").cpu()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


@pytest.fixture
def second() -> str:
    """A second device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    if lazy_device():
        pytest.skip(f"there is no second device, not even a lazy one: {lazy_device()}")
    return "lazy"


class Spread(nn.Module):
    """The second layer lives elsewhere."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
        self.one.to(first)
        self.two.to(second)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.one(inputs.to(self.one.weight.device)).tanh()
        out: Tensor = self.two(hidden.to(self.two.weight.device))
        return out


@pytest.mark.parametrize("num_threads", mostly_slow([1, 2], 2))
@pytest.mark.parametrize("is_first", [False, True])
def test_a_model_on_several_devices_stays_there_and_has_the_same_derivatives(
    *, is_first: bool, num_threads: int, second: str, threads: Callable[[int], None]
) -> None:
    threads(num_threads)
    pair = (second, "cpu") if is_first else ("cpu", second)
    spread, plain = Spread(*pair), Spread("cpu", "cpu")
    _, data = case("perceptron", 20)
    objective = objective_of(spread, data, chunk_size=4, weight_decay=0.1, keeps_graphs=True)
    expected = objective_of(plain, data, chunk_size=4, weight_decay=0.1)
    assert {tensor.device.type for tensor in objective.params.values()} == set(pair)
    vector = random_like(expected.params)
    assert objective.loss() == pytest.approx(expected.loss(), rel=1e-12)
    scale = {name: tensor.abs() for name, tensor in objective.params.items()}
    found = objective.derivative(5, with_spread=True, scale=scale)
    exact = expected.derivative(5, with_spread=True, scale={n: t.cpu() for n, t in scale.items()})
    assert found.spread == pytest.approx(exact.spread, rel=1e-9)
    assert found.scaled_spread == pytest.approx(exact.scaled_spread, rel=1e-9)
    for derivative, other in (
        (found.gradient, exact.gradient),
        (objective.hvp(vector), expected.hvp(vector)),
    ):
        assert {tensor.device.type for tensor in derivative.values()} == set(pair)
        gathered = torch.cat([tensor.cpu().flatten() for tensor in derivative.values()])
        torch.testing.assert_close(gathered, on_cpu(other), rtol=1e-10, atol=1e-13)
    operator = HessianOperator(objective, Journal(None, b"", torch.float64, torch.device("cpu")))
    torch.testing.assert_close(operator(on_cpu(vector)), on_cpu(expected.hvp(vector)), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(magnitude(objective), on_cpu(expected.params).abs())
    ascent = ascend(objective, magnitude(objective), radius=0.1, norm="l2", num_steps=3)
    assert ascent.highest == pytest.approx(
        ascend(expected, magnitude(expected), radius=0.1, norm="l2", num_steps=3).highest, rel=1e-9
    )
    step = one_step(objective, None, radius=0.1)
    assert step.highest == pytest.approx(one_step(expected, None, radius=0.1).highest, rel=1e-9)
    differences = objective_of(spread, data, way="finite_difference")
    gathered = torch.cat([tensor.cpu().flatten() for tensor in differences.hvp(vector).values()])
    unregularised = on_cpu(objective_of(plain, data).hvp(vector))
    torch.testing.assert_close(gathered, unregularised, rtol=1e-6, atol=1e-8)
