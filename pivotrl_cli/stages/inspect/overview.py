"""A table at a glance: where it came from, the funnel, pass rates, and how its columns are distributed.

One column is in memory at a time, so a table of a million rows costs a few of its narrow columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import polars as pl
from pydantic import BaseModel, Field

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import Candidate, Dropped, Pivot, Profile, Row, StepMetrics
from pivotrl_cli.stages.filter.funnel import FilterSummary
from pivotrl_cli.stages.filter.run import describe, would_keep
from pivotrl_cli.stages.inspect.rows import one_line
from pivotrl_cli.storage.arrow import arrow_type
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table
from pivotrl_cli.text import shorten

if TYPE_CHECKING:
    from rich.console import Console

_NO_SUMMARY = {"candidate_id", "trajectory_id", "provenance", "tools", "text", "transcript", "detail", "seed"}
_BINS = 10
_STEPS_SHOWN = 12
_STEP_COLUMNS = ["rollout_turns", "reward_mean", "loss", "kl", "entropy", "grad_norm"]
_INPUTS_SHOWN = 5
_VALUES_SHOWN = 6


class Command(BaseModel, frozen=True):
    """One command of a table's lineage."""

    command: str
    version: str
    config: dict[str, Any]
    inputs: list[dict[str, str]]
    """`name` and `sha256` of each."""
    fingerprints: dict[str, str]


class Quantiles(BaseModel, frozen=True):
    """Distribution of a numeric column; null where all its values are."""

    null: int
    """Rows without a value."""
    min: int | float | None
    median: float | None
    mean: float | None
    max: int | float | None


class ValueCounts(BaseModel, frozen=True):
    """Distribution of a column of strings."""

    distinct: int
    most: dict[str, int]
    """The most frequent values."""


class Overview(BaseModel, frozen=True):
    """What `inspect` shows of a table."""

    file: str
    table: str
    rows: int
    where: str | None
    matching: int
    """Rows that meet the condition; the statistics are of those alone."""
    unfinished: str | None
    """How far the run that writes it is."""
    lineage: list[Command]
    """The commands that led here, the last one first."""
    summary: dict[str, Any]
    """As the stage stored it."""
    funnel: FilterSummary | None
    numbers: dict[str, Quantiles] = Field(default_factory=dict)
    values: dict[str, ValueCounts] = Field(default_factory=dict)
    pass_rates: dict[str, int] | None = None
    """Candidates by mean reward."""
    steps: list[dict[str, Any]] | None
    """Of metrics: some of the optimizer steps."""


def overview(table: Table[Row], mask: pl.Series | None, where: str | None, note: str | None) -> Overview:
    """Look at a whole table, or at the rows where `mask` is true, which meet the condition `where`."""
    numbers, values, pass_rates = {}, {}, None
    for name in filter(lambda name: _is_flat(table, name), table.row.model_fields):
        column = table.frame([name])[name]
        column = column if mask is None else column.filter(mask)
        if column.dtype == pl.String:
            values[name] = _count_values(column)
        elif column.dtype.is_numeric():
            numbers[name] = _quantiles(column)
        if name == "reward_mean" and issubclass(table.row, Candidate):
            pass_rates = histogram(column)
    return Overview(
        file=table.name,
        table=table_name(table.row),
        rows=table.n_rows,
        where=where,
        matching=table.n_rows if mask is None else int(mask.sum()),
        unfinished=note,
        lineage=list(lineage(table.provenance)),
        summary=table.summary,
        funnel=funnel(table, where),
        numbers=numbers,
        values=values,
        pass_rates=pass_rates,
        steps=_steps(table) if table.row is StepMetrics else None,
    )


def _is_flat(table: Table[Row], name: str) -> bool:
    kind = str(arrow_type(table.row.model_fields[name].annotation)[0])
    return name not in _NO_SUMMARY and kind in ("string", "int64", "double", "bool")


def lineage(provenance: dict[str, Any] | None) -> Iterator[Command]:
    """The commands that led to a table, the last one first."""
    if provenance is None:
        return
    inputs = provenance["inputs"]
    named = [{"name": i["name"], "sha256": i["sha256"]} for i in inputs]
    yield Command.model_validate(provenance | {"inputs": named})
    for i in inputs:
        yield from lineage(i.get("provenance"))


def funnel(table: Table[Row], where: str | None = None) -> FilterSummary | None:
    """What `filter` kept, as it stored it; of a profile, what it would keep without options."""
    if table.row in (Pivot, Dropped) and where is None:
        return FilterSummary.from_metadata(table.summary)
    if table.row is Profile and table.n_rows:
        config = FilterConfig.model_validate({"profile": table.name, "where": where})
        return would_keep(cast(Table[Profile], table), config)
    return None


def _quantiles(column: pl.Series) -> Quantiles:
    found = {"min": column.min(), "median": column.median(), "mean": column.mean(), "max": column.max()}
    return Quantiles.model_validate(found | {"null": column.null_count()})


def _count_values(column: pl.Series) -> ValueCounts:
    counts = column.value_counts(sort=True)
    most = sorted(counts.head(1000).iter_rows(), key=lambda pair: (-pair[1], str(pair[0])))[:_VALUES_SHOWN]
    return ValueCounts(distinct=len(counts), most={"(null)" if value is None else value: n for value, n in most})


def histogram(means: pl.Series) -> dict[str, int]:
    """Candidates by mean reward: exactly 0, ten bins between, exactly 1."""
    known = means.drop_nulls()
    inner = known.filter((known > 0) & (known < 1))
    bins = (inner * _BINS).floor().cast(pl.Int64)
    counts = {f"{i / _BINS:.1f}-{(i + 1) / _BINS:.1f}": int((bins == i).sum()) for i in range(_BINS)}
    return {"0": int((known == 0).sum()), **counts, "1": int((known == 1).sum())}


def _steps(table: Table[Row]) -> list[dict[str, Any]]:
    """Some optimizer steps, evenly spaced, the first and the last among them."""
    frame = table.frame(["step", *_STEP_COLUMNS])
    n = min(len(frame), _STEPS_SHOWN)
    return [frame.row(round(i * (len(frame) - 1) / max(n - 1, 1)), named=True) for i in range(n)]


# ---- for a terminal ---------------------------------------------------------------------------------------------


def print_overview(found: Overview, console: Console) -> None:
    """Print the overview in lines of the console's width."""
    some = f", {found.matching:,} of them where {found.where}" if found.where else ""
    console.print(f"{found.file}: {found.table}, {found.rows:,} rows{some}", soft_wrap=True)
    for command in found.lineage:
        _print_command(command, console)
    if found.funnel is not None:
        decided = "without options it would keep" if found.table == "profile" else "what it kept"
        console.print(f"\nfunnel of filter, {decided}")
        console.print(describe(found.funnel))
    if found.pass_rates is not None:
        _print_histogram(found.pass_rates, console)
    if found.steps:
        console.print("\nsteps" if len(found.steps) < _STEPS_SHOWN else "\nsome of the steps")
        _print_columns("step", _STEP_COLUMNS, ((str(row["step"]), row) for row in found.steps), console)
    if found.numbers:
        console.print()
        rows = ((name, quantiles.model_dump()) for name, quantiles in found.numbers.items())
        _print_columns("column", ["min", "median", "mean", "max", "null"], rows, console)
    console.print()
    for name, counts in found.values.items():
        most = ", ".join(f"{one_line(value, 60) or '(empty)'} {n:,}" for value, n in counts.most.items())
        more = f", ... ({counts.distinct:,} distinct)" if counts.distinct > len(counts.most) else ""
        console.print(f"{name}: {most}{more}")


def _print_command(step: Command, console: Console) -> None:
    console.print(f"\nmade by pivotrl {step.command} {step.version}")
    settings = (f"{key}={shorten(json.dumps(value), 60)}" for key, value in step.config.items() if value is not None)
    console.print(f"  {', '.join(settings)}")
    for source in step.inputs[:_INPUTS_SHOWN]:
        console.print(f"  from {source['name']} (sha256 {source['sha256'][:12]})")
    if (more := len(step.inputs) - _INPUTS_SHOWN) > 0:
        console.print(f"  and from {more:,} more (--json has them)")
    for name, digest in step.fingerprints.items():
        console.print(f"  {name} {digest[:12]}")


def _print_histogram(counts: dict[str, int], console: Console) -> None:
    widest = max(counts.values()) or 1
    console.print("\ncandidates by mean reward")
    for label, n in counts.items():
        console.print(f"  {label:>7} {'#' * -(-40 * n // widest)}{' ' if n else ''}{n:,}")


def _print_columns(
    first: str, columns: list[str], rows: Iterable[tuple[str, dict[str, Any]]], console: Console
) -> None:
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows:
        table.add_row(name, *(_number(values[column]) for column in columns))
    console.print(table)


def _number(value: int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
