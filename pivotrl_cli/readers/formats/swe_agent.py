"""SWE-agent: one `.traj` file per run, with `history` (what the model saw) and `trajectory` (its steps).

`history` holds chat messages: with tool calls where the agent called functions, otherwise with the command inside the
text, in a code block or between XML tags. Such text stays text, word for word, since the prompt asks the model to write
it so. The messages that each step repeats (`messages`, `query`) overlap, so only the history is read; a last step that
it lacks (the submission) is added, and rejected if it was a call that the step does not spell out. Without a history
the last step's `query` is one. Demonstrations in the history are context. The instance is the file's name.

Left out: `info.exit_status` as an outcome, since a submission is not a success, and the shell's state per step.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from pivotrl_cli.readers.document import Record, RecordReader
from pivotrl_cli.readers.fields import Json, provenance
from pivotrl_cli.readers.messages import message_of, messages_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Fault, Message, RejectReason, Trajectory


class SweAgentReader(RecordReader):
    """Trajectories of SWE-agent."""

    def sniff(self, head: Head) -> str | None:
        if _first_has(head.fields.get("history"), "role", "agent"):
            return "history of messages that name their agent"
        if _first_has(head.fields.get("trajectory"), "action", "response"):
            return "trajectory of actions and responses"
        return None

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        steps = json["trajectory"].list()
        history = json["history"]
        if not history.value:  # the last prompt holds everything before it
            history = steps[-1].first("query", "messages") if steps else Json(None, "history")
        messages = [_message(message) for message in history.list()]
        demonstrations = [i for i, message in enumerate(history.list()) if message["is_demo"].value is True]
        added, faults = _submission(steps, messages)
        info = json["info"].fields()
        return record.trajectory(
            messages=messages + added,
            context=[i for i in demonstrations if messages[i].role == "assistant"],
            faults=faults,
            task_id=PurePosixPath(record.source).stem,
            provenance=provenance(exit_status=info["exit_status"], environment=json["environment"]),
        )


def _first_has(items: Any, *keys: str) -> bool:
    return isinstance(items, list) and bool(items) and isinstance(items[0], dict) and set(keys) <= set(items[0])


def _message(message: Json) -> Message:
    ours = message_of(message)
    if ours.role == "tool" and ours.tool_call_id is None:
        ids = [call.text() for call in message["tool_call_ids"].list()]
        return ours.model_copy(update={"tool_call_id": next(iter(ids), None)})
    thoughts = [block["thinking"].text() for block in message["thinking_blocks"].list() if block["thinking"]]
    return ours.model_copy(update={"reasoning": "\n".join(thoughts)}) if thoughts else ours


def _submission(steps: list[Json], messages: list[Message]) -> tuple[list[Message], list[Fault]]:
    """Steps behind the last one that the history has, as messages, with their faults."""
    texts = [message.content.strip() for message in messages if message.role == "assistant"]
    calls = any(message.tool_calls for message in messages)
    responses = [(step["response"].text_or_none() or "").strip() for step in steps]
    known = max((i for i, response in enumerate(responses) if texts and response == texts[-1]), default=len(steps))
    added: list[Message] = []
    faults: list[Fault] = []
    for step in steps[known + 1 :] if texts else steps:
        turn = messages_of(Json([{"role": "assistant", "content": step["response"].value}], step.path))[0]
        if calls:
            detail = "the step does not record its call"
            place = len(messages) + len(added)
            faults.append(Fault(message=place, reason=RejectReason.INCOMPLETE, detail=detail))
        added += [turn, Message(role="user", content=step["observation"].text_or_none() or "")]
    return added, faults
