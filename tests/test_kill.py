"""SIGKILL at random moments: no file is ever broken, no saved point lost, and the end is the same, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

CONFIG = f"""\
model: {{_target_: landscape_cli.examples.SmallResNet}}
checkpoint: {{path: {ROOT / "configs" / "digits.pt"}}}
metrics: [accuracy]
data:
  train: {{dataset: {{_target_: landscape_cli.examples.digits, train: true}}, num_examples: 100, batch_size: 50}}
axes:
  x: {{num: 31}}
  y: {{num: NUM}}
runtime: {{save_every: SAVE, engine: sequential, processes: 2}}
"""


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("num_kills", "save_every", "num"), [(50, "0s", 251), (10, "1s", 101)])
def test_fifty_kills_leave_valid_files_and_the_final_one_equals_an_uninterrupted_one(
    tmp_path: Path, num_kills: int, save_every: str, num: int
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("NUM", str(num)).replace("SAVE", save_every))
    (tmp_path / "out").mkdir()
    command = [
        sys.executable,
        Path(__file__).with_name("kill_driver.py"),
        config,
        tmp_path / "out" / "s.h5",
        num_kills,
        0,
    ]
    finished = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    sys.stdout.write(
        f"{num_kills} kills, {result['leftovers']} in the middle of a save; "
        f"points in the file after each: {result['rounds']}\n"
    )
    for evaluated in result["rounds"]:
        assert evaluated == sorted(evaluated), "a saved point was lost"
    different = sum(len(set(evaluated)) for evaluated in result["rounds"])
    assert different >= num_kills / 4, "the kills hardly ever met a scan that was computing"
    assert result["reference_exit_code"] == result["exit_code"] == 0
    assert result["num_points"] == 31 * num
    assert result["identical"]
    assert result["left_in_folder"] == [".reference.h5.lock", ".s.h5.lock", "reference.h5", "s.h5"]
