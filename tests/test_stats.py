from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import integrate, special
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from pivotrl_cli.stats import (
    Beta,
    Difference,
    Estimate,
    Interval,
    clustered_mean,
    effective_n,
    fit_beta,
    mean_and_std,
    mean_of_means,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    rate_interval,
    sign_flip_p,
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


def test_one_binary_score_per_task_has_the_jeffreys_interval():
    scores = np.array([1.0] * 7 + [0.0] * 23)
    assert effective_n(scores, names(30, 1)) == pytest.approx(30)
    found = clustered_mean(scores, names(30, 1))
    low, high = proportion_confint(7, 30, method="jeffreys")
    assert (found.mean, found.low, found.high, found.n) == (7 / 30, pytest.approx(low), pytest.approx(high), 30)


def test_the_effective_sample_size_by_hand():
    """Four tasks of two trials, means 1, 1, 0, 1/2: sums about the mean of 5/8 are 3/4, 3/4, -5/4, -1/4.

    Their squares add up to 2.75, so the mean varies by 2.75 / 64 * 4 / 3 = 0.0573; independent rows by 15 / 64 / 7.
    """
    scores = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    widened = scipy_stats.t.ppf(0.975, 3) / scipy_stats.t.ppf(0.975, 7)
    unbounded = 8 * (15 / 64 / 7) / (2.75 / 64 * 4 / 3) / widened**2
    assert unbounded == pytest.approx(2.58, abs=0.01)
    assert effective_n(scores, names(4, 2)) == 4  # no fewer than there are tasks
    rows = np.tile(scores, 20)
    assert 80 < effective_n(rows, names(80, 2)) < 160
    assert effective_n(rows, names(160, 1)) == pytest.approx(160)


def test_tasks_of_unequal_size_count_by_their_share():
    one_large = ["a"] * 8 + ["b"] * 2
    assert effective_n(np.ones(10), one_large) == pytest.approx(100 / 68)
    assert effective_n(np.array([0.0] * 8 + [1.0] * 2), one_large) == pytest.approx(100 / 68)
    assert effective_n(np.array([0.0, 1.0]), ["a", "a"]) == 1


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_rows_alike_have_the_interval_of_their_tasks(score):
    found = clustered_mean(np.full(12, score), names(4, 3))
    assert found == Estimate(score, *rate_interval(score, 4), n=12)
    assert found.high - found.low > 0.4


def test_scores_in_between_are_narrower_than_the_same_mean_of_zeros_and_ones():
    rng = np.random.default_rng(0)
    between = clustered_mean(rng.beta(40, 10, 100), names(100, 1))
    binary = clustered_mean(np.array([1.0] * 80 + [0.0] * 20), names(100, 1))
    assert between.high - between.low < 0.25 * (binary.high - binary.low)
    assert clustered_mean(np.full(5, 0.5), names(5, 1)) == Estimate(0.5, *rate_interval(0.5, 5), n=5)


WORLDS = {
    "one trial, rate 0.02": (100, 1, None, 0.02),
    "one trial, rate 0.5": (40, 1, None, 0.5),
    "one trial, rate 0.9": (30, 1, None, 0.9),
    "four trials, rates uniform": (40, 4, (1, 1), 0.5),
    "four trials, rates 0 or 1, nearly": (40, 4, (0.1, 0.1), 0.5),
    "four trials, high rates": (40, 4, (8, 1), 8 / 9),
    "sixteen trials of few tasks": (15, 16, (1, 20), 1 / 21),
}


@pytest.mark.parametrize("world", WORLDS)
def test_intervals_of_means_have_nominal_coverage(world):
    n_tasks, n_trials, prior, mean = WORLDS[world]
    rng = np.random.default_rng(1)
    clusters, covered = names(n_tasks, n_trials), 0
    for _ in range(2000):
        rates = np.full((n_tasks, 1), mean) if prior is None else rng.beta(*prior, (n_tasks, 1))
        found = clustered_mean((rng.random((n_tasks, n_trials)) < rates).astype(float).ravel(), clusters)
        covered += found.low <= mean <= found.high
    assert 0.925 < covered / 2000 < 0.995


@pytest.mark.parametrize("n", [15, 60])
def test_intervals_of_fractional_scores_have_nominal_coverage(n):
    rng = np.random.default_rng(2)
    found = [clustered_mean(rng.beta(8, 2, n), names(n, 1)) for _ in range(2000)]
    assert 0.925 < np.mean([e.low <= 0.8 <= e.high for e in found]) < 0.975


def test_rows_of_a_task_are_not_independent():
    """The same rows taken as independent: the interval misses far too often."""
    rng = np.random.default_rng(1)
    scores = [(rng.random((40, 4)) < rng.random((40, 1))).astype(float).ravel() for _ in range(300)]
    by_row = [clustered_mean(s, [str(i) for i in range(160)]) for s in scores]
    assert np.mean([e.low <= 0.5 <= e.high for e in by_row]) < 0.88


def pairs(wins: int, losses: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Binary scores of two models on n items."""
    first = np.array([0.0] * wins + [1.0] * losses + [1.0] * (n - wins - losses))
    second = np.array([1.0] * wins + [0.0] * losses + [1.0] * (n - wins - losses))
    return first, second


def test_a_paired_difference_by_hand():
    """(11 - 3) / 102 and the square root of (14 / 102 - 0.0784 ** 2) / 102."""
    found = paired_difference(*pairs(10, 2, 100), names(100, 1), draws=100, seed=0)
    assert (found.mean, found.wins, found.losses) == (pytest.approx(0.08), 10, 2)
    assert (found.low, found.high) == (pytest.approx(0.0784 - 0.0702, abs=1e-4), pytest.approx(0.1486, abs=1e-4))
    assert (found.p, found.significant) == (pytest.approx(0.0386, abs=1e-4), True)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_binary_pairs_have_the_exact_mcnemar_test(wins, losses, ties):
    n = wins + losses + ties
    if not n:
        return
    found = paired_difference(*pairs(wins, losses, n), names(n, 1), draws=100, seed=0)
    assert found.p == pytest.approx(mcnemar([[ties, wins], [losses, 0]], exact=True).pvalue)
    expected = scipy_stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert found.p == pytest.approx(expected)


def test_models_that_never_differ_have_an_interval_all_the_same():
    same = np.tile([1.0, 0.0, 0.0, 0.0], 25)
    found = paired_difference(same, same, names(100, 1), draws=100, seed=0)
    half = 1.959964 * math.sqrt(2 / 102 / 102)
    assert found == Difference(0.0, pytest.approx(-half), pytest.approx(half), 1.0, wins=0, losses=0)
    by_task = paired_difference(same, same, names(25, 4), draws=100, seed=0)
    assert by_task.high == pytest.approx(1.959964 * math.sqrt(2 / 27 / 27))


def test_models_that_always_differ_have_an_interval_within_the_scale():
    found = paired_difference(np.zeros(10), np.ones(10), names(10, 1), draws=100, seed=0)
    assert (found.mean, found.high, found.p) == (1.0, 1.0, pytest.approx(2 / 2**10))
    assert 0.5 < found.low < 0.8


def test_sign_changes_by_hand():
    # of the eight signs of 1, 2 and 4, those with a sum of at least 5: +++ (7), -++ (5), and their mirror images
    assert sign_flip_p(np.array([-1.0, 2.0, 4.0, 0.0]), draws=100, seed=0) == 4 / 8
    assert sign_flip_p(np.array([1.0, 2.0, 4.0]), draws=100, seed=0) == 2 / 8
    assert sign_flip_p(np.zeros(3), draws=100, seed=0) == 1.0
    assert sign_flip_p(np.array([0.1, 0.2, -0.3]), draws=100, seed=0) == 1.0


def test_drawn_sign_changes_agree_with_all_of_them():
    rng = np.random.default_rng(0)
    sums = rng.normal(0.5, 1.0, 13)
    exact, drawn = sign_flip_p(sums, 10_000, seed=0), sign_flip_p(sums, 4000, seed=0)
    assert 0.02 < exact < 0.98
    assert drawn == pytest.approx(exact, abs=0.03)
    found = scipy_stats.permutation_test((sums,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert exact == pytest.approx(found.pvalue)
    first, again, other = (sign_flip_p(rng.permutation(sums), 500, seed) for seed in (3, 3, 4))
    assert len({first, again, other}) > 1
    assert sign_flip_p(sums, 500, 3) == sign_flip_p(sums, 500, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("n_tasks", "n_trials"), [(100, 1), (30, 4), (12, 8)])
def test_paired_intervals_and_tests_have_nominal_rates(n_tasks, n_trials):
    """Second model better by 0.1 on average, by task more or less: the interval holds it; by 0: few false alarms."""
    rng = np.random.default_rng(3)
    clusters = names(n_tasks, n_trials)

    def drawn(gain: float) -> Difference:
        rates = rng.uniform(0.2, 0.8, (n_tasks, 1))
        better = rates + gain + rng.uniform(-0.1, 0.1, (n_tasks, 1))
        first, second = ((rng.random((n_tasks, n_trials)) < r).astype(float).ravel() for r in (rates, better))
        return paired_difference(first, second, clusters, draws=200, seed=0)

    held = np.mean([d.low <= 0.1 <= d.high for d in (drawn(0.1) for _ in range(1000))])
    alarms = np.mean([drawn(0.0).significant for _ in range(1000)])
    assert 0.925 < held < 0.985
    assert alarms < 0.065


def test_the_mean_of_means_by_hand():
    one, other = Estimate(0.5, 0.4, 0.7, n=10), Estimate(1.0, 0.7, 1.0, n=1000)
    assert mean_of_means([one, other]) == Interval(
        0.75, pytest.approx(0.75 - math.hypot(0.1, 0.3) / 2), pytest.approx(0.75 + 0.1)
    )
    assert mean_of_means([one]) == Interval(0.5, pytest.approx(0.4), pytest.approx(0.7))


def test_a_posterior_by_hand():
    """Three of four passes on a uniform prior: Beta(4, 2)."""
    found = Beta(1.0, 1.0).posterior(np.array([0.75, 0.0]), np.array([4.0, 0.0]))
    assert (found.a.tolist(), found.b.tolist()) == ([4.0, 1.0], [2.0, 1.0])
    assert found.mean == pytest.approx([4 / 6, 1 / 2])
    # Beta(4, 2) has the distribution function 5 p^4 - 4 p^5
    assert found.between(0.25, 0.5) == pytest.approx([5 / 16 - 4 / 32 - 5 / 256 + 4 / 1024, 0.25])
    # E[sqrt(p (1 - p))] = B(4.5, 2.5) / B(4, 2) = 20 B(4.5, 2.5), and pi / 8 for the uniform
    assert found.signal == pytest.approx([20 * 105 / 16 * 3 / 4 * np.pi / 720, np.pi / 8])


PARAMETERS = st.floats(1e-3, 1e3)
"""Of the priors that `fit_beta` gives, and of their posteriors."""


@given(PARAMETERS, PARAMETERS)
@example(15.25, 19.25)
def test_the_expected_signal_is_its_integral(a, b):
    """With p = sin(t)^2, sqrt(p (1 - p)) dp is 2 sin(t)^2 cos(t)^2 dt; scaled, or the quadrature sees nothing of it."""

    def density(t):
        return 2 * np.exp(2 * a * np.log(np.sin(t)) + 2 * b * np.log(np.cos(t)) - special.betaln(a, b))

    mode = np.arctan2(a**0.5, b**0.5)
    parts = [
        integrate.quad(density, *ends, epsabs=0, epsrel=1e-9, limit=500) for ends in ((0, mode), (mode, np.pi / 2))
    ]
    assert float(Beta(a, b).signal) == pytest.approx(sum(value for value, _ in parts), rel=1e-7)


@given(PARAMETERS, PARAMETERS, st.floats(0, 1), st.floats(0, 1))
def test_the_probability_of_an_interval_is_that_of_the_distribution(a, b, x, y):
    low, high = sorted((x, y))
    expected = scipy_stats.beta.cdf(high, a, b) - scipy_stats.beta.cdf(low, a, b)
    assert float(Beta(a, b).between(low, high)) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_a_rate_interval_leaves_a_tail_on_each_side(n, share):
    mean = round(share * n) / n
    low, high = rate_interval(mean, n)
    posterior = scipy_stats.beta(mean * n + 0.5, n - mean * n + 0.5)
    assert posterior.cdf(low) == pytest.approx(0.025 if mean > 0 else 0.0, abs=1e-9)
    assert posterior.sf(high) == pytest.approx(0.025 if mean < 1 else 0.0, abs=1e-9)


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


def test_pass_at_k_and_pass_hat_k_count_the_choices_of_k_trials():
    for n, c, k in itertools.product(range(1, 6), range(6), range(1, 6)):
        if c <= n and k <= n:
            choices = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))
            assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, choices)) / len(choices))


def test_pass_at_k_and_pass_hat_k_are_unbiased():
    p, n, k = 0.3, 6, 3
    weights = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    assert sum(w * pass_at_k(n, c, k) for c, w in enumerate(weights)) == pytest.approx(1 - 0.7**3)
    assert sum(w * pass_hat_k(n, c, k) for c, w in enumerate(weights)) == pytest.approx(0.3**3)
