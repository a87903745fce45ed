"""Directions that the loss gives: the gradient, and eigenvectors of the Hessian, against dense derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.utils.data import TensorDataset

from landscape_cli import scan_model
from landscape_cli.surface import Surface

N = 90


def network() -> nn.Module:
    """Smooth, with BatchNorm statistics that are not those of the data, and dropout that must stay off."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3, bias=False)
    ).double()
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    return model.eval()


def data() -> dict[str, TensorDataset]:
    generator = torch.Generator().manual_seed(1)

    def draw(num: int) -> TensorDataset:
        inputs = torch.randn(num, 4, generator=generator, dtype=torch.float64)
        return TensorDataset(inputs, torch.randint(3, (num,), generator=generator))

    return {"test": draw(40), "train": draw(N)}


class Dense:
    """The gradient and the Hessian of the mean loss, by torch.func, as flat float64 arrays."""

    def __init__(self, model: nn.Module, dataset: TensorDataset, names: list[str] | None = None) -> None:
        params = {name: tensor.detach() for name, tensor in model.named_parameters()}
        self.names = names or list(params)
        self.shapes = {name: params[name].shape for name in self.names}
        inputs, labels = dataset.tensors

        def loss(flat: Tensor) -> Tensor:
            moved = {**params, **self.cut(flat)}
            return F.cross_entropy(functional_call(model, moved, (inputs,)), labels)

        self.flat = torch.cat([params[name].flatten() for name in self.names])
        self.gradient = jacobian(loss, self.flat).numpy()
        self.hessian = hessian(loss, self.flat).numpy()

    def cut(self, flat: Tensor) -> dict[str, Tensor]:
        pieces = torch.split(flat, [shape.numel() for shape in self.shapes.values()])
        return {n: piece.view(shape) for (n, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def join(self, tensors: Mapping[str, Tensor], prefix: str) -> np.ndarray:
        zeros = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in self.shapes.items()}
        return torch.cat([tensors.get(f"{prefix}{n}", zeros[n]).flatten() for n in self.names]).numpy()


def scanned(
    tmp_path: Path, directions: Mapping[str, object], half_width: float = 1.0
) -> tuple[Surface, dict[str, Tensor]]:
    axes = {
        name: {"start": -half_width, "stop": half_width, "num": 3, "direction": each}
        for name, each in directions.items()
    }
    surface = scan_model(
        network(),
        data(),
        axes=axes,
        evaluation={"precision": "float64"},
        directions="save",
        output=tmp_path / "s.h5",
    )
    return surface, load_file(tmp_path / "s.h5.directions.safetensors")


def test_the_gradient_is_that_of_the_mean_loss_on_the_training_data(tmp_path: Path) -> None:
    exact = Dense(network(), data()["train"])
    surface, saved = scanned(tmp_path, {"x": {"_target_": "gradient", "normalization": "none"}}, 1e-4)
    assert exact.join(saved, "0/x/") == pytest.approx(exact.gradient, rel=1e-10, abs=1e-14)
    norm = np.linalg.norm(exact.gradient)
    assert surface.directions["x"].found["gradient_norm"] == pytest.approx(norm, rel=1e-10)
    below, _, above = surface["train_loss"][0]
    assert (above - below) / 2e-4 == pytest.approx(norm**2, rel=1e-6)


def test_the_gradient_is_normalised_as_asked(tmp_path: Path) -> None:
    exact = Dense(network(), data()["train"])
    for normalization in ("filter", "layer", "unit"):
        _, saved = scanned(tmp_path / normalization, {"x": {"_target_": "gradient", "normalization": normalization}})
        found = exact.join(saved, "0/x/")
        if normalization == "unit":
            assert found == pytest.approx(exact.gradient / np.linalg.norm(exact.gradient), rel=1e-10)
            continue
        weights, gradient, direction = (
            exact.cut(each) for each in (exact.flat, torch.from_numpy(exact.gradient), torch.from_numpy(found))
        )
        for name, tensor in direction.items():
            if tensor.ndim < 2:
                assert not tensor.any()  # biases and norms stay
                continue
            dims = (0, 1) if normalization == "layer" else (1,)
            assert torch.allclose(tensor.norm(dim=dims), weights[name].norm(dim=dims), rtol=1e-12)
            assert torch.allclose(
                F.normalize(tensor, dim=1) if normalization == "filter" else tensor / tensor.norm(),
                F.normalize(gradient[name], dim=1)
                if normalization == "filter"
                else gradient[name] / gradient[name].norm(),
                atol=1e-12,
            )


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("filter", "layer", "unit"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    ("which", "index"),
    [
        ("largest", 1),
        pytest.param("largest", 2, marks=pytest.mark.slow),
        pytest.param("smallest", 1, marks=pytest.mark.slow),
        ("smallest", 3),
    ],
)
def test_a_hessian_direction_is_the_true_eigenvector(tmp_path: Path, which: str, index: int) -> None:
    exact = Dense(network(), data()["train"])
    values, vectors = np.linalg.eigh(exact.hessian)
    position = -index if which == "largest" else index - 1
    width = 1e-3
    surface, saved = scanned(tmp_path, {"x": {"_target_": "hessian", "which": which, "index": index}}, width)
    direction = exact.join(saved, "0/x/")
    assert np.linalg.norm(direction) == pytest.approx(1.0, abs=1e-12)
    assert abs(direction @ vectors[:, position]) == pytest.approx(1.0, abs=1e-6)
    curvature = direction @ exact.hessian @ direction
    assert curvature == pytest.approx(values[position], rel=1e-6, abs=1e-6 * np.abs(values).max())
    found = surface.directions["x"].found
    assert found["eigenvalue"] == pytest.approx(curvature, rel=1e-9, abs=1e-12)
    residual = np.linalg.norm(exact.hessian @ direction - curvature * direction)
    assert found["residual"] == pytest.approx(residual, rel=0.1, abs=1e-12)
    below, centre, above = surface["train_loss"][0]
    second = (above - 2 * centre + below) / width**2
    assert second == pytest.approx(curvature, rel=1e-3, abs=1e-5 * np.abs(values).max())


@pytest.mark.slow
def test_the_plane_of_the_sharpest_and_the_flattest_direction_is_orthogonal(tmp_path: Path) -> None:
    surface, _ = scanned(tmp_path, {"x": "hessian", "y": {"_target_": "hessian", "which": "smallest"}})
    assert surface.cosine is not None
    assert abs(surface.cosine[0, 0, 1]) < 1e-7
    eigenvalues = [surface.directions[axis].found["eigenvalue"] for axis in "xy"]
    assert eigenvalues[0] > eigenvalues[1]  # type: ignore[operator]


def test_an_eigenvector_made_orthogonal_is_none_any_more_and_says_so(tmp_path: Path) -> None:
    exact = Dense(network(), data()["train"])
    y = {"_target_": "hessian", "orthogonal": True}
    surface, saved = scanned(tmp_path, {"x": {"_target_": "gradient", "normalization": "unit"}, "y": y})
    direction, vector = exact.join(saved, "0/y/"), np.linalg.eigh(exact.hessian)[1][:, -1]
    assert np.linalg.norm(direction) == pytest.approx(1.0, abs=1e-12)
    found = surface.directions["y"].found
    assert found["cosine_to_before_orthogonal"] == pytest.approx(abs(direction @ vector), abs=1e-6)
    assert "eigenvalue" not in found
    assert "residual" not in found
    assert found["before_orthogonal_eigenvalue"] == pytest.approx(np.linalg.eigvalsh(exact.hessian)[-1], rel=1e-6)


def test_of_some_parameters_it_is_the_eigenvector_of_their_block(tmp_path: Path) -> None:
    exact = Dense(network(), data()["train"], ["4.weight"])
    surface, saved = scanned(tmp_path, {"x": {"_target_": "hessian", "parameters": "4"}})
    assert set(saved) == {"0/x/4.weight"}
    direction = exact.join(saved, "0/x/")
    largest = np.linalg.eigvalsh(exact.hessian)[-1]
    assert direction @ exact.hessian @ direction == pytest.approx(largest, rel=1e-9)
    assert surface.directions["x"].found["eigenvalue"] == pytest.approx(largest, rel=1e-9)


def test_split_and_number_of_examples_can_be_chosen(tmp_path: Path) -> None:
    datasets = data()
    some = TensorDataset(*(tensor[:17] for tensor in datasets["test"].tensors))
    for chosen, arguments in ((datasets["test"], {}), (some, {"num_examples": 17})):
        exact = Dense(network(), chosen)
        direction = {"_target_": "gradient", "normalization": "none", "split": "test", **arguments}
        (tmp_path / "s.h5").unlink(missing_ok=True)
        _, saved = scanned(tmp_path, {"x": direction}, 1e-4)
        assert exact.join(saved, "0/x/") == pytest.approx(exact.gradient, rel=1e-10, abs=1e-14)


def test_an_eigenvector_that_has_not_converged_says_so(tmp_path: Path) -> None:
    notes: list[str] = []

    class Listener:
        def note(self, message: str) -> None:
            notes.append(message)

        def decoding(self, *args: object) -> None: ...

        def preflight(self, preflight: object) -> None: ...

        def filling(self, surface: object) -> None: ...

        def progress(self, stage: str, num_evaluated: int, num_total: int) -> None: ...

    direction = {"_target_": "hessian", "which": "smallest", "max_products": 3}
    surface = scan_model(
        network(),
        data(),
        axes={"x": {"num": 3, "direction": direction}},
        evaluation={"precision": "float64"},
        observer=Listener(),
    )
    assert any("has not converged" in note and "max_products" in note for note in notes)
    assert surface.directions["x"].found["residual"] > 1e-6  # type: ignore[operator]
