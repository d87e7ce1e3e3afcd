"""What `filter` kept at each step and why the rest fell, counted and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import DropReason
from pivotrl_cli.stages.filter import limits, rules
from pivotrl_cli.stats import Beta

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 12
_CONSTANT = [DropReason.ALL_WRONG, DropReason.ALL_RIGHT, DropReason.NO_VARIANCE]
_OUTSIDE = [DropReason.TOO_HARD, DropReason.TOO_EASY]
_LIMITS = {
    DropReason.TRAJECTORY_CAP: "per trajectory",
    DropReason.TASK_CAP: "per task",
    DropReason.MESSAGE_RATIO: "message ratio",
    DropReason.BALANCE: "balanced",
    DropReason.LIMIT: "limit",
}


def summarise(decided: pl.DataFrame, prior: Beta, config: FilterConfig) -> dict[str, Any]:
    """The funnel, the kept rows' mean reward beside its expectation, and the break-downs, as JSON values."""
    kept = decided.filter(pl.col("drop_reason").is_null())
    return {
        "rule": rules.keep_reason(config),
        "control": config.control,
        "candidates": len(decided),
        "kept": len(kept),
        "funnel": list(_funnel(decided, config)),
        "all_zero_drawn": int((kept["keep_reason"] == rules.ALL_ZERO).sum()),
        "reward_mean": kept["reward_mean"].mean(),
        "expected_reward_mean": kept["posterior_mean"].mean(),
        "prior": {"a": prior.a, "b": prior.b},
        "by_tool": _break_down(decided, "tool"),
        "by_source": _break_down(decided, "source"),
        "by_domain": _break_down(decided, "domain"),
    }


def _funnel(decided: pl.DataFrame, config: FilterConfig) -> Iterator[dict[str, Any]]:
    """Each step with how many are left after it and how many fell for which reason."""
    counts = dict(decided["drop_reason"].drop_nulls().value_counts().iter_rows())
    left = len(decided)
    for step, reasons in _steps(config):
        dropped = {reason.value: counts.pop(reason.value) for reason in reasons if reason.value in counts}
        left -= sum(dropped.values())
        yield {"step": step, "left": left, "dropped": dropped}
    assert not counts, f"drop reasons that no step of the funnel has: {counts}"


def _steps(config: FilterConfig) -> Iterator[tuple[str, list[DropReason]]]:
    if config.split != "all":
        yield f"{config.split} split", [DropReason.OTHER_SPLIT]
    if config.where is not None:
        yield "where", [DropReason.WHERE]
    yield "scored", [DropReason.NOT_SCORED]
    if config.control is not None:
        yield "drawn", [DropReason.NOT_DRAWN]
        return
    if config.rule == "paper":
        yield "mixed", _CONSTANT
    if config.rule == "signal":
        yield "signal", [DropReason.LOW_SIGNAL]
    yield "in window", _OUTSIDE
    for reason, _ in limits.steps(config):
        yield _LIMITS[reason], [reason]


def _break_down(decided: pl.DataFrame, key: str) -> list[dict[str, Any]]:
    return (
        decided.group_by(key)
        .agg(
            pl.len().alias("candidates"),
            pl.col("reward_mean").count().alias("scored"),
            (pl.col("reward_std") > 0).sum().alias("mixed"),
            pl.col("drop_reason").is_null().sum().alias("kept"),
            pl.col("reward_mean").mean(),
        )
        .sort("kept", "candidates", key, descending=[True, True, False])
        .to_dicts()
    )


def describe(summary: dict[str, Any]) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    control = {"random": "random control of: ", "random-tools": "random control with the same tools of: "}
    title = f"filter: {control.get(summary['control'], '')}{summary['rule']}"
    table = RichTable(show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    table.add_row("candidates", f"{summary['candidates']:,}", "")
    for step in summary["funnel"]:
        table.add_row(step["step"], f"{step['left']:,}", _lost(step["dropped"]))
    table.add_row("kept", f"{summary['kept']:,}", _kept_note(summary))
    parts: list[RenderableType] = [Text(title), table]
    for key in ("tool", "source", "domain"):
        if key != "domain" or len(summary["by_domain"]) > 1:
            parts.append(_break_down_table(key, summary[f"by_{key}"]))
    return Group(*parts)


def _lost(dropped: dict[str, int]) -> str:
    lost = [f"{n:,} {reason.replace('_', ' ')}" for reason, n in dropped.items()]
    return f"- {', '.join(lost)}" if lost else ""


def _kept_note(summary: dict[str, Any]) -> str:
    if not summary["kept"]:
        return ""
    drawn = f"{summary['all_zero_drawn']:,} all-zero ones drawn; " if summary["all_zero_drawn"] else ""
    return (
        f"{drawn}mean reward {summary['reward_mean']:.3f}, posterior expectation {summary['expected_reward_mean']:.3f}"
    )


def _break_down_table(key: str, rows: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False)
    table.add_column(key, overflow="fold", max_width=34)
    for column in ("candidates", "scored", "mixed", "kept", "mean"):
        table.add_column(column, justify="right")
    for row in rows[:_SHOWN]:
        mean = "-" if row["reward_mean"] is None else f"{row['reward_mean']:.2f}"
        counts = [f"{row[c]:,}" for c in ("candidates", "scored", "mixed", "kept")]
        table.add_row(row[key] or "(none)", *counts, mean)
    if len(rows) > _SHOWN:
        table.add_row(f"... and {len(rows) - _SHOWN} more")
    return table
