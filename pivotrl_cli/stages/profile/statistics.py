"""What a profile says of its candidates: the columns that it adds to each, and the counts over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pivotrl_cli.rows import Candidate, Profile, ProfileStatus, Rollout
from pivotrl_cli.stages.profile.sampler import Sampled
from pivotrl_cli.stages.shared.judge import cost_row
from pivotrl_cli.stages.shared.scoring import LOOPING
from pivotrl_cli.stats import mean_and_std, rate_interval

if TYPE_CHECKING:
    from rich.console import RenderableType

ADDED = [name for name in Profile.model_fields if name not in Candidate.model_fields]
"""Columns that profiling adds."""


def statistics(sampled: Sampled) -> dict[str, Any]:
    """What a profile adds to its candidate: the rollouts and what they say of the pass rate."""
    rollouts = sampled.rollouts
    rewards = [r.reward for r in rollouts if r.reward is not None]
    mean, std = mean_and_std(rewards)
    low, high = (None, None) if mean is None else rate_interval(mean, len(rewards))
    status, detail = _status(sampled, len(rewards))
    return {
        "rollouts": rollouts,
        "n_scored": len(rewards),
        "n_error": sum(r.error is not None for r in rollouts),
        "n_truncated": sum(r.finish_reason == "length" for r in rollouts),
        "prompt_tokens": sampled.prompt_tokens,
        "reward_mean": mean,
        "reward_std": std,
        "pass_rate_low": low,
        "pass_rate_high": high,
        "status": status,
        "status_detail": detail,
        "template_fault": sampled.template_fault,
    }


def _status(sampled: Sampled, n_scored: int) -> tuple[ProfileStatus, str]:
    if sampled.status != "ok":
        return ProfileStatus(sampled.status), sampled.detail
    if n_scored == 0:
        return ProfileStatus.NOT_SCORED, "every rollout failed or was cut"
    return ProfileStatus.OK, ""


class Tally:
    """Running counts over profiled candidates."""

    def __init__(self) -> None:
        self.status: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.signal: Counter[str] = Counter()
        self.template_faults: Counter[str] = Counter()
        self.reward_sum = 0.0
        self.counts: Counter[str] = Counter()

    def add(self, added: Mapping[str, Any]) -> None:
        """Count one profiled candidate, by what `statistics` gave."""
        self.status[str(added["status"])] += 1
        if added["template_fault"]:
            self.template_faults[added["template_fault"].partition(":")[0]] += 1
        rollouts: list[Rollout] = added["rollouts"]
        self.verdicts.update(r.verdict for r in rollouts)
        self.counts["rollouts"] += len(rollouts)
        self.counts["tokens"] += sum(r.n_tokens for r in rollouts)
        self.counts["looping"] += sum(r.finish_reason == "length" and r.detail == LOOPING for r in rollouts)
        for name in ("n_scored", "n_error", "n_truncated"):
            self.counts[name] += added[name]
        if added["reward_mean"] is not None:
            self.reward_sum += added["reward_mean"] * added["n_scored"]
            self.signal[_signal(added["reward_mean"], added["reward_std"])] += 1

    def summary(self, n_left_out: int) -> dict[str, Any]:
        """As JSON values."""
        scored = self.counts["n_scored"]
        return {
            "candidates": sum(self.status.values()),
            "left_out": n_left_out,
            "status": dict(sorted(self.status.items())),
            "template_faults": dict(self.template_faults.most_common()),
            "rollouts": self.counts["rollouts"],
            "scored": scored,
            "errors": self.counts["n_error"],
            "truncated": self.counts["n_truncated"],
            "looping": self.counts["looping"],
            "tokens": self.counts["tokens"],
            "reward_mean": self.reward_sum / scored if scored else None,
            "signal": dict(sorted(self.signal.items())),
            "verdicts": dict(self.verdicts.most_common()),
        }


def _signal(mean: float, std: float) -> str:
    if std > 0.0:
        return "mixed"
    return "all_right" if mean == 1.0 else "all_wrong" if mean == 0.0 else "all_equal"


def describe(summary: dict[str, Any]) -> RenderableType:
    """The summary for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title="profile", title_justify="left", show_header=False, box=None)
    mean = summary["reward_mean"]
    table.add_row("candidates", f"{summary['candidates']:,}", _counts(summary["status"]))
    if summary.get("template_faults"):
        table.add_row(
            "template faults", "", f"{_counts(summary['template_faults'])}: the prompts lack what was recorded"
        )
    table.add_row("rollouts", f"{summary['rollouts']:,}", f"{summary['tokens']:,} tokens sampled")
    table.add_row("scored", f"{summary['scored']:,}", "nothing" if mean is None else f"mean reward {mean:.3f}")
    cut = f"{summary['truncated']:,} cut by the token limit, {summary['looping']:,} of them looping"
    table.add_row("not scored", "", f"{summary['errors']:,} errors, {cut}")
    for name, meaning in _OF_THIS_RUN.items():
        if name in summary:
            table.add_row(name, f"{summary[name]:,}", meaning)
    table.add_row("signal", "", _counts(summary["signal"]))
    table.add_row("verdicts", "", _counts(summary["verdicts"]))
    for row in cost_row(summary):
        table.add_row(*row)
    return table


_OF_THIS_RUN = {
    "retries": "rollouts sampled again because they had failed",
    "resumed": "candidates that an earlier run had sampled",
}
"""Counts of one run, which are not stored with the table: another way to the same table may have others."""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"
