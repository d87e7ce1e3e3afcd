"""Rates, spreads and intervals: pure functions, and the only place where a statistic is defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean_and_std(rewards: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and population standard deviation of a group's rewards (paper, Eq. 4); nulls for an empty group."""
    if not rewards:
        return None, None
    values = np.asarray(rewards, dtype=np.float64)
    spread = 0.0 if np.all(values == values[0]) else float(values.std())  # rounding must not invent a variance
    return float(values.mean()), spread


def rate_interval(mean: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Equal-tailed interval of a rate given its mean over n trials: Beta posterior with the Jeffreys prior.

    The posterior is Beta(s + 1/2, n - s + 1/2) with s = mean * n; the lower end is 0 where s = 0 and the upper end 1
    where s = n (Brown, Cai and DasGupta 2001). Exact for rewards of 0 and 1; for fractional rewards it is conservative,
    since no distribution on [0, 1] of the same mean varies more.

    Example: `rate_interval(0.5, 8)` is about (0.20, 0.80).
    """
    from scipy.special import betaincinv  # 0.1 s, and most commands need no interval

    successes, tail = mean * n, (1.0 - level) / 2.0
    a, b = successes + 0.5, n - successes + 0.5
    low = 0.0 if successes == 0.0 else float(betaincinv(a, b, tail))
    high = 1.0 if successes == n else float(betaincinv(a, b, 1.0 - tail))
    return low, high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int
    """Rows behind it."""


def clustered_mean(values: Floats, clusters: Sequence[str], resamples: int, seed: int) -> Estimate:
    """Mean of all rows; interval by resampling whole clusters.

    Where every row is 0 or every row is 1 the bootstrap has no spread, so the interval is `rate_interval` over the
    clusters instead.
    """
    sums, counts = _by_cluster(values, clusters)
    mean = float(values.mean())
    if np.all(values == values[0]) and values[0] in (0.0, 1.0):
        return Estimate(mean, *rate_interval(mean, len(sums)), n=len(values))
    low, high = np.quantile(_bootstrap_means(sums, counts, resamples, seed), [0.025, 0.975])
    return Estimate(mean, float(low), float(high), n=len(values))


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its 95 % interval."""

    mean: float
    low: float
    high: float
    wins: int
    """Items on which the second is higher."""
    losses: int
    """Items on which the first is higher."""

    @property
    def significant(self) -> bool:
        """The interval leaves out zero."""
        return self.low > 0.0 or self.high < 0.0


def paired_difference(first: Floats, second: Floats, clusters: Sequence[str], resamples: int, seed: int) -> Difference:
    """Mean of `second - first` over the same items; interval by resampling whole clusters of pairs.

    With no differing item the interval is the point 0, which says that nothing was seen, not that nothing is there.
    Where every item differs by the same amount the bootstrap has no spread, so the interval is that amount times
    `rate_interval` over the clusters: the rate at which items differ.
    """
    delta = second - first
    sums, counts = _by_cluster(delta, clusters)
    if delta[0] != 0.0 and np.all(delta == delta[0]):
        low, high = sorted(delta[0] * end for end in rate_interval(1.0, len(sums)))
    else:
        low, high = np.quantile(_bootstrap_means(sums, counts, resamples, seed), [0.025, 0.975])
    wins, losses = int((delta > 0).sum()), int((delta < 0).sum())
    return Difference(float(delta.mean()), float(low), float(high), wins, losses)


def _by_cluster(values: Floats, clusters: Sequence[str]) -> tuple[Floats, Floats]:
    _, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def _bootstrap_means(sums: Floats, counts: Floats, resamples: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(0, len(sums), len(sums))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    return means


@dataclass(frozen=True, slots=True)
class Beta:
    """A Beta distribution of pass rates. `posterior` and what follows it are vectorised over candidates."""

    a: float | Floats
    b: float | Floats

    def posterior(self, mean: Floats, n: Floats) -> Beta:
        """What is known of rates after n trials of that mean; n = 0 leaves the prior as it is.

        Rewards between 0 and 1 count as fractions of a success, which is conservative (see `rate_interval`).
        """
        successes = np.where(n > 0, mean, 0.0) * n
        return Beta(self.a + successes, self.b + n - successes)

    @property
    def mean(self) -> Floats:
        """Expected rate."""
        return np.asarray(self.a / (self.a + self.b))

    @property
    def signal(self) -> Floats:
        """Expected standard deviation of a 0/1 reward, E[sqrt(p (1 - p))] = B(a + 1/2, b + 1/2) / B(a, b).

        By Theorem 3.2 of the paper it is the expected size of the natural gradient; 1/2 at most.

        Example: for a uniform rate, `Beta(1, 1).signal` is pi / 8, about 0.39.
        """
        from scipy.special import betaln

        return np.asarray(np.exp(betaln(self.a + 0.5, self.b + 0.5) - betaln(self.a, self.b)))

    def between(self, low: float, high: float) -> Floats:
        """Probability that the rate is in (low, high)."""
        from scipy.special import betainc

        return np.asarray(betainc(self.a, self.b, high) - betainc(self.a, self.b, low))


_LEAST, _MOST = 1e-3, 1e3
"""Bounds of a fitted prior's parameters."""


def fit_beta(mean: Floats, n: Floats, count: Floats) -> Beta:
    """The Beta prior under which groups of n trials with these means are most likely (beta-binomial likelihood).

    Groups that are alike are given once, with their `count`. This is the empirical-Bayes prior: how pass rates are
    spread over all candidates, the noise of n trials taken out. Both parameters stay in [0.001, 1000], which decides
    where the likelihood has no maximum: with all means 0 the prior says that every rate is about 0. With no trials at
    all it is the Jeffreys prior, Beta(1/2, 1/2).

    Example: means (1, 0) after one trial each say nothing about the spread, only that a = b.
    """
    from scipy.optimize import minimize
    from scipy.special import betaln, digamma

    tried = (n > 0) & (count > 0)
    if not tried.any():
        return Beta(0.5, 0.5)
    trials, weights = n[tried], count[tried] / count[tried].sum()
    passed = mean[tried] * trials

    def loss(logs: Floats) -> tuple[float, Floats]:
        a, b = np.exp(logs)
        likelihood = betaln(a + passed, b + trials - passed) - betaln(a, b)
        shared = digamma(a + b) - digamma(a + b + trials)
        by_a = digamma(a + passed) - digamma(a) + shared
        by_b = digamma(b + trials - passed) - digamma(b) + shared
        return -float(weights @ likelihood), -np.array([a * (weights @ by_a), b * (weights @ by_b)])

    bounds = [(np.log(_LEAST), np.log(_MOST))] * 2
    found = minimize(loss, np.log([0.5, 0.5]), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    a, b = np.exp(found.x)
    return Beta(float(a), float(b))
