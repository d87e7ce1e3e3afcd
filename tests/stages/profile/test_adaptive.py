from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from pivotrl_cli.stages.profile.adaptive import AdaptiveRule, is_pivot, pivot_probability, predictive

RIGHT_OR_WRONG = st.sampled_from([0.0, 1.0])
CREDIT = st.sampled_from([0.0, 0.25, 0.5, 2 / 3, 1.0]) | st.floats(0.0, 1.0)
RULES = st.builds(
    AdaptiveRule,
    max_mean=st.sampled_from([0.3, 0.6, 0.9, 1.0]),
    budget=st.integers(1, 24),
    first_round=st.integers(1, 8),
    round_size=st.integers(1, 6),
    level=st.sampled_from([0.6, 0.8, 0.9, 0.95, 1.0]),
)


def group(right: int, n: int) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


def stop(rule: AdaptiveRule, rewards: list[float]) -> int:
    n = 0
    while more := rule.more(rewards[:n]):
        n += more
    return n


def test_the_predictive_distribution_by_hand():
    """Beta(1/2, 3/2) after one wrong: both wrong 3/4 * 5/6, both right 1/4 * 1/2."""
    assert predictive(1, 0.0, 2) == pytest.approx([5 / 8, 1 / 4, 1 / 8])
    assert predictive(2, 1.0, 1) == pytest.approx([1 / 2, 1 / 2])
    assert predictive(4, 4.0, 0) == pytest.approx([1.0])


@given(st.integers(0, 40), st.integers(0, 40), st.data())
def test_the_predictive_distribution_is_scipys(n, left, data):
    total = data.draw(st.floats(0, n))
    expected = betabinom.pmf(np.arange(left + 1), left, total + 0.5, n - total + 0.5)
    assert predictive(n, total, left) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_pivot_probabilities_by_hand():
    assert pivot_probability([0.0, 0.0], 1, 0.6) == pytest.approx(0.5 / 3)  # the third is right
    assert pivot_probability([1.0, 1.0], 1, 0.7) == pytest.approx(0.5 / 3)  # the third is wrong, and 2/3 < 0.7
    assert pivot_probability([1.0, 1.0], 1, 0.6) == 0.0  # at best 2/3
    assert pivot_probability([1.0, 0.0], 2, 0.6) == pytest.approx(1 - 1.5 * 2.5 / 12)  # not both right
    assert pivot_probability([0.0], 1, 0.5) == 0.0  # a success would make it 1/2


def test_pivot_probabilities_of_partial_credit_by_hand():
    assert pivot_probability([0.5, 0.0], 2, 0.6) == pytest.approx(1 - 1 * 2 / 12)  # Beta(1, 2), not both right
    assert pivot_probability([0.5, 0.5], 1, 0.6) == pytest.approx(0.5 / 3)  # bound: the third differs
    assert pivot_probability([0.5, 0.5], 1, 0.3) == 0.0  # never below 0.3
    assert pivot_probability([0.5] * 20, 1, 0.52) == pytest.approx(0.5 / 21)


@pytest.mark.parametrize(
    ("rewards", "max_mean", "expected"),
    [
        ([], 0.6, False),
        ([0.0], 0.6, False),
        ([0.0, 0.0], 0.6, False),
        ([0.1] * 10, 0.6, False),
        ([1.0, 0.0], 0.6, True),
        ([1.0, 0.0], 0.5, False),
        ([1.0] * 6 + [0.0] * 4, 0.6, False),
        ([1.0] * 15 + [0.0], 1.0, True),
    ],
)
def test_the_pivot_rule(rewards, max_mean, expected):
    assert is_pivot(rewards, max_mean) is expected


@given(st.lists(CREDIT, min_size=1, max_size=16), st.sampled_from([0.3, 0.6, 1.0]))
def test_with_nothing_to_come_the_probability_is_the_rule(rewards, max_mean):
    assert pivot_probability(rewards, 0, max_mean) == pytest.approx(float(is_pivot(rewards, max_mean)), abs=1e-12)


def test_a_verdict_is_clear_from_its_level_on():
    def rule(level):
        return AdaptiveRule(max_mean=0.6, budget=3, first_round=2, round_size=1, level=level)

    assert rule(0.83).more([0.0, 0.0]) == 0  # dropped with 5/6
    assert rule(0.84).more([0.0, 0.0]) == 1
    assert rule(0.51).more([1.0, 0.0]) == 1  # kept with 1/2
    assert rule(1.0).more([1.0, 1.0]) == 0  # dropped for certain


def test_sampling_goes_on_while_the_rewards_seen_say_otherwise():
    rule = AdaptiveRule(max_mean=1.0, first_round=1, level=0.6)
    assert pivot_probability([0.0], 15, 1.0) > rule.level  # a pivot for all that is known, and none as yet
    assert rule.more([0.0]) == 2


def test_decisions_by_number_right():
    rule = AdaptiveRule(max_mean=0.6)
    assert [rule.more(group(right, 4)) for right in range(5)] == [2, 0, 2, 2, 0]
    assert [rule.more(group(right, 8)) for right in range(9)] == [2, 0, 0, 0, 2, 2, 0, 0, 0]
    easy = AdaptiveRule(max_mean=0.9)
    assert [easy.more(group(right, 4)) for right in range(5)] == [2, 0, 0, 0, 2]
    assert [easy.more(group(right, 8)) for right in range(9)] == [2, 0, 0, 0, 0, 0, 0, 2, 0]


def test_rounds_are_filled_before_a_decision():
    rule = AdaptiveRule(max_mean=0.6, budget=16, first_round=4, round_size=4)
    assert [rule.more([1.0] * n) for n in range(5)] == [4, 3, 2, 1, 0]
    assert [rule.more([0.0] * n) for n in (4, 5, 8, 15, 16)] == [4, 3, 4, 1, 0]
    assert AdaptiveRule(budget=3, first_round=4).more([]) == 3
    assert AdaptiveRule(budget=6, first_round=4, round_size=4).more([0.0] * 4) == 2


def test_unscored_rollouts_spend_the_budget_and_decide_nothing():
    rule = AdaptiveRule(max_mean=0.6)
    assert [rule.more([], unscored=n) for n in (0, 3, 4, 15, 16)] == [4, 1, 2, 1, 0]
    # 5 of 8 right: up to 4 of 8 more may be right for a mean below 0.6, but neither of 2 where 6 were lost
    assert pivot_probability(group(5, 8), 2, 0.6) == pytest.approx(3.5 * 4.5 / 90)
    assert [AdaptiveRule(max_mean=0.6, level=0.8).more(group(5, 8), unscored=lost) for lost in (0, 6)] == [2, 0]


@given(RULES, st.lists(RIGHT_OR_WRONG | CREDIT, min_size=24, max_size=24))
def test_it_stops_within_the_budget(rule, rewards):
    n = stop(rule, rewards)
    assert min(rule.first_round, rule.budget) <= n <= rule.budget


@given(RULES, st.lists(CREDIT, max_size=24), st.integers(0, 4), st.randoms(use_true_random=False))
def test_the_order_of_rewards_does_not_matter(rule, rewards, unscored, random):
    shuffled = random.sample(rewards, len(rewards))
    assert rule.more(shuffled, unscored) == rule.more(rewards, unscored)
    if rewards:
        assert pivot_probability(shuffled, 8, rule.max_mean) == pivot_probability(rewards, 8, rule.max_mean)


@given(RULES, st.lists(RIGHT_OR_WRONG | CREDIT, min_size=24, max_size=24))
def test_at_level_one_the_verdict_is_that_of_the_whole_budget(rule, rewards):
    certain = AdaptiveRule(rule.max_mean, rule.budget, rule.first_round, rule.round_size, level=1.0)
    seen = rewards[: stop(certain, rewards)]
    assert is_pivot(seen, rule.max_mean) == is_pivot(rewards[: rule.budget], rule.max_mean)


@pytest.mark.parametrize("max_mean", [0.6, 0.9])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_a_level_is_the_chance_that_the_verdict_stands(max_mean, level):
    """With rates from the prior, verdicts that stopped early agree with those of all 16 at least as often as said."""
    rng = np.random.default_rng(0)
    rewards = (rng.random((4000, 16)) < rng.beta(0.5, 0.5, (4000, 1))).astype(float).tolist()
    rule = AdaptiveRule(max_mean=max_mean, level=level)
    stops = [stop(rule, group) for group in rewards]
    early = [(group, n) for group, n in zip(rewards, stops, strict=True) if n < 16]
    stands = np.mean([is_pivot(group[:n], max_mean) == is_pivot(group, max_mean) for group, n in early])
    assert len(early) > 1000
    assert level < stands < 1.0


def test_it_finds_what_sixteen_find_with_half_the_rollouts_and_eight_do_not():
    rng = np.random.default_rng(0)
    rates = rng.beta(0.4, 0.2, (4000, 1))
    rewards = (rng.random((4000, 16)) < rates).astype(float).tolist()
    pivots = ((rates >= 1 / 64) & (rates < 0.6)).ravel()
    stops = [stop(AdaptiveRule(max_mean=0.6), group) for group in rewards]

    def found(sizes):
        kept = [is_pivot(group[:n], 0.6) for group, n in zip(rewards, sizes, strict=True)]
        return (np.array(kept) & pivots).sum()

    assert np.mean(stops) < 8
    assert found(stops) > 0.95 * found([16] * 4000)
    assert found([8] * 4000) < 0.85 * found([16] * 4000)
