"""One point at a time, replayed from CUDA graphs: for networks whose kernels take less time than launching them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape_cli.compute.data import tensors_of
from landscape_cli.compute.device import is_out_of_memory
from landscape_cli.compute.engines.contract import Engine, UnsupportedError
from landscape_cli.compute.engines.sequential import channels_last, has_convolutions, sequential
from landscape_cli.compute.engines.stacked import Stacked
from landscape_cli.compute.network import Network
from landscape_cli.compute.residency import Chunk
from landscape_cli.compute.subspace import Coordinates, Subspace
from landscape_cli.errors import EvaluationError

# Every chunk has a graph of its own, which reads the resident data in place; with more chunks launches do not dominate.
_MAX_CHUNKS = 64


class Replayed:
    """Another engine whose work on each chunk is captured once and then replayed.

    Weights and resident data stay where they are in memory, so that a graph captured at one point is right at every
    other. A chunk that lies elsewhere than when it was captured is evaluated without a graph.
    """

    def __init__(self, engine: Engine, network: Network) -> None:
        self._engine, self._network = engine, network
        self._graphs: dict[tuple[str, int, int], tuple[tuple[int, ...], torch.cuda.CUDAGraph, Tensor]] = {}

    def move_to(self, subspace: Subspace, coordinates: Sequence[Coordinates]) -> None:
        """Let the engine overwrite its weights, in place."""
        self._engine.move_to(subspace, coordinates)

    def sums(self, split: str, chunk: Chunk) -> Tensor:
        """See `Engine.sums`."""
        key = (split, chunk.start, len(chunk.targets))
        data = (*tensors_of(chunk.inputs), chunk.targets)
        places = (self._network.num_layouts, *(tensor.data_ptr() for tensor in data))
        if key not in self._graphs and len(self._graphs) < _MAX_CHUNKS:
            self._graphs[key] = (places, *self._capture(split, chunk))
        captured_places, graph, sums = self._graphs.get(key, ((), None, None))
        if graph is None or sums is None or captured_places != places:
            return self._engine.sums(split, chunk)  # data that are streamed or decoded lie elsewhere each time
        with torch.cuda.device(chunk.targets.device):
            graph.replay()
        return sums.clone()  # the next replay overwrites it

    def _capture(self, split: str, chunk: Chunk) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        device = chunk.targets.device
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(device):
                side.wait_stream(torch.cuda.current_stream(device))
                with torch.cuda.stream(side):  # what libraries allocate and choose at the first calls is not captured
                    for _ in range(3):
                        self._engine.sums(split, chunk)
                torch.cuda.current_stream(device).wait_stream(side)
                # thread_local: another thread may be loading data meanwhile
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    sums = self._engine.sums(split, chunk)
        except (RuntimeError, EvaluationError) as error:
            if is_out_of_memory(error):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UnsupportedError(f"its work cannot be captured: {reason}") from error
        return graph, sums


def graphs(network: Network, points_per_call: int) -> Replayed:
    """`sequential` or `channels_last` for one point, `stacked` for several, replayed from CUDA graphs."""
    if not next(network.model.parameters()).is_cuda:
        raise UnsupportedError("CUDA graphs need a CUDA device")
    if points_per_call > 1:
        return Replayed(Stacked(network, points_per_call), network)
    make: Callable[[Network, int], Engine] = channels_last if has_convolutions(network.model) else sequential
    return Replayed(make(network, 1), network)
