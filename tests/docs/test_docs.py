"""What README.md says is run: its commands, and that nothing of the command line is missing from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pivotrl_cli.interface.commands import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """Lines of the README's console blocks that a reader would type."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.slow
def test_the_readmes_pipeline_runs(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "pivotrl").write_text(f'#!/bin/sh\nexec {sys.executable} -m pivotrl_cli "$@"\n')
    (tmp_path / "pivotrl").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{path}", "PYTHONPATH": str(ROOT)}
    assert len(commands()) == 10
    for command in commands():
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    made = {p.name for p in tmp_path.iterdir()} - {"pivotrl"}
    assert made == {
        "trajectories.jsonl",
        "candidates.parquet",
        "candidates.rejects.parquet",
        "profile.parquet",
        "pivots.parquet",
        "dropped.parquet",
        "tuned",
        "base.parquet",
        "tuned.parquet",
        "few.parquet",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"<code>pivotrl {name}</code>" in README


def test_help_blocks_are_what_the_program_prints():
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "README.md"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
