"""NeMo Gym: rollouts and pivot rows; the items of the Responses API become messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from readings import bad_record, call, calls, nested, one, read_lines, replies, says, system, user
from tables import read as read_table
from verifiers_actions import gym_output, records, score

from pivotrl_cli.configs import ExtractConfig, FilterConfig, ScoreConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.readers.responses import messages_of_items
from pivotrl_cli.rows import Candidate, Fault, Message, Profile, RejectReason, Trajectory
from pivotrl_cli.stages.extract.recorded_rewards import recorded_rewards
from pivotrl_cli.stages.extract.run import run
from pivotrl_cli.stages.filter import run as filter_stage
from pivotrl_cli.stages.score import run as rescore
from pivotrl_cli.storage.table import Table

TOOL = {"type": "function", "name": "find", "strict": True, "parameters": {}}
PROMPT = [{"role": "system", "content": "Policy"}, {"type": "message", "role": "user", "content": "hi"}]
CALL = {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"q":  1}'}
REPLY = {"type": "function_call_output", "call_id": "c1", "output": "[]"}
TEXT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}], "encrypted_content": None}


def row(prompt: Any = PROMPT, **fields: Any) -> dict[str, Any]:
    return {"responses_create_params": {"input": prompt, "tools": [TOOL]}, **fields}


def read_row(folder: Path, record: dict[str, Any]) -> Trajectory:
    return one(read_lines(folder, record), "nemo_gym")


def items(*found: dict[str, Any]) -> list[Message]:
    return messages_of_items(Json(list(found)))


def test_what_the_model_wrote_in_one_go_is_one_message() -> None:
    second = CALL | {"call_id": "c2"}
    assert items(THOUGHT, TEXT, CALL, second, REPLY, REPLY | {"call_id": "c2"}, THOUGHT, TEXT) == [
        calls(call("find", '{"q":  1}', "c1"), call("find", '{"q":  1}', "c2"), text="Done.", reasoning="why"),
        replies("[]", "c1"),
        replies("[]", "c2"),
        says("Done.", "why"),
    ]


def test_speaking_or_reasoning_again_begins_a_new_message() -> None:
    assert items(TEXT, TEXT) == [says("Done."), says("Done.")]
    assert items(CALL, TEXT) == [calls(call("find", '{"q":  1}', "c1")), says("Done.")]
    assert items(TEXT, THOUGHT, CALL) == [says("Done."), calls(call("find", '{"q":  1}', "c1"), reasoning="why")]
    assert items(THOUGHT) == [says("", "why")]


def test_a_text_alone_is_the_users() -> None:
    assert messages_of_items(Json("solve it")) == [user("solve it")]


def test_rollout(tmp_path: Path) -> None:
    prompt = [*PROMPT, TEXT, {"role": "user", "content": "go"}]
    record = row(
        prompt,
        response={"model": "qwen", "output": [CALL, REPLY, TEXT]},
        reward=0.5,
        expected_action={"type": "message", "content": "another"},
        mask_sample=False,
        error_kind=None,
        agent_ref={"type": "responses_api_agents", "name": "simple"},
        _ng_task_index=4,
        _ng_rollout_index=2,
    )
    assert read_row(tmp_path, record) == Trajectory(
        source="t.jsonl",
        line=1,
        messages=[
            *(system("Policy"), user("hi"), says("Done."), user("go")),
            *(calls(call("find", '{"q":  1}', "c1")), replies("[]", "c1"), says("Done.")),
        ],
        context=[2],
        tools=nested("find", strict=True, parameters={}),
        task_id="4",
        trial="2",
        outcome=0.5,
        provenance='{"mask_sample":false,"agent":"simple","model":"qwen"}',
    )


def test_instructions_are_the_system_prompt(tmp_path: Path) -> None:
    params = {"input": "solve it", "instructions": "Use tools.", "tools": None}
    found = read_row(tmp_path, {"responses_create_params": params, "response": {"output": [TEXT]}, "reward": 1})
    assert found.messages == [system("Use tools."), user("solve it"), says("Done.")]


def test_turns_without_the_prompt_are_incomplete(tmp_path: Path) -> None:
    found = read_row(tmp_path, row([], response={"output": [CALL, REPLY, TEXT]}, reward=1))
    detail = "the prompt was not recorded"
    assert found.faults == [Fault(message=i, reason=RejectReason.INCOMPLETE, detail=detail) for i in (0, 2)]


ACTION = {"type": "function_call", "name": "find", "arguments": '{"q": 1}'}


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"expected_action": ACTION}, calls(call("find", '{"q": 1}'))),
        ({"expected_action": {"type": "message", "content": "Bye."}}, says("Bye.")),
        (
            {"expected_action": {"type": "function_call_batch", "calls": [ACTION, ACTION]}},
            calls(call("find", '{"q": 1}'), call("find", '{"q": 1}')),
        ),
        ({"metadata": {"expected_action": ACTION}}, calls(call("find", '{"q": 1}'))),
        ({"expected_answer": json.dumps(ACTION)}, calls(call("find", '{"q": 1}'))),
        ({"expected_answer": '{"analysis": "a",\n "commands": []}'}, says('{"analysis": "a",\n "commands": []}')),
        ({"expected_answers": [{"name": "find", "arguments": {"q": 1}}]}, calls(call("find", '{"q":1}'))),
    ],
)
def test_a_pivot_row_is_one_candidate(tmp_path: Path, fields: dict[str, Any], action: Message) -> None:
    found = read_row(tmp_path, row([*PROMPT, TEXT, {"role": "user", "content": "go"}], **fields))
    assert found.messages == [system("Policy"), user("hi"), says("Done."), user("go"), action]
    assert (found.context, found.outcome) == ([2], None)


@pytest.mark.parametrize("fields", [{"expected_answer": "70"}, {"expected_answer": ""}, {"ground_truth": [ACTION]}])
def test_a_task_alone_has_no_turn(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert read_row(tmp_path, row(**fields)).messages == [system("Policy"), user("hi")]


def test_recorded_pass_rates_are_provenance_and_long_texts_are_left_out(tmp_path: Path) -> None:
    record = row(
        trajectory_id="t7",
        expected_action=ACTION,
        pass_rate=0.25,
        pass_rate_total=16,
        pass_rate_passed=4,
        qwen_235b_info={"rewards": [0.0, 1.0], "reward_mean": 0.5},
        metadata={"instance_id": "astropy-1", "ref_patch": "x" * 1000},
        meta_info={"turn": 2, "step": 1, "assistant_depth": 3},
    )
    found = read_row(tmp_path, record)
    assert json.loads(found.provenance) == {
        "action_type": "function_call",
        "trajectory_id": "t7",
        "meta_info": {"turn": 2, "step": 1, "assistant_depth": 3},
        "metadata": {"instance_id": "astropy-1"},
        "qwen_235b_info": {"rewards": [0.0, 1.0], "reward_mean": 0.5},
        "pass_rate": 0.25,
        "pass_rate_total": 16,
        "pass_rate_passed": 4,
    }
    assert (found.task_id, found.run) == ("astropy-1", "t7")


def test_a_batch_of_one_call_is_told_from_a_call(tmp_path: Path) -> None:
    """NVIDIA's `swe_pivot` refuses a demonstrated batch, of however many calls."""
    known = next(r for r in records("conformance/edge_swe_pivot_verify.jsonl") if r["tag"] == "expected_batch")
    batch = known["expected_action"]
    for fields in ({"expected_action": batch}, {"expected_answer": json.dumps(batch)}):
        found = read_row(tmp_path, row(**fields))
        verdict = score("swe_compat", found.messages[-1], gym_output(known["output"]), provenance=found.provenance)
        assert (verdict.reward, verdict.category) == (known["reward"], known["failure_reason"])


PUBLISHED = [
    ({"pass_rate": 0.25, "pass_rate_total": 16, "pass_rate_passed": 4}, 16, 0.25, 0.1875**0.5),
    ({"pass_rate": 0.25, "pass_rate_total": 8}, 8, 0.25, 0.1875**0.5),
    ({"qwen_235b_info": {"rewards": [0, 1, 0.5, 0.5]}}, 4, 0.5, 0.125**0.5),
    ({"qwen_235b_info": {"rewards": [0, 1]}, "pass_rate": 0.25, "pass_rate_total": 4}, 4, 0.25, 0.1875**0.5),
    ({"rewards": [0, 0, 1, 1], "pass_rate": 0.25, "pass_rate_total": 4}, 4, 0.5, 0.5),
    ({"pass_rate": 0.0, "pass_rate_total": 16}, 16, 0.0, 0.0),
    ({"pass_rate": 0.25}, 0, 0.25, 0.1875**0.5),
    ({"reward_mean": 0.25, "reward_std": 0.125}, 0, 0.25, 0.125),
    ({"reward_mean": 0.25}, 0, None, None),
    ({"pass_rate": 25, "pass_rate_total": 16}, 0, None, None),
    ({"pass_rate": True, "rewards": ["good"], "pass_rate_passed": 9, "pass_rate_total": 8}, 0, None, None),
    ({}, 0, None, None),
]


@pytest.mark.parametrize(("fields", "n", "mean", "std"), PUBLISHED)
def test_what_counts_as_a_recorded_reward(
    fields: dict[str, Any], n: int, mean: float | None, std: float | None
) -> None:
    found = recorded_rewards(fields)
    assert (found and (found.n, found.mean, found.std)) == (None if mean is None else (n, mean, pytest.approx(std)))


def test_published_pass_rates_are_a_profile_that_filter_takes(tmp_path: Path) -> None:
    rates: list[dict[str, Any]] = [
        {"pass_rate": 0.25, "pass_rate_total": 16, "pass_rate_passed": 4},
        {"pass_rate": 0.0, "pass_rate_total": 16, "pass_rate_passed": 0},
        {"pass_rate": 0.5},
        {"pass_rate": 0.875, "pass_rate_total": 8},
        {},
    ]
    rows = [row(f"task {i}", trajectory_id=f"t{i}", expected_action=ACTION, **r) for i, r in enumerate(rates)]
    read_lines(tmp_path, *rows)
    config = ExtractConfig(
        sources=[str(tmp_path / "t.jsonl")], output=str(tmp_path / "c.parquet"), profile=tmp_path / "p.parquet"
    )
    summary = run(config)
    assert summary.recorded.model_dump() == {"n_recorded": 4, "n_without": 1, "n_uncounted": 1, "reward_mean": 0.40625}
    found, candidates = read_table(tmp_path / "p.parquet", Profile), read_table(tmp_path / "c.parquet", Candidate)
    assert [Candidate(**{f: getattr(p, f) for f in Candidate.model_fields}) for p in found] == candidates
    assert [(p.reward_mean, p.n_scored, p.rollouts, p.status, p.status_detail) for p in found] == [
        (0.25, 16, [], "recorded", "4 of 16 by pass_rate_passed"),
        (0.0, 16, [], "recorded", "0 of 16 by pass_rate_passed"),
        (0.5, 0, [], "recorded", "pass_rate 0.5 of an unknown number of rollouts"),
        (0.875, 8, [], "recorded", "pass_rate 0.875"),
        (None, 0, [], "not_scored", "no rewards are recorded"),
    ]
    assert [p.pass_rate_low is None for p in found] == [False, False, True, False, True]
    assert run(config).cached is True
    (tmp_path / "p.parquet").unlink()
    assert run(config).cached is False
    kept = filter_stage.run(FilterConfig(profile=str(tmp_path / "p.parquet"), output=str(tmp_path / "k.parquet")))
    assert kept.kept == 2
    assert {r: n for step in kept.funnel for r, n in step.dropped.items()} == {
        "all_wrong": 1,
        "not_scored": 1,
        "too_easy": 1,
    }
    assert [p.task_id for p in read_table(tmp_path / "k.parquet", Profile)] == ["t0", "t2"]
    with pytest.raises(InputError, match="no rollouts in it"):
        rescore.run(ScoreConfig(rollouts=str(tmp_path / "p.parquet"), output=str(tmp_path / "s.parquet")))


def test_pieces_of_one_run_share_its_id_and_their_ids_differ(tmp_path: Path) -> None:
    later = row([*PROMPT, TEXT, {"role": "user", "content": "go"}], trajectory_id="t7", expected_action=ACTION)
    read_lines(tmp_path, row(trajectory_id="t7", expected_action=ACTION), later, later)
    output = tmp_path / "c.parquet"
    run(ExtractConfig(sources=[str(tmp_path / "t.jsonl")], output=str(output), holdout=0.5))
    with Table.open(output, Candidate) as table:
        found = list(table.rows())
    names = {candidate.trajectory_id.split("~")[0] for candidate in found}
    assert [candidate.candidate_id.removeprefix(min(names)) for candidate in found] == ["-000", "-001", "~2-001"]
    assert [(candidate.turn, candidate.n_turns) for candidate in found] == [(0, 1), (1, 2), (1, 2)]
    assert len(names) == len({candidate.split for candidate in found}) == 1


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"responses_create_params": 3}, "responses_create_params: expected an object, got a number"),
        (
            row(expected_action={"type": "dance"}),
            "expected_action.type: expected message, function_call or function_call_batch, got 'dance'",
        ),
        (row([{"type": "web_search_call"}], response={"output": []}), None),
        (row(expected_action={"type": "function_call"}), "expected_action.name: expected text, got nothing"),
        (row(response={"output": [TEXT]}, reward="good"), "reward: expected a number, got 'good'"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, record: dict[str, Any], detail: str | None) -> None:
    detail = detail or (
        "responses_create_params.input.0.type: expected a message, reasoning, a function call or its output,"
        " got 'web_search_call'"
    )
    assert read_lines(tmp_path, record) == ("nemo_gym", [bad_record(detail, source="t.jsonl")])
