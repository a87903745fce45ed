"""A file and its parts: their union is what was computed, whoever has which points, and nothing is ever lost."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic import line, surface_of
from conftest import Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import record
from test_scan import contents

from landscape_cli import load_surface, save_surface
from landscape_cli.errors import OutputError, ResumeMismatchError, SurfaceError
from landscape_cli.locks import turn
from landscape_cli.records import Curvature
from landscape_cli.share import Share
from landscape_cli.surface import Provenance, Surface
from landscape_cli.union import load_union, merge, new_part, parts_of, share_in_name, unite, whole_of


def bowl(precision: str = "float64", **changes: object) -> Surface:
    surface = surface_of(
        lambda index, x, y: (1 + index) * x * x + y, line(-1, 1, 5), line(-1, 1, 3), num_slices=2, precision=precision
    )
    return replace(surface, fingerprint="f", **changes)  # type: ignore[arg-type]


def portion(surface: Surface, mask: object) -> Surface:
    """The points where ``mask`` is true."""
    part = copy.deepcopy(surface)
    part.evaluated &= np.asarray(mask, dtype=np.bool_)
    for metric in part.metrics.values():
        metric.values[~part.evaluated] = metric.std[~part.evaluated] = np.nan
    return part


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "s.h5"


def save_part(surface: Surface, output: Path, rank: int = 0) -> Path:
    path = new_part(output, Share(rank, 8))
    save_surface(surface, path)
    return path


# ---------------------------------------------------------------- names


def test_a_part_has_a_name_of_its_own_that_says_whose_it_is(output: Path) -> None:
    names = {new_part(output, Share(3, 16)) for _ in range(50)}
    assert len(names) == 50
    for path in names:
        assert whole_of(path) == output
        assert share_in_name(path) == (3, 16)
    assert whole_of(output) == output
    assert share_in_name(output) is None


def test_only_the_parts_of_a_file_are_its_parts(output: Path) -> None:
    odd = output.with_name("s[1]*.h5")
    mine, theirs = save_part(bowl(), output), save_part(bowl(), odd)
    for name in ("s.h5.part-1-of-2", "s.h5.part-0001-of-0002-12345678.png", "s.h5.bak", "us.h5.part-0-of-1-00000000"):
        (output.parent / name).write_bytes(b"")
    assert parts_of(output) == [mine]
    assert parts_of(odd) == [theirs]


def test_the_parts_of_a_link_are_those_of_the_file(output: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    output.symlink_to(tmp_path / "there" / "real.h5")
    part = save_part(bowl(), output)
    assert part.parent == tmp_path / "there"
    assert parts_of(output) == [part]
    merge(parts_of(output), output)
    assert output.is_symlink()
    assert load_surface(output).complete


# ---------------------------------------------------------------- the union


@given(owners=st.lists(st.integers(0, 3), min_size=30, max_size=30), twice=st.integers(0, 29), saved=st.booleans())
@settings(max_examples=40, deadline=None)
def test_however_the_points_are_distributed_the_union_is_the_whole(
    tmp_path_factory: pytest.TempPathFactory, owners: list[int], twice: int, saved: bool
) -> None:
    output, whole = tmp_path_factory.mktemp("union") / "s.h5", bowl()
    whose = np.reshape(owners, whole.grid.shape)
    shared = np.arange(30).reshape(whole.grid.shape) == twice  # a point that all have computed
    if saved:
        save_surface(portion(whole, whose == 0), output)
    for rank in range(1 if saved else 0, 4):
        save_part(portion(whole, (whose == rank) | shared), output, rank)
    assert contents(load_union(output)) == contents(whole)
    parts = parts_of(output)
    assert contents(load_union(parts[0])) == contents(whole)
    assert contents(merge(parts, output)) == contents(whole)
    assert contents(load_surface(output)) == contents(whole)
    assert parts_of(output) == []
    assert [path.name for path in output.parent.iterdir()] == ["s.h5"]


def test_what_lies_beside_the_grid_is_united_too(output: Path) -> None:
    first, second = bowl(), bowl()
    ray = replace(surface_of(lambda index, x: x + index, [0.1, 0.2, 0.3], num_slices=2), fingerprint="r")
    first.radius, second.radius = portion(ray, [[1, 0, 0], [0, 1, 0]]), portion(ray, [[0, 1, 1], [1, 0, 1]])
    first.curvature = Curvature({"a": record({"value": 1.0})}, ("b", "c"))
    second.curvature = Curvature({"b": record({"value": 2.0})}, ("a", "c"))
    first.provenance = Provenance(environment=["one"], engine={"engine": "sequential"})
    second.provenance = Provenance(environment=["two", "one"], engine={"engine": "sequential", "halved": True})
    save_surface(first, output)
    save_part(second, output)
    merge(parts_of(output), output)
    found = load_surface(output)
    assert found.radius is not None
    assert contents(found.radius) == contents(ray)
    assert found.curvature is not None
    assert (sorted(found.curvature.records), found.curvature.pending) == (["a", "b"], ("c",))
    assert found.provenance.environment == ["one", "two"]
    assert found.provenance.engine == {"engine": "sequential", "halved": True}


def test_a_record_alone_is_reason_enough_to_write_the_file(output: Path) -> None:
    save_surface(bowl(), output)
    save_part(bowl(curvature=Curvature({"a": record({"value": 1.0})}, ())), output)
    merge(parts_of(output), output)
    found = load_surface(output).curvature
    assert found is not None
    assert list(found.records) == ["a"]


def test_a_value_that_is_not_finite_is_a_value(output: Path) -> None:
    whole = bowl()
    whole.metrics["train_loss"].values[0, 0] = np.nan, np.inf, -np.inf
    save_surface(portion(whole, False), output)
    save_part(whole, output, 1)
    save_part(whole, output, 2)
    assert contents(merge(parts_of(output), output)) == contents(whole)


# ---------------------------------------------------------------- what does not fit


def test_a_part_of_another_scan_is_refused_and_everything_stays_as_it_was(output: Path) -> None:
    identity = {"checkpoint": {"sha256": "aa"}, "slices": {"seed": 0}}
    other = {"checkpoint": {"sha256": "bb"}, "slices": {"seed": 0}}
    save_surface(portion(bowl(provenance=Provenance(identity=identity)), False), output)
    good, bad = save_part(bowl(), output, 1), save_part(bowl(), output, 2)
    foreign = replace(bowl(), fingerprint="g", provenance=Provenance(identity=other))
    save_surface(foreign, bad)
    before = {path: path.read_bytes() for path in (output, good, bad)}
    for action in (lambda: merge(parts_of(output), output), lambda: load_union(output)):
        with pytest.raises(ResumeMismatchError, match=r'checkpoint\.sha256: "aa" → "bb"') as error:
            action()
        assert f"{bad}: " in str(error.value), "the name that it has, not the one during the merge"
        assert error.value.exit_code == 3
    assert {path: path.read_bytes() for path in (output, good, bad)} == before
    bad.unlink()
    assert merge(parts_of(output), output).complete


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", None])
def test_a_damaged_part_is_refused_with_what_to_do(output: Path, content: bytes | None) -> None:
    save_surface(portion(bowl(), False), output)
    part = save_part(bowl(), output)
    part.write_bytes(part.read_bytes()[:-100] if content is None else content)
    before = output.read_bytes()
    for action in (lambda: merge(parts_of(output), output), lambda: load_union(output)):
        with pytest.raises(SurfaceError, match=f"{part.name}: ") as error:
            action()
        assert "Remove it, and run the scan again" in str(error.value.hint)
        assert f"{part}: " in str(error.value), "the name that it has, not the one during the merge"
    assert output.read_bytes() == before
    assert parts_of(output) == [part]


@pytest.mark.parametrize(
    ("precision", "factor", "is_same"),
    [("float64", 1 + 1e-9, True), ("float64", 1.001, False), ("float32", 1.0005, True), ("float32", 1.1, False)],
)
def test_points_that_two_have_computed_agree_up_to_rounding_or_are_refused(
    output: Path, precision: str, factor: float, is_same: bool
) -> None:
    ours = bowl(precision)
    theirs = copy.deepcopy(ours)
    theirs.metrics["train_loss"].values *= factor
    name = output.with_name("part")
    if is_same:
        before = contents(ours)
        assert unite(ours, theirs, name) == 0
        assert contents(ours) == before
    else:
        with pytest.raises(SurfaceError, match="more than rounding"):
            unite(ours, theirs, name)


def test_another_range_of_an_axis_is_refused(output: Path) -> None:
    other = replace(surface_of(lambda index, x, y: x, line(-2, 2, 5), line(-1, 1, 3), num_slices=2), fingerprint="f")
    with pytest.raises(ResumeMismatchError, match="another range of an axis"):
        unite(bowl(), other, output)


# ---------------------------------------------------------------- interrupted


def test_a_merge_that_was_interrupted_is_done_by_the_next_one(output: Path) -> None:
    """Whatever was renamed, written or removed when it ended."""
    whole, half = bowl(), np.arange(30).reshape(2, 5, 3) % 2 == 0
    first, second = portion(whole, half), portion(whole, ~half)

    def set_aside() -> None:
        part = save_part(first, output, 1)
        part.rename(f"{part}.merging")
        save_part(second, output, 2)

    def written_anew_meanwhile() -> None:
        part = save_part(portion(first, np.arange(30).reshape(2, 5, 3) < 9), output, 1)
        part.rename(f"{part}.merging")
        save_surface(first, part)
        save_part(second, output, 2)

    def written_and_not_removed() -> None:
        part = save_part(first, output, 1)
        part.rename(f"{part}.merging")
        save_surface(first, output)
        save_part(second, output, 2)

    for state in (set_aside, written_anew_meanwhile, written_and_not_removed):
        state()
        assert contents(load_union(output)) == contents(whole), state.__name__
        merge(parts_of(output), output)
        assert contents(load_surface(output)) == contents(whole), state.__name__
        assert [path.name for path in output.parent.iterdir()] == ["s.h5"]
        output.unlink()


def test_a_part_that_is_set_aside_while_it_is_read_is_not_missed(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_surface(portion(bowl(), False), output)
    part = save_part(bowl(), output)

    def just_before_it_is_opened(path: Path) -> Surface:
        if path == part:
            part.rename(f"{part}.merging")
        return load_surface(path)

    monkeypatch.setattr("landscape_cli.union.load_surface", just_before_it_is_opened)
    assert load_union(output).complete


def test_a_part_that_is_written_anew_while_it_is_merged_is_not_damaged(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_surface(portion(bowl(), False), output)
    part = save_part(portion(bowl(), np.arange(30).reshape(2, 5, 3) < 15), output)

    def late(path: Path) -> Surface:
        if path != part or not part.exists():
            return load_surface(path)
        monkeypatch.undo()
        part.rename(f"{part}.merging")
        try:
            return load_surface(path)
        finally:
            save_surface(bowl(), part)

    monkeypatch.setattr("landscape_cli.union.load_surface", late)
    assert load_union(output).complete


def test_a_merge_that_was_killed_while_it_put_a_part_back_is_done_by_the_next_one(output: Path) -> None:
    save_surface(portion(bowl(), False), output)
    part = save_part(bowl(), output)
    os.link(part, f"{part}.merging")
    assert merge(parts_of(output), output).complete
    assert [path.name for path in output.parent.iterdir()] == ["s.h5"]


def test_readers_come_to_an_end_however_many_merges_there_are(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time a reader has read the file, the next part is put into it."""
    save_surface(portion(bowl(), False), output)
    order = np.arange(30).reshape(2, 5, 3)
    parts = [save_part(portion(bowl(), order == point), output, point % 8) for point in range(30)]

    def merging(path: Path) -> Surface:
        found = load_surface(path)
        if path == output and parts:
            with monkeypatch.context() as patch:
                patch.setattr("landscape_cli.union.load_surface", load_surface)
                merge([parts.pop()], output)
        return found

    monkeypatch.setattr("landscape_cli.union.load_surface", merging)
    assert load_union(output).complete
    assert len(parts) >= 28  # it would go on until none is left else


def test_a_merge_of_another_file_takes_the_parts_beside_it_too(output: Path) -> None:
    """As of several processes of one machine, one of which was killed."""
    theirs = output.with_name("a.h5")
    save_surface(portion(bowl(), ~np.isin(np.arange(30), [3, 4]).reshape(2, 5, 3)), theirs)
    part = save_part(bowl(), theirs)
    assert merge([theirs], output).complete
    assert part.exists()


def test_a_surface_that_disagrees_is_to_be_left_out_and_not_removed(output: Path) -> None:
    save_surface(portion(bowl(), np.arange(30).reshape(2, 5, 3) < 15), output)
    other = bowl()
    other.metrics["train_loss"].values[:] += 1
    save_surface(other, output.with_name("b.h5"))
    with pytest.raises(SurfaceError, match="more than rounding") as error:
        merge([output.with_name("b.h5")], output)
    assert "Leave it out" in str(error.value.hint)


def test_a_merge_that_fails_replaces_no_part_that_was_written_anew(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_surface(portion(bowl(), False), output)
    part = save_part(portion(bowl(), np.arange(30).reshape(2, 5, 3) < 9), output)

    def meanwhile(aside: Path, source: Path) -> None:
        save_surface(bowl(), part)
        link(aside, source)

    def fail(*_: object) -> None:
        raise OutputError("full")

    link = os.link
    monkeypatch.setattr("os.link", meanwhile)
    monkeypatch.setattr("landscape_cli.union.save_surface", fail)
    with pytest.raises(OutputError, match="full"):
        merge(parts_of(output), output)
    assert load_surface(part).complete


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_the_parts() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: its parents are closed to other users
        output = Path(name) / "s.h5"
        part = save_part(bowl(), output)
        save_surface(portion(bowl(), False), output)
        before = output.read_bytes(), part.read_bytes()
        for path in (output, part):
            path.chmod(0o644)
        output.parent.chmod(0o555)
        found = subprocess.run([sys.executable, "-c", MERGE, output], capture_output=True, text=True, check=False)
        assert f"OutputError 4 {part}: cannot be merged: Permission denied" in found.stdout, found
        assert (output.read_bytes(), part.read_bytes()) == before


MERGE = """
import os, sys
from pathlib import Path
from landscape_cli.errors import LandscapeError
from landscape_cli.union import merge, parts_of
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
output = Path(sys.argv[1])
try:
    merge(parts_of(output), output)
except LandscapeError as error:
    print(type(error).__name__, error.exit_code, error)
"""


# ---------------------------------------------------------------- the commands


def test_merge_puts_files_of_one_scan_together_and_leaves_them(output: Path, landscape: Callable[..., Outcome]) -> None:
    half = np.arange(30).reshape(2, 5, 3) % 2 == 0
    first, second = output.with_name("a.h5"), output.with_name("b.h5")
    save_surface(portion(bowl(), half), first)
    save_surface(portion(bowl(), ~half), second)
    outcome = landscape("merge", first, second, "-o", output)
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert outcome.stderr == f"{output}: 30 of 30 points, from 2 files\n"
    assert contents(load_surface(output)) == contents(bowl())
    assert first.exists()
    assert second.exists()


def test_merge_takes_the_parts_beside_the_file_where_none_are_named(
    output: Path, landscape: Callable[..., Outcome]
) -> None:
    save_part(bowl(), output)
    assert landscape("merge", "-o", output).exit_code == 0
    assert load_surface(output).complete
    outcome = landscape("merge", "-o", output)
    assert outcome.exit_code == 2
    assert "no parts beside it" in outcome.stderr


def test_a_surface_of_another_scan_is_to_be_left_out_and_not_removed(
    output: Path, landscape: Callable[..., Outcome]
) -> None:
    save_surface(bowl(), output)
    other = output.with_name("other.h5")
    save_surface(replace(bowl(), fingerprint="g"), other)
    outcome = landscape("merge", other, "-o", output)
    assert outcome.exit_code == 3
    assert "Leave it out" in outcome.stderr
    assert "Remove" not in outcome.stderr


def test_merge_says_what_it_waits_for(output: Path) -> None:
    save_surface(portion(bowl(), False), output)
    save_part(bowl(), output)
    command = [sys.executable, "-m", "landscape_cli", "merge", "-o", str(output)]
    with turn(output, lambda: False):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting for the process that merges" in process.stderr.readline()
        assert len(parts_of(output)) == 1
    process.communicate()
    assert process.returncode == 0
    assert load_surface(output).complete


def test_merge_of_a_file_that_is_not_there_is_an_error(output: Path, landscape: Callable[..., Outcome]) -> None:
    outcome = landscape("merge", output.with_name("a.h5"), "-o", output)
    assert outcome.exit_code == 3
    assert "a.h5: no such file" in outcome.stderr
    assert not output.exists()


@pytest.fixture
def running(output: Path) -> tuple[Path, Path]:
    """A file without points, as the first process makes it, and one part."""
    save_surface(portion(bowl(), False), output)
    return output, save_part(portion(bowl(), np.arange(30).reshape(2, 5, 3) < 12), output)


def test_info_on_the_file_or_on_a_part_says_how_far_all_are(
    running: tuple[Path, Path], landscape: Callable[..., Outcome]
) -> None:
    for path in running:
        outcome = landscape("info", path)
        assert outcome.exit_code == 0
        assert outcome.stdout.startswith(f"{running[0]}\n")
        assert "12 of 30 (40%), partial" in outcome.stdout
        assert "1 beside this file" in outcome.stdout


def test_pictures_and_exports_of_a_running_scan_show_what_all_have(
    running: tuple[Path, Path], landscape: Callable[..., Outcome]
) -> None:
    output = running[0]
    assert landscape("plot", output, "-o", output.with_suffix(".svg")).exit_code == 0
    assert "12 of 30" in output.with_suffix(".svg").read_text()
    assert landscape("export", output, output.with_suffix(".csv")).exit_code == 0
    rows = output.with_suffix(".csv").read_text().splitlines()
    assert sum(",1," in row for row in rows) == 12 or len(rows) == 13
    assert "12 of 30" in landscape("show", output).stdout


@pytest.mark.parametrize("use", [load_union, lambda output: merge(parts_of(output), output)])
def test_memory_does_not_depend_on_how_many_parts_there_are(tmp_path: Path, use: Callable[[Path], Surface]) -> None:
    whole = surface_of(lambda _index, x, y: x + y, line(-1, 1, 101), line(-1, 1, 101), precision="float64")
    peaks = []
    for num in (3, 12):
        output = tmp_path / f"{num}.h5"
        for rank in range(num):
            save_part(portion(whole, np.arange(101**2).reshape(whole.grid.shape) % num == rank), output, rank)
        tracemalloc.start()
        assert use(output).complete
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_what_is_read_back_must_hold_what_was_written(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses what it was given: the parts stay."""
    save_surface(portion(bowl(), False), output)
    part = save_part(bowl(), output)
    monkeypatch.setattr("landscape_cli.union.save_surface", lambda *_: None)
    with pytest.raises(OutputError, match="does not hold what was written"):
        merge(parts_of(output), output)
    assert parts_of(output) == [part]
    assert load_surface(part).complete
