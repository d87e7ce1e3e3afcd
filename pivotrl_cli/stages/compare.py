"""Compare: evaluations of the same tasks side by side, with paired differences to the first.

Items are matched by benchmark, task and trial; only those that all tables measured are compared, and what is left out
is counted. Intervals resample whole clusters (tasks, trajectories), because trials of one task say much the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pivotrl_cli.benchmarks import OUT_OF_DOMAIN
from pivotrl_cli.configs import CompareConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stats import clustered_mean, paired_difference
from pivotrl_cli.table import Table

_ITEM = ["benchmark", "task_id", "trial"]


def run(config: CompareConfig) -> None:
    """Print the comparison on standard output."""
    comparison = compare(_frames(config), config)
    if config.format == "json":
        print(json.dumps(comparison))
    elif config.format == "markdown":
        print(markdown(comparison))
    else:
        _print_table(comparison)


def _frames(config: CompareConfig) -> dict[str, pl.DataFrame]:
    names = config.names.split(",") if config.names else [Path(path).stem for path in config.results]
    if len(names) != len(config.results) or len(set(names)) != len(names):
        raise ConfigError(
            f"{len(config.results)} tables and the names {names}",
            "give one distinct name per table: --names base,pivotrl",
        )
    return {name: _frame(path) for name, path in zip(names, config.results, strict=True)}


def _frame(path: str) -> pl.DataFrame:
    with Table.open(path, EvalResult) as table:
        return table.frame([*_ITEM, "cluster", "score"])


def compare(frames: dict[str, pl.DataFrame], config: CompareConfig) -> dict[str, Any]:
    """Means, intervals and paired differences, per benchmark, as JSON values."""
    matched = _matched(frames)
    benchmarks = matched["benchmark"].unique(maintain_order=True).to_list()
    if not benchmarks:
        raise InputError("the tables have no measured item in common", "evaluate the same benchmarks with each model")
    first, *others = frames
    return {
        "models": list(frames),
        "benchmarks": [
            _one(matched.filter(pl.col("benchmark") == name), name, first, others, config) for name in benchmarks
        ],
        "left_out": {name: len(frame) - len(matched) for name, frame in frames.items()},
        "unscored": {name: frame["score"].null_count() for name, frame in frames.items()},
    }


def _matched(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per item that every table measured, one score column per model."""
    (first, frame), *rest = frames.items()
    matched = frame.rename({"score": _score(first)})
    for name, other in rest:
        scores = other.select([*_ITEM, pl.col("score").alias(_score(name))])
        matched = matched.join(scores, on=_ITEM, how="inner", maintain_order="left")
    return matched.drop_nulls([_score(name) for name in frames])


def _score(model: str) -> str:
    """Column of a model's scores; a model may be called `benchmark`."""
    return f"score of {model}"


def _one(rows: pl.DataFrame, name: str, first: str, others: list[str], config: CompareConfig) -> dict[str, Any]:
    clusters = rows["cluster"].to_list()
    scores = {model: rows[_score(model)].to_numpy() for model in [first, *others]}
    means = {m: clustered_mean(v, clusters, config.resamples, config.seed) for m, v in scores.items()}
    differences = {
        m: paired_difference(scores[first], scores[m], clusters, config.resamples, config.seed) for m in others
    }
    return {
        "benchmark": name,
        "domain": "out" if name in OUT_OF_DOMAIN else "in",
        "n": len(rows),
        "clusters": int(np.unique(clusters).size),
        "models": {m: {"mean": e.mean, "low": e.low, "high": e.high} for m, e in means.items()},
        "differences": {
            m: {
                "mean": d.mean,
                "low": d.low,
                "high": d.high,
                "wins": d.wins,
                "losses": d.losses,
                "significant": d.significant,
            }
            for m, d in differences.items()
        },
    }


def cells(comparison: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the printed table; percent, with the difference's interval where it leaves out zero."""
    first, *others = comparison["models"]
    header = ["benchmark", "n", first, *[part for m in others for part in (m, f"{m} - {first}")]]
    rows = []
    for one in comparison["benchmarks"]:
        label = f"{one['benchmark']} ({one['domain']} of domain)" if one["domain"] == "out" else one["benchmark"]
        row = [label, f"{one['n']:,}", _mean(one["models"][first])]
        for model in others:
            row += [_mean(one["models"][model]), _difference(one["differences"][model])]
        rows.append(row)
    return header, rows


def _mean(one: dict[str, float]) -> str:
    return f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _difference(one: dict[str, Any]) -> str:
    mark = " *" if one["significant"] else ""
    return f"{100 * one['mean']:+.1f} [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]{mark}"


def notes(comparison: dict[str, Any]) -> list[str]:
    """What a reader must know beside the numbers."""
    found = ["scores in percent with 95 % intervals; * marks a paired difference whose interval leaves out zero"]
    for name, n in comparison["left_out"].items():
        if n:
            unscored = comparison["unscored"][name]
            found.append(f"{name}: {n:,} rows left out, {unscored:,} of them not measured")
    return found


def markdown(comparison: dict[str, Any]) -> str:
    """The comparison as a Markdown table."""
    header, rows = cells(comparison)
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return table + "\n\n" + "\n".join(notes(comparison))


def _print_table(comparison: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    header, rows = cells(comparison)
    table = RichTable(box=None, pad_edge=False)
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table, highlight=False, markup=False)
    for note in notes(comparison):
        console.print(note, highlight=False, markup=False)
