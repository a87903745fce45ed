"""Directions from files of tomgoldstein/loss-landscape and from those that a scan has saved, and what may not move."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from representative import mostly_slow
from safetensors.torch import load_file, save_file
from test_scan import StopAfter
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from landscape_cli import load_surface, scan_model
from landscape_cli.axes import DirectionConfig
from landscape_cli.compute.directions.drawing import AxisDirection, Drawing
from landscape_cli.compute.directions.gaussian import random
from landscape_cli.compute.normalization import layout_of
from landscape_cli.compute.observer import Silent
from landscape_cli.compute.saved import saved_directions
from landscape_cli.compute.subspace import Subspace
from landscape_cli.errors import ConfigError, DirectionError, ResumeMismatchError
from landscape_cli.surface import Surface

Landscape = Callable[..., Outcome]
Params = dict[str, Tensor]
X = {"start": -1.0, "stop": 0.75, "num": 4}
Y = {"start": -0.25, "stop": 1.0, "num": 3}
RUNTIME = {"engine": "sequential", "processes": 1}  # a pinned plan: equal scans are equal bit for bit
COUNTER = "num_batches_tracked"

# ---------------------------------------------------------------- models and data


class Network(nn.Module):
    """Convolutions, BatchNorm with statistics of its own, and a parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.scale = nn.Parameter(torch.tensor(1.25))
        self.stem, self.bn1 = nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3)
        self.conv, self.bn2 = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)
        self.head = nn.Linear(8, 4)
        for name, tensor in self.state_dict().items():
            if name.endswith(COUNTER):
                tensor.fill_(7)
            elif name.endswith("running_var"):
                tensor.copy_(1.0 + torch.rand(tensor.shape, generator=generator))
            else:
                tensor.copy_(0.6 * torch.randn(tensor.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.bn1(self.stem(self.scale * x)))
        logits: Tensor = self.head(torch.tanh(self.bn2(self.conv(x))).flatten(1))
        return logits


class Tied(nn.Module):
    """One tensor under two names, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding, self.inner = nn.Embedding(7, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.inner(self.embedding(x))))
        return logits


class Shifted(nn.Module):
    """A buffer that is no BatchNorm statistic."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.linear = nn.Linear(3, 4)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x + self.shift)
        return logits


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(24, 1, 6, 6, generator=generator), torch.randint(4, (24,), generator=generator))


class Told(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


# ---------------------------------------------------------------- oracles


def draw(model: nn.Module, seed: int) -> Params:
    """A direction over the whole state dict, float64; small for variances, which must stay positive."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(t.shape, generator=generator, dtype=torch.float64) for n, t in model.state_dict().items()}
    return {n: 0.2 * t.clamp(-2, 2) if n.endswith("running_var") else 0.4 * t for n, t in drawn.items()}


def write_group(path: Path, name: str, tensors: Sequence[object], dtype: str = "f8") -> None:
    """Numbered tensors without names, as the original program stores a direction."""
    with h5py.File(path, "a") as file:
        group = file.create_group(name)
        for i, tensor in enumerate(tensors):
            group.create_dataset(str(i), data=np.asarray(tensor, dtype=dtype))


def listed(model: nn.Module, direction: Params, kind: str) -> list[Tensor]:
    """The order of the parameters, or that of the state dict."""
    if kind == "weights":
        return [direction[name] for name, _ in model.named_parameters()]
    with_counters = kind == "states"
    return [direction[name] for name in model.state_dict() if with_counters or not name.endswith(COUNTER)]


def by_hand(model: nn.Module, dataset: TensorDataset, moves: Sequence[tuple[float, Params]], names: set[str]) -> float:
    """The loss of a copy whose tensors of these names have moved."""
    moved = copy.deepcopy(model)
    state = moved.state_dict()  # shares its memory with the copy
    for name in names:
        state[name].copy_(model.state_dict()[name] + sum(c * d[name] for c, d in moves if name in d))
    inputs, labels = dataset.tensors
    with torch.no_grad():
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        return F.cross_entropy(moved.eval()(inputs), labels).item()


def surface_by_hand(
    model: nn.Module, dataset: TensorDataset, surface: Surface, directions: Sequence[Params], names: set[str]
) -> np.ndarray:
    values = np.empty(surface.grid.shape[1:])
    for index in np.ndindex(values.shape):
        coordinates = [axis.coordinates[i] for axis, i in zip(surface.grid.axes, index, strict=True)]
        values[index] = by_hand(model, dataset, list(zip(coordinates, directions, strict=True)), names)
    return values


def scanned(
    model: nn.Module, axes: Mapping[str, object], dataset: TensorDataset | None = None, **options: object
) -> Surface:
    evaluation = {"precision": "float64", "batchnorm": options.pop("batchnorm", "frozen")}
    options = {"runtime": RUNTIME, "evaluation": evaluation, **options}
    return scan_model(model, {"train": dataset or data()}, axes=axes, **options)  # type: ignore[arg-type]


def from_file(path: Path, name: str | None = None, **more: object) -> dict[str, object]:
    return {"_target_": "file", "path": str(path), **({"name": name} if name else {}), **more}


def parameter_names(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def movable(model: nn.Module) -> set[str]:
    return {name for name in model.state_dict() if not name.endswith(COUNTER)}


# ---------------------------------------------------------------- files of tomgoldstein/loss-landscape


@pytest.mark.parametrize("batchnorm", ["frozen", "interpolate"])
@pytest.mark.parametrize("kind", mostly_slow(["weights", "states", "states without counters"], "weights", "states"))
def test_every_point_is_the_network_moved_along_the_tensors_of_the_file(
    tmp_path: Path, kind: str, batchnorm: str
) -> None:
    model, told, path = Network().double(), Told(), tmp_path / "dirs.h5"
    directions = [draw(model, seed) for seed in (10, 11)]
    for name, direction in zip(("xdirection", "ydirection"), directions, strict=True):
        write_group(path, name, listed(model, direction, kind))
    axes = {"x": {**X, "direction": from_file(path)}, "y": {**Y, "direction": from_file(path, "ydirection")}}
    surface = scanned(model, axes, batchnorm=batchnorm, observer=told, slices={"num": 2})
    moves_statistics = kind != "weights" and batchnorm == "interpolate"
    names = movable(model) if moves_statistics else parameter_names(model)
    expected = surface_by_hand(model, data(), surface, directions, names)
    for values in surface["train_loss"]:  # a file is the same in every slice
        np.testing.assert_allclose(values, expected, rtol=1e-12)
    swapped = surface_by_hand(model, data(), surface, directions[::-1], names)
    assert np.abs(swapped / expected - 1).max() > 0.1
    if kind != "weights":
        others = surface_by_hand(model, data(), surface, directions, movable(model) ^ parameter_names(model) ^ names)
        assert np.abs(others / expected - 1).max() > 1e-3
    ignored = [note for note in told.notes if "moves BatchNorm statistics too" in note]
    assert len(ignored) == (2 if kind != "weights" and batchnorm == "frozen" else 0)  # once per axis, not per slice


def test_statistics_that_stand_still_in_a_file_are_not_worth_a_note(tmp_path: Path) -> None:
    model, told = Network().double(), Told()
    direction = {n: t if n in parameter_names(model) else t * 0 for n, t in draw(model, 1).items()}
    write_group(tmp_path / "d.h5", "xdirection", listed(model, direction, "states"))
    scanned(model, {"x": {**X, "direction": from_file(tmp_path / "d.h5")}}, observer=told)
    assert not any("BatchNorm" in note for note in told.notes)


@pytest.mark.parametrize("dtype", ["f4", ">f8", "f2"])
def test_tensors_are_read_in_any_type_of_real_numbers(tmp_path: Path, dtype: str) -> None:
    model = Network().double()
    direction = draw(model, 1)
    write_group(tmp_path / "d.h5", "xdirection", listed(model, direction, "weights"), dtype)
    rounded = {n: torch.from_numpy(np.asarray(t.numpy().astype(dtype), dtype="f8")) for n, t in direction.items()}
    surface = scanned(model, {"x": {**X, "direction": from_file(tmp_path / "d.h5")}})
    expected = surface_by_hand(model, data(), surface, [rounded], parameter_names(model))
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-12)


def test_a_file_may_be_followed_by_some_layers_only_and_statistics_move_with_theirs(tmp_path: Path) -> None:
    model, path = Network().double(), tmp_path / "d.h5"
    direction = draw(model, 1)
    write_group(path, "xdirection", listed(model, direction, "states"))
    chosen = from_file(path, parameters=["bn1", "head.*"])
    surface = scanned(model, {"x": {**X, "direction": chosen}}, batchnorm="interpolate")
    names = {name for name in movable(model) if name.startswith(("bn1.", "head."))}
    assert "bn1.running_var" in names
    expected = surface_by_hand(model, data(), surface, [direction], names)
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-12)


def words() -> TensorDataset:
    return TensorDataset(torch.arange(7), (torch.arange(7) * 3 + 1) % 7)


@pytest.mark.parametrize("kind", ["weights", "states"])
def test_a_tied_tensor_moves_once(tmp_path: Path, kind: str) -> None:
    model, told = Tied().double(), Told()
    direction = draw(model, 1)
    direction["head.weight"] = direction["embedding.weight"]
    write_group(tmp_path / "d.h5", "xdirection", listed(model, direction, kind))
    surface = scanned(model, {"x": {**X, "direction": from_file(tmp_path / "d.h5")}}, words(), observer=told)
    expected = surface_by_hand(model, words(), surface, [direction], parameter_names(model))
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-12)
    assert any("embedding.weight and head.weight are one tensor" in note for note in told.notes) == (kind == "states")


def test_a_tied_tensor_that_is_to_move_in_two_ways_is_refused(tmp_path: Path) -> None:
    model = Tied().double()
    write_group(tmp_path / "d.h5", "xdirection", listed(model, draw(model, 1), "states"))
    with pytest.raises(DirectionError, match=r"tensor 3 of xdirection.*embedding\.weight and head\.weight are one"):
        scanned(model, {"x": {**X, "direction": from_file(tmp_path / "d.h5")}}, words())
    whole = from_file(tmp_path / "d.h5", parameters="inner")  # neither of the two moves
    assert scanned(model, {"x": {**X, "direction": whole}}, words()).complete


def test_a_module_that_is_used_twice_has_its_statistics_moved_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bn = nn.BatchNorm2d(2)
    layers = [nn.Conv2d(1, 2, 3), bn, nn.Conv2d(2, 2, 3), bn, nn.Flatten(), nn.Linear(8, 4)]
    model = nn.Sequential(*layers).double().eval()
    direction = draw(model, 1)
    direction |= {name.replace("1.", "3."): tensor for name, tensor in direction.items() if name.startswith("1.")}
    write_group(tmp_path / "d.h5", "xdirection", listed(model, direction, "states"))
    surface = scanned(model, {"x": {**X, "direction": from_file(tmp_path / "d.h5")}}, batchnorm="interpolate")
    names = {name for name in movable(model) if not name.startswith("3.")}
    expected = surface_by_hand(model, data(), surface, [direction], names)
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-12)
    direction["3.running_mean"] = direction["1.running_mean"] + 1
    write_group(tmp_path / "e.h5", "xdirection", listed(model, direction, "states"))
    with pytest.raises(DirectionError, match=r"1\.running_mean and 3\.running_mean are one tensor"):
        scanned(model, {"x": {**X, "direction": from_file(tmp_path / "e.h5")}}, batchnorm="interpolate")


@pytest.mark.parametrize("moves", [True, False])
def test_other_buffers_that_a_file_moves_are_warned_of(tmp_path: Path, moves: bool) -> None:
    model, told = Shifted().double(), Told()
    direction = draw(model, 1)
    direction["shift"] *= moves
    write_group(tmp_path / "d.h5", "xdirection", listed(model, direction, "states"))
    dataset = TensorDataset(torch.randn(8, 3), torch.arange(8) % 4)
    surface = scanned(model, {"x": {**X, "direction": from_file(tmp_path / "d.h5")}}, dataset, observer=told)
    expected = surface_by_hand(model, dataset, surface, [direction], {"linear.weight", "linear.bias"})
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-12)
    assert any("moves shift too" in note for note in told.notes) == moves


# ---------------------------------------------------------------- on the command line


def config_with(tmp_path: Path, direction: Mapping[str, object], **more: object) -> Path:
    torch.save({"state_dict": Network().state_dict()}, tmp_path / "weights.pt")
    path = tmp_path / "scan.yaml"
    config = {
        "model": {"_target_": f"{__name__}.Network"},
        "checkpoint": {"path": str(tmp_path / "weights.pt")},
        "data": {"train": {"dataset": {"_target_": f"{__name__}.data"}}},
        "axes": {"x": {**X, "direction": direction}},
        "runtime": RUNTIME,
        **more,
    }
    path.write_text(json.dumps(config))
    return path


def test_the_command_follows_a_direction_file(tmp_path: Path, landscape: Landscape) -> None:
    model, path = Network().double(), tmp_path / "d.h5"
    direction = draw(model, 1)
    write_group(path, "xdirection", listed(model, direction, "states"), "f4")
    evaluation = {"batchnorm": "interpolate"}
    outcome = landscape("scan", config_with(tmp_path, from_file(path), evaluation=evaluation), "-o", tmp_path / "s.h5")
    assert outcome.exit_code == 0, outcome.stderr
    surface = load_surface(tmp_path / "s.h5")
    expected = surface_by_hand(model, data(), surface, [direction], movable(model))
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-5)  # float32


def tensors(seed: int = 1) -> list[Tensor]:
    model = Network()
    return listed(model, draw(model, seed), "weights")


def with_text(path: Path) -> None:
    write_group(path, "xdirection", tensors()[:-1])
    with h5py.File(path, "a") as file:
        file["xdirection"][str(len(tensors()) - 1)] = "text"


def without_a_number(path: Path) -> None:
    write_group(path, "xdirection", tensors())
    with h5py.File(path, "a") as file:
        file.move("xdirection/2", "xdirection/two")


def a_surface(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["xcoordinates"], file["train_loss"] = [0.0, 1.0], [1.0, 2.0]


BAD_FILES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "missing": (lambda path: None, 3, "no such file"),
    "empty": (lambda path: path.touch(), 3, "d.h5"),
    "no HDF5": (lambda path: path.write_text("hello"), 3, "a direction file of tomgoldstein/loss-landscape"),
    "surface": (a_surface, 3, "no directions; found train_loss, xcoordinates"),
    "other group": (lambda path: write_group(path, "ydirection", tensors()), 3, "no direction 'xdirection'"),
    "empty group": (lambda path: write_group(path, "xdirection", []), 3, "expected tensors numbered from 0"),
    "no number 2": (without_a_number, 3, "but no '2'"),
    "another count": (
        lambda path: write_group(path, "xdirection", tensors()[1:]),
        3,
        "has 9 tensors; this model has 10 parameters, and 14 or 16 entries in its state dict",
    ),
    "another shape": (
        lambda path: write_group(path, "xdirection", [*tensors()[:-1], torch.ones(5)]),
        3,
        "tensor 9 of xdirection has the shape (5,); head.bias of this model has (4,)",
    ),
    "another order": (lambda path: write_group(path, "xdirection", tensors()[::-1]), 3, "has the shape (4,)"),
    "NaN": (
        lambda path: write_group(path, "xdirection", [*tensors()[:-1], torch.full((4,), torch.nan)]),
        3,
        "tensor 9 of xdirection (head.bias) holds NaN or infinite values",
    ),
    "too large": (lambda path: write_group(path, "xdirection", [1e300 * t for t in tensors()]), 2, "infinite values"),
    "zeros": (lambda path: write_group(path, "xdirection", [0 * t for t in tensors()]), 2, "zero everywhere"),
    "text": (with_text, 3, "expected a tensor of real numbers"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_direction_of_this_model_is_refused(tmp_path: Path, landscape: Landscape, name: str) -> None:
    write, exit_code, message = BAD_FILES[name]
    write(tmp_path / "d.h5")
    outcome = landscape("scan", config_with(tmp_path, from_file(tmp_path / "d.h5")), "-o", tmp_path / "s.h5")
    assert outcome.exit_code == exit_code
    assert message in outcome.stderr
    assert "axes.x.direction" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "s.h5").exists()


def nothing_of_ours(path: Path) -> None:
    save_file({"head.weight": torch.ones(4, 8)}, path)


BAD_SAVED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "damaged": (lambda path: path.write_bytes(b"\xff" * 100), "not a readable safetensors file"),
    "a checkpoint": (nothing_of_ours, "no direction 'x'"),
    "other axis": (lambda path: save_file({"0/y/head.weight": torch.ones(4, 8)}, path), "no direction 'x'"),
    "other model": (lambda path: save_file({"0/x/top.weight": torch.ones(4, 8)}, path), "it moves top.weight, which"),
    "other shape": (lambda path: save_file({"0/x/head.weight": torch.ones(8, 4)}, path), "has the shape (8, 4)"),
    "NaN": (lambda path: save_file({"0/x/head.weight": torch.full((4, 8), torch.nan)}, path), "holds NaN"),
    "other slices": (
        lambda path: save_file({f"{i}/x/head.weight": torch.ones(4, 8) for i in (0, 1)}, path),
        "no direction 2/x; it has 2 slices",
    ),
}


@pytest.mark.parametrize("name", BAD_SAVED)
def test_a_saved_file_of_something_else_is_refused(tmp_path: Path, landscape: Landscape, name: str) -> None:
    write, message = BAD_SAVED[name]
    path = tmp_path / "d.safetensors"
    write(path)
    config = config_with(tmp_path, from_file(path), slices={"num": 3})
    outcome = landscape("scan", config, "-o", tmp_path / "s.h5")
    assert outcome.exit_code == 3
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "s.h5").exists()


# ---------------------------------------------------------------- directions: save


def contents(surface: Surface) -> list[bytes]:
    parts = [surface.evaluated]
    parts += [part for metric in surface.metrics.values() for part in (metric.values, metric.std)]
    return [part.tobytes() for part in parts]


def recorded(surface: Surface) -> Mapping[str, str]:
    found = surface.provenance.resolved["found"]
    assert isinstance(found, dict)
    told = found["directions"]
    assert isinstance(told, dict)
    return told  # type: ignore[return-value]


def saved_axes(path: Path, num_slices: int, axes: str) -> list[list[Params]]:
    """Slice, axis → name → tensor."""
    saved = load_file(path)
    found = [
        [{k.removeprefix(f"{i}/{a}/"): t for k, t in saved.items() if k.startswith(f"{i}/{a}/")} for a in axes]
        for i in range(num_slices)
    ]
    assert sum(len(each) for row in found for each in row) == len(saved)
    return found


def test_saved_directions_are_those_of_the_surface_and_give_it_again(tmp_path: Path) -> None:
    model, output = Network().double(), tmp_path / "s.h5"
    other = Network().double()
    for name, tensor in other.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(0.2 * draw(model, 5)[name])
    torch.save(other.state_dict(), tmp_path / "b.pt")
    axes = {
        "x": {**X, "direction": {"_target_": "between", "checkpoint": str(tmp_path / "b.pt")}},
        "y": {**Y, "direction": {"_target_": "random", "parameters": ["conv", "head.weight"], "orthogonal": True}},
    }
    options = {"slices": {"num": 2, "seed": 4}, "batchnorm": "interpolate"}
    first = scanned(model, axes, output=output, directions="save", **options)
    file = tmp_path / "s.h5.directions.safetensors"
    assert recorded(first) == {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert recorded(load_surface(output)) == recorded(first)
    slices = saved_axes(file, 2, "xy")
    assert not torch.equal(slices[0][1]["head.weight"], slices[1][1]["head.weight"])
    for number, directions in enumerate(slices):
        assert set(directions[0]) == movable(model)
        assert set(directions[1]) == {"conv.weight", "head.weight"}  # what does not move is left out
        expected = surface_by_hand(model, data(), first, directions, movable(model))
        np.testing.assert_allclose(first["train_loss"][number], expected, rtol=1e-12)
        x, y = ({n: t for n, t in each.items() if n in parameter_names(model)} for each in directions)
        lengths = [float(sum(t.square().sum() for t in each.values())) ** 0.5 for each in (x, y)]
        assert [first.directions[a].norm[number] for a in "xy"] == pytest.approx(lengths, rel=1e-12)
    again = {name: {**axis, "direction": from_file(file, name)} for name, axis in (("x", X), ("y", Y))}
    assert contents(scanned(model, again, **options)) == contents(first)
    turned = {"x": {**Y, "direction": from_file(file, "y")}, "y": {**X, "direction": from_file(file, "x")}}
    np.testing.assert_allclose(
        scanned(model, turned, **options)["train_loss"], first["train_loss"].transpose(0, 2, 1), rtol=1e-12
    )
    alone = {"x": {**X, "direction": from_file(file, "y", parameters="conv")}}
    part = [{"conv.weight": slices[0][1]["conv.weight"]}]
    surface = scanned(model, alone)
    expected = surface_by_hand(model, data(), surface, part, parameter_names(model))
    np.testing.assert_allclose(surface["train_loss"][0], expected, rtol=1e-12)


def test_directions_of_one_slice_serve_every_slice(tmp_path: Path) -> None:
    model = Network().double()
    scanned(model, {"x": X}, output=tmp_path / "s.h5", directions="save")
    drawn = {"_target_": "random", "normalization": "none"}
    axes = {
        "x": {**X, "direction": from_file(tmp_path / "s.h5.directions.safetensors")},
        "y": {**Y, "direction": drawn},
    }
    surface = scanned(model, axes, slices={"num": 2})
    assert surface.directions["x"].norm[0] == surface.directions["x"].norm[1]
    assert surface.directions["y"].norm[0] != surface.directions["y"].norm[1]


def test_directions_of_a_finished_scan_can_be_saved_later(tmp_path: Path) -> None:
    model, output = Network().double(), tmp_path / "s.h5"
    before = scanned(model, {"x": X}, output=output)
    scanned(model, {"x": X}, output=output, directions="save")
    after = load_surface(output)
    image = (tmp_path / "s.h5.directions.safetensors").read_bytes()
    assert recorded(after)["sha256"] == hashlib.sha256(image).hexdigest()
    assert contents(after) == contents(before)
    untouched = output.stat().st_mtime_ns
    scanned(model, {"x": X}, output=output, directions="save")
    assert output.stat().st_mtime_ns == untouched


@pytest.mark.parametrize("name", ["", "/", ".", "..", "../s.h5.directions.safetensors", "a\0b", 3, None])
def test_a_surface_names_no_file_but_one_beside_it(tmp_path: Path, name: object) -> None:
    (tmp_path / "s.h5").mkdir()
    (tmp_path / "s.h5.directions.safetensors").write_bytes(b"hello")
    surface = scanned(Network().double(), {"x": X})
    told = {"file": name, "sha256": hashlib.sha256(b"hello").hexdigest()}
    surface.provenance = replace(surface.provenance, resolved={"found": {"directions": told}})
    assert saved_directions(surface, tmp_path / "s.h5" / "s.h5") is None


def test_a_direction_file_that_has_changed_is_another_scan(tmp_path: Path) -> None:
    model, path = Network().double(), tmp_path / "d.h5"
    axes = {"x": {**X, "direction": from_file(path)}}
    write_group(path, "xdirection", tensors())
    scanned(model, axes, output=tmp_path / "s.h5")
    path.unlink()
    write_group(path, "xdirection", tensors(2))
    with pytest.raises(ResumeMismatchError, match=r"axes.x.direction.path"):
        scanned(model, axes, output=tmp_path / "s.h5")


# y is made orthogonal to another x in every slice
CURVED = {
    "x": X,
    "y": {**Y, "direction": {"_target_": "hessian", "num_examples": 8, "max_products": 300, "orthogonal": True}},
}


@pytest.mark.parametrize("file_is", mostly_slow(["there", "deleted", "damaged", "exchanged"], "there", "exchanged"))
def test_a_resumed_scan_takes_the_eigenvector_from_the_saved_file_if_it_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_is: str
) -> None:
    from landscape_cli.compute.directions import curved

    model, output = Network().double(), tmp_path / "s.h5"
    options = {"axes": CURVED, "slices": {"num": 2}, "directions": "save"}
    whole = scanned(model, output=tmp_path / "whole.h5", **options)
    stopped = scanned(model, output=output, should_stop=StopAfter(14), **options)
    assert all(0 < each.sum() < each.size for each in stopped.evaluated)
    file = tmp_path / "s.h5.directions.safetensors"
    image = file.read_bytes()
    if file_is == "deleted":
        file.unlink()
    elif file_is == "damaged":
        file.write_bytes(image[:-5])
    elif file_is == "exchanged":
        save_file({f"{i}/{a}/head.weight": torch.ones(4, 8) for i in (0, 1) for a in "xy"}, file)
    calls: list[None] = []
    eigenpair = curved.eigenpair
    monkeypatch.setattr(curved, "eigenpair", lambda *a, **k: calls.append(None) or eigenpair(*a, **k))
    resumed = scanned(model, output=output, **options)
    assert len(calls) == (0 if file_is == "there" else 1)
    assert contents(resumed) == contents(whole) == contents(load_surface(output))
    assert resumed.directions["y"].found == whole.directions["y"].found
    assert file.read_bytes() == image
    assert recorded(load_surface(output))["sha256"] == hashlib.sha256(image).hexdigest()


# ---------------------------------------------------------------- what does not move


class Watched(nn.Module):
    """Remembers the tensors with which it was evaluated."""

    seen: ClassVar[list[Params]] = []

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.bn, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        with torch.no_grad():
            for tensor in (self.first.weight, self.first.bias, self.bn.bias, self.last.weight):
                tensor.view(-1)[0], tensor.view(-1)[1], tensor.view(-1)[2] = -0.0, 1e-42, -1e-45

    def forward(self, x: Tensor) -> Tensor:
        Watched.seen.append({n: t.detach().clone() for n, t in self.state_dict().items()})
        logits: Tensor = self.last(self.bn(self.first(x)))
        return logits


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


@pytest.mark.parametrize("batchnorm", ["frozen", "interpolate"])
def test_layers_that_are_not_selected_stay_bit_for_bit(tmp_path: Path, batchnorm: str) -> None:
    """Also negative zeros and subnormal numbers: nothing is added to them, not even 0."""
    model = Watched().eval()
    before = {name: bits(tensor) for name, tensor in model.state_dict().items()}
    other = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*other.parameters(), other.bn.running_mean, other.bn.running_var):
            tensor.add_(0.25)
    torch.save(other.state_dict(), tmp_path / "b.pt")
    between = {"_target_": "between", "checkpoint": str(tmp_path / "b.pt"), "parameters": "last"}
    axes = {
        "x": {**X, "direction": between},
        "y": {**Y, "direction": {"_target_": "random", "ignore": "none", "parameters": {"include": "last.weight"}}},
    }
    Watched.seen.clear()
    dataset = TensorDataset(torch.randn(6, 3), torch.arange(6) % 2)
    scanned(
        model, axes, dataset, evaluation={"precision": "float32", "batchnorm": batchnorm}, slices={"num": 2},
        runtime={"engine": "sequential", "processes": 1}
    )  # fmt: skip
    seen = {name: {bits(state[name]) for state in Watched.seen} for name in before}
    for name, found in seen.items():
        if name.startswith("last."):
            assert len(found) > 4, name
        else:
            assert found == {before[name]}, name


def matches(name: str, pattern: str) -> bool:
    """Globs by recursion: ``*`` any characters, ``?`` one, ``[…]`` one of these."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(matches(name[i:], pattern[1:]) for i in range(len(name) + 1))
    if not name:
        return False
    if pattern[0] == "[" and "]" in pattern:
        end = pattern.index("]")
        return name[0] in pattern[1:end] and matches(name[1:], pattern[end + 1 :])
    return pattern[0] in ("?", name[0]) and matches(name[1:], pattern[1:])


def chosen_by(name: str, pattern: str) -> bool:
    """The parameter itself, or a module around it."""
    parts = name.split(".")
    return any(matches(".".join(parts[:depth]), pattern) for depth in range(1, len(parts) + 1))


MODEL = nn.ModuleDict(
    {
        "stem": nn.Linear(2, 3),
        "layer1": nn.ModuleDict({"conv1": nn.Conv1d(1, 2, 2), "bn": nn.BatchNorm1d(2)}),
        "layer10": nn.Sequential(nn.Linear(2, 2, bias=False), nn.ModuleDict({"conv1": nn.Conv1d(2, 1, 3)})),
    }
)
PIECES = ["stem", "layer1", "layer10", "conv1", "bn", "0", "1", "weight", "bias", ".", "*", "?", "[sl]", "layer", "w*"]
PATTERNS = st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join), min_size=1, max_size=3)


@settings(deadline=None, max_examples=150)
@given(include=PATTERNS, exclude=PATTERNS | st.just([]), coordinate=st.floats(-3, 3).filter(lambda c: abs(c) > 0.01))
def test_exactly_the_selected_parameters_move(include: list[str], exclude: list[str], coordinate: float) -> None:
    params = {name: tensor.detach() for name, tensor in MODEL.named_parameters()}
    config = DirectionConfig.model_validate(
        {"_target_": "random", "ignore": "none", "parameters": {"include": include, "exclude": exclude}}
    )

    def direction(context: object) -> Params:
        return random(context, normalization="none", ignore="none")  # type: ignore[arg-type]

    expected = {
        name
        for name in params
        if any(chosen_by(name, pattern) for pattern in include)
        and not any(chosen_by(name, pattern) for pattern in exclude)
    }
    try:
        drawing = Drawing(params, layout_of(MODEL), 0, [AxisDirection("x", direction, "here", config)])
    except ConfigError:
        useless = [p for p in (*include, *exclude) if not any(chosen_by(name, p) for name in params)]
        assert useless or not expected
        return
    drawn = drawing.draw(0)
    assert set(drawn[0]) == expected
    moved = Subspace(params, drawn).point((coordinate,))
    assert {name for name in params if bits(moved[name]) != bits(params[name])} == expected
