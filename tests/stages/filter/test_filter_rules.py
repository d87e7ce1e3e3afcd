from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from filtering import ids, profiled, run, steps
from scipy import integrate
from scipy import stats as scipy_stats

from pivotrl_cli.rows import DropReason
from pivotrl_cli.stages.filter.draws import draws
from pivotrl_cli.stats import Beta

RATES = ("00000000", "00000001", "00000111", "00001111", "00011111", "00111111", "01111111", "11111111")
ROWS = [profiled(f"t{i}-0", RATES[i % 8]) for i in range(80)]
ROWS += [profiled(f"u{i}-0", RATES[-(i % 2)]) for i in range(120)]
"""Ten candidates at each of 1/8, 3/8, 4/8, 5/8, 6/8 and 7/8, and 70 at 0 and at 1."""


def means(rows) -> dict[float, int]:
    return dict(sorted(Counter(row.reward_mean for row in rows).items()))


def posterior(summary, mean: float, n: int = 8):
    """The posterior of a candidate, from scipy and the stored prior."""
    prior = summary.prior
    return scipy_stats.beta(prior.a + mean * n, prior.b + n - mean * n)


def test_the_posterior_rule_keeps_what_is_probably_in_the_window(tmp_path):
    pivots, dropped, summary = run(tmp_path, ROWS, rule="posterior", level=0.7)
    inside = {i / 8: posterior(summary, i / 8).cdf(0.6) - posterior(summary, i / 8).cdf(0.05) for i in range(9)}
    assert means(pivots) == {mean: 10 for mean in (0.125, 0.375, 0.5, 0.625) if inside[mean] >= 0.7}
    assert means(pivots) == {0.125: 10, 0.375: 10, 0.5: 10}
    assert {row.drop_reason for row in dropped if row.reward_mean == 0} == {DropReason.TOO_HARD}
    assert {row.drop_reason for row in dropped if row.reward_mean >= 0.5} == {DropReason.TOO_EASY}
    assert {row.keep_reason for row in pivots} == {"P(0.05 < p < 0.6) at least 0.7"}
    best = min(pivots, key=lambda row: row.rank)
    assert inside[best.reward_mean] == max(inside[mean] for mean in means(pivots))


def test_the_posterior_rules_window_has_the_ends_that_are_given(tmp_path):
    pivots, _, summary = run(tmp_path, ROWS, rule="posterior", min_pass_rate=0.3, max_mean=1.0, level=0.6)
    inside = {i / 8: posterior(summary, i / 8).cdf(0.95) - posterior(summary, i / 8).cdf(0.3) for i in range(9)}
    assert means(pivots) == {mean: n for mean, n in means(ROWS).items() if inside[mean] >= 0.6}
    assert 1.0 not in means(pivots)  # whose rate is below 1, but hardly below 0.95
    assert {row.keep_reason for row in pivots} == {"P(0.3 < p < 0.95) at least 0.6"}


def test_the_signal_rule_keeps_a_large_expected_spread(tmp_path):
    pivots, dropped, summary = run(tmp_path, ROWS, rule="signal", min_signal=0.36, max_mean=1.0)

    def signal(mean):
        density = posterior(summary, mean).pdf
        return integrate.quad(lambda p: np.sqrt(p * (1 - p)) * density(p), 0, 1)[0]

    expected = {mean: n for mean, n in means(ROWS).items() if signal(mean) >= 0.36}
    assert means(pivots) == expected
    assert 0.125 not in expected
    assert 0.875 not in expected
    assert 0.5 in expected
    assert {row.drop_reason for row in dropped} == {DropReason.LOW_SIGNAL}
    assert {row.keep_reason for row in pivots} == {"expected signal at least 0.36, expected mean below 1"}
    assert {row.reward_mean for row in pivots if row.rank <= 10} == {0.5}


def test_the_signal_rule_has_the_window_too(tmp_path):
    _, dropped, summary = run(tmp_path, ROWS, rule="signal", max_mean=0.5, min_pass_rate=0.2)
    reasons = {row.reward_mean: row.drop_reason for row in dropped if row.reward_mean < 1}
    assert {mean for mean, reason in reasons.items() if reason == DropReason.TOO_EASY} == {
        mean for mean in (0.375, 0.5, 0.625, 0.75, 0.875) if posterior(summary, mean).mean() >= 0.5
    }
    assert reasons[0.125] == DropReason.TOO_HARD
    assert posterior(summary, 0.125).mean() < 0.2
    assert reasons[0.0] == DropReason.LOW_SIGNAL


def test_a_least_pass_rate_is_a_step_of_the_papers_rule(tmp_path):
    pivots, dropped, summary = run(tmp_path, ROWS, min_pass_rate=0.375)
    assert means(pivots) == {0.375: 10, 0.5: 10}
    assert {row.reward_mean for row in dropped if row.drop_reason == DropReason.TOO_HARD} == {0.125}
    assert steps(summary)[-1] == ("in window", 20, {"too_hard": 10, "too_easy": 30})
    assert {row.keep_reason for row in pivots} == {"reward varies, mean from 0.375 to below 0.6"}


@pytest.mark.parametrize("options", [{}, {"rule": "posterior"}, {"rule": "signal"}, {"min_pass_rate": 0.3}])
def test_a_share_of_the_all_zero_ones_is_kept_against_any_rule(tmp_path, options):
    without, _, _ = run(tmp_path, ROWS, "without", **options)
    with_some, _, summary = run(tmp_path, ROWS, "some", keep_all_zero=0.44, **options)
    zero = [row for row in with_some if row.reward_mean == 0]
    assert [row for row in ids(with_some) if row not in ids(zero)] == ids(without)
    assert len(zero) == summary.all_zero_drawn == 31  # of 70: the nearest whole number to 30.8
    assert {row.keep_reason for row in zero} == {"all rewards 0, drawn"}
    another = run(tmp_path, ROWS, "another", keep_all_zero=0.44, seed=1, **options)[0]
    assert len(another) == len(with_some)
    assert ids(another) != ids(with_some)


def test_a_condition_on_the_columns(tmp_path):
    rows = [profiled(f"t{i}-0", "0011", turn=i, domain="airline" if i % 2 else "retail") for i in range(10)]
    pivots, dropped, summary = run(tmp_path, rows, where="domain = 'airline' AND turn > 3 AND tool <> 'move'")
    assert ids(pivots) == ["t5-0", "t7-0", "t9-0"]
    assert {row.drop_reason for row in dropped} == {DropReason.WHERE}
    assert steps(summary)[:2] == [("train split", 10, {}), ("where", 3, {"where_false": 7})]
    assert run(tmp_path, rows, "null", where="outcome < 1")[0] == []  # unknown is not true


def test_the_prior_is_of_what_may_be_chosen(tmp_path):
    """Held-out rows and those that do not meet the condition say nothing."""
    others = [profiled(f"h{i}-0", "11111111", split="holdout") for i in range(50)]
    others += [profiled(f"x{i}-0", "11111111", source="x") for i in range(50)]
    alone = run(tmp_path, ROWS, "alone", where="source <> 'x'")[2]
    among = run(tmp_path, [*ROWS, *others], "among", where="source <> 'x'")[2]
    assert (among.prior, among.expected_reward_mean) == (alone.prior, alone.expected_reward_mean)


def test_the_expectation_of_the_kept_is_their_posterior_mean_by_hand(tmp_path):
    _, _, summary = run(tmp_path, ROWS)
    a, b = summary.prior.a, summary.prior.b
    # kept: ten each of 1, 3 and 4 of 8
    assert summary.reward_mean == pytest.approx((1 + 3 + 4) / 24)
    assert summary.expected_reward_mean == pytest.approx(sum((a + s) / (a + b + 8) for s in (1, 3, 4)) / 3)


def test_the_expectation_tells_the_true_rate_of_a_selection_that_the_mean_does_not(tmp_path):
    """Winner's curse: keep those that look hardest among 4,000 whose rates are known."""
    rng = np.random.default_rng(0)
    rates = rng.beta(2, 2, 4000)
    rows = [profiled(f"t{i}-0", (rng.random(4) < p).astype(float).tolist()) for i, p in enumerate(rates)]
    pivots, _, summary = run(tmp_path, rows, max_mean=0.3)
    true = np.mean([rates[int(row.trajectory_id[1:])] for row in pivots])
    assert summary.reward_mean == 0.25
    assert summary.prior.model_dump() == pytest.approx({"a": 2.0, "b": 2.0}, rel=0.15)
    assert summary.expected_reward_mean == pytest.approx(true, abs=0.02)
    assert true - summary.reward_mean > 0.1


def test_draws_are_uniform_and_follow_seed_purpose_and_name_alone():
    names = pl.Series([f"t{i}-{i % 7}" for i in range(5000)])
    first = draws(names, 0, "select")
    assert draws(names[::-1], 0, "select").to_list() == first[::-1].to_list()
    assert draws(names[:1], 0, "select")[0] == first[0]
    assert draws(pl.concat([names, pl.Series(["x" * 100])]), 0, "select")[:-1].to_list() == first.to_list()
    uniform = first.to_numpy() / 2**64
    assert scipy_stats.kstest(uniform, "uniform").pvalue > 0.01
    for other in (draws(names, 1, "select"), draws(names, 0, "control")):
        assert abs(np.corrcoef(uniform, other.to_numpy() / 2**64)[0, 1]) < 0.05
    assert draws(pl.Series([], dtype=pl.String), 0, "select").to_list() == []
    assert draws(pl.Series(["é" * 3, "é" * 4]), 0, "x").n_unique() == 2


def test_the_posterior_is_conjugate():
    assert Beta(1.0, 2.0).posterior(np.array([0.25]), np.array([4.0])) == Beta(np.array([2.0]), np.array([5.0]))
