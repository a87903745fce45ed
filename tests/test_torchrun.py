"""scripts/torchrun.sh says by its exit status what torchrun does not: that the file is complete, or saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from landscape_cli import load_surface
from landscape_cli.union import load_part, load_union, parts_of

# about 6 s of one core
CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, num_examples: 64, batch_size: 16}}
axes:
  x: {{num: 25}}
  y: {{num: 25}}
runtime: {{save_every: 0s, engine: sequential, processes: 1}}
"""


def start(folder: Path, num_processes: int) -> subprocess.Popen[str]:
    command = [ROOT / "scripts" / "torchrun.sh", folder / "config.yaml", folder / "s.h5", "--quiet"]
    variables = {**os.environ, "PYTHON": sys.executable, "PROCESSES": str(num_processes), "MAX_RESTARTS": "0"}
    return subprocess.Popen(list(map(str, command)), env=variables, stderr=subprocess.PIPE, text=True)


def num_with_points(output: Path) -> int:
    parts = [load_part(path) for path in parts_of(output)]
    return sum(part is not None and part.num_evaluated > 0 for part in parts)


def processes_on(output: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(output) in line]


@pytest.mark.slow
def test_a_stop_is_saved_and_the_same_command_finishes_with_any_number_of_processes(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    output = tmp_path / "s.h5"
    with start(tmp_path, 2) as script:
        while num_with_points(output) < 2:
            assert script.poll() is None, script.communicate()
            time.sleep(0.02)
        script.send_signal(signal.SIGUSR1)  # torchrun itself would die of it and leave its processes behind
        _, err = script.communicate(timeout=120)
    assert script.returncode == 75, err
    assert err.splitlines()[-1] == f"{output} is saved but not complete: run the same command again"
    assert processes_on(output) == []
    assert 2 <= load_union(output).num_evaluated < 625

    with start(tmp_path, 1) as script:
        _, err = script.communicate(timeout=120)
    assert script.returncode == 0, err
    assert load_surface(output).complete
    assert not parts_of(output)


@pytest.mark.slow
def test_what_cannot_work_fails_with_another_status(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("SmallResNet", "LargeResNet"))
    with start(tmp_path, 1) as script:
        _, err = script.communicate(timeout=120)
    assert script.returncode not in (0, 75)
    assert "s.h5 is not complete, and nobody stopped the scan" in err
