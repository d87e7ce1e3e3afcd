"""What `extract` reads and writes: trajectories, candidates, rejects."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pivotrl_cli.rows.messages import Message, Row


class RejectReason(StrEnum):
    """Why an input record or a turn could not become a candidate."""

    BAD_JSON = "bad_json"
    """The line or file is not JSON."""
    BAD_RECORD = "bad_record"
    """The record lacks a field or has a wrong type."""
    UNKNOWN_FORMAT = "unknown_format"
    """No reader recognises the file."""
    NO_ASSISTANT_TURN = "no_assistant_turn"
    """The trajectory has no assistant message."""
    EMPTY_ACTION = "empty_action"
    """The assistant message has neither text nor calls."""
    EMPTY_STATE = "empty_state"
    """Nothing stands before the assistant message, so there is nothing to condition on."""
    BAD_ARGUMENTS = "bad_arguments"
    """A demonstrated call's arguments are not a JSON object."""
    UNDECLARED_TOOL = "undeclared_tool"
    """A demonstrated call names a tool that the record's own schemas do not have."""
    INCOMPLETE = "incomplete"
    """Part of the state or of the action was not recorded: a prompt, an unreadable message, a call."""
    MERGED_TURNS = "merged_turns"
    """The record merges several turns of the model into one."""
    TOO_LARGE = "too_large"
    """An archive or one of its members unpacks to more than the limit."""
    REJECTED_BY_VERIFIER = "rejected_by_verifier"
    """The turn's verifier does not accept its own demonstration."""
    DUPLICATE = "duplicate"
    """An earlier candidate has the same state and action (`--dedup`)."""
    CONTAMINATED = "contaminated"
    """The task's prompt overlaps with the file given to `--check-against` (`--drop-contaminated`)."""


class Fault(Row):
    """A turn that cannot become a candidate, known to the reader alone.

    Example: `Fault(message=3, reason=RejectReason.MERGED_TURNS, detail="2 model calls in one step")`
    """

    message: int
    """Index of the assistant message."""
    reason: RejectReason
    """Enumerated reason."""
    detail: str
    """What was wrong, for a person."""


class Trajectory(Row):
    """One recorded agent run, as a reader yields it. Never written to a table."""

    source: str
    """File it came from, relative to what the user named."""
    line: int
    """Record number in that file, from 1."""
    messages: list[Message]
    """What the agent saw and did, in order, system prompt included."""
    context: list[int] = []
    """Assistant messages that are no turns of this run: prompts, demonstrations, copies from another record."""
    faults: list[Fault] = []
    """Turns that the reader knows to be unusable."""
    tools: str = "[]"
    """Tool schemas as a JSON list in OpenAI's form, `[{"type": "function", "function": {...}}]`."""
    domain: str = ""
    """Domain that the format names (`airline`), else empty."""
    task_id: str = ""
    """Task that several trials share, else empty."""
    trial: str = ""
    """What tells runs of one task apart where the format has it."""
    run: str = ""
    """The run's recorded name, where several records are pieces of one run."""
    outcome: float | None = None
    """Recorded outcome of the whole run."""
    provenance: str = "{}"
    """JSON object: whatever else the format says of the run (model, termination reason)."""


class Reject(Row):
    """One input record (`turn` null) or one assistant turn that could not be used."""

    source: str
    """File it came from."""
    line: int
    """Record number in that file, from 1; 0 for the file itself."""
    trajectory_id: str | None = None
    """Trajectory, where it could be read so far."""
    turn: int | None = None
    """Assistant turn, from 0; null for a whole record."""
    reason: RejectReason
    """Enumerated reason."""
    detail: str = ""
    """What was wrong, for a person."""


class Candidate(Row):
    """One assistant turn of one trajectory: a state and the demonstrated action."""

    candidate_id: str
    """`<trajectory_id>-<turn>`; derives from content alone."""
    trajectory_id: str
    """Hash of the trajectory's content."""
    task_id: str
    """Task that several trials share; empty where unknown."""
    source: str
    """File it came from."""
    turn: int
    """Assistant turn within the trajectory, from 0."""
    n_turns: int
    """Assistant turns of the trajectory."""
    domain: str
    """Domain of the task, or empty."""
    verifier: str
    """Verifier that scores actions at this turn."""
    state: list[Message]
    """Everything before the action."""
    tools: str
    """Tool schemas, a JSON list in OpenAI's form."""
    expected_action: Message
    """The demonstrated action."""
    outcome: float | None
    """Recorded outcome of the trajectory."""
    split: Literal["train", "holdout"]
    """Split by task where known, else by trajectory."""
    provenance: str
    """JSON object with what the format says of the run."""
