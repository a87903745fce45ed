"""Decoding a dataset once: order, subsets, fingerprints, and the datasets that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from landscape_cli.compute.data import Batches, load_batches
from landscape_cli.errors import ConfigError


class Examples(Dataset[object]):
    """A dataset from a function of the index."""

    def __init__(self, length: int, example: object) -> None:
        self.length, self.example = length, example
        self.reads = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> object:
        self.reads += 1
        return self.example(index) if callable(self.example) else self.example


def load(dataset: object, **options: object) -> Batches:
    return load_batches(dataset, where="c.yaml:7: data.train.dataset", **{"batch_size": 4, **options})  # type: ignore[arg-type]


def stack(data: Batches) -> Tensor:
    parts = [inputs for inputs, _ in data]
    assert all(isinstance(part, Tensor) for part in parts)
    return torch.cat(parts)  # type: ignore[arg-type]


@given(length=st.integers(1, 30), batch_size=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_batches_hold_every_example_once_and_in_order(length: int, batch_size: int) -> None:
    data = load(Examples(length, lambda i: (float(i), i)), batch_size=batch_size)
    assert stack(data).tolist() == list(range(length))
    assert len(data) == length
    assert [len(targets) for _, targets in data][:-1] == [batch_size] * ((length - 1) // batch_size)


def test_examples_are_read_once_and_sixteen_of_them_twice() -> None:
    dataset = Examples(50, lambda i: (torch.tensor([i]), i))
    data = load(dataset)
    assert dataset.reads == 50 + 16
    for _ in range(3):
        list(data)
    assert dataset.reads == 50 + 16


@given(length=st.integers(1, 60), share=st.floats(0.01, 1), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_a_subset_is_seeded_sorted_and_without_repetition(length: int, share: float, seed: int) -> None:
    size = max(1, int(share * length))
    dataset = Examples(length, lambda i: (float(i), i))
    chosen = load(dataset, num_examples=size, seed=seed).targets.tolist()
    assert chosen == load(dataset, num_examples=size, seed=seed).targets.tolist()
    assert len(chosen) == size
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(length))


def test_another_seed_chooses_another_subset() -> None:
    dataset = Examples(1000, lambda i: (float(i), i))
    a, b = (load(dataset, num_examples=10, seed=seed).targets.tolist() for seed in (0, 1))
    assert a != b


def test_the_fingerprint_follows_every_bit_and_nothing_else() -> None:
    inputs, labels = torch.rand(6, 3), torch.arange(6)
    prints = {"same": load(TensorDataset(inputs.clone(), labels.clone()), batch_size=2).fingerprint}
    changed = inputs.clone()
    changed[3, 1] = torch.nextafter(changed[3, 1], torch.tensor(2.0))
    prints["input"] = load(TensorDataset(changed, labels)).fingerprint
    prints["label"] = load(TensorDataset(inputs, labels.flip(0))).fingerprint
    prints["type"] = load(TensorDataset(inputs, labels.int())).fingerprint
    prints["shape"] = load(TensorDataset(inputs.reshape(6, 1, 3), labels)).fingerprint
    assert len(set(prints.values())) == 5
    assert load(TensorDataset(inputs, labels)).fingerprint == prints["same"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8, torch.bool, torch.float64])
def test_every_type_of_tensor_can_be_fingerprinted(dtype: torch.dtype) -> None:
    assert len(load(TensorDataset(torch.ones(3, 2).to(dtype), torch.zeros(3))).fingerprint) == 64


def test_integers_stay_integers_and_floats_take_the_precision(device: str) -> None:
    data = load(TensorDataset(torch.zeros(3, 2, dtype=torch.uint8), torch.zeros(3)))
    moved = data.to(torch.device(device), torch.float64)
    assert isinstance(moved.inputs, Tensor)
    assert (moved.inputs.dtype, moved.targets.dtype) == (torch.uint8, torch.float64)
    assert moved.targets.device.type == device


def test_tuples_dicts_and_arrays_are_stacked() -> None:
    pair = load(Examples(5, lambda i: ((np.ones(2) * i, torch.tensor(i)), i)))
    assert isinstance(pair.inputs, tuple)
    assert [tuple(tensor.shape) for tensor in pair.inputs] == [(5, 2), (5,)]
    named = load(Examples(5, lambda i: ({"ids": torch.tensor([i])}, float(i))))
    assert isinstance(named.inputs, dict)
    assert named.inputs["ids"].tolist() == [[0], [1], [2], [3], [4]]
    first, _ = next(iter(named))
    assert isinstance(first, dict)
    assert len(first["ids"]) == 4


def test_loading_leaves_the_random_state_of_the_caller_alone() -> None:
    before = torch.get_rng_state()
    load(Examples(5, lambda i: (float(i), i)))
    assert torch.equal(torch.get_rng_state(), before)


def test_not_finite_inputs_are_counted() -> None:
    inputs = torch.tensor([[1.0, torch.nan], [torch.inf, 0.0]])
    assert load(TensorDataset(inputs, torch.zeros(2))).num_not_finite() == 2


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def raising(index: int) -> object:
    raise OSError(f"no file {index}")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Examples(0, (1.0, 1)), "the dataset is empty"),
        (Stream(), "Stream is not a map-style dataset"),
        (42, "int is not a map-style dataset"),
        (Examples(3, 1.0), "each example is a Tensor; expected (input, target)"),
        (Examples(3, (1.0, 2.0, 3.0)), "each example is a list of 3; expected (input, target)"),
        (Examples(3, {"x": 1.0, "y": 2}), "each example is a dict of 2; expected (input, target)"),
        (Examples(3, ("text", 1)), "must hold tensors, arrays or numbers"),
        (Examples(3, lambda i: (torch.zeros(i + 1), 1)), "reading the examples failed"),
        (Examples(3, raising), "reading the examples failed: OSError: no file 0"),
        (Examples(3, (object(), 1)), "reading the examples failed: TypeError"),
        (Examples(9, lambda i: (torch.rand(2), 1)), "example 0 differs when it is read twice"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(dataset: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(dataset)
    assert str(raised.value).startswith("c.yaml:7: data.train.dataset: ")


def test_a_subset_larger_than_the_dataset_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_examples is 6, but the dataset has 5 examples"):
        load(Examples(5, (1.0, 1)), num_examples=6)
