# ruff: noqa: E501  # one line a case reads best
"""Bad input through the real command line: one clear message, the right exit code, and nothing damaged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import torch
from bad_models import Linear
from conftest import ROOT, Outcome, Run
from torch import nn

BASE = """\
model: {_target_: bad_models.Linear}
checkpoint: {path: weights.pt}
metrics: [accuracy]
data:
  train: {dataset: {_target_: bad_models.dataset}, batch_size: 8}
axes:
  x: {start: -1, stop: 1, num: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a good config, its checkpoint and a finished surface file."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(Linear().state_dict(), "weights.pt")
    Path("good.yaml").write_text(BASE)
    return tmp_path


CASES = {
    "missing config": ("absent.yaml", None, 2, ["absent.yaml: no such file", "YAML"]),
    "empty config": ("c.yaml", "", 2, ["c.yaml: empty, or nothing but comments; expected YAML"]),
    "malformed YAML": ("c.yaml", "model: {a: [1, 2}\n", 2, ["c.yaml:1: not valid YAML"]),
    "a list": ("c.yaml", "[1, 2]", 2, ["c.yaml:1: expected a mapping with model, checkpoint, data and axes"]),
    "unknown key": ("c.yaml", BASE.replace("batch_size", "batchsize"), 2, ["c.yaml:5: data.train.batchsize: unknown key", "batch_size"]),
    "duplicate key": ("c.yaml", BASE + "loss: mse\nloss: l1\n", 2, ["c.yaml:9: loss: given twice, first on line 8"]),
    "unknown module": ("c.yaml", BASE.replace("bad_models.Linear", "bad_modells.Linear"), 2, ["c.yaml:1: model: bad_modells.Linear: there is no module 'bad_modells'", "PYTHONPATH"]),
    "unknown attribute": ("c.yaml", BASE.replace("models.Linear", "models.Linaer"), 2, ["c.yaml:1: model: bad_models has no 'Linaer'; did you mean 'Linear'?"]),
    "unknown loss": ("c.yaml", BASE + "loss: cross_entropie\n", 2, ["c.yaml:8: loss: unknown name 'cross_entropie'; did you mean 'cross_entropy'?"]),
    "unknown direction": ("c.yaml", BASE.replace("num: 3", "num: 3, direction: rondom"), 2, ["c.yaml:7: axes.x.direction: unknown name 'rondom'; did you mean 'random'?"]),
    "unknown normalization": ("c.yaml", BASE.replace("num: 3", "num: 3, direction: {_target_: random, normalization: fliter}"), 2, ["axes.x.direction.normalization: found 'fliter'", "'filter', 'layer', 'weight', 'unit' or 'none'"]),
    "wrong argument": ("c.yaml", BASE.replace("Linear}", "Linear, num_clases: 4}"), 2, ["c.yaml:1: model: bad_models.Linear:", "num_clases", "did you mean 'num_classes'?"]),
    "constructor raises": ("c.yaml", BASE.replace("Linear}", "Linear, num_classes: ten}"), 2, ["c.yaml:1: model: bad_models.Linear(…) raised TypeError"]),
    "not a module": ("c.yaml", BASE.replace("models.Linear", "models.not_a_module"), 2, ["c.yaml:1: model: bad_models.not_a_module(…) is a int; expected a torch.nn.Module"]),
    "num 0": ("c.yaml", BASE.replace("num: 3", "num: 0"), 2, ["c.yaml:7: axes.x.num: found 0"]),
    "start == stop": ("c.yaml", BASE.replace("start: -1", "start: 1"), 2, ["c.yaml:7: axes.x: start must be smaller than stop"]),
    "empty dataset": ("c.yaml", BASE.replace("dataset}", "dataset, length: 0}"), 2, ["c.yaml:5: data.train.dataset: the dataset is empty"]),
    "augmentation": ("c.yaml", BASE.replace("models.dataset", "models.Augmented"), 2, ["example 0 differs when it is read twice", "augmentation"]),
    "labels out of range": ("c.yaml", BASE.replace("dataset}", "dataset, num_classes: 5}"), 4, ["data.train: example", "has the label 4; the model has 4 outputs", "0 … 3"]),
    "NaN in the data": ("c.yaml", BASE.replace("models.dataset", "models.nan_dataset"), 4, ["train_loss at the checkpoint is nan: the data of train hold NaN"]),
    "model returns a tuple": ("c.yaml", BASE.replace("Linear", "ReturnsTuple"), 4, ["data.train: the model returned a tuple; expected one tensor"]),
    "model returns a dict": ("c.yaml", BASE.replace("Linear", "ReturnsDict"), 4, ["data.train: the model returned a dict with logits; expected one tensor"]),
    "model draws random numbers": ("c.yaml", BASE.replace("Linear", "Noisy"), 4, ["does not repeat itself", "draws random numbers"]),
    "loss does not fit": ("c.yaml", BASE + "loss: mse\n", 4, ["data.train: loss raised ValueError", "must have the same shape"]),
    "a loss that averages": ("c.yaml", BASE + "loss: torch.nn.CrossEntropyLoss\n", 4, ["loss returned a tensor of shape ()", "reduction='none'"]),
    "expectation not met": ("c.yaml", BASE.replace("weights.pt}", "weights.pt, expect: {train_accuracy: 0.99}}"), 3, ["c.yaml:2: checkpoint.expect: train_accuracy at the checkpoint is", "expected 0.99 ± 0.01"]),
    "expectation of nothing": ("c.yaml", BASE.replace("weights.pt}", "weights.pt, expect: {train_acc: 0.9}}"), 2, ["no such metric; did you mean 'train_accuracy'?"]),
    "no GPU": ("c.yaml", BASE + "runtime: {device: 'cuda:77'}\n", 2, ["c.yaml:8: runtime.device: found 'cuda:77'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_bad_config_gets_one_clear_message(folder: Path, landscape: Callable[..., Outcome], case: str) -> None:
    name, text, exit_code, words = CASES[case]
    if text is not None:
        Path(name).write_text(text)
    outcome = landscape("scan", name, "-o", "s.h5")
    assert outcome.exit_code == exit_code, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.startswith("error: ")
    for word in words:
        assert word in outcome.stderr, outcome.stderr
    assert not Path("s.h5").exists()


def test_all_problems_of_a_config_are_reported_at_once(folder: Path, landscape: Callable[..., Outcome]) -> None:
    Path("c.yaml").write_text(
        BASE.replace("models.Linear", "models.Linaer").replace("num: 3", "num: 3, direction: rondom")
    )
    outcome = landscape("validate", "c.yaml")
    assert outcome.exit_code == 2
    assert "Linaer" in outcome.stderr
    assert "rondom" in outcome.stderr


def other_model(path: Path) -> None:
    torch.save(nn.Linear(5, 4).state_dict(), path)


def nan_weights(path: Path) -> None:
    model = Linear()
    with torch.no_grad():
        model.weight[0, 0] = torch.nan
    torch.save(model.state_dict(), path)


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing": (Path.unlink, ["weights.pt: no such file", "good.yaml:2: checkpoint"]),
    "of another model": (
        other_model,
        ["weights.pt: the file itself does not fit", "weight", "file (4, 5), model (4, 3)"],
    ),
    "with NaN": (nan_weights, ["weights.pt: NaN or infinite values in weight", "diverged"]),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-200]), ["weights.pt: not a readable checkpoint"]),
    "of zero bytes": (lambda path: path.write_bytes(b""), ["weights.pt: the file is empty"]),
}


@pytest.mark.parametrize("case", sorted(CHECKPOINTS))
def test_a_bad_checkpoint_gets_one_clear_message(folder: Path, landscape: Callable[..., Outcome], case: str) -> None:
    damage, words = CHECKPOINTS[case]
    damage(folder / "weights.pt")
    outcome = landscape("scan", "good.yaml", "-o", "s.h5")
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith("error: ")
    assert all(word in outcome.stderr for word in words), outcome.stderr


OUTPUTS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:500]), 3, "s.h5: an HDF5 file, but not a whole landscape surface file"),
    "of zero bytes": (lambda path: path.write_bytes(b""), 3, "s.h5: the file is empty"),
    "a text file": (lambda path: path.write_text("my notes"), 3, "s.h5: not an HDF5 file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), 2, "s.h5: is a folder"),
    "of other data": (lambda path: Path("good.yaml").write_text(BASE.replace("dataset}", "dataset, length: 19}")), 3, "data.train.fingerprint"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(OUTPUTS))
def test_an_existing_output_that_cannot_be_resumed_is_left_alone(
    folder: Path, landscape: Callable[..., Outcome], case: str
) -> None:
    assert landscape("scan", "good.yaml", "-o", "s.h5").exit_code == 0
    damage, exit_code, message = OUTPUTS[case]
    damage(folder / "s.h5")
    before = (folder / "s.h5").read_bytes() if (folder / "s.h5").is_file() else None
    outcome = landscape("scan", "good.yaml", "-o", "s.h5")
    assert outcome.exit_code == exit_code
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    if before is not None:
        assert (folder / "s.h5").read_bytes() == before


def test_overwrite_replaces_a_damaged_surface_but_not_a_foreign_file(
    folder: Path, landscape: Callable[..., Outcome]
) -> None:
    landscape("scan", "good.yaml", "-o", "s.h5")
    Path("s.h5").write_bytes(Path("s.h5").read_bytes()[:5000])
    assert landscape("scan", "good.yaml", "-o", "s.h5", "--overwrite").exit_code == 0
    Path("thesis.tex").write_text("precious")
    outcome = landscape("scan", "good.yaml", "-o", "thesis.tex", "--overwrite")
    assert outcome.exit_code == 3
    assert "not a surface file; --overwrite replaces only those" in outcome.stderr
    assert Path("thesis.tex").read_text() == "precious"
    with h5py.File("images.h5", "w") as file:
        file["images"] = [1, 2, 3]
    assert landscape("scan", "good.yaml", "-o", "images.h5", "--overwrite").exit_code == 3
    with h5py.File("images.h5") as file:
        assert list(file["images"]) == [1, 2, 3]


def test_a_pipe_is_no_output_and_no_surface_file(folder: Path, landscape: Callable[..., Outcome]) -> None:
    os.mkfifo("pipe")
    for command in (
        ["scan", "good.yaml", "-o", "pipe"],
        ["scan", "good.yaml", "-o", "pipe", "--overwrite"],
        ["info", "pipe"],
    ):
        outcome = landscape(*command)
        assert outcome.exit_code in (2, 3)
        assert "pipe: is a device or a pipe" in outcome.stderr


def test_a_failing_overwrite_keeps_the_old_surface(folder: Path, landscape: Callable[..., Outcome]) -> None:
    landscape("scan", "good.yaml", "-o", "s.h5")
    before = Path("s.h5").read_bytes()
    Path("good.yaml").write_text(BASE.replace("Linear", "ReturnsTuple"))
    assert landscape("scan", "good.yaml", "-o", "s.h5", "--overwrite").exit_code == 4
    assert Path("s.h5").read_bytes() == before


def test_an_output_folder_that_does_not_exist_is_refused_first(folder: Path, landscape: Callable[..., Outcome]) -> None:
    outcome = landscape("scan", "good.yaml", "-o", "runs/today/s.h5")
    assert outcome.exit_code == 2
    assert "the folder runs/today does not exist" in outcome.stderr
    assert "mkdir -p runs/today" in outcome.stderr


def test_a_surface_is_not_called_as_something_else(folder: Path, landscape: Callable[..., Outcome]) -> None:
    outcome = landscape("scan", "good.yaml", "-o", "s.png")
    assert outcome.exit_code == 2
    assert "a surface file is no .png file" in outcome.stderr
    assert "-o s.h5" in outcome.stderr


def test_what_a_model_prints_does_not_spoil_the_json(folder: Path, landscape: Callable[..., Outcome]) -> None:
    Path("good.yaml").write_text(BASE.replace("Linear", "Talkative"))
    outcome = landscape("scan", "good.yaml", "-o", "s.h5", "--json")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["status"] == "complete"
    assert "hello" in outcome.stderr


def test_validate_prints_json_also_for_yaml_that_cannot_be_read(
    folder: Path, landscape: Callable[..., Outcome]
) -> None:
    outcome = landscape("validate", "absent.yaml", "--json")
    assert outcome.exit_code == 2
    assert json.loads(outcome.stdout)["valid"] is False


def test_a_scan_that_leaves_some_weights_to_chance_can_be_resumed(
    folder: Path, landscape: Callable[..., Outcome]
) -> None:
    weights = torch.load("weights.pt", weights_only=True)
    torch.save({"weight": weights["weight"]}, "weights.pt")
    partial = ("--set", "checkpoint.strict=false")
    assert landscape("scan", "good.yaml", "-o", "s.h5", *partial).exit_code == 0
    assert landscape("scan", "good.yaml", "-o", "s.h5", *partial).exit_code == 0
    assert "partial match allowed" in landscape("info", "s.h5").stdout


def test_the_cause_of_an_error_is_shown_on_request(folder: Path, landscape: Callable[..., Outcome]) -> None:
    Path("c.yaml").write_text(BASE.replace("Linear}", "Linear, num_classes: ten}"))
    assert "Traceback" in landscape("scan", "c.yaml", "-o", "s.h5", "--verbose").stderr


@pytest.mark.slow
def test_a_bug_of_ours_is_a_traceback_and_exit_code_1(folder: Path, landscape_process: Run) -> None:
    """Exit code 1 never means anything else; here the interpreter itself is sabotaged."""
    (folder / "sitecustomize.py").write_text(
        "import landscape_cli.yaml_source as y\ndef broken(*a, **k): raise RuntimeError('bug')\n"
        "import landscape_cli.config as c\nc.read_yaml = broken\n"
    )
    outcome = landscape_process("validate", "good.yaml", env={**os.environ, "PYTHONPATH": str(folder)})
    assert outcome.returncode == 1
    assert "RuntimeError: bug" in outcome.stderr


@pytest.mark.parametrize(
    "args",
    [["scan"], ["scan", "good.yaml"], ["plot", "s.h5"], ["nonsense"], ["scan", "good.yaml", "-o", "x", "--colour"]],
)
def test_a_wrong_command_line_is_exit_code_2(folder: Path, landscape: Callable[..., Outcome], args: list[str]) -> None:
    outcome = landscape(*args)
    assert outcome.exit_code == 2
    assert "Usage: landscape" in outcome.stderr


@pytest.mark.parametrize("override", ["axes.x.num", "=3", "axes.x.num=0", "axes.q.num=3", "loss.0.x=1"])
def test_a_wrong_override_is_named(folder: Path, landscape: Callable[..., Outcome], override: str) -> None:
    outcome = landscape("scan", "good.yaml", "-o", "s.h5", "--set", override)
    assert outcome.exit_code == 2
    assert f"--set {override}" in outcome.stderr


@pytest.mark.slow
def test_the_second_of_two_scans_on_one_output_is_refused(folder: Path, landscape: Callable[..., Outcome]) -> None:
    slow = [sys.executable, "-m", "landscape_cli", "scan", "good.yaml", "-o", "s.h5", "--set", "axes.x.num=200001"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(slow, stderr=subprocess.PIPE, text=True, env=environment) as first:
        assert first.stderr is not None
        wait_for((folder / "s.h5").exists, first)
        outcome = landscape("scan", "good.yaml", "-o", "s.h5")
        first.terminate()
        first.communicate(timeout=60)
        assert first.returncode == 75
    assert outcome.exit_code == 2
    assert "another process is writing this file" in outcome.stderr


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, "it ended too early"
        pause.wait(0.05)
    raise AssertionError("waited for a minute")


def test_validate_reports_every_shipped_config_as_valid(
    landscape: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    configs = sorted(ROOT.glob("configs/*.yaml"))
    assert len(configs) >= 3
    for config in configs:
        needs_more = any(word in config.read_text() for word in ("torchvision.datasets", "demo/path"))
        outcome = landscape("validate", config.relative_to(ROOT), *(["--no-data"] if needs_more else []))
        assert outcome.exit_code == 0, outcome.stderr
        assert re.search(r"valid", outcome.stdout)
