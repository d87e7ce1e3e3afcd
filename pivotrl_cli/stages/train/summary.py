"""The summary of a training run, and how a terminal shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.rows import StepMetrics, Summary
from pivotrl_cli.stages.shared.judge import JudgeUsage, usage_rows

if TYPE_CHECKING:
    from rich.console import RenderableType


class TrainSummary(Summary):
    """Summary of `train`; counts are over all steps."""

    THIS_RUN: ClassVar[frozenset[str]] = frozenset({"cached", "resumed_after", "judge"})

    method: Literal["grpo", "sft", "e2e"]
    steps: int
    stopped: str
    """Why the run ended."""
    rows: int
    """Rows of the training split; with `e2e` their tasks."""
    holdout_rows_left_out: int
    rollout_turns: int
    completion_tokens_trained: int
    groups_trained: int
    groups_all_right: int
    groups_all_wrong: int
    rows_retired_right: int
    rows_retired_wrong: int
    rows_readmitted: int
    rollouts_unscored: int
    turns_penalised: int
    rows_unusable: int
    """Draws of rows that do not fit the context or the chat template."""
    steps_skipped: int
    reward_first: float | None
    """Mean reward of the first step that has one."""
    reward_last: float | None
    loss_first: float | None
    loss_last: float | None
    target_faults: dict[str, int] = {}
    """Rows by what is wrong with the text that would write their demonstrated action; SFT trains only those that lack
    text or reasoning."""
    plain_layout: str | None
    """Why prompts were not laid out as prefix trees."""
    resumed_after: int | None = None
    """Step of the checkpoint that this run resumed from."""
    judge: JudgeUsage | None = None
    """Requests of this run to the judge."""


def summarize(
    config: TrainConfig,
    metrics: list[StepMetrics],
    *,
    stopped: str,
    n_rows: int,
    n_held_out: int,
    plain_layout: str | None,
    target_faults: dict[str, int],
) -> TrainSummary:
    rewards = [m.reward_mean for m in metrics if m.reward_mean is not None]
    return TrainSummary(
        method=config.method,
        steps=len(metrics),
        stopped=stopped,
        rows=n_rows,
        holdout_rows_left_out=n_held_out,
        rollout_turns=metrics[-1].rollout_turns,
        completion_tokens_trained=sum(m.n_completion_tokens for m in metrics),
        groups_trained=sum(m.n_groups for m in metrics),
        groups_all_right=sum(m.n_all_right for m in metrics),
        groups_all_wrong=sum(m.n_all_wrong for m in metrics),
        rows_retired_right=sum(m.n_retired_right for m in metrics),
        rows_retired_wrong=sum(m.n_retired_wrong for m in metrics),
        rows_readmitted=sum(m.n_readmitted for m in metrics),
        rollouts_unscored=sum(m.n_unscored for m in metrics),
        turns_penalised=sum(m.n_penalised for m in metrics),
        rows_unusable=sum(m.n_unusable for m in metrics),
        steps_skipped=sum(m.skipped is not None for m in metrics),
        reward_first=rewards[0] if rewards else None,
        reward_last=rewards[-1] if rewards else None,
        loss_first=metrics[0].loss,
        loss_last=metrics[-1].loss,
        plain_layout=plain_layout,
        target_faults=target_faults,
    )


def describe(summary: TrainSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title=f"train ({summary.method})", title_justify="left", show_header=False, box=None)
    table.add_row("steps", f"{summary.steps:,}", summary.stopped)
    if summary.steps_skipped:
        table.add_row("skipped", f"{summary.steps_skipped:,}", "steps with an unusable gradient")
    if summary.plain_layout is not None:
        table.add_row("layout", "plain", summary.plain_layout)
    unit = "tasks" if summary.method == "e2e" else "rows"
    table.add_row(unit, f"{summary.rows:,}", f"{summary.rows_unusable:,} draws unusable (too long or not rendered)")
    if summary.target_faults:
        faults = ", ".join(f"{kind} {n:,}" for kind, n in summary.target_faults.items())
        table.add_row("targets", f"{sum(summary.target_faults.values()):,}", f"not as demonstrated: {faults}")
    if summary.method != "sft":
        for row in _rollout_rows(summary):
            table.add_row(*row)
    elif summary.loss_first is not None and summary.loss_last is not None:
        table.add_row("loss", "", f"{summary.loss_first:.3f} -> {summary.loss_last:.3f}")
    for row in usage_rows(summary.judge):
        table.add_row(*row)
    table.add_row("tokens trained", f"{summary.completion_tokens_trained:,}", "")
    return table


def _rollout_rows(summary: TrainSummary) -> list[tuple[str, str, str]]:
    replaced = f"{summary.groups_all_right:,} all right, {summary.groups_all_wrong:,} all wrong"
    rows = [
        ("rollout turns", f"{summary.rollout_turns:,}", f"{summary.rollouts_unscored:,} unscored"),
        ("groups trained", f"{summary.groups_trained:,}", f"zero variance: {replaced}"),
    ]
    if n_retired := summary.rows_retired_right + summary.rows_retired_wrong:
        why = f"{summary.rows_retired_right:,} solved, {summary.rows_retired_wrong:,} hopeless"
        rows.append(("retired", f"{n_retired:,}", f"{why}; {summary.rows_readmitted:,} readmitted"))
    if summary.turns_penalised:
        rows.append(("penalised", f"{summary.turns_penalised:,}", "turns with broken calls or reasoning"))
    if summary.reward_first is not None:
        rows.append(("mean reward", "", f"{summary.reward_first:.3f} -> {summary.reward_last:.3f}"))
    return rows
