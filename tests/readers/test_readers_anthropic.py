"""Anthropic: records of the API and Claude Code sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from readings import bad_record, call, calls, nested, one, read_file, read_lines, replies, says, system, user
from recorded import recorded

from pivotrl_cli.rows import Fault, Message, Reject, RejectReason, Trajectory

USE = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
USED = call("Bash", '{"command":"ls"}', "t1")
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a.py"}]}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def test_api_record(tmp_path: Path) -> None:
    record = {
        "system": [text("Be brief.")],
        "tools": [{"name": "Bash", "description": "Runs.", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "why"}, text("Look."), USE]},
            {"role": "user", "content": [RESULT, text("and now?")]},
            {"role": "assistant", "content": "Done."},
        ],
        "model": "claude",
        "reward": 1,
    }
    assert one(read_lines(tmp_path, record), "anthropic") == Trajectory(
        source="t.jsonl",
        line=1,
        messages=[
            *(system("Be brief."), user("hi"), calls(USED, text="Look.", reasoning="why")),
            *(replies("a.py", "t1"), user("and now?"), says("Done.")),
        ],
        tools=nested("Bash", description="Runs.", parameters={"type": "object"}),
        outcome=1.0,
        provenance='{"model":"claude"}',
    )


def line(uuid: str, parent: str | None, role: str, content: Any, **fields: Any) -> dict[str, Any]:
    message = {"role": role, "content": content} | fields.pop("message", {})
    return {"type": role, "uuid": uuid, "parentUuid": parent, "sessionId": "s", "message": message, **fields}


def asks(uuid: str, parent: str | None, content: Any, **fields: Any) -> dict[str, Any]:
    return line(uuid, parent, "user", content, **fields)


def answers(uuid: str, parent: str | None, content: Any, message_id: str = "", **fields: Any) -> dict[str, Any]:
    return line(uuid, parent, "assistant", content, message={"id": message_id or uuid}, **fields)


def sessions(folder: Path, *lines: Any) -> list[tuple[list[Message], list[int]]]:
    name, rows = read_lines(folder, *lines)
    assert name == "anthropic"
    assert all(isinstance(row, Trajectory) for row in rows), rows
    return [(row.messages, row.context) for row in rows if isinstance(row, Trajectory)]


def test_session_blocks_of_one_message_are_one_action(tmp_path: Path) -> None:
    found = sessions(
        tmp_path,
        {"type": "summary", "summary": "s", "leafUuid": "3"},
        asks("1", None, "hi"),
        answers("2", "1", [{"type": "thinking", "thinking": "why"}], "m1"),
        answers("3", "2", [text("Look.")], "m1"),
        answers("4", "3", [USE], "m1"),
        {"type": "file-history-snapshot", "messageId": "4", "snapshot": {}},
        asks("5", "4", [RESULT]),
        answers("6", "5", [text("Done.")], "m2"),
        answers("7", "6", [text("Anything else?")], "m3"),
    )
    action = calls(USED, text="Look.", reasoning="why")
    assert found == [([user("hi"), action, replies("a.py", "t1"), says("Done."), says("Anything else?")], [])]


def test_session_replies_to_parallel_calls_hang_beside_the_path(tmp_path: Path) -> None:
    other = USE | {"id": "t2"}
    found = sessions(
        tmp_path,
        asks("1", None, "hi"),
        answers("2", "1", [USE], "m1"),
        answers("3", "2", [other], "m1"),
        asks("4", "2", [RESULT]),
        asks("5", "3", [RESULT | {"tool_use_id": "t2"}]),
        answers("6", "5", "Done."),
    )
    both = calls(USED, call("Bash", '{"command":"ls"}', "t2"))
    assert found == [([user("hi"), both, replies("a.py", "t1"), replies("a.py", "t2"), says("Done.")], [])]


def test_session_branches_share_their_turns_once(tmp_path: Path) -> None:
    found = sessions(
        tmp_path,
        *(asks("1", None, "hi"), answers("2", "1", "Hello.")),
        *(asks("3", "2", "first try"), answers("4", "3", "One.")),
        *(asks("5", "2", "second try"), answers("6", "5", "Two.")),
    )
    assert found == [
        ([user("hi"), says("Hello."), user("second try"), says("Two.")], []),
        ([user("hi"), says("Hello."), user("first try"), says("One.")], [1]),
    ]


def test_session_sidechains_are_conversations_of_their_own(tmp_path: Path) -> None:
    lines = [
        *(asks("1", None, "hi"), answers("2", "1", "Hello.")),
        *(asks("a", None, "search", isSidechain=True), answers("b", "a", "Found.", isSidechain=True)),
    ]
    rows = read_lines(tmp_path, *lines)[1]
    assert [(row.messages, row.provenance) for row in rows if isinstance(row, Trajectory)] == [
        ([user("search"), says("Found.")], '{"sidechain":true}'),
        ([user("hi"), says("Hello.")], "{}"),
    ]


def test_session_without_links_is_read_in_order(tmp_path: Path) -> None:
    lines = [asks("1", None, "hi"), answers("2", None, "Hello."), asks("3", "gone", "on"), answers("4", None, "Yes.")]
    assert sessions(tmp_path, *lines) == [([user("hi"), says("Hello."), user("on"), says("Yes.")], [])]


def test_session_loops_end(tmp_path: Path) -> None:
    lines = [asks("1", "2", "hi"), answers("2", "1", "Hello."), answers("3", "2", "Yes.")]
    assert sessions(tmp_path, *lines) == [([user("hi"), says("Hello."), says("Yes.")], [])]


def test_session_lines_of_other_types_are_links(tmp_path: Path) -> None:
    found = sessions(
        tmp_path,
        {"type": "system", "uuid": "0", "parentUuid": None, "subtype": "compact_boundary"},
        *(asks("1", "0", "hi"), {"type": "progress", "uuid": "p", "parentUuid": "1"}, answers("2", "p", "Hello.")),
        {"type": "system", "uuid": "3", "parentUuid": "2", "subtype": "turn_duration"},
    )
    assert found == [([user("hi"), says("Hello.")], [])]


def test_session_that_begins_elsewhere_is_incomplete(tmp_path: Path) -> None:
    (row,) = read_lines(tmp_path, asks("7", "6", "on"), answers("8", "7", "Yes."))[1]
    assert isinstance(row, Trajectory)
    detail = "the message before line 1 is not in the file"
    assert row.faults == [Fault(message=1, reason=RejectReason.INCOMPLETE, detail=detail)]


def test_session_messages_of_the_harness_are_context(tmp_path: Path) -> None:
    failed = line("2", "1", "assistant", [text("API Error")], message={"model": "<synthetic>"})
    assert sessions(tmp_path, asks("1", None, "hi"), failed) == [([user("hi"), says("API Error")], [1])]


def test_session_lines_that_cannot_be_read_are_rejected_and_leave_a_hole(tmp_path: Path) -> None:
    _, rows = read_lines(
        tmp_path,
        *(asks("1", None, "hi"), answers("2", "1", "Hello."), "oops", '"massive error"', {"silly": "this"}),
        {"type": "user", "uuid": "3", "parentUuid": "2", "message": "error"},
        answers("4", "3", "Yes."),
        asks("5", "4", ["wow"]),
        {"type": 3},
    )
    trajectory = rows[-1]
    assert isinstance(trajectory, Trajectory)
    assert [row.line for row in rows if isinstance(row, Reject)] == [3, 4, 5, 6, 8, 9]
    assert rows[1:4] == [
        bad_record("record: expected an object, got 'massive error'", 4, "t.jsonl"),
        bad_record("type: expected text, got nothing", 5, "t.jsonl"),
        bad_record("message: expected an object, got 'error'", 6, "t.jsonl"),
    ]
    assert trajectory.messages == [user("hi"), says("Hello."), says("Yes.")]
    detail = "a message before it could not be read (line 6)"
    assert trajectory.faults == [Fault(message=2, reason=RejectReason.INCOMPLETE, detail=detail)]


@pytest.mark.parametrize(
    ("block", "detail"),
    [
        ({"type": "image"}, "messages.0.content.0.type: expected text, thinking or tool_use, got 'image'"),
        ({"type": "tool_use", "id": 1, "name": "f"}, "messages.0.content.0.id: expected text, got a number"),
        ({"type": "text"}, "messages.0.content.0.text: expected text, got nothing"),
    ],
)
def test_api_records_that_do_not_fit(tmp_path: Path, block: dict[str, Any], detail: str) -> None:
    record = {"system": "s", "messages": [{"role": "assistant", "content": [block]}]}
    assert read_lines(tmp_path, record) == ("anthropic", [bad_record(detail, source="t.jsonl")])


BOTH = calls(call("Bash", '{"command":"ls a"}', "t1"), call("Bash", '{"command":"ls b"}', "t2"), text="Two checks.")


def use(call_id: str, command: str) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "id": call_id, "name": "Bash", "input": {"command": command}}]


def result(call_id: str, content: str) -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": call_id, "content": content}]


def test_parts_of_a_message_around_a_reply() -> None:
    name, rows = read_file(recorded("cases/case14_claude_split_message.jsonl"))
    (found,) = [row for row in rows if isinstance(row, Trajectory)]
    assert (name, found.messages) == (
        "anthropic",
        [user("check both"), BOTH, replies("A", "t1"), replies("B", "t2"), says("Both fine.")],
    )


def test_parts_of_a_message_around_meta_and_progress_lines(tmp_path: Path) -> None:
    found = sessions(
        tmp_path,
        asks("u1", None, "check both"),
        answers("a1", "u1", [text("Two checks.")], "m1"),
        {"type": "progress", "uuid": "p1", "parentUuid": "a1", "sessionId": "s"},
        answers("a2", "p1", use("t1", "ls a"), "m1"),
        asks("n1", "a2", "Caveat: local", isMeta=True),
        answers("a3", "n1", use("t2", "ls b"), "m1"),
        asks("r1", "a3", result("t1", "A")),
        asks("r2", "r1", result("t2", "B")),
        answers("a4", "r2", [text("Both fine.")], "m2"),
    )
    spoken = [user("check both"), BOTH, replies("A", "t1"), replies("B", "t2"), user("Caveat: local")]
    assert found == [([*spoken, says("Both fine.")], [])]


def test_parts_of_a_message_beside_the_path(tmp_path: Path) -> None:
    found = sessions(
        tmp_path,
        asks("u1", None, "check both"),
        answers("a1", "u1", [text("Two checks."), *use("t1", "ls a")], "m1"),
        answers("a2", "a1", use("t2", "ls b"), "m1"),
        asks("r2", "a2", result("t2", "B")),
        asks("r1", "a1", result("t1", "A")),
        answers("a3", "r1", [text("Both fine.")], "m2"),
    )
    assert found == [([user("check both"), BOTH, replies("A", "t1"), replies("B", "t2"), says("Both fine.")], [])]


def test_a_message_with_a_part_that_cannot_be_read_is_incomplete(tmp_path: Path) -> None:
    lines = [
        asks("u1", None, "check both"),
        answers("a1", "u1", [text("Two checks.")], "m1"),
        answers("a2", "a1", [{"type": "server_thing"}], "m1"),
        answers("a3", "a2", [text("Both fine.")], "m2"),
    ]
    (_, found) = read_lines(tmp_path, *lines)[1]
    assert isinstance(found, Trajectory)
    assert found.faults == [
        Fault(message=1, reason=RejectReason.INCOMPLETE, detail="a part of it could not be read (line 3)"),
        Fault(message=2, reason=RejectReason.INCOMPLETE, detail="a message before it could not be read (line 3)"),
    ]
