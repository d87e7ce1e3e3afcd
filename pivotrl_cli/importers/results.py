"""What importers share: rows with what a harness did not record left null, scores, conversations, stated means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from pivotrl_cli.readers.archive import ZipDocument
from pivotrl_cli.readers.document import FileDocument, Parsed, Record, bad_record
from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.rows import EvalResult, Reject, Trajectory

File: TypeAlias = FileDocument | ZipDocument


@dataclass(frozen=True, slots=True)
class Reported:
    """A mean that the harness itself states.

    Example: `Reported("local_arith", "dummy", "exact_match,strict", mean=0.6667, n=12)`
    """

    benchmark: str
    model: str
    metric: str
    mean: float
    """In [0, 1]."""
    n: int | None = None
    """Tasks or samples behind it, where it says."""


def result(benchmark: str, model: str, task_id: str, score: float | None, **known: Any) -> EvalResult:
    """A row; a task is a cluster of its trials."""
    fields: dict[str, Any] = {
        "cluster": task_id,
        "category": "",
        "trial": 0,
        "seed": None,
        "status": "ok",
        "error": None,
        "n_turns": None,
        "n_tool_calls": None,
        "n_tokens": None,
        "seconds": None,
        "transcript": [],
    }
    return EvalResult(benchmark=benchmark, model=model, task_id=task_id, score=score, **(fields | known))


def failed_result(benchmark: str, model: str, task_id: str, error: str, **known: Any) -> EvalResult:
    """A row for what was not measured."""
    return result(benchmark, model, task_id, None, **(known | {"status": "infra_error", "error": error}))


def share(value: Json) -> float:
    """A score from 0 to 1, or a truth value."""
    number = value.number_or_none()
    if number is None or not 0.0 <= number <= 1.0:
        raise value.error("expected a score from 0 to 1")
    return number


def count(value: Json) -> int | None:
    """A whole number, or the sum of such numbers in lists within lists; None where there is none."""
    total = amount(value)
    return None if total is None else round(total)


def amount(value: Json) -> float | None:
    """A number, or the sum of the numbers in lists within lists; None where there is none."""
    if not isinstance(value.value, list):
        return value.number_or_none()
    parts = [part for part in map(amount, value.list()) if part is not None]
    return sum(parts) if parts else None


def value_at(json: Json, path: str) -> Json:
    """The value at a path such as `info.error`; null where something on the way is null."""
    for key in path.split("."):
        json = json.fields()[key]
    return json


def each(records: Iterable[Parsed], parse: Callable[[Record], EvalResult]) -> Iterator[EvalResult | Reject]:
    """A row for each record; one that does not fit is rejected with its field."""
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        try:
            yield parse(record)
        except RecordError as error:
            yield bad_record(record.source, record.line, str(error))


def only_object(file: File) -> Json:
    """The one object that the file is; what is broken in it raises `RecordError`."""
    found = next(file.records(), None)
    if not isinstance(found, Record):
        raise RecordError(found.detail if found else "the file is empty")
    found.json.object()
    return found.json


def each_with_conversation(
    records: Iterable[Parsed],
    read: Iterable[Trajectory | Reject],
    parse: Callable[[dict[str, Any], Record], EvalResult],
) -> Iterator[EvalResult | Reject]:
    """A row for each record and what the reader of the format made of it."""
    for record, trajectory in zip(records, read, strict=False):
        yield from each([record], partial(parse, _conversation(trajectory)))


def _conversation(read: Trajectory | Reject) -> dict[str, Any]:
    """What a row says of a recorded run; empty where its messages could not be read, or are not there."""
    if isinstance(read, Reject):
        return {}
    turns = [i for i, m in enumerate(read.messages) if m.role == "assistant" and i not in read.context]
    first = turns[0] if turns else len(read.messages)
    return {
        "transcript": read.messages[first:],
        "n_turns": len(turns),
        "n_tool_calls": sum(len(read.messages[i].tool_calls) for i in turns),
    }
