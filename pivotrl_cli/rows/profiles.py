"""Rollouts at candidates, and which of them are pivots."""

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
