"""Every command that writes something, on small inputs of one folder, run as a shell would run it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from tables import RIGHT, TALK, WRONG, candidate, says, script, user, write

from pivotrl_cli.interface.cli import main

ROOT = Path(__file__).parents[2]
N = 4
REPLAY = f"--engine replay --replay r.jsonl -n {N} --window 4"
ON_CPU = "--engine hf --device cpu --max-new-tokens 4"

COMMANDS: dict[str, list[str]] = {
    line.split()[0]: line.split()
    for line in (
        "extract t.jsonl -o out.parquet",
        f"profile c.parquet {REPLAY} -o out.parquet",
        "merge s0.parquet s1.parquet -o out.parquet",
        "filter p.parquet --dropped dropped.parquet -o out.parquet",
        "score p.parquet --verifier exact -o out.parquet",
        "train q.parquet --model tiny --method sft --steps 2 --prompts-per-step 2 --checkpoint-every 1 -o out",
        f"eval pivots:q.parquet --model tiny --limit 2 {ON_CPU} --max-error-rate 1 -o out.parquet",
        "import-eval samples.jsonl -o out.parquet",
        "export pivots.parquet --to openai -o out",
        "desk -n 2 -o out.jsonl",
    )
}
"""By the name of the command."""


KILLS = {"train": 6, "eval": 12, "merge": 12}
"""At how many random moments test_kill.py kills a command."""


def output_of(name: str) -> str:
    """What `-o` names."""
    return COMMANDS[name][COMMANDS[name].index("-o") + 1]


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error; an exception that is not reported in one line goes through."""
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["pivotrl", *arguments]),
        contextlib.redirect_stderr(io.StringIO()) as errors,
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return ended.value.code or 0, errors.getvalue()


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pivotrl_cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(path: Path) -> dict[str, bytes]:
    """What a file or a folder holds, hidden files included."""
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def inputs(folder: Path, tiny_model: Path) -> None:
    """The inputs of all commands: 12 candidates in 4 trajectories, their profile whole and in two shards, a model."""
    rng = random.Random(0)
    rows = [candidate(f"t{i}-{j}") for i in range(4) for j in range(3)]
    write(folder / "c.parquet", rows)
    texts = {row.candidate_id: rng.choices([RIGHT, WRONG, TALK], k=N) for row in rows}
    script(folder / "r.jsonl", texts)
    said = {"tools": "[]", "expected_action": says("yes"), "verifier": "exact"}
    splits = ["train"] * 4 + ["holdout"] * 2
    asked = [candidate(f"q{i}-0", state=[user(f"{i}?")], split=split, **said) for i, split in enumerate(splits)]
    write(folder / "q.parquet", asked)
    sample = {"doc_id": 0, "doc": {}, "target": "4", "arguments": {}, "resps": [["4"]], "filtered_resps": ["4"]}
    (folder / "samples.jsonl").write_text(json.dumps(sample | {"metrics": ["acc"], "acc": 1.0}) + "\n")
    (folder / "tiny").symlink_to(tiny_model)
    for line in (
        "desk -n 2 -o t.jsonl",
        f"profile c.parquet {REPLAY} -o p.parquet",
        f"profile c.parquet {REPLAY} -o s0.parquet --shard 0/2",
        f"profile c.parquet {REPLAY} -o s1.parquet --shard 1/2",
        "filter p.parquet -o pivots.parquet",
    ):
        assert run(folder, *line.split())[0] == 0


def linked(inputs_folder: Path, folder: Path) -> Path:
    """A folder of its own with those inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in inputs_folder.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


@contextlib.contextmanager
def mounted(folder: Path, *options: str, source: str = "tmpfs", kind: str = "tmpfs") -> Iterator[Path]:
    """A file system of its own at a folder; skips the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", kind, "-o", ",".join(options), source, str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def but_times(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without the one table that has seconds in it."""
    return {name: data for name, data in files.items() if name != "metrics.parquet"}
