"""A condition on a table's columns as SQL: what `filter` keeps by, and `inspect` looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from pivotrl_cli.errors import ConfigError
from pivotrl_cli.storage.table import Table


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed condition; without a text it is true of every row.

    Example: `Where.of("turn > 3 and tool = 'refund'", table)`
    """

    text: str | None
    condition: pl.Expr
    known: list[str]
    """Columns that it may name."""

    @classmethod
    def of(cls, text: str | None, table: Table[Any]) -> Where:
        """Parse; raises `ConfigError` with the columns there are where it cannot be understood."""
        known = [*(["tool"] if table.has("expected_action") else []), *table.flat_columns]
        if text is None:
            return cls(None, pl.lit(True), known)
        try:
            where = cls(text, pl.sql_expr(text), known)
            unknown = set(where.columns) - set(known)
        except pl.exceptions.PolarsError as error:
            raise cls(text, pl.lit(True), known)._wrong(str(error)) from error
        if unknown:
            raise where._wrong(f"no column '{min(unknown)}'")
        return where

    @property
    def columns(self) -> list[str]:
        """Names of the columns that it looks at; `tool` is `narrow.with_tool`'s."""
        return self.condition.meta.root_names()

    def of_frame(self, frame: pl.DataFrame) -> pl.Series:
        """True, false or null for each row of a frame with these columns."""
        try:
            decided = frame.with_columns(self.condition.alias("where"))["where"]
        except pl.exceptions.PolarsError as error:
            raise self._wrong(str(error)) from error
        if decided.dtype != pl.Boolean:
            raise self._wrong(f"it is {decided.dtype}, not true or false")
        return decided

    def _wrong(self, why: str) -> ConfigError:
        first_line = why.strip().splitlines()[0] if why.strip() else "not understood"
        return ConfigError(
            f'--where "{self.text}": {first_line}', f"a SQL condition on these columns: {', '.join(self.known)}"
        )
