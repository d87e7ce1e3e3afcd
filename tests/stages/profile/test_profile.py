from __future__ import annotations

import hashlib
import io
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tables import CUT, FAILED, RIGHT, TALK, WRONG, calls, candidate, read, says, script, user, write

from pivotrl_cli.configs import ProfileConfig, ScoreConfig
from pivotrl_cli.engines import sample_seed
from pivotrl_cli.engines.replay import ReplayEngine
from pivotrl_cli.errors import ConfigError, InputError, OutputError, RunError
from pivotrl_cli.rows import Candidate, Message, Profile, ProfileStatus, Rollout
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.profile import windows
from pivotrl_cli.stages.profile.meter import sparkline
from pivotrl_cli.stages.profile.summary import ProfileSummary
from pivotrl_cli.stages.score import run as rescore
from pivotrl_cli.stages.shared.scoring import repeats_itself
from pivotrl_cli.stats import rate_interval
from pivotrl_cli.storage.table import Table


def run(candidates, replay, output, **options):
    chosen = {"engine": "replay", "replay": replay, "n": 4} | options
    return profile.run(ProfileConfig(candidates=str(candidates), output=str(output), **chosen))


def rollout(key: str, sample: int, text: str, reward: float | None, verdict: str, **changes) -> Rollout:
    fields = {
        "sample": sample,
        "text": text,
        "action": None,
        "reward": reward,
        "verdict": verdict,
        "n_tokens": 0,
        "logprob": None,
        "finish_reason": "stop",
        "seed": sample_seed(0, key, sample),
    }
    return Rollout(**fields | changes)


def test_a_row_is_its_candidate_with_rewards_that_can_be_checked_by_hand(candidates_file, profile_file):
    rows = {row.candidate_id: row for row in read(profile_file, Profile)}
    source = {row.candidate_id: row for row in read(candidates_file, Candidate)}
    assert list(rows) == list(source)
    right, wrong = calls("look", '{"order": 7}'), calls("look", '{"order": 8}')
    low, high = rate_interval(2 / 3, 3)
    assert rows["a-0"] == Profile(
        **source["a-0"].model_dump(),
        rollouts=[
            rollout("a-0", 0, RIGHT, 1.0, "expected_tool_call", action=right, basis="equal"),
            rollout("a-0", 1, WRONG, 0.0, "argument_value_different", action=wrong, detail="order: expected 7, got 8"),
            rollout("a-0", 2, "<tool_call>", None, "truncated", finish_reason="length"),
            rollout("a-0", 3, RIGHT, 1.0, "expected_tool_call", action=right, basis="equal"),
        ],
        n_scored=3,
        n_error=0,
        n_truncated=1,
        prompt_tokens=None,
        reward_mean=2 / 3,
        reward_std=rows["a-0"].reward_std,
        pass_rate_low=low,
        pass_rate_high=high,
        status=ProfileStatus.OK,
        status_detail="",
        template_fault="",
    )
    assert rows["a-0"].reward_std == pytest.approx((2 / 9) ** 0.5)
    assert [(row.reward_mean, row.reward_std) for row in rows.values()][1:] == [
        (1.0, 0.0),
        (0.0, 0.0),
        (0.5, 0.5),
        (0.25, pytest.approx(0.75**0.5 / 2)),
        (None, None),
    ]


def test_text_that_is_no_action_is_wrong_and_says_why(profile_file):
    found = [(r.text, r.reward, r.verdict, r.detail) for r in read(profile_file, Profile)[2].rollouts]
    assert found == [
        (WRONG, 0.0, "argument_value_different", "order: expected 7, got 8"),
        (TALK, 0.0, "no_expected_tool_call", found[1][3]),
        ("", 0.0, "unparsable", "empty"),
        ("<tool_call>", 0.0, "unparsable", "a <tool_call> tag without its partner"),
    ]


def test_failures_are_errors_and_never_zeros(profile_file):
    row = read(profile_file, Profile)[5]
    assert row.rollouts == [
        rollout("c-1", i, "", None, "error", error="engine down", finish_reason="error") for i in range(4)
    ]
    assert (row.n_scored, row.n_error, row.reward_mean, row.reward_std) == (0, 4, None, None)
    assert (row.pass_rate_low, row.pass_rate_high, row.status) == (None, None, ProfileStatus.NOT_SCORED)
    assert row.status_detail == "every rollout failed or was cut"


def test_the_summary_adds_up(tmp_path, candidates_file, replay_file):
    assert run(candidates_file, replay_file, tmp_path / "p.parquet") == ProfileSummary(
        candidates=6,
        left_out=0,
        status={"not_scored": 1, "ok": 5},
        template_faults={},
        rollouts=24,
        scored=19,
        errors=4,
        truncated=1,
        looping=0,
        tokens=0,
        reward_mean=(2 + 4 + 0 + 2 + 1) / 19,
        signal={"all_right": 1, "all_wrong": 1, "mixed": 3},
        verdicts={
            "expected_tool_call": 7,
            "argument_value_different": 4,
            "error": 4,
            "no_expected_tool_call": 2,
            "unparsable": 2,
            "expected_chat_message_found": 2,
            "no_expected_chat_message": 2,
            "truncated": 1,
        },
        needs_judge=4 + 2 + 2,
        similar=1,
        prescreen=None,
        retries=8,
    )


def test_cut_completions_are_left_out_or_zero(tmp_path):
    source = write(tmp_path / "c.parquet", [candidate("a-0")])
    replay = script(tmp_path / "r.jsonl", {"a-0": [RIGHT, CUT, CUT, FAILED]})
    run(source, replay, tmp_path / "exclude.parquet")
    run(source, replay, tmp_path / "zero.parquet", truncated="zero")
    excluded, zeros = (read(tmp_path / name, Profile)[0] for name in ("exclude.parquet", "zero.parquet"))
    assert ([r.reward for r in excluded.rollouts], excluded.reward_mean) == ([1.0, None, None, None], 1.0)
    assert ([r.reward for r in zeros.rollouts], zeros.reward_mean) == ([1.0, 0.0, 0.0, None], pytest.approx(1 / 3))
    assert (excluded.n_truncated, zeros.n_truncated) == (2, 2)
    assert (excluded.n_scored, zeros.n_scored) == (1, 3)


BROKEN_VERIFIERS = """
from pivotrl_cli.verifiers import Verdict

def raises(candidate, action):
    raise KeyError("order")

def beyond(candidate, action):
    return Verdict(1.5, "great")

def nothing(candidate, action):
    return Verdict(float("nan"), "odd")

def number(candidate, action):
    return 1.0

class Shout:
    def __call__(self, candidate, action):
        return Verdict(0.25, "shouted")

shout = Shout()
"""


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises", "KeyError: 'order'"),
        ("beyond", "the verifier returned reward 1.5"),
        ("nothing", "the verifier returned reward nan"),
        ("number", "the verifier returned 1.0, not a Verdict"),
    ],
)
def test_what_a_users_verifier_fails_on_is_not_measured(tmp_path, name, error):
    (tmp_path / "mine.py").write_text(BROKEN_VERIFIERS)
    source = write(tmp_path / "c.parquet", [candidate("a-0")])
    replay = script(tmp_path / "r.jsonl", {"a-0": [RIGHT, ""]})
    run(source, replay, tmp_path / "p.parquet", n=2, verifier=f"{tmp_path / 'mine.py'}:{name}")
    (row,) = read(tmp_path / "p.parquet", Profile)
    assert [(r.reward, r.verdict, r.error) for r in row.rollouts] == [(None, "error", error), (0.0, "unparsable", None)]


def test_a_verifier_with_state_may_be_an_object(tmp_path):
    (tmp_path / "mine.py").write_text(BROKEN_VERIFIERS)
    source = write(tmp_path / "c.parquet", [candidate("a-0")])
    replay = script(tmp_path / "r.jsonl", {"a-0": [RIGHT]})
    run(source, replay, tmp_path / "p.parquet", n=1, verifier=f"{tmp_path / 'mine.py'}:shout")
    assert read(tmp_path / "p.parquet", Profile)[0].reward_mean == 0.25


def test_when_nothing_can_be_measured_the_run_fails_also_the_second_time(tmp_path):
    source = write(tmp_path / "c.parquet", [candidate("a-0")])
    replay = script(tmp_path / "r.jsonl", {})
    for _ in range(2):
        with pytest.raises(RunError, match="no rollout could be measured"):
            run(source, replay, tmp_path / "p.parquet")
    assert read(tmp_path / "p.parquet", Profile)[0].n_error == 4


def test_the_same_run_gives_the_same_bytes_wherever_it_stands(tmp_path, candidates_file, replay_file):
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        source, replay = (folder / path.name for path in (candidates_file, replay_file))
        source.write_bytes(candidates_file.read_bytes())
        replay.write_bytes(replay_file.read_bytes())
        run(source, replay, folder / "p.parquet")
        digests.add(hashlib.sha256((folder / "p.parquet").read_bytes()).hexdigest())
        assert str(tmp_path).encode() not in (folder / "p.parquet").read_bytes()
    assert len(digests) == 1


def test_an_output_that_is_up_to_date_is_left_alone(tmp_path, candidates_file, replay_file):
    output = tmp_path / "p.parquet"
    summary = run(candidates_file, replay_file, output, max_retries=0)
    before = output.stat().st_mtime_ns
    assert run(candidates_file, replay_file, output) == summary.model_copy(update={"cached": True})
    assert output.stat().st_mtime_ns == before
    assert run(candidates_file, replay_file, output, force=True) == summary.model_copy(update={"retries": 8})
    assert output.stat().st_mtime_ns > before


def test_another_run_over_an_output_names_what_differs(tmp_path, candidates_file, replay_file):
    output = tmp_path / "p.parquet"
    run(candidates_file, replay_file, output)
    with pytest.raises(
        OutputError, match=r"(?m)made differently: config\.n: 4 -> 3; config\.temperature: 1\.0 -> 0\.5$"
    ):
        run(candidates_file, replay_file, output, n=3, temperature=0.5)
    script(replay_file, {"a-0": [RIGHT]})
    with pytest.raises(OutputError, match="fingerprint of replay"):
        run(candidates_file, replay_file, output)


@pytest.fixture
def ten_candidates(tmp_path):
    return write(
        tmp_path / "ten.parquet", [candidate(f"t{i}-0", split="holdout" if i in (3, 6) else "train") for i in range(10)]
    )


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"limit": 4}, ["t0-0", "t3-0", "t6-0", "t9-0"]),
        ({"limit": 1}, ["t0-0"]),
        ({"limit": 99}, [f"t{i}-0" for i in range(10)]),
        ({"split": "holdout"}, ["t3-0", "t6-0"]),
        ({"split": "train", "limit": 3}, ["t0-0", "t5-0", "t9-0"]),
    ],
)
def test_a_limit_thins_evenly_within_the_split(tmp_path, ten_candidates, options, kept):
    replay = script(tmp_path / "r.jsonl", {f"t{i}-0": [RIGHT] for i in range(10)})
    summary = run(ten_candidates, replay, tmp_path / "p.parquet", n=1, **options)
    assert [row.candidate_id for row in read(tmp_path / "p.parquet", Profile)] == kept
    assert (summary.candidates, summary.left_out) == (len(kept), 10 - len(kept))


@given(st.integers(1, 400), st.integers(1, 400))
def test_thinning_never_takes_a_row_twice(n, limit):
    config = ProfileConfig(candidates="memory", limit=limit)
    selected = windows.selection("memory", np.full(n, "train"), config).tolist()
    assert len(selected) == len(set(selected)) == min(n, limit)
    assert selected == sorted(selected)
    assert selected[0] == 0


def test_windows_become_row_groups_however_the_candidates_are_stored(tmp_path, monkeypatch):
    rows = [candidate(f"t{i}-{j}") for i in range(5) for j in range(2)]
    replay = script(tmp_path / "r.jsonl", {row.candidate_id: [RIGHT, WRONG] for row in rows})
    options = {"n": 2, "limit": 7, "window": 3}
    source = write(tmp_path / "c.parquet", rows)
    run(source, replay, tmp_path / "p.parquet", **options)
    monkeypatch.setattr("pivotrl_cli.storage.table_writer._FLUSH_ROWS", 2)
    other = write(tmp_path / "c.parquet", rows)
    with Table.open(other, Candidate) as table:
        assert len(list(table.tables())) == 5
    run(other, replay, tmp_path / "q.parquet", **options)
    with Table.open(tmp_path / "q.parquet", Profile) as table:
        groups = [group["candidate_id"].to_pylist() for group in table.tables()]
    assert groups == [["t0-0", "t1-0", "t1-1"], ["t2-0", "t3-0"], ["t4-0", "t4-1"]]
    first, second = (read(tmp_path / name, Profile) for name in ("p.parquet", "q.parquet"))
    assert first == second
    assert [row.reward_mean for row in first] == [0.5] * 7


def test_inputs_that_cannot_be_profiled_say_so(tmp_path, candidates_file, replay_file):
    empty = write(tmp_path / "empty.parquet", [])
    with pytest.raises(InputError, match=r"(?m)no candidates$"):
        run(empty, replay_file, tmp_path / "p.parquet")
    train_only = write(tmp_path / "t.parquet", [candidate("a-0")])
    with pytest.raises(InputError, match="no candidates in the holdout split"):
        run(train_only, replay_file, tmp_path / "p.parquet", split="holdout")
    with pytest.raises(ConfigError, match="--engine replay needs a script"):
        run(candidates_file, None, tmp_path / "p.parquet")
    with pytest.raises(ConfigError, match="unknown verifier 'tool_cal'"):
        run(candidates_file, replay_file, tmp_path / "p.parquet", verifier="tool_cal")
    assert not (tmp_path / "p.parquet").exists()


def test_a_model_profiles_what_fits_its_context(tmp_path, talker):
    rows = [
        candidate("a-0", state=[user("Question 1?")], tools="[]", expected_action=says("yes"), verifier="exact"),
        candidate("a-1", state=[user("x" * 600)], tools="[]", expected_action=says("yes"), verifier="exact"),
        candidate("a-2", state=[user("Question 2?")], tools="[]", expected_action=says("never"), verifier="exact"),
    ]
    source = write(tmp_path / "c.parquet", rows)
    config = ProfileConfig(
        candidates=str(source), model=str(talker), n=16, max_new_tokens=8, output=str(tmp_path / "p.parquet")
    )
    summary = profile.run(config)
    assert summary.status == {"ok": 2, "too_long": 1}
    assert summary.rollouts == 32
    first, long, third = read(tmp_path / "p.parquet", Profile)
    for row, answer in ((first, "yes"), (third, "never")):
        assert {(r.text, r.reward) for r in row.rollouts} == {
            (answer, 1.0),
            ({"yes": "never", "never": "yes"}[answer], 0.0),
        }
        assert row.reward_mean == sum(r.text == answer for r in row.rollouts) / 16
        assert {r.text: r.n_tokens for r in row.rollouts} == {"yes": 3, "never": 5}
        assert all(-5 < r.logprob < 0 for r in row.rollouts)
    assert (long.status, long.rollouts, long.reward_mean) == (ProfileStatus.TOO_LONG, [], None)
    assert long.prompt_tokens is not None
    assert long.prompt_tokens + 8 > 512
    assert long.status_detail == f"{long.prompt_tokens} prompt tokens and 8 new ones, the context holds 512"
    before = (tmp_path / "p.parquet").read_bytes()
    assert profile.run(config.model_copy(update={"force": True})) == summary
    assert (tmp_path / "p.parquet").read_bytes() == before


def test_a_template_that_drops_replies_is_noted_at_each_candidate(tmp_path, talker):
    folder = shutil.copytree(talker, tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>tool\n{{ message.content }}", "<|im_start|>tool\n"))
    called = [user("Question 0?"), calls("look", '{"order": 7}'), Message(role="tool", content="yes")]
    source = write(tmp_path / "c.parquet", [candidate("a-0", state=called), candidate("a-1", state=[user("yes?")])])
    output = tmp_path / "p.parquet"
    summary = profile.run(
        ProfileConfig(candidates=str(source), model=str(folder), n=2, max_new_tokens=4, output=str(output))
    )
    assert summary.template_faults == {"dropped_content": 1}
    assert summary.rollouts == 4
    assert [row.template_fault for row in read(output, Profile)] == ["dropped_content: message 2: yes", ""]
    again = tmp_path / "again.parquet"
    rescore.run(ScoreConfig(rollouts=str(output), output=str(again)))
    assert [row.template_fault for row in read(again, Profile)] == ["dropped_content: message 2: yes", ""]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(profile.describe(summary))
    assert "dropped_content 1: the template loses what was recorded" in console.export_text()


def test_a_template_without_calls_is_refused(tmp_path, talker):
    folder = shutil.copytree(talker, tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("for call in message.tool_calls or []", "for call in []"))
    source = write(tmp_path / "c.parquet", [candidate("a-0", state=[user("yes?")])])
    config = ProfileConfig(candidates=str(source), model=str(folder), n=2, output=str(tmp_path / "p.parquet"))
    with pytest.raises(InputError, match=r"(?m)model: the chat template has no tools: it drops calls$"):
        profile.run(config)


@pytest.mark.parametrize(
    ("sequence", "loops"),
    [
        ("I will. " * 9, True),
        (list(range(40)) + [7, 8, 9] * 14, True),
        ([5] * 32, True),
        ([5] * 31, False),
        ("x" * 12 + "Now look at the order again, please. ", False),
        (list(range(100)), False),
        (list(range(64)) * 6, True),
        (list(range(65)) * 6, False),
        (list(range(43)) * 4, False),
        ("", False),
    ],
)
def test_what_repeats_itself(sequence, loops):
    assert repeats_itself(sequence) is loops


def test_a_loop_is_a_cut_completion_that_says_so(tmp_path):
    source = write(tmp_path / "c.parquet", [candidate("a-0")])
    replay = script(tmp_path / "r.jsonl", {"a-0": [{"text": "I will. " * 9}, CUT, "I will. " * 9]})
    summary = run(source, replay, tmp_path / "p.parquet", n=3)
    (row,) = read(tmp_path / "p.parquet", Profile)
    assert [(r.verdict, r.detail) for r in row.rollouts][:2] == [("truncated", "looping"), ("truncated", "")]
    assert row.rollouts[2].verdict == "no_expected_tool_call"
    assert (summary.truncated, summary.looping) == (2, 1)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(profile.describe(summary))
    assert "2 cut by the token limit, 1 of them looping" in console.export_text()


def test_candidates_that_cannot_be_told_apart_are_refused(tmp_path, replay_file):
    source = write(tmp_path / "c.parquet", [candidate("a-0"), candidate("b-0"), candidate("a-0")])
    with pytest.raises(InputError, match=r"(?m)c\.parquet: candidate_id 'a-0' stands there twice$"):
        run(source, replay_file, tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("counts", "line"), [([9, 0, 1, 4], "█·▁▄"), ([0, 0], "··"), ([], ""), ([1, 1000], "▁█"), ([8, 7, 1], "█▇▁")]
)
def test_a_sparkline_has_a_bar_for_each_count(counts, line):
    assert sparkline(counts) == line


def test_a_line_of_progress_has_the_figures(tmp_path, candidates_file, replay_file, monkeypatch, capsys):
    monkeypatch.setattr("pivotrl_cli.progress.LOG_SECONDS", 0.0)
    monkeypatch.setattr(ReplayEngine, "notes", lambda _: {"prefix_cache_hit_rate": 0.875}, raising=False)
    run(candidates_file, replay_file, tmp_path / "p.parquet", max_retries=0)
    lines = capsys.readouterr().err.splitlines()
    number = r"[\d.]+[kM]?"
    assert re.fullmatch(
        rf"profile: 24/24 rollouts, {number} rollouts/s, {number} candidates/s, 0 tokens/s, "
        r"pass rate 0\.47 █·█·██·█, 4 errors, prefix cache hit rate 0\.88, 0:00 left",
        lines[-1],
    ), lines[-1]
