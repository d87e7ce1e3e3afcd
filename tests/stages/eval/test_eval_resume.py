"""An eval that was killed, interrupted or had failures resumes, to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tables import RIGHT, WRONG, candidate, read, script, write

from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.engines import replay
from pivotrl_cli.errors import Interrupted, OutputError, RunError
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stages.eval import run as stage
from pivotrl_cli.stages.shared import resume
from pivotrl_cli.storage.journal import Journal, journal_path

ROOT = Path(__file__).parents[3]
PROCESS = """
import os, time
from pivotrl_cli.interface.cli import main
from pivotrl_cli.engines import hf
from pivotrl_cli.stages.eval import run as stage

class Logged(hf.HFEngine):
    def _sample_batch(self, batch, sampling):
        groups = super()._sample_batch(batch, sampling)
        with open("log", "a") as file:
            file.write("".join(f"{group.request.key}\\n" for group in groups))
        return groups

    def close(self):
        print("closed")

hf.HFEngine = Logged
main()
"""


def process(folder: Path, output: str) -> subprocess.Popen[bytes]:
    """The shipped policy in the desk, in small batches that are logged."""
    options = [
        "--limit",
        "4",
        "--sample-token-budget",
        "2500",
        "--max-turns",
        "4",
        "--max-new-tokens",
        "48",
        "--exact-resume",
    ]
    return subprocess.Popen(
        [sys.executable, "process.py", "eval", "desk", "--engine", "hf", *options, "--device", "cpu", "-o", output],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_a_kill_changes_no_byte_and_repeats_no_finished_turn(tmp_path):
    (tmp_path / "process.py").write_text(PROCESS)
    whole = process(tmp_path, "whole.parquet")
    assert whole.communicate()[0] == b"closed\n"
    turns = Counter((tmp_path / "log").read_text().split())
    assert set(turns.values()) == {1}
    (tmp_path / "log").unlink()
    log = tmp_path / "log"
    running = process(tmp_path, "e.parquet")
    while running.poll() is None and (not log.exists() or len(log.read_text().split()) < 6):
        time.sleep(0.005)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    last = process(tmp_path, "e.parquet")
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    assert b"resuming from e.parquet.journal: " in errors
    assert (tmp_path / "e.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not journal_path(tmp_path / "e.parquet").exists()
    sampled = Counter(log.read_text().split())
    assert sampled.keys() == turns.keys()
    assert len(turns) > 6
    assert sum(sampled.values()) <= len(turns) + 4  # at most the batch under way was sampled again


class Breaks(replay.ReplayEngine):
    """Replay that raises or fails after so many groups, and counts what it was asked and whether it was closed."""

    def __init__(self, path: Path, after: int, fault: BaseException | None = None) -> None:
        super().__init__(replay.Script(path))
        self.left, self.fault = after, fault
        self.asked: list[str] = []
        self.closed = False

    def sample(self, requests, sampling, done=()):
        for (group,) in super().sample(requests, sampling, done):
            if self.left == 0 and self.fault is not None:
                raise self.fault
            self.left -= 1
            self.asked.append(group.request.key)
            yield [group]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Evaluate six held-out candidates, two trials; the script fails at the names given."""
    keys = [f"q{i}-0" for i in range(6)]
    table = write(tmp_path / "c.parquet", [candidate(key, split="holdout") for key in keys])
    whole = {f"pivots/{key}/{t}/0": [RIGHT if (i + t) % 3 else WRONG] for i, key in enumerate(keys) for t in (0, 1)}
    monkeypatch.setattr("pivotrl_cli.engines.replay.fingerprints", lambda config: {"replay": "the same"})

    def evaluate(output: str, after: int = 99, fault: BaseException | None = None, fails: tuple[str, ...] = (), **more):
        path = script(tmp_path / "r.jsonl", {k: [{"error": "down"}] if k in fails else v for k, v in whole.items()})
        engine = Breaks(path, after, fault)
        monkeypatch.setattr(resume, "open_engine", lambda _: engine)
        config = EvalConfig(
            benchmarks=[f"pivots:{table}"],
            engine="replay",
            replay=path,
            trials=2,
            output=str(tmp_path / output),
            **more,
        )
        evaluate.engine = engine
        return stage.run(config)

    return evaluate


def test_an_interrupt_says_how_to_go_on_and_the_rerun_samples_the_rest(run, tmp_path, capsys):
    run("whole.parquet")
    with pytest.raises(Interrupted) as stopped:
        run("e.parquet", after=5, fault=KeyboardInterrupt())
    assert (stopped.value.message, stopped.value.hint) == (
        "interrupted: 5 turns are kept",
        "run the same command again to resume",
    )
    assert run.engine.closed
    assert not (tmp_path / "e.parquet").exists()
    assert run("e.parquet").resumed == 5
    assert len(run.engine.asked) == 7
    assert "e.parquet.journal: 5 turns already sampled\n" in capsys.readouterr().err
    assert (tmp_path / "e.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not journal_path(tmp_path / "e.parquet").exists()


def test_failures_above_the_limit_are_tried_again_by_the_same_command(run, tmp_path):
    run("whole.parquet")
    lost = ("pivots/q1-0/0/0", "pivots/q4-0/1/0")
    with pytest.raises(RunError) as failed:
        run("e.parquet", fails=lost)
    assert failed.value.message == "2 of 12 rows could not be measured, the first: pivots q1-0: down"
    assert failed.value.hint.endswith("run the same command again to retry them, --max-error-rate accepts it")
    unmeasured = [row for row in read(tmp_path / "e.parquet", EvalResult) if row.status == "infra_error"]
    assert [(row.task_id, row.trial, row.score, row.error) for row in unmeasured] == [
        ("q1-0", 0, None, "down"),
        ("q4-0", 1, None, "down"),
    ]
    assert run("e.parquet").resumed == 10
    assert tuple(run.engine.asked) == lost
    assert (tmp_path / "e.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert run("e.parquet").cached


def test_an_engine_that_fails_at_everything_stops_the_run(run, tmp_path):
    everything = tuple(f"pivots/q{i}-0/{t}/0" for i in range(6) for t in (0, 1))
    with pytest.raises(RunError, match="all 12 requests of one round failed, the first: down"):
        run("e.parquet", fails=everything)
    assert not (tmp_path / "e.parquet").exists()


def test_a_kill_before_the_journal_is_removed_repeats_nothing(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(Interrupted):
            run("e.parquet")
    written = (tmp_path / "e.parquet").read_bytes()
    run("e.parquet")
    assert (run.engine.asked, (tmp_path / "e.parquet").read_bytes()) == ([], written)
    assert not journal_path(tmp_path / "e.parquet").exists()


def test_another_config_over_an_unfinished_run_is_refused_and_forced(run):
    with pytest.raises(Interrupted):
        run("e.parquet", after=5, fault=KeyboardInterrupt())
    with pytest.raises(OutputError, match=r"unfinished run made differently: config\.temperature: 1\.0 -> 0\.5"):
        run("e.parquet", temperature=0.5)
    assert run("e.parquet", temperature=0.5, force=True).resumed == 0


def test_fewer_at_once_are_the_same_scores_in_more_rounds(run, tmp_path):
    assert run("a.parquet") == run("b.parquet", concurrency=5)
    a, b = (read(tmp_path / name, EvalResult) for name in ("a.parquet", "b.parquet"))
    assert a == b


def test_timings_are_in_their_column_unless_the_run_was_resumed(run, tmp_path):
    with pytest.raises(Interrupted):
        run("e.parquet", after=5, fault=KeyboardInterrupt(), timings=True)
    run("e.parquet", timings=True)
    seconds = [row.seconds for row in read(tmp_path / "e.parquet", EvalResult)]
    assert seconds[:5] == [None] * 5
    assert all(0.0 <= s < 60.0 for s in seconds[5:])
