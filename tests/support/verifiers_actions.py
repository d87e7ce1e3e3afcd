"""Short hands for actions and candidates, and the real demonstrations of the reference data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from recorded import recorded

from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import VERIFIERS, Verdict, load_verifier

BY_RULE = [name for name in VERIFIERS if name not in ("judge", "execute")]
"""Verifiers that look at the two actions alone."""

MENDED = [name for name in BY_RULE if "compat" not in name]
"""Those that follow nobody."""


def call(name: str, arguments: Any = None, **values: Any) -> ToolCall:
    """`call("get", x=1)`, or `call("get", "raw text")`."""
    return ToolCall(name=name, arguments=arguments if isinstance(arguments, str) else json.dumps(arguments or values))


def calls(*tool_calls: ToolCall, content: str = "") -> Message:
    return Message(role="assistant", content=content, tool_calls=list(tool_calls))


def says(content: str) -> Message:
    return Message(role="assistant", content=content)


def candidate(expected: Message, tools: str = "[]", provenance: str = "{}") -> Candidate:
    return Candidate(
        candidate_id="t-0",
        trajectory_id="t",
        task_id="",
        source="s.jsonl",
        turn=0,
        n_turns=1,
        domain="",
        verifier="tool_call",
        state=[Message(role="user", content="hello")],
        tools=tools,
        expected_action=expected,
        outcome=None,
        split="train",
        provenance=provenance,
    )


def score(name: str, expected: Message, action: Message, tools: str = "[]", provenance: str = "{}") -> Verdict:
    return load_verifier(name)(candidate(expected, tools, provenance), action)


def tool(name: str, required: list[str] | None = None, **properties: Any) -> str:
    """A `tools` column with one tool."""
    parameters = {"type": "object", "properties": properties, "required": required or []}
    return json.dumps([{"type": "function", "function": {"name": name, "parameters": parameters}}])


EVERY_TOOL = json.dumps(
    [json.loads(tool(name))[0] for name in ("get", "bash", "edit", "grep", "think", "web_search", "t")]
)
"""A `tools` column with the tools of all of these actions."""


def demonstrated() -> list[Message]:
    """One short action for each way of comparing."""
    keystrokes = {"analysis": "", "plan": "", "commands": [{"keystrokes": "cat order_12.txt | grep total\n"}]}
    return [
        says("The total is 12 today."),
        says(json.dumps(keystrokes)),
        calls(call("t", x="please tell the customer about order 12")),
        calls(call("bash", command="cat order_12.txt | grep total")),
        calls(call("edit", path="src/a.py", old_str="total = 1", new_str="total = 12")),
        calls(call("grep", pattern="total", path="src")),
        calls(call("think", thought="The total of order 12 is wrong.")),
        calls(call("web_search", query="total of order 12", url="https://a.org/12")),
    ]


def records(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorded(path).read_text().splitlines()]


def gym_action(action: dict[str, Any]) -> Message:
    """A NeMo Gym action as a message."""
    if action["type"] == "message":
        return says(action["content"])
    return calls(*(call(c["name"], c["arguments"]) for c in action.get("calls", [action])))


def gym_output(items: list[dict[str, Any]]) -> Message:
    """The output items of a Responses-API reply as a message."""
    texts = [part["text"] for item in items if item["type"] == "message" for part in item["content"]]
    found = [call(item["name"], item["arguments"]) for item in items if item["type"] == "function_call"]
    return calls(*found, content="\n".join(texts))


def demonstrations(path: str) -> Iterator[Message]:
    """Every assistant message of a tau-bench or OpenAI fine-tuning file."""
    text = recorded(path).read_text()
    if path.endswith(".jsonl"):
        trajectories = [json.loads(line)["messages"] for line in text.splitlines()]
    else:
        trajectories = [run["traj"] for run in json.loads(text)]
    for messages in trajectories:
        for message in messages:
            if message["role"] == "assistant":
                functions = [c["function"] for c in message.get("tool_calls") or []]
                tool_calls = [call(f["name"], f["arguments"]) for f in functions]
                yield calls(*tool_calls, content=message.get("content") or "")
