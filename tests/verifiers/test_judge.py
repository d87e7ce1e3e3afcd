from __future__ import annotations

import re

import pytest
from faulty_server import faulty_server

from pivotrl_cli import endpoint
from pivotrl_cli.endpoint import EndpointSettings
from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import Either, Verdict
from pivotrl_cli.verifiers.judge import Judge, JudgeError, JudgeSettings


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.001)


def message(text: str) -> Message:
    return Message(role="assistant", content=text)


CANDIDATE = Candidate(
    candidate_id="a-000",
    trajectory_id="a",
    task_id="",
    source="s",
    turn=0,
    n_turns=1,
    domain="",
    verifier="judge",
    state=[Message(role="user", content="Is it done?")],
    tools="[]",
    expected_action=message("Yes, it is done."),
    outcome=None,
    split="train",
    provenance="{}",
)


def completion(text):
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}


def by_letters(path, body):
    """A judge that finds two actions the same if their words have the same first letters."""
    a, b = re.search(
        r"ACTION A\n\nassistant: (.*)\n\nACTION B\n\nassistant: (.*)", body["messages"][1]["content"]
    ).groups()
    same = [w[0].lower() for w in a.split()] == [w[0].lower() for w in b.split()]
    return completion(f"They look alike.\nVERDICT: {'SAME' if same else 'DIFFERENT'}")


def judge(url, tmp_path, **settings) -> Judge:
    return Judge(
        JudgeSettings(
            endpoint=EndpointSettings(base_url=url, max_retries=2), model="m", cache=tmp_path / "c.sqlite", **settings
        )
    )


def test_equivalent_in_both_orders_is_accepted_and_a_rerun_asks_nothing(tmp_path):
    with faulty_server(by_letters, lambda i: None) as (url, seen):
        first = judge(url, tmp_path)
        assert first(CANDIDATE, message("Yo, it's indeed deployed.")) == Verdict(1.0, "judge_same")
        assert first(CANDIDATE, message("No.")) == Verdict(0.0, "judge_different", "the judge finds them different")
        assert first.usage == {
            "calls": 3, "cached": 0, "retries": 0, "prompt_tokens": 30, "completion_tokens": 6
        }  # fmt: skip
        first.close()
        again = judge(url, tmp_path)
        assert again(CANDIDATE, message("Yo, it's indeed deployed.")) == Verdict(1.0, "judge_same")
        assert again.usage["calls"] == 0
        assert again.usage["cached"] == 2
        again.close()
    assert len(seen) == 3


def test_a_judge_that_prefers_a_place_accepts_nothing(tmp_path):
    def prefers(path, body):
        first = "ACTION A\n\nassistant: Yes" in body["messages"][1]["content"]
        return completion("VERDICT: SAME" if first else "VERDICT: DIFFERENT")

    with faulty_server(prefers, lambda i: None) as (url, _):
        one = judge(url, tmp_path)
        verdict = one(CANDIDATE, message("Done."))
        one.close()
    assert verdict == Verdict(0.0, "judge_swap_disagrees", "the judge finds them equivalent in one order only")


@pytest.mark.parametrize("answer", ["SAME", "I cannot say.", "VERDICT: MAYBE", ""])
def test_an_answer_without_a_verdict_is_an_error_and_is_not_kept(tmp_path, answer):
    with faulty_server(lambda path, body: completion(answer), lambda i: None) as (url, seen):
        one = judge(url, tmp_path)
        for _ in range(2):
            with pytest.raises(JudgeError, match="no verdict"):
                one(CANDIDATE, message("Done."))
        one.close()
    assert len(seen) == 2


def test_a_judge_that_fails_is_an_error(tmp_path):
    with faulty_server(by_letters, lambda i: "500") as (url, _):
        one = judge(url, tmp_path)
        with pytest.raises(JudgeError, match="did not answer: HTTP 500"):
            one(CANDIDATE, message("Done."))
        assert one.usage["retries"] == 2
        one.close()


def test_the_budget_is_kept(tmp_path):
    with faulty_server(by_letters, lambda i: None) as (url, seen):
        one = judge(url, tmp_path, max_calls=1)
        with pytest.raises(JudgeError, match="budget of 1 judge calls is spent"):
            one(CANDIDATE, message("Yo, it's indeed deployed."))
        one.close()
    assert len(seen) == 1


def test_the_judge_is_asked_only_about_what_the_rule_does_not_accept(tmp_path):
    def rule(candidate, action):
        return Verdict(float(action.content == "fine"), "rule")

    with faulty_server(by_letters, lambda i: None) as (url, seen):
        one = judge(url, tmp_path)
        both = Either(rule, one)
        assert both.concurrency == one.concurrency == 16
        assert both(CANDIDATE, message("fine")) == Verdict(1.0, "rule")
        assert len(seen) == 0
        assert both(CANDIDATE, message("No.")).category == "judge_different"
        one.close()


def test_call_ids_and_reasoning_do_not_reach_the_judge(tmp_path):
    with faulty_server(lambda path, body: completion("VERDICT: DIFFERENT"), lambda i: None) as (url, seen):
        one = judge(url, tmp_path)
        call = ToolCall(id="call_77", name="f", arguments='{"b": 1, "a": 2}')
        one(CANDIDATE, Message(role="assistant", reasoning="hidden thought", tool_calls=[call]))
        one.close()
    asked = seen[0]["body"]["messages"][1]["content"]
    assert asked.endswith('ACTION B\n\nassistant: {"arguments": {"a": 2, "b": 1}, "name": "f"}')
    assert "hidden" not in asked
