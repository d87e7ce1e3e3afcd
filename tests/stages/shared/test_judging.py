"""The judge within the stages: who asks it, what it costs, and that what it does not answer is never a zero."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from faulty_server import faulty_server
from rich.console import Console
from tables import CUT, RIGHT, TALK, WRONG, candidate, read, says, script, user, write

from pivotrl_cli import endpoint
from pivotrl_cli.configs import EvalConfig, ExtractConfig, ProfileConfig, ScoreConfig, TrainConfig
from pivotrl_cli.errors import ConfigError, OutputError, RunError
from pivotrl_cli.rows import EvalResult, Profile, TrainRollout
from pivotrl_cli.stages.eval import run as evaluate
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.score import run as score
from pivotrl_cli.stages.shared import judge as judging
from pivotrl_cli.stages.shared.judge import JudgeUsage
from pivotrl_cli.stages.train import run as train
from pivotrl_cli.storage.provenance import source_fingerprint
from pivotrl_cli.verifiers import Either, load_verifier, rule_of

SAME, DIFFERENT = "VERDICT: SAME", "VERDICT: DIFFERENT"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.001)


def eight_is_seven(path, body):
    """A judge to whom order 8 is as good as 7, and talk is not."""
    asked = body["messages"][1]["content"].partition("ACTION A")[2]
    text = DIFFERENT if "Which order" in asked else SAME
    return {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}


def config(tmp_path: Path, url: str | None, **fields) -> ProfileConfig:
    write(tmp_path / "c.parquet", [candidate("a-000")])
    base = {
        "candidates": str(tmp_path / "c.parquet"),
        "engine": "replay",
        "replay": script(tmp_path / "s.jsonl", {"a-000": [RIGHT, WRONG, WRONG, TALK, CUT]}),
        "n": 5,
        "output": str(tmp_path / "p.parquet"),
        "verifier": "tool_call+judge",
        "judge_url": url,
        "judge_model": "m",
        "judge_cache": tmp_path / "answers.sqlite",
    }
    return ProfileConfig(**base | fields)


def outcomes(path: Path) -> list[tuple[float | None, str]]:
    return [(r.reward, r.verdict) for r in read(path, Profile)[0].rollouts]


JUDGED = [
    (1.0, "expected_tool_call"),
    (1.0, "judge_same"),
    (1.0, "judge_same"),
    (0.0, "judge_different"),
    (None, "truncated"),
]


def test_profile_asks_what_the_rule_refuses_once_each_and_a_rerun_asks_nothing(tmp_path):
    with faulty_server(eight_is_seven, lambda i: None) as (url, seen):
        first = profile.run(config(tmp_path, url))
        assert outcomes(tmp_path / "p.parquet") == JUDGED
        assert len(seen) == 3
        bytes_of_first = (tmp_path / "p.parquet").read_bytes()
        again = profile.run(config(tmp_path, url, force=True))
        assert len(seen) == 3
    assert first.judge == JudgeUsage(calls=3, cached=2, retries=0, prompt_tokens=30, completion_tokens=6)
    assert again.judge == JudgeUsage(calls=0, cached=5, retries=0, prompt_tokens=0, completion_tokens=0)
    assert (tmp_path / "p.parquet").read_bytes() == bytes_of_first
    console = Console(width=100)
    with console.capture() as printed:
        console.print(profile.describe(first))
    assert "judge calls" in printed.get()
    assert "2 answers cached, 0 retries, 36 tokens" in printed.get()
    assert profile.run(config(tmp_path, url)).judge is None  # up to date


@pytest.mark.parametrize("fault", ["500", "garbage", "drop", "400"])
def test_a_judge_that_fails_leaves_errors_and_no_zeros(tmp_path, fault):
    with faulty_server(eight_is_seven, lambda i: fault) as (url, _):
        summary = profile.run(config(tmp_path, url))
    found = outcomes(tmp_path / "p.parquet")
    assert found == [(1.0, "expected_tool_call"), *[(None, "error")] * 3, (None, "truncated")]
    assert (summary.errors, summary.scored, summary.reward_mean) == (3, 1, 1.0)
    assert read(tmp_path / "p.parquet", Profile)[0].rollouts[1].error.startswith("JudgeError: the judge did not answer")


def test_a_judge_that_stumbles_is_asked_again(tmp_path):
    with faulty_server(eight_is_seven, lambda i: "503" if i < 2 else None) as (url, _):
        summary = profile.run(config(tmp_path, url))
    assert outcomes(tmp_path / "p.parquet") == JUDGED
    assert summary.judge.retries == 2


def test_a_spent_budget_is_an_error(tmp_path):
    with faulty_server(eight_is_seven, lambda i: None) as (url, seen):
        summary = profile.run(config(tmp_path, url, max_judge_calls=0))
    assert (len(seen), summary.errors) == (0, 3)
    assert "budget of 0 judge calls" in read(tmp_path / "p.parquet", Profile)[0].rollouts[3].error


def test_where_nothing_can_be_measured_the_run_fails(tmp_path):
    write(tmp_path / "c.parquet", [candidate("a-000")])
    replay = script(tmp_path / "own.jsonl", {"a-000": [WRONG]})
    with faulty_server(eight_is_seven, lambda i: "400") as (url, _), pytest.raises(RunError, match="no rollout"):
        profile.run(config(tmp_path, url, replay=replay, n=1))


def test_several_questions_are_under_way_at_once(tmp_path):
    both = threading.Barrier(2, timeout=20)

    def waits(path, body):
        both.wait()
        return eight_is_seven(path, body)

    replay = script(tmp_path / "own.jsonl", {"a-000": [TALK, TALK + " Now?"]})
    with faulty_server(waits, lambda i: None) as (url, seen):
        profile.run(config(tmp_path, url, replay=replay, n=2))
    assert len(seen) == 2
    assert outcomes(tmp_path / "p.parquet") == [(0.0, "judge_different")] * 2


def test_the_judges_model_is_part_of_the_result_and_its_address_is_not(tmp_path):
    with faulty_server(eight_is_seven, lambda i: None) as (url, _):
        profile.run(config(tmp_path, url))
        moved = {"judge_url": "http://127.0.0.1:1/v1", "max_judge_calls": 9, "judge_key_variable": "OTHER"}
        assert profile.run(config(tmp_path, url).model_copy(update=moved)).cached
        with pytest.raises(OutputError, match="judge_model"):
            profile.run(config(tmp_path, url, judge_model="another"))


def test_without_a_judge_the_way_out_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"'tool_call\+judge' needs a judge") as caught:
        profile.run(config(tmp_path, None))
    assert "--judge-url" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="--judge-url needs a model"):
        profile.run(config(tmp_path, "http://127.0.0.1:1/v1", judge_model=None))


def test_a_judge_that_nobody_asks_is_not_opened(tmp_path):
    assert profile.run(config(tmp_path, "http://127.0.0.1:1/v1", verifier="tool_call")).judge is None
    assert not (tmp_path / "answers.sqlite").exists()


def test_a_cache_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "answers.sqlite").mkdir()
    with pytest.raises(OutputError, match=r"answers\.sqlite"):
        profile.run(config(tmp_path, "http://127.0.0.1:1/v1"))


def test_score_asks_the_judge_too(tmp_path):
    profile.run(config(tmp_path, None, verifier="tool_call"))
    with faulty_server(eight_is_seven, lambda i: None) as (url, _):
        found = score.run(
            ScoreConfig(
                rollouts=str(tmp_path / "p.parquet"),
                verifier=["tool_call+judge", "judge"],
                judge_url=url,
                judge_model="m",
                judge_cache=tmp_path / "answers.sqlite",
                output=str(tmp_path / "new.parquet"),
            )
        )
    assert found.means == {"recorded": 1 / 4, "tool_call+judge": 3 / 4, "judge": 3 / 4}
    assert found.judge.calls == 3
    assert outcomes(tmp_path / "new.parquet") == JUDGED


def test_the_cache_is_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert judging.default_cache() == tmp_path / "pivotrl/judge.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert judging.default_cache() == Path.home() / ".cache/pivotrl/judge.sqlite"


def test_what_needs_no_judge():
    assert [rule_of(name) for name in ("judge", "swe+judge", "swe")] == ["exact", "swe", "swe"]


def test_fingerprints_cover_what_verifiers_share(tmp_path):
    (tmp_path / "mine.py").write_text("def yes(candidate, action):\n    return None\n")
    mine = load_verifier(f"{tmp_path}/mine.py:yes")
    judge = type("Stub", (), {"concurrency": 4})()
    ours, theirs = source_fingerprint(load_verifier("tool_call")), source_fingerprint(mine)
    assert source_fingerprint(load_verifier("swe")) != theirs
    assert len({ours, theirs, source_fingerprint(Either(mine, judge))}) == 3


def test_profile_and_extract_record_names_without_folders():
    named = ExtractConfig(sources=["x"], verifier_for=["shop=some/where/mine.py:yes", "look=exact"])
    assert named.identity()["verifier_for"] == ["shop=mine.py:yes", "look=exact"]
    assert ScoreConfig(rollouts="x", verifier=["a/b.py:f", "exact"]).identity()["verifier"] == ["b.py:f", "exact"]


def test_training_asks_the_judge_and_keeps_its_cost_out_of_what_is_stored(tmp_path, talker):
    def never_is_no(path, body):
        text = DIFFERENT if "never" in body["messages"][1]["content"] else SAME
        return {"choices": [{"message": {"content": text}}]}

    yes = {"tools": "[]", "expected_action": says("Yes, certainly."), "state": [user("Question 0?")]}
    write(tmp_path / "c.parquet", [candidate("q-0", verifier="exact+judge", **yes)])
    config = TrainConfig(
        pivots=str(tmp_path / "c.parquet"),
        output=str(tmp_path / "trained"),
        model=str(talker),
        steps=1,
        prompts_per_step=1,
        max_new_tokens=8,
        device="cpu",
        judge_model="m",
        judge_cache=tmp_path / "answers.sqlite",
    )
    with faulty_server(never_is_no, lambda i: None) as (url, seen):
        summary = train.run(config.model_copy(update={"judge_url": url}))
    rollouts = read(tmp_path / "trained/rollouts.parquet", TrainRollout)
    assert {(r.text, r.reward) for r in rollouts} <= {("yes", 1.0), ("never", 0.0)}
    assert summary.judge.calls == len(seen) <= 3  # twice for yes, once for never: the rest is cached
    assert "judge" not in json.loads((tmp_path / "trained/pivotrl.json").read_text())["summary"]


def test_eval_asks_the_judge_about_held_out_candidates(tmp_path):
    rows = [candidate(f"{key}-000", split="holdout", verifier="tool_call+judge") for key in "abc"]
    write(tmp_path / "c.parquet", rows)
    sampled = {f"pivots/{row.candidate_id}/0/0": [text] for row, text in zip(rows, [RIGHT, WRONG, TALK], strict=True)}
    with faulty_server(eight_is_seven, lambda i: None) as (url, _):
        base = EvalConfig(
            benchmarks=[f"pivots:{tmp_path / 'c.parquet'}"],
            engine="replay",
            replay=script(tmp_path / "s.jsonl", sampled),
            judge_url=url,
            judge_model="m",
            judge_cache=tmp_path / "answers.sqlite",
            output=str(tmp_path / "e.parquet"),
        )
        summary = evaluate.run(base)
        spent = base.model_copy(update={"max_judge_calls": 0, "output": str(tmp_path / "spent.parquet")})
        spent = spent.model_copy(update={"judge_cache": tmp_path / "none.sqlite", "max_error_rate": 1.0})
        evaluate.run(spent)
    assert [(row.score, row.status) for row in read(tmp_path / "e.parquet", EvalResult)] == [
        (1.0, "ok"),
        (1.0, "ok"),
        (0.0, "ok"),
    ]
    assert summary.judge.calls == 3
    console = Console(width=200)
    with console.capture() as printed:
        console.print(evaluate.describe(summary))
    assert "judge calls" in printed.get()
    assert [(row.score, row.status) for row in read(tmp_path / "spent.parquet", EvalResult)] == [
        (1.0, "ok"),
        (None, "infra_error"),
        (None, "infra_error"),
    ]
    with pytest.raises(ConfigError, match="needs a judge"):
        evaluate.run(base.model_copy(update={"judge_url": None, "force": True}))
