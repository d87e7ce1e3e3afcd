"""SIGKILL at random moments: the same command ends in the same bytes, and nothing that was finished is done twice.

The 50 kills are 20 of a profile (`test_resume.py`), and 30 here. A process that has everything imported forks one for
each run, so that a run is short and the moments fall into its work.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from chain import COMMANDS as CHAIN
from chain import KILLS, ON_CPU, REPLAY, ROOT, contents, linked, run
from tables import candidate, read, says, user, write
from training import without_seconds

from pivotrl_cli.rows import StepMetrics
from pivotrl_cli.stages.train import run as train
from pivotrl_cli.stages.train import run_folder

FORKS = """
import json, os, signal, sys, time
from pathlib import Path
from pivotrl_cli.model.folder import load_model, load_tokenizer, resolve_device_and_dtype
from pivotrl_cli.interface.cli import main
from pivotrl_cli.engines import hf
from pivotrl_cli.learn import grpo, optimizer, policy, self_check
from pivotrl_cli.stages.eval import run as eval
from pivotrl_cli.stages.profile import merge
from pivotrl_cli.stages.train import method, run as train

load_tokenizer(Path("talker"))
load_model(Path("talker"), *resolve_device_and_dtype("cpu", "auto"))
for line in sys.stdin:
    folder, arguments, seconds = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        sys.path.insert(0, folder)
        sys.argv = ["pivotrl", *arguments]
        os.dup2(os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        main()
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)  # ended or not, nobody has waited for it, so the number is still its own
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
VERIFIER = """
from pivotrl_cli.verifiers import Verdict

def counted(candidate, action):
    with open("verdicts", "a") as file:
        file.write(candidate.candidate_id + "\\n")
    return Verdict(float(action.content == "yes"), "said")
"""
TRAIN = (
    "train questions.parquet --model talker --verifier counted.py:counted --steps 4 --prompts-per-step 2 --group-size 4"
    " --max-new-tokens 8 --learning-rate 1e-3 --kl-coef 0.1 --checkpoint-every 1 --device cpu -o out"
)
COMMANDS = {
    "train": TRAIN,
    "eval": f"eval pivots:q.parquet --model tiny --trials 3 {ON_CPU} --exact-resume --max-error-rate 1 -o out",
    "merge": "merge m0.parquet m1.parquet m2.parquet -o out",
}


class Forks:
    """The process that forks the runs."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS], cwd=folder, env=environment, text=True, stdin=-1, stdout=-1
        )

    def run(self, folder: Path, arguments: list[str], seconds: float | None = None) -> bool:
        """Run to the end, or to the kill after so many seconds; whether it was still there to be killed."""
        self.process.stdin.write(json.dumps([str(folder), arguments, seconds]) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        assert code == 0 or (code == -signal.SIGKILL and seconds is not None), (folder / "errors").read_text()
        return code != 0

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def forks(talker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forks")
    (folder / "talker").symlink_to(talker)
    opened = Forks(folder)
    yield opened
    opened.close()


@pytest.fixture
def folder(chain_inputs, talker, tmp_path) -> Path:
    folder = linked(chain_inputs, tmp_path / "work")
    (folder / "talker").symlink_to(talker)
    (folder / "counted.py").write_text(VERIFIER)
    said = {"tools": "[]", "expected_action": says("yes"), "verifier": "exact"}
    write(
        folder / "questions.parquet", [candidate(f"q{i}-0", state=[user(f"Question {i}?")], **said) for i in range(6)]
    )
    rows = [candidate(f"m{i:03d}-{j}", state=[user("x" * 500)]) for i in range(24) for j in range(3)]
    write(folder / "m.parquet", rows)
    for i in range(3):
        shard = ["-o", f"m{i}.parquet", "--shard", f"{i}/3", "--max-error-rate", "1"]
        run(folder, "profile", "m.parquet", *REPLAY.split(), *shard)
    return folder


def same(output: Path, whole: Path) -> None:
    """To the byte, but for the seconds."""
    found, expected = contents(output), contents(whole)
    if "metrics.parquet" in found:
        tables = (read(one / "metrics.parquet", StepMetrics) for one in (output, whole))
        a, b = map(without_seconds, tables)
        assert a == b
        del found["metrics.parquet"], expected["metrics.parquet"]
    assert found == expected


def verdicts(folder: Path) -> int:
    log = folder / "verdicts"
    return len(log.read_text().splitlines()) if log.exists() else 0


def begin_anew(output: Path) -> None:
    shutil.rmtree(output) if output.is_dir() else output.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_kills_at_random_moments_change_no_byte_and_repeat_no_finished_work(name, folder, forks):
    n_kills, arguments = KILLS[name], COMMANDS[name].split()
    output, rng = folder / "out", random.Random(name)
    started = time.monotonic()
    forks.run(folder, arguments)
    seconds, of_one_run = time.monotonic() - started, verdicts(folder)
    whole = output.rename(folder / "whole")
    kills = n_complete = 0
    while kills < n_kills:
        kills += forks.run(folder, arguments, rng.uniform(0, seconds))
        if output.exists():
            same(output, whole)
            begin_anew(output)
            n_complete += 1
    forks.run(folder, arguments)
    same(output, whole)
    assert sorted(path.name for path in folder.glob("*out*")) == ["out"]
    assert [path.name for path in folder.glob(".*")] == []
    assert verdicts(folder) <= (n_complete + 2) * of_one_run + n_kills * most_in_a_step(whole)


def most_in_a_step(folder: Path) -> int:
    """Rollouts of the longest training step, which is what a kill may repeat."""
    if not folder.is_dir():
        return 0
    turns = [0, *(step.rollout_turns for step in read(folder / "metrics.parquet", StepMetrics))]
    return max(after - before for before, after in pairwise(turns))


@pytest.mark.slow
def test_a_run_that_was_killed_as_it_took_its_name_only_takes_it(chain_inputs, tmp_path, monkeypatch):
    folder = linked(chain_inputs, tmp_path / "work")
    whole = linked(chain_inputs, tmp_path / "whole")
    assert run(whole, *CHAIN["train"])[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "_publish", lambda _: signal.raise_signal(signal.SIGINT))
        assert run(folder, *CHAIN["train"])[0] == 130
    assert not (folder / "out").exists()
    monkeypatch.setattr(train, "_train", lambda *_: pytest.fail("nothing is left to train"))
    code, errors = run(folder, *CHAIN["train"])
    assert (code, errors.splitlines()[-1]) == (0, "out is up to date")
    same(folder / "out", whole / "out")
    assert not (folder / "out.partial").exists()
