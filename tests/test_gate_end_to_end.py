"""The gate on trained networks: the same function passes, a sharper one fails, other data are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome, Run
from gate_models import RETRAINED, Perceptron, environment

from landscape_cli.examples import digits

Landscape = Callable[..., Outcome]
pytestmark = pytest.mark.slow  # trains and scans networks


@pytest.fixture(autouse=True)
def _there(surfaces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(surfaces)


def radius(landscape: Landscape, file: str) -> float:
    return float(landscape("sharpness", file, "--metric", "adaptive_radius").stdout)


def verdict(landscape: Landscape, *arguments: object) -> dict[str, object]:
    (found,) = json.loads(landscape("compare", *arguments, "--json").stdout)["verdicts"]
    assert isinstance(found, dict)
    return found


def loss_of(checkpoint: str) -> float:
    """By hand, of all training data."""
    model = Perceptron()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    images, labels = digits(train=True).tensors
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(model(images), labels).item()


# ---------------------------------------------------------------- the same function passes, a sharper one does not


def test_a_surface_passes_against_itself_with_a_warning(landscape_process: Run) -> None:
    found = landscape_process("compare", "good.h5", "good.h5", "--gate", env=environment())
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("PASS: adaptive_radius of good.h5 (2) is ")
    assert "good.h5 (1) and good.h5 (2) are of the same checkpoint" in found.stderr


def test_a_rescaled_twin_passes_while_a_naive_measure_fails_it(landscape: Landscape, landscape_process: Run) -> None:
    """Dinh et al. 2017: one layer × 10, the next ÷ 10 is the same function, so nobody may stop it."""
    images, _ = digits(train=False).tensors
    both = []
    for name in ("good", "twin"):
        model = Perceptron()
        model.load_state_dict(torch.load(f"{name}.pt", weights_only=True))
        both.append(model(images))
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)

    invariant = landscape_process("compare", "good.h5", "twin.h5", "--gate", env=environment())
    assert invariant.returncode == 0, invariant.stdout
    assert invariant.stdout.startswith("PASS: adaptive_radius of twin.h5")
    assert radius(landscape, "twin.h5") == pytest.approx(radius(landscape, "good.h5"), rel=1e-5)

    for naive in ("mean_rise", "eps_sharpness"):  # along directions that are not normalized
        found = landscape("compare", "good.h5", "twin.h5", "--gate", f"{naive}:15%")
        assert found.exit_code == 5, found.stdout
        assert found.stdout.startswith(f"FAIL: {naive} of twin.h5")
    assert float(verdict(landscape, "good.h5", "twin.h5", "--gate", "mean_rise:15%")["change"]) > 5  # type: ignore[arg-type]


def test_a_sharper_network_fails_though_its_loss_is_small(landscape: Landscape, landscape_process: Run) -> None:
    assert loss_of("sharp.pt") < 0.05
    assert radius(landscape, "good.h5") / radius(landscape, "sharp.h5") > 1.5
    found = landscape_process("compare", "good.h5", "sharp.h5", "--gate", env=environment())
    assert found.returncode == 5, found.stdout + found.stderr
    first, *rest = found.stdout.splitlines()
    assert first.startswith("FAIL: adaptive_radius of sharp.h5 is 0.")
    assert "% less, with 98.33 % confidence at least" in first
    assert any("paired over 20 random directions" in line for line in rest)
    assert any("make it the new baseline, or allow for it: --gate adaptive_radius:" in line for line in rest)


def test_swapped_order_is_another_question(landscape: Landscape) -> None:
    assert landscape("compare", "good.h5", "sharp.h5", "--gate").exit_code == 5
    assert landscape("compare", "sharp.h5", "good.h5", "--gate").exit_code == 0  # flatter is no fault


def test_the_advised_tolerance_lets_it_pass(landscape: Landscape) -> None:
    found = landscape("compare", "good.h5", "sharp.h5", "--gate")
    tolerance = next(line for line in found.stdout.split() if line.startswith("adaptive_radius:"))
    assert landscape("compare", "good.h5", "sharp.h5", "--gate", tolerance).exit_code == 0


def test_other_data_are_named_and_refused(landscape_process: Run) -> None:
    found = landscape_process("compare", "good.h5", "other_data.h5", "--gate", env=environment())
    assert found.returncode == 3
    for words in ("NOT COMPARABLE", "adaptive_radius", "data train", "n = 512", "n = 300", "landscape scan CONFIG"):
        assert words in found.stdout


# ---------------------------------------------------------------- several baselines, open questions


def test_baselines_that_were_trained_again_stop_a_sharp_one_only(landscape: Landscape) -> None:
    base = ("--base", *(f"{name}.h5" for name in RETRAINED))
    good = landscape("compare", "good.h5", *base, "--gate", "adaptive_radius:25%")
    assert good.exit_code == 0
    assert good.stdout.startswith("PASS: ")
    assert "of 3 baselines" in good.stdout
    sharp = landscape("compare", "sharp.h5", *base, "--gate")
    assert sharp.exit_code == 5, sharp.stdout


def straddling(landscape: Landscape) -> str:
    """A tolerance between the limits of the change, so that nothing can be told."""
    low, high = verdict(landscape, "good.h5", "sharp.h5", "--gate")["bounds"]  # type: ignore[misc]
    return f"adaptive_radius:{-50 * (low + high):.3f}%"


def test_an_open_question_passes_with_a_warning_or_fails_where_that_is_asked(landscape: Landscape) -> None:
    arguments = ("compare", "good.h5", "sharp.h5", "--gate", straddling(landscape))
    for form in ((), ("--json",), ("--markdown",)):
        passed = landscape(*arguments, *form)
        assert passed.exit_code == 0
        assert passed.stderr == "warning: inconclusive counts as a pass; --on-inconclusive fail makes it exit code 6\n"
    failed = landscape(*arguments, "--on-inconclusive", "fail")
    assert (failed.exit_code, failed.stderr) == (6, "")
    assert failed.stdout.startswith("INCONCLUSIVE: ")
    assert "--more-slices 40" in failed.stdout
    assert landscape(*arguments, "--on-inconclusive", "pass").exit_code == 0


# ---------------------------------------------------------------- the same bytes, and noise far below the tolerance


def test_the_same_command_gives_the_same_bytes(surfaces: Path, landscape_process: Run) -> None:
    arguments = ("compare", *(surfaces / f"{name}.h5" for name in ("good", "sharp")), "--gate", "--json")
    runs = [
        landscape_process(*arguments, cwd=cwd, env=environment(PYTHONHASHSEED=seed)).stdout
        for cwd, seed in ((surfaces, "0"), ("/", "1"))
    ]
    assert runs[0] == runs[1]
    assert json.loads(runs[0])["outcome"] == "fail"


def test_another_engine_moves_the_radius_far_less_than_the_tolerance(landscape: Landscape) -> None:
    assert radius(landscape, "by_mlp.h5") == pytest.approx(radius(landscape, "good.h5"), rel=1e-5)
    assert landscape("compare", "good.h5", "by_mlp.h5", "--gate", "adaptive_radius:0.1%").exit_code == 0


@pytest.mark.parametrize(("processes", "threads"), [(1, "2"), (2, "1")])
def test_threads_and_processes_move_the_radius_far_less_than_the_tolerance(
    tmp_path: Path, landscape: Landscape, landscape_process: Run, processes: int, threads: str
) -> None:
    again = tmp_path / "again.h5"
    options = ("-o", again, "--set", f"runtime.processes={processes}")
    made = landscape_process("scan", "c.yaml", *options, env=environment(OMP_NUM_THREADS=threads))
    assert made.returncode == 0, made.stderr
    assert os.environ["OMP_NUM_THREADS"] == "1"  # of good.h5
    assert radius(landscape, str(again)) == pytest.approx(radius(landscape, "good.h5"), rel=1e-5)
    for name, code in (("sharp.h5", 5), ("second.h5", 0)):
        found = [landscape("compare", base, name, "--gate", "adaptive_radius:30%") for base in ("good.h5", again)]
        assert [each.exit_code for each in found] == [code, code]


def test_a_scan_that_ran_out_of_time_is_partial_and_not_judged(
    tmp_path: Path, landscape: Landscape, landscape_process: Run
) -> None:
    part = tmp_path / "part.h5"
    options = ("-o", part, "--time-budget", "6s", "--set", "radius.num=400", "--set", "radius.slices=40")
    made = landscape_process("scan", "c.yaml", *options, env=environment())
    assert made.returncode == 75, made.stderr
    found = landscape("compare", "good.h5", part, "--gate")
    assert found.exit_code == 3
    assert "part.h5" in found.stdout
