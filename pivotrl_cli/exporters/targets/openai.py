"""OpenAI's fine-tuning JSONL: each line is a state with its demonstrated action, and only that action is imitated.

The assistant's earlier messages have weight 0. Left out, because the form has no place for it: reasoning, and the name
of a tool on its reply, which is that of the call it answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pivotrl_cli.exporters.destination import Destination, ExportCounts
from pivotrl_cli.exporters.messages import CALL_IDS, NAMES, json_line, loses_names, openai_calls, with_call_ids
from pivotrl_cli.rows import Candidate, Message


class OpenAIExporter:
    """`pivots.jsonl` for supervised fine-tuning."""

    renders = False

    def write(self, rows: Iterator[Candidate], to: Destination) -> None:
        with (to.folder / "pivots.jsonl").open("w", encoding="utf-8") as out:
            for candidate in rows:
                out.write(json_line(_record(candidate, to.counts)))
                to.counts.n_rows += 1


def _record(candidate: Candidate, counts: ExportCounts) -> dict[str, Any]:
    given = [*candidate.state, candidate.expected_action]
    messages = list(with_call_ids(given))
    if messages != given:
        counts.note_loss(candidate, CALL_IDS)
    if any(message.reasoning for message in given):
        counts.note_loss(candidate, "reasoning")
    if loses_names(messages):
        counts.note_loss(candidate, NAMES)
    shaped = [_message(message, last=i == len(messages) - 1) for i, message in enumerate(messages)]
    several = any(len(message.tool_calls) > 1 for message in given)
    record: dict[str, Any] = {"messages": shaped}
    tools = json.loads(candidate.tools)
    return record | ({"tools": tools, "parallel_tool_calls": several} if tools else {})


def _message(message: Message, *, last: bool) -> dict[str, Any]:
    match message.role:
        case "tool":
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
        case "assistant":
            calls = {"tool_calls": openai_calls(message.tool_calls)} if message.tool_calls else {}
            return {"role": "assistant", "content": message.content, **calls, "weight": int(last)}
    return {"role": message.role, "content": message.content}
