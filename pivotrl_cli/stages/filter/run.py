"""Filter: keep the turns worth training on, and say why each of the others was dropped.

    for each candidate of the split: does the rule keep it (`rules.py`), and do the limits (`limits.py`)?

The decision needs only narrow columns (`columns.py`), so it is made over all rows at once; the kept rows are then
copied row group by row group. Every dropped candidate has a reason, the first that applies.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import Dropped, DropReason, Pivot, Profile, ProfileStatus
from pivotrl_cli.stages.filter import limits, rules
from pivotrl_cli.stages.filter.columns import read_columns
from pivotrl_cli.stages.filter.funnel import FilterSummary, describe, summarize
from pivotrl_cli.stages.shared.model_check import check_profile
from pivotrl_cli.stats import Beta
from pivotrl_cli.storage.arrow import with_columns
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.table import Table, current_summary
from pivotrl_cli.storage.table_writer import TableWriter

__all__ = ["decide", "describe", "run", "would_keep"]


def run(config: FilterConfig) -> FilterSummary:
    """Select pivots from a profile table."""
    rules.check(config)
    limits.check(config)
    with Table.open(config.profile, Profile) as profile:
        _check_model(profile, config)
        if config.output is None:
            return would_keep(profile, config)
        provenance = Provenance.of("filter", Pivot, config, [profile.as_input()])
        if (finished := _summary_if_complete(config.output, config, provenance)) is not None:
            return finished
        decided, prior = decide(read_columns(profile, config), config)
        summary = summarize(decided, prior, config)
        _write(profile, decided, config, provenance, summary)
        return summary


def would_keep(profile: Table[Profile], config: FilterConfig) -> FilterSummary:
    """Decide, and write nothing."""
    return summarize(*decide(read_columns(profile, config), config), config)


def _check_model(profile: Table[Profile], config: FilterConfig) -> None:
    if config.model is None:
        return
    from pivotrl_cli.model.folder import fingerprint, resolve

    found = fingerprint(resolve(config.model))
    check_profile(profile, config.model, found, "leave --model out to select for the other model")


def _summary_if_complete(output: str, config: FilterConfig, provenance: Provenance) -> FilterSummary | None:
    """The summary of an earlier run, if everything that this run would write is there."""
    stored = current_summary(output, provenance, config.force)
    if config.dropped is not None:
        dropped = current_summary(config.dropped, provenance.for_table(Dropped), config.force)
        stored = None if dropped is None else stored
    return None if stored is None else FilterSummary.from_metadata(stored | {"cached": True})


def decide(frame: pl.DataFrame, config: FilterConfig) -> tuple[pl.DataFrame, Beta]:
    """Add `drop_reason` (null where kept), `keep_reason` and `rank` to the narrow columns; and the fitted prior.

    The prior, the limits and the control see those candidates alone that may be chosen: scored, of the split, and
    meeting the condition.
    """
    rows = frame.with_row_index("row").with_columns(rules.first_reason(_ineligible(config)).alias("drop_reason"))
    judged, prior = rules.apply_rule(rows.filter(pl.col("drop_reason").is_null()), config)
    selected = limits.apply_limits(judged, config)
    if config.control is not None:
        selected = limits.draw_control(selected, config.control, config.seed)
    added = selected.select("row", "keep_reason", "rank", "posterior_mean", selection_reason="drop_reason")
    decided = rows.join(added, on="row", how="left", maintain_order="left")
    return decided.with_columns(pl.coalesce("drop_reason", "selection_reason").alias("drop_reason")), prior


def _ineligible(config: FilterConfig) -> rules.Reasons:
    other_split = pl.col("split") != config.split if config.split != "all" else pl.lit(False)
    return [
        (other_split, DropReason.OTHER_SPLIT),
        (~pl.col("where").fill_null(False), DropReason.WHERE),
        (pl.col("status") == ProfileStatus.SCREENED_OUT, DropReason.SCREENED_OUT),
        (pl.col("reward_mean").is_null(), DropReason.NOT_SCORED),
    ]


def _write(
    profile: Table[Profile], decided: pl.DataFrame, config: FilterConfig, provenance: Provenance, summary: FilterSummary
) -> None:
    assert config.output is not None
    kept = decided["drop_reason"].is_null().to_numpy()
    with TableWriter(config.output, Pivot, provenance) as out:
        out.set_summary(summary.to_metadata())
        for table, numbers in profile.chosen(kept):
            part = decided[numbers]
            columns = {name: part[name].to_list() for name in ("rank", "keep_reason")}
            out.write_table(with_columns(table, Pivot, {"weight": [1.0] * len(part)} | columns))
    if config.dropped is not None:
        with TableWriter(config.dropped, Dropped, provenance.for_table(Dropped)) as out:
            out.set_summary(summary.to_metadata())
            for table, numbers in profile.chosen(~np.asarray(kept)):
                reasons = decided[numbers]["drop_reason"].to_list()
                out.write_table(with_columns(table, Dropped, {"drop_reason": reasons}))
