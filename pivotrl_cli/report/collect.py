"""The tables of a folder, by what they are; those that are still being written too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Row
from pivotrl_cli.stages.inspect.unfinished import METRICS, opened
from pivotrl_cli.storage.provenance import table_name

_JOURNAL, _PARTIAL = ".journal", ".partial"


@dataclass(frozen=True, slots=True)
class Found:
    """One table; `path` is what `opened` takes."""

    path: Path
    name: str
    """Path within the folder, without `.parquet`."""
    kind: type[Row]
    n_rows: int
    summary: dict[str, Any]
    provenance: dict[str, Any] | None
    note: str | None
    """How far it is, where it is not finished."""

    @property
    def table(self) -> str:
        """Name of its kind."""
        return table_name(self.kind)


@dataclass(frozen=True, slots=True)
class Run:
    """What a folder holds."""

    folder: Path
    tables: list[Found]
    left_out: list[tuple[str, str]]
    """Files that are not shown, and why."""

    def of(self, kind: type[Row]) -> list[Found]:
        """Its tables of one kind, by name."""
        return [table for table in self.tables if table.kind is kind]


def collect(folder: Path) -> Run:
    """Find all tables in a folder and in the folders within; raises `InputError` where there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", "name the folder that holds the tables")
    tables, left_out = [], []
    for path in sorted(set(_tables(folder))):
        name = path.relative_to(folder).as_posix().removesuffix(".parquet")
        try:
            with opened(str(path)) as there:
                table = there.table
                tables.append(Found(path, name, table.row, table.n_rows, table.summary, table.provenance, there.note))
        except InputError as error:
            left_out.append((path.relative_to(folder).as_posix(), error.message.removeprefix(f"{path}: ")))
    if not tables:
        why = f": {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise InputError(f"{folder}: no table of pivotrl in it{why}", "name the folder that holds the tables")
    return Run(folder, tables, left_out)


def _tables(folder: Path) -> Iterator[Path]:
    """Names of tables, those included that do not stand there yet; no parts of unfinished ones."""
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
