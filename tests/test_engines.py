"""Every engine against the model with its parameters moved by hand, and against `sequential`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from workers import worker_of

from landscape_cli import scan_model
from landscape_cli.compute.data import Batches
from landscape_cli.compute.engines.contract import UnsupportedError
from landscape_cli.compute.engines.table import ENGINES
from landscape_cli.compute.evaluate import Values
from landscape_cli.compute.metrics import accuracy, cross_entropy
from landscape_cli.compute.plan import Plan
from landscape_cli.compute.worker import Worker

N = 11
CLASSES = 3


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(CLASSES, 4), nn.Linear(4, CLASSES)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class Functional(nn.Module):
    """A perceptron written out, with a reshape by hand and no bias in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(12, 7), nn.Linear(7, 6, bias=False), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x.view(x.size(0), -1)))
        return F.log_softmax(self.last(F.gelu(self.middle(hidden), approximate="tanh")), dim=-1)


class TiedPerceptron(nn.Module):
    """The same square layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.layer(F.relu(self.layer(x)))))


def images() -> Tensor:
    return torch.randn(N, 3, 6, 6)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear": (lambda: nn.Linear(4, CLASSES), lambda: torch.randn(N, 4)),
    "perceptron": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 8), nn.ELU(), nn.Linear(8, CLASSES)
        ),
        lambda: torch.randn(N, 3, 2, 2),
    ),
    "functional perceptron": (Functional, lambda: torch.randn(N, 3, 4)),
    "tied perceptron": (TiedPerceptron, lambda: torch.randn(N, 4)),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, CLASSES)
        ),
        images,
    ),
    "batchnorm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, CLASSES),
        ),
        images,
    ),
    "batchnorm without bias": (
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=0.1), nn.ReLU()),
            *(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6, affine=False), nn.Flatten(), nn.Linear(24, CLASSES)),
        ),
        images,
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, groups=3), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES)
        ),
        images,
    ),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 2, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, CLASSES),
        ),
        images,
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, CLASSES)),
        lambda: torch.randint(10, (N, 3)),
    ),
    "attention": (Attention, lambda: torch.randn(N, 5, 4)),
    "recurrent": (Recurrent, lambda: torch.randn(N, 5, 4)),
    "tied": (Tied, lambda: torch.randint(CLASSES, (N,))),
}
# What an engine is not for; everything else must run.
REFUSED = {
    "channels_last": {"linear", "perceptron", "functional perceptron", "tied perceptron"}
    | {"embedding", "attention", "recurrent", "tied"},
    "folded": set(MODELS) - {"batchnorm", "batchnorm without bias"},
    "stacked": {"recurrent"},
    "mlp": set(MODELS) - {"perceptron", "functional perceptron", "tied perceptron"},
}
SINGLE = ("sequential", "channels_last", "folded", "compiled")


def problem_of(name: str, seed: int, device: str = "cpu") -> tuple[Worker, nn.Module, Batches]:
    make_model, make_inputs = MODELS[name]
    torch.manual_seed(seed)
    model, inputs = make_model(), make_inputs()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2.0)  # type: ignore[operator,union-attr]
    data = Batches(inputs, torch.randint(CLASSES, (N,)), None, "")
    return worker_of(copy.deepcopy(model), {"a": data}, device=device), model.eval(), data


def plan_of(engine: str, chunk: int, points: int) -> Plan:
    return Plan(engine, {"a": min(chunk, N)}, 1 if engine in SINGLE else points)


def by_hand(worker: Worker, model: nn.Module, data: Batches, point: int) -> Values:
    """Plain evaluation in float64 of a copy of the model whose parameters were moved one by one."""
    slice_index, coordinates = worker.problem.grid.location(point)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for coordinate, direction in zip(coordinates, worker.problem.draw(slice_index), strict=True):
            for name, parameter in moved.named_parameters():
                if name in direction:  # what does not move is left out
                    parameter.add_(direction[name], alpha=coordinate)
        inputs = data.inputs
        assert isinstance(inputs, Tensor)
        outputs = moved.double()(inputs.double() if inputs.is_floating_point() else inputs)
        losses = F.cross_entropy(outputs, data.targets, reduction="none")
        right = (outputs.argmax(1) == data.targets).double()
    return {
        "a_loss": (losses.mean().item(), losses.std().item()),
        "a_accuracy": (right.mean().item(), right.std().item()),
    }


@pytest.mark.parametrize("engine", ["sequential", "channels_last", "folded", "stacked", "mlp"])
@pytest.mark.parametrize("name", MODELS)
@given(seed=st.integers(0, 1000), chunk=st.integers(1, 12), points=st.integers(1, 5), data=st.data())
@settings(max_examples=4, deadline=None)
def test_every_engine_gives_the_values_of_the_model_moved_by_hand(
    name: str, engine: str, seed: int, chunk: int, points: int, data: st.DataObject
) -> None:
    worker, model, batches = problem_of(name, seed)
    worker.use(plan_of(engine, chunk, points))
    first = data.draw(st.sampled_from([0, 25]))  # both slices
    block = [first + data.draw(st.integers(0, 24)) for _ in range(data.draw(st.integers(1, 6)))]
    if name in REFUSED.get(engine, set()):
        with pytest.raises(UnsupportedError):
            worker.measure(block)
        return
    values = worker.measure(block)
    assert values is not None
    for point, found in zip(block, values, strict=True):
        exact = by_hand(worker, model, batches, point)
        assert found["a_loss"] == pytest.approx(exact["a_loss"], rel=1e-5, abs=1e-7)
        assert found["a_accuracy"] == pytest.approx(exact["a_accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perceptron", "batchnorm", "attention", "tied"])
def test_compiled_gives_the_values_of_the_model_moved_by_hand(name: str) -> None:
    worker, model, batches = problem_of(name, 0)
    worker.use(plan_of("compiled", 4, 1))
    block = [0, 12, 24, 30]
    for point in block:
        values = worker.measure([point])
        assert values is not None
        assert values[0]["a_loss"] == pytest.approx(by_hand(worker, model, batches, point)["a_loss"], rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_sequential_is_the_plain_evaluation_bit_for_bit_at_the_centre(name: str, device: str) -> None:
    worker, model, data = problem_of(name, 3, device)
    worker.use(plan_of("sequential", 4, 1))
    centre = worker.measure_centre()
    assert centre is not None
    total, right = torch.zeros((), dtype=torch.float64, device=device), 0
    model = model.to(device)
    with torch.no_grad():
        for start in range(0, N, 4):
            inputs, targets = data.part(start, min(start + 4, N))
            assert isinstance(inputs, Tensor)
            outputs = model(inputs.to(device))
            total += F.cross_entropy(outputs, targets.to(device), reduction="none").double().sum()
            right += int((outputs.argmax(1) == targets.to(device)).sum())
    assert centre["a_loss"][0] == total.item() / N
    assert centre["a_accuracy"][0] == right / N
    middle = worker.measure([12])  # coordinates (0, 0) of the first slice
    assert middle is not None
    assert middle[0] == centre


@pytest.mark.slow
@given(seed=st.integers(0, 1000), order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None)
def test_engines_that_take_turns_on_one_network_do_not_disturb_each_other(seed: int, order: list[int]) -> None:
    """Calibration interleaves them: weights and memory formats of one must not be left to the next."""
    worker, _, _ = problem_of("convolution", seed)
    plans = [plan_of(engine, 4, 3) for engine in ("sequential", "channels_last", "stacked")] + [
        plan_of("sequential", 11, 1)
    ]
    alone = []
    for plan in plans:
        fresh, _, _ = problem_of("convolution", seed)
        fresh.use(plan)
        alone.append(fresh.measure([3, 7]))
    for index in order:
        worker.use(plans[index])
        assert worker.measure([3, 7]) == alone[index]


@pytest.mark.parametrize("engine", ["stacked", "mlp"])
@given(seed=st.integers(0, 1000), size=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_a_block_that_is_filled_up_gives_the_same_as_one_filled_by_hand(engine: str, seed: int, size: int) -> None:
    block = [1, 2, 3, 4, 5, 6][:size]
    filled = block + [block[-1]] * (6 - size)
    found = []
    for points in (block, filled):
        worker, _, _ = problem_of("perceptron", seed)
        worker.use(plan_of(engine, 5, 6))
        values = worker.measure(points)
        assert values is not None
        found.append(values[:size])
    assert found[0] == found[1]


def test_the_first_layer_is_forgotten_between_slices() -> None:
    worker, model, data = problem_of("perceptron", 1)
    worker.use(plan_of("mlp", 5, 2))
    for block in ([3, 4], [28, 29], [4, 3]):
        values = worker.measure(block)
        assert values is not None
        for point, found in zip(block, values, strict=True):
            assert found["a_loss"] == pytest.approx(by_hand(worker, model, data, point)["a_loss"], rel=1e-5)


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.c(x + self.b(x))


class Centres(nn.Module):
    """Not row-wise: it looks at the whole chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.cumsum(self.a(x), 0))


class Doubles(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, CLASSES))
    model[0].register_forward_hook(lambda module, inputs, outputs: outputs + 1)
    return model


@pytest.mark.parametrize(
    "make",
    [
        Skips,
        Centres,
        hooked,
        lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, CLASSES)),
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, CLASSES))),
        lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, CLASSES))),
        lambda: nn.Sequential(Doubles(4, 4), nn.Linear(4, CLASSES)),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES)),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.Softmax(0), nn.Linear(4, CLASSES)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_what_only_looks_like_a_chain_is_left_to_other_engines(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    data = Batches(torch.randn(N, 4), torch.randint(CLASSES, (N,)), None, "")
    worker = worker_of(make(), {"a": data})
    worker.use(plan_of("mlp", 5, 2))
    with pytest.raises(UnsupportedError):
        worker.measure([1, 2])


class SharedConvolution(nn.Module):
    """One convolution, called twice, with a BatchNorm each, whose first output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.alone, self.third = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(self.conv(x)))
        x = F.relu(self.second(self.conv(x)) + x)
        y = self.alone(x)
        return self.head((y + self.third(y)).mean((2, 3)))


def test_folding_goes_by_calls_and_leaves_what_is_used_elsewhere() -> None:
    torch.manual_seed(0)
    model = SharedConvolution()
    for norm in (model.first, model.second, model.third):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    data = Batches(images(), torch.randint(CLASSES, (N,)), None, "")
    worker = worker_of(copy.deepcopy(model), {"a": data})
    worker.use(plan_of("folded", 4, 1))
    for point in (0, 12, 30):
        values = worker.measure([point])
        assert values is not None
        assert values[0]["a_loss"] == pytest.approx(by_hand(worker, model.eval(), data, point)["a_loss"], rel=1e-5)


def test_models_of_several_inputs_are_left_to_other_engines() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, CLASSES)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.a(x + y)

    x = torch.randn(N, 4)
    for inputs in ((x, x), {"x": x, "y": x}):
        worker = worker_of(Pair(), {"a": Batches(inputs, torch.randint(CLASSES, (N,)), None, "")})
        expected = worker.measure([3, 4]) if worker.plan.points_per_call > 1 else None
        assert expected is None
        plain = [worker.measure([point]) for point in (3, 4)]
        worker.use(plan_of("stacked", 5, 2))
        together = worker.measure([3, 4])
        assert together is not None
        for alone, found in zip(plain, together, strict=True):
            assert alone is not None
            assert found["a_loss"] == pytest.approx(alone[0]["a_loss"], rel=1e-5)
        worker.use(plan_of("mlp", 5, 2))
        with pytest.raises(UnsupportedError, match="more than one input"):
            worker.measure([3, 4])


# ---------------------------------------------------------------- memory


class Hungry(nn.Module):
    """Wraps a layer and raises what an allocator raises when asked for more than ``limit`` rows."""

    def __init__(self, limit: int, error: type[Exception]) -> None:
        super().__init__()
        self.layer, self.limit, self.error = nn.Linear(4, CLASSES), limit, error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.limit:
            message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1099511627776 bytes."
            raise self.error(message)
        return self.layer(x)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
@given(limit=st.integers(1, 11), chunk=st.integers(1, 11), seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_a_chunk_that_does_not_fit_is_halved_until_it_does(
    error: type[Exception], limit: int, chunk: int, seed: int
) -> None:
    torch.manual_seed(seed)
    data = Batches(torch.randn(N, 4), torch.randint(CLASSES, (N,)), None, "")
    hungry = Hungry(limit, error)
    worker = worker_of(hungry, {"a": data})
    said: list[str] = []
    worker.say = said.append
    worker.use(plan_of("sequential", chunk, 1))
    found = [worker.measure([point]) for point in (12, 0, 24)]
    expected = chunk
    while expected > limit:
        expected //= 2
    assert worker.plan.chunk_sizes == {"a": expected}
    assert len(said) == (0 if expected == chunk else [chunk // 2**k for k in range(5)].index(expected))
    hungry.limit = N
    with torch.no_grad():
        for name, parameter in hungry.named_parameters():
            parameter.copy_(worker.problem.origin[name])
    fresh = worker_of(hungry, {"a": data})
    fresh.use(plan_of("sequential", expected, 1))
    assert found == [fresh.measure([point]) for point in (12, 0, 24)]


def test_a_model_whose_first_chunk_does_not_fit_is_scanned_all_the_same() -> None:
    torch.manual_seed(0)
    dataset = TensorDataset(torch.randn(100, 4), torch.arange(100) % CLASSES)
    hungry = Hungry(20, torch.OutOfMemoryError)
    surface = scan_model(hungry, {"a": dataset}, axes={"x": {"num": 5}})
    assert surface.complete
    assert surface.provenance.engine["chunk_sizes"] == {"a": 12}  # of 100: 50, 25, 12


def test_points_are_halved_before_examples() -> None:
    plan = Plan("stacked", {"a": 64, "b": 3}, 4)
    sizes = []
    while (smaller := plan.halved()) is not None:
        plan = smaller
        sizes.append((plan.points_per_call, plan.chunk_sizes["a"], plan.chunk_sizes["b"]))
    assert sizes == [(2, 64, 3), (1, 64, 3), (1, 32, 1), (1, 16, 1), (1, 8, 1), (1, 4, 1), (1, 2, 1), (1, 1, 1)]


def test_memory_that_does_not_suffice_for_one_example_is_said() -> None:
    from landscape_cli.errors import EvaluationError

    data = Batches(torch.randn(N, 4), torch.randint(CLASSES, (N,)), None, "")
    worker = worker_of(Hungry(0, torch.OutOfMemoryError), {"a": data})
    with pytest.raises(EvaluationError, match="out of memory with one example at a time") as raised:
        worker.measure_centre()
    assert "num_examples" in str(raised.value.hint)


# ---------------------------------------------------------------- precision


def test_bfloat16_is_near_float32_and_not_equal_to_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    data = Batches(torch.randn(200, 64), torch.randint(CLASSES, (200,)), None, "")
    exact, rough = (
        worker_of(copy.deepcopy(model), {"a": data}, precision=precision).measure([7])
        for precision in ("float32", "bfloat16")
    )
    assert exact is not None
    assert rough is not None
    difference = abs(exact[0]["a_loss"][0] / rough[0]["a_loss"][0] - 1)
    assert 1e-6 < difference < 2e-2


def test_float64_differs_from_float32_by_its_rounding() -> None:
    worker, model, data = problem_of("batchnorm", 0)
    double = worker_of(copy.deepcopy(model).double(), {"a": data}, precision="float64")
    found, single = double.measure([24]), worker.measure([24])
    exact = by_hand(double, copy.deepcopy(model).double(), data, 24)
    assert found is not None
    assert single is not None
    assert found[0]["a_loss"][0] == pytest.approx(exact["a_loss"][0], rel=1e-13)
    assert single[0]["a_loss"][0] != found[0]["a_loss"][0]
    assert single[0]["a_loss"][0] == pytest.approx(found[0]["a_loss"][0], rel=1e-5)


def test_every_engine_has_a_name_in_the_config() -> None:
    from typing import get_args

    from landscape_cli.config import RuntimeConfig

    names = set(get_args(RuntimeConfig.model_fields["engine"].annotation))
    assert names == {"auto", *ENGINES}


def test_plans_survive_the_file_and_strangers_do_not() -> None:
    plan = Plan("mlp", {"a": 4, "b": 9}, 8, 2)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.fits({"a": 4, "b": 100})
    assert not any(plan.fits(splits) for splits in ({"a": 3, "b": 100}, {"a": 4}, {"a": 4, "b": 9, "c": 1}))
    assert hash(replace(plan, chunk_sizes={"b": 9, "a": 4})) == hash(plan)
    wrong: list[dict[str, object]] = [
        {},
        {"engine": 3},
        {"chunk_sizes": {}},
        {"chunk_sizes": {"a": 1 << 40}},
        {"chunk_sizes": {"a": 0, "b": 9}},
        {"chunk_sizes": {"a": True, "b": 9}},
        {"points_per_call": "8"},
        {"points_per_call": 10**9},
        {"num_threads": -1},
    ]
    for change in wrong:
        stored = {**plan.to_json(), **change} if change else {}
        assert Plan.from_json(stored) is None  # type: ignore[arg-type]


def test_metrics_see_points_and_examples_in_the_right_order() -> None:
    """K·B examples in a row: the first B belong to the first point."""
    torch.manual_seed(0)
    data = Batches(torch.randn(N, 4), torch.arange(N) % CLASSES, None, "")
    metrics = {"loss": cross_entropy, "accuracy": accuracy, "target": lambda outputs, targets: targets.double()}
    worker = worker_of(nn.Sequential(nn.Linear(4, CLASSES), nn.LogSoftmax(1)), {"a": data}, metrics)
    worker.use(plan_of("mlp", 4, 3))
    values = worker.measure([0, 12, 24])
    assert values is not None
    assert [each["a_target"][0] for each in values] == pytest.approx([data.targets.double().mean().item()] * 3)
    assert len({each["a_loss"][0] for each in values}) == 3


# ---------------------------------------------------------------- on a device


@pytest.mark.parametrize("engine", ["sequential", "channels_last", "folded", "stacked", "mlp", "graphs"])
@pytest.mark.parametrize("name", ["perceptron", "batchnorm", "attention", "recurrent"])
def test_every_engine_gives_the_values_of_the_model_moved_by_hand_on_every_device(
    name: str, engine: str, device: str
) -> None:
    worker, model, data = problem_of(name, 2, device)
    worker.use(Plan(engine, {"a": 4}, 1 if engine in SINGLE else 3))
    refused = REFUSED.get(engine, set()) | (set(MODELS) if engine == "graphs" and device == "cpu" else set())
    if name in refused:
        with pytest.raises(UnsupportedError):
            worker.measure([0, 7, 24])
        return
    for block in ([0, 7, 24], [24, 3, 12]):  # twice: what is captured at one point must be right at the next
        values = worker.measure(block)
        assert values is not None
        for point, found in zip(block, values, strict=True):
            assert found["a_loss"] == pytest.approx(by_hand(worker, model, data, point)["a_loss"], rel=1e-5)


def test_an_evaluation_transfers_once_and_its_chunks_do_not_wait_for_the_device(device: str) -> None:
    """On a GPU any other transfer to the host raises; on a CPU there is nothing to wait for."""
    worker, _, _ = problem_of("batchnorm", 0, device)
    worker.use(plan_of("sequential", 2, 1))
    worker.measure([3])
    plane, chunk = worker.plane(0), worker.splits["a"].first(4)
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        engine = ENGINES["sequential"](worker.network, 1)
        with torch.inference_mode():
            engine.move_to(plane, [(0.1, 0.2)])
            sums = engine.sums("a", chunk)
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert sums.shape == (1, 2, 2)
    assert sums.dtype == torch.float64
    assert sums.device.type == device
