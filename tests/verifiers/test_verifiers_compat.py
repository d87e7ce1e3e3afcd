"""Conformance: NVIDIA's recorded verdicts, reward by reward and category by category."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from verifiers_actions import call, calls, gym_action, gym_output, records, says, score

from pivotrl_cli.rows import Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.coding import first_program, kind_of, same_tool
from pivotrl_cli.verifiers.nvidia import swe_compat, terminal_compat, terminus_compat
from pivotrl_cli.verifiers.nvidia.swe_compat import Rules, SweScore, command_of, edit_text, file_path
from pivotrl_cli.verifiers.nvidia.tool_call_compat import arguments_difference, compare_actions


def conformance(name: str) -> list[dict[str, Any]]:
    return records(f"conformance/{name}.jsonl")


def rollouts(server: str) -> list[dict[str, Any]]:
    return records(f"nemo_gym/{server}/example_rollouts.jsonl")


# --- both releases, on small inputs: what the servers of nemo-gym 0.6.0 and 0.7.0 answered (support/gym_verdicts.py)

SERVERS = {
    "swe_pivot": "swe_compat",
    "single_step_tool_use_with_argument_comparison": "tool_call_compat",
    "terminus_judge": "terminus_compat",
    "terminal_multi_harness": "terminal_compat",
    "xlam_fc": "xlam_fc_compat",
}
VERDICTS = (Path(__file__).parents[1] / "data/gym/verdicts.jsonl").read_text().splitlines()


@pytest.mark.parametrize("release", ["0.6", "0.7"])
@pytest.mark.parametrize("server", SERVERS)
def test_verdicts_of_a_release(server: str, release: str) -> None:
    found = [case for case in map(json.loads, VERDICTS) if case["server"] == server]
    verdicts = [release_verdict(case, release) for case in found]
    names_no_code = server == "xlam_fc"
    assert [[v.reward, None if names_no_code else v.category] for v in verdicts] == [case[release] for case in found]
    assert any(case["0.6"] != case["0.7"] for case in found) == (server == "swe_pivot")


def release_verdict(case: dict[str, Any], release: str) -> Verdict:
    row, name = case["row"], SERVERS[case["server"]]
    if case["config"].get("reward_mode") == "continuous":
        name += "_continuous"
    if release == "0.6" and name.startswith("swe"):
        name += "@0.6"
    if "expected_answers" in row:
        expected = calls(*(call(c["name"], c["arguments"]) for c in row["expected_answers"]))
    else:
        expected = gym_action(row["expected_action"]) if "expected_action" in row else says(row["expected_answer"])
    kind = row.get("expected_action", {}).get("type")
    about = {"metadata": row.get("metadata", {}), "harness": row.get("harness"), "action_type": kind}
    known = {key: value for key, value in about.items() if value}
    tools = json.dumps([{"type": "function", "function": tool} for tool in row.get("declared_tools", [])])
    return score(name, expected, gym_output(case["output"]), tools, json.dumps(known))


# --- single step


def single_step_verdict(record: dict[str, Any], expected: str, actual: str) -> tuple[float, str]:
    threshold = record["config"]["word_count_similarity_threshold"]
    verdict = compare_actions(gym_action(record[expected]), gym_action(record[actual]), threshold)
    return verdict.reward, verdict.category.upper()


def has_default_counting(record: dict[str, Any]) -> bool:
    """Whether the record does not reward the number of calls, which is the only configuration followed here."""
    return not record["config"]["parallel_tool_call_rewarding"]


@pytest.mark.parametrize(("file", "count"), [("single_step_compare_action", 10), ("edge_single_step", 55)])
def test_single_step_actions(file: str, count: int) -> None:
    scored = [r for r in conformance(file) if "raises" not in r and has_default_counting(r)]
    verdicts = [single_step_verdict(r, "expected_action", "actual_action") for r in scored]
    assert verdicts == [(r["reward"], r["category"]) for r in scored]
    assert len(scored) == count


def test_single_step_calls() -> None:
    found = conformance("single_step_compare_tool_call")
    verdicts = [single_step_verdict(r, "expected", "actual") for r in found]
    assert verdicts == [(r["reward"], r["category"]) for r in found]
    assert len(found) == 2


def test_single_step_arguments() -> None:
    found = conformance("single_step_compare_arguments")
    for record in found:
        difference = arguments_difference(record["expected"], record["actual"])
        assert (difference is None) == record["match"]
        assert (difference.category.upper() if difference else None) == record["category"]
    assert len(found) == 4


def test_single_step_gives_a_verdict_where_their_code_throws() -> None:
    thrown = [r for r in conformance("edge_single_step") if "raises" in r]
    found = [single_step_verdict(r, "expected_action", "actual_action") for r in thrown]
    assert found == [(0.0, "ARGUMENTS_BEYOND_LIMITS")]


def test_single_step_keeps_the_known_exploits() -> None:
    expected = calls(call("t", x=1))
    assert score("tool_call_compat", says("The total is 12."), says("")) == Verdict(1.0, "expected_chat_message_found")
    assert score("tool_call_compat", expected, calls(call("t", x=2), call("u"), call("t", x=1))) == Verdict(
        1.0, "expected_tool_call"
    )
    # 1 / 4 of the words shared is above 0.1
    assert score("tool_call_compat", calls(call("t", x="New York")), calls(call("t", x="New Jersey"))).reward == 1.0
    assert score("tool_call_compat", calls(call("t", "[1]")), calls(call("t", "[1]"))).reward == 1.0


# --- software engineering


def test_swe_verdicts() -> None:
    found = [r for r in conformance("edge_swe_pivot_verify") if "enable_target_match" not in (r["config"] or {})]
    scores = [
        swe_compat.compare_actions(
            gym_action(r["expected_action"]),
            gym_output(r["output"]),
            Rules(r["config"].get("reward_mode") == "continuous", lost_command_passes=True),
            batch=r["expected_action"]["type"] == "function_call_batch",
        )
        for r in found
    ]
    keys = ["reward", "failure_reason", "tool_name_match", "target_match", "similarity_score", "diff_size_penalty"]
    assert [tuple(score) for score in scores] == [tuple(r[key] for key in keys) for r in found]
    assert len(found) == 36


SWE_FUNCTIONS = {
    "get_tool_category": kind_of,
    "extract_file_path": file_path,
    "extract_command": command_of,
    "extract_command_verb": first_program,
    "extract_editor_command": lambda arguments: arguments.get("command", ""),
    "extract_edit_content": edit_text,
    "verify_tool_name_match": lambda actual, _, expected, __: same_tool(actual, expected),
    "verify_target_match": lambda kind, actual, _, expected: swe_compat.target_match(kind, actual, expected, True),
    "compute_argument_similarity": lambda kind, actual, _, expected: swe_compat.argument_similarity(
        kind, actual, expected
    ),
    "compute_diff_size_penalty": lambda kind, given, _: swe_compat.diff_size_penalty(kind, given),
    "_parse_arguments": lambda raw: parsed(raw),
    "extract_tool_info": lambda raw: [raw["name"], kind_of(raw["name"]), parsed(raw["arguments"])],
}


def parsed(raw: Any) -> Any:
    """Their arguments may be an object; ours are always text."""
    return swe_compat.parse_arguments(call("t", raw if isinstance(raw, str) else json.dumps(raw)))


def test_swe_functions() -> None:
    found = [r for r in conformance("swe_pivot_functions") if "compute_diff" not in r["fn"] or r["args"][2] == 0.1]
    assert [SWE_FUNCTIONS[r["fn"]](*r["args"], **r["kwargs"]) for r in found] == [r["result"] for r in found]
    assert len(found) == 166


def test_swe_compat_by_name() -> None:
    edit = call("edit", path="a.py", old_str="a", new_str="b")
    assert score("swe_compat", calls(edit), calls(edit, call("finish"))) == Verdict(1.0, "none", "similarity 1.000")
    assert score("swe_compat_continuous", calls(edit), calls(edit)).reward == 1 - 0.1 * 3 / 500
    assert score("swe_compat", says("hi"), says("hi")) == Verdict(0.0, "expected_action_invalid")
    batch = '{"action_type": "function_call_batch"}'
    assert score("swe_compat", calls(edit), calls(edit), provenance=batch).category == "expected_action_invalid"
    deep = call("edit", "[" * 500 + "]" * 500)
    assert swe_compat.compare_actions(calls(edit), calls(deep), Rules()) == SweScore(
        0.0, swe_compat.SweCode.UNKNOWN_ERROR
    )


# --- terminal: Terminus


def test_terminus_verdicts() -> None:
    """Those that were recorded without a judge."""
    found = [r for r in conformance("terminus_judge_verify") if not r["config"]["enable_llm_judge"]]
    verdicts = [
        terminus_compat.compare_texts(
            r["expected_answer"] or "",
            gym_output(r["output"]).content,
            (r["metadata"] or {}).get("harness"),
            r["config"]["string_similarity_threshold"],
        )
        for r in found
    ]
    assert [(v.reward, v.category) for v in verdicts] == [(r["reward"], r["failure_reason"]) for r in found]
    assert len(found) == 17


def test_terminus_harness_and_threshold_come_from_the_provenance() -> None:
    expected = says(json.dumps({"analysis": "", "plan": "", "commands": [{"keystrokes": "ls -la\n"}]}))
    action = says(json.dumps({"analysis": "", "plan": "", "commands": [{"keystrokes": "ls -l\n"}]}))
    # 12 of 13 characters
    assert score("terminus_compat", expected, action) == Verdict(1.0, "none", "similarity 0.923")
    strict = '{"metadata": {"harness": "terminus_2"}, "threshold": 0.95}'
    assert score("terminus_compat", expected, action, provenance=strict).category == "string_similarity_below_threshold"
    other = '{"harness": "terminus_1"}'
    assert score("terminus_compat", expected, action, provenance=other).category == "expected_answer_invalid"
    assert score("terminus_compat", expected, action, provenance='{"harness": "x"}').category == "unknown_harness"


# --- terminal: harnesses that call tools


def test_harness_verdicts() -> None:
    found = conformance("terminal_multi_harness_compare_action")
    verdicts = [
        terminal_compat.compare_actions(
            gym_action(r["expected_action"]),
            gym_action(r["actual_action"]),
            json.dumps(r["declared_tools"]),
            r["harness"],
            r["config"]["string_similarity_threshold"] if r["threshold"] is None else r["threshold"],
        )
        for r in found
    ]
    assert [(v.reward, v.category.upper()) for v in verdicts] == [(r["reward"], r["category"]) for r in found]
    details = ["" if r["similarity_score"] is None else f"similarity {r['similarity_score']:.3f}" for r in found]
    assert [v.detail for v in verdicts] == details
    assert len(found) == 24


def test_harness_arguments_on_which_their_server_fails() -> None:
    tools = json.dumps([{"name": "t", "parameters": {}}])
    assert (
        score("terminal_compat", calls(call("t")), calls(call("t", "{x")), tools).category == "arguments_decode_error"
    )
    assert score("terminal_compat", calls(call("t")), calls(call("t", "[1]")), tools).category == "arguments_not_object"


@pytest.mark.parametrize(
    ("schema", "category"),
    [
        ({"type": "object"}, "expected_tool_call"),
        ({"type": "nonsense"}, "tool_schema_validation_failed"),
        ({"$ref": "https://example.invalid/schema"}, "tool_schema_validation_failed"),
        ({"$ref": "#"}, "tool_schema_validation_failed"),
        ({"required": ["y"]}, "tool_schema_validation_failed"),
    ],
)
def test_harness_schemas(schema: dict[str, Any], category: str) -> None:
    tools = json.dumps([{"name": "t", "parameters": schema}])
    assert score("terminal_compat", calls(call("t", x=1)), calls(call("t", x=1)), tools).category == category


def test_harness_finds_no_action_in_bare_reasoning() -> None:
    action = Message(role="assistant", reasoning="Let me think.")
    for name in ["tool_call_compat", "terminal_compat"]:
        assert score(name, says("Hello"), action) == Verdict(0.0, "no_action_found")


# --- recorded rewards


def test_single_step_rewards() -> None:
    found = rollouts("single_step_tool_use_with_argument_comparison")
    rewards = [
        score("tool_call_compat", gym_action(r["expected_action"]), gym_output(r["response"]["output"])).reward
        for r in found
    ]
    assert rewards == [r["reward"] for r in found] == [1.0, 1.0, 0.0, 1.0, 0.0]


def test_swe_rewards() -> None:
    """The rollouts lack the demonstrations, which stand in the examples of the same name."""
    examples = {r["uuid"]: r["expected_action"] for r in records("nemo_gym/swe_pivot/example.jsonl")}
    found = rollouts("swe_pivot")
    verdicts = [
        score("swe_compat", gym_action(examples[r["uuid"]]), gym_output(r["response"]["output"])) for r in found
    ]
    assert [(v.reward, v.category) for v in verdicts] == [(r["reward"], r["failure_reason"]) for r in found]
    assert len(found) == 5


def test_terminus_rewards() -> None:
    """All five were given to a judge, who said no; its category has another name since."""
    found = rollouts("terminus_judge")
    verdicts = [
        score(
            "terminus_compat",
            says(r["expected_answer"]),
            gym_output(r["response"]["output"]),
            provenance=json.dumps({"metadata": r["metadata"]}),
        )
        for r in found
    ]
    assert [(v.reward, v.detail) for v in verdicts] == [
        (r["reward"], f"similarity {r['similarity_score']:.3f}") for r in found
    ]
    assert len(found) == 5


def test_harness_rewards() -> None:
    found = rollouts("terminal_multi_harness")
    rewards = [
        score(
            "terminal_compat",
            gym_action(r["expected_action"]),
            gym_output(r["response"]["output"]),
            json.dumps(r["declared_tools"] or r["responses_create_params"]["tools"]),
            json.dumps({"harness": r["harness"]}),
        ).reward
        for r in found
    ]
    assert rewards == [r["reward"] for r in found] == [1.0, 1.0, 1.0, 1.0, 0.0]


def asked(row: dict[str, Any]) -> str:
    return str(row["responses_create_params"]["input"][-1]["content"])


def test_function_calling_rewards() -> None:
    """The rollouts lack the demonstrations, which stand in the examples of the same prompt."""
    examples = {
        asked(r): calls(*(call(c["name"], c["arguments"]) for c in r["expected_answers"]))
        for r in records("nemo_gym/xlam_fc/example.jsonl")
    }
    found = rollouts("xlam_fc")
    rewards = [score("xlam_fc_compat", examples[asked(r)], gym_output(r["response"]["output"])).reward for r in found]
    assert rewards == [r["reward"] for r in found] == [1.0, 1.0, 1.0, 0.0, 0.0]


F, G = call("f", x=1), call("f", x=1, y=2)


@pytest.mark.parametrize(
    ("expected", "action", "reward", "category"),
    [
        ([F], [G], 1.0, "expected_tool_call"),
        ([G], [F], 0.0, "argument_object_keys_different"),
        ([F, G], [F, G], 1.0, "expected_tool_call_batch"),
        ([F, G], [G, F], 0.0, "argument_object_keys_different"),
        ([G, F], [F, G], 1.0, "expected_tool_call_batch"),
        ([F], [F, F], 0.0, "function_call_batch_length_different"),
        ([F], [], 0.0, "no_expected_tool_call"),
        ([F], [call("F", x=1)], 0.0, "unexpected_tool"),
        ([F], [call("f", x=True)], 1.0, "expected_tool_call"),
        ([F], [call("f", x=1.0)], 1.0, "expected_tool_call"),
        ([F], [call("f", x="1")], 0.0, "argument_value_different"),
        ([F], [call("f", "{x")], 0.0, "arguments_decode_error"),
        ([F], [call("f", '["x"]')], 0.0, "argument_object_keys_different"),
        ([call("f", "{}")], [call("f", "{x")], 1.0, "expected_tool_call"),
        ([], [], 1.0, "expected_chat_message_found"),
        ([], [F], 0.0, "no_expected_chat_message"),
    ],
)
def test_function_calling(expected: list[Any], action: list[Any], reward: float, category: str) -> None:
    verdict = score("xlam_fc_compat", calls(*expected, content="a"), calls(*action, content="b"))
    assert (verdict.reward, verdict.category) == (reward, category)
