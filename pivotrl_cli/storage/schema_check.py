"""Whether a Parquet file is the table that was asked for, and sound: one line that names it where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Row
from pivotrl_cli.storage.arrow import arrow_schema
from pivotrl_cli.storage.conform import is_readable_as
from pivotrl_cli.storage.provenance import SCHEMA_VERSION, table_name
from pivotrl_cli.text import shorten

PROVENANCE, SUMMARY = b"pivotrl", b"pivotrl_summary"
"""Keys of the file's metadata."""

_HINTS = {
    "candidates": "make one with: pivotrl extract TRAJECTORIES -o candidates.parquet",
    "profile": "make one with: pivotrl profile candidates.parquet -o profile.parquet",
    "pivots": "make one with: pivotrl filter profile.parquet -o pivots.parquet",
    "eval": "make one with: pivotrl eval BENCHMARK --model MODEL -o eval.parquet",
}


def check_columns(file: pq.ParquetFile, row: type[Row], name: str) -> None:
    """Raise unless the file has the columns of the row model, in its types and its version."""
    provenance = stored_json(file, PROVENANCE)
    stored = (provenance or {}).get("schema_version", SCHEMA_VERSION)
    if stored != SCHEMA_VERSION:
        raise InputError(
            f"{name}: schema version {stored}, this program reads {SCHEMA_VERSION}",
            "write it again with this version of pivotrl",
        )
    have = {field.name: field.type for field in file.schema_arrow}
    missing = [column for column in row.model_fields if column not in have]
    if missing:
        found = f", this one: {provenance['table']}" if provenance else ""
        expected = f"expected table: {table_name(row)}{found}"
        raise InputError(
            f"{name}: column '{missing[0]}' is missing ({expected})",
            _HINTS.get(table_name(row), "give the file that the previous stage wrote"),
        )
    for field in arrow_schema(row):
        if not is_readable_as(have[field.name], field.type):
            found, expected = shorten(str(have[field.name]), 40), shorten(str(field.type), 40)
            raise InputError(
                f"{name}: column '{field.name}' is {found}, expected {expected}",
                "write it with pivotrl, or cast it to the type in schemas/",
            )


@contextmanager
def damage_errors(name: str) -> Iterator[None]:
    """Turn errors of reading damaged pages into one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: damaged: {reason}", "copy the file again, or write it again with pivotrl") from error


def stored_json(file: pq.ParquetFile, key: bytes) -> dict[str, Any] | None:
    """A JSON object in the file's metadata; None where there is none."""
    text = (file.metadata.metadata or {}).get(key)
    try:
        parsed = json.loads(text) if text is not None else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
