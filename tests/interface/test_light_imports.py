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

WITHOUT_EXTRAS = f"""
import sys
sys.modules |= dict.fromkeys({HEAVY!r})
from pivotrl_cli.interface.cli import main
main()
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


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["profile", "candidates.parquet", "-o", "p.parquet"], "train"),
        (["train", "candidates.parquet", "--method", "sft", "-o", "sft"], "train"),
        (["train", "candidates.parquet", "--method", "sft", "--nproc", "2", "-o", "sft"], "train"),
        (["eval", "desk", "-o", "e.parquet"], "train"),
        (["doctor", "desk"], "train"),
        (["export", "candidates.parquet", "--to", "verl", "--model", "desk", "-o", "verl"], "train"),
        (["extract", "hf:someone/something", "-o", "c.parquet"], "datasets"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(candidates_file, arguments, extra):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *arguments],
        cwd=candidates_file.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    line = f"error: this {arguments[0]} needs the {extra} extra\nhint: pip install 'pivotrl[{extra}]'\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", line)
    assert not list(candidates_file.parent.glob("*.partial"))
