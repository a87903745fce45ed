"""Time a scan against the plainest loop on the same cores, the loop of the classic tools, and other packages.

Every contender lives in processes of its own, which are forked before torch computes anything and work in turns:
ours, floor, classic, ours, floor, classic, … Ratios are medians over the rounds. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
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
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from landscape_cli import __version__, scan_model  # noqa: E402
from landscape_cli.cli.scanning import _keep_freed_memory  # noqa: E402
from landscape_cli.compute.memory import num_cores  # noqa: E402
from landscape_cli.compute.observer import Preflight, Silent  # noqa: E402
from scripts import workloads  # noqa: E402
from scripts.workloads import Workload  # noqa: E402

NUM = 51  # points along each of the two axes
SPLIT = "test"
BATCH_SIZE = 128  # of the classic tools
FLOOR_CHUNKS = {"cpu": (16, 32, 64, 128, 256, 500, 1000, 2000), "cuda": (128, 256, 512, 1024, 2048, 4096, 8192)}
RTOL = {"float32": 1e-5, "bfloat16": 2e-2}
PEERS = ("loss_landscapes", "landscaper", "loss_landscape_3d")
# workload, precision → lowest ratios to reach, and minutes for 51×51 points
TARGETS: Mapping[tuple[str, str, str], Mapping[str, float]] = {
    ("cpu", "mlp", "float32"): {"classic": 15, "floor": 4},
    ("cpu", "cnn", "float32"): {"classic": 5, "floor": 1.0},
    ("cpu", "resnet20", "float32"): {"classic": 2.5, "floor": 0.95},
    ("cpu", "vit", "float32"): {"classic": 1.5, "floor": 0.9},
    ("cuda", "resnet56", "bfloat16"): {"classic": 15, "floor": 0.8, "minutes": 5},
    ("cuda", "resnet56", "float32"): {"classic": 15, "floor": 0.8, "minutes": 12},
}
_SECONDS_TO_ANSWER = 240.0
_SECONDS_TO_END = 5.0
# A scan has pieces of 0.1 s under way: its clock starts when they flow, and others wait until they are done.
_SECONDS_TO_FLOW = 0.3
_SECONDS_TO_SETTLE = 0.4


@dataclass(frozen=True)
class Run:
    """One workload on one device in one precision, and how long each contender works per round."""

    workload: Workload
    device: str
    precision: str
    seconds: float


@dataclass(frozen=True)
class Slice:
    """What a contender has done in its turn."""

    num_points: int
    seconds: float


# ---------------------------------------------------------------- contenders


class Contender(Protocol):
    """Evaluates points for a while when asked to."""

    def measure(self, seconds: float) -> Slice:
        """Work for about that long, at least for one point."""

    def facts(self) -> dict[str, Any]:
        """For the JSON."""


class Point:
    """A copy of the network that plain loops move along two directions, each filter as long as that of the network."""

    def __init__(self, run: Run) -> None:
        self.model = _copy(run)
        self.params = list(self.model.parameters())
        self.weights = [parameter.detach().clone() for parameter in self.params]
        generator = torch.Generator().manual_seed(1)
        self.directions = [[_like_filters(w, generator) for w in self.weights] for _ in range(2)]
        self._turns = itertools.cycle((a, b) for a in (-0.5, 0.1, 0.3, 0.7) for b in (-0.3, 0.2, 0.6))

    def next_coordinates(self) -> tuple[float, float]:
        """Somewhere else than before."""
        return next(self._turns)


def _copy(run: Run) -> nn.Module:
    import copy

    return copy.deepcopy(run.workload.model).to(run.device).requires_grad_(requires_grad=False)


def _like_filters(weight: Tensor, generator: torch.Generator) -> Tensor:
    if weight.ndim < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator).to(weight.device)
    dims = tuple(range(1, weight.ndim))
    return drawn * (weight.norm(dim=dims, keepdim=True) / drawn.norm(dim=dims, keepdim=True))


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
    def loss(self, alpha: float, beta: float) -> tuple[float, float]:
        """Mean loss and accuracy at a point."""
        point = self.point
        for p, w, d1, d2 in zip(point.params, point.weights, *point.directions, strict=True):
            p.copy_(w).add_(d1, alpha=alpha).add_(d2, alpha=beta)
        total = correct = 0.0
        with _arithmetic(self.run):
            for x, y in zip(self.inputs.split(self.chunk), self.labels.split(self.chunk), strict=True):
                outputs = point.model(x).float()
                total += F.cross_entropy(outputs, y, reduction="sum").item()
                correct += (outputs.argmax(dim=1) == y).sum().item()
        return total / len(self.labels), correct / len(self.labels)

    def use(self, chunk: int) -> None:
        """Examples per forward pass from now on."""
        self.chunk = chunk

    def measure(self, seconds: float) -> Slice:
        """See `Contender`."""
        return _repeat(lambda: self.loss(*self.point.next_coordinates()), seconds)

    def facts(self) -> dict[str, Any]:
        """The loss of the network itself."""
        return {"chunk": self.chunk, "centre_loss": self.loss(0.0, 0.0)[0], **_cuda_peak(self.run)}

    def activation_bytes(self, chunk: int) -> int:
        """What a forward pass of so many examples adds to the peak of the device."""
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.inference_mode(), _arithmetic(self.run):
            self.point.model(self.inputs[:chunk])
        return int(torch.cuda.max_memory_allocated()) - before


class FloorKeepingMemory(Floor):
    """The same with our remedy for page faults, which a plain script does not have."""

    def __init__(self, run: Run) -> None:
        _keep_freed_memory()
        super().__init__(run)


class Images(Dataset[tuple[Tensor, int]]):
    """Images that are decoded, transformed and normalised one by one, each time, as torchvision's CIFAR-10 is."""

    def __init__(self, workload: Workload) -> None:
        self.images = workload.images.squeeze(-1).numpy()
        self.labels = workload.labels.tolist()
        self.uses_pil = workloads.has_module("PIL") and workloads.has_module("torchvision")
        self.transform = workloads.pil_transform() if self.uses_pil else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[index]
        if self.transform is not None:
            from PIL import Image  # only where there is one

            return self.transform(Image.fromarray(pixels)), self.labels[index]
        image = torch.from_numpy(pixels).view(*pixels.shape[:2], -1)
        return workloads.normalise(image.permute(2, 0, 1)), self.labels[index]


class Classic:
    """The loop of tomgoldstein/loss-landscape: a DataLoader per point, one parameter after the other, all threads.

    Left out is only what costs it more: that it reads the directions from an HDF5 file at every point.
    """

    def __init__(self, run: Run, num_workers: int = 2) -> None:
        self.run = run
        self.point = Point(run)
        self.images = Images(run.workload)
        self.loader = DataLoader(self.images, batch_size=BATCH_SIZE, shuffle=False, num_workers=num_workers)
        self.criterion = nn.CrossEntropyLoss()

    def loss(self, alpha: float, beta: float) -> tuple[float, float]:
        """Mean loss and accuracy at a point."""
        point = self.point
        changes = [d1 * alpha + d2 * beta for d1, d2 in zip(*point.directions, strict=True)]
        for p, w, d in zip(point.params, point.weights, changes, strict=True):
            p.data = w + d
        total = correct = 0.0
        with torch.no_grad(), _arithmetic(self.run, classic=True):
            for x, y in self.loader:
                inputs, targets = x.to(self.run.device), y.to(self.run.device)
                outputs = point.model(inputs)
                total += self.criterion(outputs, targets).item() * len(targets)
                correct += torch.max(outputs, 1)[1].eq(targets).sum().item()
        return total / len(self.images), correct / len(self.images)

    def measure(self, seconds: float) -> Slice:
        """See `Contender`."""
        return _repeat(lambda: self.loss(*self.point.next_coordinates()), seconds)

    def facts(self) -> dict[str, Any]:
        """Where the images come from, and the loss of the network itself."""
        source = "PIL and torchvision per sample" if self.images.uses_pil else "tensors, normalised per sample"
        return {"images": source, "num_workers": self.loader.num_workers, "centre_loss": self.loss(0.0, 0.0)[0]}


class Peer:
    """A package from the registry through its public functions; a turn is one small plane."""

    def __init__(self, name: str, run: Run) -> None:
        self.name, self.run = name, run
        self.model = _copy(run)
        self.inputs, self.labels = run.workload.inputs, run.workload.labels
        self.plane: Callable[[], int] = getattr(self, f"_{name}")()

    def measure(self, seconds: float) -> Slice:  # noqa: ARG002  # a plane takes as long as it takes
        """Time one plane."""
        with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            start = time.perf_counter()
            num_points = self.plane()
            return Slice(num_points, time.perf_counter() - start)

    def facts(self) -> dict[str, Any]:
        """Its version."""
        from importlib.metadata import version

        return {"version": version(self.name.replace("_", "-"))}

    def _loss_landscapes(self) -> Callable[[], int]:
        import loss_landscapes
        from loss_landscapes.metrics import Loss

        metric = Loss(F.cross_entropy, self.inputs, self.labels)

        def plane() -> int:
            return int(loss_landscapes.random_plane(self.model, metric, steps=2, deepcopy_model=True).size)

        return plane

    def _landscaper(self) -> Callable[[], int]:
        from landscaper.compute import compute_loss_landscape

        directions = [[torch.randn_like(p) for p in self.model.parameters()] for _ in range(2)]

        def plane() -> int:
            loss, _ = compute_loss_landscape(
                self.model, None, directions, self._mean_loss, steps=2, distance=1.0, dim=2, device="cpu"
            )
            return int(loss.size)

        return plane

    def _loss_landscape_3d(self) -> Callable[[], int]:
        from loss_landscape_3d import LossLandscapeCalculator, generate_random_directions

        loader = DataLoader(TensorDataset(self.inputs, self.labels), batch_size=BATCH_SIZE)
        calculator = LossLandscapeCalculator(self.model, loader, nn.CrossEntropyLoss())
        directions = generate_random_directions(self.model)
        centre = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return lambda: int(calculator.calculate([0.1, 0.2], [0.3], *directions, centre).size)

    def _mean_loss(self, model: nn.Module, _: object) -> float:  # landscaper leaves it to its user
        batches = zip(self.inputs.split(BATCH_SIZE), self.labels.split(BATCH_SIZE), strict=True)
        return sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches) / len(self.labels)


def _repeat(evaluate: Callable[[], object], seconds: float) -> Slice:
    num_points, start = 0, time.perf_counter()
    while True:
        evaluate()
        num_points += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return Slice(num_points, elapsed)


@contextlib.contextmanager
def _arithmetic(run: Run, *, classic: bool = False) -> Iterator[None]:
    """Autocast for bfloat16, else true float32 as ours; the classic loop takes torch as it comes."""
    if run.device == "cpu" or classic:
        yield
        return
    with (
        torch.backends.cudnn.flags(allow_tf32=False),
        torch.autocast(run.device, torch.bfloat16, enabled=run.precision == "bfloat16", cache_enabled=False),
    ):
        yield


def _cuda_peak(run: Run) -> dict[str, Any]:
    return {"peak_bytes": int(torch.cuda.max_memory_allocated())} if run.device == "cuda" else {}


# ---------------------------------------------------------------- ours


class Paced(Silent):
    """Watches our scan: lets it run when it is asked to, and counts its points between two moments at full speed."""

    def __init__(self, connection: Connection, is_cuda: bool) -> None:
        self.connection = connection
        self.is_cuda = is_cuda
        self.ended = False
        self.seen: dict[str, Any] = {}
        self.began = time.perf_counter()
        self._seconds: float | None = None
        self._flows_at = 0.0
        self._first = self._last = (0, 0.0)

    def wait(self) -> None:
        """Wait for the next turn."""
        message = self.connection.recv()
        self.ended = message is None or message[0] != "measure"
        self._seconds = None if self.ended else message[1]
        self._flows_at = time.perf_counter() + _SECONDS_TO_FLOW
        self._first = (-1, 0.0)

    def preflight(self, preflight: Preflight) -> None:
        """Note what was chosen."""
        now = time.perf_counter()
        self.seen = {**asdict(preflight), "seconds_before": now - self.began}
        if self.is_cuda:  # what calibration tried is not what the scan takes
            self.seen["peak_bytes_before"] = int(torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
        self._first = self._last = (0, now)
        self._flows_at = now + _SECONDS_TO_FLOW
        self._is_fresh = True

    def progress(self, num_evaluated: int) -> None:
        """Start the clock, look at it, or stop it and wait for the next turn."""
        now = (num_evaluated, time.perf_counter())
        self._last = now
        if self._first[0] <= 0 and now[1] >= self._flows_at:
            self._first = now
        elif self._first[0] > 0 and self._seconds is not None and now[1] - self._first[1] >= self._seconds:
            self.answer()
            self.wait()

    def answer(self) -> None:
        """Tell what was done since the clock started."""
        if self._first[0] < 0 or self._seconds is None:
            return
        self._seconds = None
        self.connection.send(Slice(self._last[0] - self._first[0], self._last[1] - self._first[1]))


def serve_ours(run: Run, connection: Connection) -> None:
    """Scan as the command does, again and again, until told to end."""
    if run.device == "cpu":
        _keep_freed_memory()
    torch.set_num_threads(num_cores_of_machine())
    engines: list[Any] = []
    paced = Paced(connection, run.device == "cuda")
    paced.wait()
    while not paced.ended:
        paced.began = time.perf_counter()
        surface = scan_model(
            run.workload.model,
            {SPLIT: TensorDataset(run.workload.inputs, run.workload.labels)},
            axes={"x": {"num": NUM}, "y": {"num": NUM}},
            metrics=["accuracy"],
            evaluation={"precision": run.precision},
            runtime={"device": "cpu" if run.device == "cpu" else "cuda:0"},
            observer=paced,
            should_stop=lambda: paced.ended,
        )
        engines.append(surface.provenance.engine)
        if not paced.ended:
            paced.answer()
            paced.wait()
    connection.send(
        {
            **paced.seen,
            "centre_loss": surface.metrics[f"{SPLIT}_loss"].centre,
            "calibrations": engines,
            **_cuda_peak(run),
        }
    )
