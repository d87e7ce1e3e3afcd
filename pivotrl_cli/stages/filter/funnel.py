"""The summary of `filter`: what it kept at each step and why the others were dropped, as a model and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import DropReason, Summary
from pivotrl_cli.stages.filter import limits, rules
from pivotrl_cli.stats import Beta

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 12


class FunnelStep(BaseModel, frozen=True):
    """Example: `FunnelStep(step="mixed", left=3, dropped={"all_right": 13})`"""

    step: str
    left: int
    """Candidates after this step."""
    dropped: dict[str, int]
    """Candidates that this step dropped, by reason."""


class Counts(BaseModel, frozen=True):
    """Candidates of one tool, source or domain."""

    name: str = Field(validation_alias=AliasChoices("name", "tool", "source", "domain"))
    candidates: int
    scored: int
    mixed: int
    kept: int
    reward_mean: float | None


class Prior(BaseModel, frozen=True):
    """The Beta prior of the true pass rates, fitted to the scored candidates."""

    a: float
    b: float


class FilterSummary(Summary):
    """What `filter` kept, and at which step the others were dropped."""

    rule: str
    control: str | None
    candidates: int
    kept: int
    funnel: list[FunnelStep]
    all_zero_drawn: int
    """All-zero candidates that are kept against the rule."""
    reward_mean: float | None
    """Of the kept candidates, as profiled."""
    expected_reward_mean: float | None
    """Posterior expectation of the mean reward, should the kept candidates be sampled again."""
    prior: Prior
    by_tool: list[Counts]
    by_source: list[Counts]
    by_domain: list[Counts]

    @classmethod
    def from_metadata(cls, stored: dict[str, Any]) -> FilterSummary | None:
        """The summary that a table keeps; None where `filter` did not write it."""
        try:
            return cls.model_validate(stored)
        except ValidationError:
            return None


def summarize(decided: pl.DataFrame, prior: Beta, config: FilterConfig) -> FilterSummary:
    """Count the decided rows: the funnel, the mean reward of the kept ones and its expectation, the break-downs."""
    kept = decided.filter(pl.col("drop_reason").is_null())
    values = {
        "rule": rules.keep_reason(config),
        "control": config.control,
        "candidates": len(decided),
        "kept": len(kept),
        "funnel": list(_funnel(decided, config)),
        "all_zero_drawn": int((kept["keep_reason"] == rules.ALL_ZERO).sum()),
        "reward_mean": kept["reward_mean"].mean(),
        "expected_reward_mean": kept["posterior_mean"].mean(),
        "prior": {"a": prior.a, "b": prior.b},
    }
    return FilterSummary.model_validate(values | {f"by_{key}": _counts(decided, key) for key in _BREAK_DOWNS})


_BREAK_DOWNS = ("tool", "source", "domain")


def _funnel(decided: pl.DataFrame, config: FilterConfig) -> Iterator[FunnelStep]:
    counts = dict(decided["drop_reason"].drop_nulls().value_counts().iter_rows())
    left = len(decided)
    for step, reasons in _steps(config):
        dropped = {reason.value: counts.pop(reason.value) for reason in reasons if reason.value in counts}
        left -= sum(dropped.values())
        yield FunnelStep(step=step, left=left, dropped=dropped)
    assert not counts, f"drop reasons without a step in the funnel: {counts}"


def _steps(config: FilterConfig) -> Iterator[tuple[str, list[DropReason]]]:
    """Label of each step, and the reasons for which it drops candidates."""
    if config.split != "all":
        yield f"{config.split} split", [DropReason.OTHER_SPLIT]
    if config.where is not None:
        yield "where", [DropReason.WHERE]
    yield "scored", [DropReason.SCREENED_OUT, DropReason.NOT_SCORED]
    if config.control is not None:
        yield "drawn", [DropReason.NOT_DRAWN]
        return
    if config.rule == "paper":
        yield "mixed", [DropReason.ALL_WRONG, DropReason.ALL_RIGHT, DropReason.NO_VARIANCE]
    if config.rule == "signal":
        yield "signal", [DropReason.LOW_SIGNAL]
    yield "in window", [DropReason.TOO_HARD, DropReason.TOO_EASY]
    for limit, _ in limits.steps(config):
        yield limit.label, [limit.reason]


def _counts(decided: pl.DataFrame, key: str) -> list[dict[str, Any]]:
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


def describe(summary: FilterSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    control = {"random": "random control of: ", "random-tools": "random control with the same tools of: "}
    title = f"filter: {control.get(summary.control or '', '')}{summary.rule}"
    table = RichTable(show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    table.add_row("candidates", f"{summary.candidates:,}", "")
    for step in summary.funnel:
        reasons = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in step.dropped.items())
        table.add_row(step.step, f"{step.left:,}", f"- {reasons}" if reasons else "")
    table.add_row("kept", f"{summary.kept:,}", _kept_note(summary))
    parts: list[RenderableType] = [Text(title), table]
    parts += [_counts_table("tool", summary.by_tool), _counts_table("source", summary.by_source)]
    if len(summary.by_domain) > 1:
        parts.append(_counts_table("domain", summary.by_domain))
    return Group(*parts)


def _kept_note(summary: FilterSummary) -> str:
    if not summary.kept:
        return ""
    drawn = f"{summary.all_zero_drawn:,} all-zero ones drawn; " if summary.all_zero_drawn else ""
    return f"{drawn}mean reward {summary.reward_mean:.3f}, posterior expectation {summary.expected_reward_mean:.3f}"


def _counts_table(title: str, rows: list[Counts]) -> RenderableType:
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False)
    table.add_column(title, overflow="fold", max_width=34)
    for column in ("candidates", "scored", "mixed", "kept", "mean"):
        table.add_column(column, justify="right")
    for row in rows[:_SHOWN]:
        mean = "-" if row.reward_mean is None else f"{row.reward_mean:.2f}"
        counts = [f"{n:,}" for n in (row.candidates, row.scored, row.mixed, row.kept)]
        table.add_row(row.name or "(none)", *counts, mean)
    if len(rows) > _SHOWN:
        table.add_row(f"... and {len(rows) - _SHOWN} more")
    return table
