"""Steps and rollouts of a training run."""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.rows.messages import Row


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
