"""The columns that a profile adds to its candidates."""

from __future__ import annotations

from typing import Any

from pivotrl_cli.rows import Candidate, Profile, ProfileStatus
from pivotrl_cli.stages.profile.samples import Samples
from pivotrl_cli.stats import mean_and_std, rate_interval

ADDED = [name for name in Profile.model_fields if name not in Candidate.model_fields]
"""Names of these columns."""


def statistics(samples: Samples) -> dict[str, Any]:
    """The rollouts at one candidate and what they say of its pass rate."""
    rollouts = samples.rollouts
    rewards = [r.reward for r in rollouts if r.reward is not None]
    mean, std = mean_and_std(rewards)
    low, high = (None, None) if mean is None else rate_interval(mean, len(rewards))
    status, detail = _status(samples, len(rewards))
    return {
        "rollouts": rollouts,
        "n_scored": len(rewards),
        "n_error": sum(r.error is not None for r in rollouts),
        "n_truncated": sum(r.finish_reason == "length" for r in rollouts),
        "prompt_tokens": samples.prompt_tokens,
        "reward_mean": mean,
        "reward_std": std,
        "pass_rate_low": low,
        "pass_rate_high": high,
        "entropy": samples.entropy,
        "audited": samples.audited,
        "status": status,
        "status_detail": detail,
        "template_fault": samples.template_fault,
    }


def _status(samples: Samples, n_scored: int) -> tuple[ProfileStatus, str]:
    if samples.status != "ok":
        return ProfileStatus(samples.status), samples.detail
    if n_scored == 0:
        return ProfileStatus.NOT_SCORED, "every rollout failed or was cut"
    return ProfileStatus.OK, ""
