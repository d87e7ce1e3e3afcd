"""Where every record and turn went.

In = candidates + rejects + filtered, each counted where it happens: turns as their trajectory comes in, rows as they
leave.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Reject, Trajectory
from pivotrl_cli.stages.extract.summary import ExtractSummary


@dataclass
class Counts:
    """Counts of one pass over the sources; `totals` has the fields `n_*` of the summary."""

    totals: Counter[str] = field(default_factory=Counter)
    supplied: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    first_reject: dict[str, str] = field(default_factory=dict)
    sources: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    domains: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    formats: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_source(self, source: str, name: str, because: str) -> None:
        """A document of a known format is about to be read."""
        self.sources[source] = Counter()
        self.formats[source] = {"format": name, "because": because}

    def count_trajectory(self, trajectory: Trajectory, n_turns: int, kept: bool, threshold: float) -> None:
        """A trajectory with assistant turns came in; from the threshold on its outcome is a success."""
        outcome = trajectory.outcome
        self.totals["n_in"] += n_turns
        self.totals["n_known_outcomes"] += outcome is not None
        self.totals["n_successful"] += outcome is not None and outcome >= threshold
        self.totals["n_trajectories"] += kept
        self.totals["n_filtered_trajectories"] += not kept
        self.totals["n_filtered"] += 0 if kept else n_turns
        self._add(trajectory.source, trajectory.domain, "trajectories", int(kept))
        self._add(trajectory.source, trajectory.domain, "filtered", 0 if kept else n_turns)

    def count_row(self, row: Candidate | Reject, domain: str = "") -> None:
        if isinstance(row, Candidate):
            self.totals["n_candidates"] += 1
            self.splits[row.split] += 1
            self.verifiers[row.verifier] += 1
            self._add(row.source, domain, "candidates")
            return
        self.totals["n_rejects"] += 1
        # A turn came in with its trajectory; a record that cannot be read comes in here.
        self.totals["n_in"] += row.turn is None
        self.rejects[row.reason.value] += 1
        self.first_reject.setdefault(row.reason.value, describe_reject(row))
        self._add(row.source, domain, "rejects")

    def summary(self, **further: Any) -> ExtractSummary:
        """Asserts that everything is accounted for; raises `InputError` where nothing came out."""
        n = self.totals
        assert n["n_in"] == n["n_candidates"] + n["n_rejects"] + n["n_filtered"], "some turns are unaccounted for"
        if not n["n_candidates"]:
            raise self._no_candidate()
        totals = {name: n[name] for name in ExtractSummary.model_fields if name.startswith("n_")}
        found = {
            "supplied": self.supplied,
            "splits": {"train": self.splits["train"], "holdout": self.splits["holdout"]},
            "verifiers": dict(sorted(self.verifiers.items())),
            "rejects": dict(self.rejects.most_common()),
            "first_reject": self.first_reject,
            "sources": {name: {**counts, **self.formats.get(name, {})} for name, counts in self.sources.items()},
            "domains": dict(sorted(self.domains.items())),
        }
        return ExtractSummary.model_validate(totals | found | further)

    def _add(self, source: str, domain: str, what: str, n: int = 1) -> None:
        self.sources[source][what] += n
        self.domains[domain][what] += n

    def _no_candidate(self) -> InputError:
        if not self.rejects:
            return InputError(
                f"no candidate: all {self.totals['n_filtered']} turns were filtered by the outcome of their trajectory",
                "drop --only-successful, or lower --success-threshold or --min-outcome; an unknown outcome passes none",
            )
        reason, n = self.rejects.most_common(1)[0]
        return InputError(
            f"no candidate: {n} of {self.totals['n_in']} turns and records are {reason}, "
            f"first {self.first_reject[reason]}",
            "correct the input, or force another --format",
        )


def describe_reject(reject: Reject) -> str:
    """A reject in one line.

    Example: `runs.jsonl line 3: messages.2.role: expected text, got nothing`
    """
    line = f" line {reject.line}" if reject.line else ""
    turn = f" turn {reject.turn}" if reject.turn is not None else ""
    return f"{reject.source}{line}{turn}: {reject.detail}"
