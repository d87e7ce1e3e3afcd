"""NeMo Gym: rollouts, and the public pivot sets as NVIDIA ships them.

Both have the prompt in `responses_create_params` (a text, or items of the Responses API, with `instructions` and
`tools`). A rollout has `response.output`, which are the turns, and `reward`, which is the outcome. A pivot row has one
demonstrated action instead: `expected_action` (a function call, a batch of them, or a message), the same inside
`metadata` or as JSON text in `expected_answer`, the JSON that a terminal agent answered in `expected_answer`, or the
calls of `expected_answers`. Such a row is one candidate: the assistant messages in its prompt are context, and only the
last message is a turn. Rows of one `trajectory_id` are pieces of one run.

Recorded pass rates and rewards of pivot rows are kept in the provenance: they were measured with another policy, so
they are not an outcome, but `extract --profile` makes a profile of them. So is the `type` of the demonstrated action,
as `action_type`: peers score a batch of one call differently from a call. Rows with a task alone (`ground_truth`) have
no turn. Where the prompt was not recorded, the turns are incomplete. Left out: patches and other long texts beside the
conversation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotrl_cli.readers.document import Document, Record, RecordReader, bad_record
from pivotrl_cli.readers.fields import Json, RecordError, compact
from pivotrl_cli.readers.messages import text_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.responses import call_of_item, messages_of_items
from pivotrl_cli.rows import Candidate, Fault, Message, Reject, RejectReason, Trajectory

_KEPT = (
    *("uuid", "id", "trajectory_id", "schema_version", "task_name", "tool_name", "harness", "threshold", "scenario"),
    *("category", "pivot_tags", "meta_info", "info", "metadata", "num_unique_actions", "qwen_235b_info"),
    *("pass_rate", "pass_rate_total", "pass_rate_passed", "rewards", "reward_mean", "reward_std"),
    *("resolved", "mask_sample", "error_kind", "failure_reason"),
)
_SHORT = 200


class NemoGymReader(RecordReader):
    """Rollouts and pivot rows."""

    def sniff(self, head: Head) -> str | None:
        if "responses_create_params" not in head.keys:
            return None
        kind = "a response" if "response" in head.keys else "a demonstrated action or a task"
        return f"records have responses_create_params and {kind}"

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        params = json["responses_create_params"]
        rollout = bool(json["response"])
        prompt = _prompt(params)
        messages = prompt + (messages_of_items(json["response"]["output"]) if rollout else _demonstration(json))
        lost = Fault(message=0, reason=RejectReason.INCOMPLETE, detail="the prompt was not recorded")
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        return record.trajectory(
            messages=messages,
            context=[i for i in turns if i < len(prompt)],
            faults=[] if prompt else [lost.model_copy(update={"message": i}) for i in turns],
            tools=tools_of(params["tools"] if params["tools"].value else json["declared_tools"]),
            domain=json["environment_name"].text_or_none() or "",
            task_id=_task(json, params),
            trial=json["_ng_rollout_index"].label(),
            run="" if rollout else _run(json),
            outcome=json["reward"].number_or_none() if rollout else None,
            provenance=compact(_provenance(json) | ({} if rollout else _action_type(json))),
        )

    def rollouts(self, document: Document) -> Iterator[tuple[Candidate, Message | None, float] | Reject]:
        """Rollouts of pivot rows: the candidate, the action that was sampled (None for nothing), and its reward.

        The demonstrated action is empty where the rollout does not repeat it.
        """
        for record in document.records():
            try:
                yield record if isinstance(record, Reject) else _rollout(record)
            except RecordError as error:
                yield bad_record(document.source, record.line, str(error))


def _rollout(record: Record) -> tuple[Candidate, Message | None, float]:
    json = record.json
    params = json["responses_create_params"]
    demonstrated = [*_demonstration(json), Message(role="assistant")]
    reward = json["reward"].number_or_none()
    if reward is None:
        raise json["reward"].error("expected a number")
    sampled = [m for m in messages_of_items(json["response"]["output"]) if m.role == "assistant"]
    action = None
    if sampled:  # the output of one model call is one action
        content = "\n".join(m.content for m in sampled if m.content)
        calls = [call for m in sampled for call in m.tool_calls]
        action = sampled[0].model_copy(update={"content": content, "tool_calls": calls})
    name = _run(json) or json["uuid"].label() or f"line-{record.line}"
    candidate = Candidate(
        candidate_id=f"{name}-{json['_ng_rollout_index'].label() or record.line}",
        trajectory_id=name,
        task_id=_task(json, params),
        source=record.source,
        turn=0,
        n_turns=1,
        domain=json["environment_name"].text_or_none() or "",
        verifier="tool_call",
        state=_prompt(params),
        tools=tools_of(params["tools"] if params["tools"].value else json["declared_tools"]),
        expected_action=demonstrated[0],
        outcome=None,
        split="train",
        provenance=compact(_provenance(json) | _action_type(json)),
    )
    return candidate, action, reward


def _prompt(params: Json) -> list[Message]:
    instructions = params["instructions"].text_or_none()
    system = [Message(role="system", content=instructions)] if instructions else []
    return system + messages_of_items(params["input"])


def _demonstration(json: Json) -> list[Message]:
    """The demonstrated action, or nothing where the row is a task alone."""
    if json["expected_answers"]:
        return [Message(role="assistant", tool_calls=[call_of_item(call) for call in json["expected_answers"].list()])]
    expected = _expected_action(json)
    if not expected:
        return []
    if expected.path == "expected_answer" and not expected["type"]:
        return [Message(role="assistant", content=text_of(json["expected_answer"]))]
    match expected["type"].value:
        case "message":
            return [Message(role="assistant", content=text_of(expected["content"]))]
        case "function_call":
            calls = [expected]
        case "function_call_batch":
            calls = expected["calls"].list()
        case _:
            raise expected["type"].error("expected message, function_call or function_call_batch")
    return [Message(role="assistant", tool_calls=[call_of_item(call) for call in calls])]


def _expected_action(json: Json) -> Json:
    """The object that holds the demonstrated action, or null: a puzzle's answer is text for the agent to find."""
    action = json.first("expected_action") or json["metadata"].fields()["expected_action"]
    try:
        answer = json["expected_answer"].json_text()
    except RecordError:
        answer = Json(None)
    return action or (answer if isinstance(answer.value, dict) else Json(None))


def _action_type(json: Json) -> dict[str, str]:
    kind = _expected_action(json).fields()["type"].value
    return {"action_type": kind} if isinstance(kind, str) else {}


def _task(json: Json, params: Json) -> str:
    """The id that several trials or pieces share, from the most specific field that is there."""
    metadata, requested = json["metadata"].fields(), params["metadata"].fields()
    fields = [
        *(json["instance_id"], metadata["instance_id"], requested["instance_id"], json["task_name"]),
        *(json["trajectory_id"], metadata["source_trajectory_uid"], json["_ng_task_index"], json["id"]),
    ]
    return next((field.label() for field in fields if field), "")


def _run(json: Json) -> str:
    return json.first("trajectory_id").label() or json["metadata"].fields()["source_trajectory_uid"].label()


def _provenance(json: Json) -> dict[str, Any]:
    kept = {key: _light(json[key].value) for key in _KEPT if json[key]}
    agent, model = json["agent_ref"].fields()["name"], json["response"].fields()["model"]
    return {k: v for k, v in kept.items() if v is not None} | {
        key: field.text() for key, field in {"agent": agent, "model": model}.items() if field.value
    }


def _light(value: Any) -> Any:
    """The value without long texts, which become None and are left out of objects and lists."""
    match value:
        case str():
            return value if len(value) <= _SHORT else None
        case dict():
            items = {key: _light(item) for key, item in value.items()}
            return {key: item for key, item in items.items() if item is not None}
        case list():
            return [item for item in map(_light, value) if item is not None]
    return value
