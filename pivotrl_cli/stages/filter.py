"""Filter: keep the turns whose rewards vary and whose mean is low enough (paper, Eq. 5).

    keep s  iff  std(s) > 0  and  mean(s) < lambda

The decision needs only narrow columns, so it is made over all rows at once; the states are then copied row group by
row group. Every dropped candidate has a reason, and the first that applies counts.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from pivotrl_cli.arrow import with_columns
from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.provenance import Provenance
from pivotrl_cli.rows import Dropped, DropReason, Pivot, Profile
from pivotrl_cli.table import Table, TableWriter, current_summary

if TYPE_CHECKING:
    from rich.console import RenderableType

_NARROW = ["candidate_id", "trajectory_id", "source", "split", "n_scored", "reward_mean", "reward_std"]
_CALLS = "expected_action.tool_calls"


def run(config: FilterConfig) -> dict[str, Any]:
    """Select pivots from a profile table; returns the summary."""
    with Table.open(config.profile, Profile) as profile:
        provenance = Provenance.of("filter", Pivot, config, [profile.as_input()])
        stored = _stored(config, provenance)
        if stored is not None:
            return stored | {"cached": True}
        decided = decide(_narrow(profile), config)
        summary = summarise(decided, config)
        _write(profile, decided, config, provenance, summary)
        return summary


def _stored(config: FilterConfig, provenance: Provenance) -> dict[str, Any] | None:
    """The summary of an earlier run, if all that this run would write is there."""
    summary = current_summary(config.output, provenance, config.force)
    if config.dropped is None:
        return summary
    there = current_summary(config.dropped, provenance.for_table(Dropped), config.force)
    return None if there is None else summary


def decide(frame: pl.DataFrame, config: FilterConfig) -> pl.DataFrame:
    """Add `drop_reason` (null where kept) and `rank` (1 has the largest reward spread) to the narrow columns."""
    ranked = frame.with_row_index("row").with_columns(_rule(config), _draw(frame, config.seed))
    by_spread = ["reward_std", "reward_mean", "draw"]
    ranked = ranked.sort(by_spread, descending=[True, False, False], nulls_last=True, maintain_order=True)
    ranked = _cap(ranked, config)
    if config.select == "random":
        ranked = _random_control(ranked)
    kept = pl.col("drop_reason").is_null()
    return ranked.with_columns(pl.when(kept).then(kept.cum_sum()).alias("rank").cast(pl.Int64)).sort("row")


def _rule(config: FilterConfig) -> pl.Expr:
    """The paper's rule as reasons, first match first."""
    reasons = [
        (pl.col("split") != config.split if config.split != "all" else pl.lit(False), DropReason.HOLDOUT),
        (pl.col("reward_mean").is_null(), DropReason.NOT_SCORED),
        ((pl.col("reward_std") == 0) & (pl.col("reward_mean") == 0), DropReason.ALL_WRONG),
        ((pl.col("reward_std") == 0) & (pl.col("reward_mean") == 1), DropReason.ALL_RIGHT),
        (pl.col("reward_std") == 0, DropReason.NO_VARIANCE),
        (pl.col("reward_mean") >= config.max_mean if config.max_mean < 1 else pl.lit(False), DropReason.TOO_EASY),
    ]
    return pl.coalesce([pl.when(condition).then(pl.lit(reason.value)) for condition, reason in reasons]).alias(
        "drop_reason"
    )


def _draw(frame: pl.DataFrame, seed: int) -> pl.Series:
    """A uniform draw per candidate that depends on the seed and its id alone."""
    ids = frame["candidate_id"].to_list()
    return pl.Series("draw", [hashlib.sha256(f"{seed}/{i}".encode()).digest()[:8] for i in ids], dtype=pl.Binary)


def _cap(ranked: pl.DataFrame, config: FilterConfig) -> pl.DataFrame:
    """Apply the two limits in order of rank."""
    kept = pl.col("drop_reason").is_null()
    if config.max_per_trajectory is not None:
        place = kept.cum_sum().over("trajectory_id")
        ranked = _drop(ranked, kept & (place > config.max_per_trajectory), DropReason.TRAJECTORY_CAP)
    if config.limit is not None:
        ranked = _drop(ranked, kept & (kept.cum_sum() > config.limit), DropReason.LIMIT)
    return ranked


def _random_control(ranked: pl.DataFrame) -> pl.DataFrame:
    """As many scored candidates of the split as the rule kept, drawn at random."""
    size = ranked["drop_reason"].null_count()
    eligible = ~pl.col("drop_reason").fill_null("").is_in([DropReason.HOLDOUT.value, DropReason.NOT_SCORED.value])
    place = pl.col("draw").rank("ordinal").over(eligible)
    return ranked.with_columns(
        pl.when(~eligible)
        .then(pl.col("drop_reason"))
        .when(place > size)
        .then(pl.lit(DropReason.NOT_DRAWN.value))
        .alias("drop_reason")
    )


def _drop(frame: pl.DataFrame, condition: pl.Expr, reason: DropReason) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(condition).then(pl.lit(reason.value)).otherwise(pl.col("drop_reason")).alias("drop_reason")
    )


def _narrow(profile: Table[Profile]) -> pl.DataFrame:
    frame = profile.frame([*_NARROW, f"{_CALLS}.list.element.name"])
    if not len(frame):
        raise InputError(f"{profile.name}: no rows", "profile some candidates first")
    names = pl.col("expected_action").struct.field("tool_calls").list.eval(pl.element().struct.field("name"))
    tool = pl.when(names.list.len() == 0).then(pl.lit("(message)")).otherwise(names.list.join(" + "))
    return frame.with_columns(tool.alias("tool")).drop("expected_action")


def _write(
    profile: Table[Profile],
    decided: pl.DataFrame,
    config: FilterConfig,
    provenance: Provenance,
    summary: dict[str, Any],
) -> None:
    with TableWriter(config.output, Pivot, provenance) as kept:
        kept.set_summary(summary)
        _copy(profile, decided, config, kept)
    if config.dropped is not None:
        with TableWriter(config.dropped, Dropped, provenance.for_table(Dropped)) as dropped:
            dropped.set_summary(summary)
            _copy_dropped(profile, decided, dropped)


def _copy(profile: Table[Profile], decided: pl.DataFrame, config: FilterConfig, out: TableWriter) -> None:
    reason = "random control" if config.select == "random" else f"reward varies, mean below {config.max_mean:g}"
    for table, part in _by_row_group(profile, decided):
        keep = part["drop_reason"].is_null()
        ranks = part.filter(keep)["rank"].to_list()
        columns = {"weight": [1.0] * len(ranks), "rank": ranks, "keep_reason": [reason] * len(ranks)}
        out.write_table(with_columns(table.filter(pa.array(keep.to_list(), pa.bool_())), Pivot, columns))


def _copy_dropped(profile: Table[Profile], decided: pl.DataFrame, out: TableWriter) -> None:
    for table, part in _by_row_group(profile, decided):
        drop = part["drop_reason"].is_not_null()
        reasons = part.filter(drop)["drop_reason"].to_list()
        chosen = table.filter(pa.array(drop.to_list(), pa.bool_()))
        out.write_table(with_columns(chosen, Dropped, {"drop_reason": reasons}))


def _by_row_group(profile: Table[Profile], decided: pl.DataFrame) -> Any:
    first = 0
    for table in profile.tables():
        yield table, decided.slice(first, table.num_rows)
        first += table.num_rows


def summarise(decided: pl.DataFrame, config: FilterConfig) -> dict[str, Any]:
    """The funnel, the reasons, and the break-downs by tool and source."""
    kept = decided.filter(pl.col("drop_reason").is_null())
    return {
        "select": config.select,
        "max_mean": config.max_mean,
        "funnel": _funnel(decided),
        "dropped": dict(decided["drop_reason"].drop_nulls().value_counts().sort("drop_reason").iter_rows()),
        "kept_reward_mean": kept["reward_mean"].mean() if len(kept) else None,
        "by_tool": _break_down(decided, "tool"),
        "by_source": _break_down(decided, "source"),
    }


_STEPS: dict[str, list[DropReason]] = {
    "in_split": [DropReason.HOLDOUT],
    "scored": [DropReason.NOT_SCORED],
    "mixed": [DropReason.ALL_WRONG, DropReason.ALL_RIGHT, DropReason.NO_VARIANCE],
    "hard": [DropReason.TOO_EASY],
    "kept": [DropReason.TRAJECTORY_CAP, DropReason.LIMIT, DropReason.NOT_DRAWN],
}


def _funnel(decided: pl.DataFrame) -> dict[str, int]:
    """How many are left after each step. The random control has no `mixed` and `hard` steps: it draws before them."""
    left = len(decided)
    funnel = {"candidates": left}
    for step, reasons in _STEPS.items():
        left -= int(decided["drop_reason"].is_in([reason.value for reason in reasons]).sum())
        funnel[step] = left
    return funnel


def _break_down(decided: pl.DataFrame, key: str) -> list[dict[str, Any]]:
    scored = pl.col("reward_mean").is_not_null()
    return (
        decided.group_by(key)
        .agg(
            pl.len().alias("candidates"),
            scored.sum().alias("scored"),
            (pl.col("reward_std") > 0).sum().alias("mixed"),
            pl.col("drop_reason").is_null().sum().alias("kept"),
            pl.col("reward_mean").mean(),
        )
        .sort("kept", "candidates", key, descending=[True, True, False])
        .to_dicts()
    )


def describe(summary: dict[str, Any]) -> RenderableType:
    """The funnel and the break-downs for a terminal."""
    from rich.console import Group
    from rich.table import Table as RichTable

    funnel = RichTable(title=f"filter ({summary['select']})", title_justify="left", show_header=False, box=None)
    for step, left in summary["funnel"].items():
        funnel.add_row(step.replace("_", " "), f"{left:,}", _lost(step, summary))
    parts: list[RenderableType] = [funnel]
    for key in ("by_tool", "by_source"):
        parts.append(_break_down_table(key, summary[key]))
    return Group(*parts)


def _lost(step: str, summary: dict[str, Any]) -> str:
    dropped = summary["dropped"]
    lost = [f"{dropped[r.value]:,} {r.value.replace('_', ' ')}" for r in _STEPS.get(step, []) if r.value in dropped]
    return f"- {', '.join(lost)}" if lost else ""


def _break_down_table(key: str, rows: list[dict[str, Any]], limit: int = 12) -> RenderableType:
    from rich.table import Table as RichTable

    name = key.removeprefix("by_")
    table = RichTable(title_justify="left", box=None, pad_edge=False)
    table.add_column(name, overflow="fold", max_width=34)
    for column in ("candidates", "scored", "mixed", "kept", "mean"):
        table.add_column(column, justify="right")
    for row in rows[:limit]:
        mean = "-" if row["reward_mean"] is None else f"{row['reward_mean']:.2f}"
        counts = [f"{row[c]:,}" for c in ("candidates", "scored", "mixed", "kept")]
        table.add_row(row[name], *counts, mean)
    if len(rows) > limit:
        table.add_row(f"... and {len(rows) - limit} more")
    return table
