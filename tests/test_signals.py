"""Signals to a real scan: saved, the right exit code, and the same command finishes the work."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Run

from landscape_cli import load_surface

CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, num_examples: 64, batch_size: 16}}
axes:
  x: {{num: 31}}
  y: {{num: 31}}
runtime: {{save_every: 0s}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@contextlib.contextmanager
def scanning(config: Path, *, after_points: int) -> Iterator[subprocess.Popen[str]]:
    """A scan that has finished at least ``after_points`` points."""
    output = config.with_name("s.h5")
    command = [sys.executable, "-m", "landscape_cli", "scan", str(config), "-o", str(output), "--json"]
    pause = threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (output.exists() and load_surface(output).num_evaluated >= after_points):
            assert process.poll() is None, process.communicate()
            pause.wait(0.02)
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("milliseconds", [30, 80])
def test_a_second_sigterm_while_the_result_is_printed_changes_nothing(config: Path, milliseconds: int) -> None:
    with scanning(config, after_points=3) as process:
        process.terminate()
        threading.Event().wait(milliseconds / 1000)
        process.terminate()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert json.loads(out)["status"] == "stopped"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    ("numbers", "exit_code"),
    [
        ([signal.SIGTERM], 75),
        ([signal.SIGTERM, signal.SIGTERM], 75),  # Slurm with torchrun sends two within milliseconds
        ([signal.SIGUSR1], 75),
        ([signal.SIGUSR2], 75),
        ([signal.SIGINT], 130),
    ],
)
def test_a_signal_saves_and_the_same_command_finishes(
    config: Path, numbers: list[signal.Signals], exit_code: int
) -> None:
    with scanning(config, after_points=3) as process:
        for number in numbers:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == exit_code
    report = json.loads(out)
    assert report["status"] == "stopped"
    saved = load_surface(config.with_name("s.h5"))
    assert report["num_evaluated"] == saved.num_evaluated >= 3
    assert not saved.complete
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.alone
def test_after_a_stop_the_same_command_computes_only_what_is_missing(config: Path, landscape_process: Run) -> None:
    with scanning(config, after_points=3) as process:
        process.terminate()
        process.communicate(timeout=60)
    before = load_surface(config.with_name("s.h5")).num_evaluated
    again = landscape_process(
        "scan", config, "-o", config.with_name("s.h5"), "--json", "--set", "runtime.save_every=1s"
    )
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert (report["status"], report["num_computed"]) == ("complete", 961 - before)


def test_a_signal_before_the_first_point_ends_at_once_and_touches_no_file(config: Path) -> None:
    command = [sys.executable, "-m", "landscape_cli", "scan", str(config), "-o", str(config.with_name("s.h5"))]
    pause = threading.Event()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not _handles(process.pid, signal.SIGTERM):
            assert process.poll() is None
            pause.wait(0.001)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "no file was touched" in err
    assert not config.with_name("s.h5").exists()


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has installed a handler, from its signal mask in /proc."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.slow
@pytest.mark.alone
def test_a_second_interrupt_ends_the_process_on_the_spot(tmp_path: Path) -> None:
    """Through a model that hangs in its forward pass, so that the polite way cannot work."""
    (tmp_path / "hanging.py").write_text(
        "import os, sys, time, torch\nfrom torch import nn\nclass Model(nn.Linear):\n"
        "    def __init__(self): super().__init__(64, 10)\n"
        "    def forward(self, x):\n"  # however often it was called before the first save
        "        if os.path.exists('s.h5'): print('hanging', flush=True); time.sleep(600)\n"
        "        return super().forward(x.flatten(1))\n"
    )
    (tmp_path / "make.py").write_text("import torch, hanging\ntorch.save(hanging.Model().state_dict(), 'w.pt')\n")
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True)
    text = CONFIG.replace("landscape_cli.examples.SmallResNet", "hanging.Model").replace(
        str(ROOT / "configs" / "digits.pt"), "w.pt"
    )
    (tmp_path / "config.yaml").write_text(text)
    command = [sys.executable, "-m", "landscape_cli", "scan", "config.yaml", "-o", "s.h5"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while process.stderr.readline() != "hanging\n":  # what a model prints must not reach stdout
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert load_surface(tmp_path / "s.h5").num_evaluated < 961
