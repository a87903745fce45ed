# ruff: noqa: E501  # one line a case reads best
"""Bad input for directions, paths and ranges through the real command line: one located message, and no file left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Outcome
from representative import mostly_slow
from safetensors.torch import save_file
from torch import Tensor, nn

BASE = """\
model: {_target_: test_bad_directions.Network}
checkpoint: {path: a.pt}
data:
  train: {dataset: {_target_: bad_models.dataset}, batch_size: 8}
axes:
  x: {start: -1, stop: 1, num: 3}
"""
Landscape = Callable[..., Outcome]


class Network(nn.Sequential):
    """Two layers with BatchNorm between them."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 4)


def diverged(context: object) -> dict[str, Tensor]:
    """A direction of the user's own that holds infinities."""
    return {name: torch.full_like(tensor, torch.inf) for name, tensor in context.params.items()}  # type: ignore[attr-defined]


def raising(context: object) -> dict[str, Tensor]:
    """A direction of the user's own that fails."""
    raise RuntimeError("no idea")


def write_foreign(path: str, *shapes: tuple[int, ...]) -> None:
    """A direction file of tomgoldstein/loss-landscape."""
    with h5py.File(path, "w") as file:
        for index, shape in enumerate(shapes):
            file[f"xdirection/{index}"] = np.ones(shape, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with good and bad checkpoints and direction files."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for name in ("a", "b", "run_1"):
        torch.save(Network().state_dict(), f"{name}.pt")
    torch.save(Network(6).state_dict(), "wide.pt")
    bad = Network().state_dict()
    bad["last.weight"][1, 2] = torch.nan
    torch.save(bad, "nan.pt")
    torch.save({name: tensor for name, tensor in Network().state_dict().items() if name != "last.bias"}, "part.pt")
    write_foreign("foreign.h5", (2, 2), (2,), (2,))
    write_foreign("swapped.h5", (3, 5), (5,), (5,), (5,), (4, 5), (4,))
    Path("notes.safetensors").write_text("a text file that was given another name")
    Path("notes.h5").write_text("a text file that was given another name")
    save_file({"0/x/conv.weight": torch.ones(2, 2)}, "foreign.safetensors")
    save_file({"0/x/first.weight": torch.ones(2, 2)}, "small.safetensors")
    return tmp_path


def x(direction: str, more: str = "") -> str:
    return BASE.replace("num: 3", f"num: 3, direction: {direction}") + more


def y(direction: str, more: str) -> str:
    return x(direction) + f"  y: {{num: 3, direction: {more}}}\n"


HERE = "error: c.yaml:6: axes.x.direction"
RELATIVE = "hint: Paths are relative to the working directory."
WIDE = "first.weight       wrong shape  file (6, 3), model (5, 3)"
OTHER = "hint: It must be of the same model as the checkpoint of the scan, and whole"
ANOTHER = "hint: It is a direction file of another model."
SAVED = "hint: It was saved for another model."
DIVERGED = "hint: The training had diverged when it was saved"
# text, exit code, words of the message
CASES: dict[str, tuple[str, int, list[str]]] = {
    "file: of another model": (x("{_target_: file, path: foreign.h5}"), 3, [f"{HERE}: foreign.h5: xdirection has 3 tensors; this model has 6 parameters, and 8 or 9 entries in its state dict", ANOTHER]),
    "file: of another shape": (x("{_target_: file, path: swapped.h5}"), 3, [f"{HERE}: swapped.h5: tensor 0 of xdirection has the shape (3, 5); first.weight of this model has (5, 3)", ANOTHER]),
    "file: not there": (x("{_target_: file, path: absent.h5}"), 3, [f"{HERE}.path: absent.h5: no such file", RELATIVE]),
    "file: a text file": (x("{_target_: file, path: notes.h5}"), 3, [f"{HERE}: notes.h5: not an HDF5 file; expected a direction file of tomgoldstein/loss-landscape"]),
    "file: unknown name": (x("{_target_: file, path: foreign.h5, name: xdirektion}"), 3, [f"{HERE}: foreign.h5: ", "did you mean 'xdirection'?"]),
    "file: a text file as safetensors": (x("{_target_: file, path: notes.safetensors}"), 3, [f"{HERE}: notes.safetensors: not a readable safetensors file", "hint: Expected one that directions: save has written."]),
    "file: safetensors of another model": (x("{_target_: file, path: foreign.safetensors}"), 3, [f"{HERE}: foreign.safetensors: it moves conv.weight, which this model does not have", SAVED]),
    "file: safetensors of another shape": (x("{_target_: file, path: small.safetensors}"), 3, [f"{HERE}: small.safetensors: ", "first.weight has the shape (2, 2); ", "(5, 3)", "of another model"]),
    "file: safetensors of other axes": (x("{_target_: file, path: foreign.safetensors, name: y}"), 3, [f"{HERE}: foreign.safetensors: there is no direction 'y'; known: x"]),
    "file: without a path": (x("file"), 2, [f"{HERE}: file needs the argument 'path'"]),
    "between: not there": (x("{_target_: between, checkpoint: absent.pt}"), 3, [f"{HERE}.checkpoint: absent.pt: no such file", RELATIVE]),
    "between: a folder": (x("{_target_: between, checkpoint: .}"), 3, [f"{HERE}.checkpoint: .: cannot be read: Is a directory"]),
    "between: another architecture": (x("{_target_: between, checkpoint: wide.pt}"), 3, [f"{HERE}: wide.pt: the file itself does not fit the model", WIDE, OTHER]),
    "between: a part of the model": (x("{_target_: between, checkpoint: part.pt}"), 3, [f"{HERE}: part.pt: the file itself does not fit the model", "last.bias  missing      in the model, not in the file", OTHER]),
    "between: NaN": (x("{_target_: between, checkpoint: nan.pt}"), 3, [f"{HERE}: nan.pt: NaN or infinite values in last.weight", DIVERGED]),
    "between: itself": (x("{_target_: between, checkpoint: a.pt}"), 3, [f"{HERE}: a.pt: has the same parameters as the checkpoint of the scan", "hint: Give another checkpoint"]),
    "between: unknown key": (x("{_target_: between, checkpoint: b.pt, key: ema}"), 3, [f"{HERE}: b.pt: no state dict under 'ema', asked for by direction.key"]),
    "between: a number": (x("{_target_: between, checkpoint: 3}"), 2, [f"{HERE}.checkpoint: found 3; input should be a valid string"]),
    "between: an argument of random": (x("{_target_: between, checkpoint: b.pt, normalization: filter}"), 2, [f"{HERE}: between has no argument 'normalization'; known: checkpoint, key, prefix"]),
    "between: twice, orthogonal": (y("{_target_: between, checkpoint: b.pt}", "{_target_: between, checkpoint: b.pt, orthogonal: true}"), 2, ["error: c.yaml:7: axes.y.direction: the direction is parallel to those of the axes before it; nothing of it is orthogonal", "hint: Choose another direction, or leave out the axis."]),
    "pca: nothing matches": (x("{_target_: pca, checkpoints: epoch_*.pt}"), 3, [f"{HERE}.checkpoints: epoch_*.pt: matches no file", "hint: Paths and globs are relative to the working directory."]),
    "pca: one file matches": (x("{_target_: pca, checkpoints: run_*.pt}"), 3, [f"{HERE}: run_1.pt: is the only checkpoint; a path has at least two", "hint: Give a glob such as runs/epoch_*.pt"]),
    "pca: no checkpoints": (x("{_target_: pca, checkpoints: []}"), 3, [f"{HERE}: no checkpoints; a path has at least two", "hint: Give a glob"]),
    "pca: one of two is not there": (x("{_target_: pca, checkpoints: [b.pt, absent.pt]}"), 3, [f"{HERE}.checkpoints: absent.pt: no such file", RELATIVE]),
    "pca: NaN": (x("{_target_: pca, checkpoints: [b.pt, nan.pt]}"), 3, [f"{HERE}: nan.pt: NaN or infinite values in last.weight", DIVERGED]),
    "pca: another architecture": (x("{_target_: pca, checkpoints: [b.pt, wide.pt]}"), 3, [f"{HERE}: wide.pt: the file itself does not fit the model", WIDE, OTHER]),
    "pca: component 0": (x("{_target_: pca, checkpoints: [b.pt, run_1.pt], component: 0}"), 2, [f"{HERE}.component: found 0; input should be greater than 0"]),
    "pca: a component too many": (x("{_target_: pca, checkpoints: [b.pt, run_1.pt], component: 3}"), 3, [f"{HERE}: b.pt … run_1.pt: about the checkpoint of the scan, these 2 checkpoints span 2 dimensions up to rounding; there is no component 3", "hint: Give more checkpoints, or fewer axes."]),
    "pca: a number": (x("{_target_: pca, checkpoints: 3}"), 2, [f"{HERE}.checkpoints: found 3; input should be a valid string or a valid list"]),
    "pca: without checkpoints": (x("pca"), 2, [f"{HERE}: pca needs the argument 'checkpoints'"]),
    "gradient: unknown split": (x("{_target_: gradient, split: trian}"), 2, [f"{HERE}: split: found 'trian'; did you mean 'train'?"]),
    "gradient: a negative number of examples": (x("{_target_: gradient, num_examples: -2}"), 2, [f"{HERE}.num_examples: found -2; input should be greater than 0"]),
    "hessian: unknown split": (x("{_target_: hessian, split: test}"), 2, [f"{HERE}: split: found 'test'; known: train"]),
    "hessian: no examples": (x("{_target_: hessian, num_examples: 0}"), 2, [f"{HERE}.num_examples: found 0; input should be greater than 0"]),
    "hessian: index 0": (x("{_target_: hessian, index: 0}"), 2, [f"{HERE}.index: found 0; input should be greater than 0"]),
    "hessian: an index too many": (x("{_target_: hessian, index: 400, parameters: first}"), 4, [f"{HERE}: curvature: found index 400 of an eigenvalue; expected 1 to 20, their number"]),
    "hessian: which": (x("{_target_: hessian, which: larges}"), 2, [f"{HERE}.which: found 'larges'; input should be 'largest' or 'smallest'"]),
    "hessian: a tolerance below zero": (x("{_target_: hessian, tolerance: -1}"), 2, [f"{HERE}.tolerance: found -1; input should be greater than 0"]),
    "parameters: a typing error": (x("{_target_: random, parameters: frist}"), 2, [f"{HERE}.parameters: 'frist' matches no parameter; did you mean 'first'?"]),
    "parameters: a typing error in a glob": (x("{_target_: random, parameters: [last.*, frist.*]}"), 2, [f"{HERE}.parameters: 'frist.*' matches no parameter; did you mean 'first'?"]),
    "parameters: a typing error in exclude": (x("{_target_: random, parameters: {exclude: lst.bias}}"), 2, [f"{HERE}.parameters: 'lst.bias' matches no parameter; did you mean 'last.bias'?"]),
    "parameters: nothing like it": (x("{_target_: random, parameters: layer3.*}"), 2, [f"{HERE}.parameters: 'layer3.*' matches no parameter; they are called first.weight, first.bias, norm.weight, norm.bias, …"]),
    "parameters: everything excluded": (x("{_target_: random, parameters: {include: first, exclude: [first, last]}}"), 2, [f"{HERE}.parameters: everything that is included is excluded; nothing would be left"]),
    "parameters: only a bias, which is ignored": (x("{_target_: random, parameters: first.bias}"), 2, [f"{HERE}: the direction is zero everywhere, so nothing would move", "use ignore: none"]),
    "orthogonal: x": (x("{_target_: random, orthogonal: true}"), 2, ["error: c.yaml:5: axes: x.direction: orthogonal: true is for y and z; there is no axis before x"]),
    "own: infinite": (x("test_bad_directions.diverged"), 2, [f"{HERE}: the direction of first.weight holds NaN or infinite values"]),
    "own: raises": (x("test_bad_directions.raising"), 2, [f"{HERE}: the direction raised RuntimeError: no idea", "--verbose shows the traceback"]),
    "recalibration: unknown split": (BASE + "evaluation: {batchnorm: recalibrate, recalibration: {split: trian}}\n", 2, ["error: c.yaml:7: evaluation.recalibration.split: found 'trian'; did you mean 'train'?"]),
    "recalibration: not asked for": (BASE + "evaluation: {recalibration: {split: train}}\n", 2, ["error: c.yaml:7: evaluation: recalibration belongs to batchnorm: recalibrate, found batchnorm: frozen"]),
    "recalibration: no examples": (BASE + "evaluation: {recalibration: {num_examples: 0}}\n", 2, ["error: c.yaml:7: evaluation.recalibration.num_examples: found 0; input should be greater than 0"]),
    "span: no trajectory": (BASE.replace("start: -1, stop: 1", "span: trajectory"), 2, ["error: c.yaml:6: axes.x.span: there is no trajectory", "hint: Name its checkpoints under trajectory."]),
    "trajectory: nothing matches": (BASE + "trajectory: {checkpoints: epoch_*.pt}\n", 3, ["error: c.yaml:7: trajectory.checkpoints: epoch_*.pt: matches no file"]),
    "trajectory: one of two is not there": (BASE + "trajectory: {checkpoints: [b.pt, absent.pt]}\n", 3, ["error: c.yaml:7: trajectory.checkpoints: absent.pt: no such file", RELATIVE]),
    "trajectory: another architecture": (BASE + "trajectory: {checkpoints: [b.pt, wide.pt]}\n", 3, ["error: c.yaml:7: trajectory.checkpoints: wide.pt: the file itself does not fit the model", WIDE, OTHER]),
    "trajectory: NaN": (BASE + "trajectory: {checkpoints: [b.pt, nan.pt]}\n", 3, ["error: c.yaml:7: trajectory.checkpoints: nan.pt: NaN or infinite values in last.weight", DIVERGED]),
    "directions: a typing error": (BASE + "directions: svae\n", 2, ["error: c.yaml:7: directions: found 'svae'; input should be 'save'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", mostly_slow(sorted(CASES), *sorted(CASES)[::2]))
def test_bad_input_gets_one_located_message_and_leaves_no_file(folder: Path, landscape: Landscape, case: str) -> None:
    text, exit_code, words = CASES[case]
    Path("c.yaml").write_text(text)
    outcome = landscape("scan", "c.yaml", "-o", "s.h5")
    assert outcome.exit_code == exit_code, outcome.stderr
    assert outcome.stdout == ""
    assert outcome.stderr.count("error: ") == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert word in outcome.stderr, outcome.stderr
    assert list(Path().glob("s.*")) == []


@pytest.mark.parametrize("case", ["between: NaN", "pca: one file matches", "parameters: a typing error in a glob"])
def test_validate_finds_it_before_the_scan(folder: Path, landscape: Landscape, case: str) -> None:
    text, exit_code, words = CASES[case]
    Path("c.yaml").write_text(text)
    outcome = landscape("validate", "c.yaml")
    assert outcome.exit_code == exit_code
    assert words[0].removeprefix("error: ") in outcome.stderr


def test_all_wrong_arguments_of_all_directions_are_reported_at_once(folder: Path, landscape: Landscape) -> None:
    Path("c.yaml").write_text(
        y("{_target_: pca, checkpoints: 3, component: 0}", "{_target_: hessian, index: 0, which: larges}")
    )
    outcome = landscape("scan", "c.yaml", "-o", "s.h5")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: 4 problems\n")
    for words in ("6: axes.x.direction.checkpoints", "6: axes.x.direction.component", "7: axes.y.direction.index"):
        assert f"c.yaml:{words}: found" in outcome.stderr
    assert "c.yaml:7: axes.y.direction.which: found 'larges'" in outcome.stderr


def test_a_bad_second_direction_leaves_an_existing_surface_as_it_is(folder: Path, landscape: Landscape) -> None:
    Path("c.yaml").write_text(BASE)
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    before = Path("s.h5").read_bytes()
    Path("c.yaml").write_text(y("random", "{_target_: between, checkpoint: wide.pt}"))
    outcome = landscape("scan", "c.yaml", "-o", "s.h5", "--overwrite")
    assert outcome.exit_code == 3
    assert "c.yaml:7: axes.y.direction: wide.pt: the file itself does not fit the model" in outcome.stderr
    assert Path("s.h5").read_bytes() == before


def test_a_checkpoint_of_the_path_that_changed_is_not_the_same_scan(folder: Path, landscape: Landscape) -> None:
    Path("c.yaml").write_text(x("{_target_: between, checkpoint: b.pt}"))
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    before = Path("s.h5").read_bytes()
    torch.save(torch.load("run_1.pt", weights_only=True), "b.pt")
    outcome = landscape("scan", "c.yaml", "-o", "s.h5")
    assert outcome.exit_code == 3
    assert "axes.x.direction.checkpoint: " in outcome.stderr
    assert Path("s.h5").read_bytes() == before


def test_the_same_files_elsewhere_are_the_same_scan(folder: Path, landscape: Landscape) -> None:
    Path("c.yaml").write_text(x("{_target_: between, checkpoint: b.pt}"))
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    before = Path("s.h5").read_bytes()
    Path("elsewhere").mkdir()
    Path("b.pt").rename("elsewhere/other.pt")
    Path("c.yaml").write_text(x(f"{{_target_: between, checkpoint: {Path('elsewhere/other.pt').absolute()}}}"))
    outcome = landscape("scan", "c.yaml", "-o", "s.h5")
    assert outcome.exit_code == 0, outcome.stderr
    assert "0 points computed" in outcome.stderr
    assert Path("s.h5").read_bytes() == before


def test_directions_are_not_saved_over_a_file_that_is_read(folder: Path, landscape: Landscape) -> None:
    Path("c.yaml").write_text(x("random") + "directions: save\n")
    assert landscape("scan", "c.yaml", "-o", "s.h5").exit_code == 0
    saved = Path("s.h5.directions.safetensors")
    before = saved.read_bytes()
    Path("c.yaml").write_text(x(f"{{_target_: file, path: {saved}, name: x}}") + "directions: save\n")
    outcome = landscape("scan", "c.yaml", "-o", "s.h5", "--overwrite")
    assert outcome.exit_code == 2
    assert "is read by a direction; directions: save would replace it" in outcome.stderr
    assert saved.read_bytes() == before
    assert landscape("scan", "c.yaml", "-o", "t.h5").exit_code == 0


def test_the_good_form_of_these_configs_can_be_scanned(folder: Path, landscape: Landscape) -> None:
    """So that the cases above fail for the reason that they name."""
    good = y("{_target_: between, checkpoint: b.pt, parameters: first}", "{_target_: random, orthogonal: true}")
    more = "trajectory: {checkpoints: [b.pt, run_*.pt]}\nevaluation: {batchnorm: recalibrate}\ndirections: save\n"
    Path("c.yaml").write_text(good + more)
    outcome = landscape("scan", "c.yaml", "-o", "s.h5")
    assert outcome.exit_code == 0, outcome.stderr
    assert {path.name for path in Path().glob("s.*")} == {"s.h5", "s.h5.directions.safetensors"}
