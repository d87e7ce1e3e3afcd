"""Compare: evaluations of the same tasks side by side, with paired differences to the first.

Items are matched by benchmark, task and trial. What one table has and another lacks is counted and named, and what
could not be measured is shown both ways, left out and counted as 0. Intervals and tests go by cluster (task,
trajectory), because trials of one task say much the same. A domain's mean weighs its benchmarks alike, as the paper's
Tables 1 and 2 do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pivotrl_cli.benchmarks import DO_NOTHING, OUT_OF_DOMAIN
from pivotrl_cli.configs import CompareConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stats import (
    Difference,
    Estimate,
    Floats,
    clustered_mean,
    mean_of_means,
    paired_difference,
    sign_flip_p,
    sums_by_cluster,
)
from pivotrl_cli.storage.table import Table

_ITEM = ["benchmark", "task_id", "trial"]


def run(config: CompareConfig) -> None:
    """Print the comparison on standard output; a regression beyond the limit then fails the run."""
    comparison = compare(frames(config), config)
    match config.format:
        case "json":
            print(json.dumps(comparison))
        case "markdown":
            print(markdown(comparison))
        case _:
            _print_table(comparison)
    if config.max_regression is not None:
        _gate(comparison, config.max_regression)


def frames(config: CompareConfig) -> dict[str, pl.DataFrame]:
    """The items and scores of each table, by the name it is compared under."""
    names = config.names.split(",") if config.names else [Path(path).stem for path in config.results]
    if len(names) != len(config.results) or len(set(names)) != len(names):
        raise ConfigError(
            f"{len(config.results)} tables and the names {names}",
            "give one distinct name per table: --names base,pivotrl",
        )
    return {name: frame(path) for name, path in zip(names, config.results, strict=True)}


def frame(path: str) -> pl.DataFrame:
    """What a comparison needs of an eval table; raises `InputError` where an item occurs twice."""
    with Table.open(path, EvalResult) as table:
        found = table.frame([*_ITEM, "cluster", "score"])
    twice = found.filter(found.select(_ITEM).is_duplicated())
    if len(twice):
        raise InputError(f"{path}: {_name(twice.row(0))} occurs twice", "evaluate each task and trial once")
    return found


def _name(item: tuple[Any, ...]) -> str:
    benchmark, task, trial = item[:3]
    return f"{benchmark} {task}" + (f" trial {trial}" if trial else "")


# ---- the comparison ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scores:
    """All models' scores on the same items of one benchmark; the first model is the baseline."""

    benchmark: str
    items: list[tuple[Any, ...]]
    clusters: list[str]
    values: dict[str, Floats]
    config: CompareConfig

    @cached_property
    def means(self) -> dict[str, Estimate]:
        return {model: clustered_mean(values, self.clusters) for model, values in self.values.items()}

    @cached_property
    def differences(self) -> dict[str, Difference]:
        (_, base), *others = self.values.items()
        config = self.config
        return {m: paired_difference(base, v, self.clusters, config.draws, config.seed) for m, v in others}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; no means where no item is left."""
        known = bool(self.items)
        return {
            "n": len(self.items),
            "clusters": len(set(self.clusters)),
            "models": {m: _ends(e) for m, e in self.means.items()} if known else {},
            "differences": {m: asdict(d) | {"significant": d.significant} for m, d in self.differences.items()}
            if known
            else {},
        }


def compare(frames: dict[str, pl.DataFrame], config: CompareConfig) -> dict[str, Any]:
    """Means, intervals, paired differences, flips and what is missing, as JSON values."""
    joined = _joined(frames)
    shared = joined.filter(pl.all_horizontal(_column("has", m) for m in frames))
    if not len(_measured(shared, frames)):
        raise InputError("the tables have no measured item in common", "evaluate the same benchmarks with each model")
    names = shared["benchmark"].unique(maintain_order=True).to_list()
    domains = _domains(names, config)
    rows = {name: shared.filter(pl.col("benchmark") == name) for name in names}
    left_out = {name: _scores(_measured(part, frames), name, frames, config) for name, part in rows.items()}
    as_zero = {name: _scores(part, name, frames, config) for name, part in rows.items()}
    return {
        "models": list(frames),
        "benchmarks": [
            {"benchmark": name, "domain": domains[name], "do_nothing": DO_NOTHING.get(name)}
            | left_out[name].to_dict()
            | {"unscored": {m: rows[name][f"score of {m}"].null_count() for m in frames}}
            | {"errors_as_zero": as_zero[name].to_dict() if _differ(left_out[name], as_zero[name]) else None}
            for name in names
        ],
        "domains": {
            domain: _domain([left_out[name] for name in names if domains[name] == domain]) for domain in ("in", "out")
        },
        "missing": {m: _missing(joined, m) for m in frames},
        "flips": {m: [f for name in names for f in _flips(left_out[name], m)] for m in list(frames)[1:]},
    }


def _joined(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per item of any table: its cluster, and per model whether the table has it and its score."""
    parts = [
        frame.select(*_ITEM, pl.col("cluster"), pl.lit(True).alias(f"has {m}"), pl.col("score").alias(f"score of {m}"))
        for m, frame in frames.items()
    ]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.join(part, on=_ITEM, how="full", coalesce=True, maintain_order="left_right", suffix=" too")
        joined = joined.with_columns(pl.coalesce("cluster", "cluster too").alias("cluster")).drop("cluster too")
    return joined.with_columns(pl.col(f"has {m}").fill_null(value=False) for m in frames)


def _column(what: str, model: str) -> pl.Expr:
    return pl.col(f"{what} {model}")


def _measured(rows: pl.DataFrame, frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return rows.drop_nulls([f"score of {m}" for m in frames])


def _scores(rows: pl.DataFrame, name: str, frames: dict[str, pl.DataFrame], config: CompareConfig) -> _Scores:
    """The scores, those that are null as 0."""
    values = {m: rows[f"score of {m}"].cast(pl.Float64).fill_null(0.0).to_numpy() for m in frames}
    return _Scores(name, rows.select(_ITEM).rows(), rows["cluster"].to_list(), values, config)


def _differ(left_out: _Scores, as_zero: _Scores) -> bool:
    return len(left_out.items) != len(as_zero.items)


def _domains(names: list[str], config: CompareConfig) -> dict[str, str | None]:
    """Domain of each benchmark: as the options say, and what only one of them names is the rest of the other."""
    inside, outside = (_patterns(flag, names) for flag in (config.in_domain, config.ood))
    if inside is None and outside is None:
        return {name: "out" if name in OUT_OF_DOMAIN else "in" for name in names}
    both = [name for name in names if _any(inside)(name) and _any(outside)(name)]
    if both:
        raise ConfigError(f"{both[0]} is both in domain and out of it", "--in-domain and --ood must not overlap")
    rest = None if inside is not None and outside is not None else "out" if inside is not None else "in"
    return {name: "in" if _any(inside)(name) else "out" if _any(outside)(name) else rest for name in names}


def _patterns(flag: str | None, names: list[str]) -> list[str] | None:
    if flag is None:
        return None
    patterns = flag.split(",")
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(f"no benchmark is called {pattern!r}", f"compared here: {', '.join(names)}")
    return patterns


def _any(patterns: list[str] | None) -> Callable[[str], bool]:
    return lambda name: any(fnmatch(name, pattern) for pattern in patterns or [])


def _domain(parts: list[_Scores]) -> dict[str, Any] | None:
    """Mean over the benchmarks of a domain; None where there is none, or one without a measured item."""
    if not parts or not all(part.items for part in parts):
        return None
    first, *others = parts[0].values
    return {
        "benchmarks": [part.benchmark for part in parts],
        "n": sum(len(part.items) for part in parts),
        "models": {m: asdict(mean_of_means([part.means[m] for part in parts])) for m in (first, *others)},
        "differences": {m: _domain_difference(parts, first, m) for m in others},
    }


def _domain_difference(parts: list[_Scores], first: str, model: str) -> dict[str, Any]:
    """The same of paired differences; its test changes signs of whole clusters in all benchmarks together."""
    found = mean_of_means([part.differences[model] for part in parts])
    sums = [
        sums_by_cluster(part.values[model] - part.values[first], part.clusters) / (len(part.items) * len(parts))
        for part in parts
    ]
    p = sign_flip_p(np.concatenate(sums), parts[0].config.draws, parts[0].config.seed)
    own = [part.differences[model] for part in parts]
    wins, losses = sum(d.wins for d in own), sum(d.losses for d in own)
    return asdict(Difference(found.mean, found.low, found.high, p, wins, losses)) | {"significant": p < 0.05}


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def _missing(joined: pl.DataFrame, model: str) -> dict[str, list[str]]:
    """Per benchmark, the items that other tables have and this one lacks."""
    found: dict[str, list[str]] = {}
    for item in joined.filter(~_column("has", model)).select(_ITEM).rows():
        found.setdefault(item[0], []).append(_name(item))
    return found


def _flips(scores: _Scores, model: str) -> list[dict[str, Any]]:
    """The items on which the model differs most from the first: losses, then wins, as many of each as asked for."""
    before, after = next(iter(scores.values.values())), scores.values[model]
    order = np.argsort(after - before, kind="stable")
    wins = np.argsort(before - after, kind="stable")
    losses = [i for i in order if after[i] < before[i]][: scores.config.flips]
    chosen = losses + [i for i in wins if after[i] > before[i]][: scores.config.flips]
    return [
        dict(zip(_ITEM, scores.items[i], strict=True)) | {"before": float(before[i]), "after": float(after[i])}
        for i in chosen
    ]


def _gate(comparison: dict[str, Any], limit: float) -> None:
    """Fail where a model falls behind the first on a benchmark, in either way of counting errors, or lacks its items.

    It falls behind where the mean paired difference is below `-limit` and its test rejects chance (p < 0.05).
    """
    first, *others = comparison["models"]
    faults = [
        f"{label}: {model} {_difference(one['differences'][model])}, p = {one['differences'][model]['p']:.2g}"
        for label, one in _lines(comparison)
        for model in others
        if one["differences"] and _falls(one["differences"][model], limit)
    ]
    faults += [
        f"{benchmark}: {model} lacks {len(items):,} items"
        for model in others
        for benchmark, items in comparison["missing"][model].items()
    ]
    if faults:
        raise RunError(
            f"worse than {first} by more than {100 * limit:g} points, or incomplete: {'; '.join(faults)}",
            "--flips 10 names the items that were lost",
        )


def _falls(difference: dict[str, Any], limit: float) -> bool:
    return bool(difference["mean"] < -limit and difference["significant"])


# ---- how it is shown --------------------------------------------------------------------------------------------


def cells(comparison: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the printed table, in percent."""
    first, *others = comparison["models"]
    known = any(one["do_nothing"] is not None for one in comparison["benchmarks"])
    header = ["benchmark", "n", *(["do nothing"] if known else []), first]
    header += [part for m in others for part in (m, f"{m} - {first}", "won/lost")]
    rows = []
    for label, one in [*_lines(comparison), *_domain_lines(comparison)]:
        row = [label, f"{one['n']:,}", *([_idle(one)] if known else []), _mean(one["models"].get(first))]
        for model in others:
            difference = one["differences"].get(model)
            row += [_mean(one["models"].get(model)), _difference(difference), _won(difference)]
        rows.append(row)
    return header, rows


def _lines(comparison: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Benchmarks with their labels, and again with errors as 0 where that differs."""
    lines = []
    for one in comparison["benchmarks"]:
        name = one["benchmark"]
        lines.append((f"{name} (out of domain)" if one["domain"] == "out" else name, one))
        if one["errors_as_zero"]:
            lines.append((f"{name}, errors as 0", one["errors_as_zero"]))
    return lines


def _domain_lines(comparison: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Means of the domains that have several benchmarks."""
    labels = {"in": "mean in domain", "out": "mean out of domain"}
    domains = comparison["domains"]
    return [(labels[d], one) for d, one in domains.items() if one and len(one["benchmarks"]) > 1]


def _idle(one: dict[str, Any]) -> str:
    share = one.get("do_nothing")
    return "" if share is None else f"{100 * share:.1f}"


def _mean(one: dict[str, float] | None) -> str:
    return f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]" if one else "-"


def _difference(one: dict[str, Any] | None) -> str:
    if one is None:
        return "-"
    mark = " *" if one["significant"] else ""
    return f"{100 * one['mean']:+.1f} [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]{mark}"


def _won(one: dict[str, Any] | None) -> str:
    return f"{one['wins']:,}/{one['losses']:,}" if one else "-"


def notes(comparison: dict[str, Any]) -> list[str]:
    """What a reader must know beside the numbers."""
    found = ["scores in percent with 95 % intervals"]
    if len(comparison["models"]) > 1:
        found[0] += "; * marks a paired difference with p < 0.05"
    if any(one["do_nothing"] is not None for one in comparison["benchmarks"]):
        found.append("do nothing: what an agent that refuses at once scores on the whole benchmark")
    for one in comparison["benchmarks"]:
        found += [f"{m}: {n:,} items of {one['benchmark']} not measured" for m, n in one["unscored"].items() if n]
    for model, missing in comparison["missing"].items():
        found += [f"{model}: lacks {_named(items)}" for items in missing.values()]
    return found


def _named(items: list[str], most: int = 3) -> str:
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return f"{', '.join(items[:most])}{more}"


def flip_lines(comparison: dict[str, Any]) -> list[str]:
    """The flipped items, one line each."""
    return [
        f"{model}: {_name(tuple(flip[key] for key in _ITEM))}: {flip['before']:g} -> {flip['after']:g}"
        for model, flips in comparison["flips"].items()
        for flip in flips
    ]


def markdown(comparison: dict[str, Any]) -> str:
    """The comparison as a Markdown table."""
    header, rows = cells(comparison)
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    flips = [f"- {line}" for line in flip_lines(comparison)]
    parts = [table, "\n".join(notes(comparison)), *(["\n".join(flips)] if flips else [])]
    return "\n\n".join(parts)


def _print_table(comparison: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    header, rows = cells(comparison)
    table = RichTable(box=None, pad_edge=False)
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000  # a file has no edge to fold at
    console.print(table)
    for note in [*notes(comparison), *flip_lines(comparison)]:
        console.print(note, soft_wrap=True)
