"""Surfaces of other programs come in and go out point by point, and files that lie about themselves are refused."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Outcome
from documents import validate
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from representative import mostly_slow

from landscape_cli.analysis.plot import plot
from landscape_cli.errors import DirectionError, SurfaceError, UsageError
from landscape_cli.formats.landscaper import read_landscaper
from landscape_cli.formats.table import IMPORTERS
from landscape_cli.formats.tomgoldstein import read_directions, read_lightzero, read_tomgoldstein, write_tomgoldstein
from landscape_cli.grid import Axis, Grid
from landscape_cli.storage import load_surface, save_surface
from landscape_cli.surface import Direction, Metric, Surface

Landscape = Callable[..., Outcome]
DIR_FILE = "model.t7_weights_xignore=biasbn_xnorm=filter_yignore=biasbn_ynorm=filter.h5"
X = [-1.0, -0.25, 0.0, 0.5]
Y = [-0.5, 0.0, 1.0]


# ---------------------------------------------------------------- oracles: files as the other programs write them


def loss(x: float, y: float = 0.0) -> float:
    """Different at every point of the grids here, and not symmetric in any way."""
    return 0.5 + x**2 + 10 * y**2 + 3 * y + x / 7


def accuracy(x: float, y: float = 0.0) -> float:
    return math.exp(-loss(x, y))


def write_original(
    path: Path,
    x: list[float] = X,
    y: list[float] | None = Y,
    *,
    names: tuple[str, ...] = ("train_loss", "train_acc"),
    done: Callable[[int], bool] = lambda k: True,
    dir_file: str | None = DIR_FILE,
    functions: Mapping[str, Callable[..., float]] | None = None,
) -> Path:
    """One point after the other: k runs over the flat dataset and over x first, whatever shape is declared."""
    known = {"loss": loss, "acc": lambda *c: 100 * accuracy(*c), "eig": lambda *c: 2 + loss(*c)}
    with h5py.File(path, "w") as file:
        if dir_file is not None:
            file["dir_file"] = dir_file
        file["xcoordinates"] = np.array(x)
        if y is not None:
            file["ycoordinates"] = np.array(y)
        for name in names:
            flat = np.full(len(x) * len(y or [0]), 1.0 if name == "min_eig" else -1.0)
            function = (functions or {}).get(name) or known[name.rpartition("_")[2]]
            for k in filter(done, range(len(flat))):
                flat[k] = function(x[k % len(x)], *([] if y is None else [y[k // len(x)]]))
            file[name] = flat.reshape(len(x), len(y)) if y is not None else flat
    return path


def write_lightzero(path: Path, names: tuple[str, ...] = ("train_loss", "train_acc")) -> Path:
    with h5py.File(path, "w") as file:
        file["xcoordinates"], file["ycoordinates"] = X, Y
        for name in names:
            factor, function = (100, accuracy) if name == "train_acc" else (1, loss)
            file[name] = [[factor * function(x, y) for y in Y] for x in X]
    return path


def write_npz(path: Path, **arrays: object) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    return path


def write_landscaper(path: Path, dims: int = 2, steps: int = 3) -> Path:
    line = np.linspace(-0.01, 0.01, steps)
    values = np.empty((steps,) * dims)
    for index in np.ndindex(values.shape):
        values[index] = sum((i + 1) * 10**axis for axis, i in enumerate(index))
    return write_npz(path, loss=values, coordinates=[line] * dims)


def assert_holds(surface: Surface, done: Callable[[float, float], bool] = lambda x, y: True) -> None:
    """Loss and accuracy at every single point of the surface."""
    for point in range(surface.grid.num_points):
        _, (x, *rest) = surface.grid.location(point)
        y = rest[0] if rest else 0.0
        assert surface.evaluated.flat[point] == done(x, y)
        expected = loss(x, y) if done(x, y) else math.nan
        assert surface["train_loss"].flat[point] == pytest.approx(expected, rel=1e-15, nan_ok=True)
        expected = accuracy(x, y) if done(x, y) else math.nan
        assert surface["train_accuracy"].flat[point] == pytest.approx(expected, rel=1e-15, nan_ok=True)


def found_in(surface: Surface) -> Mapping[str, object]:
    found = surface.provenance.resolved["found"]
    assert isinstance(found, dict)
    return found


# ---------------------------------------------------------------- tomgoldstein: import


@pytest.mark.parametrize(("x", "y"), [(X, Y), (Y, X), (X, X), (X, None), (X, [0.0]), ([0.0], Y), ([0.0], None)])
def test_every_point_is_where_the_original_program_computed_it(
    tmp_path: Path, x: list[float], y: list[float] | None
) -> None:
    surface = read_tomgoldstein(write_original(tmp_path / "s.h5", x, y))
    assert [list(axis.coordinates) for axis in surface.grid.axes] == [x, y][: 1 if y is None else 2]
    assert surface.grid.shape == (1, len(x), *([] if y is None else [len(y)]))
    assert_holds(surface)


def test_a_fork_that_declares_the_true_shape_is_read_the_same(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5")
    with h5py.File(path, "r+") as file:
        for name in ("train_loss", "train_acc"):
            values = file[name][()].reshape(len(Y), len(X))
            del file[name]
            file[name] = values
    assert_holds(read_tomgoldstein(path))


def test_points_that_were_not_computed_are_not_evaluated(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5", done=lambda k: k < 7)
    assert_holds(read_tomgoldstein(path), lambda x, y: Y.index(y) * len(X) + X.index(x) < 7)


def test_what_the_file_does_not_say_is_unknown(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5")
    surface = read_tomgoldstein(path)
    for axis in ("x", "y"):
        assert surface.directions[axis].recipe == {"_target_": "file", "path": DIR_FILE, "name": f"{axis}direction"}
        assert np.isnan(surface.directions[axis].norm).tolist() == [True]
    metric = surface.metrics["train_loss"]
    assert metric.num_examples == 0
    assert np.isnan(metric.std).all()
    assert np.isnan([metric.centre_std, metric.centre_standard_error]).all()
    assert np.isnan(metric.standard_error).all()
    assert surface.fingerprint == ""
    assert found_in(surface) == {
        "dialect": "tomgoldstein",
        "converted_from": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "notes": [],
    }


@pytest.mark.parametrize("name", ["d.h5", "", "ä/損失.h5", "a" * 10_000, np.bytes_("fixed.h5"), b"caf\xe9.h5"])
def test_the_name_of_the_direction_file_is_the_one_that_h5py_reads(tmp_path: Path, name: str | bytes) -> None:
    path = write_original(tmp_path / "s.h5", dir_file=None)
    with h5py.File(path, "r+") as file:
        file["another"] = "text in the same heap"
        file["dir_file"] = name
        expected = file["dir_file"].asstr(errors="replace")[()]
    recipe = {"_target_": "file", "path": expected, "name": "xdirection"} if name else {"_target_": "unknown"}
    assert read_tomgoldstein(path).directions["x"].recipe == recipe


def test_a_damaged_name_of_the_direction_file_changes_no_value(tmp_path: Path) -> None:
    """HDF5 itself does not come back from some of these heaps of strings."""
    path = write_original(tmp_path / "s.h5")
    whole, refused = path.read_bytes(), []
    heap = whole.index(b"GCOL")
    for position in range(heap, heap + 40):
        for value in (0, 1, 255):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            try:
                assert_holds(read_tomgoldstein(path))
            except SurfaceError as error:
                refused.append(str(error))
    assert refused
    assert all(message.startswith(f"{path}: not readable as a surface file of tomgold") for message in refused)


def test_the_centre_is_the_value_at_zero_where_there_is_one(tmp_path: Path) -> None:
    def centre(x: list[float], y: list[float] | None, done: Callable[[int], bool] = lambda k: True) -> float:
        surface = read_tomgoldstein(write_original(tmp_path / "s.h5", x, y, done=done))
        return surface.metrics["train_loss"].centre

    assert centre(X, Y) == loss(0, 0)
    assert centre([-1.0, 1e-17, 1.0], None) == loss(1e-17)
    assert math.isnan(centre(X, [-0.5, 0.1]))
    assert math.isnan(centre([-1.0, 1.0], None))
    assert math.isnan(centre(X, Y, done=lambda k: k != 6))  # k = 6 is (0, 0)


def test_values_that_are_not_finite_are_values(tmp_path: Path) -> None:
    odd = {-1.0: math.nan, -0.25: math.inf, 0.0: -math.inf}
    functions = {"train_loss": lambda x: odd.get(x, 1.0)}
    path = write_original(tmp_path / "s.h5", X, None, names=("train_loss",), functions=functions)
    surface = read_tomgoldstein(path)
    assert surface.complete
    np.testing.assert_array_equal(surface["train_loss"], [[math.nan, math.inf, -math.inf, 1.0]])


def test_all_six_metrics_have_a_name_here(tmp_path: Path) -> None:
    names = ("train_loss", "train_acc", "test_loss", "test_acc", "min_eig", "max_eig")
    path = write_original(tmp_path / "s.h5", names=names, done=lambda k: k != 2)
    surface = read_tomgoldstein(path)
    assert list(surface.metrics) == ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "min_eig", "max_eig"]
    assert surface.num_evaluated == len(X) * len(Y) - 1  # 1 is "not computed" for min_eig
    assert surface["test_accuracy"][0, 2, 1] == pytest.approx(accuracy(0, 0), rel=1e-15)
    assert surface["min_eig"][0, 3, 0] == 2 + loss(X[3], Y[0])


def test_a_point_counts_as_evaluated_where_all_metrics_are_there(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5", names=("train_loss", "train_acc", "max_eig", "test_loss"))
    with h5py.File(path, "r+") as file:
        file["max_eig"][1:] = -1.0
        file["test_loss"][:] = -1.0
    surface = read_tomgoldstein(path)
    assert "test_loss" not in surface.metrics  # nowhere computed, it would hide all the others
    assert surface.num_evaluated == 3
    partly, unused = found_in(surface)["notes"][::-1]  # type: ignore[index]
    assert unused == "left out: test_loss (not computed at any point)"
    assert partly.startswith("9 points count as not evaluated")


def test_a_surface_of_which_nothing_is_computed_is_an_empty_one(tmp_path: Path) -> None:
    surface = read_tomgoldstein(write_original(tmp_path / "s.h5", done=lambda k: False))
    assert (list(surface.metrics), surface.num_evaluated) == (["train_loss", "train_accuracy"], 0)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5")
    with h5py.File(path, "r+") as file:
        file["val_loss"] = np.zeros((4, 3))
        file["more/inside"] = 1
    assert found_in(read_tomgoldstein(path))["notes"] == ["left out: more, val_loss"]


def test_accuracies_that_may_not_be_percent_are_doubted(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5", functions={"train_acc": accuracy})
    (note,) = found_in(read_tomgoldstein(path))["notes"]  # type: ignore[misc]
    assert note.startswith("train_acc is at most 0.606531: read as percent")


def test_single_precision_files_are_read(tmp_path: Path) -> None:
    path = write_original(tmp_path / "s.h5", done=lambda k: k != 4)
    with h5py.File(path, "r+") as file:
        for name in ("train_loss", "train_acc"):
            values = file[name][()].astype(np.float32)
            del file[name]
            file[name] = values
    surface = read_tomgoldstein(path)
    assert surface.num_evaluated == 11
    assert surface["train_loss"].dtype == np.float64


# ---------------------------------------------------------------- lightzero


def test_lightzero_has_the_opposite_order(tmp_path: Path) -> None:
    surface = read_lightzero(write_lightzero(tmp_path / "s.h5"))
    assert_holds(surface)
    assert surface.directions["y"].recipe == {"_target_": "unknown"}
    assert found_in(surface)["dialect"] == "lightzero"


def test_lightzero_read_as_the_original_is_another_surface(tmp_path: Path) -> None:
    """Square or not: the reason why the user has to say it, and the note."""
    surface = read_tomgoldstein(write_lightzero(tmp_path / "s.h5"))
    with pytest.raises(AssertionError):
        assert_holds(surface)
    (note,) = found_in(surface)["notes"]  # type: ignore[misc]
    assert "--from lightzero" in note


def test_on_a_line_there_is_no_order_to_doubt(tmp_path: Path) -> None:
    surface = read_tomgoldstein(write_original(tmp_path / "s.h5", X, None, dir_file=None))
    assert found_in(surface)["notes"] == []


def test_metrics_of_lightzero_keep_names_and_units_and_minus_one(tmp_path: Path) -> None:
    path = write_lightzero(tmp_path / "s.h5", ("train_loss_value_loss", "train_loss_reward", "train_loss_reward_std"))
    with h5py.File(path, "r+") as file:
        file["train_loss_reward"][0, 0] = -1.0
    surface = read_lightzero(path)
    assert list(surface.metrics) == ["train_loss_reward", "train_loss_value_loss"]
    assert surface.complete
    assert surface["train_loss_reward"][0, 0, 0] == -1.0
    assert surface["train_loss_value_loss"][0, 1, 2] == loss(X[1], Y[2])
    assert found_in(surface)["notes"] == ["left out: train_loss_reward_std"]
    with pytest.raises(SurfaceError) as error:
        read_tomgoldstein(path)
    assert "--from lightzero" in str(error.value.hint)


def test_a_file_of_the_original_read_as_lightzero_is_doubted(tmp_path: Path) -> None:
    (note,) = found_in(read_lightzero(write_original(tmp_path / "s.h5")))["notes"]  # type: ignore[misc]
    assert "--from tomgoldstein" in note


# ---------------------------------------------------------------- landscaper


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_landscaper_is_read_point_by_point(tmp_path: Path, dims: int) -> None:
    surface = read_landscaper(write_landscaper(tmp_path / "s.npz", dims))
    assert surface.grid.shape == (1, *(3,) * dims)
    assert surface.complete
    for point in range(surface.grid.num_points):
        _, coordinates = surface.grid.location(point)
        expected = sum((round(c * 100) + 2) * 10**axis for axis, c in enumerate(coordinates))
        assert surface["train_loss"].flat[point] == expected
    assert surface.metrics["train_loss"].centre == sum(2 * 10**axis for axis in range(dims))
    assert [axis.coordinates for axis in surface.grid.axes] == [(-0.01, 0.0, 0.01)] * dims


def test_the_labels_of_landscaper_are_kept_and_doubted(tmp_path: Path) -> None:
    surface = read_landscaper(write_landscaper(tmp_path / "s.npz", steps=4))
    notes = found_in(surface)["notes"]
    assert isinstance(notes, list)
    assert "(steps - 1) / steps" in notes[0]
    assert "noise" in notes[1]
    assert "steps is 4, which is even" in notes[2]
    assert math.isnan(surface.metrics["train_loss"].centre)


# ---------------------------------------------------------------- tomgoldstein: export


def surface_of(x: list[float] = X, y: list[float] | None = Y, num_slices: int = 1) -> Surface:
    grid = Grid((Axis("x", tuple(x)), *([] if y is None else [Axis("y", tuple(y))])), num_slices)
    where = [grid.location(point) for point in range(grid.num_points)]
    metrics = {}
    for name, function in (("train_loss", loss), ("train_accuracy", accuracy), ("val_loss", loss)):
        values = np.array([function(*c) + s for s, c in where]).reshape(grid.shape)
        metrics[name] = Metric(values, np.ones(grid.shape), 0.5, 1.0, 100)
    recipe = {"_target_": "random", "normalization": "filter"}
    return Surface(
        grid=grid,
        metrics=metrics,
        directions={axis.name: Direction(recipe, (1.0,) * num_slices) for axis in grid.axes},
        fingerprint="ab" * 32,
        evaluated=np.ones(grid.shape, dtype=np.bool_),
    )


@pytest.mark.parametrize(("x", "y"), [(X, Y), (Y, X), (X, X), (X, None)])
def test_an_export_is_what_the_original_program_would_have_written(
    tmp_path: Path, x: list[float], y: list[float] | None
) -> None:
    write_original(tmp_path / "expected.h5", x, y, dir_file="")
    write_tomgoldstein(surface_of(x, y), tmp_path / "found.h5")
    with h5py.File(tmp_path / "expected.h5") as expected, h5py.File(tmp_path / "found.h5") as found:
        assert list(found) == list(expected)
        assert not found.attrs
        for name in expected:
            assert (found[name].dtype, found[name].shape) == (expected[name].dtype, expected[name].shape)
            assert not found[name].attrs
            assert found[name].chunks is None
            np.testing.assert_array_equal(found[name][()], expected[name][()])
        assert found["dir_file"][()] == b""


def test_an_export_marks_what_is_not_evaluated_and_keeps_a_true_minus_one(tmp_path: Path) -> None:
    surface = surface_of(X, None)
    surface.evaluated[0, 1] = False
    surface["train_loss"][0, 2] = -1.0
    surface["train_loss"][0, 3] = math.nan
    surface.metrics["min_eig"] = Metric(np.ones((1, 4)), np.ones((1, 4)), 0.0, 0.0, 1)
    write_tomgoldstein(surface, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["train_loss"][1] == file["train_acc"][1] == -1.0
        assert file["train_loss"][2] != -1.0
        assert file["train_loss"][2] == pytest.approx(-1.0, rel=1e-15)
        assert math.isnan(file["train_loss"][3])
        assert [each == 1.0 for each in file["min_eig"]] == [False, True, False, False]


def test_an_export_has_one_slice(tmp_path: Path) -> None:
    for i in range(3):
        write_tomgoldstein(surface_of(num_slices=3), tmp_path / "s.h5", slice_index=i)
        assert read_tomgoldstein(tmp_path / "s.h5")["train_loss"][0, 0, 0] == loss(X[0], Y[0]) + i
    with pytest.raises(UsageError, match="slices 0 … 2"):
        write_tomgoldstein(surface_of(num_slices=3), tmp_path / "s.h5", slice_index=3)


def test_a_volume_and_a_surface_without_their_metrics_cannot_be_exported(tmp_path: Path) -> None:
    surface = surface_of()
    surface.metrics = {"val_loss": surface.metrics["val_loss"]}
    with pytest.raises(UsageError, match="found val_loss; expected one of train_loss"):
        write_tomgoldstein(surface, tmp_path / "s.h5")
    with pytest.raises(UsageError, match="this surface has three"):
        write_tomgoldstein(read_landscaper(write_landscaper(tmp_path / "s.npz", 3)), tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()


VALUES = st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 1.0, 0.0, -0.0])


@st.composite
def surfaces(draw: st.DrawFn) -> Surface:
    """Lines and planes of any shape, partly evaluated, with every value that there is."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=2))
    axes = tuple(
        Axis(name, tuple(sorted(draw(st.sets(st.floats(-1e3, 1e3), min_size=length, max_size=length)))))
        for name, length in zip("xy", lengths, strict=False)
    )
    grid = Grid(axes)
    evaluated = draw(arrays(np.bool_, grid.shape))
    names = st.sampled_from(["train_loss", "train_accuracy", "test_loss", "test_accuracy", "min_eig", "max_eig"])
    metrics = {}
    for name in draw(st.lists(names, min_size=1, unique=True)):
        values = draw(arrays(np.float64, grid.shape, elements=VALUES))
        metrics[name] = Metric(np.where(evaluated, values, np.nan), np.full(grid.shape, np.nan), math.nan, math.nan, 0)
    recipe = {"_target_": "file", "path": draw(st.from_regex(r"[a-zä=/]{1,9}\.h5", fullmatch=True))}
    directions = {axis.name: Direction({**recipe, "name": f"{axis.name}direction"}, (math.nan,)) for axis in axes}
    return Surface(grid=grid, metrics=metrics, directions=directions, fingerprint="", evaluated=evaluated)


@settings(max_examples=60, deadline=None)
@given(surface=surfaces())
def test_what_is_exported_comes_back(surface: Surface) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_tomgoldstein(surface, Path(folder, "s.h5"))
        found = read_tomgoldstein(Path(folder, "s.h5"))
    assert found.grid == surface.grid
    assert dict(found.directions["x"].recipe) == dict(surface.directions["x"].recipe)
    np.testing.assert_array_equal(found.evaluated, surface.evaluated)
    assert set(found.metrics) == set(surface.metrics)
    for name in surface.metrics:  # to rounding: times 100, by 100, and -1 is moved by one step
        np.testing.assert_allclose(found[name], surface[name], rtol=1e-15, atol=1e-320)


# ---------------------------------------------------------------- directions


def write_directions(path: Path, **directions: list[NDArray[np.generic]]) -> Path:
    with h5py.File(path, "w") as file:
        for name, tensors in directions.items():
            group = file.create_group(name)
            for i, tensor in enumerate(tensors):
                group.create_dataset(str(i), data=tensor)
    return path


def tensors(num: int) -> list[NDArray[np.generic]]:
    generator = np.random.default_rng(num)
    return [generator.standard_normal((i % 3 + 1, 2), dtype=np.float32) for i in range(num)]


def test_tensors_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    x, y = tensors(12), tensors(11)  # "10" comes before "2" in the alphabet
    path = write_directions(tmp_path / "d.h5", xdirection=x, ydirection=y)
    for name, expected in (("xdirection", x), ("ydirection", y)):
        found = read_directions(path, name)
        assert len(found) == len(expected)
        for tensor, original in zip(found, expected, strict=True):
            assert tensor.dtype == original.dtype
            np.testing.assert_array_equal(tensor, original)


def test_scalars_and_integers_are_tensors(tmp_path: Path) -> None:
    """num_batches_tracked of BatchNorm is one or the other, by the age of the file."""
    stored: list[NDArray[np.generic]] = [np.float32(1.5), np.int64(7), np.arange(3), np.ones(2, ">f4")]  # type: ignore[list-item]
    found = read_directions(write_directions(tmp_path / "d.h5", xdirection=stored), "xdirection")
    assert [each.shape for each in found] == [(), (), (3,), (2,)]
    assert [each.dtype for each in found] == [np.float32, np.int64, np.int64, np.float32]
    assert all(isinstance(each, np.ndarray) and each.dtype.isnative for each in found)
    assert [float(found[0]), int(found[1])] == [1.5, 7]


def remove(*names: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return change


def put_group(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return change


def put(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def put_external(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        secret = Path(file.filename).with_name("secret")
        secret.write_bytes(bytes(96))
        del file[name]
        file.create_dataset(name, shape=(4, 3), dtype="f8", external=[(str(secret), 0, 96)])

    return change


def put_virtual(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=(4, 3), dtype="f8")
        layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4, 3))
        del file[name]
        file.create_virtual_dataset(name, layout)

    return change


def put_trillion(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000))

    return change


def outsiders(name: str) -> dict[str, tuple[Callable[[h5py.File], None], str]]:
    last = name.rpartition("/")[2]
    return {
        "soft link": (put(name, h5py.SoftLink("/x")), f"{last} is a link"),
        "external link": (put(name, h5py.ExternalLink("/etc/passwd", "/x")), f"{last} is a link"),
        "external storage": (put_external(name), f"/{name} does not lie in the file"),
        "virtual dataset": (put_virtual(name), f"/{name} does not lie in the file"),
        "a trillion numbers": (put_trillion(name), f"/{name} does not lie in the file"),
    }


WRONG_DIRECTIONS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "a gap": (remove("xdirection/1"), "found 2 entries, but no '1'; expected tensors numbered from 0"),
    "not a number": (put("xdirection/weight", 1.0), "found 4 entries, but no '3'"),
    "leading zeros": (put("xdirection/03", 1.0), "found 4 entries, but no '3'"),
    "text": (put("xdirection/1", "weight"), "/xdirection/1: found object; expected a tensor of real numbers"),
    "complex": (put("xdirection/1", 1j), "/xdirection/1: found complex128"),
    "empty": (put("xdirection/1", h5py.Empty("f4")), "/xdirection/1: found float32"),
    "a group": (put_group("xdirection/1"), "/xdirection/1: found a group"),
    "nothing": (put_group("xdirection"), "xdirection: found nothing; expected tensors numbered from 0"),
    "another name": (remove("xdirection"), "no direction 'xdirection'; did you mean 'ydirection'?"),
    "no groups": (
        remove("xdirection", "ydirection"),
        "no directions; found nothing; expected a direction file of tomgoldstein/loss-landscape",
    ),
    **outsiders("xdirection/1"),
}


@pytest.mark.parametrize("kind", WRONG_DIRECTIONS)
def test_a_wrong_direction_file_says_what_is_wrong(tmp_path: Path, kind: str) -> None:
    change, words = WRONG_DIRECTIONS[kind]
    path = write_directions(tmp_path / "d.h5", xdirection=tensors(3), ydirection=tensors(3))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DirectionError) as error:
        read_directions(path, "xdirection")
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert error.value.exit_code == 3


def test_a_direction_file_that_is_none_says_so(tmp_path: Path) -> None:
    for content, words in ((None, "no such file"), (b"", "is empty"), (b"model: a\n", "not an HDF5 file")):
        if content is not None:
            (tmp_path / "d.h5").write_bytes(content)
        with pytest.raises(DirectionError, match=words):
            read_directions(tmp_path / "d.h5", "xdirection")
    with pytest.raises(DirectionError, match="Is a directory"):
        read_directions(tmp_path, "xdirection")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DirectionError, match="is a device or a pipe"):
        read_directions(tmp_path / "pipe", "xdirection")


@pytest.mark.parametrize("cut", [8, 100, 800, -1])
def test_a_direction_file_that_is_cut_short_is_an_error(tmp_path: Path, cut: int) -> None:
    path = write_directions(tmp_path / "d.h5", xdirection=tensors(3))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DirectionError, match="not readable"):
        read_directions(path, "xdirection")


# ---------------------------------------------------------------- the command: convert


def test_convert_makes_a_surface_that_the_other_commands_read(tmp_path: Path, landscape: Landscape) -> None:
    source, output = write_original(tmp_path / "tg.h5"), tmp_path / "s.h5"
    before = source.read_bytes()
    outcome = landscape("convert", source, "-o", output)
    assert outcome == Outcome(0, "", f"converted from tomgoldstein: {output}, 12 of 12 points\n")
    assert source.read_bytes() == before
    surface = load_surface(output)
    assert_holds(surface)
    assert found_in(surface) == found_in(read_tomgoldstein(source))
    text = landscape("info", output).stdout
    for words in (
        "12 of 12 (100%), complete",
        f"direction file (name: ydirection, path: {DIR_FILE}), length unknown",
        "± unknown (n unknown), on the grid",
        "model           unknown",
        f"converted from  {source} (tomgoldstein)",
        "fingerprint     none",
    ):
        assert words in text
    picture = tmp_path / "s.svg"
    assert landscape("plot", output, "-o", picture).exit_code == 0
    for words in ("converted from tg.h5 (tomgoldstein)", "n unknown", "multiples of the direction"):
        assert words in picture.read_text()


def test_a_partial_original_is_called_partial_and_no_command_is_said_to_complete_it(
    tmp_path: Path, landscape: Landscape
) -> None:
    source = write_original(tmp_path / "tg.h5", done=lambda k: k < 3)
    outcome = landscape("convert", source, "-o", tmp_path / "s.h5")
    assert outcome.stderr.endswith(", 3 of 12 points\n")
    text = landscape("info", tmp_path / "s.h5").stdout
    assert "3 of 12 (25%), partial: as in the original" in text
    assert "centre unknown (n unknown)" in text


def test_a_picture_does_not_claim_what_is_not_known(tmp_path: Path) -> None:
    surface = read_lightzero(write_lightzero(tmp_path / "s.h5"))
    figure = plot(surface)
    assert figure.axes[0].get_xlabel() == "x: unknown direction (coordinates as in the original)"
    assert figure.get_supxlabel().startswith("converted from s.h5 (lightzero)  ·  n unknown")
    assert figure.axes[0].get_title(loc="left") == "train loss"


def test_convert_json_is_the_report_of_the_new_file(tmp_path: Path, landscape: Landscape) -> None:
    source, output = write_original(tmp_path / "tg.h5"), tmp_path / "s.h5"
    outcome = landscape("convert", source, "-o", output, "--json", "-q")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    report = json.loads(outcome.stdout)
    validate(report, "InfoReport")
    assert report == json.loads(landscape("info", output, "--json").stdout)
    assert (report["converted_from"], report["dialect"]) == (str(source), "tomgoldstein")
    assert report["metrics"]["train_loss"]["num_examples"] == 0
    assert report["metrics"]["train_loss"]["centre_standard_error"] is None
    assert report["axes"]["x"]["norm"] == [None]


def test_convert_says_when_it_may_be_of_lightzero(tmp_path: Path, landscape: Landscape) -> None:
    source, output = write_lightzero(tmp_path / "lz.h5"), tmp_path / "s.h5"
    assert "--from lightzero" in landscape("convert", source, "-o", output).stderr
    assert landscape("convert", source, "-o", output, "--overwrite", "-q").stderr == ""
    outcome = landscape("convert", source, "-o", output, "--overwrite", "--from", "lightzero")
    assert outcome.stderr == f"converted from lightzero: {output}, 12 of 12 points\n"
    assert_holds(load_surface(output))


def test_convert_knows_landscaper_by_its_content(tmp_path: Path, landscape: Landscape) -> None:
    source = write_landscaper(tmp_path / "landscape.data")
    outcome = landscape("convert", source, "-o", tmp_path / "s.h5")
    assert "note: coordinates are as stored" in outcome.stderr
    assert found_in(load_surface(tmp_path / "s.h5"))["dialect"] == "landscaper"
    assert "note: coordinates" not in landscape("info", tmp_path / "s.h5").stdout
    assert "coordinates are as stored" in landscape("info", tmp_path / "s.h5").stdout


def test_what_is_there_is_replaced_on_request_only(tmp_path: Path, landscape: Landscape) -> None:
    source, output = write_original(tmp_path / "tg.h5"), tmp_path / "s.h5"
    save_surface(surface_of(), output)
    before = output.read_bytes()
    outcome = landscape("convert", source, "-o", output)
    assert outcome.exit_code == 2
    assert f"{output}: is there already" in outcome.stderr
    assert output.read_bytes() == before
    assert landscape("convert", source, "-o", output, "--overwrite").exit_code == 0
    assert output.read_bytes() != before


def test_convert_never_replaces_its_input_or_what_is_no_surface(tmp_path: Path, landscape: Landscape) -> None:
    source = write_original(tmp_path / "tg.h5")
    before = source.read_bytes()
    link = tmp_path / "link.h5"
    link.symlink_to(source)
    for output in (source, link):
        outcome = landscape("convert", source, "-o", output, "--overwrite")
        assert (outcome.exit_code, "is the input itself" in outcome.stderr) == (2, True)
    notes = tmp_path / "notes.txt"
    notes.write_text("dear diary")
    outcome = landscape("convert", source, "-o", notes, "--overwrite")
    assert (outcome.exit_code, "--overwrite replaces only those" in outcome.stderr) == (3, True)
    assert (source.read_bytes(), notes.read_text()) == (before, "dear diary")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "s.h5", "--from", "lightzro"], "--from: found 'lightzro'; did you mean 'lightzero'?"),
        (["-o", "gone/s.h5"], "the folder gone does not exist"),
        (["-o", "."], "."),
        ([], "'--output'"),
    ],
)
def test_a_wrong_conversion_is_exit_code_2(
    tmp_path: Path, landscape: Landscape, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    source = write_original(tmp_path / "tg.h5")
    monkeypatch.chdir(tmp_path)
    outcome = landscape("convert", source, *arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert words in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tg.h5"]


# ---------------------------------------------------------------- bad input


def change_original(change: Callable[[h5py.File], None]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        write_original(path)
        with h5py.File(path, "r+") as file:
            change(file)

    return write


def write_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("loss.npy", "coordinates.npy"):
            stream = io.BytesIO()
            np.save(stream, np.zeros((1000, 1000)))
            archive.writestr(name, stream.getvalue())


def truncate(write: Callable[[Path], object], num_bytes: int) -> Callable[[Path], object]:
    def cut(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-num_bytes])

    return cut


LINE = np.linspace(-1, 1, 3)
BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda path: None, "no such file", "working directory"),
    "a folder": (lambda path: path.mkdir(), "Is a directory", ""),
    "empty": (lambda path: path.touch(), "the file is empty", ""),
    "a text": (lambda path: path.write_text("x,y,loss\n"), "neither HDF5 nor .npz", "tomgoldstein/loss-landscape"),
    "ours": (lambda path: save_surface(surface_of(), path), "is a surface file of landscape already", "landscape info"),
    "directions": (
        lambda path: write_directions(path, xdirection=tensors(2)),
        "holds directions, not a surface",
        "direction: {_target_: file",
    ),
    "no xcoordinates": (change_original(remove("xcoordinates")), "no xcoordinates; found dir_file, train_acc", ""),
    "another HDF5": (lambda path: h5py.File(path, "w").close(), "no xcoordinates; found nothing", ""),
    "no values": (
        change_original(remove("train_loss", "train_acc")),
        "no values; found dir_file, xcoordinates, ycoordinates",
        "has anything been computed?",
    ),
    "wrong size": (
        change_original(put("train_acc", np.ones((4, 4)))),
        "train_acc: found the shape (4, 4); the coordinates say (4, 3)",
        "",
    ),
    "a plane without y": (
        change_original(remove("ycoordinates")),
        "train_loss: found the shape (4, 3); the coordinates say (4,)",
        "",
    ),
    "text as values": (
        change_original(put("train_loss", np.full((4, 3), b"a"))),
        "train_loss: found |S1 of shape (4, 3); expected real",
        "",
    ),
    "a group as values": (change_original(put_group("train_loss")), "train_loss is a group", ""),
    "falling coordinates": (
        change_original(put("xcoordinates", X[::-1])),
        "xcoordinates: found 0 after 0.5; expected coordinates that strictly increase",
        "Sort the coordinates",
    ),
    "equal coordinates": (
        change_original(put("ycoordinates", [0.0, 1.0, 1.0])),
        "ycoordinates: found 1 after 1",
        "Sort",
    ),
    "NaN coordinates": (change_original(put("xcoordinates", [0, 1, math.nan, 2])), "xcoordinates: found a coordi", ""),
    "text coordinates": (
        change_original(put("xcoordinates", np.bytes_("a"))),
        "xcoordinates: found |S1 of shape ()",
        "",
    ),
    "numbers as dir_file": (change_original(put("dir_file", 1.0)), "loss-landscape: /dir_file is no text", ""),
    **{
        kind: (change_original(change), words, "Copy what it refers to")
        for kind, (change, words) in outsiders("train_loss").items()
    },
    "HDF5 cut short": (truncate(write_original, 2000), "not readable as a surface file of tomgoldstein", ""),
    "npz without loss": (
        lambda path: write_npz(path, losses=np.ones(3), coordinates=[LINE]),
        "no loss; did you mean 'losses'?",
        "",
    ),
    "npz with pickles": (
        lambda path: write_npz(path, loss=np.array([{}, None, 1], dtype=object), coordinates=[LINE]),
        "Object arrays cannot be loaded when allow_pickle=False",
        "",
    ),
    "npz of another size": (
        lambda path: write_npz(path, loss=np.ones((3, 4)), coordinates=[LINE] * 2),
        "loss: found float64 of shape (3, 4); expected real numbers of shape (3, 3)",
        "",
    ),
    "npz of four dimensions": (
        lambda path: write_landscaper(path, 4),
        "coordinates: found the shape (4, 3); expected (dims, steps) with 1 to 3 dims",
        "",
    ),
    "npz of equal coordinates": (
        lambda path: write_npz(path, loss=np.ones(3), coordinates=np.zeros((1, 3))),
        "coordinates[0]: found 0 after 0",
        "Sort",
    ),
    "npz that unpacks to anything": (write_bomb, "loss is compressed", "numpy.savez"),
    "npz cut short": (truncate(write_landscaper, 5), "not a .npz file", ""),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_clear_message_and_exit_code_3(tmp_path: Path, landscape: Landscape, kind: str) -> None:
    make, words, hint = BAD[kind]
    path, output = tmp_path / "foreign", tmp_path / "s.h5"
    make(path)
    outcome = landscape("convert", path, "-o", output)
    assert (outcome.exit_code, outcome.stdout) == (3, "")
    message, *rest = outcome.stderr.splitlines()
    assert message.startswith(f"error: {path}: ")
    assert words in message
    assert [line[:6] for line in rest] == (["hint: "] if hint else [])
    assert hint in "".join(rest)
    assert not output.exists()


def test_the_wrong_program_is_one_clear_message(tmp_path: Path, landscape: Landscape) -> None:
    original, npz = write_original(tmp_path / "tg.h5"), write_landscaper(tmp_path / "l.npz")
    for program, path, words in (
        ("landscaper", original, "not a .npz file; expected a .npz file of Landscaper"),
        ("lightzero", npz, "not an HDF5 file; expected a surface file of LightZero"),
    ):
        outcome = landscape("convert", path, "-o", tmp_path / "s.h5", "--from", program)
        assert (outcome.exit_code, words in outcome.stderr) == (3, True)


@pytest.mark.parametrize("program", mostly_slow(IMPORTERS, "tomgoldstein"))
def test_damaged_files_are_errors_of_ours_or_read(tmp_path: Path, program: str) -> None:
    """In a process of its own: on damaged files HDF5 itself may crash, but nothing of ours may."""
    write = {"tomgoldstein": write_original, "lightzero": write_lightzero, "landscaper": write_landscaper}[program]
    path = tmp_path / "s"
    write(path)
    code = """
import random, sys
from pathlib import Path
from landscape_cli.errors import SurfaceError
from landscape_cli.formats.table import IMPORTERS
path, generator = Path(sys.argv[1]), random.Random(0)
whole = path.read_bytes()
for _ in range(150):
    damaged = bytearray(whole)
    for _ in range(generator.randint(1, 3)):
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
    path.write_bytes(damaged)
    try:
        IMPORTERS[sys.argv[2]](path)
    except SurfaceError:
        pass
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path), program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode <= 0, process.stderr


# ---------------------------------------------------------------- the command: export


def test_export_and_convert_are_a_round_trip(tmp_path: Path, landscape: Landscape) -> None:
    surface, exported, back = tmp_path / "s.h5", tmp_path / "tg.h5", tmp_path / "back.h5"
    save_surface(surface_of(), surface)
    outcome = landscape("export", surface, exported, "--format", "tomgoldstein")
    assert outcome.exit_code == 0
    assert outcome.stdout == ""
    assert outcome.stderr.splitlines() == [
        "note: left out, tomgoldstein has no place for them: val_loss",
        f"exported: {exported}",
    ]
    assert landscape("convert", exported, "-o", back, "-q") == Outcome(0, "", "")
    assert_holds(load_surface(back))


def test_export_takes_the_first_slice_and_says_so(tmp_path: Path, landscape: Landscape) -> None:
    surface = surface_of(num_slices=3)
    del surface.metrics["val_loss"]
    save_surface(surface, tmp_path / "s.h5")
    command = ["export", tmp_path / "s.h5", tmp_path / "tg.h5", "--format", "tomgoldstein", "--overwrite"]
    assert landscape(*command).stderr.startswith("note: slice 0 of 3; choose another with --slice\n")
    assert_holds(read_tomgoldstein(tmp_path / "tg.h5"))
    assert landscape(*command, "--slice", "2").stderr == f"exported: {tmp_path / 'tg.h5'}\n"
    assert read_tomgoldstein(tmp_path / "tg.h5")["train_loss"][0, 0, 0] == loss(X[0], Y[0]) + 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tg.h5", "--format", "tomgolstein"], "--format: found 'tomgolstein'; did you mean 'tomgoldstein'?"),
        (["tg.h5", "--format", "tomgoldstein", "--slice", "1"], "slice: found 1; the surface has slices 0 … 0"),
        (["s.h5", "--format", "tomgoldstein", "--overwrite"], "s.h5: is the input itself"),
        (["diary.txt", "--format", "tomgoldstein"], "diary.txt: is there already"),
        (["diary.txt", "--format", "tomgoldstein", "--overwrite"], "--overwrite replaces only those"),
        (
            ["other.h5", "--format", "tomgoldstein", "--overwrite"],
            "--overwrite replaces only those",
        ),
        (["tg.h5"], "written with: --format tomgoldstein"),
    ],
)
def test_a_wrong_export_is_exit_code_2_and_touches_nothing(
    tmp_path: Path, landscape: Landscape, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    for name in ("s.h5", "other.h5"):
        save_surface(surface_of(), tmp_path / name)
    (tmp_path / "diary.txt").write_text("dear diary")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    outcome = landscape("export", "s.h5", *arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert words in outcome.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_export_of_what_is_no_surface_is_exit_code_3(tmp_path: Path, landscape: Landscape) -> None:
    source = write_original(tmp_path / "tg.h5")
    outcome = landscape("export", source, tmp_path / "out.h5", "--format", "tomgoldstein")
    assert (outcome.exit_code, "not a whole landscape surface file" in outcome.stderr) == (3, True)


def test_an_export_that_cannot_be_written_is_exit_code_4(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_of(), tmp_path / "s.h5")
    outcome = landscape("export", tmp_path / "s.h5", tmp_path / "gone" / "tg.h5", "--format", "tomgoldstein")
    assert (outcome.exit_code, "No such file or directory" in outcome.stderr) == (4, True)


# ---------------------------------------------------------------- the family


@pytest.mark.slow
def test_the_commands_need_no_torch(tmp_path: Path) -> None:
    write_original(tmp_path / "tg.h5")
    code = """
import sys
from landscape_cli.cli.app import main
for command in (["convert", "tg.h5", "-o", "s.h5"], ["export", "s.h5", "out.h5", "--format", "tomgoldstein"]):
    try:
        main(command)
    except SystemExit as stop:
        assert not stop.code, stop.code
print("torch" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
