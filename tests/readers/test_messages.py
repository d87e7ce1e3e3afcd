"""OpenAI-like messages: the names that recorders use for reasoning, replies and calls; tools of the provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from readings import call, calls, nested, one, read_lines, replies, says, user

from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.readers.messages import messages_of, tools_of

GO = {"role": "user", "content": "go"}
LOOK = {"id": "c1", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "Hi", "reasoning": "why"},
        {"content": "Hi", "reasoning_content": "", "reasoning": "why"},
        {"content": "Hi", "reasoning_content": "why", "reasoning": "why"},
        {"content": "Hi", "thinking": "why"},
        {"content": "Hi", "thinking_blocks": [{"type": "thinking", "thinking": "why", "signature": "x"}]},
        {"content": "Hi", "reasoning_details": [{"type": "reasoning.text", "text": "why"}]},
        {"content": "Hi", "reasoning_details": [{"summary": "why"}, {"type": "reasoning.encrypted", "data": "x"}]},
        {"content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "Hi"}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"text": "why"}]},
                {"type": "text", "text": "Hi"},
            ]
        },
        {"content": [{"type": "reasoning", "summary": [{"text": "why"}]}, {"type": "text", "text": "Hi"}]},
        {"content": "<think>\nwhy\n</think>\n\nHi"},
    ],
)
def test_reasoning_under_every_name(fields: dict[str, Any]) -> None:
    assert messages_of(Json([GO, {"role": "assistant", **fields}])) == [user("go"), says("Hi", "why")]


def test_thinking_blocks_beside_calls_are_chat_messages(tmp_path: Path) -> None:
    action = {"role": "assistant", "content": [{"type": "thinking", "thinking": "why"}], "tool_calls": [LOOK]}
    reply = {"role": "tool", "tool_call_id": "c1", "content": "A"}
    found = one(read_lines(tmp_path, {"messages": [GO, action, reply]}), "openai")
    look = call("look", "{}", "c1")
    assert found.messages == [user("go"), calls(look, reasoning="why"), replies("A", "c1")]


@pytest.mark.parametrize(
    ("ids", "content", "expected"),
    [
        (["c1"], "A", [replies("A", "c1")]),
        (["c1", "c2"], ["A", "B"], [replies("A", "c1"), replies("B", "c2")]),
        (["c1", "c2"], [{"type": "text", "text": "A"}, "B"], [replies("A", "c1"), replies("B", "c2")]),
    ],
)
def test_call_ids_in_the_plural(ids: list[str], content: Any, expected: list[Any]) -> None:
    assert messages_of(Json([{"role": "tool", "tool_call_ids": ids, "content": content}])) == expected


def test_one_content_for_two_calls_is_refused() -> None:
    with pytest.raises(RecordError, match=r"tool_call_ids: expected as many ids as contents \(1\)"):
        messages_of(Json([{"role": "tool", "tool_call_ids": ["c1", "c2"], "content": ["A"]}]))


def test_roles_of_calls_and_their_replies(tmp_path: Path) -> None:
    messages = [
        GO,
        {"role": "assistant", "content": "Look."},
        {"role": "tool_call", "content": '{"name": "look", "arguments": {"at": null}}'},
        {"role": "tool_call", "content": '[{"name": "look"}]'},
        {"role": "tool_response", "content": "A"},
        {"role": "tool_response", "content": "B"},
        {"role": "assistant", "content": "Done."},
    ]
    found = one(read_lines(tmp_path, {"messages": messages}), "openai")
    both = calls(call("look", '{"at":null}'), call("look", "{}"), text="Look.")
    assert found.messages == [user("go"), both, replies("A"), replies("B"), says("Done.")]


def test_prompt_and_completion_of_trl(tmp_path: Path) -> None:
    """Only the completion is trained on, so a turn of the prompt is context."""
    prompt = [GO, {"role": "assistant", "content": "Where?"}, {"role": "user", "content": "here"}]
    completion = [{"role": "assistant", "tool_calls": [LOOK]}, {"role": "tool", "content": "A", "tool_call_id": "c1"}]
    found = one(read_lines(tmp_path, {"prompt": prompt, "completion": completion, "tools": [TOOL]}), "openai")
    action = calls(call("look", "{}", "c1"))
    assert found.messages == [user("go"), says("Where?"), user("here"), action, replies("A", "c1")]
    assert (found.context, found.tools) == ([1], nested("look", parameters={"type": "object"}))


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search_preview", "search_context_size": "low"},
        {"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}},
        {"type": "bash_20250124", "name": "bash"},
    ],
)
def test_tools_of_the_provider_that_are_never_called(tmp_path: Path, tool: dict[str, Any]) -> None:
    action = messages_of(Json([{"role": "assistant", "tool_calls": [LOOK]}]))
    assert tools_of(Json([tool, TOOL]), action) == nested("look", parameters={"type": "object"})
    schema = {"name": "look", "description": "", "input_schema": {"type": "object"}}
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]}
    found = one(read_lines(tmp_path, {"messages": [GO, use], "tools": [tool, schema]}), "anthropic")
    assert found.tools == nested("look", description="", parameters={"type": "object"})


def test_a_called_tool_of_the_provider_is_refused() -> None:
    action = messages_of(Json([{"role": "assistant", "tool_calls": [{"function": {"name": "bash"}}]}]))
    with pytest.raises(RecordError, match="type: only functions can be used, got 'bash_20250124'"):
        tools_of(Json([{"type": "bash_20250124", "name": "bash"}]), action)
