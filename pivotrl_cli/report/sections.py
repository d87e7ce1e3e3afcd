"""The values of each section of the page, for the template, and its charts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import polars as pl

from pivotrl_cli.configs import CompareConfig, FilterConfig, ReportConfig
from pivotrl_cli.errors import ConfigError, PivotRLError
from pivotrl_cli.report import figures
from pivotrl_cli.report.collect import FoundTable, Run
from pivotrl_cli.report.strips import Fate, strip
from pivotrl_cli.rows import Candidate, Dropped, EvalResult, Pivot, Profile, StepMetrics
from pivotrl_cli.stages.compare.paired import CompareSummary, compare
from pivotrl_cli.stages.compare.run import read_items
from pivotrl_cli.stages.compare.table import notes, table_cells
from pivotrl_cli.stages.filter.columns import read_columns
from pivotrl_cli.stages.inspect.overview import funnel, histogram, lineage
from pivotrl_cli.stages.inspect.unfinished import open_table
from pivotrl_cli.storage.provenance import package_version
from pivotrl_cli.storage.table import Table

_SHOWN = 12
"""Tools or domains in a chart; the table beside it has them all."""
_VARIANCE_BINS = 10
_HIGHEST_VARIANCE = 0.25
"""Of a reward in [0, 1]."""
_SIGNALS = ["all wrong", "mixed", "all right", "all equal", "not scored"]
_SIGNAL_COLORS = ["var(--wrong)", "var(--mixed)", "var(--right)", "var(--c5)", "var(--line)"]
_CURVES = {
    "reward_mean": "Mean reward",
    "reward_std": "Reward deviation within a group",
    "loss": "Loss",
    "kl": "KL to the frozen policy in nats per token",
    "entropy": "Entropy in nats per token",
    "grad_norm": "Gradient norm",
}


def sections(run: Run, config: ReportConfig) -> dict[str, Any]:
    """The content of the whole page."""
    return {
        "title": run.folder.resolve().name,
        "version": package_version(),
        "tables": [{"name": t.name, "table": t.table, "rows": t.n_rows, "note": t.note} for t in run.tables],
        "left_out": run.left_out,
        "sources": list(_sources(run)),
        "selections": [_selection(found) for found in run.tables_of(Pivot)]
        or [_selection(found) for found in run.tables_of(Profile)],
        "profiles": [_profile(found, run, config) for found in run.tables_of(Profile)],
        "training": _training(run.tables_of(StepMetrics)),
        "evaluation": _evaluation(run.tables_of(EvalResult), config),
        "provenance": [{"name": t.name, "steps": list(_steps(t))} for t in run.tables],
    }


def _steps(found: FoundTable) -> Iterator[dict[str, Any]]:
    """The commands that led to a table, with the settings that are set."""
    for step in lineage(found.provenance):
        settings = {key: value for key, value in step.config.items() if value is not None}
        shown = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in settings.items()}
        yield step.model_dump() | {"config": shown}


# ---- extraction and selection -----------------------------------------------------------------------------------


def _sources(run: Run) -> Iterator[dict[str, Any]]:
    """The counts of `extract` at each candidates table."""
    for found in run.tables_of(Candidate):
        if "n_in" in found.summary:
            keys = ("n_trajectories", "n_in", "n_candidates", "n_rejects", "n_filtered", "rejects")
            yield {"name": found.name} | {key: found.summary[key] for key in keys}


def _selection(found: FoundTable) -> dict[str, Any]:
    """The funnel of `filter`: the one of these pivots, or the one that a profile would have without options."""
    with open_table(str(found.path)) as (table, _):
        summary = funnel(table)
    if summary is None:
        return {"name": found.name, "kept": found.n_rows, "rule": None}
    steps = [{"step": "candidates", "left": summary.candidates, "dropped": {}}]
    steps += [step.model_dump() for step in summary.funnel]
    if steps[-1]["left"] != summary.kept:
        steps.append({"step": "kept", "left": summary.kept, "dropped": {}})
    return {
        "name": found.name,
        "made": found.kind is Pivot,
        "rule": summary.rule,
        "control": summary.control,
        "kept": summary.kept,
        "reward_mean": summary.reward_mean,
        "expected": summary.expected_reward_mean,
        "steps": steps,
        "chart": figures.funnel(steps),
    }


# ---- pass rates -------------------------------------------------------------------------------------------------


def _profile(found: FoundTable, run: Run, config: ReportConfig) -> dict[str, Any]:
    with open_table(str(found.path)) as (table, _):
        profile = cast(Table[Profile], table)
        pivots = _selected_from(profile, found, run)
        fates = dict(_fates(pivots, run))
        frame = read_columns(profile, FilterConfig.model_validate({"profile": found.name})) if found.n_rows else None
        rows = None if frame is None else _with_signal(frame, fates)
        shown = strip(profile, fates, config.trajectories)
        return {
            "name": found.name,
            "note": found.note,
            "pivots": None if pivots is None else pivots.name,
            "charts": [] if rows is None else list(_distributions(rows)),
            "empty": rows is None,
            "breaks": [] if rows is None else [_break_down(rows, key) for key in ("tool", "domain")],
            "strip": {"rows": shown.rows, "packed": shown.packed, "n": shown.n_trajectories},
        }


def _selected_from(profile: Table[Profile], found: FoundTable, run: Run) -> FoundTable | None:
    """The first pivots table that was made from this profile; one without record where there is a single profile."""
    digest = profile.as_input().sha256 if run.tables_of(Pivot) and found.note is None else None
    for pivots in run.tables_of(Pivot):
        inputs = [i["sha256"] for i in (pivots.provenance or {}).get("inputs", [])]
        if digest in inputs:
            return pivots
    return None


def _fates(pivots: FoundTable | None, run: Run) -> Iterator[tuple[str, Fate]]:
    """Whether each candidate was kept and why, from the pivots and the dropped rows of one `filter` run."""
    if pivots is None:
        return
    with open_table(str(pivots.path)) as (table, _):
        for key, rank, why in table.frame(["candidate_id", "rank", "keep_reason"]).iter_rows():
            yield key, (True, f"kept by {pivots.name}, rank {rank}: {why}")
    for dropped in run.tables_of(Dropped):
        if dropped.provenance and dropped.provenance | {"table": "pivots"} == pivots.provenance:
            with open_table(str(dropped.path)) as (table, _):
                for key, why in table.frame(["candidate_id", "drop_reason"]).iter_rows():
                    yield key, (False, f"dropped: {why.replace('_', ' ')}")


def _with_signal(frame: pl.DataFrame, fates: dict[str, Fate]) -> pl.DataFrame:
    """Add `signal` and `kept`."""
    mean, std = pl.col("reward_mean"), pl.col("reward_std")
    signal = (
        pl.when(mean.is_null())
        .then(pl.lit("not scored"))
        .when(std > 0)
        .then(pl.lit("mixed"))
        .when(mean == 0)
        .then(pl.lit("all wrong"))
        .when(mean == 1)
        .then(pl.lit("all right"))
        .otherwise(pl.lit("all equal"))
    )
    kept = [key for key, (is_kept, _) in fates.items() if is_kept]
    return frame.with_columns(signal.alias("signal"), pl.col("candidate_id").is_in(kept).alias("kept"))


def _distributions(rows: pl.DataFrame) -> Iterator[dict[str, str]]:
    """Histograms of the pass rate and of the reward's variance, the kept ones apart where some were."""
    if rows["reward_mean"].null_count() == len(rows):
        return
    kept, rest = rows.filter(pl.col("kept")), rows.filter(~pl.col("kept"))
    for title, column, counts in (
        ("pass rate", "reward_mean", histogram),
        ("reward variance", "reward_std", variances),
    ):
        parts = {"kept": counts(kept[column]), "not kept": counts(rest[column])} if len(kept) else {}
        parts = parts or {"": counts(rest[column])}
        bins = [
            {"bin": name, "n": n, "what": what, "place": place}
            for place, (what, found) in enumerate(parts.items())
            for name, n in found.items()
        ]
        yield {"title": f"Candidates by {title}", "svg": figures.histogram(bins, title)}


def variances(stds: pl.Series) -> dict[str, int]:
    """Candidates by the variance of their rewards: exactly 0, then ten bins up to 0.25."""
    known = stds.drop_nulls() ** 2
    width = _HIGHEST_VARIANCE / _VARIANCE_BINS
    bins = (known.filter(known > 0) / width).floor().cast(pl.Int64).clip(0, _VARIANCE_BINS - 1)
    names = [f"{i * width:.3f}-{(i + 1) * width:.3f}" for i in range(_VARIANCE_BINS)]
    return {"0": int((known == 0).sum())} | {name: int((bins == i).sum()) for i, name in enumerate(names)}


def _break_down(rows: pl.DataFrame, key: str) -> dict[str, Any]:
    """Counts by tool or domain, the most frequent first; a chart of their signals."""
    counts = (
        rows.group_by(key)
        .agg(
            pl.len().alias("candidates"),
            *((pl.col("signal") == signal).sum().alias(signal) for signal in _SIGNALS),
            pl.col("kept").sum(),
            pl.col("reward_mean").mean().alias("mean"),
        )
        .sort("candidates", key, descending=[True, False])
        .with_columns(pl.col(key).replace("", "(none)"))
        .to_dicts()
    )
    known = [signal for signal in _SIGNALS if any(one[signal] for one in counts)]
    colors = [_SIGNAL_COLORS[_SIGNALS.index(signal)] for signal in known]
    parts = [{"name": one[key], "kind": kind, "n": one[kind]} for one in counts[:_SHOWN] for kind in known]
    return {
        "key": key,
        "signals": known,
        "rows": [one | {"name": one[key]} for one in counts],
        "more": max(len(counts) - _SHOWN, 0),
        "svg": figures.shares(parts, known, colors),
    }


# ---- training and evaluation ------------------------------------------------------------------------------------


def _training(tables: list[FoundTable]) -> dict[str, Any]:
    """Curves over rollout turns; runs that sample nothing have none, so theirs are over steps."""
    names = ["step", "rollout_turns", *_CURVES]
    rows: list[dict[str, Any]] = []
    for found in tables:
        with open_table(str(found.path)) as (table, _):
            run = found.name.removesuffix("/metrics")
            rows += [row | {"run": run} for row in table.frame(names).iter_rows(named=True)]
    sampling = {row["run"] for row in rows if row["rollout_turns"]}
    charts = []
    for title, x, part in (
        ("rollout turns", "rollout_turns", [row for row in rows if row["run"] in sampling]),
        ("optimizer steps", "step", [row for row in rows if row["run"] not in sampling]),
    ):
        for name, label in _CURVES.items():
            known = [{key: row[key] for key in (x, name, "run")} for row in part if row[name] is not None]
            if known:
                charts.append({"title": f"{label}, by {title}", "svg": figures.curves(known, x, name, title)})
    notes = [f"{found.name}: {found.note}" for found in tables if found.note]
    return {"charts": charts, "notes": notes}


def _evaluation(tables: list[FoundTable], config: ReportConfig) -> dict[str, Any] | None:
    """The comparison of the evaluations; each by itself where they have nothing in common."""
    if not tables:
        return None
    frames = {found.name: read_items(str(found.path)) for found in _baseline_first(tables, config)}
    settings = CompareConfig.model_validate({"results": list(frames)})
    try:
        return {"why_apart": None, "parts": [_comparison(compare(frames, settings))]}
    except PivotRLError as error:
        scored = {name: frame for name, frame in frames.items() if frame["score"].drop_nulls().len()}
        apart = [_comparison(compare({name: frame}, settings)) for name, frame in scored.items()]
        return {"why_apart": error.message, "parts": apart}


def _baseline_first(tables: list[FoundTable], config: ReportConfig) -> list[FoundTable]:
    """The table of `--baseline`, else the first with `base` in its name, else the first."""
    wanted = config.baseline
    if wanted is not None and all(wanted not in (t.name, t.path.name) for t in tables):
        raise ConfigError(f"--baseline {wanted}: no such evaluation", f"there are: {', '.join(t.name for t in tables)}")

    def order(found: FoundTable) -> bool:
        return found.name != wanted and found.path.name != wanted if wanted else "base" not in found.name

    return sorted(tables, key=order)


def _comparison(summary: CompareSummary) -> dict[str, Any]:
    header, rows = table_cells(summary)
    points = [
        {"benchmark": one.benchmark, "model": model}
        | {"mean": 100 * score.mean, "low": 100 * score.low, "high": 100 * score.high}
        for one in summary.benchmarks
        for model, score in one.models.items()
    ]
    chart = figures.intervals(points, summary.models) if points else None
    return {"header": header, "rows": rows, "notes": notes(summary), "svg": chart}
