"""Perceptrons on scikit-learn's digits that are trained in a second, and their rescaled twins."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from conftest import ROOT
from torch import Tensor, nn

from landscape_cli import load_config, scan
from landscape_cli.examples import digits

CONFIG = """\
model: {_target_: gate_models.Perceptron}
checkpoint: {path: good.pt}
metrics: [accuracy]
data:
  train: {dataset: {_target_: landscape_cli.examples.digits, train: true}, num_examples: 512}
  test: {dataset: {_target_: landscape_cli.examples.digits, train: false}}
axes:
  x: {num: 5, direction: {_target_: random, normalization: none}}
slices: {num: 6}
radius: {slices: 20, num: 13}
runtime: {processes: 1, workers: 0, engine: sequential}
"""
RETRAINED = ("first", "second", "third")
SERIES = ("good", *RETRAINED, "sharp", "twin")
VARIANTS = {  # of the surface of good
    "other_data": ["data.train.num_examples=300"],
    "finer_grid": ["axes.x.num=7"],
    "no_radius": ["radius=null"],
    "short_line": ["radius.stop=0.05"],
    "few_slices": ["radius.slices=3"],
    "by_mlp": ["runtime.engine=mlp"],
}
Weights = dict[str, Tensor]


def environment(**more: str) -> dict[str, str]:
    """For processes of which the working directory is elsewhere."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))), **more}


def fill(folder: Path) -> None:
    """Train, and scan with the real command; variants of one surface with the library."""
    (folder / "c.yaml").write_text(CONFIG)
    weights = {name: trained(seed) for seed, name in enumerate(("good", *RETRAINED))}
    weights |= {"sharp": trained(0, initial_scale=8), "twin": twin(weights["good"])}
    for name, each in weights.items():
        torch.save(each, folder / f"{name}.pt")
    command = ["scan", "c.yaml", "--checkpoint", *(f"{name}.pt" for name in SERIES), "-o", "{stem}.h5", "-q"]
    subprocess.run([sys.executable, "-m", "landscape_cli", *command], cwd=folder, env=environment(), check=True)
    with contextlib.chdir(folder):
        for name, overrides in VARIANTS.items():
            scan(load_config("c.yaml", overrides), Path(f"{name}.h5"))


class Perceptron(nn.Sequential):
    """64 pixels, 32 hidden units, 10 digits."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def trained(seed: int, initial_scale: float = 1.0) -> Weights:
    """Weights after 20 epochs of SGD; large initial ones stay near where they were, in a sharper place."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = Perceptron()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(initial_scale)
    images, labels = digits(train=True).tensors
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 / initial_scale**0.5, momentum=0.9)
    for _ in range(20):
        for batch in torch.randperm(len(images), generator=generator).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.state_dict()


def twin(weights: Weights, factor: float = 10.0) -> Weights:
    """The same function of other weights (Dinh et al. 2017, arXiv:1703.04933): ReLU(factor z) = factor ReLU(z)."""
    scales = {"1.weight": factor, "1.bias": factor, "3.weight": 1 / factor, "3.bias": 1.0}
    return {name: scales[name] * tensor for name, tensor in weights.items()}
