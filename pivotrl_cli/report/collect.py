"""The tables of a folder by their kind, those that are still being written included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Row
from pivotrl_cli.stages.inspect.unfinished import METRICS, open_table
from pivotrl_cli.storage.provenance import table_name

_JOURNAL, _PARTIAL = ".journal", ".partial"


@dataclass(frozen=True, slots=True)
class FoundTable:
    """One table."""

    path: Path
    """As `open_table` takes it."""
    name: str
    """Path within the folder, without `.parquet`."""
    kind: type[Row]
    n_rows: int
    summary: dict[str, Any]
    provenance: dict[str, Any] | None
    note: str | None
    """How far the run that writes it is, where that has not ended."""

    @property
    def table(self) -> str:
        """Name of its kind, such as `profile`."""
        return table_name(self.kind)


@dataclass(frozen=True, slots=True)
class Run:
    """The contents of a folder."""

    folder: Path
    tables: list[FoundTable]
    left_out: list[tuple[str, str]]
    """Files that are not shown, and why."""

    def tables_of(self, kind: type[Row]) -> list[FoundTable]:
        """Its tables of one kind, by name."""
        return [table for table in self.tables if table.kind is kind]


def collect(folder: Path) -> Run:
    """Find all tables in a folder and in the folders within; raises `InputError` where there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", "name the folder that holds the tables")
    tables, left_out = [], []
    for path in sorted(set(_table_paths(folder))):
        name = path.relative_to(folder).as_posix().removesuffix(".parquet")
        try:
            with open_table(str(path)) as (table, note):
                tables.append(FoundTable(path, name, table.row, table.n_rows, table.summary, table.provenance, note))
        except InputError as error:
            left_out.append((path.relative_to(folder).as_posix(), error.message.removeprefix(f"{path}: ")))
    if not tables:
        why = f": {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise InputError(f"{folder}: no table of pivotrl in it{why}", "name the folder that holds the tables")
    return Run(folder, tables, left_out)


def _table_paths(folder: Path) -> Iterator[Path]:
    """Paths of the tables, those of unfinished runs included, by the names that they will have."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if any(part.startswith(".") or part.endswith(_PARTIAL) for part in inside[:-1]):
            continue
        name = inside[-1]
        if name.endswith(f".parquet{_JOURNAL}"):
            yield path.with_name(name.removesuffix(_JOURNAL))
        elif name.endswith(f".parquet{_PARTIAL}") and name.startswith("."):
            yield path.with_name(name.removeprefix(".").removesuffix(_PARTIAL))
        elif name.endswith(_PARTIAL) and path.is_dir() and (path / METRICS).is_file():
            yield path.with_name(name.removesuffix(_PARTIAL)) / METRICS
        elif name.endswith(".parquet") and path.is_file():
            yield path
