"""Rates, spreads and intervals: pure functions, and the only place where a statistic is defined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def mean_and_std(rewards: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and population standard deviation of a group's rewards (paper, Eq. 4); nulls for an empty group."""
    if not rewards:
        return None, None
    values = np.asarray(rewards, dtype=np.float64)
    spread = 0.0 if np.all(values == values[0]) else float(values.std())  # rounding must not invent a variance
    return float(values.mean()), spread


def rate_interval(mean: float, n: float, level: float = 0.95) -> tuple[float, float]:
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


def clustered_mean(values: Floats, clusters: Sequence[str]) -> Estimate:
    """Mean of scores in [0, 1], every row weighing alike, with an interval that is right near 0 and 1 and at them.

    The interval is `rate_interval` over the effective sample size, after Korn and Graubard (1998) with the Jeffreys
    interval in place of Clopper and Pearson's: the number of independent rows of 0 and 1 whose mean would vary as much.
    One row of 0 or 1 per cluster makes it the plain Jeffreys interval. Scores between 0 and 1 vary less than 0 and 1 of
    the same mean, and count for more. Where all rows are alike nothing shows how they vary: each cluster counts as one.
    Scores that happen to vary little say nothing of failures that are rare enough not to have been seen.

    Example: three tasks of four trials each, all right: `rate_interval(1.0, 3)`, which is (0.46, 1).
    """
    from scipy.special import stdtrit

    mean, n = float(values.mean()), effective_n(values, clusters)
    if np.any(values != values[0]) and not np.all((values == 0.0) | (values == 1.0)):
        widened = float(stdtrit(max(len(set(clusters)) - 1, 1), 0.975)) / _Z
        n *= mean * (1.0 - mean) / float(values.var()) / widened**2
    return Estimate(mean, *rate_interval(mean, n), n=len(values))


def effective_n(values: Floats, clusters: Sequence[str]) -> float:
    """Number of independent rows whose mean would vary as much as that of these rows does: n over the design effect.

    The design effect is the variance of the mean as whole clusters show it, over that of independent rows, and is
    widened by t quantiles where clusters are few. The result stays between Kish's number of clusters (rows of a cluster
    all say the same; n * n over the sum of squared cluster sizes) and n, and is the former where no row differs.
    """
    from scipy.special import stdtrit

    _, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    sums, counts = np.bincount(index, weights=values - values.mean()), np.bincount(index)
    n, n_clusters = len(values), len(sums)
    least = n * n / float((counts * counts).sum())
    if n_clusters < 2 or np.all(values == values[0]):
        return least
    between = float((sums * sums).sum()) / n**2 * n_clusters / (n_clusters - 1)
    independent = float(values.var()) / (n - 1)
    widened = stdtrit(n_clusters - 1, 0.975) / stdtrit(n - 1, 0.975)
    return min(float(n), max(least, n * independent / (between * widened**2)) if between else float(n))


def sums_by_cluster(values: Floats, clusters: Sequence[str]) -> Floats:
    """Sum of the values of each cluster."""
    _, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    return np.bincount(index, weights=values).astype(np.float64)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that some of k trials of a task succeed, estimated from n >= k trials of which c did: unbiased.

    1 - C(n - c, k) / C(n, k) (Chen et al. 2021): the share of all choices of k trials that hold a success.

    Example: `pass_at_k(4, 1, 2)` is 1/2.
    """
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Probability that all of k trials of a task succeed (pass^k), estimated from n >= k trials: unbiased.

    C(c, k) / C(n, k) (Yao et al. 2024, tau-bench): the share of all choices of k trials that hold successes alone.

    Example: `pass_hat_k(4, 3, 2)` is 1/2.
    """
    return math.comb(c, k) / math.comb(n, k)


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its 95 % interval and the p-value of its test."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided p-value of no difference."""
    wins: int
    """Items on which the second is higher."""
    losses: int
    """Items on which the first is higher."""

    @property
    def significant(self) -> bool:
        """The test rejects, at 5 %, that there is no difference."""
        return self.p < 0.05


def paired_difference(first: Floats, second: Floats, clusters: Sequence[str], draws: int, seed: int) -> Difference:
    """Mean of `second - first` over the same items, with its interval and its test (`draws` and `seed` are the test's).

    The interval is Bonett and Price's (2012) for paired proportions, extended to clusters and to scores in between: one
    win and one loss are added, each as large as the largest difference seen (1 where none is), to as many items as are
    effectively independent; the interval is then the usual one around the mean of those. So two models that never
    differ have an interval as wide as the items allow, instead of the point 0.

    Example: 10 wins and 2 losses in 100 items: mean 0.08, and (11 - 3) / 102 = 0.078 -+ 1.96 * 0.036.
    """
    delta = second - first
    n, mean = effective_n(delta, clusters), float(delta.mean())
    size = float(np.abs(delta).max()) or 1.0
    centre = n * mean / (n + 2)
    square = (n * float((delta * delta).mean()) + 2 * size**2) / (n + 2)
    half = _Z * math.sqrt((square - centre**2) / (n + 2))
    return Difference(
        mean,
        max(centre - half, -1.0),
        min(centre + half, 1.0),
        p=sign_flip_p(sums_by_cluster(delta, clusters), draws, seed),
        wins=int((delta > 0).sum()),
        losses=int((delta < 0).sum()),
    )


def sign_flip_p(sums: Floats, draws: int, seed: int) -> float:
    """Two-sided p-value of the hypothesis that each cluster's difference might as well have the other sign.

    The share of all sign changes whose sum is at least as far from zero. With one item of 0 or 1 per cluster it is the
    exact McNemar test. Exact too where all changes can be tried, within `draws`; else that many are drawn, with the
    observed one counted among them (Phipson and Smyth 2010), so that p is never 0.
    """
    from scipy.stats import binomtest

    moved = sums[sums != 0.0]
    sizes = np.abs(moved)
    if not len(moved):
        return 1.0
    if np.all(sizes == sizes[0]):
        return float(binomtest(int((moved > 0).sum()), len(moved)).pvalue)
    observed = abs(moved.sum()) - 1e-9 * sizes.sum()  # rounding must not make a tie a loss
    if len(moved) < draws.bit_length():
        codes = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))
        return float(np.mean(np.abs((1 - 2 * (codes & 1)) @ sizes) >= observed))
    rng = np.random.default_rng(seed)
    extreme = sum(abs((sizes * (1 - 2 * rng.integers(0, 2, len(sizes)))).sum()) >= observed for _ in range(draws))
    return float((1 + extreme) / (1 + draws))


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between two ends."""

    mean: float
    low: float
    high: float


def mean_of_means(parts: Sequence[Estimate | Difference]) -> Interval:
    """Mean of independent means, each weighing alike, as a table of several benchmarks is summed up.

    The distances of the ends from the means add up in squares, on each side by itself (the MOVER method; Zou and
    Donner 2008), so that the interval stays inside what the parts allow.
    """
    n = len(parts)
    mean = sum(part.mean for part in parts) / n
    down = math.sqrt(sum((part.mean - part.low) ** 2 for part in parts)) / n
    up = math.sqrt(sum((part.high - part.mean) ** 2 for part in parts)) / n
    return Interval(mean, mean - down, mean + up)


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
