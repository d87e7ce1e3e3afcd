"""The shape in which one chat template takes messages: keys, ids and arguments as it reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pivotrl_cli.rows import Message, ToolCall

Ids = Literal["recorded", "given", "alphanumeric", "functions"]
"""Call ids: as recorded; given where absent; nine letters and digits (Mistral); `functions.NAME:NUMBER` (Kimi)."""

Arguments = Literal["object", "text"]


@dataclass(frozen=True)
class MessageShape:
    """What differs between templates; the default is what most of them accept."""

    reasoning: str = "reasoning_content"
    """The key that reasoning is read from, or `blocks`: content as a list, with a block of type `thinking`."""
    ids: Ids = "recorded"
    arguments: Arguments = "object"
    content: Literal["text", "blocks"] = "text"

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Messages as the template takes them; ids are the same in a call and in the reply to it."""
        shaped, count = [], 0
        waiting: list[tuple[str | None, str]] = []
        for message in messages:
            one = self._message(message)
            if message.tool_calls and self.ids != "recorded":
                waiting = []
                for call, written in zip(message.tool_calls, one["tool_calls"], strict=True):
                    written["id"] = self._id(call, count)
                    waiting.append((call.id, written["id"]))
                    count += 1
            elif message.role == "tool" and waiting:
                one["tool_call_id"] = waiting.pop(_answered_index(waiting, message.tool_call_id))[1]
            shaped.append(one)
        return shaped

    def _message(self, message: Message) -> dict[str, Any]:
        shaped: dict[str, Any] = {"role": message.role, "content": message.content}
        if self.content == "blocks":
            shaped["content"] = [{"type": "text", "text": message.content}]
        if message.reasoning is not None and self.reasoning == "blocks":
            thought = {"type": "thinking", "thinking": message.reasoning}
            shaped["content"] = [thought, {"type": "text", "text": message.content}]
        elif message.reasoning is not None:
            shaped[self.reasoning] = message.reasoning
        if message.tool_calls:
            shaped["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.tool_call_id is not None:
            shaped["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            shaped["name"] = message.name
        return shaped

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments = arguments_of(call)
        if self.arguments == "text" and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        shaped: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
        if call.id is not None:
            shaped["id"] = call.id
        return shaped

    def _id(self, call: ToolCall, count: int) -> str:
        if self.ids == "functions":
            return f"functions.{call.name}:{count}"
        if self.ids == "alphanumeric":
            fits = call.id is not None and len(call.id) == 9 and call.id.isalnum() and call.id.isascii()
            return str(call.id) if fits else hashlib.sha256(f"{count} {call.id}".encode()).hexdigest()[:9]
        return call.id or f"call_{count}"


def _answered_index(waiting: list[tuple[str | None, str]], recorded: str | None) -> int:
    """Which of the waiting calls a tool message answers: the one it names, else the first."""
    return next((i for i, (old, _) in enumerate(waiting) if old is not None and old == recorded), 0)


def arguments_of(call: ToolCall) -> Any:
    """A call's arguments as an object; nothing, in every spelling, is `{}`. What is not JSON stays as it was."""
    if not call.arguments.strip():
        return {}
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments  # recorded as it was: the history is not ours to repair
    return {} if arguments is None or arguments == "" else arguments
