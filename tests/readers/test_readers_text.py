"""ShareGPT and LLaMA-Factory, Hermes text, ToolBench trees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from readings import bad_record, call, calls, nested, one, read_json, read_lines, replies, says, system, user

from pivotrl_cli.rows import Fault, Message, Reject, RejectReason, Trajectory
from pivotrl_cli.stages.extract.turns import candidates_of
from pivotrl_cli.verifiers import Verdict

# ShareGPT

FLAT = '[{"name": "find", "description": "d", "parameters": {}}]'


def said(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": who, "value": what} for who, what in turns]


def test_sharegpt_calls_and_replies_are_messages_of_their_own(tmp_path: Path) -> None:
    conversation = said(
        *(("human", "hi"), ("gpt", "<think>why</think>Hello."), ("human", "find")),
        ("function_call", '{"name": "find", "arguments": {"q": 1.0}}'),
        ("observation", "[]"),
        ("function_call", '[{"name": "find", "arguments": "{}"}, {"name": "find", "arguments": {}}]'),
        ("gpt", "Nothing."),
    )
    record = {"id": 3, "conversations": conversation, "tools": FLAT, "system": "Policy"}
    assert one(read_json(tmp_path, [record]), "sharegpt") == Trajectory(
        source="t.json",
        line=1,
        messages=[
            *(system("Policy"), user("hi"), says("Hello.", "why"), user("find")),
            *(calls(call("find", '{"q":1.0}')), replies("[]"), calls(call("find"), call("find")), says("Nothing.")),
        ],
        tools=nested("find", description="d", parameters={}),
        provenance='{"id":"3"}',
    )


@pytest.mark.parametrize("tools", [None, "", "[]", []])
def test_sharegpt_without_tools(tmp_path: Path, tools: Any) -> None:
    record = {"conversations": said(("human", "hi"), ("gpt", "Hello.")), "tools": tools}
    assert one(read_lines(tmp_path, record), "sharegpt").tools == "[]"


def test_llamafactory_blocks_with_values(tmp_path: Path) -> None:
    def block(kind: str, value: str) -> dict[str, str]:
        return {"type": kind, "value": value}

    call_value = '{"name": "find", "arguments": {"q": 1}}'
    messages = [
        {"role": "system", "content": [block("text", "Policy")]},
        {"role": "user", "content": [block("text", "hi")], "loss_weight": 0.0},
        {
            "role": "assistant",
            "content": [block("reasoning", "why"), block("tool_call", call_value), block("tool_call", call_value)],
            "loss_weight": 1.0,
        },
        {"role": "tool", "content": [block("text", "[]")]},
        {"role": "assistant", "content": [block("reasoning", "so"), block("text", "Nothing.")]},
    ]
    found = one(read_lines(tmp_path, {"messages": messages, "tools": FLAT}), "sharegpt")
    made = call("find", '{"q":1}')
    assert found.messages == [
        *(system("Policy"), user("hi"), calls(made, made, reasoning="why")),
        *(replies("[]"), says("Nothing.", "so")),
    ]


@pytest.mark.parametrize(
    ("turns", "detail"),
    [
        ([("gpt", 3)], "conversations.1.content: expected text, got a number"),
        ([("function_call", "find()")], None),
        ([("function_call", '{"arguments": {}}')], "conversations.1.value.name: expected text, got nothing"),
        ([("function_call", "3")], "conversations.1.value: expected an object, got a number"),
        ([("narrator", "x")], "narrator"),
    ],
)
def test_sharegpt_that_does_not_fit(tmp_path: Path, turns: list[tuple[str, Any]], detail: str | None) -> None:
    name, (row,) = read_lines(tmp_path, {"conversations": said(("human", "hi"), *turns)})
    assert (name, type(row)) == ("sharegpt", Reject)
    assert isinstance(row, Reject)
    if detail == "narrator":
        assert row.detail.startswith("conversations.1.from: expected one of system, developer, human, user, gpt, ")
    else:
        expected = detail or "conversations.1.value: not JSON text: Expecting value: line 1 column 1 (char 0)"
        assert row == bad_record(expected, source="t.jsonl")


# Hermes

PROMPT = 'You call functions within <tools></tools> tags.\n<tools>\n{"name": "find"}\n{"name": "drop"}\n</tools>'
TOOLS = '[{"type":"function","function":{"name":"find"}},{"type":"function","function":{"name":"drop"}}]'
ASK = '<think>\nwhy\n</think>\nLook.\n<tool_call>\n{"arguments": {"q": 1}, "name": "find"}\n</tool_call>'
TWO = '<tool_call>{"name": "find"}</tool_call>\n<tool_call>{"name": "drop", "arguments": "{}"}</tool_call>'
ANSWER = "<tool_response>\n[]\n</tool_response>\n<tool_response>\n{}\n</tool_response>"

SPOKEN = [("system", PROMPT), ("user", "hi"), ("assistant", ASK), ("tool", ANSWER), ("assistant", TWO)]
HERMES = [
    *(system(PROMPT), user("hi"), calls(call("find", '{"q":1}'), text="Look.", reasoning="why")),
    *(replies("[]"), replies("{}"), calls(call("find", "{}"), call("drop", "{}"))),
]


def transcript(mark: str) -> str:
    if mark == "lines":
        return "```\n" + "\n".join(f"{who.upper()}: {text}" for who, text in SPOKEN) + "\n```"
    return "\n".join(f"<|im_start|>{who}\n{text}<|im_end|>" for who, text in SPOKEN)


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": [{"from": {"user": "human", "assistant": "gpt"}.get(w, w), "value": t} for w, t in SPOKEN]},
        {"messages": [{"role": who, "content": text} for who, text in SPOKEN]},
        {"example": transcript("lines")},
        {"id": 1, "text": transcript("chatml")},
    ],
)
def test_hermes_text_in_all_its_packings(tmp_path: Path, record: dict[str, Any]) -> None:
    found = one(read_json(tmp_path, [record]), "hermes")
    assert (found.messages, found.tools, found.faults) == (HERMES, TOOLS, [])


def test_hermes_schemas_may_be_a_field(tmp_path: Path) -> None:
    record = {"conversations": said(("system", PROMPT), ("human", "hi"), ("gpt", "Hello.")), "tools": FLAT}
    found = one(read_lines(tmp_path, record), "hermes")
    assert found.tools == nested("find", description="d", parameters={})


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("<tool_call>{'name': 'find'}</tool_call>", "tool_call: not JSON text: "),
        ('<tool_call>{"arguments": {}}</tool_call>', "tool_call.name: expected text, got nothing"),
        ('<tool_call>\n{"name": "find"}', "tool_call: the tag is not closed"),
    ],
)
def test_a_call_that_is_no_json_is_a_fault_of_its_turn(tmp_path: Path, text: str, detail: str) -> None:
    record = {"conversations": said(("system", PROMPT), ("human", "hi"), ("gpt", text), ("gpt", "Hello."))}
    found = one(read_lines(tmp_path, record), "hermes")
    assert found.messages[2] == Message(role="assistant", content=text)
    (fault,) = found.faults
    assert (fault.message, fault.reason) == (2, RejectReason.BAD_ARGUMENTS)
    assert fault.detail.startswith(detail)


def test_structured_calls_are_not_hermes(tmp_path: Path) -> None:
    made = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]}
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": "hi"}, made]
    assert one(read_lines(tmp_path, {"messages": messages}), "openai").messages[2] == calls(call("find", "{}"))


def test_users_may_write_tags(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": ASK}, {"role": "assistant", "content": "Hello."}]
    assert one(read_lines(tmp_path, {"messages": messages}), "openai").messages[0] == user(ASK)


# ToolBench

START: list[dict[str, Any]] = [{"role": "system", "content": "You try."}, {"role": "user", "content": "task"}]
AGAIN = {"role": "user", "content": "Not the first time."}


def tried(name: str, thought: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": thought, "function_call": {"name": name, "arguments": "{\n}"}}


def got(name: str) -> dict[str, Any]:
    return {"role": "function", "name": name, "content": "{}"}


def tree(*rows: list[dict[str, Any]], win: bool = True) -> dict[str, Any]:
    answer = {"train_messages": list(rows), "function": [{"name": "a"}], "query": "task", "finish_type": "give_answer"}
    return {"win": win, "tree": {}, "answer_generation": answer}


def test_toolbench_rows_that_overlap_are_one_trajectory(tmp_path: Path) -> None:
    rows = [[*START, tried("a", "hm")], [*START, tried("a", "hm"), got("a"), tried("Finish")]]
    assert one(read_json(tmp_path, tree(*rows)), "toolbench") == Trajectory(
        source="t.json",
        line=1,
        messages=[
            *(system("You try."), user("task"), calls(call("a", "{\n}"), text="hm")),
            *(replies("{}", name="a"), calls(call("Finish", "{\n}"))),
        ],
        tools=nested("a"),
        task_id="0ebb429fa86d481c",
        outcome=1.0,
        provenance='{"finish_type":"give_answer"}',
    )


def test_toolbench_rows_that_do_not_continue_the_one_before_give_their_last_turn(tmp_path: Path) -> None:
    rows = [[*START, AGAIN, tried("a")], [*START, tried("a"), got("a"), tried("Finish")]]
    found = [row for row in read_json(tmp_path, tree(*rows, win=False))[1] if isinstance(row, Trajectory)]
    assert [(len(row.messages), row.context, row.outcome) for row in found] == [(4, [], 0.0), (5, [2], 0.0)]


def test_toolbench_search_without_a_path(tmp_path: Path) -> None:
    record = {"win": False, "tree": {}, "answer_generation": {"valid_data": False, "function": []}}
    (row,) = read_json(tmp_path, record)[1]
    assert isinstance(row, Reject)
    assert (row.reason, row.detail) == (RejectReason.NO_ASSISTANT_TURN, "the search kept no path, so it has no turn")


def test_faults_are_rejects_with_their_reason(tmp_path: Path) -> None:
    trajectory = Trajectory(
        source="t",
        line=1,
        messages=[user("hi"), says("a"), says("b"), says("c")],
        context=[1],
        faults=[Fault(message=2, reason=RejectReason.MERGED_TURNS, detail="2 calls")],
    )

    def accept(candidate: Any, action: Any) -> Verdict:
        return Verdict(1.0, "ok")

    broken, kept = candidates_of(trajectory, "id", "train", lambda *_: ("tool_call", accept))
    assert json.loads(broken.model_dump_json()) == {
        "source": "t",
        "line": 1,
        "trajectory_id": "id",
        "turn": 1,
        "reason": "merged_turns",
        "detail": "2 calls",
    }
    assert (kept.turn, getattr(kept, "n_turns", None)) == (2, 3)
