"""OpenAI's chat format, as in fine-tuning files: records with `messages` and `tools`.

JSON lines, a JSON array, one object, or the rows of a data set. `tools` may be a list, JSON text or the older
`functions`. Beside them a record may say `task_id`, `trial`, `domain`, `id`, `model`, and how the run ended: `reward`,
`outcome` or `score`, the first that is not null.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotrl_cli.readers.document import Document, Head, Record, trajectories
from pivotrl_cli.readers.fields import compact
from pivotrl_cli.readers.messages import messages_of, tools_of
from pivotrl_cli.rows import Reject, Trajectory


class OpenAIReader:
    """Chat records."""

    def sniff(self, head: Head) -> str | None:
        """Records have `messages` with roles, and content that is text or OpenAI's blocks."""
        messages = head.record.get("messages") if isinstance(head.record, dict) else None
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            return None
        return "records have messages with roles"

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        """One trajectory per record."""
        return trajectories(document.records(), _trajectory, document.source)


def _is_message(message: Any) -> bool:
    """Whether this looks like one of OpenAI's; other formats write `value` where its blocks say `text`."""
    if not isinstance(message, dict):
        return False
    blocks = message.get("content")
    others = isinstance(blocks, list) and any(isinstance(block, dict) and "value" in block for block in blocks)
    return ("role" in message or "content" in message) and not others


def _trajectory(record: Record) -> Trajectory:
    json = record.json
    return Trajectory(
        source=record.source,
        line=record.line,
        messages=messages_of(json["messages"]),
        tools=tools_of(json.first("tools", "functions")),
        domain=json["domain"].text_or_none() or "",
        task_id=json["task_id"].label(),
        trial=json["trial"].label(),
        outcome=json.first("reward", "outcome", "score").number_or_none(),
        provenance=compact({key: json[key].label() for key in ("id", "model") if json[key]}),
    )
