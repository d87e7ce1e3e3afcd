"""OpenAI-style messages and tool schemas to ours, for every format that carries them.

Recorded text stays as it was, only the packing changes. Content that is null, absent or a list of text blocks
becomes text; arguments that were an object become JSON text with the keys in their order; tool schemas take the nested
form, with every key that they had. Reasoning is kept apart from the content wherever it was recorded.

Left out: images and other blocks that are not text (the record is rejected, since its state could not be shown), and
`weight` on messages, which is for imitation and does not tell which turns can be practised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pivotrl_cli.readers.fields import Json, compact
from pivotrl_cli.rows import Message, ToolCall

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""Recorded role -> ours."""

_TEXT_BLOCKS = ("text", "input_text", "output_text")
_THINK, _END_THINK = "<think>", "</think>"


def messages_of(messages: Json) -> list[Message]:
    return [message_of(message) for message in messages.required_list()]


def message_of(message: Json) -> Message:
    role = chat_role(message["role"])
    content, reasoning = text_of(message["content"]), None
    if role == "assistant":
        content, reasoning = _reasoning(message, content)
    calls, legacy = message["tool_calls"].list(), message["function_call"]
    if role != "assistant" and (calls or legacy):
        raise message["tool_calls"].error(f"a {role} message cannot make calls")
    if legacy and not calls:
        made = [call_of(Json(None), legacy["name"], legacy["arguments"])]
    else:
        functions = [(call["id"], call["function"] or call) for call in calls]
        made = [call_of(call_id, function["name"], function["arguments"]) for call_id, function in functions]
    return Message(
        role=role,
        content=content,
        reasoning=reasoning,
        tool_calls=made,
        tool_call_id=message["tool_call_id"].text_or_none() if role == "tool" else None,
        name=message["name"].text_or_none() if role == "tool" else None,
    )


def merge_assistant(parts: Sequence[Message]) -> Message:
    """One action from parts that the model wrote in one response."""
    return Message(
        role="assistant",
        content="".join(part.content for part in parts),
        reasoning="\n".join(part.reasoning for part in parts if part.reasoning) or None,
        tool_calls=[call for part in parts for call in part.tool_calls],
    )


def text_of(content: Json) -> str:
    """Content as text; blocks are joined without a separator, as chat templates do."""
    if isinstance(content.value, list):
        return "".join(map(_block, content.list()))
    return content.text_or_none() or ""


def tools_of(tools: Json) -> str:
    """Tool schemas in the nested form, from a list of nested or flat ones or from the JSON text of such a list."""
    return compact([_tool(tool) for tool in tools.json_text().list()])


def arguments_of(arguments: Json) -> str:
    """Arguments as JSON text: text as it is, anything else written compactly; `{}` where there are none."""
    if isinstance(arguments.value, str):
        return "{}" if arguments.value.strip() in ("", "null") else arguments.value
    return compact(arguments.value) if arguments else "{}"


def call_of(call_id: Json, name: Json, arguments: Json) -> ToolCall:
    return ToolCall(id=call_id.text_or_none(), name=name.text(), arguments=arguments_of(arguments))


def reply_of(call_id: Json, content: Json) -> Message:
    return Message(role="tool", content=text_of(content), tool_call_id=call_id.text_or_none())


def chat_role(role: Json) -> Role:
    if role.text() not in ROLES:
        raise role.error(f"expected one of {', '.join(ROLES)}")
    return ROLES[role.text()]


def _block(block: Json) -> str:
    if isinstance(block.value, str):
        return block.value
    if block["type"].value not in _TEXT_BLOCKS:
        raise block["type"].error("only text blocks can be used")
    return block["text"].text()


def _reasoning(message: Json, content: str) -> tuple[str, str | None]:
    """Content and reasoning; a `<think>` block counts only as the first thing, and only when nothing else is given."""
    given = message.first("reasoning_content", "reasoning").text_or_none()
    start, end = content.lstrip(), content.find(_END_THINK)
    if given or end < 0 or not start.startswith(_THINK):
        return content, given or None
    thought = content[:end].lstrip().removeprefix(_THINK).strip("\n")
    return content[end + len(_END_THINK) :].lstrip("\n"), thought or None


def _tool(tool: Json) -> dict[str, object]:
    kind = tool["type"]
    if kind and kind.value != "function":
        raise kind.error("only functions can be used")
    function = tool["function"] or tool
    function["name"].text()
    return {"type": "function", "function": {key: value for key, value in function.object().items() if key != "type"}}
