"""Rewards that a data set publishes with its rows, as the columns that profiling would add.

Public pivot sets record their makers' measurements: a list of rewards, how many of how many rollouts passed, or a rate
alone. The rollouts themselves are not published, so a profile made of them has none. Where a row has several of these,
the one with the most rollouts counts.

    {"rewards": [1, 0, 0, 1]}                       mean 1/2 of 4, in the row or in an object of it (`qwen_235b_info`)
    {"pass_rate_passed": 6, "pass_rate_total": 16}  mean 6/16 of 16
    {"pass_rate": 0.375, "pass_rate_total": 16}     mean 0.375 of 16
    {"pass_rate": 0.375}                            mean 0.375 of an unknown number: no interval
    {"reward_mean": 0.4, "reward_std": 0.2}         mean 0.4 of an unknown number, for rewards in [0, 1]

A pass rate is the mean of rewards of 0 and 1, so its spread follows: sqrt(p (1 - p)). A bare `reward_mean` has no
spread, and is not used.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from pivotrl_cli.rows import Candidate, Profile, ProfileStatus
from pivotrl_cli.stages.extract.summary import RecordedSummary
from pivotrl_cli.stats import mean_and_std, rate_interval


class RecordedRewards(NamedTuple):
    """Rewards that a row records."""

    mean: float
    std: float
    n: int
    """Rollouts behind them; 0 where that is not recorded."""
    source: str
    """The fields that they come from, for a person."""


@dataclass
class RecordedProfiles:
    """Profile rows from recorded rewards, and how many candidates have some."""

    counts: Counter[str] = field(default_factory=Counter)
    _sum: float = 0.0

    def profile(self, candidate: Candidate) -> Profile:
        """The candidate with the rewards in its provenance; without any its status is `not_scored`."""
        found = recorded_rewards(json.loads(candidate.provenance))
        self.counts["n_recorded" if found else "n_without"] += 1
        self.counts["n_uncounted"] += found is not None and found.n == 0
        self._sum += found.mean if found else 0.0
        kept = {name: getattr(candidate, name) for name in Candidate.model_fields}
        return Profile.model_construct(**kept, **_columns(found))  # a copy of the messages would be stored again

    def summary(self) -> RecordedSummary:
        n = self.counts["n_recorded"]
        return RecordedSummary(
            n_recorded=n,
            n_without=self.counts["n_without"],
            n_uncounted=self.counts["n_uncounted"],
            reward_mean=self._sum / n if n else None,
        )


def recorded_rewards(provenance: dict[str, Any]) -> RecordedRewards | None:
    """The rewards with the most rollouts behind them; None where the provenance holds none that can be used."""
    places = [("", provenance)] + [(f"{key}.", value) for key, value in provenance.items() if isinstance(value, dict)]
    found = [one for prefix, place in places for one in _rewards_in(prefix, place) if 0.0 <= one.mean <= 1.0]
    return max(found, key=lambda one: one.n, default=None)  # of equals the first, which is the most exact


def _rewards_in(prefix: str, place: dict[str, Any]) -> Iterator[RecordedRewards]:
    rewards, passed, total = place.get("rewards"), place.get("pass_rate_passed"), place.get("pass_rate_total")
    if isinstance(rewards, list) and rewards and all(_is_number(r) and 0.0 <= r <= 1.0 for r in rewards):
        mean, std = mean_and_std(rewards)
        assert mean is not None
        assert std is not None
        yield RecordedRewards(mean, std, len(rewards), f"{len(rewards)} {prefix}rewards")
    if _is_count(total) and _is_count(passed) and 0 < total >= passed:
        yield _pass_rate(passed / total, total, f"{passed} of {total} by {prefix}pass_rate_passed")
    if _is_number(rate := place.get("pass_rate")):
        n = total if _is_count(total) else 0
        yield _pass_rate(rate, n, f"{prefix}pass_rate {rate:g}{'' if n else ' of an unknown number of rollouts'}")
    mean, std = place.get("reward_mean"), place.get("reward_std")
    if _is_number(mean) and _is_number(std):
        yield RecordedRewards(mean, std, 0, f"{prefix}reward_mean {mean:g} of an unknown number of rollouts")


def _pass_rate(mean: float, n: int, source: str) -> RecordedRewards:
    return RecordedRewards(mean, math.sqrt(max(0.0, mean * (1.0 - mean))), n, source)


def _columns(found: RecordedRewards | None) -> dict[str, Any]:
    low, high = rate_interval(found.mean, found.n) if found and found.n else (None, None)
    return {
        "rollouts": [],
        "n_scored": found.n if found else 0,
        "n_error": 0,
        "n_truncated": 0,
        "prompt_tokens": None,
        "reward_mean": found.mean if found else None,
        "reward_std": found.std if found else None,
        "pass_rate_low": low,
        "pass_rate_high": high,
        "entropy": None,
        "audited": False,
        "status": ProfileStatus.RECORDED if found else ProfileStatus.NOT_SCORED,
        "status_detail": found.source if found else "no rewards are recorded",
        "template_fault": "",
    }


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
