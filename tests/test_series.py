# ruff: noqa: E501  # one line a case reads best
"""Several checkpoints in one command: each as if it were alone, the data decoded once, and resumable as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Outcome, Run
from documents import validate
from representative import mostly_slow
from safetensors.torch import load_file
from series_models import network

from landscape_cli import load_surface
from landscape_cli.cli.series import jobs_of
from landscape_cli.errors import CheckpointError, UsageError

CONFIG = """\
model: {_target_: series_models.Network}
checkpoint: {path: a.pt}
metrics: [accuracy]
data:
  train: {dataset: {_target_: series_models.Counted, counter: counter}, batch_size: 8}
axes:
  x: {num: 3}
  y: {num: 3}
runtime: {processes: 1, workers: 0, engine: sequential}
"""
NAMES = ("a", "b", "c")
SERIES = ("--checkpoint", "a.pt", "b.pt", "c.pt", "-o", "out/{stem}.h5")
Landscape = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config, three checkpoints of one network and a folder for the surfaces."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(NAMES):
        torch.save(network(seed, scale=1.0 + seed), f"{name}.pt")
    Path("c.yaml").write_text(CONFIG)
    Path("out").mkdir()
    return tmp_path


def num_read() -> int:
    return Path("counter").stat().st_size if Path("counter").exists() else 0


def document(text: str, name: str) -> dict[str, object]:
    found = json.loads(text)
    validate(found, name)
    assert isinstance(found, dict)
    return found


def reports(text: str, name: str = "ScanReport") -> list[dict[str, object]]:
    """The scans of a series, each of them checked."""
    scans = document(text, "SeriesReport")["scans"]
    assert isinstance(scans, list)
    return [document(json.dumps(scan), name) for scan in scans]


def assert_same(first: Path, second: Path) -> None:
    """The same surface, bit for bit."""
    a, b = load_surface(first), load_surface(second)
    assert (a.grid, a.fingerprint, [*a.metrics]) == (b.grid, b.fingerprint, [*b.metrics])
    assert a.complete
    assert b.complete
    for name, metric in a.metrics.items():
        assert metric.values.tobytes() == b.metrics[name].values.tobytes()
        assert metric.std.tobytes() == b.metrics[name].std.tobytes()
        assert (metric.centre, metric.centre_std) == (b.metrics[name].centre, b.metrics[name].centre_std)
    assert {name: each.norm for name, each in a.directions.items()} == {
        name: each.norm for name, each in b.directions.items()
    }


# ---------------------------------------------------------------- each as if it were alone


@pytest.mark.slow
def test_every_surface_equals_that_of_a_scan_of_its_own(folder: Path, landscape: Landscape) -> None:
    outcome = landscape("scan", "c.yaml", *SERIES, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    scans = reports(outcome.stdout)
    assert [scan["file"] for scan in scans] == ["out/a.h5", "out/b.h5", "out/c.h5"]
    assert [scan["checkpoint"] for scan in scans] == ["a.pt", "b.pt", "c.pt"]
    assert [scan["status"] for scan in scans] == ["complete"] * 3
    for name in NAMES:
        assert landscape("scan", "c.yaml", "-o", f"{name}.h5", "--set", f"checkpoint.path={name}.pt").exit_code == 0
        assert_same(Path(f"out/{name}.h5"), Path(f"{name}.h5"))
    centres = {load_surface(f"out/{name}.h5").metrics["train_loss"].centre for name in NAMES}
    assert len(centres) == 3


@pytest.mark.slow
def test_a_real_process_does_the_same(folder: Path, landscape: Landscape, landscape_process: Run) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    outcome = landscape_process("scan", "c.yaml", *SERIES, "--json", env=environment)
    assert outcome.returncode == 0, outcome.stderr
    assert len(reports(outcome.stdout)) == 3
    assert landscape("scan", "c.yaml", "-o", "alone.h5", "--set", "checkpoint.path=b.pt").exit_code == 0
    assert_same(Path("out/b.h5"), Path("alone.h5"))


def test_one_checkpoint_is_a_scan_like_any_other(folder: Path, landscape: Landscape) -> None:
    outcome = landscape("scan", "c.yaml", "--checkpoint", "b.pt", "-o", "s.h5", "--json")
    report = document(outcome.stdout, "ScanReport")
    assert (report["file"], report["checkpoint"]) == ("s.h5", "b.pt")


def test_every_checkpoint_moves_along_the_same_gaussians_in_the_lengths_of_its_own_filters(
    folder: Path, landscape: Landscape
) -> None:
    assert landscape("scan", "c.yaml", *SERIES, "--set", "directions=save", "--set", "slices.num=2").exit_code == 0
    drawn = {}
    for name in NAMES:
        weights = torch.load(f"{name}.pt", weights_only=True)
        directions = load_file(f"out/{name}.h5.directions.safetensors")
        assert {key.split("/", 2)[:2][0] for key in directions} == {"0", "1"}
        for key, tensor in directions.items():
            units = tensor.double().flatten(1)
            own = weights[key.split("/")[2]].double().flatten(1)
            assert torch.allclose(units.norm(dim=1), own.norm(dim=1), rtol=1e-6)
            drawn[name, key] = units / units.norm(dim=1, keepdim=True)
    keys = {key for _, key in drawn}
    assert len(keys) == 2 * 2 * 2  # slices, axes, tensors
    for key in keys:
        for name in NAMES[1:]:
            assert torch.allclose(drawn[name, key], drawn["a", key], atol=1e-6)
    assert not torch.allclose(drawn["a", "0/x/1.weight"], drawn["a", "1/x/1.weight"], atol=0.1)


@pytest.mark.slow
def test_a_range_is_found_for_every_checkpoint_by_itself(folder: Path, landscape: Landscape) -> None:
    spans = ("--set", "axes.x={num: 3, span: {rise: 0.5}}", "--set", "axes.y=null")
    assert landscape("scan", "c.yaml", *SERIES, *spans).exit_code == 0
    stops = {name: load_surface(f"out/{name}.h5").grid.axes[0].coordinates[-1] for name in NAMES}
    for name in NAMES:
        landscape("scan", "c.yaml", "-o", f"{name}.h5", *spans, "--set", f"checkpoint.path={name}.pt")
        assert stops[name] == load_surface(f"{name}.h5").grid.axes[0].coordinates[-1]
    assert len(set(stops.values())) == 3


# ---------------------------------------------------------------- shared, and resumed


def test_data_are_decoded_once_for_all_checkpoints(folder: Path, landscape: Landscape) -> None:
    landscape("scan", "c.yaml", "-o", "alone.h5")
    alone = num_read()
    assert alone >= 20
    landscape("scan", "c.yaml", *SERIES)
    assert num_read() == 2 * alone


def test_run_again_it_computes_nothing(folder: Path, landscape: Landscape) -> None:
    landscape("scan", "c.yaml", *SERIES)
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    assert {path.name for path in before if path.suffix == ".h5"} == {"a.h5", "b.h5", "c.h5"}
    scans = reports(landscape("scan", "c.yaml", *SERIES, "--json").stdout)
    assert [(scan["status"], scan["num_computed"]) for scan in scans] == [("complete", 0)] * 3
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before


@pytest.mark.slow
def test_a_checkpoint_that_is_added_is_all_that_is_computed(folder: Path, landscape: Landscape) -> None:
    landscape("scan", "c.yaml", "--checkpoint", "a.pt", "c.pt", "-o", "out/{stem}.h5")
    scans = reports(landscape("scan", "c.yaml", *SERIES, "--json").stdout)
    assert [scan["num_computed"] for scan in scans] == [0, 9, 0]


@pytest.mark.slow
def test_a_time_budget_is_that_of_the_whole_command(folder: Path, landscape: Landscape) -> None:
    outcome = landscape("scan", "c.yaml", *SERIES, "--time-budget", "1ms", "--json")
    assert outcome.exit_code == 75
    report = document(outcome.stdout, "SeriesReport")
    assert (report["num_failed"], report["num_left"]) == (0, 2)
    (first,) = reports(outcome.stdout)
    assert (first["file"], first["status"]) == ("out/a.h5", "stopped")
    assert not Path("out/b.h5").exists()
    talk = landscape("scan", "c.yaml", *SERIES, "--time-budget", "1ms").stderr
    assert "2 checkpoints were not reached; run the same command again to go on" in talk
    assert landscape("scan", "c.yaml", *SERIES).exit_code == 0
    assert all(load_surface(f"out/{name}.h5").complete for name in NAMES)


@contextlib.contextmanager
def scanning(arguments: list[str], *, until: Callable[[], bool]) -> Iterator[subprocess.Popen[str]]:
    """A real process, stopped in time by whoever asked for it."""
    command = [sys.executable, "-m", "landscape_cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    pause = threading.Event()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while not until():
            assert process.poll() is None, process.communicate()
            pause.wait(0.01)
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
def test_a_signal_in_the_middle_saves_and_the_same_command_finishes_everything(
    folder: Path, landscape: Landscape
) -> None:
    many = ("--set", "axes.x.num=25", "--set", "axes.y.num=25")
    arguments = ["scan", "c.yaml", *SERIES, *many, "--json", "--set", "runtime.save_every=0s"]

    def second_is_begun() -> bool:
        return Path("out/b.h5").exists() and load_surface("out/b.h5").num_evaluated > 2

    with scanning(arguments, until=second_is_begun) as process:
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "Traceback" not in err
    report = document(out, "SeriesReport")
    assert (report["num_failed"], report["num_left"]) == (0, 1)
    assert [scan["status"] for scan in reports(out)] == ["complete", "stopped"]
    assert load_surface("out/a.h5").complete
    begun = load_surface("out/b.h5").num_evaluated
    assert 2 < begun < 625
    assert not Path("out/c.h5").exists()
    again = landscape("scan", "c.yaml", *SERIES, *many, "--json")
    assert again.exit_code == 0, again.stderr
    assert [scan["num_computed"] for scan in reports(again.stdout)] == [0, 625 - begun, 625]
    landscape("scan", "c.yaml", "-o", "b.h5", *many, "--set", "checkpoint.path=b.pt")
    assert_same(Path("out/b.h5"), Path("b.h5"))


# ---------------------------------------------------------------- one of them is bad


def with_nan(path: Path) -> None:
    weights = torch.load(path, weights_only=True)
    weights["1.weight"][0] = torch.nan
    torch.save(weights, path)


def without_a_key(path: Path) -> None:
    weights = torch.load(path, weights_only=True)
    torch.save({name: tensor for name, tensor in weights.items() if name != "4.bias"}, path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (with_nan, "{}.pt: NaN or infinite values in 1.weight"),
    "a key is missing": (without_a_key, "4.bias  missing      in the model, not in the file"),
    "empty": (lambda path: path.write_bytes(b""), "{}.pt: the file is empty"),
}


@pytest.mark.parametrize("name", mostly_slow(NAMES, "b"))
@pytest.mark.parametrize("case", sorted(BAD))
def test_a_bad_checkpoint_does_not_stop_the_others(folder: Path, landscape: Landscape, case: str, name: str) -> None:
    spoil, message = BAD[case]
    spoil(folder / f"{name}.pt")
    outcome = landscape("scan", "c.yaml", *SERIES, "--json")
    assert outcome.exit_code == 3
    assert outcome.stderr.count("error: ") == 1
    assert message.format(name) in outcome.stderr
    assert "Traceback" not in outcome.stderr
    report = document(outcome.stdout, "SeriesReport")
    assert (report["num_failed"], report["num_left"]) == (1, 0)
    good = [each for each in NAMES if each != name]
    assert [scan["file"] for scan in reports(outcome.stdout)] == [f"out/{each}.h5" for each in good]
    assert all(load_surface(f"out/{each}.h5").complete for each in good)
    assert not Path(f"out/{name}.h5").exists()


def test_when_every_checkpoint_is_bad_each_is_named(folder: Path, landscape: Landscape) -> None:
    for name in NAMES:
        with_nan(folder / f"{name}.pt")
    outcome = landscape("scan", "c.yaml", *SERIES, "--json")
    assert outcome.exit_code == 3
    assert [f"{name}.pt: NaN" in outcome.stderr for name in NAMES] == [True] * 3
    report = document(outcome.stdout, "SeriesReport")
    assert (report["scans"], report["num_failed"]) == ([], 3)
    assert list(Path("out").glob("*.h5")) == []


@pytest.mark.slow
def test_a_file_that_belongs_to_another_scan_does_not_stop_the_others(folder: Path, landscape: Landscape) -> None:
    landscape("scan", "c.yaml", *SERIES)
    Path("out/a.h5").write_bytes(Path("out/b.h5").read_bytes())
    Path("out/c.h5").unlink()
    outcome = landscape("scan", "c.yaml", *SERIES, "--json")
    assert outcome.exit_code == 3
    assert "out/a.h5: was made by another config, checkpoint or data" in outcome.stderr
    assert [scan["num_computed"] for scan in reports(outcome.stdout)] == [0, 9]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--set", "axes.x.num=0"), "axes.x.num: found 0"),
        (("--set", "loss=cross_entropie"), "did you mean 'cross_entropy'?"),
        (("--set", "axes.x.direction={_target_: random, normalization: fliter}"), "found 'fliter'"),
    ],
)
def test_what_is_wrong_with_the_config_is_said_once(
    folder: Path, landscape: Landscape, change: tuple[str, ...], words: str
) -> None:
    outcome = landscape("scan", "c.yaml", *SERIES, *change)
    assert outcome.exit_code == 2
    assert outcome.stderr.count("error: ") == 1
    assert outcome.stderr.count(words) == 1
    assert list(Path("out").glob("*.h5")) == []


def test_a_folder_that_is_not_there_is_named_once(folder: Path, landscape: Landscape) -> None:
    outcome = landscape("scan", "c.yaml", *SERIES[:-1], "runs/{stem}.h5")
    assert outcome.exit_code == 2
    assert outcome.stderr.count("error: ") == 1
    assert "the folder runs does not exist" in outcome.stderr
    assert "mkdir -p runs" in outcome.stderr


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("out/{stem}.h5", ["out/epoch_1.h5", "out/final.best.h5"], marks=pytest.mark.slow),
        pytest.param("out/{name}.h5", ["out/epoch_1.pt.h5", "out/final.best.ckpt.h5"], marks=pytest.mark.slow),
        pytest.param("out/{parent}.h5", ["out/early.h5", "out/late.h5"], marks=pytest.mark.slow),
        pytest.param("out/{index}.h5", ["out/0.h5", "out/1.h5"], marks=pytest.mark.slow),
        ("out/{index:03d}-{parent}-{stem}.h5", ["out/000-early-epoch_1.h5", "out/001-late-final.best.h5"]),
        ("{parent}/s.h5", ["early/s.h5", "late/s.h5"]),
    ],
)
def test_names_of_surfaces_are_made_of_those_of_the_checkpoints(
    folder: Path, landscape: Landscape, pattern: str, expected: list[str]
) -> None:
    for parent, name, origin in (("early", "epoch_1.pt", "a.pt"), ("late", "final.best.ckpt", "b.pt")):
        Path(parent).mkdir()
        Path(parent, name).write_bytes(Path(origin).read_bytes())
    outcome = landscape(
        "scan", "c.yaml", "--checkpoint", "early/epoch_1.pt", "late/final.best.ckpt", "-o", pattern, "--json"
    )
    assert [scan["file"] for scan in reports(outcome.stdout)] == expected
    assert [load_surface(path).provenance.resolved["checkpoint"]["path"] for path in expected] == [  # type: ignore[index,call-overload]
        "early/epoch_1.pt",
        "late/final.best.ckpt",
    ]


PLACES = "{…} can be {stem}, {name}, {parent}, {index}"
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "one file for all": (["--checkpoint", "a.pt", "b.pt", "-o", "out/s.h5"], ["-o out/s.h5: a.pt, b.pt would all write out/s.h5", "Such as: -o 'out/{stem}.h5'"]),
    "the same stem twice": (["--checkpoint", "a.pt", "out/../a.pt", "-o", "out/{stem}.h5"], ["a.pt, out/../a.pt would all write out/a.h5", "{parent}-{stem}"]),
    "unknown place": (["--checkpoint", "a.pt", "-o", "out/{epoch}.h5"], [f"out/{{epoch}}.h5: {PLACES}"]),
    "unnamed place": (["--checkpoint", "a.pt", "-o", "out/{}.h5"], [PLACES]),
    "unclosed place": (["--checkpoint", "a.pt", "-o", "out/{stem.h5"], [PLACES]),
    "attribute of a place": (["--checkpoint", "a.pt", "-o", "out/{stem.upper.x}.h5"], [PLACES]),
    "item of a place": (["--checkpoint", "a.pt", "-o", "out/{stem[x]}.h5"], [PLACES]),
    "wrong format of a place": (["--checkpoint", "a.pt", "-o", "out/{stem:d}.h5"], [PLACES]),
    "missing file": (["--checkpoint", "a.pt", "absent.pt", "-o", "out/{stem}.h5"], ["--checkpoint absent.pt: no such file", "Paths are relative to the working directory."]),
    "checkpoints without the option": (["a.pt", "b.pt", "-o", "out/{stem}.h5"], ["a.pt: unexpected argument", "Checkpoints come after --checkpoint."]),
    "named as the checkpoint": (["--checkpoint", "a.pt", "b.pt", "-o", "out/{name}"], ["out/a.pt: a surface file is no .pt file", "Such as: -o out/a.h5"]),
    "a picture": (["--checkpoint", "a.pt", "b.pt", "-o", "out/{stem}.png"], ["a surface file is no .png file", "-o out/{stem}.h5"]),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(WRONG))
def test_a_wrong_command_is_refused_before_anything_is_read(folder: Path, landscape: Landscape, case: str) -> None:
    arguments, words = WRONG[case]
    outcome = landscape("scan", "c.yaml", *arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert word in outcome.stderr, outcome.stderr
    assert num_read() == 0
    assert list(Path("out").iterdir()) == []


def test_a_dry_run_tells_what_every_scan_takes_and_writes_nothing(folder: Path, landscape: Landscape) -> None:
    landscape("scan", "c.yaml", "--checkpoint", "b.pt", "-o", "out/{stem}.h5")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    outcome = landscape("scan", "c.yaml", *SERIES, "--dry-run", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert [plan["num_pending"] for plan in reports(outcome.stdout, "PlanReport")] == [9, 0, 9]
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    talk = landscape("scan", "c.yaml", *SERIES, "--dry-run")
    assert talk.stderr.count("dry run: nothing was written") == 3
    assert "a.pt → out/a.h5 (1 of 3)" in talk.stderr


def test_values_are_finite_and_of_the_checkpoint_itself_at_the_centre(folder: Path, landscape: Landscape) -> None:
    """Against a plain evaluation of each checkpoint, so that no weights are left over from the one before."""
    from bad_models import dataset
    from series_models import Network

    landscape("scan", "c.yaml", *SERIES)
    inputs, labels = dataset().tensors
    for name in NAMES:
        model = Network()
        model.load_state_dict(torch.load(f"{name}.pt", weights_only=True))
        with torch.no_grad():
            expected = float(torch.nn.functional.cross_entropy(model(inputs), labels))
        values = load_surface(f"out/{name}.h5")["train_loss"]
        assert values[0, 1, 1] == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ["{stem}.h5", "out/{parent}/{index}.h5"])
def test_a_placeholder_without_checkpoints_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match=r"is for several checkpoints"):
        jobs_of([], Path(name))
    assert jobs_of([], Path("{odd}.h5")) == [(None, Path("{odd}.h5"))]


def test_a_glob_in_quotes_is_that_of_the_shell_in_the_order_of_training(folder: Path) -> None:
    for name in ("e_10.pt", "e_2.pt"):
        Path(name).touch()
    jobs = jobs_of([Path("e_*.pt")], Path("{index}-{stem}.h5"))
    assert [(str(path), str(output)) for path, output in jobs] == [("e_2.pt", "0-e_2.h5"), ("e_10.pt", "1-e_10.h5")]
    with pytest.raises(CheckpointError, match="matches no file"):
        jobs_of([Path("f_*.pt")], Path("{stem}.h5"))
