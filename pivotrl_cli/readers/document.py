"""What a reader reads: a file or a data set's rows, as numbered records, one in memory at a time.

A file is JSON lines, one JSON array, one JSON object, or something else; its head says which, and is also all that
detection looks at, so a file of gigabytes on a single line costs no more to recognise than a small one. Lines are
parsed one by one; arrays and objects are streamed. What cannot be parsed comes back as a `Reject` in its place, and
after a syntax error inside an array the rest of that file is out of reach, so it ends there.

Left out: compressed files (decompress them first), and the repair of anything. One thing is lost: inside arrays and
objects the streaming parser turns an escaped half of a surrogate pair into `?`; a line with one is rejected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, Protocol, TypeAlias

import ijson
from ijson.common import ObjectBuilder

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.rows import Reject, RejectReason, Trajectory

HEAD_BYTES = 1 << 20
"""What detection sees of a file."""

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(r"\\u[dD][89abAB]")


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a document.

    Example: `Head("array", {"task_id": 0, "reward": 0.0, "traj": [{"role": "system"}]})`
    """

    container: Literal["lines", "array", "object", "rows", "text", "empty"]
    """How records are packed; `text` is not JSON at all."""
    record: Any
    """The first record, as far as it reaches into the head: keys and elements behind its end are missing."""

    @property
    def keys(self) -> list[str]:
        """Keys of the first record, if it is an object."""
        return list(self.record) if isinstance(self.record, dict) else []


@dataclass(frozen=True, slots=True)
class Record:
    """One parsed record and its place."""

    source: str
    line: int
    json: Json


Parsed: TypeAlias = Record | Reject


class Document(Protocol):
    """A file or a data set, whatever lies behind it."""

    source: str
    """Name in the tables: relative, never absolute."""

    @property
    def head(self) -> Head:
        """The beginning, for detection."""

    def records(self) -> Iterator[Parsed]:
        """Lines, elements of the top-level array, rows, or the one object."""

    def items(self, prefix: str, first: int = 1) -> Iterator[Parsed]:
        """Values at a path inside the one top-level object (`simulations.item`), numbered from `first`."""

    def keys(self, prefix: str) -> list[str]:
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
        """Records by the head's container."""
        match self.head.container:
            case "array":
                return self.items("item")
            case "object":
                return self.items("")
            case _:
                return self._lines()

    def items(self, prefix: str, first: int = 1) -> Iterator[Parsed]:
        """Stream the values at a path; numbers stay exact (`Decimal`), because the fast parser's floats overflow."""
        number = first
        with self._open() as file:
            try:
                for value in ijson.items(file, prefix):
                    yield Record(self.source, number, Json(value))
                    number += 1
            except ijson.JSONError as error:
                yield _bad_json(self.source, number, _first_words(error))

    def keys(self, prefix: str) -> list[str]:
        """Keys in the order of the file, as far as it can be parsed."""
        found = []
        with self._open() as file:
            try:
                for place, event, value in ijson.parse(file):
                    if event == "map_key" and place == prefix:
                        found.append(value)
            except ijson.JSONError:
                pass  # whoever reads the items meets the same error, and reports it
        return found

    def _lines(self) -> Iterator[Parsed]:
        with self._open() as file:
            for number in count(1):
                raw = file.readline()
                if not raw:
                    return
                if not raw.isspace():
                    parsed = [_parse_line(self.source, number, raw)]
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
    """Rows of a data set. Arrow invents null fields wherever rows differ, so null fields are dropped again."""

    def __init__(self, source: str, rows: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self.source = source
        self._rows = rows

    @cached_property
    def head(self) -> Head:
        """The first row."""
        return Head("rows", next((_without_nulls(row) for row in self._rows()), None))

    def records(self) -> Iterator[Parsed]:
        """The rows, numbered from 1."""
        for number, row in enumerate(self._rows(), 1):
            yield Record(self.source, number, Json(_without_nulls(row)))

    def items(self, prefix: str, first: int = 1) -> NoReturn:
        """Rows have no top-level object."""
        raise InputError(
            f"{self.source}: a data set has rows, not one object with {prefix}", "name the JSON file itself"
        )

    def keys(self, prefix: str) -> list[str]:
        """Rows have no top-level object."""
        return []


def trajectories(
    records: Iterable[Parsed], parse: Callable[[Record], Trajectory], source: str
) -> Iterator[Trajectory | Reject]:
    """Parse each record; one that does not fit is rejected with its field, and so is a document without any."""
    empty = True
    for record in records:
        empty = False
        if isinstance(record, Reject):
            yield record
            continue
        try:
            yield parse(record)
        except RecordError as error:
            yield Reject(source=source, line=record.line, reason=RejectReason.BAD_RECORD, detail=str(error))
        del record  # a record may be large: let it go before the next one is parsed
    if empty:
        yield Reject(source=source, line=0, reason=RejectReason.BAD_RECORD, detail="no record in this document")


def parse_head(data: bytes) -> Head:
    """Container and first record of a file from its first bytes."""
    data = data.lstrip()
    if not data:
        return Head("empty", None)
    first, _, rest = data.partition(b"\n")
    match data[:1]:
        case b"[" if not (_is_json(first) and rest.strip()):
            return Head("array", _partial(data, "item"))
        case b"{" if _goes_on(first, rest):
            return Head("object", _partial(data, ""))
    whole = next((value for line in data.split(b"\n") if isinstance(value := _json_or_none(line), dict | list)), None)
    if whole is None and data[:1] == b"{":
        whole = _partial(first, "")
    return Head("text", None) if whole is None else Head("lines", whole)


def parse_json(raw: bytes) -> Any:
    """Strict JSON; `ValueError` says in a few words what is wrong."""
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half of an escaped pair can be written nowhere
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}") from error
    except UnicodeEncodeError as error:
        raise ValueError("half of a surrogate pair in an escape") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at column {min(error.pos, len(text.rstrip())) + 1}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _goes_on(first: bytes, rest: bytes) -> bool:
    """Whether an object that the first line opens continues on the next ones, instead of being a broken line."""
    return not _is_json(first) and (first.strip() == b"{" or rest.lstrip()[:1] in (b'"', b"}"))


def _is_json(raw: bytes) -> bool:
    return _json_or_none(raw) is not None


def _json_or_none(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except ValueError:
        return None


def _partial(data: bytes, prefix: str) -> Any:
    """The first value at the prefix (`item` or the root), as far as these bytes go."""
    builder = ObjectBuilder()
    try:
        for place, event, value in ijson.parse(BytesIO(data)):
            if place.startswith(prefix):
                builder.event(event, value)
            if place == prefix and event in ("end_map", "end_array", "string", "number", "boolean", "null"):
                break
    except ijson.JSONError:
        pass  # cut off at the end of the head, or broken: what came before still tells the format
    return builder.value


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nulls(item) for key, item in value.items() if item is not None}
        case list():
            return [_without_nulls(item) for item in value]
        case _:
            return value


def _parse_line(source: str, number: int, raw: bytes) -> Parsed:
    try:
        return Record(source, number, Json(parse_json(raw)))
    except ValueError as error:
        return _bad_json(source, number, str(error))


def _bad_json(source: str, line: int, detail: str) -> Reject:
    return Reject(source=source, line=line, reason=RejectReason.BAD_JSON, detail=detail)


def _first_words(error: Exception) -> str:
    """The parser's message without its drawing of the place."""
    words = re.sub(r"^b['\"]", "", str(error))
    words = re.split(r"\n|\\n", words)[0].strip()
    return "the file ends inside a record" if "EOF" in words or "ncomplete" in words else words


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
