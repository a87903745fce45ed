"""Time a scan against the plainest loop on the same cores, the loop of the classic tools, and other packages.

Every contender lives in processes of its own, forked before torch computes anything, and they work in turns: ours,
floor, classic, ours, … Ratios are medians over the rounds. What the numbers mean is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import functools
import itertools
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, cast

import torch
import torch.nn.functional as F
from pydantic import JsonValue
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

import landscape_cli  # noqa: E402
from landscape_cli.cli.scanning import _keep_freed_memory  # noqa: E402
from landscape_cli.compute.memory import num_cores  # noqa: E402
from landscape_cli.compute.observer import Preflight, Silent  # noqa: E402
from scripts import workloads  # noqa: E402
from scripts.workloads import Workload  # noqa: E402

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Facts: TypeAlias = dict[str, JsonValue]

NUM_POINTS = 51  # along each of the two axes
SPLIT = "test"
BATCH_SIZE = 128  # of the classic tools
FLOOR_CHUNKS: dict[Device, Sequence[int]] = {
    "cpu": (16, 32, 64, 128, 256, 500, 1000, 2000),
    "cuda": (128, 256, 512, 1024, 2048, 4096, 8192),
}
PEERS = ("loss_landscapes", "landscaper", "loss_landscape_3d")
QUICK = ("mlp", "cnn", "resnet20", "vit")
RUNS: dict[Device, Sequence[tuple[str, Precision]]] = {
    "cpu": [(name, "float32") for name in (*QUICK, "resnet56")],
    "cuda": [("resnet56", "bfloat16"), ("resnet56", "float32"), ("mlp", "float32"), ("resnet50", "bfloat16")],
}
# What the centre may differ by between engines.
RTOL: dict[Precision, float] = {"float32": 1e-5, "bfloat16": 2e-2}
# Least ratios of the time of others to ours, and most minutes for 51×51 points.
TARGETS: Mapping[tuple[Device, str, Precision], Mapping[str, float]] = {
    ("cpu", "mlp", "float32"): {"classic": 15, "floor": 4},
    ("cpu", "cnn", "float32"): {"classic": 5, "floor": 1},
    ("cpu", "resnet20", "float32"): {"classic": 2.5, "floor": 0.95},
    ("cpu", "vit", "float32"): {"classic": 1.5, "floor": 0.9},
    ("cuda", "resnet56", "bfloat16"): {"classic": 15, "floor": 0.8, "minutes": 5},
    ("cuda", "resnet56", "float32"): {"classic": 15, "floor": 0.8, "minutes": 12},
}
_SECONDS_TO_ANSWER = 240.0
_SECONDS_TO_END = 5.0
_SECONDS_FOR_A_RUN = 45.0  # with less left of --minutes the next workload is skipped
# A scan has pieces of 0.1 s under way: its clock starts when they flow, and others wait until they have ended.
_SECONDS_TO_FLOW = 0.3
_SECONDS_TO_SETTLE = 0.3
_SECONDS_TO_LOOK = 0.2


class BenchError(Exception):
    """A contender has failed, or does not compute the same."""


@dataclass(frozen=True)
class Run:
    """One workload on one device in one precision, with so many cores for everybody."""

    workload: Workload
    device: Device
    precision: Precision
    cores: int


@dataclass(frozen=True)
class Turn:
    """What a process has done when it was its turn."""

    num_points: int
    seconds: float


# ---------------------------------------------------------------- contenders


class Contender(Protocol):
    """Evaluates points while it is its turn."""

    def measure(self, seconds: float) -> Turn:
        """Work for about that long, and for one point at least."""

    def facts(self) -> Facts:
        """What else there is to say, for the JSON."""


class Point:
    """A copy of the network that a plain loop moves along two directions, whose filters are as long as its own."""

    def __init__(self, run: Run) -> None:
        self.model = _copy(run)
        self.params = list(self.model.parameters())
        self.weights = [parameter.clone() for parameter in self.params]
        generator = torch.Generator().manual_seed(1)
        self.directions = [[_like(weight, generator) for weight in self.weights] for _ in range(2)]
        self.coordinates = itertools.cycle(itertools.product((-0.7, 0.1, 0.4), (-0.3, 0.2, 0.6)))


def _copy(run: Run) -> nn.Module:
    return copy.deepcopy(run.workload.model).to(run.device).requires_grad_(requires_grad=False)


def _like(weight: Tensor, generator: torch.Generator) -> Tensor:
    if weight.ndim < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator).to(weight.device)
    dims = tuple(range(1, weight.ndim))
    wanted, found = (torch.linalg.vector_norm(each, dim=dims, keepdim=True) for each in (weight, drawn))
    return drawn.mul_(wanted / found)


class Floor:
    """The plainest loop: data in memory, weights from θ* at each point, contiguous forward passes, ``.item()``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        if run.device == "cpu":
            torch.set_num_threads(1)
        self.point = Point(run)
        self.inputs, self.labels = run.workload.inputs.to(run.device), run.workload.labels.to(run.device)
        self.chunk = BATCH_SIZE

    @torch.inference_mode()
    def loss(self, alpha: float, beta: float) -> float:
        """Mean loss; the accuracy is computed as well."""
        point = self.point
        for p, w, d1, d2 in zip(point.params, point.weights, *point.directions, strict=True):
            p.copy_(w).add_(d1, alpha=alpha).add_(d2, alpha=beta)
        total = correct = 0.0
        with _arithmetic(self.run):
            for x, y in zip(*(torch.split(each, self.chunk) for each in (self.inputs, self.labels)), strict=True):
                outputs = point.model(x).float()
                total += F.cross_entropy(outputs, y, reduction="sum").item()
                correct += (outputs.argmax(dim=1) == y).sum().item()
        return total / len(self.labels)

    def use(self, chunk: int) -> None:
        """Take so many examples per forward pass from now on."""
        self.chunk = chunk

    def measure(self, seconds: float) -> Turn:
        """See `Contender`."""
        return _repeat(lambda: self.loss(*next(self.point.coordinates)), seconds)

    def facts(self) -> Facts:
        """See `Contender`."""
        return {"chunk": self.chunk, "centre_loss": self.loss(0, 0), **_device_facts(self.run)}

    def activation_bytes(self, chunk: int) -> int:
        """What a forward pass of so many examples adds to the memory of the device at its peak."""
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.inference_mode(), _arithmetic(self.run):
            self.point.model(self.inputs[:chunk])
        return int(torch.cuda.max_memory_allocated()) - before


class KeepingFloor(Floor):
    """The same with our remedy for page faults, which no plain script has."""

    def __init__(self, run: Run) -> None:
        _keep_freed_memory()
        super().__init__(run)


class Images(Dataset[tuple[Tensor, int]]):
    """Images that are transformed one by one, every time, as torchvision's CIFAR-10 is: array → PIL → tensor."""

    def __init__(self, workload: Workload) -> None:
        self.pixels = workload.images.squeeze(-1).numpy()
        self.labels = workload.labels.tolist()
        self.uses_pil = workloads.has_module("PIL") and workloads.has_module("torchvision")
        self._read = workloads.pil_reader() if self.uses_pil else workloads.plain_reader()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._read(self.pixels[index]), self.labels[index]


class Classic:
    """The loop of tomgoldstein/loss-landscape: a DataLoader per point, one parameter after the other, all threads.

    Left out is what would cost it more: it reads the directions from an HDF5 file at every point.
    """

    def __init__(self, run: Run, num_workers: int = 2) -> None:
        self.run = run
        torch.set_num_threads(run.cores)
        self.point = Point(run)
        self.images = Images(run.workload)
        self.loader = DataLoader(self.images, batch_size=BATCH_SIZE, shuffle=False, num_workers=num_workers)
        self.criterion = nn.CrossEntropyLoss()

    def loss(self, alpha: float, beta: float) -> float:
        """Mean loss; the accuracy is computed as well."""
        point = self.point
        changes = [d1 * alpha + d2 * beta for d1, d2 in zip(*point.directions, strict=True)]
        for p, w, d in zip(point.params, point.weights, changes, strict=True):
            p.data = w + d
        total = correct = 0.0
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # more workers than cores, forking beside threads
            for x, y in self.loader:
                inputs, targets = x.to(self.run.device), y.to(self.run.device)
                outputs = point.model(inputs)
                total += self.criterion(outputs, targets).item() * len(targets)
                correct += torch.max(outputs, 1)[1].eq(targets).sum().item()
        return total / len(self.images)

    def measure(self, seconds: float) -> Turn:
        """See `Contender`."""
        return _repeat(lambda: self.loss(*next(self.point.coordinates)), seconds)

    def facts(self) -> Facts:
        """See `Contender`."""
        images = "PIL and torchvision per example" if self.images.uses_pil else "tensors, normalised per example"
        return {"images": images, "num_workers": self.loader.num_workers, "centre_loss": self.loss(0, 0)}


class Peer:
    """A package from the registry through its public functions, as it comes; a turn is one small plane."""

    def __init__(self, name: str, run: Run) -> None:
        self.name, self.run = name, run
        torch.set_num_threads(run.cores)
        self.model = _copy(run)
        self.inputs, self.labels = run.workload.inputs, run.workload.labels
        with _silence():
            self._plane: Callable[[], int] = getattr(self, f"_{name}")()

    def measure(self, seconds: float) -> Turn:  # noqa: ARG002  # a plane takes what it takes
        """See `Contender`."""
        with _silence():
            start = time.perf_counter()
            return Turn(self._plane(), time.perf_counter() - start)

    def facts(self) -> Facts:
        """See `Contender`."""
        return {"version": _version(self.name)}

    def _loss_landscapes(self) -> Callable[[], int]:
        package, metrics = import_module("loss_landscapes"), import_module("loss_landscapes.metrics")
        metric = metrics.Loss(F.cross_entropy, self.inputs, self.labels)
        return lambda: int(package.random_plane(self.model, metric, steps=2, deepcopy_model=True).size)

    def _landscaper(self) -> Callable[[], int]:
        compute = import_module("landscaper.compute").compute_loss_landscape

        def mean_loss(model: nn.Module, _: object) -> float:  # landscaper leaves it to its user
            batches = zip(*(torch.split(each, BATCH_SIZE) for each in (self.inputs, self.labels)), strict=True)
            return sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches) / len(self.labels)

        directions = [[torch.randn_like(parameter) for parameter in self.model.parameters()] for _ in range(2)]
        options = {"steps": 2, "distance": 1.0, "dim": 2, "device": "cpu"}
        return lambda: int(compute(self.model, None, directions, mean_loss, **options)[0].size)

    def _loss_landscape_3d(self) -> Callable[[], int]:
        package = import_module("loss_landscape_3d")
        loader = DataLoader(TensorDataset(self.inputs, self.labels), batch_size=BATCH_SIZE)
        calculator = package.LossLandscapeCalculator(self.model, loader, nn.CrossEntropyLoss())
        directions = package.generate_random_directions(self.model)
        centre = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return lambda: int(calculator.calculate([0.1, 0.2], [0.3], *directions, centre).size)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        Path(os.devnull).open("w") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _repeat(evaluate: Callable[[], object], seconds: float) -> Turn:
    num_points, elapsed, start = 0, 0.0, time.perf_counter()
    while not num_points or elapsed < seconds:
        evaluate()
        num_points, elapsed = num_points + 1, time.perf_counter() - start
    return Turn(num_points, elapsed)


@contextlib.contextmanager
def _arithmetic(run: Run) -> Iterator[None]:
    """Autocast or true float32 on a GPU, as ours."""
    if run.device == "cpu":
        yield
        return
    is_reduced = run.precision == "bfloat16"
    with torch.backends.cudnn.flags(allow_tf32=False), torch.autocast("cuda", torch.bfloat16, enabled=is_reduced):
        yield


def _device_facts(run: Run) -> Facts:
    if run.device == "cpu":
        return {}
    return {"device": torch.cuda.get_device_name(), "peak_bytes": int(torch.cuda.max_memory_allocated())}


def _version(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package.replace("_", "-"))
    return None


# ---------------------------------------------------------------- ours


class Pacer(Silent):
    """Watches our scan, lets it run while it is its turn, and counts its points between two moments of full speed."""

    def __init__(self, connection: Connection, device: Device) -> None:
        self.connection = connection
        self.device = device
        self.facts: Facts = {}
        self.ended = False
        self._started = 0.0
        self._seconds = 0.0
        self._flows_at = 0.0
        self._entered = self._first = self._last = Turn(0, 0)

    def wait(self) -> None:
        """Wait for the next turn."""
        message = _receive(self.connection)
        self.ended = message is None or message[0] != "measure"
        if message is not None and not self.ended:
            self._seconds = float(message[1])
        self._started = time.perf_counter()
        self._enter(self._last.num_points)

    def _enter(self, num_points: int) -> None:
        now = time.perf_counter()
        self._entered = self._first = self._last = Turn(num_points, now)
        self._flows_at = now + _SECONDS_TO_FLOW

    def preflight(self, preflight: Preflight) -> None:
        """Note what was chosen, and begin to count."""
        seconds = time.perf_counter() - self._started
        self.facts = cast(Facts, {**asdict(preflight), "seconds_before_first_point": seconds})
        if self.device == "cuda":  # what calibration has tried is not what the scan takes
            self.facts["peak_bytes_before"] = int(torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
        self._enter(0)

    def progress(self, num_evaluated: int) -> None:
        """Start the clock, look at it, or stop it and wait for the next turn."""
        now = Turn(num_evaluated, time.perf_counter())
        self._last = now
        if self._first is self._entered:
            if now.seconds >= self._flows_at:
                self._first = now
        elif now.seconds - self._first.seconds >= self._seconds:
            self.answer()
            self.wait()

    def answer(self) -> None:
        """Tell what was done since the clock was started."""
        first = self._entered if self._first.num_points == self._last.num_points else self._first
        turn = Turn(self._last.num_points - first.num_points, self._last.seconds - first.seconds)
        self.connection.send(turn)


def serve_ours(run: Run, connection: Connection) -> None:
    """Scan 51×51 points as the command does, again and again, until there are no more turns."""
    _keep_freed_memory()
    torch.set_num_threads(run.cores)
    data = TensorDataset(run.workload.inputs, run.workload.labels)
    pacer = Pacer(connection, run.device)
    engines: list[JsonValue] = []
    pacer.wait()
    while not pacer.ended:
        surface = landscape_cli.scan_model(
            run.workload.model,
            {SPLIT: data},
            axes={"x": {"num": NUM_POINTS}, "y": {"num": NUM_POINTS}},
            metrics=["accuracy"],
            evaluation={"precision": run.precision},
            runtime={"device": "cpu" if run.device == "cpu" else "cuda:0"},
            observer=pacer,
            should_stop=lambda: pacer.ended,
        )
        engines.append(dict(surface.provenance.engine))
        pacer.facts["centre_loss"] = surface.metrics[f"{SPLIT}_loss"].centre
        if not pacer.ended:
            pacer.answer()
            pacer.wait()
    connection.send({**pacer.facts, "engines": engines, **_device_facts(run)})


# ---------------------------------------------------------------- processes


def _receive(connection: Connection) -> tuple[str, float] | None:
    """The next message; None when nobody will ever send one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    ready = wait([connection, parent.sentinel])
    message: tuple[str, float] | None = connection.recv() if connection in ready else None
    return message


def serve(make: Callable[[], Contender], connection: Connection) -> None:
    """Answer ``(method, *arguments)`` until told to end."""
    contender = make()
    while (message := _receive(connection)) is not None:
        method, *arguments = message
        try:
            connection.send(getattr(contender, method)(*arguments))
        except torch.OutOfMemoryError as error:
            connection.send(BenchError(f"out of memory: {error}"))


def _guarded(work: Callable[[Connection], None], connection: Connection) -> None:
    try:
        work(connection)
    except Exception as error:  # noqa: BLE001  # the parent says it
        connection.send(BenchError(f"{type(error).__name__}: {error}"))


class Crew:
    """The processes of one contender; all of them have their turns together.

    Args:
        name: For messages.
        work: Runs in each process.
        size: How many.
    """

    def __init__(self, name: str, work: Callable[[Connection], None], size: int = 1) -> None:
        self.name = name
        context = multiprocessing.get_context("fork")
        pairs = [context.Pipe() for _ in range(size)]
        self._connections = [ours for ours, _ in pairs]
        self._processes = [context.Process(target=_guarded, args=(work, theirs)) for _, theirs in pairs]
        for process, (_, theirs) in zip(self._processes, pairs, strict=True):
            process.start()
            theirs.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_SECONDS_TO_END)
            process.kill()
            process.join()

    def ask(self, method: str, *arguments: float) -> list[object]:
        """Call a method in all processes at the same time.

        Raises:
            BenchError: One of them has failed or does not answer.
        """
        for connection in self._connections:
            connection.send((method, *arguments))
        return [self._answer(connection) for connection in self._connections]

    def _answer(self, connection: Connection) -> object:
        if not connection.poll(_SECONDS_TO_ANSWER):
            raise BenchError(f"no answer within {_SECONDS_TO_ANSWER:.0f} s")
        try:
            answer: object = connection.recv()
        except EOFError:
            raise BenchError("its process has ended") from None
        if isinstance(answer, BenchError):
            raise answer
        return answer

    def seconds_per_point(self, seconds: float) -> float:
        """Have a turn; the points of all processes count."""
        turns = cast("list[Turn]", self.ask("measure", seconds))
        return 1 / sum(turn.num_points / turn.seconds for turn in turns)

    def facts(self) -> Facts:
        """Of the first process."""
        return cast(Facts, self.ask("facts")[0])


# ---------------------------------------------------------------- one workload


@dataclass
class Result:
    """One workload; seconds are per point, by contender, and the median of the rounds.

    Attributes:
        ratios: Contender → how many times as long as ours it takes.
        targets: What the ratios must be at least, and the minutes at most.
        minutes: For 51×51 points, without what comes before the first one.
        rounds: Everything that was measured, with the load of the machine before each round and the cores that
            others kept busy.
    """

    workload: str
    device: Device
    precision: Precision
    num_examples: int
    num_parameters: int
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    minutes: float = math.nan
    targets: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, float | None]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """Which targets are not reached."""
        return [
            f"{self.workload} {self.precision}: {name} {found:.3g}, target {target:g}"
            for name, target in self.targets.items()
            for found in [self.minutes if name == "minutes" else self.ratios.get(name, math.nan)]
            if not (found <= target if name == "minutes" else found >= target)
        ]


@dataclass(frozen=True)
class Options:
    """How long and with whom.

    Attributes:
        rounds: Of every workload.
        seconds: Of each turn of ours and the floor; half of it for the classic loop.
        peers: Packages to time, if they are there.
        keeping_floor: Also time the floor with the remedy for page faults.
    """

    rounds: int
    seconds: float
    peers: Sequence[str] = ()
    keeping_floor: bool = False


def measure(run: Run, options: Options, deadline: float) -> Result:
    """Time all contenders in turns.

    Args:
        run: What.
        options: How long.
        deadline: No further round begins that would probably end after it.

    Raises:
        BenchError: Ours, the floor or the classic loop fails, or they do not compute the same loss.
    """
    work = run.workload
    targets = dict(TARGETS.get((run.device, work.name, run.precision), {}))
    result = Result(work.name, run.device, run.precision, len(work), work.num_parameters, targets=targets)
    size = run.cores if run.device == "cpu" else 1
    with contextlib.ExitStack() as stack:
        crews = {"ours": stack.enter_context(Crew("ours", functools.partial(serve_ours, run)))}
        floors = {"floor": Floor, **({"floor, keeping memory": KeepingFloor} if options.keeping_floor else {})}
        for name, kind in floors.items():
            work_of = functools.partial(serve, functools.partial(kind, run))
            crews[name] = stack.enter_context(Crew(name, work_of, size))
        others: dict[str, Callable[[], Contender]] = {"classic": functools.partial(Classic, run)}
        for name in options.peers:
            if workloads.has_module(name):
                others[name] = functools.partial(Peer, name, run)
            else:
                result.skipped[name] = "not installed"
        for name, make in others.items():
            crews[name] = stack.enter_context(Crew(name, functools.partial(serve, make)))
        _warm_up(crews, floors, run, result)
        _rounds(crews, options, deadline, result)
        _conclude(crews, run, result)
    return result


def _warm_up(crews: dict[str, Crew], floors: Mapping[str, object], run: Run, result: Result) -> None:
    """Everything that happens once: calibration, the best chunk of the floors, the first point of the others."""
    for name in list(crews):
        try:
            if name in floors:
                result.facts[name] = {"searched": _search_chunk(crews[name], run)}
            else:
                crews[name].seconds_per_point(0.0)
        except BenchError as error:
            if name not in PEERS:
                raise BenchError(f"{name}: {error}") from error
            result.skipped[name] = str(error).splitlines()[0]
            del crews[name]
        _look_around()


def _search_chunk(crew: Crew, run: Run) -> JsonValue:
    """Leave the floor with the fastest of the chunk sizes; returns the seconds per point of each."""
    num = len(run.workload)
    sizes = sorted({min(size, num) for size in FLOOR_CHUNKS[run.device]})
    found: dict[int, float] = {}
    for size in (*sizes, *reversed(sizes)):
        with contextlib.suppress(BenchError):  # out of memory
            crew.ask("use", size)
            found[size] = min(found.get(size, math.inf), crew.seconds_per_point(0.25))
    if not found:
        raise BenchError("no chunk size works")
    crew.ask("use", min(found, key=found.__getitem__))
    return {str(size): seconds for size, seconds in found.items()}


def _rounds(crews: Mapping[str, Crew], options: Options, deadline: float, result: Result) -> None:
    names = list(crews)
    longest = 0.0
    for number in range(options.rounds):
        start = time.perf_counter()
        if number and start + longest > deadline:
            result.skipped["rounds"] = f"{options.rounds - number} of {options.rounds}, out of time"
            return
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        measured: dict[str, float | None] = {"load": load, "busy_with_others": _look_around()}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            measured[name] = crews[name].seconds_per_point(options.seconds / (1 if name in ("ours", "floor") else 2))
            if name == "ours":
                time.sleep(_SECONDS_TO_SETTLE)
        result.rounds.append(measured)
        longest = max(longest, time.perf_counter() - start)


def _conclude(crews: Mapping[str, Crew], run: Run, result: Result) -> None:
    """Medians, the targets, and whether all of them have computed the same."""
    result.facts = {name: {**result.facts.get(name, {}), **crew.facts()} for name, crew in crews.items()}
    for name in crews:
        times = [(_number(each[name]), _number(each["ours"])) for each in result.rounds]
        result.seconds[name] = statistics.median(theirs for theirs, _ in times)
        if name != "ours":
            result.ratios[name] = statistics.median(theirs / ours for theirs, ours in times)
    result.minutes = NUM_POINTS**2 * result.seconds["ours"] / 60
    ours = _number(result.facts["ours"]["centre_loss"])
    for name in ("floor", "classic") if run.device == "cpu" else ("floor",):
        check_same(ours, _number(result.facts[name]["centre_loss"]), RTOL[run.precision], f"{run.workload.name} {name}")
    if run.device == "cuda":
        result.memory = _memory(crews["floor"], run, result.facts["ours"])


def check_same(ours: float, theirs: float, rtol: float, what: str) -> None:
    """Refuse to compare the speed of loops that compute something else.

    Raises:
        BenchError: The losses of the network itself differ by more than ``rtol``.
    """
    if not math.isclose(ours, theirs, rel_tol=rtol):
        raise BenchError(f"{what}: the loss at the centre is {theirs!r}, ours {ours!r}; they must agree to {rtol:g}")


def _memory(floor: Crew, run: Run, ours: Facts) -> dict[str, float]:
    """Bytes at the peak of the scan, and what they should be: data, 3 × parameters, and activations of one call."""
    engines = cast("list[Facts]", ours["engines"])
    chunk = int(_number(cast(Facts, engines[-1]["chunk_sizes"])[SPLIT]))
    points = int(_number(engines[-1]["points_per_call"]))
    data = run.workload.inputs.nbytes + run.workload.labels.nbytes
    activations = points * int(cast(int, floor.ask("activation_bytes", chunk)[0]))
    params = sum(parameter.nbytes for parameter in run.workload.model.parameters())
    expected = data + 3 * params + activations
    peak = _number(ours["peak_bytes"])
    parts = {"data": data, "parameters": params, "activations": activations}
    return {"peak": peak, "expected": expected, "ratio": peak / expected, **parts}


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _look_around() -> float | None:
    """How many cores others keep busy while all contenders wait; None where the kernel does not say."""
    before = _busy_jiffies()
    time.sleep(_SECONDS_TO_LOOK)
    after = _busy_jiffies()
    if before is None or after is None:
        return None
    return (after - before) / os.sysconf("SC_CLK_TCK") / _SECONDS_TO_LOOK


def _busy_jiffies() -> int | None:
    with contextlib.suppress(OSError):
        user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
        return user + nice + system + interrupts + soft
    return None


# ---------------------------------------------------------------- report


def machine(cores: int) -> Facts:
    """Processor, cores, memory; no names of hosts."""
    model = None
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = torch.backends.cpu.get_cpu_capability()
    return {"cpu": model or platform.processor(), "capability": flags, "cores": cores, "memory_gib": round(gibibytes)}


def versions() -> Facts:
    """Of everything that matters for the speed."""
    packages = ("torch", "torchvision", "numpy", "pillow", "scikit-learn")
    return {
        "landscape": landscape_cli.__version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
        "cuda": torch.version.cuda,
        "libc": " ".join(platform.libc_ver()),
    }


def document(results: Sequence[Result], skipped: Mapping[str, str], cores: int) -> Facts:
    """What is written to the file."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found = [{**asdict(result), "missed": result.missed()} for result in results]
    about: Facts = {"date": now, "machine": machine(cores), "versions": versions(), "skipped": dict(skipped)}
    return {**about, "results": cast(JsonValue, found)}


def write(content: Facts, out: Path) -> None:
    """Replace the file at once: a benchmark that is killed leaves a whole one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(_finite(content), indent=1) + "\n")
    part.replace(out)


def _finite(value: JsonValue) -> JsonValue:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def out_file(out: Path, device: Device, cores: int, results: Sequence[Result]) -> Path:
    """The file itself, or one in the folder that is named after the machine."""
    if out.suffix == ".json":
        return out
    if device == "cpu":
        return out / f"cpu-{cores}-cores.json"
    found = [str(result.facts["floor"].get("device")) for result in results if "floor" in result.facts]
    return out / f"{'-'.join((found or ['cuda'])[0].lower().split())}.json"


def table(results: Sequence[Result]) -> str:
    """Times per point, ratios beside their targets, and what calibration has chosen, as Markdown."""
    rows = [["workload", "examples", "ours", "floor", "classic", "vs classic", "vs floor", "engine", "51×51 points"]]
    for each in results:
        chunk = each.facts.get("floor", {}).get("chunk")
        name = each.workload if each.precision == "float32" else f"{each.workload} {each.precision}"
        rows.append(
            [
                name,
                f"{each.num_examples:,}",
                _milliseconds(each.seconds["ours"]),
                f"{_milliseconds(each.seconds['floor'])} (chunk {chunk})",
                _milliseconds(each.seconds["classic"]),
                *(_beside_target(each, other) for other in ("classic", "floor")),
                str(each.facts.get("ours", {}).get("engine", "")),
                _minutes(each),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _beside_target(result: Result, other: str) -> str:
    ratio, target = result.ratios[other], result.targets.get(other)
    return f"{ratio:.2f}×" + (f" (≥ {target:g}× {'yes' if ratio >= target else 'NO'})" if target else "")


def _minutes(result: Result) -> str:
    target = result.targets.get("minutes")
    words = f" (≤ {target:g} {'yes' if result.minutes <= target else 'NO'})" if target else ""
    return f"{result.minutes:.2g} min{words}"


def notes(result: Result) -> Iterator[str]:
    """Everything that is not in the table."""
    for name in result.ratios:
        if name not in ("floor", "classic"):
            about = result.facts.get(name, {}).get("version")
            label = f"{name} {about}" if about else name
            yield f"{result.workload}: {label} {_milliseconds(result.seconds[name])}, {result.ratios[name]:.2f}× ours"
    if result.memory:
        peak, expected = result.memory["peak"] / 2**20, result.memory["expected"] / 2**20
        yield f"{result.workload} {result.precision}: {peak:,.0f} MiB at the peak, {expected:,.0f} MiB expected"
    for name, reason in result.skipped.items():
        yield f"{result.workload}: {name} skipped: {reason}"


# ---------------------------------------------------------------- command line


def main() -> int:
    """Read the command line, measure, print, write."""
    start = time.perf_counter()
    args = _arguments()
    device: Device = args.device
    if device == "cuda" and not torch.cuda.device_count():  # counts without starting CUDA, which forked processes need
        print("error: no CUDA device on this machine (or torch is built without CUDA)", file=sys.stderr)
        return 2
    cores = num_cores()
    torch.set_num_threads(1)  # no threads in this process: it forks
    names = args.workloads.split(",") if args.workloads else (QUICK if args.quick and device == "cpu" else None)
    runs = [run for run in RUNS[device] if names is None or run[0] in names]
    unknown = set(names or ()) - {name for name, _ in runs}
    if unknown:
        print(f"error: no workload {', '.join(sorted(unknown))} for {device}", file=sys.stderr)
        return 2
    rounds, seconds = (3, 5.0) if device == "cuda" else (5, 2.0) if args.quick else (9, 4.0)
    peers = PEERS if device == "cpu" else ()
    options = Options(args.rounds or rounds, seconds, peers, keeping_floor=device == "cpu" and not args.quick)
    end = start + args.minutes * 60
    results: list[Result] = []
    skipped: dict[str, str] = {}
    for i, (name, precision) in enumerate(runs):
        left = end - time.perf_counter()
        label = f"{name} {precision}"
        if left < _SECONDS_FOR_A_RUN:
            skipped[label] = "out of time"
            continue
        print(f"[{time.perf_counter() - start:4.0f} s] {label} …", file=sys.stderr, flush=True)
        try:
            run = Run(_make(name, device), device, precision, cores)
            results.append(measure(run, options, time.perf_counter() + left / (len(runs) - i)))
        except (BenchError, ImportError) as error:
            skipped[label] = f"failed: {error}"
        if args.out is not None:
            write(document(results, skipped, cores), out_file(args.out, device, cores, results))
    _print(results, skipped, time.perf_counter() - start)
    if args.out is not None:
        print(f"written: {out_file(args.out, device, cores, results)}")
    return 1 if any(reason.startswith("failed") for reason in skipped.values()) else 0


def _print(results: Sequence[Result], skipped: Mapping[str, str], seconds: float) -> None:
    if results:
        print(table(results))
    for line in itertools.chain.from_iterable(map(notes, results)):
        print(line)
    for name, reason in skipped.items():
        print(f"{name}: {reason}")
    for line in itertools.chain.from_iterable(result.missed() for result in results):
        print(f"missed: {line}")
    print(f"measured in {seconds:.0f} s")


@functools.lru_cache(maxsize=1)
def _make(name: str, device: Device) -> Workload:
    return workloads.make(name, device)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} in less than 5 minutes")
    parser.add_argument("--workloads", metavar="A,B", help=f"of {', '.join(workloads.RECIPES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each workload")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=math.inf, help="skip what does not fit into this time")
    parser.add_argument("--out", type=Path, metavar="FILE.json|DIR", help="where to write all that was measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
