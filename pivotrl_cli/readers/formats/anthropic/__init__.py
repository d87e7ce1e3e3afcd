"""Anthropic's messages: records of its API, and the session files of Claude Code.

A record of the API has `messages` with content blocks, `system` beside them, and `tools` with an `input_schema`. A
session is JSON lines of one run (`sessions.py`); lines that are neither the user's nor the assistant's (summaries,
snapshots, progress) are bookkeeping, and are passed over. A session has no system prompt and no schemas (`--system`,
`--tools`), and no outcome.
"""

from __future__ import annotations

from collections.abc import Iterator

from pivotrl_cli.readers.blocks import is_api_record, messages_of_blocks, tools_of_blocks
from pivotrl_cli.readers.document import Document, Record, bad_record, trajectories
from pivotrl_cli.readers.fields import RecordError, compact, provenance
from pivotrl_cli.readers.formats.anthropic.sessions import Line, conversations, line_of
from pivotrl_cli.readers.messages import text_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Message, Reject, Trajectory

_SESSION_KEYS = ("sessionId", "parentUuid", "leafUuid", "messageId")


class AnthropicReader:
    """Records of the Messages API and sessions of Claude Code."""

    def sniff(self, head: Head) -> str | None:
        if isinstance(head.fields.get("type"), str) and any(key in head.fields for key in _SESSION_KEYS):
            return "typed lines of a session"
        return "messages with Anthropic's blocks" if is_api_record(head.fields) else None

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        """One trajectory per record, or per conversation of a session."""
        if "messages" in document.head.keys:
            return trajectories(document.records(), _trajectory, document.source)
        return _session(document)


def _trajectory(record: Record) -> Trajectory:
    json = record.json
    system = text_of(json["system"])
    messages = [Message(role="system", content=system)] if system else []
    for message in json["messages"].required_list():
        messages += messages_of_blocks(message["role"], message["content"])
    return record.trajectory(
        messages=messages,
        tools=tools_of_blocks(json["tools"], messages),
        task_id=json["task_id"].label(),
        outcome=json.first("reward", "outcome", "score").number_or_none(),
        provenance=provenance(id=json["id"], model=json["model"]),
    )


def _session(document: Document) -> Iterator[Trajectory | Reject]:
    """Rejects first, then the conversations; the lines of one session are one record."""
    lines: list[Line] = []
    empty = True
    for record in document.records():
        empty = False
        if isinstance(record, Reject):
            yield record
            continue
        try:
            line, error = line_of(record)
            lines.append(line)
        except RecordError as unreadable:
            error = unreadable
        if error:
            yield bad_record(record.source, record.line, str(error))
    if empty:
        yield bad_record(document.source, 0, "no record in this document")
    for conversation in conversations(lines):
        yield Trajectory(
            source=document.source,
            line=conversation.line,
            messages=conversation.messages,
            context=conversation.context,
            faults=conversation.faults,
            provenance=compact({"sidechain": True} if conversation.sidechain else {}),
        )
