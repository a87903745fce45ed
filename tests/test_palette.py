"""Palettes: any floats of at most 256 values come back bit for bit, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape_cli.compute.palette import Encoder, Palette

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
SHAPES = st.sampled_from(
    [(5,), (7, 3), (1, 1, 1), (6, 3, 4, 4), (3, 16, 2, 2), (3, 17, 2, 2), (4, 1, 5, 5), (2, 3, 90, 90)]
)


def bits(tensor: Tensor) -> Tensor:
    return tensor.cpu().contiguous().view(INTEGERS[tensor.itemsize])


def palette(values: Tensor, part: int = 3) -> Palette | None:
    """Coded in parts, as while decoding."""
    encoder = Encoder(values.dtype, tuple(values.shape))
    codes = torch.empty(values.shape, dtype=torch.uint8)
    for start in range(0, len(values), part):
        if not encoder.encode(values[start : start + part], codes[start : start + part]):
            return None
    return Palette(codes, encoder.table())


def patterns(dtype: torch.dtype, count: int, seed: int) -> Tensor:
    """Different bit patterns: of NaN and zeros of both signs, too."""
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan], dtype=dtype)
    low, high = (torch.iinfo(INTEGERS[dtype.itemsize]).min, torch.iinfo(INTEGERS[dtype.itemsize]).max)
    drawn = np.random.default_rng(seed).integers(low, high, 2 * count + 20, np.int64, endpoint=True)
    some = torch.from_numpy(drawn).to(INTEGERS[dtype.itemsize])
    distinct = torch.unique(some)[
        torch.randperm(len(torch.unique(some)), generator=torch.Generator().manual_seed(seed))
    ]
    distinct = distinct[~torch.isin(distinct, bits(special))]
    return torch.cat([bits(special), distinct])[:count].view(dtype)


@given(dtype=DTYPES, shape=SHAPES, count=st.integers(1, 256), seed=st.integers(0, 10**6), part=st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_256_values_of_any_bits_come_back(
    dtype: torch.dtype, shape: tuple[int, ...], count: int, seed: int, part: int
) -> None:
    chosen = torch.randint(count, shape, generator=torch.Generator().manual_seed(seed))
    values = patterns(dtype, count, seed)[chosen]
    coded = palette(values, part)
    assert coded is not None
    assert torch.equal(bits(coded.decode()), bits(values))
    assert (coded.shape, coded.dtype, len(coded)) == (values.shape, dtype, len(values))
    assert coded.nbytes == values.nbytes
    assert coded.nbytes_held == values.numel() + coded.table.nbytes
    assert torch.equal(bits(coded[1:4].decode()), bits(values[1:4]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_257th_value_is_one_too_many(dtype: torch.dtype) -> None:
    values = patterns(dtype, 257, 0)
    assert palette(values[:256].repeat(3)) is not None
    assert palette(values) is None
    assert palette(values.repeat(200), part=10**6) is None


@pytest.mark.parametrize("num_channels", [1, 3, 16, 17])
def test_up_to_sixteen_channels_have_256_values_each(num_channels: int) -> None:
    """As images have after a normalization by channel."""
    grey = torch.arange(256).reshape(1, 1, 16, 16) / 255
    images = (grey - torch.linspace(0.1, 0.9, num_channels).reshape(-1, 1, 1)) / 0.229
    coded = palette(images)
    if num_channels > 16:
        assert coded is None
    else:
        assert coded is not None
        assert torch.equal(coded.decode(), images)
        assert coded.table.shape == (num_channels, 256)


def test_channels_with_fewer_values_than_others_come_back() -> None:
    images = torch.zeros(2, 3, 16, 16)
    images[:, 1] = torch.arange(256).reshape(16, 16) / 3
    images[1, 2, 0, 0] = -0.0
    coded = palette(images)
    assert coded is not None
    assert torch.equal(bits(coded.decode()), bits(images))


def test_values_that_come_late_are_learnt() -> None:
    values = torch.arange(256).repeat_interleave(1000) / 7
    coded = palette(values, part=777)
    assert coded is not None
    assert torch.equal(coded.decode(), values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decoding_on_a_device_in_a_precision_equals_casting_the_values(device: str, dtype: torch.dtype) -> None:
    values = patterns(torch.float64, 256, 1)[torch.arange(4 * 3 * 16 * 16).reshape(4, 3, 16, 16) * 11 % 256]
    values = torch.nan_to_num(values, 0.5)
    coded = palette(values)
    assert coded is not None
    moved = Palette(coded.codes.to(device), coded.table).to(dtype)
    assert moved.decode().device.type == device
    assert torch.equal(bits(moved.decode()), bits(values.to(dtype)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_what_is_no_float_or_already_one_byte_is_left_alone(dtype: torch.dtype) -> None:
    assert not Encoder.accepts(dtype)
