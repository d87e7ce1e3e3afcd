"""Pass rates, written back into the NeMo Gym rows that candidates were extracted from (`--rows`).

A row keeps all its keys and their order, except that measured rates replace those of an earlier policy under the same
names. Rows and candidates are matched by content: state, tools and demonstrated action. Rows of equal content take the
rates of the candidates in order. Rows that the table does not have, such as those that `filter` dropped, are left out.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.exporters.destination import Destination
from pivotrl_cli.exporters.messages import RATES, json_line, pass_rate
from pivotrl_cli.readers import load_reader
from pivotrl_cli.readers.document import FileDocument, Record
from pivotrl_cli.readers.fields import compact
from pivotrl_cli.readers.sources import Source
from pivotrl_cli.rows import Candidate, Message, Reject, Trajectory

_Measured = defaultdict[str, deque[tuple[str, dict[str, Any]]]]


def write_back(candidates: Iterator[Candidate], sources: list[Source], to: Destination) -> None:
    """One file per source, under its name; memory grows with the rewards of the table, not with its states."""
    measured: _Measured = defaultdict(deque)
    for one in candidates:
        measured[_key(one.state, one.tools, one.expected_action)].append((one.candidate_id, pass_rate(one)))
    for source in sources:
        path = to.folder / source.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as out:
            for row in _rows(source, measured, to):
                out.write(json_line(row))
    for left in measured.values():
        for name, _ in left:
            to.counts.leave_out(name, "no row of --rows has this state and action")


def _rows(source: Source, measured: _Measured, to: Destination) -> Iterator[dict[str, Any]]:
    for document in source.documents():
        if not isinstance(document, FileDocument):
            raise InputError(f"{source.name}: not a file of JSON lines", "--rows takes .jsonl files")
        for record, read in zip(document.records(), load_reader("nemo_gym").read(document), strict=False):
            place = f"{record.source} record {record.line}"
            found = measured.get(_record_key(record, read, place))
            if not found:
                to.counts.leave_out(place, "a row that the table does not have")
                continue
            name, rates = found.popleft()
            if not rates:
                to.counts.leave_out(name, "not profiled")
                continue
            to.counts.n_rows += 1
            assert isinstance(record, Record)
            yield {key: value for key, value in record.json.object().items() if key not in RATES} | rates


def _record_key(record: Record | Reject, read: Trajectory | Reject, place: str) -> str:
    problem = read.detail if isinstance(read, Reject) else ""
    if isinstance(record, Record) and not problem and record.json["response"]:
        problem = "response: a rollout, not a row"
    if problem or isinstance(read, Reject):
        raise InputError(f"{place}: {problem}", "--rows takes the NeMo Gym rows that pivotrl extract read")
    return _key(read.messages[:-1], read.tools, read.messages[-1]) if read.messages else ""


def _key(state: list[Message], tools: str, action: Message) -> str:
    parts = [tools, *(message.model_dump(exclude_defaults=True) for message in (*state, action))]
    return hashlib.sha256(compact(parts).encode()).hexdigest()
