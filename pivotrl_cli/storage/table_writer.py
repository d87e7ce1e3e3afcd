"""Rows to Parquet, whole or not at all, with their provenance inside.

Histories that rows of one trajectory share are written once per row group (`arrow.py`), so a trajectory is split over
row groups only if it must be. `-` is standard output.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pivotrl_cli.rows import Message, Row
from pivotrl_cli.storage.arrow import histories, rows_to_table
from pivotrl_cli.storage.conform import compact
from pivotrl_cli.storage.files import open_partial, partial_path, publish, remove_partial, write_errors
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.schema_check import PROVENANCE, SUMMARY

_FLUSH_BYTES = 8 << 20
_FLUSH_ROWS = 8192
_FLUSH_REFERENCES = 100_000
"""Entries of all buffered histories together; each costs some 60 bytes until it is written."""
_SPLIT_REFERENCES = 4_000_000
"""Above it even one trajectory is split over row groups, each with its messages again: 2,000 turns fit in one."""


def open_parquet_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """The options of every Parquet file that we write."""
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        dictionary_pagesize_limit=1 << 30,  # above it, pyarrow writes every repetition in full
        store_schema=False,
        write_page_checksum=True,
    )


class TableWriter:
    """Writes one table; use as a context manager. Nothing stands under the final name unless the block succeeds."""

    def __init__(self, output: str | Path, row: type[Row], provenance: Provenance) -> None:
        self.row = row
        self._output = str(output)
        self._provenance = provenance
        self._summary: dict[str, Any] = {}
        self._buffer: list[Row] = []
        self._tables: list[pa.Table] = []
        self._buffered_bytes = self._references = 0
        self._seen: set[int] = set()
        self.n_rows = 0

    def __enter__(self) -> Self:
        self._file = open_partial(self._output)
        # Arrow writes to a file of its own without the copy that Python's would need.
        self._sink = self._file if self._output == "-" else pa.OSFile(str(partial_path(self._output)), "wb")
        self._writer: pq.ParquetWriter | None = None
        return self

    def write(self, row: Row) -> None:
        """Add one row. Rows of one trajectory must follow each other, for their shared messages to be stored once."""
        if self._is_full() and self._may_split_before(row):
            self._flush_rows()
        self._buffer.append(row)
        self._buffered_bytes += self._new_bytes(row)
        self._references += sum(len(getattr(row, name)) for name in self._histories)

    def end_trajectory(self) -> None:
        """Say that the next row belongs to another trajectory, so that a large one need not wait for it in memory."""
        if self._buffer and self._is_full():
            self._flush_rows()

    def write_table(self, table: pa.Table) -> None:
        """Add the rows of an Arrow table that has this row model's columns; histories must be dictionary-encoded."""
        self._flush_rows()
        if table.num_rows:
            self._tables.append(table.select(list(self.row.model_fields)))
        if sum(t.num_rows for t in self._tables) >= _FLUSH_ROWS or sum(t.nbytes for t in self._tables) >= _FLUSH_BYTES:
            self._flush_tables()

    def end_group(self) -> None:
        """Write what was given since the last group as one row group, large or small."""
        self._flush_rows()
        self._flush_tables()

    def set_summary(self, summary: dict[str, Any]) -> None:
        """Store the stage's summary with the table, for runs that find it up to date."""
        self._summary = summary

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._finish()
        except BaseException:
            self._abandon()
            raise

    def _finish(self) -> None:
        self._flush_rows()
        self._flush_tables()
        if self._writer is None:
            self._write_group(rows_to_table(self.row, []))
        assert self._writer is not None
        stored = {PROVENANCE: self._provenance.to_dict(), SUMMARY: self._summary}
        self._writer.add_key_value_metadata({key: json.dumps(value) for key, value in stored.items()})
        with write_errors(self._output):
            self._writer.close()
            if self._sink is not self._file:
                self._sink.close()
        publish(self._file, self._output)

    def _abandon(self) -> None:
        """Leave nothing behind."""
        for one in (self._writer, self._sink, self._file):
            with suppress(OSError):  # on a full disk closing fails once more
                if one is not None:
                    one.close()
        remove_partial(self._output)

    def _is_full(self) -> bool:
        return (
            self._buffered_bytes >= _FLUSH_BYTES
            or len(self._buffer) >= _FLUSH_ROWS
            or self._references >= _FLUSH_REFERENCES
        )

    def _may_split_before(self, row: Row) -> bool:
        current = getattr(self._buffer[-1], "trajectory_id", None)
        same = current is not None and current == getattr(row, "trajectory_id", None)
        return not same or self._references >= _SPLIT_REFERENCES

    def _new_bytes(self, row: Row) -> int:
        size = 0
        for name in self._histories:
            for message in reversed(cast(list[Message], getattr(row, name))):
                if id(message) in self._seen:
                    break  # an earlier row of this trajectory already brought the rest
                self._seen.add(id(message))
                size += len(message.content) + sum(len(call.arguments) for call in message.tool_calls)
        return size + 256

    @cached_property
    def _histories(self) -> list[str]:
        return histories(self.row)

    def _flush_rows(self) -> None:
        rows, self._buffer, self._buffered_bytes, self._references = self._buffer, [], 0, 0
        self._seen.clear()
        if rows:
            self._flush_tables()
            table = rows_to_table(self.row, rows)
            del rows
            self._write_group(table)
            _release_freed_memory()

    def _flush_tables(self) -> None:
        if self._tables:
            self._write_group(compact(pa.concat_tables(self._tables), self._histories))
        self._tables = []

    def _write_group(self, table: pa.Table) -> None:
        _release_freed_memory()
        if self._writer is None:
            self._writer = open_parquet_writer(self._sink, table.schema)
        with write_errors(self._output):
            self._writer.write_table(table.cast(self._writer.schema), row_group_size=max(1, table.num_rows))
        self.n_rows += table.num_rows


def _release_freed_memory() -> None:
    """Return what Arrow and Python have freed to the operating system, which their allocators do late or never."""
    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()
