"""The array job of docs/scaling.md, run task by task without Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tables import RIGHT, WRONG, candidate, script, write

ROOT = Path(__file__).parents[2]
ARRAY, SUBMIT = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)
SLURM = """#!/bin/bash
if [ "$1" = --parsable ]; then
  shift
  for SLURM_ARRAY_TASK_ID in 0 1 2 3 4 5 6 7; do
    export SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_COUNT=8
    bash "$@" --engine replay --replay r.jsonl --window 3 || exit 1
  done
  echo 77
else
  [ "$1 $2" = '--dependency=afterok:77 --wrap' ] && bash -c "$3"
fi
"""
"""What the two submissions come to, one after another, with another engine."""


@pytest.mark.slow
def test_the_array_job_and_its_merge_give_the_whole_profile(tmp_path):
    rows = [candidate(f"t{i:02d}-{j}") for i in range(8) for j in range(3)]
    write(tmp_path / "candidates.parquet", rows)
    script(tmp_path / "r.jsonl", {row.candidate_id: [RIGHT, WRONG] * 8 for row in rows})
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pivotrl").write_text(f'#!/bin/sh\nexec {sys.executable} -m pivotrl_cli "$@"\n')
    (programs / "sbatch").write_text(SLURM)
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / "profile.sh").write_text(ARRAY)

    def bash(command: str) -> None:
        env = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    bash(f"set -e\n{SUBMIT}")
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [f"{i}.parquet" for i in range(8)]
    options = "--engine replay --replay r.jsonl --window 3 --model Qwen/Qwen3-8B -n 16"
    bash(f"pivotrl profile candidates.parquet {options} -o whole.parquet")
    assert (tmp_path / "profile.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
