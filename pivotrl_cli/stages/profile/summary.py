"""Counts over all candidates of a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pivotrl_cli.rows import Rollout, Summary
from pivotrl_cli.stages.shared.judge import JudgeUsage, need_rows, needs_judge, rests_on_likeness, usage_rows
from pivotrl_cli.stages.shared.scoring import LOOPING

if TYPE_CHECKING:
    from rich.console import RenderableType


class ProfileSummary(Summary):
    """Summary of `profile` and of `merge`."""

    THIS_RUN: ClassVar[frozenset[str]] = frozenset({"cached", "retries", "resumed", "judge"})

    candidates: int
    """Rows of the profile."""
    left_out: int
    """Candidates of the input that no shard profiles: of another split, or beyond the limit."""
    status: dict[str, int]
    """Candidates by status."""
    template_faults: dict[str, int]
    """Candidates by what the chat template loses of their states, or of the demonstrated action."""
    rollouts: int
    scored: int
    """Rollouts with a reward."""
    errors: int
    """Rollouts whose measurement failed."""
    truncated: int
    """Rollouts cut by the token limit."""
    looping: int
    """Truncated rollouts that repeat themselves."""
    tokens: int
    """Tokens sampled."""
    reward_mean: float | None
    """Mean over all scored rollouts."""
    signal: dict[str, int]
    """Candidates by whether their rewards differ."""
    verdicts: dict[str, int]
    """Rollouts by the verifier's category."""
    needs_judge: int = 0
    """Rollouts that `NAME+judge` asks about: complete actions that the rule does not accept outright."""
    similar: int = 0
    """Rollouts that the rule accepts by likeness."""
    retries: int = 0
    """Rollouts sampled again in this run because they had failed."""
    resumed: int = 0
    """Candidates that an earlier run had sampled."""
    judge: JudgeUsage | None = None
    """Requests of this run to the judge."""


class Tally:
    """Running counts over profiled candidates."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.status: Counter[str] = Counter()
        self.template_faults: Counter[str] = Counter()
        self.signal: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.reward_sum = 0.0

    def add(self, added: Mapping[str, Any]) -> None:
        """Count one profiled candidate, by its `statistics`."""
        rollouts: list[Rollout] = added["rollouts"]
        self.status[str(added["status"])] += 1
        if added["template_fault"]:
            self.template_faults[added["template_fault"].partition(":")[0]] += 1
        self.verdicts.update(r.verdict for r in rollouts)
        self.counts.update(
            rollouts=len(rollouts),
            tokens=sum(r.n_tokens for r in rollouts),
            looping=sum(r.finish_reason == "length" and r.detail == LOOPING for r in rollouts),
            scored=added["n_scored"],
            errors=added["n_error"],
            truncated=added["n_truncated"],
            needs_judge=sum(map(needs_judge, rollouts)),
            similar=sum(map(rests_on_likeness, rollouts)),
        )
        if added["reward_mean"] is not None:
            self.reward_sum += added["reward_mean"] * added["n_scored"]
            self.signal[_signal(added["reward_mean"], added["reward_std"])] += 1

    def summary(self, n_left_out: int) -> ProfileSummary:
        """The counts so far."""
        scored = self.counts["scored"]
        return ProfileSummary(
            candidates=sum(self.status.values()),
            left_out=n_left_out,
            status=dict(sorted(self.status.items())),
            template_faults=dict(self.template_faults.most_common()),
            reward_mean=self.reward_sum / scored if scored else None,
            signal=dict(sorted(self.signal.items())),
            verdicts=dict(self.verdicts.most_common()),
            rollouts=self.counts["rollouts"],
            scored=scored,
            errors=self.counts["errors"],
            truncated=self.counts["truncated"],
            looping=self.counts["looping"],
            tokens=self.counts["tokens"],
            needs_judge=self.counts["needs_judge"],
            similar=self.counts["similar"],
        )


def _signal(mean: float, std: float) -> str:
    if std > 0.0:
        return "mixed"
    return "all_right" if mean == 1.0 else "all_wrong" if mean == 0.0 else "all_equal"


def describe(summary: ProfileSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title="profile", title_justify="left", show_header=False, box=None)
    table.add_row("candidates", f"{summary.candidates:,}", _counts(summary.status))
    if summary.template_faults:
        faults = _counts(summary.template_faults)
        table.add_row("template faults", "", f"{faults}: the template loses what was recorded")
    table.add_row("rollouts", f"{summary.rollouts:,}", f"{summary.tokens:,} tokens sampled")
    mean = "nothing" if summary.reward_mean is None else f"mean reward {summary.reward_mean:.3f}"
    table.add_row("scored", f"{summary.scored:,}", mean)
    cut = f"{summary.truncated:,} cut by the token limit, {summary.looping:,} of them looping"
    table.add_row("not scored", "", f"{summary.errors:,} errors, {cut}")
    if summary.retries:
        table.add_row("retries", f"{summary.retries:,}", "rollouts sampled again because they had failed")
    if summary.resumed:
        table.add_row("resumed", f"{summary.resumed:,}", "candidates that an earlier run had sampled")
    table.add_row("signal", "", _counts(summary.signal))
    table.add_row("verdicts", "", _counts(summary.verdicts))
    for row in [*need_rows(summary.needs_judge, summary.similar, summary.scored), *usage_rows(summary.judge)]:
        table.add_row(*row)
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"
