"""Who is timed: our scan, the plainest loop, the loop of the classic tools, other packages; each in its processes."""

from __future__ import annotations

import contextlib
import copy
import itertools
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
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

from landscape_cli import scan_model
from landscape_cli.cli.process import keep_freed_memory
from landscape_cli.compute.observer import Preflight, Silent
from scripts import workloads
from scripts.workloads import Workload

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Facts: TypeAlias = dict[str, JsonValue]

NUM_POINTS = 51  # along each of the two axes
SPLIT = "test"
BATCH_SIZE = 128  # of the classic tools
PEERS = ("loss_landscapes", "landscaper", "loss_landscape_3d")
_SECONDS_TO_ANSWER = 240.0
_SECONDS_TO_END = 5.0
# A scan has pieces of 0.1 s under way: its clock starts when they flow.
_SECONDS_TO_FLOW = 0.3


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
        keep_freed_memory()
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
        return {"version": version_of(self.name)}

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
    torch.backends.cudnn.allow_tf32 = False  # for good: the process is the floor's own
    with torch.autocast("cuda", torch.bfloat16, enabled=run.precision == "bfloat16"):
        yield


def has_cuda() -> bool:
    """Whether there is a CUDA device; asked in another process, because CUDA started here would not survive a fork."""
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(not torch.cuda.is_available()))
    process.start()
    process.join()
    return process.exitcode == 0


def _device_facts(run: Run) -> Facts:
    if run.device == "cpu":
        return {}
    return {"device": torch.cuda.get_device_name(), "peak_bytes": int(torch.cuda.max_memory_allocated())}


def version_of(package: str) -> str | None:
    """The version of an installed package."""
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

    def progress(self, stage: str, num_evaluated: int, num_total: int) -> None:  # noqa: ARG002  # there are points only
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
    keep_freed_memory()
    torch.set_num_threads(run.cores)
    data = TensorDataset(run.workload.inputs, run.workload.labels)
    pacer = Pacer(connection, run.device)
    engines: list[JsonValue] = []
    pacer.wait()
    while not pacer.ended:
        surface = scan_model(
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
    ready = wait([connection, *([parent.sentinel] if parent else [])])
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
