"""OpenAI-style messages and tool schemas to ours, for every format that carries them.

Recorded text stays as it was, only the packing changes. Content that is null, absent or a list of text blocks
becomes text; arguments that were an object become JSON text with the keys in their order; tool schemas take the nested
form, with every key that they had. Reasoning is kept apart from the content wherever it was recorded. Tools that a
provider runs itself (`web_search`) are dropped where no call names them.

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
    "tool_response": "tool",
    "tool_call": "assistant",
}
"""Recorded role -> ours."""

_TEXT_BLOCKS = ("text", "input_text", "output_text")
_THOUGHT_BLOCKS = ("thinking", "redacted_thinking", "reasoning")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
_THINK, _END_THINK = "<think>", "</think>"


def messages_of(messages: Json) -> list[Message]:
    found: list[Message] = []
    for message in messages.required_list():
        parts = [message_of(one) for one in _per_call(message)]
        if message["role"].value == "tool_call" and found and found[-1].role == "assistant":
            parts = [merge_assistant([found.pop(), *parts])]
        found += parts
    return found


def message_of(message: Json) -> Message:
    role = chat_role(message["role"])
    if message["role"].value == "tool_call":
        made = message["content"].json_text()
        return Message(role="assistant", tool_calls=_calls(made.list() if isinstance(made.value, list) else [made]))
    content, reasoning = _reasoning(message) if role == "assistant" else (text_of(message["content"]), None)
    calls, legacy = message["tool_calls"].list(), message["function_call"]
    if role != "assistant" and (calls or legacy):
        raise message["tool_calls"].error(f"a {role} message cannot make calls")
    return Message(
        role=role,
        content=content,
        reasoning=reasoning,
        tool_calls=_calls([Json({"function": legacy.value}, message.path)] if legacy and not calls else calls),
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


def tools_of(tools: Json, messages: Sequence[Message] = ()) -> str:
    """Tool schemas in the nested form, from a list of nested or flat ones or from the JSON text of such a list."""
    called = {call.name for message in messages for call in message.tool_calls}
    listed = tools.json_text().list()
    return compact([_tool(tool) for tool in listed if not is_builtin(tool) or names_of(tool) & called])


def is_builtin(tool: Json) -> bool:
    """Whether the provider defines the tool, so that a type stands where a schema would be."""
    kind, schemas = tool["type"].value, [tool[key] for key in ("function", "input_schema", "parameters")]
    return isinstance(kind, str) and kind != "function" and not any(schemas)


def names_of(tool: Json) -> set[str]:
    """The names under which a call may mean a tool of the provider."""
    names = (tool["type"], tool["name"], tool["custom"].fields()["name"])
    return {name.text() for name in names if name}


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


def _calls(calls: Sequence[Json]) -> list[ToolCall]:
    functions = [(call["id"], call["function"] or call) for call in calls]
    return [call_of(call_id, function["name"], function["arguments"]) for call_id, function in functions]


def _per_call(message: Json) -> list[Json]:
    """A reply to several calls (`tool_call_ids`) as one message for each; anything else as it is."""
    ids = message["tool_call_ids"].list()
    if not ids or message["role"].value == "assistant" or message["tool_call_id"]:
        return [message]
    contents = message["content"].required_list() if len(ids) > 1 else [message["content"]]
    if len(contents) != len(ids):
        raise message["tool_call_ids"].error(f"expected as many ids as contents ({len(contents)})")
    return [_reply(message, call_id, content) for call_id, content in zip(ids, contents, strict=True)]


def _reply(message: Json, call_id: Json, content: Json) -> Json:
    """The part of a reply to several calls that answers this one."""
    said = [content.value] if isinstance(content.value, dict) else content.value
    return Json(message.object() | {"tool_call_id": call_id.text(), "content": said}, message.path)


def _block(block: Json) -> str:
    if isinstance(block.value, str):
        return block.value
    if block["type"].value not in _TEXT_BLOCKS:
        raise block["type"].error("only text blocks can be used")
    return block["text"].text()


def _reasoning(message: Json) -> tuple[str, str | None]:
    """Content and reasoning; a `<think>` block counts only as the first thing, and only when nothing else is given."""
    blocks = message["content"].list() if isinstance(message["content"].value, list) else []
    thoughts = [block for block in blocks if isinstance(block.value, dict) and block["type"].value in _THOUGHT_BLOCKS]
    spoken = (block for block in blocks if block not in thoughts)
    content = "".join(map(_block, spoken)) if blocks else text_of(message["content"])
    recorded = [thought_of(message[name]) for name in _REASONING]
    given = next(filter(None, [*recorded, "\n".join(filter(None, map(thought_of, thoughts)))]), "")
    start, end = content.lstrip(), content.find(_END_THINK)
    if given or end < 0 or not start.startswith(_THINK):
        return content, given or None
    thought = content[:end].lstrip().removeprefix(_THINK).strip("\n")
    return content[end + len(_END_THINK) :].lstrip("\n"), thought or None


def thought_of(reasoning: Json) -> str:
    """Reasoning as text: text, or blocks that hold it; empty where it is encrypted or a switch."""
    if isinstance(reasoning.value, list):
        return "\n".join(filter(None, map(thought_of, reasoning.list())))
    if isinstance(reasoning.value, dict):
        return thought_of(reasoning.first("thinking", "reasoning", "text", "summary", "content"))
    return "" if isinstance(reasoning.value, bool) else reasoning.text_or_none() or ""


def _tool(tool: Json) -> dict[str, object]:
    kind = tool["type"]
    if kind and kind.value != "function":
        raise kind.error("only functions can be used")
    function = tool["function"] or tool
    function["name"].text()
    return {"type": "function", "function": {key: value for key, value in function.object().items() if key != "type"}}
