"""Axes at right angles whose directions keep the norms of the weights, and an honest cosine where both cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_normalization import units_of
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from landscape_cli import load_surface, scan_model
from landscape_cli.compute.directions.orthogonal import orthogonalize
from landscape_cli.compute.normalization import NORMALIZATIONS, Units
from landscape_cli.errors import ConfigError
from landscape_cli.surface import Surface

Params = dict[str, Tensor]
EXACT = 1e-12


class Zoo(nn.Module):
    """One layer of every kind; only the last ones see the data. The head is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict(
            {
                "linear": nn.Linear(5, 3),
                "conv1": nn.Conv1d(2, 4, 3),
                "conv2": nn.Conv2d(4, 6, 3),
                "conv2_grouped": nn.Conv2d(4, 6, 3, groups=2),
                "conv2_depthwise": nn.Conv2d(4, 4, 3, groups=4),
                "conv3": nn.Conv3d(2, 3, 2),
                "transposed1": nn.ConvTranspose1d(4, 6, 3),
                "transposed2_grouped": nn.ConvTranspose2d(4, 6, 3, groups=2),
                "transposed3": nn.ConvTranspose3d(2, 3, 2),
                "attention": nn.MultiheadAttention(8, 2),
                "norm": nn.BatchNorm1d(4),
            }
        )
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        for bias in (each for name, each in self.named_parameters() if name.endswith("bias")):
            nn.init.normal_(bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embedding(x))
        return logits


class Stack(nn.Module):
    """Layers of the caller's choice, of which only the last one sees the data."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers, self.last = nn.ModuleList(layers), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(x)
        return logits


WORDS = TensorDataset(torch.arange(7), (torch.arange(7) * 3 + 1) % 7)
VECTORS = TensorDataset(torch.linspace(-1, 1, 12).reshape(4, 3), torch.arange(4) % 2)


def scanned(
    model: nn.Module, directions: Sequence[object], output: Path, *, num_slices: int = 1, precision: str = "float64"
) -> tuple[Surface, list[list[Params]]]:
    """A surface with one axis per direction, and the directions that it has saved: slice, axis → name → tensor."""
    axes = {
        name: {"start": 0, "stop": 1, "num": 2, "direction": direction}
        for name, direction in zip("xyz", directions, strict=False)
    }
    surface = scan_model(
        model,
        {"train": WORDS if isinstance(model, Zoo) else VECTORS},
        axes=axes,
        slices={"num": num_slices},
        evaluation={"precision": precision},
        runtime={"engine": "sequential", "processes": 1},
        directions="save",
        output=output,
        overwrite=True,
    )
    saved = load_file(output.with_name(f"{output.name}.directions.safetensors"))
    found: list[list[Params]] = [[{} for _ in directions] for _ in range(num_slices)]
    for key, tensor in saved.items():
        number, axis, name = key.split("/")
        found[int(number)]["xyz".index(axis)][name] = tensor
    return surface, found


def random(normalization: str = "filter", *, orthogonal: bool = True, **more: object) -> dict[str, object]:
    made = {"orthogonal": True} if orthogonal else {}
    return {"_target_": "random", "normalization": normalization, **made, **more}


def cosine(a: Params, b: Params) -> float:
    """In extended precision, element by element of what both of them move."""
    names = sorted({*a, *b})

    def flat(direction: Params) -> np.ndarray:
        sizes = {n: (a.get(n) if n in a else b[n]).numel() for n in names}  # type: ignore[union-attr]
        parts = [direction[n].double().numpy().ravel() if n in direction else np.zeros(sizes[n]) for n in names]
        return np.concatenate(parts).astype(np.longdouble)

    u, v = flat(a), flat(b)
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def assert_filter_norms(model: nn.Module, direction: Params, rel: float = EXACT) -> None:
    """Every output unit of every matrix has the norm of its weights; vectors stay."""
    modules = dict(model.named_modules())
    for name, weight in model.named_parameters():
        if weight.ndim < 2:
            assert name not in direction, name
            continue
        owner = modules[name.rpartition(".")[0]]
        is_transposed = name.endswith(".weight")
        pairs = zip(
            units_of(owner, direction[name]) if is_transposed else list(direction[name]),
            units_of(owner, weight.detach()) if is_transposed else list(weight.detach()),
            strict=True,
        )
        for unit, weights in pairs:
            assert unit.double().norm().item() == pytest.approx(weights.double().norm().item(), rel=rel), name


# ---------------------------------------------------------------- whole scans


def test_two_orthogonal_axes_have_the_norm_of_every_filter_of_every_kind_of_layer(tmp_path: Path) -> None:
    model = Zoo().double()
    directions = [random(orthogonal=False), random()]
    surface, slices = scanned(model, directions, tmp_path / "s.h5", num_slices=3)
    assert surface.cosine is not None
    for number, (x, y) in enumerate(slices):
        assert set(x) == set(y) == {name for name, tensor in model.named_parameters() if tensor.ndim > 1}
        assert "head.weight" not in x  # the same tensor as the embedding, which moves once
        assert_filter_norms(model, x)
        assert_filter_norms(model, y)
        assert abs(cosine(x, y)) <= EXACT
        assert surface.cosine[number, 0, 1] == pytest.approx(cosine(x, y), abs=1e-15)
    plain, drawn = scanned(model, [random(orthogonal=False)] * 2, tmp_path / "plain.h5")
    assert plain.cosine is not None
    assert abs(plain.cosine[0, 0, 1]) > 1e-4  # random directions are not orthogonal by themselves
    assert cosine(drawn[0][1], slices[0][1]) > 0.9  # the same draw, turned a little


@pytest.mark.parametrize("normalization", ["filter", "layer", "unit", "weight", "none"])
def test_three_axes_are_orthogonal_to_each_other(tmp_path: Path, normalization: str) -> None:
    model = Zoo().double()
    directions = [random(normalization, orthogonal=False), random(normalization), random(normalization)]
    surface, slices = scanned(model, directions, tmp_path / "s.h5")
    assert surface.cosine is not None
    np.testing.assert_allclose(surface.cosine[0], np.eye(3), atol=EXACT)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(cosine(slices[0][i], slices[0][j])) <= EXACT
    for direction in slices[0]:
        if normalization == "filter":
            assert_filter_norms(model, direction)
        elif normalization == "layer":
            for name, tensor in direction.items():
                weights = model.get_parameter(name)
                assert tensor.norm().item() == pytest.approx(weights.norm().item(), rel=EXACT), name
        elif normalization == "unit":
            assert sum(float(tensor.square().sum()) for tensor in direction.values()) == pytest.approx(1.0, rel=EXACT)


def test_vectors_move_and_are_normalized_where_that_is_asked_for(tmp_path: Path) -> None:
    model = Zoo().double()
    directions = [random(orthogonal=False, ignore="none"), random(ignore="none")]
    _, slices = scanned(model, directions, tmp_path / "s.h5")
    x, y = slices[0]
    assert abs(cosine(x, y)) <= EXACT
    for name, tensor in model.named_parameters():
        if tensor.ndim == 1 and bool(tensor.any()):
            assert y[name].norm().item() == pytest.approx(tensor.norm().item(), rel=EXACT), name


def test_in_float32_the_cosine_is_that_of_rounding(tmp_path: Path) -> None:
    surface, slices = scanned(Zoo(), [random(orthogonal=False), random()], tmp_path / "s.h5", precision="float32")
    assert surface.cosine is not None
    assert surface.cosine[0, 0, 1] == pytest.approx(cosine(*slices[0]), abs=1e-15)
    assert abs(surface.cosine[0, 0, 1]) < 1e-8
    assert_filter_norms(Zoo(), slices[0][1], rel=1e-6)


@pytest.mark.slow
def test_only_the_selected_layers_are_turned(tmp_path: Path) -> None:
    model = Zoo().double()
    chosen = ["layers.conv*", "layers.linear"]
    _, slices = scanned(model, [random(orthogonal=False), random(parameters=chosen)], tmp_path / "s.h5")
    x, y = slices[0]
    assert {name.split(".")[1] for name in y} == {
        "conv1",
        "conv2",
        "conv2_grouped",
        "conv2_depthwise",
        "conv3",
        "linear",
    }
    assert abs(cosine(x, y)) <= EXACT
    apart = [random(orthogonal=False, parameters="layers.linear"), random(parameters="layers.conv*")]
    surface, _ = scanned(model, apart, tmp_path / "s.h5")
    assert surface.cosine is not None
    assert surface.cosine[0, 0, 1] == 0.0


def test_a_line_to_another_checkpoint_and_a_random_direction_across_it(tmp_path: Path) -> None:
    """The first direction moves biases too, the second one does not begin to."""
    model, other = Zoo().double(), Zoo().double()
    with torch.no_grad():
        for i, tensor in enumerate(other.parameters()):
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i)))
    torch.save(other.state_dict(), tmp_path / "b.pt")
    between = {"_target_": "between", "checkpoint": str(tmp_path / "b.pt")}
    _, slices = scanned(model, [between, random()], tmp_path / "s.h5")
    assert any(name.endswith("bias") for name in slices[0][0])
    assert_filter_norms(model, slices[0][1])
    assert abs(cosine(*slices[0])) <= EXACT
    _, turned = scanned(model, [random(orthogonal=False), {**between, "orthogonal": True}], tmp_path / "t.h5")
    assert abs(cosine(*turned[0])) <= EXACT  # without a normalization it is the plain projection
    x, line = turned[0][0], slices[0][0]
    share = sum(float((x[n] * line[n]).sum()) for n in x) / sum(float(t.square().sum()) for t in x.values())
    for name, tensor in line.items():
        expected = tensor - share * x[name] if name in x else tensor
        torch.testing.assert_close(turned[0][1][name], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, -2.0])
def test_axes_that_are_parallel_are_refused(tmp_path: Path, scale: float) -> None:
    model = Zoo().double()
    scanned(model, [random(orthogonal=False)], tmp_path / "s.h5")
    from safetensors.torch import save_file

    saved = load_file(tmp_path / "s.h5.directions.safetensors")
    save_file({name: scale * tensor for name, tensor in saved.items()}, tmp_path / "d.safetensors")
    same = {"_target_": "file", "path": str(tmp_path / "d.safetensors"), "name": "x", "orthogonal": True}
    with pytest.raises(ConfigError, match=r"axes\.y\.direction: the direction is parallel to those of the axes before"):
        scanned(model, [random(orthogonal=False), same], tmp_path / "t.h5")
    with pytest.raises(ConfigError, match=r"axes\.z\.direction: the direction is parallel"):
        scanned(model, [random(orthogonal=False), random(), same], tmp_path / "t.h5")
    assert not (tmp_path / "t.h5").exists()


# ---------------------------------------------------------------- where both are impossible


def test_filters_of_one_weight_leave_an_honest_cosine(tmp_path: Path) -> None:
    """Such a filter can only point forwards or backwards, and so each of these pairs has one of a few cosines."""
    torch.manual_seed(0)
    model = Stack([nn.Conv2d(1, 5, 1), nn.Conv2d(6, 6, 1, groups=6)]).double()
    chosen = random(parameters="layers")
    surface, slices = scanned(model, [{**chosen, "orthogonal": False}, chosen], tmp_path / "s.h5", num_slices=4)
    assert surface.cosine is not None
    for number, (x, y) in enumerate(slices):
        for direction in (x, y):
            for name, tensor in direction.items():
                torch.testing.assert_close(tensor.abs(), model.get_parameter(name).abs(), rtol=EXACT, atol=0)
        assert surface.cosine[number, 0, 1] == pytest.approx(cosine(x, y), abs=1e-15)
    assert np.abs(surface.cosine[:, 0, 1]).max() > 0.01
    assert np.array_equal(load_surface(tmp_path / "s.h5").cosine, surface.cosine)


def test_filters_of_one_weight_are_made_up_for_by_those_that_can_turn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Stack([nn.Conv2d(1, 5, 1), nn.Conv1d(3, 8, 3)]).double()
    _, slices = scanned(model, [random(orthogonal=False), random()], tmp_path / "s.h5", num_slices=4)
    for x, y in slices:
        assert_filter_norms(model, x)
        assert_filter_norms(model, y)
        assert abs(cosine(x, y)) <= EXACT


def test_hardly_any_network_with_filters_of_one_weight_has_a_cosine_left() -> None:
    """Such a filter may turn around at the very angle that is wanted, so a few may."""
    left = []
    for seed in range(60):
        generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        params = {
            "single": torch.randn(int(rng.integers(1, 12)), 1, generator=generator, dtype=torch.float64),
            "matrix": 2 * torch.randn(6, int(rng.integers(2, 6)), generator=generator, dtype=torch.float64),
        }

        def normalize(drawn: Params, params: Params = params) -> Params:
            return NORMALIZATIONS["filter"](drawn, params, {"single": Units(), "matrix": Units()})

        x, y = (
            normalize({n: torch.randn(t.shape, generator=generator, dtype=torch.float64) for n, t in params.items()})
            for _ in range(2)
        )
        found = orthogonalize(y, [x], set(params), normalize)
        assert found is not None
        for name, tensor in params.items():
            torch.testing.assert_close(found[name].norm(dim=1), tensor.norm(dim=1), rtol=EXACT, atol=0)
        left.append(abs(cosine(x, found)))
        assert left[-1] <= abs(cosine(x, y))
    assert sum(each > EXACT for each in left) <= 1


SHAPES: list[Callable[[int, int], nn.Module]] = [
    nn.Linear,
    lambda a, b: nn.Conv1d(a, b, 3),
    lambda a, b: nn.Conv2d(a, b, 1),
    lambda a, b: nn.ConvTranspose2d(2 * a, 2 * b, 2, groups=2),
    lambda a, b: nn.Embedding(b, a),
    lambda a, b: nn.MultiheadAttention(a, 1),
]


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    layers=st.lists(st.tuples(st.sampled_from(range(len(SHAPES))), st.integers(3, 9), st.integers(2, 6)), max_size=4),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 10_000),
)
@example(layers=[(1, 3, 2)], scale=1e-6, seed=0)
def test_ordinary_networks_get_right_angles_and_norms_at_once(
    tmp_path_factory: pytest.TempPathFactory, layers: list[tuple[int, int, int]], scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    model = Stack([SHAPES[kind](a, b) for kind, a, b in layers]).double()
    with torch.no_grad():
        for tensor in list(model.parameters())[:1]:  # one layer far larger or smaller than the others
            tensor.mul_(scale)
    directions = [random(orthogonal=False), random(), random()]
    surface, slices = scanned(model, directions, tmp_path_factory.mktemp("s") / "s.h5")
    for direction in slices[0]:
        assert_filter_norms(model, direction)
    assert surface.cosine is not None
    for i, j in ((0, 1), (0, 2), (1, 2)):
        exact = cosine(slices[0][i], slices[0][j])
        assert surface.cosine[0, i, j] == pytest.approx(exact, abs=1e-14)
        assert abs(exact) <= EXACT


# ---------------------------------------------------------------- the function


@settings(deadline=None, max_examples=60)
@given(num_earlier=st.integers(1, 3), skew=st.floats(0, 0.99), seed=st.integers(0, 10_000))
def test_nothing_is_left_along_earlier_directions_however_skew_they_are(
    num_earlier: int, skew: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*, zero: str = "") -> Params:
        shapes = {"a": (6, 4), "b": (5,), "c": (7,)}
        return {
            name: torch.zeros(shape) if name == zero else torch.randn(shape, generator=generator, dtype=torch.float64)
            for name, shape in shapes.items()
        }

    first = draw()
    earlier = [first]
    for _ in range(num_earlier - 1):
        own = draw()
        earlier.append({name: skew * first[name] + (1 - skew) * own[name] for name in first})
    direction = draw(zero="b")
    before = {name: tensor.clone() for name, tensor in direction.items()}
    found = orthogonalize(direction, earlier, {"a", "b", "c"})
    assert found is not None
    assert all(torch.equal(direction[name], before[name]) for name in before)  # it is not changed in place
    assert not found["b"].any()  # what did not move does not begin to
    for each in earlier:
        assert abs(cosine(found, each)) <= EXACT


def test_statistics_follow_the_parameters_but_do_not_count() -> None:
    earlier = {"w": torch.tensor([2.0, 0.0]), "mean": torch.tensor([1.0])}
    direction = {"w": torch.tensor([3.0, 1.0]), "mean": torch.tensor([5.0])}
    found = orthogonalize(direction, [earlier], {"w"})
    assert found is not None
    assert found["w"].tolist() == [0.0, 1.0]  # direction − 1.5 · earlier
    assert found["mean"].tolist() == [3.5]


def test_a_direction_in_the_span_of_two_others_is_nothing() -> None:
    a, b = {"w": torch.tensor([1.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, 0.0])}
    assert orthogonalize({"w": torch.tensor([3.0, -2.0, 0.0])}, [a, b], {"w"}) is None
    assert orthogonalize({"w": torch.tensor([3.0, -2.0, 1.0])}, [a, b], {"w"}) is not None
