"""ShareGPT and LLaMA-Factory: `conversations` of `{from, value}`, or messages whose blocks have a `value`.

In conversations a call is a message of its own (`function_call`, JSON text, a list where calls are parallel) and so is
its reply (`observation`). Consecutive ones are separate turns, because that is how they are imitated. In messages the
blocks are `text`, `reasoning` and `tool_call`. `tools` is JSON text, often `"[]"`; `system` may stand beside the
conversation. `loss_weight` is for imitation, and does not tell which turns can be practised.

Left out: preference pairs, and images.
"""

from __future__ import annotations

from typing import Any

from pivotrl_cli.readers.document import Record, RecordReader
from pivotrl_cli.readers.fields import Json, provenance
from pivotrl_cli.readers.messages import chat_role, message_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.tags import call_from, is_tagged_conversation, role_of
from pivotrl_cli.rows import Message, Trajectory


class ShareGptReader(RecordReader):
    """Conversations of speakers and values."""

    def sniff(self, head: Head) -> str | None:
        conversation = _dicts(head.fields.get("conversations"))
        if conversation and "from" in conversation[0] and not is_tagged_conversation(conversation):
            return "conversations with from and value"
        contents = [message.get("content") for message in _dicts(head.fields.get("messages"))]
        blocks = [block for content in contents for block in _dicts(content)]
        return "messages whose blocks have a value" if any("value" in block for block in blocks) else None

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        recorded = json.first("conversations", "messages").required_list()
        system = json["system"].text_or_none()
        messages = [Message(role="system", content=system)] if system else []
        messages += [_conversation_message(one) if one["from"] else _block_message(one) for one in recorded]
        return record.trajectory(
            messages=messages,
            tools=tools_of(json["tools"], messages),
            task_id=json["task_id"].label(),
            outcome=json.first("reward", "outcome", "score").number_or_none(),
            provenance=provenance(id=json["id"]),
        )


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _conversation_message(one: Json) -> Message:
    name, value = one["from"].text(), one["value"]
    match name:
        case "function_call" | "tool_call":
            calls = value.json_text()
            listed = calls.list() if isinstance(calls.value, list) else [calls]
            return Message(role="assistant", tool_calls=[call_from(call) for call in listed])
        case "observation" | "tool_response":
            return Message(role="tool", content=value.text())
    return message_of(Json({"role": role_of(one["from"]), "content": value.value}, one.path))


def _block_message(message: Json) -> Message:
    """A message of LLaMA-Factory's newer form; content that is plain text is taken too."""
    if not isinstance(message["content"].value, list):
        return message_of(message)
    found: dict[str, list[Json]] = {"text": [], "reasoning": [], "tool_call": []}
    for block in message["content"].list():
        kind = block["type"].text()
        if kind not in found:
            raise block["type"].error("expected text, reasoning or tool_call")
        found[kind].append(block["value"])
    return Message(
        role=chat_role(message["role"]),
        content="".join(text.text() for text in found["text"]),
        reasoning="\n".join(text.text() for text in found["reasoning"]) or None,
        tool_calls=[call_from(call) for call in found["tool_call"]],
    )
