"""Residual networks and scikit-learn's digits, for the demo, the tutorials, the benchmark and the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

Projection: TypeAlias = Callable[[int, int, int], nn.Module]  # (channels_in, channels, stride) → a module

_NUM_TRAIN = 1437
_PIXEL_MAX = 16.0

# ---------------------------------------------------------------- networks


class SmallResNet(nn.Module):
    """A residual network for 8×8 images, with BatchNorm and dropout; about 20,000 parameters.

    Args:
        width: Channels of the first stage; the second has twice as many.
        num_classes: Outputs.
        dropout: Probability of dropping a feature before the last layer, in training only.
    """

    def __init__(self, width: int = 16, num_classes: int = 10, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stage1 = ResidualBlock(width, width)
        self.stage2 = ResidualBlock(width, 2 * width, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, 8, 8) to logits (B, num_classes)."""
        x = F.relu(self.bn(self.stem(x)))
        x = self.stage2(self.stage1(x))
        logits: Tensor = self.head(self.dropout(x.mean(dim=(2, 3))))
        return logits


class CifarResNet(nn.Module):
    """The residual network for 32×32 images of He et al. 2016 (arXiv:1512.03385, section 4.2), of 6n + 2 layers.

    Where the shape changes, the shortcut is a 1×1 convolution with BatchNorm. The names of the weights are those of
    the checkpoints that Li et al. 2018 (arXiv:1712.09913) published, with and without shortcuts.

    Args:
        depth: 20, 32, 44, 56, 110 or another 6n + 2.
        shortcuts: False for the "no-short" network of Li et al. 2018: the same layers, one after the other.
        num_classes: Outputs.

    Raises:
        ValueError: The depth is not 6n + 2.
    """

    def __init__(self, depth: int = 56, *, shortcuts: bool = True, num_classes: int = 10) -> None:
        super().__init__()
        num_blocks, rest = divmod(depth - 2, 6)
        if rest or num_blocks < 1:
            raise ValueError(f"depth is {depth}; expected 6n + 2, such as 20, 32, 44, 56 or 110")
        project = _convolution_and_batchnorm if shortcuts else None
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(num_blocks, 16, 16, 1, project)
        self.layer2 = _stage(num_blocks, 16, 32, 2, project)
        self.layer3 = _stage(num_blocks, 32, 64, 2, project)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, 32, 32) to logits (B, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, 8, 8)
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def _convolution(channels_in: int, channels: int, stride: int) -> nn.Module:
    return nn.Conv2d(channels_in, channels, 1, stride, bias=False)


def _convolution_and_batchnorm(channels_in: int, channels: int, stride: int) -> nn.Module:
    return nn.Sequential(_convolution(channels_in, channels, stride), nn.BatchNorm2d(channels))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm and a shortcut (He et al. 2016, arXiv:1512.03385).

    Args:
        channels_in: Of the input.
        channels: Of the output.
        stride: Of the first convolution and of the shortcut.
        project: Makes the shortcut where the shape changes; elsewhere it is the identity. None for no shortcut at all.
    """

    def __init__(
        self, channels_in: int, channels: int, stride: int = 1, project: Projection | None = _convolution
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module | None = None
        if project is not None:
            same_shape = stride == 1 and channels_in == channels
            self.shortcut = nn.Identity() if same_shape else project(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels, H / stride, W / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out if self.shortcut is None else out + self.shortcut(x))


def _stage(num_blocks: int, channels_in: int, channels: int, stride: int, project: Projection | None) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels, stride, project)
    return nn.Sequential(first, *(ResidualBlock(channels, channels, 1, project) for _ in range(num_blocks - 1)))


# ---------------------------------------------------------------- data


def digits(*, train: bool) -> TensorDataset:
    """scikit-learn's 1,797 handwritten digits (8×8, UCI), always 1,437 for training and 360 for testing.

    Args:
        train: Which part.

    Returns:
        Images (n, 1, 8, 8) float32 in [−1, 1] and labels (n,) int64.
    """
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  # the extra `demo`, for this function alone
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "scikit-learn is missing; install it with: pip install 'landscape-cli[demo]'"
        ) from error
    data = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1) / (_PIXEL_MAX / 2) - 1
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    part = order[:_NUM_TRAIN] if train else order[_NUM_TRAIN:]
    return TensorDataset(images[part], labels[part])
