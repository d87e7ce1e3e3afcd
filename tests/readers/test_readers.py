"""Readers: what is recorded comes through unchanged, what cannot be read is rejected in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recorded import DATA

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers import READERS, detect, load_reader, unknown_format
from pivotrl_cli.readers.document import Document, FileDocument, RowsDocument
from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.readers.messages import message_of, tools_of
from pivotrl_cli.readers.parsing import HEAD_BYTES, Head, parse_head
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Message, Reject, RejectReason, ToolCall, Trajectory


def claims(document: Document) -> list[str]:
    """Every reader that recognises the document."""
    return [name for name in READERS if load_reader(name).sniff(document.head)]


def read(document: Document) -> list[Trajectory | Reject]:
    found = detect(document)
    assert found is not None
    assert claims(document) == [found[0]]
    return list(load_reader(found[0]).read(document))


def read_text(tmp_path: Path, text: str | bytes, name: str = "t.jsonl") -> list[Trajectory | Reject]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(FileDocument(path, name))


def read_record(tmp_path: Path, **record: Any) -> Trajectory:
    (trajectory,) = read_text(tmp_path, json.dumps(record))
    assert isinstance(trajectory, Trajectory), trajectory
    return trajectory


def bad_json(line: int, detail: str, source: str = "t.jsonl") -> Reject:
    return Reject(source=source, line=line, reason=RejectReason.BAD_JSON, detail=detail)


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
CHAT_LINE = json.dumps(CHAT)
CHAT_MESSAGES = [Message(role="user", content="hi"), Message(role="assistant", content="hello")]


def chat(line: int, source: str = "t.jsonl") -> Trajectory:
    return Trajectory(source=source, line=line, messages=CHAT_MESSAGES)


# openai


def test_openai_record_keeps_everything_that_was_recorded(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q":  "Ü", "n": 1.0}'}}
    trajectory = read_record(
        tmp_path,
        id=7,
        task_id=3,
        trial=1,
        domain="shop",
        reward=0.5,
        model="gpt-4.1",
        parallel_tool_calls=True,
        tools=[{"type": "function", "function": {"name": "find", "strict": True, "parameters": {"type": "object"}}}],
        messages=[
            {"role": "developer", "content": "Be brief. "},
            {"role": "user", "content": "find Ü ###STOP###"},
            {"role": "assistant", "content": "Looking.", "reasoning_content": "must look", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "name": "find", "content": "[]"},
            {"role": "assistant", "content": "Nothing."},
            {"role": "assistant", "content": "Anything else?"},
        ],
    )
    assert trajectory == Trajectory(
        source="t.jsonl",
        line=1,
        messages=[
            Message(role="system", content="Be brief. "),
            Message(role="user", content="find Ü ###STOP###"),
            Message(
                role="assistant",
                content="Looking.",
                reasoning="must look",
                tool_calls=[ToolCall(id="c1", name="find", arguments='{"q":  "Ü", "n": 1.0}')],
            ),
            Message(role="tool", content="[]", tool_call_id="c1", name="find"),
            Message(role="assistant", content="Nothing."),
            Message(role="assistant", content="Anything else?"),
        ],
        tools='[{"type":"function","function":{"name":"find","strict":true,"parameters":{"type":"object"}}}]',
        domain="shop",
        task_id="3",
        trial="1",
        outcome=0.5,
        provenance='{"id":"7","model":"gpt-4.1"}',
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": ""}, ""),
        ({"content": " a\n"}, " a\n"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": ["a", {"type": "output_text", "text": "b"}]}, "ab"),
        ({"content": []}, ""),
    ],
)
def test_content_null_missing_empty_or_blocks(content: dict[str, Any], text: str) -> None:
    assert message_of(Json({"role": "user", **content})) == Message(role="user", content=text)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"function": {"name": "f", "arguments": '{"a":1}'}}, ToolCall(name="f", arguments='{"a":1}')),
        (
            {"id": "x", "name": "f", "arguments": {"b": 1, "a": "é"}},
            ToolCall(id="x", name="f", arguments='{"b":1,"a":"é"}'),
        ),
        ({"id": "x", "function": {"name": "f"}}, ToolCall(id="x", name="f", arguments="{}")),
        ({"id": "x", "function": {"name": "f", "arguments": "oops"}}, ToolCall(id="x", name="f", arguments="oops")),
        ({"id": "x", "function": {"name": "f", "arguments": [1]}}, ToolCall(id="x", name="f", arguments="[1]")),
    ],
)
def test_calls_nested_or_flat_with_arguments_as_text_or_object(call: dict[str, Any], expected: ToolCall) -> None:
    assert message_of(Json({"role": "assistant", "tool_calls": [call]})).tool_calls == [expected]


def test_parallel_calls_stay_one_action() -> None:
    calls = [{"id": str(i), "function": {"name": "f", "arguments": "{}"}} for i in range(3)]
    assert [call.id for call in message_of(Json({"role": "assistant", "tool_calls": calls})).tool_calls] == [
        "0",
        "1",
        "2",
    ]


def test_legacy_function_call_and_function_role() -> None:
    call = message_of(Json({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}))
    reply = message_of(Json({"role": "function", "name": "f", "content": "1"}))
    assert call == Message(role="assistant", tool_calls=[ToolCall(name="f", arguments="{}")])
    assert reply == Message(role="tool", name="f", content="1")


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "<think>\nwhy\n</think>\n\nyes"}, "yes", "why"),
        ({"content": "<think>\n\n</think>\n\nyes"}, "yes", None),
        ({"content": "<think>cut"}, "<think>cut", None),
        ({"content": "so <think>x</think>"}, "so <think>x</think>", None),
        ({"content": "yes", "reasoning": "why"}, "yes", "why"),
        ({"content": "<think>a</think>yes", "reasoning_content": "why"}, "<think>a</think>yes", "why"),
        ({"content": "yes", "reasoning_content": None, "reasoning": ""}, "yes", None),
    ],
)
def test_reasoning_is_kept_apart(message: dict[str, Any], content: str, reasoning: str | None) -> None:
    expected = Message(role="assistant", content=content, reasoning=reasoning)
    assert message_of(Json({"role": "assistant", **message})) == expected


def test_users_may_write_think_tags() -> None:
    assert message_of(Json({"role": "user", "content": "<think>a</think>b"})).content == "<think>a</think>b"


NESTED = '[{"type":"function","function":{"name":"f","description":"d","parameters":{}}}]'


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        (None, "[]"),
        ("", "[]"),
        ("[]", "[]"),
        ([], "[]"),
        (json.loads(NESTED), NESTED),
        (NESTED, NESTED),
        ([{"type": "function", "name": "f", "description": "d", "parameters": {}}], NESTED),
        ([{"name": "f", "description": "d", "parameters": {}}], NESTED),
    ],
)
def test_tools_as_list_or_text_nested_or_flat(tools: Any, expected: str) -> None:
    assert tools_of(Json(tools, "tools")) == expected


SEARCHED = {
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "web_search", "arguments": "{}"}}]},
    ],
    "tools": [{"type": "web_search"}],
}


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"messages": None}, "messages: expected a list, got nothing"),
        ({"messages": [3]}, "messages.0: expected an object, got a number"),
        ({"messages": [{"content": "a"}]}, "messages.0.role: expected text, got nothing"),
        (
            {"messages": [{"role": "human", "content": "a"}]},
            "messages.0.role: expected one of system, developer, user, assistant, tool, function, tool_response, "
            "tool_call, got 'human'",
        ),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages.0.content: expected text, got an object"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type: only text blocks can be used, got 'image_url'",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
            "messages.0.tool_calls.0.function.name: expected text, got nothing",
        ),
        (
            {"messages": [{"role": "user", "tool_calls": [{"name": "f", "arguments": {}}]}]},
            "messages.0.tool_calls: a user message cannot make calls, got a list",
        ),
        (
            CHAT | {"tools": "[{"},
            "tools: not JSON text: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)",
        ),
        (SEARCHED, "tools.0.type: only functions can be used, got 'web_search'"),
        (
            CHAT | {"tools": [{"type": "tool", "name": "f", "parameters": {}}]},
            "tools.0.type: only functions can be used, got 'tool'",
        ),
        (CHAT | {"tools": [{"function": {}}]}, "tools.0.function.name: expected text, got nothing"),
        (CHAT | {"reward": "high"}, "reward: expected a number, got 'high'"),
        (CHAT | {"score": {"a": 1}}, "score: expected a number, got an object"),
        (CHAT | {"task_id": 1.5}, "task_id: expected text, got a number"),
        ([1], "record: expected an object, got a list"),
    ],
)
def test_a_record_that_does_not_fit_is_rejected_with_its_field(tmp_path: Path, record: Any, detail: str) -> None:
    rows = read_text(tmp_path, f"{CHAT_LINE}\n{json.dumps(record)}\n{CHAT_LINE}\n")
    reject = Reject(source="t.jsonl", line=2, reason=RejectReason.BAD_RECORD, detail=detail)
    assert rows == [chat(1), reject, chat(3)]


@pytest.mark.parametrize(
    "record",
    [
        {"trajectory": CHAT["messages"], "instance_id": "i", "resolved": False},
        {"conversations": CHAT["messages"], "task_id": "i", "reward": 0},
        {"messages": json.dumps(CHAT["messages"]), "instance_id": "i", "score": 0.0},
    ],
)
def test_messages_under_other_names_or_as_text(tmp_path: Path, record: dict[str, Any]) -> None:
    assert read_record(tmp_path, **record) == chat(1).model_copy(update={"task_id": "i", "outcome": 0.0})


def test_the_first_recorded_outcome_counts(tmp_path: Path) -> None:
    assert read_record(tmp_path, **CHAT, reward=None, outcome=True, score=0.2).outcome == 1.0


# packing


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'{"messages": [', "Expecting value at column 15"),
        (b"oops", "Expecting value at column 1"),
        (b'{"messages": "\xff"}', "not UTF-8 at byte 15"),
        (b'{"reward": NaN}', "NaN is not JSON"),
        (b'{"messages": "\\ud83d"}', "half of a surrogate pair in an escape"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_rejected_with_its_number(tmp_path: Path, line: bytes, detail: str) -> None:
    text = CHAT_LINE.encode() + b"\r\n\r\n" + line + b"\n" + CHAT_LINE.encode()
    assert read_text(tmp_path, text) == [chat(1), bad_json(3, detail), chat(4)]


def test_a_bad_first_line_does_not_hide_the_format(tmp_path: Path) -> None:
    assert read_text(tmp_path, f'{{"messages": [{{"role"\n{CHAT_LINE}\n') == [
        bad_json(1, "Expecting ':' delimiter at column 22"),
        chat(2),
    ]


def test_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"\xef\xbb\xbf" + CHAT_LINE.encode()) == [chat(1)]
    assert read_text(tmp_path, b"\xef\xbb\xbf[" + CHAT_LINE.encode() + b"]") == [chat(1)]


@pytest.mark.parametrize("indent", [None, 2])
def test_array_and_single_object(tmp_path: Path, indent: int | None) -> None:
    assert read_text(tmp_path, json.dumps([CHAT, CHAT], indent=indent)) == [chat(1), chat(2)]
    assert read_text(tmp_path, json.dumps(CHAT, indent=indent)) == [chat(1)]


@pytest.mark.parametrize(
    ("tail", "detail"),
    [
        (', {"messages": [{"ro', "the file ends inside a record"),
        ("", "the file ends inside a record"),
        ("] [", "something stands behind the end"),
    ],
)
def test_a_broken_array_gives_the_records_before_and_one_reject(tmp_path: Path, tail: str, detail: str) -> None:
    text = f"[{CHAT_LINE}, {CHAT_LINE}{tail}".encode(errors="surrogateescape")
    assert read_text(tmp_path, text) == [chat(1), chat(2), bad_json(3, detail)]


@pytest.mark.parametrize(
    ("element", "detail"),
    [
        ('{"messages": oops}', "Expecting value at column 14"),
        ('{"messages": "\udcff"}', "not UTF-8 at byte 15"),
        ('{"messages": "\\ud83d"}', "half of a surrogate pair in an escape"),
        ('{"reward": NaN}', "NaN is not JSON"),
        ("[" * 10_000 + "]" * 10_000, "nested too deeply"),
        ("9" * 5_000, None),
        ("", "Expecting value at column 1"),
    ],
)
def test_a_broken_element_costs_only_itself(tmp_path: Path, element: str, detail: str | None) -> None:
    text = f"[{CHAT_LINE}, {element}, {CHAT_LINE}]".encode(errors="surrogateescape")
    first, broken, last = read_text(tmp_path, text)
    assert (first, last) == (chat(1), chat(3))
    assert isinstance(broken, Reject)
    digits = "Exceeds the limit (4300 digits) for integer string conversion"
    assert broken.detail.startswith(detail or digits)
    assert (broken.line, broken.reason) == (2, RejectReason.BAD_JSON)


def test_numbers_beyond_64_bits_stay_exact(tmp_path: Path) -> None:
    call = {"name": "f", "arguments": {"id": 123456789012345678901234567890, "x": 1.0, "y": 1}}
    record = {"messages": [{"role": "user"}, {"role": "assistant", "tool_calls": [call]}]}
    (trajectory,) = read_text(tmp_path, json.dumps([record]))
    assert isinstance(trajectory, Trajectory)
    (action,) = trajectory.messages[1].tool_calls
    assert action.arguments == '{"id":123456789012345678901234567890,"x":1.0,"y":1}'


def test_an_empty_array_is_rejected_rather_than_lost(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("[]")
    (reject,) = load_reader("openai").read(FileDocument(path, "t.json"))
    expected = Reject(source="t.json", line=0, reason=RejectReason.BAD_RECORD, detail="no record in this document")
    assert reject == expected


# detection


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (b"", Head("empty", None)),
        (b" \n", Head("empty", None)),
        (b"PK\x03\x04\n", Head("text", None)),
        (b'{"a": 1}\n{"a": 2}', Head("lines", {"a": 1})),
        (b'{"a": 1}', Head("lines", {"a": 1})),
        (b'oops\n{"a": 2}', Head("lines", {"a": 2})),
        (b'{"a": [1, {"b', Head("lines", {"a": [1, {}]})),
        (b'[{"a": 1}, {"a": 2}]', Head("array", {"a": 1})),
        (b'[\n{"a": 1,\n"b": [', Head("array", {"a": 1, "b": []})),
        (b"[1]\n[2]\n", Head("lines", [1])),
        (b"[]", Head("array", None)),
        (b'{\n "a": 1,\n "b": {"c', Head("object", {"a": 1, "b": {}})),
        (b'{"a": 1,\n "b": 2}', Head("object", {"a": 1, "b": 2})),
    ],
)
def test_head_tells_the_packing_and_the_first_record(text: bytes, head: Head) -> None:
    assert parse_head(text) == head


def test_detection_reads_no_further_than_the_head(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    path.write_bytes(b"[" + CHAT_LINE.encode() + b"," + b"\xff" * (2 * HEAD_BYTES))
    assert detect(FileDocument(path, "huge.json")) == ("openai", "records have messages with roles")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CHAT_LINE, "openai"),
        ('{"messages": [{"role": "user", "content": "' + "x" * 2 * HEAD_BYTES + '"}]}', "openai"),
        ('[{"task_id": 0, "reward": 0.0, "traj": []}]', "tau_bench"),
        ('{"timestamp": "", "info": {}, "tasks": [], "simulations": []}', "tau2_bench"),
        ('{\n "info": {"a": 1},\n "tasks": [\n  "' + "x" * 2 * HEAD_BYTES + '"]}', "tau2_bench"),
        ('{"splits": {"train": [{"messages": []}]}}', "tau2_bench"),
        ('{"splits": {"train": [{"text": ""}]}}', None),
        ('{"messages": [{"role": "user", "content": [{"type": "text", "value": "hi"}]}]}', "sharegpt"),
        ('{"conversations": [{"from": "human", "value": "hi"}]}', "sharegpt"),
        ('[{"role": "user", "content": "hi"}]', "mini_swe_agent"),
        ('{"messages_display": "user: hi"}', None),
        ("just text", None),
    ],
)
def test_formats_are_recognised_by_content(tmp_path: Path, text: str, found: str | None) -> None:
    path = tmp_path / "a:b.txt"
    path.write_text(text)
    assert (detect(FileDocument(path, path.name)) or (None,))[0] == found


def test_an_unknown_file_says_what_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "few_shot.jsonl"
    path.write_text('{"messages_display": "user: hi"}\n')
    error = unknown_format(FileDocument(path, path.name))
    assert error.message == "few_shot.jsonl: unknown format (JSON lines with messages_display)"
    assert error.hint == f"formats are {', '.join(sorted(READERS))}; --format forces one"


# tau-bench


def test_tau_bench_record(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "get", "arguments": '{"u": "a"}'}}
    record = {
        "task_id": 4,
        "reward": 1.0,
        "info": {"task": {"user_id": "a"}},
        "traj": [
            {"role": "system", "content": "Policy"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "name": "get", "content": "{}"},
        ],
        "trial": 2,
    }
    crashed = {"task_id": 5, "reward": 0.0, "info": {"error": "timeout"}, "traj": [], "trial": 0}
    assert read_text(tmp_path, json.dumps([record, crashed], indent=2)) == [
        Trajectory(
            source="t.jsonl",
            line=1,
            messages=[
                Message(role="system", content="Policy"),
                Message(role="user", content="hi"),
                Message(role="assistant", tool_calls=[ToolCall(id="c", name="get", arguments='{"u": "a"}')]),
                Message(role="tool", tool_call_id="c", name="get", content="{}"),
            ],
            task_id="4",
            trial="2",
            outcome=1.0,
        ),
        Trajectory(
            source="t.jsonl", line=2, messages=[], task_id="5", trial="0", outcome=0.0, provenance='{"error":"timeout"}'
        ),
    ]


# tau2-bench

INFO = {
    "agent_info": {"llm": "gpt-4.1"},
    "environment_info": {"domain_name": "telecom", "policy": "Policy", "tool_defs": None},
}


def flat(name: str, requestor: str) -> dict[str, Any]:
    return {"id": f"call_{name}", "name": name, "arguments": {"z": 1.5, "a": None}, "requestor": requestor}


def reply(name: str, requestor: str) -> dict[str, Any]:
    return {"role": "tool", "id": f"call_{name}", "content": "ok", "requestor": requestor, "error": False}


SIMULATION = {
    "id": "s1",
    "task_id": "[mobile]issue",
    "trial": 0,
    "termination_reason": "user_stop",
    "reward_info": {"reward": 0.25},
    "messages": [
        {"role": "assistant", "content": "Hi!", "tool_calls": None},
        {"role": "user", "content": None, "tool_calls": [flat("toggle", "user")]},
        reply("toggle", "user"),
        {"role": "user", "content": "done", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [flat("lookup", "assistant")]},
        reply("lookup", "assistant"),
        {"role": "user", "content": "bye ###STOP###", "tool_calls": []},
    ],
}

SIMULATED = Trajectory(
    source="t.jsonl",
    line=1,
    messages=[
        Message(role="system", content="Policy"),
        Message(role="assistant", content="Hi!"),
        Message(role="user", content="done"),
        Message(
            role="assistant",
            tool_calls=[ToolCall(id="call_lookup", name="lookup", arguments='{"z":1.5,"a":null}')],
        ),
        Message(role="tool", tool_call_id="call_lookup", content="ok"),
        Message(role="user", content="bye ###STOP###"),
    ],
    domain="telecom",
    task_id="[mobile]issue",
    trial="0",
    outcome=0.25,
    provenance='{"model":"gpt-4.1","simulation_id":"s1","termination_reason":"user_stop"}',
)


@pytest.mark.parametrize("indent", [None, 2])
def test_tau2_results_take_the_policy_and_leave_the_users_own_tools(tmp_path: Path, indent: int | None) -> None:
    results = {"timestamp": "", "info": INFO, "tasks": [{"id": 1}], "simulations": [SIMULATION]}
    assert read_text(tmp_path, json.dumps(results, indent=indent)) == [SIMULATED]


def test_tau2_info_may_stand_behind_the_simulations(tmp_path: Path) -> None:
    assert read_text(tmp_path, json.dumps({"simulations": [SIMULATION], "info": INFO})) == [SIMULATED]


def test_tau2_tool_definitions_are_taken_where_recorded(tmp_path: Path) -> None:
    environment = INFO["environment_info"] | {"tool_defs": json.loads(NESTED)}
    info = INFO | {"environment_info": environment}
    (trajectory,) = read_text(tmp_path, json.dumps({"info": info, "tasks": [], "simulations": [SIMULATION]}))
    assert trajectory == SIMULATED.model_copy(update={"tools": NESTED})


def test_tau2_truncated_results(tmp_path: Path) -> None:
    text = json.dumps({"info": INFO, "tasks": [], "simulations": [SIMULATION, SIMULATION]})
    assert read_text(tmp_path, text[:-40]) == [SIMULATED, bad_json(2, "the file ends inside a record")]


def test_tau2_results_without_info_or_simulations(tmp_path: Path) -> None:
    nothing = Reject(source="t.jsonl", line=0, reason=RejectReason.BAD_RECORD, detail="no record in this document")
    assert read_text(tmp_path, '{"info": {}, "tasks": []}') == [nothing]
    (trajectory,) = read_text(tmp_path, json.dumps({"simulations": [SIMULATION]}))
    assert isinstance(trajectory, Trajectory)
    assert trajectory.messages == SIMULATED.messages[1:]


def test_tau2_simulation_that_does_not_fit(tmp_path: Path) -> None:
    broken = SIMULATION | {"messages": [{"role": "tool", "id": 5, "content": "ok", "requestor": "assistant"}]}
    detail = "messages.0.id: expected text, got a number"
    reject = Reject(source="t.jsonl", line=1, reason=RejectReason.BAD_RECORD, detail=detail)
    assert read_text(tmp_path, json.dumps({"info": INFO, "simulations": [broken]})) == [reject]


def test_tau2_sft_rows_of_all_splits_are_numbered_through(tmp_path: Path) -> None:
    row = CHAT | {"tools": json.loads(NESTED), "task_id": "5", "simulation_id": "s", "reward": 1.0}
    splits = {"splits": {"train": [row, row], "test": [row]}}

    def expected(line: int, split: str) -> Trajectory:
        return chat(line).model_copy(
            update={
                "tools": NESTED,
                "task_id": "5",
                "outcome": 1.0,
                "provenance": f'{{"split":"{split}","simulation_id":"s"}}',
            }
        )

    whole = json.dumps(splits, indent=1)
    assert read_text(tmp_path, whole) == [expected(1, "train"), expected(2, "train"), expected(3, "test")]
    cut = whole[: whole.index('"test"')]
    assert read_text(tmp_path, cut) == [
        expected(1, "train"),
        expected(2, "train"),
        bad_json(3, "the file ends inside a record"),
    ]


# sources


def names(*words: str | Path) -> list[tuple[str, bool]]:
    return [(source.name, source.named) for source in find_sources([str(word) for word in words])]


def lay_out(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CHAT_LINE)


def test_sources_are_named_below_what_the_user_named(tmp_path: Path) -> None:
    lay_out(tmp_path, "logs/b.jsonl", "logs/day1/c.jsonl", "logs/a.jsonl", "logs/.cache/x.jsonl", "logs/.hidden")
    in_folder = [("a.jsonl", False), ("b.jsonl", False), ("day1/c.jsonl", False)]
    assert names(tmp_path / "logs") == in_folder
    assert names(tmp_path / "logs/day1/c.jsonl") == [("c.jsonl", True)]
    assert names(tmp_path / "logs/*.jsonl") == [("a.jsonl", False), ("b.jsonl", False)]
    assert names(tmp_path / "**/c.jsonl") == [("logs/day1/c.jsonl", False)]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    lay_out(tmp_path, "a.jsonl", "b.jsonl")
    assert names(tmp_path / "b.jsonl", tmp_path) == [("b.jsonl", True), ("a.jsonl", False)]


def test_names_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    lay_out(tmp_path, "x/run/t.jsonl", "y/run/t.jsonl", "z.jsonl")
    words = (tmp_path / "x/run", tmp_path / "y/run/t.jsonl", tmp_path / "z.jsonl")
    assert names(*words) == [("x/run/t.jsonl", False), ("y/run/t.jsonl", True), ("z.jsonl", True)]


def test_missing_paths_and_empty_places_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        find_sources([str(tmp_path / "nowhere.jsonl")])
    with pytest.raises(InputError, match="no file found"):
        find_sources([str(tmp_path)])
    with pytest.raises(InputError, match="no file found"):
        find_sources([str(tmp_path / "*.jsonl")])


# data sets


def test_formats_that_are_one_object_are_not_read_from_rows() -> None:
    with pytest.raises(InputError, match="a data set has rows, not one object with info"):
        list(load_reader("tau2_bench").read(RowsDocument("d", lambda: [CHAT])))


@pytest.mark.parametrize("name", ["rows.parquet", "file.arrow", "stream.arrow"])
def test_rows_of_parquet_and_arrow_files(tmp_path: Path, name: str) -> None:
    import polars as pl

    write = {
        "rows.parquet": pl.DataFrame.write_parquet,
        "file.arrow": pl.DataFrame.write_ipc,
        "stream.arrow": pl.DataFrame.write_ipc_stream,
    }
    write[name](pl.DataFrame([CHAT, CHAT]), tmp_path / name)
    (source,) = find_sources([str(tmp_path / name)])
    assert [read(document) for document in source.documents()] == [[chat(1, name), chat(2, name)]]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_a_file_of_rows_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 but no more")
    (source,) = find_sources([str(tmp_path / name)])
    with pytest.raises(InputError, match=f"{name}: not a {name[5:]} file that pyarrow reads: "):
        [read(document) for document in source.documents()]


@pytest.mark.slow
def test_local_data_sets(tmp_path: Path) -> None:
    lay_out(tmp_path, "set/train.jsonl")
    (data_set,) = find_sources([f"hf:{tmp_path / 'set'}"])
    assert [read(document) for document in data_set.documents()] == [[chat(1, "hf:set/train")]]
    (missing,) = find_sources([f"hf:{tmp_path / 'nowhere/x/y'}"])
    with pytest.raises(InputError, match="datasets cannot open it"):
        list(missing.documents())


# fields


def test_complaints_name_the_place() -> None:
    with pytest.raises(RecordError) as caught:
        Json({"a": [{"b": 1}]})["a"].list()[0]["b"].text()
    assert str(caught.value) == "a.0.b: expected text, got a number"


def test_no_two_readers_claim_one_file() -> None:
    here = Path(__file__).parents[1] / "data"
    folders = [here, *([DATA] if DATA.is_dir() else [])]
    documents = [document for source in find_sources([*map(str, folders)]) for document in source.documents()]
    claimed = {document.source: claims(document) for document in documents}
    assert {source: names for source, names in claimed.items() if len(names) > 1} == {}
    assert any(claimed.values())
