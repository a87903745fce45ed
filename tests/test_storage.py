"""What is saved is read back bit for bit, the file is whole at every moment, and nothing in it is believed or run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, Outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from representative import mostly_slow

from landscape_cli.errors import LandscapeError, OutputError, SurfaceError, SurfaceVersionError, UsageError
from landscape_cli.grid import Axis, Grid
from landscape_cli.locks import exclusive, together, turn
from landscape_cli.records import Cost, Curvature, Record
from landscape_cli.storage import check_overwritable, load_surface, remove_leftovers, save_surface
from landscape_cli.surface import Direction, Metric, Provenance, Surface, Trajectory

GOLDEN = ROOT / "tests" / "data" / "surfaces"
EPOCH = "1700000000"  # 2023-11-14T22:13:20Z
CHECKSUM = "content_sha256"


# ---------------------------------------------------------------- surfaces


def small_surface(num_x: int = 3, num_y: int | None = 2, num_slices: int = 1, value: float = 1.0) -> Surface:
    axes = [Axis.linspace("x", -1.0, 1.0, num_x)]
    if num_y is not None:
        axes.append(Axis.linspace("y", -2.0, 1.0, num_y))
    grid = Grid(tuple(axes), num_slices)
    values = value * np.arange(grid.num_points, dtype=float).reshape(grid.shape)
    return Surface(
        grid=grid,
        metrics={name: Metric(values + i, values / 2, 0.25, 0.5, 10) for i, name in enumerate(("b_loss", "a_loss"))},
        directions={axis.name: Direction({"_target_": "random"}, (1.5,) * num_slices) for axis in axes},
        fingerprint="0f" * 32,
        evaluated=np.ones(grid.shape, dtype=np.bool_),
        provenance=Provenance("model: a\n", {"model": {"_target_": "a.b"}}, {"seed": 0}, [{"host": "h"}]),
    )


# any text that UTF-8 and HDF5 can hold
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}_(loss|accuracy|äöü|損失)", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)


@st.composite
def surfaces(draw: st.DrawFn) -> Surface:
    """Surfaces with every float there is: NaN with any payload, infinities, -0.0, subnormals."""
    surface = draw(grids())
    surface.provenance = Provenance(draw(TEXT), draw(OBJECTS), draw(OBJECTS), draw(st.lists(JSON, max_size=2)))
    surface.trajectory = draw(st.none() | trajectories(surface.grid))
    surface.radius = draw(st.none() | grids())
    surface.curvature = draw(st.none() | curvatures())
    surface.curvature_map = draw(st.none() | grids(surface.grid))
    return surface


@st.composite
def grids(draw: st.DrawFn, grid: Grid | None = None) -> Surface:
    """What lies on a grid, of a surface or of one inside of it."""
    if grid is None:
        coordinates = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3, unique=True)
        names = draw(st.sampled_from([("x",), ("x", "y"), ("x", "y", "z")]))
        grid = Grid(tuple(Axis(name, tuple(sorted(draw(coordinates)))) for name in names), draw(st.integers(1, 3)))
    axes = grid.axes
    values = arrays(np.float64, grid.shape, elements=st.floats(width=64))
    floats = st.floats()
    return Surface(
        grid=grid,
        metrics={
            name: Metric(draw(values), draw(values), draw(floats), draw(floats), draw(st.integers(0, 2**40)))
            for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        },
        directions={
            axis.name: Direction(draw(OBJECTS), tuple(draw(floats) for _ in range(grid.num_slices)), draw(OBJECTS))
            for axis in axes
        },
        fingerprint=draw(TEXT),
        evaluated=draw(arrays(np.bool_, grid.shape)),
        cosine=draw(st.none() | arrays(np.float64, (grid.num_slices, len(axes), len(axes)), elements=floats)),
    )


@st.composite
def curvatures(draw: st.DrawFn) -> Curvature:
    shapes = st.sampled_from([(), (3,), (2, 3), (0,)])
    values = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(width=64)))
    counts = st.integers(0, 2**40)
    records = st.builds(
        Record,
        values=st.dictionaries(NAMES, values, max_size=3),
        settings=OBJECTS,
        cost=st.builds(Cost, counts, counts, counts),
        method=TEXT,
        notes=st.lists(TEXT, max_size=2).map(tuple),
    )
    return Curvature(draw(st.dictionaries(NAMES, records, max_size=2)), tuple(draw(st.lists(TEXT, max_size=2))))


@st.composite
def trajectories(draw: st.DrawFn, grid: Grid) -> Trajectory:
    names = draw(st.lists(TEXT, min_size=1, max_size=3))
    shape = (grid.num_slices, len(names))
    floats = st.floats(width=64)
    return Trajectory(
        tuple(names),
        draw(arrays(np.float64, (*shape, len(grid.axes)), elements=floats)),
        draw(arrays(np.float64, shape, elements=floats)),
        draw(arrays(np.float64, shape[1:], elements=floats)),
        draw(arrays(np.float64, len(grid.axes), elements=floats)),
    )


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def as_json(value: object) -> str:
    """NaN equals NaN, and True is not 1."""
    return json.dumps(value, sort_keys=True)


def assert_same(found: Surface, expected: Surface) -> None:
    """Equal to the last bit in everything but the times and the writer."""
    assert_same_grid(found, expected)
    for part in ("radius", "curvature_map"):
        inner, wanted = getattr(found, part), getattr(expected, part)
        assert (inner is None) == (wanted is None)
        if inner is not None:
            assert_same_grid(inner, wanted)
            assert inner.provenance is found.provenance
    assert (found.trajectory is None) == (expected.trajectory is None)
    if found.trajectory is not None and expected.trajectory is not None:
        assert found.trajectory.names == expected.trajectory.names
        for part in ("coordinates", "missed", "distance", "explained_variance_ratio"):
            a, b = getattr(found.trajectory, part), getattr(expected.trajectory, part)
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert (found.curvature is None) == (expected.curvature is None)
    if found.curvature is not None and expected.curvature is not None:
        assert_same_curvature(found.curvature, expected.curvature)
    assert found.provenance.config == expected.provenance.config
    for part in ("resolved", "identity", "environment", "engine"):
        assert as_json(getattr(found.provenance, part)) == as_json(getattr(expected.provenance, part))


def assert_same_curvature(found: Curvature, expected: Curvature) -> None:
    assert found.pending == expected.pending
    assert found.records.keys() == expected.records.keys()
    for name, record in found.records.items():
        wanted = expected.records[name]
        assert (record.cost, record.method, record.notes) == (wanted.cost, wanted.method, wanted.notes)
        assert as_json(dict(record.settings)) == as_json(dict(wanted.settings))
        assert record.values.keys() == wanted.values.keys()
        for key, values in record.values.items():
            original = wanted.values[key]
            assert (values.dtype, values.shape, values.tobytes()) == (
                np.dtype(np.float64),
                original.shape,
                original.tobytes(),
            )


def assert_same_grid(found: Surface, expected: Surface) -> None:
    assert [axis.name for axis in found.grid.axes] == [axis.name for axis in expected.grid.axes]
    assert found.grid.num_slices == expected.grid.num_slices
    for axis, wanted in zip(found.grid.axes, expected.grid.axes, strict=True):
        assert [*map(bits, axis.coordinates)] == [*map(bits, wanted.coordinates)]
        direction, original = found.directions[axis.name], expected.directions[axis.name]
        assert as_json(dict(direction.recipe)) == as_json(dict(original.recipe))
        assert [*map(bits, direction.norm)] == [*map(bits, original.norm)]
        assert as_json(dict(direction.found)) == as_json(dict(original.found))
    assert list(found.metrics) == list(expected.metrics)
    for name, metric in found.metrics.items():
        wanted = expected.metrics[name]
        for values, original in ((metric.values, wanted.values), (metric.std, wanted.std)):
            assert (values.dtype, values.shape) == (np.dtype(np.float64), original.shape)
            assert values.tobytes() == original.tobytes()
        assert (bits(metric.centre), bits(metric.centre_std)) == (bits(wanted.centre), bits(wanted.centre_std))
        assert metric.num_examples == wanted.num_examples
    assert (found.evaluated.dtype, found.evaluated.tolist()) == (np.dtype(bool), expected.evaluated.tolist())
    assert found.fingerprint == expected.fingerprint
    assert (found.cosine is None) == (expected.cosine is None)
    if found.cosine is not None and expected.cosine is not None:
        assert (found.cosine.shape, found.cosine.tobytes()) == (expected.cosine.shape, expected.cosine.tobytes())


# ---------------------------------------------------------------- files made by others


def seal(path: Path) -> None:
    """Write the checksum as docs/file-format.md defines it, without a line of ours."""
    token = hashlib.sha256(os.urandom(8)).hexdigest().encode()
    with h5py.File(path, "r+") as file:
        file.attrs.modify(CHECKSUM, np.bytes_(token))
    image = path.read_bytes()
    assert image.count(token) == 1
    zeroed = image.replace(token, b"0" * 64)
    path.write_bytes(image.replace(token, hashlib.sha256(zeroed).hexdigest().encode()))


def edited(folder: Path, change: Callable[[h5py.File], object], surface: Surface | None = None) -> Path:
    """A file that somebody else wrote: ours with a change, and a checksum that is right."""
    path = folder / "edited.h5"
    save_surface(surface or small_surface(), path)
    with h5py.File(path, "r+") as file:
        change(file)
    seal(path)
    return path


def python(code: str, *args: object, **options: object) -> subprocess.Popen[str]:
    """Run code in a process of its own, with all names of this module at hand and ``args`` in sys.argv."""
    prelude = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom test_storage import *\n"
    command = [sys.executable, "-c", prelude + code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def mounted(folder: Path, *options: str) -> None:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    result = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mounting a file system is not permitted here: {result.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted(folder, "-t", "tmpfs", "-o", "size=64k", "tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


# ---------------------------------------------------------------- round trip


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(surface=surfaces())
def test_saved_surface_is_read_back_bit_for_bit(tmp_path: Path, surface: Surface) -> None:
    save_surface(surface, tmp_path / "s.h5")
    assert_same(load_surface(tmp_path / "s.h5"), surface)


def lock_alone(path: Path) -> None:
    with exclusive(path):
        pass


def lock_together(path: Path) -> None:
    with together(path), turn(path, lambda: False):
        pass


@pytest.mark.parametrize("lock", [lock_alone, lock_together])
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(errno.ENOSYS, 2, "has no locks"), (errno.ENOLCK, 2, "has no locks"), (errno.ENOSPC, 4, "No space left")],
)
def test_where_there_are_no_locks_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[[Path], None], number: int, code: int, words: str
) -> None:
    """As on Lustre that is mounted without; a full disk is another matter, and passes."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LandscapeError, match=words) as error:
        lock(tmp_path / "s.h5")
    assert error.value.exit_code == code


def test_a_file_that_a_scan_has_not_made_yet_is_said_to_come(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with exclusive(path), pytest.raises(SurfaceError, match="no such file") as caught:
        load_surface(path)
    assert "when it has calibrated" in str(caught.value.hint)
    with pytest.raises(SurfaceError, match=r"cannot be read|no such file"):
        load_surface(tmp_path / ("a" * 250))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
def test_extreme_values_are_stored_as_such(tmp_path: Path, number: float) -> None:
    surface = small_surface()
    surface["b_loss"][0, 1, 1] = number
    surface.metrics["b_loss"].centre = number
    save_surface(surface, tmp_path / "s.h5")
    assert_same(load_surface(tmp_path / "s.h5"), surface)


def test_order_of_metrics_is_kept(tmp_path: Path) -> None:
    save_surface(small_surface(), tmp_path / "s.h5")
    assert list(load_surface(tmp_path / "s.h5").metrics) == ["b_loss", "a_loss"]


def test_a_command_with_a_file_name_that_is_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    """Python hands such names over as surrogates: os.fsdecode(b"caf\\xe9.h5")."""
    surface = small_surface()
    command = f"landscape scan c.yaml -o {os.fsdecode(b'caf' + bytes([0xE9]) + b'.h5')}"
    surface.provenance = Provenance("", {}, {}, [{"command": command}])
    save_surface(surface, tmp_path / "s.h5")
    assert load_surface(tmp_path / "s.h5").provenance.environment == [{"command": command}]


def test_files_of_any_name_can_be_saved_and_read(tmp_path: Path) -> None:
    for name in ("a b.h5", "%d.h5", "[1]*?.h5", "損失.h5", "-o", os.fsdecode(b"caf\xe9.h5")):
        save_surface(small_surface(), tmp_path / name)
        assert_same(load_surface(str(tmp_path / name)), small_surface())
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


# ---------------------------------------------------------------- the format


def test_file_is_what_the_format_page_says(tmp_path: Path) -> None:
    surface = small_surface(num_slices=2)
    surface.evaluated[1] = False
    save_surface(surface, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert sorted(file) == sorted(
            ["slice", "x", "y", "b_loss", "b_loss_std", "a_loss", "a_loss_std", "evaluated", "provenance"]
        )
        assert file.attrs["format"] == "landscape-surface"
        assert file.attrs["format_version"] == "1.3"
        assert file.attrs["fingerprint"] == "0f" * 32
        assert json.loads(file.attrs["metrics"]) == ["b_loss", "a_loss"]
        assert str(file.attrs["writer"]).startswith("landscape-cli ")
        assert (file["slice"].dtype, file["slice"][()].tolist()) == (np.dtype("<i8"), [0, 1])
        assert (file["x"].dtype, file["x"][()].tolist()) == (np.dtype("<f8"), [-1.0, 0.0, 1.0])
        assert file["y"][()].tolist() == [-2.0, 1.0]
        assert json.loads(file["x"].attrs["direction"]) == {"_target_": "random"}
        assert file["x"].attrs["norm"].tolist() == [1.5, 1.5]
        assert [file["b_loss"].attrs[key] for key in ("centre", "centre_std", "num_examples")] == [0.25, 0.5, 10]
        assert file["evaluated"].dtype == np.uint8
        assert file["evaluated"][()].tolist() == surface.evaluated.astype(int).tolist()
        assert json.loads(file["provenance/resolved"].asstr()[()]) == {"model": {"_target_": "a.b"}}
        assert file["provenance/config"].asstr()[()] == "model: a\n"
        for name in ("b_loss", "b_loss_std", "a_loss", "a_loss_std"):
            assert (file[name].dtype, file[name].shape) == (np.dtype("<f8"), (2, 3, 2))
        for name in set(file) - {"provenance"}:
            assert file[name].chunks is None
            assert file[name].compression is None


@pytest.mark.parametrize(("num_y", "scales"), [(None, ["/slice", "/x"]), (2, ["/slice", "/x", "/y"])])
def test_dimension_scales_are_attached_in_the_order_of_the_axes(
    tmp_path: Path, num_y: int | None, scales: list[str]
) -> None:
    save_surface(small_surface(num_y=num_y), tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        for name in ("b_loss", "b_loss_std", "a_loss", "a_loss_std", "evaluated"):
            assert [[scale.name for scale in dimension.values()] for dimension in file[name].dims] == [
                [scale] for scale in scales
            ]
        assert all(file[scale].is_scale for scale in scales)


def test_checksum_is_the_one_that_the_format_page_defines(tmp_path: Path) -> None:
    save_surface(small_surface(), tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        digits = bytes(file.attrs[CHECKSUM])
    image = (tmp_path / "s.h5").read_bytes()
    assert re.fullmatch(rb"[0-9a-f]{64}", digits)
    assert image.count(digits) == 1
    assert hashlib.sha256(image.replace(digits, b"0" * 64)).hexdigest().encode() == digits


def test_a_file_with_a_checksum_made_by_others_is_read(tmp_path: Path) -> None:
    path = edited(tmp_path, lambda file: file["b_loss"].__setitem__((0, 0, 0), 42.0))
    assert load_surface(path)["b_loss"][0, 0, 0] == 42.0


# ---------------------------------------------------------------- times


def test_equal_surfaces_are_equal_files_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    other = small_surface()
    other.provenance = Provenance("model: a\n", {**other.provenance.resolved}, {"seed": 0}, [{"host": "h"}])
    for name, surface in (("a.h5", small_surface()), ("b.h5", other)):
        save_surface(surface, tmp_path / name)
    resaved = load_surface(tmp_path / "a.h5")
    save_surface(resaved, tmp_path / "c.h5")
    assert len({(tmp_path / name).read_bytes() for name in ("a.h5", "b.h5", "c.h5")}) == 1
    assert resaved.created == resaved.updated == "2023-11-14T22:13:20+00:00"


@pytest.mark.slow
def test_equal_surfaces_are_equal_files_across_processes(tmp_path: Path) -> None:
    for seed in "12":
        env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONHASHSEED": seed}
        with python("save_surface(small_surface(), sys.argv[1])", tmp_path / seed, env=env) as process:
            assert process.wait() == 0
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_saving_again_keeps_when_it_was_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    save_surface(small_surface(), tmp_path / "s.h5")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(EPOCH) + 60))
    save_surface(load_surface(tmp_path / "s.h5"), tmp_path / "s.h5")
    surface = load_surface(tmp_path / "s.h5")
    assert (surface.created, surface.updated) == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:14:20+00:00")


def test_a_pinned_time_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("today", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
        with pytest.raises(UsageError, match=f"SOURCE_DATE_EPOCH.*{value}"):
            save_surface(small_surface(), tmp_path / "s.h5")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- damaged files


FLIP = """
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[1] + ".flipped")
expected = load_surface(sys.argv[1])
for position in random.Random(0).sample(range(8 * len(whole)), 500):
    damaged = bytearray(whole)
    damaged[position // 8] ^= 1 << position % 8
    path.write_bytes(damaged)
    print(position, end=" ", flush=True)
    try:
        assert_same(load_surface(path), expected)
        print("unharmed")
    except SurfaceError:
        print("refused")
"""


@pytest.mark.slow
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """In a process of its own: HDF5 may crash or hang on what it should not have been given."""
    save_surface(small_surface(), tmp_path / "s.h5")
    process = python(FLIP, tmp_path / "s.h5")
    output, _ = process.communicate(timeout=120)
    verdicts = [line.split()[1:] for line in output.splitlines()]
    assert process.returncode == 0, output[-200:]
    assert len(verdicts) == 500
    assert all(verdict in (["refused"], ["unharmed"]) for verdict in verdicts)
    assert ["refused"] in verdicts


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    save_surface(small_surface(), path)
    whole = path.read_bytes()
    for length in sorted({*range(12), *np.linspace(12, len(whole) - 1, 100).astype(int).tolist()}):
        path.write_bytes(whole[:length])
        with pytest.raises(SurfaceError, match=re.escape(str(path))):
            load_surface(path)


def test_a_file_with_something_appended_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    save_surface(small_surface(), path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SurfaceError, match="checksum"):
        load_surface(path)


def test_an_edit_without_a_new_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    save_surface(small_surface(), path)
    with h5py.File(path, "r+") as file:
        file["a_loss"][0, 0, 0] = 42.0
    with pytest.raises(SurfaceError, match="does not match its checksum") as error:
        load_surface(path)
    assert "backup" in str(error.value.hint)


def write_foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["train_loss"] = np.zeros(3)


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "no such file"),
    "zero bytes": (lambda path: path.write_bytes(b""), "the file is empty"),
    "a text": (lambda path: path.write_text("x, loss\n0, 1\n" * 1000), "not an HDF5 file"),
    "one byte": (lambda path: path.write_bytes(b"\x89"), "not an HDF5 file"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "another HDF5 file": (write_foreign_hdf5, "an HDF5 file, but not a"),
    "an HDF5 signature and noise": (
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + random.Random(0).randbytes(5000)),
        "an HDF5 file, but not a",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_surface_file_is_named_as_what_it_is(tmp_path: Path, kind: str) -> None:
    make, words = FOREIGN[kind]
    path = tmp_path / "s.h5"
    make(path)
    with pytest.raises(SurfaceError, match=f"^{re.escape(str(path))}: .*{words}") as error:
        load_surface(path)
    assert error.value.exit_code == 3
    assert "0x" not in str(error.value)  # no innards of the library


def test_a_path_that_leads_through_a_file_is_refused(tmp_path: Path) -> None:
    save_surface(small_surface(), tmp_path / "s.h5")
    with pytest.raises(SurfaceError, match="Not a directory"):
        load_surface(tmp_path / "s.h5" / "t.h5")


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SurfaceError, match="File name too long"):
        load_surface(tmp_path / ("s" * 300))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    os.mkfifo(path)
    with pytest.raises(SurfaceError, match="pipe"):
        load_surface(path)
    with pytest.raises(UsageError, match="pipe"), exclusive(path):
        pass


def test_a_huge_foreign_file_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.bin"
    path.write_bytes(b"no HDF5")
    try:
        os.truncate(path, 2**40)  # sparse: takes no space
    except OSError as error:
        pytest.skip(f"the file system holds no file of 1 TiB: {error}")
    with pytest.raises(SurfaceError, match="not an HDF5 file"):
        load_surface(path)


UNREADABLE = """
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for action in (load_surface, check_overwritable, lambda path: exclusive(path).__enter__()):
    for path in map(Path, sys.argv[1:]):
        try:
            action(path)
            print("done")
        except (SurfaceError, UsageError) as error:
            print(error.exit_code, str(error).rpartition(": ")[2])
        except Exception as error:
            print(repr(error))
"""


def test_what_may_not_be_read_is_an_error_and_no_traceback() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: its parents are closed to other users
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir()
        save_surface(small_surface(), folder / "s.h5")
        save_surface(small_surface(), folder / "closed" / "t.h5")
        (folder / "s.h5").chmod(0)
        (folder / "closed").chmod(0)
        output, _ = python(UNREADABLE, folder / "s.h5", folder / "closed" / "t.h5").communicate()
        (folder / "closed").chmod(0o755)
    found = output.splitlines()
    assert found[:4] == ["3 Permission denied"] * 4
    assert found[5] == "2 Permission denied"  # found[4] depends on whether the folder is this user's own


# ---------------------------------------------------------------- versions


def add_what_a_later_version_might_add(file: h5py.File) -> None:
    file.attrs["format_version"] = "1.7"
    file.attrs["licence"] = "CC0"
    file.attrs["nothing"] = h5py.Empty("f8")
    group = file.create_group("momentum")
    group["eigenvalues"] = np.arange(3.0)
    group["names"] = ["größter", "b" * 1000]
    group["pair"] = np.zeros(2, dtype=[("a", "f4"), ("b", "i2")])
    group["reference"] = file["x"].ref
    group.attrs["flag"] = True
    file.create_group("basins/deeper")
    file["b_loss"].attrs["unit"] = "nats"


def test_a_newer_minor_version_with_unknown_parts_is_read(tmp_path: Path) -> None:
    path = edited(tmp_path, add_what_a_later_version_might_add)
    assert_same(load_surface(path), small_surface())


def test_a_newer_major_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["format_version"] = "2.0"
        file.attrs["writer"] = "landscape-cli 9.1"
        del file["evaluated"]  # a new major may look like anything

    path = edited(tmp_path, change)
    with pytest.raises(SurfaceVersionError, match=r"format version 2\.0; .* reads .*1\.3") as error:
        load_surface(path)
    assert error.value.exit_code == 3
    assert "Upgrade" in str(error.value.hint)
    assert "landscape-cli 9.1" in str(error.value.hint)


@pytest.mark.parametrize("version", ["", "one", "1", 1.0])
def test_a_version_of_another_form_is_read_or_refused(tmp_path: Path, version: object) -> None:
    path = edited(tmp_path, lambda file: file.attrs.__setitem__("format_version", version))
    with contextlib.suppress(SurfaceError):
        assert_same(load_surface(path), small_surface())


# ---------------------------------------------------------------- hostile files


def add_external_storage(file: h5py.File) -> None:
    Path(file.filename).with_name("secret").write_bytes(bytes(80))
    name = str(Path(file.filename).with_name("secret"))
    file.create_dataset("outside", shape=(10,), dtype="f8", external=[(name, 0, 80)])


def add_virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(3,))
    file.create_virtual_dataset("outside", layout)


def replace_by_link(link: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["a_loss"]
        file["a_loss"] = link

    return change


OUTSIDE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "external link": (replace_by_link(h5py.ExternalLink("/etc/passwd", "/x")), "a_loss is a link"),
    "external link that dangles": (replace_by_link(h5py.ExternalLink("gone.h5", "/x")), "a_loss is a link"),
    "soft link": (replace_by_link(h5py.SoftLink("/b_loss")), "a_loss is a link"),
    "soft link in a group": (
        lambda file: file["provenance"].__setitem__("more", h5py.SoftLink("/x")),
        "more is a link",
    ),
    "external storage": (add_external_storage, "/outside does not lie in the file"),
    "virtual dataset": (add_virtual_dataset, "/outside does not lie in the file"),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_what_points_out_of_the_file_is_refused(tmp_path: Path, kind: str) -> None:
    change, words = OUTSIDE[kind]
    path = edited(tmp_path, change)
    with pytest.raises(SurfaceError, match=words):
        load_surface(path)


def test_a_dataset_that_claims_a_trillion_elements_is_refused_without_allocating(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        for name in ("a_loss", "a_loss_std"):
            del file[name]
            file.create_dataset(name, shape=(1, 10**6, 10**6), dtype="f8", chunks=(1, 1000, 1000))

    path = edited(tmp_path, change)
    assert path.stat().st_size < 10**6
    tracemalloc.start()
    with pytest.raises(SurfaceError, match="a_loss"):
        load_surface(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**7


def add_a_web_of_groups(file: h5py.File) -> None:
    """30 groups, each linked twice from the one before: 2³⁰ paths."""
    group = file.create_group("web")
    for _ in range(30):
        below = group.create_group("a")
        group["b"] = below
        group = below


def add_a_circle(file: h5py.File) -> None:
    file["provenance/again"] = file["/"]


@pytest.mark.slow
@pytest.mark.parametrize("change", [add_a_web_of_groups, add_a_circle])
def test_links_in_circles_and_webs_come_to_an_end(tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    path = edited(tmp_path, change)
    process = python("load_surface(sys.argv[1])", path, stderr=subprocess.PIPE)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 or "SurfaceError" in errors.splitlines()[-1]


def add_a_web_of_records(file: h5py.File) -> None:
    """100 records with 100 links each to the same 800 kB: 8 GB."""
    numbers = file.create_dataset("numbers", data=np.zeros(100_000))
    for record in range(100):
        part = file["curvature"].create_group(f"r{record}")
        part.attrs.update(settings="{}", method="", notes="[]", cost=file["curvature/trace"].attrs["cost"])
        for link in range(100):
            part[f"v{link}"] = numbers


def add_datasets_at_one_place(file: h5py.File) -> None:
    """A thousand datasets, each with a header of its own, that claim the same 800 kB."""
    place = file.create_dataset("numbers", data=np.zeros(100_000)).id.get_offset()
    for number in range(1000):
        file["curvature/trace"].create_dataset(f"v{number}", shape=(100_000,), dtype="f8")
    path = Path(file.filename)
    file.close()
    nowhere = struct.pack("<QQ", 2**64 - 1, 800_000)  # address and size, in the layout message of a header
    image = path.read_bytes()
    assert image.count(nowhere) == 1000
    path.write_bytes(image.replace(nowhere, struct.pack("<QQ", place, 800_000)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_a_web_of_records, "is a second link to the same data"),
        (add_datasets_at_one_place, "does not lie in the file itself"),
    ],
)
def test_a_small_file_does_not_become_gigabytes(
    tmp_path: Path, change: Callable[[h5py.File], None], words: str
) -> None:
    path = edited(tmp_path, change, nested_surface())
    assert path.stat().st_size < 3 * 10**6
    tracemalloc.start()
    with pytest.raises(SurfaceError, match=words):
        load_surface(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 10**7


VALUES: dict[str, object] = {
    "scalar": 1.5,
    "infinite": np.inf,
    "negative": np.int64(-1),
    "text": "text",
    "list": "[1]",
    "bytes": np.bytes_(b"\xff\xfe"),
    "empty": h5py.Empty("f8"),
    "no elements": np.zeros(0),
    "matrix": np.zeros((2, 2)),
    "texts": ["a", "b"],
}
PARTS = [
    *("@format", "@format_version", "@fingerprint", "@metrics", "@created", "@updated", "@writer"),
    *("slice", "x", "y", "x@direction", "x@norm", "b_loss", "b_loss_std", "b_loss@centre", "b_loss@centre_std"),
    *("b_loss@num_examples", "evaluated", "provenance", "provenance/config", "provenance/resolved"),
    *("provenance/identity", "provenance/environment", "something"),
]


def replace_attribute(file: h5py.File, name: str, attribute: str, kind: str) -> None:
    del file[name or "/"].attrs[attribute]
    if kind in VALUES:
        file[name or "/"].attrs[attribute] = VALUES[kind]


def replace_item(file: h5py.File, name: str, kind: str) -> None:
    file.pop(name, None)
    if kind == "group":
        file.create_group(name)
    elif kind == "type":
        file[name] = np.dtype("f8")
    elif kind in VALUES:
        file[name] = VALUES[kind]


NESTED = [
    *("radius", "radius@fingerprint", "radius@metrics", "radius/slice", "radius/x", "radius/x@norm"),
    *("radius/train_loss", "radius/train_loss@centre", "radius/train_loss_std", "radius/evaluated"),
    *("curvature", "curvature@pending", "curvature/trace", "curvature/trace@cost", "curvature/trace@settings"),
    *("curvature/trace@method", "curvature/trace@notes", "curvature/trace/value"),
    *("curvature_map", "curvature_map@metrics", "curvature_map/x", "curvature_map/evaluated"),
]


def nested_surface() -> Surface:
    """A surface with everything that can lie beside its grid."""
    surface = golden_line_radius()
    values = {"value": np.array(3.0), "each": np.arange(4.0)}
    surface.curvature = Curvature({"trace": Record(values, {"split": "train"}, Cost(1, 2, 3))}, ("hessian",))
    surface.curvature_map = replace(golden_line(), provenance=surface.provenance)
    return surface


@pytest.mark.parametrize(
    "part", mostly_slow([*PARTS, *NESTED], "@metrics", "x", "b_loss", "radius/train_loss", "curvature/trace@cost")
)
def test_a_part_of_the_wrong_kind_is_refused_and_never_a_crash(tmp_path: Path, part: str) -> None:
    surface = nested_surface() if part in NESTED else None
    name, _, attribute = part.partition("@")
    unexpected = {}
    for kind in ("absent", *VALUES, *(() if attribute else ("group", "type"))):

        def change(file: h5py.File, kind: str = kind) -> None:
            replace_attribute(file, name, attribute, kind) if attribute else replace_item(file, name, kind)

        path = edited(tmp_path, change, surface)
        try:
            load_surface(path)
        except SurfaceError:
            pass
        except Exception as error:  # noqa: BLE001  # all of them, in one list
            unexpected[kind] = repr(error)
    assert unexpected == {}


def set_item(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = value
        file[name].attrs.update(attributes)

    return change


def path_of_another_length(file: h5py.File) -> None:
    group = file.create_group("trajectory")
    group["names"] = '["a.pt", "b.pt"]'
    group["coordinates"], group["missed"], group["distance"] = np.zeros((1, 2, 2)), np.zeros((1, 3)), np.zeros(2)


NONSENSE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "no metrics": (lambda file: file.attrs.__setitem__("metrics", "[]"), "metrics"),
    "a path of another length": (path_of_another_length, "trajectory/missed has shape"),
    "angles between other axes": (
        lambda file: file.create_dataset("cosine", data=np.eye(3)[None]),
        "/cosine has shape",
    ),
    "a mean over nothing": (lambda file: file["b_loss"].attrs.__setitem__("num_examples", -1), "b_loss.* -1 examples"),
    "texts for values": (set_item("b_loss", [[["1", "2"]] * 3]), "b_loss.* real numbers"),
    "complex values": (set_item("b_loss", np.ones((1, 3, 2), dtype=complex)), "b_loss.* real numbers"),
    "a config of many texts": (set_item("provenance/config", ["a", "b"]), "provenance/config has shape"),
    "environments that are none": (set_item("provenance/environment", "{}"), "environment"),
    "coordinates that fall": (lambda file: file["x"].write_direct(np.array([1.0, 0.0, -1.0])), "strictly increasing"),
}


def remove(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


NESTED_NONSENSE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "a radius of another shape": (set_item("radius/evaluated", np.ones((2, 4))), "/radius/evaluated has shape"),
    "a radius without a mask": (remove("radius/evaluated"), "evaluated"),
    "a radius without a line": (remove("radius/x"), "not a readable surface file"),
    "a radius without lengths": (lambda file: file["radius/x"].attrs.__setitem__("norm", np.zeros(3)), "norm"),
    "a record of texts": (set_item("curvature/trace/value", "three"), "curvature/trace/value.* real numbers"),
    "a record without a cost": (lambda file: file["curvature/trace"].attrs.__delitem__("cost"), "cost"),
    "a map of another shape": (set_item("curvature_map/train_loss", np.ones(3)), "/curvature_map/train_loss has shape"),
    "a map of other axes": (
        lambda file: file["curvature_map/x"].write_direct(2 * file["x"][()]),
        "other axes or slices",
    ),
}


@pytest.mark.parametrize("kind", NESTED_NONSENSE)
def test_content_beside_the_grid_that_makes_no_sense_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    change, words = NESTED_NONSENSE[kind]
    with pytest.raises(SurfaceError, match=words):
        load_surface(edited(tmp_path, change, nested_surface()))


def test_a_radius_that_is_a_link_is_refused(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["radius/x"]
        file["radius/x"] = h5py.SoftLink("/x")

    with pytest.raises(SurfaceError, match="x is a link, not data"):
        load_surface(edited(tmp_path, change, nested_surface()))


@pytest.mark.parametrize("kind", NONSENSE)
def test_content_that_makes_no_sense_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    change, words = NONSENSE[kind]
    with pytest.raises(SurfaceError, match=words):
        load_surface(edited(tmp_path, change))


def test_a_direction_without_a_length_for_each_slice_is_refused(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["x"].attrs["norm"] = np.zeros(3)

    with pytest.raises(SurfaceError, match="norm"):
        load_surface(edited(tmp_path, change))


def test_values_of_another_shape_than_the_axes_are_refused(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["evaluated"]
        file["evaluated"] = np.ones((1, 2, 3), dtype=np.uint8)

    with pytest.raises(SurfaceError, match=r"/evaluated has shape \(1, 2, 3\); expected \(1, 3, 2\)"):
        load_surface(edited(tmp_path, change))


def test_nothing_that_a_file_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landscape: Callable[..., Outcome]
) -> None:
    (tmp_path / "harmful.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w').close()\ndef run(**_): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    target = {"_target_": "harmful.run", "class_path": "harmful.run", "path": "!!python/object/apply:harmful.run []"}
    surface = small_surface()
    surface.directions = {name: Direction(target, (1.0,)) for name in "xy"}
    surface.provenance = Provenance(
        "model: !!python/object/apply:harmful.run []\nloss: {_target_: harmful.run}\n",
        {"model": target, "loss": target, "checkpoint": target},
        {"model": target},
        [{"command": "harmful.run", "_target_": "harmful.run"}],
    )
    save_surface(surface, tmp_path / "s.h5")
    assert_same(load_surface(tmp_path / "s.h5"), surface)
    for name, *options in (["info"], ["info", "--json"], ["plot", "-o", str(tmp_path / "s.png")]):
        assert landscape(name, tmp_path / "s.h5", *options).exit_code == 0
    assert not (tmp_path / "harm").exists()
    assert "harmful" not in sys.modules


# ---------------------------------------------------------------- replaced whole or not at all


def test_saving_leaves_one_file_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    mask = os.umask(0o027)
    try:
        save_surface(small_surface(), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        save_surface(small_surface(value=2.0), path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert list(tmp_path.iterdir()) == [path]
    assert_same(load_surface(path), small_surface(value=2.0))


def test_saving_through_a_link_writes_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    link, target = tmp_path / "s.h5", tmp_path / "scratch" / "t.h5"
    link.symlink_to(target)
    for value in (1.0, 2.0):
        save_surface(small_surface(value=value), link)
        assert link.is_symlink()
        assert_same(load_surface(target), small_surface(value=value))
    assert list(target.parent.iterdir()) == [target]


def test_links_that_go_round_in_circles_are_refused_or_replaced(tmp_path: Path) -> None:
    link = tmp_path / "s.h5"
    link.symlink_to(link)
    with pytest.raises(SurfaceError, match="symbolic links"):
        load_surface(link)
    with contextlib.suppress(UsageError), exclusive(link):
        pass
    with contextlib.suppress(OutputError):
        save_surface(small_surface(), link)
        assert_same(load_surface(link), small_surface())


def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(small_disk: Path) -> None:
    path = small_disk / "s.h5"
    save_surface(small_surface(), path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="No space left on device") as error:
        save_surface(small_surface(60, 50), path)
    assert error.value.exit_code == 4
    assert "untouched" in str(error.value.hint)
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]


LIMITED = """
import resource
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
try:
    save_surface(small_surface(60, 50), sys.argv[1])
except OutputError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, before)
"""


def test_a_write_that_fails_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    """The same as a full disk, for those who may not mount one."""
    path = tmp_path / "s.h5"
    save_surface(small_surface(), path)
    before = path.read_bytes()
    output, _ = python(LIMITED, path).communicate()
    assert "cannot be written: File too large" in output
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_is_refused_and_can_be_read(small_disk: Path) -> None:
    path = small_disk / "s.h5"
    save_surface(small_surface(), path)
    mounted(small_disk, "-o", "remount,ro")
    with pytest.raises(OutputError, match="Read-only file system"):
        save_surface(small_surface(value=2.0), path)
    with pytest.raises(UsageError, match=r"cannot write in .*: Read-only file system"), exclusive(path):
        pass
    assert_same(load_surface(path), small_surface())


def test_places_where_nothing_can_be_saved_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.h5").mkdir()
    for path, reason in (
        (tmp_path / "gone" / "s.h5", "No such file or directory"),
        (tmp_path / "folder.h5", "Is a directory"),
        (tmp_path / ("s" * 250), "File name too long"),
    ):
        with pytest.raises(OutputError, match=f"^{re.escape(str(path))}: .*{reason}"):
            save_surface(small_surface(), path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.h5"]


WRITER = """
for i in range(200):
    save_surface(small_surface(40, 50) if i % 2 else small_surface(), sys.argv[1])
"""


@pytest.mark.slow
def test_a_reader_never_sees_a_broken_file_while_a_writer_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    save_surface(small_surface(), path)
    possible = {(1, 3, 2): small_surface(), (1, 40, 50): small_surface(40, 50)}
    seen = []
    with python(WRITER, path) as writer:
        while writer.poll() is None:
            surface = load_surface(path)
            assert_same(surface, possible[surface.grid.shape])
            seen.append(surface.grid.shape)
    assert writer.returncode == 0
    assert set(seen) == set(possible)
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- one writer


HOLDER = """
import time
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes s.h5."""
    process = python(HOLDER, tmp_path / "s.h5")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_until_the_first_is_killed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    path = tmp_path / "s.h5"
    with pytest.raises(UsageError, match="another process is writing this file") as error, exclusive(path):
        pass
    assert error.value.exit_code == 2
    assert error.value.hint is not None
    (tmp_path / "link.h5").symlink_to(path)
    with pytest.raises(UsageError, match="another process"), exclusive(tmp_path / "link.h5"):
        pass
    with exclusive(tmp_path / "other.h5"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(path):
        save_surface(small_surface(), path)


def test_the_lock_is_free_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with pytest.raises(RuntimeError, match="inside"), exclusive(path):
        raise RuntimeError("inside")
    with exclusive(path):
        pass


def test_the_lock_keeps_out_a_second_writer_of_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with (
        exclusive(path),
        pytest.raises(UsageError, match="another process"),
        exclusive(path),
    ):
        pass


def test_a_lock_needs_a_folder_and_a_file_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words, hint in (
        (tmp_path, "is a folder; expected the name of a surface file", "-o surface.h5"),
        (tmp_path / "gone" / "s.h5", f"the folder {tmp_path / 'gone'} does not exist", f"mkdir -p {tmp_path / 'gone'}"),
        (tmp_path / "file" / "s.h5", f"{tmp_path / 'file'} is not a folder", "-o"),
        (tmp_path / ("s" * 255), "File name too long", "-o"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)) as error, exclusive(path):
            pass
        assert hint in str(error.value.hint)


# ---------------------------------------------------------------- leftovers


STUCK = """
import time
def stuck(handle):
    print("writing", flush=True)
    time.sleep(600)
os.fsync = stuck
save_surface(small_surface(value=2.0), sys.argv[1])
"""


@pytest.mark.slow
def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "[s]*.h5"
    save_surface(small_surface(), path)
    others = [tmp_path / name for name in (".s.h5.tmp-1", ".[s]*.h5.lock", "[s]*.h5.tmp-1", ".[s]*.h5x.tmp-1", "[s]*")]
    for other in others:
        other.touch()
    writer = python(STUCK, path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.kill()
    writer.communicate()
    assert len(list(tmp_path.iterdir())) == 1 + len(others) + 1
    assert_same(load_surface(path), small_surface())
    remove_leftovers(path)
    assert set(tmp_path.iterdir()) == {path, *others}
    assert_same(load_surface(path), small_surface())
    remove_leftovers(path)


def test_only_surface_files_can_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    for make in (write_foreign_hdf5, lambda path: path.write_text(r"\documentclass{book}")):
        make(path)
        before = path.read_bytes()
        with pytest.raises(SurfaceError, match=f"^{re.escape(str(path))}: not a surface file") as error:
            check_overwritable(path)
        assert "remove the file yourself" in str(error.value.hint)
        assert path.read_bytes() == before
    save_surface(small_surface(), path)
    whole = path.read_bytes()
    for content in (whole, whole[: len(whole) // 2], whole[:-1], b""):
        path.write_bytes(content)
        check_overwritable(path)


# ---------------------------------------------------------------- files of released versions


def golden_line() -> Surface:
    """Two slices of a line: loss (s + 1)x² + 0.25, complete, with odd characters and a negative zero."""
    x = np.linspace(-1.0, 1.0, 5)
    loss = np.stack([(s + 1) * x**2 + 0.25 for s in range(2)])
    accuracy = np.stack([np.where(x == 0.0, 1.0, 0.5), np.where(x == 0.0, 1.0, -0.0)])
    return Surface(
        grid=Grid((Axis("x", (-1.0, -0.5, 0.0, 0.5, 1.0)),), 2),
        metrics={
            "train_loss": Metric(loss, loss / 4, 0.25, 0.0625, 1000),
            "test_loss": Metric(loss + 1.0, loss / 2, 1.25, 0.125, 100),
            "train_accuracy": Metric(accuracy, 1.0 - accuracy, 1.0, 0.0, 1000),
        },
        directions={"x": Direction({"_target_": "random", "normalization": "filter"}, (3.0, 3.5))},
        fingerprint="0123456789abcdef" * 4,
        evaluated=np.ones((2, 5), dtype=np.bool_),
        provenance=Provenance(
            "# Größe, 損失\nmodel: {_target_: my_models.net}\n",
            {"model": {"_target_": "my_models.net"}, "loss": {"_target_": "cross_entropy"}},
            {"model": {"_target_": "my_models.net"}, "checkpoint": {"sha256": "ab" * 32}},
            [{"host": "größe", "torch": "2.6.0"}, {"host": "b", "cuda": None}],
            {"engine": "mlp", "chunk_sizes": {"größe": 128}, "points_per_call": 8, "difference": {"centre": 1e-9}},
        ),
    )


def golden_plane() -> Surface:
    """A plane of 4 × 3 points: x + 10y², every third not evaluated, one NaN, one infinite."""
    x, y = (-1.0, -0.5, 0.0, 0.5), (-0.5, 0.25, 1.0)
    evaluated = np.array([[[(i + j) % 3 != 2 for j in range(3)] for i in range(4)]])
    loss = np.array([[[a + 10 * b**2 for b in y] for a in x]])
    loss[0, 0, 0], loss[0, 3, 1] = math.nan, math.inf
    loss[~evaluated] = math.nan
    return Surface(
        grid=Grid((Axis("x", x), Axis("y", y))),
        metrics={"train_loss": Metric(loss, np.abs(loss), 0.0, 0.0, 7)},
        directions={
            "x": Direction({"_target_": "random", "normalization": "layer"}, (2.0,)),
            "y": Direction({"_target_": "random", "normalization": "weight", "ignore": "none"}, (0.5,)),
        },
        fingerprint="",
        evaluated=evaluated,
    )


def golden_volume() -> Surface:
    """Two slices of a volume of 3 × 2 × 2 points, x + 10y + 100z + 1000s, of unknown n, with a path through it."""
    x, y, z = (-1.0, 0.0, 2.0), (0.0, 0.5), (-0.25, 0.0)
    loss = np.array([[[[a + 10 * b + 100 * c + 1000 * s for c in z] for b in y] for a in x] for s in range(2)])
    return Surface(
        grid=Grid((Axis("x", x), Axis("y", y), Axis("z", z)), 2),
        metrics={"train_loss": Metric(loss, np.full(loss.shape, math.nan), 0.0, math.nan, 0)},
        directions={
            "x": Direction({"_target_": "pca"}, (1.0, 1.0), {"component": 1, "explained_variance_ratio": 0.75}),
            "y": Direction({"_target_": "hessian", "which": "largest"}, (1.0, 1.0), {"eigenvalue": 12.5}),
            "z": Direction({"_target_": "unknown"}, (math.nan, math.nan)),
        },
        fingerprint="fedcba9876543210" * 4,
        evaluated=np.ones(loss.shape, dtype=np.bool_),
        cosine=np.stack([np.eye(3), np.full((3, 3), 0.5) + 0.5 * np.eye(3)]),
        trajectory=Trajectory(
            ("größe_1.pt", "größe_2.pt"),
            np.arange(12.0).reshape(2, 2, 3),
            np.array([[0.5, 0.0], [0.25, 0.0]]),
            np.array([4.0, 0.0]),
            np.array([0.75, math.nan, math.nan]),
        ),
    )


def golden_line_radius() -> Surface:
    """The line, and beside it a radius of two directions at three points, (s + 1)x², one not done."""
    line = golden_line()
    x = np.array([0.01, 0.173205, 3.0])
    loss = np.stack([(s + 1) * x**2 + 0.25 for s in range(2)])
    evaluated = np.array([[True, True, True], [True, True, False]])
    loss[~evaluated] = math.nan
    radius = Surface(
        grid=Grid((Axis("x", tuple(x.tolist())),), 2),
        metrics={"train_loss": Metric(loss, loss / 4, 0.25, 0.0625, 1000)},
        directions={"x": Direction({"_target_": "random", "normalization": "weight"}, (5.0, 5.5))},
        fingerprint="89abcdef01234567" * 4,
        evaluated=evaluated,
    )
    engine = {**line.provenance.engine, "radius": {"engine": "sequential", "chunk_sizes": {"größe": 128}}}
    resolved = {**line.provenance.resolved, "radius": {"slices": 2, "num": 3, "tau": 0.25}}
    return replace(line, radius=radius, provenance=replace(line.provenance, engine=engine, resolved=resolved))


def golden_plane_curvature() -> Surface:
    """The plane, with two measures from the model, a third one pending, and a map with one point."""
    plane = golden_plane()
    eigenvalues = Record(
        values={"lambda_max": np.array(4.5), "lambda_min": np.array(-0.125), "largest": np.array([4.5, 2.25])},
        settings={"measure": "eigenvalues", "split": "train", "num_examples": 1000, "options": {"count": 2}},
        cost=Cost(products=40),
        method="double backward",
        notes=("größe",),
    )
    gradient = Record({"grad_norm": np.array(math.nan)}, {"measure": "gradient"}, Cost(losses=2, gradients=2))
    names = ("lambda_max", "lambda_max_residual", "lambda_min", "lambda_min_residual")
    values, mask = np.full(plane.grid.shape, math.nan), np.zeros(plane.grid.shape, dtype=np.bool_)
    metrics = {name: Metric(values.copy(), values.copy(), math.nan, math.nan, 1000) for name in names}
    points = Surface(plane.grid, metrics, plane.directions, "fedcba9876543210" * 4, mask)
    points.update(0, {name: (0.5 * i, math.nan) for i, name in enumerate(names)})
    curvature = Curvature({"eigenvalues": eigenvalues, "gradient": gradient}, ("trace",))
    return replace(plane, curvature=curvature, curvature_map=points)


GOLDEN_SURFACES = {
    "plane_curvature.h5": golden_plane_curvature,
    "line.h5": golden_line,
    "plane_partial.h5": golden_plane,
    "volume_path.h5": golden_volume,
    "line_radius.h5": golden_line_radius,
}
GOLDEN_FILES = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.glob("*/*.h5"))


def write_golden_files(folder: Path) -> None:
    """Write the files of the current version of the format; those of a released one are never written again."""
    os.environ["SOURCE_DATE_EPOCH"] = EPOCH
    for name, make in GOLDEN_SURFACES.items():
        save_surface(make(), folder / name)


@pytest.mark.parametrize("file", GOLDEN_FILES)
def test_files_of_every_released_version_are_read_for_ever(file: str) -> None:
    version, name = file.split("/")
    surface, expected = load_surface(GOLDEN / version / name), GOLDEN_SURFACES[name]()
    if version == "1.0":  # it did not have this yet
        expected.provenance = replace(expected.provenance, engine={})
    assert_same(surface, expected)
    assert surface.created == surface.updated == "2023-11-14T22:13:20+00:00"
    assert surface.writer.startswith("landscape-cli ")
    with h5py.File(GOLDEN / file) as content:
        assert content.attrs["format_version"] == version


def test_golden_surfaces_survive_a_copy(tmp_path: Path) -> None:
    """Surface files are self-contained: another place, another name."""
    for name, make in GOLDEN_SURFACES.items():
        shutil.copy(max(GOLDEN.glob(f"*/{name}")), tmp_path / "copy")
        assert_same(load_surface(tmp_path / "copy"), make())


if __name__ == "__main__":
    write_golden_files(Path(sys.argv[1]))
