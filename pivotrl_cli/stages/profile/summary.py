"""Counts over all candidates of a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from pivotrl_cli.rows import ProfileStatus, Rollout, Summary
from pivotrl_cli.stages.profile.adaptive import is_pivot
from pivotrl_cli.stages.shared.judge import JudgeUsage, need_rows, needs_judge, rests_on_likeness, usage_rows
from pivotrl_cli.stages.shared.scoring import LOOPING
from pivotrl_cli.stats import rate_interval

if TYPE_CHECKING:
    from rich.console import RenderableType


class PrescreenCounts(BaseModel):
    """Candidates that the prescreen left out, and what the audited ones say of the others."""

    model_config = ConfigDict(frozen=True)

    screened_out: int
    """Candidates without rollouts."""
    audited: int
    """Candidates that would have been left out too, and were sampled."""
    audited_pivots: int
    """Pivots among them: rewards differ, and their mean is below `--adaptive-max-mean`."""
    pivots: int
    """All pivots found, those included."""
    recall: float | None
    """Estimated share of the pivots that were found; null where nothing was audited or found."""
    recall_low: float | None
    """Lower end of its 95 % interval (Jeffreys interval of the pivot rate among the audited)."""
    recall_high: float | None
    """Upper end of that interval."""

    @classmethod
    def of(cls, screened_out: int, audited: int, audited_pivots: int, pivots: int) -> PrescreenCounts:
        """The counts with the recall that they imply."""
        recall: list[float | None] = [None] * 3
        if audited and pivots:
            rate = audited_pivots / audited
            low, high = rate_interval(rate, audited)
            recall = [pivots / (pivots + missed * screened_out) for missed in (rate, high, low)]
        return cls(
            screened_out=screened_out, audited=audited, audited_pivots=audited_pivots, pivots=pivots,
            recall=recall[0], recall_low=recall[1], recall_high=recall[2],
        )  # fmt: skip


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
    prescreen: PrescreenCounts | None
    """What the prescreen left out, and the pivots that it cost."""
    retries: int = 0
    """Rollouts sampled again in this run because they had failed."""
    resumed: int = 0
    """Candidates that an earlier run had sampled."""
    judge: JudgeUsage | None = None
    """Requests of this run to the judge."""


class Tally:
    """Running counts over profiled candidates; `max_mean` is the pivot rule's."""

    def __init__(self, max_mean: float) -> None:
        self._max_mean = max_mean
        self._n_screened = 0
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
        if added["entropy"] is not None:
            self._n_screened += 1
            rewards = [r.reward for r in rollouts if r.reward is not None]
            pivot = is_pivot(rewards, self._max_mean)
            self.counts.update(audited=added["audited"], pivots=pivot, audited_pivots=pivot and added["audited"])
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
            prescreen=self._prescreen(),
            needs_judge=self.counts["needs_judge"],
            similar=self.counts["similar"],
        )

    def _prescreen(self) -> PrescreenCounts | None:
        if not self._n_screened:
            return None
        n_left_out = self.status[ProfileStatus.SCREENED_OUT]
        return PrescreenCounts.of(n_left_out, *(self.counts[k] for k in ("audited", "audited_pivots", "pivots")))


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
    if summary.prescreen:
        table.add_row("prescreen", f"{summary.prescreen.screened_out:,}", _prescreen_cost(summary.prescreen))
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


def _prescreen_cost(counts: PrescreenCounts) -> str:
    if counts.recall is None:
        return f"left out, {counts.audited:,} more audited; too few to estimate the pivots lost"
    interval = f"{counts.recall_low:.1%} to {counts.recall_high:.1%}"
    return f"left out; about {counts.recall:.1%} of the pivots found ({interval}, from {counts.audited:,} audited)"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"
