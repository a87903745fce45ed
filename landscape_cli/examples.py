"""A small residual network and scikit-learn's digits, for the demo, the tutorials and the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

_NUM_TRAIN = 1437
_PIXEL_MAX = 16.0


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm and a shortcut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


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
