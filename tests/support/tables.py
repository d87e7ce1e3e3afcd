"""Rows and files for the tests: one tool `look`, demonstrations that call it, scripted completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.rows import Candidate, Message, Row, ToolCall
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.table import Table
from pivotrl_cli.storage.table_writer import TableWriter

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "",
                "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
            },
        }
    ]
)
RIGHT = '<tool_call>\n{"name": "look", "arguments": {"order": 7}}\n</tool_call>'
WRONG = '<tool_call>\n{"name": "look", "arguments": {"order": 8}}\n</tool_call>'
TALK = "Which order?"
CUT = {"text": "<tool_call>"}
FAILED = {"error": "engine down"}


def user(text: str) -> Message:
    return Message(role="user", content=text)


def says(text: str, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=text, reasoning=reasoning)


def calls(name: str, arguments: str) -> Message:
    return Message(role="assistant", tool_calls=[ToolCall(name=name, arguments=arguments)])


def candidate(key: str, **changes: Any) -> Candidate:
    """Candidate `key`, which demonstrates `look(order=7)`; its trajectory is what stands before the dash."""
    fields: dict[str, Any] = {
        "candidate_id": key,
        "trajectory_id": key.partition("-")[0],
        "task_id": "",
        "source": "t.jsonl",
        "turn": 0,
        "n_turns": 1,
        "domain": "",
        "verifier": "tool_call",
        "state": [user(f"{key}: look at order 7.")],
        "tools": TOOLS,
        "expected_action": calls("look", '{"order": 7}'),
        "outcome": None,
        "split": "train",
        "provenance": "{}",
    }
    return Candidate(**fields | changes)


def write(path: Path, rows: Iterable[Row], kind: type[Row] = Candidate) -> Path:
    provenance = Provenance.of("extract", kind, ExtractConfig(sources=["t.jsonl"]), [])
    with TableWriter(path, kind, provenance) as out:
        for row in rows:
            out.write(row)
    return path


def read(path: Path, kind: type[Row]) -> list[Any]:
    with Table.open(path, kind) as table:
        return list(table.rows())


def script(path: Path, completions: dict[str, Sequence[Any]]) -> Path:
    """A replay script."""
    lines = [json.dumps({"candidate_id": key, "completions": list(texts)}) for key, texts in completions.items()]
    path.write_text("".join(line + "\n" for line in lines))
    return path
