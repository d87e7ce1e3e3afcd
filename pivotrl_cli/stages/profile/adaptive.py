"""Adaptive profiling: sample a candidate in rounds, and stop when more rollouts would hardly change its verdict.

The verdict is the pivot rule (paper, Eq. 5) on the group of all N rollouts that the budget allows: keep if the variance
is positive and the mean is below lambda. After n rewards that sum to s, with r = N - n to come, the number J of right
ones among those to come has the posterior predictive distribution under the Jeffreys prior,

    J ~ BetaBinomial(r, s + 1/2, n - s + 1/2),    P(pivot) = P(variance > 0 and (s + J) / N < lambda),

and sampling stops early if the rule on the n rewards seen already gives the verdict that P(pivot), or 1 - P(pivot),
puts at `level` or above. This is stochastic curtailment (Lan, Simon and Halperin 1982) by the predictive probability
(Spiegelhalter, Freedman and Blackburn 1986). So a mixed group with a low mean is kept early, one that was always right
is dropped early, and one that was always wrong is dropped when a success within the budget has become unlikely. Since
the verdict is that of the rule on what was seen, a filter needs to know nothing of when sampling stopped.

The prior is fixed: a candidate's rollouts depend on its own rewards alone, so order, shards and resumption change
nothing. Left out: a prior fitted to the run, which would tie candidates together, and a price per rollout with the
backward induction that it needs. `docs/adaptive.md` has what the rule saves and costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol


class Strategy(Protocol):
    """Decides how many rollouts a candidate gets, round by round."""

    def __call__(self, rewards: Sequence[float | None], /) -> int:
        """Number of rollouts to sample next, given the rewards so far (null if not measured); 0 or less stops.

        The first round is decided on no rewards. The number must depend on `rewards` alone.
        """
        ...


def fixed_strategy(n: int) -> Strategy:
    """All `n` in one round."""
    return lambda rewards: n - len(rewards)


@dataclass(frozen=True, slots=True)
class AdaptiveRule:
    """When to stop sampling a candidate.

    Example: `AdaptiveRule(max_mean=0.6).more([1.0, 1.0, 1.0, 1.0])` is 0: one such candidate in fifty would still come
    out below 0.6. After four wrong ones it is 2, since every other one would still become a pivot.
    """

    max_mean: float = 0.6
    """Lambda of the pivot rule."""
    budget: int = 16
    """Maximum rollouts per candidate."""
    first_round: int = 4
    """Rollouts before the first look."""
    round_size: int = 2
    """Rollouts between looks."""
    level: float = 0.88
    """Probability of the verdict from which on it counts as clear, above 1/2; at 1 only what is certain stops."""

    def more(self, rewards: Sequence[float], unscored: int = 0) -> int:
        """How many rollouts to sample next; 0 is stop.

        `unscored` rollouts (failed or cut) have spent budget and say nothing of the rate. Decisions fall only where a
        round is complete, so a group that was cut short is first filled up. A candidate without any reward is
        sampled to the end of its budget.
        """
        sampled = len(rewards) + unscored
        left = self.budget - sampled
        missing = self._missing(sampled)
        if left <= 0 or (not missing and rewards and self._clear(rewards, left)):
            return 0
        return min(missing or self.round_size, left)

    def _missing(self, sampled: int) -> int:
        """Rollouts to the end of the round that was begun."""
        if sampled < self.first_round:
            return self.first_round - sampled
        return (self.first_round - sampled) % self.round_size

    def _clear(self, rewards: Sequence[float], left: int) -> bool:
        pivot = pivot_probability(rewards, left, self.max_mean)
        return (pivot if is_pivot(rewards, self.max_mean) else 1.0 - pivot) >= self.level


def is_pivot(rewards: Sequence[float], max_mean: float) -> bool:
    """The pivot rule on a group (paper, Eq. 5): rewards differ and their mean is below lambda; false when empty."""
    return len(rewards) > 0 and min(rewards) < max(rewards) and math.fsum(rewards) / len(rewards) < max_mean


def pivot_probability(rewards: Sequence[float], left: int, max_mean: float) -> float:
    """Posterior predictive probability that the group is a pivot once `left` more rewards are in.

    Exact under the Jeffreys prior for rewards of 0 and 1. Rewards in between are taken as 0s and 1s of the same mean,
    as in `stats.rate_interval`, those to come too; nothing on [0, 1] with that mean varies more, so this is an
    approximation that errs toward more rollouts. Degenerate cases:

    - Nothing to come: 1 or 0, the rule itself.
    - All equal: a pivot needs a reward that differs, whose rate is taken to have seen none in n trials
      (BetaBinomial(left, 1/2, n + 1/2)), and a low mean. The lesser of the two probabilities bounds that of both; for
      all 0 and all 1 it is exact, since then the low means counted imply a reward that differs.

    Example: after two wrong ones, with one to come, it is 1 - 2.5/3 = 1/6.
    """
    common = rewards[0] if min(rewards) == max(rewards) else None
    return _pivot_probability(len(rewards), math.fsum(rewards), common, left, max_mean)


@lru_cache(maxsize=65536)  # 0s and 1s have few states, and a run has many candidates
def _pivot_probability(n: int, total: float, common: float | None, left: int, max_mean: float) -> float:
    """`pivot_probability` from sufficient statistics; `common` is the value of all rewards, null where they differ."""
    low = [(total + j) / (n + left) < max_mean for j in range(left + 1)]
    if common == 0.0:
        low[0] = False
    counted = [p for p, is_low in zip(predictive(n, total, left), low, strict=True) if is_low]
    probability = min(1.0, math.fsum(counted))
    return probability if common is None else min(probability, 1.0 - predictive(n, 0.0, left)[0])


def predictive(n: int, total: float, left: int) -> list[float]:
    """Probabilities of 0 to `left` further successes after n trials that sum to `total`: BetaBinomial, Jeffreys prior.

    Example: `predictive(1, 0.0, 2)` is [5/8, 1/4, 1/8].
    """
    a, b = total + 0.5, n - total + 0.5
    return [
        math.exp(math.log(math.comb(left, j)) + _log_beta(a + j, b + left - j) - _log_beta(a, b))
        for j in range(left + 1)
    ]


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
