"""Inspect logs: `.json` with `samples`, and `.eval`, a zip archive with one member per sample.

Calls have the name in `function` and an object of arguments. Text that was moved to `attachments` is put back. The
tools are those that the model's events declare. The outcome is the first score: `C` is 1, `P` 0.5, `I` and `N` 0, or a
number. Assistant messages that came with the input are context. The task is the sample's id and the trial its epoch. A
turn with a call that Inspect could not parse (`parse_error`) is rejected; the error quotes what the model wrote, which
stands in later states. Where it does not, later turns are incomplete.

Left out: images, scores that are objects (they stay in the provenance as they are), and logs with another compression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from textwrap import shorten
from typing import Any

from pivotrl_cli.readers.document import Document, Record, trajectories
from pivotrl_cli.readers.fields import Json, compact
from pivotrl_cli.readers.messages import call_of, message_of, text_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.split import EACH
from pivotrl_cli.rows import Fault, Message, Reject, RejectReason, Trajectory

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_ATTACHMENT = "attachment://"
_QUOTED = re.compile(r"\AError parsing the following tool call arguments:\n\n(.*)\n\nError details:", re.DOTALL)


class InspectReader:
    """Reader of Inspect logs."""

    def sniff(self, head: Head) -> str | None:
        if head.container == "zip":
            log = any(key == "header.json" or key.startswith(("_journal/", "samples/")) for key in head.keys)
            return "a zip archive with samples and a header" if log else None
        return "one object with eval and plan" if {"eval", "plan", "status"} <= set(head.keys) else None

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        zipped = document.head.container == "zip"
        header = next(document.items("header.json" if zipped else "eval"), None)
        value = header.json.value if isinstance(header, Record) else None
        evaluation = Json(value.get("eval") if zipped and isinstance(value, dict) else value, "eval").fields()
        samples = document.items("samples", EACH)
        return trajectories(samples, partial(_trajectory, evaluation), document.source)


def _trajectory(evaluation: Json, record: Record) -> Trajectory:
    json = record.json
    attached = json["attachments"].fields()
    recorded = [_attach(message, attached) for message in json["messages"].required_list()]
    scores = json["scores"].fields() if json["scores"] else Json({"score": json["score"].value})
    messages = [_message(message) for message in recorded]
    run = {key: evaluation[key].text() for key in ("model", "run_id") if evaluation[key]}
    values = {name: score.get("value") for name, score in scores.object().items() if isinstance(score, dict)}
    return record.trajectory(
        messages=messages,
        faults=_faults(recorded, messages),
        context=[i for i, m in enumerate(recorded) if messages[i].role == "assistant" and m["source"].value == "input"],
        tools=_tools(json["events"], attached),
        domain=evaluation["task"].text_or_none() or "",
        task_id=json["id"].label(),
        trial=json["epoch"].label(),
        outcome=_outcome(scores),
        provenance=compact(run | ({"scores": values} if values else {})),
    )


def _attach(value: Json, attached: Json) -> Json:
    """The value with the attachments in place of the references to them."""
    return Json(_resolve(value.value, attached.object()), value.path)


def _resolve(value: Any, attached: dict[str, Any]) -> Any:
    match value:
        case str() if value.startswith(_ATTACHMENT):
            return attached.get(value.removeprefix(_ATTACHMENT), value)
        case dict():
            return {key: _resolve(item, attached) for key, item in value.items()}
        case list():
            return [_resolve(item, attached) for item in value]
    return value


def _message(message: Json) -> Message:
    blocks = message["content"].value if isinstance(message["content"].value, list) else []
    thought = [b for b in blocks if isinstance(b, dict) and b.get("type") == "reasoning"]
    content = [block for block in blocks if block not in thought] if thought else message["content"].value
    plain = {"role": message["role"].value, "content": content, "tool_call_id": message["tool_call_id"].value}
    ours = message_of(Json(plain | {"name": message["function"].value}, message.path))
    if ours.role == "tool":
        failure = message["error"].fields()["message"].text_or_none()
        return ours.model_copy(update={"content": ours.content or failure or ""})
    reasoning = "\n".join(text_of(Json(block.get("reasoning"), f"{message.path}.reasoning")) for block in thought)
    calls = [
        call_of(call["id"], call["function"], Json(_quoted(call) or compact(call["arguments"].fields().value)))
        for call in message["tool_calls"].list()
    ]
    return ours.model_copy(update={"tool_calls": calls, "reasoning": reasoning or ours.reasoning})


def _quoted(call: Json) -> str:
    """Arguments that could not be parsed, as the error quotes them; empty where there is no quotation."""
    found = _QUOTED.match(call["parse_error"].text_or_none() or "")
    return found[1] if found else ""


def _faults(recorded: list[Json], messages: list[Message]) -> list[Fault]:
    """Turns with a call that could not be parsed, and those whose state lacks what such a call said."""
    faults, lost = list[Fault](), ""
    for i, (message, ours) in enumerate(zip(recorded, messages, strict=True)):
        if ours.role != "assistant":
            continue
        failed = [call for call in message["tool_calls"].list() if call["parse_error"]]
        if failed:
            said = shorten(failed[0]["parse_error"].text(), 200, placeholder=" ...")
            detail = f"call of {failed[0]['function'].text()}: {said}"
            faults.append(Fault(message=i, reason=RejectReason.BAD_ARGUMENTS, detail=detail))
        elif lost:
            faults.append(Fault(message=i, reason=RejectReason.INCOMPLETE, detail=lost))
        if any(not _quoted(call) for call in failed):
            lost = lost or f"the arguments of a call before it were not recorded (message {i})"
    return faults


def _tools(events: Json, attached: Json) -> str:
    """Every tool that an event of the model declares, in the order of appearance."""
    found: dict[str, Any] = {}
    for event in events.list():
        if event["event"].value == "model":
            for tool in _attach(event["tools"], attached).list():
                found.setdefault(tool["name"].text(), tool.value)
    return tools_of(Json(list(found.values()), "events.tools"))


def _outcome(scores: Json) -> float | None:
    for name in scores.object():
        score = scores[name]
        value = score["value"] if isinstance(score.value, dict) else score
        if isinstance(value.value, str) and value.value in _LETTERS:
            return _LETTERS[value.value]
        if isinstance(value.value, bool | int | float):
            return value.number_or_none()
    return None
