"""Norms per output unit, written out with loops over the meaning of each dimension."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from landscape_cli.compute.normalization import NORMALIZATIONS, Units, layout_of
from landscape_cli.compute.subspace import Params, parameters_of


def units_of(module: nn.Module, weight: Tensor) -> list[Tensor]:
    """The elements of each output unit, by brute force."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        per_group_in = module.in_channels // module.groups
        per_group_out = module.out_channels // module.groups
        return [
            weight[group * per_group_in : (group + 1) * per_group_in, out]
            for group in range(module.groups)
            for out in range(per_group_out)
        ]
    return list(weight)


MODULES = {
    "Linear": nn.Linear(5, 3),
    "Conv1d": nn.Conv1d(2, 4, 3),
    "Conv2d": nn.Conv2d(4, 6, 3),
    "Conv2d grouped": nn.Conv2d(4, 6, 3, groups=2),
    "Conv2d depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "Conv3d": nn.Conv3d(2, 3, 2),
    "ConvTranspose1d": nn.ConvTranspose1d(4, 6, 3),
    "ConvTranspose2d": nn.ConvTranspose2d(4, 6, 3),
    "ConvTranspose2d grouped": nn.ConvTranspose2d(4, 6, 3, groups=2),
    "ConvTranspose3d": nn.ConvTranspose3d(2, 3, 2),
    "Embedding": nn.Embedding(7, 4),
}


def random_like(params: Params, seed: int = 0) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for name, tensor in params.items()}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_filter_normalization_gives_every_output_unit_the_norm_of_its_weights(name: str) -> None:
    module = MODULES[name].double()
    params = parameters_of(module)
    drawn = random_like(params)
    scaled = NORMALIZATIONS["filter"](drawn, params, layout_of(module))["weight"]
    for unit, weights, raw in zip(
        units_of(module, scaled), units_of(module, params["weight"]), units_of(module, drawn["weight"]), strict=True
    ):
        assert unit.norm().item() == pytest.approx(weights.norm().item(), rel=1e-12)
        torch.testing.assert_close(unit / unit.norm(), raw / raw.norm())  # only the length has changed


def test_the_projections_of_attention_are_normalized_row_by_row() -> None:
    attention = nn.MultiheadAttention(8, 2).double()
    params = parameters_of(attention)
    scaled = NORMALIZATIONS["filter"](random_like(params), params, layout_of(attention))
    torch.testing.assert_close(scaled["in_proj_weight"].norm(dim=1), params["in_proj_weight"].norm(dim=1))


def test_projections_of_attention_that_are_kept_apart_are_normalized_row_by_row() -> None:
    attention = nn.MultiheadAttention(8, 2, kdim=5, vdim=6).double()
    params = parameters_of(attention)
    scaled = NORMALIZATIONS["filter"](random_like(params), params, layout_of(attention))
    for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"):
        torch.testing.assert_close(scaled[name].norm(dim=1), params[name].norm(dim=1), rtol=1e-12, atol=0)


def test_a_transposed_convolution_inside_a_model_is_found_by_its_module() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3, groups=2))
    assert layout_of(model) == {
        "0.weight": Units(), "0.bias": Units(), "1.weight": Units(1, 2), "1.bias": Units(),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["filter", "layer"])
def test_a_unit_of_zeros_gets_a_zero_direction_and_never_nan(name: str) -> None:
    model = nn.Linear(4, 3).double()
    with torch.no_grad():
        model.weight[1] = 0
        model.bias.zero_()
    params = parameters_of(model)
    scaled = NORMALIZATIONS[name](random_like(params), params, layout_of(model))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in scaled.values())
    assert not scaled["bias"].any()
    assert bool(scaled["weight"][1].any()) == (name == "layer")


def test_a_zero_raw_direction_stays_zero() -> None:
    model = nn.Linear(4, 3)
    params = parameters_of(model)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for name, normalize in NORMALIZATIONS.items():
        scaled = normalize(zeros, params, layout_of(model))
        assert not any(bool(tensor.any()) for tensor in scaled.values()), name


def test_layer_normalization_gives_every_tensor_the_norm_of_its_weights() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 5)).double()
    params = parameters_of(model)
    scaled = NORMALIZATIONS["layer"](random_like(params), params, layout_of(model))
    for name, tensor in params.items():
        assert scaled[name].norm().item() == pytest.approx(tensor.norm().item(), rel=1e-12)


def test_weight_normalization_is_the_product_with_the_weights() -> None:
    model = nn.Linear(4, 3)
    params = parameters_of(model)
    drawn = random_like(params)
    scaled = NORMALIZATIONS["weight"](drawn, params, layout_of(model))
    for name in params:
        assert torch.equal(scaled[name], drawn[name] * params[name])


def test_none_leaves_the_direction_as_drawn() -> None:
    model = nn.Linear(4, 3)
    params = parameters_of(model)
    drawn = random_like(params)
    scaled = NORMALIZATIONS["none"](drawn, params, layout_of(model))
    assert all(torch.equal(scaled[name], drawn[name]) for name in params)


def test_filter_normalization_commutes_with_rescaling_a_layer() -> None:
    """Li et al. 2018: multiplying a layer by 10 multiplies its direction by 10."""
    model = nn.Conv2d(3, 4, 3).double()
    params = parameters_of(model)
    larger = {name: 10 * tensor for name, tensor in params.items()}
    drawn, layout = random_like(params), layout_of(model)
    before, after = (NORMALIZATIONS["filter"](drawn, p, layout) for p in (params, larger))
    torch.testing.assert_close(after["weight"], 10 * before["weight"])
