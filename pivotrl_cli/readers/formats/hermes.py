"""Hermes: conversations whose calls, replies and schemas stand in the text between tags (`tags.py`).

They come as ShareGPT `conversations`, as chat `messages`, or as one text: a transcript whose lines begin with
`SYSTEM:`, `USER:`, `ASSISTANT:` or `TOOL:`, or ChatML. The schemas are a field of their own or stand between `<tools>`
tags in the system prompt. A `<think>` block is the reasoning. A turn whose call is not JSON is rejected.
"""

from __future__ import annotations

import re
from typing import Any

from pivotrl_cli.readers.document import Record, RecordReader
from pivotrl_cli.readers.fields import Json, provenance
from pivotrl_cli.readers.messages import Role, text_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.tags import ROLES_BY_NAME, is_tagged, is_tagged_conversation, parse_tagged, role_of, schemas_in
from pivotrl_cli.rows import Trajectory

_LINE = re.compile(r"^(SYSTEM|USER|ASSISTANT|TOOL):[ \t]*", re.MULTILINE)
_CHATML = re.compile(r"<\|im_start\|>\s*(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_FENCE = re.compile(r"\A\s*```\w*\n|\n```\s*\Z")


class HermesReader(RecordReader):
    """Conversations in text with tags."""

    def sniff(self, head: Head) -> str | None:
        for key in ("conversations", "messages"):
            if is_tagged_conversation(head.fields.get(key)):
                return f"{key} with calls or schemas between tags"
        text = _text_field(head.fields)
        return f"{text} is a transcript with calls or schemas between tags" if text else None

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        texts = _roles_and_texts(json)
        messages, faults = parse_tagged(texts)
        system = "\n".join(text for role, text in texts if role == "system")
        return record.trajectory(
            messages=messages,
            faults=faults,
            tools=tools_of(json["tools"], messages) if json["tools"].value else schemas_in(system),
            domain=json["category"].text_or_none() or "",
            task_id=json["task_id"].label(),
            outcome=json.first("reward", "outcome", "score").number_or_none(),
            provenance=provenance(id=json["id"]),
        )


def _text_field(record: dict[str, Any]) -> str | None:
    """Name of the field that holds a whole conversation."""
    texts = {key: value for key, value in record.items() if isinstance(value, str)}
    return next((key for key, text in texts.items() if is_tagged(_split(text))), None)


def _split(text: str) -> list[tuple[Role, str]]:
    """Roles and texts, by the marks of ChatML, or else by the names that begin lines."""
    text = _FENCE.sub("", text)
    if "<|im_start|>" in text:
        found = [(name.lower(), said) for name, said in _CHATML.findall(text)]
    else:
        parts = _LINE.split(text)[1:]
        found = [(name.lower(), said) for name, said in zip(parts[::2], parts[1::2], strict=True)]
    return [(ROLES_BY_NAME[name], said.strip()) for name, said in found if name in ROLES_BY_NAME]


def _roles_and_texts(json: Json) -> list[tuple[Role, str]]:
    if messages := json.first("conversations", "messages"):
        return [(role_of(one.first("from", "role")), text_of(one.first("value", "content"))) for one in messages.list()]
    field = _text_field(json.object())
    if field is None:
        raise json.error("expected conversations, messages, or a text with <tools> or <tool_call>")
    return _split(json[field].text())
