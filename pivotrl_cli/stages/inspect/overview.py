"""What a table is at a glance: where it came from, the funnel, pass rates, and how its columns are distributed.

One column is in memory at a time, so a table of a million rows costs a few of its narrow columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import Candidate, Dropped, Pivot, Profile, Row, StepMetrics
from pivotrl_cli.stages.inspect.rows import one_line
from pivotrl_cli.storage.arrow import arrow_type
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_NO_SUMMARY = {"candidate_id", "trajectory_id", "provenance", "tools", "text", "transcript", "detail", "seed"}
_BINS = 10
_STEPS_SHOWN = 12
_INPUTS_SHOWN = 5


def overview(table: Table[Row], mask: pl.Series | None = None, where: str | None = None) -> dict[str, Any]:
    """The table's kind, size, provenance, stored summary and column statistics, as JSON values.

    With `mask` (true for the rows that meet the condition `where`), the statistics are of those rows alone.
    """
    found: dict[str, Any] = {
        "file": table.name,
        "table": table_name(table.row),
        "rows": table.n_rows,
        "where": where,
        "matching": table.n_rows if mask is None else int(mask.sum()),
        "lineage": list(lineage(table.provenance)),
        "summary": table.summary,
        "funnel": funnel(table, where),
        "numbers": {},
        "values": {},
        "pass_rates": None,
        "steps": None,
    }
    for name in filter(lambda name: _is_flat(table, name), table.row.model_fields):
        column = table.frame([name])[name]
        column = column if mask is None else column.filter(mask)
        if column.dtype == pl.String:
            found["values"][name] = _counts(column)
        elif column.dtype.is_numeric():
            found["numbers"][name] = _quantiles(column)
        if name == "reward_mean" and issubclass(table.row, Candidate):
            found["pass_rates"] = histogram(column)
    if table.row is StepMetrics:
        found["steps"] = _steps(table)
    return found


def _is_flat(table: Table[Row], name: str) -> bool:
    kind = str(arrow_type(table.row.model_fields[name].annotation)[0])
    return name not in _NO_SUMMARY and kind in ("string", "int64", "double", "bool")


def lineage(provenance: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The commands that led here, the last one first."""
    if provenance is None:
        return
    inputs = provenance["inputs"]
    yield {
        "command": provenance["command"],
        "version": provenance["version"],
        "config": provenance["config"],
        "inputs": [{"name": i["name"], "sha256": i["sha256"]} for i in inputs],
        "fingerprints": provenance["fingerprints"],
    }
    for i in inputs:
        yield from lineage(i.get("provenance"))


def funnel(table: Table[Row], where: str | None) -> dict[str, Any] | None:
    """What `filter` kept, as it stored it; of a profile, what it would keep without options."""
    from pivotrl_cli.stages.filter.columns import read
    from pivotrl_cli.stages.filter.funnel import summarise
    from pivotrl_cli.stages.filter.run import decide

    if table.row in (Pivot, Dropped) and where is None:
        return table.summary if "funnel" in table.summary else None
    if table.row is Profile and table.n_rows:
        config = FilterConfig.model_validate({"profile": table.name, "where": where})
        profile = cast(Table[Profile], table)
        return summarise(*decide(read(profile, config), config), config)
    return None


def _quantiles(column: pl.Series) -> dict[str, Any]:
    known = column.drop_nulls()
    found: dict[str, Any] = {"null": column.null_count()}
    if len(known):
        found |= {"min": known.min(), "median": known.median(), "mean": known.mean(), "max": known.max()}
    return found


def _counts(column: pl.Series, limit: int = 6) -> dict[str, Any]:
    counts = column.value_counts(sort=True)
    top = sorted(counts.head(1000).iter_rows(), key=lambda pair: (-pair[1], str(pair[0])))[:limit]
    return {"distinct": len(counts), "most": {"(null)" if value is None else value: n for value, n in top}}


def histogram(means: pl.Series) -> dict[str, int]:
    """Candidates by mean reward: exactly 0, ten bins between, exactly 1."""
    known = means.drop_nulls()
    inner = known.filter((known > 0) & (known < 1))
    bins = (inner * _BINS).floor().cast(pl.Int64)
    counts = {f"{i / _BINS:.1f}-{(i + 1) / _BINS:.1f}": int((bins == i).sum()) for i in range(_BINS)}
    return {"0": int((known == 0).sum()), **counts, "1": int((known == 1).sum())}


def _steps(table: Table[Row]) -> list[dict[str, Any]]:
    """Some optimiser steps, evenly spaced, the first and the last among them."""
    frame = table.frame(["step", "rollout_turns", "reward_mean", "loss", "kl", "entropy", "grad_norm"])
    n = min(len(frame), _STEPS_SHOWN)
    return [frame.row(round(i * (len(frame) - 1) / max(n - 1, 1)), named=True) for i in range(n)]


# ---- for a terminal ---------------------------------------------------------------------------------------------


def print_overview(found: dict[str, Any], console: Console) -> None:
    """The overview in lines of the console's width."""
    some = f", {found['matching']:,} of them where {found['where']}" if found["where"] else ""
    console.print(f"{found['file']}: {found['table']}, {found['rows']:,} rows{some}", soft_wrap=True)
    for step in found["lineage"]:
        _print_command(step, console)
    if found["funnel"] is not None:
        _print_funnel(found, console)
    if found["pass_rates"] is not None:
        _print_histogram(found["pass_rates"], console)
    if found["steps"]:
        _print_steps(found["steps"], console)
    if found["numbers"]:
        console.print()
        _print_columns("column", ["min", "median", "mean", "max", "null"], found["numbers"].items(), console)
    console.print()
    for name, counts in found["values"].items():
        most = ", ".join(f"{_shown(value)} {n:,}" for value, n in counts["most"].items())
        more = f", ... ({counts['distinct']:,} distinct)" if counts["distinct"] > len(counts["most"]) else ""
        console.print(f"{name}: {most}{more}")


def _print_command(step: dict[str, Any], console: Console) -> None:
    console.print(f"\nmade by pivotrl {step['command']} {step['version']}")
    console.print("  " + ", ".join(f"{k}={_short(v)}" for k, v in step["config"].items() if v is not None))
    for source in step["inputs"][:_INPUTS_SHOWN]:
        console.print(f"  from {source['name']} (sha256 {source['sha256'][:12]})")
    if (more := len(step["inputs"]) - _INPUTS_SHOWN) > 0:
        console.print(f"  and from {more:,} more (--json has them)")
    for name, digest in step["fingerprints"].items():
        console.print(f"  {name} {digest[:12]}")


def _print_funnel(found: dict[str, Any], console: Console) -> None:
    from pivotrl_cli.stages.filter.funnel import describe

    would = "without options it would keep" if found["table"] == "profile" else "what it kept"
    console.print(f"\nfunnel of filter, {would}")
    console.print(describe(found["funnel"]))


def _print_histogram(counts: dict[str, int], console: Console) -> None:
    widest = max(counts.values()) or 1
    console.print("\ncandidates by mean reward")
    for label, n in counts.items():
        console.print(f"  {label:>7} {'#' * -(-40 * n // widest)}{' ' if n else ''}{n:,}")


def _print_steps(steps: list[dict[str, Any]], console: Console) -> None:
    console.print("\nsteps" if len(steps) < _STEPS_SHOWN else "\nsome of the steps")
    rows = ((str(row["step"]), row) for row in steps)
    _print_columns("step", ["rollout_turns", "reward_mean", "loss", "kl", "entropy", "grad_norm"], rows, console)


def _print_columns(first: str, columns: list[str], rows: Any, console: Console) -> None:
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows:
        table.add_row(name, *(_number(values.get(column)) for column in columns))
    console.print(table)


def _shown(value: str) -> str:
    return one_line(value, 60) or "(empty)"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
