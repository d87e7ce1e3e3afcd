"""Rows of Parquet files, Arrow files and data sets, without the nulls that Arrow invents.

A struct column has every key in every row, with null where a row had none, so the nulls of structs are dropped. What
is kept as JSON (Arrow's `arrow.json` type, `Json()` of datasets, text) or as a map has each row's own keys, and its
nulls are meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.parsing import parse_json

_BATCH = 256
"""Rows; a record of an agent may be a megabyte."""


def table_rows(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, or of an Arrow file in either of its layouts, a batch in memory at a time."""
    import pyarrow as pa

    try:
        with _batches(path) as (schema, batches):
            columns = {field.name: (field.type, _feature(schema, field.name)) for field in schema}
            for batch in batches:
                for row in batch.to_pylist():
                    yield {
                        key: recorded(value, *columns[key], encoded=True)
                        for key, value in row.items()
                        if value is not None
                    }
    except (OSError, pa.ArrowException) as error:
        words = str(error).strip().splitlines()
        raise InputError(f"{name}: not a {path.suffix[1:]} file that pyarrow reads: {words[0]}") from error


def recorded(value: Any, kind: Any, feature: Any = None, *, encoded: bool = False) -> Any:
    """A value of this Arrow type (None: unknown) as it was recorded; JSON is parsed where it is `encoded`.

    `feature` is what `datasets` wrote about the column; it tells JSON where a writer kept only the text.
    """
    from pyarrow import types

    is_json = isinstance(feature, dict) and feature.get("_type") == "Json"
    if is_json or getattr(kind, "extension_name", "") == "arrow.json":
        return _parsed(value) if encoded else value
    if kind is not None and types.is_map(kind) and isinstance(value, list):
        return {key: recorded(item, kind.item_type, encoded=encoded) for key, item in value}
    if isinstance(value, dict):
        kinds = {field.name: field.type for field in kind} if kind is not None and types.is_struct(kind) else {}
        features = feature if isinstance(feature, dict) else {}
        return {
            key: recorded(item, kinds.get(key), features.get(key), encoded=encoded)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        inner = feature.get("feature") if isinstance(feature, dict) else feature[0] if feature else None
        return [recorded(item, getattr(kind, "value_type", None), inner, encoded=encoded) for item in value]
    return value


def _parsed(text: Any) -> Any:
    """The JSON value; text that is none stays, and the reader names its place."""
    try:
        return parse_json(text.encode()) if isinstance(text, str) else text
    except ValueError:
        return text


def _feature(schema: Any, column: str) -> Any:
    """The feature of a column in the metadata of `datasets`, or None."""
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
    except (KeyError, ValueError, TypeError):
        return None


@contextmanager
def _batches(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Schema and record batches of a file."""
    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix == ".parquet":
        with parquet.ParquetFile(path) as table:
            yield table.schema_arrow, table.iter_batches(_BATCH)
        return
    with pa.memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            with pa.ipc.open_file(file) as table:
                yield table.schema, (table.get_batch(i) for i in range(table.num_record_batches))
        else:
            file.seek(0)
            with pa.ipc.open_stream(file) as stream:
                yield stream.schema, iter(stream)
