"""Rows of `extract`: trajectories, candidates, rejects."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pivotrl_cli.rows.messages import Message, Row


class RejectReason(StrEnum):
    """Why an input record or a turn cannot become a candidate."""

    BAD_JSON = "bad_json"
    """The line or file is not JSON."""
    BAD_RECORD = "bad_record"
    """The record lacks a field or has a wrong type."""
    UNKNOWN_FORMAT = "unknown_format"
    """No reader recognizes the file."""
    NO_ASSISTANT_TURN = "no_assistant_turn"
    """The trajectory has no assistant message."""
    EMPTY_ACTION = "empty_action"
    """The assistant message has neither text nor calls."""
    EMPTY_STATE = "empty_state"
    """No message precedes the assistant message, so there is no state."""
    BAD_ARGUMENTS = "bad_arguments"
    """A demonstrated call's arguments are not a JSON object."""
    UNDECLARED_TOOL = "undeclared_tool"
    """A demonstrated call names a tool that is not in the record's own schemas."""
    INCOMPLETE = "incomplete"
    """Part of the state or of the action was not recorded: a prompt, an unreadable message, a call."""
    MERGED_TURNS = "merged_turns"
    """The record merges several turns of the model into one."""
    TOO_LARGE = "too_large"
    """An archive or one of its members unpacks to more than the limit."""
    REJECTED_BY_VERIFIER = "rejected_by_verifier"
    """The turn's verifier does not accept the demonstrated action."""
    DUPLICATE = "duplicate"
    """An earlier candidate has the same state and action (`--dedup`)."""
    CONTAMINATED = "contaminated"
    """The task's prompt overlaps with the file given to `--check-against` (`--drop-contaminated`)."""


class Fault(Row):
    """A turn that the reader found unusable.

    Example: `Fault(message=3, reason=RejectReason.MERGED_TURNS, detail="2 model calls in one step")`
    """

    message: int
    """Index of the assistant message."""
    reason: RejectReason
    """Reason code."""
    detail: str
    """Description for a person."""


class Trajectory(Row):
    """One recorded agent run, as a reader yields it; never written to a table."""

    source: str
    """Source file, relative to the path that the user named."""
    line: int
    """Record number in the file, from 1."""
    messages: list[Message]
    """All messages of the run in order, with the system prompt."""
    context: list[int] = []
    """Assistant messages that are not turns of this run: prompts, demonstrations, copies from another record."""
    faults: list[Fault] = []
    """Turns that the reader found unusable."""
    tools: str = "[]"
    """Tool schemas as a JSON list in OpenAI format, `[{"type": "function", "function": {...}}]`."""
    domain: str = ""
    """Domain recorded by the format (`airline`), else empty."""
    task_id: str = ""
    """Task id shared by trials of the task, else empty."""
    trial: str = ""
    """Distinguishes runs of one task, where the format records it."""
    run: str = ""
    """Recorded name of the run, where several records are pieces of one run."""
    outcome: float | None = None
    """Recorded outcome of the run."""
    provenance: str = "{}"
    """JSON object of everything else that the format records about the run (model, termination reason)."""


class Reject(Row):
    """One input record (`turn` is null) or one assistant turn that could not be used."""

    source: str
    """Source file."""
    line: int
    """Record number in the file, from 1; 0 for the file itself."""
    trajectory_id: str | None = None
    """Trajectory id; null if the record could not be read that far."""
    turn: int | None = None
    """Assistant turn, from 0; null for a whole record."""
    reason: RejectReason
    """Reason code."""
    detail: str = ""
    """Description for a person."""


class Candidate(Row):
    """One assistant turn of one trajectory: a state and the demonstrated action."""

    candidate_id: str
    """`<trajectory_id>-<turn>`; depends only on content."""
    trajectory_id: str
    """Hash of the trajectory's content."""
    task_id: str
    """Task id shared by trials of the task; empty if unknown."""
    source: str
    """Source file."""
    turn: int
    """Assistant turn within the trajectory, from 0."""
    n_turns: int
    """Number of assistant turns of the trajectory."""
    domain: str
    """Domain of the task; empty if unknown."""
    verifier: str
    """Verifier that scores actions at this turn."""
    state: list[Message]
    """All messages before the action."""
    tools: str
    """Tool schemas as a JSON list in OpenAI format."""
    expected_action: Message
    """Demonstrated action."""
    outcome: float | None
    """Recorded outcome of the trajectory."""
    split: Literal["train", "holdout"]
    """Split by task, or by trajectory if the task is unknown."""
    provenance: str
    """JSON object of everything else that the format records about the run."""
