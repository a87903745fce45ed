"""The networks and images of the benchmark: made in seconds, the same every time, nothing to download."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape_cli.examples import CifarResNet

Reader: TypeAlias = Callable[[NDArray[np.uint8]], Tensor]

_NUM_CLASSES = 10
_MEAN, _STD = 0.4, 0.25
_MADE_AT_ONCE = 1 << 26  # pixels
_LARGEST_CALIBRATION = 1 << 21  # pixels, for the running statistics of BatchNorm


class Cnn(nn.Sequential):
    """Two convolutions, each with max-pooling, and a linear layer, for 28×28 images."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 7 * 7, _NUM_CLASSES)),
        )


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, T, d)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        out: Tensor = self.out(mixed.reshape(batch, tokens, dim))
        return out


class ViT(nn.Module):
    """A small vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) for 32×32 images in 4×4 patches."""

    def __init__(self, dim: int = 128, depth: int = 4, num_heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 4, 4)
        self.first = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(0.02 * torch.randn(1, 65, dim))
        self.attentions = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), Attention(dim, num_heads)) for _ in range(depth)
        )
        self.perceptrons = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, _NUM_CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) → (B, 10)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)  # (B, 64, D)
        x = torch.cat([self.first.expand(len(x), -1, -1), patches], dim=1) + self.position
        for attention, perceptron in zip(self.attentions, self.perceptrons, strict=True):
            x = x + attention(x)
            x = x + perceptron(x)
        logits: Tensor = self.head(x[:, 0])
        return logits


def mlp() -> nn.Module:
    """784-256-128-10 with ReLU."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, _NUM_CLASSES)
    )


def resnet50() -> nn.Module:
    """ResNet-50 of torchvision for 224×224 images."""
    from torchvision.models import resnet50 as build  # noqa: PLC0415  # takes a second, and only GPUs want it

    model: nn.Module = build(num_classes=_NUM_CLASSES)
    return model


@dataclass(frozen=True)
class Recipe:
    """What a workload is made of.

    Attributes:
        build: Makes the network.
        shape: (height, width, channels) of an image.
        num_examples: By kind of device; a device that is not here does not run it.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    num_examples: dict[str, int]


RECIPES: dict[str, Recipe] = {
    "mlp": Recipe(mlp, (28, 28, 1), {"cpu": 10_000, "cuda": 10_000}),
    "cnn": Recipe(Cnn, (28, 28, 1), {"cpu": 2_000}),
    "resnet20": Recipe(partial(CifarResNet, 20), (32, 32, 3), {"cpu": 500}),
    "resnet56": Recipe(partial(CifarResNet, 56), (32, 32, 3), {"cpu": 500, "cuda": 50_000}),
    "vit": Recipe(ViT, (32, 32, 3), {"cpu": 250}),
    "resnet50": Recipe(resnet50, (224, 224, 3), {"cuda": 2_000}),
}


@dataclass(frozen=True)
class Workload:
    """A network and labelled images.

    Attributes:
        name: In `RECIPES`.
        model: In eval mode.
        images: (N, H, W, C) uint8, as an image file decodes to.
        inputs: (N, C, H, W) float32, the same as `normalise` makes of each image.
        labels: (N,) int64.
    """

    name: str
    model: nn.Module
    images: Tensor
    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_parameters(self) -> int:
        """Of the network."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def make(name: str, device: str = "cpu", num_examples: int | None = None) -> Workload:
    """Make a workload with seeded weights and images; the running statistics of BatchNorm fit the images.

    Args:
        name: In `RECIPES`.
        device: ``cpu`` or ``cuda``, for the usual number of examples.
        num_examples: Another number.
    """
    recipe = RECIPES[name]
    images, labels = _images(recipe.shape, num_examples or recipe.num_examples[device])
    inputs = normalise(images.permute(0, 3, 1, 2))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = recipe.build()
        for parameter in model.parameters():
            if not parameter.any():  # biases that begin at 0: after training none is
                nn.init.normal_(parameter, std=0.01)
    _settle_batchnorm(model, inputs[: max(8, _LARGEST_CALIBRATION // prod(recipe.shape))])
    return Workload(name, model.eval(), images, inputs, labels)


def normalise(pixels: Tensor) -> Tensor:
    """Uint8 pixels → float32 in the arithmetic of torchvision's ToTensor and Normalize, bit for bit."""
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255).sub_(_MEAN).div_(_STD)


def plain_reader() -> Reader:
    """(H, W[, C]) uint8 → (C, H, W) float32 with torch alone."""
    return lambda pixels: normalise(torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1))


def pil_reader() -> Reader:
    """The same values as torchvision's data sets give them: array → PIL image → ToTensor → Normalize."""
    from PIL import Image  # noqa: PLC0415  # only the classic loop needs these
    from torchvision import transforms  # noqa: PLC0415

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((_MEAN,), (_STD,))])

    def read(pixels: NDArray[np.uint8]) -> Tensor:
        image: Tensor = transform(Image.fromarray(pixels))
        return image

    return read


def has_module(name: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(name) is not None


def _images(shape: tuple[int, int, int], num: int) -> tuple[Tensor, Tensor]:
    """Handwritten digits, enlarged, with noise; noise alone where scikit-learn is missing."""
    height, width, channels = shape
    generator = torch.Generator().manual_seed(0)
    digits, labels = _digits(generator)
    images = torch.empty(num, height, width, channels, dtype=torch.uint8)
    step = max(1, _MADE_AT_ONCE // prod(shape))
    for start in range(0, num, step):
        part = images[start : start + step]
        which = torch.arange(start, start + len(part)) % len(digits)
        large = F.interpolate(digits[which], (height, width), mode="bilinear")  # (n, 1, H, W)
        noise = torch.randint(0, 64, part.shape, generator=generator, dtype=torch.uint8)
        part.copy_((large * 180).to(torch.uint8).permute(0, 2, 3, 1) + noise)
    return images, labels[torch.arange(num) % len(labels)]


def _digits(generator: torch.Generator) -> tuple[Tensor, Tensor]:  # (n, 1, 8, 8) in [0, 1], (n,)
    if not has_module("sklearn"):
        return torch.rand(1_797, 1, 8, 8, generator=generator), torch.arange(1_797) % _NUM_CLASSES
    from sklearn.datasets import load_digits  # noqa: PLC0415  # may be missing

    data = load_digits()
    return torch.from_numpy(data.images).float().unsqueeze(1) / 16, torch.from_numpy(data.target).long()


@torch.no_grad()
def _settle_batchnorm(model: nn.Module, inputs: Tensor) -> None:
    """Set the running statistics from one pass, so that activations are as large as those of a trained network."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = None  # the plain mean over all batches
    if layers:
        model.train()(inputs)
