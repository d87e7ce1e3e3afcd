from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from pivotrl_cli.stats import (
    Difference,
    Estimate,
    clustered_mean,
    mean_and_std,
    paired_difference,
    rate_interval,
)


def names(n_clusters: int, size: int) -> list[str]:
    return [f"task {i // size}" for i in range(n_clusters * size)]


def test_mean_and_population_standard_deviation_by_hand():
    assert mean_and_std([1.0, 0.0, 0.0, 1.0]) == (0.5, 0.5)
    assert mean_and_std([1.0, 0.0, 0.0, 0.0]) == pytest.approx((0.25, 3**0.5 / 4))
    assert mean_and_std([0.0, 0.5, 1.0]) == pytest.approx((0.5, (1 / 6) ** 0.5))


def test_groups_without_variance_have_none_by_rounding_either():
    assert mean_and_std([]) == (None, None)
    assert mean_and_std([0.3]) == (0.3, 0.0)
    mean, std = mean_and_std([0.1] * 10)
    assert (mean, std) == (pytest.approx(0.1), 0.0)


@given(st.integers(1, 64), st.data())
def test_the_interval_is_the_jeffreys_posteriors(n, data):
    passed = data.draw(st.integers(0, n))
    low, high = rate_interval(passed / n, n)
    posterior = scipy_stats.beta(passed + 0.5, n - passed + 0.5)
    assert low == (pytest.approx(posterior.ppf(0.025)) if passed else 0.0)
    assert high == (pytest.approx(posterior.ppf(0.975)) if passed < n else 1.0)
    assert low <= passed / n <= high


def test_intervals_by_value():
    assert rate_interval(0.5, 8) == pytest.approx((0.1990, 0.8010), abs=1e-4)
    assert rate_interval(0.0, 16) == pytest.approx((0.0, 0.1432), abs=1e-4)
    assert rate_interval(1.0, 1) == pytest.approx((0.1467, 1.0), abs=1e-4)
    assert rate_interval(0.5, 8, level=0.5) == pytest.approx((0.3860, 0.6140), abs=1e-4)


@pytest.mark.parametrize("n", [8, 16])
def test_the_interval_covers_the_true_rate_as_often_as_it_says(n):
    """Exactly, by summing over all outcomes: 95 % on average over the rates, never far below."""
    rates = np.linspace(0.005, 0.995, 199)
    ends = np.array([rate_interval(k / n, n) for k in range(n + 1)])
    covered = (ends[:, :1] <= rates) & (rates <= ends[:, 1:])
    coverage = (scipy_stats.binom.pmf(np.arange(n + 1)[:, None], n, rates) * covered).sum(axis=0)
    assert coverage.mean() == pytest.approx(0.95, abs=0.015)
    assert coverage.min() > 0.85


def test_the_interval_of_fractional_rewards_is_conservative():
    rng = np.random.default_rng(0)
    means = rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.5, 0.3], size=(2000, 16)).mean(axis=1)
    ends = np.array([rate_interval(mean, 16) for mean in means])
    assert np.mean((ends[:, 0] <= 0.55) & (ends[:, 1] >= 0.55)) > 0.97


def test_a_clustered_mean_weighs_every_row_alike():
    found = clustered_mean(np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"], resamples=2000, seed=0)
    # four draws of two clusters: aa, ab, ba, bb with means 1, 3/4, 3/4, 0
    assert found == Estimate(mean=0.75, low=0.0, high=1.0, n=4)


def test_all_rows_alike_have_the_interval_of_their_clusters():
    ones = clustered_mean(np.ones(12), names(4, 3), resamples=100, seed=0)
    assert ones == Estimate(1.0, *rate_interval(1.0, 4), n=12)
    zeros = clustered_mean(np.zeros(12), names(4, 3), resamples=100, seed=0)
    assert zeros == Estimate(0.0, *rate_interval(0.0, 4), n=12)


def test_the_same_seed_gives_the_same_interval():
    values = np.array([1.0, 0.1, 0.03, 1.0, 0.7, 0.0])
    first, again, other = (clustered_mean(values, names(6, 1), 200, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_clustered_intervals_cover_where_trials_of_a_task_are_alike():
    """40 tasks of 4 trials with rates uniform in [0, 1]: the true mean is 0.5, and rows are far from independent."""
    rng = np.random.default_rng(1)
    rates = rng.random((300, 40, 1))
    scores = (rng.random((300, 40, 4)) < rates).astype(float).reshape(300, 160)
    clusters = names(40, 4)
    by_task, by_row = (
        np.array([(e.low, e.high) for e in (clustered_mean(s, c, 300, seed=0) for s in scores)])
        for c in (clusters, [str(i) for i in range(160)])
    )
    coverage = [np.mean((ends[:, 0] <= 0.5) & (ends[:, 1] >= 0.5)) for ends in (by_task, by_row)]
    assert coverage[0] == pytest.approx(0.94, abs=0.03)
    assert coverage[1] < 0.85


def test_a_paired_difference_by_hand():
    first = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    second = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    found = paired_difference(first, second, names(6, 1), resamples=5000, seed=0)
    assert (found.mean, found.wins, found.losses) == (pytest.approx(2 / 6), 3, 1)
    assert (found.low, found.high) == (pytest.approx(-1 / 3), pytest.approx(1.0, abs=0.2))
    assert not found.significant


def test_a_consistent_gain_is_significant_and_none_at_all_is_a_point():
    gain = np.tile([1.0, 0.0, 0.0, 0.0], 25)
    found = paired_difference(np.zeros(100), gain, names(100, 1), resamples=2000, seed=0)
    assert found.mean == 0.25
    assert found.low == pytest.approx(0.17, abs=0.02)
    assert found.high == pytest.approx(0.34, abs=0.02)
    assert found.significant
    nothing = paired_difference(gain, gain, names(100, 1), resamples=100, seed=0)
    assert nothing == Difference(0.0, 0.0, 0.0, wins=0, losses=0)
    assert not nothing.significant


def test_pairing_and_clusters_both_count():
    """Two runs of the same tasks, each task with its own rate: the difference is null, and is called so."""
    rng = np.random.default_rng(2)
    rates = rng.random((200, 30, 1))
    first, second = ((rng.random((200, 30, 3)) < rates).astype(float).reshape(200, 90) for _ in range(2))
    found = [paired_difference(a, b, names(30, 3), 300, seed=0) for a, b in zip(first, second, strict=True)]
    assert np.mean([d.significant for d in found]) == pytest.approx(0.06, abs=0.04)
