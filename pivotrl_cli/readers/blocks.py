"""Anthropic's content blocks to our messages.

Text, thinking and `tool_use` blocks of one assistant message become one action. The `tool_result` blocks of a user
message become tool messages, before the user's own text. Left out: images and documents, and thinking that was
redacted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pivotrl_cli.readers.fields import Json, compact
from pivotrl_cli.readers.messages import call_of, is_builtin, names_of, reply_of, text_of
from pivotrl_cli.rows import Message

_BLOCK_TYPES = ("tool_use", "tool_result", "thinking", "redacted_thinking")


def is_api_record(record: dict[str, Any]) -> bool:
    """Whether blocks, tools or a system prompt beside the messages show that this is a record of this API."""
    messages, tools = record.get("messages"), record.get("tools")
    if not isinstance(messages, list):
        return False
    messages = [message for message in messages if isinstance(message, dict)]
    if any(message.get("tool_calls") or message.get("role") == "tool" for message in messages):
        return False
    contents = [message.get("content") for message in messages]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return (
        any(isinstance(block, dict) and block.get("type") in _BLOCK_TYPES for block in blocks)
        or (isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools))
        or ("system" in record and all(message.get("role") != "system" for message in messages))
    )


def messages_of_blocks(role: Json, content: Json) -> list[Message]:
    """One recorded message as ours; a user's may be several."""
    match role.value:
        case "assistant":
            return [_assistant(_blocks(content))]
        case "user":
            blocks = _blocks(content)
            results = [block for block in blocks if block["type"].value == "tool_result"]
            others = [block.value for block in blocks if block["type"].value != "tool_result"]
            messages = [reply_of(result["tool_use_id"], result["content"]) for result in results]
            if others or not results:
                messages.append(Message(role="user", content=text_of(Json(others, "content"))))
            return messages
        case "system":
            return [Message(role="system", content=text_of(content))]
    raise role.error("expected user, assistant or system")


def tools_of_blocks(tools: Json, messages: Sequence[Message] = ()) -> str:
    """Schemas in the nested form, from `{name, description, input_schema}`; Anthropic's own tools as in `tools_of`."""
    called = {call.name for message in messages for call in message.tool_calls}
    functions = [
        {
            "name": tool["name"].text(),
            "description": tool["description"].text_or_none() or "",
            "parameters": tool["input_schema"].object(),
        }
        for tool in tools.list()
        if not is_builtin(tool) or names_of(tool) & called
    ]
    return compact([{"type": "function", "function": function} for function in functions])


def _blocks(content: Json) -> list[Json]:
    if isinstance(content.value, str):
        return [Json({"type": "text", "text": content.value}, content.path)]
    if not content:
        raise content.error("expected text or blocks")
    return content.list()


def _assistant(blocks: list[Json]) -> Message:
    text, thinking, calls = [], [], []
    for block in blocks:
        match block["type"].value:
            case "text":
                text.append(block["text"].text())
            case "thinking":
                thinking.append(block["thinking"].text())
            case "tool_use":
                calls.append(call_of(block["id"], block["name"], block["input"]))
            case "redacted_thinking":
                pass
            case _:
                raise block["type"].error("expected text, thinking or tool_use")
    reasoning = "\n".join(filter(None, thinking)) or None
    return Message(role="assistant", content="".join(text), reasoning=reasoning, tool_calls=calls)
