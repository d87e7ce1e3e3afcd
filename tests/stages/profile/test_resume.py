"""A profile that was killed, interrupted or stopped resumes, to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tables import CUT, FAILED, RIGHT, TALK, WRONG, candidate, read, says, script, user, write

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import replay
from pivotrl_cli.errors import Interrupted, OutputError, RunError
from pivotrl_cli.interface.cli import main
from pivotrl_cli.rows import Profile
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.profile import setup
from pivotrl_cli.stages.profile.adaptive import AdaptiveRule
from pivotrl_cli.stages.shared import resume
from pivotrl_cli.storage.journal import Journal, journal_path
from pivotrl_cli.storage.provenance import Provenance

ROOT = Path(__file__).parents[3]
N = 4

PROCESS = """
import sys, os, signal
from pivotrl_cli import engines
from pivotrl_cli.storage import table_writer
from pivotrl_cli.interface.cli import main
from pivotrl_cli.storage.journal import Journal

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

engines.ENGINES["replay"] = "engine"
moment = os.environ.get("DIE")
if moment == "before publishing":
    table_writer.publish = die
if moment == "after publishing":
    Journal.remove = die
main()
"""
ENGINE = '''
"""Replay in fixed batches of three, slowly, with a log of what was sampled and of what the stage took in."""
import os, time
from pivotrl_cli.engines import replay

fingerprints = replay.fingerprints

def log(word, batch):
    with open("log", "a") as file:
        file.write("".join(f"{word} {group.request.key}\\n" for group in batch))

class Engine(replay.ReplayEngine):
    def sample(self, requests, sampling, done=()):
        for i in range(0, len(requests), 3):
            three = requests[i : i + 3]
            if all(request.key in done for request in three):
                continue
            batch = [group for groups in super().sample(three, sampling) for group in groups]
            log("sampled", batch)
            time.sleep(float(os.environ.get("DELAY", "0")))
            yield batch
            log("finished", batch)

def open_engine(config):
    return Engine(replay.Script(config.replay))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 candidates in 20 trajectories, in several windows, and the output of a run that nobody disturbed."""
    rows = [candidate(f"t{i:02d}-{j}") for i in range(20) for j in range(3)]
    write(tmp_path / "c.parquet", rows)
    rng = random.Random(0)
    texts = [RIGHT, WRONG, TALK, CUT, ""]
    script(tmp_path / "r.jsonl", {row.candidate_id: rng.choices(texts, k=2 * N) for row in rows})
    (tmp_path / "process.py").write_text(PROCESS)
    (tmp_path / "engine.py").write_text(ENGINE)
    run(tmp_path, "whole.parquet")
    return tmp_path


def run(folder: Path, output: str, **options):
    chosen = {"engine": "replay", "replay": folder / "r.jsonl", "n": N, "window": 16} | options
    return profile.run(ProfileConfig(candidates=str(folder / "c.parquet"), output=str(folder / output), **chosen))


def process(folder: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    arguments = ["profile", "c.parquet", "--engine", "replay", "--replay", "r.jsonl", "-n", str(N), "--window", "16"]
    return subprocess.Popen(
        [sys.executable, "process.py", *arguments, "-o", "p.parquet", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def logged(folder: Path) -> list[tuple[str, str]]:
    """What every run so far sampled and finished, in order."""
    log = folder / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(word, key) for word, _, key in (line.partition(" ") for line in lines)]


@pytest.mark.slow
def test_kills_at_twenty_random_moments_change_no_byte_and_repeat_no_finished_work(folder):
    rng = random.Random(7)
    batches_at_kills = []
    for _ in range(20):
        before, wanted = len(logged(folder)), rng.randrange(0, 3)  # so that twenty kills leave work to do
        running = process(folder, DELAY="0.05")
        while len(logged(folder)) - before < wanted and running.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03) if wanted else rng.uniform(0, 1))
        running.kill()
        running.communicate()
        batches_at_kills.append(len(logged(folder)))
        assert running.returncode == -signal.SIGKILL
        assert not (folder / "p.parquet").exists()
    assert len(set(batches_at_kills)) > 8
    last = process(folder)
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert not journal_path(folder / "p.parquet").exists()
    finished: set[str] = set()
    for word, key in logged(folder):
        assert key not in finished
        finished |= {key} if word == "finished" else set()
    counts = Counter(key for word, key in logged(folder) if word == "sampled")
    assert len(counts) == 60
    assert sum(counts.values()) <= 60 + 20 * 3


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before publishing", "after publishing"])
def test_a_kill_around_the_final_write_repeats_nothing(folder, moment):
    killed = process(folder, DIE=moment)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert (folder / "p.parquet").exists() == (moment == "after publishing")
    assert len(logged(folder)) == 120
    (folder / "engine.py").write_text("from pivotrl_cli.engines.replay import fingerprints")
    again = process(folder)
    _, errors = again.communicate()
    assert again.returncode == 0, errors.decode()
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert not journal_path(folder / "p.parquet").exists()


class Breaks(replay.ReplayEngine):
    """Replay that fails after so many groups."""

    def __init__(self, folder: Path, after: int, error: BaseException) -> None:
        super().__init__(replay.Script(folder / "r.jsonl"))
        self.left, self.error = after, error

    def sample(self, requests, sampling, done=()):
        for batch in super().sample(requests, sampling, done):
            if self.left == 0:
                raise self.error
            self.left -= 1
            yield batch


@pytest.fixture
def breaking(folder, monkeypatch):
    """Interrupt a run as soon as so many candidates are sampled."""

    def broken(after: int, **options) -> Interrupted:
        with monkeypatch.context() as patched:
            patched.setattr(resume, "open_engine", lambda _: Breaks(folder, after, KeyboardInterrupt()))
            with pytest.raises(Interrupted) as raised:
                run(folder, "p.parquet", **options)
        return raised.value

    return broken


def test_an_interrupt_says_how_to_go_on_and_the_rerun_what_it_found(folder, breaking, monkeypatch, capsys):
    arguments = ["profile", "c.parquet", "--engine", "replay", "--replay", "r.jsonl", "-n", str(N), "--window", "16"]
    monkeypatch.setattr(sys, "argv", ["pivotrl", *arguments, "-o", "p.parquet"])
    with monkeypatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(resume, "open_engine", lambda _: Breaks(folder, 7, KeyboardInterrupt()))
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines() == [
        "error: interrupted: 7 candidates are kept",
        "hint: run the same command again to resume",
    ]
    assert sorted(path.name for path in folder.glob("*p.parquet*")) == ["p.parquet.journal"]
    assert run(folder, "p.parquet").resumed == 7
    assert "p.parquet.journal: 7 candidates already sampled\n" in capsys.readouterr().err
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_another_config_over_an_unfinished_run_is_refused_and_forced(folder, breaking):
    breaking(7)
    with pytest.raises(OutputError, match=r"(?m)unfinished run made differently: config\.temperature: 1\.0 -> 0\.5$"):
        run(folder, "p.parquet", temperature=0.5)
    assert run(folder, "p.parquet", temperature=0.5, force=True).resumed == 0
    assert not journal_path(folder / "p.parquet").exists()


def test_a_forced_run_that_was_interrupted_goes_on_without_force(folder, breaking):
    run(folder, "p.parquet", temperature=0.5)
    stood = (folder / "p.parquet").read_bytes()
    stopped = breaking(7, force=True)
    assert stopped.hint == "run the same command again without --force to resume"
    assert (folder / "p.parquet").read_bytes() == stood
    assert run(folder, "p.parquet").resumed == 7
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    with pytest.raises(OutputError, match="made differently"):
        run(folder, "p.parquet", temperature=0.5)


def test_two_runs_never_write_one_output(folder):
    config = ProfileConfig(candidates=str(folder / "c.parquet"), n=N)
    provenance = Provenance.of("profile", Profile, config, [])
    with (
        Journal.beside(folder / "p.parquet", provenance),
        pytest.raises(OutputError, match=r"another run is writing .*p\.parquet: process \d+ on "),
    ):
        run(folder, "p.parquet")
    assert not (folder / ".p.parquet.partial").exists()
    run(folder, "p.parquet")
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_standard_output_has_no_journal(folder):
    running = process(folder, "-o", "-")
    data, _ = running.communicate()
    assert data == (folder / "whole.parquet").read_bytes()
    assert list(folder.glob("*.journal")) == []


def model_run(folder: Path, model: Path, output: str, **options):
    """The tiny model on states of many lengths, in batches of a few."""
    if not (folder / "m.parquet").exists():
        rows = [
            candidate(f"q{i}-0", state=[user("Question? " * (1 + 5 * i % 11))], tools="[]", expected_action=says("yes"))
            for i in range(12)
        ]
        write(folder / "m.parquet", rows)
    chosen = {
        "n": 3,
        "window": 8,
        "max_new_tokens": 8,
        "sample_token_budget": 400,
        "device": "cpu",
        "verifier": "exact",
    }
    config = ProfileConfig(
        candidates=str(folder / "m.parquet"), model=str(model), output=str(folder / output), **chosen | options
    )
    return profile.run(config)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_model_goes_on_to_the_same_bytes(tmp_path, tiny_model, monkeypatch, after):
    model_run(tmp_path, tiny_model, "whole.parquet")

    def open_breaking(config):
        engine = profile_open(config)
        sample, left = engine.sample, [after]

        def breaking(*arguments):
            for batch in sample(*arguments):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                sizes.append(len(batch))
                yield batch

        engine.sample = breaking
        return engine

    profile_open, sizes = resume.open_engine, []
    with monkeypatch.context() as patched:
        patched.setattr(resume, "open_engine", open_breaking)
        with pytest.raises(Interrupted):
            model_run(tmp_path, tiny_model, "p.parquet")
    assert len(sizes) == after
    assert max(sizes) > 1
    assert model_run(tmp_path, tiny_model, "p.parquet").resumed == sum(sizes)
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_more_rollouts_are_added_to_those_that_are_there(folder, monkeypatch, capsys):
    run(folder, "p.parquet")
    capsys.readouterr()
    asked = []

    class Counting(replay.ReplayEngine):
        def sample(self, requests, sampling, done=()):
            asked.extend((sampling.first, sampling.n) for r in requests if r.key not in done)
            return super().sample(requests, sampling, done)

    monkeypatch.setattr(resume, "open_engine", lambda c: Counting(replay.Script(c.replay)))
    run(folder, "p.parquet", n=2 * N)
    assert asked == [(N, N)] * 60
    assert capsys.readouterr().err == f"{folder / 'p.parquet'}: adding 4 rollouts to the 4 at each candidate\n"
    run(folder, "fresh.parquet", n=2 * N)
    assert (folder / "p.parquet").read_bytes() == (folder / "fresh.parquet").read_bytes()
    with pytest.raises(OutputError, match=r"(?m)config\.n: 8 -> 4$"):
        run(folder, "p.parquet")


def test_adding_rollouts_goes_on_after_an_interrupt(folder, breaking):
    run(folder, "p.parquet")
    breaking(20, n=2 * N)
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert run(folder, "p.parquet").cached, "the output that stands is still what it was"
    assert run(folder, "p.parquet", n=2 * N).resumed == 20
    run(folder, "fresh.parquet", n=2 * N)
    assert (folder / "p.parquet").read_bytes() == (folder / "fresh.parquet").read_bytes()


def test_a_model_adds_the_rollouts_that_it_would_have_sampled(tmp_path, tiny_model):
    model_run(tmp_path, tiny_model, "p.parquet", n=3)
    model_run(tmp_path, tiny_model, "p.parquet", n=5)
    model_run(tmp_path, tiny_model, "fresh.parquet", n=5)
    added, fresh = (read(tmp_path / name, Profile) for name in ("p.parquet", "fresh.parquet"))

    def but_rounded(rows):
        return [
            row.model_copy(update={"rollouts": [r.model_copy(update={"logprob": None}) for r in row.rollouts]})
            for row in rows
        ]

    assert but_rounded(added) == but_rounded(fresh)
    for a, b in zip(added, fresh, strict=True):
        assert [r.logprob for r in a.rollouts] == pytest.approx([r.logprob for r in b.rollouts], abs=1e-4)


class Flaky(replay.ReplayEngine):
    """Fails at the first `n_failures` attempts of some samples."""

    def __init__(self, folder: Path, share: float, n_failures: int) -> None:
        super().__init__(replay.Script(folder / "r.jsonl"))
        self.whole = self.script
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.share, self.n_failures = share, n_failures
        self.calls = []

    def sample(self, requests, sampling, done=()):
        self.calls.append((sampling.first, sampling.n, [r.key for r in requests if r.key not in done]))
        self.script = {r.key: self._lines(r.key, sampling) for r in requests}
        return super().sample(requests, sampling, done)

    def _lines(self, key, sampling):
        lines = list(self.whole[key])
        for i in range(sampling.first, sampling.first + sampling.n):
            fails = random.Random(f"{key}/{i}").random() < self.share
            if fails and self.attempts[key, i] < self.n_failures:
                lines[i] = FAILED
            self.attempts[key, i] += 1
        return lines


def n_flaky(folder: Path, share: float) -> int:
    keys = [row.candidate_id for row in read(folder / "whole.parquet", Profile)]
    return sum(random.Random(f"{key}/{i}").random() < share for key in keys for i in range(N))


@pytest.mark.parametrize("n_failures", [1, 2])
def test_failed_rollouts_are_sampled_again_and_counted(folder, monkeypatch, n_failures):
    engine = Flaky(folder, 0.3, n_failures)
    monkeypatch.setattr(resume, "open_engine", lambda _: engine)
    assert run(folder, "p.parquet").retries == n_failures * n_flaky(folder, 0.3)
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert {n for first, n, _ in engine.calls if len(engine.calls) > 4} == {N, 1}


def test_a_rollout_that_fails_for_good_is_an_error_and_not_a_zero(folder, monkeypatch):
    monkeypatch.setattr(resume, "open_engine", lambda _: Flaky(folder, 0.05, 9))
    summary = run(folder, "p.parquet")
    assert (summary.errors, summary.retries) == (n_flaky(folder, 0.05), 2 * n_flaky(folder, 0.05))
    for row, whole in zip(read(folder / "p.parquet", Profile), read(folder / "whole.parquet", Profile), strict=True):
        for r, sound in zip(row.rollouts, whole.rollouts, strict=True):
            failed = random.Random(f"{row.candidate_id}/{r.sample}").random() < 0.05
            assert (r.reward, r.error) == ((None, "engine down") if failed else (sound.reward, None))


def test_too_many_errors_stop_the_run_and_the_next_one_tries_them_again(folder, monkeypatch):
    engine = Flaky(folder, 0.3, 3)
    monkeypatch.setattr(resume, "open_engine", lambda _: engine)
    with pytest.raises(RunError, match=r"(?m)^\d+ of 120 rollouts failed, the first: engine down$") as stopped:
        run(folder, "p.parquet")
    assert "run the same command again to resume and to retry the failed ones" in stopped.value.hint
    assert not (folder / "p.parquet").exists()
    n_calls = len(engine.calls)
    summary = run(folder, "p.parquet", max_retries=3)
    assert summary.resumed == 30
    assert summary.errors == 0
    assert all(n == 1 for _, n, keys in engine.calls[n_calls:] if set(keys) & {"t00-0", "t05-0"})
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_an_engine_that_never_works_is_not_asked_for_long(folder, monkeypatch):
    engine = Flaky(folder, 1.0, 99)
    monkeypatch.setattr(resume, "open_engine", lambda _: engine)
    with pytest.raises(RunError, match=r"^100 of 100 rollouts failed"):
        run(folder, "p.parquet", window=512)
    assert len(engine.calls) == 1
    with pytest.raises(RunError, match="no rollout could be measured"):
        run(folder, "p.parquet", window=512, max_error_rate=1.0)


def test_a_verifier_that_failed_is_asked_again_and_nothing_is_sampled_for_it(folder, breaking):
    (folder / "mine.py").write_text(
        "import pathlib\nfrom pivotrl_cli.verifiers import tool_call\n"
        "def verify(candidate, action):\n"
        "    if pathlib.Path(__file__).with_name('down').exists():\n        raise OSError('judge down')\n"
        "    return tool_call.verify(candidate, action)\n"
    )
    verifier = f"{folder / 'mine.py'}:verify"
    run(folder, "sound.parquet", verifier=verifier)
    (folder / "down").touch()
    breaking(20, verifier=verifier, max_error_rate=1.0)
    (folder / "down").unlink()
    summary = run(folder, "p.parquet", verifier=verifier)
    assert (summary.resumed, summary.errors, summary.retries) == (20, 0, 0)
    assert (folder / "p.parquet").read_bytes() == (folder / "sound.parquet").read_bytes()


def until_mixed(rewards):
    """Two samples, and two more where both were measured and agree."""
    measured = [r for r in rewards if r is not None]
    return 2 if not rewards or (len(rewards) == 2 and len(measured) == 2 and len(set(measured)) == 1) else 0


def test_a_strategy_draws_in_rounds(folder, monkeypatch):
    engine = Flaky(folder, 0.0, 0)
    monkeypatch.setattr(resume, "open_engine", lambda _: engine)
    monkeypatch.setattr(setup, "strategy", lambda _: until_mixed)
    run(folder, "p.parquet", window=512)
    whole = read(folder / "whole.parquet", Profile)
    more = [row.candidate_id for row in whole if until_mixed([r.reward for r in row.rollouts[:2]])]
    assert 0 < len(more) < 60
    assert engine.calls == [(0, 2, [row.candidate_id for row in whole]), (2, 2, more)]
    for row, full in zip(read(folder / "p.parquet", Profile), whole, strict=True):
        assert row.rollouts == full.rollouts[: 4 if row.candidate_id in more else 2]


@pytest.mark.parametrize("after", [3, 16, 20, 35, 70])
def test_a_strategy_goes_on_after_an_interrupt(folder, breaking, monkeypatch, after):
    monkeypatch.setattr(setup, "strategy", lambda _: until_mixed)
    run(folder, "undisturbed.parquet")
    breaking(after)
    engine = Flaky(folder, 0.0, 0)
    monkeypatch.setattr(resume, "open_engine", lambda _: engine)
    run(folder, "p.parquet")
    whole = Flaky(folder, 0.0, 0)
    monkeypatch.setattr(resume, "open_engine", lambda _: whole)
    run(folder, "again.parquet")
    n_left, n_all = (sum(len(keys) for _, _, keys in one.calls) for one in (engine, whole))
    assert n_left == n_all - after
    assert (folder / "p.parquet").read_bytes() == (folder / "undisturbed.parquet").read_bytes()


@pytest.mark.parametrize(("after", "is_retried"), [(60, True), (61, False)])
def test_what_a_later_round_was_built_on_stays_as_it_is(folder, monkeypatch, after, is_retried):
    """A failure of the first round is tried again while no second round has begun, and never after."""
    monkeypatch.setattr(setup, "strategy", lambda _: until_mixed)
    flaky, left = Flaky(folder, 0.3, 1), [after]

    class Interrupting:
        def sample(self, *arguments):
            for batch in flaky.sample(*arguments):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                yield batch

        def close(self):
            pass

    options = {"window": 512, "max_error_rate": 1.0}
    monkeypatch.setattr(resume, "open_engine", lambda _: Interrupting())
    with pytest.raises(Interrupted):
        run(folder, "p.parquet", max_retries=0, **options)
    sound = Flaky(folder, 0.0, 0)
    monkeypatch.setattr(resume, "open_engine", lambda _: sound)
    summary = run(folder, "p.parquet", **options)
    keys = [row.candidate_id for row in read(folder / "whole.parquet", Profile)]
    failed = sum(random.Random(f"{key}/{i}").random() < 0.3 for key in keys for i in range(2))
    assert failed > 10
    assert summary.retries == (failed if is_retried else 0)
    assert summary.errors == (0 if is_retried else failed)


def test_rollouts_that_always_fail_do_not_change_how_it_ends(folder, breaking):
    rows = read(folder / "whole.parquet", Profile)
    rng = random.Random(1)
    texts = {row.candidate_id: rng.choices([RIGHT, WRONG, FAILED], [8, 8, 1], k=N) for row in rows}
    script(folder / "r.jsonl", texts)
    whole = run(folder, "undisturbed.parquet")
    assert whole.errors == sum(lines.count(FAILED) for lines in texts.values()) > 5
    for after in (5, 17, 40):
        breaking(after)
    summary = run(folder, "p.parquet")
    assert summary.to_metadata() == whole.to_metadata()
    assert (folder / "p.parquet").read_bytes() == (folder / "undisturbed.parquet").read_bytes()


def test_adaptive_rounds_stop_where_the_rule_says(folder):
    """Each candidate has the first rewards of its script, and as many as the rule asks for on them."""
    run(folder, "all.parquet", n=8, truncated="zero")
    summary = run(folder, "adaptive.parquet", n=8, truncated="zero", adaptive=True, adaptive_max_mean=0.9)
    whole, rule, expected = rewards_of(folder / "all.parquet"), AdaptiveRule(max_mean=0.9, budget=8), {}
    for key, rewards in whole.items():
        expected[key] = []
        while more := rule.more(expected[key]):
            expected[key] = rewards[: len(expected[key]) + more]
    assert rewards_of(folder / "adaptive.parquet") == expected
    assert summary.rollouts == sum(map(len, expected.values())) < 60 * 8


def test_a_larger_budget_is_another_adaptive_run(folder):
    run(folder, "adaptive.parquet", n=6, adaptive=True)
    with pytest.raises(OutputError, match=r"config\.n: 6 -> 8"):
        run(folder, "adaptive.parquet", n=8, adaptive=True)


def rewards_of(path: Path) -> dict[str, list[float | None]]:
    return {row.candidate_id: [r.reward for r in row.rollouts] for row in read(path, Profile)}
