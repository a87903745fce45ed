"""Every metric against a plain computation, example by example."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape_cli.compute.metrics import CLASS_INDEX_METRICS, METRICS, accuracy, bce, cross_entropy, error, mse, top_k


def logits_and_labels(seed: int, num_examples: int = 7, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_examples, num_classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (num_examples,), generator=generator)


@given(seed=st.integers(0, 10**6), smoothing=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=20, deadline=None)
def test_cross_entropy_is_minus_log_softmax_of_the_smoothed_target(seed: int, smoothing: float) -> None:
    logits, labels = logits_and_labels(seed)
    expected = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_normalizer = math.log(sum(math.exp(z) for z in row))
        minus_log_p = [log_normalizer - z for z in row]
        expected.append((1 - smoothing) * minus_log_p[label] + smoothing * sum(minus_log_p) / len(row))
    found = cross_entropy(logits, labels, label_smoothing=smoothing)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_averages_over_pixels() -> None:
    logits = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    labels = torch.randint(4, (3, 2, 5))
    pixels = [cross_entropy(logits[:, :, i, j], labels[:, i, j]) for i in range(2) for j in range(5)]
    torch.testing.assert_close(cross_entropy(logits, labels), torch.stack(pixels).mean(0))


def test_nll_of_log_softmax_is_cross_entropy() -> None:
    logits, labels = logits_and_labels(0)
    torch.testing.assert_close(METRICS["nll"](logits.log_softmax(1), labels), cross_entropy(logits, labels))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_accuracy_and_error_count_right_and_wrong_classes(seed: int) -> None:
    logits, labels = logits_and_labels(seed)
    right = [
        float(max(range(5), key=row.__getitem__) == label) for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    assert accuracy(logits, labels).tolist() == right
    assert error(logits, labels).tolist() == [1 - value for value in right]


@given(seed=st.integers(0, 10**6), k=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_top_k_is_right_when_fewer_than_k_logits_are_larger(seed: int, k: int) -> None:
    logits, labels = logits_and_labels(seed)
    expected = [
        float(sum(z > row[label] for z in row) < k) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert top_k(logits, labels, k=k).tolist() == expected


def test_outputs_with_nan_are_wrong_whatever_the_label() -> None:
    logits = torch.full((3, 4), float("nan"))
    for label in range(4):
        labels = torch.full((3,), label)
        assert accuracy(logits, labels).sum() == 0
        assert top_k(logits, labels, k=4).sum() == 0


def test_binary_accuracy_has_its_threshold_at_zero() -> None:
    logits, labels = torch.tensor([-1.0, 2.0, 3.0, -4.0]), torch.tensor([0, 1, 0, 1])
    assert accuracy(logits, labels).tolist() == [1, 1, 0, 0]
    assert accuracy(logits.unsqueeze(1), labels).tolist() == [1, 1, 0, 0]


def test_column_outputs_and_flat_targets_are_compared_pair_by_pair_not_broadcast() -> None:
    outputs, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0.0, 0.0, 1.0])
    assert mse(outputs, targets).tolist() == [1, 4, 9]
    assert METRICS["l1"](outputs, targets).tolist() == [1, 2, 3]
    z, y = outputs.squeeze(1), targets
    by_hand = torch.log1p(torch.exp(-z)) * y + torch.log1p(torch.exp(z)) * (1 - y)
    torch.testing.assert_close(bce(outputs, targets), by_hand)


def test_mse_averages_over_the_features_of_an_example() -> None:
    assert mse(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]])).tolist() == [5.0]


@pytest.mark.parametrize("name", ["mse", "l1", "bce"])
def test_shapes_that_do_not_match_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"outputs \(2, 3\) and targets \(2,\) must have the same shape"):
        METRICS[name](torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize("k", [0, 6])
def test_top_k_refuses_more_classes_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match="5 outputs"):
        top_k(*logits_and_labels(0), k=k)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_gives_one_floating_point_value_per_example(name: str) -> None:
    logits, labels = logits_and_labels(3)
    same_shape = name in {"bce", "mse", "l1"}
    values = METRICS[name](logits, torch.rand_like(logits) if same_shape else labels)
    assert values.shape == (7,)
    assert values.is_floating_point()
    assert (name in CLASS_INDEX_METRICS) == (not same_shape)
