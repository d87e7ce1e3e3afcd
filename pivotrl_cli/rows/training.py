"""Rows of `train`: metrics per step, and rollouts."""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.rows.messages import Row


class StepMetrics(Row):
    """Metrics of one optimizer step."""

    step: int
    """Step number, from 1."""
    reward_mean: float | None
    """Mean reward of all scored rollouts of the step, replaced zero-variance groups included; null for SFT."""
    reward_std: float | None
    """Mean over groups of the population standard deviation of rewards; null for SFT."""
    advantage_std: float | None
    """Population standard deviation of the advantages of the trained turns, penalties included."""
    loss: float | None
    """Loss of the update; null if no group had variance and nothing was trained."""
    kl: float | None
    """Mean k3 estimate of KL(policy || reference) per token, in nats; null without a reference pass."""
    entropy: float | None
    """Mean token entropy of the policy on completion tokens, in nats."""
    ratio_mean: float | None
    """Mean probability ratio of trainer to sampler."""
    ratio_max: float | None
    """Maximum probability ratio of a token."""
    clip_low: float | None
    """Share of tokens clipped at the lower bound."""
    clip_high: float | None
    """Share of tokens clipped at the upper bound."""
    logprob_gap: float | None
    """Maximum absolute difference of sampler and trainer log-probabilities before the update, in nats."""
    sampler_kl: float | None
    """Mean k3 estimate of KL(sampler || trainer) per token before the update, in nats."""
    grad_norm: float | None
    """Gradient norm before clipping; null if nothing was trained."""
    skipped: str | None
    """Reason the optimizer step was skipped; null if taken."""
    learning_rate: float
    """Learning rate of this step."""
    n_groups: int
    """Groups trained on."""
    n_all_right: int
    """Zero-variance groups replaced because every reward was 1."""
    n_all_wrong: int
    """Zero-variance groups replaced because every reward was equal and below 1."""
    n_unscored: int
    """Rollouts without a reward (truncated or failed)."""
    n_truncated: int
    """Turns cut by the token limit."""
    n_penalised: int
    """Turns with a format penalty as advantage."""
    n_unusable: int
    """Pivots that cannot be used (too long, unrenderable)."""
    n_active: int
    """Rows that the step sampled from."""
    n_retired_right: int
    """Rows retired before the step because every reward was 1."""
    n_retired_wrong: int
    """Rows retired before the step because every reward was equal and below 1."""
    n_readmitted: int
    """Retired rows that returned before the step."""
    completion_mean: float | None
    """Mean tokens per sampled turn; null for SFT, like the next two."""
    completion_min: int | None
    """Minimum tokens of a sampled turn."""
    completion_max: int | None
    """Maximum tokens of a sampled turn."""
    n_completion_tokens: int
    """Tokens with loss."""
    prefix_reuse: float | None
    """Tokens of the full training sequences divided by the positions computed: above 1 through shared prefixes, below 1
    through padding."""
    rollout_turns: int
    """Rollout turns sampled so far in the run, including re-profiling."""
    policy_version: int
    """Updates made before the step."""
    tokens_per_second: float
    """Tokens of the step's full sequences (prompts and completions) per second."""
    seconds_push: float
    """Seconds to push weights to the sampler."""
    seconds_reprofile: float
    """Seconds of re-profiling, including sampling and scoring."""
    seconds_sample: float
    """Seconds of sampling."""
    seconds_score: float
    """Seconds of scoring, in verifiers or in the environment."""
    seconds_train: float
    """Seconds of forward, backward and optimizer update."""
    seconds_save: float
    """Seconds to save the checkpoint before the step."""
    peak_memory: float
    """Peak memory so far in GiB: of the GPU when training on one, else of the process."""


class TrainRollout(Row):
    """One training rollout; in end-to-end training, one turn of a rollout."""

    step: int
    """Optimizer step that it was sampled for."""
    candidate_id: str
    """Pivot; in end-to-end training, the task."""
    sample: int
    """Index in the group."""
    turn: int = 0
    """Assistant turn of the rollout, from 0; rollouts at a pivot have one turn."""
    purpose: Literal["train", "reprofile"] = "train"
    """Purpose of the sample; re-profiling samples are not trained on."""
    text: str
    """Sampled completion."""
    reward: float | None
    """Verifier's reward; null if not measured."""
    verdict: str
    """Verifier's verdict."""
    error: str | None = None
    """Error of the measurement; null without an error."""
    advantage: float | None
    """Advantage (`--advantage`), or the penalty that replaced it; null if the group was not trained on."""
    n_tokens: int
    """Sampled tokens."""
    finish_reason: Literal["stop", "length", "error"]
    """Why sampling ended."""
