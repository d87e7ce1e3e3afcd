"""What makes a pivot: the rules of `filter`, each a value to rank by and reasons to drop.

    paper      keep s  iff  std(s) > 0  and  mean(s) < lambda                          (paper, Eq. 5)
    posterior  keep s  iff  P(low < p < lambda | rewards of s) >= level
    signal     keep s  iff  E[sqrt(p (1 - p)) | rewards of s] >= minimum  and  E[p | rewards of s] < lambda

`p` is the true pass rate, its posterior a Beta whose prior is fitted to all candidates that the filter may choose from
(`stats.fit_beta`). Under that posterior a rate is never exactly 0 or 1, so the second rule needs ends of its own: `low`
is 0.05 unless given, and lambda counts as 0.95 at most. At a rate of 0.05 a group of 16 rollouts is mixed in 56 % of
all draws, and a group of 8 in 34 %.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.rows import DropReason
from pivotrl_cli.stages.filter.draws import draws
from pivotrl_cli.stats import Beta, fit_beta

LOWEST_RATE = 0.05
LEVEL = 0.5
MIN_SIGNAL = 0.2

Reasons = list[tuple[pl.Expr, DropReason]]


def check(config: FilterConfig) -> None:
    """Refuse options that contradict each other or would do nothing."""
    if config.level is not None and config.rule != "posterior":
        raise ConfigError("--level belongs to another rule", "add --rule posterior")
    if config.min_signal is not None and config.rule != "signal":
        raise ConfigError("--min-signal belongs to another rule", "add --rule signal")
    if lowest_rate(config) >= highest_rate(config):
        raise ConfigError(
            f"the pass rate cannot be at least {lowest_rate(config):g} and below {highest_rate(config):g}",
            "lower --min-pass-rate or raise --max-mean",
        )


def lowest_rate(config: FilterConfig) -> float:
    """Lower end of the window."""
    if config.min_pass_rate is None:
        return LOWEST_RATE if config.rule == "posterior" else 0.0
    return config.min_pass_rate


def highest_rate(config: FilterConfig) -> float:
    """Upper end of the window; the posterior rule caps it, because above 0.95 most groups have only right rollouts."""
    return min(config.max_mean, 1 - LOWEST_RATE) if config.rule == "posterior" else config.max_mean


def keep_reason(config: FilterConfig) -> str:
    """The rule in words, for the pivots table."""
    window = f"mean below {config.max_mean:g}"
    if config.min_pass_rate:
        window = f"mean from {config.min_pass_rate:g} to below {config.max_mean:g}"
    match config.rule:
        case "paper":
            return f"reward varies, {window}"
        case "posterior":
            return f"P({lowest_rate(config):g} < p < {highest_rate(config):g}) at least {config.level or LEVEL:g}"
        case "signal":
            return f"expected signal at least {_min_signal(config):g}, expected {window}"


ALL_ZERO = "all rewards 0, drawn"
"""Why an all-zero candidate is kept."""


def apply_rule(frame: pl.DataFrame, config: FilterConfig) -> tuple[pl.DataFrame, Beta]:
    """Add the rule's decision on the scored candidates; returns the prior that was fitted to them too.

    New columns: `value` to rank by, `posterior_mean`, `drop_reason` (null where the rule keeps it), `keep_reason`.
    """
    frame = frame.with_columns((pl.col("reward_mean") * 10_000).round().cast(pl.Int32).alias("cell"))
    cells = frame.group_by("n_scored", "cell").agg(pl.col("reward_mean").min(), pl.len()).sort("n_scored", "cell")
    mean, n, count = (cells[name].cast(pl.Float64).to_numpy() for name in ("reward_mean", "n_scored", "len"))
    prior = fit_beta(mean, n, count)
    cells = _with_posterior(cells.drop("reward_mean", "len"), prior.posterior(mean, n), config)
    judged = frame.join(cells, on=["n_scored", "cell"], how="left", maintain_order="left").with_columns(
        first_reason(_reasons(config)).alias("drop_reason"),
        pl.lit(keep_reason(config)).alias("keep_reason"),
        _rank_value(config).alias("value"),
    )
    return _keep_all_zero(judged, config), prior


def first_reason(reasons: Reasons) -> pl.Expr:
    """The first reason whose condition holds; null where none does."""
    kind = pl.Enum([reason.value for reason in DropReason])
    return pl.coalesce([pl.when(condition).then(pl.lit(reason.value, kind)) for condition, reason in reasons])


def _with_posterior(cells: pl.DataFrame, posterior: Beta, config: FilterConfig) -> pl.DataFrame:
    """Add the posterior quantities that the rule needs; candidates with the same n and mean share a posterior."""
    low, high = lowest_rate(config), highest_rate(config)
    columns = {"posterior_mean": posterior.mean}
    if config.rule == "signal":
        columns["signal"] = posterior.signal
    if config.rule == "posterior":
        columns |= {"inside": posterior.between(low, high), "above": posterior.between(high, 1.0)}
    return cells.with_columns(**{name: pl.Series(np.asarray(value)) for name, value in columns.items()})


def _reasons(config: FilterConfig) -> Reasons:
    match config.rule:
        case "paper":
            return _paper_reasons(config)
        case "posterior":
            unlikely = pl.col("inside") < (config.level or LEVEL)
            too_easy = pl.col("above") > 1 - pl.col("above") - pl.col("inside")
            return [(unlikely & too_easy, DropReason.TOO_EASY), (unlikely, DropReason.TOO_HARD)]
        case "signal":
            return [
                (pl.col("signal") < _min_signal(config), DropReason.LOW_SIGNAL),
                *_outside_window("posterior_mean", config),
            ]


def _paper_reasons(config: FilterConfig) -> Reasons:
    constant, mean = pl.col("reward_std") == 0, pl.col("reward_mean")
    return [
        (constant & (mean == 0), DropReason.ALL_WRONG),
        (constant & (mean == 1), DropReason.ALL_RIGHT),
        (constant, DropReason.NO_VARIANCE),
        *_outside_window("reward_mean", config),
    ]


def _outside_window(rate: str, config: FilterConfig) -> Reasons:
    too_easy = pl.col(rate) >= config.max_mean if config.max_mean < 1 else pl.lit(False)
    return [(pl.col(rate) < lowest_rate(config), DropReason.TOO_HARD), (too_easy, DropReason.TOO_EASY)]


def _rank_value(config: FilterConfig) -> pl.Expr:
    return pl.col({"paper": "reward_std", "posterior": "inside", "signal": "signal"}[config.rule])


def _min_signal(config: FilterConfig) -> float:
    return MIN_SIGNAL if config.min_signal is None else config.min_signal


def _keep_all_zero(judged: pl.DataFrame, config: FilterConfig) -> pl.DataFrame:
    """Keep a share of the dropped all-zero candidates after all, the nearest whole number of them."""
    if not config.keep_all_zero:
        return judged
    zero = judged.filter((pl.col("reward_mean") == 0) & pl.col("drop_reason").is_not_null())
    zero = zero.select("row", draws(zero["candidate_id"], config.seed, "all zero"))
    drawn = zero.bottom_k(int(config.keep_all_zero * len(zero) + 0.5), by="draw")["row"]
    back = pl.col("row").is_in(drawn.implode())
    return judged.with_columns(
        pl.when(~back).then(pl.col("drop_reason")).alias("drop_reason"),
        pl.when(back).then(pl.lit(ALL_ZERO)).otherwise(pl.col("keep_reason")).alias("keep_reason"),
    )
