"""Items of OpenAI's Responses API to our messages.

Reasoning, text and calls are items of their own there; those of one model response become one message. A new message
begins with the reply to a call, with a message of another role, and where the model reasons or writes again after text
or a call. Left out: calls of built-in tools (search, computer), whose items are rejected.
"""

from __future__ import annotations

from pivotrl_cli.readers.fields import Json
from pivotrl_cli.readers.messages import call_of, merge_assistant, message_of, reply_of
from pivotrl_cli.rows import Message, ToolCall


def messages_of_items(items: Json) -> list[Message]:
    """Messages of a list of items; a text alone is the user's."""
    if isinstance(items.value, str):
        return [Message(role="user", content=items.value)]
    messages: list[Message] = []
    parts: list[Message] = []
    acted = False
    for item in items.list():
        kind = item["type"].text_or_none() or "message"
        part = _part(kind, item)
        if part.role != "assistant" or (acted and kind != "function_call"):
            messages += [merge_assistant(parts)] if parts else []
            parts, acted = [], False
        (parts if part.role == "assistant" else messages).append(part)
        acted = part.role == "assistant" and (acted or kind != "reasoning")
    return [*messages, merge_assistant(parts)] if parts else messages


def call_of_item(item: Json) -> ToolCall:
    return call_of(item["call_id"], item["name"], item["arguments"])


def _part(kind: str, item: Json) -> Message:
    """A message of another role, or a part of one of the model's."""
    match kind:
        case "message":
            return message_of(item)
        case "function_call_output":
            return reply_of(item["call_id"], item["output"])
        case "function_call":
            return Message(role="assistant", tool_calls=[call_of_item(item)])
        case "reasoning":
            texts = [part["text"].text() for name in ("summary", "content") for part in item[name].list()]
            return Message(role="assistant", reasoning="\n".join(filter(None, texts)) or None)
    raise item["type"].error("expected a message, reasoning, a function call or its output")
