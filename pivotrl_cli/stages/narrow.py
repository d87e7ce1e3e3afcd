"""The columns that `filter` decides on: a few narrow ones of all rows, the states and rollouts left unread."""

from __future__ import annotations

import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Profile
from pivotrl_cli.stages.limits import MESSAGE
from pivotrl_cli.table import Table

_ALWAYS = ["candidate_id", "source", "domain", "split", "n_scored", "reward_mean", "reward_std"]
_CALLS = "expected_action.tool_calls"


def read(profile: Table[Profile], config: FilterConfig) -> pl.DataFrame:
    """One row per candidate: what the config asks for, `tool`, and `where` (true where no condition is given)."""
    condition = _condition(profile, config)
    names = [*_ALWAYS, *condition.meta.root_names()]
    if config.max_per_trajectory is not None or config.max_per_task is not None:
        names += ["trajectory_id", "task_id"]
    wanted = [name for name in dict.fromkeys(names) if name != "tool"]
    frame = profile.frame([*wanted, f"{_CALLS}.list.element.name"])
    if not len(frame):
        raise InputError(f"{profile.name}: no rows", "profile some candidates first")
    return _with_condition(_with_tool(frame), condition, profile, config)


def _with_tool(frame: pl.DataFrame) -> pl.DataFrame:
    names = pl.col("expected_action").struct.field("tool_calls").list.eval(pl.element().struct.field("name"))
    tool = pl.when(names.list.len() == 0).then(pl.lit(MESSAGE)).otherwise(names.list.join(" + "))
    return frame.with_columns(tool.alias("tool")).drop("expected_action")


def _condition(profile: Table[Profile], config: FilterConfig) -> pl.Expr:
    if config.where is None:
        return pl.lit(True)
    try:
        condition = pl.sql_expr(config.where)
        unknown = set(condition.meta.root_names()) - {*profile.flat_columns, "tool"}
    except pl.exceptions.PolarsError as error:
        raise _bad(profile, config, str(error)) from error
    if unknown:
        raise _bad(profile, config, f"no column '{min(unknown)}'")
    return condition


def _with_condition(
    frame: pl.DataFrame, condition: pl.Expr, profile: Table[Profile], config: FilterConfig
) -> pl.DataFrame:
    try:
        decided = frame.with_columns(condition.alias("where"))
    except pl.exceptions.PolarsError as error:
        raise _bad(profile, config, str(error)) from error
    if decided["where"].dtype != pl.Boolean:
        raise _bad(profile, config, f"it is {decided['where'].dtype}, not true or false")
    return decided


def _bad(profile: Table[Profile], config: FilterConfig, why: str) -> ConfigError:
    first_line = why.strip().splitlines()[0] if why.strip() else "not understood"
    columns = ", ".join(["tool", *profile.flat_columns])
    return ConfigError(f'--where "{config.where}": {first_line}', f"a SQL condition on these columns: {columns}")
