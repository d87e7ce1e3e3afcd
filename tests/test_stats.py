from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats

from pivotrl_cli.stats import (
    Beta,
    Difference,
    Estimate,
    clustered_mean,
    fit_beta,
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


def test_a_posterior_by_hand():
    """Three of four passes on a uniform prior: Beta(4, 2)."""
    found = Beta(1.0, 1.0).posterior(np.array([0.75, 0.0]), np.array([4.0, 0.0]))
    assert (found.a.tolist(), found.b.tolist()) == ([4.0, 1.0], [2.0, 1.0])
    assert found.mean == pytest.approx([4 / 6, 1 / 2])
    # Beta(4, 2) has the distribution function 5 p^4 - 4 p^5
    assert found.between(0.25, 0.5) == pytest.approx([5 / 16 - 4 / 32 - 5 / 256 + 4 / 1024, 0.25])
    # E[sqrt(p (1 - p))] = B(4.5, 2.5) / B(4, 2) = 20 B(4.5, 2.5), and pi / 8 for the uniform
    assert found.signal == pytest.approx([20 * 105 / 16 * 3 / 4 * np.pi / 720, np.pi / 8])


@given(st.floats(0.05, 20), st.floats(0.05, 20))
def test_the_expected_signal_is_its_integral(a, b):
    # with p = sin(t)^2 the integrand is smooth: sqrt(p (1 - p)) dp = 2 sin(t)^2 cos(t)^2 dt
    density = integrate.quad(lambda t: 2 * np.sin(t) ** (2 * a) * np.cos(t) ** (2 * b), 0, np.pi / 2)[0]
    from scipy.special import beta

    assert Beta(a, b).signal == pytest.approx(density / beta(a, b), rel=1e-5)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.5), (2.0, 3.0), (0.6, 0.1)])
def test_the_fitted_prior_is_the_one_that_groups_were_drawn_from(a, b):
    """20,000 groups, half of 8 trials and half of 16."""
    rng = np.random.default_rng(0)
    n = np.repeat([8.0, 16.0], 10_000)
    mean = rng.binomial(n.astype(int), rng.beta(a, b, 20_000)) / n
    found = fit_beta(mean, n, np.ones(20_000))
    assert (found.a, found.b) == pytest.approx((a, b), rel=0.06)


def test_the_fitted_prior_has_the_highest_likelihood():
    mean, n, count = np.array([0.0, 0.25, 0.5, 1.0]), np.full(4, 4.0), np.array([5.0, 2.0, 1.0, 3.0])

    def likelihood(a, b):
        return count @ scipy_stats.betabinom(4, a, b).logpmf(mean * n)

    found = fit_beta(mean, n, count)
    best = likelihood(found.a, found.b)
    assert all(
        likelihood(found.a * x, found.b * y) < best for x in (0.98, 1.0, 1.02) for y in (0.98, 1.0, 1.02) if x * y != 1
    )
    each = np.repeat(np.arange(4), count.astype(int))
    again = fit_beta(mean[each], n[each], np.ones(11))
    assert (again.a, again.b) == pytest.approx((found.a, found.b), rel=1e-3)


def test_the_fitted_prior_where_the_data_say_nothing_or_one_thing():
    one = np.array([1.0])
    assert fit_beta(np.array([]), np.array([]), np.array([])) == Beta(0.5, 0.5)
    assert fit_beta(np.array([np.nan]), np.array([0.0]), one) == Beta(0.5, 0.5)
    zero = fit_beta(np.array([0.0]), np.array([8.0]), one)
    assert zero.mean < 1e-5
    half = fit_beta(np.array([0.5]), np.array([8.0]), one)
    assert (half.a, half.b) == pytest.approx((1000.0, 1000.0), rel=1e-3)
