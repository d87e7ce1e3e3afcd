"""Tables: Parquet to typed rows, checked against their row model.

Reading streams one row group at a time, so the states of a long file are never in memory together. Histories keep
their dictionary encoding on the way through (`arrow.py`), so filtering a table costs what it keeps. `-` is standard
input, spooled through a temporary file, because Parquet is read from its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Generic, Self, TypeVar, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.rows import Row, Summary
from pivotrl_cli.storage.arrow import dictionary_leaves, histories
from pivotrl_cli.storage.conform import compact, conform
from pivotrl_cli.storage.files import open_input
from pivotrl_cli.storage.provenance import TABLES, Input, Provenance, hash_stream, refuse_another, table_name
from pivotrl_cli.storage.schema_check import PROVENANCE, SUMMARY, check_columns, damage_errors, stored_json

R = TypeVar("R", bound=Row)
S = TypeVar("S", bound=Summary)

_KEPT_GROUPS = 8
_THREADS = False
"""No reading ahead, no decoding in threads: one that lets go of a Python file while the interpreter exits aborts it."""


class Table(Generic[R]):
    """An open input table whose rows are at least those of `row`.

    Example: `with Table.open("candidates.parquet", Candidate) as table: first = next(table.rows())`
    """

    def __init__(self, name: str, file: BinaryIO, row: type[R]) -> None:
        self.name = name
        self.row = row
        self._source = file
        self._kept_groups: dict[int, pa.Table] = {}
        try:
            self._file = pq.ParquetFile(file, pre_buffer=_THREADS)
            check_columns(self._file, row, name)
            leaves = {self._file.schema.column(i).path for i in range(len(self._file.schema))}
            shared = [path for path in dictionary_leaves(row) if path in leaves]
            self._file = pq.ParquetFile(
                file,
                metadata=self._file.metadata,
                read_dictionary=shared,
                pre_buffer=_THREADS,
                page_checksum_verification=True,
            )
        except (pa.ArrowInvalid, OSError) as error:
            file.close()
            raise InputError(f"{name}: not a Parquet file, or cut short", "write it again with pivotrl") from error
        except InputError:
            file.close()
            raise

    @classmethod
    def open(cls, path: str | Path, row: type[R]) -> Table[R]:
        """Open a table; `-` is standard input."""
        return cls("standard input" if str(path) == "-" else str(path), open_input(str(path)), row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self._file.metadata.num_rows)

    @cached_property
    def provenance(self) -> dict[str, Any] | None:
        """The stored provenance, or None where the file is not ours."""
        return stored_json(self._file, PROVENANCE)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The stored summary of the stage that wrote it."""
        return stored_json(self._file, SUMMARY) or {}

    def as_input(self) -> Input:
        """This table as an input of another run."""
        self._source.seek(0)
        return Input(Path(self.name).name, hash_stream(self._source), self.provenance)

    def tables(self) -> Iterator[pa.Table]:
        """Row groups, in order, with histories dictionary-encoded."""
        for i in range(self._file.num_row_groups):
            yield self._read_group(i)

    def chosen(self, mask: np.ndarray) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """The rows where `mask` is true, by row group, with their numbers; groups without any are not read."""
        for i, end in enumerate(self._group_ends):
            first = int(end) - self._file.metadata.row_group(i).num_rows
            if mask[first:end].any():
                chosen = self._read_group(i).filter(pa.array(mask[first:end]))
                yield chosen, first + np.flatnonzero(mask[first:end])

    def rows(self) -> Iterator[R]:
        """Validated rows, in order, one in memory at a time."""
        number = 0
        for table in self.tables():
            yield from rows_of(table, self.row, self.name, number)
            number += table.num_rows

    def has(self, column: str) -> bool:
        """Whether the file has a column beyond those of its row model."""
        return column in self._file.schema_arrow.names

    @property
    def flat_columns(self) -> list[str]:
        """Columns of the file that are neither lists nor structs, those beyond its row model included."""
        return [field.name for field in self._file.schema_arrow if not pa.types.is_nested(field.type)]

    def at(self, index: int) -> R:
        """One validated row by its number; a few row groups are kept, for rows that are near each other."""
        group = int(np.searchsorted(self._group_ends, index, side="right"))
        first = int(self._group_ends[group - 1]) if group else 0
        return next(rows_of(self._group(group).slice(index - first, 1), self.row, self.name, index))

    @cached_property
    def _group_ends(self) -> np.ndarray:
        metadata = self._file.metadata
        return np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])

    def _group(self, i: int) -> pa.Table:
        if i not in self._kept_groups:
            if len(self._kept_groups) >= _KEPT_GROUPS:
                self._kept_groups.pop(next(iter(self._kept_groups)))
            self._kept_groups[i] = self._read_group(i)
        return self._kept_groups[i]

    def _read_group(self, i: int) -> pa.Table:
        columns = list(self.row.model_fields)
        with damage_errors(self.name):
            return conform(self._file.read_row_group(i, columns=columns, use_threads=_THREADS), self.row)

    def take(self, rows: np.ndarray) -> pa.Table:
        """The rows of these numbers, which ascend; only row groups that hold one of them are read."""
        groups = np.searchsorted(self._group_ends, rows, side="right")
        parts = []
        for i in np.unique(groups):
            first = int(self._group_ends[i - 1]) if i else 0
            parts.append(compact(self._group(int(i)).take(rows[groups == i] - first), histories(self.row)))
        return pa.concat_tables(parts)

    def distinct(self, column: str) -> list[str]:
        """Distinct values of a column of strings, sorted."""
        return self.frame([column])[column].unique().sort().to_list()

    def frame(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some columns of all rows, nested ones by their Parquet path; leave the histories out of it."""
        with damage_errors(self.name):
            return cast(pl.DataFrame, pl.from_arrow(self._file.read(columns=list(columns), use_threads=_THREADS)))

    def frames(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Some columns, one row group at a time."""
        for i in range(self._file.num_row_groups):
            with damage_errors(self.name):
                part = self._file.read_row_group(i, columns=list(columns), use_threads=_THREADS)
            yield cast(pl.DataFrame, pl.from_arrow(part))


def rows_of(table: pa.Table, row: type[R], name: str = "table", first: int = 0) -> Iterator[R]:
    """Validated rows of an Arrow table; errors name the file and the row, counted from `first`."""
    for i in range(table.num_rows):
        record = table.slice(i, 1).to_pylist()[0]
        try:
            yield row.model_validate(record)
        except ValidationError as error:
            first_error = error.errors()[0]
            place = ".".join(map(str, first_error["loc"]))
            raise InputError(
                f"{name} row {first + i}: {place}: {first_error['msg']} (expected table: {table_name(row)})",
                "write the table again with pivotrl, or mend that row",
            ) from error


def table_kind(path: str) -> type[Row]:
    """Row model of a table that we wrote, from its own provenance."""
    with open_input(path) as file:
        try:
            stored = stored_json(pq.ParquetFile(file), PROVENANCE)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: not a Parquet file, or cut short", "write it again with pivotrl") from error
    if stored is None or stored.get("table") not in TABLES:
        raise InputError(f"{path}: a Parquet file, but not one that pivotrl wrote", "read it with polars or duckdb")
    return TABLES[stored["table"]]


def current_summary(output: str | Path, provenance: Provenance, force: bool) -> dict[str, Any] | None:
    """The stored summary if `output` is what this run would write, else None.

    Raises `OutputError` with the differing keys when another run's output is in the way and `force` is off.
    """
    output = str(output)
    if output == "-" or force or not Path(output).exists():
        return None
    try:
        with Path(output).open("rb") as file:
            parquet = pq.ParquetFile(file)
            stored, summary = stored_json(parquet, PROVENANCE), stored_json(parquet, SUMMARY)
    except (pa.ArrowInvalid, OSError):
        stored, summary = None, None
    refuse_another(output, stored, provenance)
    return summary or {}


def cached_summary(output: str | Path, provenance: Provenance, force: bool, kind: type[S]) -> S | None:
    """`current_summary` as the stage's model, marked as cached."""
    stored = current_summary(output, provenance, force)
    if stored is None:
        return None
    try:
        return kind.model_validate(stored | {"cached": True})
    except ValidationError as error:
        raise OutputError(
            f"{output}: its summary is of another version of pivotrl", "add --force to write it anew"
        ) from error
