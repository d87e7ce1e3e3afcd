"""Which of the pivots to keep when there are more than wanted, and the random control of the same size.

Every limit is a step: the pivots are put in the order of `--select`, and the step keeps those that come first. The
guard on messages looks ahead to `--limit`, so that the share holds in what is left after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.rows import DropReason
from pivotrl_cli.stages.filter.draws import draws

MESSAGE = "(message)"
"""Stands for the tool where the demonstrated action calls none."""

Step = Callable[[pl.DataFrame], pl.Expr | pl.Series]


def check(config: FilterConfig) -> None:
    """Refuse options that contradict each other or would do nothing."""
    if config.balance is not None and config.limit is None:
        raise ConfigError("--balance shares a limit, and there is none", "add --limit N")
    if config.select != "top" and not list(steps(config)):
        raise ConfigError(
            f"--select {config.select} says which ones a limit keeps, and there is none",
            "add --limit N or another limit; for a random control: --control random",
        )


def steps(config: FilterConfig) -> Iterator[tuple[DropReason, Step]]:
    """The limits that a config sets: the reason of those that fall, and the condition that the others meet."""
    if config.max_per_trajectory is not None:
        yield DropReason.TRAJECTORY_CAP, _cap(config.max_per_trajectory, "trajectory_id")
    if config.max_per_task is not None:
        yield DropReason.TASK_CAP, _cap(config.max_per_task, "task")
    if config.max_message_ratio is not None:
        yield DropReason.MESSAGE_RATIO, _message_guard(config.max_message_ratio, config.limit)
    if config.balance is not None and config.limit is not None:
        yield DropReason.BALANCE, _balance(config.limit, config.balance)
    elif config.limit is not None:
        yield DropReason.LIMIT, _first(config.limit)


def limited(judged: pl.DataFrame, config: FilterConfig) -> pl.DataFrame:
    """Drop what the limits cut, and add `rank` (1 has the highest value of the rule)."""
    kept = judged.filter(pl.col("drop_reason").is_null())
    kept = kept.with_columns(draws(kept["candidate_id"], config.seed, "select"))
    fallen = [kept.clear().select("row", cut="drop_reason")]
    for reason, step in steps(config):
        kept = ordered(kept, config.select)
        kept = kept.with_columns(step(kept).alias("within"))
        fallen.append(kept.filter(~pl.col("within")).select("row", cut=_literal(reason)))
        kept = kept.filter("within")
    cut = judged.join(pl.concat(fallen), on="row", how="left", maintain_order="left")
    return _with_rank(cut.with_columns(pl.coalesce("drop_reason", "cut").alias("drop_reason")).drop("cut"), kept)


def control(selected: pl.DataFrame, kind: str, seed: int) -> pl.DataFrame:
    """As many candidates as were selected, drawn from all of them; with `random-tools`, as many of each tool."""
    drawn = selected.drop("rank").with_columns(draws(selected["candidate_id"], seed, "control"))
    group = pl.lit(0) if kind == "random" else pl.col("tool")
    size = pl.col("drop_reason").is_null().sum().over(group)
    reason = pl.when(pl.col("draw").rank("ordinal").over(group) > size).then(_literal(DropReason.NOT_DRAWN))
    name = "random control" if kind == "random" else "random control, same tools"
    drawn = drawn.with_columns(reason.alias("drop_reason"), pl.lit(name).alias("keep_reason"))
    return _with_rank(drawn, drawn)


def ordered(kept: pl.DataFrame, select: str) -> pl.DataFrame:
    """In the order in which limits take them; it does not depend on the order of the rows."""
    if select == "top":
        return _best_first(kept)
    kept = kept.sort("draw")
    if select == "random":
        return kept
    tenth = (pl.col("reward_mean") * 10).floor().clip(0, 9)
    return kept.sort(pl.int_range(pl.len()).over(tenth), "draw")


def _with_rank(frame: pl.DataFrame, drawn: pl.DataFrame) -> pl.DataFrame:
    """Add the place by the value of the rule among what is kept; `drawn` has the draws that decide between equals."""
    kept = _best_first(drawn.filter(pl.col("drop_reason").is_null()))
    ranks = kept.select("row", pl.int_range(1, pl.len() + 1).alias("rank"))
    return frame.join(ranks, on="row", how="left", maintain_order="left")


def _best_first(kept: pl.DataFrame) -> pl.DataFrame:
    return kept.sort("value", "reward_mean", "draw", descending=[True, False, False])


def _literal(reason: DropReason) -> pl.Expr:
    return pl.lit(reason.value, pl.Enum([r.value for r in DropReason]))


def _cap(most: int, key: str) -> Step:
    unknown = pl.col("task_id") == ""
    of = (
        ["trajectory_id"]
        if key == "trajectory_id"
        else [pl.when(unknown).then("trajectory_id").otherwise("task_id"), unknown]
    )
    return lambda kept: pl.int_range(pl.len()).over(of) < most


def _first(limit: int) -> Step:
    return lambda kept: pl.int_range(pl.len()) < limit


def _message_guard(ratio: float, limit: int | None) -> Step:
    share, message = Fraction(str(ratio)), pl.col("tool") == MESSAGE

    def step(kept: pl.DataFrame) -> pl.Expr:
        n_calls = kept.select((~message).sum()).item()
        most = int(share / (1 - share) * n_calls)
        if limit is not None:
            most = min(most, int(share * limit))
        return ~message | (message.cum_sum() <= most)

    return step


def _balance(limit: int, key: str) -> Step:
    """The first of every group, then the second of every group, and so on to the limit."""

    def step(kept: pl.DataFrame) -> pl.Series:
        place = kept.select(pl.int_range(pl.len()).over(key)).to_series().to_numpy()
        within = np.zeros(len(kept), dtype=bool)
        within[np.argsort(place, kind="stable")[:limit]] = True
        return pl.Series(within)

    return step
