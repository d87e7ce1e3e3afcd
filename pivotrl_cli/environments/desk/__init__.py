"""The embedded world: a deterministic service desk with tools, a database, tasks, and an expert to demonstrate them."""

from __future__ import annotations

from typing import Any

from pivotrl_cli.environments.desk.episode import DeskEpisode
from pivotrl_cli.environments.desk.expert import Expert, demonstrate
from pivotrl_cli.environments.desk.tasks import FAMILIES, MIN_TURNS, DeskTask, task_by_id, tasks
from pivotrl_cli.environments.desk.world import SCHEMAS
from pivotrl_cli.rows import Candidate, Message

__all__ = [
    "FAMILIES",
    "MIN_TURNS",
    "DeskEpisode",
    "DeskTask",
    "Expert",
    "demonstrate",
    "episode_for_row",
    "tasks",
    "to_record",
]


def episode_for_row(candidate: Candidate) -> DeskEpisode:
    """A new episode of the task that the row's trajectory was recorded on."""
    return DeskEpisode(task_by_id(candidate.task_id))


def to_record(task: DeskTask, messages: list[Message]) -> dict[str, Any]:
    """A finished demonstration as one line of OpenAI-style chat JSONL."""
    return {"messages": [_to_openai(message) for message in messages], "tools": SCHEMAS} | {
        "task_id": task.task_id,
        "reward": 1.0,
        "domain": "desk",
    }


def _to_openai(message: Message) -> dict[str, Any]:
    record: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        record["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role == "tool":
        record |= {"tool_call_id": message.tool_call_id, "name": message.name}
    return record
