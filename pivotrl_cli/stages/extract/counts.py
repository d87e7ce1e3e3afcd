"""What came into `extract` and what became of it, and how that reads on a terminal.

In = candidates + rejects + filtered, each counted where it happens: turns as their trajectory comes in, rows as they
leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Reject, Trajectory

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN_SOURCES = 12
_NAME_WIDTH = 24


@dataclass
class Tally:
    """What came in and what became of it."""

    n_in: int = 0
    n_candidates: int = 0
    n_rejects: int = 0
    n_filtered: int = 0
    n_trajectories: int = 0
    n_filtered_trajectories: int = 0
    n_repeated_trajectories: int = 0
    n_known_outcomes: int = 0
    n_successful: int = 0
    supplied: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    first_reject: dict[str, str] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)

    def open(self, source: str, name: str, because: str) -> None:
        """A document of a known format is about to be read."""
        self.sources[source] = {"format": name, "because": because}

    def take(self, trajectory: Trajectory, n_turns: int, kept: bool, threshold: float) -> None:
        """A trajectory with assistant turns came in; from the threshold on its outcome is a success."""
        self.n_in += n_turns
        self.n_known_outcomes += trajectory.outcome is not None
        self.n_successful += trajectory.outcome is not None and trajectory.outcome >= threshold
        self.n_trajectories += kept
        self.n_filtered_trajectories += not kept
        self.n_filtered += 0 if kept else n_turns
        self._count(trajectory.source, trajectory.domain, "trajectories", int(kept))
        self._count(trajectory.source, trajectory.domain, "filtered", 0 if kept else n_turns)

    def give(self, row: Candidate | Reject, domain: str = "") -> None:
        """A row goes out."""
        if isinstance(row, Candidate):
            self.n_candidates += 1
            self.splits[row.split] += 1
            self.verifiers[row.verifier] += 1
            self._count(row.source, domain, "candidates")
            return
        self.n_rejects += 1
        self.n_in += row.turn is None  # a turn came in with its trajectory, a record that cannot be read comes in here
        self.rejects[row.reason.value] += 1
        self.first_reject.setdefault(row.reason.value, place(row))
        self._count(row.source, domain, "rejects")

    def summary(self) -> dict[str, Any]:
        """As JSON values; asserts that everything is accounted for, and raises where nothing came out."""
        assert self.n_in == self.n_candidates + self.n_rejects + self.n_filtered, "some turns are unaccounted for"
        if not self.n_candidates:
            raise self._nothing()
        return {
            "n_in": self.n_in,
            "n_candidates": self.n_candidates,
            "n_rejects": self.n_rejects,
            "n_filtered": self.n_filtered,
            "n_trajectories": self.n_trajectories,
            "n_filtered_trajectories": self.n_filtered_trajectories,
            "n_repeated_trajectories": self.n_repeated_trajectories,
            "n_known_outcomes": self.n_known_outcomes,
            "n_successful": self.n_successful,
            "supplied": dict(self.supplied),
            "splits": {"train": self.splits["train"], "holdout": self.splits["holdout"]},
            "verifiers": dict(sorted(self.verifiers.items())),
            "rejects": dict(self.rejects.most_common()),
            "first_reject": self.first_reject,
            "sources": self.sources,
            "domains": dict(sorted(self.domains.items())),
        }

    def _count(self, source: str, domain: str, what: str, n: int = 1) -> None:
        for counts in (self.sources.setdefault(source, {}), self.domains.setdefault(domain, {})):
            counts[what] = counts.get(what, 0) + n

    def _nothing(self) -> InputError:
        if not self.rejects:
            return InputError(
                f"no candidate: all {self.n_filtered} turns were filtered by the outcome of their trajectory",
                "drop --only-successful, or lower --success-threshold or --min-outcome; an unknown outcome passes none",
            )
        reason, n = self.rejects.most_common(1)[0]
        return InputError(
            f"no candidate: {n} of {self.n_in} turns and records are {reason}, first {self.first_reject[reason]}",
            "mend the input, or force another --format",
        )


def place(reject: Reject) -> str:
    """A reject in one line.

    Example: `runs.jsonl line 3: messages.2.role: expected text, got nothing`
    """
    line = f" line {reject.line}" if reject.line else ""
    turn = f" turn {reject.turn}" if reject.turn is not None else ""
    return f"{reject.source}{line}{turn}: {reject.detail}"


def describe(summary: dict[str, Any]) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group

    return Group(*_headlines(summary), _sources(summary["sources"]), *_rejects(summary))


def _headlines(summary: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{summary['n_in']:,} in = {summary['n_candidates']:,} candidates + {summary['n_rejects']:,} rejects"
        f" + {summary['n_filtered']:,} filtered"
    )
    train, holdout = summary["splits"]["train"], summary["splits"]["holdout"]
    yield f"{summary['n_trajectories']:,} trajectories, {train:,} train and {holdout:,} holdout candidates"
    if summary["n_known_outcomes"]:
        yield f"{summary['n_successful']:,} of {summary['n_known_outcomes']:,} trajectories with an outcome succeeded"
    if len(summary["verifiers"]) > 1:
        yield ", ".join(f"{n:,} scored by {name}" for name, n in summary["verifiers"].items())
    for key in summary.get("unused_verifier_keys", []):
        yield f"--verifier-for {key}=... was not used: no turn of that tool or domain"
    if overlap := summary.get("contamination"):
        yield f"{overlap['n_trajectories']:,} trajectories overlap with one of {overlap['n_prompts']:,} prompts checked"
    if recorded := summary.get("recorded"):
        yield _recorded(recorded)
    if summary["n_repeated_trajectories"]:
        yield f"{summary['n_repeated_trajectories']:,} trajectories repeat an earlier one"
    for name, n in summary["supplied"].items():
        if not n:
            yield f"--{name} was not used: every record has its own"


def _recorded(recorded: dict[str, Any]) -> str:
    n, mean = recorded["n_recorded"], recorded["reward_mean"]
    known = f"recorded rewards: {n:,} of {n + recorded['n_without']:,} candidates"
    uncounted = f", {recorded['n_uncounted']:,} do not say of how many rollouts" if recorded["n_uncounted"] else ""
    return known if mean is None else f"{known}, mean {mean:.3f}{uncounted}"


def _sources(sources: dict[str, dict[str, Any]]) -> RenderableType:
    """The sources that were read; files of unknown format are among the rejects."""
    from rich.table import Table

    columns = ("trajectories", "candidates", "rejects", "filtered")
    known = [(name, counts) for name, counts in sources.items() if "format" in counts]
    more = len(known) - _SHOWN_SOURCES
    table = Table("source", "format", box=None, pad_edge=False, header_style="", caption_justify="left")
    table.caption = f"and {more:,} more" if more > 0 else None
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, counts in known[:_SHOWN_SOURCES]:
        short = name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]
        table.add_row(short, counts["format"], *(f"{counts.get(column, 0):,}" for column in columns))
    return table


def _rejects(summary: dict[str, Any]) -> Iterator[str]:
    for reason, n in summary["rejects"].items():
        yield f"{n:,} {reason}, first {summary['first_reject'][reason]}"
