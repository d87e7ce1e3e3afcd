"""Rows of `profile` and `filter`: rollouts, profiles, pivots, dropped candidates."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pivotrl_cli.rows.candidates import Candidate
from pivotrl_cli.rows.messages import Message, Row


class Rollout(Row):
    """One one-turn rollout at a candidate.

    `reward` is null where nothing could be measured; `error` then says why, or `finish_reason` is `length`.
    """

    sample: int
    """Index in the group, from 0."""
    text: str
    """Sampled completion."""
    action: Message | None
    """Action parsed from the completion; null if it could not be parsed."""
    reward: float | None
    """Verifier's reward in [0, 1]; null if not measured."""
    verdict: str
    """Verifier's verdict, or `unparsable`, `truncated` or `error`."""
    detail: str = ""
    """Verifier's explanation, for a person."""
    basis: Literal["equal", "parsed_equal", "similar", "judged"] | None = None
    """What the verdict rests on: equal text, an equal parsed value, likeness, or a judge; null without acceptance."""
    error: str | None = None
    """Error of the measurement; null without an error."""
    n_tokens: int
    """Sampled tokens, including the end token."""
    logprob: float | None
    """Sum of the log-probabilities of the sampled tokens in nats, at the sampling temperature."""
    finish_reason: Literal["stop", "length", "error"]
    """Why sampling ended."""
    seed: int
    """Seed of this sample; derived from the candidate, the sample index and the run's seed."""


class ProfileStatus(StrEnum):
    """Outcome of profiling a candidate."""

    OK = "ok"
    """At least one rollout was scored."""
    TOO_LONG = "too_long"
    """The prompt and the new tokens exceed the model's context; nothing was sampled."""
    UNRENDERABLE = "unrenderable"
    """The chat template failed on the state; nothing was sampled."""
    NOT_SCORED = "not_scored"
    """No reward: no sampled rollout could be scored, or no reward was recorded."""
    SCREENED_OUT = "screened_out"
    """`--prescreen` left the candidate out; nothing was sampled."""
    RECORDED = "recorded"
    """The rewards were recorded in the input (`extract --profile`), the rollouts were not."""


class Profile(Candidate):
    """A candidate with its rollouts under the frozen policy."""

    rollouts: list[Rollout]
    """The K rollouts; empty if nothing was sampled."""
    n_scored: int
    """Rollouts with a reward; 0 beside a mean if the input records a rate without a count."""
    n_error: int
    """Rollouts whose measurement failed."""
    n_truncated: int
    """Rollouts cut by the token limit."""
    prompt_tokens: int | None
    """Tokens of the rendered state; null if it could not be rendered."""
    reward_mean: float | None
    """Mean reward of the scored rollouts (paper, Eq. 4)."""
    reward_std: float | None
    """Population standard deviation of the rewards of the scored rollouts (paper, Eq. 4)."""
    pass_rate_low: float | None
    """Lower end of the 95 % interval of the true mean reward (Beta posterior, Jeffreys prior)."""
    pass_rate_high: float | None
    """Upper end of that interval."""
    entropy: float | None = None
    """Sum of the policy's token entropies along the demonstrated action in nats, with `--prescreen`."""
    audited: bool = False
    """Whether `--prescreen` left the candidate out, and it was sampled all the same to estimate the lost pivots."""
    status: ProfileStatus
    """Outcome of profiling."""
    status_detail: str
    """Explanation of a status other than `ok`."""
    template_fault: str
    """Part of the state that the chat template lost, or why the model cannot write the demonstrated action, `kind:
    detail`; empty where neither is."""


class Pivot(Profile):
    """A kept candidate."""

    weight: float
    """Sampling weight in training."""
    rank: int
    """Position by the filter rule's value; 1 is the most informative."""
    keep_reason: str
    """Rule that kept the candidate."""


class DropReason(StrEnum):
    """Why `filter` dropped a candidate; the first reason that applies."""

    OTHER_SPLIT = "other_split"
    """Not in the selected split."""
    WHERE = "where_false"
    """The condition of `--where` is not true."""
    SCREENED_OUT = "screened_out"
    """`profile --prescreen` left it out."""
    NOT_SCORED = "not_scored"
    """No reward was measured (too long, unrenderable, errors)."""
    ALL_WRONG = "all_wrong"
    """All rewards are 0: zero variance, no signal."""
    ALL_RIGHT = "all_right"
    """All rewards are 1: zero variance, no signal."""
    NO_VARIANCE = "no_variance"
    """All rewards are equal and between 0 and 1."""
    LOW_SIGNAL = "low_signal"
    """The expected signal is below `--min-signal`."""
    TOO_HARD = "too_hard"
    """The pass rate is below the window."""
    TOO_EASY = "too_easy"
    """The pass rate is above the window."""
    TRAJECTORY_CAP = "trajectory_cap"
    """The trajectory already has `--max-per-trajectory` pivots."""
    TASK_CAP = "task_cap"
    """The task already has `--max-per-task` pivots."""
    MESSAGE_RATIO = "message_ratio"
    """Messages already make up `--max-message-ratio` of the pivots."""
    BALANCE = "balance"
    """The tool or domain already has its share of `--limit`."""
    LIMIT = "limit"
    """`--limit` is reached."""
    NOT_DRAWN = "not_drawn"
    """Not drawn for the random control."""


class Dropped(Profile):
    """A candidate that `filter` dropped."""

    drop_reason: DropReason
    """Reason code."""
