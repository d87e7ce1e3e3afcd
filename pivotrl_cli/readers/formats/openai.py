"""OpenAI's chat format, as in fine-tuning files: records with `messages` and `tools`.

JSON lines, a JSON array, one object, or the rows of a data set. The messages may also be called `trajectory` or
`conversations`, as some published sets do, or be JSON text. TRL's `prompt` and `completion`, two lists of messages,
are one trajectory, and the turns of the prompt are context. `tools` may be a list, JSON text or the older `functions`.
A record may also have `task_id` or `instance_id`, `trial`, `domain`, `id`, `model`, and the outcome:
`reward`, `outcome`, `score` or `resolved`, the first that is not null.
"""

from __future__ import annotations

import json
from typing import Any

from pivotrl_cli.readers.blocks import is_api_record
from pivotrl_cli.readers.document import Record, RecordReader
from pivotrl_cli.readers.fields import provenance
from pivotrl_cli.readers.messages import messages_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.tags import is_tagged_conversation
from pivotrl_cli.rows import Trajectory

_NAMES = ("messages", "trajectory", "conversations")
_PARTS = ("prompt", "completion")


class OpenAIReader(RecordReader):
    """Chat records."""

    def sniff(self, head: Head) -> str | None:
        if all(_is_chat(head.fields.get(part)) for part in _PARTS):
            return "prompt and completion with roles"
        name = next((name for name in _NAMES if head.fields.get(name)), "")
        chat = head.fields.get(name)
        if not _is_chat(chat) or is_tagged_conversation(chat) or is_api_record(head.fields) or _has_values(chat):
            return None
        return f"records have {name} with roles"

    def trajectory(self, record: Record) -> Trajectory:
        fields = record.json
        recorded, context = fields.first(*_NAMES).json_text(), list[int]()
        if not recorded and fields["completion"]:
            prompt = messages_of(fields["prompt"].json_text())
            context = [i for i, message in enumerate(prompt) if message.role == "assistant"]
            messages = prompt + messages_of(fields["completion"].json_text())
        else:
            messages = messages_of(recorded)
        return record.trajectory(
            messages=messages,
            context=context,
            tools=tools_of(fields.first("tools", "functions"), messages),
            domain=fields["domain"].text_or_none() or "",
            task_id=fields.first("task_id", "instance_id").label(),
            trial=fields["trial"].label(),
            outcome=fields.first("reward", "outcome", "score", "resolved").number_or_none(),
            provenance=provenance(id=fields["id"], model=fields["model"]),
        )


def _is_chat(messages: Any) -> bool:
    listed = _parse_list(messages)
    return bool(listed) and all(isinstance(one, dict) and ("role" in one or "content" in one) for one in listed)


def _has_values(messages: Any) -> bool:
    """Whether a block has its text in `value`, as LLaMA-Factory's have."""
    contents = [one.get("content") for one in _parse_list(messages)]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return any(isinstance(block, dict) and "value" in block for block in blocks)


def _parse_list(messages: Any) -> list[Any]:
    """The messages as a list; none where they are something else, or text that the head cuts short."""
    try:
        found = json.loads(messages) if isinstance(messages, str) else messages
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []
