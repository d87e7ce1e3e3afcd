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
        simulation = partial(_simulation, _environment(document))
        return trajectories(document.items("simulations", EACH), simulation, document.source)


def _has_splits(head: Head) -> bool:
    splits = head.fields.get("splits")
    rows = next(iter(splits.values()), None) if isinstance(splits, dict) else None
    return isinstance(rows, list) and all(isinstance(row, dict) and "messages" in row for row in rows)


def _environment(document: Document) -> Json:
    """The file's `info`; it stands before the simulations, so little is read to find it."""
    info = next(iter(document.items("info")), None)
    return Json(info.json.value if isinstance(info, Record) else None, "info").fields()


def _rows(document: Document) -> Iterator[Parsed]:
    """Rows of all splits, numbered through, each with its split; a file that is cut off gives one reject."""
    number, splits = 1, document.keys("splits")
    for split in splits:
        for row in document.items("splits", split, EACH, first=number):
            if isinstance(row, Reject) and row.detail == CUT_OFF and split != splits[-1]:
                continue
            yield _with_split(row, split) if isinstance(row, Record) else row
            number += 1


def _with_split(row: Record, split: str) -> Record:
    """The row, with the split's name beside its own fields."""
    value = row.json.value
    return Record(row.source, row.line, Json(value | {"split": split})) if isinstance(value, dict) else row


def _sft_trajectory(record: Record) -> Trajectory:
    json = record.json
    return Trajectory(
        source=record.source,
        line=record.line,
        messages=messages_of(json["messages"]),
        tools=tools_of(json["tools"]),
        task_id=json["task_id"].label(),
        outcome=json["reward"].number_or_none(),
        provenance=compact({key: json[key].value for key in ("split", "simulation_id") if json[key]}),
    )


def _simulation(info: Json, record: Record) -> Trajectory:
    json = record.json
    environment = info["environment_info"].fields()
    return Trajectory(
        source=record.source,
        line=record.line,
        messages=_with_policy(environment["policy"], _agent_messages(json["messages"])),
        tools=tools_of(environment["tool_defs"]),
        domain=environment["domain_name"].text_or_none() or "",
        task_id=json["task_id"].label(),
        trial=json["trial"].label(),
        outcome=json["reward_info"].fields()["reward"].number_or_none(),
        provenance=compact(_provenance(info, json)),
    )


def _agent_messages(messages: Json) -> list[Message]:
    return [_message(message) for message in messages.required_list() if not _is_users_own(message)]


def _is_users_own(message: Json) -> bool:
    """Whether the simulated user called a tool here, or its reply came."""
    match message["role"].value:
        case "user":
            return bool(message["tool_calls"].list())
        case "tool":
            return bool(message["requestor"].value == "user")
        case _:
            return False


def _message(message: Json) -> Message:
    """Tool messages name the call they answer in `id`."""
    ours = message_of(message)
    return ours.model_copy(update={"tool_call_id": message["id"].text_or_none()}) if ours.role == "tool" else ours


def _with_policy(policy: Json, messages: list[Message]) -> list[Message]:
    if not policy or any(message.role == "system" for message in messages):
        return messages
    return [Message(role="system", content=policy.text()), *messages]


def _provenance(info: Json, simulation: Json) -> dict[str, object]:
    recorded = {
        "model": info["agent_info"].fields()["llm"],
        "simulation_id": simulation["id"],
        "termination_reason": simulation["termination_reason"],
    }
    return {key: json.value for key, json in recorded.items() if json}
