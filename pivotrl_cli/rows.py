"""The rows of every table: one frozen model per Parquet row, the contract that all stages share.

Types are chosen so that a Parquet schema follows from them without looking at data. `arguments` and `tools` stay JSON
text: as structs, Polars would invent null keys wherever two tools take different arguments.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """Base of all rows: frozen, unknown keys refused, field docstrings become schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ToolCall(Row):
    """One function call.

    Example: `ToolCall(id="call_1", name="get_order", arguments='{"order_id": "A17"}')`
    """

    id: str | None = None
    """Identifier that the tool's reply refers to."""
    name: str
    """Name of the function."""
    arguments: str
    """Arguments as the raw JSON text that the model wrote."""


class Message(Row):
    """One chat message; the assistant's message is an *action*."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who speaks."""
    content: str = ""
    """Visible text; empty when the message is only tool calls."""
    reasoning: str | None = None
    """Hidden reasoning, kept apart from the content."""
    tool_calls: list[ToolCall] = []
    """Function calls, in order; several in one message are one action."""
    tool_call_id: str | None = None
    """On a tool message: the call it answers."""
    name: str | None = None
    """On a tool message: the tool that answered."""


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


class Rollout(Row):
    """One one-turn rollout at a candidate.

    `reward` is null where nothing could be measured; `error` then says why, or `finish_reason` is `length`.
    """

    sample: int
    """Index within the group, from 0."""
    text: str
    """Completion as sampled."""
    action: Message | None
    """The completion parsed into an action; null where it could not be parsed."""
    reward: float | None
    """Verifier's reward in [0, 1]; null where not measured."""
    verdict: str
    """Verifier's category, `unparsable`, `truncated` or `error`."""
    detail: str = ""
    """Verifier's reason, for a person."""
    error: str | None = None
    """What failed in the measurement."""
    n_tokens: int
    """Tokens sampled, the end token included."""
    logprob: float | None
    """Sum of the sampled tokens' log-probabilities in nats, at the sampling temperature."""
    finish_reason: Literal["stop", "length", "error"]
    """Why sampling ended."""
    seed: int
    """Seed of this sample; derives from the candidate, the sample index and the run's seed."""


class ProfileStatus(StrEnum):
    """What became of a candidate in profiling."""

    OK = "ok"
    """At least one rollout was scored."""
    TOO_LONG = "too_long"
    """The prompt and the new tokens do not fit the model's context; nothing was sampled."""
    UNRENDERABLE = "unrenderable"
    """The chat template refused the state; nothing was sampled."""
    NOT_SCORED = "not_scored"
    """No reward is known: none of the sampled rollouts could be scored, or no reward was recorded."""
    RECORDED = "recorded"
    """The rewards were recorded with the input (`extract --profile`), the rollouts were not."""


class Profile(Candidate):
    """The candidate with its local rollouts under the frozen policy."""

    rollouts: list[Rollout]
    """The K rollouts; empty where nothing was sampled."""
    n_scored: int
    """Rollouts with a reward; 0 beside a mean where a recorded rate does not say of how many."""
    n_error: int
    """Rollouts whose measurement failed."""
    n_truncated: int
    """Rollouts cut by the token limit."""
    prompt_tokens: int | None
    """Length of the rendered state; null where it could not be rendered."""
    reward_mean: float | None
    """Mean reward over the scored rollouts (paper, Eq. 4)."""
    reward_std: float | None
    """Population standard deviation over the scored rollouts (paper, Eq. 4)."""
    pass_rate_low: float | None
    """Lower end of the 95 % interval of the true mean reward, Beta posterior with a Jeffreys prior."""
    pass_rate_high: float | None
    """Upper end of that interval."""
    status: ProfileStatus
    """What became of the candidate."""
    status_detail: str
    """Why, where the status is not `ok`."""
    template_fault: str
    """What the chat template lost of the state, `kind: detail`; empty where all of it is in the prompt."""


class Pivot(Profile):
    """A kept candidate."""

    weight: float
    """Sampling weight in training."""
    rank: int
    """Position by the value of the filter's rule, 1 is the most informative."""
    keep_reason: str
    """Rule that kept it."""


class DropReason(StrEnum):
    """Why `filter` dropped a candidate; the first that applies."""

    OTHER_SPLIT = "other_split"
    """Belongs to another split than the one selected from."""
    WHERE = "where_false"
    """The condition of `--where` is not true."""
    NOT_SCORED = "not_scored"
    """No reward was measured (too long, unrenderable, errors)."""
    ALL_WRONG = "all_wrong"
    """Every scored rollout got reward 0, so the group carries no signal."""
    ALL_RIGHT = "all_right"
    """Every scored rollout got reward 1."""
    NO_VARIANCE = "no_variance"
    """All rewards are equal, between 0 and 1."""
    LOW_SIGNAL = "low_signal"
    """The expected signal is below `--min-signal`."""
    TOO_HARD = "too_hard"
    """The pass rate is below the window."""
    TOO_EASY = "too_easy"
    """The pass rate is not below the upper end of the window."""
    TRAJECTORY_CAP = "trajectory_cap"
    """The trajectory has its share of pivots already."""
    TASK_CAP = "task_cap"
    """The task has its share of pivots already."""
    MESSAGE_RATIO = "message_ratio"
    """Messages have their share of the pivots already."""
    BALANCE = "balance"
    """Its tool or domain has its share of the limit already."""
    LIMIT = "limit"
    """The requested number is reached."""
    NOT_DRAWN = "not_drawn"
    """The random control did not draw it."""


class Dropped(Profile):
    """A candidate that `filter` dropped."""

    drop_reason: DropReason
    """Why."""


class StepMetrics(Row):
    """One optimiser step."""

    step: int
    """From 1."""
    reward_mean: float | None
    """Mean reward of all scored rollouts of this step, refilled groups included; null for SFT."""
    reward_std: float | None
    """Mean over groups of the population standard deviation; null for SFT."""
    advantage_std: float | None
    """Population standard deviation of the advantages of the turns that were trained on, penalties included."""
    loss: float | None
    """Loss that was differentiated; null where no group had variance, so nothing was trained."""
    kl: float | None
    """Mean k3 estimate of KL(policy || reference) per token, in nats; null without a reference pass."""
    entropy: float | None
    """Mean token entropy of the policy at completion positions, in nats."""
    ratio_mean: float | None
    """Mean probability ratio between trainer and sampler."""
    ratio_max: float | None
    """Largest such ratio of a token."""
    clip_low: float | None
    """Share of tokens clipped below."""
    clip_high: float | None
    """Share of tokens clipped above."""
    logprob_gap: float | None
    """Largest absolute difference between sampler and trainer log-probabilities before the update, in nats."""
    sampler_kl: float | None
    """Mean k3 estimate of KL(sampler || trainer) per token before the update, in nats."""
    grad_norm: float | None
    """Gradient norm before clipping; null where nothing was trained."""
    skipped: str | None
    """Why the weights were not moved by what was trained on; null for a step like any other."""
    learning_rate: float
    """Learning rate of this step."""
    n_groups: int
    """Groups that were trained on."""
    n_all_right: int
    """Groups refilled because every reward was 1."""
    n_all_wrong: int
    """Groups refilled because every reward was equal and below 1."""
    n_unscored: int
    """Rollouts without a reward (truncated or failed)."""
    n_truncated: int
    """Turns cut by the token limit."""
    n_penalised: int
    """Turns whose advantage is a penalty for their form."""
    n_unusable: int
    """Pivots that could not be used (too long, unrenderable)."""
    n_active: int
    """Rows that this step drew from."""
    n_retired_right: int
    """Rows retired before this step because every reward was 1."""
    n_retired_wrong: int
    """Rows retired before this step because every reward was equal and below 1."""
    n_readmitted: int
    """Retired rows that came back before this step."""
    completion_mean: float | None
    """Mean tokens of a sampled turn; null for SFT, as the next two."""
    completion_min: int | None
    """Tokens of the shortest."""
    completion_max: int | None
    """Tokens of the longest."""
    n_completion_tokens: int
    """Tokens that carried loss."""
    prefix_reuse: float | None
    """Tokens of the full sequences trained on over the positions that were computed for them: above 1 by what prompts
    share, below by padding."""
    rollout_turns: int
    """Rollout turns sampled so far in this run, those of re-profiling included."""
    policy_version: int
    """Updates that the weights had seen when the step began."""
    tokens_per_second: float
    """Tokens of all the step's full sequences, prompts and completions, over its seconds."""
    seconds_push: float
    """Seconds spent on giving the sampler the weights."""
    seconds_reprofile: float
    """Seconds spent on re-profiling, sampling and scoring included."""
    seconds_sample: float
    """Seconds spent sampling."""
    seconds_score: float
    """Seconds spent in verifiers, or in the environment."""
    seconds_train: float
    """Seconds spent in forward, backward and update."""
    seconds_save: float
    """Seconds spent on the checkpoint before this step."""
    peak_memory: float
    """Most memory so far, in GiB: of the GPU where it trains on one, else of the process."""


class TrainRollout(Row):
    """One training rollout; in end-to-end training one turn of it."""

    step: int
    """Optimiser step it was sampled for."""
    candidate_id: str
    """Pivot; in end-to-end training the task."""
    sample: int
    """Index within the group."""
    turn: int = 0
    """Assistant turn of the rollout, from 0; a rollout at a pivot has one."""
    purpose: Literal["train", "reprofile"] = "train"
    """What it was sampled for; re-profiling does not train on what it samples."""
    text: str
    """Completion."""
    reward: float | None
    """Verifier's reward; null where not measured."""
    verdict: str
    """Verifier's category."""
    error: str | None = None
    """What failed in the measurement."""
    advantage: float | None
    """Group-normalised advantage; null where the group was not trained on."""
    n_tokens: int
    """Tokens sampled."""
    finish_reason: Literal["stop", "length", "error"]
    """Why sampling ended."""


class EvalResult(Row):
    """One benchmark, task and trial."""

    benchmark: str
    """Name of the benchmark."""
    task_id: str
    """Task within it."""
    cluster: str
    """Group of tasks that are not independent (a trajectory, a task family's instance), for intervals."""
    category: str
    """Kind of task, for break-downs."""
    model: str
    """Model by the name of its folder, or as the harness names it; empty where that is not recorded."""
    trial: int
    """Repetition, from 0."""
    seed: int | None
    """Seed of this trial; null where another harness did not record it."""
    score: float | None
    """Score in [0, 1]; null where not measured."""
    status: Literal["ok", "truncated", "unparsable", "too_long", "max_turns", "empty", "model_error", "infra_error"]
    """How the run ended. What is the policy's doing has a score, most often 0: cut by the token limit, no valid action,
    a full context, too many turns, an empty answer or patch, another failure. `infra_error` is not its doing, and has
    no score."""
    error: str | None
    """What failed, where something did."""
    n_turns: int | None
    """Assistant turns taken; null where another harness did not record them, as for all numbers below."""
    n_tool_calls: int | None
    """Calls in these turns."""
    n_tokens: int | None
    """Tokens sampled."""
    seconds: float | None
    """Time that the run took, the waits for what shares its batches included; in our own only with `--timings`."""
    metrics: str = "{}"
    """What else the benchmark measures on this run, a JSON object of numbers: `{"tool_name": 1.0}`."""
    transcript: list[Message]
    """The conversation after the initial state."""
