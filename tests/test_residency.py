"""Splits on a device: the same chunks wherever the data are, and nothing left of a stream that is closed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset

from landscape_cli.compute.data import Batches, Decoding, load_batches, tensors_of
from landscape_cli.compute.palette import Column, Palette
from landscape_cli.compute.residency import Chunk, Split, Staging, place, prefetch

LENGTH = 23
IMAGES = (torch.linspace(-2, 2, 256, dtype=torch.float64) / 3)[
    torch.arange(LENGTH * 108).reshape(LENGTH, 3, 6, 6) * 7 % 256
]
NOISE = torch.randn(LENGTH, 5, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(LENGTH * 2).reshape(LENGTH, 2)
TARGETS = torch.linspace(0, 1, LENGTH, dtype=torch.float64)
IN_FLOAT32 = IMAGES.numel() * 4 + NOISE.nbytes + IDS.nbytes + TARGETS.numel() * 4


class Mixed(Dataset[object]):
    """Inputs that can be a palette, floats, and integers."""

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> object:
        return (IMAGES[index], NOISE[index], IDS[index]), TARGETS[index]


HELD = {
    "memory": Decoding(),
    "palette": Decoding(compress_above=IMAGES.nbytes - 1),
    "disk": Decoding(host_memory=0, compress_above=0),
    "partly on disk": Decoding(host_memory=IMAGES.nbytes - 1 - IMAGES.nbytes // 2),
}
BUDGETS = [None, 0, 3000, IN_FLOAT32 - 1, IN_FLOAT32, 10**9]


def held(how: str) -> Batches:
    return load_batches(Mixed(), where="here", batch_size=5, decoding=HELD[how])


def same(chunk: Chunk, dtype: torch.dtype) -> bool:
    part = slice(chunk.start, chunk.start + len(chunk))
    wanted = [IMAGES[part].to(dtype), NOISE[part].to(dtype), IDS[part], TARGETS[part].to(dtype)]
    found = [*tensors_of(chunk.inputs), chunk.targets]
    return all(a.dtype == b.dtype and torch.equal(a, b.cpu()) for a, b in zip(wanted, found, strict=True))


def on(split: Split, device: str) -> bool:
    return all(
        tensor.device.type == device
        for chunk in split.chunks(7)
        for tensor in [*tensors_of(chunk.inputs), chunk.targets]
    )


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("how", HELD)
def test_chunks_are_the_same_wherever_the_data_are(
    how: str, budget: int | None, dtype: torch.dtype, device: str
) -> None:
    split = place(held(how), torch.device(device), dtype, budget)
    for size in (1, 7, LENGTH, 100):
        chunks = list(split.chunks(size))
        assert [chunk.start for chunk in chunks] == list(range(0, LENGTH, size))
        assert sum(map(len, chunks)) == len(split) == LENGTH
        assert all(same(chunk, dtype) for chunk in chunks)
    assert same(split.first(4), dtype)
    assert len(split.first(100)) == LENGTH
    assert torch.equal(split.targets.cpu(), TARGETS.to(dtype))
    assert on(split, device)
    assert budget is None or split.nbytes_on_device <= budget


@given(size=st.integers(1, 30), length=st.integers(1, 40), on_disk=st.booleans())
@settings(max_examples=50, deadline=None)
def test_chunks_of_every_size_hold_every_example_once(size: int, length: int, on_disk: bool) -> None:
    numbers = torch.arange(length)
    split = place(
        Batches(numbers, numbers, None, "", frozenset([0, 1] if on_disk else [])), torch.device("cpu"), torch.float32
    )
    assert torch.equal(torch.cat([chunk.targets for chunk in split.chunks(size)]), numbers)
    assert all(torch.equal(chunk.targets, tensors_of(chunk.inputs)[0]) for chunk in split.chunks(size))


def test_a_split_in_memory_is_used_as_it_is() -> None:
    split = place(Batches(NOISE, IDS, 5, ""), torch.device("cpu"), torch.float32, budget=0)
    assert (split.resident, split.nbytes_on_device) == (True, 0)
    for size in (16, 3):  # views, but of what does not lie as a new tensor would
        for chunk in split.chunks(size):
            assert isinstance(chunk.inputs, Tensor)
            there = NOISE[chunk.start :].data_ptr()
            assert (chunk.inputs.data_ptr() == there) == (there % 64 == 0)
            assert chunk.inputs.data_ptr() % 64 == chunk.targets.data_ptr() % 64 == 0
    assert split.targets is IDS


@pytest.mark.parametrize(
    ("budget", "is_made_once", "nbytes"), [(None, True, IN_FLOAT32), (IMAGES.numel() * 4 - 1, False, 92)]
)
@pytest.mark.parametrize("how", ["memory", "palette"])
def test_another_precision_is_made_once_where_it_fits(
    how: str, budget: int | None, is_made_once: bool, nbytes: int
) -> None:
    split = place(held(how), torch.device("cpu"), torch.float32, budget)
    assert split.resident
    assert split.nbytes_on_device == (nbytes if budget else nbytes - NOISE.nbytes - IDS.nbytes)
    first, again = (tensors_of(split.first(3).inputs)[0] for _ in range(2))
    assert (first.data_ptr() == again.data_ptr()) == is_made_once


def test_memory_mapped_columns_stay_on_the_disk() -> None:
    batches = held("disk")
    assert batches.where_held == "disk"
    split = place(batches, torch.device("cpu"), torch.float32)
    assert (split.resident, split.nbytes_on_device) == (False, 0)


def test_a_gpu_holds_values_else_palettes_else_nothing() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    batches, cuda = held("palette"), torch.device("cuda")
    image = batches.columns[0]
    assert isinstance(image, Palette)
    coded = IN_FLOAT32 - IMAGES.numel() * 4 + image.to(torch.float32).nbytes_held
    for budget, resident, nbytes in [
        (IN_FLOAT32, True, IN_FLOAT32),
        (IN_FLOAT32 - 1, True, coded),
        (coded, True, coded),
        (coded - 1, False, 0),
    ]:
        split = place(batches, cuda, torch.float32, budget)
        assert (split.resident, split.nbytes_on_device) == (resident, nbytes)
        assert split.targets.is_cuda == resident


@pytest.mark.parametrize("how", HELD)
def test_chunks_made_in_inference_mode_can_be_used_outside_of_it(how: str, device: str) -> None:
    batches = held(how)
    with torch.inference_mode():
        split = place(batches, torch.device(device), torch.float32, 0)
        chunk = split.first(3)
        chunks = list(split.chunks(10))
    weight = torch.ones(5, device=device, requires_grad=True)
    for each in [chunk, *chunks]:
        (tensors_of(each.inputs)[1] @ weight * each.targets).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert not split.targets.is_inference()


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("num_taken", [0, 1, 2, 5])
def test_a_stream_is_one_ahead_and_ends_when_it_is_closed(num_taken: int) -> None:
    asked: list[int] = []
    ready = threading.Semaphore(0)

    def fetch(span: tuple[int, int]) -> int:
        asked.append(span[0])
        ready.release()
        return span[0]

    with contextlib.closing(prefetch(fetch, [(start, start + 1) for start in range(9)])) as stream:
        taken = [next(stream) for _ in range(num_taken)]
        for _ in range(num_taken + 1 if num_taken else 0):
            assert ready.acquire(timeout=60)
        assert taken == list(range(num_taken))
        assert asked == list(range(num_taken + 1 if num_taken else 0))


def test_a_stream_that_fails_says_so_after_what_it_has() -> None:
    def fetch(span: tuple[int, int]) -> int:
        if span[0] == 2:
            raise OSError("the disk is gone")
        return span[0]

    stream = prefetch(fetch, [(start, start + 1) for start in range(9)])
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_streams_of_one_split_do_not_disturb_each_other(device: str) -> None:
    split = place(held("disk"), torch.device(device), torch.float32, 0)
    with contextlib.closing(split.chunks(3)) as one, contextlib.closing(split.chunks(4)) as two:
        for _ in range(4):
            assert same(next(one), torch.float32)
            assert same(next(two), torch.float32)


@given(size=st.integers(1, 9), keep=st.booleans())
@settings(max_examples=20, deadline=None)
def test_what_was_sent_stays_when_its_buffer_is_filled_again(size: int, keep: bool) -> None:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    numbers = torch.arange(40, dtype=torch.float64)
    table = (torch.arange(40) / 3).reshape(1, 40)
    columns: list[Column] = [numbers, Palette(torch.arange(40, dtype=torch.uint8), table)]
    spans = [(start, min(start + size, 40)) for start in range(0, 40, size)]
    for device in devices:
        staging = Staging(columns, size, torch.device(device), torch.float32)
        sent = list(prefetch(staging.send, spans)) if keep else [staging.send(span) for span in spans]
        for _, event in sent:
            if event is not None:
                event.synchronize()
        first, second = zip(*(parts for parts, _ in sent), strict=True)
        assert torch.equal(torch.cat(first).cpu(), numbers.float())
        assert torch.equal(torch.cat([part.decode() for part in second]).cpu(), table[0])
