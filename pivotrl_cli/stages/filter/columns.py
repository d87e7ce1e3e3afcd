"""The columns that `filter` decides on: a few narrow ones of all rows, the states and rollouts left unread.

`--where` is a SQL condition on them; `inspect` takes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Profile
from pivotrl_cli.stages.filter import limits
from pivotrl_cli.storage.table import Table

_ALWAYS = ["candidate_id", "source", "domain", "split", "n_scored", "reward_mean", "reward_std", "status"]
_CALLED = "expected_action.tool_calls.list.element.name"
"""Parquet path of the names of the demonstrated calls."""


def read_columns(profile: Table[Profile], config: FilterConfig) -> pl.DataFrame:
    """One row per candidate: what the config needs, `tool`, and `where` (true where no condition is given)."""
    condition = None if config.where is None else Condition.parse(config.where, profile)
    names = [*_ALWAYS, *(condition.columns if condition else ()), *limits.columns(config), "tool"]
    frame = _frame(profile, names)
    if not len(frame):
        raise InputError(f"{profile.name}: no rows", "profile some candidates first")
    return frame.with_columns(condition.evaluate(frame) if condition else pl.lit(True).alias("where"))


def rows_where(table: Table[Any], text: str) -> pl.Series:
    """For each row of a table, whether the condition is true; null counts as false."""
    condition = Condition.parse(text, table)
    frame = _frame(table, condition.columns or list(table.row.model_fields)[:1])
    return condition.evaluate(frame).fill_null(value=False)


def _frame(table: Table[Any], names: list[str]) -> pl.DataFrame:
    """These columns. `tool` is the demonstrated call, several joined by ` + `, or `(message)`."""
    has_tool = "tool" in names and table.has("expected_action")
    wanted = [name for name in dict.fromkeys(names) if not (has_tool and name == "tool")]
    if not has_tool:
        return table.frame(wanted)
    called = pl.col("expected_action").struct.field("tool_calls").list.eval(pl.element().struct.field("name"))
    tool = pl.when(called.list.len() == 0).then(pl.lit(limits.MESSAGE)).otherwise(called.list.join(" + "))
    return table.frame([*wanted, _CALLED]).with_columns(tool.alias("tool")).drop("expected_action")


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed SQL condition.

    Example: `Condition.parse("turn > 3 and tool = 'refund'", table)`
    """

    text: str
    expression: pl.Expr
    known: list[str]
    """Columns that it may name."""

    @classmethod
    def parse(cls, text: str, table: Table[Any]) -> Condition:
        """Raises `ConfigError` with the table's columns where the text cannot be parsed or names another column."""
        known = [*(["tool"] if table.has("expected_action") else []), *table.flat_columns]
        try:
            condition = cls(text, pl.sql_expr(text), known)
            unknown = set(condition.columns) - set(known)
        except pl.exceptions.PolarsError as error:
            raise _condition_error(text, str(error), known) from error
        if unknown:
            raise _condition_error(text, f"no column '{min(unknown)}'", known)
        return condition

    @property
    def columns(self) -> list[str]:
        """Names of the columns that it reads."""
        return self.expression.meta.root_names()

    def evaluate(self, frame: pl.DataFrame) -> pl.Series:
        """True, false or null for each row of a frame with these columns; the series is called `where`."""
        try:
            result = frame.with_columns(self.expression.alias("where"))["where"]
        except pl.exceptions.PolarsError as error:
            raise _condition_error(self.text, str(error), self.known) from error
        if result.dtype != pl.Boolean:
            raise _condition_error(self.text, f"it is {result.dtype}, not true or false", self.known)
        return result


def _condition_error(text: str, why: str, known: list[str]) -> ConfigError:
    first_line = (why.strip().splitlines() or ["not understood"])[0]
    return ConfigError(f'--where "{text}": {first_line}', f"a SQL condition on these columns: {', '.join(known)}")
