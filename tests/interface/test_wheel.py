"""The built wheel in a fresh virtual environment: what `pip install pivotrl` gives runs without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"
RECORDED = ("tau_bench", "tau2_bench", "swe_agent", "mini_swe_agent", "openhands", "inspect_logs", "claude_code_log")


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a virtual environment with the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT, folder=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    assert run(sys.executable, "-m", "venv", folder / "venv", folder=folder).returncode == 0
    installed = run(folder / "venv/bin/pip", "install", "--quiet", wheel, folder=folder)
    assert installed.returncode == 0, installed.stderr
    return folder / "venv/bin"


@pytest.mark.slow
def test_the_wheel_runs_without_torch(environment: Path, tmp_path: Path) -> None:
    names = run(environment / "pip", "list", "--format", "freeze", folder=tmp_path).stdout
    installed = {line.partition("==")[0] for line in names.splitlines()}
    assert installed.isdisjoint({"torch", "transformers", "datasets", "huggingface-hub", "tokenizers"})
    for arguments in (
        ["desk", "-n", "4", "-o", "t.jsonl"],
        ["extract", "t.jsonl", "-o", "c.parquet"],
        ["score", "c.parquet", "--audit"],
        ["inspect", "c.parquet"],
        ["export", "c.parquet", "--to", "nemo-gym", "-o", "gym"],
        ["doctor"],
    ):
        ended = run(environment / "pivotrl", *arguments, folder=tmp_path)
        assert ended.returncode == 0, (arguments, ended.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_the_wheel_reads_recorded_runs(environment: Path, tmp_path: Path, name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip("needs the recorded runs of ../shared/data")
    ended = run(environment / "pivotrl", "extract", DATA / name, "-o", "c.parquet", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
