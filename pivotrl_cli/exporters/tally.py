"""What an export kept, left out and could not carry along."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pivotrl_cli.rows import Candidate


@dataclass
class Tally:
    """Counts of an export, each with the first candidate that it was counted for."""

    n_rows: int = 0
    """Rows written."""
    _left_out: Counter[str] = field(default_factory=Counter)
    _not_held: Counter[str] = field(default_factory=Counter)
    _first: dict[str, str] = field(default_factory=dict)

    def leave_out(self, candidate: Candidate, reason: str) -> None:
        """A row that is not in the export."""
        self._left_out[reason] += 1
        self._first.setdefault(reason, candidate.candidate_id)

    def not_held(self, candidate: Candidate, what: str) -> None:
        """A row that is in the export without something that the target has no place for, or with it changed."""
        self._not_held[what] += 1
        self._first.setdefault(what, candidate.candidate_id)

    def summary(self) -> dict[str, Any]:
        """As JSON values."""
        counts = {"left_out": self._left_out, "not_held": self._not_held}
        told = {
            name: [{"what": what, "n": n, "first": self._first[what]} for what, n in sorted(counter.items())]
            for name, counter in counts.items()
        }
        return {"n_rows": self.n_rows, **told}
