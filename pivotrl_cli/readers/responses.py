"""Items of OpenAI's Responses API to our messages.

Reasoning, text and calls are items of their own there; those that the model wrote in one go become one message. A new
message begins with the reply to a call, with somebody else's message, and where the model reasons or speaks again after
it has spoken or called. Left out: calls of built-in tools (search, computer), whose items are rejected.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pivotrl_cli.readers.fields import Json
from pivotrl_cli.readers.messages import arguments_of, message_of, text_of
from pivotrl_cli.rows import Message, ToolCall


@dataclass
class _Turn:
    """What one message of the model is put together from."""

    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def acts(self) -> bool:
        return bool(self.content or self.calls)

    def message(self) -> Message:
        reasoning = "\n".join(filter(None, self.reasoning)) or None
        return Message(role="assistant", content="".join(self.content), reasoning=reasoning, tool_calls=self.calls)


def messages_of_items(items: Json) -> list[Message]:
    """Messages of a list of items; a text alone is the user's."""
    if isinstance(items.value, str):
        return [Message(role="user", content=items.value)]
    messages: list[Message] = []
    turn: _Turn | None = None
    for item in items.list():
        other = _others(item)
        if other is None:
            turn = _added(item, turn, messages)
            continue
        messages += [turn.message(), other] if turn else [other]
        turn = None
    return [*messages, turn.message()] if turn else messages


def call_of(item: Json) -> ToolCall:
    """A `function_call` item."""
    return ToolCall(
        id=item["call_id"].text_or_none(), name=item["name"].text(), arguments=arguments_of(item["arguments"])
    )


def _kind(item: Json) -> str:
    return item["type"].text_or_none() or "message"


def _others(item: Json) -> Message | None:
    """The message of somebody else than the model."""
    match _kind(item):
        case "function_call_output":
            return Message(role="tool", content=text_of(item["output"]), tool_call_id=item["call_id"].text_or_none())
        case "message" if item["role"].value != "assistant":
            return message_of(item)
    return None


def _added(item: Json, turn: _Turn | None, messages: list[Message]) -> _Turn:
    """The model's turn that goes on with this item, or the new one that it begins."""
    kind = _kind(item)
    if turn is None or (turn.acts and kind != "function_call"):
        messages += [turn.message()] if turn else []
        turn = _Turn()
    match kind:
        case "reasoning":
            turn.reasoning += [part["text"].text() for name in ("summary", "content") for part in item[name].list()]
        case "message":
            spoken = message_of(item)
            turn.reasoning.append(spoken.reasoning or "")
            turn.content.append(spoken.content)
        case "function_call":
            turn.calls.append(call_of(item))
        case _:
            raise item["type"].error("expected a message, reasoning, a function call or its output")
    return turn
