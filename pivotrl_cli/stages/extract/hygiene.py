"""Deduplication and contamination checks, both on request.

`--dedup` compares state and action by content: roles, texts, reasoning, calls and tools, but not the ids of calls,
which differ between runs. The first one stays. `--check-against FILE` compares the task's prompt (the users' messages
before the assistant's first answer) with the prompts of the file: those of its trajectories where its format is known,
else one per record, from the first field with a telling name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Any

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.readers import detect, load_reader
from pivotrl_cli.readers.document import Document, Record
from pivotrl_cli.readers.sources import Source
from pivotrl_cli.rows import Candidate, Message, Reject, RejectReason, Trajectory
from pivotrl_cli.stages.extract.overlap import PromptSet
from pivotrl_cli.stages.extract.summary import ContaminationSummary

_PROMPT_FIELDS = (
    *("prompt", "question", "problem", "problem_statement", "instruction"),
    *("query", "task", "goal", "input", "text"),
)
_SHOWN = 5


@dataclass
class Repetitions:
    """The states and actions so far, by hash, each with the first candidate that had it."""

    _first: dict[bytes, str] = field(default_factory=dict)

    def check(self, trajectory: Trajectory, rows: Iterator[Candidate | Reject]) -> Iterator[Candidate | Reject]:
        """The rows, with candidates that repeat an earlier one as rejects."""
        hashes = prefix_hashes(trajectory)
        for row in rows:
            if isinstance(row, Candidate):
                first = self._first.setdefault(hashes[len(row.state)], row.candidate_id)
                if first != row.candidate_id:
                    yield as_reject(row, trajectory.line, RejectReason.DUPLICATE, f"repeats {first}")
                    continue
            yield row


@dataclass
class Contamination:
    """The prompts that trajectories are checked against, and counts of the overlaps."""

    prompts: PromptSet
    name: str
    drop: bool
    n_trajectories: int = 0
    n_equal: int = 0
    first: list[str] = field(default_factory=list)

    @classmethod
    def from_config(cls, config: ExtractConfig) -> Contamination | None:
        """Reads the file of `--check-against`; None without one."""
        path, drop = config.check_against, config.drop_contaminated
        if path is not None:
            return cls(PromptSet.from_texts(read_prompts(path)), path.name, drop)
        if drop:
            raise ConfigError("--drop-contaminated has nothing to check", "name a file with --check-against")
        return None

    def check(self, trajectory: Trajectory, rows: Iterator[Candidate | Reject]) -> Iterator[Candidate | Reject]:
        """The rows, as rejects where the prompt overlaps and that is asked for."""
        found = self.prompts.overlap(prompt_of(trajectory.messages))
        if found is None:
            yield from rows
            return
        detail = f"{found.share:.0%} of prompt {found.prompt + 1} of {self.name}"
        self.n_trajectories += 1
        self.n_equal += found.equal
        if len(self.first) < _SHOWN:
            self.first.append(f"{trajectory.source} line {trajectory.line}: {detail}")
        for row in rows:
            if self.drop and isinstance(row, Candidate):
                yield as_reject(row, trajectory.line, RejectReason.CONTAMINATED, detail)
            else:
                yield row

    def summary(self) -> ContaminationSummary:
        return ContaminationSummary(
            file=self.name,
            n_prompts=self.prompts.n_prompts,
            n_trajectories=self.n_trajectories,
            n_equal=self.n_equal,
            first=self.first,
        )


def prompt_of(messages: list[Message]) -> str:
    """The users' messages before the assistant's first answer; a greeting by the assistant does not count as one."""
    first = next((i for i, message in enumerate(messages) if message.role == "user"), len(messages))
    asked = takewhile(lambda message: message.role != "assistant", messages[first:])
    return "\n".join(message.content for message in asked if message.role == "user")


def prefix_hashes(trajectory: Trajectory) -> list[bytes]:
    """For each message the hash of the messages up to and including it."""
    digest, hashes = sha256(trajectory.tools.encode()), []
    for message in trajectory.messages:
        content = message.model_dump(exclude={"tool_call_id": True, "tool_calls": {"__all__": {"id"}}})
        digest.update(json.dumps(content, sort_keys=True).encode() + b"\n")
        hashes.append(digest.copy().digest()[:16])
    return hashes


def read_prompts(path: Path) -> Iterator[str]:
    """Prompts of a file of trajectories, questions, or lines of text."""
    source = Source(path, path.name, named=True)
    n = 0
    for document in source.documents():
        for prompt in _prompts(document, path):
            n += 1
            yield prompt
    if not n:
        raise InputError(
            f"{path.name}: no prompt found",
            f"--check-against takes trajectories, records with one of {', '.join(_PROMPT_FIELDS)}, or lines of text",
        )


def _prompts(document: Document, path: Path) -> Iterator[str]:
    found = detect(document)
    prompts: Iterator[str]
    if found:
        rows = load_reader(found[0]).read(document)
        prompts = (prompt_of(row.messages) for row in rows if isinstance(row, Trajectory))
    elif document.head.container == "text":
        prompts = iter(path.read_text(encoding="utf-8", errors="replace").splitlines())
    else:
        records = (record.json.value for record in document.records() if isinstance(record, Record))
        prompts = map(_record_prompt, records)
    return (prompt for prompt in prompts if prompt.strip())


def _record_prompt(value: Any) -> str:
    """The prompt of a record of unknown format; empty where it has none."""
    if isinstance(value, dict):
        return next(filter(None, (_user_text(value[name]) for name in _PROMPT_FIELDS if name in value)), "")
    return value if isinstance(value, str) else ""


def _user_text(value: Any) -> str:
    """A text itself, or the users' text in a list of messages, nested to any depth."""
    if isinstance(value, list):
        return "\n".join(filter(None, map(_user_text, value)))
    if isinstance(value, dict):
        return _user_text(value.get("content")) if value.get("role") == "user" else ""
    return value if isinstance(value, str) else ""


def as_reject(row: Candidate, line: int, reason: RejectReason, detail: str) -> Reject:
    return Reject(
        source=row.source, line=line, trajectory_id=row.trajectory_id, turn=row.turn, reason=reason, detail=detail
    )
