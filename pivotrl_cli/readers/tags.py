"""Calls, replies and schemas that stand in the text between tags, as the Hermes prompts have it.

`<tool_call>` holds `{"name", "arguments"}`, `<tool_response>` a reply, `<tools>` the schemas, as a JSON list or one
after another. A chat template writes the same from structured messages, so calls and replies leave the text. The system
prompt stays as it was, its schemas included, because the text around them makes no sense without them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.readers.messages import Role, call_of, message_of, tools_of
from pivotrl_cli.rows import Fault, Message, RejectReason, ToolCall

ROLES_BY_NAME: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "function": "tool",
    "ipython": "tool",
}
"""Name of a speaker, as conversations have it -> role."""

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_REPLY = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)


def is_tagged(texts: Iterable[tuple[Any, Any]]) -> bool:
    """Whether one of these pairs of speaker and text has schemas or calls between the tags of its role."""
    tags = {"system": "<tools>", "assistant": "<tool_call>"}
    return any(
        isinstance(who, str) and isinstance(text, str) and tags.get(ROLES_BY_NAME.get(who, "user"), "\0") in text
        for who, text in texts
    )


def is_tagged_conversation(conversation: Any) -> bool:
    """Whether these are messages with tags in their text, and without structured calls."""
    if not isinstance(conversation, list):
        return False
    messages = [one for one in conversation if isinstance(one, dict)]
    pairs = [(one.get("from", one.get("role")), one.get("value", one.get("content"))) for one in messages]
    return is_tagged(pairs) and not any(one.get("tool_calls") for one in messages)


def role_of(name: Json) -> Role:
    if name.text().lower() not in ROLES_BY_NAME:
        raise name.error(f"expected one of {', '.join(ROLES_BY_NAME)}")
    return ROLES_BY_NAME[name.text().lower()]


def parse_tagged(texts: Iterable[tuple[Role, str]]) -> tuple[list[Message], list[Fault]]:
    """Messages of roles and texts; a turn whose call is not JSON keeps its text and has a fault."""
    messages: list[Message] = []
    faults: list[Fault] = []
    for role, text in texts:
        if role == "tool":
            messages += [Message(role="tool", content=part.strip()) for part in _REPLY.findall(text) or [text]]
            continue
        message = message_of(Json({"role": role, "content": text}))
        try:
            messages.append(_with_calls(message) if role == "assistant" else message)
        except RecordError as error:
            faults.append(Fault(message=len(messages), reason=RejectReason.BAD_ARGUMENTS, detail=str(error)))
            messages.append(message)
    return messages, faults


def schemas_in(text: str) -> str:
    """The schemas between `<tools>` tags, in the nested form; tags around anything else are only mentioned."""
    for body in _TOOLS.findall(text):
        if found := _values(body):
            return tools_of(Json(found, "tools"))
    return "[]"


def call_from(text: Json) -> ToolCall:
    call = text.json_text()
    return call_of(Json(None), call["name"], call["arguments"])


def _with_calls(message: Message) -> Message:
    calls = [call_from(Json(body, "tool_call")) for body in _CALL.findall(message.content)]
    rest = _CALL.sub("", message.content)
    if "<tool_call>" in rest:
        raise RecordError("tool_call: the tag is not closed")
    return message.model_copy(update={"content": rest.strip(), "tool_calls": calls}) if calls else message


def _values(body: str) -> list[Any]:
    """The objects of a JSON list, or those that stand one after another."""
    decoder, found, rest = json.JSONDecoder(), list[Any](), body.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return []
        found += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip(" \n\r\t,")
    return found
