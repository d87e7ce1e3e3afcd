"""The demo's targets are real files: nothing runs twice, and a changed setting runs again from its stage on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STUB = """#!/bin/sh
# Writes what follows -o (a folder for train), and its own name to the log.
echo "$1" >> "$LOG"
stage=$1; previous=
for word in "$@"; do
  if [ "$previous" = -o ]; then
    if [ "$stage" = train ]; then mkdir -p "$word" && echo > "$word/pivotrl.json"; else echo > "$word"; fi
  fi
  previous=$word
done
"""


@pytest.fixture
def demo(tmp_path):
    """Runs `make demo` with a program that only writes its outputs; returns the stages that ran."""
    stub = tmp_path / "pivotrl"
    stub.write_text(STUB)
    stub.chmod(0o755)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/installed").touch()

    def run(*settings: str) -> list[str]:
        log = tmp_path / "log"
        log.write_text("")
        variables = [f"PIVOTRL={stub}", f"VENV={tmp_path}/venv", f"DEMO={tmp_path}/demo", *settings]
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | {"LOG": str(log)}
        done = subprocess.run(
            ["make", "-C", str(ROOT), "demo", *variables], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return log.read_text().split()

    return run


def test_a_second_demo_does_nothing(demo):
    assert sorted(demo()) == sorted(
        ["desk", "extract", "profile", "filter", "train", "train", "eval", "eval", "eval", "compare"]
    )
    assert demo() == []


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("LAMBDA=0.5", ["filter", "train", "eval", "compare"]),
        ("SFT_LR=1e-5", ["train", "eval", "compare"]),
        ("TASKS=3", ["eval", "eval", "eval", "compare"]),
        ("K=4", ["profile", "filter", "train", "eval", "compare"]),
    ],
)
def test_a_changed_setting_runs_again_from_its_stage_on(demo, setting, stages):
    demo()
    assert demo(setting) == stages
    assert demo(setting) == []
