"""Summary of `extract`, as JSON and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pivotrl_cli.rows import Summary, SummaryPart

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN_SOURCES = 12
_NAME_WIDTH = 24
_COLUMNS = ("trajectories", "candidates", "rejects", "filtered")


class DomainCounts(SummaryPart):
    """Rows of one domain."""

    trajectories: int = 0
    """Trajectories that passed the outcome filter."""
    candidates: int = 0
    rejects: int = 0
    filtered: int = 0
    """Turns of trajectories that the outcome filter left out."""


class SourceCounts(DomainCounts):
    """Rows of one file or data set."""

    format: str | None = None
    """Format that it was read as; null if no reader recognises it."""
    because: str | None = None
    """Reason to recognise the format."""


class Splits(SummaryPart):
    """Candidates per split."""

    train: int
    holdout: int


class ContaminationSummary(SummaryPart):
    """Trajectories whose prompt overlaps with one of `--check-against`."""

    file: str
    n_prompts: int
    """Different prompts in the file."""
    n_trajectories: int
    """Trajectories that overlap with one of them."""
    n_equal: int
    """Of these, trajectories whose prompt has the same words throughout."""
    first: list[str]
    """The first few, with their place."""


class RecordedSummary(SummaryPart):
    """Recorded rewards that `--profile` found."""

    n_recorded: int
    """Candidates with a recorded reward."""
    n_without: int
    n_uncounted: int
    """Candidates whose number of rollouts is not recorded."""
    reward_mean: float | None


class ExtractSummary(Summary):
    """Summary of `extract`: `n_in` = `n_candidates` + `n_rejects` + `n_filtered`."""

    n_in: int
    """Assistant turns, and records that could not be read."""
    n_candidates: int
    n_rejects: int
    n_filtered: int
    n_trajectories: int
    n_filtered_trajectories: int
    n_repeated_trajectories: int
    """Trajectories with the content of an earlier one."""
    n_known_outcomes: int
    n_successful: int
    """Trajectories whose outcome reaches `--success-threshold`."""
    supplied: dict[str, int]
    """Trajectories that `--system` and `--tools` completed, where these were given."""
    splits: Splits
    verifiers: dict[str, int]
    """Candidates per verifier."""
    unused_verifier_keys: list[str] = []
    """Keys of `--verifier-for` that no turn matched."""
    rejects: dict[str, int]
    """Rejects per reason, the most frequent first."""
    first_reject: dict[str, str]
    """For each reason the first reject, with its place."""
    sources: dict[str, SourceCounts]
    domains: dict[str, DomainCounts]
    contamination: ContaminationSummary | None = None
    """Null without `--check-against`."""
    recorded: RecordedSummary | None = None
    """Null without `--profile`."""


def describe(summary: ExtractSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group

    rejects = (f"{n:,} {reason}, first {summary.first_reject[reason]}" for reason, n in summary.rejects.items())
    return Group(*_headlines(summary), _source_table(summary.sources), *rejects)


def _headlines(summary: ExtractSummary) -> Iterator[str]:
    yield (
        f"{summary.n_in:,} in = {summary.n_candidates:,} candidates + {summary.n_rejects:,} rejects"
        f" + {summary.n_filtered:,} filtered"
    )
    splits = summary.splits
    yield (f"{summary.n_trajectories:,} trajectories, {splits.train:,} train and {splits.holdout:,} holdout candidates")
    if summary.n_known_outcomes:
        yield f"{summary.n_successful:,} of {summary.n_known_outcomes:,} trajectories with an outcome succeeded"
    if len(summary.verifiers) > 1:
        yield ", ".join(f"{n:,} scored by {name}" for name, n in summary.verifiers.items())
    for key in summary.unused_verifier_keys:
        yield f"--verifier-for {key}=... was not used: no turn of that tool or domain"
    if overlap := summary.contamination:
        yield f"{overlap.n_trajectories:,} trajectories overlap with one of {overlap.n_prompts:,} prompts checked"
    if summary.recorded:
        yield _recorded_line(summary.recorded)
    if summary.n_repeated_trajectories:
        yield f"{summary.n_repeated_trajectories:,} trajectories repeat an earlier one"
    for name, n in summary.supplied.items():
        if not n:
            yield f"--{name} was not used: every record has its own"


def _recorded_line(recorded: RecordedSummary) -> str:
    known = f"recorded rewards: {recorded.n_recorded:,} of {recorded.n_recorded + recorded.n_without:,} candidates"
    if recorded.reward_mean is None:
        return known
    uncounted = f", {recorded.n_uncounted:,} without a number of rollouts" if recorded.n_uncounted else ""
    return f"{known}, mean {recorded.reward_mean:.3f}{uncounted}"


def _source_table(sources: dict[str, SourceCounts]) -> RenderableType:
    """The sources that were read; files of unknown format are among the rejects."""
    from rich.table import Table

    known = [(name, counts) for name, counts in sources.items() if counts.format is not None]
    more = len(known) - _SHOWN_SOURCES
    table = Table("source", "format", box=None, pad_edge=False, header_style="", caption_justify="left")
    table.caption = f"and {more:,} more" if more > 0 else None
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, counts in known[:_SHOWN_SOURCES]:
        short = name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]
        table.add_row(short, counts.format, *(f"{getattr(counts, column):,}" for column in _COLUMNS))
    return table
