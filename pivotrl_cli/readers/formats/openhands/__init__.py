"""OpenHands: event streams, alone or as the `history` of an evaluation's or the resolver's record.

An event is an action or an observation, by the user, the agent or the environment; older records nest them in pairs
without a source. Where an action carries the model's own response (`tool_call_metadata`), that is the turn, and the
actions of one response are one turn. Otherwise an action is a call of the action's name with its fields as arguments.
Observations become the replies of the action that caused them. A `system` action holds the system prompt and the tools.

The outcome is the resolver's `success` or the evaluation's `resolved`. Left out: changes of state, recalled knowledge,
and the events of the newer SDK (`kind`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pivotrl_cli.readers.document import Document, Parsed, Record, RecordReader, array_record
from pivotrl_cli.readers.fields import Json, provenance
from pivotrl_cli.readers.formats.openhands.events import conversation
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Trajectory


class OpenHandsReader(RecordReader):
    """Event streams of OpenHands."""

    def sniff(self, head: Head) -> str | None:
        if head.container == "array" and _is_event(head.record):
            return "a JSON array of events"
        history = head.fields.get("history")
        begins = isinstance(history, list) and bool(history) and _is_event(history[0])
        return "history of actions and observations" if begins else None

    def records(self, document: Document) -> Iterable[Parsed]:
        if document.head.container == "array" and _is_event(document.head.record):
            return array_record(document, "history", "event")
        return document.records()

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        messages, tools, faults = conversation(json["history"].required_list())
        report = json["report"] or json["test_result"].fields()["report"]
        return record.trajectory(
            messages=messages,
            tools=tools,
            faults=faults,
            task_id=_task(json),
            outcome=(json["success"] or report.fields()["resolved"]).number_or_none(),
            provenance=provenance(issue_type=json["issue_type"], agent=json["metadata"].fields()["agent_class"]),
        )


def _is_event(value: Any) -> bool:
    """Whether it is an action or an observation, or a pair that begins with one; SWE-agent's steps are both."""
    if isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, dict) and ("action" in value) != ("observation" in value) and "role" not in value


def _task(json: Json) -> str:
    issue = json["issue"].fields()
    if json["instance_id"] or not issue["number"]:
        return json["instance_id"].label()
    return f"{issue['owner'].label()}/{issue['repo'].label()}#{issue['number'].label()}"
