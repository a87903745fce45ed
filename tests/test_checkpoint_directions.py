"""Directions from other checkpoints: between solutions, and along the path of training; BatchNorm on the way."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from landscape_cli import scan_model
from landscape_cli.compute.subspace import Subspace, inner
from landscape_cli.errors import CheckpointError
from landscape_cli.surface import Surface

N = 600


def network(seed: int) -> nn.Module:
    """Convolutions and BatchNorm with statistics and weights of its own."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(64, 5),
    )
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.eval()


def data(seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(N, 1, 8, 8, generator=generator), torch.randint(5, (N,), generator=generator))


def save(model: nn.Module, path: Path) -> str:
    torch.save({"state_dict": model.state_dict()}, path)
    return str(path)


def plain_loss(model: nn.Module, dataset: TensorDataset) -> float:
    images, labels = dataset.tensors
    with torch.no_grad():
        return F.cross_entropy(model(images.to(next(model.parameters()).dtype)), labels).item()


def mixed(weights: Mapping[float, nn.Module] | list[tuple[float, nn.Module]]) -> nn.Module:
    """The network with the weighted averages of all floating-point tensors, buffers included."""
    pairs = list(weights.items()) if isinstance(weights, Mapping) else weights
    result = copy.deepcopy(pairs[0][1])
    states = [(share, model.state_dict()) for share, model in pairs]
    result.load_state_dict(
        {
            name: sum(share * state[name] for share, state in states) if tensor.is_floating_point() else tensor
            for name, tensor in states[0][1].items()
        }
    )
    return result.eval()


def scanned(model: nn.Module, axes: Mapping[str, object], **options: object) -> Surface:
    precision = options.pop("precision", "float64")
    evaluation = {"precision": precision, "batchnorm": options.pop("batchnorm", "frozen")}
    evaluation |= options.pop("evaluation", {})  # type: ignore[arg-type]
    return scan_model(model, {"train": data()}, axes=axes, evaluation=evaluation, **options)  # type: ignore[arg-type]


def towards(other: nn.Module, path: Path, *, stop: int, num: int) -> dict[str, object]:
    """An axis from the model (0) to another one (1)."""
    return {"start": 0, "stop": stop, "num": num, "direction": {"_target_": "between", "checkpoint": save(other, path)}}


# ---------------------------------------------------------------- between


@pytest.mark.parametrize("engine", ["sequential", "folded", "channels_last", "stacked"])
def test_the_ends_are_both_networks_and_the_middle_is_that_of_averages(tmp_path: Path, engine: str) -> None:
    a, b = network(0).double(), network(1).double()
    axis = towards(b, tmp_path / "b", stop=1, num=3)
    surface = scanned(a, {"x": axis}, batchnorm="interpolate", runtime={"engine": engine})
    expected = [plain_loss(each, data()) for each in (a, mixed([(0.5, a), (0.5, b)]), b)]
    assert surface["train_loss"][0] == pytest.approx(expected, rel=1e-12)
    assert surface.metrics["train_loss"].centre == pytest.approx(expected[0], rel=1e-12)
    lengths = [(q - p).detach().square().sum() for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    assert surface.directions["x"].norm == pytest.approx((float(sum(lengths)) ** 0.5,), rel=1e-12)


def test_frozen_statistics_stay_those_of_the_first_network(tmp_path: Path) -> None:
    a, b = network(0).double(), network(1).double()
    axis = towards(b, tmp_path / "b", stop=1, num=2)
    surface = scanned(a, {"x": axis})
    hybrid = copy.deepcopy(b)
    hybrid.load_state_dict({n: t for n, t in a.state_dict().items() if "running" in n}, strict=False)
    assert surface["train_loss"][0, 1] == pytest.approx(plain_loss(hybrid, data()), rel=1e-12)
    assert surface["train_loss"][0, 1] != pytest.approx(plain_loss(b, data()), rel=1e-2)


def test_three_checkpoints_span_a_plane(tmp_path: Path) -> None:
    a, b, c = (network(seed).double() for seed in range(3))
    axes = {name: towards(each, tmp_path / name, stop=1, num=2) for name, each in (("x", b), ("y", c))}
    surface = scanned(a, axes, batchnorm="interpolate")
    values = surface["train_loss"][0]
    for (i, j), corner in (((0, 0), a), ((1, 0), b), ((0, 1), c)):
        assert values[i, j] == pytest.approx(plain_loss(corner, data()), rel=1e-12)
    assert values[1, 1] == pytest.approx(plain_loss(mixed([(-1.0, a), (1.0, b), (1.0, c)]), data()), rel=1e-12)
    assert surface.cosine is not None
    u, v = (
        torch.cat([(q - p).detach().flatten() for p, q in zip(a.parameters(), m.parameters(), strict=True)])
        for m in (b, c)
    )
    assert surface.cosine[0, 0, 1] == pytest.approx(float(u @ v / u.norm() / v.norm()), abs=1e-12)


@pytest.mark.parametrize("engine", ["auto", "sequential", "folded", "channels_last"])
def test_recalibrated_statistics_are_those_that_torch_estimates(tmp_path: Path, engine: str) -> None:
    a, b = network(0).double(), network(1).double()
    axis = towards(b, tmp_path / "b", stop=1, num=3)
    surface = scanned(
        a,
        {"x": axis},
        batchnorm="recalibrate",
        evaluation={"recalibration": {"num_examples": 500}},
        runtime={"engine": engine},
    )
    images = data().tensors[0][:500].double()
    for i, share in enumerate((0.0, 0.5, 1.0)):
        moved = mixed([(1 - share, a), (share, b)])
        update_bn(DataLoader(TensorDataset(images), batch_size=250), moved)  # 500 in two equal parts
        assert surface["train_loss"][0, i] == pytest.approx(plain_loss(moved.eval(), data()), rel=1e-12)
    assert surface.metrics["train_loss"].centre == surface["train_loss"][0, 0]


@pytest.mark.parametrize("num_examples", [257, 258, 300, 513])
def test_no_small_batch_at_the_end_spoils_the_statistics(num_examples: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 5)).double().eval()
    images, labels = data().tensors
    dataset = TensorDataset(images.flatten(1).double(), labels)
    surface = scan_model(
        model,
        {"test": dataset},
        axes={"x": {"num": 3}},
        evaluation={
            "precision": "float64",
            "batchnorm": "recalibrate",
            "recalibration": {"split": "test", "num_examples": num_examples},
        },
    )
    whole = copy.deepcopy(model)  # all at once: the averages over parts differ from it by little
    update_bn(DataLoader(TensorDataset(dataset.tensors[0][:num_examples]), batch_size=num_examples), whole)
    with torch.no_grad():
        expected = F.cross_entropy(whole.eval()(dataset.tensors[0]), labels).item()
    assert surface.metrics["test_loss"].centre == pytest.approx(expected, rel=1e-2)


def test_running_statistics_of_another_kind_are_refused_or_estimated() -> None:
    from landscape_cli.errors import EvaluationError

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - self.running_mean.view(1, -1, 1, 1)

    torch.manual_seed(0)
    own = nn.Sequential(nn.Conv2d(1, 3, 3), Frozen(), nn.Flatten(), nn.Linear(108, 5))
    with pytest.raises(EvaluationError, match=r"cannot estimate 1\.running_mean"):
        scanned(own, {"x": {"num": 3}}, batchnorm="recalibrate", precision="float32")
    norm = nn.InstanceNorm2d(3, track_running_stats=True)
    norm.running_mean.fill_(2.0)
    instance = nn.Sequential(nn.Conv2d(1, 3, 3), norm, nn.Tanh(), nn.Flatten(), nn.Linear(108, 5)).double().eval()
    surface = scanned(instance, {"x": {"num": 3}}, batchnorm="recalibrate")
    images = data().tensors[0].double()
    with torch.no_grad():  # of one image each, averaged: mean over all, mean of the unbiased variances
        hidden = instance[0](images)
        norm.running_mean.copy_(hidden.mean(dim=(0, 2, 3)))
        norm.running_var.copy_(hidden.var(dim=(2, 3)).mean(dim=0))
    assert surface.metrics["train_loss"].centre == pytest.approx(plain_loss(instance, data()), rel=1e-6)


def test_engines_that_take_several_points_at_once_do_not_recalibrate(tmp_path: Path) -> None:
    from landscape_cli.errors import EvaluationError

    with pytest.raises(EvaluationError, match="one point after the other"):
        scanned(network(0), {"x": {"num": 3}}, batchnorm="recalibrate", runtime={"engine": "stacked"})


def test_the_model_of_the_caller_keeps_its_statistics() -> None:
    model = network(0)
    before = copy.deepcopy(model.state_dict())
    for batchnorm in ("interpolate", "recalibrate"):
        scanned(model, {"x": {"num": 3}}, batchnorm=batchnorm, precision="float32")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_random_direction_moves_no_statistics_when_they_are_interpolated() -> None:
    frozen, moved = (scanned(network(0), {"x": {"num": 5}}, batchnorm=mode) for mode in ("frozen", "interpolate"))
    assert np.array_equal(frozen["train_loss"], moved["train_loss"])


class Told:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def decoding(self, split: str, num_done: int, num_examples: int) -> None: ...

    def preflight(self, preflight: object) -> None: ...

    def filling(self, surface: object) -> None: ...

    def progress(self, stage: str, num_evaluated: int, num_total: int) -> None: ...


def test_frozen_batchnorm_between_two_networks_is_warned_of(tmp_path: Path) -> None:
    axis = towards(network(1), tmp_path / "b", stop=1, num=2)
    for batchnorm, expected in (("frozen", True), ("interpolate", False), ("recalibrate", False)):
        told = Told()
        scanned(network(0), {"x": axis}, batchnorm=batchnorm, precision="float32", observer=told)
        assert any("BatchNorm keeps the statistics" in note for note in told.notes) is expected
    told = Told()
    scanned(network(0), {"x": {"num": 2, "start": 0}}, precision="float32", observer=told)
    assert not any("BatchNorm" in note for note in told.notes)


def notes_of(model: nn.Module, axes: Mapping[str, object], split: str = "train", **options: object) -> str:
    told = Told()
    scan_model(model, {split: data()}, axes=axes, observer=told, **options)  # type: ignore[arg-type]
    return "\n".join(told.notes)


def test_interpolating_along_a_random_direction_is_said_to_change_nothing(tmp_path: Path) -> None:
    evaluation = {"batchnorm": "interpolate"}
    random = notes_of(network(0), {"x": {"num": 2, "start": 0}}, evaluation=evaluation)
    assert "interpolate changes nothing: only between, pca and file move statistics" in random
    axis = {"num": 2, "start": 0, "direction": {"_target_": "between", "checkpoint": save(network(1), tmp_path / "b")}}
    assert "changes nothing" not in notes_of(network(0), {"x": axis}, evaluation=evaluation)


def test_statistics_that_are_estimated_on_what_is_measured_are_warned_of() -> None:
    evaluation = {"batchnorm": "recalibrate"}
    axes = {"x": {"num": 2, "start": 0}}
    warned = notes_of(network(0), axes, "test", evaluation=evaluation)
    assert (
        f"there is no split train: BatchNorm is estimated anew on data.test, which is also measured (its first {N}"
        in warned
    )
    assert "estimated anew" not in notes_of(network(0), axes, "train", evaluation=evaluation)
    chosen = evaluation | {"recalibration": {"split": "test"}}
    assert "estimated anew" not in notes_of(network(0), axes, "test", evaluation=chosen)


def test_a_path_of_another_run_and_one_that_is_mostly_missed_are_told(tmp_path: Path) -> None:
    model, other = network(0), network(5)
    (tmp_path / "own").mkdir()
    (tmp_path / "foreign").mkdir()
    own, _ = path_of(tmp_path / "own", model, 4)
    foreign = [save(other, tmp_path / "foreign" / "a.pt"), save(other, tmp_path / "foreign" / "b.pt")]
    axes = {"x": {"num": 2, "start": 0}}
    at_home = notes_of(model, axes, trajectory={"checkpoints": [*own, save(model, tmp_path / "last.pt")]})
    assert "is not on the path" not in at_home
    assert "% of the way to the farthest checkpoint of the path" in at_home  # a random line
    abroad = notes_of(model, axes, trajectory={"checkpoints": foreign})
    assert f"is not on the path: {foreign[0]} is the nearest" in abroad
    pca = {"num": 3, "direction": {"_target_": "pca", "checkpoints": [*own, save(model, tmp_path / "last.pt")]}}
    assert "misses" not in notes_of(model, {"x": pca, "y": pca})


def test_a_negative_interpolated_variance_is_foretold_and_stored_as_nan(tmp_path: Path) -> None:
    a, b = network(0), network(1)
    axis = towards(b, tmp_path / "b", stop=9, num=2)
    told = Told()
    surface = scanned(a, {"x": axis}, batchnorm="interpolate", precision="float32", observer=told)
    variances = [t + 9 * (b.state_dict()[n] - t) for n, t in a.state_dict().items() if "running_var" in n]
    assert any(bool((each < 0).any()) for each in variances)
    assert any("variance is negative" in note and "(9)" in note for note in told.notes)
    assert np.isnan(surface["train_loss"][0, 1])
    assert surface.complete


# ---------------------------------------------------------------- paths


def path_of(tmp_path: Path, model: nn.Module, num: int, *, in_plane: bool = False) -> tuple[list[str], np.ndarray]:
    """Checkpoints around a model, and the matrix of their differences from it, one row each, float64."""
    generator = torch.Generator().manual_seed(7)
    names = [name for name, _ in model.named_parameters()]
    basis = [
        {n: torch.randn(p.shape, generator=generator, dtype=torch.float64) for n, p in model.named_parameters()}
        for _ in range(2)
    ]
    paths, rows = [], []
    for step in range(num):
        other = copy.deepcopy(model)
        state = other.state_dict()
        for name in names:
            if in_plane:
                change = (step - 1.5) * basis[0][name] + 0.3 * step * step * basis[1][name]
            else:
                noise = torch.randn(state[name].shape, generator=generator, dtype=torch.float64)
                change = (num - step) * basis[0][name] + 0.3 * noise
            state[name] += change.to(state[name].dtype)
        paths.append(save(other, tmp_path / f"epoch_{step}.pt"))
        difference = [(state[n] - model.state_dict()[n]).double().flatten() for n in names]
        rows.append(torch.cat(difference).numpy())
    return paths, np.stack(rows)


def flat(direction: Mapping[str, Tensor], model: nn.Module) -> np.ndarray:
    return torch.cat([direction[name].double().flatten() for name, _ in model.named_parameters()]).numpy()


def test_pca_directions_are_the_right_singular_vectors_of_the_differences(tmp_path: Path) -> None:
    model = network(0).double()
    paths, rows = path_of(tmp_path, model, 6)
    pca = {"_target_": "pca", "checkpoints": str(tmp_path / "epoch_*.pt")}
    surface = scanned(
        model,
        {name: {"num": 3, "direction": pca} for name in "xyz"},
        directions="save",
        output=tmp_path / "s.h5",
    )
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "s.h5.directions.safetensors")
    _, singular, right = np.linalg.svd(rows, full_matrices=False)
    for number, axis in enumerate("xyz"):
        found = flat({n: saved[f"0/{axis}/{n}"] for n, _ in model.named_parameters()}, model)
        assert abs(found @ right[number]) == pytest.approx(1.0, abs=1e-10)
        assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-12)
        along = rows @ found
        assert along[np.argmax(np.abs(along))] > 0  # the farthest checkpoint is on the positive side
        ratio = surface.directions[axis].found["explained_variance_ratio"]
        assert ratio == pytest.approx(singular[number] ** 2 / np.sum(singular**2), rel=1e-10)
        assert surface.trajectory is not None
        assert surface.trajectory.explained_variance_ratio[number] == ratio
        assert surface.trajectory.coordinates[0, :, number] == pytest.approx(along, abs=1e-10)
    assert surface.trajectory is not None
    assert surface.trajectory.names == tuple(paths)
    assert surface.trajectory.distance == pytest.approx(np.linalg.norm(rows, axis=1), rel=1e-12)
    left = rows - (rows @ right[:3].T) @ right[:3]
    missed = np.linalg.norm(left, axis=1) / np.linalg.norm(rows, axis=1)
    assert surface.trajectory.missed[0] == pytest.approx(missed, abs=1e-9)
    assert surface.cosine is not None
    assert surface.cosine[0] == pytest.approx(np.eye(3), abs=1e-10)


def test_a_path_that_lies_in_the_plane_misses_nothing(tmp_path: Path) -> None:
    model = network(0).double()
    paths, rows = path_of(tmp_path, model, 5, in_plane=True)
    pca = {"_target_": "pca", "checkpoints": paths}
    surface = scanned(model, {name: {"num": 3, "direction": pca} for name in "xy"})
    assert surface.trajectory is not None
    assert surface.trajectory.missed.max() < 1e-10
    ratios = [surface.directions[axis].found["explained_variance_ratio"] for axis in "xy"]
    assert sum(map(float, ratios)) == pytest.approx(1.0, abs=1e-12)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="span 2 dimensions up to rounding; there is no component 3"):
        scanned(model, {name: {"num": 3, "direction": pca} for name in "xyz"})
    for axis, number in (("x", 0), ("y", 1)):  # the range holds the whole path, and 0
        coordinates = surface.grid.axes[number].coordinates
        along = surface.trajectory.coordinates[0, :, number]
        assert coordinates[0] < along.min() <= along.max() < coordinates[-1], axis
        assert 0.0 in coordinates
    assert np.linalg.matrix_rank(rows) == 2


def test_a_path_is_projected_into_any_plane_by_least_squares(tmp_path: Path) -> None:
    model = network(0).double()
    paths, rows = path_of(tmp_path, model, 4)
    surface = scan_model(
        model,
        {"train": data()},
        axes={name: {"num": 3} for name in "xy"},
        slices={"num": 2, "seed": 3},
        evaluation={"precision": "float64"},
        trajectory={"checkpoints": [*paths]},
        directions="save",
        output=tmp_path / "s.h5",
    )
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "s.h5.directions.safetensors")
    assert surface.trajectory is not None
    for index in range(2):
        columns = []
        for axis in "xy":
            zeros = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
            mine = {n: saved.get(f"{index}/{axis}/{n}", zeros[n]) for n in zeros}
            columns.append(flat(mine, model))
        plane = np.stack(columns, axis=1)
        coordinates, *_ = np.linalg.lstsq(plane, rows.T, rcond=None)
        assert surface.trajectory.coordinates[index] == pytest.approx(coordinates.T, abs=1e-10)
        left = np.linalg.norm(rows.T - plane @ coordinates, axis=0) / np.linalg.norm(rows, axis=1)
        assert surface.trajectory.missed[index] == pytest.approx(left, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(
    coordinates=st.lists(st.floats(-10, 10), min_size=1, max_size=3),
    skew=st.floats(0.0, 0.999),
    seed=st.integers(0, 1000),
)
def test_projecting_a_point_gives_its_coordinates_back(coordinates: list[float], skew: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    origin = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in (("a", (7, 3)), ("b", (5,)))
    }

    def draw() -> dict[str, Tensor]:
        return {n: torch.randn(t.shape, generator=generator, dtype=torch.float64) for n, t in origin.items()}

    first = draw()
    directions = [first]
    for _ in coordinates[1:]:
        own = draw()
        directions.append({n: skew * first[n] + (1 - skew) * own[n] for n in origin})
    plane = Subspace(origin, tuple(directions))
    found, missed = plane.project(plane.point(tuple(coordinates)))
    assert found == pytest.approx(coordinates, abs=1e-10 * (1 + max(map(abs, coordinates)) / (1 - skew)))
    assert missed < 1e-10
    away = draw()
    _, missed = plane.project({n: t + away[n] for n, t in plane.point(tuple(coordinates)).items()})
    normal = torch.stack([torch.cat([d[n].flatten() for n in origin]) for d in directions], dim=1)
    vector = torch.cat([away[n].flatten() for n in origin])
    left = vector - normal @ torch.linalg.lstsq(normal, vector).solution
    assert missed == pytest.approx(float(left.norm()), rel=1e-8)
    assert inner(first, first) == pytest.approx(float((normal[:, 0] ** 2).sum()), rel=1e-12)


def test_the_share_of_another_path_is_not_claimed(tmp_path: Path) -> None:
    model = network(0).double()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, _ = path_of(tmp_path / "a", model, 4)
    second, _ = path_of(tmp_path / "b", model, 3)
    pca = {"_target_": "pca", "checkpoints": first}
    for paths, known in ((first, True), (second, False)):
        axes = {name: {"num": 3, "start": -1, "stop": 1, "direction": pca} for name in "xy"}
        surface = scanned(model, axes, trajectory={"checkpoints": paths})
        assert surface.trajectory is not None
        assert np.isfinite(surface.trajectory.explained_variance_ratio).all() == known
        assert surface.directions["x"].found["explained_variance_ratio"] > 0.5  # type: ignore[operator]


def test_a_straight_path_has_one_component_up_to_rounding(tmp_path: Path) -> None:
    model = network(0)
    paths = []
    for step in range(4):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(1 + 0.01 * step)
        paths.append(save(other, tmp_path / f"{step}.pt"))
    pca = {"_target_": "pca", "checkpoints": paths}
    assert scanned(model, {"x": {"num": 3, "direction": pca}}, precision="float32").complete
    with pytest.raises(CheckpointError, match="span 1 dimensions up to rounding"):
        scanned(model, {name: {"num": 3, "direction": pca} for name in "xy"}, precision="float32")


def test_the_range_of_a_trajectory_holds_it_in_every_slice(tmp_path: Path) -> None:
    model = network(0).double()
    paths, _ = path_of(tmp_path, model, 4)
    surface = scanned(
        model, {"x": {"num": 5, "span": "trajectory"}}, trajectory={"checkpoints": paths}, slices={"num": 6}
    )
    assert surface.trajectory is not None
    coordinates = surface.grid.axes[0].coordinates
    assert coordinates[0] < surface.trajectory.coordinates.min()
    assert surface.trajectory.coordinates.max() < coordinates[-1]


def test_a_checkpoint_that_is_replaced_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landscape_cli.compute import assemble

    path = save(network(1), tmp_path / "b.pt")
    hashed = assemble.sha256_of_input

    def then_replace(file: Path) -> str:
        found = hashed(file)
        save(network(2), file)
        return found

    monkeypatch.setattr(assemble, "sha256_of_input", then_replace)
    direction = {"_target_": "between", "checkpoint": path}
    with pytest.raises(CheckpointError, match="was replaced while the scan began"):
        scanned(network(0), {"x": {"num": 3, "direction": direction}}, precision="float32")


def test_a_trajectory_can_be_added_to_a_finished_scan(tmp_path: Path) -> None:
    model = network(0).double()
    paths, _ = path_of(tmp_path, model, 3)
    options = {"axes": {"x": {"num": 3}}, "evaluation": {"precision": "float64"}, "output": tmp_path / "s.h5"}
    before = scan_model(model, {"train": data()}, **options)  # type: ignore[arg-type]
    assert before.trajectory is None
    scan_model(model, {"train": data()}, trajectory={"checkpoints": paths}, **options)  # type: ignore[arg-type]
    from landscape_cli import load_surface

    after = load_surface(tmp_path / "s.h5")
    assert after.trajectory is not None
    assert len(after.trajectory.names) == 3
    assert np.array_equal(before["train_loss"], after["train_loss"])
    told = Told()
    scan_model(model, {"train": data()}, trajectory={"checkpoints": paths[:2]}, observer=told, **options)  # type: ignore[arg-type]
    assert "note: the path of 3 checkpoints in the file is replaced" in told.notes
    replaced = load_surface(tmp_path / "s.h5").trajectory
    assert replaced is not None
    assert replaced.names == tuple(paths[:2])


def test_the_files_of_a_glob_come_in_the_order_of_training(tmp_path: Path) -> None:
    from landscape_cli.compute.directions.paths import expand

    for name in ("epoch_10.pt", "epoch_2.pt", "epoch_1.pt", "final.pt", "epoch_b.pt"):
        (tmp_path / name).touch()
    found = [path.name for path in expand(str(tmp_path / "epoch_*.pt"))]
    assert found == ["epoch_1.pt", "epoch_2.pt", "epoch_10.pt", "epoch_b.pt"]
    both = [str(tmp_path / "final.pt"), str(tmp_path / "*.pt")]
    assert [path.name for path in expand(both)] == ["final.pt", *found]
