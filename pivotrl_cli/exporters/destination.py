"""The folder of an export, and counts of rows written, rows left out and facts lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.readers.sources import Source
from pivotrl_cli.rows import Candidate

if TYPE_CHECKING:  # would pull in transformers, 2 s
    from pivotrl_cli.model.chat import ChatFormat


@dataclass
class ExportCounts:
    """Counts of an export, each with the first candidate that it was counted for."""

    n_rows: int = 0
    """Rows written."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows that are not in the export, per reason."""
    not_held: Counter[str] = field(default_factory=Counter)
    """Rows in the export that lack something the target has no place for, or hold it changed."""
    first: dict[str, str] = field(default_factory=dict)
    """The first candidate, or the place of the first row, per reason."""

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out[reason] += 1
        self.first.setdefault(reason, name)

    def note_loss(self, candidate: Candidate, what: str) -> None:
        self.not_held[what] += 1
        self.first.setdefault(what, candidate.candidate_id)


@dataclass(frozen=True)
class Destination:
    """A folder that exists and is empty, the counts of its rows, and the provenance of the export."""

    folder: Path
    chat: ChatFormat | None
    """Renders prompts; without it they stay messages."""
    provenance: dict[str, Any]
    counts: ExportCounts = field(default_factory=ExportCounts)
    sources: list[Source] = field(default_factory=list)
    """Rows of the target that pass rates are written back into; else new rows are made."""
