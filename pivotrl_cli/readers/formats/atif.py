"""ATIF, the interchange format of Harbor and Terminal-Bench: `{schema_version, agent, steps, ...}`.

A step of the agent is one turn, with its reasoning and calls; its observation becomes the replies. Three marks are
honoured. A step with `is_copied_context` comes from another trajectory, and one with `llm_call_count` 0 was not written
by the model: both stay in the states and are not turns. Above 1 several turns were merged into one step, and the turn
is rejected. Embedded trajectories of subagents are trajectories of their own. The outcome is `reward` in the `extra` of
the metrics or of the root, where Harbor's converters put it.

Left out: images, trajectories that are only referred to, and the joining of a run that continues in another file.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from pivotrl_cli.readers.document import Document, Record, trajectories_per_record
from pivotrl_cli.readers.fields import Json, provenance
from pivotrl_cli.readers.messages import call_of, reply_of, text_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Fault, Message, Reject, RejectReason, Trajectory


class AtifReader:
    """Reader of ATIF."""

    def sniff(self, head: Head) -> str | None:
        version = head.fields.get("schema_version")
        return f"schema_version is {version}" if isinstance(version, str) and version.startswith("ATIF") else None

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        """One trajectory per record, and those of its subagents."""
        return trajectories_per_record(document.records(), _trajectories, document.source)


def _trajectories(record: Record) -> Iterator[Trajectory]:
    pending = [record.json]
    while pending:
        trajectory = pending.pop(0)
        yield _trajectory(trajectory, record)
        pending += trajectory["subagent_trajectories"].list()


def _trajectory(json: Json, record: Record) -> Trajectory:
    steps = json["steps"].required_list()
    messages = [_message(step) for step in steps]
    results = [step["observation"].fields()["results"].list() for step in steps]
    replies = [[reply_of(one["source_call_id"], one["content"]) for one in found] for found in results]
    places = list(accumulate((1 + len(after) for after in replies), initial=0))
    turns = [(place, step) for place, step in zip(places, steps, strict=False) if step["source"].value == "agent"]
    agent, extra = json["agent"].fields(), json["extra"].fields()
    metrics = json["final_metrics"].fields()["extra"].fields()
    return record.trajectory(
        messages=[part for message, after in zip(messages, replies, strict=True) for part in (message, *after)],
        context=[place for place, step in turns if step["is_copied_context"].value is True or _n_calls(step) == 0],
        faults=[_merged_fault(place, _n_calls(step)) for place, step in turns if _n_calls(step) > 1],
        tools=tools_of(agent["tool_definitions"]),
        task_id=(metrics["task_id"] or extra["task_id"]).label(),
        outcome=(metrics["reward"] or extra["reward"]).number_or_none(),
        provenance=provenance(
            agent=agent["name"],
            model=agent["model_name"],
            session_id=json["session_id"],
            subagent=json["trajectory_id"] if "." in json.path else Json(None),
        ),
    )


def _n_calls(step: Json) -> float:
    count = step["llm_call_count"].number_or_none()
    return 1 if count is None else count


def _merged_fault(place: int, n: float) -> Fault:
    return Fault(message=place, reason=RejectReason.MERGED_TURNS, detail=f"the step merges {n:g} calls of the model")


def _message(step: Json) -> Message:
    content = text_of(step["message"])
    match step["source"].value:
        case "system" | "user" as role:
            return Message(role=role, content=content)
        case "agent":
            reasoning = step["reasoning_content"].text_or_none() or None
            recorded = step["tool_calls"].list()
            calls = [call_of(call["tool_call_id"], call["function_name"], call["arguments"]) for call in recorded]
            return Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls)
    raise step["source"].error("expected system, user or agent")
