"""The commands of docs/inspect.md and docs/report.md, one after another, print what stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def shown(page: str) -> list[tuple[str, list[str]]]:
    """Commands of a page's console blocks, and the lines that they are said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ pivotrl "), []))
            elif line not in ("...", ""):
                found[-1][1].append(line)
    return found


@pytest.mark.slow
def test_the_pages_show_what_is_printed(tmp_path):
    commands = shown("inspect.md") + shown("report.md")
    assert len(commands) == 8
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    for command, said in commands:
        line = ["bash", "-c", f"{sys.executable} -m pivotrl_cli {command}"]
        done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed = [text.rstrip() for text in (done.stdout + done.stderr).splitlines()]
        assert [text for text in said if text not in printed] == []
    assert (tmp_path / "report.html").stat().st_size > 50_000
