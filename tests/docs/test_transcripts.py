"""The commands of README.md and docs/ are run, and print what stands below them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from tables import RIGHT, WRONG, candidate, script, write

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pages = import_module("tools.pages")
pytestmark = pytest.mark.slow

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


@pytest.fixture
def bash(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Callable[[str], str]:
    """Runs a line in a folder as a reader would, at 80 columns; returns what it prints."""
    programs = tmp_path_factory.mktemp("bin")
    (programs / "pivotrl").write_text(f'#!/bin/sh\nexec {sys.executable} -m pivotrl_cli "$@"\n')
    (programs / "sbatch").write_text(SLURM)
    for program in programs.iterdir():
        program.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def run(line: str) -> str:
        command = ["bash", "-o", "pipefail", "-c", line]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


def first_line(text: str) -> str:
    """The first line, whatever its numbers are; they differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "N", text.lstrip().partition("\n")[0])).strip()


def test_the_readmes_commands_run_one_after_another(bash) -> None:
    commands = pages.shown((ROOT / "README.md").read_text())
    ours = [command for command, _ in commands if command.startswith("pivotrl ")]
    assert ours
    for command in ours:
        bash(command)


def test_the_commands_of_the_pages_run_one_after_another(tmp_path, monkeypatch) -> None:
    (tmp_path / "tutorial").mkdir()
    for name in [*pages.PAGES, "tutorial"]:
        monkeypatch.chdir(tmp_path / name if name == "tutorial" else tmp_path)
        page = (DOCS / ("" if name == "tutorial" else "commands") / f"{name}.md").read_text()
        for command, expected in pages.shown(page):
            assert first_line(pages.run(command)) == first_line(expected), command


def test_the_pages_on_inspect_and_report_show_what_is_printed(bash, tmp_path) -> None:
    shown = [part for page in ("inspect.md", "report.md") for part in pages.shown((DOCS / page).read_text())]
    for command, expected in shown:
        printed = {line.rstrip() for line in bash(command).splitlines()}
        assert {line for line in expected.splitlines() if line not in ("...", "")} <= printed, command
    assert (tmp_path / "report.html").stat().st_size > 50_000


def test_the_array_job_and_its_merge_give_the_whole_profile(bash, tmp_path) -> None:
    array, submit = re.findall(r"```bash\n(.*?)```", (DOCS / "scaling.md").read_text(), re.DOTALL)
    rows = [candidate(f"t{i:02d}-{j}") for i in range(8) for j in range(3)]
    write(tmp_path / "candidates.parquet", rows)
    script(tmp_path / "r.jsonl", {row.candidate_id: [RIGHT, WRONG] * 8 for row in rows})
    (tmp_path / "profile.sh").write_text(array)
    bash(f"set -e\n{submit}")
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [f"{i}.parquet" for i in range(8)]
    options = "--engine replay --replay r.jsonl --window 3 --model Qwen/Qwen3-8B -n 16"
    bash(f"pivotrl profile candidates.parquet {options} -o whole.parquet")
    assert (tmp_path / "profile.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
