"""Small files in any format, read back; shared by the tests of the readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pivotrl_cli.readers import detect, load_reader
from pivotrl_cli.readers.document import Document
from pivotrl_cli.readers.sources import Source
from pivotrl_cli.rows import Message, Reject, RejectReason, ToolCall, Trajectory


def read(document: Document) -> tuple[str, list[Trajectory | Reject]]:
    """Format and rows of a document."""
    found = detect(document)
    assert found is not None, document.head
    return found[0], list(load_reader(found[0]).read(document))


def read_file(path: Path) -> tuple[str, list[Trajectory | Reject]]:
    (document,) = Source(path, path.name, named=True).documents()
    return read(document)


def read_json(folder: Path, value: Any, name: str = "t.json") -> tuple[str, list[Trajectory | Reject]]:
    """Rows of one JSON value as a file."""
    path = folder / name
    path.write_text(json.dumps(value, indent=1))
    return read_file(path)


def read_lines(folder: Path, *values: Any, name: str = "t.jsonl") -> tuple[str, list[Trajectory | Reject]]:
    """Rows of JSON lines; a text is a line as it is."""
    path = folder / name
    path.write_text("".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values))
    return read_file(path)


def one(found: tuple[str, list[Trajectory | Reject]], name: str) -> Trajectory:
    """The only row, a trajectory of this format."""
    (row,) = found[1]
    assert found[0] == name
    assert isinstance(row, Trajectory), row
    return row


def system(text: str) -> Message:
    return Message(role="system", content=text)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def says(text: str, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=text, reasoning=reasoning)


def calls(*made: ToolCall, text: str = "", reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=text, reasoning=reasoning, tool_calls=list(made))


def call(name: str, arguments: str = "{}", call_id: str | None = None) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)


def replies(text: str, call_id: str | None = None, name: str | None = None) -> Message:
    return Message(role="tool", content=text, tool_call_id=call_id, name=name)


def bad_record(detail: str, line: int = 1, source: str = "t.json") -> Reject:
    return Reject(source=source, line=line, reason=RejectReason.BAD_RECORD, detail=detail)


def nested(name: str, **more: Any) -> str:
    """One schema in the nested form, as text."""
    return json.dumps([{"type": "function", "function": {"name": name, **more}}], separators=(",", ":"))
