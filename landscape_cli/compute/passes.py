"""Passes over fixed examples: chunk by chunk, shared by threads on a CPU, within memory."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape_cli.compute.data import Inputs, tensors_of
from landscape_cli.compute.derivatives import Replica, bytes_saved, twice_differentiable
from landscape_cli.compute.device import OUT_OF_MEMORY, is_out_of_memory
from landscape_cli.compute.memory import free_bytes
from landscape_cli.compute.residency import Split
from landscape_cli.errors import EvaluationError

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


# of the chunk: one tensor for each that is summed
OfPiece = Callable[[Piece], Sequence[Tensor]]


class Passes:
    """Passes over the first examples of a split.

    Args:
        model: In eval mode, on the device. It is never called itself: replicas of it are, which share its memory,
            because a model that has been called may hold tensors that cannot be copied.
        names: Of the parameters to differentiate by.
        split: The examples.
        num_examples: How many of them.
        chunk_size: Examples at a time; None for as many as memory and caches like.
        trial: What is done with a chunk when it takes most; what autograd keeps of it is measured.
        should_stop: Asked before each chunk.
        release: Called when memory does not suffice: gives back what can be computed again.

    Attributes:
        num_threads: That share the chunks, where results of this size fit in memory so often; 1 on a GPU.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        split: Split,
        *,
        num_examples: int,
        chunk_size: int | None,
        trial: Callable[[Piece], object],
        should_stop: Callable[[], bool],
        release: Callable[[], None],
    ) -> None:
        self._model, self._split, self._trial = model, split, trial
        self._should_stop, self._release = should_stop, release
        pristine = Replica(model, names)
        self._pristine, self._replicas = pristine, [pristine.another()]
        self.device, self.num_examples = split.device, num_examples
        self.num_threads = self._affordable_threads() if self.device.type == "cpu" else 1
        self._chunk_size = None if chunk_size is None else min(chunk_size, num_examples)
        self._bytes_per_example: float | None = None
        self._threads: list[ThreadPoolExecutor] = []

    @property
    def live(self) -> list[Tensor]:
        """The parameters, in the memory that all replicas share."""
        return self._pristine.live

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.shutdown()
        self._threads.clear()

    def sum(self, what: str, like: Sequence[Tensor], of_piece: OfPiece, chunk_size: int | None = None) -> list[Tensor]:
        """Σ over the chunks, float64, in their order: the same bits for any number of threads.

        Where memory does not suffice, chunks are halved for good.

        Args:
            what: For messages.
            like: Of the shapes and on the devices of the sums.
            of_piece: From a chunk to one tensor for each of them.
            chunk_size: Smaller chunks than usual.

        Raises:
            EvaluationError: It fails, or memory does not suffice for one example.
            StoppedError: Stopped.
        """
        size = min(chunk_size or self.num_examples, self.chunk_size)
        try:
            return self._sum(what, like, of_piece, size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                message = f"curvature: {what}: out of memory with one example at a time"
                raise EvaluationError(message, hint=OUT_OF_MEMORY) from error
        # behind the except block: until then the error keeps the tensors of its frames alive
        self._release()
        self._chunk_size = size // 2
        torch.cuda.empty_cache()
        return self.sum(what, like, of_piece)

    def _sum(self, what: str, like: Sequence[Tensor], of_piece: OfPiece, size: int) -> list[Tensor]:
        totals = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in like]
        with twice_differentiable(self._model, self.device), _single_threaded(self.device):
            for parts in self._over_chunks(what, of_piece, size):
                for total, part in zip(totals, parts, strict=True):
                    total.add_(part.detach().to(total.device))
        return totals

    def _over_chunks(self, what: str, of_piece: OfPiece, size: int) -> Iterator[Sequence[Tensor]]:
        """What ``of_piece`` makes of each chunk, in order."""

        def differentiate(piece: Piece) -> Sequence[Tensor]:
            with failures(f"{piece.where}: differentiating", _NOT_DIFFERENTIABLE):
                return of_piece(piece)

        num_threads = min(self.num_threads, math.ceil(self.num_examples / size))
        if num_threads < 2:
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
        while len(self._replicas) < num_threads:
            self._replicas.append(self._pristine.another())
        ahead: deque[Future[Sequence[Tensor]]] = deque()
        try:
            for number, chunk in enumerate(self._chunks(size)):
                index = number % num_threads  # always the same replica for a chunk: its graph may be kept
                piece = self._piece(what, chunk, self._replicas[index])
                ahead.append(self._threads[index].submit(in_thread, piece))
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

    def all_fit(self) -> bool:
        """Whether a quarter of the free memory holds what autograd keeps of all examples."""
        free = free_bytes(self.device)
        return free is not None and self.bytes_per_example * self.num_examples <= _SHARE_OF_FREE_MEMORY * free

    @property
    def bytes_per_example(self) -> float:
        """What autograd keeps of an example; 0 where that cannot be measured."""
        if self._bytes_per_example is None:
            self._bytes_per_example = self._measure()
        return self._bytes_per_example

    def _size_of_chunks(self) -> int:
        free = free_bytes(self.device)
        wanted = _BYTES_PER_CHUNK.get(self.device.type, _BYTES_PER_CHUNK["cuda"])
        if free is not None:
            wanted = min(wanted, int(_SHARE_OF_FREE_MEMORY * free / self.num_threads))
        fitting = max(1, int(wanted / max(1.0, self.bytes_per_example)))
        balanced = max(_SMALLEST_CHUNK, math.ceil(self.num_examples / _FEWEST_CHUNKS))
        most = min(balanced, _LARGEST_CHUNK) if self.device.type == "cpu" else _LARGEST_CHUNK
        return max(1, min(fitting, most, self.num_examples))

    def _affordable_threads(self) -> int:
        """Threads, each with gradients of its own and a result that waits to be added."""
        free = free_bytes(self.device)
        size = 3 * sum(parameter.nbytes for parameter in self._pristine.live)
        fitting = math.inf if free is None else _SHARE_OF_FREE_MEMORY * free / max(1, size)
        return int(max(1, min(torch.get_num_threads(), fitting)))

    def _measure(self) -> float:
        """The difference that examples make: what does not depend on them, such as weights, is kept in any case."""
        sizes = [min(size, self.num_examples) for size in (2, 4)]
        with contextlib.suppress(EvaluationError, RuntimeError):  # the pass itself will say what is wrong
            few, many = (self._bytes_saved(size) for size in sizes)
            return max(0, many - few) / (sizes[1] - sizes[0]) if sizes[1] > sizes[0] else few / sizes[0]
        return 0.0

    def _bytes_saved(self, size: int) -> int:
        with contextlib.closing(self._split.chunks(size)) as chunks:
            chunk = next(chunks)
        piece = Piece(0, chunk.inputs, chunk.targets, self._replicas[0], "curvature: the first examples")
        with (
            twice_differentiable(self._model, self.device),
            torch.inference_mode(mode=False),
            torch.enable_grad(),
        ):
            return bytes_saved(lambda: self._trial(piece))


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
def failures(doing: str, hint: str) -> Iterator[None]:
    """Turn what the user's model or loss raises into an EvaluationError; out of memory stays what it is."""
    try:
        yield
    except (EvaluationError, StoppedError):
        raise
    except Exception as error:  # the user's model may raise anything
        if is_out_of_memory(error):
            raise
        raise EvaluationError(f"{doing} raised {type(error).__name__}: {error}", hint=hint) from error
