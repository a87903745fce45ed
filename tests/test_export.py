"""Exports are read by programs that are not ours, and say the same as the surface."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray
from analytic import line, surface_of
from conftest import Outcome, Run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.tri import LinearTriInterpolator, Triangulation
from recorded import everything
from representative import mostly_slow
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLStructuredGridReader

from landscape_cli import save_surface
from landscape_cli.errors import OutputError, UsageError
from landscape_cli.formats.csv_rows import write_csv
from landscape_cli.formats.json_document import write_json
from landscape_cli.formats.netcdf import write_netcdf
from landscape_cli.formats.npz_arrays import write_npz
from landscape_cli.formats.table import EXPORTERS, SUFFIXES
from landscape_cli.formats.vtp_surface import write_vtp
from landscape_cli.formats.vts_grid import write_vts
from landscape_cli.grid import Axis, Grid
from landscape_cli.records import Curvature
from landscape_cli.surface import Direction, Metric, Provenance, Surface, Trajectory

Landscape = Callable[..., Outcome]
Place = tuple[float, ...]  # the slice and the coordinates
Found = dict[Place, tuple[bool, float, float]]  # evaluated, train_loss, its standard error

X, Y, Z = [-1.0, -0.25, 0.0, 0.5, 2.0], [-0.5, 0.0, 3.0], [0.0, 1.5]
BY_SUFFIX = [".csv", ".json", ".npz", ".nc", ".vts", ".vtp"]
ONE_SLICE = [".vts"]


def f(index: int, x: float, y: float = 0.0, z: float = 0.0) -> float:
    return 1000.0 * index + x + 10 * y**2 + 100 * z**3


def export(surface: Surface, path: Path, **options: object) -> list[str]:
    return EXPORTERS[SUFFIXES[path.suffix]](surface, path, **options)


# ---------------------------------------------------------------- readers


def number(text: str | float | None) -> float:
    """Of JSON and CSV."""
    return math.nan if text in (None, "") else float(text)  # type: ignore[arg-type]  # also "Infinity"


def read_csv(path: Path) -> Found:
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream, strict=True))
    header, *rest = rows
    axes = [name for name in header if name in "xyz"]
    assert header == ["slice", *axes, "evaluated", "train_loss", "train_loss_standard_error"]
    end = 1 + len(axes)
    return {tuple(map(float, row[:end])): (row[end] == "1", number(row[end + 1]), number(row[end + 2])) for row in rest}


def read_json(path: Path) -> Found:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(path.read_text("ascii"), parse_constant=refuse)
    metric, axes = document["metrics"]["train_loss"], document["axes"]
    found: Found = {}
    for position, index in enumerate(document["slices"]):
        for indices in itertools.product(*(range(len(axis["coordinates"])) for axis in axes.values())):
            values = []
            for nested in (document["evaluated"], metric["values"], metric["standard_error"]):
                value = nested[position]
                for i in indices:
                    value = value[i]
                values.append(value)
            place = (axis["coordinates"][i] for axis, i in zip(axes.values(), indices, strict=True))
            found[index, *place] = (values[0], number(values[1]), number(values[2]))
    return found


def read_npz(path: Path) -> Found:
    with np.load(path, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    scales = [content[name] for name in ("slice", "x", "y", "z") if name in content]
    examples = json.loads(str(content["attributes"]))["metrics"]["train_loss"]["num_examples"]
    return {
        tuple(float(scale[i]) for scale, i in zip(scales, indices, strict=True)): (
            bool(content["evaluated"][indices]),
            float(content["train_loss"][indices]),
            float(content["train_loss_std"][indices] / math.sqrt(examples)),
        )
        for indices in np.ndindex(content["evaluated"].shape)
    }


def read_nc(path: Path) -> Found:
    with xarray.open_dataset(path) as data:
        frame = data[["evaluated", "train_loss", "train_loss_standard_error"]].to_dataframe().reset_index()
    names = [name for name in ("slice", "x", "y", "z") if name in frame]
    return {
        tuple(float(row[name]) for name in names): (
            bool(row["evaluated"]),
            float(row["train_loss"]),
            float(row["train_loss_standard_error"]),
        )
        for _, row in frame.iterrows()
    }


def read_vtk(path: Path) -> object:
    reader = vtkXMLStructuredGridReader() if path.suffix == ".vts" else vtkXMLPolyDataReader()
    wrong: list[str] = []
    reader.AddObserver("ErrorEvent", lambda *event: wrong.append(str(event)))
    reader.AddObserver("WarningEvent", lambda *event: wrong.append(str(event)))
    reader.SetFileName(str(path))
    reader.Update()
    assert not wrong
    assert not reader.GetErrorCode()
    return reader.GetOutput()


def point_data(data: object) -> dict[str, np.ndarray]:
    values = data.GetPointData()  # type: ignore[attr-defined]
    return {values.GetArrayName(i): vtk_to_numpy(values.GetArray(i)).copy() for i in range(values.GetNumberOfArrays())}


def points(data: object) -> np.ndarray:
    found = data.GetPoints()  # type: ignore[attr-defined]
    return vtk_to_numpy(found.GetData()).copy() if found is not None else np.empty((0, 3))


def cells(data: object) -> list[tuple[str, tuple[int, ...]]]:
    found = []
    for i in range(data.GetNumberOfCells()):  # type: ignore[attr-defined]
        cell = data.GetCell(i)  # type: ignore[attr-defined]
        found.append((cell.GetClassName(), tuple(cell.GetPointId(k) for k in range(cell.GetNumberOfPoints()))))
    return found


def read_vts(path: Path, num_axes: int) -> Found:
    data = read_vtk(path)
    values = point_data(data)
    arrays_of = zip(values["evaluated"], values["train_loss"], values["train_loss_standard_error"], strict=True)
    places = points(data)
    assert not places[:, num_axes:].any()
    return {
        (0.0, *place[:num_axes].tolist()): (bool(done), float(value), float(error))
        for place, (done, value, error) in zip(places, arrays_of, strict=True)
    }


def read(path: Path, num_axes: int) -> Found:
    if path.suffix == ".vts":
        return read_vts(path, num_axes)
    return {".csv": read_csv, ".json": read_json, ".npz": read_npz, ".nc": read_nc}[path.suffix](path)


def truth(surface: Surface) -> Found:
    found: Found = {}
    for point in range(surface.grid.num_points):
        index, place = surface.grid.location(point)
        done = bool(surface.evaluated.flat[point])
        metric = surface.metrics["train_loss"]
        value, error = (float(each.flat[point]) for each in (metric.values, metric.standard_error))
        found[float(index), *place] = (done, value, error) if done else (False, math.nan, math.nan)
    return found


def same(found: Found, expected: Found) -> None:
    assert found.keys() == expected.keys()
    for place, each in expected.items():
        np.testing.assert_equal(found[place][:2], each[:2], err_msg=str(place))
        np.testing.assert_allclose(found[place][2], each[2], rtol=1e-15)


# ---------------------------------------------------------------- the points lie where they were measured


@pytest.mark.parametrize("num_axes", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".nc", ".vts"])
def test_every_value_is_where_it_was_measured(tmp_path: Path, suffix: str, num_axes: int) -> None:
    surface = surface_of(f, *[X, Y, Z][:num_axes], num_slices=2)
    export(surface, tmp_path / f"s{suffix}")
    found = read(tmp_path / f"s{suffix}", num_axes)
    slices = {0.0} if suffix in ONE_SLICE else {0.0, 1.0}
    assert set(found) == {(s, *each) for s in slices for each in itertools.product(*[X, Y, Z][:num_axes])}
    for (index, *place), (done, value, error) in found.items():
        assert (done, value) == (True, f(int(index), *place))
        assert error == pytest.approx(0.5 / math.sqrt(2000), rel=1e-15)


def partial() -> Surface:
    """Two slices in which some points are not evaluated, and some have diverged."""
    surface = surface_of(f, X, Y, num_slices=2)
    surface.evaluated[0, 1, 1] = surface.evaluated[1, :, 2] = False
    for place, value in (((0, 0, 0), math.nan), ((0, 3, 2), math.inf), ((1, 4, 0), -math.inf)):
        surface["train_loss"][place] = value
    surface["train_loss"][0, 1, 1] = 77.0  # whatever stands there, nobody has measured it
    return surface


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".nc", ".vts"])
def test_what_is_not_evaluated_is_absent_and_what_has_diverged_is_a_value(tmp_path: Path, suffix: str) -> None:
    surface = partial()
    export(surface, tmp_path / f"s{suffix}")
    expected = {place: each for place, each in truth(surface).items() if suffix not in ONE_SLICE or place[0] == 0}
    same(read(tmp_path / f"s{suffix}", 2), expected)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".nc"])
def test_one_slice_keeps_its_number(tmp_path: Path, suffix: str) -> None:
    surface = partial()
    export(surface, tmp_path / f"s{suffix}", slice_index=1)
    same(read(tmp_path / f"s{suffix}", 2), {place: each for place, each in truth(surface).items() if place[0] == 1})


@pytest.mark.parametrize("suffix", BY_SUFFIX)
def test_there_is_no_other_slice(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match=r"slice: found 2; the surface has slices 0 … 1"):
        export(partial(), tmp_path / f"s{suffix}", slice_index=2)
    assert not list(tmp_path.iterdir())


EDGES: dict[str, Callable[[], Surface]] = {
    "one point": lambda: surface_of(f, [0.0]),
    "one point of three axes": lambda: surface_of(f, [0.0], [1.0], [2.0]),
    "one column": lambda: surface_of(f, [0.5], Y),
    "one row": lambda: surface_of(f, X, [0.5]),
    "one layer": lambda: surface_of(f, X, Y, [0.5]),
    "constant": lambda: surface_of(lambda *_: 0.1, X, Y),
    "all NaN": lambda: surface_of(lambda *_: math.nan, X, Y),
    "nothing evaluated": lambda: surface_of(f, X, Y, evaluated=False),
    "nothing evaluated on a line": lambda: surface_of(f, X, evaluated=False, num_slices=3),
    "tiny": lambda: surface_of(lambda i, x, y: 1e-12 * f(i, x, y), [each * 1e-12 for each in X], Y),
    "huge": lambda: surface_of(lambda i, x, y: 1e12 * f(i, x, y), [each * 1e12 for each in X], Y),
    "the ends of float64": lambda: surface_of(lambda i, x: x * 1.7e308, [-1.0, 0.0, 5e-324, 1.0]),
    "unknown examples": lambda: surface_of(f, X, Y, num_examples=0),
    "a thousand slices": lambda: surface_of(f, [-1.0, 2.0], num_slices=1000),
}


@pytest.mark.parametrize(
    "kind", mostly_slow(EDGES, "one point", "one layer", "all NaN", "nothing evaluated", "the ends of float64")
)
@pytest.mark.parametrize("suffix", BY_SUFFIX)
def test_surfaces_at_the_edge_are_exported_as_they_are(tmp_path: Path, suffix: str, kind: str) -> None:
    surface, path = EDGES[kind](), tmp_path / f"s{suffix}"
    num_axes = len(surface.grid.axes)
    if suffix == ".vtp":
        if num_axes == 3:
            with pytest.raises(UsageError, match=r"this one has three"):
                export(surface, path)
            return
        export(surface, path)
        values = surface["train_loss"] if num_axes == 1 else surface["train_loss"][:1]
        usable = values[(surface.evaluated if num_axes == 1 else surface.evaluated[:1]) & np.isfinite(values)]
        np.testing.assert_array_equal(np.sort(points(read_vtk(path))[:, 2]), np.sort(usable))
        return
    export(surface, path)
    if suffix == ".npz" and not surface.metrics["train_loss"].num_examples:
        assert json.loads(str(np.load(path)["attributes"]))["metrics"]["train_loss"]["num_examples"] is None
        return
    expected = {place: each for place, each in truth(surface).items() if suffix not in ONE_SLICE or place[0] == 0}
    same(read(path, num_axes), expected)


# ---------------------------------------------------------------- bit for bit

ANY = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 0.1, 1e22])


@st.composite
def surfaces(draw: st.DrawFn, max_axes: int = 3) -> Surface:
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=max_axes))
    floats = st.floats(-1e300, 1e300).map(lambda each: each + 0.0)
    axes = tuple(
        Axis(name, tuple(sorted(draw(st.sets(floats, min_size=length, max_size=length)))))
        for name, length in zip("xyz", lengths, strict=False)
    )
    grid = Grid(axes, draw(st.integers(1, 3)))
    evaluated = draw(arrays(np.bool_, grid.shape))
    values, std = (draw(arrays(np.float64, grid.shape, elements=ANY)) for _ in range(2))
    return Surface(
        grid=grid,
        metrics={"train_loss": Metric(values, std, draw(ANY), draw(ANY), draw(st.integers(1, 9)))},
        directions={axis.name: Direction({"_target_": "random"}, (1.0,) * grid.num_slices) for axis in axes},
        fingerprint="",
        evaluated=evaluated,
    )


def bits(value: float) -> int:
    """Of a number; one for all NaN."""
    return int(np.float64(value).view(np.uint64)) if not math.isnan(value) else -1


@settings(max_examples=40, deadline=None)
@given(surface=surfaces(), suffix=st.sampled_from([".csv", ".npz", ".json"]))
def test_values_and_coordinates_come_back_bit_for_bit(surface: Surface, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export(surface, Path(folder, f"s{suffix}"))
        found = read(Path(folder, f"s{suffix}"), len(surface.grid.axes))
    expected = truth(surface)
    assert [tuple(map(bits, place)) for place in found] == [tuple(map(bits, place)) for place in expected]  # in order
    for place, (done, value, _) in expected.items():
        assert (found[place][0], bits(found[place][1])) == (done, bits(value))


def test_pandas_reads_the_table_bit_for_bit(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas comes with xarray")
    generator = np.random.default_rng(0)
    surface = surface_of(f, X, Y, num_slices=2)
    surface["train_loss"][:] = np.exp(generator.normal(0, 100, surface.grid.shape))
    write_csv(surface, tmp_path / "s.csv")
    digits = {} if pandas.__version__ >= "3.1" else {"float_precision": "round_trip"}
    frame = pandas.read_csv(tmp_path / "s.csv", **digits)
    np.testing.assert_array_equal(frame["train_loss"].to_numpy(), surface["train_loss"].ravel())
    by_place = frame.set_index(["slice", "x", "y"])["train_loss"]
    assert by_place[1, X[3], Y[2]] == surface["train_loss"][1, 3, 2]
    assert list(frame["evaluated"].unique()) == [1]


def test_a_standard_error_that_is_not_known_is_absent_also_where_n_is(tmp_path: Path) -> None:
    """As in files of other programs that hold n and no spread."""
    surface = surface_of(f, [0.0, 1.0, 2.0])
    metric = surface.metrics["train_loss"]
    metric.std[0] = [0.5, math.nan, math.inf]
    metric.centre_std = math.nan
    write_csv(surface, tmp_path / "s.csv")
    assert [row.split(",")[-1] for row in (tmp_path / "s.csv").read_text().split()[1:]] == [
        repr(0.5 / math.sqrt(2000)),
        "",
        "inf",
    ]
    write_json(surface, tmp_path / "s.json")
    found = json.loads((tmp_path / "s.json").read_text())["metrics"]["train_loss"]
    assert found["num_examples"] == 2000
    assert found["standard_error"] == [[0.5 / math.sqrt(2000), None, "Infinity"]]
    assert found["centre_standard_error"] is None


def test_the_table_is_as_rfc_4180_has_it(tmp_path: Path) -> None:
    write_csv(partial(), tmp_path / "s.csv")
    content = (tmp_path / "s.csv").read_bytes()
    header, first, *_ = content.split(b"\r\n")
    assert content.count(b"\n") == content.count(b"\r\n") == 1 + 2 * len(X) * len(Y)
    assert content.endswith(b"\r\n")
    assert header == b"slice,x,y,evaluated,train_loss,train_loss_standard_error"
    assert first == b"0,-1.0,-0.5,1,nan,0.011180339887498949"
    assert b"\r\n0,-0.25,0.0,0,,\r\n" in content
    assert b"\r\n0,0.5,3.0,1,inf," in content
    assert b"\r\n1,2.0,-0.5,1,-inf," in content


# ---------------------------------------------------------------- json


def rich() -> Surface:
    """With everything that a file can hold, and numbers in it that are none."""
    surface = partial()
    steps = np.array([[[-1.0, 3.0], [0.5, 1.0], [0.0, 0.0]], [[math.nan] * 2] * 3])
    surface.trajectory = Trajectory(("a", "b", "c"), steps, steps[:, :, 0], np.arange(3.0), np.array([0.9, math.nan]))
    surface.radius = surface_of(lambda i, x: (1 + i) * x**2, [0.1, 1.0, 2.0], num_slices=3)
    surface.radius["train_loss"][2, 2] = math.inf
    surface.curvature = Curvature(everything(), pending=("sam",))
    surface.curvature_map = surface_of(f, X, Y, num_slices=2, names=("lambda_max",), num_examples=0)
    surface.cosine = np.tile(np.eye(2), (2, 1, 1))
    recipe = {"_target_": "hessian", "which": "largest", "damping": math.nan}
    surface.directions["x"] = Direction(recipe, (2.0, math.nan), {"eigenvalue": math.inf})
    return surface


def test_the_document_holds_all_of_the_file(tmp_path: Path) -> None:
    assert write_json(rich(), tmp_path / "s.json") == []
    read_json(tmp_path / "s.json")  # strictly
    found = json.loads((tmp_path / "s.json").read_text())
    assert "values[slice][i][j]" in found["about"]
    assert '"Infinity"' in found["not_finite"]
    direction = found["axes"]["x"]
    assert direction["direction"] == {"_target_": "hessian", "which": "largest", "damping": "NaN"}
    assert (direction["norm"], direction["found"]) == ([2.0, None], {"eigenvalue": "Infinity"})
    assert found["metrics"]["train_loss"]["centre"] == 0.0
    assert found["trajectory"]["coordinates"] == [[[-1.0, 3.0], [0.5, 1.0], [0.0, 0.0]], [[None, None]] * 3]
    assert found["trajectory"]["names"] == ["a", "b", "c"]
    assert found["radius"]["axes"]["x"]["coordinates"] == [0.1, 1.0, 2.0]
    assert found["radius"]["metrics"]["train_loss"]["values"][1] == [2 * 0.1**2, 2.0, 8.0]
    assert found["radius"]["metrics"]["train_loss"]["values"][2][2] == "Infinity"
    assert found["curvature"]["records"]["eigenvalues"]["values"]["lambda_max"] == 2.0
    assert found["curvature"]["pending"] == ["sam"]
    assert found["curvature_map"]["metrics"]["lambda_max"]["values"][1][4][2] == f(1, 2.0, 3.0)
    assert found["curvature_map"]["metrics"]["lambda_max"]["num_examples"] is None
    assert found["provenance"]["resolved"]["loss"] == {"_target_": "cross_entropy"}


@pytest.mark.parametrize("depth", mostly_slow([100, 400, 600, 900], 100, 900))
def test_origins_of_any_depth_are_written_or_refused(tmp_path: Path, landscape: Landscape, depth: int) -> None:
    nested: dict[str, object] = {}
    for _ in range(depth):
        nested = {"a": nested}
    surface = surface_of(f, X, Y)
    surface.provenance = Provenance(resolved=nested)  # type: ignore[arg-type]
    save_surface(surface, tmp_path / "s.h5")
    for suffix in BY_SUFFIX:
        outcome = landscape("export", tmp_path / "s.h5", tmp_path / f"o{suffix}")
        deep = depth > 400 and outcome.exit_code == 3 and "nested too deeply" in outcome.stderr
        assert deep or outcome.exit_code == 0, outcome.stderr


def test_one_slice_of_the_document_has_one_slice_of_all_that_has_slices(tmp_path: Path) -> None:
    write_json(rich(), tmp_path / "s.json", slice_index=1)
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["slices"] == [1]
    assert found["axes"]["x"]["norm"] == [None]
    assert np.shape(found["trajectory"]["coordinates"]) == (1, 3, 2)
    assert found["curvature_map"]["slices"] == [1]
    assert found["radius"]["slices"] == [0, 1, 2]  # of directions of its own


# ---------------------------------------------------------------- xarray


def test_netcdf_has_coordinates_units_and_the_path(tmp_path: Path) -> None:
    surface = rich()
    notes = write_netcdf(surface, tmp_path / "s.nc")
    assert notes == ["left out, nc has no place for them: the radius, the curvature, the curvature map"]
    with xarray.open_dataset(tmp_path / "s.nc") as data:
        assert dict(data.sizes) == {"slice": 2, "x": 5, "y": 3, "step": 3}
        assert set(data.coords) == {"slice", "x", "y", "step"}
        assert float(data["train_loss"].sel(slice=1, x=0.5, y=-0.5)) == f(1, 0.5, -0.5)
        assert float(data["trajectory_y"].sel(slice=0, step=1)) == 1.0
        assert data["evaluated"].dtype == np.int8
        assert (data["train_loss"].units, data["train_loss"].long_name) == ("nat", "train_loss")
        assert data["train_loss"].num_examples == 2000
        assert data["train_loss"].centre == 0.0
        assert json.loads(data["x"].direction)["which"] == "largest"
        assert json.loads(data["step"].names) == ["a", "b", "c"]
        assert json.loads(data.attributes)["provenance"]["resolved"]["loss"] == {"_target_": "cross_entropy"}
        assert all({"units", "long_name"} <= set(each.attrs) for each in data.variables.values())


def test_netcdf_has_64_bit_offsets(tmp_path: Path) -> None:
    write_netcdf(partial(), tmp_path / "s.nc")
    assert (tmp_path / "s.nc").read_bytes()[:4] == b"CDF\x02"


def test_xarray_opens_the_surface_file_itself(tmp_path: Path) -> None:
    surface = rich()
    save_surface(surface, tmp_path / "s.h5")
    options = {"engine": "h5netcdf", "phony_dims": "sort"}
    with xarray.open_dataset(tmp_path / "s.h5", **options) as data:
        assert set(data.coords) == {"slice", "x", "y"}
        assert data["train_loss"].dims == ("slice", "x", "y")
        assert float(data["train_loss"].sel(slice=1, x=0.5, y=-0.5)) == f(1, 0.5, -0.5)
        masked = data["train_loss"].where(data["evaluated"] == 1)
        assert int(masked.isnull().sum()) == int((~surface.evaluated).sum()) + 1  # and the NaN
    with xarray.open_dataset(tmp_path / "s.h5", group="radius", **options) as data:
        assert set(data.coords) == {"slice", "x"}
        assert float(data["train_loss"].sel(slice=1, x=2.0)) == 8.0
    with xarray.open_dataset(tmp_path / "s.h5", group="curvature_map", **options) as data:
        assert float(data["lambda_max"].sel(slice=0, x=2.0, y=3.0)) == f(0, 2.0, 3.0)
    with xarray.open_dataset(tmp_path / "s.h5", group="trajectory", **options) as data:
        assert data["coordinates"].shape == (2, 3, 2)
    with xarray.open_dataset(tmp_path / "s.h5", group="curvature/eigenvalues", **options) as data:
        assert float(data["lambda_max"]) == 2.0
    surface.cosine = None
    save_surface(surface, tmp_path / "s.h5")
    with xarray.open_dataset(tmp_path / "s.h5", engine="h5netcdf") as data:  # every dimension has a name then
        assert set(data.sizes) == {"slice", "x", "y"}


# ---------------------------------------------------------------- the grid for ParaView


def test_the_order_of_vtk_is_x_fastest(tmp_path: Path) -> None:
    write_vts(surface_of(f, X, Y, Z), tmp_path / "s.vts")
    data = read_vtk(tmp_path / "s.vts")
    lengths = [0, 0, 0]
    data.GetDimensions(lengths)  # type: ignore[attr-defined]
    assert lengths == [5, 3, 2]
    loss = point_data(data)["train_loss"]
    for i, j, k in np.ndindex(5, 3, 2):
        at = data.ComputePointId([i, j, k]) if hasattr(data, "ComputePointId") else i + 5 * (j + 3 * k)
        assert tuple(points(data)[at]) == (X[i], Y[j], Z[k])
        assert loss[at] == f(0, X[i], Y[j], Z[k])


def test_points_that_are_not_evaluated_are_hidden_and_diverged_ones_are_not(tmp_path: Path) -> None:
    notes = write_vts(partial(), tmp_path / "s.vts")
    assert notes == ["slice 0 of 2; choose another with --slice"]
    data = read_vtk(tmp_path / "s.vts")
    visible = [bool(data.IsPointVisible(i)) for i in range(15)]  # type: ignore[attr-defined]
    assert visible == [i != 1 + 5 * 1 for i in range(15)]
    assert data.GetPointData().GetScalars().GetName() == "train_loss"  # type: ignore[attr-defined]
    assert write_vts(partial(), tmp_path / "s.vts", slice_index=1) == []
    loss = point_data(read_vtk(tmp_path / "s.vts"))["train_loss"]
    assert loss[1] == f(1, X[1], Y[0])
    write_vts(surface_of(f, X, Y), tmp_path / "s.vts")
    assert "vtkGhostType" not in point_data(read_vtk(tmp_path / "s.vts"))


@pytest.mark.parametrize("suffix", [".vts", ".vtp"])
def test_the_xml_is_what_any_parser_takes(tmp_path: Path, suffix: str) -> None:
    export(rich(), tmp_path / f"s{suffix}")
    root = ElementTree.parse(tmp_path / f"s{suffix}").getroot()
    assert root.attrib["byte_order"] == "LittleEndian"
    (appended,) = root.iter("AppendedData")
    block = (appended.text or "").strip().removeprefix("_")
    found = {}
    for array in root.iter("DataArray"):
        start = int(array.attrib["offset"])
        size = int.from_bytes(base64.b64decode(block[start : start + 12])[:8], "little")
        length = -(-(8 + size) // 3) * 4
        content = base64.b64decode(block[start : start + length], validate=True)
        assert len(content) == 8 + size
        kind = {"Float64": "<f8", "Int64": "<i8", "Int32": "<i4", "UInt8": "u1"}[array.attrib["type"]]
        found[array.attrib["Name"]] = np.frombuffer(content[8:], kind)
    if suffix == ".vts":
        assert found["train_loss"][5 * 2 + 4] == f(0, X[4], Y[2])
    assert found["Points"].size % 3 == 0


# ---------------------------------------------------------------- the surface for ParaView


def corners(data: object) -> Iterator[np.ndarray]:
    """(3, 3) the corners of every triangle."""
    places = points(data)
    for kind, cell in cells(data):
        if kind == "vtkTriangle":
            yield places[list(cell)]


def area(triangle: np.ndarray) -> float:
    """Seen from above; positive where it is counterclockwise."""
    a, b = triangle[1, :2] - triangle[0, :2], triangle[2, :2] - triangle[0, :2]
    return float(a[0] * b[1] - a[1] * b[0]) / 2


def test_the_height_of_a_point_is_its_value(tmp_path: Path) -> None:
    assert write_vtp(surface_of(f, X, Y), tmp_path / "s.vtp") == []
    data = read_vtk(tmp_path / "s.vtp")
    found = {(x, y): z for x, y, z in points(data).tolist()}
    assert found == {(x, y): f(0, x, y) for x in X for y in Y}
    np.testing.assert_array_equal(point_data(data)["train_loss"], points(data)[:, 2])
    areas = [area(each) for each in corners(data)]
    assert min(areas) > 0
    assert sum(areas) == pytest.approx((X[-1] - X[0]) * (Y[-1] - Y[0]))
    assert len(areas) == len(cells(data)) == 2 * 4 * 2


def test_no_triangle_touches_what_is_not_there(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    x, y = line(-1, 1, 9), line(0, 2, 7)
    for share in (0.05, 0.3, 0.6, 0.9):
        surface = surface_of(f, x, y, evaluated=generator.random((1, 9, 7)) > share)
        surface["train_loss"][0, generator.random((9, 7)) < share / 4] = math.nan
        write_vtp(surface, tmp_path / "s.vtp")
        data = read_vtk(tmp_path / "s.vtp")
        there = surface.evaluated[0] & np.isfinite(surface["train_loss"][0])
        assert {(a, b) for a, b, _ in points(data).tolist()} == {(x[i], y[j]) for i, j in np.argwhere(there)}
        expected = 0.0
        for i, j in np.ndindex(8, 6):  # half a cell for three corners, a whole one for four
            expected += {3: 0.5, 4: 1.0}.get(int(there[i : i + 2, j : j + 2].sum()), 0.0)
        width, height = x[1] - x[0], y[1] - y[0]
        found = list(corners(data))
        assert sum(map(area, found)) / (width * height) == pytest.approx(expected)
        for triangle in found:
            assert area(triangle) > 0
            assert (np.ptp(triangle[:, :2], axis=0) <= [width * 1.001, height * 1.001]).all()
        used = [corner for kind, cell in cells(data) for corner in cell]
        assert set(used) == set(range(len(points(data))))  # a lone point is a dot, not nothing
        lone = [cell[0] for kind, cell in cells(data) if kind == "vtkVertex"]
        assert all(used.count(each) == 1 for each in lone)


def test_height_is_another_metric_or_its_logarithm(tmp_path: Path) -> None:
    surface = surface_of(lambda i, x, y: 1 + x**2 + 10 * y**2, X, Y, names=("train_accuracy", "train_loss", "b"))
    surface.metrics["b"].values[:] = 100.0
    write_vtp(surface, tmp_path / "s.vtp", log=True)  # the loss, not the first metric
    data = read_vtk(tmp_path / "s.vtp")
    for x, y, height in points(data).tolist():
        assert height == pytest.approx(math.log10(1 + x**2 + 10 * y**2), rel=1e-14)
    assert {"train_loss", "train_accuracy", "b", "b_standard_error", "slice"} <= point_data(data).keys()
    write_vtp(surface, tmp_path / "s.vtp", metric="b", log=True)
    assert set(points(read_vtk(tmp_path / "s.vtp"))[:, 2]) == {2.0}
    with pytest.raises(UsageError, match=r"metric: found 'train_los'; did you mean 'train_loss'\?"):
        write_vtp(surface, tmp_path / "s.vtp", metric="train_los")
    with pytest.raises(UsageError, match=r"log: the lowest train_loss is -1; .* needs positive values"):
        write_vtp(surface_of(f, X), tmp_path / "s.vtp", log=True)


def test_a_line_is_a_polyline_for_every_slice_and_broken_where_a_value_is_missing(tmp_path: Path) -> None:
    surface = surface_of(f, X, num_slices=3)
    surface["train_loss"][1, 2] = math.inf
    surface.evaluated[2, 1] = False
    assert write_vtp(surface, tmp_path / "s.vtp") == []
    data = read_vtk(tmp_path / "s.vtp")
    places, slices = points(data), point_data(data)["slice"]
    assert not places[:, 1].any()
    for (x, _, height), index in zip(places.tolist(), slices.tolist(), strict=True):
        assert height == f(index, x)
    found = [(int(slices[cell[0]]), [places[i, 0] for i in cell]) for _, cell in cells(data)]
    assert sorted(found) == [(0, X), (1, X[:2]), (1, X[3:]), (2, X[:1]), (2, X[2:])]
    write_vtp(surface, tmp_path / "s.vtp", slice_index=2)
    assert set(point_data(read_vtk(tmp_path / "s.vtp"))["slice"]) == {2}


@pytest.mark.parametrize(("x", "y"), [([0.5], Y), (X, [0.5])])
def test_a_plane_of_one_column_is_a_line(tmp_path: Path, x: Sequence[float], y: Sequence[float]) -> None:
    write_vtp(surface_of(f, x, y), tmp_path / "s.vtp")
    data = read_vtk(tmp_path / "s.vtp")
    ((kind, cell),) = cells(data)
    assert kind == "vtkPolyLine"
    assert [tuple(points(data)[i]) for i in cell] == [(a, b, f(0, a, b)) for a in x for b in y]


def along(*steps: tuple[float, ...]) -> Trajectory:
    places = np.array([steps], dtype=np.float64)
    num = len(steps)
    nan = np.full(places.shape[2], math.nan)
    return Trajectory(tuple(map(str, range(num))), places, np.zeros((1, num)), np.zeros(num), nan)


def test_the_path_lies_on_the_triangles_and_has_no_values_of_its_own(tmp_path: Path) -> None:
    def plane(_: int, x: float, y: float) -> float:
        return 1 + 2 * x - 3 * y

    surface = surface_of(plane, X, Y)
    steps = [(-0.9, 2.7), (-0.3, 0.1), (0.5, 0.0), (0.1, -0.4), (0.0, 0.0), (2.0, 3.0), (1.9, -0.5)]
    surface.trajectory = along(*steps)
    assert write_vtp(surface, tmp_path / "s.vtp") == []
    data = read_vtk(tmp_path / "s.vtp")
    step = point_data(data)["trajectory"]
    (path,) = [list(cell) for kind, cell in cells(data) if kind == "vtkPolyLine"]
    assert (np.diff(step[path]) >= 0).all()
    whole = [i for i in path if step[i] % 1 == 0]
    assert step[whole].tolist() == list(range(7))
    np.testing.assert_array_equal(points(data)[whole, :2], steps)
    for x, y, height in points(data)[path]:
        assert height == pytest.approx(plane(0, x, y), rel=1e-12)
    assert np.isnan(point_data(data)["train_loss"][step >= 0]).all()
    assert np.isfinite(point_data(data)["train_loss"][step < 0]).all()


def test_the_path_is_broken_where_it_leaves_the_surface(tmp_path: Path) -> None:
    surface = surface_of(f, line(-1, 1, 5), line(-1, 1, 5))
    surface.evaluated[0, 3, 3] = False  # (0.5, 0.5)
    surface["train_loss"][0, 0, 0] = math.nan
    steps = [(-0.9, 0.0), (-0.2, 0.1), (0.45, 0.45), (0.1, 0.1), (0.0, -0.6), (-1.2, 0.0), (0.5, 0.5), (-0.5, -0.5)]
    surface.trajectory = along(*steps)
    notes = write_vtp(surface, tmp_path / "s.vtp")
    assert notes == ["3 checkpoints of the trajectory are not on the surface, and left out"]
    data = read_vtk(tmp_path / "s.vtp")
    step = point_data(data)["trajectory"]
    found = [step[list(cell)] for _, cell in cells(data) if step[cell[0]] >= 0]
    whole = sorted([each for each in cell if each % 1 == 0] for cell in found)
    assert whole == [[], [0.0, 1.0], [3.0, 4.0], [7.0]]
    assert points(data)[step == 7][0, 2] == f(0, -0.5, -0.5)
    places = points(data)[step >= 0]
    assert not ((np.abs(places[:, :2] - 0.5) < 0.24).all(axis=1)).any()  # the half cells about the missing point


def test_the_path_follows_the_triangles_between_its_steps(tmp_path: Path) -> None:
    """Halfway along every straight piece it is as high as matplotlib finds the triangles."""
    surface = surface_of(lambda _, x, y: math.sin(3 * x) + x * y**2, line(-1, 1, 7), line(-1, 2, 5))
    surface.trajectory = along((-0.95, -0.9), (0.9, 1.7), (-0.5, 1.9), (-0.5, -1.0), (1.0, 0.1))
    write_vtp(surface, tmp_path / "s.vtp")
    data = read_vtk(tmp_path / "s.vtp")
    places = points(data)
    x, y, height = places[point_data(data)["trajectory"] < 0].T
    drawn = Triangulation(x, y, [cell for kind, cell in cells(data) if kind == "vtkTriangle"])
    ((_, path),) = [cell for cell in cells(data) if cell[0] == "vtkPolyLine"]
    assert len(path) > 50
    middles = (places[list(path[:-1])] + places[list(path[1:])]) / 2
    expected = LinearTriInterpolator(drawn, height)(middles[:, 0], middles[:, 1])
    np.testing.assert_allclose(middles[:, 2], expected.filled(math.nan), rtol=1e-9, atol=1e-12)


def test_the_path_on_a_line_lies_on_it(tmp_path: Path) -> None:
    surface = surface_of(lambda _, x: 3 * x, X)
    surface["train_loss"][0, 4] = math.nan
    surface.trajectory = along((-1.0,), (-0.5,), (0.5,), (1.0,), (3.0,))
    write_vtp(surface, tmp_path / "s.vtp")
    data = read_vtk(tmp_path / "s.vtp")
    step = point_data(data)["trajectory"]
    assert step[(step >= 0) & (step % 1 == 0)].tolist() == [0.0, 1.0, 2.0]
    assert step.max() == 2.0
    np.testing.assert_allclose(points(data)[step >= 0, 2], 3 * points(data)[step >= 0, 0], rtol=1e-14)


@settings(max_examples=40, deadline=None)
@given(surface=surfaces(max_axes=2), data=st.data())
def test_nothing_on_the_surface_is_made_up(surface: Surface, data: st.DataObject) -> None:
    """Of any values on any coordinates, with a path through and beside the points."""
    axes = [st.sampled_from(axis.coordinates) | st.floats(-1e300, 1e300) for axis in surface.grid.axes]
    steps = data.draw(st.lists(st.tuples(*axes), min_size=1, max_size=5))
    surface.trajectory = along(*steps)
    surface = surface.of_slices([0])
    with tempfile.TemporaryDirectory() as folder:
        write_vtp(surface, Path(folder, "s.vtp"))
        found = read_vtk(Path(folder, "s.vtp"))
    usable = surface.evaluated & np.isfinite(surface["train_loss"])
    step, places = point_data(found)["trajectory"], points(found)
    np.testing.assert_array_equal(places[step < 0, 2], surface["train_loss"][usable])
    on_path = places[step >= 0]
    for number, place in zip(step[step >= 0], on_path, strict=True):
        if number % 1 == 0:
            assert tuple(place[: len(axes)]) == steps[int(number)]
    if len(on_path):  # between values, for it lies between points
        heights, values = on_path[:, 2] / 2, surface["train_loss"][usable] / 2
        slack = 1e-6 * np.abs(values).max()
        assert values.min() - slack <= heights.min() <= heights.max() <= values.max() + slack


def test_a_volume_has_no_height(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a surface has one or two axes; this one has three") as error:
        write_vtp(surface_of(f, X, Y, Z), tmp_path / "s.vtp")
    assert ".vts" in str(error.value.hint)


# ---------------------------------------------------------------- names that anybody may have chosen

HOSTILE = [
    "=1+1",
    '"><script>alert(1)</script>',
    "a,b\r\nc",
    "../../etc/passwd",
    "\x00\x1b[31m",
    "evaluated",
    "slice",
    "ä_loss",
    "ö_loss",
    "a_std",
    "a",
    "a_standard_error",
    "n" * 5000,
    " ",
    "",
]


@pytest.mark.parametrize("suffix", BY_SUFFIX)
def test_any_name_of_a_metric_is_exported(tmp_path: Path, suffix: str) -> None:
    surface = surface_of(f, X, Y, names=HOSTILE)
    for index, metric in enumerate(surface.metrics.values()):
        metric.values[:] += 1000 * index
    path = tmp_path / f"s{suffix}"
    notes = export(surface, path)
    if suffix == ".json":
        document = json.loads(path.read_text())
        assert list(document["metrics"]) == HOSTILE
        return
    assert max(map(len, notes)) < 400
    found: dict[str, np.ndarray] = {}
    if suffix == ".csv":
        with path.open(newline="") as stream:
            header, *rows = csv.reader(stream)
        found = {name: np.array([float(row[i]) for row in rows]) for i, name in enumerate(header)}
        assert len(found) == len(header)
    elif suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name].ravel() for name in file.files}
            assert list(json.loads(str(file["attributes"]))["names"].values()) == HOSTILE
    elif suffix == ".nc":
        with xarray.open_dataset(path) as data:
            found = {str(name): each.values.ravel() for name, each in data.variables.items()}
    else:
        found = point_data(read_vtk(path))
    assert all(name.isascii() and name.isidentifier() for name in found)
    firsts = sorted(float(values.min()) for name, values in found.items() if values.size == 15 and values.max() > 50)
    assert len(firsts) == len(HOSTILE)
    assert firsts == [1000 * index + f(0, X[0], Y[1]) for index in range(len(HOSTILE))]


def test_names_of_our_own_scans_stay(tmp_path: Path) -> None:
    surface = surface_of(f, X, Y, names=("train_loss", "test_top_5", "val2_error"))
    assert write_csv(surface, tmp_path / "s.csv") == []
    assert (tmp_path / "s.csv").read_text().split("\n")[0].split(",")[4::2] == [
        "train_loss",
        "test_top_5",
        "val2_error",
    ]


# ---------------------------------------------------------------- the command


def test_the_suffix_says_what(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_of(f, X, Y), tmp_path / "s.h5")
    for suffix in [*BY_SUFFIX, ".CSV"]:
        out = tmp_path / f"out{suffix}"
        assert landscape("export", tmp_path / "s.h5", out) == Outcome(0, "", f"exported: {out}\n")
    assert (tmp_path / "out.CSV").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert landscape("export", tmp_path / "s.h5", tmp_path / "table.txt", "--format", "csv", "-q") == Outcome(0, "", "")
    assert (tmp_path / "table.txt").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_the_first_slice_can_be_asked_for(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(partial(), tmp_path / "s.h5")
    for options, slices in (((), {0, 1}), (("--slice", 0), {0}), (("--slice", 1), {1})):
        landscape("export", tmp_path / "s.h5", tmp_path / "o.csv", "--overwrite", *options)
        assert {place[0] for place in read_csv(tmp_path / "o.csv")} == slices
    note = "note: slice 0 of 2; choose another with --slice\n"
    assert landscape("export", tmp_path / "s.h5", tmp_path / "o.vtp").stderr.startswith(note)
    assert note not in landscape("export", tmp_path / "s.h5", tmp_path / "p.vtp", "--slice", 0).stderr


def test_what_is_left_out_is_said(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(rich(), tmp_path / "s.h5")
    everything_else = "the trajectory, the radius, the curvature, the curvature map"
    for suffix, words in {
        ".csv": f"left out, csv has no place for them: {everything_else}",
        ".npz": f"left out, npz has no place for them: {everything_else}",
        ".vts": f"left out, vts has no place for them: {everything_else}",
        ".vtp": "left out, vtp has no place for them: the radius, the curvature, the curvature map",
    }.items():
        assert f"note: {words}\n" in landscape("export", tmp_path / "s.h5", tmp_path / f"o{suffix}").stderr
    assert "note" not in landscape("export", tmp_path / "s.h5", tmp_path / "o.json").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["o.h5"], "o.h5: found '.h5'; expected .csv, .json, .npz, .nc, .vts, .vtp, or --format NAME"),
        (["o.h5"], "is written with: --format tomgoldstein"),
        (["o.xlsx"], "o.xlsx: found '.xlsx'; expected .csv"),
        (["o"], "o: found no suffix; expected .csv"),
        (["o.csv", "--format", "jsn"], "--format: found 'jsn'; did you mean 'json'?"),
        (["o.csv", "--metric", "train_loss"], "metric: csv has no such option; vtp has"),
        (["o.vts", "--log"], "log: vts has no such option; vtp has"),
        (["o.vtp", "--metric", "nothing"], "metric: found 'nothing'; known: train_loss"),
        (["o.npz", "--slice", "7"], "slice: found 7; the surface has slices 0 … 0"),
        (["s.h5", "--format", "csv", "--overwrite"], "s.h5: is the input itself"),
        (["link.csv", "--overwrite"], "link.csv: is the input itself"),
        (["other.csv", "--overwrite"], "other.csv: is a surface file; export never replaces one"),
        (["there.csv"], "there.csv: is there already"),
        (["there.json", "--format", "csv", "--overwrite"], "--overwrite replaces only .csv files with csv"),
        (["folder.csv", "--overwrite"], "folder.csv: is a folder, a device or a pipe"),
        (["pipe.csv", "--overwrite"], "pipe.csv: is a folder, a device or a pipe"),
    ],
)
def test_a_wrong_export_is_exit_code_2_and_touches_nothing(
    tmp_path: Path, landscape: Landscape, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    for name in ("s.h5", "other.csv"):
        save_surface(surface_of(f, X, Y), tmp_path / name)
    (tmp_path / "there.csv").write_text("a,b\n")
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "link.csv").symlink_to("s.h5")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    names = {path.name for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    outcome = landscape("export", "s.h5", *arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert words in outcome.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == names


def test_an_older_export_is_replaced_on_request(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_of(f, X, Y), tmp_path / "s.h5")
    for suffix in BY_SUFFIX:
        out = tmp_path / f"o{suffix}"
        out.write_text("old")
        assert landscape("export", tmp_path / "s.h5", out).exit_code == 2
        assert out.read_text() == "old"
        assert landscape("export", tmp_path / "s.h5", out, "--overwrite").exit_code == 0
        assert out.stat().st_size > 100


def test_names_of_files_may_be_anything(tmp_path: Path, landscape: Landscape) -> None:
    source = tmp_path / "[red]s [red].h5"
    save_surface(surface_of(f, X, Y), source)
    for name in ("a b.csv", "[bold]x.csv", "ä\n.csv", "-x.csv", "\udcff.csv", "..csv"):
        assert landscape("export", source, tmp_path / name).exit_code == 0
        assert (tmp_path / name).stat().st_size > 100


def test_equal_surfaces_are_equal_exports(tmp_path: Path) -> None:
    for suffix in BY_SUFFIX:
        for name in "ab":
            export(rich(), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_missing_folder_is_exit_code_4(tmp_path: Path, landscape: Landscape) -> None:
    save_surface(surface_of(f, X, Y), tmp_path / "s.h5")
    for suffix in BY_SUFFIX:
        outcome = landscape("export", tmp_path / "s.h5", tmp_path / "gone" / f"o{suffix}")
        assert (outcome.exit_code, "No such file or directory" in outcome.stderr) == (4, True)


@pytest.mark.slow
def test_a_file_that_cannot_be_finished_leaves_the_older_one(tmp_path: Path) -> None:
    save_surface(surface_of(f, line(-1, 1, 101), line(-1, 1, 101)), tmp_path / "s.h5")
    code = """
import resource, signal, sys
from landscape_cli.cli.app import main
import landscape_cli.formats.table
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # every longer write fails
for out in sys.argv[1:]:
    try:
        main(["export", "s.h5", out, "--overwrite"])
    except SystemExit as stop:
        print(stop.code)
"""
    names = [f"o{suffix}" for suffix in BY_SUFFIX]
    for name in names:
        (tmp_path / name).write_text("old")
    command = [sys.executable, "-c", code, *names]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert finished.stdout.split() == [str(OutputError.exit_code)] * len(names), finished.stderr
    assert finished.stderr.count("cannot be written: File too large") == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"s.h5", *names}
    assert {(tmp_path / name).read_text() for name in names} == {"old"}


@pytest.mark.slow
def test_help_fits_a_screen_and_names_every_suffix(landscape_process: Run) -> None:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    shown = landscape_process("export", "--help", env=environment).stdout.splitlines()
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 36
    for suffix in [*BY_SUFFIX, ".h5"]:
        assert any(each.startswith(f" {suffix} ") for each in shown), suffix


def test_every_suffix_has_an_exporter_and_every_exporter_takes_a_slice(tmp_path: Path) -> None:
    assert set(SUFFIXES.values()) | {"tomgoldstein"} == set(EXPORTERS)
    for name, exporter in EXPORTERS.items():
        exporter(surface_of(f, X, Y, num_slices=2), tmp_path / name, slice_index=1)


def test_the_arrays_need_no_pickle(tmp_path: Path) -> None:
    write_npz(rich(), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        assert file.files[:4] == ["slice", "x", "y", "evaluated"]
        assert all(file[name].dtype.kind in "fibU" for name in file.files)
        assert json.loads(str(file["attributes"]))["axes"]["x"]["found"] == {"eigenvalue": "Infinity"}
