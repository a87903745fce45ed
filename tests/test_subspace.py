"""Points of the affine subspace against the formula in float64."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from landscape_cli.compute.subspace import Subspace, norm, parameters_of

COORDINATE = st.floats(-3, 3, allow_nan=False)


def subspace(seed: int) -> Subspace:
    generator = torch.Generator().manual_seed(seed)
    draws = [
        {name: torch.randn(shape, generator=generator) for name, shape in (("a", (3, 2)), ("b", (4,)))}
        for _ in range(3)
    ]
    return Subspace(draws[0], (draws[1], draws[2]))


@given(seed=st.integers(0, 1000), x=COORDINATE, y=COORDINATE)
@settings(max_examples=30, deadline=None)
def test_a_point_is_origin_plus_coordinates_times_directions(seed: int, x: float, y: float) -> None:
    space = subspace(seed)
    point = space.point((x, y))
    for name, tensor in point.items():
        exact = (
            space.origin[name].double()
            + x * space.directions[0][name].double()
            + y * space.directions[1][name].double()
        )
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-6, atol=1e-6)


def test_the_centre_is_the_origin_bit_for_bit_even_with_signed_zeros() -> None:
    space = Subspace({"a": torch.tensor([-0.0, 0.1])}, ({"a": torch.tensor([1.0, 1e30])},))
    assert space.point((0.0,))["a"].view(torch.int32).tolist() == space.origin["a"].view(torch.int32).tolist()


def test_points_do_not_depend_on_what_was_written_before() -> None:
    space = subspace(0)
    into = {name: torch.empty_like(tensor) for name, tensor in space.origin.items()}
    for coordinates in [(1.0, 2.0), (-1.0, 0.5), (1.0, 2.0)]:
        space.write(coordinates, into)
        assert all(torch.equal(into[name], tensor) for name, tensor in space.point(coordinates).items())


def test_norm_is_the_euclidean_length_over_all_tensors() -> None:
    assert norm({"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([4.0])}) == 5.0


def test_parameters_hold_tied_tensors_once_and_no_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.append(model[0])
    assert list(parameters_of(model)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
