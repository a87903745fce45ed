"""The example networks are those of the papers and take their checkpoints; training leaves its path."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from torch import Tensor, nn

from landscape_cli.compute.checkpoint import Loaded, load_weights
from landscape_cli.config import CheckpointConfig
from landscape_cli.errors import CheckpointError
from landscape_cli.examples import CifarResNet, SmallResNet

BATCHNORM = ("weight", "bias", "running_mean", "running_var")
both = pytest.mark.parametrize("shortcuts", [True, False])


def layers(depth: int, *, shortcuts: bool) -> Iterator[tuple[str, str]]:
    """The convolutions and their BatchNorms by the names they had in 2018."""
    yield "conv1", "bn1"
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            where = f"layer{stage}.{block}"
            yield f"{where}.conv1", f"{where}.bn1"
            yield f"{where}.conv2", f"{where}.bn2"
            if shortcuts and stage > 1 and block == 0:
                yield f"{where}.shortcut.0", f"{where}.shortcut.1"


def keys_of_2018(depth: int, *, shortcuts: bool) -> list[str]:
    keys = []
    for convolution, batchnorm in layers(depth, shortcuts=shortcuts):
        keys += [f"{convolution}.weight", *(f"{batchnorm}.{name}" for name in BATCHNORM)]
    return [*keys, "linear.weight", "linear.bias"]


def without_counters(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without the counters that BatchNorm has since torch 0.4.1."""
    return {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}


@torch.no_grad()
def network(depth: int, *, shortcuts: bool, seed: int = 0) -> CifarResNet:
    """In eval mode, with weights and running statistics of no special value."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = CifarResNet(depth, shortcuts=shortcuts)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for name in BATCHNORM:
                    getattr(module, name).uniform_(0.5, 1.5)
    return model.eval()


def images(num: int = 3) -> Tensor:
    return torch.randn(num, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- the network of the papers


@pytest.mark.parametrize(("shortcuts", "num_keys"), [(True, 57 * 5 + 2), (False, 55 * 5 + 2)])
def test_resnet56_has_the_keys_of_2018(shortcuts: bool, num_keys: int) -> None:
    keys = list(without_counters(CifarResNet(shortcuts=shortcuts)))
    assert keys == keys_of_2018(56, shortcuts=shortcuts)
    assert len(keys) == num_keys


@both
@pytest.mark.parametrize("depth", [8, 20, 110])
def test_depth_is_the_number_of_layers_with_weights(depth: int, shortcuts: bool) -> None:
    modules = list(CifarResNet(depth, shortcuts=shortcuts).modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)]
    assert len(convolutions) + sum(isinstance(module, nn.Linear) for module in modules) == depth


@both
def test_stages_halve_the_image_and_double_the_channels(shortcuts: bool) -> None:
    model = CifarResNet(14, shortcuts=shortcuts, num_classes=7).eval()
    shapes = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    assert model(images(2)).shape == (2, 7)
    assert shapes == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]


@both
@torch.no_grad()
def test_logits_are_those_of_the_formula(shortcuts: bool) -> None:
    """relu(F(x) + shortcut(x)) block by block (He et al. 2016), or relu(F(x)), from the tensors alone."""
    model = network(20, shortcuts=shortcuts).double()
    tensors = dict(model.state_dict())

    def normalized(x: Tensor, convolution: str, batchnorm: str, stride: int = 1) -> Tensor:
        kernel = tensors[f"{convolution}.weight"]
        scale, shift, mean, variance = (tensors[f"{batchnorm}.{name}"].view(-1, 1, 1) for name in BATCHNORM)
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = normalized(images().double(), "conv1", "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(3):
            where, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = normalized(x, f"{where}.conv1", f"{where}.bn1", stride).relu()
            out = normalized(out, f"{where}.conv2", f"{where}.bn2")
            if shortcuts:
                out = out + (normalized(x, f"{where}.shortcut.0", f"{where}.shortcut.1", 2) if stride == 2 else x)
            x = out.relu()
    expected = F.avg_pool2d(x, 8).flatten(1) @ tensors["linear.weight"].T + tensors["linear.bias"]
    torch.testing.assert_close(model(images().double()), expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_only_shortcuts_carry_the_input_past_zero_convolutions() -> None:
    for shortcuts in (True, False):
        model = network(14, shortcuts=shortcuts)
        for name, parameter in model.named_parameters():
            if name.startswith("layer") and ("conv1" in name or "conv2" in name):
                parameter.zero_()
        first, second = model(images(2))
        assert torch.equal(first, second) is not shortcuts


@pytest.mark.parametrize("depth", [-4, 0, 2, 7, 18, 55, 57])
def test_depth_that_no_such_network_has_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"^depth is {depth}; expected 6n \+ 2"):
        CifarResNet(depth)


# ---------------------------------------------------------------- checkpoints


def load_old_file(model: nn.Module, trained: nn.Module, folder: Path) -> Loaded:
    """Save ``trained`` as training scripts of 2018 did, with DataParallel's prefix, and load it strictly."""
    state = {f"module.{key}": tensor for key, tensor in without_counters(trained).items()}
    path = folder / "model_300.t7"
    torch.save({"acc": 93.66, "epoch": 300, "state_dict": state}, path, _use_new_zipfile_serialization=False)
    return load_weights(model, CheckpointConfig(path=path, strict=True))


@both
def test_old_file_gives_every_tensor(tmp_path: Path, shortcuts: bool) -> None:
    trained, model = network(56, shortcuts=shortcuts, seed=1), network(56, shortcuts=shortcuts, seed=2)
    loaded = load_old_file(model, trained, tmp_path)
    assert loaded.num_matched == len(keys_of_2018(56, shortcuts=shortcuts))
    found, expected = without_counters(model), without_counters(trained)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@both
def test_old_file_does_not_fit_the_other_network(tmp_path: Path, shortcuts: bool) -> None:
    with pytest.raises(CheckpointError, match=r"layer2\.0\.shortcut\.0\.weight"):
        load_old_file(network(8, shortcuts=not shortcuts), network(8, shortcuts=shortcuts), tmp_path)


def test_shipped_checkpoint_gives_every_tensor() -> None:
    loaded = load_weights(SmallResNet(), CheckpointConfig(path=ROOT / "configs" / "digits.pt", strict=True))
    assert loaded.num_matched == loaded.num_tensors
    assert not any("num_batches_tracked" in note for note in loaded.notes)


# ---------------------------------------------------------------- training


def train_one_epoch(folder: Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "scripts" / "train_digits.py")]
    options = ["--epochs", "1", "--batch-size", "256", "-o", str(folder / "last.pt"), "--save-every-epoch"]
    return subprocess.run(
        [*script, *options, str(folder / "path")], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_training_leaves_its_path(tmp_path: Path) -> None:
    done = train_one_epoch(tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "path").iterdir())
    assert [file.name for file in files] == ["epoch_000.pt", "epoch_001.pt"]
    initial, after, last = (torch.load(file, weights_only=True) for file in [*files, tmp_path / "last.pt"])
    assert (initial["epoch"], after["epoch"]) == (0, 1)
    for key, tensor in after["state_dict"].items():
        assert not torch.equal(initial["state_dict"][key], tensor)
        assert torch.equal(last["state_dict"][key], tensor)


@pytest.mark.slow
def test_path_of_a_longer_training_is_kept(tmp_path: Path) -> None:
    longer = tmp_path / "path" / "epoch_002.pt"
    longer.parent.mkdir()
    longer.write_bytes(b"precious")
    done = train_one_epoch(tmp_path)
    assert done.returncode == 2
    assert "holds a longer training" in done.stderr
    assert [file.name for file in longer.parent.iterdir()] == [longer.name]
