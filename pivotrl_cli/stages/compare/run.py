"""Compare: evaluations of the same tasks side by side, with paired differences to the first."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from pivotrl_cli.configs import CompareConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stages.compare.paired import ITEM, CompareSummary, PairedDifference, compare, item_name
from pivotrl_cli.stages.compare.table import benchmark_lines, difference_cell, markdown, print_table
from pivotrl_cli.storage.table import Table


def run(config: CompareConfig) -> None:
    """Print the comparison on standard output; a regression beyond the limit then fails the run."""
    summary = compare(read_scores(config), config)
    match config.format:
        case "json":
            print(json.dumps(summary.model_dump()))
        case "markdown":
            print(markdown(summary))
        case _:
            print_table(summary)
    if config.max_regression is not None:
        _refuse_regression(summary, config.max_regression)


def read_scores(config: CompareConfig) -> dict[str, pl.DataFrame]:
    """The items and scores of each table, by the name it is compared under."""
    names = config.names.split(",") if config.names else [Path(path).stem for path in config.results]
    if len(names) != len(config.results) or len(set(names)) != len(names):
        raise ConfigError(
            f"{len(config.results)} tables and the names {names}",
            "give one distinct name per table: --names base,pivotrl",
        )
    return {name: read_items(path) for name, path in zip(names, config.results, strict=True)}


def read_items(path: str) -> pl.DataFrame:
    """Items, clusters and scores of an eval table; raises `InputError` where an item occurs twice."""
    with Table.open(path, EvalResult) as table:
        items = table.frame([*ITEM, "cluster", "score"])
    twice = items.filter(items.select(ITEM).is_duplicated())
    if len(twice):
        raise InputError(
            f"{path}: {item_name(*twice.select(ITEM).row(0))} occurs twice", "evaluate each task and trial once"
        )
    return items


def _refuse_regression(summary: CompareSummary, limit: float) -> None:
    """Fail where a model regresses on a benchmark, in either way of counting errors, or lacks its items.

    A regression is a mean paired difference below `-limit` whose test rejects chance (p < 0.05).
    """

    def has_regressed(difference: PairedDifference) -> bool:
        return difference.mean < -limit and difference.significant

    first, *others = summary.models
    faults = [
        f"{label}: {model} {difference_cell(difference)}, p = {difference.p:.2g}"
        for label, one in benchmark_lines(summary)
        for model, difference in one.differences.items()
        if has_regressed(difference)
    ]
    faults += [
        f"{benchmark}: {model} lacks {len(items):,} items"
        for model in others
        for benchmark, items in summary.missing[model].items()
    ]
    if faults:
        raise RunError(
            f"worse than {first} by more than {100 * limit:g} points, or incomplete: {'; '.join(faults)}",
            "--flips 10 names the items that were lost",
        )
