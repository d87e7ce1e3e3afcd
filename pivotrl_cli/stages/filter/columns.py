"""The columns that `filter` decides on: a few narrow ones of all rows, the states and rollouts left unread."""

from __future__ import annotations

import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Profile
from pivotrl_cli.stages.filter.limits import MESSAGE
from pivotrl_cli.stages.filter.where import Where
from pivotrl_cli.storage.table import Table

_ALWAYS = ["candidate_id", "source", "domain", "split", "n_scored", "reward_mean", "reward_std"]
CALLED = "expected_action.tool_calls.list.element.name"
"""Parquet path of the names of the demonstrated calls."""


def read(profile: Table[Profile], config: FilterConfig) -> pl.DataFrame:
    """One row per candidate: what the config asks for, `tool`, and `where` (true where no condition is given)."""
    where = Where.of(config.where, profile)
    names = [*_ALWAYS, *where.columns]
    if config.max_per_trajectory is not None or config.max_per_task is not None:
        names += ["trajectory_id", "task_id"]
    wanted = [name for name in dict.fromkeys(names) if name != "tool"]
    frame = profile.frame([*wanted, CALLED])
    if not len(frame):
        raise InputError(f"{profile.name}: no rows", "profile some candidates first")
    tooled = with_tool(frame)
    return tooled.with_columns(where.of_frame(tooled).alias("where"))


def with_tool(frame: pl.DataFrame) -> pl.DataFrame:
    """With `tool` in the place of `expected_action`: the demonstrated call, several joined by ` + `, or a message."""
    names = pl.col("expected_action").struct.field("tool_calls").list.eval(pl.element().struct.field("name"))
    tool = pl.when(names.list.len() == 0).then(pl.lit(MESSAGE)).otherwise(names.list.join(" + "))
    return frame.with_columns(tool.alias("tool")).drop("expected_action")
