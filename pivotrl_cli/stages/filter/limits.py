"""Which of the pivots to keep when there are more than wanted, and the random control of the same size.

Every limit is a step: the pivots are put in the order of `--select`, and the step keeps those that come first. The
guard on messages looks ahead to `--limit`, so that the share holds in what is left after it.

A new limit is a field of `FilterConfig`, a record in `LIMITS`, a `DropReason`, and a line in docs/filter.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
"""Which of the ordered pivots a limit keeps."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Example: `Limit(DropReason.TASK_CAP, "per task", _per_task, ("trajectory_id", "task_id"))`
    """

    reason: DropReason
    label: str
    """Its line in the funnel."""
    step: Callable[[FilterConfig], Step | None]
    """What it keeps; None where the config does not set it."""
    columns: tuple[str, ...] = ()
    """Columns that the step needs beside the usual ones."""


def _per_trajectory(config: FilterConfig) -> Step | None:
    most = config.max_per_trajectory
    return None if most is None else lambda kept: pl.int_range(pl.len()).over("trajectory_id") < most


def _per_task(config: FilterConfig) -> Step | None:
    most = config.max_per_task
    unknown = pl.col("task_id") == ""
    task = pl.when(unknown).then("trajectory_id").otherwise("task_id")
    return None if most is None else lambda kept: pl.int_range(pl.len()).over(task, unknown) < most


def _message_ratio(config: FilterConfig) -> Step | None:
    if config.max_message_ratio is None:
        return None
    share, message, limit = Fraction(str(config.max_message_ratio)), pl.col("tool") == MESSAGE, config.limit

    def step(kept: pl.DataFrame) -> pl.Expr:
        n_calls = kept.select((~message).sum()).item()
        most = int(share / (1 - share) * n_calls)
        if limit is not None:
            most = min(most, int(share * limit))
        return ~message | (message.cum_sum() <= most)

    return step


def _balance(config: FilterConfig) -> Step | None:
    """The first of every group, then the second of every group, and so on to the limit."""
    key, limit = config.balance, config.limit
    if key is None or limit is None:
        return None

    def step(kept: pl.DataFrame) -> pl.Series:
        place = kept.select(pl.int_range(pl.len()).over(key)).to_series().to_numpy()
        within = np.zeros(len(kept), dtype=bool)
        within[np.argsort(place, kind="stable")[:limit]] = True
        return pl.Series(within)

    return step


def _limit(config: FilterConfig) -> Step | None:
    limit = config.limit
    return None if limit is None or config.balance else lambda kept: pl.int_range(pl.len()) < limit


LIMITS = (
    Limit(DropReason.TRAJECTORY_CAP, "per trajectory", _per_trajectory, ("trajectory_id",)),
    Limit(DropReason.TASK_CAP, "per task", _per_task, ("trajectory_id", "task_id")),
    Limit(DropReason.MESSAGE_RATIO, "message ratio", _message_ratio),
    Limit(DropReason.BALANCE, "balanced", _balance),
    Limit(DropReason.LIMIT, "limit", _limit),
)
"""In the order in which they apply."""


def steps(config: FilterConfig) -> Iterator[tuple[Limit, Step]]:
    """The limits that a config sets, and what each keeps."""
    for limit in LIMITS:
        if step := limit.step(config):
            yield limit, step


def columns(config: FilterConfig) -> list[str]:
    """Columns that the limits of a config need."""
    return [name for limit, _ in steps(config) for name in limit.columns]


def check(config: FilterConfig) -> None:
    """Refuse options that contradict each other or would do nothing."""
    if config.balance is not None and config.limit is None:
        raise ConfigError("--balance shares a limit, and there is none", "add --limit N")
    if config.select != "top" and not list(steps(config)):
        raise ConfigError(
            f"--select {config.select} says which ones a limit keeps, and there is none",
            "add --limit N or another limit; for a random control: --control random",
        )


def apply_limits(judged: pl.DataFrame, config: FilterConfig) -> pl.DataFrame:
    """Drop what the limits cut, and add `rank` (1 has the highest value of the rule)."""
    kept = judged.filter(pl.col("drop_reason").is_null())
    kept = kept.with_columns(draws(kept["candidate_id"], config.seed, "select"))
    dropped = [kept.clear().select("row", cut="drop_reason")]
    for limit, step in steps(config):
        kept = _in_order(kept, config.select)
        kept = kept.with_columns(step(kept).alias("within"))
        dropped.append(kept.filter(~pl.col("within")).select("row", cut=_literal(limit.reason)))
        kept = kept.filter("within")
    cut = judged.join(pl.concat(dropped), on="row", how="left", maintain_order="left")
    return _with_rank(cut.with_columns(pl.coalesce("drop_reason", "cut").alias("drop_reason")).drop("cut"), kept)


def draw_control(selected: pl.DataFrame, kind: str, seed: int) -> pl.DataFrame:
    """As many candidates as were selected, drawn from all of them; with `random-tools`, as many of each tool."""
    drawn = selected.drop("rank").with_columns(draws(selected["candidate_id"], seed, "control"))
    group = pl.lit(0) if kind == "random" else pl.col("tool")
    size = pl.col("drop_reason").is_null().sum().over(group)
    reason = pl.when(pl.col("draw").rank("ordinal").over(group) > size).then(_literal(DropReason.NOT_DRAWN))
    name = "random control" if kind == "random" else "random control, same tools"
    drawn = drawn.with_columns(reason.alias("drop_reason"), pl.lit(name).alias("keep_reason"))
    return _with_rank(drawn, drawn)


def _in_order(kept: pl.DataFrame, select: str) -> pl.DataFrame:
    """The order in which limits keep the pivots; it does not depend on the order of the rows."""
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
