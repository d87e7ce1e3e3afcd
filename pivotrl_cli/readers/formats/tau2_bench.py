"""tau2-bench: result files `{info, tasks, simulations}` and its SFT files `{splits: {train, test}}`.

A result file keeps the domain's policy and sometimes the tool schemas in `info.environment_info`, outside the messages,
so the policy becomes the system message. In some domains the simulated user has tools too: those calls and their
replies never reach the agent, so they are left out of the state and are no actions. Calls are flat, with arguments as
an object. The rows of an SFT file are OpenAI's chat records; their split is kept in the provenance, and is not ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pivotrl_cli.readers.document import Document, Parsed, Record, trajectories
from pivotrl_cli.readers.fields import Json, compact
from pivotrl_cli.readers.messages import message_of, messages_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.split import CUT_OFF, EACH
from pivotrl_cli.rows import Message, Reject, Trajectory


class Tau2BenchReader:
    """Result and SFT files of tau2-bench."""

    def sniff(self, head: Head) -> str | None:
        if head.container not in ("object", "lines") or not head.keys:
            return None
        if "simulations" in head.keys or {"info", "tasks"} <= set(head.keys):
            return "one object with info, tasks and simulations"
        return "one object with splits of chat records" if _has_splits(head) else None

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        if "splits" in document.head.keys:
            return trajectories(_rows(document), _sft_trajectory, document.source)
        # The file's `info` stands before the simulations, so little is read to find it.
        found = next(iter(document.items("info")), None)
        info = Json(found.json.value if isinstance(found, Record) else None, "info").fields()
        return trajectories(document.items("simulations", EACH), partial(_simulation, info), document.source)


def _has_splits(head: Head) -> bool:
    splits = head.fields.get("splits")
    rows = next(iter(splits.values()), None) if isinstance(splits, dict) else None
    return isinstance(rows, list) and all(isinstance(row, dict) and "messages" in row for row in rows)


def _rows(document: Document) -> Iterator[Parsed]:
    """Rows of all splits, numbered through, each with its split; a file that is cut off gives one reject."""
    number, splits = 1, document.keys("splits")
    for split in splits:
        for row in document.items("splits", split, EACH, first=number):
            if isinstance(row, Reject) and row.detail == CUT_OFF and split != splits[-1]:
                continue
            if isinstance(row, Record) and isinstance(row.json.value, dict):
                row = Record(row.source, row.line, Json(row.json.value | {"split": split}))
            yield row
            number += 1


def _sft_trajectory(record: Record) -> Trajectory:
    json = record.json
    return record.trajectory(
        messages=messages_of(json["messages"]),
        tools=tools_of(json["tools"]),
        task_id=json["task_id"].label(),
        outcome=json["reward"].number_or_none(),
        provenance=compact({key: json[key].value for key in ("split", "simulation_id") if json[key]}),
    )


def _simulation(info: Json, record: Record) -> Trajectory:
    json = record.json
    environment = info["environment_info"].fields()
    messages = [_message(message) for message in json["messages"].required_list() if not _is_users_own(message)]
    if (policy := environment["policy"]) and all(message.role != "system" for message in messages):
        messages = [Message(role="system", content=policy.text()), *messages]
    recorded = {
        "model": info["agent_info"].fields()["llm"],
        "simulation_id": json["id"],
        "termination_reason": json["termination_reason"],
    }
    return record.trajectory(
        messages=messages,
        tools=tools_of(environment["tool_defs"]),
        domain=environment["domain_name"].text_or_none() or "",
        task_id=json["task_id"].label(),
        trial=json["trial"].label(),
        outcome=json["reward_info"].fields()["reward"].number_or_none(),
        provenance=compact({key: field.value for key, field in recorded.items() if field}),
    )


def _is_users_own(message: Json) -> bool:
    """Whether the simulated user called a tool here, or its reply came."""
    if message["role"].value == "user":
        return bool(message["tool_calls"].list())
    return message["role"].value == "tool" and bool(message["requestor"].value == "user")


def _message(message: Json) -> Message:
    """Tool messages name the call they answer in `id`."""
    ours = message_of(message)
    return ours.model_copy(update={"tool_call_id": message["id"].text_or_none()}) if ours.role == "tool" else ours
