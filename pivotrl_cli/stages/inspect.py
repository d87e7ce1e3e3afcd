"""Inspect: what a table is, where it came from, how its numbers are distributed, and one row readably."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from pivotrl_cli.arrow import arrow_type
from pivotrl_cli.configs import InspectConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.provenance import table_name
from pivotrl_cli.rows import Candidate, EvalResult, Message, Profile, Row
from pivotrl_cli.table import Table, table_kind

if TYPE_CHECKING:
    from rich.console import Console

_NO_SUMMARY = {"candidate_id", "trajectory_id", "provenance", "tools", "text", "transcript", "detail", "seed"}
_BINS = 10


def run(config: InspectConfig) -> None:
    """Print what there is to know, on standard output."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    with Table.open(config.file, table_kind(config.file)) as table:
        if config.row is not None:
            _print_row(_find(table, config.row), config.messages, console)
        elif config.json_summary:
            print(json.dumps(overview(table)))
        else:
            _print_overview(overview(table), console)


def overview(table: Table[Row]) -> dict[str, Any]:
    """The table's kind, size, provenance, stored summary and column statistics, as JSON values."""
    frame = table.frame([name for name in table.row.model_fields if name not in _NO_SUMMARY and _is_flat(table, name)])
    return {
        "file": table.name,
        "table": table_name(table.row),
        "rows": table.n_rows,
        "lineage": list(_lineage(table.provenance)),
        "summary": table.summary,
        "numbers": {c: _quantiles(frame[c]) for c, kind in frame.schema.items() if kind.is_numeric()},
        "values": {c: _counts(frame[c]) for c, kind in frame.schema.items() if kind == pl.String},
        "pass_rates": _histogram(frame["reward_mean"])
        if {"reward_mean", "candidate_id"} <= set(frame.columns)
        else None,
    }


def _is_flat(table: Table[Row], name: str) -> bool:
    kind = str(arrow_type(table.row.model_fields[name].annotation)[0])
    return kind in ("string", "int64", "double", "bool")


def _lineage(provenance: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
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
        yield from _lineage(i.get("provenance"))


def _quantiles(column: pl.Series) -> dict[str, Any]:
    known = column.drop_nulls()
    found: dict[str, Any] = {"null": column.null_count()}
    if len(known):
        found |= {"min": known.min(), "median": known.median(), "mean": known.mean(), "max": known.max()}
    return found


def _counts(column: pl.Series, limit: int = 6) -> dict[str, Any]:
    counts = column.value_counts(sort=True)
    top = sorted(counts.iter_rows(), key=lambda pair: (-pair[1], str(pair[0])))[:limit]
    return {"distinct": len(counts), "most": {str(value): n for value, n in top}}


def _histogram(means: pl.Series) -> dict[str, int]:
    """Candidates by mean reward: exactly 0, ten bins between, exactly 1."""
    known = means.drop_nulls()
    inner = known.filter((known > 0) & (known < 1))
    bins = (inner * _BINS).floor().cast(pl.Int64)
    counts = {f"{i / _BINS:.1f}-{(i + 1) / _BINS:.1f}": int((bins == i).sum()) for i in range(_BINS)}
    return {"0": int((known == 0).sum()), **counts, "1": int((known == 1).sum())}


def _print_overview(found: dict[str, Any], console: Console) -> None:
    from rich.table import Table as RichTable

    console.print(f"{found['file']}: {found['table']}, {found['rows']:,} rows")
    for step in found["lineage"]:
        console.print(f"\nmade by pivotrl {step['command']} {step['version']}")
        console.print("  " + ", ".join(f"{k}={_short(v)}" for k, v in step["config"].items() if v is not None))
        for source in step["inputs"]:
            console.print(f"  from {source['name']} (sha256 {source['sha256'][:12]})")
        for name, digest in step["fingerprints"].items():
            console.print(f"  {name} {digest[:12]}")
    if found["pass_rates"] is not None:
        _print_histogram(found["pass_rates"], console)
    numbers = RichTable(box=None, pad_edge=False, title="")
    for column in ("column", "min", "median", "mean", "max", "null"):
        numbers.add_column(column, justify="left" if column == "column" else "right")
    for name, stats in found["numbers"].items():
        numbers.add_row(name, *(_number(stats.get(key)) for key in ("min", "median", "mean", "max", "null")))
    console.print(numbers)
    console.print()
    for name, counts in found["values"].items():
        most = ", ".join(f"{value or '(empty)'} {n:,}" for value, n in counts["most"].items())
        more = f", ... ({counts['distinct']:,} distinct)" if counts["distinct"] > len(counts["most"]) else ""
        console.print(f"{name}: {most}{more}")


def _print_histogram(counts: dict[str, int], console: Console) -> None:
    widest = max(counts.values()) or 1
    console.print("\ncandidates by mean reward")
    for label, n in counts.items():
        console.print(f"  {label:>7} {'#' * round(40 * n / widest)}{' ' if n else ''}{n:,}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _find(table: Table[Row], wanted: str) -> Row:
    key = "candidate_id" if "candidate_id" in table.row.model_fields else "task_id"
    if key not in table.row.model_fields:
        raise InputError(f"{table.name}: a {table_name(table.row)} table has no rows with ids", "leave out --row")
    ids = table.frame([key])[key]
    matches = (ids == wanted).arg_true()
    if not len(matches):
        near = [i for i in ids.to_list() if i.startswith(wanted)][:3] or ids.head(3).to_list()
        raise InputError(f"{table.name}: no row with {key} {wanted!r}", f"there are, for example: {', '.join(near)}")
    return table.at(int(matches[0]))


def _print_row(row: Row, n_messages: int, console: Console) -> None:
    wide = {"state", "tools", "expected_action", "rollouts", "transcript", "provenance"}
    for name, value in row:
        if name not in wide and value not in (None, ""):
            console.print(f"{name}: {value}")
    if isinstance(row, Candidate):
        hidden = len(row.state) - n_messages
        console.print(f"\nstate, {len(row.state)} messages" + (f", the last {n_messages}:" if hidden > 0 else ":"))
        _print_messages(row.state[-n_messages:], console)
        console.print("\ndemonstrated action:")
        _print_messages([row.expected_action], console)
    if isinstance(row, Profile):
        _print_rollouts(row, console)
    if isinstance(row, EvalResult):
        console.print("\ntranscript:")
        _print_messages(row.transcript, console)


def _print_rollouts(row: Profile, console: Console) -> None:
    """Rollouts grouped by verdict, the same text once."""
    groups: dict[str, dict[str, list[int]]] = {}
    for rollout in row.rollouts:
        groups.setdefault(rollout.verdict, {}).setdefault(rollout.text, []).append(rollout.sample)
    console.print(f"\nrollouts, {len(row.rollouts)}:")
    by_sample = {r.sample: r for r in row.rollouts}
    for verdict, texts in sorted(groups.items(), key=lambda item: -sum(map(len, item[1].values()))):
        first = by_sample[next(iter(texts.values()))[0]]
        reward = "no reward" if first.reward is None else f"reward {first.reward:g}"
        console.print(f"\n  {verdict} ({reward}), {sum(map(len, texts.values()))} rollouts")
        for text, samples in texts.items():
            shown = by_sample[samples[0]]
            console.print(f"    {len(samples)} x {_one_line(text)}")
            if shown.detail or shown.error:
                console.print(f"        {shown.error or shown.detail}")


def _print_messages(messages: list[Message], console: Console) -> None:
    for message in messages:
        if message.reasoning:
            console.print(f"  {message.role} (reasoning): {_one_line(message.reasoning)}")
        if message.content or not message.tool_calls:
            console.print(f"  {message.role}: {_one_line(message.content)}")
        for call in message.tool_calls:
            console.print(f"  {message.role} calls {call.name} {_one_line(call.arguments)}")


def _one_line(text: str, limit: int = 400) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[:limit]}... ({len(flat):,} characters)"
