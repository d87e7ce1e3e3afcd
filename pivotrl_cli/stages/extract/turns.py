"""From one trajectory to the rows of its turns: state and action or the reason against them, with their ids.

Turns are numbered over all assistant messages, those that are only context included, so that a piece of a run has the
numbers of the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from pivotrl_cli.rows import Candidate, Message, Reject, RejectReason, Trajectory
from pivotrl_cli.verifiers import UnverifiableError, Verifier
from pivotrl_cli.verifiers.compare.calls import read_object_call
from pivotrl_cli.verifiers.compare.differences import shown

Split: TypeAlias = Literal["train", "holdout"]


def turns_of(trajectory: Trajectory) -> list[tuple[int, int]]:
    """Number and message of each turn; numbers count the assistant messages that are only context too."""
    context = set(trajectory.context)
    spoken = (i for i, message in enumerate(trajectory.messages) if message.role == "assistant")
    return [(turn, i) for turn, i in enumerate(spoken) if i not in context]


def candidates_of(
    trajectory: Trajectory, name: str, split: Split, verifier_of: Callable[[Trajectory, Message], tuple[str, Verifier]]
) -> Iterator[Candidate | Reject]:
    """One row per turn, or one reject where there is none; `name` is the trajectory's id.

    `verifier_of` gives the name of a turn's verifier and the check that a demonstration must pass.

    All states are slices over the same message objects, which is what lets the table store each message once.
    """
    turns, n_turns = turns_of(trajectory), sum(message.role == "assistant" for message in trajectory.messages)
    known = {fault.message: (fault.reason, fault.detail) for fault in trajectory.faults}
    declared = tool_names(trajectory.tools)
    if not turns:
        detail = "the assistant's messages are all context" if n_turns else "no message is the assistant's"
        yield _reject(trajectory, name, None, RejectReason.NO_ASSISTANT_TURN, detail)
    for turn, i in turns:
        verifier, verify = verifier_of(trajectory, trajectory.messages[i])
        candidate = Candidate(
            candidate_id=f"{name}-{turn:03d}",
            trajectory_id=name,
            task_id=trajectory.task_id,
            source=trajectory.source,
            turn=turn,
            n_turns=n_turns,
            domain=trajectory.domain,
            verifier=verifier,
            state=trajectory.messages[:i],
            tools=trajectory.tools,
            expected_action=trajectory.messages[i],
            outcome=trajectory.outcome,
            split=split,
            provenance=trajectory.provenance,
        )
        problem = known.get(i) or find_fault(candidate, declared, verify)
        yield candidate if problem is None else _reject(trajectory, name, turn, *problem)


def find_fault(candidate: Candidate, declared: set[str], verify: Verifier) -> tuple[RejectReason, str] | None:
    """Why a turn cannot be a candidate, the first reason that applies; None where it can."""
    action = candidate.expected_action
    if not action.content.strip() and not action.tool_calls:
        return RejectReason.EMPTY_ACTION, "neither text nor calls"
    if not candidate.state:
        return RejectReason.EMPTY_STATE, "nothing stands before it"
    for i, call in enumerate(action.tool_calls):
        problem = read_object_call(call).problem
        if problem:
            return RejectReason.BAD_ARGUMENTS, f"call {i} of {shown(call.name)}: {problem.detail}"
        if declared and call.name not in declared:
            return RejectReason.UNDECLARED_TOOL, f"call {i}: {shown(call.name)} is not among the {len(declared)} tools"
    try:
        verdict = verify(candidate, action)
    except UnverifiableError as error:
        return RejectReason.REJECTED_BY_VERIFIER, str(error)
    if verdict.reward >= 1.0:
        return None
    return RejectReason.REJECTED_BY_VERIFIER, f"{verdict.category}: {verdict.detail}"


def trajectory_id(trajectory: Trajectory) -> str:
    """16 hexadecimal digits over messages, tools, task and trial: the same run has the same id in any file.

    Pieces of one run have the run's name in common, and nothing else for certain.
    """
    digest = hashlib.sha256()
    parts = [trajectory.task_id, trajectory.trial, json.loads(trajectory.tools), *trajectory.messages]
    for part in ["run", trajectory.run] if trajectory.run else parts:
        content = part.model_dump(exclude_defaults=True) if isinstance(part, Message) else part
        digest.update(json.dumps(content, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def uniform(key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") / 2**56


def tool_names(tools: str) -> set[str]:
    return {tool["function"]["name"] for tool in json.loads(tools)}


def _reject(trajectory: Trajectory, name: str, turn: int | None, reason: RejectReason, detail: str) -> Reject:
    return Reject(
        source=trajectory.source, line=trajectory.line, trajectory_id=name, turn=turn, reason=reason, detail=detail
    )
