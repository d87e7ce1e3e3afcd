"""Coding agents: SWE-agent, mini-swe-agent and OpenHands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from readings import bad_record, call, calls, nested, one, read_file, read_json, read_lines, replies, says, system, user

from pivotrl_cli.rows import Fault, RejectReason, Trajectory

# SWE-agent

ASKED = [
    {"role": "system", "content": "Setting", "agent": "main", "message_type": "system_prompt"},
    {"role": "user", "content": [{"type": "text", "text": "Issue"}], "agent": "main"},
]
BASH = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}


def test_swe_agent_function_calls(tmp_path: Path) -> None:
    history = [
        *ASKED,
        {"role": "assistant", "content": "Look.", "thought": "Look.", "action": "ls", "tool_calls": [BASH]},
        {"role": "tool", "content": "a.py", "tool_call_ids": ["c1"]},
    ]
    steps = [{"response": "Look.", "action": "ls", "observation": "a.py", "messages": history, "state": "{}"}]
    record = {"environment": "main", "trajectory": steps, "history": history, "info": {"exit_status": "submitted"}}
    assert one(read_json(tmp_path, record, "astropy-1.traj"), "swe_agent") == Trajectory(
        source="astropy-1.traj",
        line=1,
        messages=[
            *(system("Setting"), user("Issue")),
            *(calls(call("bash", '{"command": "ls"}', "c1"), text="Look."), replies("a.py", "c1")),
        ],
        task_id="astropy-1",
        provenance='{"exit_status":"submitted","environment":"main"}',
    )


@pytest.mark.parametrize("text", ["Look.\n```\nls -F\n```", "Look.\n<command>\nls -F\n</command>"])
def test_swe_agent_commands_in_the_text_stay_word_for_word(tmp_path: Path, text: str) -> None:
    history = [*ASKED, {"role": "assistant", "content": text, "thought": "Look.", "action": "ls -F", "agent": "main"}]
    assert one(read_json(tmp_path, {"history": history}), "swe_agent").messages[2] == says(text)


def test_swe_agent_demonstrations_are_context(tmp_path: Path) -> None:
    shown = {"role": "assistant", "content": "shown", "agent": "main", "is_demo": True}
    own = {"role": "assistant", "content": "own", "agent": "main"}
    assert one(read_json(tmp_path, {"history": [*ASKED, shown, own]}), "swe_agent").context == [2]


def test_swe_agent_adds_the_submission_that_the_history_lacks(tmp_path: Path) -> None:
    own = {"role": "assistant", "content": "```\nls\n```", "agent": "main"}
    steps = [
        {"action": "ls", "response": "```\nls\n```\n", "observation": "a.py"},
        {"action": "submit", "response": "```\nsubmit\n```", "observation": "diff"},
    ]
    found = one(read_json(tmp_path, {"history": [*ASKED, own], "trajectory": steps}), "swe_agent")
    assert found.messages[2:] == [says("```\nls\n```"), says("```\nsubmit\n```"), user("diff")]
    assert found.faults == []


def test_swe_agent_submission_without_its_call_is_incomplete(tmp_path: Path) -> None:
    own = {"role": "assistant", "content": "Look.", "agent": "main", "tool_calls": [BASH]}
    steps = [{"action": "ls", "response": "Look."}, {"action": "submit", "response": "Done.", "observation": None}]
    found = one(read_json(tmp_path, {"history": [*ASKED, own], "trajectory": steps}), "swe_agent")
    detail = "the step does not record its call"
    assert found.faults == [Fault(message=3, reason=RejectReason.INCOMPLETE, detail=detail)]


def test_swe_agent_without_a_history_takes_the_last_query(tmp_path: Path) -> None:
    query = [*ASKED, {"role": "assistant", "content": "one"}, {"role": "user", "content": "seen"}]
    steps = [
        {"action": "a", "response": "one", "observation": "seen", "query": ASKED},
        {"action": "b", "response": "two", "observation": "end", "query": query},
    ]
    found = one(read_json(tmp_path, {"trajectory": steps}), "swe_agent")
    assert found.messages[2:] == [says("one"), user("seen"), says("two"), user("end")]


# mini-swe-agent

CHAT = [{"role": "system", "content": "One bash block."}, {"role": "user", "content": "Fix it."}]
STEP = {"role": "assistant", "content": "Look.\n\n```bash\nls\n```"}


def test_mini_swe_agent_list_of_messages(tmp_path: Path) -> None:
    assert one(read_json(tmp_path, [*CHAT, STEP], "django-1.traj.json"), "mini_swe_agent") == Trajectory(
        source="django-1.traj.json",
        line=1,
        messages=[system("One bash block."), user("Fix it."), says("Look.\n\n```bash\nls\n```")],
        task_id="django-1",
    )


def test_mini_swe_agent_object_with_its_format(tmp_path: Path) -> None:
    made = {"role": "assistant", "content": None, "tool_calls": [BASH], "extra": {"cost": 1}}
    record = {
        "info": {"exit_status": "Submitted", "config": {"model": {"model_name": "m"}}},
        "messages": [*CHAT, made, {"role": "exit", "content": "patch"}],
        "trajectory_format": "mini-swe-agent-1.1",
        "instance_id": "django-2",
    }
    assert one(read_json(tmp_path, record), "mini_swe_agent") == Trajectory(
        source="t.json",
        line=1,
        messages=[system("One bash block."), user("Fix it."), calls(call("bash", '{"command": "ls"}', "c1"))],
        task_id="django-2",
        provenance='{"exit_status":"Submitted","model":"m"}',
    )


def test_a_broken_message_in_a_list_rejects_the_run(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(f'[{json.dumps(CHAT[0])}, {{"role": oops}}]')
    assert read_file(path) == ("mini_swe_agent", [bad_record("message 2: Expecting value at column 10", line=0)])


# OpenHands


def event(number: int, source: str, **fields: Any) -> dict[str, Any]:
    return {"id": number, "timestamp": "t", "source": source, "message": "", **fields}


def responded(call_id: str, made: list[dict[str, Any]], response: str = "r1") -> dict[str, Any]:
    message = {"role": "assistant", "content": "I look.", "tool_calls": made}
    body = {"id": response, "choices": [{"index": 0, "message": message}]}
    return {"function_name": "execute_bash", "tool_call_id": call_id, "model_response": body}


SAID = event(0, "user", action="message", args={"content": "Fix it.", "wait_for_response": False})


def test_openhands_actions_of_one_response_are_one_turn(tmp_path: Path) -> None:
    made = [{"id": c, "type": "function", "function": {"name": "execute_bash", "arguments": "{}"}} for c in ("a", "b")]
    schema = {"type": "function", "function": {"name": "execute_bash"}}
    events = [
        event(9, "agent", action="system", args={"content": "You act.", "tools": [schema]}),
        SAID,
        event(1, "environment", observation="agent_state_changed", content=""),
        event(2, "agent", action="run", args={"command": "x"}, tool_call_metadata=responded("a", made)),
        event(3, "agent", observation="run", cause=2, content="1", tool_call_metadata=responded("a", made)),
        event(4, "agent", action="run", args={"command": "y"}, tool_call_metadata=responded("b", made)),
        event(5, "agent", observation="error", cause=4, content="2", tool_call_metadata=responded("b", made)),
        event(6, "agent", action="recall", args={"query": "q"}),
        event(7, "agent", observation="recall", cause=6, content="known"),
        event(8, "agent", action="message", args={"content": "Done."}),
    ]
    assert one(read_json(tmp_path, events), "openhands") == Trajectory(
        source="t.json",
        line=1,
        messages=[
            *(system("You act."), user("Fix it.")),
            calls(call("execute_bash", "{}", "a"), call("execute_bash", "{}", "b"), text="I look."),
            *(replies("1", "a"), replies("2", "b"), says("Done.")),
        ],
        tools=nested("execute_bash"),
    )


def test_openhands_actions_without_a_response_are_calls_of_what_they_carry(tmp_path: Path) -> None:
    args = {"command": "ls", "thought": "Look.", "is_input": False, "blocking": False}
    events = [
        SAID,
        event(1, "agent", action="run", args=args),
        event(2, "agent", observation="run", cause=1, content="a.py"),
    ]
    found = one(read_json(tmp_path, events), "openhands")
    assert found.messages[1:] == [calls(call("run", '{"command":"ls"}'), text="Look."), replies("a.py")]


def test_openhands_commands_of_the_user_are_no_actions(tmp_path: Path) -> None:
    events = [
        SAID,
        event(1, "user", action="run", args={"command": "ls"}),
        event(2, "user", observation="run", cause=1, content="a.py"),
        event(3, "agent", action="message", args={"content": "Hi."}),
    ]
    assert one(read_json(tmp_path, events), "openhands").messages == [user("Fix it."), says("Hi.")]


OLD = [
    {"action": "message", "content": "Fix it.", "wait_for_response": False},
    {"action": "run", "command": "ls", "thought": "Look.", "keep_prompt": True, "is_confirmed": "confirmed"},
    {"observation": "run", "command": "ls", "command_id": -1, "content": "a.py", "exit_code": 0},
    {"action": "message", "content": "Which?", "wait_for_response": True},
    {"action": "message", "content": "Both."},
    {"action": "finish", "outputs": {}, "thought": "Done."},
]
OLD_MESSAGES = [
    *(user("Fix it."), calls(call("run", '{"command":"ls"}'), text="Look."), replies("a.py")),
    *(says("Which?"), user("Both."), calls(call("finish", '{"outputs":{}}'), text="Done.")),
]


@pytest.mark.parametrize(
    ("condensation", "behind"),
    [
        ({"action": "condensation", "args": {"forgotten_events_start_id": 1, "forgotten_events_end_id": 2}}, [3]),
        ({"action": "condensation", "args": {"forgotten_event_ids": [1, 2], "summary": "Listed."}}, [3]),
        ({"observation": "condense", "content": "Listed."}, [3]),
        ({"action": "condensation", "args": {"forgotten_event_ids": [], "summary": None}}, []),
        ({"action": "condensation_request", "args": {}}, []),
    ],
)
def test_openhands_turns_behind_a_condensation_are_incomplete(tmp_path: Path, condensation, behind) -> None:
    events = [
        {"id": 0, "source": "user", "action": "message", "args": {"content": "Fix it."}},
        {"id": 1, "source": "agent", "action": "run", "args": {"command": "ls"}},
        {"id": 2, "source": "agent", "observation": "run", "content": "a.py", "cause": 1},
        {"id": 3, "source": "agent"} | condensation,
        {"id": 4, "source": "agent", "action": "run", "args": {"command": "cat a.py"}},
    ]
    found = one(read_json(tmp_path, events), "openhands")
    assert len(found.messages) == 4
    assert [(fault.message, fault.reason) for fault in found.faults] == [(i, "incomplete") for i in behind]


def test_openhands_resolver_output(tmp_path: Path) -> None:
    issue = {"owner": "neubig", "repo": "pr-viewer", "number": 5}
    record = {"issue": issue, "issue_type": "issue", "history": OLD, "success": True, "git_patch": "diff"}
    assert one(read_lines(tmp_path, record), "openhands") == Trajectory(
        source="t.jsonl",
        line=1,
        messages=OLD_MESSAGES,
        task_id="neubig/pr-viewer#5",
        outcome=1.0,
        provenance='{"issue_type":"issue"}',
    )


def test_openhands_nested_pairs(tmp_path: Path) -> None:
    pairs = [[OLD[0], {}], [OLD[1], OLD[2]], [OLD[3], None], [OLD[4], {}], [OLD[5], {}]]
    record = {"instance_id": "django-1", "history": pairs, "test_result": {"report": {"resolved": False}}}
    found = one(read_lines(tmp_path, record), "openhands")
    assert (found.messages, found.task_id, found.outcome) == (OLD_MESSAGES, "django-1", 0.0)
    assert one(read_json(tmp_path, pairs), "openhands").messages == OLD_MESSAGES


def test_openhands_that_do_not_fit(tmp_path: Path) -> None:
    detail = "history.1.content: expected text, got a number"
    events = [SAID, event(1, "user", action="message", args=None, content=3)]
    assert read_json(tmp_path, events) == ("openhands", [bad_record(detail)])
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps([SAID, SAID])[:-40])
    (row,) = read_file(cut)[1]
    assert row == bad_record("event 2: the file ends inside a record", line=0, source="cut.json")
