"""Summaries of `score` and of `score --audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pivotrl_cli.rows import Message, Summary, SummaryPart
from pivotrl_cli.stages.shared.judge import JudgeUsage, need_rows, usage_rows
from pivotrl_cli.text import shorten

if TYPE_CHECKING:
    from rich.console import RenderableType


class Pair(SummaryPart):
    """How often two scorers accept (reward 1) the same rollouts."""

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    """Neither accepts, and the rewards are equal."""
    other: int
    """Neither accepts, and the partial rewards differ."""


class Disagreement(SummaryPart):
    """One rollout that scorers disagree about."""

    candidate_id: str
    sample: int
    rewards: dict[str, float]
    verdicts: dict[str, str]
    expected: str
    sampled: str
    alike: int
    """Rollouts with the same tools and the same verdicts, this one among them."""


class ScoreSummary(Summary):
    """Summary of `score`: how the named verifiers agree with the recorded rewards and with each other."""

    THIS_RUN: ClassVar[frozenset[str]] = frozenset({"cached", "judge"})

    rollouts: int
    """Rollouts that every verifier could score."""
    unscored: int
    """Recorded without a reward: truncated or failed."""
    errors: dict[str, int]
    """Rollouts that a verifier could not score."""
    needs_judge: dict[str, int] = {}
    """Rollouts that `NAME+judge` asks about: complete actions that the verifier does not accept outright."""
    similar: dict[str, int] = {}
    """Rollouts that the verifier accepts by likeness."""
    means: dict[str, float]
    """Mean reward by scorer."""
    pairs: list[Pair]
    telling: list[Disagreement]
    """The widest disagreements, one for each combination of tools and verdicts."""
    judge: JudgeUsage | None = None
    """Requests of this run to the judge."""


class AcceptedAction(SummaryPart):
    """A wrong action that a verifier accepted."""

    candidate_id: str
    expected: str
    accepted: str


class ProbeCount(SummaryPart):
    """What a verifier said of one kind of wrong action."""

    tried: int
    accepted: int
    partial: int
    """Rewards between 0 and 1."""
    examples: list[str]
    """Candidates at which it was accepted, the first three."""
    first_accepted: AcceptedAction | None


class AuditSummary(Summary):
    """Summary of `score --audit`: what the verifiers accept of actions that are wrong on purpose."""

    verifiers: list[str]
    candidates: int
    demonstrations_refused: int
    refused_examples: list[str]
    """Candidates whose own demonstration is refused, the first three."""
    probes: dict[str, ProbeCount]
    judge: JudgeUsage | None = None
    """Requests of this run to the judge."""


def action_text(message: Message | None) -> str:
    """An action in one short line."""
    if message is None:
        return "(no action)"
    calls = " ".join(f"{call.name} {call.arguments}" for call in message.tool_calls)
    return shorten(" ".join((calls or message.content).split()), 160)


def describe(summary: ScoreSummary | AuditSummary) -> RenderableType:
    """The comparison, or the audit, for a terminal."""
    return _describe_audit(summary) if isinstance(summary, AuditSummary) else _describe_score(summary)


def _describe_score(summary: ScoreSummary) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    means = ", ".join(f"{name} {mean:.3f}" for name, mean in summary.means.items())
    errors = "".join(f", {n:,} errors of {name}" for name, n in summary.errors.items())
    head = f"{summary.rollouts:,} rollouts, {summary.unscored:,} unscored{errors}\nmean reward: {means}"
    pairs = Table(box=None, pad_edge=False, title="who accepts", title_justify="left")
    for column in ("first", "second", "both", "only first", "only second", "neither", "other"):
        pairs.add_column(column, justify="left" if column in ("first", "second") else "right", overflow="fold")
    for pair in summary.pairs:
        counts = (pair.both, pair.only_first, pair.only_second, pair.neither, pair.other)
        pairs.add_row(pair.first, pair.second, *(f"{n:,}" for n in counts))
    cost = [f"{what}: {n}, {more}" for what, n, more in usage_rows(summary.judge)]
    for name, n_needed in summary.needs_judge.items():
        rows = need_rows(n_needed, summary.similar.get(name, 0), summary.rollouts)
        cost += [f"{what} after {name}: {n}, {more}" for what, n, more in rows]
    return Group(Text(head), *map(Text, cost), pairs, *map(Text, _disagreement_lines(summary.telling)))


def _disagreement_lines(rows: list[Disagreement]) -> list[str]:
    if not rows:
        return ["they agree everywhere"]
    lines = ["\nmost telling disagreements"]
    for row in rows:
        says = ", ".join(f"{name} {reward:g} ({row.verdicts[name]})" for name, reward in row.rewards.items())
        where = f"{row.candidate_id} sample {row.sample}, {row.alike:,} alike: {says}"
        lines.append(f"{where}\n  expected {row.expected}\n  sampled  {row.sampled}")
    return lines


def _describe_audit(summary: AuditSummary) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="audit", title_justify="left", box=None, pad_edge=False)
    for column in ("probe", "tried", "accepted", "share", "partly"):
        table.add_column(column, justify="left" if column == "probe" else "right", overflow="fold")
    n, refused = summary.candidates, summary.demonstrations_refused
    table.add_row("the demonstration itself", f"{n:,}", f"{n - refused:,}", _share(n - refused, n), "")
    accepted = []
    for name, probe in summary.probes.items():
        share = _share(probe.accepted, probe.tried)
        counts = f"{probe.tried:,}", f"{probe.accepted:,}", share, f"{probe.partial:,}"
        table.add_row(name, *counts)
        if one := probe.first_accepted:
            lines = f"  expected {one.expected}\n  accepted {one.accepted}"
            accepted.append(f"{name}, accepted at {one.candidate_id}:\n{lines}")
    return Group(table, *map(Text, ["", *accepted] if accepted else []))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
