"""The input of a reader: a file or a data set's rows, as numbered records, one in memory at a time.

A file is JSON lines, one JSON array, one JSON object, or something else; its head shows which, and detection reads
nothing else, so a file of gigabytes on a single line costs no more to recognise than a small one. Lines are parsed one
by one; arrays and objects are split into their values (`split.py`), and each is parsed by itself. A `Reject` takes the
place of every record that cannot be parsed. Zip archives are documents too (`archive.py`).

Left out: other compressed files (decompress them first), and the repair of anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol, TypeAlias

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.readers.parsing import HEAD_BYTES, Head, is_json, parse_head, parse_json
from pivotrl_cli.readers.split import EACH, Splitter
from pivotrl_cli.rows import Reject, RejectReason, Trajectory

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One parsed record and its place."""

    source: str
    line: int
    json: Json

    def trajectory(self, **fields: Any) -> Trajectory:
        return Trajectory(source=self.source, line=self.line, **fields)


Parsed: TypeAlias = Record | Reject


class Document(Protocol):
    """A file, an archive or a data set."""

    source: str
    """Name in the tables: relative, never absolute."""

    @property
    def head(self) -> Head:
        """The beginning, for detection."""

    def records(self) -> Iterator[Parsed]:
        """Lines, elements of the top-level array, rows, or the one object."""

    def items(self, *path: str, first: int = 1) -> Iterator[Parsed]:
        """Values at a path inside the one top-level value (`"simulations", EACH`), numbered from `first`."""

    def keys(self, *path: str) -> list[str]:
        """Keys of the object at a path inside the one top-level object."""


class FileDocument:
    """A JSON or JSON lines file."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source

    @cached_property
    def head(self) -> Head:
        """Parsed from the first `HEAD_BYTES`; raises `InputError` if the file cannot be read."""
        with self._open() as file:
            return parse_head(file.read(HEAD_BYTES))

    def records(self) -> Iterator[Parsed]:
        match self.head.container:
            case "array":
                return self.items(EACH)
            case "object":
                return self.items()
            case _:
                return self._lines()

    def items(self, *path: str, first: int = 1) -> Iterator[Parsed]:
        """The document is split as it streams by; without a path it is one value."""
        number = first
        with self._open() as file:
            if not path:
                yield parse_record(self.source, number, file.read())
                return
            splitter = Splitter(path)
            for text in splitter.values(file):
                yield parse_record(self.source, number, text)
                number += 1
            if is_json(splitter.rest):
                yield parse_record(self.source, number, splitter.rest)
                number += 1
            if splitter.fault:
                yield bad_json(self.source, number, splitter.fault)

    def keys(self, *path: str) -> list[str]:
        splitter = Splitter((*path, EACH))
        with self._open() as file:
            for _ in splitter.values(file):
                pass
        return splitter.keys

    def _lines(self) -> Iterator[Parsed]:
        with self._open() as file:
            for number in count(1):
                raw = file.readline()
                if not raw:
                    return
                if not raw.isspace():
                    parsed = [parse_record(self.source, number, raw)]
                    del raw  # a line may be as long as a trajectory
                    yield parsed.pop()

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise InputError(
                f"{self.source}: {error.strerror or error}", "check the path and its permissions"
            ) from error
        with file:
            if file.read(len(_BOM)) != _BOM:
                file.seek(0)
            yield file


class RowsDocument:
    """Rows of a data set or a table (`tables.py`)."""

    def __init__(self, source: str, rows: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self.source = source
        self._rows = rows

    @cached_property
    def head(self) -> Head:
        return Head("rows", next(iter(self._rows()), None))

    def records(self) -> Iterator[Parsed]:
        for number, row in enumerate(self._rows(), 1):
            yield Record(self.source, number, Json(row))

    def items(self, *path: str, first: int = 1) -> NoReturn:
        raise InputError(
            f"{self.source}: a data set has rows, not one object with {path[0]}", "name the JSON file itself"
        )

    def keys(self, *path: str) -> list[str]:
        return []


class RecordReader(ABC):
    """A reader of formats with one trajectory per record."""

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        return trajectories(self.records(document), self.trajectory, document.source)

    def records(self, document: Document) -> Iterable[Parsed]:
        return document.records()

    @abstractmethod
    def trajectory(self, record: Record) -> Trajectory: ...


def array_record(document: Document, key: str, element: str) -> Iterator[Parsed]:
    """The elements of a top-level array as one record, under `key`; one reject where an element cannot be parsed."""
    values = []
    for record in document.records():
        if isinstance(record, Reject):
            yield bad_record(document.source, 0, f"{element} {record.line}: {record.detail}")
            return
        values.append(record.json.value)
    yield Record(document.source, 1, Json({key: values}))


def trajectories(
    records: Iterable[Parsed], parse: Callable[[Record], Trajectory], source: str
) -> Iterator[Trajectory | Reject]:
    """Parse each record; one that does not fit is rejected with its field, and so is a document without any."""

    def one(record: Record) -> Iterator[Trajectory]:
        parsed = [parse(record)]
        del record
        yield parsed.pop()  # the consumer can free it: nothing here holds it or its record

    return trajectories_per_record(records, one, source)


def trajectories_per_record(
    records: Iterable[Parsed], parse: Callable[[Record], Iterator[Trajectory | Reject]], source: str
) -> Iterator[Trajectory | Reject]:
    """Like `trajectories`, for records that hold several trajectories or give their own rejects."""
    empty = True
    for record in records:
        empty = False
        if isinstance(record, Reject):
            yield record
            continue
        line, found = record.line, parse(record)
        del record  # it may be large, and is not needed any more
        try:
            yield from found
        except RecordError as error:
            yield bad_record(source, line, str(error))
        except RecursionError:
            yield bad_record(source, line, "nested too deeply")
    if empty:
        yield bad_record(source, 0, "no record in this document")


def parse_record(source: str, number: int, raw: bytes) -> Parsed:
    """A record from its text, or a reject with the reason."""
    try:
        return Record(source, number, Json(parse_json(raw)))
    except ValueError as error:
        return bad_json(source, number, str(error))


def bad_json(source: str, line: int, detail: str) -> Reject:
    return Reject(source=source, line=line, reason=RejectReason.BAD_JSON, detail=detail)


def bad_record(source: str, line: int, detail: str) -> Reject:
    return Reject(source=source, line=line, reason=RejectReason.BAD_RECORD, detail=detail)
