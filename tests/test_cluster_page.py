"""docs/cluster.md: its commands exist, its Job is one, its table of shares is true, and its scripts are for sbatch."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Outcome
from test_ci_page import help_of
from test_scan import contents, small_config

from landscape_cli import load_surface
from landscape_cli.share import share_of

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
(JOB,) = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
(ARGUMENT,) = JOB["spec"]["template"]["spec"]["containers"][0]["args"]
SCRIPTS = sorted([*ROOT.glob("scripts/slurm/*.sbatch"), ROOT / "scripts" / "torchrun.sh"])
# a call ends with its line, with a comment, or with the quotation that it stands in
CALLS = re.findall(r"landscape (scan|merge|info)([^'#`\n]*)", "\n".join([PAGE, ARGUMENT]))
ROWS = re.findall(r"^\| [^|]* \| (`(?:--shard|[A-Z_]+=).*) \| ([^|]*) \|$", PAGE, flags=re.MULTILINE)


def test_every_option_of_a_command_exists() -> None:
    assert {command for command, _ in CALLS} == {"scan", "merge", "info"}
    assert sum("--shard" in rest for _, rest in CALLS) >= 4
    for command, rest in CALLS:
        options = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
        assert options <= set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", help_of(command))), rest


@pytest.mark.parametrize("script", [*SHELL, ARGUMENT])
def test_what_a_shell_is_to_run_is_its_language(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_every_script_of_the_page_exists() -> None:
    named = set(re.findall(r"(?<![\w/])scripts/\S+\.(?:sh|sbatch)", "\n".join(SHELL)))
    assert named == {str(script.relative_to(ROOT)) for script in SCRIPTS}


@pytest.mark.parametrize(("setting", "process"), ROWS)
def test_the_table_of_shares_is_true(setting: str, process: str) -> None:
    words = re.findall(r"`([^`]*)`", setting)
    shard = words.pop(0).removeprefix("--shard ") if words[0].startswith("--shard") else None
    share = share_of(dict(word.split("=", 1) for word in words), shard)
    said = "alone" if share.is_alone else f"{share.rank} of {share.world_size}"
    assert process == said or process.startswith(f"{said}, ")


def test_the_table_has_all_launchers() -> None:
    assert len(ROWS) == 8


def test_the_job_has_as_many_shares_as_its_command_says_and_takes_75_for_a_stop() -> None:
    spec = JOB["spec"]
    assert (JOB["kind"], spec["completionMode"]) == ("Job", "Indexed")
    assert f'--shard "$JOB_COMPLETION_INDEX/{spec["completions"]}"' in ARGUMENT
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else there may be no podFailurePolicy
    by_code = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", ())
    }
    assert by_code == {75: "Ignore", 2: "FailJob", 3: "FailJob"}


def test_files_of_machines_without_a_common_folder_are_merged_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landscape: Callable[..., Outcome]
) -> None:
    (block,) = [text for text in SHELL if "--no-sweep" in text]
    assert small_config(tmp_path) == tmp_path / "config.yaml"
    monkeypatch.chdir(tmp_path)
    outcomes = [landscape(*shlex.split(line, comments=True)[1:]) for line in block.splitlines()]
    assert [outcome.exit_code for outcome in outcomes] == [0] * 4
    assert "100%" in outcomes[-1].stdout
    assert landscape("scan", "config.yaml", "-o", "alone.h5", "--set", "runtime.engine=sequential").exit_code == 0
    assert contents(load_surface("surface.h5")) == contents(load_surface("alone.h5"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_bash_that_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.suffix == ".sbatch"], ids=lambda path: path.name)
def test_a_batch_script_comes_back_and_says_what_it_is_for(script: Path) -> None:
    options = re.findall(r"^#SBATCH (--\S+)", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@60"} <= set(options)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    finished = subprocess.run(["bash", str(script)], env=outside, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "this file is for sbatch" in finished.stderr
