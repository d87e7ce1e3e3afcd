"""Frames and the files behind them, so that tables in memory keep their provenance.

A stage writes Parquet, and a frame read from it remembers that file. If the frame reaches the next stage unchanged, the
stage reads the file, with its provenance; a changed or hand-made frame is written to a new file without provenance.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Row
from pivotrl_cli.storage.arrow import arrow_type, is_history
from pivotrl_cli.storage.conform import conform_array, is_readable_as
from pivotrl_cli.storage.files import open_partial, publish, remove_partial
from pivotrl_cli.storage.provenance import TABLES, Provenance, table_name
from pivotrl_cli.storage.table_writer import open_parquet_writer

_ROWS = 8192


@dataclass(frozen=True, slots=True)
class _File:
    """The file that a frame was read from, and the state of both at that time."""

    path: Path
    stamp: tuple[int, int]
    content: pl.DataFrame


_BEHIND: dict[int, _File] = {}
"""By the `id` of live frames, because a frame has no hash."""


def read_frame(path: Path, folder: Path | None = None) -> pl.DataFrame:
    """Read a table; `folder`, if given, is deleted with the frame."""
    try:
        frame = pl.read_parquet(path, glob=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "check the path, or run the stage before this one") from error
    except (pl.exceptions.ComputeError, OSError) as error:
        raise InputError(f"{path}: not a Parquet file, or cut short", "write it again with pivotrl") from error
    _BEHIND[id(frame)] = _File(path.resolve(), _stamp(path), frame.clone())
    weakref.finalize(frame, _forget, id(frame), folder)
    return frame


def file_of(frame: pl.DataFrame) -> Path | None:
    """The file that the frame was read from, if neither has changed since."""
    file = _BEHIND.get(id(frame))
    if file is None or not file.path.is_file() or _stamp(file.path) != file.stamp:
        return None
    return file.path if frame.equals(file.content) else None


def as_file(table: str | Path | pl.DataFrame, name: str, folder: Path) -> str:
    """Path of the table: as given, of the file behind the frame, or of a new file in `folder`."""
    if not isinstance(table, pl.DataFrame):
        if str(table) == "-":
            raise ConfigError("'-' is for the command line", "pass a frame, or the path of a file")
        return str(table)
    behind = file_of(table)
    if behind is None:
        behind = folder / f"{name}.parquet"
        save(table, behind)
    return str(behind)


def save(frame: pl.DataFrame, path: Path, provenance: Provenance | None = None) -> None:
    """Write a frame with all its columns; those that its table defines get the table's types and encoding."""
    row = row_of(frame)
    slices = [frame.slice(start, _ROWS) for start in range(0, max(len(frame), 1), _ROWS)]
    stored = {} if provenance is None else {"pivotrl": json.dumps(provenance.to_dict()), "pivotrl_summary": "{}"}
    schema = _with_row_types(slices[0].head(0).to_arrow(), row).schema
    file = open_partial(str(path))
    try:
        with open_parquet_writer(file, schema) as out:
            for part in slices:
                out.write_table(_with_row_types(part.to_arrow(), row))
            out.add_key_value_metadata(stored)
        publish(file, str(path))
    except BaseException as error:
        file.close()
        remove_partial(str(path))
        if isinstance(error, pa.ArrowInvalid):  # a null inside of a list or a struct, where none may be
            raise InputError(f"the frame is not a {table_name(row)} table: {error}", "fix that column") from error
        raise


def row_of(frame: pl.DataFrame) -> type[Row]:
    """Row model whose columns the frame has; of several, the one with the most columns."""
    kinds = [row for row in TABLES.values() if row.model_fields.keys() <= set(frame.columns)]
    if not kinds:
        raise InputError(
            f"a frame with the columns {', '.join(frame.columns[:6]) or '(none)'} is not a pivotrl table",
            f"keep all columns of one of these tables: {', '.join(TABLES)}",
        )
    return max(kinds, key=lambda row: len(row.model_fields))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder for one call."""
    with tempfile.TemporaryDirectory(prefix="pivotrl-") as folder:
        yield Path(folder)


def _with_row_types(table: pa.Table, row: type[Row]) -> pa.Table:
    columns, fields = [], []
    for found in table.schema:
        column, field = table.column(found.name).combine_chunks(), found
        if found.name in row.model_fields:
            annotation = row.model_fields[found.name].annotation
            kind, nullable = arrow_type(annotation)
            if not is_readable_as(found.type, kind):
                raise InputError(
                    f"column '{found.name}' of the frame is {found.type}, expected {kind}", f"cast it to {kind}"
                )
            if column.null_count and not nullable:
                raise InputError(f"column '{found.name}' of the frame has nulls", "fill them: every row needs a value")
            column = conform_array(column, kind, encode=is_history(annotation))
            field = pa.field(found.name, column.type, nullable)
        columns.append(column)
        fields.append(field)
    return pa.table(columns, schema=pa.schema(fields))


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _forget(key: int, folder: Path | None) -> None:
    _BEHIND.pop(key, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
