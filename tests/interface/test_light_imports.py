"""Commands that need no model must not pay for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "datasets", "vllm", "ray")
SCRIPT = f"""
import sys
from pivotrl_cli.interface.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
"""

COMMANDS = [
    ["--help"],
    *[[command, "--help"] for command in ("profile", "train", "eval", "doctor")],
    ["extract", "t.jsonl", "-o", "o.parquet"],
    ["profile", "candidates.parquet", "--engine", "replay", "--replay", "replay.jsonl", "-o", "o.parquet"],
    ["filter", "profile.parquet", "-o", "o.parquet"],
    ["inspect", "profile.parquet"],
    ["inspect", "profile.parquet", "--row", "a-0"],
    ["inspect", "profile.parquet", "--json"],
    ["inspect", "profile.parquet", "--trajectory", "a"],
    ["inspect", "profile.parquet", "--disagreements", "2"],
    ["report", ".", "-o", "report.html"],
    ["desk", "-n", "2", "-o", "desk.jsonl"],
    ["import-eval", "report.json", "-o", "e.parquet"],
    ["export", "candidates.parquet", "--to", "nemo-gym", "-o", "gym"],
    ["export", "profile.parquet", "--to", "trl", "-o", "trl"],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=[" ".join(arguments) for arguments in COMMANDS])
def test_a_light_command_imports_nothing_heavy(profile_file, arguments):
    folder = profile_file.parent
    record = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}
    (folder / "t.jsonl").write_text(json.dumps(record) + "\n")
    report = {"resolved_ids": ["a"], "unresolved_ids": [], "total_instances": 1}
    (folder / "report.json").write_text(json.dumps(report))
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "loaded:"
