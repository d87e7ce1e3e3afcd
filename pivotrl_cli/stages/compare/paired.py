"""The comparison: means, paired differences to the first model, flips, and missing items.

Items are matched by benchmark, task and trial. Items that one table has and another lacks are counted and named. Items
without a score are treated in two ways, left out and counted as 0. Intervals and tests go by cluster (task,
trajectory), because trials of one task are alike. A domain's mean weighs its benchmarks equally, as the paper's Tables
1 and 2 do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel

from pivotrl_cli.benchmarks import DO_NOTHING, OUT_OF_DOMAIN
from pivotrl_cli.configs import CompareConfig
from pivotrl_cli.errors import ConfigError, InputError
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

ITEM = ["benchmark", "task_id", "trial"]
"""Columns that identify an item."""


class MeanScore(BaseModel, frozen=True):
    """A mean score with its 95 % interval."""

    mean: float
    low: float
    high: float


class PairedDifference(BaseModel, frozen=True):
    """A model's mean difference to the first model on the same items, with its 95 % interval."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided p-value of no difference."""
    wins: int
    """Items on which the model is better than the first."""
    losses: int
    significant: bool
    """`p` is below 0.05."""


class Scores(BaseModel, frozen=True):
    """All models on the same items; empty where no item is left."""

    n: int
    """Items."""
    clusters: int
    models: dict[str, MeanScore]
    differences: dict[str, PairedDifference]
    """Of each model but the first."""


class BenchmarkScores(Scores, frozen=True):
    """One benchmark; items that one of the models has no score for are left out."""

    benchmark: str
    domain: Literal["in", "out"] | None
    do_nothing: float | None
    """Score of an agent that refuses at once, where it is known."""
    unscored: dict[str, int]
    """Items without a score, by model."""
    errors_as_zero: Scores | None
    """The same with missing scores counted as 0, where there are any."""


class DomainScores(BaseModel, frozen=True):
    """Mean over the benchmarks of a domain, each weighing alike."""

    benchmarks: list[str]
    n: int
    models: dict[str, MeanScore]
    differences: dict[str, PairedDifference]


class Flip(BaseModel, frozen=True):
    """An item on which a model differs from the first."""

    benchmark: str
    task_id: str
    trial: int
    before: float
    after: float


class CompareSummary(BaseModel, frozen=True):
    """Evaluations side by side."""

    models: list[str]
    """The first is the baseline."""
    benchmarks: list[BenchmarkScores]
    domains: dict[Literal["in", "out"], DomainScores | None]
    missing: dict[str, dict[str, list[str]]]
    """By model and benchmark: the items that other tables have and this one lacks."""
    flips: dict[str, list[Flip]]
    """By model: the largest losses, then the largest wins, of each benchmark."""


def compare(frames: dict[str, pl.DataFrame], config: CompareConfig) -> CompareSummary:
    """Compare the items and scores of each model, the first being the baseline."""
    items = _join(frames)
    shared = items.filter(pl.all_horizontal(pl.col(f"has {m}") for m in frames))
    if not len(_scored_by_all(shared, frames)):
        raise InputError("the tables have no measured item in common", "evaluate the same benchmarks with each model")
    names = shared["benchmark"].unique(maintain_order=True).to_list()
    domains = _domains(names, config)
    groups = {name: shared.filter(pl.col("benchmark") == name) for name in names}
    paired = {name: _Paired.of(_scored_by_all(group, frames), frames, config) for name, group in groups.items()}
    return CompareSummary(
        models=list(frames),
        benchmarks=[_benchmark(name, domains[name], groups[name], paired[name], frames) for name in names],
        domains={
            domain: _domain_mean({name: paired[name] for name in names if domains[name] == domain})
            for domain in ("in", "out")
        },
        missing={model: _missing(items, model) for model in frames},
        flips={model: [flip for one in paired.values() for flip in one.flips(model)] for model in list(frames)[1:]},
    )


def item_name(benchmark: str, task: str, trial: int) -> str:
    """Example: `desk t7 trial 1`"""
    return f"{benchmark} {task}" + (f" trial {trial}" if trial else "")


# ---- items ------------------------------------------------------------------------------------------------------


def _join(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per item of any table: its cluster, and per model whether the table has it and its score."""
    parts = [
        frame.select(*ITEM, pl.col("cluster"), pl.lit(True).alias(f"has {m}"), pl.col("score").alias(f"score of {m}"))
        for m, frame in frames.items()
    ]
    items = parts[0]
    for part in parts[1:]:
        items = items.join(part, on=ITEM, how="full", coalesce=True, maintain_order="left_right", suffix=" too")
        items = items.with_columns(pl.coalesce("cluster", "cluster too").alias("cluster")).drop("cluster too")
    return items.with_columns(pl.col(f"has {m}").fill_null(value=False) for m in frames)


def _scored_by_all(items: pl.DataFrame, frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return items.drop_nulls([f"score of {m}" for m in frames])


def _missing(items: pl.DataFrame, model: str) -> dict[str, list[str]]:
    """Per benchmark, the items that other tables have and this one lacks."""
    found: dict[str, list[str]] = {}
    for item in items.filter(~pl.col(f"has {model}")).select(ITEM).rows():
        found.setdefault(item[0], []).append(item_name(*item))
    return found


# ---- one benchmark ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paired:
    """All models' scores on the same items of one benchmark; the first model is the baseline."""

    items: list[tuple[str, str, int]]
    clusters: list[str]
    values: dict[str, Floats]
    config: CompareConfig

    @classmethod
    def of(cls, items: pl.DataFrame, frames: dict[str, pl.DataFrame], config: CompareConfig) -> _Paired:
        """Missing scores count as 0."""
        values = {m: items[f"score of {m}"].cast(pl.Float64).fill_null(0.0).to_numpy() for m in frames}
        return cls(items.select(ITEM).rows(), items["cluster"].to_list(), values, config)

    @cached_property
    def means(self) -> dict[str, Estimate]:
        return {model: clustered_mean(values, self.clusters) for model, values in self.values.items()}

    @cached_property
    def differences(self) -> dict[str, Difference]:
        (_, base), *others = self.values.items()
        draws, seed = self.config.draws, self.config.seed
        return {m: paired_difference(base, values, self.clusters, draws, seed) for m, values in others}

    def scores(self) -> dict[str, Any]:
        """The fields of `Scores`."""
        known = bool(self.items)
        return {
            "n": len(self.items),
            "clusters": len(set(self.clusters)),
            "models": {m: _mean_score(one) for m, one in self.means.items()} if known else {},
            "differences": {m: _difference(one) for m, one in self.differences.items()} if known else {},
        }

    def flips(self, model: str) -> list[Flip]:
        """The items on which the model differs most from the first: losses, then wins, `config.flips` of each."""
        before, after = next(iter(self.values.values())), self.values[model]
        order, most = np.argsort(after - before, kind="stable"), self.config.flips
        losses = [i for i in order if after[i] < before[i]][:most]
        wins = [i for i in np.argsort(before - after, kind="stable") if after[i] > before[i]][:most]
        return [
            Flip(**dict(zip(ITEM, self.items[i], strict=True)), before=float(before[i]), after=float(after[i]))
            for i in losses + wins
        ]


def _benchmark(
    name: str,
    domain: Literal["in", "out"] | None,
    items: pl.DataFrame,
    paired: _Paired,
    frames: dict[str, pl.DataFrame],
) -> BenchmarkScores:
    as_zero = _Paired.of(items, frames, paired.config)
    return BenchmarkScores(
        benchmark=name,
        domain=domain,
        do_nothing=DO_NOTHING.get(name),
        unscored={m: items[f"score of {m}"].null_count() for m in frames},
        errors_as_zero=Scores(**as_zero.scores()) if len(items) > len(paired.items) else None,
        **paired.scores(),
    )


def _mean_score(one: Estimate | Difference) -> MeanScore:
    return MeanScore(mean=one.mean, low=one.low, high=one.high)


def _difference(one: Difference) -> PairedDifference:
    return PairedDifference(**asdict(one), significant=one.significant)


# ---- domains ----------------------------------------------------------------------------------------------------


def _domains(names: list[str], config: CompareConfig) -> dict[str, Literal["in", "out"] | None]:
    """Domain of each benchmark as the options say; where one option is given, all others are of the other domain."""
    inside, outside = _matching(config.in_domain, names), _matching(config.ood, names)
    if inside is None and outside is None:
        return {name: "out" if name in OUT_OF_DOMAIN else "in" for name in names}
    both = [name for name in names if name in (inside or []) and name in (outside or [])]
    if both:
        raise ConfigError(f"{both[0]} is both in domain and out of it", "--in-domain and --ood must not overlap")
    rest: Literal["in", "out"] | None = "out" if outside is None else "in" if inside is None else None
    return {name: "in" if name in (inside or []) else "out" if name in (outside or []) else rest for name in names}


def _matching(flag: str | None, names: list[str]) -> list[str] | None:
    """The benchmarks that a list of patterns matches; None without one."""
    if flag is None:
        return None
    patterns = flag.split(",")
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(f"no benchmark is called {pattern!r}", f"compared here: {', '.join(names)}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def _domain_mean(parts: dict[str, _Paired]) -> DomainScores | None:
    """Mean over the benchmarks of a domain; None without benchmarks, or where one has no measured item."""
    if not parts or not all(part.items for part in parts.values()):
        return None
    several = list(parts.values())
    first, *others = several[0].values
    means = {m: mean_of_means([part.means[m] for part in several]) for m in (first, *others)}
    return DomainScores(
        benchmarks=list(parts),
        n=sum(len(part.items) for part in several),
        models={m: MeanScore(**asdict(one)) for m, one in means.items()},
        differences={m: _domain_difference(several, first, m) for m in others},
    )


def _domain_difference(parts: list[_Paired], first: str, model: str) -> PairedDifference:
    """Mean of the benchmarks' paired differences; the test changes signs of whole clusters in all of them together."""
    differences = [part.differences[model] for part in parts]
    interval = mean_of_means(differences)
    sums = [
        sums_by_cluster(part.values[model] - part.values[first], part.clusters) / (len(part.items) * len(parts))
        for part in parts
    ]
    p = sign_flip_p(np.concatenate(sums), parts[0].config.draws, parts[0].config.seed)
    wins, losses = sum(one.wins for one in differences), sum(one.losses for one in differences)
    return _difference(Difference(interval.mean, interval.low, interval.high, p, wins, losses))
